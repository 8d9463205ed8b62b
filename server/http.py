"""HTTP on the outside of `dispatch`: reads a request within its bounds, and answers.

What the server itself refuses, with which status and after which time, stands here and nowhere else (protocol:
transport, what the server itself refuses).
"""

import asyncio
import ipaddress
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser
from typing import Any

import structlog
from aiohttp import HttpVersion11, web

from server import metrics
from server.config import Network
from server.dispatch import Dispatcher, Peer, Route
from server.logs import told
from server.rules.codes import Code, Refusal
from server.wire import encode, parse
from storage.errors import Busy, Unavailable

KEEP_ALIVE_SECONDS = 75.0
HEADER_SECONDS = 10.0
BODY_SECONDS = 5.0
LINGER_SECONDS = 2.0  # for what still comes of a body that was refused: a client that is cut while it sends sees no answer
HEADER_BYTES = 8190
MOST_PARTS = 64
JSON = "application/json; charset=utf-8"
GZIP, ZLIB, RAW_DEFLATE = 31, 15, -15  # zlib's window bits

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Refused:
    """An answer of the server itself: its label in the metrics, status, message, seconds for Retry-After.

    With `close` the connection ends with the answer: nobody knows where the next request would begin.
    """

    cause: str
    status: int
    message: str
    retry_after: int = 0
    close: bool = False

    def response(self) -> web.Response:
        """Return the answer, always with the JSON envelope."""
        metrics.refused_by_server.labels(self.cause).inc()
        response = _json(encode.refusal(self.message))
        response.set_status(self.status)
        if self.retry_after:
            response.headers["Retry-After"] = str(self.retry_after)
        if self.status == NO_VERB.status:
            response.headers["Allow"] = "GET, POST"
        if self.close:
            response.force_close()
        return response


NO_METHOD = Refused("unknown_method", 404, "The method could not be found.")
NO_VERB = Refused("verb", 405, "The method could not be found.")
TOO_LARGE = Refused("too_large", 413, "The request is too large.", close=True)
TOO_SLOW = Refused("slow_body", 408, "The input parameters were incorrect.", close=True)
UNPARSABLE = Refused("unparsable", 200, Code.INPUT)
BROKEN = Refused("broken_http", 400, "The input parameters were incorrect.", close=True)
BUSY = Refused("busy", 503, "The server is busy. Please try again later.", 1)
UNAVAILABLE = Refused("unavailable", 503, "The service is temporarily unavailable. Please try again later.", 5)
BUG = Refused("bug", 500, "Something went wrong. Please contact support.")
SLOW_HEADER = "slow_header"  # a label without an answer: the connection is closed


class Unreadable(Exception):
    """The body is not what its header says, or nothing that is read here."""


class TooLarge(Exception):
    """The body is above the method's bound."""


class TooSlow(Exception):
    """The body did not come in its time, or never will: the client has left."""


REFUSALS = {
    Busy: BUSY, Unavailable: UNAVAILABLE, TooLarge: TOO_LARGE, TooSlow: TOO_SLOW, Unreadable: UNPARSABLE,
    Refusal: UNPARSABLE,
}  # fmt: skip


# ---- connections


class Connection(web.RequestHandler):
    """aiohttp's connection, with the two things that it has no setting for.

    A time for headers beside the one for keep-alive: it begins when the connection is made, then with the first byte of
    each further request. And the envelope for broken HTTP: aiohttp would answer in its own words, and quote the request.
    """

    __slots__ = ("_header_timer",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the time of the first header."""
        super().connection_made(transport)
        self._begin_header()

    def data_received(self, data: bytes) -> None:
        """Parse, then see whether that was a part of a header only: somebody still waits for a request."""
        super().data_received(data)
        if self._waiter is None or self._waiter.done():
            self._end_header()
        elif self._header_timer is None:
            self._begin_header()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the time."""
        self._end_header()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,  # noqa: ARG002  # 400: the endpoint lets no exception out
        exc: BaseException | None = None,  # noqa: ARG002
        message: str | None = None,  # noqa: ARG002  # it quotes what was sent
    ) -> web.StreamResponse:
        """Return the answer to what is no HTTP."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        return BROKEN.response()

    def _begin_header(self) -> None:
        self._header_timer = asyncio.get_running_loop().call_later(HEADER_SECONDS, self._cut)

    def _end_header(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _cut(self) -> None:
        metrics.refused_by_server.labels(SLOW_HEADER).inc()
        self.force_close()


class Server(web.Server):
    """What makes a `Connection` of each that comes in; for `web.ServerRunner`."""

    def __call__(self) -> Connection:
        """Return the protocol of a new connection."""
        return Connection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            lingering_time=LINGER_SECONDS,
            max_line_size=HEADER_BYTES,
            max_field_size=HEADER_BYTES,
            auto_decompress=False,  # `_inflated` does it, within the bound
        )


# ---- requests


class Endpoint:
    """The one handler of the API port."""

    def __init__(self, dispatcher: Dispatcher, trusted_proxies: Sequence[Network]) -> None:
        self._dispatcher = dispatcher
        self._trusted = trusted_proxies

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; nothing that goes wrong here gets past the envelope."""
        path, _, query = request.raw_path.partition("?")
        if request.method not in ("GET", "POST"):
            return _without_body(NO_VERB.response()) if request.method in ("HEAD", "OPTIONS") else NO_VERB.response()
        route = self._dispatcher.route(path)
        if route is None:
            return NO_METHOD.response()
        try:
            params = await _params(request, route, query)
            return _json(await self._dispatcher.call(route, params, peer(request, self._trusted)))
        except Exception as error:  # noqa: BLE001 (the last door: a bug must not take the connection with it)
            return _refusal_for(error).response()


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, headers={"Content-Type": JSON})


