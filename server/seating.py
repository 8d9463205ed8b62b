"""Floating seats outside any worker, for the command line: who holds them by the record, and freeing one by hand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from server.account import operator
from server.rules import floating
from server.rules.floating import Again
from server.rules.grants import Caller
from storage.errors import Busy
from storage.postgres.installation import installation
from storage.postgres.leases import LeaseTable
from storage.postgres.ledger import Ledger
from storage.postgres.licenses import Licenses
from storage.postgres.reads import Reads
from storage.records import Lease, License, Peek, living
from storage.redis.seats import Seats

ROUNDS = 5
PATIENCE = 10.0  # seconds for all of it; connecting to a Valkey that swallows everything takes four of them
NOWHERE = "redis://"  # for seats that are never opened


class Seating:
    """The seats of one database. What is not told in the docstrings is raised as `ports` says."""

    def __init__(self, dsn: str, reads: Reads) -> None:
        self._dsn = dsn
        self._reads = reads
        self._table = LeaseTable(reads)
        self._licenses = Licenses(reads)

    async def license(self, account_id: int, product_id: int, key: str) -> License:
        """Return a license as it is now. Raises `NoProduct`, `NoLicense`, `Unavailable`."""
        return await self._licenses.show(operator(account_id), product_id, key)

    async def taken(self, license_id: int) -> tuple[Lease, ...]:
        """Return the seats that are taken by the leases table, at PostgreSQL's time, in order of start."""
        now = int(await self._table.clock())
        return living((await self._table.read([license_id]))[license_id], now)

    async def free(self, license_: License, code: str, redis_url: str) -> None:
        """Free the seat of a machine that holds one, for the next who asks.

        `redis_url` is '' where no Valkey runs. Raises `Busy` after ten seconds at the most: then it may have been done.
        """
        try:
            async with asyncio.timeout(PATIENCE), AsyncExitStack() as closing:
                ledger = Ledger(self._dsn, self._reads, queue=1, batch=1, cache_bytes=1, on_connect=_forget_nothing)
                closing.push_async_callback(ledger.close)
                await ledger.open()
                # Without Valkey it stays closed: then it tries to reach none, and the leases table decides.
                seats = Seats(
                    redis_url or NOWHERE, await installation(self._reads), self._table, ledger.now, forget=ledger.forget
                )
                closing.push_async_callback(seats.close)
                if redis_url:
                    await seats.open()
                await _freed(ledger, seats, license_, code)
        except TimeoutError as error:
            raise Busy(f"not done in {PATIENCE:.0f} seconds") from error


@asynccontextmanager
async def seating(dsn: str) -> AsyncIterator[Seating]:
    """Give the seats of a database. Raises `Unavailable`."""
    reads = Reads(dsn)
    await reads.open()
    try:
        yield Seating(dsn, reads)
    finally:
        await reads.close()


async def _freed(ledger: Ledger, seats: Seats, license_: License, code: str) -> None:
    """Look where the lease stands, commit its release, then free it in Valkey: as Deactivate does, in this order."""
    by_hand = operator(license_.account_id)
    caller = Caller(by_hand, "", "", "")
    for _ in range(ROUNDS):
        peek = await seats.peek(license_, code)
        rule = partial(floating.free, peek=peek, code=code, caller=caller)
        decided = await ledger.decide(by_hand, license_.product.id, license_.key, rule)
        if decided.answer is not Again.CLAIM:
            if isinstance(peek, Peek):
                await seats.free(license_.id, code, peek)
            return
        license_ = decided.license
    raise Busy("a floating seat was freed five times")


def _forget_nothing() -> None:
    """Stand in for a worker's memory of tokens, which is void with a new connection."""
