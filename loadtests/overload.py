"""What a server does with twice as much as it can do, and whether a flood can starve the others.

`python -m loadtests.overload` starts servers of its own. The server, with its engines, gets all cores but one, and the
client the last: else the client, which sends more in an overload, would take from the server what is to be measured.
Capacity (a closed loop) and overload (an open one: calls are due whatever becomes of them) take turns, and goodput is held
against what is left of the capacity when the refusals are paid for; what one costs is measured on a server that does
nothing but refuse. Then well-behaved clients call beside a flood. After each phase the log is audited: what was answered is
in it once, and nothing else.
"""

import argparse
import asyncio
import itertools
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from statistics import median
from typing import Any, NamedTuple

import asyncpg
import uvloop
from rich.console import Console
from rich.table import Table

from loadtests.driver import Clients, Outcome, closed_loop, open_loop, post, schedule
from loadtests.machine import cpu_of_server, describe
from loadtests.measure import client, last_row, rows_after
from loadtests.scenarios import LICENSES, NAME, SEED, SIGNED, Forms, code, known
from loadtests.target import Target, serving
from server.rules.fields import Field

CLIENTS = 256  # of the closed loop: more would not find more
NOTHING = post("/api/no/such", b"")
PLACES = 4_096  # connections of the open loop: more than calls may wait in the server, so that none waits in the client
TIMES = 2.0  # the capacity, in an overload
TURNS, SECONDS, WARM = 3, 7.0, 2.0
FEW = 32  # places of a server that is to refuse: as many as it takes to make its licenses
REFUSING = 2.0  # seconds: less than PostgreSQL waits for a lock
GOOD, FLOOD = 0.3, 2.0  # parts of the capacity: what the well-behaved ask for, and what comes beside them
NETWORKS, NOISY = 200, "203.0.113.7"
ALONE = {  # no rate limits, and clients come from the networks that they say: the places alone have to hold
    "KEYTURN_UNLIMITED": "none", "KEYTURN_TRUSTED_PROXIES": "127.0.0.0/8,::1",
    "KEYTURN_TOKEN_RATE": "0", "KEYTURN_KEY_RATE": "0", "KEYTURN_FAILURES_PER_MINUTE": "0",
}  # fmt: skip
NO_LIST = int(Field.ACTIVATED_MACHINES)  # an answer does not list all machines: it would be the list that is measured


class Stream(NamedTuple):
    """Requests that are sent in turn over so many connections: at so many a second, or (0) as fast as answers come.

    `good`: they are answered with yes if they are served, and logged.
    """

    requests: Sequence[bytes]
    places: int
    rate: float = 0.0
    good: bool = True


class Seen(NamedTuple):
    """What a stream saw: calls served and refused a second; ms in which half, and 99 %, of the good answers came."""

    served: float
    refused: float
    p50: float
    p99: float

    @property
    def share(self) -> float:
        """The part that was served."""
        return self.served / (self.served + self.refused)


class Phase(NamedTuple):
    """What the streams of a phase saw, and how many cores the server used."""

    streams: list[Seen]
    cores: float


# ---- in the client's process


def send(url: str, server: int, streams: Sequence[Stream], seconds: float) -> tuple[list[Outcome], float]:
    """Send all streams at once for so long; what they saw, and the CPU seconds that the server used (by its process id)."""
    return uvloop.run(_send(url, server, streams, seconds))


async def _send(url: str, server: int, streams: Sequence[Stream], seconds: float) -> tuple[list[Outcome], float]:
    host, _, port = url.removeprefix("http://").partition(":")
    if host != "127.0.0.1":
        raise ValueError("load goes to this machine only")
    clients = [Clients(host, int(port), stream.places, keep_alive=True) for stream in streams]
    for each, stream in zip(clients, streams, strict=True):
        await _accepted(each, stream.places)
    started, used = time.perf_counter(), sum(cpu_of_server(server).values())
    await asyncio.gather(*(_sent(each, stream, seconds) for each, stream in zip(clients, streams, strict=True)))
    for each in clients:
        each.outcome.seconds = time.perf_counter() - started
    return [each.outcome for each in clients], sum(cpu_of_server(server).values()) - used


async def _accepted(clients: Clients, places: int) -> None:
    """Connect, and have something answered over each connection: until then it may still wait to be accepted."""
    await clients.connect()
    for _ in range(places):
        clients.offer(0.0, NOTHING)
    while clients.outcome.answers.total() < places:  # noqa: ASYNC110 (their own event would close them)
        await asyncio.sleep(0.01)
    clients.outcome = Outcome()


