"""Making licenses (ports.Licenses): numbers without gaps or doubles, one trial a machine code, and facts that must hold."""

import asyncio
from functools import partial

import pytest
from world import NOW, World

from storage.errors import Conflict, NoCustomer, NoLicense, NoProduct, Stale
from storage.records import Creation, Entry, Machine, NewLicense, Product
from storage.stamps import new_stamp


def new(key: str, customer: int | None = None) -> NewLicense:
    return NewLicense(key, NOW, NOW, 0, 0, "", False, customer, False, 3, "", new_stamp())  # noqa: FBT003


def wanted(
    product: Product,
    *,
    keys: list[str],
    customer: int | None = None,
    machine: Machine | None = None,
    code: bytes | None = None,
) -> Creation[str]:
    entry = Entry(product.account_id, product.id, 0, "", "192.0.2.0", NOW, 3010)
    return Creation("made", tuple(new(key, customer) for key in keys), entry, machine, code)


async def test_each_license_made_is_numbered_logged_and_in_the_object_log(world: World) -> None:
    assert await world.licenses.create(world.token, world.product, partial(wanted, keys=["A", "B", "C"])) == "made"
    rows = await world.connection.fetch("select key, number from licenses order by number")
    assert [tuple(row) for row in rows] == [("A", 1), ("B", 2), ("C", 3)]
    assert [row["key"] for row in await world.connection.fetch("select key from log order by id")] == ["A", "B", "C"]
    assert await world.connection.fetchval("select count(*) from object_log where token_id = $1", world.token.id) == 3


async def test_numbers_have_no_gap_and_no_double_under_concurrency(world: World) -> None:
    rules = [partial(wanted, keys=[f"{number}-{each}" for each in range(5)]) for number in range(20)]
    await asyncio.gather(*(world.licenses.create(world.token, world.product, rule) for rule in rules))
    numbers = [row["number"] for row in await world.connection.fetch("select number from licenses order by number")]
    assert numbers == list(range(1, 101))


async def test_a_refusal_is_logged_once_and_makes_nothing(world: World) -> None:
    assert await world.licenses.create(world.token, world.product, partial(wanted, keys=[])) == "made"
    assert await world.connection.fetchval("select count(*) from log where license_id = 0") == 1
    assert await world.connection.fetchval("select count(*) from licenses") == 0


async def test_a_machine_code_is_remembered_once(world: World) -> None:
    machine = Machine("m", "", "192.0.2.7", "", NOW)
    racers = [partial(wanted, keys=[f"K{number}"], machine=machine, code=b"hash") for number in range(8)]
    answers = await asyncio.gather(
        *(world.licenses.create(world.token, world.product, rule) for rule in racers), return_exceptions=True
    )
    assert sorted(map(repr, answers)) == sorted(["'made'", *["Conflict()"] * 7])
    assert isinstance(next(answer for answer in answers if answer != "made"), Conflict)
    key = await world.licenses.trial_key(world.token, world.product, b"hash")
    assert await world.connection.fetchval("select array_agg(key) from licenses") == [key]
    assert (await world.licenses.show(world.token, world.product, key or "")).ever_activated
    assert await world.licenses.trial_key(world.token, world.product, b"other") is None


async def test_the_facts_are_checked_as_the_licenses_are_made(world: World) -> None:
    with pytest.raises(NoProduct):
        await world.licenses.create(world.token, world.product + 1, partial(wanted, keys=["A"]))
    with pytest.raises(NoCustomer):
        await world.licenses.create(world.token, world.product, partial(wanted, keys=["A"], customer=7))
    with pytest.raises(NoLicense):
        await world.licenses.show(world.token, world.product, "A")
    await world.connection.execute("update tokens set revoked = 1, stamp = $1", new_stamp())
    for ask in (
        world.licenses.create(world.token, world.product, partial(wanted, keys=["A"])),
        world.licenses.trial_key(world.token, world.product, b"hash"),
        world.licenses.show(world.token, world.product, "A"),
    ):
        with pytest.raises(Stale):
            await ask
    assert await world.connection.fetchval("select count(*) from licenses") == 0


async def test_a_token_revoked_between_look_and_commit_makes_nothing(world: World) -> None:
    looked: list[Product] = []

    def rule(product: Product) -> Creation[str]:
        looked.append(product)
        return wanted(product, keys=["A"])

    made = world.licenses._make

    async def revoked_meanwhile(*values: object) -> str:
        await world.connection.execute("update tokens set revoked = 1, stamp = $1", new_stamp())
        return await made(*values)  # type: ignore[arg-type]

    world.licenses._make = revoked_meanwhile  # type: ignore[method-assign]
    with pytest.raises(Stale):
        await world.licenses.create(world.token, world.product, rule)
    assert len(looked) == 1
    assert await world.connection.fetchval("select count(*) from licenses") == 0


async def test_a_product_changed_between_look_and_commit_is_looked_at_again(world: World) -> None:
    names: list[str] = []

    def rule(product: Product) -> Creation[str]:
        names.append(product.name)
        return wanted(product, keys=[f"A{len(names)}"])

    made, changes = world.licenses._make, iter(["second", "third"])

    async def renamed_meanwhile(*values: object) -> str:
        if (name := next(changes, None)) is not None:
            await world.connection.execute("update products set name = $1, stamp = $2", name, new_stamp())
        return await made(*values)  # type: ignore[arg-type]

    world.licenses._make = renamed_meanwhile  # type: ignore[method-assign]
    await world.licenses.create(world.token, world.product, rule)
    assert names == ["p", "second", "third"]
    assert await world.connection.fetchval("select array_agg(key) from licenses") == ["A3"]
