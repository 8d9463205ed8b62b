"""One connection to Valkey that all calls of a worker share. It knows commands and their replies, no keys and no seats.

What can happen to a call is said by exceptions, and a call is never repeated here: `NotSent` (it did not happen), `Unknown`
(it may have happened), `Refused` (the server said no). The one thing repeated is a script that the server did not know.

Not for this connection: what blocks (BLPOP, WAIT), what changes the meaning of later replies (MULTI, SELECT, CLIENT REPLY,
SUBSCRIBE), what takes long or answers at length: everyone waits behind it.
"""

import asyncio
import hashlib
import itertools
import random
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import hiredis
import structlog
from redis.asyncio.connection import SSLConnection, parse_url

from storage.errors import StorageError, Unavailable

CONNECT_SECONDS = 2.0
# The greeting is one exchange. It is given less time than a call, so that one that began while replies were vanishing does
# not keep a worker from a network that is well again: with the longest pause it makes less than a second.
GREETING_SHARE = 0.4
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5
# What is handed to the transport may be executed. So it gets little at a time, and looks up in between (pause_writing).
CHUNK_BYTES = 65536
# The watchdog looks ten times per patience, and once more a little later: 12 % late at the most, where 25 % are promised.
LOOKS_PER_PATIENCE, SECOND_LOOKS_PER_PATIENCE = 10, 50
# These say that we talk to the wrong server, or not as we should: connect again, and resolve its name again.
NOT_HERE = frozenset({"READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "NOAUTH"})
# A server that does not know a script has done nothing, so it may be sent again; somebody who empties its cache all the
# time is not waited for.
SENT_AGAIN = 3
KEEP_ALIVE = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3))
ADVICE = {
    "WRONGPASS": "correct the user and the password in REDIS_URL",
    "NOAUTH": "put the user and the password into REDIS_URL",
    "NOPERM": "allow the user HELLO, SELECT, CLIENT SETNAME, INFO, SCRIPT LOAD and EVALSHA",
}
EVICTS = "set maxmemory-policy noeviction: what is evicted has to be built anew from PostgreSQL while callers wait"

Word = bytes | str | int
pack = cast("Callable[[tuple[Word, ...]], bytes]", hiredis.pack_command)  # hiredis types it as a tuple of one
log = structlog.get_logger()
# By default hiredis says False for "not yet all of it", which in RESP3 is a reply too.
INCOMPLETE = object()


class NotSent(StorageError):
    """Proven not to have happened: no connection, no room, or still here when the connection went away. Safe to repeat."""


class Full(NotSent):
    """There are as many calls without a reply as may be: the caller should come again later."""


class Unknown(StorageError):
    """Handed to the network, and no reply came: it may have happened. Repeat only what is harmless twice."""


class Refused(StorageError):
    """The server answered with an error. A command did nothing then; a script may have failed midway, after writes."""

    @property
    def code(self) -> str:
        """The first word: OOM, MISCONF, NOREPLICAS, READONLY, LOADING, WRONGTYPE. The rest may quote arguments."""
        return str(self).partition(" ")[0]


class _Slot:
    """A call in the line: whose reply it is. One who went away leaves his slot, so that nobody gets another's reply."""

    __slots__ = ("again", "born", "future", "packed")

    def __init__(self, future: asyncio.Future[Any], packed: bytes, *, again: int) -> None:
        self.future = future
        self.packed = packed
        self.again = again  # how often a script may be sent again; `packed` is kept until then
        self.born = time.monotonic()


