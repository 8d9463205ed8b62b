"""Floating seats under a recorder: those who take, renew and release them, and the judge of what they were answered.

The promises are those of recorder.py, of which Logged, Capped and Kept say more here; the same callers work over HTTP and
inside the test's own process, against workers that reach the engines in different ways.
"""

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple, Protocol

import asyncpg
from callers import MOST_CALLS, PAUSE_SECONDS
from recorder import (
    ACTIVATE,
    DEACTIVATE,
    GIVE,
    OK,
    OVERDRAWN,
    RELEASED,
    SEATED,
    TAKE,
    UNAVAILABLE,
    Breach,
    Call,
    Promise,
    Recorder,
    Row,
    Seat,
    rows_of,
)
from seats.world import COME_AGAIN, Worker, World
from servers import until

from server.rules.codes import Code
from storage.records import Lease, LeaseKind

LONG, SHORT = 600, 2  # seconds of a lease: one that outlives every test, one that lapses within it
Machine = tuple[str, str]  # a license's key and a machine code


class Asker(Protocol):
    """A client that asks for floating seats, one call at a time. Raises `OSError` where nobody listens."""

    async def take(self, key: str, code: str, interval: int, overdraft: int = 0) -> Call:
        """Take a seat or renew it."""
        ...

    async def give(self, key: str, code: str) -> Call:
        """Give it back."""
        ...


class Desk:
    """A client of a worker in this process. What it is told is recorded as if it had come over HTTP."""

    def __init__(self, worker: Worker, record: Recorder) -> None:
        self._worker, self._record = worker, record

    async def take(self, key: str, code: str, interval: int, overdraft: int = 0) -> Call:
        name = self._record.unique("name")
        params = {"Key": key, "MachineCode": code, "FriendlyName": name, "FloatingTimeInterval": interval}
        call = self._record.note(ACTIVATE, params)
        told = await self._worker.take(key, code, interval, overdraft=overdraft, name=name)
        if isinstance(told, Lease):
            call.seat = Seat(told.kind == LeaseKind.OVERDRAFT, told.start, told.expires)
        return self._answered(call, told if isinstance(told, str) else "")

    async def give(self, key: str, code: str) -> Call:
        call = self._record.note(DEACTIVATE, {"Key": key, "MachineCode": code, "Floating": True})
        return self._answered(call, await self._worker.release(key, code))

    def _answered(self, call: Call, message: str) -> Call:
        call.status, call.retry_after = (UNAVAILABLE, "1") if message == COME_AGAIN else (OK, "")
        call.answer = {} if message == COME_AGAIN else {"message": message}
        call.received = time.monotonic()
        self._record.answered += call.status == OK
        return call


class Terms(NamedTuple):
    """How everybody asks for seats of one license."""

    key: str
    interval: int
    overdraft: int


async def terms(world: World, record: Recorder, number: int = 6, seats: int = 3) -> list[Terms]:
    """Make licenses in a world, half of them with short leases, every third with one seat in overdraft."""
    return termed(record, [await world.license(seats) for _ in range(number)], seats)


def termed(record: Recorder, keys: Sequence[str], seats: int) -> list[Terms]:
    record.limits |= dict.fromkeys(keys, seats)
    made = [Terms(key, SHORT if number % 2 else LONG, int(number % 3 == 0)) for number, key in enumerate(keys)]
    record.overdrafts |= {each.key: each.overdraft for each in made}
    return made


# Load


class Rush:
    """Clients that want seats of a few licenses, more of them than there are seats: heartbeats, strangers, machines that
    go with a word and, where leases are short, without. Each client has machines of its own, one at a time on a license."""

    def __init__(self, record: Recorder, licenses: Sequence[Terms]) -> None:
        self._record = record
        self._licenses = licenses
        self._stop = asyncio.Event()

    def stop(self) -> None:
        self._stop.set()

    def progress(self, more: int) -> Callable[[], bool]:
        """Return whether, from now on, so many more calls have been answered with 200."""
        wanted = self._record.answered + more
        return lambda: self._record.answered >= wanted

    async def client(self, number: int, asker: Asker) -> None:
        chance = random.Random(number)
        mine: dict[str, str] = {}
        sure: set[str] = set()  # the keys of which the last answer was a seat
        while not self._stop.is_set() and len(self._record.calls) < MOST_CALLS:
            wanted = chance.choice(self._licenses)
            try:
                call = await self._step(chance, asker, wanted, mine, gives=wanted.key in sure)
            except OSError:  # nobody listens
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            (sure.add if call.method == TAKE and call.granted else sure.discard)(wanted.key)
            if call.method == GIVE or call.message == Code.LIMIT:
                mine.pop(wanted.key)
            if not call.granted:
                await asyncio.sleep(PAUSE_SECONDS)

    def _step(
        self, chance: random.Random, asker: Asker, wanted: Terms, mine: dict[str, str], *, gives: bool
    ) -> Awaitable[Call]:
        what = chance.choices(("take", "give", "leave"), (12, 2 * gives, gives and wanted.interval == SHORT))[0]
        if what == "give":
            return asker.give(wanted.key, mine[wanted.key])
        if what == "leave" or wanted.key not in mine:
            mine[wanted.key] = self._record.unique("m")
        return asker.take(wanted.key, mine[wanted.key], wanted.interval, wanted.overdraft)


