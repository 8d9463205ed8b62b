"""What a token may do: its permissions and its locks (protocol: auth). Finding the token is not done here."""

from dataclasses import dataclass, field
from enum import StrEnum

from server.rules.codes import Code, Refusal
from storage.records import Token


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and from where.

    `ip` and `proxy_ip` ('' if none) are full addresses and go into a `Machine`, nowhere else. `log_ip` is masked
    already, or '' where addresses are not logged: the only address that a log row may hold.
    """

    token: Token
    ip: str = field(repr=False)
    proxy_ip: str = field(repr=False)
    log_ip: str


class Names(StrEnum):
    """What the parameters of a method name; it says how the locks of a token apply to the method."""

    LICENSE = "license"
    PRODUCT = "product"
    LOG = "log"


# A lock to one key leaves these methods open: they are held to that key. All others are denied (protocol: auth, locks).
_HELD_TO_A_KEY = frozenset({Names.LICENSE, Names.LOG})


def check_token(token: Token | None, permission: str, now: int) -> Token:
    """Return the token if it is good at `now` and has the permission.

    Raises `Refusal`: AUTHENTICATE for an unknown or expired token, DENIED without the permission. In this order, and
    before anything else is looked at, so that probing without rights reveals nothing.
    """
    if token is None or (token.expires is not None and token.expires <= now):
        raise Refusal(Code.AUTHENTICATE)
    if permission not in token.permissions:
        raise Refusal(Code.DENIED)
    return token


def check_locks(token: Token, *, names: Names, product_id: int, has_key: bool) -> None:
    """Check what the locks forbid whatever the license is; `product_id` 0 means that none was named.

    Raises `Refusal`: DENIED, or INPUT where a negative key lock demands both product and key (GetWebAPILog). The key
    itself is held against the lock by `key_lock_forbids`, a log that names none by `log_scope`.
    """
    reads_log = names is Names.LOG
    if reads_log and token.key_lock < 0 and not (product_id and has_key):
        raise Refusal(Code.INPUT)
    names_no_product = reads_log and not product_id
    if token.product_lock not in (0, product_id) and not names_no_product:
        raise Refusal(Code.DENIED)
    if token.key_lock > 0 and names not in _HELD_TO_A_KEY:
        raise Refusal(Code.DENIED)


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
