"""The leases and their epochs (ports.LeaseTable, and what ports.Ledger says of leases), on a real PostgreSQL."""

import asyncio
import datetime
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import asyncpg
import pytest
from servers import until
from world import HERE, NOW, World, admit, lease, lease_by_table, leased, logged, look, make

from storage.errors import NoLicense, NoProduct, Stale, Unavailable
from storage.postgres import leases as tables
from storage.postgres import log as logs
from storage.postgres.batch import Batch, Call
from storage.postgres.lane import Lane
from storage.postgres.ledger import Ledger
from storage.postgres.rows import Address
from storage.postgres.upkeep import forget_leases, held_leases
from storage.records import Change, Epoch, Lease, LeaseKind, License, Verdict
from storage.stamps import new_stamp

# The barrier has its list of those it waits for.
HOLDERS_ASKED = """
select 1 from pg_stat_activity
where datname = current_database() and application_name = 'keyturn' and query like '%virtualtransaction%' and state = 'idle'
"""


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
        await transaction.rollback()
        await connection.close()


def at(seconds: int) -> datetime.datetime:
    """So many seconds after NOW."""
    return datetime.datetime.fromtimestamp(NOW + seconds, datetime.UTC)


# The rows


async def test_a_lease_is_read_as_it_was_written(world: World) -> None:
    key = await world.license()
    granted = Lease("m", LeaseKind.OVERDRAFT, NOW - 5, NOW, NOW + 60, "Björn's", "192.0.2.0", 8, 7)
    assert await world.decide(key, partial(lease, row=granted)) == "leased"
    assert await world.leases(key) == (granted,)
    assert isinstance((await world.leases(key))[0].kind, LeaseKind)
    assert await world.states(key) == [2014]


RANKED = [
    leased("m", epoch=2, seq=9),
    leased("m", epoch=4, seq=1, expires=NOW + 5),
    leased("m", epoch=4, seq=1, released=True, expires=NOW),
    leased("m", epoch=4, seq=2, expires=NOW + 9),
]


ORDERS = list(itertools.permutations(range(len(RANKED))))


async def test_the_higher_epoch_seq_and_release_counts_whatever_the_order_of_commits(world: World, other: Ledger) -> None:
    """Each is committed by itself, by two workers in turn; the highest of those that have come is what is there."""
    for order in ORDERS:
        key = await world.license()
        for index, ledger in enumerate((world.ledger, other) * 2):
            await ledger.decide(world.token, world.product, key, partial(lease, row=RANKED[order[index]]))
            assert await world.leases(key) == (RANKED[max(order[: index + 1])],)


async def test_within_one_batch_the_highest_row_of_each_machine_counts(world: World) -> None:
    for order in ORDERS:
        key = await world.license()
        await world.decide(key, look)
        rows = (*(RANKED[number] for number in order), leased("beside"))
        await asyncio.gather(*(world.decide(key, partial(lease, row=row)) for row in rows))
        assert await world.leases(key) == (leased("beside"), RANKED[-1])
        assert await world.states(key) == [2014] * 5


LEASES = 12  # where they stand in what ledger_write() is told after the lane and the number


async def test_one_batch_tells_the_database_only_the_highest_row_of_each_machine(world: World) -> None:
    key = await world.license()
    known, batch = await world.show(key), Batch()
    for row in (*RANKED, *reversed(RANKED), leased("other")):
        address = Address(known.account_id, known.product.id, known.key)
        future = asyncio.get_running_loop().create_future()
        batch.decide(Call(world.token, address, partial(lease, row=row), future, 0.0), known)
    leases = batch.written_values()[LEASES]
    assert leases == [(1, known.id, known.account_id, *RANKED[-1]), (1, known.id, known.account_id, *leased("other"))]


async def test_a_lease_alone_is_something_to_write(world: World) -> None:
    key = await world.license()
    await world.decide(key, lambda _: Verdict(None, lease=leased("m")))
    assert await world.leases(key) == (leased("m"),)
    assert await world.states(key) == []


