"""One scenario on one server: how much it can do, what an answer costs, how long anybody waits at a given rate.

The client is a process of its own, kept from phase to phase. After each phase the log is audited: every good answer has
its row, and nothing else was answered.
"""

import asyncio
import multiprocessing
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import asyncpg

from loadtests.driver import Outcome, arrive, drive, method_of, schedule
from loadtests.extent import Extent, Tell
from loadtests.limits import CLIENTS
from loadtests.scenarios import SEED, UNLOGGED, Forms, Scenario
from loadtests.stages import Stages, read
from loadtests.target import Target

PLACES = 256  # connections of the open loop: several times what a server keeps busy at 60 % of its capacity
LIKELY_RATE = 8_000  # answers a second that requests which are sent once are made for
SHARE = 0.6
KINDS = {True: "kept", False: "one a call"}  # connections


@dataclass(frozen=True, slots=True)
class Phase:
    """What one phase gave: answers a second, CPU in µs per answer by kind of process and of the client, latencies in ms."""

    per_second: float
    answers: int
    cpu: dict[str, float]
    client: float
    p50: float
    p99: float
    p999: float
    stages: Stages

    @property
    def cost(self) -> float:
        """CPU µs per answer of all processes of the server."""
        return sum(self.cpu.values())


@contextmanager
def client() -> Iterator[Executor]:
    """Have the client's process for a while."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@dataclass(frozen=True, slots=True)
class Row:
    """A scenario as one server served it: at saturation, and at a share of that."""

    scenario: str
    title: str
    workers: int
    keep_alive: bool
    saturated: Phase
    at_share: Phase

    @property
    def figures(self) -> dict[str, Any]:
        """Return it as the result has it: answers a second, CPU in µs, latencies and stages in ms at that share."""
        full, part = self.saturated, self.at_share
        return {
            "scenario": self.scenario, "title": self.title, "workers": self.workers, "connections": KINDS[self.keep_alive],
            "answers": full.answers, "per_second": round(full.per_second), "cpu_us": round(full.cost, 1),
            "of_it": {kind: round(cost, 1) for kind, cost in full.cpu.items()}, "client_us": round(full.client, 1),
            "p50_ms": round(part.p50, 2), "p99_ms": round(part.p99, 2), "p999_ms": round(part.p999, 2),
            "cpu_us_at_share": round(part.cost, 1), "batch": round(full.stages.batch.mean, 1),
            "batch_at_share": round(part.stages.batch.mean, 1),
            "commit_ms_at_share": round(part.stages.commit.mean * 1000, 2),
            "stages_ms": {name: round(ms, 3) for name, ms in part.stages.milliseconds().items()},
            "stages_share": {name: round(share, 3) for name, share in part.stages.shares().items()},
        }  # fmt: skip


class Load:
    """A scenario's requests for one server. Those that are sent once are made anew for each phase: `lasting` has none."""

    def __init__(self, target: Target, scenario: Scenario, client: Executor) -> None:
        self.target = target
        self.scenario = scenario
        self._client = client
        self.lasting = [] if scenario.once else scenario.make(Forms(target), 0)

    def closed(self, seconds: float, *, keep_alive: bool = True) -> Phase:
        """Load the server with as much as it can do."""
        requests = self._requests(int(seconds * LIKELY_RATE))
        work = partial(
            drive, self.target.url, requests,
            clients=CLIENTS, seconds=seconds, keep_alive=keep_alive, once=self.scenario.once,
        )  # fmt: skip
        return self._phase(work)

    def open(self, seconds: float, rate: float, *, keep_alive: bool = True, seed: int = SEED) -> Phase:
        """Have so many requests due a second, whatever becomes of them."""
        times = list(schedule(rate, seconds, seed))
        requests = self._requests(len(times))
        work = partial(
            arrive, self.target.url, requests, times, places=PLACES, keep_alive=keep_alive, once=self.scenario.once
        )
        return self._phase(work)

    def rows(self, extent: Extent, tell: Tell) -> Iterator[Row]:
        """Measure the scenario with connections that are kept, and with one for each call."""
        scenario, workers = self.scenario, len(self.target.demo["worker_pids"])
        for keep_alive in (True, False):
            tell(f"{scenario.title}, {workers} workers, {KINDS[keep_alive]}")
            self.closed(extent.warm, keep_alive=keep_alive)
            saturated = self.closed(extent.closed, keep_alive=keep_alive)
            at_share = self.open(extent.open, saturated.per_second * SHARE, keep_alive=keep_alive)
            yield Row(scenario.name, scenario.title, workers, keep_alive, saturated, at_share)

    def answer_bytes(self) -> int:
        """Return how long the body of an answer is."""
        request = self.lasting[0]
        body = request.partition(b"\r\n\r\n")[2]
        with urllib.request.urlopen(f"{self.target.url}/api/{method_of(request)}", body) as answer:
            self.target.witness.saw(Counter([request]))
            return len(answer.read())

    def _requests(self, count: int) -> list[bytes]:
        return self.lasting or self.scenario.make(Forms(self.target), count)

    def _phase(self, work: Callable[[], Outcome]) -> Phase:
        target = self.target
        last = asyncio.run(last_row(target.demo["postgres_dsn"]))
        told, used = read(target.metrics()), target.cpu()
        outcome = self._client.submit(work).result()
        taken = {kind: seconds - used[kind] for kind, seconds in target.cpu().items()}
        answered = outcome.answers["ok"]
        self.target.witness.saw(outcome.done)
        stages = read(target.metrics()).since(told)
        rows = asyncio.run(rows_after(target.demo["postgres_dsn"], last))
        if problem := disagreement(outcome, rows):
            raise SystemExit(f"The audit of {self.scenario.name} failed: {problem}")
        cpu = {kind: seconds / answered * 1e6 for kind, seconds in taken.items()}
        p50, p99, p999 = map(outcome.percentile, (0.5, 0.99, 0.999))
        return Phase(outcome.rate, answered, cpu, outcome.client / answered * 1e6, p50, p99, p999, stages)


def disagreement(outcome: Outcome, rows: int) -> str | None:
    """Say what is wrong if anything but good answers came, or another number of rows was logged than calls answered."""
    if set(outcome.answers) != {"ok"}:
        return f"not all answers are good: {dict(outcome.answers)}"
    logged = sum(number for method, number in outcome.methods.items() if method not in UNLOGGED)
    return None if logged == rows else f"{logged} calls were answered that are logged, and the log has {rows} rows of them"


async def last_row(dsn: str) -> int:
    """Return the highest id of the log."""
    return await _ask(dsn, "select coalesce(max(id), 0) from log")


async def rows_after(dsn: str, last: int) -> int:
    """Return how many rows the log has after this id; all writers have ended."""
    return await _ask(dsn, "select count(*) from log where id > $1", last)


async def _ask(dsn: str, query: str, *values: int) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval(query, *values))
    finally:
        await connection.close()
