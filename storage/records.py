"""What is known: the records that rules decide on and storage keeps. Frozen, without behaviour but `after(change)`.

Times are whole Unix seconds (UTC). A `stamp` is 63 random bits that name one state of one record and never another
(stamps.py). Texts are never None: what is not set is the empty text.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace
from enum import IntEnum
from operator import attrgetter
from typing import Any, Generic, NamedTuple, TypeVar

from storage.frozen import frozen

A_co = TypeVar("A_co", covariant=True)


class FeatureType(IntEnum):
    """What a product means by one of its eight features."""

    NORMAL = 0
    TIME_LIMITED = 1
    TRIAL = 2


class FactKind(IntEnum):
    """The kinds of record, beside the license, that a verdict may rest on."""

    PRODUCT = 1
    CUSTOMER = 2
    TOKEN = 3


class Fact(NamedTuple):
    """A record in the state that a verdict was made on: it must still be in it when the verdict is committed."""

    kind: FactKind
    id: int
    stamp: int


class Referencer(IntEnum):
    """The kinds of what a data object hangs at: `MACHINE_CODE` is one under a license, registered or not."""

    USER = 0
    PRODUCT = 1
    KEY = 2
    MACHINE_CODE = 3


class DataObject(NamedTuple):
    """A named pair of a text and an int32."""

    id: int
    name: str
    string_value: str
    int_value: int


class Placed(NamedTuple):
    """A data object of a license: its own, or (`machine_code`) one that hangs at a machine code under it."""

    object: DataObject
    machine_code: str | None = None


class Place(NamedTuple):
    """What a data object hangs at: `id` is that of the account, the product or the license.

    Of a license and of a machine code under it `product_id` and `key` say how the ledger finds the license; they are unset
    where nobody looked.
    """

    referencer: Referencer
    id: int
    product_id: int = 0
    key: str = ""


class Feature(NamedTuple):
    """The product's name for one of F1…F8, and its type."""

    name: str
    type: FeatureType


@frozen
class Product:
    """A container of licenses. `features` has eight entries, F1 first."""

    id: int
    account_id: int
    name: str
    description: str
    created: int
    features: tuple[Feature, ...]
    all_time_limited: bool
    block_expired: bool
    data_objects: tuple[DataObject, ...]
    stamp: int

    @property
    def fact(self) -> Fact:
        """The product as a verdict rests on it."""
        return Fact(FactKind.PRODUCT, self.id, self.stamp)


@frozen
class Customer:
    """Whom a license is assigned to, as far as the license shows it."""

    id: int
    name: str
    email: str
    company_name: str
    created: int
    stamp: int

    @property
    def fact(self) -> Fact:
        """The customer as a verdict rests on it."""
        return Fact(FactKind.CUSTOMER, self.id, self.stamp)


@frozen
class CustomerFile:
    """All that is kept of a customer but the hash of the secret. `max_no_of_devices` 0 is no limit."""

    customer: Customer
    notes: str
    enable_customer_association: bool
    allow_activation_management: bool
    allow_multiple_user_association: bool
    max_no_of_devices: int


class NewCustomer(NamedTuple):
    """A customer to be made. The order of fields is that of the SQL type `new_customer`.

    `secret_hash` is the SHA-256 of the secret; None: nobody was told one.
    """

    name: str
    email: str
    company_name: str
    notes: str
    enable_customer_association: bool
    allow_activation_management: bool
    allow_multiple_user_association: bool
    secret_hash: bytes | None
    created: int
    stamp: int


class CustomerEdit(NamedTuple):
    """What is to be set of a customer; None leaves it as it is. The order of fields is that of the SQL type."""

    name: str | None
    email: str | None
    company_name: str | None
    notes: str | None
    enable_customer_association: bool | None
    allow_activation_management: bool | None
    allow_multiple_user_association: bool | None
    max_no_of_devices: int | None
    secret_hash: bytes | None


