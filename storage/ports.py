"""What may be asked of storage, and what storage promises. Adapters implement it; handlers know nothing else.

When PostgreSQL is gone every call here raises `Unavailable` at once (a call under way: within five seconds). It may then
have been done or not; nothing that was answered is ever lost.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from storage.records import (
    ByTable,
    Claim,
    Creation,
    Decided,
    Epoch,
    Lease,
    License,
    LoggedEntry,
    LogQuery,
    Peek,
    Product,
    Rule,
    Token,
    Wish,
)

A = TypeVar("A")


class Ledger(Protocol):
    """Decides on licenses and commits the verdicts."""

    async def decide(self, token: Token, product_id: int, key: str, rule: Rule[A]) -> Decided[A]:
        """Run `rule` on the license and answer once its verdict is on disk, exactly once, and still held when it got there.

        The rule may run several times and must have no effects. Calls on one license are decided in order of arrival,
        each on the license as the one before left it. Raises `NoProduct`, `NoLicense` (with the token confirmed),
        `Stale` (the token has changed), `Busy`, `Unavailable`, `Broken`.
        """
        ...

    async def glance(self, token: Token, product_id: int, key: str) -> License:
        """Return the license as memory has it, which may be old; read if memory has none.

        Nothing may rest on it but what a later `decide` confirms. Raises as `decide`.
        """
        ...

    def now(self) -> float:
        """Return the time of the database: of its last answer, and what has passed here since (Unix seconds)."""
        ...


class Tokens(Protocol):
    """Access tokens by their id. What is returned may be old: the commit or the read that uses it says so."""

    async def find(self, token_id: int) -> Token | None:
        """Return the token, or None (asked of PostgreSQL) if it is unknown or revoked."""
        ...

    async def confirm(self, token: Token) -> bool:
        """Return whether the token still is as it is known here; if not, forget it."""
        ...


class Licenses(Protocol):
    """Makes licenses; finds them by what is not their key."""

    async def create(self, token: Token, product_id: int, rule: Callable[[Product], Creation[A]]) -> A:
        """Run `rule` on the product and make what it wants in one transaction, with its log rows.

        Raises `NoProduct` (with the token confirmed), `NoCustomer`, `Stale` (the token has changed), `Conflict` (the
        trial code is remembered already), `Busy`, `Unavailable`.
        """
        ...

    async def show(self, token: Token, product_id: int, key: str) -> License:
        """Return the license as it is now. Raises `NoProduct`, `NoLicense`, `Stale`, `Unavailable`."""
        ...

    async def trial_key(self, token: Token, product_id: int, code_hash: bytes) -> str | None:
        """Return the key that was made as the trial of this machine code, or None.

        Raises `NoProduct` (with the token confirmed), `Stale`, `Unavailable`.
        """
        ...


class Log(Protocol):
    """Reads the Web API log."""

    async def read(self, token: Token, query: LogQuery) -> list[LoggedEntry]:
        """Return the entries in order of id, every row among them that was answered before the call.

        A reader that follows the last id misses none and sees none twice. Raises `Stale`, `Unavailable`.
        """
        ...


class LeaseTable(Protocol):
    """The leases as PostgreSQL keeps them, and the epochs that say who decides on them. Raises `Unavailable`, `Busy`."""

    async def epochs(self, licenses: Sequence[int]) -> dict[int, Epoch]:
        """Return the epoch of each license (by id) as it is now; a license that is not there has none."""
        ...

    async def lift(self, known: Mapping[int, int], *, to_table: bool) -> dict[int, Epoch]:
        """Raise the epochs of licenses to the next odd (`to_table`) or even number; return those that this call raised.

        `known` has the number that each was last read at: one that has moved on is left as it is. Waits for nobody.
        """
        ...

    async def settled(self) -> None:
        """Return when every batch that was being written at the time of the call has ended."""
        ...

    async def mark_ready(self, known: Mapping[int, int]) -> None:
        """Mark odd epochs ready, where they still are what `known` says. For whoever has passed `settled` since."""
        ...

    async def read(self, licenses: Sequence[int]) -> dict[int, tuple[Lease, ...]]:
        """Return the rows of the leases of each license, ended and released ones too, in order of code."""
        ...

    async def clock(self) -> float:
        """Return PostgreSQL's time, in Unix seconds."""
        ...


class Seats(Protocol):
    """Floating seats, claimed in Valkey and committed by the ledger.

    Without Valkey every claim answers `ByTable`, once the leases table may decide: slower, and exact. So Valkey may be
    lost, emptied, restored or out of reach at any moment. Raises `Unavailable` without PostgreSQL, `Busy` after five
    rounds.
    """

    async def claim(self, license: License, wish: Wish, *, lists: bool = False) -> Claim | ByTable:
        """Take or renew a seat for the caller, who commits it: what is not committed lapses, and refuses nobody for long.

        `license` may be old: only its id, its limit and its epoch matter, and the rule compares them. With `lists` the
        claim tells all seats that are taken, too, unless they are very many.
        """
        ...

    async def peek(self, license: License, code: str) -> Peek | ByTable:
        """Look where a machine's lease stands, so that its release can be committed; frees nothing yet."""
        ...

    async def confirm(self, license_id: int, claim: Claim) -> None:
        """Let the set end a lease when its answer said so: for a claim that is committed."""
        ...

    async def undo(self, license_id: int, claim: Claim) -> None:
        """Leave the machine with what it had before a claim: for one that is known not to be committed, now or later."""
        ...

    async def free(self, license_id: int, code: str, peek: Peek) -> None:
        """Free a seat whose release is committed, unless it was claimed again since."""
        ...

    async def live(self, license: License) -> tuple[Lease, ...]:
        """Return the seats that are taken, in order of start; read from the table where Valkey cannot tell."""
        ...
