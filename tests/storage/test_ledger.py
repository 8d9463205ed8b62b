"""The promises of the ledger (ports.Ledger), on a real PostgreSQL: order, stale verdicts, the bound, poison, facts."""

import asyncio
from functools import partial

import asyncpg
import pytest
import world as worlds
from servers import until
from world import World, admit, forget, logged, look, make, new_token, worker

from server import metrics
from storage.errors import Broken, Busy, NoLicense, NoProduct, Stale, Unavailable
from storage.postgres import ledger as ledgers
from storage.postgres.batch import Batch
from storage.postgres.lane import Lane
from storage.records import License, Verdict
from storage.stamps import new_stamp


async def test_an_answered_call_is_logged_once_and_its_machine_is_there(world: World) -> None:
    key = await world.license()
    assert await world.activate(key, "m") == "new"
    assert await world.activate(key, "m") == "known"
    assert await world.states(key) == [2011, 2010]
    assert await world.machines(key) == 1


async def test_calls_of_one_batch_are_decided_in_order_each_on_what_the_one_before_left(world: World) -> None:
    key = await world.license(machines=1)
    await world.decide(key, look)
    asked = [partial(admit, code="a"), partial(admit, code="b"), partial(forget, code="a"), partial(admit, code="b")]
    answers = await asyncio.gather(*(world.decide(key, rule) for rule in asked))
    assert answers == ["new", "full", "gone", "new"]
    assert await world.states(key) == [2011, 2023, 6010, 2011]
    assert await world.machines(key) == 1


async def test_what_is_kept_of_a_machine_goes_with_it(world: World) -> None:
    key = await world.license()
    for code in "ab":
        await world.activate(key, code)
        await world.connection.execute(
            """
            insert into data_objects (account_id, referencer_type, referencer_id, machine_code, name, string_value,
                                      int_value)
            select account_id, 3, id, $2, 'n', '', 0 from licenses where key = $1
            """,
            key,
            code,
        )
    await world.decide(key, partial(forget, code="a"))
    assert await world.machines(key) == 1
    assert await world.connection.fetchval("select array_agg(machine_code) from data_objects") == ["b"]


async def test_forty_machines_on_a_license_of_five_over_two_workers_are_five(world: World) -> None:
    keys = [await world.license() for _ in range(40)]
    reads, tokens, other = await worker(world.dsn)
    token = await tokens.find(world.token.id)
    assert token is not None

    async def ask(key: str, number: int) -> str:
        ledger = (world.ledger, other)[number % 2]
        return (await ledger.decide(token, world.product, key, partial(admit, code=f"m{number}"))).answer

    answers = await asyncio.gather(*(ask(key, number) for number in range(40) for key in keys))
    assert answers.count("new") == 40 * 5
    assert [await world.machines(key) for key in keys] == [5] * 40
    assert await world.connection.fetchval("select count(*) from log where state = 2011") == 40 * 5
    assert await world.connection.fetchval("select count(*) from log") == 40 * 40
    await other.close()
    await reads.close()


async def test_what_another_worker_changed_is_seen_by_the_next_call(world: World) -> None:
    key = await world.license(machines=1)
    assert await world.activate(key, "a") == "new"
    await world.change(key, "max_machines = 2")
    assert await world.activate(key, "b") == "new"
    await world.change(key, "max_machines = 1")
    assert await world.activate(key, "c") == "full"


async def test_a_call_that_is_not_logged_never_shows_a_license_as_it_no_longer_is(world: World) -> None:
    key = await world.license()
    assert await world.decide(key, look) == 0
    reads, _, other = await worker(world.dsn)
    await other.decide(world.token, world.product, key, partial(admit, code="a"))
    assert await world.decide(key, look) == 1
    await other.close()
    await reads.close()


async def test_a_revoked_token_goes_back_to_its_caller_and_writes_nothing(world: World) -> None:
    key = await world.license()
    await world.activate(key, "a")
    await world.connection.execute("update tokens set revoked = 1, stamp = $1", new_stamp())
    with pytest.raises(Stale):
        await world.activate(key, "b")
    assert await world.states(key) == [2011]
    assert not await world.tokens.confirm(world.token)
    assert await world.tokens.find(world.token.id) is None


async def test_revoking_a_parent_revokes_its_children(world: World) -> None:
    key = await world.license()
    child = await world.tokens.find(await new_token(world.connection, world.account, parent=world.token.id))
    assert child is not None
    assert await world.activate(key, "a", token=child) == "new"
    await world.connection.execute("update tokens set revoked = 1, stamp = $2 where id = $1", world.token.id, new_stamp())
    with pytest.raises(Stale):
        await world.activate(key, "b", token=child)
    assert await world.tokens.find(child.id) is None or not await world.tokens.confirm(child)


