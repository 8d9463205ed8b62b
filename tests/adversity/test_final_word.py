"""What management has said holds on every worker for every call that begins afterwards: BlockKey, MachineLockLimit, a token
that is revoked; while all workers are busy with other calls."""

import asyncio
import math
import time
from bisect import bisect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import asyncpg
import pytest
from callers import Caller, on_every_worker, stock, storm
from recorder import ACTIVATE, CREATE_KEY, GET_KEY, GET_LOG, OK, Call, Recorder
from sabotage import NOTHING_IS_STALE, rewritten
from servers import Live, until

from server.account import make_token
from server.methods import PERMISSIONS
from server.rules.codes import Code
from server.wire.parse import token_parts
from storage.postgres.admin import administration

Connection = asyncpg.Connection
FEW = 10
MANY = pytest.param(200, marks=pytest.mark.soak)
OF_THE_DOOMED = (GET_LOG, CREATE_KEY)
EVERY_TIME = 5  # calls of each client after each word

Says = Callable[[Call], bool]
BLOCKED: Mapping[str, Says] = {
    ACTIVATE: lambda call: call.message == Code.BLOCKED,
    GET_KEY: lambda call: call.answer["licenseKey"]["block"] is True,
}
FREE: Mapping[str, Says] = {
    ACTIVATE: lambda call: call.granted,
    GET_KEY: lambda call: call.answer["licenseKey"]["block"] is False,
}


class Words:
    """What management said, one word after the other: the call that said it, and what calls are answered from then on."""

    def __init__(self) -> None:
        self._said: list[tuple[Call, Mapping[str, Says]]] = []

    def add(self, word: Call, right: Mapping[str, Says]) -> None:
        assert word.granted
        self._said.append((word, right))

    def disobeyed(self, calls: Sequence[Call]) -> tuple[list[str], int]:
        """The calls that began after a word had returned and ended before the next began, and were answered otherwise; and
        how many there were to look at."""
        wrong, looked_at = [], 0
        in_order = sorted(calls, key=lambda call: call.sent)
        times = [call.sent for call in in_order]
        ends = [word.sent for word, _ in self._said[1:]] + [math.inf]
        for (word, right), end in zip(self._said, ends, strict=True):
            for call in in_order[bisect(times, word.received) : bisect(times, end)]:
                if call.method in right and call.received < end:
                    looked_at += 1
                    if call.status != OK or not right[call.method](call):
                        wrong.append(f"{call}, sent {call.sent - word.received:.4f} s after {word}")
        return wrong, looked_at


