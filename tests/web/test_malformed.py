"""Whatever is sent: each row of the table of oddities gets its answer, nobody else notices, and no memory is kept of it."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from lines import Answered, Line, ask, line_to, request
from oddities import BROKEN, GET_KEY, GOOD, GROUPS, ODDITIES, SECRET, Given, Make, Odd
from office import Office, refused
from servers import Live

PACE = 0.05  # seconds between the calls of the good client
SEGMENT = 16 * 1024  # bytes that surely come in one piece
MIB = 1024 * 1024
HEADERS = {"content-type", "content-length", "date", "server", "connection", "allow", "retry-after"}
BODILESS = {"HEAD", "OPTIONS", "OPTIONS of all"}


@pytest.fixture(scope="module")
async def given(office: Office) -> Given:
    """A key that counts no machines."""
    shop = await office.open_shop()
    return Given(office.token, shop.id, await shop.new_key(MaxNoOfMachines=0))


@pytest.fixture(scope="module", autouse=True)
async def _somebody_calls(live: Live, given: Given) -> AsyncIterator[None]:
    """All the while a good client calls, each time over a connection of its own, and is answered."""

    async def call() -> None:
        while True:
            assert good(await ask(live.url, request(GET_KEY, given.form)))
            await asyncio.sleep(PACE)

    calling = asyncio.create_task(call())
    yield
    if not calling.done():
        calling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await calling


def good(answer: Answered) -> bool:
    return (answer.status, answer.json["result"], answer.json["message"]) == (200, 0, "")


async def play(line: Line, odd: Odd, given: Given) -> None:
    """Send a row, and hold what comes against it."""
    data = odd.make(given)
    with contextlib.suppress(ConnectionError):  # the answer, and the end, may come before all is sent
        await line.send(data)
        if odd.leaves:
            line.writer.write_eof()
    if odd.said.status == 0:
        assert await line.ended() == b""
        return
    try:
        answer = await line.answer(without_body=odd.what in BODILESS)
    except (ConnectionError, asyncio.IncompleteReadError):  # cut while it was still sending, which may cost the answer
        assert (odd.said, len(data) > SEGMENT) == (BROKEN, True)
        return
    assert answer.status == odd.said.status
    assert answer.headers.keys() <= HEADERS
    assert SECRET not in str(answer.headers)
    if odd.said._replace(goes_on=True) == GOOD:
        assert good(answer)
    elif odd.what not in BODILESS:
        assert answer.json == refused(odd.said.message)


async def end(line: Line) -> None:
    """Leave, and see that nothing more was answered than that the rest is no HTTP."""
    with contextlib.suppress(OSError):
        line.writer.write_eof()
    assert (await line.ended())[:13] in (b"", b"HTTP/1.0 400 ")


@pytest.mark.parametrize("group", GROUPS)
async def test_a_request_that_is_odd_is_answered_as_the_table_says(live: Live, given: Given, group: str) -> None:
    for odd in GROUPS[group]:
        with about(odd):
            async with line_to(live.url) as line:
                await play(line, odd, given)
                if odd.said.goes_on:  # whoever was answered so is still understood
                    await line.send(request(GET_KEY, given.form))
                    assert good(await line.answer())
                else:
                    await end(line)


@contextlib.contextmanager
def about(odd: Odd) -> Iterator[None]:
    """Whatever goes wrong here is told with the row that it is about."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"the row: {odd.what}")
        raise


# ---- memory and time of the workers


def memory(live: Live) -> int:
    """What the largest worker has resident, in bytes."""
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in live.demo["worker_pids"]]
    return max(pages) * os.sysconf("SC_PAGE_SIZE")


async def play_all(live: Live, given: Given, rounds: int) -> None:
    for _ in range(rounds):
        for odd in ODDITIES.values():
            with about(odd):
                async with line_to(live.url) as line:
                    await play(line, odd, given)


async def test_no_memory_is_kept_of_what_was_odd(live: Live, given: Given) -> None:
    await play_all(live, given, 1)
    before = memory(live)
    await play_all(live, given, 2)
    assert memory(live) < before + 12 * MIB
    assert good(await ask(live.url, request(GET_KEY, given.form)))


@pytest.mark.soak
async def test_no_memory_is_kept_of_fifty_times_as_much(live: Live, given: Given) -> None:
    await play_all(live, given, 5)
    before = memory(live)
    await play_all(live, given, 50)
    assert memory(live) < before + 12 * MIB


HOSTILE = [
    "sizes: a form of 1 MB", "sizes: 200,000 fields", "sizes: 900 parts", "sizes: a JSON list that is 100,000 deep",
    "JSON: lists that are 5,000 deep", "numbers: 5,000 digits for a product", "JSON: a number of 5,000 digits for a product",
    "encodings: a byte that UTF-8 has not", "encodings: a bomb of gzip",
    "encodings: a type with 4,000 parameters", "encodings: a type of nested comments",
    "multipart: a part with 60,000 marks in its name", "multipart: a part with 20,000 parameters",
]  # fmt: skip


def spent(live: Live) -> float:
    """Seconds that the workers have computed."""
    ticks = 0
    for pid in live.demo["worker_pids"]:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # utime and stime, which are 14 and 15 of proc(5)
    return ticks / os.sysconf("SC_CLK_TCK")


async def cost(live: Live, given: Given, make: Make, times: int = 300) -> float:
    """Seconds that the workers compute for one request."""
    data = make(given)
    before = spent(live)
    for _ in range(times):
        async with line_to(live.url) as line:
            with contextlib.suppress(ConnectionError):
                await line.send(data)
            await line.answer()
    return (spent(live) - before) / times


@pytest.mark.soak
@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_body_is_refused_in_five_milliseconds_of_a_worker(live: Live, given: Given, name: str) -> None:
    usual = await cost(live, given, lambda given: request(GET_KEY, given.form))
    hostile = await cost(live, given, ODDITIES[name].make)
    assert hostile < 0.005, f"{hostile / usual:.1f} times what a good request costs"