@frozen
class CustomerQuery:
    """Which customers to list: zero, empty and None mean "any".

    A customer is found whose name, company or email contains `search`, in any case, or whose secret has `secret_hash`,
    or whose id is `id_in_search`.
    """

    customer_id: int = 0
    search: str = ""
    secret_hash: bytes | None = None
    id_in_search: int | None = None
    limit: int = 0


@frozen
class LicensesQuery:
    """Whose licenses to list: of the customer with this id, or (0) with the secret of this hash.

    `product_id` and `license_id` are what the list is held to; 0 is "any".
    """

    customer_id: int = 0
    secret_hash: bytes | None = None
    product_id: int = 0
    license_id: int = 0


class Assigned(NamedTuple):
    """Whom a license is assigned to from now on; None is nobody."""

    customer: Customer | None


class Machine(NamedTuple):
    """A node-locked machine. `ip` is its full address, `proxy_ip` the hop that connected (stored, never returned)."""

    code: str
    friendly_name: str
    ip: str
    proxy_ip: str
    time: int


class LeaseKind(IntEnum):
    """A seat within the license's limit, or one of those above it that the caller asked for."""

    REGULAR = 1
    OVERDRAFT = 2


class Rank(NamedTuple):
    """What orders the rows of one machine's lease: the higher one counts, whatever the order of commits."""

    epoch: int
    seq: int
    released: bool


class Lease(NamedTuple):
    """A floating seat of one machine code, as it was granted, or (`released`) as it was given back.

    It lives while `expires` lies ahead and it is not released. `start` is when the seat was granted, `time` the last
    claim or the release, `ip` a masked address. The order of fields is that of the SQL type `lease`.
    """

    code: str
    kind: LeaseKind
    start: int
    time: int
    expires: int
    friendly_name: str
    ip: str
    epoch: int
    seq: int
    released: bool = False

    @property
    def rank(self) -> Rank:
        """Where the row stands among those of its machine."""
        return Rank(self.epoch, self.seq, self.released)

    def lives(self, now: int) -> bool:
        """Whether the seat is taken at `now`; a lease that ends at an instant is dead at it."""
        return not self.released and self.expires > now


_BY_START = attrgetter("start", "code")


def in_order(leases: Iterable[Lease]) -> tuple[Lease, ...]:
    """Return leases as they are shown: in order of start, then code."""
    return tuple(sorted(leases, key=_BY_START))


def living(leases: Iterable[Lease], now: int) -> tuple[Lease, ...]:
    """Return the seats that are taken at `now`, in order."""
    return in_order(lease for lease in leases if lease.lives(now))


class Wish(NamedTuple):
    """What a floating call asks for: a seat for `interval` seconds, and up to `overdraft` seats above the limit."""

    code: str
    interval: int
    overdraft: int
    friendly_name: str
    ip: str


class Held(NamedTuple):
    """What a set had of a machine before a claim."""

    kind: LeaseKind
    expires: int


class Claim(NamedTuple):
    """What Valkey answered to a wish: granted with a `lease`, or (None) refused. It counts once its verdict is committed.

    `epoch` and `limit` are what it was decided under, `now` is the server's time. The set has the lease until `kept`,
    which may be later than was answered, and had it as `was` (None: the seat is newly taken). `run` names the life of the
    server that answered. `leases` are all that live in the set, in order, this one as it was granted, if they were asked
    for.
    """

    lease: Lease | None
    epoch: int
    limit: int
    now: int
    kept: int = 0
    was: Held | None = None
    run: bytes = b""
    leases: tuple[Lease, ...] | None = None


class Peek(NamedTuple):
    """Where a machine's lease stands in Valkey (or the set, if it has none) before it is released."""

    epoch: int
    seq: int
    now: int
    run: bytes


class ByTable(NamedTuple):
    """There is no claim: the license's epoch is odd, and the leases table decides, at PostgreSQL's time `now`."""

    now: float