@asynccontextmanager
async def rush(record: Recorder, licenses: Sequence[Terms], askers: Iterable[Asker]) -> AsyncIterator[Rush]:
    """Run the load for the length of a `with`, a client per asker; at its end each has its answer, or none for ever."""
    load = Rush(record, licenses)
    async with asyncio.TaskGroup() as group:
        for number, asker in enumerate(askers):
            group.create_task(load.client(number, asker))
        try:
            yield load
        finally:
            load.stop()


def holders(record: Recorder, now: float) -> dict[Machine, Call]:
    """The machines that hold a seat by what they were answered and did since, with the answer."""
    held: dict[Machine, Call] = {}
    for call in record.calls:
        if call.method == TAKE and call.seat is not None:
            held[call.key, call.code] = call
        elif call.method == GIVE:
            held.pop((call.key, call.code), None)
    return {machine: call for machine, call in held.items() if call.seat and call.seat.expires > now}


async def renewals(record: Recorder, askers: Sequence[Asker]) -> list[Call]:
    """Have everybody renew whose seat outlives this; the audit looks at what became of it."""
    machines = list(holders(record, time.time() + LONG / 2))

    async def renew(asker: Asker, mine: Sequence[Machine]) -> list[Call]:
        return [await asker.take(key, code, LONG, record.overdrafts.get(key, 0)) for key, code in mine]

    shares = [renew(asker, machines[number :: len(askers)]) for number, asker in enumerate(askers)]
    return [call for calls in await asyncio.gather(*shares) for call in calls]


async def everyone_renews(record: Recorder, askers: Sequence[Asker]) -> list[Call]:
    """See that everybody is served who renews a seat that was answered."""
    calls = await renewals(record, askers)
    assert [str(call) for call in calls if not call.granted] == []
    return calls


async def free_seats_are_given(record: Recorder, asker: Asker, key: str, seconds: float) -> None:
    """Ask as strangers until every seat is taken that no answered lease holds, within so many seconds."""

    async def full() -> bool:
        taken = sum(held_key == key for held_key, _ in holders(record, time.time()))
        if taken < record.limits[key]:
            await asker.take(key, record.unique("stranger"), LONG)
        return taken >= record.limits[key]

    await until(full, seconds)


def refused(calls: Iterable[Call]) -> list[Call]:
    """Those that were not served, whatever they were told."""
    return [call for call in calls if call.status != OK]


# The judge


class Kept(NamedTuple):
    """A row of the leases table."""

    key: str
    code: str
    seat: Seat
    released: bool


async def audit(
    record: Recorder, connection: "asyncpg.Connection[asyncpg.Record]", now: float | None = None
) -> list[Breach]:
    """Compare all that was recorded with the database; `now` is for tests with a clock of their own."""
    breaches = await record.audit(connection)
    rows = await rows_of(connection, list(record.limits))
    kept = await _leases(connection, list(record.limits))
    breaches += stated(record.calls, rows)
    breaches += held(record.calls, rows)
    breaches += standing(record.calls, kept)
    by_key: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_key[row.key].append(row)
    for key, limit in record.limits.items():
        most = limit + record.overdrafts.get(key, 0)
        breaches += within(limit, most, by_key[key])
        taken = [each for each in kept if each.key == key and _lives(each, time.time() if now is None else now)]
        if limit and len(taken) > most:
            breaches.append(Breach(Promise.CAPPED, f"{key} has {len(taken)} leases that live, and {most} seats"))
    return breaches


