"""Hands licenses over between Valkey and the leases table: raises their epochs, waits, reads, seeds; many at a time.

Nothing here looks at a claim. Whoever asks finds out by the next one who decides now.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from server import metrics
from storage.errors import Unavailable
from storage.ports import LeaseTable
from storage.records import Lease

AT_ONCE = 500  # licenses in one transaction

Seed = Callable[[int, int, tuple[Lease, ...]], Awaitable[None]]  # license, epoch, leases


class Handover:
    """What one worker hands over; `seed` puts leases into Valkey once, and tells nobody whether it worked."""

    def __init__(self, table: LeaseTable, seed: Seed) -> None:
        self._table = table
        self._seed = seed
        self._to_valkey = _Gathered(self._raise_and_seed)
        self._to_table = _Gathered(self._raise_and_settle)

    async def to_valkey(self, license_id: int, known: int) -> bool:
        """Have Valkey decide on a license whose epoch was read as `known`.

        False if that has moved on: then somebody else is about to seed it. Raises `Unavailable`, `Busy`.
        """
        return await self._to_valkey.ask(license_id, known)

    async def to_table(self, license_id: int) -> None:
        """Have the leases table decide on a license, as of now; another worker may take it back at any time.

        Raises `Unavailable`, `Busy`.
        """
        await self._to_table.ask(license_id, 0)

    async def close(self) -> None:
        """End what is under way; whoever waits for it gets `Unavailable`."""
        await self._to_valkey.close()
        await self._to_table.close()

    async def _raise_and_seed(self, known: Mapping[int, int]) -> set[int]:
        """Raise, wait, read, and send one seed for each epoch: a second, late, would undo what was claimed since."""
        raised = await self._table.lift(known, to_table=False)
        if raised:
            metrics.seat_handovers.labels("valkey").inc(len(raised))
            await self._table.settled()  # what was claimed under an older epoch is committed now, or never will be
            rows = await self._table.read(list(raised))
            async with asyncio.TaskGroup() as seeds:
                for license_id, epoch in raised.items():
                    seeds.create_task(self._seeded(license_id, epoch.number, rows.get(license_id, ())))
        return set(raised)

    async def _seeded(self, license_id: int, epoch: int, rows: tuple[Lease, ...]) -> None:
        await self._seed(license_id, epoch, tuple(row for row in rows if not row.released))

    async def _raise_and_settle(self, asked: Mapping[int, int]) -> set[int]:
        epochs = await self._table.epochs(list(asked))
        even = {license_id: epoch.number for license_id, epoch in epochs.items() if not epoch.by_table}
        raised = await self._table.lift(even, to_table=True) if even else {}
        metrics.seat_handovers.labels("table").inc(len(raised))
        unready = {
            license_id: epoch.number for license_id, epoch in (epochs | raised).items() if epoch.by_table and not epoch.ready
        }
        if unready:
            await self._table.settled()
            await self._table.mark_ready(unready)
        return set(raised)


class _Gathered:
    """Does one thing for many licenses at once: the next lot leaves when the one under way is done. One ask per license."""

    def __init__(self, carry: Callable[[Mapping[int, int]], Awaitable[set[int]]]) -> None:
        self._carry = carry
        self._waiting: dict[int, tuple[int, asyncio.Future[bool]]] = {}
        self._under_way: dict[int, tuple[int, asyncio.Future[bool]]] = {}
        self._task: asyncio.Task[None] | None = None

    async def ask(self, license_id: int, known: int) -> bool:
        """Return whether it was done for this license, by this worker."""
        asked = self._under_way.get(license_id) or self._waiting.get(license_id)
        if asked is None:
            asked = self._waiting[license_id] = (known, asyncio.get_running_loop().create_future())
            if self._task is None:
                self._task = asyncio.create_task(self._carry_all())
        return await asyncio.shield(asked[1])  # others wait for it, too

    async def close(self) -> None:
        """End, with or without what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _carry_all(self) -> None:
        try:
            while self._waiting:
                lot = [self._waiting.popitem() for _ in range(min(AT_ONCE, len(self._waiting)))]
                self._under_way = dict(lot)
                await self._carry_lot()
        finally:
            self._task = None
            _answer(self._waiting, Unavailable("ending"))

    async def _carry_lot(self) -> None:
        lot = self._under_way
        try:
            done = await self._carry({license_id: known for license_id, (known, _) in lot.items()})
        except Exception as error:  # noqa: BLE001 (whoever waits gets it)
            _answer(lot, error)
        else:
            for license_id, (_, future) in lot.items():
                if not future.done():
                    future.set_result(license_id in done)
        finally:
            _answer(lot, Unavailable("ending"))
            self._under_way = {}


def _answer(asked: Mapping[int, tuple[int, "asyncio.Future[bool]"]], error: Exception) -> None:
    for _, future in asked.values():
        if not future.done():
            future.set_exception(error)
            future.exception()  # whoever asked may be gone
