"""The worked timelines (protocol: floating, sections 4 to 6) and the instants at which leases end, by the real handlers.

Each is told to workers that reach Valkey, to workers that do not, and in turns to one that does and one that does not:
whoever decides, clients are told the same.
"""

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import cycle

import pytest
from licensing.methods import Helpers
from licensing.models import LicenseKey, Response

from seats.world import LIMIT, Worker, World, codes, world
from server.handlers import key as handlers
from server.rules.codes import Code, Refusal
from server.wire import replies, requests
from server.wire.requests import SignMethod
from storage.records import Lease
from storage.redis.keys import seats_key

REACHED = {"valkey": (True, True), "table": (False, False), "turns": (True, False)}
NOT_ACTIVATED = Code.NOT_ACTIVATED.value
ALL = {"sign_method": SignMethod.STRING_SIGN, "model_version": 3, "metadata": True}

Told = replies.Licensed | replies.Done | str
Call = Callable[[Worker, str], Awaitable[Told]]


async def told(answer: Awaitable[replies.Licensed | replies.Done]) -> Told:
    """What the client gets, or the message of the refusal."""
    try:
        return await answer
    except Refusal as refusal:
        return refusal.code.value


def take(code: str, *, interval: int = 100, overdraft: int = 0) -> Call:
    """Activate; an interval of 0 is node-locked."""

    async def call(worker: Worker, key: str) -> Told:
        ask = requests.Activate(
            caller=worker._caller("198.51.100.7"), product_id=worker.product, key=key, machine_code=code,
            floating_time_interval=interval, max_overdraft=overdraft, **ALL,
        )  # fmt: skip
        return await told(handlers.activate(worker.svc, ask, int(worker.now())))

    return call


def show(interval: int = 100) -> Call:
    """GetKey with Metadata."""

    async def call(worker: Worker, key: str) -> Told:
        ask = requests.GetKey(
            caller=worker._caller("198.51.100.7"), product_id=worker.product, key=key, floating_time_interval=interval, **ALL
        )
        return await told(handlers.get_key(worker.svc, ask, int(worker.now())))

    return call


def give(code: str, *, floating: bool = True) -> Call:
    """Deactivate."""

    async def call(worker: Worker, key: str) -> Told:
        ask = requests.Deactivate(
            caller=worker._caller("198.51.100.7"), product_id=worker.product, key=key, machine_code=code, floating=floating
        )
        return await told(handlers.deactivate(worker.svc, ask, int(worker.now())))

    return call


@dataclass
class Timeline:
    """One license, and the workers that are asked about it in turn."""

    made: World
    key: str
    workers: list[Worker]

    def __post_init__(self) -> None:
        self._turns = cycle(self.workers)

    async def step(self, at: float, call: Call | None, result: str, listed: str, state: int | None) -> Told | None:
        """Make a call at a time, and hold what came of it against a line of the table.

        `result` is "" or the message; `listed` is what is listed afterwards, as `Mid(FloatingExpires)`, in any order: the
        floating ones are those in use. `state` None is for calls that are not logged. What the answer shows, any later one
        shows too, by whichever worker.
        """
        used = listed.count("floating:")
        await self.made.at(at)
        before = await self.made.log(self.key)
        answer = None if call is None else await call(next(self._turns), self.key)
        assert (answer if isinstance(answer, str) else "") == result
        if isinstance(answer, replies.Licensed):
            assert self.shown(answer) == (set(listed.split()), used)
        for worker in self.workers:
            seen = await show()(worker, self.key)
            assert isinstance(seen, replies.Licensed)
            assert self.shown(seen) == (set(listed.split()), used)
        assert [row[0] for row in (await self.made.log(self.key))[len(before) :]] == ([] if state is None else [state])
        return answer

    def shown(self, answer: replies.Licensed) -> tuple[set[str], int]:
        """The machines that an answer lists, and how many seats it says are in use."""
        assert isinstance(answer.license_key, str)
        assert answer.metadata is not None
        document = json.loads(base64.b64decode(answer.license_key))
        listed = {
            row["Mid"] + (f"({row['FloatingExpires'] - self.made.began})" if row["FloatingExpires"] else "")
            for row in document["ActivatedMachines"]
        }
        return listed, answer.metadata["usedFloatingMachines"]  # type: ignore[return-value]


