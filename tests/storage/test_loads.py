"""Licenses that memory does not have are read together: in one statement, each call told what concerns it alone."""

import asyncio
from functools import partial
from typing import Any

import asyncpg
import pytest
from servers import until
from world import World, admit, look, new_token

from storage.errors import Broken, NoLicense, NoProduct, Stale, Unavailable
from storage.postgres import ledger as ledgers
from storage.postgres.connect import LOOKUPS
from storage.postgres.rows import LICENSE_LOAD, Address, loaded, sought
from storage.records import License, Product, Verdict
from storage.stamps import new_stamp


class Loads:
    """The statements that read licenses: how many each asked for. While `gate` is shut, they wait before they are sent."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self.under_way = 0
        self.gate = asyncio.Event()
        self.gate.set()
        fetch = world.reads.fetch

        async def counted(statement: str, *values: Any) -> list[asyncpg.Record]:
            if statement != LICENSE_LOAD:
                return await fetch(statement, *values)
            self.sizes.append(len(values[0]))
            self.under_way += 1
            await self.gate.wait()
            self.under_way -= 1
            return await fetch(statement, *values)

        monkeypatch.setattr(world.reads, "fetch", counted)


@pytest.fixture
def loads(world: World, monkeypatch: pytest.MonkeyPatch) -> Loads:
    return Loads(world, monkeypatch)


async def doomed_token(world: World) -> Any:
    """A token that this worker knows as good, and which was revoked since."""
    token = await world.tokens.find(await new_token(world.connection, world.account))
    assert token is not None
    await world.connection.execute("update tokens set revoked = 1, stamp = $2 where id = $1", token.id, new_stamp())
    return token


async def test_calls_that_come_together_have_their_licenses_read_by_one_statement(world: World, loads: Loads) -> None:
    keys = [await world.license() for _ in range(40)]
    assert await asyncio.gather(*(world.activate(key, "m") for key in keys)) == ["new"] * 40
    assert loads.sizes == [40]
    assert await asyncio.gather(*(world.activate(key, "m") for key in keys)) == ["known"] * 40
    assert loads.sizes == [40]


async def test_what_comes_while_licenses_are_read_is_read_together_next(world: World, loads: Loads) -> None:
    keys = [await world.license() for _ in range(100)]
    loads.gate.clear()
    calls = []
    for number, key in enumerate(keys):
        calls.append(asyncio.ensure_future(world.decide(key, look)))
        if number < ledgers.READERS:
            await until(lambda number=number: loads.under_way > number)
    await until(lambda: len(world.ledger._held) == len(keys))
    loads.gate.set()
    assert await asyncio.gather(*calls) == [0] * 100
    assert loads.sizes[: ledgers.READERS] == [1] * ledgers.READERS
    assert max(loads.sizes) == ledgers.MOST_READ
    assert sum(loads.sizes) == 100
    assert len(loads.sizes) == ledgers.READERS + 2


async def test_each_license_comes_with_what_belongs_to_it(world: World, loads: Loads) -> None:
    keys = [await world.license(machines=10) for _ in range(10)]
    for number, key in enumerate(keys):
        for each in range(number):
            await world.activate(key, f"{number}-{each}")
    world.ledger._known.clear()
    loads.sizes.clear()
    shown: list[License] = await asyncio.gather(*(world.decide(key, Verdict) for key in keys))
    assert loads.sizes == [10]
    assert [each.key for each in shown] == keys
    assert [list(each.machines) for each in shown] == [[f"{n}-{each}" for each in range(n)] for n in range(10)]
    assert {each.product.id for each in shown} == {world.product}
    assert shown == [await world.show(key) for key in keys]


async def test_licenses_read_at_any_time_share_their_product_until_it_changes(world: World, loads: Loads) -> None:
    keys = [await world.license() for _ in range(3)]
    first, second = [await world.decide(key, Verdict) for key in keys[:2]]
    assert first.product is second.product
    await world.connection.execute("update products set name = 'renamed', stamp = $1", new_stamp())
    third = await world.decide(keys[2], Verdict)
    assert (second.product.name, third.product.name) == ("p", "renamed")
    assert (await world.decide(keys[0], Verdict)).product.name == "renamed"
    assert third.product == (await world.show(keys[2])).product
    assert len(loads.sizes) >= 4


async def test_a_product_comes_whole_only_to_whom_it_is_new(world: World) -> None:
    address = Address(world.account, world.product, await world.license())

    async def read(*known: Product | None) -> asyncpg.Record:
        return (await world.reads.fetch(LICENSE_LOAD, *sought([address], [], known)))[0]

    row = await read()
    product = loaded(row).product
    assert (row["product_name"], row["n"]) == ("p", 1)
    row = await read(product)
    assert (row["product_name"], row["product_data_objects"]) == (None, None)
    assert loaded(row, product).product is product
    await world.connection.execute("update products set name = 'renamed', stamp = $1", new_stamp())
    new = loaded(await read(product), product).product
    assert new is not None
    assert new.name == "renamed"


async def test_an_unknown_key_among_known_ones_is_told_alone(world: World, loads: Loads) -> None:
    keys = [await world.license() for _ in range(4)]
    asked = [world.activate(key, "m") for key in (*keys[:2], "NOSUCH", *keys[2:])]
    other = world.ledger.decide(world.token, world.product + 1, keys[0], look)
    answers = await asyncio.gather(*asked, other, return_exceptions=True)
    assert loads.sizes == [6]
    assert [type(answer) for answer in answers] == [str, str, NoLicense, str, str, NoProduct]


async def test_a_stale_token_among_good_ones_is_told_alone(world: World, loads: Loads) -> None:
    keys = [await world.license() for _ in range(3)]
    doomed = await doomed_token(world)
    asked = [
        world.activate("NOSUCH", "m"),
        world.activate("NOSUCH", "m", token=doomed),
        world.activate("NOR THIS", "m", token=doomed),
        world.activate("NOR THAT", "m"),
        *(world.activate(key, "m") for key in keys),
        world.activate(keys[0], "n", token=doomed),
    ]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert loads.sizes[0] == 6
    assert [type(each) for each in answers] == [NoLicense, Stale, Stale, NoLicense, str, str, str, Stale]
    assert [await world.machines(key) for key in keys] == [1, 1, 1]


async def test_who_comes_while_an_unknown_key_is_looked_for_has_his_own_token_looked_at(world: World, loads: Loads) -> None:
    doomed = await doomed_token(world)
    loads.gate.clear()
    first = asyncio.ensure_future(world.activate("NOSUCH", "m"))
    await until(lambda: loads.under_way)
    second = asyncio.ensure_future(world.activate("NOSUCH", "m", token=doomed))
    await until(lambda: sum(map(len, world.ledger._held.values())) == 2)
    loads.gate.set()
    answers = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(each) for each in answers] == [NoLicense, Stale]


async def test_a_key_that_postgresql_cannot_take_fails_alone(world: World, loads: Loads) -> None:
    """Such keys are refused before they come here; if one does not, its neighbours do not pay for it."""
    keys = [await world.license() for _ in range(3)]
    answers = await asyncio.gather(
        *(world.activate(key, "m") for key in (keys[0], "NO\0NE", *keys[1:])), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [str, Broken, str, str]
    assert loads.sizes == [4, 1, 1, 1, 1]


async def test_a_connection_lost_while_licenses_are_read_fails_their_calls_and_no_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [await world.license() for _ in range(5)]
    await world.activate(keys[0], "known")
    fetch = world.reads.fetch

    async def lost(_statement: str, *_values: object) -> list[asyncpg.Record]:
        raise Unavailable("ConnectionDoesNotExistError")

    monkeypatch.setattr(world.reads, "fetch", lost)
    answers = await asyncio.gather(*(world.activate(key, "known") for key in keys), return_exceptions=True)
    assert [type(answer) for answer in answers] == [str, *[Unavailable] * 4]
    assert not world.ledger._held
    monkeypatch.setattr(world.reads, "fetch", fetch)
    assert await asyncio.gather(*(world.activate(key, "known") for key in keys)) == ["known", *["new"] * 4]


async def test_readers_that_failed_make_room_for_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [await world.license() for _ in range(3)]
    fetch = world.reads.fetch

    async def lost(_statement: str, *_values: object) -> list[asyncpg.Record]:
        raise Unavailable("lost")

    monkeypatch.setattr(world.reads, "fetch", lost)
    for _ in range(ledgers.READERS + 1):
        with pytest.raises(Unavailable):
            await world.decide(keys[0], look)
    monkeypatch.setattr(world.reads, "fetch", fetch)
    assert await asyncio.gather(*(world.decide(key, look) for key in keys)) == [0, 0, 0]
    assert world.ledger._readers == 0


async def test_parts_of_a_batch_that_failed_stay_apart_though_their_licenses_are_read_together(world: World) -> None:
    """The connection is new after each loss, so that memory is empty whenever they are to be decided again."""
    await world.connection.execute(
        """
        create function refuse() returns trigger language plpgsql as $$
        begin if new.friendly_name = 'poison' then raise exception 'no'; end if; return new; end $$;
        create trigger refuse before insert on machines for each row execute function refuse();
        """
    )
    keys = [await world.license() for _ in range(6)]
    split = world.ledger._split

    def forgetful(*how: Any) -> None:
        split(*how)
        world.ledger._known.clear()

    world.ledger._split = forgetful  # type: ignore[method-assign]
    names = ["poison" if number == 2 else "" for number in range(6)]
    rules = [partial(admit, code="m", name=name) for name in names]
    asked = zip(keys, rules, strict=True)
    answers = await asyncio.gather(*(world.decide(key, rule) for key, rule in asked), return_exceptions=True)
    assert [type(answer) for answer in answers] == [str, str, Broken, str, str, str]


async def test_loads_are_index_lookups_though_they_were_planned_on_empty_tables(world: World, loads: Loads) -> None:
    tables = "select coalesce(sum(seq_scan), 0) from pg_stat_user_tables where relname <> 'lanes'"
    await asyncio.gather(*(world.decide("NOSUCH", look) for _ in range(3)), return_exceptions=True)
    keys = [await world.license() for _ in range(300)]
    await world.connection.execute("select pg_stat_force_next_flush()")
    before = await world.connection.fetchval(tables)
    assert await asyncio.gather(*(world.decide(key, look) for key in keys)) == [0] * 300
    assert sum(loads.sizes) == 301
    for _ in range(10):  # each connection of the pool tells what it read
        await world.reads.fetch("select pg_stat_force_next_flush()")
    assert await world.connection.fetchval(tables) == before


async def test_in_a_new_database_too_a_license_is_found_by_the_index_of_keys(world: World) -> None:
    connection = await asyncpg.connect(world.dsn, server_settings=LOOKUPS)
    try:
        await connection.execute(f"prepare look as {LICENSE_LOAD}")
        plan = "\n".join(row[0] for row in await connection.fetch("explain execute look('{}', '{}', '{}', '{}', '{}')"))
    finally:
        await connection.close()
    assert "using licenses_product_id_key_key on licenses" in plan
    assert "Index Cond: ((product_id = p.id) AND (key = a.key))" in plan
