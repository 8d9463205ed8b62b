"""Stories of any kind, told to the workers and to a plain model at once: the same answers, seats, lists and log rows.

Beside the algorithm (protocol: floating, section 2) the model knows time and the state of the license, and nothing of
Valkey, epochs or workers: what those do must never show.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from typing import Any, NamedTuple, Protocol

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from seats.world import BLOCKED, LIMIT, Hold, Worker, World, world
from server.rules import floating
from storage.records import ByTable, Claim, Lease, LeaseKind, License, Token
from storage.redis.handover import Handover
from storage.redis.keys import seats_key
from storage.redis.seats import Seats

REGULAR, OVERDRAFT = LeaseKind.REGULAR, LeaseKind.OVERDRAFT
LONG = "m" * 65
AHEAD = 3  # seconds that stories are ahead of the real time: whatever was raised is not of this moment, and not waited for

LOGGED = (2014, 2015, 2024, 6011)

Shown = tuple[str, LeaseKind, int, int]  # a lease: code, kind, start, expires


class Row(NamedTuple):
    kind: LeaseKind
    start: int
    expires: int


@dataclass
class Model:
    """One license. Times are seconds since the story began."""

    limit: int
    now: float = 0
    blocked: bool = False
    rows: dict[str, Row] = field(default_factory=dict)
    machines: set[str] = field(default_factory=set)
    log: list[tuple[int, str, int]] = field(default_factory=list)

    def live(self) -> dict[str, Row]:
        return {code: row for code, row in self.rows.items() if row.expires > self.now}

    def take(self, code: str, interval: int, overdraft: int) -> Row | str | None:
        """Protocol: floating, algorithm."""
        if self.blocked:
            return BLOCKED
        if self.limit == 0:
            return None
        others = self.live()
        mine = others.pop(code, None)
        regular = sum(row.kind is REGULAR for row in others.values())
        if (mine and mine.kind is REGULAR) or regular < self.limit:
            kind = REGULAR
        elif len(others) < self.limit + overdraft:
            kind = OVERDRAFT
        else:
            self.log.append((2024, code, 0))
            return LIMIT
        expires = ceil(self.now) + interval
        self.rows[code] = Row(kind, mine.start if mine else int(self.now), expires)
        self.log.append((2014 if kind is REGULAR else 2015, code, expires))
        return self.rows[code]

    def release(self, code: str) -> str:
        if self.blocked:
            return BLOCKED
        self.rows.pop(code, None)
        self.log.append((6011, code, 0))
        return ""

    def lock(self, code: str) -> str:
        if self.blocked:
            return BLOCKED
        if self.limit > 0 and code not in self.machines:
            if len(self.machines) >= self.limit:
                return LIMIT
            self.machines.add(code)
        return ""


@dataclass
class Told:
    """A story as far as it is told to the workers, of whom 0 and 1 reach Valkey and 2 does not, and to the model."""

    made: World
    key: str
    model: Model
    kept: bytes | None = None

    @property
    def workers(self) -> list[Worker]:
        return self.made.workers

    async def take(self, step: "Take") -> Row | str | None:
        """Ask a worker; what it answers, as the model has it."""
        lease = await self.workers[step.worker].take(self.key, step.code, step.interval, overdraft=step.overdraft)
        if not isinstance(lease, Lease):
            return lease
        return Row(lease.kind, lease.start - self.made.began, lease.expires - self.made.began)

    def expect(self, step: "Take") -> Row | str | None:
        return self.model.take(step.code, step.interval, step.overdraft)

    async def compare(self, asked: Worker) -> None:
        """Hold what is committed, and what an answer of that worker lists, against the model."""
        now, began = int(self.made.now()), self.made.began
        live = {(code, row.kind, row.start, row.expires) for code, row in self.model.live().items()}

        def shown(lease: Lease) -> Shown:
            return lease.code, lease.kind, lease.start - began, lease.expires - began

        assert {shown(row) for row in await self.made.base.leases(self.key) if row.lives(now)} == live
        assert [shown(lease) for lease in await asked.live(self.key)] == sorted(live, key=lambda each: (each[2], each[0]))


# The steps of a story


class Step(Protocol):
    async def play(self, told: Told) -> None: ...


class Take(NamedTuple):
    code: str = "a"
    interval: int = 100
    overdraft: int = 0
    worker: int = 0

    async def play(self, told: Told) -> None:
        answer = await told.take(self)
        assert answer == told.expect(self)


class Release(NamedTuple):
    code: str = "a"
    worker: int = 0

    async def play(self, told: Told) -> None:
        assert await told.workers[self.worker].release(told.key, self.code) == told.model.release(self.code)


class Lock(NamedTuple):
    """Activate node-locked: counters of its own."""

    code: str = "a"
    worker: int = 0

    async def play(self, told: Told) -> None:
        assert await told.workers[self.worker].node_locked(told.key, self.code) == told.model.lock(self.code)


class Limit(NamedTuple):
    limit: int

    async def play(self, told: Told) -> None:
        told.model.limit = self.limit
        await told.made.change(told.key, f"max_machines = {self.limit}")


class Block(NamedTuple):
    block: bool = True

    async def play(self, told: Told) -> None:
        told.model.blocked = self.block
        await told.made.change(told.key, f"block = {self.block}")


class Pass(NamedTuple):
    seconds: float

    async def play(self, told: Told) -> None:
        told.model.now += self.seconds
        await told.made.at(told.model.now)


class Lose(NamedTuple):
    """Valkey is emptied."""

    async def play(self, told: Told) -> None:
        await told.made.lose()


class Save(NamedTuple):
    """What Valkey has now is what the next restart finds."""

    async def play(self, told: Told) -> None:
        told.kept = await told.made.valkey.dump(await key_of(told))


class Restart(NamedTuple):
    """Valkey is restarted from what was saved: another life."""

    async def play(self, told: Told) -> None:
        await told.made.lose()
        if told.kept is not None:
            await told.made.valkey.restore(await key_of(told), 0, told.kept)
        life = b"%016d" % time.monotonic_ns()
        for worker in told.workers[:2]:
            worker.seats._hot.run = worker.seats._bulk.run = life


class Stale(NamedTuple):
    """The license changes while a claim is on its way to its commit: the call comes after the change."""

    take: Take
    limit: int | None = None

    async def play(self, told: Told) -> None:
        ledger = told.workers[self.take.worker].ledger
        hold = Hold(ledger, "decide", only=decides_on_a_claim)
        call = asyncio.create_task(told.take(self.take))
        await hold.reached()
        lowers = self.limit is not None and self.limit < told.model.limit
        if self.limit is None or (lowers and self.take.code in told.model.live()):
            await told.made.change(told.key, "notes = notes || '.'")
        else:
            await Limit(self.limit).play(told)
        hold.go()
        answer = await call
        del ledger.decide
        assert answer == told.expect(self.take)


def decides_on_a_claim(_token: Token, _product: int, _key: str, rule: Any) -> bool:
    return isinstance(rule, partial) and rule.func is floating.activate


async def key_of(told: Told) -> bytes:
    return seats_key(told.made.installation, await told.made.license_id(told.key))


class Stage:
    """A world with a loop of its own, which hypothesis can wait for."""

    def __init__(self, runner: asyncio.Runner, made: World) -> None:
        self._runner = runner
        self._made = made

    def tell(self, story: list[Step], limit: int) -> None:
        """Tell a story of a new license; whatever is not as the model has it is an AssertionError."""
        self._runner.run(self._tell(story, limit))

    async def _tell(self, story: list[Step], limit: int) -> None:
        made = self._made
        made.began = int(time.time()) + AHEAD
        await made.at(0)
        told = Told(made, await made.license(limit), Model(limit))
        for number, step in enumerate(story):
            await step.play(told)
            await told.compare(made.workers[number % len(made.workers)])
        log = [(state, code, ends) for state, code, _, ends in await made.log(told.key) if state in LOGGED]
        assert log == told.model.log


@pytest.fixture
def stage(dsn: str, redis_url: str) -> Iterator[Stage]:
    """Two workers that reach Valkey, and one that does not."""
    # With a factory the runner leaves the loop of the other tests alone.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        opened = world(dsn, redis_url)
        made = runner.run(opened.__aenter__())
        runner.run(made.worker(redis_url="unix:///nowhere"))
        try:
            yield Stage(runner, made)
        finally:
            runner.run(opened.__aexit__(None, None, None))


A, B, C = Take("a"), Take("b", worker=1), Take("c")
A_CUT, B_CUT = Take("a", worker=2), Take("b", worker=2)
OVER = Take("b", 20, 1)

BOUNDARIES: dict[str, tuple[int, list[Step]]] = {
    "the instant of lapse": (1, [Take("a", 10), Pass(9.75), B, Pass(0.25), B, A]),
    "the instant of lapse, cut off": (1, [Take("a", 10), Pass(9.75), B_CUT, Pass(0.25), B_CUT, A_CUT, Pass(10), A, B]),
    "an expiry within a second": (1, [Pass(0.25), Take("a", 10), Pass(10.5), B, Pass(0.25), B]),
    "promotion": (1, [Take("a", 10), OVER, Pass(9), OVER, Pass(1), OVER, C, B]),
    "promotion by the table": (
        1,
        [Take("a", 10), OVER, Pass(9), OVER._replace(worker=2), Pass(1), OVER._replace(worker=2), A],
    ),
    "a shorter interval, then the lapse": (1, [A, Pass(50), Take("a", 10), B, Pass(9.75), B, Pass(0.25), B, A]),
    "a shorter interval, then Valkey is lost": (1, [A, Pass(50), Take("a", 10), Lose(), Pass(9.75), B, Pass(0.25), B, A]),
    "released, then claimed": (1, [A, B, Release("a"), B, A, Release("a", 1), Release("b", 2), A]),
    "released while blocked": (1, [A, Block(), Release("a"), A, B, Block(block=False), B, Release("a"), B]),
    "a lowered limit": (
        3,
        [A, B, C, Limit(1), A, B, C, Take("d"), Take("d", 9, 1), Release("a"), Take("d"), Release("b"), B],
    ),
    "no limit": (1, [A, Limit(0), B, A, Release("b"), Lock("b"), Limit(1), B, Release("a", 1), B]),
    "node-locked beside floating": (1, [Lock("a"), B, A, Lock("b"), Lock("a"), Release("b"), A]),
    "cut off and back": (1, [A, A_CUT, B_CUT, B, Pass(5), A, Pass(10), A, B, Release("a", 2), B, Pass(30), B_CUT, A]),
    "restarted from an old file": (2, [A, Save(), B, Release("a"), Restart(), C, A, Save(), Restart(), B, A]),
    "lost again and again": (
        2,
        [Lose(), A, Lose(), A, Lose(), Take("b", 10, 1), Lose(), C, Lose(), Release("a"), Lose(), C],
    ),
    "stale verdicts": (1, [Stale(A), Stale(B), Stale(Take("b", 9, 1)), Stale(A._replace(interval=10)), Pass(10), B]),
    "a limit that changes meanwhile": (
        2,
        [A, Stale(B, 1), Stale(B, 0), Stale(B, 2), Stale(A, 1), C, Stale(C, 3), Stale(C, 1)],
    ),
    "a long code": (1, [Take(LONG), B, Stale(Take(LONG, worker=1)), Lose(), B, Take(LONG, worker=2), Release(LONG, 1), B]),
}


CODES = st.sampled_from(["a", "b", "c", LONG])
WORKERS = st.sampled_from([0, 0, 0, 1, 1, 1, 2])
LIMITS = st.sampled_from([1, 2, 1, 2, 3, 0])
TAKES = st.builds(Take, CODES, st.sampled_from([1, 2, 5, 10, 100]), st.sampled_from([0, 0, 1, 2]), WORKERS)
PASSES = st.builds(Pass, st.sampled_from([0.25, 0.5, 1, 1, 2, 4.75, 10]))
STEPS = st.sampled_from(
    [TAKES] * 8 + [PASSES] * 5 + [
        st.builds(Release, CODES, WORKERS), st.builds(Release, CODES, WORKERS), st.builds(Stale, TAKES, st.none() | LIMITS),
        st.builds(Stale, TAKES, st.none() | LIMITS), st.builds(Lock, CODES, WORKERS), st.builds(Limit, LIMITS),
        st.builds(Block, st.booleans()), st.just(Lose()), st.just(Save()), st.just(Restart()),
    ]
).flatmap(lambda each: each)  # fmt: skip
FIXTURE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def with_boundaries(test: Callable[..., None]) -> Callable[..., None]:
    """Begin with the stories of `BOUNDARIES`: those drawn at random alone may miss an instant."""
    for limit, story in reversed(BOUNDARIES.values()):
        test = example(story=story, limit=limit)(test)
    return test


@with_boundaries
@given(story=st.lists(STEPS, min_size=12, max_size=28), limit=st.integers(1, 2))
@settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=FIXTURE)
def test_any_story_goes_as_the_model_has_it(stage: Stage, story: list[Step], limit: int) -> None:
    stage.tell(story, limit)


@pytest.mark.soak
@given(story=st.lists(STEPS, min_size=20, max_size=60), limit=st.integers(1, 3))
@settings(max_examples=600, deadline=None, suppress_health_check=FIXTURE)
def test_very_many_stories_go_as_the_model_has_them(stage: Stage, story: list[Step], limit: int) -> None:
    stage.tell(story, limit)


async def nothing(*_: object) -> None:
    pass


async def seed_nothing(self: Handover, license_id: int, epoch: int, _: tuple[Lease, ...]) -> None:
    await SEED(self, license_id, epoch, ())


def whatever_the_limit(license: License, claim: Claim | ByTable | None) -> floating._Decision | None:
    return CLAIMED(license, claim._replace(limit=license.max_machines) if isinstance(claim, Claim) else claim)


SEED, CLAIMED = Handover._seeded, floating._by_claim


class LeftOut(NamedTuple):
    owner: object
    name: str
    bad: Callable[..., object]
    story: str


@pytest.mark.parametrize(
    "left_out",
    [
        LeftOut(Seats, "confirm", nothing, "a shorter interval, then the lapse"),
        LeftOut(Seats, "free", nothing, "released, then claimed"),
        LeftOut(Seats, "undo", nothing, "a limit that changes meanwhile"),
        LeftOut(Handover, "_seeded", seed_nothing, "lost again and again"),
        LeftOut(floating, "_by_claim", whatever_the_limit, "a limit that changes meanwhile"),
    ],
    ids=lambda each: each.name,
)
def test_what_is_left_out_is_noticed(stage: Stage, monkeypatch: pytest.MonkeyPatch, left_out: LeftOut) -> None:
    limit, steps = BOUNDARIES[left_out.story]
    monkeypatch.setattr(left_out.owner, left_out.name, left_out.bad)
    with pytest.raises(AssertionError):
        stage.tell(steps, limit)


# What a worker does that knows a license as it was before: no worker has read it anew in between


@pytest.mark.parametrize(
    ("limit", "story"),
    [
        pytest.param(
            2, [A, Take("b", 10, worker=0), Take("c", 100, 1), Pass(10), Limit(1), C], id="promoted above the limit"
        ),
        pytest.param(
            2, [A, Take("b", worker=0), Take("c", 10, 1), Pass(5), Limit(1), Take("c", 100, 1)], id="longer, refused"
        ),
        pytest.param(1, [Take("a", 10), Pass(5), Block(), A], id="longer, blocked"),
        pytest.param(1, [Take("a", 10), Pass(5), Limit(0), A], id="longer, no limit"),
    ],
)
def test_a_claim_under_what_a_license_was_leaves_nothing(stage: Stage, limit: int, story: list[Step]) -> None:
    stage.tell(story, limit)
