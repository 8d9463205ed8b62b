"""HTTP by hand, byte for byte: what no client library would send, and what a library would hide of the answer."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

FORM = "application/x-www-form-urlencoded"
SECONDS = 15.0  # a deadline of liveness


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer, its header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json; charset=utf-8"
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Line:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        """The next status line with its headers."""
        async with asyncio.timeout(SECONDS):
            head = await self.reader.readuntil(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").strip().split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return int(status.split()[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}

    async def answer(self, *, without_body: bool = False) -> Answered:
        """The next answer."""
        status, headers = await self.head()
        async with asyncio.timeout(SECONDS):
            body = b"" if without_body else await self.reader.readexactly(int(headers["content-length"]))
        return Answered(status, headers, body)

    async def ended(self, most: int = -1) -> bytes:
        """What comes until the other side closes, or the first bytes of it."""
        async with asyncio.timeout(SECONDS):
            try:
                return await self.reader.read(most)
            except ConnectionError:
                return b""


@asynccontextmanager
async def line_to(url: str) -> AsyncIterator[Line]:
    """Connect to a server."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield Line(reader, writer)
    finally:
        writer.transport.abort()


def request(path: str, body: bytes | None = None, verb: str = "", **headers: str) -> bytes:
    """A request; underscores in the names of headers are dashes. With a body it is a form unless said otherwise."""
    given = {"Host": "keyturn.test", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if body is not None:
        given = {"Content-Type": FORM, **given}
        if "Transfer-Encoding" not in given:
            given = {"Content-Length": str(len(body)), **given}
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"{verb or ('GET' if body is None else 'POST')} {path} HTTP/1.1\r\n{lines}\r\n".encode() + (body or b"")


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


async def ask(url: str, data: bytes) -> Answered:
    """Send bytes over a connection of their own; the first answer."""
    async with line_to(url) as line:
        await line.send(data)
        return await line.answer()