async def test_one_stale_token_does_not_take_its_neighbours_with_it(world: World) -> None:
    key = await world.license()
    await world.activate(key, "a")
    doomed = await world.tokens.find(await new_token(world.connection, world.account))
    assert doomed is not None
    await world.connection.execute("update tokens set revoked = 1, stamp = $2 where id = $1", doomed.id, new_stamp())
    good, bad = await asyncio.gather(
        world.activate(key, "b"), world.activate(key, "c", token=doomed), return_exceptions=True
    )
    assert good == "new"
    assert isinstance(bad, Stale)
    assert await world.machines(key) == 2


async def test_a_changed_product_is_a_stale_fact(world: World) -> None:
    key = await world.license()
    name = await world.decide(key, lambda license_: Verdict(license_.product.name))
    await world.connection.execute("update products set name = 'renamed', stamp = $1", new_stamp())
    assert (name, await world.decide(key, lambda license_: Verdict(license_.product.name))) == ("p", "renamed")


async def test_what_is_not_there_is_said_with_the_token_confirmed(world: World) -> None:
    with pytest.raises(NoLicense):
        await world.activate("NOSUCH", "m")
    with pytest.raises(NoProduct):
        await world.ledger.decide(world.token, world.product + 1, "NOSUCH", look)
    await world.connection.execute("update tokens set revoked = 1, stamp = $1", new_stamp())
    with pytest.raises(Stale):
        await world.activate("NOSUCH", "m")


async def test_a_license_of_another_account_is_not_there(world: World) -> None:
    key = await world.license()
    add = "insert into accounts (name, public_key, created) values ('b', '', 0) returning id"
    other = await world.connection.fetchval(add)
    foreign = await world.tokens.find(await new_token(world.connection, other))
    with pytest.raises(NoProduct):
        await world.activate(key, "m", token=foreign)


