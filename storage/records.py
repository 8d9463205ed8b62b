"""What is known: the records that rules decide on and storage keeps. Frozen, without behaviour but `after(change)`.

Times are whole Unix seconds (UTC). A `stamp` is 63 random bits that name one state of one record and never another
(stamps.py). Texts are never None: what is not set is the empty text.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Generic, NamedTuple, TypeVar

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


class DataObject(NamedTuple):
    """A named pair of a text and an int32."""

    id: int
    name: str
    string_value: str
    int_value: int


class Feature(NamedTuple):
    """The product's name for one of F1…F8, and its type."""

    name: str
    type: FeatureType


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
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


class Machine(NamedTuple):
    """A node-locked machine. `ip` is its full address, `proxy_ip` the hop that connected (stored, never returned)."""

    code: str
    friendly_name: str
    ip: str
    proxy_ip: str
    time: int


@dataclass(frozen=True, slots=True)
class Change:
    """What a verdict does to a license; None leaves a value as it is.

    `register` adds a machine or replaces the one of the same code; `forget` removes a machine and the data objects
    attached to its code.
    """

    register: Machine | None = None
    forget: str | None = None
    expires: int | None = None
    period: int | None = None
    block: bool | None = None
    max_machines: int | None = None
    ever_activated: bool | None = None


# What a Change may set on the license row itself: the names are the same in Change, License and the SQL.
CHANGEABLE = ("expires", "period", "block", "max_machines", "ever_activated")


@dataclass(frozen=True, slots=True)
class License:
    """A license with all that its answer shows.

    `id` is the wire's GlobalId, `number` its ID inside the product; bit n-1 of `features` is Fn. `machines` is in the
    order of registration (time, then code). `ever_activated` says that a machine was registered once, if gone since.
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

    def after(self, change: Change, stamp: int) -> "License":
        """Return the license as `change` leaves it, with the stamp that names the new state."""
        values = {name: value for name in CHANGEABLE if (value := getattr(change, name)) is not None}
        machines = self.machines
        if change.forget is not None:
            machines = {code: machine for code, machine in machines.items() if code != change.forget}
        if change.register is not None:
            machines = _with_machine(machines, change.register)
        return replace(self, machines=machines, stamp=stamp, **values)

    @property
    def facts(self) -> tuple[Fact, ...]:
        """The records beside its own row that the license shows."""
        if self.customer is None:
            return (self.product.fact,)
        return (self.product.fact, self.customer.fact)


def _with_machine(machines: Mapping[str, Machine], new: Machine) -> dict[str, Machine]:
    """Return the machines with one added or replaced, in the order (time, code) that a load from storage has."""
    grown = dict(machines)
    last = next(reversed(grown.values()), None)
    grown[new.code] = new
    if new.code in machines or last is None or (last.time, last.code) <= (new.time, new.code):
        return grown
    return {machine.code: machine for machine in sorted(grown.values(), key=lambda each: (each.time, each.code))}


@dataclass(frozen=True, slots=True)
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


class LoggedEntry(NamedTuple):
    """A row of the Web API log as a reader gets it: its id is the cursor."""

    id: int
    entry: Entry


class Edit(NamedTuple):
    """One row of the object log: who changed what, by hand. The order of fields is that of the SQL type `object_edit`."""

    account_id: int
    time: int
    object_type: str
    object_id: int
    action: str
    token_id: int
    changes: str


@dataclass(frozen=True, slots=True)
class Verdict(Generic[A_co]):
    """What a rule says: the change (often none), what to log, and `answer`, which storage hands back unread."""

    answer: A_co
    change: Change | None = None
    entry: Entry | None = None
    edit: Edit | None = None


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Creation(Generic[A_co]):
    """What a rule wants made in one product, or why not.

    `state` is logged for each license made, or once if none is. `machine` is registered on each; with `trial_code`
    (the keyed hash of a machine code) the first license is remembered as that code's trial key.
    """

    answer: A_co
    licenses: tuple[NewLicense, ...]
    entry: Entry
    machine: Machine | None = None
    trial_code: bytes | None = None


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Account:
    """A vendor: owner of products, tokens and one RSA key pair, of which only the public half is kept here."""

    id: int
    name: str
    public_key: bytes = field(repr=False)
