"""An answer as it goes out: head and body in one write. One of aiohttp's own costs several times as much."""

import time
from functools import lru_cache
from http import HTTPStatus
from wsgiref.handlers import format_date_time

from aiohttp import HttpVersion, HttpVersion10, HttpVersion11, web
from aiohttp.client_exceptions import ClientConnectionResetError

from server import metrics


class Answer(web.StreamResponse):
    """A JSON answer with its status. `further` are header lines of its own; with `close` the connection ends with it.

    Of what aiohttp asks of an answer this has its own `prepare`, `write_eof` and `keep_alive`, and nothing else is asked of
    one that was handed out by a handler of `web.Server`: so the rest is not even made (`super().__init__`).
    """

    __slots__ = ("_data", "_further", "_request", "_status_code", "_stays")

    def __init__(self, body: bytes, status: int = 200, further: str = "", *, close: bool = False) -> None:
        self._data = body
        self._status_code = status
        self._further = further
        self._stays = not close

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays for a further request."""
        return self._stays

    def end(self) -> None:
        """Have the connection end with it."""
        self._stays = False

    def without_body(self) -> "Answer":
        """Return the same answer for a verb that takes none."""
        return Answer(b"", self._status_code, self._further, close=not self._stays)

    async def prepare(self, request: web.BaseRequest) -> None:
        """Take in whether the client wants the connection to stay."""
        self._request = request
        self._stays = self._stays and request.keep_alive

    async def write_eof(self, _data: bytes = b"") -> None:
        """Write all of it. Raises `ConnectionResetError` if the client has left."""
        request = self._request
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("the client has left")
        version, body = request.version, self._data
        head = _head(self._status_code, version, self._stays, self._further, int(time.time()))
        writer = request.writer
        writer.output_size += len(body)
        started = time.perf_counter()
        transport.write(b"%b%d\r\n\r\n%b" % (head, len(body), body))
        metrics.write_seconds.observe(time.perf_counter() - started)
        await writer.drain()


@lru_cache(maxsize=256)
def _head(status: int, version: HttpVersion, stays: bool, further: str, second: int) -> bytes:  # noqa: FBT001
    """Return the head of an answer up to its length. The server tells its name and no version."""
    connection = ""
    if stays and version == HttpVersion10:
        connection = "Connection: keep-alive\r\n"
    elif not stays and version == HttpVersion11:
        connection = "Connection: close\r\n"
    return (
        f"HTTP/{version.major}.{version.minor} {status} {HTTPStatus(status).phrase}\r\n"
        "Content-Type: application/json; charset=utf-8\r\n"
        f"Server: Keyturn\r\nDate: {format_date_time(second)}\r\n{connection}{further}Content-Length: "
    ).encode()