@asynccontextmanager
async def timeline(dsn: str, redis_url: str, who: str, limit: int) -> AsyncIterator[Timeline]:
    """Make a license with so many seats, and two workers that reach Valkey or do not."""
    async with world(dsn, redis_url, workers=0) as made:
        workers = [await made.worker(redis_url="" if reaches else "unix:///nowhere") for reaches in REACHED[who]]
        yield Timeline(made, await made.license(limit), workers)


every_way = pytest.mark.parametrize("who", REACHED)


@every_way
async def test_two_seats_and_one_in_overdraft(dsn: str, redis_url: str, who: str) -> None:
    """Section 4."""
    async with timeline(dsn, redis_url, who, 2) as line:
        step = line.step
        a, b, c = "floating:A(100)", "floating:B(110)", "floating:overdraft:C(125)"
        await step(0, take("A", overdraft=1), "", a, 2014)
        await step(10, take("B", overdraft=1), "", f"{a} {b}", 2014)
        await step(20, take("C"), LIMIT, f"{a} {b}", 2024)
        await step(25, take("C", overdraft=1), "", f"{a} {b} {c}", 2015)
        await step(30, take("D", overdraft=1), LIMIT, f"{a} {b} {c}", 2024)
        a = "floating:A(150)"
        await step(50, take("A", overdraft=1), "", f"{a} {b} {c}", 2014)
        await step(109, show(), "", f"{a} {b} {c}", None)
        await step(109.999, None, "", f"{a} {b} {c}", None)
        await step(110, None, "", f"{a} {c}", None)
        d = "floating:D(212)"
        await step(112, take("D"), "", f"{a} {d} {c}", 2014)
        c = "floating:overdraft:C(215)"
        await step(115, take("C", overdraft=1), "", f"{a} {d} {c}", 2015)
        await step(118, take("B", overdraft=1), LIMIT, f"{a} {d} {c}", 2024)
        await step(120, give("A"), "", f"{d} {c}", 6011)
        await step(121, give("A"), "", f"{d} {c}", 6011)
        c = "floating:C(230)"
        await step(130, take("C", overdraft=1), "", f"{d} {c}", 2014)
        await step(140, take("A"), LIMIT, f"{d} {c}", 2024)
        a = "floating:overdraft:A(241)"
        await step(141, take("A", overdraft=1), "", f"{d} {c} {a}", 2015)
        # A node-locked call asks for no interval, so its metadata counts no floating machines.
        await line.made.at(150)
        locked = await take("B", interval=0)(line.workers[0], line.key)
        assert isinstance(locked, replies.Licensed)
        assert line.shown(locked) == ({"B", d, c, a}, 0)
        assert (await line.made.log(line.key))[-1][:2] == (2011, "B")
        await step(150, None, "", f"B {d} {c} {a}", None)
        await step(260, None, "", "B", None)
        rows = [row for row in await line.made.log(line.key) if row[0] in (2014, 2015)]
        assert [(code, at, ends) for _, code, at, ends in rows] == [
            ("A", 0, 100), ("B", 10, 110), ("C", 25, 125), ("A", 50, 150), ("D", 112, 212), ("C", 115, 215), ("C", 130, 230),
            ("A", 141, 241),
        ]  # fmt: skip


@every_way
async def test_intervals_that_change_between_calls(dsn: str, redis_url: str, who: str) -> None:
    """Section 5: the expiry of each machine counts, as its last call set it."""
    async with timeline(dsn, redis_url, who, 1) as line:
        step = line.step
        await step(0, take("A", interval=100), "", "floating:A(100)", 2014)
        await step(50, take("A", interval=600), "", "floating:A(650)", 2014)
        await step(60, take("B", interval=10), LIMIT, "floating:A(650)", 2024)
        await step(70, take("A", interval=10), "", "floating:A(80)", 2014)
        await step(79, take("B", interval=1000), LIMIT, "floating:A(80)", 2024)
        b = "floating:B(1080)"
        await step(80, take("B", interval=1000), "", b, 2014)
        await step(81, take("A", interval=10), LIMIT, b, 2024)
        await line.made.at(90)
        locked = await take("A", interval=0)(line.workers[1], line.key)
        assert isinstance(locked, replies.Licensed)
        assert line.shown(locked)[0] == {"A", b}
        await step(90, None, "", f"A {b}", None)
        await step(91, give("A", floating=False), "", b, 6010)
        await step(92, give("B", floating=False), NOT_ACTIVATED, b, 6020)
        await step(93, give("B"), "", "", 6011)


