"""A worker that leaves: what is on its way is answered, whoever stays is told to go, nobody is cut who need not be."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
from aiohttp import web
from lines import Line, line_to, request
from servers import until

from server import edges, http
from server.answer import Answer

BODY = b"x" * 100
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Front:
    """The server of a worker. What it answers waits for `go`, if the body asks for it; `begun` counts the requests."""

    server: http.Server
    runner: web.ServerRunner
    go: asyncio.Event
    begun: list[bytes]

    @property
    def url(self) -> str:
        host, port = self.runner.addresses[0]
        return f"http://{host}:{port}"

    async def served(self, stack: AsyncExitStack) -> Line:
        """A connection that has had an answer and stays."""
        line = await stack.enter_async_context(line_to(self.url))
        await line.send(request("/", BODY))
        assert "connection" not in (await line.answer()).headers
        return line

    async def connected(self, stack: AsyncExitStack, begin: bytes = b"") -> Line:
        """A connection that has sent nothing, or the beginning of a request."""
        before = len(self.server.connections)
        line = await stack.enter_async_context(line_to(self.url))
        await line.send(begin)
        await until(lambda: len(self.server.connections) > before)
        return line

    def leave(self, patience: float, longest: float = 10) -> asyncio.Task[None]:
        """As a worker does it, but for the closing of the listening socket."""
        self.server.patience = patience
        return asyncio.create_task(self.server.drain(longest))


@pytest.fixture
async def front() -> AsyncIterator[Front]:
    async with _front() as made:
        yield made


@asynccontextmanager
async def _front() -> AsyncIterator[Front]:
    go, begun = asyncio.Event(), list[bytes]()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        begun.append(body)
        if body != BODY:
            await go.wait()
        return Answer(b"{}", close=body == b"last")

    server = http.Server(answer)
    runner = web.ServerRunner(server, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield Front(server, runner, go, begun)
    await runner.cleanup()


async def test_an_idle_connection_is_closed_at_once_without_patience(front: Front) -> None:
    async with AsyncExitStack() as stack:
        line = await front.served(stack)
        await front.leave(0)
        assert await line.ended() == b""


async def test_an_idle_connection_may_stay_as_long_as_there_is_patience_and_is_served(front: Front) -> None:
    async with AsyncExitStack() as stack:
        one, two = await front.served(stack), await front.served(stack)
        leaving = front.leave(60, 120)
        for _ in range(3):
            await asyncio.sleep(edges.DRAIN_POLL_SECONDS)
            await one.send(request("/", BODY))
            assert (await one.answer()).status == 200
        front.server.patience = 0  # as if the time were over, or SIGTERM had come
        await leaving
        assert await one.ended() == await two.ended() == b""


async def test_what_is_in_flight_is_waited_for_whatever_the_patience(front: Front) -> None:
    async with AsyncExitStack() as stack:
        line = await front.connected(stack, request("/", b"last"))
        await until(lambda: front.begun)
        leaving = front.leave(0)
        await asyncio.sleep(edges.DRAIN_POLL_SECONDS * 3)
        assert not leaving.done()
        front.go.set()
        assert (await line.answer()).headers["connection"] == "close"
        await leaving


@pytest.mark.parametrize("cut", [0, 10, -len(BODY), -1], ids=["nothing yet", "half a header", "no body", "half a body"])
async def test_a_request_of_which_a_part_has_come_is_waited_for(front: Front, cut: int) -> None:
    whole = request("/", BODY, Connection="close")
    async with AsyncExitStack() as stack:
        await front.served(stack)
        line = await front.connected(stack, whole[:cut])
        leaving = front.leave(0)
        await until(lambda: len(front.server.connections) == 1)
        await line.send(whole[cut:])
        assert (await line.answer()).headers["connection"] == "close"
        await leaving


async def test_the_rest_of_a_later_header_is_waited_for_too(front: Front) -> None:
    whole = request("/", BODY, Connection="close")
    async with AsyncExitStack() as stack:
        await front.served(stack)
        line = await front.served(stack)
        await line.send(whole[:10])
        await until(lambda: any(isinstance(each, http.Connection) and each.awaited for each in front.server.connections))
        leaving = front.leave(0)
        await until(lambda: len(front.server.connections) == 1)
        await line.send(whole[10:])
        assert (await line.answer()).status == 200
        await leaving


async def test_whoever_never_asks_is_not_waited_for_for_ever(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edges, "AWAITED_SECONDS", 0.05)
    async with AsyncExitStack() as stack:
        silent, halfway = await front.connected(stack), await front.connected(stack, b"GET ")
        await front.leave(0)
        assert await silent.ended() == await halfway.ended() == b""


async def test_nothing_is_waited_for_longer_than_was_said(front: Front) -> None:
    async with AsyncExitStack() as stack:
        await front.connected(stack, request("/", b"held"))
        await until(lambda: front.begun)
        async with asyncio.timeout(10):
            await front.leave(0, 0.05)
        front.go.set()


async def test_each_answer_of_a_worker_that_leaves_ends_its_connection() -> None:
    class Nothing:
        """No method is known: refused by the server itself, as everything else goes through the same door."""

        def route(self, _path: str) -> None:
            return None

    endpoint = http.Endpoint(Nothing(), ())  # type: ignore[arg-type]
    runner = web.ServerRunner(http.Server(endpoint), shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        async with line_to(f"http://{host}:{port}") as line:
            await line.send(request("/api/x"))
            assert "connection" not in (await line.answer()).headers
            endpoint.leaving = True
            await line.send(request("/api/x"))
            answer = await line.answer()
            assert (answer.status, answer.headers["connection"]) == (404, "close")
            assert await line.ended() == b""
    finally:
        await runner.cleanup()
