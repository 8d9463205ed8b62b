"""HTTP clients that cost little themselves: prepared requests over connections of their own, answers counted.

`drive` is a closed loop: so many clients, each sends its next request when it has its answer. It finds how much a server
can do, and hides how long anybody waits: a server that stalls is sent nothing meanwhile. `arrive` is an open loop:
requests are due at times drawn before, whatever the server does, and a latency counts from the time it was due.
"""

import asyncio
import itertools
import math
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import uvloop

DONE = b'"result":0'
PATH = len(b"POST /api/")
PATIENCE = 10.0  # seconds until an answer is given up, after the last request was due


@dataclass(slots=True)
class Outcome:
    """What a run saw, times in seconds: answers by kind, good ones by request with their latencies, CPU of the client."""

    seconds: float = 0.0
    answers: Counter[str] = field(default_factory=Counter)
    done: Counter[bytes] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    client: float = 0.0

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.answers["ok"] / self.seconds

    @property
    def methods(self) -> Counter[str]:
        """Good answers by method."""
        counted: Counter[str] = Counter()
        for request, number in self.done.items():
            counted[method_of(request)] += number
        return counted

    def percentile(self, part: float) -> float:
        """Return the latency in milliseconds that this part of all good answers kept within."""
        ordered = sorted(self.latencies)
        return ordered[math.ceil(len(ordered) * part) - 1] * 1000


class Connection(asyncio.Protocol):
    """Carries one request at a time; `answered` is called with this connection and the kind of answer it got."""

    def __init__(self, answered: Callable[["Connection", str], None]) -> None:
        self._answered = answered
        self._buffer = b""
        self._end = 0
        self.transport: asyncio.Transport | None = None
        self.request = b""
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send what the connection was made for, if anything."""
        self.transport = cast(asyncio.Transport, transport)
        if self.request:
            self.transport.write(self.request)

    def carry(self, due: float, request: bytes) -> None:
        """Take a request: it is sent now, or as soon as the connection stands."""
        self.due, self.request = due, request
        if self.transport is not None:
            self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take what has come; a whole answer ends the request."""
        self._buffer = self._buffer + data if self._buffer else data
        if not self._end:
            head = self._buffer.find(b"\r\n\r\n")
            if head < 0:
                return
            start = self._buffer.lower().find(b"content-length:", 0, head) + 15
            self._end = head + 4 + int(self._buffer[start : self._buffer.find(b"\r\n", start)])
        if len(self._buffer) < self._end:
            return
        status = self._buffer[9:12].decode()
        self._close_request("ok" if DONE in self._buffer else status if status != "200" else "refused")

    def connection_lost(self, _error: Exception | None) -> None:
        """Count a request that is under way: it gets no answer."""
        self.transport = None
        if self.request:
            self._close_request("lost")

    def _close_request(self, kind: str) -> None:
        self._buffer, self._end = b"", 0
        self._answered(self, kind)


class Clients:
    """A number of places, each with a connection of its own: what is offered while all are busy waits in order.

    With `keep_alive` a connection carries request after request; without, each request has a connection made for it.
    """

    def __init__(self, host: str, port: int, places: int, *, keep_alive: bool) -> None:
        self.outcome = Outcome()
        self.after_answer: Callable[[], None] = lambda: None
        self._address = (host, port)
        self._keep_alive = keep_alive
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._idle: list[Connection | None] = [None] * places
        self._opening: set[asyncio.Task[None]] = set()
        self._pending = 0
        self._drained = asyncio.Event()  # all that was offered so far is answered

    async def connect(self) -> None:
        """Make the connections that are kept."""
        if self._keep_alive:
            made = [Connection(self._answered) for _ in self._idle]
            await asyncio.gather(*(self._open(each) for each in made))
            self._idle = list(made)

    def offer(self, due: float, request: bytes) -> None:
        """Have a request sent as soon as a place is free; its latency counts from `due` (of time.perf_counter)."""
        self._waiting.append((due, request))
        self._pending += 1
        self._drained.clear()
        self._fill()

    async def drained(self, seconds: float) -> None:
        """Wait until everything offered is answered, and close. What is not answered in time counts as such."""
        if self._pending:
            try:
                await asyncio.wait_for(self._drained.wait(), seconds)
            except TimeoutError:
                self.outcome.answers["none in time"] += self._pending
        for each in self._idle:
            if each is not None and each.transport is not None:
                each.transport.close()

    def _fill(self) -> None:
        while self._waiting and self._idle:
            connection = self._idle.pop()
            if connection is None:
                connection = Connection(self._answered)
                connection.carry(*self._waiting.popleft())
                task = asyncio.get_running_loop().create_task(self._open(connection))
                self._opening.add(task)
                task.add_done_callback(self._opening.discard)
            else:
                connection.carry(*self._waiting.popleft())

    async def _open(self, connection: Connection) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: connection, *self._address)
        except OSError:
            if not connection.request:
                raise  # nobody listens at all
            self._answered(connection, "not connected")

    def _answered(self, connection: Connection, kind: str) -> None:
        outcome, request = self.outcome, connection.request
        outcome.answers[kind] += 1
        if kind == "ok":
            outcome.done[request] += 1
            outcome.latencies.append(time.perf_counter() - connection.due)
        connection.request = b""
        if not self._keep_alive and connection.transport is not None:
            connection.transport.close()
        self._idle.append(connection if self._keep_alive and connection.transport is not None else None)
        self._pending -= 1
        self.after_answer()
        self._fill()
        if not self._pending:
            self._drained.set()


