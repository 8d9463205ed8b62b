"""Customers: found, listed with or without their licenses, made, changed and removed. Ordinary transactions."""

import asyncio

import asyncpg

from storage.errors import Broken, Busy, Conflict, Stale
from storage.postgres import rows
from storage.postgres.connect import FOREIGN_KEY_VIOLATION, UNIQUE_VIOLATION, refused_with
from storage.postgres.reads import Reads
from storage.postgres.sql import statements
from storage.records import (
    Customer,
    CustomerEdit,
    CustomerFile,
    CustomerQuery,
    License,
    LicensesQuery,
    NewCustomer,
    Token,
)
from storage.stamps import new_stamp

SQL = statements("customers")
ROUNDS = 5
STEP = 500  # licenses that are locked at once, at most: what else changes them waits so long
WRITE_SECONDS = 5.0


class Customers:
    """See `ports.Customers`. `reports` are for the statements that have to be planned for what they ask."""

    def __init__(self, reads: Reads, reports: Reads) -> None:
        self._reads = reads
        self._reports = reports

    async def find(self, token: Token, customer_id: int) -> Customer | None:
        """See `ports.Customers`."""
        row = (await self._reads.fetch(SQL["find"], token.account_id, customer_id, list(token.facts)))[0]
        if row["stale_facts"]:
            raise Stale
        return rows.customer(row)

    async def search(self, token: Token, query: CustomerQuery) -> list[CustomerFile]:
        """See `ports.Customers`."""
        found = await self._reports.fetch(
            SQL["search"],
            token.account_id, query.customer_id, query.search, query.secret_hash, query.id_in_search, query.limit or None,
            list(token.facts),
        )  # fmt: skip
        if found[0]["stale_facts"]:
            raise Stale
        return [_file(row, customer) for row in found if (customer := rows.customer(row)) is not None]

    async def licenses(self, token: Token, query: LicensesQuery) -> list[License] | None:
        """See `ports.Customers`."""
        found = await self._reports.fetch(
            SQL["licenses"],
            token.account_id, query.customer_id, query.secret_hash, query.product_id, query.license_id, list(token.facts),
        )  # fmt: skip
        if found[0]["stale_tokens"]:
            raise Stale
        if found[0]["found_customer"] is None:
            return None
        return [license_ for row in found if (license_ := rows.loaded(row).license) is not None]

    async def add(self, token: Token, new: NewCustomer) -> int:
        """See `ports.Customers`."""
        row = await self._write("add", token.account_id, list(token.facts), new, new.created, token.id)
        made: int = row["customer_id"]
        return made

    async def edit(self, token: Token, customer_id: int, edit: CustomerEdit, now: int) -> bool | None:
        """See `ports.Customers`."""
        row = await self._write(
            "edit", token.account_id, list(token.facts), customer_id, edit, new_stamp(), now, token.id
        )  # fmt: skip
        return bool(row["is_associable"]) if row["outcome"] == "done" else None

    async def remove(self, token: Token, customer_id: int, now: int) -> bool:
        """See `ports.Customers`.

        A license that was assigned to the customer between the last two steps holds it: then all of it is done again.
        """
        for _ in range(ROUNDS):
            if not await self._take_from_licenses(token, customer_id, now):
                return False
            try:
                row = await self._write("remove", token.account_id, list(token.facts), customer_id, now, token.id)
            except Broken as error:
                if refused_with(error) != FOREIGN_KEY_VIOLATION:
                    raise
            else:
                return bool(row["outcome"] == "done")
        raise Busy("licenses were assigned to the customer five times meanwhile")

    async def _take_from_licenses(self, token: Token, customer_id: int, now: int) -> bool:
        """Take the customer from its licenses, so many at once; False if there is no such customer."""
        left_by = STEP
        while left_by == STEP:
            stamps = [new_stamp() for _ in range(STEP)]
            row = await self._write("leaves", token.account_id, list(token.facts), customer_id, stamps, now, token.id)
            if row["outcome"] != "done":
                return False
            left_by = row["left_by"]
        return True

    async def _write(self, name: str, *values: object) -> asyncpg.Record:
        """Run one transaction. Raises `Stale`, `Conflict`, `Busy`, `Broken`, `Unavailable`."""
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                row = await self._reads.call(SQL[name], *values)
        except Broken as error:
            if refused_with(error) == UNIQUE_VIOLATION:
                raise Conflict from error
            raise
        except TimeoutError as error:
            raise Busy("not done in five seconds") from error
        if row["outcome"] == "token":
            raise Stale
        return row


def _file(row: asyncpg.Record, customer: Customer) -> CustomerFile:
    return CustomerFile(
        customer=customer,
        notes=row["notes"],
        enable_customer_association=row["enable_customer_association"],
        allow_activation_management=row["allow_activation_management"],
        allow_multiple_user_association=row["allow_multiple_user_association"],
        max_no_of_devices=row["max_no_of_devices"],
    )
