"""Many at once: more machines than places, one machine many times, batches that hold the same licenses crosswise."""

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest
from callers import Caller, on_every_worker, reader, stock, storm
from recorder import OK, Recorder
from sabotage import LOCKED_IN_ANY_ORDER, LOCKED_SLOWLY, rewritten
from servers import Live, until

from server.rules.codes import Code

Connection = asyncpg.Connection


@pytest.mark.parametrize("machines", [40, pytest.param(400, marks=pytest.mark.soak)])
async def test_forty_machines_on_each_of_forty_licenses_of_five_over_all_workers_are_five(
    live: Live, record: Recorder, database: Connection, machines: int
) -> None:
    keys = await stock(live, record, 5, 40)
    async with on_every_worker(live, record, machines // 2) as workers, reader(live, record, database) as following:
        callers = [caller for callers in workers for caller in callers]

        async def race(caller: Caller, number: int) -> None:
            for key in keys:
                await caller.activate(key, f"m{number}", f"racer {number}")

        await asyncio.gather(*(race(caller, number) for number, caller in enumerate(callers)))
    by_key = {key: [call for call in record.calls if call.key == key] for key in keys}
    assert {sum(call.granted for call in calls) for calls in by_key.values()} == {5}
    assert {sum(call.message == Code.LIMIT for call in calls) for calls in by_key.values()} == {machines - 5}
    assert await record.audit(database, following) == []


async def test_the_same_activation_eight_times_at_once_is_one_machine_eight_successes_and_eight_rows(
    live: Live, record: Recorder, database: Connection
) -> None:
    keys = await stock(live, record, 1, 20)
    async with on_every_worker(live, record, 4) as workers:
        for key in keys:
            await asyncio.gather(*(caller.activate(key, "m", "it") for callers in workers for caller in callers))
    assert all(call.granted for call in record.calls)
    assert await record.audit(database) == []
    rows = await database.fetch("select key, count(*) from log where key = any ($1) group by key", keys)
    assert [row["count"] for row in rows if row["key"]] == [9] * 20  # one of them of the key's creation
    machines = "select count(*) from machines m join licenses l on l.id = m.license_id where l.key = any ($1)"
    assert await database.fetchval(machines, keys) == 20


async def bait(live: Live, record: Recorder, rounds: int) -> int:
    """Batches of all workers hold the same licenses, sent in opposite order: machines that come and go. How many calls were
    refused: whose batch PostgreSQL ends for a deadlock gets 503."""
    keys = await stock(live, record, 100_000, 6)

    async def batches(callers: Sequence[Caller], order: Sequence[str]) -> None:
        for _ in range(rounds):
            pairs = zip(callers, order, strict=True)
            calls = await asyncio.gather(*(caller.activate(key, record.unique("m")) for caller, key in pairs))
            back = zip(callers, calls, strict=True)
            await asyncio.gather(*(caller.deactivate(call.key, call.code) for caller, call in back))

    async with on_every_worker(live, record, 2 * len(keys)) as workers:
        await asyncio.gather(
            *(batches(callers[: len(keys)], keys) for callers in workers),
            *(batches(callers[len(keys) :], keys[::-1]) for callers in workers),
        )
    return sum(call.status != OK for call in record.calls)


@pytest.mark.parametrize("rounds", [15, pytest.param(1_000, marks=pytest.mark.soak)])
async def test_batches_that_hold_the_same_licenses_in_opposite_order_never_deadlock(
    own: Live, record: Recorder, inside: Connection, rounds: int
) -> None:
    """Each lock is made to take its time, so that batches do meet in the middle of it."""
    async with rewritten(inside, "ledger_write", LOCKED_SLOWLY):
        assert await bait(own, record, rounds) == 0
    assert await record.audit(inside) == []


async def test_locks_that_are_taken_in_any_order_are_caught_by_the_bait(
    own: Live, record: Recorder, inside: Connection
) -> None:
    async with rewritten(inside, "ledger_write", LOCKED_SLOWLY, LOCKED_IN_ANY_ORDER):
        refused = 0
        for _ in range(20):
            refused = refused or await bait(own, record, 1)
        assert refused > 0
    assert await record.audit(inside) == []


@pytest.mark.parametrize("calls", [2_000, pytest.param(50_000, marks=pytest.mark.soak)])
async def test_under_a_mixed_load_every_promise_is_kept(
    live: Live, record: Recorder, database: Connection, calls: int
) -> None:
    async with reader(live, record, database) as following, storm(live, record) as load:
        await until(load.progress(calls), 600)
    assert {call.status for call in record.calls} == {OK}
    assert await record.audit(database, following) == []
    assert await database.fetchval("select deadlocks from pg_stat_database where datname = current_database()") == 0
