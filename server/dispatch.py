"""One call: authenticate, parse, check the locks, let the handler do it, encode. HTTP-free; `http` stands before it.

The order of checks is the protocol's: token, permission, parameters, locks, product, key, the method's own rules.
"""

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from server import metrics
from server.methods import METHODS, Method
from server.rules import grants
from server.rules.codes import Code, Refusal
from server.rules.grants import Caller
from server.rules.privacy import mask
from server.services import Services
from server.wire import encode, parse
from server.wire.requests import Ask
from storage.errors import Busy, NoLicense, NoProduct, Stale
from storage.records import Token

ROUNDS = 5
NOT_FOUND = {NoProduct: Code.PRODUCT, NoLicense: Code.KEY}


@dataclass(frozen=True, slots=True)
class Peer:
    """Where a call comes from: the client's address, and that of the proxy that connected ('' if none)."""

    ip: str
    proxy_ip: str


@dataclass(frozen=True, slots=True)
class Route:
    """A method, ready to be called."""

    method: Method
    parse: Callable[[Mapping[str, object], Caller], Ask]


class Dispatcher:
    """All methods over one set of services. `clock` gives Unix seconds; with `log_addresses` off, logs get no address."""

    def __init__(self, svc: Services, *, clock: Callable[[], float] = time.time, log_addresses: bool = True) -> None:
        self._svc = svc
        self._clock = clock
        self._log_ip = mask if log_addresses else _no_address
        self._routes = {method.path.lower(): Route(method, parse.compile(method.ask)) for method in METHODS}

    def route(self, raw_path: str) -> Route | None:
        """Return the method that a request's path names, or None."""
        folded = parse.fold_path(raw_path)
        return None if folded is None else self._routes.get(folded)

    async def call(self, route: Route, params: Mapping[str, object], peer: Peer) -> bytes:
        """Return the JSON answer of one call, a refusal's too. Raises `Unavailable`, `Busy`, `Broken`."""
        started = time.perf_counter()
        try:
            reply = await self._settled(route, params, peer)
            code = "OK"
        except Refusal as refusal:
            reply = encode.refusal(refusal.code)
            code = refusal.code.name
        metrics.calls.labels(route.method.path, code).inc()
        metrics.whole_seconds.observe(time.perf_counter() - started)
        return reply

    async def _settled(self, route: Route, params: Mapping[str, object], peer: Peer) -> bytes:
        """Run the call until it rests on a token as it is: what memory has of it may be old."""
        for _ in range(ROUNDS):
            with metrics.facts_seconds.time():
                token = await self._token(params)
            try:
                return await self._once(route, params, peer, token)
            except Stale:
                if token is not None:
                    await self._svc.tokens.confirm(token)
            except Refusal as refusal:
                if refusal.confirmed or token is None or await self._svc.tokens.confirm(token):
                    raise
        raise Busy("the token changed five times")

    async def _once(self, route: Route, params: Mapping[str, object], peer: Peer, token: Token | None) -> bytes:
        now = int(self._clock())
        method = route.method
        token = grants.check_token(token, method.permission, now)
        ask = route.parse(params, Caller(token, peer.ip, peer.proxy_ip, self._log_ip(peer.ip)))
        grants.check_locks(
            token, names=method.names, product_id=getattr(ask, "product_id", 0), has_key=bool(getattr(ask, "key", ""))
        )
        try:
            return encode.reply(await method.handler(self._svc, ask, now))
        except (NoProduct, NoLicense) as missing:
            raise Refusal(NOT_FOUND[type(missing)], confirmed=True) from missing

    async def _token(self, params: Mapping[str, object]) -> Token | None:
        """Return the token that the parameters name, if its secret is right."""
        text = params.get("token")
        parts = parse.token_parts(text) if isinstance(text, str) else None
        if parts is None:
            return None
        token_id, secret = parts
        token = await self._svc.tokens.find(token_id)
        if token is None or not hmac.compare_digest(hash_of(secret), token.secret_hash):
            return None
        return token


def hash_of(secret: str) -> bytes:
    """Return what is kept of a token's secret. It is 240 random bits, so one fast hash is enough."""
    return hashlib.sha256(secret.encode()).digest()


def _no_address(_address: str) -> str:
    return ""
