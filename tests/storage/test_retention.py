"""The daily job on a real PostgreSQL: what is too old is masked, anonymised or removed, once, and nothing else is."""

import asyncio
import datetime
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncpg
import pytest
from servers import until
from structlog.testing import capture_logs
from world import NOW, World, admit, lease, leased, make

from server.rules.privacy import mask
from storage.errors import StorageError
from storage.postgres import retention
from storage.postgres.ledger import Ledger
from storage.postgres.migrate import make_partitions
from storage.postgres.retention import Periods, months_before, retain
from storage.records import Entry, License, LogQuery, Verdict

DAY = 86_400
TODAY = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
EDGE = months_before(TODAY, 24)
OLD, YOUNG = EDGE - DAY, EDGE + DAY  # a day later than the job may run, to be young then, too
FULL, FULL_6, HOP = "203.0.113.77", "2001:db8:aaaa:bbbb::77", "198.51.100.88"
EVERYTHING = Periods(anonymise_months=24, event_days=30, log_months=0)
NOTHING = Periods(0, 0, 0)
ANONYMOUS = re.compile("anon:[0-9a-f]{16}")
WAITS = """
    select 1 from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock' and query ~ $1 and pid <> pg_backend_pid()
"""


@pytest.fixture
async def world(dsn: str) -> AsyncIterator[World]:
    made = await make(dsn)
    await make_partitions(made.connection, TODAY - datetime.timedelta(days=790))  # from 27 months ago on
    await make_partitions(made.connection, TODAY - datetime.timedelta(days=700))
    yield made
    await made.close()


async def run(world: World, periods: Periods = EVERYTHING, *, now: datetime.datetime | None = None) -> dict[str, int]:
    """Have the job done as if it had never been; what it says that it did."""
    await make_due(world)
    return await go_on(world, periods, now=now)


async def make_due(world: World) -> None:
    await world.connection.execute("update retention set done = 0")


async def go_on(world: World, periods: Periods = EVERYTHING, *, now: datetime.datetime | None = None) -> dict[str, int]:
    """Have done what is due of the job; what it says that it did."""
    with capture_logs() as lines:
        await retain(world.dsn, now or datetime.datetime.now(datetime.UTC), periods, mask)
    told = [line for line in lines if line["event"] == "retention.done"]
    assert len(told) <= 1
    return {part: number for part, number in told[0].items() if isinstance(number, int) and number} if told else {}


async def place(world: World, key: str, code: str, *, ip: str = FULL, proxy_ip: str = "", time: int = OLD) -> None:
    """Register a machine at some time."""
    await world.connection.execute(
        "insert into machines select id, $2, account_id, 'Ann', $3, $4, $5 from licenses where key = $1",
        key, code, ip, proxy_ip, time,
    )  # fmt: skip


async def addresses(world: World, key: str) -> dict[str, tuple[str, str]]:
    return {code: (machine.ip, machine.proxy_ip) for code, machine in (await world.show(key)).machines.items()}


async def stamps(world: World) -> dict[str, int]:
    return {row["key"]: row["stamp"] for row in await world.connection.fetch("select key, stamp from licenses")}


async def write_log(world: World, *rows: tuple[int, str, str, str]) -> list[int]:
    """Write rows of the log: time, masked address, code, name; their ids."""
    return [
        await world.connection.fetchval(
            "insert into log (account_id, product_id, license_id, key, ip, time, state, machine_code, friendly_name,"
            " floating_expires, do_int_value, do_id)"
            " values ($1, $2, 7, 'KEY', $3, $4, 2011, $5, $6, 11, 12, 13) returning id",
            world.account, world.product, ip, time, code, name,
        )
        for time, ip, code, name in rows
    ]  # fmt: skip


async def read_log(world: World) -> dict[int, Entry]:
    return {row.id: row.entry for row in await world.log.read(world.token, LogQuery(world.account, limit=100_000))}


async def write_events(world: World, registered: int, number: int = 1) -> None:
    await world.connection.execute(
        "insert into events (account_id, product_id, license_id, machine_code, feature_name, event_name, value, currency,"
        " time, metadata, registered) select $1, 0, 0, 'm', '', '', 0, '', 0, '', $2 from generate_series(1, $3)",
        world.account, registered, number,
    )  # fmt: skip


