"""HTTP on the outside of `dispatch`: reads a request within its bounds, and answers.

What the server itself refuses, with which status and after which time, stands here and nowhere else (protocol:
transport, what the server itself refuses).
"""

import asyncio
import ipaddress
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog
from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import ContentEncodingError, HttpProcessingError

from server import metrics
from server.config import Network
from server.dispatch import Dispatcher, Peer, Route
from server.rules.codes import Code, Refusal
from server.wire import encode, parse
from storage.errors import Busy, Unavailable

BODY_SECONDS = 5.0
MOST_PARTS = 64
JSON = "application/json; charset=utf-8"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Refused:
    """An answer of the server itself: status, message, seconds for Retry-After, and its label in the metrics."""

    cause: str
    status: int
    message: str
    retry_after: int = 0

    def response(self) -> web.Response:
        """Return the answer, always with the JSON envelope."""
        metrics.refused_by_server.labels(self.cause).inc()
        headers = {"Content-Type": JSON}
        if self.retry_after:
            headers["Retry-After"] = str(self.retry_after)
        if self.status == NO_VERB.status:
            headers["Allow"] = "GET, POST"
        return web.Response(body=encode.refusal(self.message), status=self.status, headers=headers)


NO_METHOD = Refused("unknown_method", 404, "The method could not be found.")
NO_VERB = Refused("verb", 405, "The method could not be found.")
TOO_LARGE = Refused("too_large", 413, "The request is too large.")
TOO_SLOW = Refused("slow_body", 408, "The input parameters were incorrect.")
BUSY = Refused("busy", 503, "The server is busy. Please try again later.", 1)
UNAVAILABLE = Refused("unavailable", 503, "The service is temporarily unavailable. Please try again later.", 5)
BUG = Refused("bug", 500, "Something went wrong. Please contact support.")


# What aiohttp raises for a body that is not what its header says; a text that is no UTF-8 is a ValueError.
UNREADABLE = (web.RequestPayloadError, HttpProcessingError, ContentEncodingError, ValueError)


class TooLarge(Exception):
    """The body is above the method's bound."""


class Endpoint:
    """The one handler of the API port."""

    def __init__(self, dispatcher: Dispatcher, trusted_proxies: Sequence[Network]) -> None:
        self._dispatcher = dispatcher
        self._trusted = trusted_proxies

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer one request; nothing that goes wrong here gets past the envelope."""
        path, _, query = request.raw_path.partition("?")
        if request.method not in ("GET", "POST"):
            return _without_body(NO_VERB.response()) if request.method in ("HEAD", "OPTIONS") else NO_VERB.response()
        route = self._dispatcher.route(path)
        if route is None:
            return NO_METHOD.response()
        try:
            return await self._answer(request, route, query)
        except Exception as error:  # noqa: BLE001 (the last door: a bug must not take the connection with it)
            return _refusal_for(error).response()

    async def _answer(self, request: web.Request, route: Route, query: str) -> web.Response:
        try:
            params = await _params(request, route, query)
        except Refusal as refusal:
            metrics.refused_by_server.labels("unparsable").inc()
            return _json(encode.refusal(refusal.code))
        if "token" not in params and (bearer := _bearer(request)):
            params = {**params, "token": bearer}
        return _json(await self._dispatcher.call(route, params, peer(request, self._trusted)))


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, headers={"Content-Type": JSON})


def _without_body(response: web.Response) -> web.Response:
    response.body = None
    return response


def _refusal_for(error: Exception) -> Refused:
    for kind, refused in ((Busy, BUSY), (Unavailable, UNAVAILABLE), (TooLarge, TOO_LARGE), (TimeoutError, TOO_SLOW)):
        if isinstance(error, kind):
            return refused
    # Where it happened, not what it said: an exception's text may quote what a client sent.
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    log.error("call.failed", error=type(error).__name__, frames=frames[-8:])
    return BUG


async def _params(request: web.Request, route: Route, query: str) -> Mapping[str, object]:
    """Return the parameters of query and body together; the body's win. Raises `Refusal`, `TooLarge`, `TimeoutError`."""
    asked = parse.form(query) if query else {}
    if not request.body_exists:
        return asked
    kind = request.content_type
    if kind == "multipart/form-data":
        if not route.method.multipart:
            raise Refusal(Code.INPUT)
        return parse.merge(asked, await _multipart(request, route.method.body))
    body = await _body(request, route.method.body)
    if request.charset not in (None, "utf-8", "UTF-8", "utf8"):
        raise Refusal(Code.INPUT)
    return parse.merge(asked, parse.flat_json(body) if kind == "application/json" and body else parse.form(body))


async def _body(request: web.Request, bound: int) -> bytes:
    """Read the body, decompressed, within its bound and its time."""
    if (request.content_length or 0) > bound:
        raise TooLarge
    content, chunks, size = request.content, [], 0
    try:
        async with asyncio.timeout(None if content.is_eof() else BODY_SECONDS):
            while chunk := await content.readany():
                chunks.append(chunk)
                size += len(chunk)
                if size > bound:
                    raise TooLarge
    except UNREADABLE as error:
        raise Refusal(Code.INPUT) from error
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _multipart(request: web.Request, bound: int) -> dict[str, object]:
    """Read a form of at most 64 parts; files are bad input."""
    if (request.content_length or bound + 1) > bound:
        raise TooLarge
    params: dict[str, object] = {}
    try:
        async with asyncio.timeout(BODY_SECONDS):
            parts = await request.multipart()
            for _ in range(MOST_PARTS + 1):
                part = await parts.next()
                if part is None:
                    return params
                name, value = await _field(part)
                params.setdefault(name, value)
    except UNREADABLE as error:
        raise Refusal(Code.INPUT) from error
    raise Refusal(Code.INPUT)


async def _field(part: object) -> tuple[str, str]:
    if not isinstance(part, BodyPartReader) or not part.name or part.filename:
        raise Refusal(Code.INPUT)
    text = (await part.read(decode=True)).decode()
    if "\0" in text:
        raise Refusal(Code.INPUT)
    return part.name.lower(), text


def _bearer(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def peer(request: web.Request, trusted: Sequence[Network]) -> Peer:
    """Return who calls. Forwarding headers count only from trusted proxies, and then the right-most hop that is none."""
    hop = request.remote or ""
    if not trusted or not _is_trusted(hop, trusted):
        return Peer(hop, "")
    hops = [each.strip() for line in request.headers.getall("X-Forwarded-For", []) for each in line.split(",")]
    for forwarded in reversed(hops):
        address = _bare(forwarded)
        if not address:
            break
        if not _is_trusted(address, trusted):
            return Peer(address, hop)
    return Peer(hop, "")


def _is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None) or parsed
    return any(mapped in network for network in trusted if network.version == mapped.version)


def _bare(text: str) -> str:
    """Return an address without port, brackets and zone; '' if it is none."""
    host = text.removeprefix("[").partition("]")[0] if text.startswith("[") else text
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        return str(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        return ""
