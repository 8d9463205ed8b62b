"""What a handler may reach: the ports, the signers and a source of random bytes. Built by `app`, nothing looks things up."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from server.wire.sign import Signer
from storage import ports


@dataclass(frozen=True, slots=True)
class Services:
    """`signers` by account id; `random_bytes(n)` gives n unpredictable bytes, `new_stamp()` a stamp.

    `max_overdraft` is the most that a caller may ask for.
    """

    ledger: ports.Ledger
    licenses: ports.Licenses
    tokens: ports.Tokens
    log: ports.Log
    seats: ports.Seats
    signers: Mapping[int, Signer]
    random_bytes: Callable[[int], bytes]
    new_stamp: Callable[[], int]
    max_overdraft: int