def stated(calls: Iterable[Call], rows: Iterable[Row]) -> Iterator[Breach]:
    """The row of a seat that was answered says the same: kind and end, and no shorter than was asked for."""
    told = {row.identity: row for row in rows if row.identity.method == TAKE}
    for call in calls:
        row = told.get(call.identity)
        if call.seat is None or row is None:  # not answered with a seat; or not logged, which others see
            continue
        if (row.state, row.expires) != (OVERDRAWN if call.seat.overdraft else SEATED, call.seat.expires):
            yield Breach(Promise.LOGGED, f"{call} was answered {call.seat}, and logged as {row}")
        if call.seat.expires - row.time < call.interval or call.seat.start > row.time:
            yield Breach(Promise.KEPT, f"{call}, at {row.time}: {call.seat}")


class Span(NamedTuple):
    """A time for which a machine had a seat: from `first` on, no longer at `end`."""

    first: int
    end: int
    overdraft: bool


def within(limit: int, most: int, rows: Iterable[Row]) -> Iterator[Breach]:
    """Go through the log of a license: at no instant more regular seats than its limit, nor more of all than `most`.

    A lease is open from its row until its end, the machine's next row or its release; in a log of whole seconds, what
    ends within a second ends before what begins in it.
    """
    steps = sorted(_steps(spans(rows)))
    live: Counter[bool] = Counter()
    for instant, change, overdraft in steps if limit else ():
        live[overdraft] += change
        if live[False] > limit or live.total() > most:
            yield Breach(
                Promise.CAPPED, f"at {instant}: {live[False]} regular seats and {live[True]} more, of {limit}/{most}"
            )
            return


def spans(rows: Iterable[Row]) -> Iterator[Span]:
    by_code: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.state in (SEATED, OVERDRAWN, RELEASED):
            by_code[row.code].append(row)
    for told in by_code.values():
        told.sort(key=lambda row: (row.time, row.id))
        for row, following in zip(told, [*told[1:], None], strict=True):
            end = row.expires if following is None else min(row.expires, following.time)
            if row.state != RELEASED and end > row.time:
                yield Span(row.time, end, row.state == OVERDRAWN)


def _steps(lived: Iterable[Span]) -> Iterator[tuple[int, int, bool]]:
    for first, end, overdraft in lived:
        yield first, 1, overdraft
        yield end, -1, overdraft


def held(calls: Iterable[Call], rows: Iterable[Row]) -> Iterator[Breach]:
    """Who holds a seat is not refused, and keeps the start of it. When a call was decided its row says."""
    at = {row.identity: row.time for row in rows if row.identity.method == TAKE}
    holding: dict[Machine, Seat] = {}
    for call in calls:
        machine = call.key, call.code
        if call.method == GIVE:  # done, or perhaps
            holding.pop(machine, None)
        if call.method != TAKE or call.identity not in at:
            continue
        has = holding.get(machine)
        running = has is not None and at[call.identity] < has.expires
        if call.message == Code.LIMIT and running:
            yield Breach(Promise.KEPT, f"{call} at {at[call.identity]}, yet it holds {has}")
        elif call.seat is not None:
            if running and has is not None and call.seat.start != has.start:
                yield Breach(Promise.KEPT, f"{call} was answered {call.seat}, yet it held {has}")
            holding[machine] = call.seat


def standing(calls: Iterable[Call], kept: Iterable[Kept]) -> Iterator[Breach]:
    """The table has what was answered last to each machine, if its last call was answered; and nobody else's lease."""
    last: dict[Machine, Call] = {}
    asked: set[Machine] = set()
    for call in calls:
        if call.method in (TAKE, GIVE) and call.message != Code.LIMIT:
            last[call.key, call.code] = call
            asked.add((call.key, call.code))
    there = {(each.key, each.code): each for each in kept}
    for (key, code), each in there.items():
        if not each.released and (key, code) not in asked:
            yield Breach(Promise.KEPT, f"{code} has a lease on {key}, and nobody was told that it may")
    for machine, call in last.items():
        row = there.get(machine)
        if call.granted and call.method == GIVE and row is not None and not row.released:
            yield Breach(Promise.KEPT, f"{call}, yet its lease is there: {row.seat}")
        elif call.seat is not None and (row is None or row.released or row.seat != call.seat):
            yield Breach(Promise.KEPT, f"{call} was answered {call.seat}, and the table has {row}")


def _lives(row: Kept, now: float) -> bool:
    return not row.released and row.seat.expires > now


async def _leases(connection: "asyncpg.Connection[asyncpg.Record]", keys: list[str]) -> list[Kept]:
    found = await connection.fetch(
        "select l.key, s.code, s.kind, s.start, s.expires, s.released"
        " from leases s join licenses l on l.id = s.license_id where l.key = any ($1)",
        keys,
    )
    return [
        Kept(key, code, Seat(kind == LeaseKind.OVERDRAFT, start, end), released)
        for key, code, kind, start, end, released in found
    ]
