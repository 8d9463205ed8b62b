"""Counters under many hands: bounds hold, a name is made once, and a killed worker loses no count and makes none twice."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain, count, cycle
from typing import Any

import asyncpg
import pytest
from callers import PAUSE_SECONDS, Caller, on_every_worker, stock
from processes import kill, workers_ready
from recorder import OK, Call, Recorder, answered
from servers import Live, until

from server.rules.codes import Code

Connection = asyncpg.Connection
Params = dict[str, Any]
KINDS = ("ToKey", "ToMachineCode", "")
UP, DOWN = "Increment", "Decrement"
DONE = {8011: 1, 8012: -1}


@dataclass(frozen=True, slots=True)
class Tally:
    """A counter, and how calls name it: `form` "" is the general one, of a counter of the product."""

    form: str
    id: int
    key: str
    place: Params

    async def step(self, caller: Caller, which: str, amount: int, **params: object) -> Call:
        return await caller.ask(f"data/{which}IntValue{self.form}", Id=self.id, IntValue=amount, **self.place, **params)

    async def value(self, connection: Connection) -> int:
        return await connection.fetchval("select int_value from data_objects where id = $1", self.id)

    async def rows(self, connection: Connection) -> list[tuple[int, int]]:
        """State and number of all steps that were logged, in order."""
        found = await connection.fetch(
            "select state, do_int_value from log where key = $1 and do_id = $2 and state in (8011, 8012, 8021, 8022)"
            " order by id", self.key, self.id
        )  # fmt: skip
        return [(row["state"], row["do_int_value"]) for row in found]


async def tally(live: Live, record: Recorder, form: str) -> Tally:
    """A new counter at 0, of a key, of a machine code or of the demo's product."""
    key, place, at = "", Params(), {"ReferencerType": "Product", "ReferencerId": live.demo["product_id"]}
    if form:
        (key,) = await stock(live, record, 1)
        place = at = {"Key": key} if form == "ToKey" else {"Key": key, "MachineCode": "m"}
    made = await asyncio.to_thread(live.call, f"data/AddDataObject{form}", Name=record.unique("counter"), **at)
    return Tally(form, made["id"], key, place)


@asynccontextmanager
async def crowd(live: Live, record: Recorder, number: int) -> AsyncIterator[list[Caller]]:
    """So many callers, some of them on each worker; the others wherever chance has it."""
    async with on_every_worker(live, record, 4) as workers, AsyncExitStack() as stack:
        some = list(chain(*workers))
        yield some + [await stack.enter_async_context(Caller(live, record)) for _ in range(number - len(some))]


@pytest.mark.parametrize("form", KINDS)
async def test_200_steps_up_and_down_at_once_over_all_workers_end_where_they_should_within_their_bounds(
    live: Live, record: Recorder, database: Connection, form: str
) -> None:
    counter = await tally(live, record, form)
    async with crowd(live, record, 50) as callers:

        async def twice(which: str, bound: int, some: Sequence[Caller]) -> list[Call]:
            both = [
                await asyncio.gather(*(counter.step(each, which, 1, EnableBound=True, Bound=bound) for each in some))
                for _ in range(2)
            ]
            return [call for calls in both for call in calls]

        first = await twice(UP, 60, callers)
        assert sorted(call.message or "" for call in first) == [""] * 60 + [Code.BOUND] * 40
        assert await counter.value(database) == 60
        ups, downs = await asyncio.gather(twice(UP, 60, callers[::2]), twice(DOWN, 30, callers[1::2]))
    granted = [sum(call.granted for call in calls) for calls in (ups, downs)]
    assert {call.message for call in (*ups, *downs)} <= {"", Code.BOUND}
    assert await counter.value(database) == 60 + granted[0] - granted[1]
    if form:
        rows = await counter.rows(database)
        assert Counter(state for state, _ in rows) == Counter(
            {8011: 60 + granted[0], 8021: 90 - granted[0], 8012: granted[1], 8022: 50 - granted[1]}
        )
        assert all(0 <= value <= 60 for value in running(rows))
    assert list(answered(record.calls)) == []


def running(rows: Sequence[tuple[int, int]]) -> Iterator[int]:
    """What the counter was after each step that was done: a license is locked while it changes, so rows are in order."""
    value = 0
    for state, amount in rows:
        value += DONE.get(state, 0) * amount
        yield value


