"""Clients that leave in the middle of a call: nothing that has begun is cancelled, nobody gets another's answer, and the
connections to PostgreSQL are the same as before."""

import asyncio
import random
import time

import asyncpg
import pytest
from callers import Caller, on_every_worker, request, stock, storm
from recorder import ACTIVATE, CREATE_KEY, OK, Recorder
from sabotage import holding, lock_license, waiting
from servers import Live, until

ALL = "select pid, backend_start from pg_stat_activity where application_name = 'keyturn' and datname = current_database()"
PER_WORKER = 8  # two lanes, four for lookups, two for reports


async def leave(live: Live, record: Recorder, key: str, chance: random.Random) -> None:
    """Begin a call and close the socket: within the request, right after it, or within the answer."""
    async with Caller(live, record) as caller:
        connection = await caller.connect()
        code = record.unique("leaver")
        whole = request(ACTIVATE, caller.body(Key=key, MachineCode=code))
        part = chance.randrange(1, len(whole) + 60)
        call = record.note(ACTIVATE, {"Key": key, "MachineCode": code}) if part >= len(whole) else None
        connection.writer.write(whole[:part])
        if part > len(whole):
            await asyncio.wait_for(connection.reader.read(part - len(whole)), 15)
        if call is not None:
            call.received = time.monotonic()  # it left: there is no answer


@pytest.mark.parametrize("leavers", [300, pytest.param(20_000, marks=pytest.mark.soak)])
async def test_clients_that_leave_in_mid_request_disturb_nobody(
    live: Live, record: Recorder, database: asyncpg.Connection, leavers: int
) -> None:
    (key,) = await stock(live, record, 100_000)
    chance = random.Random(5)
    async with storm(live, record, clients=6) as load:
        await until(load.progress(100))
        before = {tuple(row) for row in await database.fetch(ALL)}
        for _ in range(leavers // 30):
            await asyncio.gather(*(leave(live, record, key, chance) for _ in range(30)))
        await until(load.progress(100))
        after = {tuple(row) for row in await database.fetch(ALL)}
    assert before <= after
    assert len(after) <= 2 * PER_WORKER
    assert {call.status for call in record.calls if call.key != key} == {OK}
    assert await record.audit(database) == []
    assert await database.fetchval("select count(*) from log where key = $1 and state = 2011", key) > leavers / 20


async def leave_while_it_waits(
    caller: Caller, neighbour: Caller, database: asyncpg.Connection, method: str, body: bytes
) -> None:
    """Close the socket while PostgreSQL makes the call wait, and see that its worker has noticed: it serves a neighbour."""
    connection = await caller.connect()
    connection.writer.write(request(method, body))
    await until(lambda: waiting(database, 1))
    caller.close()
    for _ in range(3):
        await neighbour.ask("no/such")


async def test_a_machine_whose_client_left_while_it_was_written_is_registered_all_the_same(
    live: Live, record: Recorder, database: asyncpg.Connection
) -> None:
    (key,) = await stock(live, record, 5)
    async with on_every_worker(live, record, 2) as ((caller, neighbour), _):
        async with holding(live.demo["postgres_dsn"], lock_license(key)):
            body = caller.body(Key=key, MachineCode="m", FriendlyName="left")
            await leave_while_it_waits(caller, neighbour, database, ACTIVATE, body)
        await until(lambda: database.fetchval("select count(*) from log where key = $1 and friendly_name = 'left'", key))
        assert (await neighbour.activate(key, "m")).granted
    states = await database.fetch("select state from log where key = $1 and machine_code = 'm' order by id", key)
    assert [row["state"] for row in states] == [2011, 2010]


async def test_a_key_whose_client_left_while_it_was_made_is_made_all_the_same(
    live: Live, record: Recorder, database: asyncpg.Connection
) -> None:
    async with on_every_worker(live, record, 2) as ((caller, neighbour), _):
        async with holding(live.demo["postgres_dsn"], "select from product_counters for update"):
            body = caller.body(Period=1, Notes="left")
            await leave_while_it_waits(caller, neighbour, database, CREATE_KEY, body)
        await until(lambda: database.fetchval("select count(*) from licenses where notes = 'left'"))
