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
    Customer,
    CustomerEdit,
    CustomerFile,
    CustomerQuery,
    DataObject,
    Decided,
    Derived,
    Epoch,
    Event,
    EventQuery,
    Lease,
    License,
    LicensesQuery,
    Limit,
    LoggedEntry,
    LoggedEvent,
    LogQuery,
    Made,
    Message,
    NewCustomer,
    Peek,
    Place,
    Product,
    Rule,
    Token,
    Verdict,
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

    def known(self, token: Token, product_id: int, key: str) -> License | None:
        """Return the license as memory has it, which may be old; None if memory has none. Asks nobody."""
        ...

    def now(self) -> float:
        """Return the time of the database: of its last answer, and what has passed here since (Unix seconds)."""
        ...


class Tokens(Protocol):
    """Access tokens by their id. What is returned may be old: the commit or the read that uses it says so."""

    async def find(self, token_id: int) -> Token | None:
        """Return the token, or None (asked of PostgreSQL) if it is unknown or revoked."""
        ...

    def known(self, token_id: int) -> Token | None:
        """Return the token as memory has it, which may be old; None if memory has none. Asks nobody."""
        ...

    async def confirm(self, token: Token) -> bool:
        """Return whether the token still is as it is known here; if not, forget it."""
        ...

    async def derive(self, token: Token, product_id: int, key: str, secret_hash: bytes, now: int) -> Derived:
        """Make a token that may do what this one may, but only with one license; it ends with this one, or before.

        Of the good ones of a license only the newest thousand stay so. One transaction with its row in the object log, sent
        once. Raises `NoProduct`, `NoLicense` (with the token confirmed), `Stale`, `Busy`, `Unavailable`.
        """
        ...


class Licenses(Protocol):
    """Makes licenses; finds them by what is not their key."""

    async def create(self, token: Token, product_id: int, rule: Callable[[Product], Creation[A]]) -> A:
        """Run `rule` on the product and make what it wants in one transaction, with its log rows.

        Raises `NoProduct` (with the token confirmed), `NoCustomer`, `Stale` (the token has changed), `Conflict` (the
        trial code is remembered already), `Busy`, `Unavailable`.
        """
        ...

    async def make(self, token: Token, product_id: int, rule: Callable[[Product], Creation[A]]) -> Made[A]:
        """As `create`; tells the customer, too, who was made along with the licenses or re-used for them."""
        ...

    async def show(self, token: Token, product_id: int, key: str) -> License:
        """Return the license as it is now. Raises `NoProduct`, `NoLicense`, `Stale`, `Unavailable`."""
        ...

    async def trial_key(self, token: Token, product_id: int, code_hash: bytes) -> str | None:
        """Return the key that was made as the trial of this machine code, or None.

        Raises `NoProduct` (with the token confirmed), `Stale`, `Unavailable`.
        """
        ...


class Objects(Protocol):
    """Data objects that hang at no license, and of all of them the ids and what they hang at.

    What takes a token raises `Stale` if it has changed.
    """

    async def new_id(self) -> int:
        """Return an id for a data object that is to be made; it may stay unused. Raises `Unavailable`, `Busy`."""
        ...

    async def find(self, token: Token, object_id: int) -> Place | None:
        """Return what an object of the account hangs at, or None. Raises `Stale`, `Unavailable`, `Busy`."""
        ...

    async def find_license(self, token: Token, license_id: int) -> Place | None:
        """Return the license of the account as something that objects hang at, or None. Raises as `find`."""
        ...

    async def read(self, token: Token, place: Place) -> tuple[DataObject, ...]:
        """Return the objects of a product or of the account, in order of id. Raises `NoProduct`, and as `find`."""
        ...

    async def read_all(self, token: Token, product_id: int, contains: str) -> list[tuple[DataObject, Place]]:
        """Return the account's objects (0), or those of one product, its licenses and their machine codes, in order of id.

        Only those whose name contains a text, in whatever case, and at most 10,000. Raises as `find`.
        """
        ...

    async def decide(
        self, token: Token, place: Place, rule: Callable[[tuple[DataObject, ...]], Verdict[A]], *, edits: bool
    ) -> A:
        """Run `rule` on the objects of a product or of the account; return its answer once its verdict is on disk.

        Nobody else changes them meanwhile, so concurrent calls all count. Of a verdict the object that it puts or drops
        is looked at, and the edit, if the caller says that there may be one (`edits`). Sent once, never repeated. Raises
        `NoProduct` (with the token confirmed), `Stale`, `Busy`, `Unavailable`.
        """
        ...