async def events(world: World) -> list[int]:
    return [row["registered"] for row in await world.connection.fetch("select registered from events order by registered")]


async def partitions(world: World) -> list[str]:
    """The partitions of the log, oldest first."""
    found = await world.connection.fetch(
        "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = 'log'::regclass"
        " and not i.inhdetachpending order by 1"
    )
    return [row["relname"] for row in found]


async def is_there(world: World, table: str) -> bool:
    return await world.connection.fetchval("select to_regclass($1) is not null", table)


def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[Any, ...]]]:
    """Every statement that the job sends from now on for rows, by name, with what it names."""
    sent = []
    rows = retention._Run.rows

    async def noted(self: retention._Run, name: str, *values: object) -> list[asyncpg.Record]:
        sent.append((name, values))
        return await rows(self, name, *values)

    monkeypatch.setattr(retention._Run, "rows", noted)
    return sent


@asynccontextmanager
async def held(dsn: str, *statements: str) -> AsyncIterator[asyncpg.Connection]:
    """A transaction of somebody else that has done this and does not end before the block."""
    connection = await asyncpg.connect(dsn)
    transaction = connection.transaction()
    await transaction.start()
    for statement in statements:
        await connection.execute(statement)
    try:
        yield connection
    finally:
        if connection.is_in_transaction():
            await transaction.rollback()
        await connection.close()


# Machines


async def test_addresses_of_machines_are_masked_after_two_years_and_the_license_gets_a_new_stamp(world: World) -> None:
    key, untouched = await world.license(), await world.license()
    await place(world, key, "old", ip=FULL, proxy_ip=HOP)
    await place(world, key, "six", ip=FULL_6)
    await place(world, key, "young", ip=FULL, proxy_ip=HOP, time=YOUNG)
    await place(world, untouched, "young", time=YOUNG)
    before, shown = await stamps(world), (await world.show(key)).machines
    assert await run(world) == {"machines": 2}
    after = await world.show(key)
    assert await addresses(world, key) == {
        "old": ("203.0.113.0", "198.51.100.0"), "six": ("2001:db8:aaaa::", ""), "young": (FULL, HOP),
    }  # fmt: skip
    assert [each._replace(ip="", proxy_ip="") for each in after.machines.values()] == [
        each._replace(ip="", proxy_ip="") for each in shown.values()
    ]
    assert after.stamp != before[key]
    assert (await stamps(world))[untouched] == before[untouched]


async def test_a_second_run_finds_nothing_and_leaves_stamps_alone(world: World) -> None:
    key, masked = await world.license(), await world.license()
    await place(world, key, "old", proxy_ip=HOP)
    await place(world, masked, "v4", ip="203.0.113.0")
    await place(world, masked, "v6", ip="2001:db8:aaaa::", proxy_ip="203.0.113.0")
    await write_log(world, (OLD, "203.0.113.0", "m", "Ann"))
    before = await stamps(world)
    assert await run(world) == {"machines": 1, "log": 1}
    first = await stamps(world)
    assert first[masked] == before[masked]
    rows = await read_log(world)
    assert await run(world) == {}
    assert await stamps(world) == first
    assert await read_log(world) == rows


async def test_a_machine_whose_address_was_masked_stays_active_on_every_worker(world: World, other: Ledger) -> None:
    key = await world.license(machines=2)
    await place(world, key, "old")
    for ledger in (world.ledger, other):  # both have it in memory, with the full address
        seen = await ledger.decide(world.token, world.product, key, partial(admit, code="old"))
        assert (seen.answer, seen.license.machines["old"].ip) == ("known", FULL)
    assert await run(world) == {"machines": 1}
    for ledger in (world.ledger, other):
        seen = await ledger.decide(world.token, world.product, key, partial(admit, code="old"))
        assert (seen.answer, seen.license.machines["old"].ip) == ("known", "203.0.113.0")
    assert await world.activate(key, "new") == "new"
    assert await world.activate(key, "third") == "full"


