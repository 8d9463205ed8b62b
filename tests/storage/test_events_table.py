"""Events on their way into the database: with their license's batch, once, and not too many in one transaction."""

import asyncio

import pytest
import world as plain
from world import NOW, World, admit, logged

from storage.errors import Broken, NoProduct, Stale
from storage.postgres.batch import MANY_EVENTS
from storage.postgres.events import Events
from storage.records import Event, EventQuery, License, Rule, Verdict
from storage.stamps import new_stamp


def event(license_: License | None = None, *, value: int = 0, name: str = "e") -> Event:
    product, number = (0, 0) if license_ is None else (license_.product.id, license_.id)
    return Event(1, product, number, "m", "f", name, value, "USD", NOW, "{}")


def telling(count: int, *, name: str = "e") -> Rule[str]:
    """A rule that keeps so many events."""
    return lambda license_: Verdict("told", events=tuple(event(license_, value=n, name=name) for n in range(count)))


async def kept(world: World) -> list[tuple[int, str]]:
    rows = await world.connection.fetch("select license_id, event_name from events order by id")
    return [tuple(row) for row in rows]


async def test_events_alone_are_something_to_write(world: World) -> None:
    key = await world.license()
    assert await world.decide(key, telling(2)) == "told"
    assert await kept(world) == [(await world.id(key), "e")] * 2
    assert await world.states(key) == []


async def test_events_are_written_in_their_order_and_read_as_they_were(world: World) -> None:
    key = await world.license()
    await world.decide(key, telling(50))
    license_ = await world.show(key)
    events = Events(world.reads, world.reads)
    await events.add(world.token, 0, [event(value=n) for n in range(50, 60)])
    read = await events.read(world.token, EventQuery(1, limit=100))
    assert [(each.key, each.event) for each in read] == [
        *((key, event(license_, value=n)) for n in range(50)), *(("", event(value=n)) for n in range(50, 60)),
    ]  # fmt: skip


async def test_a_verdict_that_went_stale_leaves_its_events_once(world: World) -> None:
    key = await world.license(5)
    await world.decide(key, plain.look)
    runs: list[int] = []

    def rule(license_: License) -> Verdict[str]:
        runs.append(license_.stamp)
        told = telling(1)(license_)
        return Verdict("told", entry=logged(license_, 2010), events=told.events)

    await world.change(key, "max_machines = 6")
    assert await world.decide(key, rule) == "told"
    assert len(runs) == 2
    assert (len(await kept(world)), await world.states(key)) == (1, [2010])


async def test_an_event_that_the_database_cannot_keep_fails_alone(world: World) -> None:
    keys = [await world.license() for _ in range(6)]
    for key in keys:
        await world.decide(key, plain.look)
    calls = [world.decide(key, telling(1, name="a\0b" if key == keys[3] else "e")) for key in keys]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(answers.pop(3), Broken)
    assert answers == ["told"] * 5
    assert len(await kept(world)) == 5


async def test_calls_with_very_many_events_go_in_several_batches_and_all_are_answered(world: World) -> None:
    keys = [await world.license() for _ in range(20)]
    for key in keys:
        await world.decide(key, plain.look)
    many = [world.decide(key, telling(1_000)) for key in keys]
    few = [world.activate(key, "m") for key in keys]
    assert await asyncio.gather(*many, *few) == ["told"] * 20 + ["new"] * 20
    sizes = await world.connection.fetch("select count(*) as size from events group by xmin::text")  # by transaction
    assert sum(row["size"] for row in sizes) == 20_000
    assert max(row["size"] for row in sizes) <= MANY_EVENTS + 1_000


async def test_a_split_batch_of_very_many_events_loses_no_call(world: World) -> None:
    keys = [await world.license() for _ in range(10)]
    for key in keys:
        await world.decide(key, plain.look)
    rules = [telling(999, name="a\0b" if number in (0, 4, 9) else "e") for number in range(10)]
    answers = await asyncio.gather(
        *(world.decide(key, rule) for key, rule in zip(keys, rules, strict=True)), return_exceptions=True
    )
    assert [number for number, answer in enumerate(answers) if answer != "told"] == [0, 4, 9]
    assert len(await kept(world)) == 7 * 999


async def test_without_a_license_all_are_kept_or_none(world: World) -> None:
    events = Events(world.reads, world.reads)
    await events.add(world.token, 0, [])
    with pytest.raises(Broken):
        await events.add(world.token, 0, [event(), event(name="a\0b")])
    with pytest.raises(NoProduct):
        await events.add(world.token, world.product + 1, [event()])
    await world.connection.execute("update tokens set stamp = $1", new_stamp())
    with pytest.raises(Stale):
        await events.add(world.token, world.product, [event()])
    with pytest.raises(Stale):
        await events.add(world.token, world.product + 1, [event()])
    with pytest.raises(Stale):
        await events.read(world.token, EventQuery(1))
    assert await kept(world) == []


async def test_machines_and_events_of_one_batch_stand_together(world: World) -> None:
    key = await world.license(1)

    def rule(license_: License) -> Verdict[str]:
        verdict = admit(license_, code="m")
        return Verdict(verdict.answer, verdict.change, verdict.entry, events=(event(license_),))

    assert await asyncio.gather(*(world.decide(key, rule) for _ in range(3))) == ["new", "known", "known"]
    assert (await world.machines(key), len(await kept(world))) == (1, 3)
