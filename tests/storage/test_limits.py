"""Rate limits: what passes in one worker, what all workers let pass together, and that no call ever waits for Valkey."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import ceil
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import redis
import redis.asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from proxy import Mode, Proxy, proxy
from seats.world import CLOCK, CLOCK_KEY
from servers import open_folder, until

from server import metrics
from storage.embedded.home import lock, prepare
from storage.embedded.valkey import Valkey
from storage.records import Limit
from storage.redis import limits as limits_module
from storage.redis.keys import SHARDS, limit_key
from storage.redis.limits import Limits
from storage.redis.lua import limit_scripts

INSTALLATION = "test"
NAME = "192.0.2.0/24 token 4711"
NOW = 1_700_000_000  # of the script
# Powers of two: nothing is rounded. The eighth of WIDE is 8 calls, NARROW has none to use untold.
WIDE, NARROW = Limit(rate=4, burst=64), Limit(rate=4, burst=4)
NOWHERE = "unix:///nowhere/valkey.sock"
Redis = redis.asyncio.Redis


@dataclass
class Hands:
    """A clock that a test moves: that of the workers, and with `valkey` that of the script."""

    valkey: Redis | None = None
    seconds: float = 0

    def now(self) -> float:
        return 1_000 + self.seconds

    async def move(self, seconds: float) -> None:
        self.seconds += seconds
        if self.valkey is not None:
            await self.valkey.set(CLOCK_KEY, round((NOW + self.seconds) * 1_000_000))


def totals() -> tuple[float, float]:
    return metrics.limits_told._value.get(), metrics.limits_untold._value.get()


@dataclass
class Counted:
    """What the metrics count from now on."""

    _before: tuple[float, float] = field(default_factory=totals)

    @property
    def told(self) -> float:
        return totals()[0] - self._before[0]

    @property
    def untold(self) -> float:
        return totals()[1] - self._before[1]


@asynccontextmanager
async def opened(url: str, hands: Hands | None = None, *, installation: str = INSTALLATION) -> AsyncIterator[Limits]:
    made = Limits(url, installation, clock=CLOCK, now=hands.now if hands else time.monotonic)
    await made.open()
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def direct(redis_url: str) -> AsyncIterator[Redis]:
    """A look past the limits."""
    async with redis.asyncio.from_url(redis_url) as client:
        yield client


@pytest.fixture
async def hands(direct: Redis) -> Hands:
    """A clock of all workers and of the script."""
    made = Hands(direct)
    await made.move(0)
    return made


@pytest.fixture
async def two(redis_url: str, hands: Hands) -> AsyncIterator[tuple[Limits, Limits]]:
    """Two workers."""
    async with opened(redis_url, hands) as one, opened(redis_url, hands) as other:
        yield one, other


@pytest.fixture
async def carrier(redis_url: str) -> AsyncIterator[Proxy]:
    """A proxy before Valkey."""
    async with proxy(urlsplit(redis_url).path) as found:
        yield found


@pytest.fixture
async def own() -> AsyncIterator[Valkey]:
    """A Valkey that a test may stop."""
    with open_folder() as data, lock(data):
        engine = Valkey(prepare(data))
        await engine.start()
        yield engine
        await engine.stop()


def alone(hands: Hands) -> Limits:
    """A worker that never had a connection."""
    return Limits(NOWHERE, INSTALLATION, now=hands.now)


def passed(worker: Limits, limit: Limit, most: int = 1_000, name: str = NAME) -> int:
    """Take until it is refused, or `most` times; how often it passed."""
    return next((count for count in range(most) if worker.take(name, limit)), most)


async def heard(*workers: Limits) -> None:
    """Wait until all that was told is answered, and the answers have arrived."""
    await until(lambda: not any(worker._mux.oldest_seconds for worker in workers))
    await asyncio.sleep(0)


async def limit_keys(direct: Redis) -> list[bytes]:
    return [key async for key in direct.scan_iter() if key != CLOCK_KEY.encode()]


# One worker


class Step(NamedTuple):
    """After `after` seconds of quiet as many calls pass as are said, and the next has to wait."""

    after: float
    passes: int
    wait: float


TABLE = {
    "the whole burst at once, then one by one": (NARROW, [Step(0, 4, 0.25), Step(0.25, 1, 0.25), Step(0.25, 1, 0.25)]),
    "a part of the way back": (NARROW, [Step(0, 4, 0.25), Step(0.125, 0, 0.125), Step(0.125, 1, 0.25)]),
    "no more than the burst after a long quiet": (NARROW, [Step(0, 4, 0.25), Step(0.5, 2, 0.25), Step(9_999, 4, 0.25)]),
    "one at a time": (Limit(0.5, 1), [Step(0, 1, 2), Step(1.5, 0, 0.5), Step(0.5, 1, 2)]),
    "one and a half at once": (Limit(1, 1.5), [Step(0, 1, 0.5), Step(0.5, 1, 1)]),
    "what no float is exactly": (Limit(10, 10), [Step(0, 10, 0.1), Step(0.1, 1, 0.1), Step(0.3, 3, 0.1), Step(2, 10, 0.1)]),
    "less than one at once is one": (Limit(1, 0.25), [Step(0, 1, 1), Step(1, 1, 1)]),
}


@pytest.mark.parametrize(("limit", "steps"), TABLE.values(), ids=TABLE)
async def test_in_one_worker_as_many_calls_pass_as_the_limit_says(limit: Limit, steps: list[Step]) -> None:
    hands = Hands()
    worker = alone(hands)
    for step in steps:
        await hands.move(step.after)
        assert passed(worker, limit) == step.passes
        assert worker.take(NAME, limit) == worker.wait(NAME, limit) == pytest.approx(step.wait)


async def test_names_are_counted_apart_and_looking_counts_nothing() -> None:
    hands = Hands()
    worker = alone(hands)
    assert [worker.wait(NAME, NARROW) for _ in range(9)] == [0.0] * 9
    assert passed(worker, NARROW) == 4
    assert [worker.wait("other", NARROW) for _ in range(9)] == [0.0] * 9
    assert passed(worker, NARROW, name="other") == 4
    assert worker.wait(NAME, NARROW) == 0.25


LIMITS = st.builds(Limit, st.floats(0.01, 10_000), st.one_of(st.integers(1, 4), st.floats(0.1, 20)))
# Parts of the time that a call fills the bucket for, so that every rate has its boundaries.
PAUSES = st.lists(st.one_of(st.just(0.0), st.sampled_from([0.5, 1.0, 3.0]), st.floats(0, 5)), min_size=5, max_size=60)


@given(LIMITS, PAUSES)
@settings(max_examples=150, derandomize=True, deadline=None)
def test_never_more_than_the_burst_and_what_has_drained_pass_and_who_waited_passes(
    limit: Limit, pauses: list[float]
) -> None:
    asyncio.run(hold_to_the_limit(limit, pauses))


async def hold_to_the_limit(limit: Limit, pauses: list[float]) -> None:
    hands = Hands()
    worker = alone(hands)
    times: list[float] = []  # of what passed
    for pause in pauses:
        await hands.move(pause / limit.rate)
        looked = worker.wait(NAME, limit)
        wait = worker.take(NAME, limit)
        assert wait == looked
        if wait:
            assert wait <= 1.001 / limit.rate + 1e-5
            await hands.move(wait)
            assert worker.take(NAME, limit) == 0.0
        times.append(hands.now())
    most = max(limit.burst, 1.0)
    for first, begun in enumerate(times):
        for last, ended in enumerate(times[first:], first):
            assert last - first + 1 <= most + (ended - begun + 2e-6) * limit.rate + 1e-3


async def test_few_names_are_kept_however_many_come(monkeypatch: pytest.MonkeyPatch) -> None:
    assert limits_module.NAMES == 100_000
    monkeypatch.setattr(limits_module, "NAMES", 50)
    worker = alone(Hands())
    for number in range(1_000):
        worker.take(str(number), NARROW)
        worker.wait(f"only looked at {number}", NARROW)
    assert len(worker._buckets) == 50


# The script


class Call(NamedTuple):
    """After `after` microseconds, so many calls under a limit."""

    after: int
    interval: float
    tolerance: float
    calls: int


class Script:
    """The script on a key of its own, and beside it what it should do; both have a clock that is set."""

    KEY = "bucket"

    def __init__(self, valkey: "redis.Redis[bytes]") -> None:
        self.valkey = valkey
        self.text = limit_scripts(CLOCK)["gcra"]
        self.now = NOW * 1_000_000 + 1
        self.level = 0.0  # microseconds until the bucket has drained
        valkey.delete(self.KEY)

    def play(self, call: Call) -> None:
        """Call it, and hold it against the model."""
        self.now += call.after
        with self.valkey.pipeline(transaction=True) as pipe:  # in which no time passes for the server
            pipe.set(CLOCK_KEY, self.now)
            pipe.eval(self.text, 1, self.KEY, repr(call.interval), repr(call.tolerance), call.calls)
            pipe.get(self.KEY).pttl(self.KEY).persist(self.KEY)
            _, answer, kept, ends, _ = pipe.execute()
        level = max(self.level - call.after, 0) + call.calls * call.interval
        self.level = min(level, 8 * call.tolerance)
        assert answer == pytest.approx(max(self.level + call.interval - call.tolerance, 0), abs=2)
        assert float(kept) - self.now == pytest.approx(self.level, abs=1)
        self.level = float(kept) - self.now  # what is rounded does not add up
        assert ends == max(ceil(self.level / 1000), 1)


@pytest.fixture
def script(redis_url: str) -> Iterator[Script]:
    with redis.Redis.from_url(redis_url) as client:
        yield Script(client)


MINUTE = 60_000_000
STORIES = {
    "one by one to the brim and over": [Call(0, MINUTE, 3 * MINUTE, 1)] * 5,
    "a first telling that fits": [Call(0, MINUTE, 20 * MINUTE, 9), Call(5, MINUTE, 20 * MINUTE, 1)],
    "a first telling that does not fit is counted all the same": [
        Call(0, MINUTE, 9 * MINUTE, 5), Call(0, MINUTE, 9 * MINUTE, 7), Call(MINUTE, MINUTE, 9 * MINUTE, 1),
    ],
    "no fuller than eight buckets": [Call(0, MINUTE, 2 * MINUTE, 2)] * 20 + [Call(3 * MINUTE, MINUTE, 2 * MINUTE, 1)],
    "drained, and begun anew": [Call(0, 1_000_000, 9e6, 4), Call(4_000_000, 1_000_000, 9e6, 1), Call(9**9, 1e6, 9e6, 1)],
    "with fractions": [Call(0, 1_000_000 / 3, 3_000_000, 1)] * 12,
    "many in a microsecond": [Call(0, 0.25, 100, 1)] * 12,
    "less than the clock can tell": [Call(0, 0.001, 1, 1), Call(0, 0.001, 1, 1)],
    "another limit under the same name": [Call(0, MINUTE, 9 * MINUTE, 9), Call(0, 1_000_000, 3_000_000, 1)],
}  # fmt: skip


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_the_script_does_as_the_model(script: Script, story: list[Call]) -> None:
    for call in story:
        script.play(call)


CALLS = st.builds(
    Call, st.one_of(st.just(0), st.integers(0, 40 * MINUTE)), st.floats(0.1, 2 * MINUTE), st.floats(1, 40 * MINUTE),
    st.integers(1, 50),
)  # fmt: skip


@given(story=st.lists(CALLS, max_size=20))
@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_script_does_as_the_model_in_any_story(script: Script, story: list[Call]) -> None:
    fresh = Script(script.valkey)
    for call in story:
        fresh.play(call)


async def test_a_bucket_goes_by_itself_when_it_has_drained(script: Script) -> None:
    assert script.valkey.eval(script.text, 1, script.KEY, 1_000, 100_000, 50) == 0
    assert script.valkey.pttl(script.KEY) > 0
    await until(lambda: not script.valkey.exists(script.KEY))


def test_a_clock_that_was_set_back_refuses_for_eight_buckets_at_most(script: Script) -> None:
    script.play(Call(0, 1_000_000, 4_000_000, 1))
    script.now -= 3_600_000_000
    script.level = 8 * 4_000_000
    script.play(Call(0, 1_000_000, 4_000_000, 1))


def test_what_is_no_number_is_replaced_and_a_call_that_makes_no_sense_changes_nothing(script: Script) -> None:
    script.valkey.set(script.KEY, "something else")
    with pytest.raises(redis.ResponseError, match="numbers"):
        script.valkey.eval(script.text, 1, script.KEY, "x", 1, 1)
    assert script.valkey.get(script.KEY) == b"something else"
    script.play(Call(0, 1_000_000, 4_000_000, 1))


def test_the_script_has_the_clock_of_the_server(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        seconds, _ = client.time()
        assert client.eval(limit_scripts()["gcra"], 1, "bucket", 60_000_000, 60_000_000, 1) == MINUTE
        assert 0 <= float(client.get("bucket")) / 1e6 - 60 - seconds < 60


# All workers


async def test_below_an_eighth_valkey_hears_nothing(redis_url: str, hands: Hands, direct: Redis) -> None:
    async with opened(redis_url, hands) as worker:
        await direct.config_resetstat()
        for number in range(100):
            assert passed(worker, WIDE, 8, name=str(number)) == 8
        for _ in range(100):  # an eighth of the rate, for ever
            await hands.move(2)
            assert worker.take("1", WIDE) == 0
        await heard(worker)
        assert "cmdstat_evalsha" not in await direct.info("commandstats")
        assert await limit_keys(direct) == []
        assert worker.take("2", WIDE) == 0
        await heard(worker)
        assert len(await limit_keys(direct)) == 0  # by now it has drained
        assert passed(worker, WIDE, 9, name="3") == 9
        await heard(worker)
        assert await limit_keys(direct) == [limit_key(INSTALLATION, "3")]


async def test_what_goes_beyond_the_eighth_is_told_and_first_all_that_is_in_the_bucket(
    redis_url: str, hands: Hands, direct: Redis
) -> None:
    async def level() -> float:
        return (float(await direct.get(limit_key(INSTALLATION, NAME))) / 1e6 - NOW - hands.seconds) * WIDE.rate

    counted = Counted()
    async with opened(redis_url, hands) as worker:
        passed(worker, WIDE, 8)
        await hands.move(1)  # four have drained
        passed(worker, WIDE, 1)  # of the eighth, half a call has
        await heard(worker)
        assert (counted.told, await level()) == (5, 5)
        passed(worker, WIDE, 3)
        await heard(worker)
        assert (counted.told, await level()) == (8, 8)
        await hands.move(2)  # the bucket has drained, the eighth has not: still told, and one by one
        passed(worker, WIDE, 1)
        await heard(worker)
        assert (counted.told, await level()) == (9, 1)
        await hands.move(16)
        passed(worker, WIDE, 8)
        await heard(worker)
        assert counted.told == 9
        passed(worker, WIDE, 1)
        await heard(worker)
        assert (counted.told, await level()) == (18, 9)
    assert counted.untold == 0


async def test_two_workers_share_one_bucket(two: tuple[Limits, Limits], hands: Hands) -> None:
    one, other = two
    assert passed(one, WIDE, 60) == 60
    await heard(one)
    assert passed(other, WIDE, 8) == 8  # its eighth
    assert passed(other, WIDE, 1) == 1  # and what passes until the reply is there
    await heard(other)
    assert other.take(NAME, WIDE) == other.wait(NAME, WIDE) == 1.5  # 69 of 64 have passed, and there is to be room for one
    await hands.move(1.25)
    assert other.take(NAME, WIDE) == 0.25
    await hands.move(0.25)
    assert other.take(NAME, WIDE) == 0
    await heard(other)
    assert other.take(NAME, WIDE) == 0.25


async def test_refused_calls_are_not_told(two: tuple[Limits, Limits], hands: Hands) -> None:
    one, other = two
    counted = Counted()
    assert passed(one, NARROW, 3) == 3
    await heard(one)
    assert other.take(NAME, NARROW) == 0
    await heard(other)
    for _ in range(5):
        assert other.take(NAME, NARROW) == 0.25
    await heard(other)
    assert counted.told == 4
    await hands.move(0.25)
    assert other.take(NAME, NARROW) == 0


@pytest.mark.parametrize("limit", [NARROW, Limit(8, 32)])
async def test_many_workers_hold_the_rate_together_in_the_long_run(redis_url: str, hands: Hands, limit: Limit) -> None:
    """All of them try all the time. If what passes too much were not counted, it would be the rate times their number."""
    async with opened(redis_url, hands) as a, opened(redis_url, hands) as b, opened(redis_url, hands) as c:
        workers, count = (a, b, c), 0
        for _ in range(80):
            for worker in workers:
                count += passed(worker, limit, 2)
            await heard(*workers)
            await hands.move(0.25)
        most = limit.burst + 20 * limit.rate
        share = most / 8 if limit.burst >= 8 else 0
        assert most - 3 <= count <= most + 3 * (share + 2)


async def test_installations_and_names_have_buckets_of_their_own(redis_url: str, hands: Hands, direct: Redis) -> None:
    async with opened(redis_url, hands) as one, opened(redis_url, hands, installation="other") as other:
        assert passed(one, NARROW) == passed(one, NARROW, name="another") == 4
        await heard(one)
        assert passed(other, NARROW, 3) == 3
        await heard(other)
        assert other.take(NAME, NARROW) == 0
        await heard(other)
        assert len(await limit_keys(direct)) == 3


async def test_nothing_in_valkey_can_be_read(redis_url: str, hands: Hands, direct: Redis) -> None:
    names = ["192.0.2.0/24", "2001:db8::/48", "token 4711", NAME, "\ud800 is no text", ""]
    async with opened(redis_url, hands) as worker:
        for name in names:
            assert worker.take(name, NARROW) == 0
        await heard(worker)
        found = await limit_keys(direct)
        assert sorted(found) == sorted(limit_key(INSTALLATION, name) for name in names)
        for key in found:
            head, shard, _, digest = key.rsplit(b":", 3)
            assert head == b"keyturn:test"
            assert shard[:2] + shard[-1:] == b"{s}"
            assert int(shard[2:-1]) < SHARDS
            assert len(bytes.fromhex(digest.decode())) == 16
            assert (await direct.get(key)).isdigit()
    assert len({limit_key(INSTALLATION, str(number)).split(b":")[2] for number in range(5_000)}) == SHARDS


async def test_a_server_that_forgets_its_scripts_is_not_noticed(two: tuple[Limits, Limits], direct: Redis) -> None:
    one, other = two
    await direct.script_flush()
    assert passed(one, NARROW, 3) == passed(other, NARROW, 3) == 3
    await heard(one, other)
    assert max(one.wait(NAME, NARROW), other.wait(NAME, NARROW)) == 0.75  # of the one that was answered last


# When Valkey fails. A call returns at once because it awaits nothing; what is to be seen is that it passes.


async def counts_globally_again(one: Limits, other: Limits, name: str) -> None:
    """Whether what passes in one worker is known in the other."""
    await until(lambda: one._mux.up and other._mux.up)
    counted = Counted()
    assert passed(one, NARROW, 4, name) == 4
    await heard(one)
    assert counted.told == 4
    assert passed(other, NARROW, 1, name) == 1
    await heard(other)
    assert other.take(name, NARROW) > 0


async def test_without_valkey_at_the_start_each_worker_counts_alone(own: Valkey) -> None:
    await own.stop()
    counted = Counted()
    async with opened(own.url, Hands()) as one, opened(own.url, Hands()) as other:
        assert passed(one, NARROW) == passed(other, NARROW) == 4
        await heard(one, other)  # it was in vain, and the next pass all the same
        assert passed(one, WIDE, 32, "wide") == 32
        await heard(one)
        assert passed(one, WIDE, name="wide") == 32
        await heard(one, other)
        assert (counted.told, counted.untold) == (0, 4 + 4 + 64)
        await own.start()
        await counts_globally_again(one, other, "later")


async def test_a_valkey_that_is_killed_refuses_nobody_and_counts_when_it_is_back(own: Valkey) -> None:
    async with opened(own.url, Hands()) as one, opened(own.url, Hands()) as other:
        await counts_globally_again(one, other, "before")
        await own.stop()
        await until(lambda: not one._mux.up)
        counted = Counted()
        assert passed(one, NARROW) == passed(other, NARROW) == 4
        await heard(one, other)
        assert (counted.told, counted.untold) == (0, 8)
        await own.start()
        await counts_globally_again(one, other, "later")


@pytest.mark.parametrize("mode", [Mode.BLACK_HOLE, Mode.CUT])
async def test_a_valkey_that_falls_silent_holds_up_nobody(redis_url: str, carrier: Proxy, mode: Mode) -> None:
    url = f"redis://:{urlsplit(redis_url).password}@localhost:{carrier.port}/0"
    async with opened(url, Hands()) as one, opened(redis_url, Hands()) as other:
        counted = Counted()
        carrier.become(mode)
        assert passed(one, NARROW, 3) == 3
        await until(lambda: counted.untold == 3)
        assert passed(one, NARROW) == 1
        await until(lambda: counted.untold == 4)
        carrier.become(Mode.PASS)
        await counts_globally_again(one, other, "later")
        assert counted.untold == 4


@asynccontextmanager
async def without_room(direct: Redis) -> AsyncIterator[None]:
    await direct.config_set("maxmemory", 1)
    yield
    await direct.config_set("maxmemory", 0)


@asynccontextmanager
async def without_replica(direct: Redis) -> AsyncIterator[None]:
    await direct.config_set("min-replicas-to-write", 1)
    yield
    await direct.config_set("min-replicas-to-write", 0)


@asynccontextmanager
async def as_a_replica(direct: Redis) -> AsyncIterator[None]:
    await direct.replicaof("127.0.0.1", 1)
    yield
    await direct.replicaof("NO", "ONE")


@pytest.mark.parametrize("broken", [without_room, without_replica, as_a_replica])
async def test_a_valkey_that_refuses_refuses_no_call(own: Valkey, broken: Any) -> None:
    async with (
        opened(own.url, Hands()) as one,
        opened(own.url, Hands()) as other,
        redis.asyncio.from_url(own.url) as direct,
    ):
        counted = Counted()
        async with broken(direct):
            assert passed(one, NARROW, 3) == 3
            await heard(one)
            assert passed(one, NARROW) == 1
            await heard(one)
        assert (counted.told, counted.untold) == (0, 4)
        await counts_globally_again(one, other, "later")


async def test_more_than_the_connection_takes_passes_uncounted(redis_url: str, hands: Hands) -> None:
    counted = Counted()
    async with opened(redis_url, hands) as worker:
        assert passed(worker, Limit(1, 20_000), 15_000) == 15_000
        await heard(worker)
        await until(lambda: counted.told + counted.untold == 15_000)
        assert counted.untold > 0
        assert counted.told >= 10_000


async def test_a_slow_answer_counts_from_when_it_was_asked(two: tuple[Limits, Limits], hands: Hands) -> None:
    one, other = two
    assert passed(one, NARROW, 4) == 4
    await heard(one)
    assert other.take(NAME, NARROW) == 0
    hands.seconds += 0.25  # of the worker alone, while the reply is under way
    await heard(other)
    assert other.wait(NAME, NARROW) == 0.25
