"""The checker itself: each of its promises is broken once, on purpose, and it must see that. A checker that only ever
says "all is well" says nothing."""

import asyncio
import time

import asyncpg
import pytest
from callers import Caller, on_every_worker, reader, stock, storm
from recorder import ACTIVATE, Call, Page, Promise, Recorder, answered, rows_of, seen_in_time, seen_once
from sabotage import (
    CHECKED_BEFORE_THE_LOCK,
    LOGGED_TWICE,
    NO_LICENSE_IS_STALE,
    NO_MACHINE,
    NO_WRITERS_LOCK,
    NOT_FORGOTTEN,
    NOT_LOGGED,
    Change,
    rewritten,
    trigger,
)
from servers import Live, until

Connection = asyncpg.Connection


pytestmark = pytest.mark.usefixtures("quiet")


def broken(breaches: list[tuple[Promise, str]]) -> set[Promise]:
    return {promise for promise, _ in breaches}


async def visit(live: Live, record: Recorder) -> None:
    """One machine comes, is known, and goes; another stays; a third finds no place."""
    (key,) = await stock(live, record, 1)
    async with Caller(live, record) as caller:
        await caller.activate(key, "a", "first")
        await caller.activate(key, "a", "second")
        await caller.deactivate(key, "a")
        await caller.activate(key, "b")
        await caller.activate(key, "c")


async def race(live: Live, record: Recorder) -> None:
    """Two workers that know a license of five each admit five machines at once."""
    (key,) = await stock(live, record, 5)
    async with on_every_worker(live, record, 5) as workers:
        await asyncio.gather(*(caller.get_key(key) for callers in workers for caller in callers))
        everyone = (caller for callers in workers for caller in callers)
        await asyncio.gather(*(caller.activate(key, f"m{number}", f"n{number}") for number, caller in enumerate(everyone)))


async def test_a_server_that_keeps_its_promises_is_believed(own: Live, record: Recorder, inside: Connection) -> None:
    await visit(own, record)
    await race(own, record)
    assert await record.audit(inside) == []


@pytest.mark.parametrize(
    ("change", "promise"),
    [
        pytest.param(LOGGED_TWICE, Promise.LOGGED, id="logged twice"),
        pytest.param(NOT_LOGGED, Promise.LOGGED, id="not logged"),
        pytest.param(NO_MACHINE, Promise.KEPT, id="machine not written"),
        pytest.param(NOT_FORGOTTEN, Promise.KEPT, id="machine not forgotten"),
    ],
)
async def test_a_ledger_that_writes_something_else_is_caught(
    own: Live, record: Recorder, inside: Connection, change: Change, promise: Promise
) -> None:
    async with rewritten(inside, "ledger_write", change):
        await visit(own, record)
        assert promise in broken(await record.audit(inside))


@pytest.mark.parametrize(
    ("function", "changes"),
    [
        pytest.param("ledger_stale", (NO_LICENSE_IS_STALE,), id="stamps not checked"),
        pytest.param("ledger_write", CHECKED_BEFORE_THE_LOCK, id="checked before the lock"),
    ],
)
async def test_a_server_that_checks_the_limit_too_early_is_caught(
    own: Live, record: Recorder, inside: Connection, function: str, changes: tuple[Change, ...]
) -> None:
    async with rewritten(inside, function, *changes):
        await race(own, record)
        assert Promise.CAPPED in broken(await record.audit(inside))


async def slow_row_beside_fast_ones(own: Live, record: Recorder, inside: Connection) -> set[Promise]:
    """A row draws its id, and is committed long after rows with higher ids, while somebody follows the log."""
    slow, fast = await stock(own, record, 1000, 2)
    sleeping = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'"
    async with (
        trigger(inside, "log", "new.friendly_name = 'slow'", "perform pg_sleep(0.3)"),
        reader(own, record, inside) as following,
        on_every_worker(own, record) as ((one,), (other,)),
    ):
        late = asyncio.ensure_future(one.activate(slow, "m", "slow"))
        await until(lambda: inside.fetchval(sleeping))
        while not late.done():
            await other.activate(fast, record.unique("m"))
    return broken(await record.audit(inside, following))


async def test_who_follows_the_log_misses_no_row_that_is_committed_late(
    own: Live, record: Recorder, inside: Connection
) -> None:
    assert await slow_row_beside_fast_ones(own, record, inside) == set()


async def test_a_reader_that_waits_for_nobody_is_caught(own: Live, record: Recorder, inside: Connection) -> None:
    async with rewritten(inside, "log_writer_begins", NO_WRITERS_LOCK):
        assert await slow_row_beside_fast_ones(own, record, inside) == {Promise.CURSOR}


def call(code: str = "m", *, status: int = 200, body: bytes = b'{"message":""}', retry_after: str = "") -> Call:
    made = Call(ACTIVATE, "K", code, "", time.monotonic())
    made.take(status, retry_after, body)
    made.received = time.monotonic()
    return made


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(call(status=500), id="a 500"),
        pytest.param(call(status=503), id="a 503 that does not say when to come back"),
        pytest.param(call(body=b"<html>"), id="no JSON"),
        pytest.param(call(body=b'{"message":"Traceback (most recent call last)"}'), id="a traceback"),
        pytest.param(Call(ACTIVATE, "K", "m", "", 0.0), id="nothing at all"),
    ],
)
def test_what_is_no_proper_answer_is_caught(wrong: Call) -> None:
    assert broken(list(answered([wrong]))) == {Promise.ANSWERED}
    assert list(answered([call(), call(status=503, retry_after="5")])) == []


async def test_the_answer_to_another_call_is_caught(own: Live, record: Recorder, inside: Connection) -> None:
    (key,) = await stock(own, record, 5)
    async with Caller(own, record) as caller:
        mine, theirs = await caller.activate(key, "mine"), await caller.activate(key, "theirs")
    assert await record.audit(inside) == []
    mine.answer = theirs.answer
    assert broken(await record.audit(inside)) == {Promise.OWN}


def pages(*ids: list[int]) -> list[Page]:
    return [Page(number, each, full=False) for number, each in enumerate(ids)]


def test_a_page_with_a_row_twice_is_caught() -> None:
    assert broken(list(seen_once(pages([1, 2], [2, 3]), [1, 2, 3]))) == {Promise.CURSOR}
    assert list(seen_once(pages([1, 2], [3]), [1, 3])) == []


async def test_a_page_that_comes_too_late_is_caught(own: Live, record: Recorder, inside: Connection) -> None:
    """A reader that is a page behind has seen everything in the end; but not what was answered before it asked."""
    async with reader(own, record, inside) as following, storm(own, record, clients=2) as load:
        await until(load.progress(100))
    assert await record.audit(inside, following) == []
    rows = [page.ids for page in following.pages]
    behind = [Page(page.sent, ids, page.full) for page, ids in zip(following.pages, [[], *rows[:-1]], strict=True)]
    assert broken(list(seen_in_time(behind, record.calls, await rows_of(inside, list(record.limits))))) == {Promise.CURSOR}
