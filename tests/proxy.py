"""A TCP proxy that stands between a worker and an engine and breaks what passes: cuts, black holes, stalls, refusals."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum, auto


class Mode(Enum):
    """What happens to bytes. CUT forwards the next request and closes before its reply; it holds until changed."""

    PASS = auto()
    CUT = auto()
    BLACK_HOLE = auto()  # requests pass, replies vanish, nobody is told
    STALL = auto()  # nothing passes in either direction
    REFUSE = auto()  # no new connection, and those there are cut


class Proxy:
    """Forwards from a TCP port of its own to a unix socket; `target` may be changed, for whoever connects from then on."""

    def __init__(self, target: str) -> None:
        self.target = target
        self._mode = Mode.PASS
        self._changed = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.cuts = 0
        self.requests = 0

    def become(self, mode: Mode) -> None:
        """Break differently from now on."""
        self._mode = mode
        self._changed.set()
        self._changed = asyncio.Event()
        if mode is Mode.REFUSE:
            self.cut_all()

    def cut_all(self) -> None:
        """Cut every connection there is."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        if self._mode is Mode.REFUSE:
            writer.transport.abort()
            return
        try:
            engine_reader, engine_writer = await asyncio.open_unix_connection(self.target)
        except OSError:  # nobody is behind it: as if nobody were here
            writer.transport.abort()
            return
        both = {writer, engine_writer}
        self._writers |= both
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(reader, engine_writer, both, replies=False))
                group.create_task(self._carry(engine_reader, writer, both, replies=True))
        finally:
            self._writers -= both
            for each in both:
                each.transport.abort()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, both: set[asyncio.StreamWriter], *, replies: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                while self._mode is Mode.STALL:
                    await self._changed.wait()
                if replies and self._mode is Mode.BLACK_HOLE:
                    continue
                if replies and self._mode is Mode.CUT:
                    self.cuts += 1
                    break
                self.requests += not replies
                writer.write(data)
                await writer.drain()
        for each in both:
            each.transport.abort()


@asynccontextmanager
async def proxy(target: str) -> AsyncIterator[Proxy]:
    """Run a proxy before the unix socket `target`."""
    carrier = Proxy(target)
    server = await asyncio.start_server(carrier.serve, "127.0.0.1", 0)
    carrier.port = server.sockets[0].getsockname()[1]
    try:
        yield carrier
    finally:
        server.close()
        carrier.cut_all()
        await server.wait_closed()
