"""What a database is like before a first migration: whether it may be built on. What is wrong with it is not said here."""

from typing import NamedTuple

from storage.postgres.connect import translated
from storage.postgres.migrate import unlimited
from storage.postgres.sql import load

GROUND = load("ground")


class Ground(NamedTuple):
    """A database as we find it. `tables` are those where ours would be made, but for those of extensions.

    `ours` says whether our schema is there, `may_create` whether we may make tables.
    """

    database: str
    role: str
    encoding: str
    may_create: bool
    ours: bool
    tables: tuple[str, ...]

    @property
    def foreign(self) -> tuple[str, ...]:
        """Return the tables of somebody else, who would not like ours between them."""
        return () if self.ours else self.tables


async def ground(dsn: str) -> Ground:
    """Look at it. Raises `SchemaError` for a server that is too old, `Unavailable`."""
    async with unlimited(dsn) as connection:
        with translated():
            row = (await connection.fetch(GROUND))[0]
    return Ground(**{**row, "tables": tuple(row["tables"])})
