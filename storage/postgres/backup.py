"""Reads all that is kept, in one snapshot, for a backup; what becomes of it in a new database: restore.py.

It holds up nobody: it takes no lock that a writer waits for. Only a migration waits for it (backup.sql).
"""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

import asyncpg

from storage.postgres.connect import translated
from storage.postgres.migrate import MIGRATION_LOCK, SchemaError, unlimited
from storage.postgres.sql import load, statements
from storage.records import Account

SQL, ACCOUNTS = statements("backup"), load("accounts")

# In an order in which they can be loaded: what is referred to comes first. The log's partitions come after them.
KEPT = (
    "accounts", "products", "product_counters", "customers", "tokens", "licenses", "machines", "data_objects",
    "trial_memory", "leases", "counted_codes", "events", "messages", "usage", "object_log", "log_anonymised",
)  # fmt: skip
# The installation is a new one after a restore, and so are the lanes of its processes. The schema is made by migrations.
# What of the daily job was done when is forgotten, so that all of it is done at once. A partition that is about to be
# dropped is no part of the log any more.
NOT_KEPT = ("installation", "schema_history", "lanes", "retention", "log_leaving")


class Logged(NamedTuple):
    """A row of the log, by its id, and its time in Unix seconds."""

    id: int
    time: int


class Table(NamedTuple):
    """A table with its columns. `size` is about how many bytes it has; `month`: between which times a log's rows are."""

    name: str
    columns: tuple[str, ...]
    size: int = 0
    month: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Contents:
    """What a backup has, beside the rows. `schema` is the number of its newest migration; `taken` a time (Unix seconds).

    `last_logged` is None if the log is empty. `sequences` says which number was drawn last, `finished` of which migrations
    the second part is applied.
    """

    schema: int
    installation: str
    server: str
    taken: int
    accounts: tuple[Account, ...]
    last_logged: Logged | None
    tables: tuple[Table, ...]
    sequences: dict[str, int]
    finished: tuple[int, ...] = ()


class Snapshot:
    """All that is kept, as it was at one moment."""

    def __init__(self, connection: asyncpg.Connection, contents: Contents) -> None:
        self._connection = connection
        self.contents = contents

    async def copy(self, table: Table, write: Callable[[bytes], Coroutine[None, None, None]]) -> int:
        """Hand the rows over in PostgreSQL's text form, in pieces; return how many rows.

        Raises `Unavailable`, also for an `OSError` of `write`; what else that raises goes through.
        """
        with translated():
            done = await self._connection.copy_from_table(table.name, columns=table.columns, output=write)
        return rows_copied(done)


@asynccontextmanager
async def snapshot(dsn: str) -> AsyncIterator[Snapshot]:
    """Keep a moment for as long as it is read. Raises `SchemaError` if there is nothing of ours, `Unavailable`."""
    async with unlimited(dsn) as connection:
        with translated():
            if await connection.fetchval("select to_regclass('installation')") is None:
                raise SchemaError("The database has no Keyturn schema: there is nothing to back up.")
            # Before the snapshot: what this waits for belongs to it.
            await connection.execute(SQL["hold_schema"], MIGRATION_LOCK)
            transaction = connection.transaction(isolation="repeatable_read", readonly=True)
            await transaction.start()
            contents = await _contents(connection)
        yield Snapshot(connection, contents)


async def tables(connection: asyncpg.Connection) -> tuple[Table, ...]:
    """Return the tables that a backup of this schema has, in the order in which they can be loaded."""
    return tuple(_table(row) for row in await connection.fetch(SQL["tables"], KEPT))


async def sequences(connection: asyncpg.Connection) -> dict[str, int]:
    """Return which number each sequence has given last; the one before its first if there was none."""
    return {row["name"]: row["last"] for row in await connection.fetch(SQL["sequences"], KEPT)}


async def last_logged(connection: asyncpg.Connection) -> Logged | None:
    """Return the row of the log with the highest id."""
    row = await connection.fetchrow(SQL["last_logged"])
    return None if row is None else Logged(row["id"], row["time"])


def rows_copied(done: str) -> int:
    """Return the number in what PostgreSQL says of a COPY: `COPY 12`."""
    return int(done.rpartition(" ")[2])


def _table(row: asyncpg.Record) -> Table:
    month = None if row["begins"] is None else (row["begins"], row["ends"])
    return Table(row["name"], tuple(row["columns"]), row["size"], month)


async def _contents(connection: asyncpg.Connection) -> Contents:
    about = (await connection.fetch(SQL["about"]))[0]
    accounts = tuple(Account(row["id"], row["name"], row["public_key"]) for row in await connection.fetch(ACCOUNTS))
    return Contents(
        **{**about, "finished": tuple(about["finished"])},
        accounts=accounts,
        last_logged=await last_logged(connection),
        tables=await tables(connection),
        sequences=await sequences(connection),
    )
