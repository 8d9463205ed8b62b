"""Data objects on a real PostgreSQL: through the ledger, and (ports.Objects) those of products and accounts."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncpg
import pytest
from servers import until
from world import HERE, NOW, World, admit, forget, new_token, worker

from server import metrics
from server.rules import values
from server.rules.codes import Code
from server.rules.grants import Caller
from server.rules.states import State
from server.rules.values import Act, Call, Outcome, Which
from storage.errors import Busy, NoProduct, Stale, Unavailable
from storage.postgres import objects
from storage.postgres.objects import AT_ONCE, BLOCK, Objects
from storage.records import DataObject, License, Place, Referencer, Rule, Token, Verdict
from storage.stamps import new_stamp


@pytest.fixture
def store(world: World) -> Objects:
    return Objects(world.reads, world.reads)


def named(name: str) -> Which:
    return Which(0, name)


def adding(number: int, name: str = "n", value: int = 0, *, unique: bool = False) -> Act:
    return partial(values.add, new=DataObject(number, name, "", value), unique=unique)


def counting(name: str = "n", by: int = 1, bound: int | None = None) -> Act:
    return partial(values.increment, which=named(name), amount=by, bound=bound, largest=0)


def removing(name: str = "n") -> Act:
    return partial(values.remove, which=named(name))


def caller(token: Token) -> Caller:
    return Caller(token, "", "", "192.0.2.0")


def on(world: World, act: Act, code: str | None = None, state: State = State.OBJECT_DONE) -> Rule[Outcome]:
    """The rule of an act on the objects of a license, or of a machine code under it."""
    call = Call(act, state, State(state + 10))
    return partial(values.of_license, machine_code=code, call=call, caller=caller(world.token), now=NOW)


async def rows(world: World, what: str = "*") -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await world.connection.fetch(f"select {what} from data_objects order by id")]


# ---- through the ledger


async def changed_rows(world: World) -> dict[str, int]:
    """How many rows were inserted, changed or deleted in two tables so far."""
    for lane in world.ledger._lanes:
        assert lane._connection is not None
        await lane._connection.execute("select pg_stat_force_next_flush()")
    found = await world.connection.fetch(
        "select relname, n_tup_ins + n_tup_upd + n_tup_del as changed from pg_stat_user_tables"
        " where relname in ('data_objects', 'licenses')"
    )
    return {row["relname"]: row["changed"] for row in found}


async def test_a_burst_of_increments_changes_one_row_of_the_counter_and_one_of_its_license_a_batch(
    world: World, store: Objects
) -> None:
    key = await world.license()
    await world.decide(key, on(world, adding(await store.new_id())))
    before, batches = await changed_rows(world), metrics.batches.labels("committed")._value.get()
    counts = [world.decide(key, on(world, counting(), state=State.INCREMENTED)) for _ in range(150)]
    assert all(outcome.refusal is None for outcome in await asyncio.gather(*counts))
    written = metrics.batches.labels("committed")._value.get() - batches
    after = await changed_rows(world)
    assert {table: after[table] - before[table] for table in after} == dict.fromkeys(before, written)
    assert written < 10
    assert await rows(world, "name, int_value") == [("n", 150)]
    assert await world.states(key) == [8010, *[8011] * 150]
    assert len((await world.show(key)).data_objects) == 1


async def test_within_one_batch_a_bound_is_held_and_the_rest_is_refused(world: World, store: Objects) -> None:
    key = await world.license()
    await world.decide(key, on(world, adding(await store.new_id())))
    rule = on(world, counting(by=3, bound=10), state=State.INCREMENTED)
    outcomes = await asyncio.gather(*(world.decide(key, rule) for _ in range(20)))
    assert [outcome.refusal for outcome in outcomes] == [None] * 3 + [Code.BOUND] * 17
    assert await rows(world, "int_value") == [(9,)]
    assert await world.states(key) == [8010, *[8011] * 3, *[8021] * 17]


async def in_one_batch(world: World, key: str, *rules: Rule[Any]) -> list[Any]:
    """The answers of calls that are decided together."""
    await world.decide(key, lambda _license: Verdict(None))  # known: nothing is loaded in between
    before = metrics.batches.labels("committed")._value.get()
    answers = await asyncio.gather(*(world.decide(key, rule) for rule in rules))
    assert metrics.batches.labels("committed")._value.get() == before + 1
    return answers


async def test_what_is_added_and_removed_in_one_batch_is_nowhere(world: World, store: Objects) -> None:
    key, number = await world.license(), await store.new_id()
    rules = [on(world, act) for act in (adding(number), removing(), removing())]
    added, removed, again = await in_one_batch(world, key, *rules)
    assert (added.refusal, removed.refusal, again.refusal) == (None, None, Code.OBJECT)
    assert await rows(world) == []
    assert await world.states(key) == [8010, 8010, 8020]
    told = await world.connection.fetch("select do_id from log where key = $1 order by id", key)
    assert [row["do_id"] for row in told] == [number, number, 0]
    assert (await known(world, key)).data_objects == ()


async def test_of_an_object_that_is_changed_and_removed_in_one_batch_nothing_stays(world: World, store: Objects) -> None:
    key = await world.license()
    await world.decide(key, on(world, adding(await store.new_id())))
    again = await store.new_id()
    await in_one_batch(world, key, *(on(world, act) for act in (counting(), removing(), adding(again), counting(by=5))))
    assert await rows(world, "id, int_value") == [(again, 5)]
    assert await known(world, key) == await world.show(key)


async def test_what_is_added_to_a_machine_code_goes_with_the_machine_in_the_same_batch(world: World, store: Objects) -> None:
    key = await world.license()
    await world.activate(key, "m")
    first, second, third, fourth = [await store.new_id() for _ in range(4)]
    await world.decide(key, on(world, adding(first, "older"), "m"))
    await in_one_batch(
        world, key, on(world, adding(second), "m"), on(world, counting("older"), "m"), on(world, adding(third), "other"),
        on(world, adding(fourth)), partial(forget, code="m"),
    )  # fmt: skip
    assert await rows(world, "id, machine_code") == [(third, "other"), (fourth, None)]
    shown = await known(world, key)
    assert {code: [each.id for each in held] for code, held in shown.machine_objects.items()} == {"other": [third]}
    assert shown == await world.show(key)


async def test_what_is_added_after_the_machine_left_stays_though_it_was_one_batch(world: World, store: Objects) -> None:
    key = await world.license()
    await world.activate(key, "m")
    number = await store.new_id()
    await in_one_batch(
        world, key, partial(forget, code="m"), on(world, adding(number), "m"), partial(admit, code="m"),
        on(world, counting(by=2), "m"),
    )  # fmt: skip
    assert await rows(world, "id, machine_code, int_value") == [(number, "m", 2)]
    assert await known(world, key) == await world.show(key)


async def test_the_objects_of_a_machine_code_go_with_its_deactivation_and_no_others(world: World, store: Objects) -> None:
    keys = [await world.license(), await world.license()]
    for key in keys:
        for code in ("m", "M"):
            await world.activate(key, code)
            await world.decide(key, on(world, adding(await store.new_id()), code))
    await world.decide(keys[0], partial(forget, code="m"))
    assert [code for (code,) in await rows(world, "machine_code")] == ["M", "m", "M"]
    assert (await known(world, keys[0])).objects("m") == ()


async def known(world: World, key: str) -> License:
    """The license as memory has it."""
    return await world.ledger.glance(world.token, world.product, key)


async def test_a_license_in_memory_is_the_one_that_would_be_loaded(world: World, store: Objects) -> None:
    key = await world.license()
    for code in (None, "b", "a", None, "b"):
        await world.decide(key, on(world, adding(await store.new_id(), "n", 3), code))
    for act in (counting(), removing(), counting()):
        await world.decide(key, on(world, act, "b"))
    assert await known(world, key) == await world.show(key)


async def test_what_another_worker_counted_is_counted_on(world: World, store: Objects) -> None:
    key = await world.license()
    await world.decide(key, on(world, adding(await store.new_id())))
    reads, _, other = await worker(world.dsn)

    async def count(number: int) -> None:
        ledger = (world.ledger, other)[number % 2]
        await ledger.decide(world.token, world.product, key, on(world, counting(), state=State.INCREMENTED))

    await asyncio.gather(*(count(number) for number in range(60)))
    assert await rows(world, "int_value") == [(60,)]
    assert await world.states(key) == [8010, *[8011] * 60]
    await other.close()
    await reads.close()


# ---- ids


async def test_ids_are_drawn_in_blocks_and_none_twice(world: World, store: Objects) -> None:
    other = Objects(world.reads, world.reads)
    ids = [await each.new_id() for _ in range(BLOCK + 1) for each in (store, other)]
    assert len(set(ids)) == len(ids)
    assert await last_id(world) == 4 * BLOCK
    ids += await asyncio.gather(*(each.new_id() for _ in range(BLOCK + 10) for each in (store, other)))
    assert len(set(ids)) == len(ids)


async def last_id(world: World) -> int:
    return await world.connection.fetchval("select last_value from data_objects_id_seq")


# ---- of products and accounts


def product(world: World) -> Place:
    return Place(Referencer.PRODUCT, world.product)


def account(world: World) -> Place:
    return Place(Referencer.USER, world.account)


async def decided(
    world: World, store: Objects, act: Act, *, place: Place | None = None, action: str = "", token: Token | None = None
) -> Outcome:
    """Have an act decided as the handlers have it."""
    by = token or world.token
    at = place or product(world)
    call = Call(act, State.OBJECT_DONE, State.OBJECT_REFUSED, action=action)
    rule = partial(values.of_owner, place=at, call=call, caller=caller(by), now=NOW)
    return await store.decide(by, at, rule, edits=bool(action))


async def stamp(world: World) -> int:
    return await world.connection.fetchval("select stamp from products where id = $1", world.product)


async def edits(world: World) -> list[tuple[Any, ...]]:
    told = "object_type, object_id, action, token_id, changes::text"
    return [tuple(row) for row in await world.connection.fetch(f"select {told} from object_log order by id")]


@pytest.mark.parametrize(("place", "kind"), [(product, 1), (account, 0)])
async def test_objects_of_a_product_and_of_the_account_are_added_changed_and_removed(
    world: World, store: Objects, place: Callable[[World], Place], kind: int
) -> None:
    at, number = place(world), await store.new_id()
    do = partial(decided, world, store, place=at)
    assert (await do(adding(number, "n", 3), action="AddDataObject")).refusal is None
    assert await rows(world) == [(number, world.account, kind, at.id, None, "n", "", 3)]
    await do(counting(by=4))
    await do(partial(values.set_string, which=Which(number, ""), value="of Ann"), action="SetStringValue")
    assert await store.read(world.token, at) == (DataObject(number, "n", "of Ann", 7),)
    assert (await do(removing("N"), action="RemoveDataObject")).refusal is Code.OBJECT
    await do(removing(), action="RemoveDataObject")
    assert await rows(world) == []
    name = "Product" if kind else "Account"
    told = [(name, at.id, action, world.token.id, '{"dataObject": "n"}') for action in
            ("AddDataObject", "SetStringValue", "RemoveDataObject")]  # fmt: skip
    assert await edits(world) == told
    assert await world.connection.fetchval("select count(*) from log") == 0


async def test_every_change_of_a_product_gives_it_a_new_stamp_and_nothing_else_does(world: World, store: Objects) -> None:
    key, number = await world.license(), await store.new_id()
    seen = [await stamp(world)]
    for act, changes in (
        (adding(number), True), (counting(), True), (counting(by=0), False), (counting(bound=0), False),
        (removing("none"), False), (removing(), True),
    ):  # fmt: skip
        await decided(world, store, act, action="A")
        assert (await stamp(world) not in seen) is changes
        seen.append(await stamp(world))
        objects_ = (await world.ledger.decide(world.token, world.product, key, lambda each: Verdict(each.product))).answer
        assert objects_.data_objects == await store.read(world.token, product(world))
    before = await stamp(world)
    await decided(world, store, adding(number), place=account(world), action="A")
    assert await stamp(world) == before


@pytest.mark.parametrize("place", [product, account])
async def test_counts_of_many_workers_at_once_are_exact(
    world: World, store: Objects, place: Callable[[World], Place]
) -> None:
    at = place(world)
    await decided(world, store, adding(await store.new_id()), place=at)
    reads, _, ledger = await worker(world.dsn)
    stores = (store, Objects(reads, reads))
    asked = [decided(world, stores[number % 2], counting(bound=30), place=at) for number in range(50)]
    outcomes = [outcome.refusal for outcome in await asyncio.gather(*asked)]
    assert (outcomes.count(None), outcomes.count(Code.BOUND)) == (30, 20)
    assert await rows(world, "int_value") == [(30,)]
    ids = [await store.new_id() for _ in range(20)]
    unique = [
        decided(world, stores[number % 2], adding(each, "x", unique=True), place=at) for number, each in enumerate(ids)
    ]
    refusals = [outcome.refusal for outcome in await asyncio.gather(*unique)]
    assert (refusals.count(None), refusals.count(Code.OBJECT_EXISTS)) == (1, 19)
    assert len(await rows(world)) == 2
    await ledger.close()
    await reads.close()


async def other_account(world: World) -> tuple[Token, int]:
    """A token of another account, and a product of it."""
    add = "insert into accounts (name, public_key, created) values ('b', '', 0) returning id"
    number = await world.connection.fetchval(add)
    token = await world.tokens.find(await new_token(world.connection, number))
    assert token is not None
    return token, await world.connection.fetchval(
        "insert into products (account_id, name, created, feature_names, feature_types, stamp)"
        " select $1, 'q', 0, feature_names, feature_types, $2 from products returning id", number, new_stamp()
    )  # fmt: skip


async def test_what_is_not_the_accounts_is_not_there(world: World, store: Objects) -> None:
    number, key = await store.new_id(), await world.license()
    await decided(world, store, adding(number))
    license_id = await world.id(key)
    foreign, elsewhere = await other_account(world)
    assert await store.find(world.token, number) == product(world)
    assert await store.find_license(world.token, license_id) == Place(Referencer.KEY, license_id, world.product, key)
    assert await store.find(foreign, number) is None
    assert await store.find_license(foreign, license_id) is None
    assert await store.find(world.token, number + BLOCK) is None
    assert await store.find_license(world.token, license_id + 1) is None
    assert await store.read_all(foreign, 0, "") == []
    for place in (product(world), Place(Referencer.PRODUCT, elsewhere + 1)):
        with pytest.raises(NoProduct):
            await store.read(foreign, place)
        with pytest.raises(NoProduct):
            await decided(world, store, counting(), place=place, token=foreign)
    assert await rows(world, "int_value") == [(0,)]


async def test_what_an_object_hangs_at_is_found_by_its_id(world: World, store: Objects) -> None:
    key = await world.license()
    license_id = await world.id(key)
    own, machine, of_account = [await store.new_id() for _ in range(3)]
    await world.decide(key, on(world, adding(own)))
    await world.decide(key, on(world, adding(machine), "m"))
    await decided(world, store, adding(of_account), place=account(world))
    assert await store.find(world.token, own) == Place(Referencer.KEY, license_id, world.product, key)
    assert await store.find(world.token, machine) == Place(Referencer.MACHINE_CODE, license_id, world.product, key)
    assert await store.find(world.token, of_account) == account(world)


async def test_everything_is_listed_in_order_of_id_or_what_is_a_products(
    world: World, store: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await world.license()
    license_id = await world.id(key)
    places = [
        Place(Referencer.MACHINE_CODE, license_id), account(world), Place(Referencer.KEY, license_id), product(world),
        Place(Referencer.PRODUCT, world.product + 1),
    ]  # fmt: skip
    ids = [await store.new_id() for _ in places]
    for number, place in reversed(list(zip(ids, places, strict=True))):
        await world.connection.execute(
            "insert into data_objects (id, account_id, referencer_type, referencer_id, machine_code, name, string_value,"
            " int_value) values ($1, $2, $3, $4, $5, $6, '', 0)",
            number, world.account, int(place.referencer), place.id,
            "m" if place.referencer is Referencer.MACHINE_CODE else None, f"Straße_{number}",
        )  # fmt: skip
    everything = [(DataObject(number, f"Straße_{number}", "", 0), place) for number, place in zip(ids, places, strict=True)]
    read = partial(store.read_all, world.token)
    assert await read(0, "") == everything
    assert await read(world.product, "") == [everything[0], *everything[2:4]]
    assert await read(world.product + 1, "") == everything[4:]
    assert await read(0, f"ASSE_{ids[1]}") == []
    assert await read(0, f"STRAßE_{ids[1]}") == everything[1:2]
    assert await read(0, "%") == []
    monkeypatch.setattr(objects, "MOST_LISTED", 2)
    assert await read(0, "") == everything[:2]


# ---- tokens, locks, lost connections


@asynccontextmanager
async def held(world: World, statement: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Hold what a statement locks, in a session of its own; it is let go by the end, or by a commit."""
    connection = await asyncpg.connect(world.dsn)
    try:
        await connection.execute(f"begin; {statement}")
        yield connection
    finally:
        await connection.close()


