"""The condition of a PostgreSQL and of the schema in it, as `keyturn doctor` reads it. What is wrong is not said here."""

import time
from collections.abc import Mapping
from typing import NamedTuple

import asyncpg

from storage.postgres.accounts import ACCOUNTS
from storage.postgres.connect import CONNECT_SECONDS, STATEMENT_SECONDS, close, translated
from storage.postgres.sql import load, statements
from storage.records import Account

SQL, CLOCK, PARTITIONS = statements("doctor"), load("clock"), load("partitions")
HOME = 7  # the migration that made `home`
SETTINGS = {"application_name": "keyturn doctor", "timezone": "UTC", "statement_timeout": f"{STATEMENT_SECONDS:.0f}s"}


class Setting(NamedTuple):
    """A setting of the server as our sessions have it, and where it is from (pg_settings)."""

    value: str
    source: str


class Schema(NamedTuple):
    """What is in the database. None: not known.

    `log_until` is the second up to which the log has room, `retained` when the daily job was last complete (0: never);
    `home` says where the database was made or made ready, `here` where it is.
    """

    migrations: tuple[tuple[int, str], ...]
    oldest_program: int
    installation: str
    accounts: tuple[Account, ...]
    log_until: int | None
    retained: int | None
    home: str | None
    here: str | None


class Condition(NamedTuple):
    """A server that answers; without a schema of ours `schema` is None.

    `number` is its version as 180001, `ahead` its clock against ours in seconds, `connections` how many it allows us.
    """

    number: int
    version: str
    ahead: float
    standby: bool
    connections: int
    role: str
    database: str
    settings: Mapping[str, Setting]
    schema: Schema | None


async def condition(dsn: str) -> Condition:
    """Read it, of a server of any version. Raises `Unavailable`, `Busy`."""
    with translated():
        connection = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS, server_settings=SETTINGS)
    try:
        with translated():
            server = (await connection.fetch(SQL["server"]))[0]
            before = time.time()
            clock: float = await connection.fetchval(CLOCK)
            ahead = clock - (before + time.time()) / 2
            settings = {row["name"]: Setting(row["value"], row["source"]) for row in await connection.fetch(SQL["settings"])}
            return Condition(**dict(server), ahead=ahead, settings=settings, schema=await _schema(connection))
    finally:
        await close(connection)


async def _schema(connection: asyncpg.Connection) -> Schema | None:
    has = {row["name"] for row in await connection.fetch(SQL["has"], ["schema_history", "installation", "retention"])}
    if not {"schema_history", "installation"} <= has:
        return None
    migrations = tuple((row["number"], row["name"]) for row in await connection.fetch(SQL["migrations"]))
    installation = (await connection.fetch(SQL["installation"]))[0]
    has_home = any(number == HOME for number, _ in migrations)
    home, here = (await connection.fetch(SQL["home"]))[0] if has_home else (None, None)
    return Schema(
        migrations,
        installation["oldest_program"],
        installation["id"],
        tuple(Account(row["id"], row["name"], row["public_key"]) for row in await connection.fetch(ACCOUNTS)),
        await connection.fetchval(PARTITIONS),
        await connection.fetchval(SQL["retained"]) if "retention" in has else None,
        home,
        here,
    )
