"""The judge of floating seats: it believes workers that keep their promises, and catches each that does not. The load and
the fault are those of the other tests; what is broken on purpose is one rule of the server."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from floating import LONG, SHORT, Desk, Kept, audit, everyone_renews, held, renewals, rush, standing, stated, terms, within
from proxy import proxy
from recorder import ACTIVATE, DEACTIVATE, OVERDRAWN, RELEASED, SEATED, Breach, Call, Promise, Recorder, Row, Seat
from sabotage import ENDS_NOT_LOGGED, LOGGED_TWICE, NO_LEASE, NOT_LOGGED, Change, rewritten, trigger
from seats.breaking import without
from seats.world import World, world
from servers import database, until
from valkeys import APPENDS, through, valkey_of_ours

from server.rules.codes import Code
from storage.embedded.postgres import Postgres
from storage.redis import handover as handover_module
from storage.redis import seats as seats_module

# Batches with a seat that is new have been checked, and take their time until they are committed.
SLOWLY = ("leases", "new.start = new.time", "perform pg_sleep(0.05)")
TRIES = 20
UNDER_WAY = "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nobody wait long for another worker's seed: what is under way then is still under way."""
    monkeypatch.setattr(seats_module, "SEED_SECONDS", 0.01)


def broken(breaches: Sequence[Breach]) -> set[Promise]:
    return {breach.promise for breach in breaches}


@asynccontextmanager
async def slow_world(dsn: str, redis_url: str) -> AsyncIterator[World]:
    async with world(dsn, redis_url) as made, trigger(made.database, *SLOWLY):
        yield made


async def emptied_again_and_again(made: World, record: Recorder, times: int = 8) -> list[Breach]:
    """Load, and Valkey emptied again and again while a seat is being committed; what the judge says of it."""
    licenses = await terms(made, record, 4, 2)
    askers = [Desk(worker, record) for worker in made.workers * 5]
    async with rush(record, licenses, askers) as load:
        for _ in range(times):
            await until(load.progress(20), 30)
            enough = load.progress(60)
            await until(lambda enough=enough: enough() or made.database.fetchval(UNDER_WAY), 30)
            await made.lose()
        await until(load.progress(60), 30)
    return await audit(record, made.database)


async def until_broken(made: World, promise: Promise) -> None:
    """Go on until the judge sees that promise broken."""
    for _ in range(10):
        if promise in broken(await emptied_again_and_again(made, Recorder())):
            return
    pytest.fail(f"ten runs without the rule, and the judge has not seen {promise} broken")


async def test_workers_that_keep_their_promises_are_believed(dsn: str, redis_url: str, record: Recorder) -> None:
    async with slow_world(dsn, redis_url) as made:
        assert await emptied_again_and_again(made, record) == []
        assert len(await everyone_renews(record, [Desk(worker, record) for worker in made.workers])) > 2
        assert await audit(record, made.database) == []


async def nothing(*_args: object, **_named: object) -> None:
    """Stands for a step that is left out."""


async def test_workers_without_the_barrier_are_caught(dsn: str, redis_url: str) -> None:
    async with slow_world(dsn, redis_url) as made:
        for worker in made.workers:
            worker.table.settled = nothing  # type: ignore[method-assign]
        await until_broken(made, Promise.CAPPED)


async def test_workers_that_seed_without_the_leases_are_caught(
    dsn: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., Awaitable[None]] = handover_module.Handover._seeded

    async def seeded_empty(self: handover_module.Handover, license_id: int, epoch: int, _: object) -> None:
        await real(self, license_id, epoch, ())

    monkeypatch.setattr(handover_module.Handover, "_seeded", seeded_empty)
    async with slow_world(dsn, redis_url) as made:
        await until_broken(made, Promise.CAPPED)


@pytest.mark.parametrize(
    ("change", "promise"),
    [
        pytest.param(NO_LEASE, Promise.KEPT, id="leases not written"),
        pytest.param(LOGGED_TWICE, Promise.LOGGED, id="logged twice"),
        pytest.param(NOT_LOGGED, Promise.LOGGED, id="not logged"),
        pytest.param(ENDS_NOT_LOGGED, Promise.LOGGED, id="logged without its end"),
    ],
)
async def test_a_ledger_that_writes_something_else_of_seats_is_caught(
    dsn: str, redis_url: str, change: Change, promise: Promise
) -> None:
    async with slow_world(dsn, redis_url) as made, rewritten(made.database, "ledger_write", change):
        await until_broken(made, promise)


