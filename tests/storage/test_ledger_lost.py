"""The ledger when connections go away under it: batches are settled by their number, never repeated, never half done."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from urllib.parse import parse_qs, urlsplit

import pytest
from proxy import Mode, Proxy, proxy
from servers import until
from world import World, admit, look, make

from server import metrics
from storage.errors import Busy, Unavailable
from storage.postgres import ledger as ledgers
from storage.postgres import reads as readers
from storage.postgres.batch import Batch
from storage.postgres.lane import Lane
from storage.records import License, LogQuery, Verdict


@pytest.fixture
def one_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    """One lane, so that a test knows its statements to be prepared: what passes the proxy next is a batch."""
    monkeypatch.setattr(ledgers, "LANES", 1)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers that wait half a second."""
    monkeypatch.setattr(ledgers, "CALLER_SECONDS", 0.5)


@pytest.fixture
async def through(dsn: str) -> AsyncIterator[tuple[World, Proxy]]:
    """A worker whose way to PostgreSQL leads through the proxy; the test itself looks past it."""
    parts = urlsplit(dsn)
    folder = parse_qs(parts.query)["host"][0]
    async with proxy(f"{folder}/.s.PGSQL.5432") as carrier:
        by_proxy = f"postgresql://{parts.username}:{parts.password}@127.0.0.1:{carrier.port}{parts.path}?sslmode=disable"
        world = await make(dsn, ledger_dsn=by_proxy)
        yield world, carrier
        carrier.become(Mode.PASS)
        await until(lambda: world.ledger.up)
        await world.close()


def outcomes(name: str) -> float:
    return metrics.batches.labels(name)._value.get()


@pytest.mark.usefixtures("one_lane")
async def test_a_batch_whose_answer_was_cut_off_happens_once(through: tuple[World, Proxy]) -> None:
    """Both kinds: one that changes licenses, and one that only logs, whose stamps would let it happen twice."""
    world, carrier = through
    key = await world.license(machines=100)
    await world.activate(key, "known")
    for asked, answer in ((lambda number: f"m{number}", "new"), (lambda _: "known", "known")):
        cuts, unknown = carrier.cuts, outcomes("unknown")
        carrier.become(Mode.CUT)
        calls = [asyncio.ensure_future(world.activate(key, asked(number))) for number in range(20)]
        await until(lambda cuts=cuts: carrier.cuts > cuts)
        carrier.become(Mode.PASS)
        assert await asyncio.gather(*calls) == [answer] * 20
        assert outcomes("unknown") > unknown
    assert await world.states(key) == [2011] * 21 + [2010] * 20
    assert await world.machines(key) == 21


async def test_a_new_connection_may_lead_to_another_time_so_memory_is_dropped(through: tuple[World, Proxy]) -> None:
    world, carrier = through
    await world.activate(await world.license(), "m")
    assert len(world.ledger._known) == 1
    assert len(world.tokens._known) == 1
    carrier.become(Mode.REFUSE)
    await until(lambda: not world.ledger.up)
    carrier.become(Mode.PASS)
    await until(lambda: world.ledger.up)
    assert len(world.ledger._known) == len(world.tokens._known) == 0


@pytest.mark.usefixtures("one_lane", "impatient")
async def test_a_batch_whose_callers_were_refused_never_happens_later(
    through: tuple[World, Proxy]
) -> None:
    world, carrier = through
    key = await world.license()
    await world.activate(key, "first")
    abandoned = outcomes("abandoned")
    carrier.become(Mode.STALL)
    with pytest.raises(Busy):
        await world.activate(key, "a")
    carrier.cut_all()  # the batch never reached PostgreSQL
    carrier.become(Mode.PASS)
    await until(lambda: outcomes("abandoned") == abandoned + 1)
    assert await world.states(key) == [2011]
    assert await world.activate(key, "b") == "new"
    assert await world.machines(key) == 2


@pytest.mark.usefixtures("one_lane", "impatient")
async def test_a_batch_that_was_committed_before_its_callers_were_refused_stays_and_is_known(
    through: tuple[World, Proxy]
) -> None:
    world, carrier = through
    key = await world.license()
    await world.activate(key, "first")
    settled = outcomes("settled")
    carrier.become(Mode.BLACK_HOLE)
    with pytest.raises(Busy):
        await world.activate(key, "a")
    assert await world.states(key) == [2011, 2011]
    carrier.cut_all()
    carrier.become(Mode.PASS)
    await until(lambda: outcomes("settled") == settled + 1)
    assert await world.activate(key, "a") == "known"


async def test_an_entry_that_kills_its_backend_twice_fails_alone(through: tuple[World, Proxy]) -> None:
    world, _ = through
    await world.connection.execute(
        """
        create function die() returns trigger language plpgsql as $$
        begin
            if new.friendly_name = 'poison' then perform pg_terminate_backend(pg_backend_pid()); end if;
            return new;
        end $$;
        create trigger die before insert on machines for each row execute function die();
        """
    )
    keys = [await world.license() for _ in range(4)]
    await asyncio.gather(*(world.decide(key, look) for key in keys))
    rules = [partial(admit, code="m", name="poison" if number == 2 else "") for number in range(4)]
    asked = zip(keys, rules, strict=True)
    answers = await asyncio.gather(*(world.decide(key, rule) for key, rule in asked), return_exceptions=True)
    assert isinstance(answers[2], Unavailable)
    assert [answer for number, answer in enumerate(answers) if number != 2] == ["new"] * 3
    assert [await world.machines(key) for key in keys] == [1, 1, 0, 1]


