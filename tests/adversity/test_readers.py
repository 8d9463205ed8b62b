"""Who reads the log delays no writer: it waits for those who began before it, and nobody ever waits for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from callers import Caller, LogReader, on_every_worker, reader, stock, storm
from recorder import GET_LOG, OK, Recorder
from servers import Live, until

Connection = asyncpg.Connection
WRITER_BEGINS = "select log_writer_begins()"
# Locks that keep writers of the log waiting, or are about to: anything but a shared one on it, or one that is waited for.
IN_THE_WAY = """
    select l.mode || case when l.granted then '' else ' (waits)' end
    from pg_locks l
    where l.database = (select d.oid from pg_database d where d.datname = current_database())
      and (l.locktype = 'advisory' and l.objid = 5437140 and (l.mode <> 'ShareLock' or not l.granted)
           or l.relation in ('log'::regclass, 'lanes'::regclass)
              and l.mode in ('ShareLock', 'ExclusiveLock', 'AccessExclusiveLock'))
"""


@asynccontextmanager
async def watch(connection: Connection) -> AsyncIterator[list[str]]:
    """Look at the locks as often as can be; the list has the number of looks, and then what was in anyone's way."""
    seen: list[str] = ["0"]
    stop = asyncio.Event()

    async def look() -> None:
        while not stop.is_set():
            seen.extend(row[0] for row in await connection.fetch(IN_THE_WAY))
            seen[0] = str(int(seen[0]) + 1)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        group.create_task(look())
        try:
            yield seen
        finally:
            stop.set()


@pytest.fixture
async def watching(live: Live) -> AsyncIterator[Connection]:
    connection = await live.database()
    yield connection
    await connection.close()


@pytest.mark.parametrize("calls", [600, pytest.param(50_000, marks=pytest.mark.soak)])
async def test_readers_under_load_are_in_no_writers_way_and_miss_nothing(
    live: Live, record: Recorder, database: Connection, watching: Connection, calls: int
) -> None:
    async with (
        watch(watching) as seen,
        reader(live, record, database) as one,
        reader(live, record, database) as other,
        storm(live, record, clients=6) as load,
    ):
        await until(load.progress(calls), 600)
    looks, *in_the_way = seen
    assert int(looks) > 20
    assert in_the_way == []
    assert await record.audit(database, one) == []
    assert await record.audit(database, other) == []


async def test_a_reader_waits_for_a_writer_that_began_before_it_while_everybody_else_writes_on(
    live: Live, record: Recorder, database: Connection, watching: Connection
) -> None:
    (key,) = await stock(live, record, 1_000)
    behind = LogReader(live, record, await database.fetchval("select last_value from log_id"))
    async with on_every_worker(live, record, 2) as workers, watch(watching) as seen:
        slow = database.transaction()
        await slow.start()
        await database.execute(WRITER_BEGINS)
        reading = asyncio.ensure_future(behind.page())
        await until(lambda: any(call.method == GET_LOG for call in record.calls))
        for _ in range(10):
            await asyncio.gather(*(caller.activate(key, record.unique("m")) for callers in workers for caller in callers))
        assert not reading.done()
        await slow.rollback()
        await reading
    assert {call.status for call in record.calls} == {OK}
    assert seen[1:] == []
    assert await record.audit(database, behind) == []


async def test_a_lock_in_the_writers_way_is_seen(live: Live, database: Connection, watching: Connection) -> None:
    """What a reader must not do: ask for the lock as its own. Then whoever comes to write waits behind it."""
    (key,) = await stock(live, Recorder(), 1_000)
    async with watch(watching) as seen, Caller(live, Recorder()) as caller:
        async with database.transaction():
            await database.execute("select pg_advisory_xact_lock(5437140)")
            late = asyncio.ensure_future(caller.activate(key, "m"))
            await until(lambda: "ShareLock (waits)" in seen)
            assert not late.done()
        assert (await late).granted
    assert "ExclusiveLock" in seen