async def test_a_machine_that_comes_again_while_the_job_waits_for_its_license_keeps_its_new_address(world: World) -> None:
    key, gone = await world.license(), await world.license()
    for each in (key, gone):
        await place(world, each, "m", proxy_ip=HOP)
    await place(world, key, "same")
    await place(world, key, "moved")
    async with held(world.dsn, "select from licenses for update") as holder:
        await make_due(world)
        running = asyncio.ensure_future(go_on(world))
        await until(lambda: world.connection.fetchval(WAITS, "for no key update"))
        await holder.execute("update machines set ip = '192.0.2.9', time = $1 where code = 'm'", NOW)
        await holder.execute("update machines set time = $1 where code = 'same'", NOW)
        await holder.execute("update machines set ip = '192.0.2.8' where code = 'moved'")
        await holder.execute("delete from machines where license_id = (select id from licenses where key = $1)", gone)
        await holder.execute("update licenses set stamp = id")
        before = {row["key"]: row["id"] for row in await holder.fetch("select key, id from licenses")}
        await holder.execute("commit")
    assert await running == {}
    assert await addresses(world, key) == {"m": ("192.0.2.9", HOP), "same": (FULL, ""), "moved": ("192.0.2.8", "")}
    assert await stamps(world) == before


async def test_thousands_are_walked_in_steps_that_lock_few_licenses_in_order(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.connection.execute(
        """
        with made as (
            insert into licenses (account_id, product_id, number, key, created, expires, period, features, notes, block,
                                  trial_activation, max_machines, allowed_machines, stamp)
            select $1, $2, n, 'K' || n, 0, 0, 0, 0, '', false, false, 5, '', n from generate_series(1, 2000) n
            returning id, account_id, number
        )
        insert into machines
        select l.id, 'm' || n, l.account_id, '', '203.0.113.77', '', case when l.number % 4 = 0 then $4::bigint else $3 end
        from made l, generate_series(1, 3) n
        """,
        world.account, world.product, OLD, YOUNG,
    )  # fmt: skip
    sent = asked(monkeypatch)
    assert await run(world) == {"machines": 4500}
    looks, locks = ([values for name, values in sent if name == wanted] for wanted in ("machines_look", "licenses_lock"))
    assert len(looks) == 6000 / 4000 + 1.5
    assert all(licenses == sorted(licenses) and len(licenses) <= 500 for (licenses,) in locks)
    assert sum(len(licenses) for (licenses,) in locks) in (1500, 1501)  # the machines of one may be looked at in two steps
    left = "select count(*) filter (where ip = '203.0.113.77'), count(*) filter (where ip = '203.0.113.0') from machines"
    assert tuple(await world.connection.fetchrow(left) or ()) == (1500, 4500)
    assert await world.connection.fetchval("select count(*) from licenses where stamp = number") == 500


async def test_a_run_that_is_killed_midway_is_gone_on_with_and_does_nothing_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "LICENSES_AT_ONCE", 3)
    keys = [await world.license() for _ in range(10)]
    for key in keys:
        await place(world, key, "m")
    before = await stamps(world)
    async with held(world.dsn, f"select from licenses where key = '{keys[7]}' for update"):
        await make_due(world)
        running = asyncio.ensure_future(go_on(world))
        await until(lambda: world.connection.fetchval(WAITS, "for no key update"))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    half = await stamps(world)
    assert [half[key] != before[key] for key in keys] == [True] * 6 + [False] * 4
    assert await go_on(world) == {"machines": 4}
    after = await stamps(world)
    assert [after[key] != half[key] for key in keys] == [False] * 6 + [True] * 4
    assert {ip for key in keys for ip, _ in (await addresses(world, key)).values()} == {"203.0.113.0"}


async def test_beside_activations_and_floating_calls_nothing_deadlocks_and_nothing_is_lost(
    world: World, other: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "LICENSES_AT_ONCE", 20)
    keys = [await world.license(machines=1000) for _ in range(40)]
    for key in keys:
        await place(world, key, "old")
    done = asyncio.Event()
    made = 0

    async def storm(ledger: Ledger, name: str, keys: list[str]) -> None:
        nonlocal made
        number = 0
        while not done.is_set():
            number += 1
            rules = [partial(admit, code=f"{name}{number}"), partial(lease, row=leased(name, seq=number))]
            calls = [ledger.decide(world.token, world.product, key, rule) for key in keys for rule in rules]
            answers = [decided.answer for decided in await asyncio.gather(*calls)]
            assert answers == ["new", "leased"] * len(keys)
            made += len(keys)

    async with asyncio.TaskGroup() as group:
        group.create_task(storm(world.ledger, "a", keys))
        group.create_task(storm(other, "b", keys[::-1]))
        for _ in range(6):
            async with asyncio.timeout(20):
                assert await run(world) == {"machines": len(keys)}
            await world.connection.execute("update machines set ip = $1 where code = 'old'", FULL)
        done.set()
    assert await run(world) == {"machines": len(keys)}
    assert await world.connection.fetchval("select deadlocks from pg_stat_database where datname = current_database()") == 0
    assert await world.connection.fetchval("select count(*) from machines where ip = '192.0.2.7'") == made