PRODUCT, ACCOUNT = "select from products for no key update", "select from accounts for no key update"
WRITERS = f"select count(*) from pg_locks where locktype = 'advisory' and objid = 5437140 and {HERE}"
WAITING = """
    select count(*) from pg_stat_activity
    where wait_event_type = 'Lock' and application_name = 'keyturn' and datname = current_database()
"""


async def waiting(world: World, number: int) -> None:
    await until(lambda: world.connection.fetchval(f"select ({WAITING}) = {number}"))


@pytest.mark.parametrize(("place", "lock"), [(product, PRODUCT), (account, ACCOUNT)])
async def test_a_token_that_is_revoked_while_the_call_waits_changes_nothing(
    world: World, store: Objects, place: Callable[[World], Place], lock: str
) -> None:
    async with held(world, lock) as holder:
        call = asyncio.ensure_future(decided(world, store, adding(1), place=place(world), action="AddDataObject"))
        await waiting(world, 1)
        await world.connection.execute("update tokens set revoked = 1, stamp = $1", new_stamp())
        await holder.execute("commit")
        with pytest.raises(Stale):
            await call
    assert (await rows(world), await edits(world)) == ([], [])


async def test_a_token_that_is_not_good_any_more_or_whose_parent_is_not_reads_nothing(world: World, store: Objects) -> None:
    child = await world.tokens.find(await new_token(world.connection, world.account, parent=world.token.id))
    assert child is not None
    await decided(world, store, adding(1), token=child)
    await world.connection.execute("update tokens set revoked = 1, stamp = $2 where id = $1", world.token.id, new_stamp())
    for token in (world.token, child):
        for call in (
            store.find(token, 1), store.find_license(token, 1), store.read(token, product(world)),
            store.read(token, Place(Referencer.PRODUCT, 1)), store.read_all(token, 0, ""),
            decided(world, store, counting(), token=token),
            decided(world, store, counting(), token=token, place=Place(Referencer.PRODUCT, 1)),
        ):  # fmt: skip
            with pytest.raises(Stale):
                await call
    assert await rows(world, "int_value") == [(0,)]