class Epoch(NamedTuple):
    """Who decides on a license's seats: 0 nobody yet, even Valkey, odd the leases table once it is `ready`.

    `at` is when it was raised, by PostgreSQL's clock. Ready means: every batch begun before the epoch was raised has
    ended, so that the rows of the table are all there are.
    """

    number: int = 0
    at: int = 0
    ready: bool = False

    @property
    def by_valkey(self) -> bool:
        """Whether the set in Valkey decides that was seeded under this epoch."""
        return self.number > 0 and self.number % 2 == 0

    @property
    def by_table(self) -> bool:
        """Whether the leases table alone decides."""
        return self.number % 2 == 1


NEVER_FLOATING = Epoch()
# How long the row of a lease is kept after it has ended: it fences off what is still in flight.
ROW_SECONDS = 600


@frozen
class Change:
    """What a verdict does to a license; None leaves a value as it is.

    `register` adds a machine or replaces the one of the same code; `forget` removes a machine and the data objects
    attached to its code. `lease` is one that the rule decided by the table; `counted_code` (a keyed hash) is remembered
    as having started a trial countdown by a floating seat. `put` adds a data object or replaces the one of the same id.
    A verdict that assigns a customer rests on it (`Verdict.facts`).
    """

    register: Machine | None = None
    forget: str | None = None
    lease: Lease | None = None
    counted_code: bytes | None = None
    put: Placed | None = None
    drop: Placed | None = None
    assign: Assigned | None = None
    expires: int | None = None
    period: int | None = None
    features: int | None = None
    notes: str | None = None
    block: bool | None = None
    trial_activation: bool | None = None
    max_machines: int | None = None
    ever_activated: bool | None = None


# What a Change may set on the license row itself: the names are the same in Change, License and the SQL.
CHANGEABLE = (
    "expires", "period", "features", "notes", "block", "trial_activation", "max_machines", "ever_activated",
)  # fmt: skip


@frozen
class License:
    """A license with all that its answer shows.

    `id` is the wire's GlobalId, `number` its ID inside the product; bit n-1 of `features` is Fn. `machines` is in the
    order of registration (time, then code). `ever_activated` says that a machine was registered once, if gone since.
    `leases` are the rows of the leases table, ended ones too, by code, and only while the epoch says that the table
    decides and is ready; under an even epoch they change without the license. `counted_codes` are those of `Change`.
    Data objects are in order of id; `machine_objects` are those of machine codes, and no answer about the license shows
    them.
    """

    id: int
    account_id: int
    product: Product
    number: int
    key: str
    created: int
    expires: int
    period: int
    features: int
    notes: str
    block: bool
    customer: Customer | None
    trial_activation: bool
    ever_activated: bool
    max_machines: int
    allowed_machines: str
    machines: Mapping[str, Machine]
    data_objects: tuple[DataObject, ...]
    stamp: int
    epoch: Epoch = NEVER_FLOATING
    leases: Mapping[str, Lease] = field(default_factory=dict)
    counted_codes: frozenset[bytes] = frozenset()
    machine_objects: Mapping[str, tuple[DataObject, ...]] = field(default_factory=dict)

    def after(self, change: Change, stamp: int) -> "License":
        """Return the license as `change` leaves it, with the stamp that names the new state."""
        values: dict[str, Any] = {  # each is of its field
            name: value for name in CHANGEABLE if (value := getattr(change, name)) is not None
        }
        if change.forget is not None:
            values["machines"] = _without(self.machines, change.forget)
            values["machine_objects"] = _without(self.machine_objects, change.forget)
        if change.register is not None:
            values["machines"] = _with_machine(values.get("machines", self.machines), change.register)
        if change.lease is not None:
            values["leases"] = _with_lease(self.leases, change.lease)
        if change.counted_code is not None:
            values["counted_codes"] = self.counted_codes | {change.counted_code}
        if change.assign is not None:
            values["customer"] = change.assign.customer
        for placed, kept in ((change.drop, False), (change.put, True)):
            if placed is not None:
                values.update(self._with_object(placed, kept=kept))
        return replace(self, stamp=stamp, **values)

    def objects(self, machine_code: str | None) -> tuple[DataObject, ...]:
        """Return the license's own data objects (None), or those of a machine code, in order of id."""
        return self.data_objects if machine_code is None else self.machine_objects.get(machine_code, ())

    def _with_object(self, placed: Placed, *, kept: bool) -> dict[str, object]:
        """Return the data objects as they become, by the name of their field: with this one, or without it."""
        code, new = placed.machine_code, placed.object
        others = [each for each in self.objects(code) if each.id != new.id]
        objects = tuple(sorted([*others, new])) if kept else tuple(others)
        if code is None:
            return {"data_objects": objects}
        rest = _without(self.machine_objects, code)
        return {"machine_objects": {**rest, code: objects} if objects else rest}

    @property
    def customer_id(self) -> int | None:
        """Whom the license is assigned to, by id."""
        return None if self.customer is None else self.customer.id

    @property
    def facts(self) -> tuple[Fact, ...]:
        """The records beside its own row that the license shows."""
        if self.customer is None:
            return (self.product.fact,)
        return (self.product.fact, self.customer.fact)


