"""What a token may do: its permissions and its locks (protocol: auth). Finding the token is not done here."""

from dataclasses import field
from enum import Enum, StrEnum
from typing import NamedTuple

from server.rules.codes import Code, Refusal
from storage.frozen import frozen
from storage.records import Token


@frozen
class Caller:
    """Who calls, and from where.

    `ip` and `proxy_ip` ('' if none) are full addresses and go into a `Machine`, nowhere else. `log_ip` is masked
    already, or '' where addresses are not logged: the only address that a log row may hold. `network` is what limits
    count by, '' if the caller is not limited.
    """

    token: Token
    ip: str = field(repr=False)
    proxy_ip: str = field(repr=False)
    log_ip: str
    network: str = ""


class Names(StrEnum):
    """What the parameters of a method name; it says how the locks of a token apply to the method (`_LOCKS`)."""

    LICENSE = "license"
    DERIVING = "license, for a token of its own"
    OBJECT_OF_LICENSE = "license, data object"
    OBJECT = "data object"
    PRODUCT = "product"
    LOG = "log"
    ANY = "nothing, product or license"
    CUSTOMER_LICENSES = "customer's licenses"
    ACCOUNT = "account"


class _Held(Enum):
    """How a method is held to the product of a product lock."""

    SAME = "it must be named"
    SAME_IF_NAMED = "it must be named, or none; the method itself looks at no other"
    BY_METHOD = "the method itself looks at no other"
    DENIED = "the method is denied"


class _Locks(NamedTuple):
    """What a lock leaves open. `key`: a lock to one key, to which the method holds itself.

    `any_key` is what a lock to no key in particular refuses with if the call does not name product and key.
    """

    product: _Held
    key: bool
    any_key: Code | None = None


# Protocol: auth, what a lock allows. What is not listed is denied to every token with a lock.
_LOCKS = {
    Names.LICENSE: _Locks(_Held.SAME, key=True),
    Names.DERIVING: _Locks(_Held.SAME, key=False),
    Names.OBJECT_OF_LICENSE: _Locks(_Held.SAME, key=True),
    Names.OBJECT: _Locks(_Held.BY_METHOD, key=True, any_key=Code.OBJECT),
    Names.PRODUCT: _Locks(_Held.SAME, key=False),
    Names.LOG: _Locks(_Held.SAME_IF_NAMED, key=True, any_key=Code.INPUT),
    Names.ANY: _Locks(_Held.SAME_IF_NAMED, key=True),
    Names.CUSTOMER_LICENSES: _Locks(_Held.BY_METHOD, key=True),
    Names.ACCOUNT: _Locks(_Held.DENIED, key=False),
}
_NOTHING = _Locks(_Held.DENIED, key=False, any_key=Code.DENIED)


def check_token(token: Token | None, permission: str, now: int) -> Token:
    """Return the token if it is good at `now` and has the permission; '' is one that every token has.

    Raises `Refusal`: AUTHENTICATE for an unknown or expired token, DENIED without the permission. In this order, and
    before anything else is looked at, so that probing without rights reveals nothing.
    """
    if token is None or (token.expires is not None and token.expires <= now):
        raise Refusal(Code.AUTHENTICATE)
    if permission and permission not in token.permissions:
        raise Refusal(Code.DENIED)
    return token


def check_locks(token: Token, *, names: Names, product_id: int, has_key: bool) -> None:
    """Check what the locks forbid whatever the license is; `product_id` 0 means that none was named.

    Raises `Refusal`: DENIED, or what stands in `_LOCKS` where a negative key lock demands both product and key. The key
    itself is held against the lock by `key_lock_forbids`, a log that names none by `log_scope`.
    """
    locks = _LOCKS.get(names, _NOTHING)
    if token.key_lock < 0 and locks.any_key is not None and not (product_id and has_key):
        raise Refusal(locks.any_key)
    if token.product_lock and _leads_out(locks.product, token.product_lock, product_id):
        raise Refusal(Code.DENIED)
    if token.key_lock > 0 and not locks.key:
        raise Refusal(Code.DENIED)


def _leads_out(held: _Held, lock: int, product_id: int) -> bool:
    match held:
        case _Held.SAME:
            return product_id != lock
        case _Held.SAME_IF_NAMED:
            return product_id not in (0, lock)
        case _Held.BY_METHOD:
            return False
        case _Held.DENIED:
            return True


def key_lock_forbids(token: Token, license_id: int) -> bool:
    """Whether the token is locked to another key. A negative lock is to no key in particular."""
    return token.key_lock > 0 and token.key_lock != license_id


def log_scope(token: Token, product_id: int, license_id: int) -> tuple[int, int]:
    """Return the product and the license (0: any) that a read of the log is held to.

    What the caller left open, the locks fill in (protocol: auth, GetWebAPILog without Key). Raises `Refusal`: DENIED
    for a license that the key lock forbids.
    """
    if license_id and key_lock_forbids(token, license_id):
        raise Refusal(Code.DENIED)
    return product_id or token.product_lock, license_id or max(token.key_lock, 0)
