"""What may be asked of storage, and what storage promises. Adapters implement it; handlers know nothing else.

When PostgreSQL is gone every call here raises `Unavailable` at once (a call under way: within five seconds). It may then
have been done or not; nothing that was answered is ever lost.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

from storage.records import Creation, Decided, License, LoggedEntry, LogQuery, Product, Rule, Token

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
