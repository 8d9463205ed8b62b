"""Many at once for floating seats: more machines than seats, holders among newcomers, one machine many times."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

import asyncpg
import pytest
from callers import Caller, on_every_worker, stock
from recorder import OK, Call, Recorder, answered
from servers import Live

from server.rules.codes import Code

Connection = asyncpg.Connection
INTERVAL = 600  # longer than any test: no seat ends in one


async def seated(database: Connection, keys: Sequence[str]) -> dict[str, dict[str, bool]]:
    """The codes that have a seat by what is recorded, of each key, and whether it is above the limit."""
    found: dict[str, dict[str, bool]] = {key: {} for key in keys}
    for key, code, kind in await database.fetch(
        "select l.key, s.code, s.kind from leases s join licenses l on l.id = s.license_id"
        " where l.key = any ($1) and not s.released",
        keys,
    ):
        found[key][code] = kind == 2
    return found


async def logged(database: Connection, keys: Sequence[str]) -> dict[str, list[tuple[str, int]]]:
    """What is logged of each key's calls: machine code and state, sorted."""
    found: dict[str, list[tuple[str, int]]] = {key: [] for key in keys}
    for key, code, state in await database.fetch(
        "select key, machine_code, state from log where key = any ($1) and state <> 3010", keys
    ):
        found[key].append((code, state))
    return {key: sorted(rows) for key, rows in found.items()}


def by_key(calls: Sequence[Call]) -> dict[str, list[Call]]:
    sorted_: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        sorted_[call.key].append(call)
    return sorted_


def unanswered(record: Recorder) -> list[str]:
    """The calls that got neither a yes nor a no: nobody should have to come again."""
    return [f"{call}, {dict(call.answer)}" for call in record.calls if call.status != OK] + [
        each.what for each in answered(record.calls)
    ]


