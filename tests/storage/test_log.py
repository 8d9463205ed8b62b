"""The reader of the log (ports.Log): ids become visible out of order, and yet nobody who follows them misses a row."""

import asyncio

import asyncpg
import pytest
from servers import until
from world import HERE, NOW, World

from storage.errors import Stale, Unavailable
from storage.postgres import log as logs
from storage.records import LogQuery
from storage.stamps import new_stamp

# A reader has seen who writes: the statement has ended at least once, in another session.
HAS_LOOKED = """
select from pg_stat_activity
where query like '%virtualtransaction%' and state = 'idle' and pid <> pg_backend_pid()
"""
ROW = """
insert into log (account_id, product_id, license_id, key, ip, time, state, machine_code, friendly_name,
                 floating_expires, do_int_value, do_id)
values ($1, $2, 0, '', '', $3, 3021, '', '', 0, 0, 0) returning id
"""


async def ids(world: World, **query: object) -> list[int]:
    return [row.id for row in await world.log.read(world.token, LogQuery(account_id=world.account, **query))]  # type: ignore[arg-type]


async def test_a_reader_waits_for_the_writers_that_began_before_it_and_for_no_other(world: World) -> None:
    """One writer has drawn a lower id and has not committed when a higher id is there already."""
    slow = await asyncpg.connect(world.dsn)
    transaction = slow.transaction()
    await transaction.start()
    await slow.execute("select log_writer_begins()")
    lower = await slow.fetchval(ROW, world.account, world.product, NOW)
    key = await world.license()
    await world.activate(key, "m")
    reading = asyncio.ensure_future(ids(world))
    late = await asyncpg.connect(world.dsn)  # begins after the reader, and never ends
    await until(lambda: world.reads.fetch(HAS_LOOKED))
    later = late.transaction()
    await later.start()
    await late.execute("select log_writer_begins()")
    assert not reading.done()
    await transaction.commit()
    assert await reading == [lower, lower + 1]
    await later.rollback()
    await slow.close()
    await late.close()


async def test_a_writer_that_rolls_back_leaves_a_gap_and_no_wait(world: World) -> None:
    key = await world.license()
    await world.activate(key, "a")
    async with asyncio.timeout(5):
        transaction = world.connection.transaction()
        await transaction.start()
        await world.connection.execute("select log_writer_begins()")
        await world.connection.fetchval(ROW, world.account, world.product, NOW)
        await transaction.rollback()
        await world.activate(key, "b")
        first, last = await ids(world)
    assert last == first + 2


async def test_a_writer_that_does_not_end_makes_the_reader_give_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "BARRIER_SECONDS", 0.2)
    transaction = world.connection.transaction()
    await transaction.start()
    await world.connection.execute("select log_writer_begins()")
    with pytest.raises(Unavailable):
        await ids(world)
    await transaction.rollback()


async def test_the_reader_takes_no_lock_that_a_writer_could_wait_for(world: World) -> None:
    """Writers go on while a reader waits at the barrier: several commit, and none of them is waited for."""
    holder = await asyncpg.connect(world.dsn)
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("select log_writer_begins()")
    reading = asyncio.ensure_future(ids(world, limit=1000))
    key = await world.license(machines=100)
    for number in range(20):
        await world.activate(key, f"m{number}")
    odd = "locktype = 'advisory' and (not granted or mode <> 'ShareLock')"
    waiting = f"select count(*) from pg_locks where {odd} and {HERE}"
    assert await world.connection.fetchval(waiting) == 0
    assert not reading.done()
    await transaction.commit()
    await reading
    await holder.close()


async def test_pages_go_both_ways_and_filter(world: World) -> None:
    keys = [await world.license(), await world.license()]
    for number in range(6):
        await world.activate(keys[number % 2], f"m{number}")
    every = await ids(world)
    assert every == sorted(every)
    assert len(every) == 6
    assert await ids(world, after_id=every[1], limit=2) == every[2:4]
    assert await ids(world, before_id=every[4], descending=True, limit=3) == every[3:0:-1]
    assert await ids(world, machine_code="m3") == [every[3]]
    assert await ids(world, states=(2023,)) == []
    assert await ids(world, until=NOW - 1) == []
    assert await ids(world, product_id=world.product, since=NOW) == every
    assert await ids(world, product_id=world.product + 1) == []


async def test_a_revoked_token_reads_nothing(world: World) -> None:
    await world.connection.execute("update tokens set revoked = 1, stamp = $1", new_stamp())
    with pytest.raises(Stale):
        await ids(world)