async def another_life(postgres: Postgres, folder: Path) -> tuple[bool, bool]:
    """Restart Valkey from a copy of its file that is some calls old, at a moment when nobody asks.

    Whether every holder's renewal was granted then, and whether the audit found a lease that was not kept.
    """
    record = Recorder()
    async with (
        database(postgres, "keyturn") as dsn,
        valkey_of_ours(APPENDS) as ours,
        proxy(ours.socket) as carrier,
        world(dsn, through(carrier)) as made,
    ):
        licenses = await terms(made, record)
        async with rush(record, licenses, [Desk(worker, record) for worker in made.workers * 5]) as load:
            await until(load.progress(200), 30)
            await ours.copy(folder)
            await until(load.progress(400), 30)
        await ours.kill()
        ours.put_back(folder)
        await ours.start()
        await until(lambda: all(worker.seats._hot.up and worker.seats._bulk.up for worker in made.workers))
        async with rush(record, licenses, [Desk(worker, record) for worker in made.workers * 5]) as load:
            await until(load.progress(200), 30)
        renewed = await renewals(record, [Desk(worker, record) for worker in made.workers])
        return all(call.granted for call in renewed), Promise.KEPT in broken(await audit(record, made.database))


async def test_workers_that_know_a_set_of_another_life_refuse_no_holder(postgres: Postgres, tmp_path: Path) -> None:
    assert await another_life(postgres, tmp_path / "old") == (True, False)