async def test_workers_that_renew_the_same_seats_in_opposite_order_never_deadlock(world: World, other: Ledger) -> None:
    keys = [await world.license() for _ in range(10)]
    codes = [f"m{number}" for number in range(10)]

    async def storm(ledger: Ledger, keys: list[str], codes: list[str]) -> None:
        for seq in range(20):
            rows = [(key, leased(code, seq=seq)) for key in keys for code in codes]
            decide = partial(ledger.decide, world.token, world.product)
            await asyncio.gather(*(decide(key, partial(lease, row=row)) for key, row in rows))

    await asyncio.gather(storm(world.ledger, keys, codes), storm(other, keys[::-1], codes[::-1]))
    for key in keys:
        assert [row.seq for row in await world.leases(key)] == [19] * 10
    assert await world.connection.fetchval("select deadlocks from pg_stat_database where datname = current_database()") == 0


async def test_a_heartbeat_touches_no_index(world: World) -> None:
    key = await world.license()
    for seq in range(20):
        await world.decide(key, partial(lease, row=leased("m", seq=seq, expires=NOW + seq)))
    for lane in world.ledger._lanes:
        assert lane._connection is not None
        await lane._connection.execute("select pg_stat_force_next_flush()")
    counted = "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'leases'"
    assert tuple(await world.connection.fetchrow(counted) or ()) == (19, 19)


# Stale or not


async def test_a_stale_verdict_writes_no_lease_and_no_counted_code(world: World) -> None:
    """Another worker changes the license between rule and commit: what the rule says then is all that is written."""
    key = await world.license()
    await world.decide(key, look)
    carry, rounds = world.ledger._carry, 0

    async def after_a_change(lane: Lane, batch: Batch) -> None:
        if rounds == 1:
            await world.change(key, "block = true")
        await carry(lane, batch)

    def rule(license_: License) -> Verdict[str]:
        nonlocal rounds
        rounds += 1
        if license_.block:
            return Verdict("blocked", entry=logged(license_, 2013))
        return Verdict("leased", Change(counted_code=b"hash"), logged(license_, 2014), lease=leased("m"))

    world.ledger._carry = after_a_change  # type: ignore[method-assign]
    assert await world.decide(key, rule) == "blocked"
    assert rounds == 2
    assert await world.leases(key) == ()
    assert await world.connection.fetchval("select count(*) from counted_codes") == 0
    assert await world.states(key) == [2013]


async def test_one_stale_license_does_not_take_the_leases_of_the_others_with_it(world: World) -> None:
    keys = [await world.license() for _ in range(3)]
    await asyncio.gather(*(world.decide(key, look) for key in keys))
    await world.change(keys[1], "max_machines = 0")

    def rule(license_: License, code: str) -> Verdict[str]:
        if not license_.max_machines:
            return Verdict("full")
        return Verdict("leased", lease=leased(code))

    answers = await asyncio.gather(
        *(world.decide(key, partial(rule, code=code)) for key, code in zip(keys, "abc", strict=True))
    )
    assert answers == ["leased", "full", "leased"]
    assert [await world.leases(key) for key in keys] == [(leased("a"),), (), (leased("c"),)]


async def test_a_lease_that_valkey_granted_does_not_change_the_license_and_one_by_the_table_does(world: World) -> None:
    key = await world.license()
    await world.lift(key, to_table=False)
    before = await world.show(key)
    await world.decide(key, partial(lease, row=leased("m", epoch=before.epoch.number)))
    assert await world.show(key) == before
    epoch = await world.lift(key, to_table=True)
    before = await world.show(key)
    assert await world.decide(key, partial(lease_by_table, code="n")) == "leased"
    after = await world.show(key)
    assert after.stamp != before.stamp
    assert list(after.leases) == ["m", "n"]
    assert after.leases["n"].rank == (epoch, 2, False)


async def test_memory_after_a_decision_by_the_table_is_what_a_load_would_give(world: World) -> None:
    key = await world.license()
    await world.lift(key, to_table=True)
    await asyncio.gather(*(world.decide(key, partial(lease_by_table, code=code)) for code in "abc"))
    assert await world.ledger.glance(world.token, world.product, key) == await world.show(key)


