"""What no server can store, and what this one cannot at the moment, as clients see it: refused at the door, 500 for the one
call at fault, 503 for all while the log has no place."""

import asyncio

import asyncpg
import pytest
from callers import Caller, Connection, on_every_worker, stock
from processes import bugs, events
from recorder import ACTIVATE, OK, UNAVAILABLE, Recorder
from sabotage import trigger
from servers import Live, until

from server.rules.codes import Code

JSON = "application/json"
THIS_MONTH = "to_char(now() at time zone 'UTC', '\"log_\"YYYY_MM')"
BOUNDS = """
    select extract(epoch from date_trunc('month', now(), 'UTC'))::bigint,
           extract(epoch from date_trunc('month', now(), 'UTC') + interval '1 month')::bigint
"""


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param("form", b"%00", id="NUL in a form"),
        pytest.param("form", b"a\0b", id="raw NUL in a form"),
        pytest.param("form", b"%ED%A0%80", id="lone surrogate in a form"),
        pytest.param("form", b"\xed\xa0\x80", id="raw lone surrogate in a form"),
        pytest.param("json", b"\\u0000", id="NUL in JSON"),
        pytest.param("json", b"\\ud800", id="lone surrogate in JSON"),
        pytest.param("json", b"\xed\xa0\x80", id="raw lone surrogate in JSON"),
    ],
)
async def test_a_text_that_cannot_be_stored_is_refused_at_the_door(
    live: Live, record: Recorder, database: asyncpg.Connection, kind: str, name: bytes
) -> None:
    (key,) = await stock(live, record, 5)
    token, product = live.demo["token"].encode(), str(live.demo["product_id"]).encode()
    if kind == "form":
        body = b"token=%b&ProductId=%b&Key=%b&MachineCode=m&FriendlyName=%b" % (token, product, key.encode(), name)
    else:
        body = b'{"token":"%b","ProductId":%b,"Key":"%b","MachineCode":"m","FriendlyName":"%b"}' % (
            token, product, key.encode(), name,
        )  # fmt: skip
    connection = await Connection.open(live.url)
    call = record.note(ACTIVATE, {"Key": key, "MachineCode": "m"})
    call.take(*await connection.post(ACTIVATE, body, JSON if kind == "json" else "application/x-www-form-urlencoded"))
    call.received = call.sent
    connection.close()
    assert (call.status, call.message) == (OK, Code.INPUT)
    assert await record.audit(database) == []


async def test_one_entry_at_fault_is_a_500_and_its_neighbours_are_stored(
    own: Live, record: Recorder, inside: asyncpg.Connection
) -> None:
    keys = await stock(own, record, 2, 6)
    written = len(bugs(own))
    async with (
        trigger(inside, "log", "new.friendly_name = 'poison'", "raise exception 'no'"),
        on_every_worker(own, record, 3) as workers,
    ):
        everyone = [caller for callers in workers for caller in callers]
        for key in keys:
            await everyone[0].get_key(key)
        for number in range(10):
            await asyncio.gather(
                everyone[0].activate(keys[number % 6], "bad", "poison"),
                *(caller.activate(key, f"good {key}", f"{number}") for caller, key in zip(everyone[1:], keys, strict=False)),
            )
    poisonous = [call for call in record.calls if call.name == "poison"]
    assert {call.status for call in poisonous} == {500}
    assert {call.answer["message"] for call in poisonous} == {"Something went wrong. Please contact support."}
    assert await inside.fetchval("select count(*) from log where friendly_name = 'poison'") == 0
    assert len(bugs(own)) == written + len(poisonous)  # an operator must act on it
    record.calls = [call for call in record.calls if call.name != "poison"]
    assert {call.status for call in record.calls} == {OK}
    assert await record.audit(inside) == []


async def test_without_a_partition_for_the_month_logged_calls_are_refused_and_nothing_is_skipped(
    own: Live, record: Recorder, inside: asyncpg.Connection
) -> None:
    (key,) = await stock(own, record, 100)
    name, first, last = await inside.fetchval(f"select {THIS_MONTH}"), *(await inside.fetchrow(BOUNDS))
    async with on_every_worker(own, record, 2) as workers:
        everyone = [caller for callers in workers for caller in callers]
        await everyone[0].activate(key, "known")
        await inside.execute(f"alter table log detach partition {name}")
        try:
            refused = await asyncio.gather(*(caller.activate(key, record.unique("m")) for caller in everyone))
            refused += [await caller.activate(key, "known", "again") for caller in everyone]
            shown = await asyncio.gather(*(caller.get_key(key) for caller in everyone))
        finally:
            await inside.execute(f"alter table log attach partition {name} for values from ({first}) to ({last})")
        after = await asyncio.gather(*(caller.activate(key, record.unique("m")) for caller in everyone))
    assert {(call.status, call.retry_after) for call in refused} == {(UNAVAILABLE, "5")}
    assert all(call.granted for call in [*shown, *after])
    assert events(own, "log.partition_missing") > 0
    assert await inside.fetchval("select count(*) from log where key = $1", key) == 2 + len(after)
    assert await record.audit(inside) == []


async def test_an_entry_that_ends_its_own_connection_fails_and_everybody_else_is_served(
    own: Live, record: Recorder, inside: asyncpg.Connection
) -> None:
    bad, good = await stock(own, record, 100, 2)
    written = len(bugs(own))
    async with (
        trigger(inside, "log", "new.friendly_name = 'deadly'", "perform pg_terminate_backend(pg_backend_pid())"),
        Caller(own, record) as caller,
        Caller(own, record) as other,
    ):
        deadly = asyncio.ensure_future(caller.activate(bad, "bad", "deadly"))
        while not deadly.done():
            await other.activate(good, record.unique("m"))
        assert (await deadly).status in (500, UNAVAILABLE)

        async def granted() -> bool:
            return (await other.activate(good, record.unique("m"))).granted

        await until(granted)
    assert await inside.fetchval("select count(*) from log where friendly_name = 'deadly'") == 0
    assert len(bugs(own)) <= written + 1
    record.calls = [call for call in record.calls if call.name != "deadly"]
    assert await record.audit(inside) == []