V = TypeVar("V")


def _without(values: Mapping[str, V], code: str) -> Mapping[str, V]:
    """Return the values without the one of a machine code; the same mapping if there is none."""
    return {each: value for each, value in values.items() if each != code} if code in values else values


def _with_machine(machines: Mapping[str, Machine], new: Machine) -> dict[str, Machine]:
    """Return the machines with one added or replaced, in the order (time, code) that a load from storage has."""
    grown = dict(machines)
    last = next(reversed(grown.values()), None)
    grown[new.code] = new
    if new.code in machines or last is None or (last.time, last.code) <= (new.time, new.code):
        return grown
    return {machine.code: machine for machine in sorted(grown.values(), key=lambda each: (each.time, each.code))}


def _with_lease(leases: Mapping[str, Lease], new: Lease) -> dict[str, Lease]:
    """Return the rows with one added or replaced, without those that ended so long ago that storage forgets them too."""
    since = new.time - ROW_SECONDS
    return {**{code: lease for code, lease in leases.items() if lease.expires > since}, new.code: new}


@frozen
class Token:
    """An access token, without its secret. Locks are 0 when unset; `parent` is the token that KeyLock derived it from.

    Id 0 is the command line of the installation itself: it rests on nothing and cannot be revoked.
    """

    id: int
    account_id: int
    name: str
    secret_hash: bytes
    permissions: frozenset[str]
    product_lock: int
    key_lock: int
    feature_lock: int
    expires: int | None
    stamp: int
    parent: Fact | None = None

    @property
    def facts(self) -> tuple[Fact, ...]:
        """The token, and its parent if it has one, as a verdict rests on them."""
        if self.id == 0:
            return ()
        own = Fact(FactKind.TOKEN, self.id, self.stamp)
        return (own,) if self.parent is None else (own, self.parent)


class Entry(NamedTuple):
    """One row of the Web API log; `ip` is masked already. The order of fields is that of the SQL type `log_entry`."""

    account_id: int
    product_id: int
    license_id: int
    key: str
    ip: str
    time: int
    state: int
    machine_code: str = ""
    friendly_name: str = ""
    floating_expires: int = 0
    do_int_value: int = 0
    do_id: int = 0


class Event(NamedTuple):
    """Something that a client tells of itself (protocol: events). The order of fields is that of the SQL type `new_event`.

    `license_id` and `product_id` are 0 where none is named. `value` is a whole number (money in hundredths), `metadata`
    free text; the address of the caller is not in it.
    """

    account_id: int
    product_id: int
    license_id: int
    machine_code: str
    feature_name: str
    event_name: str
    value: int
    currency: str
    time: int
    metadata: str


class Usage(NamedTuple):
    """An amount to be billed for a license (protocol: RecordUsage)."""

    amount: int
    time: int


