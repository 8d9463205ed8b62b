"""Months of the log come and go beside a long report on it: no writer waits for the reader (a partition leaves)."""

import asyncio
import datetime
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from servers import until
from world import NOW, World, make

from server.rules.privacy import mask
from storage.postgres.migrate import make_partitions
from storage.postgres.retention import Periods, retain
from storage.postgres.upkeep import upkeep

TODAY = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
KEPT = Periods(anonymise_months=0, event_days=0, log_months=12)
LIVELY = 5.0  # seconds: the report ends later than everything that is waited for here
STALL = 0.25
REPORT_SECONDS = 3
DETACHING = """
    select 1 from pg_stat_activity
    where datname = current_database() and query like 'alter table log detach%' and wait_event_type = 'Lock'
"""


@pytest.fixture
async def world(dsn: str) -> AsyncIterator[World]:
    made = await make(dsn)
    await make_partitions(made.connection, TODAY - datetime.timedelta(days=500))
    yield made
    await made.close()


@asynccontextmanager
async def report(world: World) -> AsyncIterator[None]:
    """Somebody who has read the log and does not end before the block."""
    connection = await asyncpg.connect(world.dsn)
    transaction = connection.transaction()
    await transaction.start()
    await connection.fetchval("select count(*) from log")
    try:
        yield
    finally:
        await transaction.rollback()
        await connection.close()


async def leave(world: World) -> None:
    """Have the months of the log leave that are older than a year."""
    await retain(world.dsn, datetime.datetime.now(datetime.UTC), KEPT, mask)


async def left(world: World) -> int:
    """How many months from before the last year there are still, as partitions or otherwise."""
    before = f"log_{TODAY - datetime.timedelta(days=400):%Y_%m}"
    names = "select count(*) from pg_class where relkind = 'r' and relname between 'log_2000' and $1"
    return await world.connection.fetchval(names, before)


async def test_while_a_partition_leaves_beside_a_report_no_writer_waits_for_its_end(world: World) -> None:
    assert await left(world) > 0
    key = await world.license(machines=1_000)
    async with report(world):
        leaving = asyncio.ensure_future(leave(world))
        await until(lambda: world.connection.fetchval(DETACHING))
        for number in range(50):
            async with asyncio.timeout(LIVELY):
                assert await world.activate(key, f"m{number}") == "new"
        assert await world.connection.fetchval(DETACHING)  # the report has not ended, nor has what waits for it
        assert not leaving.done()
    async with asyncio.timeout(LIVELY):
        await leaving
    assert await left(world) == 0
    assert await world.states(key) == [2011] * 50


async def test_a_partition_that_is_made_ahead_waits_for_no_report_and_no_writer_for_it(world: World) -> None:
    key = await world.license(machines=1_000)
    async with report(world):
        making = asyncio.ensure_future(upkeep(world.dsn, TODAY + datetime.timedelta(days=200)))
        for number in range(50):
            async with asyncio.timeout(LIVELY):
                assert await world.activate(key, f"m{number}") == "new"
        async with asyncio.timeout(LIVELY):
            assert await making > 60


@pytest.mark.soak
async def test_beside_a_report_of_three_seconds_no_insert_stalls_for_a_quarter_of_a_second(world: World) -> None:
    key = await world.license(machines=1_000_000)
    await world.activate(key, "first")
    done = asyncio.Event()
    stalls: list[float] = []

    async def write() -> None:
        while not done.is_set():
            began = time.monotonic()
            assert await world.activate(key, "first") == "known"
            stalls.append(time.monotonic() - began)

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        async with report(world):
            leaving = asyncio.ensure_future(leave(world))
            await asyncio.sleep(REPORT_SECONDS)
            assert not leaving.done()
        await leaving
        await asyncio.sleep(0.5)
        done.set()
    assert await left(world) == 0
    assert len(stalls) > 100
    assert max(stalls) < STALL
