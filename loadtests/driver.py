"""A closed-loop HTTP client that costs little itself: prepared requests over keep-alive connections, answers counted."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import uvloop

DONE = b'"result":0'


@dataclass(slots=True)
class Outcome:
    """What a run saw: seconds it took, answers by kind, and the latencies in seconds."""

    seconds: float = 0.0
    answers: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.answers["ok"] / self.seconds

    def percentile(self, part: float) -> float:
        """Return a latency in milliseconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1000


class Connection(asyncio.Protocol):
    """One client: sends a request, waits for its answer, sends the next, until the time is over."""

    def __init__(self, requests: Sequence[bytes], first: int, until: float, outcome: Outcome) -> None:
        self._requests = requests
        self._next = first
        self._until = until
        self._outcome = outcome
        self._buffer = b""
        self._sent = 0.0
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        """Take what has come; a whole answer is counted and followed by the next request."""
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        start = self._buffer.lower().find(b"content-length:", 0, head) + 15
        length = int(self._buffer[start : self._buffer.find(b"\r\n", start)])
        if len(self._buffer) < head + 4 + length:
            return
        status = self._buffer[9:12].decode()
        kind = "ok" if DONE in self._buffer else status if status != "200" else "refused"
        self._outcome.answers[kind] += 1
        now = time.perf_counter()
        self._outcome.latencies.append(now - self._sent)
        self._buffer = b""
        if now < self._until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Count a connection that ended before its time."""
        if error is not None:
            self._outcome.answers["lost"] += 1
        self.finished.set_result(None)

    def _send(self) -> None:
        self._transport.write(self._requests[self._next % len(self._requests)])
        self._next += 7919  # a prime: clients do not walk in step
        self._sent = time.perf_counter()


def _same(connection: Connection) -> Connection:
    return connection


async def _drive(host: str, port: int, requests: Sequence[bytes], clients: int, seconds: float) -> Outcome:
    outcome = Outcome()
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    until = started + seconds
    made = [Connection(requests, number * 31, until, outcome) for number in range(clients)]
    for connection in made:
        await loop.create_connection(partial(_same, connection), host, port)
    await asyncio.gather(*(connection.finished for connection in made))
    outcome.seconds = time.perf_counter() - started
    return outcome


def drive(url: str, requests: Sequence[bytes], *, clients: int, seconds: float) -> Outcome:
    """Send `requests` in turn from so many clients for so long; loopback only."""
    host, _, port = url.removeprefix("http://").partition(":")
    if host not in ("127.0.0.1", "localhost"):
        raise ValueError("load goes to this machine only")
    return uvloop.run(_drive(host, int(port), requests, clients, seconds))


def post(path: str, body: bytes) -> bytes:
    """Return a form POST as it goes over the wire."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