@every_way
async def test_three_machines_and_what_an_sdk_concludes(dsn: str, redis_url: str, who: str) -> None:
    """Section 6, as the Python SDK reads the answers."""
    async with timeline(dsn, redis_url, who, 2) as line:
        a, b = "floating:A(100)", "floating:B(100)"
        assert on_right_machine(await line.step(0, take("A"), "", a, 2014), "A") == (True, True)
        assert on_right_machine(await line.step(0, take("B"), "", f"{a} {b}", 2014), "B") == (True, True)
        await line.step(0, take("C"), LIMIT, f"{a} {b}", 2024)
        extra = await line.step(0, take("C", overdraft=1), "", f"{a} {b} floating:overdraft:C(100)", 2015)
        assert on_right_machine(extra, "C") == (False, True)


def on_right_machine(answer: Told | None, code: str) -> tuple[bool, bool]:
    """Whether the SDK says so of a floating license, without and with overdraft allowed."""
    assert isinstance(answer, replies.Licensed)
    license_ = LicenseKey.from_response(Response(answer.license_key, answer.signature, 0, ""))
    strict, lax = (
        Helpers.IsOnRightMachine(license_, is_floating_license=True, allow_overdraft=allow, custom_machine_code=code)
        for allow in (False, True)
    )
    return strict, lax


# The instant at which a lease ends


@every_way
async def test_a_lease_taken_on_the_second_ends_on_the_second(dsn: str, redis_url: str, who: str) -> None:
    async with timeline(dsn, redis_url, who, 1) as line:
        one, two = line.workers
        await line.made.at(0)
        first = await one.take(line.key, "a", 100)
        assert isinstance(first, Lease)
        assert first.expires == line.made.began + 100
        await line.made.at(99.999)
        assert await two.take(line.key, "b") == LIMIT
        assert codes(await two.live(line.key)) == ["a"]
        await line.made.at(100)
        assert codes(await two.live(line.key)) == []
        assert isinstance(await two.take(line.key, "b"), Lease)
        assert await one.take(line.key, "a") == LIMIT


@every_way
async def test_a_lease_taken_within_a_second_is_never_shorter_than_asked(dsn: str, redis_url: str, who: str) -> None:
    async with timeline(dsn, redis_url, who, 1) as line:
        one, two = line.workers
        await line.made.at(0.3)
        first = await one.take(line.key, "a", 100)
        assert isinstance(first, Lease)
        assert (first.start, first.expires) == (line.made.began, line.made.began + 101)
        await line.made.at(100.999)
        assert await two.take(line.key, "b") == LIMIT
        assert codes(await two.live(line.key)) == ["a"]
        await line.made.at(101)
        assert codes(await two.live(line.key)) == []
        assert isinstance(await two.take(line.key, "b"), Lease)


@every_way
async def test_a_holder_that_comes_back_at_the_last_instant_keeps_its_seat_and_its_start(
    dsn: str, redis_url: str, who: str
) -> None:
    async with timeline(dsn, redis_url, who, 1) as line:
        one, two = line.workers
        await line.made.at(0)
        await one.take(line.key, "a", 10)
        await line.made.at(9.999)
        kept = await two.take(line.key, "a", 10)
        assert isinstance(kept, Lease)
        assert kept.start == line.made.began
        await line.made.at(kept.expires - line.made.began)
        anew = await two.take(line.key, "a", 10)
        assert isinstance(anew, Lease)
        assert anew.start == kept.expires


@every_way
async def test_a_short_lease_does_not_take_a_long_one_along(dsn: str, redis_url: str, who: str) -> None:
    async with timeline(dsn, redis_url, who, 2) as line:
        one, two = line.workers
        key = seats_key(line.made.installation, await line.made.license_id(line.key))
        await line.made.at(0)
        await one.take(line.key, "a", 60)
        ends = await line.made.valkey.pexpiretime(key)
        await two.take(line.key, "b", 1)
        if who == "valkey":
            assert await line.made.valkey.pexpiretime(key) >= ends > 0
        await line.made.at(1.5)
        assert codes(await one.live(line.key)) == ["a"]
        assert isinstance(await two.take(line.key, "c", 1), Lease)
        assert await two.take(line.key, "d", 1) == LIMIT
        held = await one.take(line.key, "a", 60)
        assert isinstance(held, Lease)
        assert held.start == line.made.began