def _without_body(response: web.Response) -> web.Response:
    response.body = None
    return response


def _refusal_for(error: Exception) -> Refused:
    for kind, refused in REFUSALS.items():
        if isinstance(error, kind):
            return refused
    log.error("call.failed", **told(error))
    return BUG


async def _params(request: web.BaseRequest, route: Route, query: str) -> Mapping[str, object]:
    """Return the parameters of query and body together; the body's win, and both win over a bearer token."""
    params = parse.form(query) if query else {}
    if request.body_exists:
        params = parse.merge(params, await _from_body(request, route))
    if not params.get("token") and (bearer := _bearer(request)):
        return {**params, "token": bearer}
    return params


async def _from_body(request: web.BaseRequest, route: Route) -> Mapping[str, object]:
    bound = route.method.body
    body = _inflated(await _body(request, bound), request.headers.get("Content-Encoding", ""), bound)
    if (request.charset or "utf-8").lower() not in ("utf-8", "utf8"):
        raise Unreadable
    if request.content_type == "multipart/form-data":
        if not route.method.multipart:
            raise Unreadable
        return _multipart(request.headers["Content-Type"], body)
    return parse.flat_json(body) if request.content_type == "application/json" and body else parse.form(body)


async def _body(request: web.BaseRequest, bound: int) -> bytes:
    """Read the body as it was sent, within its bound and its time."""
    if (request.content_length or 0) > bound:
        raise TooLarge
    content, chunks, size = request.content, [], 0
    if not content.is_eof():
        await _invite(request)
    try:
        async with asyncio.timeout(None if content.is_eof() else BODY_SECONDS):
            while chunk := await content.readany():
                chunks.append(chunk)
                size += len(chunk)
                if size > bound:
                    raise TooLarge
    except OSError as error:  # the time is over, or the connection is lost, for whatever reason
        raise TooSlow from error
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _invite(request: web.BaseRequest) -> None:
    """Tell a client that waits for it to send the body: .NET Framework does, curl from 1 MiB on."""
    if request.version == HttpVersion11 and request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun


def _inflated(body: bytes, encoding: str, bound: int) -> bytes:
    """Return the body without its encoding. A bomb is inflated to its bound and no further."""
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip" | "x-gzip":
            window = GZIP
        case "deflate":  # as it is defined, or as old clients understood it
            window = ZLIB if body[:1] and body[0] & 15 == zlib.DEFLATED else RAW_DEFLATE
        case _:
            raise Unreadable
    inflate = zlib.decompressobj(window)
    try:
        plain = inflate.decompress(body, bound + 1)
    except zlib.error as error:
        raise Unreadable from error
    if len(plain) > bound:
        raise TooLarge
    if not inflate.eof or inflate.unused_data:
        raise Unreadable
    return plain


def _multipart(content_type: str, body: bytes) -> dict[str, object]:
    """Return the fields of a form of at most 64 parts (RFC 7578); files are bad input.

    Only the headers of a part are left to a library: aiohttp's reader warns on stderr, in the client's own words, and
    those that take nested parts can be led astray.
    """
    boundary = _headers(f"Content-Type: {content_type}".encode(errors="surrogateescape")).get_boundary()
    if not boundary:
        raise Unreadable
    _preamble, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary.encode())
    if not parts or not parts[-1].startswith(b"--") or len(parts) - 1 > MOST_PARTS:
        raise Unreadable
    params: dict[str, object] = {}
    for part in parts[:-1]:
        name, value = _field(part)
        params.setdefault(name.lower(), value)
    return params


def _field(part: bytes) -> tuple[str, str]:
    head, _, value = part.partition(b"\r\n\r\n")
    headers = _headers(head.lstrip())
    name = headers.get_param("name", header="Content-Disposition")
    if not name or not isinstance(name, str) or headers.get_filename() is not None or b"\0" in value:
        raise Unreadable
    try:
        return name, value.decode()
    except UnicodeDecodeError as error:
        raise Unreadable from error


def _headers(lines: bytes) -> Message:
    return BytesHeaderParser().parsebytes(lines)


def _bearer(request: web.BaseRequest) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def peer(request: web.BaseRequest, trusted: Sequence[Network]) -> Peer:
    """Return who calls. Forwarding headers count only from trusted proxies: the right-most hop that is none is it.

    Where all are trusted, a machine beside the proxies is calling: the first of them.
    """
    connected = client = _connected(request)
    if not _is_trusted(connected, trusted):
        return Peer(connected, "")
    hops = ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")
    for hop in reversed(hops):
        address = _bare(hop.strip())
        if not address:
            break
        client = address
        if not _is_trusted(address, trusted):
            break
    return Peer(client, connected if client != connected else "")


def _connected(request: web.BaseRequest) -> str:
    """Return the address at the other end. Only of IPv6 there are two ways to write one."""
    remote = request.remote or ""
    return _bare(remote) if ":" in remote else remote


def _is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    if not trusted or not address:
        return False
    parsed = ipaddress.ip_address(address)
    return any(parsed in network for network in trusted)


def _bare(text: str) -> str:
    """Return an address without port, brackets and zone, and an IPv4 one in IPv6 clothes as IPv4; '' if it is none."""
    host = text.removeprefix("[").partition("]")[0] if text.startswith("[") else text
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return ""
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)
