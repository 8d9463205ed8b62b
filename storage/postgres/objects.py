"""Data objects of accounts and products: ordinary transactions. Those of licenses are the ledger's, but for their ids."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TypeVar

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from storage.errors import Busy, NoProduct, Stale
from storage.postgres import rows
from storage.postgres.reads import Reads
from storage.postgres.sql import load, statements
from storage.records import Change, DataObject, Place, Referencer, Token, Verdict
from storage.stamps import new_stamp

SQL, OBJECT_LOG = statements("objects"), statements("object_log")
IDS = load("object_ids")
BLOCK = 100  # ids drawn at once, so that a call seldom waits for one
MOST_LISTED = 10_000
AT_ONCE = 2  # transactions of a worker: each keeps a connection of the pool while it waits for a lock, and loads need some
DECIDE_SECONDS = 5.0

A = TypeVar("A")


class Objects:
    """See `ports.Objects`. `reports` is for the one statement that has to be planned for what it asks."""

    def __init__(self, reads: Reads, reports: Reads) -> None:
        self._reads = reads
        self._reports = reports
        self._ids: deque[int] = deque()
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def new_id(self) -> int:
        """See `ports.Objects`."""
        if not self._ids:
            self._ids.extend(row["id"] for row in await self._reads.rows(IDS, BLOCK))
        return self._ids.popleft()

    async def find(self, token: Token, object_id: int) -> Place | None:
        """See `ports.Objects`."""
        return await self._place(SQL["place"], token, object_id)

    async def find_license(self, token: Token, license_id: int) -> Place | None:
        """See `ports.Objects`."""
        return await self._place(SQL["license_place"], token, license_id)

    async def read(self, token: Token, place: Place) -> tuple[DataObject, ...]:
        """See `ports.Objects`."""
        return _objects((await self._reads.fetch(SQL["read"], *_asked(token, place)))[0])

    async def read_all(self, token: Token, product_id: int, contains: str) -> list[tuple[DataObject, Place]]:
        """See `ports.Objects`."""
        values = (token.account_id, product_id, contains, MOST_LISTED, list(token.facts))
        found = await self._reports.fetch(SQL["read_all"], *values)
        _check(found[0])
        return [
            (DataObject(*tuple(row)[1:5]), Place(Referencer(row["referencer_type"]), row["referencer_id"]))
            for row in found
            if row["id"] is not None
        ]

    async def decide(
        self, token: Token, place: Place, rule: Callable[[tuple[DataObject, ...]], Verdict[A]], *, edits: bool
    ) -> A:
        """See `ports.Objects`."""
        try:
            async with asyncio.timeout(DECIDE_SECONDS), self._turns, self._reads.transaction() as connection:
                if edits:
                    await connection.execute(OBJECT_LOG["writer_begins"])
                verdict = rule(await _locked(connection, token, place))
                await _write(connection, token, place, verdict)
        except TimeoutError as error:
            raise Busy("not decided in five seconds") from error
        return verdict.answer

    async def _place(self, statement: str, token: Token, number: int) -> Place | None:
        row = (await self._reads.fetch(statement, token.account_id, number, list(token.facts)))[0]
        _check(row)
        if row["referencer_type"] is None:
            return None
        return Place(Referencer(row["referencer_type"]), row["referencer_id"], row["product_id"] or 0, row["key"] or "")


async def _locked(connection: PoolConnectionProxy, token: Token, place: Place) -> tuple[DataObject, ...]:
    """Lock what the objects hang at, then read them: in one statement they would be older than what the lock waited for."""
    lock = SQL["account_lock" if place.referencer is Referencer.USER else "product_lock"]
    await connection.fetch(lock, token.account_id, place.id)
    return _objects((await connection.fetch(SQL["read"], *_asked(token, place)))[0])


async def _write(connection: PoolConnectionProxy, token: Token, place: Place, verdict: Verdict[A]) -> None:
    """Write what a verdict changes. The licenses of a product show its objects, so the product gets a new stamp."""
    change = verdict.change or Change()
    if change.put is not None:
        values = (token.account_id, int(place.referencer), place.id, *change.put.object)
        await connection.execute(SQL["put"], *values)
    if change.drop is not None:
        await connection.execute(SQL["drop"], change.drop.object.id)
    if verdict.change is not None and place.referencer is Referencer.PRODUCT:
        await connection.execute(SQL["product_stamp"], place.id, new_stamp())
    if verdict.edit is not None:
        await connection.execute(OBJECT_LOG["add"], *verdict.edit)


def _asked(token: Token, place: Place) -> tuple[object, ...]:
    return (token.account_id, int(place.referencer), place.id, list(token.facts))


def _objects(row: asyncpg.Record) -> tuple[DataObject, ...]:
    _check(row)
    if not row["there"]:
        raise NoProduct
    return rows.data_objects(row["objects"])


def _check(row: asyncpg.Record) -> None:
    if row["stale_facts"]:
        raise Stale
