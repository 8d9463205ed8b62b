"""How tests take backups and restore them, without files where those are not the matter."""

import datetime
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from servers import database

from storage.embedded.postgres import Postgres
from storage.postgres.backup import Contents, Table, snapshot
from storage.postgres.restore import Source, restore
from storage.postgres.restored import Gap

Rows = dict[str, bytes]


def empty_database(postgres: Postgres) -> AbstractAsyncContextManager[str]:
    """A database with nothing in it."""
    return database(postgres, "template0")


async def take(dsn: str) -> Source:
    """Take a backup into memory."""
    rows: Rows = {}
    counts: dict[str, int] = {}
    async with snapshot(dsn) as taken:
        for table in taken.contents.tables:
            pieces: list[bytes] = []

            async def write(data: bytes, to: list[bytes] = pieces) -> None:
                to.append(data)

            counts[table.name] = await taken.copy(table, write)
            rows[table.name] = b"".join(pieces)
    return source(taken.contents, rows, counts)


def source(contents: Contents, rows: Rows, counts: dict[str, int]) -> Source:
    """A backup in memory."""

    async def read(table: Table) -> AsyncIterator[bytes]:
        yield rows[table.name]

    return Source(contents, counts, read)


def _no_keys() -> None:
    """Put no keys in place."""


async def put(taken: Source, dsn: str, put_keys: Callable[[], None] = _no_keys) -> Gap:
    """Restore a backup."""
    return await restore(dsn, taken, put_keys, datetime.datetime.now(datetime.UTC))