@pytest.mark.parametrize("machines", [40, pytest.param(400, marks=pytest.mark.soak)])
async def test_forty_machines_on_each_of_forty_licenses_of_five_over_all_workers_take_the_seats_there_are(
    live: Live, record: Recorder, database: Connection, machines: int
) -> None:
    """On every other license they may take three above the limit."""
    overdrafts = {key: 3 * (number % 2) for number, key in enumerate(await stock(live, record, 5, 40))}
    async with on_every_worker(live, record, machines // 2) as workers:
        callers = [caller for callers in workers for caller in callers]

        async def race(caller: Caller, number: int) -> None:
            for key, overdraft in overdrafts.items():
                await caller.take(key, f"m{number}", INTERVAL, overdraft)

        await asyncio.gather(*(race(caller, number) for number, caller in enumerate(callers)))
    assert unanswered(record) == []
    recorded, rows = await seated(database, list(overdrafts)), await logged(database, list(overdrafts))
    for key, calls in by_key(record.calls).items():
        granted = {call.code for call in calls if call.granted}
        assert (len(calls), len(granted)) == (machines, 5 + overdrafts[key])
        assert {call.message for call in calls if not call.granted} == {Code.LIMIT}
        assert set(recorded[key]) == granted
        assert sum(recorded[key].values()) == overdrafts[key]
        states = {code: 2015 if above else 2014 for code, above in recorded[key].items()}
        assert rows[key] == sorted((call.code, states.get(call.code, 2024)) for call in calls)


async def test_machines_and_seats_of_one_license_that_are_wanted_at_once_are_counted_apart(
    live: Live, record: Recorder, database: Connection
) -> None:
    keys = await stock(live, record, 5, 5)
    async with on_every_worker(live, record, 20) as workers:

        async def race(caller: Caller, number: int, *, floats: bool) -> None:
            for key in keys:
                if floats:
                    await caller.take(key, f"m{number}", INTERVAL, 3)
                else:
                    await caller.activate(key, f"m{number}")

        await asyncio.gather(
            *(
                race(caller, number, floats=floats)
                for callers in workers
                for floats, half in ((True, callers[:10]), (False, callers[10:]))
                for number, caller in enumerate(half, start=100 * workers.index(callers))
            )
        )
    assert unanswered(record) == []
    rows = await logged(database, keys)
    for key, recorded in (await seated(database, keys)).items():
        states = [state for _, state in rows[key]]
        assert [states.count(state) for state in (2011, 2023, 2014, 2015, 2024)] == [5, 15, 5, 3, 12]
        assert len(recorded) == 8
    machines = (
        "select l.key, count(*) from machines m join licenses l on l.id = m.license_id where l.key = any ($1) group by 1"
    )
    assert dict(await database.fetch(machines, keys)) == dict.fromkeys(keys, 5)


async def test_who_has_a_seat_keeps_it_however_many_others_want_it(
    live: Live, record: Recorder, database: Connection
) -> None:
    keys = await stock(live, record, 5, 4)
    async with on_every_worker(live, record, 12) as workers:
        one, two = workers
        for key in keys:
            await asyncio.gather(*(caller.take(key, f"holder {number}", INTERVAL) for number, caller in enumerate(one[:5])))

        async def heartbeats(caller: Caller, number: int) -> None:
            for _ in range(4):
                for key in keys:
                    await caller.take(key, f"holder {number}", INTERVAL)

        async def wants(caller: Caller) -> None:
            for _ in range(4):
                for key in keys:
                    await caller.take(key, record.unique("newcomer"), INTERVAL)

        held = (one[number] if number % 2 else two[number] for number in range(5))
        await asyncio.gather(
            *(heartbeats(caller, number) for number, caller in enumerate(held)),
            *(wants(caller) for caller in (*one[5:], *two[5:])),
        )
    assert unanswered(record) == []
    assert {call.granted for call in record.calls if call.code.startswith("holder")} == {True}
    assert {call.message for call in record.calls if call.code.startswith("newcomer")} == {Code.LIMIT}
    holders = {f"holder {number}": False for number in range(5)}
    assert await seated(database, keys) == dict.fromkeys(keys, holders)


async def test_the_same_machine_eight_times_at_once_is_one_seat_eight_successes_and_eight_rows(
    live: Live, record: Recorder, database: Connection
) -> None:
    keys = await stock(live, record, 1, 10)
    async with on_every_worker(live, record, 4) as workers:
        for key in keys:
            await asyncio.gather(*(caller.take(key, "m", INTERVAL) for callers in workers for caller in callers))
    assert all(call.granted for call in record.calls)
    assert await seated(database, keys) == {key: {"m": False} for key in keys}
    assert await logged(database, keys) == dict.fromkeys(keys, [("m", 2014)] * 8)


async def test_seats_that_are_given_back_and_taken_at_once_are_never_more_than_there_are(
    live: Live, record: Recorder, database: Connection
) -> None:
    """Each machine knows when it surely has a seat: from the answer that grants it until it asks to give it back."""
    keys = await stock(live, record, 2, 3)
    held: dict[str, set[int]] = {key: set() for key in keys}
    most = dict.fromkeys(keys, 0)

    async def come_and_go(caller: Caller, number: int) -> None:
        before = ""  # whose seat is kept while the next one is asked for
        for key in [*keys * 4, ""]:
            granted = key and (await caller.take(key, f"m{number}", INTERVAL, 1)).granted
            if granted:
                held[key].add(number)
                most[key] = max(most[key], len(held[key]))
            if before:
                held[before].discard(number)
                await caller.give(before, f"m{number}")
            before = key if granted else ""

    async with on_every_worker(live, record, 8) as workers:
        callers = [caller for callers in workers for caller in callers]
        await asyncio.gather(*(come_and_go(caller, number) for number, caller in enumerate(callers)))
        assert unanswered(record) == []
        assert {1, 2, 3} >= set(most.values())
        assert await seated(database, keys) == {key: {} for key in keys}
        again = [await caller.take(key, f"n{number}", INTERVAL) for key in keys for number, caller in enumerate(callers[:3])]
    assert [call.granted for call in again] == [True, True, False] * len(keys)  # nothing was left behind