async def test_workers_that_decide_by_the_table_on_one_last_seat_grant_it_once(world: World, other: Ledger) -> None:
    keys = [await world.license(machines=1) for _ in range(20)]
    for key in keys:
        await world.lift(key, to_table=True)

    async def ask(ledger: Ledger, key: str, code: str) -> str:
        return (await ledger.decide(world.token, world.product, key, partial(lease_by_table, code=code))).answer

    ledgers = (world.ledger, other)
    await asyncio.gather(*(ledger.decide(world.token, world.product, key, look) for ledger in ledgers for key in keys))
    asked = [ask(ledger, key, code) for key in keys for ledger, code in zip(ledgers, "ab", strict=True)]
    assert (await asyncio.gather(*asked)).count("leased") == 20
    assert [len(await world.leases(key)) for key in keys] == [1] * 20


async def test_a_counted_code_is_remembered_once_and_shown_only_where_a_trial_counts_down(world: World) -> None:
    key, plain = await world.license(), await world.license()
    await world.change(key, "trial_activation = true")
    for each in (key, plain):
        for code_hash in (b"a", b"a", b"b"):
            await world.decide(each, lambda _, code_hash=code_hash: Verdict(None, Change(counted_code=code_hash)))
    assert (await world.show(key)).counted_codes == {b"a", b"b"}
    assert (await world.ledger.glance(world.token, world.product, key)).counted_codes == {b"a", b"b"}
    assert (await world.show(plain)).counted_codes == frozenset()
    assert await world.connection.fetchval("select count(*) from counted_codes") == 4


# Epochs


async def test_an_epoch_is_raised_to_the_parity_that_is_wanted_above_twice_the_milliseconds_of_now(world: World) -> None:
    key = await world.license()
    license_ = await world.id(key)
    assert await world.table.epochs([license_, 1]) == {license_: Epoch()}
    numbers, stamps = [0], [(await world.show(key)).stamp]
    for to_table in (False, False, True, True, False, True):
        before = await world.table.clock()
        raised = (await world.table.lift({license_: numbers[-1]}, to_table=to_table))[license_]
        after = await world.table.clock()
        assert raised.number % 2 == to_table
        assert raised.number > numbers[-1]
        assert before * 2000 - 2 < raised.number <= after * 2000 + 2
        assert int(before) <= raised.at <= after
        assert not raised.ready
        assert await world.table.epochs([license_]) == {license_: raised}
        assert (await world.show(key)).epoch == raised
        numbers.append(raised.number)
        stamps.append((await world.show(key)).stamp)
    assert len(set(stamps)) == len(stamps)


async def test_an_epoch_far_ahead_of_the_clock_is_raised_by_the_next_number(world: World) -> None:
    """The database's clock was wrong once: epochs go on from where they are."""
    keys = [await world.license() for _ in range(4)]
    ahead = 10**14
    for key, number in zip(keys, (ahead, ahead, ahead + 1, ahead + 1), strict=True):
        await world.change(key, f"lease_epoch = {number}")
    raised = [
        await world.lift(key, to_table=to_table) for key, to_table in zip(keys, (False, True, False, True), strict=True)
    ]
    assert raised == [ahead + 2, ahead + 1, ahead + 2, ahead + 3]


async def test_an_epoch_that_has_moved_on_is_left_as_it_is(world: World) -> None:
    moved, still = await world.license(), await world.license()
    await world.lift(moved, to_table=True)
    before = await world.show(moved)
    ids = [await world.id(moved), await world.id(still)]
    found = await world.table.lift({ids[0]: 0, ids[1]: 0, 1: 0}, to_table=False)
    assert found[ids[1]].number % 2 == 0
    assert found[ids[1]].number > 0
    assert set(found) == {ids[1]}
    assert await world.show(moved) == before


async def test_of_those_who_raise_an_epoch_at_once_one_wins(world: World) -> None:
    keys = [await world.license() for _ in range(10)]
    known = {await world.id(key): 0 for key in keys}
    backwards = dict(reversed(known.items()))
    first, second, third = await asyncio.gather(
        world.table.lift(known, to_table=True),
        world.table.lift(backwards, to_table=False),
        world.table.lift(known, to_table=True),
    )
    assert len(first) + len(second) + len(third) == len(known)
    assert first | second | third == await world.table.epochs(list(known))


