"""Valkeys of a test's own, with settings that an operator may choose; killed, restarted, filled and left without room."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import redis.asyncio
from proxy import Proxy
from servers import open_folder, until

from storage.embedded.home import Home, lock, prepare, write_private
from storage.embedded.valkey import Valkey

PASSWORD = "of-all-of-them-so-that-one-can-take-the-place-of-another"
APPENDS = "appendonly yes\nappendfsync everysec"


class Ours(Valkey):
    """A Valkey that the test stops and starts, with settings beside those of the embedded one."""

    def __init__(self, home: Home, settings: str) -> None:
        super().__init__(home)
        self._more = settings
        self.folder = home.engines / "valkey"

    def _settings(self) -> bytes:
        return super()._settings() + self._more.encode() + b"\n"

    @property
    def socket(self) -> str:
        return str(self._socket)

    def client(self) -> "redis.asyncio.Redis[bytes]":
        return redis.asyncio.from_url(self.url)

    async def kill(self) -> None:
        """SIGKILL, and return when it is gone."""
        os.kill(self.pid, signal.SIGKILL)
        await self.wait()

    async def copy(self, to: Path) -> None:
        """Copy its append-only file as it is on disk now, owners and all."""
        await asyncio.to_thread(subprocess.run, ["cp", "-a", self.folder / "appendonlydir", to], check=True)

    def put_back(self, copy: Path) -> None:
        """Have an earlier copy in the place of its file; it must not run."""
        shutil.rmtree(self.folder / "appendonlydir")
        subprocess.run(["cp", "-a", copy, self.folder / "appendonlydir"], check=True)


@asynccontextmanager
async def valkey_of_ours(settings: str = "") -> AsyncIterator[Ours]:
    with open_folder() as folder, lock(folder / "data"):
        write_private(folder / "data" / "valkey.password", PASSWORD)
        ours = Ours(prepare(folder / "data"), settings)
        await ours.start()
        try:
            yield ours
        finally:
            await ours.stop()


def through(carrier: Proxy) -> str:
    """The address of whichever of our Valkeys is behind the proxy."""
    return f"redis://:{PASSWORD}@127.0.0.1:{carrier.port}"


async def replicates(replica: Ours, carrier: Proxy) -> None:
    """Have a Valkey follow the one behind a proxy, and return when it does."""
    async with replica.client() as client:
        await client.config_set("masterauth", PASSWORD)
        await client.replicaof("127.0.0.1", str(carrier.port))

        async def linked() -> bool:
            return (await client.info("replication"))["master_link_status"] == "up"

        await until(linked, 20)


async def promote(replica: Ours) -> None:
    async with replica.client() as client:
        await client.replicaof("NO", "ONE")


# What is done to a Valkey so that it refuses writes, and undone. Claims, which write, get the word; reads are answered.


@asynccontextmanager
async def without_room(ours: Ours) -> AsyncIterator[str]:
    """At maxmemory."""
    async with ours.client() as client:
        used: int = (await client.info("memory"))["used_memory"]
        await client.config_set("maxmemory", used // 2)
        yield "OOM"
        await client.config_set("maxmemory", 0)


@asynccontextmanager
async def without_replica(ours: Ours) -> AsyncIterator[str]:
    """With fewer replicas than an operator wants."""
    async with ours.client() as client:
        await client.config_set("min-replicas-to-write", 1)
        yield "NOREPLICAS"
        await client.config_set("min-replicas-to-write", 0)


@asynccontextmanager
async def without_disk(ours: Ours) -> AsyncIterator[str]:
    """Unable to write a snapshot, as on a full disk."""
    async with ours.client() as client:
        await client.config_set("save", "3600 1")
        ours.folder.chmod(0o555)
        await client.bgsave()
        await until(lambda: _saved(client, "err"))
        yield "MISCONF"
        ours.folder.chmod(0o755)
        await client.bgsave()
        await until(lambda: _saved(client, "ok"))


async def _saved(client: "redis.asyncio.Redis[bytes]", how: str) -> bool:
    facts = await client.info("persistence")
    return not facts["rdb_bgsave_in_progress"] and facts["rdb_last_bgsave_status"] == how