# The log


async def test_old_rows_of_the_log_lose_address_name_and_code_and_keep_all_else(world: World) -> None:
    old, nameless, young = await write_log(
        world, (OLD, "203.0.113.0", "plantedcode", "Ann"), (OLD, "", "", ""), (YOUNG, "203.0.113.0", "plantedcode", "Ann")
    )
    before = await read_log(world)
    assert await run(world) == {"log": 2}
    after = await read_log(world)
    assert ANONYMOUS.fullmatch(after[old].machine_code)
    assert after == {
        old: before[old]._replace(ip="0.0.0.0", machine_code=after[old].machine_code, friendly_name=""),
        nameless: before[nameless]._replace(ip="0.0.0.0"),
        young: before[young],
    }


async def test_rows_of_one_run_tell_machines_apart_and_those_of_another_run_have_another_salt(world: World) -> None:
    row = (OLD, "203.0.113.0", "m", "Ann")
    first, again, another = await write_log(world, row, (OLD - 40 * DAY, *row[1:]), (OLD, "", "n", ""))
    assert await run(world) == {"log": 3}
    late = await write_log(world, row)
    assert await run(world) == {"log": 1}
    codes = {id_: entry.machine_code for id_, entry in (await read_log(world)).items()}
    assert codes[first] == codes[again]
    assert len({codes[first], codes[another], codes[late[0]]}) == 3


async def test_the_codes_of_machines_that_are_active_still_are_not_touched(world: World) -> None:
    key = await world.license()
    await place(world, key, "plantedcode")
    await world.connection.execute(
        "insert into data_objects (account_id, referencer_type, referencer_id, machine_code, name, string_value, int_value)"
        " select account_id, 3, id, 'plantedcode', 'n', '', 0 from licenses where key = $1",
        key,
    )
    await write_log(world, (OLD, "203.0.113.0", "plantedcode", "Ann"))
    assert await run(world) == {"machines": 1, "log": 1}
    shown = await world.show(key)
    assert [*shown.machines, *shown.machine_objects] == ["plantedcode", "plantedcode"]
    assert shown.machines["plantedcode"].friendly_name == "Ann"
    assert await world.activate(key, "plantedcode") == "known"


