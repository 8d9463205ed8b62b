"""What a backup has of the database, and what a database that comes from one may never do."""

import asyncio
import datetime
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

import asyncpg
import pytest
from backups import empty_database, put, take
from hypothesis import given
from hypothesis import strategies as st
from servers import until
from world import NOW, World, lease, leased, new_token, worker

from storage.embedded.postgres import Postgres
from storage.embedded.programs import installed
from storage.errors import Stale, Unavailable
from storage.postgres import backup, restored
from storage.postgres.log import Log
from storage.postgres.migrate import HISTORY, PROGRAM, SchemaError, apply, make_partitions, unlimited
from storage.postgres.restore import DoesNotFit, NotEmpty
from storage.postgres.restored import NARROW, WIDE, InUse, Reach
from storage.records import LogQuery

DAY = 86_400


@pytest.fixture
async def target(postgres: Postgres) -> AsyncIterator[str]:
    """An empty database."""
    async with empty_database(postgres) as dsn:
        yield dsn


@pytest.fixture
async def other(postgres: Postgres) -> AsyncIterator[str]:
    """Another one."""
    async with empty_database(postgres) as dsn:
        yield dsn


async def rows_of(dsn: str, table: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetch(f"select t::text as row from {table} t order by 1")
    finally:
        await connection.close()


async def value(dsn: str, statement: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


# What is in it


async def test_every_table_is_kept_or_said_not_to_be(dsn: str) -> None:
    """A table of a new migration belongs into one of the two lists: else no backup would have it."""
    connection = await asyncpg.connect(dsn)
    there = await connection.fetch(
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' and not relispartition"
    )
    await connection.close()
    assert {row["relname"] for row in there} == {*backup.KEPT, *backup.NOT_KEPT}


async def test_every_sequence_is_kept(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    there = await connection.fetch("select sequencename from pg_sequences where schemaname = 'public'")
    assert {row["sequencename"] for row in there} == (await backup.sequences(connection)).keys()
    assert {row["sequencename"] for row in there} >= restored.NARROW_SEQUENCES
    await connection.close()


async def test_no_migration_fills_a_table_that_is_kept(dsn: str) -> None:
    """It would be filled already when a backup is loaded into it."""
    assert [table for table in backup.KEPT if await rows_of(dsn, table)] == []


async def test_all_rows_come_back_as_they_were(world: World, target: str) -> None:
    key = await world.license(5)
    for code in ("a", "b\\\t\n\x7f☃"):
        await world.activate(key, code, token=world.token)
    await world.lift(key, to_table=False)
    await world.decide(key, partial(lease, row=leased("c")))
    await new_token(world.connection, world.account, world.token.id)
    await world.connection.execute(
        "insert into customers (account_id, name, stamp, created, secret_hash) values ($1, $2, 1, 0, $3)",
        world.account, "Zoë\\N", b"\\\0\xff",
    )  # fmt: skip
    await put(await take(world.dsn), target)
    changed = {"licenses", "product_counters", "object_log"}  # see below
    for table in (*(each for each in backup.KEPT if each not in changed), "log"):
        before = await rows_of(world.dsn, table)
        assert await rows_of(target, table) == before, table
    assert len(await rows_of(target, "log")) == 3
    assert await rows_of(target, "machines")
    same = "id, account_id, product_id, number, key, created, expires, period, features, notes, block, max_machines"
    assert await rows_of(target, f"(select {same} from licenses)") == await rows_of(
        world.dsn, f"(select {same} from licenses)"
    )


async def test_a_backup_is_of_one_moment(world: World) -> None:
    """Machines and log are read one after the other: what is committed in between is in none of them."""
    key = await world.license(1_000)
    await world.activate(key, "before")
    async with backup.snapshot(world.dsn) as taken:
        seen: list[bytes] = []

        async def write(data: bytes) -> None:
            seen.append(data)

        for table in taken.contents.tables:
            await world.activate(key, f"while {table.name}")
            await taken.copy(table, write)
    assert b"before" in b"".join(seen)
    assert b"while" not in b"".join(seen)


async def test_writers_and_new_partitions_do_not_wait_for_a_backup_and_migrations_do(world: World) -> None:
    key = await world.license(5)
    async with backup.snapshot(world.dsn) as taken:
        await taken.copy(taken.contents.tables[-1], _nowhere)
        await world.activate(key, "a")
        async with unlimited(world.dsn) as connection, asyncio.timeout(10):
            await make_partitions(connection, datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=300))
            assert not await connection.fetchval("select pg_try_advisory_lock($1)", backup.MIGRATION_LOCK)


async def _nowhere(_data: bytes) -> None:
    """Take what is copied."""


# Going back to an older schema and up again


@pytest.mark.parametrize("schema", [1, PROGRAM - 1])
async def test_a_backup_of_an_older_schema_is_brought_up_to_this_program(
    postgres: Postgres, target: str, schema: int
) -> None:
    async with empty_database(postgres) as old:
        async with unlimited(old) as connection:
            await connection.execute(HISTORY)
            await apply(connection, 0, schema)
            await make_partitions(connection, datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC))
            await connection.execute("insert into accounts (name, public_key, created) values ('a', 'k', 7)")
        taken = await take(old)
    assert taken.contents.schema == schema
    await put(taken, target)
    assert await value(target, "select max(number) from schema_history") == PROGRAM
    assert await value(target, "select created from accounts") == 7
    assert await value(target, "select to_regclass('log_2026_03') is not null")


# What is refused


async def test_only_an_empty_database_takes_a_backup_in(world: World, dsn: str) -> None:
    before = await rows_of(dsn, "accounts")
    with pytest.raises(NotEmpty):
        await put(await take(world.dsn), await _same(world))
    assert await rows_of(dsn, "accounts") == before


async def _same(world: World) -> str:
    """The database of the world, without its worker, which would be refused for itself."""
    await world.ledger.close()
    await world.reads.close()
    return world.dsn


async def test_tables_of_others_are_not_written_beside(world: World, target: str) -> None:
    connection = await asyncpg.connect(target)
    await connection.execute("create table mine ()")
    await connection.close()
    with pytest.raises(NotEmpty):
        await put(await take(world.dsn), target)


async def test_a_backup_that_does_not_fit_leaves_the_database_as_empty_as_it_was(world: World, target: str) -> None:
    taken = await take(world.dsn)
    contents = taken.contents
    with pytest.raises(DoesNotFit, match="rows of accounts"):
        await put(replace(taken, rows={**taken.rows, "accounts": 2}), target)
    without = replace(contents, tables=contents.tables[1:])
    with pytest.raises(DoesNotFit, match="tables"):
        await put(replace(taken, contents=without), target)
    first = contents.tables[0]
    fewer = replace(contents, tables=(first._replace(columns=first.columns[:-1]), *contents.tables[1:]))
    with pytest.raises(DoesNotFit, match="tables"):
        await put(replace(taken, contents=fewer), target)
    with pytest.raises(DoesNotFit, match="sequences"):
        await put(replace(taken, contents=replace(contents, sequences={})), target)

    def no_place() -> None:
        raise LookupError("no place for the key")

    with pytest.raises(LookupError, match="no place"):
        await put(taken, target, no_place)
    assert await value(target, "select count(*) from pg_class where relnamespace = 'public'::regnamespace") == 0
    await put(taken, target)  # and takes a good one in


async def test_a_database_in_use_is_refused(world: World) -> None:
    with pytest.raises(InUse):
        await restored.restored(world.dsn)
    assert await value(world.dsn, "select count(*) from lanes") != 0
    await restored.restored(await _same(world))
    assert await value(world.dsn, "select count(*) from lanes") == 0


# What the first life gave out is not given out again


@given(last=st.integers(0, 2**40), first=st.integers(0, 10 * 365 * DAY), again=st.integers(0, 365 * DAY), fast=st.booleans())
def test_ids_of_a_second_restore_are_above_those_of_the_first(last: int, first: int, again: int, fast: bool) -> None:
    """The first life draws ids until it is lost, after `first` seconds; so does the second, for `again` seconds."""
    rate = WIDE.each_second if fast else 1
    assert last + rate * first < WIDE.after(last, first)
    second_life = WIDE.after(last, first)
    assert second_life + rate * again <= WIDE.after(last, first + again)


@pytest.mark.parametrize("reach", [WIDE, NARROW])
@given(last=st.integers(0, 2**31 - 1), seconds=st.integers(-DAY, 2**40))
def test_ids_stay_where_clients_can_read_them(reach: Reach, last: int, seconds: int) -> None:
    assert last <= reach.after(last, seconds) <= reach.highest


async def test_ids_go_on_above_all_that_anybody_can_have_seen(world: World, target: str) -> None:
    key = await world.license(5)
    await world.activate(key, "a")
    taken = await take(world.dsn)
    for code in ("b", "c"):  # the first life goes on
        await world.activate(key, code)
    lost = await value(world.dsn, "select max(id) from log")
    before = {**taken.contents.sequences}
    gap = await put(taken, target)
    assert gap.last == taken.contents.last_logged
    assert gap.last is not None
    assert gap.last.time == NOW
    second = await second_life(world, target)
    await second.activate(key, "d")
    ids = [row.id for row in await second.log.read(world.token, LogQuery(world.account))]
    assert [number for number in ids if number > gap.last.id] == [gap.next]
    assert isinstance(lost, int)
    assert gap.next > lost + WIDE.least / 2
    connection = await asyncpg.connect(target)
    after = await backup.sequences(connection)
    await connection.close()
    for name, last in before.items():
        reach = NARROW if name in restored.NARROW_SEQUENCES else WIDE
        assert last + reach.least <= after[name] <= reach.highest, name
    number = await value(target, "select last from product_counters")
    assert isinstance(number, int)
    assert number >= NARROW.least
    await second.close()


async def second_life(world: World, dsn: str) -> World:
    """A worker of the same account on another database."""
    reads, tokens, ledger = await worker(dsn)
    connection = await asyncpg.connect(dsn)
    return replace(world, dsn=dsn, connection=connection, reads=reads, tokens=tokens, ledger=ledger, log=Log(reads))


async def test_the_older_a_backup_the_further_ids_go(world: World, target: str, other: str) -> None:
    await world.activate(await world.license(5), "a")
    taken = await take(world.dsn)
    long_ago = taken.contents.taken - 365 * DAY
    of_now = await put(taken, target)
    of_then = await put(replace(taken, contents=replace(taken.contents, taken=long_ago)), other)
    assert of_then.next - of_now.next > 364 * DAY * WIDE.each_second


async def test_where_nothing_was_logged_the_last_change_by_hand_counts(world: World) -> None:
    await world.connection.execute(
        "insert into object_log (account_id, time, object_type, object_id, action, token_id, changes)"
        " values ($1, $2, 'Account', $1, 'Create', 0, '{}')",
        world.account, NOW - 365 * DAY,
    )  # fmt: skip
    gap = await restored.restored(await _same(world))
    assert gap.last is None
    assert gap.next > 364 * DAY * WIDE.each_second


async def test_the_second_life_is_another_installation_and_says_so_in_the_object_log(world: World, target: str) -> None:
    gap = await put(await take(world.dsn), target)
    assert str(await value(target, "select id from installation")).replace("-", "")[:12] == gap.installation
    assert await value(target, "select id from installation") != await value(world.dsn, "select id from installation")
    told = await value(target, "select changes->>'logBefore' from object_log where action = 'Restore'")
    assert told == str(gap.next)


async def test_seats_are_decided_anew_under_an_epoch_that_no_set_has(world: World, target: str) -> None:
    even, odd, never = await world.license(), await world.license(), await world.license()
    of_set, of_table = await world.lift(even, to_table=False), await world.lift(odd, to_table=True)
    taken = await take(world.dsn)
    later = await world.lift(even, to_table=False)  # the first life goes on, with another set
    await put(taken, target)
    connection = await asyncpg.connect(target)
    epochs = dict(await connection.fetch("select key, lease_epoch from licenses"))
    stamps = dict(await connection.fetch("select key, stamp from licenses"))
    await connection.close()
    assert epochs[never] == 0
    assert epochs[even] > later > of_set
    assert epochs[odd] > of_table
    assert {epochs[even] % 2, epochs[odd] % 2} == {0}
    old = dict(await world.connection.fetch("select key, stamp from licenses"))
    assert stamps[never] == old[never]
    assert stamps[odd] != old[odd]


# A worker that remembers more than the database


async def test_a_worker_of_the_first_life_neither_writes_nor_believes_what_it_remembers(
    world: World, postgres: Postgres, target: str
) -> None:
    """The database is exchanged under a worker that was not stopped: it connects again, to the older state."""
    key = await world.license(2)
    await world.activate(key, "a")
    taken = await take(world.dsn)
    assert await world.activate(key, "b") == "new"
    assert await world.activate(key, "c") == "full"
    lanes = {row[0] for row in await world.connection.fetch("select id from lanes")}
    await put(taken, target)
    await world.connection.close()
    await exchange(postgres, world.dsn, target)
    world.connection = await asyncpg.connect(world.dsn)
    outcomes = [await _patiently(world, key, code) for code in ("c", "b")]
    assert outcomes == ["new", "full"]  # by the database: b is forgotten, and c came first
    now = {row[0] for row in await world.connection.fetch("select id from lanes")}
    assert now
    assert not now & lanes


async def exchange(postgres: Postgres, dsn: str, other: str) -> None:
    """Put a database into the place of another, which takes the place of the first."""
    one, two = (each.rpartition("?")[0].rpartition("/")[2] for each in (dsn, other))
    admin = await asyncpg.connect(postgres.admin_dsn)
    for name in (one, two):
        await admin.execute(f'alter database "{name}" allow_connections false')
        await admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name)
    sessions = "select count(*) = 0 from pg_stat_activity where datname = any ($1)"
    await until(lambda: admin.fetchval(sessions, [one, two]))
    await admin.execute(f'alter database "{one}" rename to exchanged')
    await admin.execute(f'alter database "{two}" rename to "{one}"')
    await admin.execute(f'alter database exchanged rename to "{two}"')
    for name in (one, two):
        await admin.execute(f'alter database "{name}" allow_connections true')
    await admin.close()


