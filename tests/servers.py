"""A server as an operator starts it: `keyturn serve --demo` in a process of its own. And how tests wait for a state."""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from storage.embedded.postgres import Postgres

READY_SECONDS = 60.0  # a deadline of liveness, not a timing
# Where there is room in memory, engines have their files there: each test has a database of its own, and making and
# dropping its files takes three times as long on a disk.
MEMORY, ROOM = Path("/dev/shm"), 2**31


def _parent() -> Path | None:
    """Where temporary folders are made; None is the usual place."""
    fits = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM
    return MEMORY if fits else None


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that other users can pass, unlike pytest's: root's engines run as nobody, and would go elsewhere."""
    folder = Path(tempfile.mkdtemp(prefix="keyturn-test-", dir=_parent()))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextlib.asynccontextmanager
async def database(postgres: Postgres, template: str) -> AsyncIterator[str]:
    """A database for a moment, made as this template has it; its address for the user of the server."""
    name = f"test_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(postgres.admin_dsn)
    try:
        # Copied as files, for what goes through the log first takes twice as long to be dropped.
        await admin.execute(f'create database "{name}" template {template} owner keyturn strategy file_copy')
        yield postgres.dsn.replace("/keyturn?", f"/{name}?")
        await admin.execute(f'drop database "{name}" with (force)')
    finally:
        await admin.close()


@dataclass(frozen=True, slots=True)
class Live:
    """A running server: `process` is its supervisor, `demo` what its demo.json says."""

    process: "subprocess.Popen[bytes]"
    data: Path

    @property
    def demo(self) -> dict[str, Any]:
        """demo.json as it is now: process ids change with a restart."""
        return json.loads((self.data / "demo.json").read_text())

    @property
    def url(self) -> str:
        return self.demo["url"]

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """Call a method with the admin token unless another is given; the JSON of the answer, whatever its status."""
        values = {"token": self.demo["admin_token"], "ProductId": self.demo["product_id"], **params}
        body = urllib.parse.urlencode(values).encode()
        request = urllib.request.Request(f"{self.url}/api/{method}", body)
        try:
            with urllib.request.urlopen(request, timeout=15) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return json.load(error)

    def new_key(self, machines: int, **params: object) -> str:
        """Create a license with this many places; return its key."""
        return self.call("key/CreateKey", MaxNoOfMachines=machines, Period=30, **params)["key"]

    def ready(self) -> bool:
        """Whether /readyz says so."""
        try:
            with urllib.request.urlopen(f"{self.demo['ops_url']}/readyz", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    async def database(self) -> "asyncpg.Connection[asyncpg.Record]":
        return await asyncpg.connect(self.demo["postgres_dsn"])


def start(data: Path, *, workers: int = 2, **environment: str) -> Live:
    """Start `keyturn serve --demo` on a free port and wait until it is ready."""
    written = data / "demo.json"
    before = written.stat().st_mtime_ns if written.exists() else 0
    values = {"PORT": "0", "DATA": str(data), "WORKERS": str(workers), **environment}
    log = data.parent / f"{data.name}.log"
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("keyturn"), "serve", "--demo"],
            env={**os.environ, **values}, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True,
        )  # fmt: skip
    live = Live(process, data)
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(FileNotFoundError, KeyError):
            if written.stat().st_mtime_ns > before and live.demo["supervisor_pid"] == process.pid and live.ready():
                return live
        time.sleep(0.05)
    stop(live)
    pytest.fail(f"the server did not get ready: {log.read_text()[-3000:]}")


def stop(live: Live) -> int:
    """End a server as an operator does; its exit code."""
    if live.process.poll() is None:
        live.process.send_signal(signal.SIGTERM)
    try:
        return live.process.wait(30)
    except subprocess.TimeoutExpired:
        live.process.kill()
        raise


async def until(condition: Callable[[], Any | Awaitable[Any]], seconds: float = 30.0) -> None:
    """Wait until `condition()` (or the awaitable that it returns) is true; a deadline of liveness."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return
        assert time.monotonic() < deadline, "the state that the test waits for did not come"
        await asyncio.sleep(0.01)