@asynccontextmanager
async def busy(
    callers: Sequence[Caller], once: Callable[[Caller], Awaitable[Call]]
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Have all of them call again and again; gives what waits until each has begun, and ended, some more calls."""
    stop = asyncio.Event()
    done = dict.fromkeys(callers, 0)

    async def go_on(caller: Caller) -> None:
        while not stop.is_set():
            await once(caller)
            done[caller] += 1

    async def each_some_more() -> None:
        wanted = {caller: number + 1 + EVERY_TIME for caller, number in done.items()}  # the one under way does not count
        await until(lambda: all(done[caller] >= number for caller, number in wanted.items()), 30)

    async with asyncio.TaskGroup() as group:
        for caller in callers:
            group.create_task(go_on(caller))
        try:
            yield each_some_more
        finally:
            stop.set()


async def blocked_and_unblocked(live: Live, record: Recorder, rounds: int) -> tuple[list[str], int]:
    """A known machine calls from everywhere while its license is blocked and unblocked, by this worker and by that."""
    (key,) = await stock(live, record, 5)
    words = Words()
    async with on_every_worker(live, record, 5) as workers:
        speakers = [callers[0] for callers in workers]
        callers = [caller for callers in workers for caller in callers[1:]]
        await speakers[0].activate(key, "known")

        async def once(caller: Caller) -> Call:
            await caller.get_key(key)
            return await caller.activate(key, "known")

        async with busy(callers, once) as each_some_more:
            for number in range(rounds):
                speaker = speakers[number % len(speakers)]
                words.add(await speaker.ask("key/BlockKey", Key=key), BLOCKED)
                await each_some_more()
                words.add(await speaker.ask("key/UnblockKey", Key=key), FREE)
                await each_some_more()
    return words.disobeyed([call for call in record.calls if call.key == key])


async def lowered_and_raised(live: Live, record: Recorder, rounds: int) -> tuple[list[str], int]:
    """New machines come from everywhere, and go again, while the limit is set to what is full and to what is not."""
    (key,) = await stock(live, record, 1_000)
    words = Words()
    async with on_every_worker(live, record, 5) as workers:
        speakers = [callers[0] for callers in workers]
        callers = [caller for callers in workers for caller in callers[1:]]
        await speakers[0].activate(key, "stays")

        async def once(caller: Caller) -> Call:
            call = await caller.activate(key, record.unique("m"))
            return await caller.deactivate(key, call.code) if call.granted else call

        async with busy(callers, once) as each_some_more:
            for number in range(rounds):
                speaker = speakers[number % len(speakers)]
                low = await speaker.ask("key/MachineLockLimit", Key=key, NumberOfMachines=1)
                words.add(low, {ACTIVATE: lambda call: call.message == Code.LIMIT})
                await each_some_more()
                high = await speaker.ask("key/MachineLockLimit", Key=key, NumberOfMachines=1_000)
                words.add(high, {ACTIVATE: lambda call: call.granted})
                await each_some_more()
    return words.disobeyed([call for call in record.calls if call.key == key])


async def revoked(live: Live, record: Recorder, rounds: int, notes: str = "doomed") -> tuple[list[str], int]:
    """A token is used everywhere, for what is logged, what is not, reading the log and making keys, and is revoked."""
    (key,) = await stock(live, record, 100_000)
    wrong, looked_at = [], 0
    for _ in range(rounds):
        async with administration(live.demo["postgres_dsn"]) as admin:
            account = await admin.account("default")
            assert account is not None
            token = await make_token(admin, account.id, name="doomed", permissions=PERMISSIONS, now=int(time.time()))
            identity = token_parts(token)
            assert identity is not None
            methods: dict[Caller, int] = {}

            async def once(caller: Caller, methods: dict[Caller, int] = methods) -> Call:
                methods[caller] = methods.get(caller, 0) + 1
                return await _anything(caller, methods[caller], key, record.unique("m"), notes)

            begun = len(record.calls)
            async with (
                on_every_worker(live, record, 4, token) as workers,
                busy([caller for callers in workers for caller in callers], once) as each_some_more,
            ):
                await each_some_more()
                assert await admin.revoke_token(account.id, identity[0], int(time.time()))
                at = time.monotonic()
                await each_some_more()
            calls = [call for call in record.calls[begun:] if call.key == key or call.method in OF_THE_DOOMED]
            assert any(call.granted for call in calls if call.received < at)
            later = [call for call in calls if call.sent > at]
            looked_at += len(later)
            wrong += [str(call) for call in later if call.message != Code.AUTHENTICATE]
    return wrong, looked_at


def _anything(caller: Caller, number: int, key: str, code: str, notes: str) -> Awaitable[Call]:
    match number % 5:
        case 0:
            return caller.activate(key, code)
        case 1:
            return caller.activate(key, "known")
        case 2:
            return caller.get_key(key)
        case 3:
            return caller.ask(GET_LOG, Limit=1)
        case _:
            return caller.ask(CREATE_KEY, Period=1, Notes=notes)


ALL = [
    pytest.param(blocked_and_unblocked, id="BlockKey"),
    pytest.param(lowered_and_raised, id="MachineLockLimit"),
    pytest.param(revoked, id="token"),
]
Case = Callable[[Live, Recorder, int], Awaitable[tuple[list[str], int]]]


@pytest.mark.parametrize("rounds", [FEW, MANY])
@pytest.mark.parametrize("case", ALL)
async def test_what_management_says_holds_on_every_worker_for_every_call_that_begins_afterwards(
    live: Live, record: Recorder, database: Connection, case: Case, rounds: int
) -> None:
    async with storm(live, record, clients=2):
        wrong, looked_at = await case(live, record, rounds)
    assert wrong == []
    assert looked_at > rounds * 8 * EVERY_TIME / 2
    assert {call.status for call in record.calls} == {OK}
    assert await record.audit(database) == []


@pytest.mark.parametrize("case", ALL)
async def test_a_server_that_goes_by_what_it_remembers_is_caught(
    own: Live, record: Recorder, inside: Connection, case: Case
) -> None:
    async with rewritten(inside, "ledger_stale", NOTHING_IS_STALE):
        wrong, _ = await case(own, record, 4)
    assert wrong != []


async def test_no_key_is_made_by_a_token_that_was_revoked(own: Live, record: Recorder, inside: Connection) -> None:
    await revoked(own, record, 5, notes="of no other test")
    answered = sum(call.granted for call in record.calls if call.method == CREATE_KEY)
    assert await inside.fetchval("select count(*) from licenses where notes = 'of no other test'") == answered > 0