async def test_in_the_month_of_the_edge_every_row_is_judged_by_its_own_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids and times differ in order; few rows are looked at at once, and nothing is noted beyond what is done."""
    monkeypatch.setattr(retention, "LOOKED", 3)
    chance = random.Random(0)
    times = [chance.choice((EDGE - chance.randrange(1, DAY), EDGE + chance.randrange(DAY // 2, DAY))) for _ in range(40)]
    ids = await write_log(world, *((time, "203.0.113.0", f"m{number}", "Ann") for number, time in enumerate(times)))
    assert await run(world) == {"log": sum(time < EDGE for time in times)}
    after = await read_log(world)
    assert [after[id_].ip == "0.0.0.0" for id_ in ids] == [time < EDGE for time in times]
    assert await run(world, now=TODAY - datetime.timedelta(days=3)) == {}


async def test_months_that_are_done_are_not_walked_again_and_what_comes_to_them_late_is_found(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "LOOKED", 10)
    before = OLD - 35 * DAY
    await write_log(world, *((before, "203.0.113.0", f"m{number}", "") for number in range(100)))
    sent = asked(monkeypatch)
    months = 3  # of two years ago, or older, of which one may be of the future still as seen from then
    assert await run(world) == {"log": 100}
    assert 10 < sum(name == "log_look" for name, _ in sent) <= 11 + months
    sent.clear()
    assert await run(world) == {}
    assert sum(name == "log_look" for name, _ in sent) <= 1 + months
    (late,) = await write_log(world, (before, "203.0.113.0", "late", "Ann"))
    assert await run(world) == {"log": 1}
    assert (await read_log(world))[late].friendly_name == ""


async def test_a_row_that_only_has_the_address_of_an_anonymised_one_is_anonymised(world: World) -> None:
    """Who calls from 0.0.0.7 is masked to what stands for nobody."""
    ids = await write_log(world, (OLD, "0.0.0.0", "m", ""), (OLD, "0.0.0.0", "", "Ann"), (OLD, "0.0.0.0", "anon:0", ""))
    assert await run(world) == {"log": 2}
    after = await read_log(world)
    assert [(bool(ANONYMOUS.fullmatch(after[id_].machine_code)), after[id_].friendly_name) for id_ in ids] == [
        (True, ""), (False, ""), (False, ""),
    ]  # fmt: skip


async def test_a_walk_of_the_log_that_is_killed_goes_on_where_it_was(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "LOOKED", 10)
    ids = await write_log(world, *((OLD, "203.0.113.0", "m", "Ann") for _ in range(50)))
    async with held(world.dsn, f"select from log where id = {ids[25]} for update"):
        await make_due(world)
        running = asyncio.ensure_future(go_on(world))
        await until(lambda: world.connection.fetchval(WAITS, "update log"))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    half = await read_log(world)
    assert [half[id_].ip == "0.0.0.0" for id_ in ids] == [True] * 20 + [False] * 30
    assert await go_on(world) == {"log": 30}
    after = await read_log(world)
    assert [after[id_] for id_ in ids[:20]] == [half[id_] for id_ in ids[:20]]
    assert {entry.ip for entry in after.values()} == {"0.0.0.0"}


# Events


async def test_events_are_removed_by_their_age_in_steps(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "LOOKED", 100)
    kept = NOW - 30 * DAY + 3600
    for registered, number in ((kept, 3), (NOW - 31 * DAY, 250), (NOW, 2), (NOW - 400 * DAY, 50)):
        await write_events(world, registered, number)
    sent: list[object] = []
    one = retention._Run.one

    async def noted(self: retention._Run, name: str, *values: object) -> asyncpg.Record:
        sent.append(name)
        return await one(self, name, *values)

    monkeypatch.setattr(retention._Run, "one", noted)
    assert await run(world) == {"events": 300}
    assert sent == ["events_delete"] * 4
    assert await events(world) == [kept] * 3 + [NOW] * 2
    assert await run(world) == {}


# Partitions


async def test_whole_months_of_the_log_leave_once_they_are_older_than_it_is_kept(world: World) -> None:
    before = await partitions(world)
    edge = datetime.datetime.fromtimestamp(months_before(TODAY, 24), datetime.UTC)
    month = f"log_{edge:%Y_%m}"  # of which a part is young still
    leaving = [name for name in before if name < month]
    assert leaving
    await write_log(world, (OLD - 32 * DAY, "", "m", "Ann"), (YOUNG, "", "m", "Ann"))
    kept = Periods(0, 0, log_months=24)
    assert await run(world, kept) == {"partitions": len(leaving)}
    assert await partitions(world) == [name for name in before if name not in leaving]
    assert not any([await is_there(world, name) for name in leaving])
    assert [entry.time for entry in (await read_log(world)).values()] == [YOUNG]
    assert await run(world, kept) == {}
    assert await world.connection.fetchval("select count(*) from log_leaving") == 0


@asynccontextmanager
async def reader(world: World) -> AsyncIterator[None]:
    """A report on the log that does not end before the block."""
    async with held(world.dsn, "select count(*) from log"):
        yield


async def cut_short(world: World, periods: Periods) -> str:
    """Have a run killed while it detaches a partition; which one."""
    async with reader(world):
        await make_due(world)
        running = asyncio.ensure_future(go_on(world, periods))
        await until(lambda: world.connection.fetchval(WAITS, "detach"))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        pending = "select inhrelid::regclass::text from pg_inherits where inhdetachpending"
        await until(lambda: world.connection.fetchval(pending))
        return await world.connection.fetchval(pending)


async def test_a_partition_whose_detaching_was_interrupted_is_detached_and_dropped_by_the_next_run(world: World) -> None:
    kept = Periods(0, 0, log_months=24)
    total = len(await partitions(world))
    pending = await cut_short(world, kept)
    assert (await go_on(world, kept))["partitions"] == total - len(await partitions(world))
    assert not await is_there(world, pending)


async def test_a_partition_that_was_detached_and_not_dropped_is_dropped_by_the_next_run(world: World) -> None:
    name, *_ = await partitions(world)
    await world.connection.execute("insert into log_leaving (name) values ($1), ('log_1999_01')", name)
    await world.connection.execute(f"alter table log detach partition {name} concurrently")
    assert await run(world) == {"partitions": 1}
    assert not await is_there(world, name)
    assert await run(world) == {}
    assert await world.connection.fetchval("select count(*) from log_leaving") == 0


async def test_what_a_person_detached_is_never_dropped(world: World) -> None:
    """Also if it was about to leave once, and then the log was to be kept for longer."""
    name, *_ = await partitions(world)
    await world.connection.execute("insert into log_leaving (name) values ($1)", name)
    assert await run(world) == {}
    assert name in await partitions(world)
    await world.connection.execute(f"alter table log detach partition {name} concurrently")
    await run(world)
    await run(world, Periods(0, 0, log_months=24))
    assert await is_there(world, name)


async def test_a_reader_that_does_not_end_keeps_partitions_from_leaving_and_nothing_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(retention.SQL, "patience", "set statement_timeout = '100ms'")  # type: ignore[arg-type]
    kept = Periods(24, 30, log_months=24)
    await write_log(world, (OLD, "203.0.113.0", "m", "Ann"))
    await write_events(world, 1)
    total = len(await partitions(world))
    async with reader(world):
        with pytest.raises(StorageError):
            await run(world, kept)
        done = {row["part"] for row in await world.connection.fetch("select part from retention where done > 0")}
        assert done == {"machines", "log", "events"}
        assert {entry.ip for entry in (await read_log(world)).values()} <= {"0.0.0.0"}
        assert await events(world) == []
    assert (await go_on(world, kept))["partitions"] == total - len(await partitions(world))


# When


async def test_several_hosts_do_it_once_a_day_between_them(world: World) -> None:
    keys = [await world.license() for _ in range(20)]
    for key in keys:
        await place(world, key, "m")

    async def once_a_day(done: str) -> int:
        """How many hosts out of five did something when it was last done at this time."""
        await world.connection.execute("update machines set ip = $1", FULL)
        await world.connection.execute(f"update retention set done = {done}")
        now = datetime.datetime.now(datetime.UTC)
        with capture_logs() as lines:
            told = await asyncio.gather(*(retain(world.dsn, now, EVERYTHING, mask) for _ in range(5)))
        assert await world.connection.fetchval("select min(done) from retention") in told
        return sum(line["event"] == "retention.done" for line in lines)

    assert await once_a_day("0") == 1
    assert await once_a_day("done") == 0
    assert await once_a_day("done - 86000") == 0
    assert await once_a_day("done - 86400") == 1
    assert await once_a_day("done + 86400") == 1  # by a clock that was wrong


async def test_while_another_host_is_at_it_nothing_is_done(world: World) -> None:
    await place(world, await world.license(), "m")
    await world.connection.execute("select pg_advisory_lock($1)", retention.RETENTION_LOCK)
    assert await run(world) == {}
    await world.connection.execute("select pg_advisory_unlock($1)", retention.RETENTION_LOCK)
    assert await go_on(world) == {"machines": 1}


async def test_when_the_last_run_was_complete_is_told(world: World) -> None:
    await world.connection.execute("update retention set done = 0")
    now = datetime.datetime.now(datetime.UTC)
    assert await retain(world.dsn, now, EVERYTHING, mask) == int(now.timestamp())
    await world.connection.execute("update retention set done = done - 10 where part = 'log'")
    assert await retain(world.dsn, now, EVERYTHING, mask) == int(now.timestamp()) - 10


async def test_what_cannot_be_undone_is_done_by_the_clock_that_is_behind(world: World) -> None:
    key = await world.license()
    await place(world, key, "m")
    await write_log(world, (OLD, "203.0.113.0", "m", "Ann"))
    await write_events(world, NOW - 31 * DAY)
    ahead, behind = (TODAY + datetime.timedelta(days=days) for days in (300, -3))
    before = await partitions(world)
    assert await run(world, now=behind) == {}
    await world.connection.execute("update machines set time = $1", YOUNG + DAY)
    await write_log(world, (YOUNG + DAY, "203.0.113.0", "m", "Ann"))
    await write_events(world, NOW)
    done = await run(world, Periods(24, 30, 24), now=ahead)
    gone = set(before) - set(await partitions(world))
    assert gone
    assert done == {"log": 1, "events": 1, "partitions": len(gone)}
    assert await addresses(world, key) == {"m": (FULL, "")}


async def test_zero_is_for_ever(world: World) -> None:
    key = await world.license()
    await place(world, key, "m", time=1)
    before = await partitions(world)
    await write_log(world, (OLD, "203.0.113.0", "m", "Ann"))
    await write_events(world, 1)
    assert await run(world, NOTHING) == {}
    assert await addresses(world, key) == {"m": (FULL, "")}
    assert [entry.ip for entry in (await read_log(world)).values()] == ["203.0.113.0"]
    assert await events(world) == [1]
    assert await partitions(world) == before


@pytest.mark.parametrize(
    ("now", "months", "before"),
    [
        ("2026-03-15T12:30:45", 24, "2024-03-15T12:30:45"),
        ("2026-03-31T00:00:00", 1, "2026-02-28T00:00:00"),
        ("2024-03-31T00:00:00", 1, "2024-02-29T00:00:00"),
        ("2024-02-29T10:00:00", 12, "2023-02-28T10:00:00"),
        ("2026-01-15T00:00:00", 1, "2025-12-15T00:00:00"),
        ("2026-12-15T00:00:00", 12, "2025-12-15T00:00:00"),
        ("2026-06-30T00:00:00", 1200, "1926-06-30T00:00:00"),
    ],
)
def test_months_are_those_of_the_calendar(now: str, months: int, before: str) -> None:
    then = datetime.datetime.fromisoformat(f"{before}+00:00")
    assert months_before(datetime.datetime.fromisoformat(f"{now}+00:00"), months) == then.timestamp()


# All of it


COLUMNS = """
select c.table_name, c.column_name
from information_schema.columns c
join pg_class k on k.oid = format('%I.%I', c.table_schema, c.table_name)::regclass
where c.table_schema = 'public' and k.relkind in ('r', 'p') and not k.relispartition
"""


async def places_of(world: World, planted: str) -> set[tuple[str, str]]:
    """Every column of every table in which a text stands."""
    holds = 'select exists (select from "{}" t where position($1 in t."{}"::text) > 0)'
    return {
        (table, column)
        for table, column in await world.connection.fetch(COLUMNS)
        if await world.connection.fetchval(holds.format(table, column), planted)
    }


async def test_after_the_job_no_row_has_a_full_address_or_names_a_person_that_is_older_than_the_period(world: World) -> None:
    keys = [await world.license() for _ in range(5)]
    for number, key in enumerate(keys):
        await place(world, key, "oldcode", ip=f"203.0.113.{number + 100}", proxy_ip=f"198.51.100.{number + 100}")
        await place(world, key, "oldcode6", ip=f"2001:db8:aaaa:bbbb::{number + 100}")
        await place(world, key, "youngcode", ip=f"192.0.2.{number + 100}", time=YOUNG)
    await write_log(world, *((OLD - number, "203.0.113.0", "loggedcode", "loggedname") for number in range(50)))
    await world.decide(keys[0], _logged_today)
    old = ("203.0.113.1", "198.51.100.1", "2001:db8:aaaa:bbbb", "loggedcode", "loggedname")
    assert all([await places_of(world, planted) for planted in old])
    await run(world)
    assert [await places_of(world, planted) for planted in old] == [set()] * len(old)
    assert await places_of(world, "192.0.2.1") == {("machines", "ip")}
    assert await places_of(world, "todayscode") == {("log", "machine_code")}
    assert await places_of(world, "oldcode") == {("machines", "code")}


def _logged_today(license_: License) -> Verdict[None]:
    row = Entry(license_.account_id, license_.product.id, license_.id, license_.key, "192.0.2.0", NOW, 2011, "todayscode")
    return Verdict(None, entry=row)