async def _patiently(world: World, key: str, code: str) -> object:
    async with asyncio.timeout(15):
        while True:
            try:
                return await world.activate(key, code)
            except (Unavailable, Stale):
                await asyncio.sleep(0.02)


# By PostgreSQL's own programs


async def test_a_database_that_pg_restore_made_is_made_ready(world: World, target: str, other: str) -> None:
    key = await world.license(5)
    await world.activate(key, "a")
    await world.lift(key, to_table=False)
    programs = installed().pginstall / "bin"
    dump = await _program(programs / "pg_dump", "--format=custom", f"--dbname={world.dsn}")
    await _program(programs / "pg_restore", "--no-owner", f"--dbname={target}", given=dump)
    gap = await restored.restored(target)
    assert gap.last is not None
    assert gap.next > gap.last.id + WIDE.least
    assert await value(target, "select id from installation") != await value(world.dsn, "select id from installation")
    epochs = "select lease_epoch from licenses"
    assert await value(target, f"select ({epochs}) > {await value(world.dsn, epochs)}")
    again = await restored.restored(target)  # does no harm
    assert again.next > gap.next
    assert (await put(await take(target), other)).next > again.next  # ids far above int32


async def _program(path: object, *arguments: str, given: bytes = b"") -> bytes:
    done = await asyncio.to_thread(subprocess.run, [str(path), *arguments], input=given, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_nothing_to_back_up_is_said(target: str) -> None:
    with pytest.raises(SchemaError, match="nothing to back up"):
        await take(target)
