"""Loads a backup into an empty database: all of it in one transaction, so that it is there whole or not at all."""

import datetime
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

import asyncpg

from storage.errors import StorageError
from storage.postgres import backup
from storage.postgres.backup import Contents, Table
from storage.postgres.connect import translated
from storage.postgres.migrate import HISTORY, MIGRATION_LOCK, apply, make_partitions, take_away, unlimited
from storage.postgres.restored import Gap, begin_anew, refuse_users

SQL = backup.SQL


class NotEmpty(StorageError):
    """The database has tables already."""


class DoesNotFit(StorageError):
    """The backup is not what a backup of its schema is; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Source:
    """A backup: what it has, how many rows each table, and how to read them, as `Snapshot.copy` gave them."""

    contents: Contents
    rows: Mapping[str, int]
    read: Callable[[Table], AsyncIterator[bytes]]


async def restore(dsn: str, source: Source, put_keys: Callable[[], None], now: datetime.datetime) -> Gap:
    """Load the tables, bring the schema from that of the backup up to this program, and make it ready to serve.

    `put_keys` is called before the commit, so that no account is ever without its key. Raises `NotEmpty`, `InUse`,
    `DoesNotFit`, `Unavailable`, `Broken`, and what `read` and `put_keys` raise unless it is an `OSError`; then the database
    is as it was.
    """
    contents = source.contents
    async with unlimited(dsn) as connection:
        with translated():
            await refuse_users(connection)
            await connection.execute("select pg_advisory_lock($1)", MIGRATION_LOCK)
            async with connection.transaction():
                if not await connection.fetchval(SQL["is_empty"]):
                    raise NotEmpty("The database has tables already. A backup is restored into an empty database only.")
                await connection.execute(HISTORY)
                await apply(connection, 0, contents.schema)
                await take_away(connection, contents.finished)
                await _make_months(connection, contents)
                await _check(connection, contents)
                for table in contents.tables:
                    done = await connection.copy_to_table(table.name, columns=table.columns, source=source.read(table))
                    if backup.rows_copied(done) != source.rows[table.name]:
                        raise DoesNotFit(f"The backup has not as many rows of {table.name} as it says.")
                for name, last in contents.sequences.items():
                    await connection.execute(SQL["sequence_at"], name, last)
                await apply(connection, contents.schema)
                await make_partitions(connection, now)
                gap = await begin_anew(connection, contents.taken)
                put_keys()
    return gap


async def _make_months(connection: asyncpg.Connection, contents: Contents) -> None:
    for table in contents.tables:
        if table.month is not None:
            await connection.execute(SQL["month"], table.name, *table.month)


async def _check(connection: asyncpg.Connection, contents: Contents) -> None:
    """See that the backup has the tables, columns and sequences of its schema, all of them and no others."""
    known = await backup.tables(connection)
    if _shapes(known) != _shapes(contents.tables):
        raise DoesNotFit(f"The tables of the backup are not those of schema {contents.schema}.")
    if (await backup.sequences(connection)).keys() != contents.sequences.keys():
        raise DoesNotFit(f"The sequences of the backup are not those of schema {contents.schema}.")


def _shapes(tables: tuple[Table, ...]) -> list[tuple[str, list[str], tuple[int, int] | None]]:
    return [(table.name, sorted(table.columns), table.month) for table in tables]