@pytest.mark.parametrize("form", KINDS)
async def test_forty_who_add_one_name_at_once_make_one_object(
    live: Live, record: Recorder, database: Connection, form: str
) -> None:
    there = await tally(live, record, form)
    name = f"as {there.id}"
    at = there.place or {"ReferencerType": 1, "ReferencerId": live.demo["product_id"]}
    async with crowd(live, record, 40) as callers:
        calls = await asyncio.gather(
            *(each.ask(f"data/AddDataObject{form}", Name=name, CheckForDuplicates=True, **at) for each in callers)
        )
    assert Counter(call.message for call in calls) == {"": 1, Code.OBJECT_EXISTS: 39}
    (made,) = [call.answer["id"] for call in calls if call.granted]
    found = await database.fetch("select id from data_objects where name = $1", name)
    assert [row["id"] for row in found] == [made]


# A worker is killed in the middle


@dataclass(slots=True)
class Ledger:
    """What was asked of one counter, by numbers of which each is used once: up above 0, down below."""

    counter: Tally
    asked: dict[int, Call] = field(default_factory=dict)

    async def client(self, caller: Caller, numbers: Iterator[int], stop: asyncio.Event) -> None:
        """Step up and down by turns, until stopped."""
        while not stop.is_set():
            amount = next(numbers)
            which, sign = (UP, 1) if amount % 3 else (DOWN, -1)
            try:
                call = self.asked[sign * amount] = await self.counter.step(caller, which, amount)
            except OSError:  # nobody listens
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if call.status != OK:
                await asyncio.sleep(PAUSE_SECONDS)

    async def wrong(self, connection: Connection) -> list[str]:
        """What is not as it was answered: a step counts once if it was, else once or not at all."""
        value = await self.counter.value(connection)
        sure = sum(amount for amount, call in self.asked.items() if call.granted)
        unsure = [amount for amount, call in self.asked.items() if call.unknown]
        if not self.counter.form:  # it is not logged
            return [] if value - sure in sums(unsure) else [f"it is {value}, {sure} was answered, {unsure} may be done"]
        done = Counter(DONE[state] * amount for state, amount in await self.counter.rows(connection))
        may = {amount: (0, 1) if call.unknown else (int(call.granted),) for amount, call in self.asked.items()}
        told = sum(amount * times for amount, times in done.items())
        wrong = [f"{each}: {done[each]} rows" for each in may.keys() | done.keys() if done[each] not in may.get(each, ())]
        return wrong if told == value else [*wrong, f"it is {value}, the log says {told}"]


def sums(amounts: Sequence[int]) -> set[int]:
    """All that some of the amounts may add up to."""
    found = {0}
    for amount in amounts:
        found |= {each + amount for each in found}
    return found


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=pytest.mark.soak)])
async def test_a_killed_worker_loses_no_count_and_makes_none_twice(
    own: Live, record: Recorder, inside: Connection, rounds: int
) -> None:
    ledgers = [Ledger(await tally(own, record, form)) for form in KINDS]
    numbers, stop = count(1), asyncio.Event()

    def progress(more: int) -> bool:
        return all(sum(call.granted for call in ledger.asked.values()) >= more for ledger in ledgers)

    async with crowd(own, record, 9) as callers, asyncio.TaskGroup() as group:
        for caller, ledger in zip(callers, cycle(ledgers), strict=False):
            group.create_task(ledger.client(caller, numbers, stop))
        for round_ in range(1, rounds + 1):
            await until(lambda round_=round_: progress(20 * round_), 60)
            killed = own.demo["worker_pids"]
            kill(killed[round_ % len(killed) :][:1])
            await until(lambda killed=killed: replaced(own, killed), 60)
        await until(lambda: progress(20 * rounds + 20), 60)
        stop.set()
    assert any(call.unknown for call in record.calls)  # it did hit somebody
    assert list(answered(record.calls)) == []
    for ledger in ledgers:
        await until(lambda: settled(inside))
        assert await ledger.wrong(inside) == []
        assert {call.message for call in ledger.asked.values()} <= {"", None}


async def replaced(live: Live, before: Sequence[int]) -> bool:
    return set(before) != set(live.demo["worker_pids"]) and await asyncio.to_thread(workers_ready, live, len(before))


async def settled(connection: Connection) -> bool:
    """Whether nobody writes any more: also the one who was killed."""
    return not await connection.fetchval(
        "select count(*) from pg_stat_activity"
        " where application_name = 'keyturn' and state <> 'idle' and datname = current_database()"
    )