async def test_more_licenses_than_a_statement_may_name_are_raised_read_and_marked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "LICENSES_AT_ONCE", 3)
    keys = [await world.license() for _ in range(8)]
    for key in keys:
        await world.decide(key, partial(lease, row=leased(key)))
    ids = [await world.id(key) for key in keys]
    raised = await world.table.lift(dict.fromkeys(ids, 0), to_table=True)
    await world.table.mark_ready({license_: epoch.number for license_, epoch in raised.items()})
    assert await world.table.epochs(ids) == {
        license_: Epoch(epoch.number, epoch.at, ready=True) for license_, epoch in raised.items()
    }
    assert await world.table.read(ids) == {license_: (leased(key),) for license_, key in zip(ids, keys, strict=True)}


async def test_raising_waits_for_no_writer_of_the_log(world: World) -> None:
    key = await world.license()
    async with held(world.dsn, "select log_writer_begins()"), asyncio.timeout(2):
        await world.lift(key, to_table=False)
    async with held(world.dsn, f"select * from leases_lift(array[{await world.id(key)}], '{{0}}', '{{1}}', true)"):
        await world.table.settled()


async def test_a_license_that_is_loaded_before_its_odd_epoch_is_ready_has_no_leases_and_another_stamp(world: World) -> None:
    key = await world.license()
    row = leased("m")
    await world.decide(key, partial(lease, row=row))
    even = await world.show(key)
    assert even.leases == {}
    number = await world.lift(key, to_table=True, ready=False)
    odd = await world.show(key)
    assert (odd.leases, odd.epoch.by_table, odd.epoch.ready) == ({}, True, False)
    await world.table.mark_ready({even.id: number})
    ready = await world.show(key)
    assert (ready.leases, ready.epoch.ready) == ({"m": row}, True)
    assert len({even.stamp, odd.stamp, ready.stamp}) == 3
    await world.table.mark_ready({even.id: number})
    assert await world.show(key) == ready  # marked once


async def test_an_epoch_that_is_raised_is_not_ready_whatever_the_one_before_was(world: World) -> None:
    key = await world.license()
    await world.decide(key, partial(lease, row=leased("m")))
    for to_table in (True, False):
        await world.lift(key, to_table=True)
        assert list((await world.show(key)).leases) == ["m"]
        await world.lift(key, to_table=to_table, ready=False)
        raised = await world.show(key)
        assert (raised.epoch.ready, raised.leases) == (False, {})
    await world.change(key, "lease_ready = true")  # as nothing here ever does under an even epoch
    assert (await world.show(key)).leases == {}


async def test_only_the_odd_epoch_that_still_stands_is_marked_ready(world: World) -> None:
    moved, even = await world.license(), await world.license()
    old = await world.lift(moved, to_table=True, ready=False)
    await world.lift(moved, to_table=True, ready=False)
    number = await world.lift(even, to_table=False)
    before = [await world.show(key) for key in (moved, even)]
    await world.table.mark_ready({before[0].id: old, before[1].id: number})
    assert [await world.show(key) for key in (moved, even)] == before


async def test_no_claim_from_before_the_raising_is_committed_after_the_barrier(world: World, other: Ledger) -> None:
    """A batch that had its stamps checked before the raising is waited for; one that is checked later is stale."""
    key = await world.license()
    epoch = await world.lift(key, to_table=False)
    claimed = partial(lease, row=leased("m", epoch=epoch))

    def by_epoch(license_: License) -> Verdict[str]:
        return claimed(license_) if license_.epoch.number == epoch else Verdict("claim again")

    for ledger in (world.ledger, other):
        await ledger.decide(world.token, world.product, key, look)
    # The first batch is stopped between its check and its end.
    await world.connection.execute(
        """
        create function slow() returns trigger language plpgsql as $$
        begin perform pg_advisory_xact_lock(1); return new; end $$;
        create trigger slow before insert on log for each row when (new.machine_code = 'm') execute function slow();
        """
    )
    async with held(world.dsn, "select pg_advisory_xact_lock(1)"):
        first = asyncio.ensure_future(world.decide(key, by_epoch))
        waiting = f"select 1 from pg_locks where locktype = 'advisory' and objid = 1 and not granted and {HERE}"
        await until(lambda: world.connection.fetchval(waiting))
        await world.lift(key, to_table=True, ready=False)
        assert (await other.decide(world.token, world.product, key, by_epoch)).answer == "claim again"
        passing = asyncio.ensure_future(world.table.settled())
        await until(lambda: world.connection.fetch(HOLDERS_ASKED))
        assert not passing.done()
        assert await world.leases(key) == ()
    await passing
    assert await world.leases(key) == (leased("m", epoch=epoch),)
    assert await first == "leased"


