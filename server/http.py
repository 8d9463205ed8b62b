"""HTTP on the outside of `dispatch`: reads a request within its bounds, and answers. What they are stands in `edges`."""

import asyncio
import ipaddress
import re
import socket
import time
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from aiohttp import HttpVersion11, hdrs, web

from server import edges, metrics
from server.answer import Answer
from server.config import Network
from server.dispatch import Dispatcher, Peer, Route
from server.edges import TooLarge, TooSlow, Unreadable
from server.wire import parse

GZIP, ZLIB, RAW_DEFLATE = 31, 15, -15  # zlib's window bits
REMEMBERED = 256

# A parameter of Content-Type or Content-Disposition, quoted or not (RFC 9110, 5.6.6), found in linear time. The parsers of
# the standard library, and of aiohttp, which rests on them, take 0.2 s for 8 kB of these and 4 s for 60 kB, and raise
# anything at all where RFC 2231 is abused.
PARAMETER = re.compile(r';\s*([^\s;="]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;"]*))', re.DOTALL)


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

    @property
    def awaited(self) -> bool:
        """Whether a request is on its way: the first one, or the rest of a header."""
        return self._header_timer is not None

    @property
    def idle(self) -> bool:
        """Whether it only stays for a further request."""
        return self._waiter is not None and not self._waiter.done() and not self.awaited

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the time of the first header. From a client that takes no answer, the kernel frees us and its buffers."""
        super().connection_made(transport)
        transport.get_extra_info("socket").setsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(edges.TAKING_SECONDS * 1000)
        )
        self._begin_header()

    def data_received(self, data: bytes) -> None:
        """Parse, then see whether that was a part of a header only: somebody still waits for a request.

        Of a first header, a part may come before anybody has begun to wait.
        """
        super().data_received(data)
        if self._waiter is not None and not self._waiter.done():
            if self._header_timer is None:
                self._begin_header()
        elif self._request_count > 0:
            self._end_header()

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
        return edges.BROKEN.answer()

    def _begin_header(self) -> None:
        self._header_timer = asyncio.get_running_loop().call_later(edges.HEADER_SECONDS, self._cut)

    def _end_header(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _cut(self) -> None:
        metrics.refused_by_server.labels(edges.SLOW_HEADER).inc()
        self.force_close()


class Server(web.Server):
    """What makes a `Connection` of each that comes in; for `web.ServerRunner`.

    Who is idle while it drains may stay for `patience` seconds.
    """

    patience = 0.0

    async def drain(self, longest: float) -> None:
        """Return when everybody has been answered and is gone, or after so many seconds.

        For when nobody new comes, and each answer says that its connection ends. Who is idle does better to hear that with
        its next answer: a connection that is cut meets requests on their way. A request that is on its way, to a connection
        that was made just now or with a part of its header, is waited for in any case.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        while (waited := loop.time() - began) < longest:
            await asyncio.sleep(edges.DRAIN_POLL_SECONDS)
            await asyncio.sleep(0)  # what came meanwhile is read first
            staying = [each for each in self.connections if isinstance(each, Connection)]
            if not staying:
                return
            for each in staying:
                patience = max(self.patience, edges.AWAITED_SECONDS) if each.awaited else self.patience
                if (each.idle or each.awaited) and waited >= patience:
                    each.force_close()

    def __call__(self) -> Connection:
        """Return the protocol of a new connection."""
        return Connection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,
            keepalive_timeout=edges.KEEP_ALIVE_SECONDS,
            lingering_time=edges.LINGER_SECONDS,
            max_line_size=edges.HEADER_BYTES,
            max_field_size=edges.HEADER_BYTES,
            auto_decompress=False,  # `_inflated` does it, within the bound
        )


# ---- requests


class Endpoint:
    """The one handler of the API port."""

    leaving = False  # set: each connection ends with its answer

    def __init__(self, dispatcher: Dispatcher, trusted_proxies: Sequence[Network]) -> None:
        self._dispatcher = dispatcher
        self._trusted = tuple(trusted_proxies)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; nothing that goes wrong here gets past the envelope."""
        answer = await self._answer(request)
        if self.leaving:
            answer.end()
        return answer

    async def _answer(self, request: web.BaseRequest) -> Answer:
        path, _, query = request.raw_path.partition("?")
        if request.method not in ("GET", "POST"):
            refused = edges.NO_VERB.answer()
            return refused.without_body() if request.method in ("HEAD", "OPTIONS") else refused
        route = self._dispatcher.route(path)
        if route is None:
            return edges.NO_METHOD.answer()
        caller = peer(request, self._trusted)
        if refusal := self._dispatcher.refuses(caller):
            return edges.REFUSALS[refusal].answer()
        try:
            started = time.perf_counter()
            params = await _params(request, route, query)
            metrics.parse_seconds.observe(time.perf_counter() - started)
            return Answer(await self._dispatcher.call(route, params, caller))
        except Exception as error:  # noqa: BLE001 (the last door: a bug must not take the connection with it)
            return edges.refused_for(error).answer()


async def _params(request: web.BaseRequest, route: Route, query: str) -> Mapping[str, object]:
    """Return the parameters of query and body together; the body's win, and both win over a bearer token."""
    params = parse.form(query) if query else {}
    if request.body_exists:
        params = parse.merge(params, await _from_body(request, route))
    if not params.get("token") and (bearer := _bearer(request)):
        return {**params, "token": bearer}
    return params


