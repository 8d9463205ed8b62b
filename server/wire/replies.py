"""What clients are answered: one dataclass per reply shape. How it is spelled on the wire stands in `encode`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from storage.records import CustomerFile, DataObject, LoggedEntry, LoggedEvent, Message, Referencer


@dataclass(frozen=True, slots=True)
class Done:
    """It is done, and there is nothing else to say."""


@dataclass(frozen=True, slots=True)
class Licensed:
    """A license. StringSign: two base64 texts; LinqSign: an object that carries its signature, and None.

    `metadata` is the finished block, if asked for.
    """

    license_key: str | Mapping[str, object]
    signature: str | None = None
    metadata: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """The text of one key."""

    key: str


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys just made: the first, all of them if several were asked for, and the customer if they have one.

    `portal_link` is where that customer associates with a user, if that was asked for.
    """

    key: str
    keys: Sequence[str] | None = None
    customer_id: int | None = None
    portal_link: str | None = None


@dataclass(frozen=True, slots=True)
class CustomerDone:
    """A customer was made or changed. `secret` is the new one, shown once; `portal_link` is as in `Keys`."""

    customer_id: int
    portal_link: str | None = None
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class Customers:
    """Customers; with `portal_links` (None where one has none, in the same order) all that is kept of them."""

    customers: Sequence[CustomerFile]
    portal_links: Sequence[str | None] | None = None


@dataclass(frozen=True, slots=True)
class CustomerLicenses:
    """Licenses of a customer, each a finished object; `metadata` are the blocks, in the same order, if asked for."""

    license_keys: Sequence[Mapping[str, object]]
    metadata: Sequence[Mapping[str, object]] | None = None


@dataclass(frozen=True, slots=True)
class Logs:
    """Rows of the Web API log; with `classified` each says that it is no anomaly."""

    logs: Sequence[LoggedEntry]
    classified: bool = False


@dataclass(frozen=True, slots=True)
class Events:
    """What clients told of themselves."""

    events: Sequence[LoggedEvent]


@dataclass(frozen=True, slots=True)
class Messages:
    """Broadcasts, the newest first."""

    messages: Sequence[Message]


@dataclass(frozen=True, slots=True)
class MessageId:
    """The id of a broadcast just made."""

    id: int


@dataclass(frozen=True, slots=True)
class DerivedToken:
    """A token just derived, with the id of the license that it is locked to."""

    key_id: int
    token: str


@dataclass(frozen=True, slots=True)
class Id:
    """The id of what was just made."""

    id: int


@dataclass(frozen=True, slots=True)
class DataObjects:
    """Data objects; `referencers` are what each hangs at, if that was asked for: kind and number, in the same order."""

    objects: Sequence[DataObject]
    referencers: Sequence[tuple[Referencer, int]] | None = None


Reply = (
    Done
    | Licensed
    | Key
    | Keys
    | Logs
    | Events
    | Messages
    | MessageId
    | DerivedToken
    | Id
    | DataObjects
    | CustomerDone
    | Customers
    | CustomerLicenses
)