async def test_workers_that_trust_a_set_of_another_life_are_caught(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not each time: nobody may have taken a seat between the copy and the kill, or the holders may have come back first."""
    without(monkeypatch, "claim", "if set[RUN] ~= ARGV[1] then", "if false then")
    for number in range(TRIES):
        if await another_life(postgres, tmp_path / f"old-{number}") == (False, True):
            return
    pytest.fail("it was never caught")


# The checks themselves, on rows that are written down here


def told(*rows: tuple[int, int, str, int]) -> list[Row]:
    """Rows of a log: state, time, machine, end; in this order."""
    return [Row(n, "K", state, code, f"n{n}", time, end) for n, (state, time, code, end) in enumerate(rows)]


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([(SEATED, 0, "a", 10), (SEATED, 10, "b", 20)], id="one begins as another ends"),
        pytest.param([(SEATED, 5, "b", 20), (SEATED, 0, "a", 5)], id="ids that differ from times"),
        pytest.param([(SEATED, 0, "a", 10), (SEATED, 3, "b", 9), (RELEASED, 3, "a", 0)], id="given back within the second"),
        pytest.param([(SEATED, 0, "a", 10), (SEATED, 1, "a", 4), (SEATED, 4, "b", 9)], id="a renewal that shortens"),
        pytest.param(
            [(SEATED, 0, "a", 10), (RELEASED, 0, "a", 0), (SEATED, 0, "a", 3), (SEATED, 3, "b", 9)],
            id="given back and taken again within the second",
        ),
        pytest.param([(SEATED, 0, "a", 10), (RELEASED, 1, "a", 0), (RELEASED, 1, "a", 0), (SEATED, 1, "b", 9)], id="twice"),
        pytest.param([(2011, 0, "a", 0), (2011, 0, "b", 0), (2024, 0, "c", 0)], id="rows of something else"),
    ],
)
def test_a_log_within_its_cap_is_believed(rows: list[tuple[int, int, str, int]]) -> None:
    assert list(within(1, 1, told(*rows))) == []


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([(SEATED, 0, "a", 11), (SEATED, 10, "b", 20)], id="a second too early"),
        pytest.param([(SEATED, 0, "a", 10), (SEATED, 8, "a", 18), (SEATED, 10, "b", 20)], id="a renewal not counted"),
        pytest.param([(SEATED, 0, "a", 10), (RELEASED, 4, "a", 0), (SEATED, 3, "b", 9)], id="given back only later"),
        pytest.param([(SEATED, 0, "a", 10), (OVERDRAWN, 3, "b", 9)], id="in overdraft where there is none"),
        pytest.param(
            [(RELEASED, 2, "a", 0), (SEATED, 2, "a", 9), (SEATED, 3, "b", 4)], id="given back, taken and forgotten"
        ),
    ],
)
def test_a_log_above_its_cap_is_caught(rows: list[tuple[int, int, str, int]]) -> None:
    assert broken(list(within(1, 1, told(*rows)))) == {Promise.CAPPED}


def test_overdraft_is_counted_beside_the_limit_and_never_in_its_place() -> None:
    two_and_one = told((SEATED, 0, "a", 9), (SEATED, 0, "b", 9), (OVERDRAWN, 1, "c", 9))
    assert list(within(2, 3, two_and_one)) == []
    assert broken(list(within(2, 3, [*two_and_one, *told((OVERDRAWN, 2, "d", 9))]))) == {Promise.CAPPED}
    assert broken(list(within(2, 3, told(*((SEATED, 0, code, 9) for code in "abc"))))) == {Promise.CAPPED}


def asked(*answers: Seat | Code | None) -> list[Call]:
    """Calls of one machine: answered with a seat, refused (a code), or given back (None)."""
    calls = []
    for number, answer in enumerate(answers):
        params = {"Key": "K", "MachineCode": "a", "FriendlyName": f"n{number}"}
        call = Recorder().note(
            DEACTIVATE if answer is None else ACTIVATE,
            {**params, "Floating": True} if answer is None else {**params, "FloatingTimeInterval": 5},
        )
        call.status, call.received = 200, call.sent
        call.answer = {"message": answer.value if isinstance(answer, Code) else ""}
        call.seat = answer if isinstance(answer, Seat) else None
        calls.append(call)
    return calls


def at(*times: int) -> list[Row]:
    return told(*((SEATED, time, "a", time + 5) for time in times))


def test_a_holder_that_is_refused_or_loses_its_start_is_caught() -> None:
    first, later, again = Seat(False, 0, 5), Seat(False, 0, 9), Seat(False, 4, 9)  # noqa: FBT003
    assert list(held(asked(first, later), at(0, 4))) == []
    assert broken(list(held(asked(first, again), at(0, 4)))) == {Promise.KEPT}
    assert list(held(asked(first, None, again), at(0, 3, 4))) == []
    assert broken(list(held(asked(first, Code.LIMIT), at(0, 4)))) == {Promise.KEPT}
    assert list(held(asked(first, Code.LIMIT), at(0, 5))) == []
    assert list(held(asked(first, None, Code.LIMIT), at(0, 1, 2))) == []


def test_a_table_that_differs_from_the_last_answer_is_caught() -> None:
    seat, other = Seat(False, 0, 5), Seat(False, 0, 6)  # noqa: FBT003
    there, gone = Kept("K", "a", seat, released=False), Kept("K", "a", seat, released=True)
    assert list(standing(asked(seat), [there])) == []
    assert list(standing(asked(seat, None), [gone])) == []
    assert list(standing(asked(seat, None), [])) == []
    for calls, rows in (
        (asked(seat), []),
        (asked(seat), [gone]),
        (asked(other), [there]),
        (asked(seat, None), [there]),
        ([], [there]),
    ):
        assert broken(list(standing(calls, rows))) == {Promise.KEPT}


def test_a_row_that_tells_of_another_seat_than_the_answer_is_caught() -> None:
    right, overdraft = Seat(False, 0, 5), Seat(True, 0, 5)  # noqa: FBT003
    assert list(stated(asked(right), at(0))) == []
    assert broken(list(stated(asked(overdraft), at(0)))) == {Promise.LOGGED}
    assert broken(list(stated(asked(Seat(False, 0, 6)), at(0)))) == {Promise.LOGGED}  # noqa: FBT003
    assert broken(list(stated(asked(right), told((SEATED, 1, "a", 5))))) == {Promise.KEPT}  # shorter than asked for
    assert SHORT < LONG
