"""Hands licenses over between Valkey and the leases table: raises their epochs, waits, reads, seeds; many at a time.

Nothing here looks at a claim. Whoever asks finds out by the next one who decides now.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import NamedTuple

from server import metrics
from storage.errors import Unavailable
from storage.ports import LeaseTable
from storage.records import NEVER_FLOATING, Epoch, Lease

AT_ONCE = 500  # licenses in one transaction

Seed = Callable[[int, int, tuple[Lease, ...]], Awaitable[None]]  # license, epoch, leases


class Raised(NamedTuple):
    """The epoch of a license now, and whether this worker has raised it and sent its seed; else somebody else does."""

    epoch: Epoch
    seeded: bool


def _told(epochs: Mapping[int, Epoch], *, seeded: bool) -> dict[int, Raised]:
    return {license_id: Raised(epoch, seeded) for license_id, epoch in epochs.items()}


GONE = Raised(NEVER_FLOATING, seeded=False)  # what is told of a license that is not there


class _Asked(NamedTuple):
    """The epoch that a license was last read at, and why it is to be raised."""

    known: int
    cause: str


class Handover:
    """What one worker hands over; `seed` puts leases into Valkey once, and tells nobody whether it worked."""

    def __init__(self, table: LeaseTable, seed: Seed) -> None:
        self._table = table
        self._seed = seed
        self._to_valkey = _Gathered(self._raise_and_seed)
        self._to_table = _Gathered(self._raise_and_settle)

    async def to_valkey(self, license_id: int, known: int, cause: str) -> Raised:
        """Have Valkey decide on a license whose epoch was read as `known`. Raises `Unavailable`, `Busy`."""
        return await self._to_valkey.ask(license_id, _Asked(known, cause))

    def to_valkey_soon(self, known: Mapping[int, int], cause: str) -> None:
        """Have Valkey decide on licenses that nobody waits for yet, after those that somebody does."""
        self._to_valkey.suggest({license_id: _Asked(number, cause) for license_id, number in known.items()})

    async def to_table(self, license_id: int) -> None:
        """Have the leases table decide on a license, as of now; another worker may take it back at any time.

        Raises `Unavailable`, `Busy`.
        """
        await self._to_table.ask(license_id, _Asked(0, ""))

    async def close(self) -> None:
        """End what is under way; whoever waits for it gets `Unavailable`."""
        await self._to_valkey.close()
        await self._to_table.close()

    async def _raise_and_seed(self, asked: Mapping[int, _Asked]) -> dict[int, Raised]:
        """Raise, wait, read, and send one seed for each epoch: a second, late, would undo what was claimed since."""
        raised = await self._table.lift({license_id: each.known for license_id, each in asked.items()}, to_table=False)
        if raised:
            metrics.seat_handovers.labels("valkey").inc(len(raised))
            await self._table.settled()  # what was claimed under an older epoch is committed now, or never will be
            rows = await self._table.read(list(raised))
            async with asyncio.TaskGroup() as seeds:
                for license_id, epoch in raised.items():
                    metrics.seat_seeds.labels(asked[license_id].cause).inc()
                    seeds.create_task(self._seeded(license_id, epoch.number, rows.get(license_id, ())))
        moved = [license_id for license_id in asked if license_id not in raised]
        epochs = await self._table.epochs(moved) if moved else {}
        return _told(raised, seeded=True) | _told(epochs, seeded=False)

    async def _seeded(self, license_id: int, epoch: int, rows: tuple[Lease, ...]) -> None:
        await self._seed(license_id, epoch, tuple(row for row in rows if not row.released))

    async def _raise_and_settle(self, asked: Mapping[int, _Asked]) -> dict[int, Raised]:
        epochs = await self._table.epochs(list(asked))
        even = {license_id: epoch.number for license_id, epoch in epochs.items() if not epoch.by_table}
        raised = await self._table.lift(even, to_table=True) if even else {}
        metrics.seat_handovers.labels("table").inc(len(raised))
        unready = {
            license_id: epoch.number
            for license_id, epoch in (epochs | raised).items()
            if epoch.by_table and not epoch.ready
        }
        if unready:
            await self._table.settled()
            await self._table.mark_ready(unready)
        return _told(epochs | raised, seeded=False)


class _Gathered:
    """Does one thing for many licenses at once: the next lot leaves when the one under way is done. One ask per license."""

    def __init__(self, carry: Callable[[Mapping[int, _Asked]], Awaitable[dict[int, Raised]]]) -> None:
        self._carry = carry
        self._asked: dict[int, _Asked] = {}
        self._suggested: dict[int, _Asked] = {}
        self._waiters: dict[int, asyncio.Future[Raised]] = {}  # of those asked, and of those under way
        self._task: asyncio.Task[None] | None = None

    async def ask(self, license_id: int, asked: _Asked) -> Raised:
        """Return what has become of the license."""
        waiter = self._waiters.get(license_id)
        if waiter is None:
            waiter = self._waiters[license_id] = asyncio.get_running_loop().create_future()
            self._asked[license_id] = asked
            self._suggested.pop(license_id, None)
            self._begin()
        return await asyncio.shield(waiter)  # others wait for it, too

    def suggest(self, asked: Mapping[int, _Asked]) -> None:
        """Do it for these as well, when nobody waits."""
        self._suggested |= {license_id: each for license_id, each in asked.items() if license_id not in self._waiters}
        self._begin()

    async def close(self) -> None:
        """End, with or without what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _begin(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._carry_all())

    async def _carry_all(self) -> None:
        try:
            while self._asked or self._suggested:
                await self._carry_lot(self._lot())
        finally:
            self._task = None
            self._answer(list(self._waiters), Unavailable("ending"))

    def _lot(self) -> dict[int, _Asked]:
        """Return what goes next: those that somebody waits for, filled up with others."""
        lot: dict[int, _Asked] = {}
        for source in (self._asked, self._suggested):
            for license_id in list(itertools.islice(source, AT_ONCE - len(lot))):
                lot[license_id] = source.pop(license_id)
        return lot

    async def _carry_lot(self, lot: Mapping[int, _Asked]) -> None:
        for license_id in lot:  # whoever comes now waits for this one
            self._waiters.setdefault(license_id, asyncio.get_running_loop().create_future())
        try:
            done = await self._carry(lot)
        except Exception as error:  # noqa: BLE001 (whoever waits gets it)
            self._answer(lot, error)
        else:
            for license_id in lot:
                self._waiters.pop(license_id).set_result(done.get(license_id, GONE))

    def _answer(self, licenses: Iterable[int], error: Exception) -> None:
        for license_id in licenses:
            waiter = self._waiters.pop(license_id)
            waiter.set_exception(error)
            waiter.exception()  # whoever asked may be gone
