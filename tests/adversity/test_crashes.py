"""Processes are killed and connections cut at the worst moment: what was answered is there, once; what was not, once or not
at all."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
from callers import Caller, on_every_worker, reader, stock, storm
from processes import bugs, kill, running, server, tree, worker_of, workers_ready
from proxy import Mode, Proxy, proxy
from recorder import OK, Call, Promise, Recorder
from sabotage import ANY_NUMBER_WILL_DO, SENT_AGAIN_IS_DONE_AGAIN, rewritten
from servers import Live, until

from storage.postgres.ledger import LANES


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=pytest.mark.soak)])
async def test_workers_killed_under_load_are_started_again_and_nothing_answered_is_lost(
    own: Live, record: Recorder, inside: asyncpg.Connection, rounds: int
) -> None:
    async with reader(own, record, inside) as following, storm(own, record) as load:
        for _ in range(rounds):
            for victims in ([0], [0, 1]):
                await until(load.progress(200), 60)
                killed = [own.demo["worker_pids"][slot] for slot in victims]
                kill(killed)
                await until(lambda killed=killed: _replaced(own, killed), 60)
        await until(load.progress(200), 60)
    assert any(call.status == 0 for call in record.calls)  # it did hit somebody
    assert await record.audit(inside, following) == []


@pytest.mark.parametrize("crashes", [1, pytest.param(20, marks=pytest.mark.soak)])
async def test_after_the_whole_tree_was_killed_under_load_a_restart_has_everything_that_was_answered(
    folder: Path, record: Recorder, crashes: int
) -> None:
    """Supervisor, workers, PostgreSQL with all its processes, Valkey: at once, without a word."""
    for _ in range(crashes):
        async with server(folder) as live, storm(live, record) as load:
            await until(load.progress(500), 60)
            family = tree(live.process.pid)
            kill(family)
            await until(lambda family=family: not running(family))
        assert live.process.wait(10) == -signal.SIGKILL
    await _everything_is_there(folder, record)


async def test_a_killed_supervisor_leaves_nothing_behind_and_a_restart_has_everything_that_was_answered(
    folder: Path, record: Recorder
) -> None:
    async with server(folder) as live, storm(live, record) as load:
        await until(load.progress(300), 60)
        family = tree(live.process.pid)
        live.process.kill()
        assert live.process.wait(10) == -signal.SIGKILL
        await until(lambda: not running(family), 30)
    assert len(family) > 4  # two workers and two engines at least
    await _everything_is_there(folder, record)


async def _everything_is_there(folder: Path, record: Recorder) -> None:
    """Start again on the same data, compare, and go on as if nothing had been."""
    async with server(folder) as live:
        connection = await live.database()
        assert await record.audit(connection) == []
        before = record.answered
        async with storm(live, record, clients=2) as load:
            await until(load.progress(100), 60)
        assert {call.status for call in record.calls[-(record.answered - before) :]} == {OK}
        assert await record.audit(connection) == []
        await connection.close()


# The moment between commit and answer


@asynccontextmanager
async def cuttable(dsn: str, folder: Path) -> AsyncIterator[tuple[Live, Proxy, asyncpg.Connection]]:
    """A server whose way to PostgreSQL leads through the proxy; the test itself looks past it."""
    parts = urlsplit(dsn)
    (sockets,) = parse_qs(parts.query)["host"]
    async with proxy(f"{sockets}/.s.PGSQL.5432") as carrier:
        by_proxy = f"postgresql://{parts.username}:{parts.password}@127.0.0.1:{carrier.port}{parts.path}?sslmode=disable"
        async with server(folder, DATABASE_URL=by_proxy) as live:
            connection = await asyncpg.connect(dsn)
            try:
                yield live, carrier, connection
            finally:
                carrier.become(Mode.PASS)
                await connection.close()


PREPARED = """
    select count(*) from pg_stat_activity
    where application_name = 'keyturn' and datname = current_database() and query like '%ledger_write(%'
"""
ROWS = "select count(*) from log where key = $1 and machine_code = $2"


async def prepare(callers: Sequence[Caller], record: Recorder, key: str, connection: asyncpg.Connection) -> None:
    """Have every lane write something, so that its next batch is one message: nothing is asked before it. And have the
    first of the callers' workers know the license as it is, so that its next verdict on it holds."""

    async def written() -> bool:
        for caller in callers:
            assert (await caller.activate(key, record.unique("m"))).granted
        return await connection.fetchval(PREPARED) == LANES * len(callers)

    await until(written)
    assert (await callers[0].activate(key, record.unique("m"))).granted


async def cut_after_the_commit(
    live: Live, carrier: Proxy, record: Recorder, keys: Sequence[str], connection: asyncpg.Connection
) -> list[Call]:
    """Have PostgreSQL commit calls whose answers never arrive, because the connection is cut; then let it connect again."""
    made = []
    async with on_every_worker(live, record) as workers:
        callers = [caller for (caller,) in workers]
        for key, one in product(keys, (callers, callers[::-1])):
            await prepare(one, record, key, connection)
            code = record.unique("cut")
            carrier.become(Mode.CUT)
            call = asyncio.ensure_future(one[0].activate(key, code))
            await until(lambda key=key, code=code: connection.fetchval(ROWS, key, code))
            assert not call.done()
            carrier.become(Mode.PASS)
            made.append(await call)
    return made


async def test_a_connection_cut_after_the_commit_was_sent_costs_nobody_an_answer_and_writes_nothing_twice(
    dsn: str, folder: Path, record: Recorder
) -> None:
    async with cuttable(dsn, folder) as (live, carrier, connection):
        keys = [*await stock(live, record, 1_000), *await stock(live, record, 0)]
        calls = await cut_after_the_commit(live, carrier, record, keys, connection)
        assert all(call.granted for call in calls)
        assert await record.audit(connection) == []
        without_numbers = rewritten(connection, "ledger_write", SENT_AGAIN_IS_DONE_AGAIN, ANY_NUMBER_WILL_DO)
        async with without_numbers:
            await cut_after_the_commit(live, carrier, record, keys, connection)
        assert {breach.promise for breach in await record.audit(connection)} == {Promise.LOGGED}
        assert bugs(live) == []


async def test_a_worker_killed_between_commit_and_answer_has_done_the_call_once(
    dsn: str, folder: Path, record: Recorder
) -> None:
    async with cuttable(dsn, folder) as (live, carrier, connection):
        (key,) = await stock(live, record, 1_000)
        async with on_every_worker(live, record) as ((caller,), (other,)):
            await prepare([caller, other], record, key, connection)
            victim = worker_of(live, (await caller.connect()).port)
            carrier.become(Mode.BLACK_HOLE)
            call = asyncio.ensure_future(caller.activate(key, "m", "the first time"))
            await until(lambda: connection.fetchval(ROWS, key, "m"))
            assert not call.done()
            assert victim is not None
            os.kill(victim, signal.SIGKILL)
            carrier.become(Mode.PASS)
            assert (await call).status == 0
            await until(lambda: _replaced(live, [victim]), 60)
            assert await connection.fetchval(ROWS, key, "m") == 1
            assert (await caller.activate(key, "m", "the first time")).granted
        rows = await connection.fetch("select state from log where key = $1 and machine_code = 'm' order by id", key)
        assert [each["state"] for each in rows] == [2011, 2010]
        assert await record.audit(connection) == []


async def _replaced(live: Live, killed: Sequence[int]) -> bool:
    return not set(killed) & set(live.demo["worker_pids"]) and await asyncio.to_thread(workers_ready, live, 2)
