"""One call: authenticate, parse, check the locks, let the handler do it, encode. HTTP-free; `http` stands before it.

The order of checks is the protocol's: token, permission, parameters, locks, product, key, the method's own rules.
"""

import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from server import metrics
from server.methods import METHODS, Method
from server.places import Places
from server.rules import grants
from server.rules.codes import Code, Refusal
from server.rules.grants import Caller, Names
from server.rules.privacy import mask
from server.services import Services
from server.wire import encode, parse
from server.wire.requests import Ask
from server.wire.tokens import hash_of
from storage.errors import Busy, NoLicense, NoProduct, Stale
from storage.records import Token

ROUNDS = 5
NAMED = 1_024  # tokens as they were last sent
# Refusals that may be guesses, beside those of an unknown token or key: of a customer's secret.
FOUND_NOBODY = {(Code.CUSTOMER, Names.CUSTOMER_LICENSES)}
NAME_A_LICENSE = {Names.LICENSE, Names.DERIVING, Names.OBJECT_OF_LICENSE, Names.ANY}
# What a missing license is called; data objects have a text of their own (protocol: data objects, failure text).
NO_LICENSE = {Names.OBJECT_OF_LICENSE: Code.OBJECT}


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

    def __init__(
        self, svc: Services, places: Places, *, clock: Callable[[], float] = time.time, log_addresses: bool = True
    ) -> None:
        self._svc = svc
        self._places = places
        self._clock = clock
        self._log_ip = mask if log_addresses else _no_address
        self._routes = {method.path.lower(): Route(method, parse.compile(method.ask)) for method in METHODS}
        self._spelled = {f"/api/{route.method.path}": route for route in self._routes.values()}  # as most SDKs spell it

    def route(self, raw_path: str) -> Route | None:
        """Return the method that a request's path names, or None."""
        if (route := self._spelled.get(raw_path)) is not None:
            return route
        folded = parse.fold_path(raw_path)
        return None if folded is None else self._routes.get(folded)

    def refuses(self, peer: Peer) -> type[Busy] | None:
        """Return why the worker takes no call from there, before anything of it is parsed; None if it does."""
        network = self._svc.limiter.network(peer.ip)
        return self._places.refuses((f"network {network}",) if network else ())

    async def call(self, route: Route, params: Mapping[str, object], peer: Peer) -> bytes:
        """Return the JSON answer of one call, a refusal's too. Raises `Unavailable`, `Busy`, `Broken`, `TooMany`."""
        started = time.perf_counter()
        method, limiter = route.method, self._svc.limiter
        network = limiter.network(peer.ip)
        names = _names(method, params, network)
        self._places.take(names)
        try:
            reply = await self._settled(route, params, peer, network)
            code = "OK"
        except Refusal as refusal:
            if (refusal.code, method.names) in FOUND_NOBODY or refusal.code is Code.AUTHENTICATE:
                limiter.failed(network)
            reply = encode.refusal(refusal.code)
            code = refusal.code.name
        finally:
            self._places.leave(names)
        metrics.counted_call(method.path, code).inc()
        metrics.whole_seconds.observe(time.perf_counter() - started)
        return reply

    async def _settled(self, route: Route, params: Mapping[str, object], peer: Peer, network: str) -> bytes:
        """Run the call until it rests on a token as it is: what memory has of it may be old."""
        for _ in range(ROUNDS):
            started = time.perf_counter()
            token = await self._token(params, network)
            metrics.facts_seconds.observe(time.perf_counter() - started)
            try:
                return await self._once(route, params, peer, network, token)
            except Stale:
                if token is not None:
                    await self._svc.tokens.confirm(token)
            except Refusal as refusal:
                if refusal.confirmed or token is None or await self._svc.tokens.confirm(token):
                    raise
        raise Busy("what the call rests on changed five times")

    async def _once(
        self, route: Route, params: Mapping[str, object], peer: Peer, network: str, token: Token | None
    ) -> bytes:
        now = int(self._clock())
        svc, method = self._svc, route.method
        token = grants.check_token(token, method.permission, now)
        svc.limiter.token(token, network)
        ask = route.parse(params, Caller(token, peer.ip, peer.proxy_ip, self._log_ip(peer.ip), network))
        product_id, key = getattr(ask, "product_id", 0), getattr(ask, "key", "")
        grants.check_locks(token, names=method.names, product_id=product_id, has_key=bool(key))
        if key and network:
            self._admit(token, product_id, key, network)
        try:
            reply = await method.handler(svc, ask, now)
        except NoProduct as missing:
            raise Refusal(Code.PRODUCT, confirmed=True) from missing
        except NoLicense as missing:
            svc.limiter.failed(network)
            raise Refusal(NO_LICENSE.get(method.names, Code.KEY), confirmed=True) from missing
        started = time.perf_counter()
        answer = encode.reply(reply)
        metrics.encode_seconds.observe(time.perf_counter() - started)
        return answer

    def _admit(self, token: Token, product_id: int, key: str, network: str) -> None:
        """Hold a call on a license against its limit. One that memory has not was not called much lately."""
        license_ = self._svc.ledger.known(token, product_id, key)
        if license_ is None:
            self._svc.limiter.look_up(network)
        else:
            self._svc.limiter.license(license_, network)

    async def _token(self, params: Mapping[str, object], network: str) -> Token | None:
        """Return the token that the parameters name, if its secret is right."""
        text = params.get("token")
        named = _named(text) if isinstance(text, str) else None
        if named is None:
            return None
        token_id, secret_hash = named
        token = self._svc.tokens.known(token_id)
        if token is None:
            self._svc.limiter.look_up(network)
            token = await self._svc.tokens.find(token_id)
        return token if token is not None and hmac.compare_digest(secret_hash, token.secret_hash) else None


@lru_cache(maxsize=NAMED)
def _named(text: str) -> tuple[int, bytes] | None:
    """Return the id and the hash of the secret that a token's text names, or None if it is none (3 µs to find out)."""
    parts = parse.token_parts(text)
    return None if parts is None else (parts[0], hash_of(parts[1]))


def _names(method: Method, params: Mapping[str, object], network: str) -> tuple[str, ...]:
    """Return in whose name a call takes its place: of its license, or else its method, and its network if it is limited."""
    key = params.get("key") if method.names in NAME_A_LICENSE else None
    what = f"license {key}" if key else f"method {method.path}"
    return (what, f"network {network}") if network else (what,)


def _no_address(_address: str) -> str:
    return ""