async def _sent(clients: Clients, stream: Stream, seconds: float) -> None:
    requests = itertools.cycle(stream.requests)
    if stream.rate:
        await open_loop(clients, requests, schedule(stream.rate, seconds, SEED))
    else:
        await closed_loop(clients, requests, stream.places, seconds)


# ---- phases


class Side:
    """A server on its cores, and its client on another."""

    def __init__(self, target: Target, sender: Executor) -> None:
        self.target = target
        self.known = known(Forms(target), LICENSES, 1, **SIGNED)
        self._sender = sender

    def phase(self, *streams: Stream, seconds: float = SECONDS) -> Phase:
        """Run a load. Raises SystemExit if any call got another answer than yes or 503, or the log disagrees."""
        dsn = self.target.demo["postgres_dsn"]
        last = asyncio.run(last_row(dsn))
        outcomes, used = self._sender.submit(send, self.target.url, self.target.pid, streams, seconds).result()
        rows = asyncio.run(rows_after(dsn, last))
        if problem := disagreement(streams, outcomes, rows):
            raise SystemExit(f"The audit failed: {problem}")
        return Phase([_seen(outcome) for outcome in outcomes], used / outcomes[0].seconds)

    def capacity(self, seconds: float = SECONDS) -> tuple[float, float]:
        """Return how many answers a second the server can give, and the CPU µs of each."""
        (seen,), cores = self.phase(Stream(self.known, CLIENTS), seconds=seconds)
        return seen.served, cores / seen.served * 1e6


def disagreement(streams: Sequence[Stream], outcomes: Sequence[Outcome], rows: int) -> str | None:
    """Say what is wrong: other answers than there may be, or another number of rows in the log than of yes."""
    for stream, outcome in zip(streams, outcomes, strict=True):
        if strange := set(outcome.answers) - {"ok" if stream.good else "refused", "503"}:
            return f"there are answers of other kinds: {', '.join(sorted(strange))}"
    answered = sum(outcome.answers["ok"] for outcome in outcomes)
    return None if answered == rows else f"{answered} calls were answered, and the log has {rows} rows of them"


def left(capacity: float, cost: float, refused: float, refusal: float) -> float:
    """Return the answers a second that are left of a capacity: `refused` a second are paid for. Costs are CPU of each."""
    return capacity - refused * refusal / cost


def _seen(outcome: Outcome) -> Seen:
    refused = outcome.answers["503"]
    p50, p99 = (outcome.percentile(part) if outcome.latencies else 0.0 for part in (0.5, 0.99))
    return Seen((outcome.answers.total() - refused) / outcome.seconds, refused / outcome.seconds, p50, p99)


# ---- figures


def refusal(side: Side) -> float:
    """Return the CPU µs of a refusal. The server has `FEW` places, and all who have one wait for a lock."""

    async def locked() -> float:
        connection = await asyncpg.connect(side.target.demo["postgres_dsn"])
        await connection.execute("begin; lock table log in exclusive mode")
        asyncio.get_running_loop().call_later(REFUSING, connection.terminate)
        phase = await asyncio.to_thread(side.phase, Stream(side.known, CLIENTS), seconds=REFUSING)
        return phase.cores / phase.streams[0].refused * 1e6

    return asyncio.run(locked())


def twice(side: Side, cost_of_refusal: float) -> dict[str, float]:
    """Take turns of capacity and overload; medians.

    Goodput by CPU is held against what the CPU that the server got in the overload could do: others on the machine may have
    taken more of it, or less, than while the capacity was measured.
    """
    taken = []
    side.capacity(WARM)
    for _ in range(TURNS):
        capacity, cost = side.capacity()
        (seen,), cores = side.phase(Stream(side.known, PLACES, capacity * TIMES))
        could = left(capacity, cost, seen.refused, cost_of_refusal)
        paid = left(cores / cost * 1e6, cost, seen.refused, cost_of_refusal)
        taken.append({
            "capacity": capacity, "cpu_us": cost, "offered": seen.served + seen.refused, "served": seen.served,
            "refused_share": 1 - seen.share, "goodput": seen.served / could, "goodput_by_cpu": seen.served / paid,
            "p50_ms": seen.p50, "p99_ms": seen.p99, "cores": cores,
        })  # fmt: skip
    return {name: round(median(turn[name] for turn in taken), 3) for name in taken[0]}