class _Connection(asyncio.Protocol):
    """One socket and the line of those who wait for its replies. It ends once, and then everyone in it has been told."""

    def __init__(
        self, loads: Sequence[bytes], *, queue: int, patience: float, on_end: Callable[["_Connection", str], None]
    ) -> None:
        self.patience = patience
        self.ended = False
        self._loads = loads
        self._queue = queue
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self.closed = self._loop.create_future()
        self._transport: asyncio.Transport
        self._watchdog: asyncio.TimerHandle
        # Whatever happens, a slot of `_written` may have been executed, and one of `_waiting` was not.
        self._written: deque[_Slot] = deque()
        self._waiting: deque[_Slot] = deque()
        self._paused = False
        self._loaded: asyncio.Future[Any] | None = None
        self._not_here = ""
        self._reader = hiredis.Reader(replyError=Refused, notEnoughData=INCOMPLETE)

    @property
    def oldest_seconds(self) -> float:
        """How long the oldest call has been waiting. It need not be the first: a repeated script keeps its age."""
        born = min((slot.born for slot in itertools.chain(self._written, self._waiting)), default=None)
        return 0.0 if born is None else time.monotonic() - born

    def send(self, packed: bytes, *, again: int = 0) -> asyncio.Future[Any]:
        """Put a command into the line; its future gets the reply, or the error."""
        future = self._loop.create_future()
        if self.ended:
            _fail(future, NotSent("not connected"))
        elif len(self._written) + len(self._waiting) >= self._queue:
            _fail(future, Full("the queue is full"))
        else:
            self._enqueue(_Slot(future, packed, again=again))
        return future

    def end(self, reason: str) -> None:
        """Cut the connection and tell everyone in the line."""
        if self.ended:
            return
        self.ended = True
        self._watchdog.cancel()
        self._transport.abort()
        for slot in self._written:
            _fail(slot.future, Unknown(reason))
        for slot in self._waiting:
            _fail(slot.future, NotSent(reason))
        self._written.clear()
        self._waiting.clear()
        self._on_end(self, reason)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport, and begin to watch. TCP_NODELAY is set by the loop."""
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in KEEP_ALIVE:
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everyone, unless it was us who ended it."""
        self.end(f"connection lost: {type(exc).__name__}" if exc else "connection closed by the server")
        self.closed.set_result(None)

    def pause_writing(self) -> None:
        """Hand over nothing more for now: what stays here is proven not to have been sent."""
        self._paused = True

    def resume_writing(self) -> None:
        """Hand over what has been waiting."""
        self._paused = False
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Give each reply to the first in the line."""
        if self.ended:
            return
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not INCOMPLETE:
                self._answer(reply)
        except Exception as error:  # noqa: BLE001 (whatever it is: whose the next reply is, is no longer known)
            self.end(f"unreadable reply: {type(error).__name__}")
        if self._not_here:  # only now, because the replies that came with it are certain
            self.end(self._not_here)

    def _answer(self, reply: object) -> None:
        kind = type(reply)
        if kind is hiredis.PushNotification:
            return
        slot = self._written.popleft()
        if kind is Refused:
            self._refused(slot, cast("Refused", reply))
        elif not slot.future.done():
            slot.future.set_result(reply)

    def _refused(self, slot: _Slot, error: Refused) -> None:
        if slot.again and error.code == "NOSCRIPT":
            self._repeat(slot)
            return
        if error.code in NOT_HERE:
            self._not_here = error.code
        _fail(slot.future, error)

    def _repeat(self, slot: _Slot) -> None:
        """Send a script again, behind a loading of all scripts; one loading serves all that come back before its end."""
        if slot.future.done():  # nobody waits for it, and it did nothing
            return
        if self._loaded is None or self._loaded.done():
            for load in self._loads:
                self._loaded = self._loop.create_future()
                self._enqueue(_Slot(self._loaded, load, again=0))
        slot.again -= 1
        self._enqueue(slot)

    def _enqueue(self, slot: _Slot) -> None:
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(slot)

    def _flush(self) -> None:
        """Hand over what waits: one write for all of a loop's turn, unless it is much."""
        while self._waiting and not self._paused and not self._transport.is_closing():
            self._transport.write(b"".join(self._chunk()))

    def _chunk(self) -> list[bytes]:
        chunk: list[bytes] = []
        size = 0
        while self._waiting and size < CHUNK_BYTES:
            slot = self._waiting.popleft()
            chunk.append(slot.packed)
            size += len(slot.packed)
            if not slot.again:
                slot.packed = b""
            self._written.append(slot)
        return chunk

    def _look_later(self) -> None:
        self._watchdog = self._loop.call_later(self.patience / LOOKS_PER_PATIENCE, self._look)

    def _look(self) -> None:
        """Look twice: if it was this process that stood still, the replies are there and only have not been read yet."""
        if self.oldest_seconds > self.patience:
            self._watchdog = self._loop.call_later(self.patience / SECOND_LOOKS_PER_PATIENCE, self._look_again)
        else:
            self._look_later()

    def _look_again(self) -> None:
        if self.oldest_seconds > self.patience:
            self.end(f"no reply for {self.patience:g} s")
        else:
            self._look_later()


