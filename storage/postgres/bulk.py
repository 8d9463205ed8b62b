"""Bulk loads of licenses with their machines, by COPY. Nothing of them is logged: they are data, not calls."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import asyncpg

from storage.errors import Conflict
from storage.postgres.connect import translated
from storage.postgres.migrate import unlimited
from storage.postgres.sql import statements
from storage.records import Machine, NewLicense

SQL = statements("bulk")
BULK_LOCK = 5_437_143
LICENSE = ("id", "account_id", "product_id", "number", "ever_activated", *NewLicense._fields)
MACHINE = ("license_id", "account_id", *Machine._fields)


class Filled(NamedTuple):
    """A license that is made together with its machines."""

    license: NewLicense
    machines: Sequence[Machine]


class Bulk:
    """One connection that loads. Every method raises `Unavailable` and `Broken`."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def alone(self) -> None:
        """Be the only load until the connection ends. Raises `Conflict` if there is another one."""
        with translated():
            if not await self._connection.fetchval(SQL["alone"], BULK_LOCK):
                raise Conflict("another load is under way")

    async def missing(self, product_id: int, licenses: int, chunk: int) -> list[int]:
        """Keep the numbers 1 to `licenses` of a product for its load; return the first ones of the chunks not loaded yet."""
        with translated():
            await self._connection.execute(SQL["reserve"], product_id, licenses)
            found = await self._connection.fetch(SQL["missing"], product_id, licenses, chunk)
        return [row["first"] for row in found]

    async def add(self, account_id: int, product_id: int, first: int, licenses: Sequence[Filled]) -> None:
        """Add a chunk, numbered from `first` on: in one transaction, so that it is there whole or not at all."""
        with translated():
            async with self._connection.transaction():
                ids = [row["id"] for row in await self._connection.fetch(SQL["license_ids"], len(licenses))]
                await self._connection.copy_records_to_table(
                    "licenses", columns=LICENSE, records=(
                        (id_, account_id, product_id, number, bool(machines), *license_)
                        for number, (id_, (license_, machines)) in enumerate(zip(ids, licenses, strict=True), first)
                    ),
                )  # fmt: skip
                await self._connection.copy_records_to_table(
                    "machines", columns=MACHINE, records=(
                        (id_, account_id, *machine)
                        for id_, (_, machines) in zip(ids, licenses, strict=True)
                        for machine in machines
                    ),
                )  # fmt: skip

    async def tidy(self) -> None:
        """Spare the first readers what PostgreSQL would do on reading, and tell the planner how much there is."""
        with translated():
            await self._connection.execute(SQL["tidy_licenses"])
            await self._connection.execute(SQL["tidy_machines"])


@asynccontextmanager
async def bulk(dsn: str) -> AsyncIterator[Bulk]:
    """Connect for a load. Raises `Unavailable`, `SchemaError`."""
    async with unlimited(dsn) as connection:
        yield Bulk(connection)