async def test_a_license_that_keeps_going_stale_gets_decided_under_its_lock(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else changes the license whenever this worker has decided on it; not while it holds the row's lock."""
    key = await world.license()
    carry, changes = world.ledger._carry, 0

    async def after_a_change(lane: Lane, batch: Batch) -> None:
        nonlocal changes
        changes += 1
        await world.change(key, f"period = {changes}")
        await carry(lane, batch)

    monkeypatch.setattr(world.ledger, "_carry", after_a_change)
    logged_look = partial(lambda license_: Verdict(license_.period, entry=logged(license_, 2010)))
    assert await world.decide(key, logged_look) == ledgers.CONTENDED_ROUNDS
    assert await world.states(key) == [2010]


async def test_a_stampede_within_one_worker_makes_nothing_stale(world: World) -> None:
    """While a batch that changes a license is under way, later calls on it wait for the outcome."""
    key = await world.license(machines=1000)
    await world.decide(key, look)
    stale = metrics.stale_verdicts._value.get()
    answers = await asyncio.gather(*(world.activate(key, f"m{number}") for number in range(500)))
    assert answers == ["new"] * 500
    assert metrics.stale_verdicts._value.get() == stale


async def test_a_full_queue_refuses_at_once(dsn: str) -> None:
    world = await make(dsn, queue=3)
    key = await world.license()
    answers = await asyncio.gather(*(world.activate(key, f"m{number}") for number in range(5)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [str, str, str, Busy, Busy]
    assert await world.activate(key, "later") == "new"
    await world.close()


async def test_a_poisonous_entry_fails_alone(world: World) -> None:
    """A trigger raises for one friendly name: class P0001. What was decided on it is decided again without it."""
    await world.connection.execute(
        """
        create function refuse() returns trigger language plpgsql as $$
        begin if new.friendly_name = 'poison' then raise exception 'no'; end if; return new; end $$;
        create trigger refuse before insert on machines for each row execute function refuse();
        """
    )
    keys = [await world.license(machines=2) for _ in range(10)]
    await asyncio.gather(*(world.decide(key, look) for key in keys))
    asked = [(key, partial(admit, code="good")) for key in keys]
    asked.insert(5, (keys[0], partial(admit, code="bad", name="poison")))
    asked.append((keys[0], partial(admit, code="after")))
    answers = await asyncio.gather(*(world.decide(key, rule) for key, rule in asked), return_exceptions=True)
    assert isinstance(answers[5], Broken)
    assert [answer for number, answer in enumerate(answers) if number != 5] == ["new"] * 11
    assert await world.machines(keys[0]) == 2  # the place of the poisonous one was given to the one after it
    assert await world.states(keys[0]) == [2011, 2011]


async def test_a_missing_partition_stops_the_log_and_is_nobodys_poison(world: World) -> None:
    key = await world.license()
    partition = await world.connection.fetchval("select tableoid::regclass::text from log")
    assert partition is None
    name = await world.connection.fetchval("select to_char(to_timestamp($1), '\"log_\"YYYY_MM')", worlds.NOW)
    await world.connection.execute(f"alter table log detach partition {name}")
    answers = await asyncio.gather(*(world.activate(key, code) for code in "ab"), return_exceptions=True)
    assert {type(answer) for answer in answers} == {Unavailable}
    assert await world.machines(key) == 0
    bounds = await world.connection.fetchrow(
        "select extract(epoch from date_trunc('month', to_timestamp($1), 'UTC'))::bigint as first,"
        " extract(epoch from date_trunc('month', to_timestamp($1), 'UTC') + interval '1 month')::bigint as last",
        worlds.NOW,
    )
    assert bounds is not None
    await world.connection.execute(
        f"alter table log attach partition {name} for values from ({bounds['first']}) to ({bounds['last']})"
    )
    assert await world.activate(key, "a") == "new"


async def test_a_rule_that_raises_fails_its_own_call_only(world: World) -> None:
    key = await world.license()

    def wrong(_license: License) -> Verdict[str]:
        raise ZeroDivisionError

    answers = await asyncio.gather(world.activate(key, "a"), world.decide(key, wrong), return_exceptions=True)
    assert answers[0] == "new"
    assert isinstance(answers[1], ZeroDivisionError)


async def test_a_database_that_lost_the_lane_gets_a_new_one(world: World) -> None:
    key = await world.license()
    await world.connection.execute("delete from lanes")
    assert await world.activate(key, "a") == "new"
    assert await world.states(key) == [2011]


async def test_the_ledger_reads_no_whole_table_though_it_was_planned_on_empty_ones(world: World) -> None:
    tables = "select sum(seq_scan) from pg_stat_user_tables where relname in ('licenses', 'machines', 'tokens', 'products')"
    await world.activate(await world.license(), "first")
    keys = [await world.license() for _ in range(300)]
    await asyncio.gather(*(world.decide(key, look) for key in keys))
    await world.connection.execute("select pg_stat_force_next_flush()")
    before = await world.connection.fetchval(tables)
    for code in "ab":
        await asyncio.gather(*(world.activate(key, code) for key in keys))
    for lane in world.ledger._lanes:
        assert lane._connection is not None
        await lane._connection.execute("select pg_stat_force_next_flush()")
    assert await world.connection.fetchval(tables) == before


async def test_calls_keep_their_order_when_the_lane_is_gone_under_them(world: World) -> None:
    key = await world.license()
    await world.decide(key, look)
    await world.connection.execute("delete from lanes")
    first = asyncio.ensure_future(world.activate(key, "a"))
    await until(lambda: world.ledger._held)
    second = asyncio.ensure_future(world.decide(key, partial(forget, code="a")))
    assert await asyncio.gather(first, second) == ["new", "gone"]
    assert await world.states(key) == [2011, 6010]


async def test_batches_hold_their_licenses_in_one_order_so_that_none_deadlocks(world: World) -> None:
    keys = [await world.license(machines=1000) for _ in range(20)]
    reads, _, other = await worker(world.dsn)

    async def storm(ledger: object, order: list[str], tag: str) -> None:
        for number in range(20):
            await asyncio.gather(
                *(ledger.decide(world.token, world.product, key, partial(admit, code=f"{tag}{number}")) for key in order)  # type: ignore[attr-defined]
            )

    await asyncio.gather(storm(world.ledger, keys, "a"), storm(other, keys[::-1], "b"))
    assert [await world.machines(key) for key in keys] == [40] * 20
    assert await world.connection.fetchval("select deadlocks from pg_stat_database where datname = current_database()") == 0
    await other.close()
    await reads.close()


async def test_a_cancelled_caller_takes_nobody_with_it(world: World) -> None:
    key = await world.license()
    leaving = asyncio.ensure_future(world.activate(key, "a"))
    staying = asyncio.ensure_future(world.activate(key, "b"))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == "new"
    await until(lambda: world.ledger._waiting == 0)


async def test_the_settings_that_the_ledger_relies_on_are_those_of_its_connections(world: World) -> None:
    connection = world.ledger._lanes[0]._connection
    assert connection is not None
    shown = {name: await connection.fetchval(f"show {name}") for name in ("transaction_timeout", "plan_cache_mode", "jit")}
    assert shown == {"transaction_timeout": "6s", "plan_cache_mode": "force_custom_plan", "jit": "off"}
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("copy accounts to program 'true'")
