"""The leases as PostgreSQL keeps them: read, their epochs raised, their old rows removed. The ledger writes them.

A statement names at most 500 licenses: it locks them in the ledger's order, and holds up nobody for long.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import asyncpg

from storage.errors import Unavailable
from storage.postgres import log, rows
from storage.postgres.reads import Reads
from storage.postgres.sql import load
from storage.records import ROW_SECONDS, Epoch, Lease
from storage.stamps import new_stamp

EPOCHS, LIFT, READY, READ = load("lease_epochs"), load("leases_lift"), load("leases_ready"), load("leases_read")
FORGET, CLOCK = load("leases_forget"), load("clock")
LICENSES_AT_ONCE = 500
ROWS_AT_ONCE = 4_000

T = TypeVar("T")


class Lifted(NamedTuple):
    """A license whose epoch was raised to an even one: its stamps before and after, between which nothing else changed."""

    license_id: int
    before: int
    after: int
    epoch: Epoch


class LeaseTable:
    """See `ports.LeaseTable`. `renew` hears of licenses that need not be read again although their stamp is a new one."""

    def __init__(self, reads: Reads, renew: Callable[[Lifted], None] = lambda _lifted: None) -> None:
        self._reads = reads
        self._renew = renew
        self._barrier = Barrier(reads)

    async def epochs(self, licenses: Sequence[int]) -> dict[int, Epoch]:
        """See `ports.LeaseTable`."""
        return self._heard([row for part in _parts(licenses) for row in await self._reads.fetch(EPOCHS, part)])

    async def lift(self, known: Mapping[int, int], *, to_table: bool) -> dict[int, Epoch]:
        """See `ports.LeaseTable`. Each statement is sent once: if its answer is lost, some may have been raised."""
        found: list[asyncpg.Record] = []
        for part in _parts(sorted(known.items())):
            found += await self._reads.rows(LIFT, *_named(part), to_table)
        return self._heard(found)

    async def settled(self) -> None:
        """See `ports.LeaseTable`."""
        await self._barrier.passed()

    async def mark_ready(self, known: Mapping[int, int]) -> None:
        """See `ports.LeaseTable`."""
        for part in _parts(sorted(known.items())):
            await self._reads.call(READY, *_named(part))

    async def read(self, licenses: Sequence[int]) -> dict[int, tuple[Lease, ...]]:
        """See `ports.LeaseTable`."""
        found: dict[int, list[Lease]] = {license_: [] for license_ in licenses}
        for part in _parts(list(found)):
            for row in await self._reads.fetch(READ, part):
                license_, *values = row
                found[license_].append(rows.lease(values))
        return {license_: tuple(leases) for license_, leases in found.items()}

    async def clock(self) -> float:
        """See `ports.LeaseTable`."""
        return float((await self._reads.fetch(CLOCK))[0]["clock"])

    def _heard(self, found: Sequence[asyncpg.Record]) -> dict[int, Epoch]:
        for row in found:
            if row["stamp"] == row["lifted_to"]:
                self._renew(Lifted(row["id"], row["lifted_from"], row["stamp"], rows.epoch(row)))
        return {row["id"]: rows.epoch(row) for row in found}


class Barrier:
    """`log.settled`, shared by those who ask at the same time: one is under way, and one may wait to be the next.

    Whoever comes joins the next. The one under way began before, and does not know of the batches begun since.
    """

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._last: asyncio.Task[None] | None = None
        self._joinable: asyncio.Task[None] | None = None

    async def passed(self) -> None:
        """Return when all that was being written at the time of the call has ended. Raises `Unavailable` after 5 s."""
        if self._joinable is None:
            self._joinable = self._last = asyncio.get_running_loop().create_task(self._pass(self._last))
            self._last.add_done_callback(_noted)
        try:
            async with asyncio.timeout(log.BARRIER_SECONDS):
                await asyncio.shield(self._joinable)  # a caller who leaves takes nobody with them
        except TimeoutError as error:
            raise Unavailable("what was being written did not end in five seconds") from error

    async def _pass(self, before: "asyncio.Task[None] | None") -> None:
        """Pass once `before` has ended: it waits only for writers that this one would have to wait for as well."""
        if before is not None:
            await asyncio.wait([before])
        self._joinable = None
        await log.settled(self._reads)


async def forget_ended(connection: asyncpg.Connection, now: int) -> int:
    """Remove the rows that ended, or were released, over ten minutes before `now`; return how many.

    Such a row fences off what is still in flight: an older claim that is committed late must meet it, or the seat would be
    taken again. Nothing is in flight for more than seconds (connect.SETTINGS); the rest is for clocks that differ.
    A transaction per few thousand rows looked at, each far under a second; rows that are locked stay. It takes no writers'
    lock: what it removes counts for nothing any more, so that it is all the same who reads before it and who after.
    """
    removed = 0
    license_, code = 0, ""
    while True:
        step = await connection.fetchrow(FORGET, license_, code, ROWS_AT_ONCE, now - ROW_SECONDS)
        if step is None:
            raise Unavailable("a statement that always gives one row gave none")
        removed += int(step["gone"])
        if step["license_id"] is None:
            return removed
        license_, code = step["license_id"], step["code"]


def _parts(values: Sequence[T]) -> Iterator[Sequence[T]]:
    return (values[first : first + LICENSES_AT_ONCE] for first in range(0, len(values), LICENSES_AT_ONCE))


def _named(part: Sequence[tuple[int, int]]) -> tuple[list[int], list[int], list[int]]:
    """Return licenses, their epochs, and a new stamp for each."""
    return [license_ for license_, _ in part], [epoch for _, epoch in part], [new_stamp() for _ in part]


def _noted(task: "asyncio.Task[None]") -> None:
    """Take note of the outcome: those who waited may all have left."""
    if not task.cancelled():
        task.exception()
