"""What size costs: answers a second with a million licenses of five machines each, beside a thousand, in one run.

`python -m loadtests.scale` starts two servers with the same settings, one worker each, and loads both. Signed re-activations
go to licenses by Zipf's law (exponent 1, in random order) and uniformly at random, to one server and the other in turns.
Before, every license is read once, which is what fills the memory of a worker; how long that took is told. Each turn is
audited: so many good answers, so many rows in the log.
"""

import argparse
import asyncio
import itertools
import json
import random
import re
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg
from rich.console import Console
from rich.table import Table

from loadtests.driver import drive, post
from loadtests.machine import describe
from loadtests.measure import client, last_row, rows_after
from loadtests.scenarios import SIGNED
from loadtests.target import Target, serving
from server.load_demo import Plan, load
from storage.postgres.admin import administration

SMALL, LARGE, MACHINES = 1_000, 1_000_000, 5
CACHE_BYTES = 2**30
TURNS, SECONDS, WARM_SECONDS = 5, 4.0, 1.0
CLIENTS = 64
AT_ONCE = 20_000  # licenses that the client holds requests for while every license is read
LIKELY_RATE = 8_000  # answers a second that requests are made for
ZIPF, UNIFORM = "Zipf(1)", "uniform"
LOADS = re.compile(r"^keyturn_license_loads_total (\S+)", re.MULTILINE)
RATIOS = "answers a second, large / small"


class Side:
    """One of the servers, with its licenses: `plan` says which, and `drawn` how often each is asked for."""

    def __init__(self, target: Target, plan: Plan, product_id: int, clients: Executor) -> None:
        self.plan = plan
        self._target = target
        self._clients = clients
        self._chance = random.Random(plan.licenses)
        self._always = {"token": target.demo["admin_token"], "ProductId": product_id}
        self._numbers = self._chance.sample(range(1, plan.licenses + 1), plan.licenses)
        weights = itertools.accumulate(1 / rank for rank in range(1, plan.licenses + 1))
        self._ways: dict[str, Sequence[float] | None] = {ZIPF: list(weights), UNIFORM: None}

    def walk(self) -> dict[str, Any]:
        """Have every license read once; how long that took, and what the worker takes then."""
        began = time.monotonic()
        for first in range(1, self.plan.licenses + 1, AT_ONCE):
            numbers = range(first, min(first + AT_ONCE, self.plan.licenses + 1))
            self._send([self._form("key/GetKey", Key=self.plan.license(each).key) for each in numbers], 300)
        return {"seconds": round(time.monotonic() - began, 1), "worker_mib": self.resident()}

    def turn(self, way: str, seconds: float) -> dict[str, float]:
        """Send signed re-activations of licenses so drawn for so long; the figures, after an audit."""
        requests = list(itertools.islice(self._activations(way), int(seconds * LIKELY_RATE)))
        dsn = self._target.demo["postgres_dsn"]
        loads, last, cpu = self._loads(), asyncio.run(last_row(dsn)), self._target.cpu()
        answers, rate, p99 = self._send(requests, seconds)
        used = {kind: after - cpu[kind] for kind, after in self._target.cpu().items()}
        if (logged := asyncio.run(rows_after(dsn, last))) != answers:
            raise SystemExit(f"The audit failed: {answers} answers, {logged} rows.")
        return {
            "per_second": rate,
            "cpu_us": sum(used.values()) / answers * 1e6,
            "of_it_in_the_worker": used["worker"] / answers * 1e6,
            "p99_ms": p99,
            "read_from_postgresql": (self._loads() - loads) / answers,
        }

    def resident(self) -> int:
        """Return the memory that the worker takes, in MiB."""
        pages = (int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self._target.demo["worker_pids"])
        return sum(pages) * 4096 // 2**20

    def _activations(self, way: str) -> Iterator[bytes]:
        while True:
            for number in self._chance.choices(self._numbers, cum_weights=self._ways[way], k=1_000):
                key, codes = self.plan.license(number)
                yield self._form("key/Activate", Key=key, MachineCode=self._chance.choice(codes), **SIGNED)

    def _send(self, requests: list[bytes], seconds: float) -> tuple[int, float, float]:
        """Send each at most once; how many good answers there were, how many a second, and their p99 in milliseconds."""
        told = self._clients.submit(drive, self._target.url, requests, clients=CLIENTS, seconds=seconds, once=True).result()
        if set(told.answers) != {"ok"}:
            raise SystemExit(f"Not all calls were answered well: {dict(told.answers)}")
        return told.answers["ok"], told.rate, told.percentile(0.99)

    def _form(self, method: str, **params: object) -> bytes:
        return post(f"/api/{method}", urllib.parse.urlencode({**self._always, **params}).encode())

    def _loads(self) -> float:
        found = LOADS.search(self._target.metrics())
        return float(found[1]) if found else 0.0


