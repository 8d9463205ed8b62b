"""Clients that are slow, or only seem to be there: on a server in this process that has little patience."""

import asyncio
import time
from contextlib import AsyncExitStack
from urllib.parse import urlencode

import pytest
from inside import Inside
from lines import ask, chunked, line_to, request
from office import INPUT, NO_KEY, Office, Shop, refused
from servers import Live, until

from server import edges, metrics

HEADER, BODY, LINGER = 0.3, 0.2, 0.1
TIMES = {"HEADER_SECONDS": HEADER, "BODY_SECONDS": BODY, "LINGER_SECONDS": LINGER}


def test_the_real_times_are_those_of_the_protocol() -> None:
    assert (edges.HEADER_SECONDS, edges.BODY_SECONDS, edges.KEEP_ALIVE_SECONDS) == (10, 5, 75)


@pytest.fixture
async def hasty(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> Inside:
    """A server in this process that has no patience."""
    for name, seconds in TIMES.items():
        monkeypatch.setattr(edges, name, seconds)
    return inside


@pytest.fixture
async def form(office: Office, shop: Shop) -> bytes:
    return urlencode({"token": office.token, "ProductId": shop.id, "Key": "AAAAA-AAAAA-AAAAA-AAAAA"}).encode()


def cut(cause: str) -> float:
    """How many requests were refused for this cause, in this process."""
    return metrics.refused_by_server.labels(cause)._value.get()


async def drip(hasty: Inside, first: bytes, data: bytes, seconds: float) -> tuple[bytes, float]:
    """Send the first bytes, then the others one by one until something is said: what, and when it was over."""
    async with line_to(hasty.url) as line:
        began = time.monotonic()
        await line.send(first)
        said = asyncio.create_task(line.ended(most=1))
        for position in range(len(data)):
            if said.done():
                break
            line.writer.write(data[position : position + 1])
            await asyncio.wait([said], timeout=seconds)
        return await said + await line.ended(), time.monotonic() - began


@pytest.mark.parametrize("sent", [b"", b"P", b"POST /api/key/GetKey HTTP/1.1\r\nHost: x", b"\r\n"], ids=range(4))
async def test_a_header_that_does_not_come_is_cut_without_a_word(hasty: Inside, sent: bytes) -> None:
    before = cut(edges.SLOW_HEADER)
    async with line_to(hasty.url) as line:
        began = time.monotonic()
        await line.send(sent)
        assert await line.ended() == b""
        assert time.monotonic() - began >= HEADER * 0.9
    assert cut(edges.SLOW_HEADER) == before + 1


async def test_a_header_that_drips_is_cut_at_the_same_time(hasty: Inside) -> None:
    said, seconds = await drip(hasty, b"GET /", b"x" * 400, 0.01)
    assert said == b""
    assert HEADER * 0.9 <= seconds < 3


async def test_the_header_of_a_later_request_has_the_same_time_and_idling_is_not_counted(hasty: Inside, form: bytes) -> None:
    data = request("/api/key/GetKey", form)
    async with line_to(hasty.url) as line:
        for _ in range(2):
            await line.send(data[:10])
            await line.send(data[10:])
            assert (await line.answer()).json == refused(NO_KEY)
            await asyncio.sleep(HEADER * 1.3)  # longer than a header may take: nobody has begun one
        await line.send(data[:10])
        began = time.monotonic()
        assert await line.ended() == b""
        assert time.monotonic() - began >= HEADER * 0.9


async def test_an_idle_connection_is_closed_after_its_keep_alive(
    hasty: Inside, form: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edges, "KEEP_ALIVE_SECONDS", 0.4)
    async with line_to(hasty.url) as line:
        await line.send(request("/api/key/GetKey", form))
        assert (await line.answer()).json == refused(NO_KEY)
        began = time.monotonic()
        assert await line.ended() == b""
        assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("sent", [0, 1, -1])
async def test_a_body_that_does_not_come_is_told_so_and_cut(hasty: Inside, form: bytes, sent: int) -> None:
    before = cut("slow_body")
    async with line_to(hasty.url) as line:
        began = time.monotonic()
        head = request("/api/key/GetKey", form).removesuffix(form)
        await line.send(head + form[:sent])
        answer = await line.answer()
        assert time.monotonic() - began >= BODY * 0.9
        assert (answer.status, answer.json, answer.headers["connection"]) == (408, refused(INPUT), "close")
        assert await line.ended() == b""
    assert cut("slow_body") == before + 1


async def test_a_body_that_drips_is_cut_at_the_same_time(hasty: Inside, form: bytes) -> None:
    said, seconds = await drip(hasty, request("/api/key/GetKey", form).removesuffix(form), form * 10, 0.01)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert BODY * 0.9 <= seconds < 3


@pytest.mark.parametrize("broken", [b"secret\r\n", b"2\r\nsecret\r\n", b"-1\r\n"])
async def test_chunks_that_break_off_are_a_body_that_does_not_come(hasty: Inside, broken: bytes) -> None:
    async with line_to(hasty.url) as line:
        await line.send(request("/api/key/GetKey", b"", Transfer_Encoding="chunked", Expect="100-continue"))
        assert (await line.head())[0] == 100  # so the header has been read before the body comes
        await line.send(broken)
        answer = await line.answer()
        assert (answer.status, answer.json) == (408, refused(INPUT))
        assert await line.ended() == b""


async def test_a_body_that_nobody_reads_is_waited_for_a_moment_only(hasty: Inside) -> None:
    for path, verb, length in (
        ("/nothing", "POST", 100),
        ("/api/key/GetKey", "PUT", 100),
        ("/api/key/GetKey", "POST", 100_000),
    ):
        data = request(path, b"", verb, Content_Length=str(length))
        async with line_to(hasty.url) as line:
            await line.send(data)
            assert (await line.answer()).status in (404, 405, 413)
            began = time.monotonic()
            assert await line.ended() == b""
            assert time.monotonic() - began < 3


async def test_slow_clients_are_in_nobodys_way(inside: Inside, form: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edges, "BODY_SECONDS", 600)
    async with AsyncExitStack() as stack:
        waiting = []
        for _ in range(50):
            line = await stack.enter_async_context(line_to(inside.url))
            await line.send(request("/api/key/GetKey", b"", Content_Length="100"))
            waiting.append(asyncio.create_task(line.ended(most=1)))
        good = await ask(inside.url, request("/api/key/GetKey", chunked(form), Transfer_Encoding="chunked"))
        assert good.json == refused(NO_KEY)
        assert not any(task.done() for task in waiting)
    await asyncio.gather(*waiting)


async def test_a_connection_that_has_gone_leaves_no_timer_behind(hasty: Inside) -> None:
    before = cut(edges.SLOW_HEADER)
    for _ in range(20):
        async with line_to(hasty.url) as line:
            await line.send(b"GET /")
    began = time.monotonic()
    await until(lambda: time.monotonic() - began > HEADER * 1.3)
    assert cut(edges.SLOW_HEADER) == before


@pytest.mark.soak
async def test_a_server_in_a_process_of_its_own_has_the_real_times(live: Live) -> None:
    async def seconds(data: bytes, said: bytes) -> float:
        async with line_to(live.url) as line:
            began = time.monotonic()
            await line.send(data)
            assert (await line.ended()).startswith(said)
            return time.monotonic() - began

    head = request("/api/key/GetKey", b"", Content_Length="10")
    header, body = await asyncio.gather(seconds(head[:20], b""), seconds(head, b"HTTP/1.1 408 "))
    assert 9.5 <= header < 13
    assert 4.5 <= body < 5 + edges.LINGER_SECONDS + 3
