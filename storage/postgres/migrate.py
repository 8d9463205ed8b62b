"""Brings the schema up to this program: numbered migrations, forward only, and the log's partitions of the coming months."""

import datetime
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from storage.errors import StorageError
from storage.postgres.connect import CONNECT_SECONDS, OLDEST_SERVER, close, translated
from storage.postgres.sql import migrations

# The number of the newest migration that this program knows.
PROGRAM = len(migrations())
MONTHS_AHEAD = 3
MIGRATION_LOCK = 5_437_141
HISTORY = """
create table if not exists schema_history (
    number   integer primary key,
    name     text not null,
    applied  timestamptz not null default now()
)
"""


class SchemaError(StorageError):
    """The database and this program do not fit together; the text says what to do."""


@asynccontextmanager
async def unlimited(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Connect for work that may take its time. Raises `Unavailable`, and `SchemaError` for a server that is too old."""
    with translated():
        connection = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS, server_settings={"timezone": "UTC"})
    try:
        version = connection.get_server_version()
        if version.major < OLDEST_SERVER:
            raise SchemaError(f"PostgreSQL {OLDEST_SERVER} or newer is needed; this server is {version.major}.")
        yield connection
    finally:
        await close(connection)


async def migrate(dsn: str, now: datetime.datetime) -> list[str]:
    """Apply the migrations that are missing and return their names. Safe to run from several hosts at once.

    Raises `SchemaError` if the database is newer than this program can serve, `Unavailable`.
    """
    async with unlimited(dsn) as connection:
        with translated():
            await connection.execute("select pg_advisory_lock($1)", MIGRATION_LOCK)
            await connection.execute(HISTORY)
            applied = await connection.fetchval("select coalesce(max(number), 0) from schema_history")
            await _fit(connection, applied)
            names = []
            for number, name, statements in migrations()[applied:]:
                async with connection.transaction():
                    await connection.execute(statements)
                    await connection.execute("insert into schema_history (number, name) values ($1, $2)", number, name)
                names.append(name)
            await make_partitions(connection, now)
    return names


async def check(dsn: str) -> None:
    """Raise `SchemaError` unless the schema is there and serves this program."""
    async with unlimited(dsn) as connection:
        with translated():
            if await connection.fetchval("select to_regclass('schema_history')") is None:
                raise SchemaError("The database has no Keyturn schema yet. Run `keyturn migrate` first.")
            applied = await connection.fetchval("select coalesce(max(number), 0) from schema_history")
            if applied < PROGRAM:
                raise SchemaError(f"The schema is at {applied}, this program needs {PROGRAM}. Run `keyturn migrate` first.")
            await _fit(connection, applied)


async def _fit(connection: asyncpg.Connection, applied: int) -> None:
    if applied <= PROGRAM:
        return
    oldest = await connection.fetchval("select oldest_program from installation")
    if oldest > PROGRAM:
        raise SchemaError(
            f"The database has schema {applied}, which serves programs from {oldest} on; this program knows {PROGRAM}. "
            "Install the newer Keyturn again: a schema never goes back."
        )


async def make_partitions(connection: asyncpg.Connection, now: datetime.datetime) -> None:
    """Make the partitions of the log that are missing, from last month to three months ahead."""
    first = now.year * 12 + now.month - 1
    for month in range(first - 1, first + MONTHS_AHEAD + 1):
        start, end = _begins(month), _begins(month + 1)
        name = f"log_{start:%Y_%m}"
        async with connection.transaction():
            await connection.fetchval(
                "select log_partition($1, $2, $3)", name, int(start.timestamp()), int(end.timestamp())
            )


def _begins(month: int) -> datetime.datetime:
    return datetime.datetime(month // 12, month % 12 + 1, 1, tzinfo=datetime.UTC)
