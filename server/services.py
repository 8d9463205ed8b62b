"""What a handler may reach: the ports, the signers and a source of random bytes. Built by `app`, nothing looks things up."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from server.limiter import Limiter
from server.wire.sign import Signer
from storage import ports


@dataclass(frozen=True, slots=True)
class Services:
    """`signers` by account id; `random_bytes(n)` gives n unpredictable bytes, `new_stamp()` a stamp.

    `max_overdraft` is the most that a caller may ask for; `portal_url` the template of links to a portal, '' if there is
    none.
    With `usage_without_stripe` usage is recorded of any license.
    """

    ledger: ports.Ledger
    licenses: ports.Licenses
    tokens: ports.Tokens
    log: ports.Log
    events: ports.Events
    messages: ports.Messages
    objects: ports.Objects
    customers: ports.Customers
    seats: ports.Seats
    limiter: Limiter
    signers: Mapping[int, Signer]
    random_bytes: Callable[[int], bytes]
    new_stamp: Callable[[], int]
    max_overdraft: int
    usage_without_stripe: bool
    portal_url: str
