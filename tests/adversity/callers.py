"""Clients that a test sends against a server: one call, many at once over all workers, a mixed load, a reader of the log."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self
from urllib.parse import urlencode, urlsplit

import asyncpg
from processes import worker_of
from recorder import ACTIVATE, DEACTIVATE, GET_KEY, GET_LOG, OK, Call, Page, Recorder
from servers import Live, until

from server.rules.fields import Field

ANSWER_SECONDS = 15.0  # a deadline of liveness: the server's own is 5
PAUSE_SECONDS = 0.02  # of a client that was refused or cut off
MOST_CALLS = 200_000
PAGE = 1000
CUT_OFF = (OSError, EOFError)
FORM = "application/x-www-form-urlencoded"
JUST_MINE = int(Field.ACTIVATED_MACHINES)  # an answer that shows the caller's machine alone, however many there are


class Connection:
    """One keep-alive connection, one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.port: int = writer.get_extra_info("sockname")[1]
        self.stays = True

    @classmethod
    async def open(cls, url: str) -> Self:
        parts = urlsplit(url)
        return cls(*await asyncio.open_connection(parts.hostname, parts.port))

    async def post(self, method: str, body: bytes, kind: str = FORM) -> tuple[int, str, bytes]:
        """Status, Retry-After and body of the answer. Raises `CUT_OFF`."""
        self.writer.write(request(method, body, kind))
        return await self.answer()

    async def answer(self) -> tuple[int, str, bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lines = (line.partition(":") for line in head.split("\r\n")[1:])
        headers = {name.lower(): value.strip() for name, _, value in lines}
        body = await self.reader.readexactly(int(headers["content-length"]))
        self.stays = headers.get("connection") != "close"
        return int(head[9:12]), headers.get("retry-after", ""), body

    def close(self) -> None:
        self.writer.transport.abort()


def request(method: str, body: bytes, kind: str = FORM) -> bytes:
    """The bytes of a request."""
    head = f"POST /api/{method} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Caller:
    """A client whose calls are recorded; its connection is opened again when it was lost. `token` may be another's."""

    def __init__(self, live: Live, record: Recorder, token: str = "") -> None:
        demo = live.demo
        self._url: str = demo["url"]
        self._record = record
        self._always = {"token": token or demo["admin_token"], "ProductId": demo["product_id"]}
        self._connection: Connection | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def connect(self) -> Connection:
        """The connection, opened if there is none. Raises `OSError` while nobody listens."""
        if self._connection is None:
            self._connection = await Connection.open(self._url)
        return self._connection

    def body(self, **params: object) -> bytes:
        return urlencode({**self._always, **params}).encode()

    async def ask(self, method: str, **params: object) -> Call:
        """Make a call, and record it with its answer. Raises `OSError` if nobody listens: then nothing was asked."""
        connection = await self.connect()
        call = self._record.note(method, params)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                call.take(*await connection.post(method, self.body(**params)))
        except TimeoutError:
            call.fault = f"no answer in {ANSWER_SECONDS} s"
            self.close()
        except CUT_OFF:
            self.close()
        if not connection.stays:
            self.close()
        call.received = time.monotonic()
        self._record.answered += call.status == OK
        return call

    async def activate(self, key: str, code: str, name: str = "") -> Call:
        return await self.ask(ACTIVATE, Key=key, MachineCode=code, FriendlyName=name, FieldsToReturn=JUST_MINE)

    async def deactivate(self, key: str, code: str) -> Call:
        return await self.ask(DEACTIVATE, Key=key, MachineCode=code)

    async def take(self, key: str, code: str, interval: int, overdraft: int = 0) -> Call:
        """Take a floating seat, or renew it."""
        return await self.ask(
            ACTIVATE, Key=key, MachineCode=code, FriendlyName=self._record.unique("name"), FieldsToReturn=JUST_MINE,
            FloatingTimeInterval=interval, MaxOverdraft=overdraft, ModelVersion=3,
        )  # fmt: skip

    async def give(self, key: str, code: str) -> Call:
        """Give a floating seat back."""
        return await self.ask(DEACTIVATE, Key=key, MachineCode=code, Floating=True)

    async def get_key(self, key: str) -> Call:
        return await self.ask(GET_KEY, Key=key, FieldsToReturn=JUST_MINE)


@asynccontextmanager
async def on_every_worker(live: Live, record: Recorder, each: int = 1, token: str = "") -> AsyncIterator[list[list[Caller]]]:
    """So many callers on each worker, by worker. Who accepts a connection is chance: some are opened for nothing."""
    async with AsyncExitStack() as stack:
        found: dict[int, list[Caller]] = {pid: [] for pid in live.demo["worker_pids"]}

        async def one() -> bool:
            caller = Caller(live, record, token)
            stack.callback(caller.close)
            connection = await caller.connect()
            await connection.post("no/such", b"")  # it has been accepted when this is answered
            found[worker_of(live, connection.port) or 0].append(caller)
            return all(len(callers) >= each for callers in found.values())

        async def several() -> bool:
            return any(await asyncio.gather(*(one() for _ in range(8))))

        await until(several)
        for callers in found.values():
            for surplus in callers[each:]:
                surplus.close()
        yield [callers[:each] for callers in found.values()]


async def stock(live: Live, record: Recorder, machines: int, number: int = 1) -> list[str]:
    """Make licenses with so many places."""
    made = await asyncio.to_thread(live.call, "key/CreateKey", MaxNoOfMachines=machines, Period=30, NoOfKeys=number)
    keys: list[str] = made.get("keys") or [made["key"]]
    record.limits |= dict.fromkeys(keys, machines)
    return keys


class Storm:
    """A mixed load: new machines, known ones, renamed ones, some past the limit, given back, shown. Each client has its
    own machines, so that what should become of them is known; the licenses are everybody's."""

    def __init__(self, live: Live, record: Recorder, roomy: list[str], tight: list[str], free: list[str]) -> None:
        self._live, self._record = live, record
        self._roomy, self._tight, self._free = roomy, tight, free
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Have every client end with its next answer."""
        self._stop.set()

    def progress(self, more: int) -> Callable[[], bool]:
        """Return whether, from now on, so many more calls have been answered with 200."""
        wanted = self._record.answered + more
        return lambda: self._record.answered >= wanted

    async def client(self, number: int) -> None:
        """One client, until stopped."""
        chance = random.Random(number)
        mine: list[tuple[str, str]] = []
        async with Caller(self._live, self._record) as caller:
            while not self._stop.is_set() and len(self._record.calls) < MOST_CALLS:
                try:
                    call = await self._step(caller, chance, mine)
                except OSError:  # nobody listens
                    await asyncio.sleep(PAUSE_SECONDS)
                    continue
                if call.status != OK:
                    await asyncio.sleep(PAUSE_SECONDS)

    def _step(self, caller: Caller, chance: random.Random, mine: list[tuple[str, str]]) -> Awaitable[Call]:
        what = chance.choices(("new", "known", "renamed", "back", "tight", "free", "show"), (6, 4, 3, 3, 2, 2, 3))[0]
        name = self._record.unique("name")
        if what in ("known", "renamed", "back") and mine:
            return self._of_mine(what, caller, chance, mine, name)
        if what == "free":
            return caller.activate(chance.choice(self._free), self._record.unique("m"), name)
        if what == "show":
            return caller.get_key(chance.choice(self._roomy))
        return self._new(caller, chance.choice(self._tight if what == "tight" else self._roomy), mine, name)

    def _of_mine(
        self, what: str, caller: Caller, chance: random.Random, mine: list[tuple[str, str]], name: str
    ) -> Awaitable[Call]:
        key, code = mine.pop(chance.randrange(len(mine)))
        if what == "back":
            return caller.deactivate(key, code)
        mine.append((key, code))
        return caller.activate(key, code, name if what == "renamed" else "")

    async def _new(self, caller: Caller, key: str, mine: list[tuple[str, str]], name: str) -> Call:
        call = await caller.activate(key, self._record.unique("m"), name)
        if call.granted:
            mine.append((key, call.code))
        return call


@asynccontextmanager
async def storm(live: Live, record: Recorder, clients: int = 8) -> AsyncIterator[Storm]:
    """Run a mixed load for the length of a `with`; at its end every client has its answer, or none for ever."""
    load = Storm(
        live, record, await stock(live, record, 100_000, 6), await stock(live, record, 5, 6), await stock(live, record, 0, 2)
    )
    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(load.client(number))
        try:
            yield load
        finally:
            load.stop()


class LogReader:
    """Follows the log of the demo's product by StartingAfter, from where it ends now."""

    def __init__(self, live: Live, record: Recorder, first: int) -> None:
        self.first, self.product = first, live.demo["product_id"]
        self.pages: list[Page] = []
        self._caller = Caller(live, record)
        self._last = first

    async def page(self) -> bool:
        """Ask for the next page; whether it was the last for now."""
        try:
            call = await self._caller.ask(GET_LOG, StartingAfter=self._last, Limit=PAGE)
        except OSError:
            call = None
        if call is None or not call.granted:
            await asyncio.sleep(PAUSE_SECONDS)
            return False
        ids = [row["id"] for row in call.answer["logs"]]
        self.pages.append(Page(call.sent, ids, full=len(ids) == PAGE))
        self._last = max([self._last, *ids])
        return not ids

    async def drain(self) -> None:
        """See `recorder.Reader`."""
        try:
            await until(self.page, 30)
        finally:
            self.close()

    async def follow(self, stop: asyncio.Event) -> None:
        """Read until told to stop."""
        while not stop.is_set():
            await self.page()
        self.close()

    def close(self) -> None:
        self._caller.close()


@asynccontextmanager
async def reader(
    live: Live, record: Recorder, connection: "asyncpg.Connection[asyncpg.Record]"
) -> AsyncIterator[LogReader]:
    """Have somebody follow the log for the length of a `with`; afterwards an audit has it read to the end."""
    following = LogReader(live, record, await connection.fetchval("select last_value from log_id"))
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(following.follow(stop))
        try:
            yield following
        finally:
            stop.set()