async def test_without_a_connection_calls_are_refused_at_once_and_served_again_by_itself(
    through: tuple[World, Proxy],
) -> None:
    world, carrier = through
    key = await world.license()
    await world.activate(key, "a")
    carrier.become(Mode.REFUSE)
    await until(lambda: not world.ledger.up)
    clock = asyncio.get_running_loop().time
    started = clock()
    answers = await asyncio.gather(*(world.activate(key, f"m{number}") for number in range(200)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {Unavailable}
    assert clock() - started < 1  # at once: nobody waits for a connection
    with pytest.raises(Unavailable):
        await world.log.read(world.token, _all(world))
    carrier.become(Mode.PASS)
    await until(lambda: world.ledger.up)
    assert await world.activate(key, "b") == "new"
    assert await world.machines(key) == 2


async def test_killed_connections_lose_nothing_and_double_nothing(through: tuple[World, Proxy]) -> None:
    """Whatever was under way is settled by its number; what was refused had not been sent, and is asked again."""
    world, _ = through
    keys = [await world.license(machines=1000) for _ in range(10)]
    answered = 0

    async def client(key: str) -> None:
        nonlocal answered
        for number in range(60):
            while True:
                try:
                    assert await world.activate(key, f"m{number}") in ("new", "known")
                    break
                except Unavailable:
                    await until(lambda: world.ledger.up)
            answered += 1

    clients = [asyncio.ensure_future(client(key)) for key in keys]
    for _ in range(5):
        before = answered
        await until(lambda before=before: answered > before + 20 or all(each.done() for each in clients))
        await world.connection.fetch(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'keyturn'"
            " and datname = current_database()"
        )
    await asyncio.gather(*clients)
    assert [await world.machines(key) for key in keys] == [60] * 10
    assert await world.connection.fetchval("select count(*) from log where state = 2011") == 600
    assert await world.connection.fetchval("select count(*) from log") == 600


async def test_connections_that_were_cut_and_are_there_again_cost_nobody_an_answer(
    through: tuple[World, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes while the worker connects again waits for it, for a moment (a long one here: machines differ)."""
    monkeypatch.setattr(ledgers, "GRACE_SECONDS", 4.0)
    world, carrier = through
    key = await world.license(machines=5000)
    await world.activate(key, "first")
    for tries in range(5):
        carrier.cut_all()
        answers = await asyncio.gather(*(world.activate(key, f"m{tries}-{number}") for number in range(400)))
        assert answers == ["new"] * 400


async def test_a_batch_under_the_lock_that_is_lost_and_then_stale_is_decided_again(
    through: tuple[World, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row lock went with its connection: sent again, it may find the license changed, as any other batch."""
    world, carrier = through
    key = await world.license(machines=100)
    await world.decide(key, look)
    others: list[asyncio.Future[None]] = []
    rounds = 0

    async def faster_again() -> None:
        await until(lambda: carrier.cuts > 0)
        await world.change(key, "max_machines = 0")
        carrier.become(Mode.PASS)

    def rule(license_: License) -> Verdict[str]:
        nonlocal rounds
        rounds += 1
        if rounds <= ledgers.CONTENDED_ROUNDS:  # somebody else is faster; from then on it is decided under the lock
            others.append(asyncio.ensure_future(world.change(key, f"period = {rounds}")))
        elif rounds == ledgers.CONTENDED_ROUNDS + 1:
            carrier.become(Mode.CUT)
            others.append(asyncio.ensure_future(faster_again()))
        return admit(license_, code="m")

    carry = world.ledger._carry

    async def after_the_others(lane: Lane, batch: Batch) -> None:
        await asyncio.gather(*others)
        await carry(lane, batch)

    monkeypatch.setattr(world.ledger, "_carry", after_the_others)
    assert await world.decide(key, rule) == "full"
    for _ in range(20):
        assert await world.activate(key, "m") == "full"
    assert not world.ledger.failed.done()
    assert await world.states(key) == [2023] * 21


async def test_a_pool_without_a_free_connection_refuses_in_time_and_does_not_try_twice(
    through: tuple[World, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "CONNECT_SECONDS", 0.2)
    world, _ = through
    held = [asyncio.ensure_future(world.reads.fetch("select pg_sleep(2)")) for _ in range(readers.CONNECTIONS)]
    busy = "select count(*) from pg_stat_activity where query = 'select pg_sleep(2)' and state = 'active'"

    async def all_held() -> bool:
        return bool(await world.connection.fetchval(busy) == readers.CONNECTIONS)

    await until(all_held)
    with pytest.raises(Busy):
        await world.reads.fetch("select 1")
    assert not any(each.done() for each in held)
    await asyncio.gather(*held)


def _all(world: World) -> LogQuery:
    return LogQuery(account_id=world.account)