def floods(side: Side, count: int) -> Mapping[str, Stream]:
    """Return what comes beside the well-behaved, by its name, in so many requests at most."""
    make, target = Forms(side.target), side.target
    small, popular = target.new_keys(1, 1)[0], target.new_keys(1, count)[0]
    one = make.form("key/Activate", Key=small, MachineCode=code(0), FriendlyName=NAME, **SIGNED)
    new = [
        make.form("key/Activate", Key=popular, MachineCode=code(number), FieldsToReturn=NO_LIST, **SIGNED)
        for number in range(count)
    ]
    unknown = [make.form("key/GetKey", Key=f"AAAAA-AAAAA-AAAAA-{number:05}") for number in range(100_000)]
    return {
        "one network": Stream([_from(each, NOISY) for each in side.known], PLACES),
        "one network, unknown keys": Stream([_from(each, NOISY) for each in unknown], PLACES, good=False),
        "one license": Stream([_from(one, _network(number)) for number in range(NETWORKS)], PLACES),
        "one license, new machines": Stream([_from(each, _network(number)) for number, each in enumerate(new)], PLACES),
    }


def fair(side: Side) -> dict[str, dict[str, float]]:
    """Have the well-behaved, each with a license and in one of many networks, call beside floods; what became of both."""
    make = Forms(side.target)
    keys = side.target.new_keys(LICENSES, 1)
    quiet = [
        _from(make.form("key/Activate", Key=key, MachineCode=code(0), FriendlyName=NAME, **SIGNED), _network(number))
        for number, key in enumerate(keys)
    ]
    side.capacity(WARM)
    capacity, _ = side.capacity()
    results = {}
    for name, flood in floods(side, int(capacity * FLOOD * SECONDS * 1.1)).items():
        phase = side.phase(Stream(quiet, PLACES, capacity * GOOD), flood._replace(rate=capacity * FLOOD))
        well, noisy = phase.streams
        results[name] = {
            "capacity": round(capacity), "good_share": round(well.share, 4), "good_p50_ms": round(well.p50, 1),
            "good_p99_ms": round(well.p99, 1), "flood_share": round(noisy.share, 4), "flood_served": round(noisy.served),
        }  # fmt: skip
    return results


def _network(number: int) -> str:
    return f"198.18.{number % NETWORKS}.9"


def _from(request: bytes, address: str) -> bytes:
    """Say where a request comes from, as a proxy does."""
    return request.replace(b"\r\n", b"\r\nX-Forwarded-For: %b\r\n" % address.encode(), 1)


@contextmanager
def apart(workers: int, **settings: str) -> Iterator[Side]:
    """Have a server on all cores but the last, and its client there."""
    every = os.sched_getaffinity(0)
    if len(every) == 1:
        raise SystemExit("Server and client need a core each.")
    last = max(every)
    os.sched_setaffinity(0, every - {last})
    try:
        with client() as sender, serving(workers, **settings) as target:
            sender.submit(os.sched_setaffinity, 0, {last}).result()
            yield Side(target, sender)
    finally:
        os.sched_setaffinity(0, every)


def run() -> dict[str, Any]:
    """Measure everything; the result, as JSON has it."""
    cores = len(os.sched_getaffinity(0)) - 1  # of the server
    with apart(1, KEYTURN_QUEUE=str(FEW)) as side:
        cost = refusal(side)
    overloads = {}
    for workers in sorted({1, cores}):
        with apart(workers) as side:
            overloads[f"{workers} workers" if workers > 1 else "one worker"] = twice(side, cost)
    with apart(1, **ALONE) as side:
        beside = fair(side)
    return {
        "machine": describe(),
        "method": {"times": TIMES, "seconds": SECONDS, "turns": TURNS, "good": GOOD, "flood": FLOOD},
        "refusal_cpu_us": round(cost, 1),
        "overload": overloads,
        "beside a flood": beside,
        "worst": {
            "goodput": min(each["goodput"] for each in overloads.values()),
            "p99_s": max(each["p99_ms"] for each in overloads.values()) / 1000,
        },
    }


def show(result: dict[str, Any]) -> None:
    """Print the tables, and the whole result as JSON."""
    console = Console(stderr=True)
    title = f"At {TIMES:g} times the capacity; a refusal costs {result['refusal_cpu_us']} µs of CPU"
    for name, rows in ((title, result["overload"]), ("Well-behaved clients beside a flood", result["beside a flood"])):
        table = Table("", *next(iter(rows.values())), title=name)
        for what, figures in rows.items():
            table.add_row(what, *map(str, figures.values()))
        console.print(table)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m loadtests.overload", description=__doc__).parse_args()
    show(run())