async def closed_loop(clients: Clients, requests: Iterator[bytes], places: int, seconds: float) -> None:
    """Have each of so many clients send its next request when it has its answer, for so long or until there are none."""
    until = time.perf_counter() + seconds

    def next_one() -> None:
        now = time.perf_counter()
        if now < until and (request := next(requests, None)) is not None:
            clients.offer(now, request)

    clients.after_answer = next_one
    for _ in range(places):
        next_one()
    await clients.drained(seconds + PATIENCE)


def schedule(rate: float, seconds: float, seed: int) -> Iterator[float]:
    """Yield the times (seconds from the start) of independent arrivals, so many a second on average: a Poisson process."""
    draw = random.Random(seed)
    at = draw.expovariate(rate)
    while at < seconds:
        yield at
        at += draw.expovariate(rate)


async def open_loop(clients: Clients, requests: Iterator[bytes], times: Iterable[float]) -> None:
    """Offer each request when it is due; the loop's timer wakes this once a millisecond at most."""
    started = time.perf_counter()
    for at in times:
        due = started + at
        while (wait := due - time.perf_counter()) > 0:  # noqa: ASYNC110 (no event tells the time)
            await asyncio.sleep(math.ceil(wait * 1000) / 1000)  # the loop rounds to milliseconds: never too early
        if (request := next(requests, None)) is None:
            break
        clients.offer(due, request)
    await clients.drained(PATIENCE)


async def _run(
    url: str, places: int, work: Callable[[Clients], Coroutine[None, None, None]], *, keep_alive: bool
) -> Outcome:
    host, _, port = url.removeprefix("http://").partition(":")
    if host not in ("127.0.0.1", "localhost"):
        raise ValueError("load goes to this machine only")
    clients = Clients(host, int(port), places, keep_alive=keep_alive)
    await clients.connect()
    started, used = time.perf_counter(), time.process_time()
    await work(clients)
    clients.outcome.seconds = time.perf_counter() - started
    clients.outcome.client = time.process_time() - used
    return clients.outcome


def drive(
    url: str, requests: Sequence[bytes], *, clients: int, seconds: float, keep_alive: bool = True, once: bool = False
) -> Outcome:
    """Send `requests` in turn from so many clients for so long, over and over or (`once`) until there are no more."""
    source = _source(requests, keep_alive=keep_alive, once=once)
    return uvloop.run(_run(url, clients, lambda made: closed_loop(made, source, clients, seconds), keep_alive=keep_alive))


def arrive(
    url: str, requests: Sequence[bytes], times: Iterable[float], *, places: int, keep_alive: bool = True, once: bool = False
) -> Outcome:
    """Send `requests` in turn at `times` (seconds from the start) over at most `places` connections at once."""
    source = _source(requests, keep_alive=keep_alive, once=once)
    return uvloop.run(_run(url, places, lambda made: open_loop(made, source, times), keep_alive=keep_alive))


def post(path: str, body: bytes) -> bytes:
    """Return a form POST as it goes over the wire of a kept connection."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def method_of(request: bytes) -> str:
    """Return the method that a request calls."""
    return request[PATH : request.find(b" ", PATH)].decode()


def _source(requests: Sequence[bytes], *, keep_alive: bool, once: bool) -> Iterator[bytes]:
    if not keep_alive:
        requests = [each.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) for each in requests]
    return iter(requests) if once else itertools.cycle(requests)