async def _from_body(request: web.BaseRequest, route: Route) -> Mapping[str, object]:
    bound, headers = route.method.body, request.headers
    body = await _body(request, bound)
    if encoding := headers.get(hdrs.CONTENT_ENCODING):
        body = _inflated(body, encoding, bound)
    kind = _kind(headers.get(hdrs.CONTENT_TYPE, ""))
    if kind.multipart:
        if not route.method.multipart:
            raise Unreadable
        return _multipart(kind.boundary, body)
    return parse.flat_json(body) if kind.json and body else parse.form(body)


class _Kind(NamedTuple):
    """What a body is, by its Content-Type. Whatever is neither of these is read as a form."""

    json: bool
    multipart: bool
    boundary: str


@lru_cache(maxsize=REMEMBERED)
def _kind(header: str) -> _Kind:
    """Read a Content-Type: clients send the same few over and over. Raises `Unreadable`, which is not remembered."""
    kind, parameters = header.partition(";")[0].strip().lower(), _parameters(header)
    if (parameters.get("charset") or "utf-8").lower() not in ("utf-8", "utf8"):
        raise Unreadable
    return _Kind(kind == "application/json", kind == "multipart/form-data", parameters.get("boundary", ""))


def _parameters(header: str) -> dict[str, str]:
    """Return the parameters of a header by name in lower case; the first of a name counts."""
    if header.count(";") > edges.MOST_PARAMETERS:
        raise Unreadable
    found: dict[str, str] = {}
    for name, quoted, plain in PARAMETER.findall(header):
        value = re.sub(r"\\(.)", r"\1", quoted) if "\\" in quoted else quoted
        found.setdefault(name.lower(), value or plain.strip())
    return found


async def _body(request: web.BaseRequest, bound: int) -> bytes:
    """Read the body as it was sent, within its bound and its time. Mostly it has come along with its header."""
    if (request.content_length or 0) > bound:
        raise TooLarge
    content = request.content
    if content.is_eof() and content.exception() is None:
        body = content.read_nowait()
        if len(body) > bound:
            raise TooLarge
        return body
    await _invite(request)
    chunks, size = [], 0
    try:
        async with asyncio.timeout(edges.BODY_SECONDS):
            while chunk := await content.readany():
                chunks.append(chunk)
                size += len(chunk)
                if size > bound:
                    raise TooLarge
    except OSError as error:  # the time is over, or the connection is lost, for whatever reason
        raise TooSlow from error
    return b"".join(chunks)


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


def _multipart(boundary: str, body: bytes) -> dict[str, object]:
    """Return the fields of a form of at most 64 parts (RFC 7578); files are bad input.

    By hand: aiohttp's reader warns on stderr, in the client's own words, and those that take nested parts can be led
    astray.
    """
    if not boundary:
        raise Unreadable
    _preamble, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary.encode(errors="surrogateescape"))
    if not parts or not parts[-1].startswith(b"--") or len(parts) - 1 > edges.MOST_PARTS:
        raise Unreadable
    params: dict[str, object] = {}
    for part in parts[:-1]:
        name, value = _field(part)
        params.setdefault(name.lower(), value)
    return params


def _field(part: bytes) -> tuple[str, str]:
    """Return name and value of a part. Whatever names a file, in whichever spelling, is one."""
    try:
        head, _, value = part.decode().partition("\r\n\r\n")
    except UnicodeDecodeError as error:
        raise Unreadable from error
    headers = (line.partition(":") for line in head.split("\r\n"))
    disposition = next((text for name, _, text in headers if name.strip().lower() == "content-disposition"), "")
    parameters = _parameters(disposition)
    name = parameters.get("name")
    if not name or any(each.startswith("filename") for each in parameters) or "\0" in name + value:
        raise Unreadable
    return name, value


def _bearer(request: web.BaseRequest) -> str:
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def peer(request: web.BaseRequest, trusted: Sequence[Network]) -> Peer:
    """Return who calls. Forwarding headers count only from trusted proxies: the right-most hop that is none is it.

    Where all are trusted, a machine beside the proxies is calling: the first of them.
    """
    return _peer(_connected(request), ",".join(request.headers.getall("X-Forwarded-For", [])), tuple(trusted))


@lru_cache(maxsize=REMEMBERED)
def _peer(connected: str, forwarded: str, trusted: tuple[Network, ...]) -> Peer:
    """Read the addresses: each takes 3 µs, and the same clients call over and over."""
    client = connected
    if not _is_trusted(connected, trusted):
        return Peer(connected, "")
    for hop in reversed(forwarded.split(",")):
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