# The barrier


async def test_the_barrier_waits_for_a_writer_that_had_begun_and_for_no_other(world: World) -> None:
    async with held(world.dsn, "select log_writer_begins()"):
        passing = asyncio.ensure_future(world.table.settled())
        await until(lambda: world.connection.fetch(HOLDERS_ASKED))
        late = held(world.dsn, "select log_writer_begins()")
        await late.__aenter__()
        assert not passing.done()
    await passing
    await late.__aexit__(None, None, None)


async def test_a_barrier_is_shared_only_by_those_who_came_before_it_began(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one is under way all who come share the next, which knows the writers that have begun meanwhile."""
    begun, passed, settled = 0, 0, logs.settled

    async def counted(reads: object) -> None:
        nonlocal begun, passed
        begun += 1
        await settled(reads)  # type: ignore[arg-type]
        passed += 1

    monkeypatch.setattr(logs, "settled", counted)
    async with held(world.dsn, "select log_writer_begins()"):
        early = [asyncio.ensure_future(world.table.settled()) for _ in range(5)]
        await until(lambda: world.connection.fetch(HOLDERS_ASKED))
        assert begun == 1
        second = held(world.dsn, "select log_writer_begins()")
        await second.__aenter__()
        late = [asyncio.ensure_future(world.table.settled()) for _ in range(5)]
    await asyncio.gather(*early)
    await until(lambda: begun == 2)
    leaving, *staying = late
    leaving.cancel()
    assert passed == 1
    assert not any(each.done() for each in staying)
    await second.__aexit__(None, None, None)
    await asyncio.gather(*staying)
    assert (begun, passed) == (2, 2)
    await world.table.settled()
    assert begun == 3


async def test_a_barrier_that_is_not_passed_in_time_refuses_all_who_share_it_and_not_those_after(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "BARRIER_SECONDS", 0.2)
    async with held(world.dsn, "select log_writer_begins()"):
        answers = await asyncio.gather(*(world.table.settled() for _ in range(3)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [Unavailable] * 3
    await world.table.settled()


# What is removed


async def put(world: World, key: str, *rows: Lease) -> None:
    await asyncio.gather(*(world.decide(key, partial(lease, row=row)) for row in rows))


async def test_rows_that_ended_or_were_released_over_ten_minutes_ago_are_removed_and_no_others(world: World) -> None:
    key = await world.license()
    await put(
        world,
        key,
        leased("ended nine minutes ago", expires=NOW - 540),
        leased("ended eleven minutes ago", expires=NOW - 660),
        leased("released nine minutes ago", expires=NOW - 540, released=True),
        leased("released eleven minutes ago", expires=NOW - 660, released=True),
        leased("taken", expires=NOW + 1),
    )
    assert await forget_leases(world.dsn, at(0)) == 2
    assert [row.code for row in await world.leases(key)] == ["ended nine minutes ago", "released nine minutes ago", "taken"]
    assert await forget_leases(world.dsn, at(0)) == 0


async def test_seats_are_counted_that_have_not_ended_and_were_not_released(world: World) -> None:
    key, other = await world.license(), await world.license()
    await put(world, key, leased("held", expires=NOW + 1), leased("ended", expires=NOW))
    await put(world, other, leased("held", expires=NOW + 600), leased("released", expires=NOW + 1, released=True))
    assert await held_leases(world.dsn, at(0)) == 2


async def test_all_rows_are_walked_over_however_many_are_looked_at_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [await world.license() for _ in range(7)]
    for number, key in enumerate(keys):
        await put(world, key, *(leased(f"{code}", expires=NOW + 600 * (code % 2) - 660) for code in range(number)))
    monkeypatch.setattr(tables, "ROWS_AT_ONCE", 3)
    steps: list[object] = []
    world.connection.add_query_logger(steps.append)
    assert await tables.forget_ended(world.connection, NOW) == 12
    await until(lambda: len(steps) >= 21 / 3 + 1)  # the last finds nothing more; asyncpg tells us in the next turn
    world.connection.remove_query_logger(steps.append)
    assert len(steps) == 21 / 3 + 1
    assert [len(await world.leases(key)) for key in keys] == [0, 0, 1, 1, 2, 2, 3]


async def test_rows_that_are_being_written_are_left_for_the_next_time_without_waiting(world: World) -> None:
    key = await world.license()
    await put(world, key, *(leased(code, expires=NOW - 660) for code in "abc"))
    async with held(world.dsn, "select from leases where code = 'b' for update"), asyncio.timeout(4):
        assert await forget_leases(world.dsn, at(0)) == 2
    assert [row.code for row in await world.leases(key)] == ["b"]
    assert await forget_leases(world.dsn, at(0)) == 1


async def test_a_row_that_is_renewed_as_it_is_about_to_be_removed_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The walk has seen the row ended; before it locks it, a claim that was decided earlier is committed."""
    key = await world.license()
    await put(world, key, leased("a", expires=NOW - 660), leased("b", expires=NOW - 660))
    waits = "), waited as materialized (select pg_advisory_xact_lock_shared(1)), ended as"
    slowly = tables.FORGET.replace("), ended as", waits).replace("from looked k", "from waited cross join looked k")
    assert slowly.count("waited") == 2
    monkeypatch.setattr(tables, "FORGET", slowly)
    async with held(world.dsn, "select pg_advisory_xact_lock(1)"):
        walking = asyncio.ensure_future(forget_leases(world.dsn, at(0)))
        waiting = f"select 1 from pg_locks where locktype = 'advisory' and objid = 1 and not granted and {HERE}"
        await until(lambda: world.connection.fetchval(waiting))
        await put(world, key, leased("a", seq=2, expires=NOW + 60))
    assert await walking == 1
    assert await world.leases(key) == (leased("a", seq=2, expires=NOW + 60),)


async def test_a_release_stands_in_the_way_of_an_older_claim_that_is_committed_late(world: World) -> None:
    """Why the rows stay for ten minutes: without the release's row the claim from before it would take the seat again."""
    key = await world.license()
    late = leased("m", seq=6, expires=NOW + 3600)
    released = leased("m", seq=7, released=True, expires=NOW)
    await put(world, key, released)
    assert await tables.forget_ended(world.connection, NOW + 600) == 0
    await put(world, key, late)
    assert await world.leases(key) == (released,)
    assert await forget_leases(world.dsn, at(601)) == 0  # by one clock only
    assert await tables.forget_ended(world.connection, NOW + 601) == 1
    await put(world, key, late)
    assert await world.leases(key) == (late,)


# What memory knows, and the time


async def test_a_glance_is_what_memory_has_and_is_read_if_it_has_none(world: World) -> None:
    key = await world.license()
    seen = await world.ledger.glance(world.token, world.product, key)
    assert seen == await world.show(key)
    await world.change(key, "max_machines = 1")
    assert await world.ledger.glance(world.token, world.product, key) == seen  # old, and what rests on it is confirmed
    assert await world.activate(key, "a") == "new"
    assert (await world.ledger.glance(world.token, world.product, key)).max_machines == 1
    assert await world.states(key) == [2011]


async def test_a_glance_raises_as_a_decision_does(world: World) -> None:
    key = await world.license()
    with pytest.raises(NoLicense):
        await world.ledger.glance(world.token, world.product, "NOSUCH")
    with pytest.raises(NoProduct):
        await world.ledger.glance(world.token, world.product + 1, key)
    await world.connection.execute("update tokens set revoked = 1, stamp = $1", new_stamp())
    for asked in (key, "NOSUCH"):
        with pytest.raises(Stale):
            await world.ledger.glance(world.token, world.product, asked)


async def test_without_a_connection_a_glance_is_refused_though_memory_has_the_license(world: World) -> None:
    key = await world.license()
    await world.decide(key, look)
    world.ledger._refusing = True
    with pytest.raises(Unavailable):
        await world.ledger.glance(world.token, world.product, key)


async def test_a_glance_waits_for_no_batch_that_is_under_way(world: World) -> None:
    key = await world.license()
    before = await world.ledger.glance(world.token, world.product, key)
    async with held(world.dsn, "select from licenses for update"):
        activating = asyncio.ensure_future(world.activate(key, "a"))
        await until(lambda: world.ledger._held)
        assert await world.ledger.glance(world.token, world.product, key) == before
    assert await activating == "new"


@pytest.fixture
async def hour_ahead(dsn: str) -> str:
    """A database whose clock is an hour ahead of ours."""
    connection = await asyncpg.connect(dsn)
    database = await connection.fetchval("select current_database()")
    await connection.execute(
        f"""
        create function public.clock_timestamp() returns timestamptz language sql volatile
        as $$ select pg_catalog.clock_timestamp() + interval '1 hour' $$;
        alter database {database} set search_path = public, pg_catalog;
        """
    )
    await connection.close()
    return dsn


async def test_the_time_of_the_ledger_is_the_databases_from_the_first_moment_on(hour_ahead: str) -> None:
    world = await make(hour_ahead)

    async def agrees() -> bool:
        earlier = await world.table.clock()
        ours = world.ledger.now()
        return bool(earlier - 1 <= ours <= await world.table.clock() and abs(ours - NOW - 3600) < 1800)

    assert await agrees()
    key = await world.license()
    for rule in (look, partial(admit, code="m"), partial(lease, row=leased("m"))):
        world.ledger._ahead = 0.0
        await world.decide(key, rule)
        assert await agrees()
    assert abs(await world.lift(key, to_table=True) / 2000 - NOW - 3600) < 1800  # epochs are above the same clock
    await world.close()


async def test_the_time_goes_on_between_answers(world: World) -> None:
    seen = [world.ledger.now() for _ in range(1000)]
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]