async def fill(target: Target, plan: Plan) -> int:
    """Load the licenses; the id of their product."""
    dsn = target.demo["postgres_dsn"]
    connection = await asyncpg.connect(dsn)
    account = await connection.fetchval("select account_id from products where id = $1", target.demo["product_id"])
    await connection.close()
    async with administration(dsn) as admin:
        loaded = await load(dsn, admin, account, plan, now=int(time.time()), tell=lambda _what, _done: None)
    return loaded.product_id


def run(licenses: int = LARGE, seconds: float = SECONDS, turns: int = TURNS) -> dict[str, Any]:
    """Measure both servers in turns; medians, and how the large one compares with the small one."""
    sizes = {"small": SMALL, "large": licenses}
    taken: dict[tuple[str, str], list[dict[str, float]]] = {}
    settings = {"KEYTURN_CACHE_BYTES": str(CACHE_BYTES)}
    with serving(1, **settings) as one, serving(1, **settings) as other, client() as clients:
        sides = {}
        for target, (name, size) in zip((one, other), sizes.items(), strict=True):
            plan = Plan(size, MACHINES)
            sides[name] = Side(target, plan, asyncio.run(fill(target, plan)), clients)
        walked = {name: side.walk() for name, side in sides.items()}
        for _, way, name in itertools.product(range(turns), (ZIPF, UNIFORM), sides):
            sides[name].turn(way, WARM_SECONDS)
            taken.setdefault((name, way), []).append(sides[name].turn(way, seconds))
        resident = {name: side.resident() for name, side in sides.items()}
    middle = {
        key: {figure: round(median(each[figure] for each in some), 3) for figure in some[0]} for key, some in taken.items()
    }
    return {
        "machine": describe(), "cache_bytes": CACHE_BYTES, "clients": CLIENTS, "seconds": seconds, "turns": turns,
        "every license read once": walked,
        "worker_mib": resident,
        **{f"{sizes[name]} licenses, {way}": figures for (name, way), figures in middle.items()},
        RATIOS: _ratios(middle, "per_second"),
        "CPU an answer, large / small": _ratios(middle, "cpu_us"),
    }  # fmt: skip


def _ratios(middle: dict[tuple[str, str], dict[str, float]], figure: str) -> dict[str, float]:
    return {way: round(middle["large", way][figure] / middle["small", way][figure], 3) for way in (ZIPF, UNIFORM)}


def show(result: dict[str, Any]) -> None:
    """Print the table, and the whole result as JSON."""
    columns = {
        "per_second": "per second",
        "cpu_us": "CPU µs each",
        "of_it_in_the_worker": "of it in the worker",
        "p99_ms": "p99 ms",
        "read_from_postgresql": "licenses read, an answer",
    }
    table = Table("what", *columns.values(), title="Signed re-activations, one worker")
    for name, each in result.items():
        if isinstance(each, dict) and "per_second" in each:
            table.add_row(name, *(f"{each[key]:,.2f}" for key in columns))
    Console(stderr=True).print(table, result[RATIOS])
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--licenses", type=int, default=LARGE)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--turns", type=int, default=TURNS)
    arguments = parser.parse_args()
    show(run(arguments.licenses, arguments.seconds, arguments.turns))