class Customers(Protocol):
    """Customers. Every call raises `Stale` if the token has changed, `Busy` and `Unavailable`.

    Licenses rest on their customer: what is changed here holds for every call that begins after it was answered.
    """

    async def find(self, token: Token, customer_id: int) -> Customer | None:
        """Return a customer of the account as licenses show it, or None."""
        ...

    async def search(self, token: Token, query: CustomerQuery) -> list[CustomerFile]:
        """Return the customers that are asked for, newest first."""
        ...

    async def licenses(self, token: Token, query: LicensesQuery) -> list[License] | None:
        """Return the licenses of a customer in order of id, without their leases; None if there is no such customer."""
        ...

    async def add(self, token: Token, new: NewCustomer) -> int:
        """Make a customer and return its id. Raises `Conflict` if another has that secret."""
        ...

    async def edit(self, token: Token, customer_id: int, edit: CustomerEdit, now: int) -> bool | None:
        """Set what is given; return whether the customer may be associated with a user then, None if there is no such.

        Raises `Conflict` if another has that secret.
        """
        ...

    async def remove(self, token: Token, customer_id: int, now: int) -> bool:
        """Remove a customer; its licenses stay and lose it. False if there is no such customer.

        Not one transaction: if it fails half-way, some licenses have lost the customer, and another call goes on from there.
        """
        ...


class Log(Protocol):
    """Reads the Web API log."""

    async def read(self, token: Token, query: LogQuery) -> list[LoggedEntry]:
        """Return the entries in order of id, every row among them that was answered before the call.

        A reader that follows the last id misses none and sees none twice. Raises `Stale`, `Unavailable`.
        """
        ...


class Events(Protocol):
    """What clients tell of themselves. Events that name a license are written by the ledger."""

    async def add(self, token: Token, product_id: int, events: Sequence[Event]) -> None:
        """Write events that name no license, in their order, all or none; `product_id` 0 names no product either.

        Sent once, never repeated. Raises `NoProduct` (with the token confirmed), `Stale`, `Busy`, `Unavailable`.
        """
        ...

    async def read(self, token: Token, query: EventQuery) -> list[LoggedEvent]:
        """Return events in order of id, as `Log.read` does entries. Raises `Stale`, `Unavailable`."""
        ...


class Messages(Protocol):
    """Broadcasts to client software. Raises `Stale` if the token has changed, `Busy`, `Unavailable`."""

    async def newer(self, token: Token, channel: str, time: int, most: int) -> list[Message]:
        """Return the newest messages made after `time`, the newest first; of all channels, or of one ('': all)."""
        ...

    async def add(self, token: Token, *, content: str, channel: str, created: int, now: int) -> int:
        """Make a message and return its id; with a row in the object log, which does not have its text."""
        ...

    async def remove(self, token: Token, message_id: int, now: int) -> bool:
        """Remove a message of the account, with a row in the object log; False if there is none."""
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


class Limits(Protocol):
    """Counts calls by name, over all workers.

    Nothing here waits for Valkey or raises: without it each worker counts alone.
    """

    def take(self, name: str, limit: Limit) -> float:
        """Count one call under a name; return 0.0 if it may pass, else the seconds until the next may (> 0).

        What is refused is not counted.
        """
        ...

    def wait(self, name: str, limit: Limit) -> float:
        """As `take`, but count nothing: how long the name would have to wait now."""
        ...
