"""PostgreSQL goes away and comes back, its connections are killed, its pool is exhausted: refused at once, nothing lost, and
full service again by itself."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from callers import LogReader, on_every_worker, reader, stock, storm
from processes import bugs, engine, running, server, tree, workers_ready
from recorder import CREATE_KEY, GET_LOG, OK, UNAVAILABLE, Recorder
from sabotage import holding, waiting
from servers import Live, open_folder, until

from storage.embedded.home import lock, prepare
from storage.embedded.postgres import Postgres

KILL = """
    select count(pg_terminate_backend(pid)) from pg_stat_activity
    where application_name = 'keyturn' and datname = current_database()
"""
HOLDERS = """
    select pid, query_start from pg_stat_activity
    where wait_event_type = 'Lock' and application_name = 'keyturn' and datname = current_database() order by pid
"""
AT_ONCE = 3.0  # far below the 5 s after which a caller is refused that waits for something


@asynccontextmanager
async def postgres_of_ours() -> AsyncIterator[Postgres]:
    """A PostgreSQL that the test stops and starts, as an operator's own."""
    with open_folder() as data, lock(data):
        ours = Postgres(prepare(data))
        await ours.start()
        try:
            yield ours
        finally:
            await ours.stop()


async def everything_is_refused_at_once(live: Live, record: Recorder, key: str) -> None:
    async with on_every_worker(live, record, 10) as workers:
        everyone = [caller for callers in workers for caller in callers]
        calls = await asyncio.gather(
            *(caller.activate(key, record.unique("m")) for caller in everyone[:11]),
            *(caller.get_key(key) for caller in everyone[11:14]),
            *(caller.ask(GET_LOG) for caller in everyone[14:17]),
            *(caller.ask(CREATE_KEY, Period=1) for caller in everyone[17:]),
        )
    assert {call.status for call in calls} == {UNAVAILABLE}
    assert {call.retry_after for call in calls} <= {"1", "5"}
    assert max(call.received - call.sent for call in calls) < AT_ONCE


@pytest.mark.parametrize("outages", [2, pytest.param(15, marks=pytest.mark.soak)])
async def test_without_postgresql_every_call_is_refused_at_once_and_served_again_by_itself(
    folder: Path, record: Recorder, outages: int
) -> None:
    async with postgres_of_ours() as ours, server(folder, DATABASE_URL=ours.dsn) as live:
        processes = tree(live.process.pid)
        connection = await live.database()
        first = await connection.fetchval("select last_value from log_id")
        await connection.close()
        following = LogReader(live, record, first)
        async with on_every_worker(live, record) as workers, storm(live, record) as load:
            (key,) = await stock(live, record, 1_000)
            for number in range(outages):
                await until(load.progress(200), 60)
                await following.page()
                for (caller,) in workers:  # so that each knows the license, and refuses for PostgreSQL's sake alone
                    await caller.activate(key, "known", record.unique("name"))
                if number % 2:
                    os.kill(ours.pid, signal.SIGKILL)
                    await ours.wait()
                else:
                    await ours.stop()
                await everything_is_refused_at_once(live, record, key)
                assert not await asyncio.to_thread(live.ready)
                await ours.start()
                await until(lambda: asyncio.to_thread(live.ready), 30)
            await until(load.progress(200), 60)
        assert set(running(processes)) == set(processes)
        connection = await live.database()
        assert await record.audit(connection, following) == []
        await connection.close()
        assert bugs(live) == []


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("kills", [2, pytest.param(15, marks=pytest.mark.soak)])
async def test_an_embedded_postgresql_that_is_killed_under_load_is_started_again_and_nothing_answered_is_lost(
    own: Live, record: Recorder, kills: int
) -> None:
    async with storm(own, record) as load:
        for _ in range(kills):
            await until(load.progress(300), 60)
            killed = engine(own, "postgres")
            os.kill(killed, signal.SIGKILL)
            await until(lambda killed=killed: killed not in tree(own.process.pid))
            await until(load.progress(300), 60)
    connection = await own.database()
    assert await record.audit(connection) == []
    await connection.close()
    assert await asyncio.to_thread(workers_ready, own, 2)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("kills", [8, pytest.param(200, marks=pytest.mark.soak)])
async def test_killed_database_connections_are_opened_again_and_cost_no_answered_call(
    own: Live, record: Recorder, inside: asyncpg.Connection, kills: int
) -> None:
    processes = tree(own.demo["worker_pids"][0]) | tree(own.demo["worker_pids"][1])
    async with reader(own, record, inside) as following, storm(own, record) as load:
        for _ in range(kills):
            await until(load.progress(100), 60)
            assert await inside.fetchval(KILL) >= 2
        await until(load.progress(100), 60)
    assert set(running(processes)) == set(processes)
    assert sum(call.status != OK for call in record.calls) < len(record.calls) / 2
    assert await record.audit(inside, following) == []


@pytest.mark.usefixtures("quiet")
async def test_an_exhausted_pool_is_refused_in_time_and_delays_no_machine_that_is_known(
    own: Live, record: Recorder, inside: asyncpg.Connection
) -> None:
    """Reads wait for a table that somebody holds, until no connection is left to read with."""
    (key,) = await stock(own, record, 5)
    async with on_every_worker(own, record, 9) as workers:
        for known, *_ in workers:
            await known.activate(key, "known")
        asked = []
        async with holding(own.demo["postgres_dsn"], "lock table data_objects in access exclusive mode"):
            for _, *callers in workers:
                asked += [asyncio.ensure_future(caller.ask(CREATE_KEY, Period=1)) for caller in callers]
            await until(lambda: waiting(inside, 8))
            holders = await inside.fetch(HOLDERS)
            for known, *_ in workers:
                assert (await known.activate(key, "known")).granted
            await until(lambda: sum(each.done() for each in asked) >= 8, 15)
            refused = [each.result() for each in asked if each.done()]
            assert await inside.fetch(HOLDERS) == holders  # those came first and wait still: nobody waited for their end
        granted = [call for call in await asyncio.gather(*asked) if call not in refused]
        assert {call.status for call in refused} == {UNAVAILABLE}
        assert all(call.retry_after for call in refused)
        again = await asyncio.gather(*(known.ask(CREATE_KEY, Period=1) for known, *_ in workers))
    assert all(call.granted for call in [*granted, *again])
    assert await record.audit(inside) == []
