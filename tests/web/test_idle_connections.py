"""Thousands of connections that are only there, and clients that drip or take nothing: in nobody's way, and not for ever."""

import asyncio
import contextlib
import resource
import select
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from fronts import in_front
from inside import Inside, worker_inside
from lines import Line, ask, line_to, request
from office import NO_KEY, Office, Shop, refused
from servers import Live, until

from server import edges, http

FILES = 1_024  # what a process may usually have open: fewer than what comes, and only a limit that it may raise itself
SPARE = 500  # what else a test has open
GET_KEY = "/api/key/GetKey"


@pytest.fixture
async def form(office: Office, shop: Shop) -> bytes:
    return urlencode({"token": office.token, "ProductId": shop.id, "Key": "AAAAA-AAAAA-AAAAA-AAAAA"}).encode()


# ---- thousands


@pytest.fixture
def most_files() -> Iterator[int]:
    """How many files this process may have open, while it may have as many as it can."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def server(live: Live, most_files: int) -> Iterator[Live]:
    """A server of one worker, started where few files may be open unless somebody asks for more."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, most_files), most_files))
    with in_front(live, WORKERS="1") as started:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
        yield started
        log = started.data.with_name(f"{started.data.name}.log").read_text()
        assert '"level": "error"' not in log
        assert "Traceback" not in log


@dataclass(frozen=True, slots=True)
class Crowd:
    """Connections that do nothing: `silent` never began, `halfway` are in a header, `served` have had an answer."""

    silent: list[socket.socket]
    halfway: list[socket.socket]
    served: list[socket.socket]


@contextlib.contextmanager
def crowd(url: str, size: int, form: bytes) -> Iterator[Crowd]:
    """Connect so many."""
    parts = urlsplit(url)
    idle = Crowd([], [], [])
    with contextlib.ExitStack() as stack:
        for number in range(size):
            kind = (idle.silent, idle.halfway, idle.served)[number % 3]
            patience = edges.HEADER_SECONDS * 3
            kind.append(stack.enter_context(socket.create_connection((parts.hostname, parts.port), patience)))
            if kind is idle.halfway:
                kind[-1].sendall(f"POST {GET_KEY} HTTP/1.1\r\nHost: x\r\nX-Begun: ".encode())
            elif kind is idle.served:
                call(kind[-1], form)
        yield idle


def call(connection: socket.socket, form: bytes) -> None:
    """Make a good request, and take its answer."""
    connection.sendall(request(GET_KEY, form))
    answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(NO_KEY.encode() + b'"}')


async def answered(url: str, form: bytes, times: int) -> None:
    """Call so many times, over a connection of its own each, and be answered."""
    for _ in range(times):
        assert (await ask(url, request(GET_KEY, form))).json == refused(NO_KEY)


async def test_two_thousand_idle_connections_disturb_nobody(server: Live, most_files: int, form: bytes) -> None:
    with crowd(server.url, min(2_000, most_files - SPARE), form) as idle:
        await answered(server.url, form, 100)
        for each in idle.served:
            call(each, form)
    await answered(server.url, form, 10)


@pytest.mark.soak
async def test_ten_thousand_idle_connections_disturb_nobody_and_those_that_never_asked_are_closed(
    server: Live, most_files: int, form: bytes
) -> None:
    def files() -> int:
        return sum(1 for pid in server.demo["worker_pids"] for _ in Path(f"/proc/{pid}/fd").iterdir())

    before = files()
    with crowd(server.url, min(10_000, most_files - SPARE), form) as idle:
        await answered(server.url, form, 1_000)
        for each in idle.silent + idle.halfway:
            assert each.recv(1) == b""
        for each in idle.served:
            call(each, form)
    await until(lambda: files() < before + SPARE)
    await answered(server.url, form, 10)


# ---- clients that drip, or take nothing


@pytest.fixture
async def hasty(live: Live, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Inside]:
    """A server in this process that has no patience."""
    for name in ("HEADER_SECONDS", "BODY_SECONDS", "TAKING_SECONDS", "LINGER_SECONDS"):
        monkeypatch.setattr(edges, name, 0.5)
    async with worker_inside(live) as server:
        yield server


async def drip(url: str, first: bytes, drop: bytes, pause: float) -> bytes:
    """Send the first bytes, then drop after drop until the connection ends: the first of what was said before that."""
    async with line_to(url) as line:
        await line.send(first)
        said = await drop_until(line, drop, pause, 13)
        await drop_until(line, drop, pause, -1)
        return said


async def drop_until(line: Line, drop: bytes, pause: float, most: int) -> bytes:
    """Send drops until so many bytes, or the end, have come."""
    coming = asyncio.create_task(line.ended(most))
    while not coming.done():
        line.writer.write(drop)
        await asyncio.wait([coming], timeout=pause)
    return await coming


async def drip_beside_a_load(url: str, form: bytes, each: int, pause: float) -> None:
    """Let headers, bodies and chunks drip while good requests are made; each is cut, the others are answered."""
    begun = request(GET_KEY, b"", Content_Length="9999")
    in_chunks = request(GET_KEY, b"", Transfer_Encoding="chunked")
    kinds = [(b"GET /", b"x"), (b"GET / HTTP/1.1\r\n", b"X: x\r\n"), (begun, b"x"), (in_chunks, b"1\r\nx\r\n")]
    dripping = [asyncio.create_task(drip(url, *kind, pause)) for _ in range(each) for kind in kinds]
    calls = 0
    while not all(task.done() for task in dripping):
        await answered(url, form, 1)
        calls += 1
        await asyncio.sleep(0.01)
    said = await asyncio.gather(*dripping)
    assert calls > 10
    assert set(said[0::4]) == set(said[1::4]) == {b""}
    assert set(said[2::4]) == set(said[3::4]) == {b"HTTP/1.1 408 "}


async def test_headers_and_bodies_that_drip_beside_a_load_are_cut_and_others_answered(hasty: Inside, form: bytes) -> None:
    await drip_beside_a_load(hasty.url, form, 10, 0.02)


@pytest.mark.soak
async def test_headers_and_bodies_that_drip_at_length_are_cut_at_the_real_times(live: Live, form: bytes) -> None:
    began = time.monotonic()
    await drip_beside_a_load(live.url, form, 100, 0.2)
    assert time.monotonic() - began > edges.HEADER_SECONDS - 1


async def test_a_header_that_begins_before_anybody_waits_for_it_has_the_same_time(
    hasty: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Early(http.Connection):
        """What uvloop does when it has much to do: data come together with the connection."""

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.data_received(b"GET /")

    monkeypatch.setattr(http, "Connection", Early)
    async with line_to(hasty.url) as line:
        assert await line.ended() == b""


async def test_a_client_that_takes_no_answer_is_cut_with_all_that_waits_for_it(hasty: Inside, form: bytes) -> None:
    parts = urlsplit(hasty.url)
    data = request(GET_KEY, form)
    with socket.socket() as greedy:
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        greedy.connect((parts.hostname, parts.port))
        greedy.settimeout(0)
        gone = select.poll()
        gone.register(greedy, 0)  # nothing but errors and the end

        def ended() -> bool:
            with contextlib.suppress(BlockingIOError, ConnectionError):
                while not gone.poll(0):
                    greedy.send(data * 100)
            return bool(gone.poll(0))

        await until(ended, 60)
    await answered(hasty.url, form, 1)
