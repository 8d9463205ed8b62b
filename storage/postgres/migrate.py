"""Brings the schema up to this program: numbered migrations, forward only, and the log's partitions of the coming months.

A migration is applied while the program before it runs, and goes on running. What that one still needs, and nobody else, is
taken away by the migration's second part, if it has one (`NNNN_name.finish.sql`), once no such program runs.
"""

import datetime
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import asyncpg

from storage.errors import StorageError
from storage.postgres.connect import CONNECT_SECONDS, OLDEST_SERVER, close, translated
from storage.postgres.sql import Migration, finishes, load, migrations

# The number of the newest migration that this program knows.
PROGRAM = len(migrations())
# The oldest schema that it serves: a worker that ends between the installation of a program and its migration starts anew.
OLDEST_SCHEMA = PROGRAM - 1
PROGRAM_GONE = load("program_gone")
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
    """Apply the migrations that are missing and return their names: only what the program before this one can live with.

    Safe to run from several hosts at once.

    Raises `SchemaError` if the database is newer than this program can serve, `Unavailable`.
    """
    async with unlimited(dsn) as connection:
        with translated():
            await connection.execute("select pg_advisory_lock($1)", MIGRATION_LOCK)
            await connection.execute(HISTORY)
            applied = await _applied(connection)
            await _fit(connection, applied)
            names = await apply(connection, applied)
            await make_partitions(connection, now)
    return names


async def apply(connection: asyncpg.Connection, after: int, until: int | None = None) -> list[str]:
    """Apply the migrations after one number, up to another or the newest, each in a transaction; return their names."""
    names = []
    for number, name, statements in migrations()[after:until]:
        async with connection.transaction():
            await connection.execute(statements)
            await connection.execute("insert into schema_history (number, name) values ($1, $2)", number, name)
        names.append(name)
    return names


async def finish(dsn: str) -> list[str]:
    """Apply the second parts that are missing and return the names of their migrations. Safe as `migrate`.

    Raises `SchemaError` if migrations are missing, or a program runs that a second part would take away something from.
    """
    async with unlimited(dsn) as connection:
        with translated():
            await connection.execute("select pg_advisory_lock($1)", MIGRATION_LOCK)
            if await _applied(connection) < PROGRAM:
                raise SchemaError("There are migrations to be applied before any is finished. Run `keyturn migrate` first.")
            left = await _unfinished(connection)
            for number, _, _ in left:
                async with connection.transaction():
                    await _see_gone(connection, number)
                    await take_away(connection, [number])
    return [name for _, name, _ in left]


async def unfinished(dsn: str) -> list[str]:
    """Return the names of the migrations of which the second part is not applied. For a schema that is up to date."""
    async with unlimited(dsn) as connection:
        with translated():
            return [name for _, name, _ in await _unfinished(connection)]


async def _unfinished(connection: asyncpg.Connection) -> list[Migration]:
    done = {row["number"] for row in await connection.fetch("select number from schema_history where finished is not null")}
    return [each for each in finishes() if each[0] not in done]


async def take_away(connection: asyncpg.Connection, numbers: Collection[int]) -> None:
    """Apply the second parts of these migrations, in a transaction. From then on no older program is served."""
    for number, _, statements in finishes():
        if number in numbers:
            await connection.execute(statements)
            await connection.execute("update schema_history set finished = now() where number = $1", number)
            await connection.execute("update installation set oldest_program = greatest(oldest_program, $1)", number)


async def _see_gone(connection: asyncpg.Connection, number: int) -> None:
    oldest = await connection.fetchval("select oldest_program from installation")
    for older in range(oldest, number):
        if not await connection.fetchval(PROGRAM_GONE, older):
            raise SchemaError(
                f"A Keyturn still runs that knows the schema up to {older} only, and needs what would be taken away. "
                "Restart it with this program, on whichever host it is, and repeat this."
            )


async def check(dsn: str) -> int:
    """Return the number of the schema, which is there and serves this program. Raises `SchemaError` otherwise."""
    async with unlimited(dsn) as connection:
        with translated():
            applied = await _applied(connection)
            if applied < OLDEST_SCHEMA:
                raise SchemaError(f"The schema is at {applied}, this program needs {PROGRAM}. Run `keyturn migrate` first.")
            await _fit(connection, applied)
    return applied


async def _applied(connection: asyncpg.Connection) -> int:
    """Return the number of the newest migration that is applied. Raises `SchemaError` if none ever was."""
    if await connection.fetchval("select to_regclass('schema_history')") is None:
        raise SchemaError("The database has no Keyturn schema yet. Run `keyturn migrate` first.")
    number: int = await connection.fetchval("select coalesce(max(number), 0) from schema_history")
    return number


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