def _fail(future: asyncio.Future[Any], error: StorageError) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # whoever asked may be gone; nobody has to hear of it then


def _nothing() -> None:
    pass


class Mux:
    """The connection as its callers see it: opened again when it is lost; while there is none, calls fail at once."""

    def __init__(
        self,
        url: str,
        scripts: Mapping[str, str],
        *,
        name: str,
        queue: int = 10_000,
        patience: float = 1.0,
        on_up: Callable[[], None] = _nothing,
        on_down: Callable[[], None] = _nothing,
    ) -> None:
        """Take an address as redis-py reads it, the scripts by their names, and the name that CLIENT LIST shows.

        `queue` bounds the calls without a reply, `patience` (seconds) the time that any of them waits.
        """
        self.run = b""  # 16 bytes that stand for the server's run id on this connection; empty while there is none
        self._address: Mapping[str, Any] = cast("Mapping[str, Any]", parse_url(url))
        self._tls = _tls(self._address)
        self._name = name
        self._queue = queue
        self._patience = patience
        self._on_up = on_up
        self._on_down = on_down
        self._shas = {each: hashlib.sha1(text.encode()).hexdigest().encode() for each, text in scripts.items()}  # noqa: S324
        self._loads = [pack((b"SCRIPT", b"LOAD", text)) for text in scripts.values()]
        self._connection: _Connection | None = None
        self._since = 0.0
        self._pause = FIRST_PAUSE
        self._again: asyncio.Task[None] | None = None
        self._closing = False
        self._explained: set[str] = set()
        self._warned = False

    @property
    def up(self) -> bool:
        """Whether the connection stands, as far as is known."""
        return self._connection is not None

    @property
    def oldest_seconds(self) -> float:
        """The age of the oldest call without a reply; 0 if there is none."""
        return self._connection.oldest_seconds if self._connection else 0.0

    async def open(self) -> None:
        """Connect, or begin to try for as long as it takes; a server out of reach is logged and not raised."""
        if not await self._connect():
            self._connect_later()

    async def close(self) -> None:
        """Cut the connection; whatever is under way should have been answered before."""
        self._closing = True
        if self._again is not None:
            self._again.cancel()
            await asyncio.wait([self._again])
        if (connection := self._connection) is not None:
            connection.end("closed")
            await connection.closed

    def script(self, name: str, keys: Sequence[bytes], values: Sequence[Word]) -> asyncio.Future[Any]:
        """Run a script; the future gets its reply (texts as bytes) or `NotSent`, `Unknown`, `Refused`."""
        return self._send(pack((b"EVALSHA", self._shas[name], len(keys), *keys, *values)), again=SENT_AGAIN)

    def command(self, *words: Word) -> asyncio.Future[Any]:
        """Run a command; the future gets its reply (texts as bytes) or `NotSent`, `Unknown`, `Refused`."""
        return self._send(pack(words), again=0)

    def _send(self, packed: bytes, *, again: int) -> asyncio.Future[Any]:
        if self._connection is not None:
            return self._connection.send(packed, again=again)
        future = asyncio.get_running_loop().create_future()
        _fail(future, NotSent("not connected"))
        return future

    async def _connect(self) -> bool:
        """Connect and be greeted, or say why not."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                connection, run = await self._greeted()
        except Exception as error:  # noqa: BLE001 (a bug here must not end the attempts for good)
            self._explain(error)
            return False
        self._connection, self.run, self._since = connection, run, time.monotonic()
        self._explained.clear()
        self._on_up()
        return True

    def _connect_later(self) -> None:
        self._again = asyncio.get_running_loop().create_task(self._connect_again())

    async def _connect_again(self) -> None:
        connected = False
        while not connected:
            await asyncio.sleep(random.uniform(self._pause / 2, self._pause))  # noqa: S311 (jitter is no secret)
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
            connected = await self._connect()

    def _ended(self, connection: _Connection, reason: str) -> None:
        if connection is not self._connection:
            return
        self._connection, self.run = None, b""
        if time.monotonic() - self._since > LONGEST_PAUSE:  # one that is lost at once, again and again, is no success
            self._pause = FIRST_PAUSE
        if not self._closing:
            log.warning("redis.connection_lost", connection=self._name, reason=reason)
            self._connect_later()
        self._on_down()

    async def _greeted(self) -> tuple[_Connection, bytes]:
        connection = await self._dial()
        try:
            run = await self._greet(connection)
        except BaseException:
            connection.end("not greeted")
            raise
        connection.patience = self._patience
        return connection, run

    async def _dial(self) -> _Connection:
        loop, address = asyncio.get_running_loop(), self._address
        patience = self._patience * GREETING_SHARE
        make = partial(_Connection, self._loads, queue=self._queue, patience=patience, on_end=self._ended)
        if "path" in address:
            return (await loop.create_unix_connection(make, address["path"]))[1]
        tls = self._tls.ssl_context.get() if self._tls else None
        return (await loop.create_connection(make, address.get("host", "localhost"), address.get("port", 6379), ssl=tls))[1]

    async def _greet(self, connection: _Connection) -> bytes:
        """Make the connection ready in one exchange; return the digest of the run id."""
        greeting = [self._hello(), (b"CLIENT", b"SETNAME", f"keyturn-{self._name}")]
        if database := self._address.get("db", 0):
            greeting.append((b"SELECT", database))
        replies = [connection.send(pack(words)) for words in greeting]
        asked = connection.send(pack((b"INFO", b"server", b"replication", b"memory")))
        loaded = [connection.send(load) for load in self._loads]
        for reply in replies:
            await reply
        run = self._judge(await asked)
        for reply in loaded:
            await reply
        if connection.ended:  # it can end between its last reply and our turn
            raise Unknown("connection lost")
        return run

    def _hello(self) -> tuple[Word, ...]:
        user, password = self._address.get("username", ""), self._address.get("password", "")
        return (b"HELLO", 3, b"AUTH", user or b"default", password) if user or password else (b"HELLO", 3)

    def _judge(self, info: bytes) -> bytes:
        """Look at what the server says of itself: whether it can be used, and as who."""
        facts = dict(line.split(b":", 1) for line in info.splitlines() if b":" in line)
        if facts[b"role"] != b"master":  # after a failover its name may lead to the old one for a while
            raise Unavailable("the server is a replica")
        if facts.get(b"maxmemory_policy", b"noeviction") != b"noeviction" and not self._warned:
            self._warned = True
            log.warning("redis.evicts", do=EVICTS)
        return hashlib.blake2b(facts[b"run_id"], digest_size=16).digest()

    def _explain(self, error: Exception) -> None:
        """Say once why there is no connection. Not in the server's words: an old one quotes HELLO, password and all."""
        kind, reason = type(error).__name__, type(error).__name__
        if isinstance(error, Refused):
            kind = reason = error.code
        elif isinstance(error, (StorageError, OSError)) and str(error):
            kind, reason = f"{kind} {getattr(error, 'errno', error)}", f"{kind}: {error}"
        if kind not in self._explained:
            self._explained.add(kind)
            do = ADVICE.get(kind, "see that REDIS_URL leads to a Valkey that runs; it is tried again")
            log.warning("redis.not_connected", connection=self._name, reason=reason, do=do)


def _tls(address: Mapping[str, Any]) -> SSLConnection | None:
    """Let redis-py read the ssl_* options of the address; by default the system's authorities are trusted."""
    if address.get("connection_class") is not SSLConnection:
        return None
    return SSLConnection(**{name: value for name, value in address.items() if name.startswith("ssl_")})