class LoggedEntry(NamedTuple):
    """A row of the Web API log as a reader gets it: its id is the cursor."""

    id: int
    entry: Entry


class LoggedEvent(NamedTuple):
    """An event as a reader gets it: its id is the cursor; `key` is that of its license, '' if it has none."""

    id: int
    key: str
    event: Event


class Message(NamedTuple):
    """A broadcast to client software: a text in a channel, which may be ''. The order of fields is that of the wire."""

    id: int
    content: str
    created: int
    channel: str


class Edit(NamedTuple):
    """One row of the object log: who changed what, by hand. The order of fields is that of the SQL type `object_edit`."""

    account_id: int
    time: int
    object_type: str
    object_id: int
    action: str
    token_id: int
    changes: str


@frozen
class Verdict(Generic[A_co]):
    """What a rule says: the change (often none), what to log, and `answer`, which storage hands back unread.

    `lease` is one that Valkey granted or released: its row is written, and the license is not changed by it. `facts` are
    what the verdict rests on beside the license and the token: a customer whom it assigns.
    """

    answer: A_co
    change: Change | None = None
    entry: Entry | None = None
    edit: Edit | None = None
    lease: Lease | None = None
    events: tuple[Event, ...] = ()
    usage: Usage | None = None
    facts: tuple[Fact, ...] = ()


@frozen
class Decided(Generic[A_co]):
    """A committed verdict: the license as it left it, and its answer."""

    license: License
    answer: A_co


Rule = Callable[[License], Verdict[A_co]]


class NewLicense(NamedTuple):
    """A license to be made. The order of fields is that of the SQL type `new_license`."""

    key: str
    created: int
    expires: int
    period: int
    features: int
    notes: str
    block: bool
    customer_id: int | None
    trial_activation: bool
    max_machines: int
    allowed_machines: str
    stamp: int


@frozen
class Creation(Generic[A_co]):
    """What a rule wants made in one product, or why not.

    `state` is logged for each license made, or once if none is. `machine` is registered on each; with `trial_code`
    (the keyed hash of a machine code) the first license is remembered as that code's trial key. With `customer` the
    licenses are for a customer who is made along with them, or (`reuse`) the one who has that email, in any case.
    """

    answer: A_co
    licenses: tuple[NewLicense, ...]
    entry: Entry
    machine: Machine | None = None
    trial_code: bytes | None = None
    customer: NewCustomer | None = None
    reuse: bool = False


@frozen
class Made(Generic[A_co]):
    """What became of a `Creation`: its answer, and the id of its customer if it named one to be made or re-used."""

    answer: A_co
    customer_id: int | None


@frozen
class LogQuery:
    """What to read of the Web API log; zero, empty and None mean "any". `since` and `until` are inclusive Unix seconds."""

    account_id: int
    product_id: int = 0
    license_id: int = 0
    machine_code: str | None = None
    friendly_name: str = ""
    states: tuple[int, ...] = ()
    since: int | None = None
    until: int | None = None
    after_id: int = 0
    before_id: int = 0
    descending: bool = False
    limit: int = 10


@frozen
class EventQuery:
    """What to read of the events; as `LogQuery`. `metadata` is a part of it, in the same case.

    With `before_id` the newest come first.
    """

    account_id: int
    product_id: int = 0
    license_id: int = 0
    metadata: str = ""
    since: int | None = None
    until: int | None = None
    after_id: int = 0
    before_id: int = 0
    limit: int = 10


class Derived(NamedTuple):
    """A token that was derived for one license: the ids of both."""

    license_id: int
    token_id: int


class Limit(NamedTuple):
    """How often something may happen: `rate` a second in the long run, and up to `burst` at once."""

    rate: float
    burst: float


@frozen
class Account:
    """A vendor: owner of products, tokens and one RSA key pair, of which only the public half is kept here."""

    id: int
    name: str
    public_key: bytes = field(repr=False)
