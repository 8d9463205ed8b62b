"""What a large floating pool costs: new seats a second until the pool is full, of 20,000 seats beside 2,000, in one run.

`python -m loadtests.pools` starts a server of its own with one worker. Each turn fills fresh licenses, small ones and a
large one, every claim from a machine of its own, and asks for more than there is. It fails unless exactly the seats of the
license are granted and stand in the leases table.
"""

import argparse
import asyncio
import itertools
import json
import time
import urllib.parse
from collections.abc import Iterable, Iterator
from statistics import median
from typing import Any, NamedTuple, cast

import asyncpg
import uvloop
from rich.console import Console
from rich.table import Table

from loadtests.driver import DONE, post
from loadtests.machine import cpu_seconds, describe, tree
from loadtests.target import serving

SMALL, LARGE = 2_000, 20_000
SMALL_A_TURN = 5  # a small pool is full in half a second: one would be chance
TURNS = 3
INTERVAL = 3_600
LAST = 2_000  # seats of the large pool that are looked at alone: the full end of it
BEYOND = 64  # claims that find it full
FULL = b"limit has been reached"


class Filled(NamedTuple):
    """When the seats of a pool were granted, in seconds since the first claim left, and CPU seconds of all processes."""

    granted: list[float]
    cpu: float

    @property
    def figures(self) -> dict[str, float]:
        """Return seats a second over all of the pool and over its last ones, and CPU µs for a seat."""
        seats = len(self.granted)
        last = min(LAST, seats - 1)
        return {
            "per_second": seats / self.granted[-1],
            "last_per_second": last / (self.granted[-1] - self.granted[-1 - last]),
            "cpu_us_per_seat": self.cpu / seats * 1e6,
        }


class Client(asyncio.Protocol):
    """One of those who share the requests: sends the next when it has its answer, until there are none."""

    def __init__(self, requests: Iterator[bytes], granted: list[float], refused: list[float]) -> None:
        self._requests = requests
        self._granted = granted
        self._refused = refused
        self._buffer = b""
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        """Take what has come; note when a whole answer was there, and which."""
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        start = self._buffer.lower().find(b"content-length:", 0, head) + 15
        if len(self._buffer) < head + 4 + int(self._buffer[start : self._buffer.find(b"\r\n", start)]):
            return
        if DONE in self._buffer:
            self._granted.append(time.perf_counter())
        elif FULL in self._buffer:
            self._refused.append(time.perf_counter())
        self._buffer = b""
        self._send()

    def connection_lost(self, _error: Exception | None) -> None:
        """Note the end."""
        self.finished.set_result(None)

    def _send(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._transport.close()
        else:
            self._transport.write(request)


def claims(demo: dict[str, Any], key: str, codes: Iterable[int]) -> list[bytes]:
    """Return an Activate that asks for a seat, for each machine."""
    shared = {
        "token": demo["token"], "ProductId": demo["product_id"], "Key": key, "FloatingTimeInterval": INTERVAL,
        "Sign": "true", "SignMethod": 1, "ModelVersion": 1,
    }  # fmt: skip
    return [
        post("/api/key/Activate", urllib.parse.urlencode({**shared, "MachineCode": f"{code:064x}"}).encode())
        for code in codes
    ]


async def _send_all(url: str, requests: list[bytes], clients: int) -> tuple[list[float], list[float]]:
    """Send each request once; when seats were granted, and refused, in seconds since the first left."""
    host, _, port = url.removeprefix("http://").partition(":")
    if host != "127.0.0.1":
        raise ValueError("load goes to this machine only")
    granted: list[float] = []
    refused: list[float] = []
    shared = iter(requests)
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    made = [
        (await loop.create_connection(lambda: Client(shared, granted, refused), host, int(port)))[1] for _ in range(clients)
    ]
    await asyncio.gather(*(client.finished for client in made))
    return [at - began for at in granted], [at - began for at in refused]


async def _live(dsn: str, key: str) -> int:
    """Return how many seats of a license are taken by the record."""
    connection = await asyncpg.connect(dsn)
    try:
        return int(
            await connection.fetchval(
                "select count(*) from leases s join licenses l on l.id = s.license_id"
                " where l.key = $1 and not s.released and s.expires > extract(epoch from clock_timestamp())",
                key,
            )
        )
    finally:
        await connection.close()


def fill(process_id: int, demo: dict[str, Any], key: str, seats: int, clients: int) -> Filled:
    """Claim all seats of a license, and some more; what was seen, after an audit."""
    codes = itertools.count(1)
    first = claims(demo, key, itertools.islice(codes, seats))
    pids = tree(process_id)
    used = cpu_seconds(pids)
    granted, refused = uvloop.run(_send_all(demo["url"], first, clients))
    used = cpu_seconds(pids) - used
    beyond = claims(demo, key, itertools.islice(codes, BEYOND))
    more, none = uvloop.run(_send_all(demo["url"], beyond, clients))
    live = asyncio.run(_live(demo["postgres_dsn"], key))
    if (len(granted), len(refused), len(more), len(none), live) != (seats, 0, 0, BEYOND, seats):
        raise SystemExit(
            f"The audit failed: of {seats} seats {len(granted)} granted and {len(refused)} refused, then {len(more)}"
            f" granted and {len(none)} refused of {BEYOND}; {live} in the table."
        )
    return Filled(granted, used)


def run(clients: int) -> dict[str, Any]:
    """Fill pools of both sizes in turns; medians, and how the large one compares with the small ones."""
    taken: dict[int, list[dict[str, float]]] = {SMALL: [], LARGE: []}
    with serving(1) as target:
        for _ in range(TURNS):
            for size in [*[SMALL] * SMALL_A_TURN, LARGE]:
                made = target.call("key/CreateKey", MaxNoOfMachines=size, Period=365)
                taken[size].append(fill(target.pid, target.demo, made["key"], size, clients).figures)
    small, large = (
        {name: round(median(each[name] for each in taken[size]), 1) for name in taken[size][0]} for size in (SMALL, LARGE)
    )
    return {
        "machine": describe(), "clients": clients, "turns": TURNS,
        f"{SMALL} seats": small, f"{LARGE} seats": large,
        "large / small, seats a second": round(large["per_second"] / small["per_second"], 3),
        "large / small, its last seats": round(large["last_per_second"] / small["per_second"], 3),
        "large / small, CPU a seat": round(large["cpu_us_per_seat"] / small["cpu_us_per_seat"], 3),
    }  # fmt: skip


def show(result: dict[str, Any]) -> None:
    """Print the table, and the whole result as JSON."""
    keys = ("per_second", "last_per_second", "cpu_us_per_seat")
    table = Table("pool", "seats a second", f"of the last {LAST}", "CPU µs each", title="New floating seats, one worker")
    for name, each in result.items():
        if isinstance(each, dict) and "per_second" in each:
            table.add_row(name, *(str(each[key]) for key in keys))
        elif "/" in name:
            table.add_row(name, f"{each} times", "", "")
    Console(stderr=True).print(table)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=64)
    show(run(parser.parse_args().clients))
