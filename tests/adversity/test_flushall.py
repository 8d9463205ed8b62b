"""FLUSHALL under the load of five thousand live leases: how long until all are served as before, and what clients see."""

import asyncio
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import urlencode, urlsplit

import pytest
import redis.asyncio
import uvloop
from callers import JUST_MINE, request, stock
from floating import LONG, audit
from processes import bugs, server
from recorder import ACTIVATE, OK, UNAVAILABLE, Recorder
from servers import Live, until

LICENSES, LEASES = 500, 5_000
CLIENTS = 48
STRANGERS = 40  # one in so many calls is of a machine for which there is no seat
BEFORE, AFTER = 4.0, 4.0  # seconds of load before and after Valkey is emptied
FLUSHES = 3
FULL = 0.9  # of the rate before: served as before
AGAIN = 2.0  # seconds until then


@dataclass(slots=True)
class Asked:
    """A call, with its answer as it came."""

    key: str
    code: str
    name: str
    sent: float
    received: float = 0.0
    status: int = 0
    body: bytes = b""


@dataclass(slots=True)
class Load:
    """What all clients send, and what they got. Each has machines of its own and asks for them in turn."""

    always: dict[str, object]
    machines: Sequence[tuple[str, str]]
    asked: list[Asked] = field(default_factory=list)
    stopped: bool = False
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def next(self, turn: int, mine: int) -> Asked:
        number = next(self.numbers)
        own = range(mine, LEASES, CLIENTS)
        key, code = self.machines[own[turn % len(own)]]
        if number > 2 * LEASES and number % STRANGERS == 0:  # by then everybody has a seat
            code = f"stranger-{number}"
        asked = Asked(key, code, f"n{number}", time.monotonic())
        self.asked.append(asked)
        return asked

    def bytes_of(self, asked: Asked) -> bytes:
        ask = {"Key": asked.key, "MachineCode": asked.code, "FriendlyName": asked.name, **self.always}
        return request(ACTIVATE, urlencode(ask).encode())


class Client(asyncio.Protocol):
    """A keep-alive client: the next heartbeat goes when the last is answered."""

    def __init__(self, load: Load, number: int) -> None:
        self._load, self._number, self._turn = load, number, 0
        self._buffer = b""
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]):
            return
        self._asked.received, self._asked.status, self._asked.body = time.monotonic(), int(head[9:12]), body
        self._buffer = b""
        if self._load.stopped:
            self._transport.close()
        else:
            self._send()

    def connection_lost(self, _: Exception | None) -> None:
        self.finished.set_result(None)

    def _send(self) -> None:
        self._asked = self._load.next(self._turn, self._number)
        self._turn += 1
        self._transport.write(self._load.bytes_of(self._asked))


async def drive(url: str, redis_url: str, load: Load) -> list[float]:
    """Load a server and empty its Valkey again and again; when that was done."""
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    clients = [Client(load, number) for number in range(CLIENTS)]
    for client in clients:
        await loop.create_connection(lambda client=client: client, parts.hostname, parts.port)
    await until(lambda: len(load.asked) > 2 * LEASES, 120)
    flushes = []
    async with redis.asyncio.from_url(redis_url) as valkey:
        await asyncio.sleep(BEFORE)
        for _ in range(FLUSHES):
            flushes.append(time.monotonic())
            await valkey.flushall()
            await asyncio.sleep(AFTER)
    load.stopped = True
    await asyncio.gather(*(client.finished for client in clients))
    return flushes


@dataclass(slots=True)
class Rates:
    """Answers with 200, by when they came."""

    at: list[float]

    def between(self, first: float, last: float) -> float:
        return sum(first <= each < last for each in self.at) / (last - first)

    def full_again(self, flushed: float, before: float) -> float:
        """Seconds from the flush until the first three tenths that had the rate of before."""
        tenths = [flushed + number / 10 for number in range(int(AFTER * 10) - 3)]
        return next((at - flushed for at in tenths if self.between(at, at + 0.3) >= FULL * before), AFTER)


@pytest.mark.soak
async def test_after_flushall_under_five_thousand_live_leases_everybody_is_served_as_before_within_two_seconds(
    folder: Path, record: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    async with server(folder) as live:
        keys = [key for _ in range(5) for key in await stock(live, record, LEASES // LICENSES, LICENSES // 5)]
        load = Load(_always(live), [(keys[number % LICENSES], f"m{number}") for number in range(LEASES)])
        flushes = await asyncio.to_thread(uvloop.run, drive(live.url, live.demo["redis_url"], load))
        _note(record, load.asked)
        connection = await live.database()
        assert await audit(record, connection) == []
        seats = await connection.fetchval("select count(*) from leases where not released and code like 'm%'")
        await connection.close()
        assert seats == LEASES
        assert bugs(live) == []
    rates = Rates([asked.received for asked in load.asked if asked.status == OK])
    before = rates.between(flushes[0] - BEFORE + 0.5, flushes[0])
    with capsys.disabled():
        sys.stdout.write("".join(told(load.asked, rates, flushed, before) for flushed in flushes))
    assert {asked.status for asked in load.asked} <= {OK, UNAVAILABLE}
    # The best of them: whatever else the machine does only makes it longer.
    assert min(rates.full_again(flushed, before) for flushed in flushes) < AGAIN


def told(asked: Sequence[Asked], rates: Rates, flushed: float, before: float) -> str:
    """The figures of one flush, as a line."""
    seconds = [round(rates.between(flushed + number, flushed + number + 1)) for number in range(int(AFTER))]
    near = [each for each in asked if flushed - 1 < each.sent < flushed + AFTER]
    waited = max(each.received - each.sent for each in near)
    return (
        f"\n{before:.0f}/s before; after FLUSHALL, by the second: {seconds}; as before after"
        f" {rates.full_again(flushed, before):.1f} s; longest wait {waited * 1000:.0f} ms;"
        f" 503: {sum(each.status == UNAVAILABLE for each in near)}\n"
    )


def _always(live: Live) -> dict[str, object]:
    return {
        "token": live.demo["admin_token"], "ProductId": live.demo["product_id"], "FieldsToReturn": JUST_MINE,
        "FloatingTimeInterval": LONG, "ModelVersion": 3,
    }  # fmt: skip


def _note(record: Recorder, asked: Sequence[Asked]) -> None:
    """Put the calls of the load into the record, answers and all."""
    for each in asked:
        params = {"Key": each.key, "MachineCode": each.code, "FriendlyName": each.name, "FloatingTimeInterval": LONG}
        call = record.note(ACTIVATE, params)
        call.sent, call.received = each.sent, each.received
        call.take(each.status, "1" if each.status == UNAVAILABLE else "", each.body)