# Plans


WHOLE = "select sum(seq_scan) from pg_stat_user_tables where relname in ('licenses', 'leases', 'counted_codes')"
SCANS = "select seq_scan, idx_scan from pg_stat_xact_user_tables where relname = 'licenses'"


async def test_the_ledger_reads_no_whole_table_of_leases_though_it_was_planned_on_empty_ones(world: World) -> None:
    def rule(_license: License, seq: int) -> Verdict[None]:
        return Verdict(None, Change(counted_code=b"a"), lease=leased("m", seq=seq))

    await world.decide(await world.license(), partial(rule, seq=1))
    keys = [await world.license() for _ in range(300)]
    await asyncio.gather(*(world.decide(key, look) for key in keys))
    await world.connection.execute("select pg_stat_force_next_flush()")
    before = await world.connection.fetchval(WHOLE)
    for seq in (1, 2):
        await asyncio.gather(*(world.decide(key, partial(rule, seq=seq)) for key in keys))
    for lane in world.ledger._lanes:
        assert lane._connection is not None
        await lane._connection.execute("select pg_stat_force_next_flush()")
    assert await world.connection.fetchval(WHOLE) == before
    assert await world.connection.fetchval("select count(*) from leases") == 301


async def test_raising_and_marking_read_no_whole_table_though_they_were_planned_on_empty_ones(world: World) -> None:
    lift, ready = tables.LIFT, tables.READY
    await world.connection.fetch(lift, [1], [0], [1], True)  # noqa: FBT003
    await world.connection.fetch(ready, [1], [1], [1])
    ids = [await world.id(await world.license()) for _ in range(300)]
    async with world.connection.transaction():
        before = await world.connection.fetchrow(SCANS)
        raised = await world.connection.fetch(lift, ids, [0] * 300, [new_stamp() for _ in ids], True)  # noqa: FBT003
        numbers = {row["id"]: row["lease_epoch"] for row in raised}
        await world.connection.fetch(ready, list(numbers), list(numbers.values()), [new_stamp() for _ in ids])
        after = await world.connection.fetchrow(SCANS)
    assert before is not None
    assert after is not None
    assert after["seq_scan"] == before["seq_scan"]
    assert after["idx_scan"] > before["idx_scan"]
    assert all(epoch.ready for epoch in (await world.table.epochs(ids)).values())
