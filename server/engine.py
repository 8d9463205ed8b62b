"""Where the engines are for a command: servers of the user's own, those of a running Keyturn, or one for the moment.

DATA/engines.json says where the engines of a running Keyturn are. It counts only while somebody holds DATA/lock.
"""

import asyncio
import datetime
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from server.account import NAME, ensure, key_file
from server.config import Config
from server.signing_keys import passphrase
from storage.embedded.home import Busy, EngineFailed, Lock, lock, prepare, write_private
from storage.embedded.postgres import Postgres
from storage.postgres.admin import administration
from storage.postgres.migrate import check, migrate

PATIENCE = 30.0  # seconds; another command, or a server that starts, has DATA only for a moment
POLL = 0.05

Tell = Callable[[str], None]


def silent(_what: str) -> None:
    """Tell nobody."""


def engines_file(data: Path) -> Path:
    """Return the path of DATA/engines.json, as PostgreSQL's and Valkey's addresses are written there by their owner."""
    return data / "engines.json"


def write_engines(data: Path, postgres_dsn: str, redis_url: str) -> None:
    """Say where the engines are, with their passwords: a file for its owner only. For the holder of the lock."""
    write_private(engines_file(data), json.dumps({"postgres_dsn": postgres_dsn, "redis_url": redis_url}) + "\n")


def forget_engines(data: Path) -> None:
    """Say that there are no engines (any more). For the holder of the lock, before it gives that up."""
    engines_file(data).unlink(missing_ok=True)


def own(data: Path) -> Lock:
    """Take DATA/lock and forget what a killed owner said of its engines. Raises `Busy`."""
    held = lock(data)
    forget_engines(data)
    return held


@asynccontextmanager
async def engine(config: Config, tell: Tell = silent) -> AsyncIterator[str]:
    """Give the address of a PostgreSQL that has the schema and, when it is one for the moment, the account.

    `tell` hears what takes long. Raises `EngineFailed`, `Busy`, `SchemaError`, `Unavailable`, `KeyFileError`.
    """
    async with running(config, tell, begin=False) as (dsn, momentary):
        if momentary:
            await _make_ready(config, dsn, tell)
        else:
            await check(dsn)
        yield dsn


@asynccontextmanager
async def running(config: Config, tell: Tell = silent, *, begin: bool = True) -> AsyncIterator[tuple[str, bool]]:
    """Give the address of a running PostgreSQL, whatever is in it, and whether it runs for the moment only.

    With `begin` false, no first embedded one is made where that looks like a mistake. Raises `EngineFailed`, `Busy`.
    """
    if not config.embedded:
        yield config.database_url, False
        return
    found = await _owner(config.data, tell)
    if isinstance(found, str):
        yield found, False
        return
    with found:
        if not begin:
            _refuse_mistake(config.data)
        tell("Starting the embedded PostgreSQL …")
        async with _momentary(config.data) as dsn:
            yield dsn, True


async def _owner(data: Path, tell: Tell) -> Lock | str:
    """Take the right to start PostgreSQL, or find the address of the one that runs. Raises `Busy` after `PATIENCE`."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return own(data)
        except Busy:
            if (dsn := _engines_dsn(data)) is not None:
                return dsn
            if time.monotonic() > deadline:
                raise
        tell("Waiting for another Keyturn that starts or ends …")
        await asyncio.sleep(POLL)


def redis_url(config: Config) -> str:
    """Return where Valkey is: as it is set, else that of the server that runs on this DATA; '' if none runs there."""
    if config.redis_url or not engines_file(config.data).exists():
        return config.redis_url
    with suppress(Busy):  # then somebody runs there
        own(config.data).release()
    return _engines(config.data).get("redis_url", "")


def _engines_dsn(data: Path) -> str | None:
    return _engines(data).get("postgres_dsn")


def _engines(data: Path) -> dict[str, str]:
    """Return what DATA/engines.json says, nothing if it is not there."""
    try:
        return dict(json.loads(engines_file(data).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}


@asynccontextmanager
async def _momentary(data: Path) -> AsyncIterator[str]:
    try:
        postgres = Postgres(prepare(data))
    except ModuleNotFoundError as error:  # its text says which wheel, and what else would do
        raise EngineFailed(str(error)) from error
    await postgres.start()
    try:
        yield postgres.dsn
    finally:
        await postgres.stop()


async def _make_ready(config: Config, dsn: str, tell: Tell) -> None:
    """Bring the schema up to this program and make the account if there is none. An account's key file is no matter here."""
    tell("Preparing the database …")
    now = datetime.datetime.now(datetime.UTC)
    await migrate(dsn, now)
    async with administration(dsn) as admin:
        if await admin.account(NAME) is None:
            await ensure(admin, config.data / "keys", passphrase(config.signing_passphrase_file), int(now.timestamp()))


def _refuse_mistake(data: Path) -> None:
    """Refuse to begin an embedded database beside the key of an account that must live in another one.

    So would a command that was called without the DATABASE_URL of the server: it would write where nobody looks.
    """
    path = key_file(data / "keys")
    if path.exists() and not (data / "postgres.password").exists():
        raise EngineFailed(
            f"{path} is there, but no embedded database was ever made in {data}. If the server is given a DATABASE_URL, "
            "set it here too; if a new database shall be made for this key, run `keyturn migrate`."
        )