async def test_what_waits_for_a_product_leaves_connections_for_others_and_is_counted_afterwards(
    world: World, store: Objects
) -> None:
    await decided(world, store, adding(1))
    async with held(world, PRODUCT) as holder:
        calls = [asyncio.ensure_future(decided(world, store, counting())) for _ in range(12)]
        await waiting(world, AT_ONCE)
        for _ in range(4):
            assert await world.activate(await world.license(), "m") == "new"  # loads a license
        assert not any(call.done() for call in calls)
        await holder.execute("commit")
        await asyncio.gather(*calls)
    assert await rows(world, "int_value") == [(12,)]


async def test_who_waits_too_long_is_refused_and_nothing_was_done(
    world: World, store: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    await decided(world, store, adding(1))
    async with held(world, PRODUCT):
        monkeypatch.setattr(objects, "DECIDE_SECONDS", 0.2)
        calls = [decided(world, store, counting()) for _ in range(5)]
        async with asyncio.timeout(4):  # before PostgreSQL ends their statements
            refused = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(each) for each in refused} == {Busy}
    monkeypatch.undo()
    for _ in range(5):  # on every connection that was given back
        await decided(world, store, counting())
    assert await rows(world, "int_value") == [(5,)]


async def test_a_lost_connection_is_said_and_nothing_is_repeated(world: World, store: Objects) -> None:
    await decided(world, store, adding(1))
    async with held(world, PRODUCT):
        call = asyncio.ensure_future(decided(world, store, counting(), action="A"))
        await waiting(world, 1)
        await world.connection.execute(f"select pg_terminate_backend(pid) from ({WAITING.replace('count(*)', 'pid')}) w")
        with pytest.raises(Unavailable):
            await call
    assert (await rows(world, "int_value"), await edits(world)) == ([(0,)], [])
    await decided(world, store, counting())
    assert await rows(world, "int_value") == [(1,)]


async def test_a_rule_that_raises_undoes_everything(world: World, store: Objects) -> None:
    def wrong(_objects: tuple[DataObject, ...]) -> Verdict[str]:
        raise ZeroDivisionError

    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            await store.decide(world.token, product(world), wrong, edits=True)
    assert await world.connection.fetchval(WRITERS) == 0


async def test_what_is_told_in_the_object_log_is_written_behind_the_writers_lock(world: World, store: Objects) -> None:
    """So that a reader who follows the ids misses no row."""
    for action, number in (("", 0), ("SetIntValue", 1)):
        async with held(world, PRODUCT) as holder:
            call = asyncio.ensure_future(decided(world, store, counting(), action=action))
            await waiting(world, 1)
            assert await world.connection.fetchval(WRITERS) == number
            await holder.execute("commit")
            await call
