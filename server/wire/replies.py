"""What clients are answered: one dataclass per reply shape. How it is spelled on the wire stands in `encode`."""

from collections.abc import Mapping, Sequence

import orjson

from storage.frozen import frozen
from storage.records import CustomerFile, DataObject, LoggedEntry, LoggedEvent, Message, Referencer


@frozen
class Done:
    """It is done, and there is nothing else to say."""


@frozen
class Licensed:
    """A license. StringSign: two base64 texts; LinqSign: an object that carries its signature, or its text, and None.

    `metadata` is the finished block, if asked for.
    """

    license_key: str | Mapping[str, object] | orjson.Fragment
    signature: str | None = None
    metadata: Mapping[str, object] | None = None


@frozen
class Key:
    """The text of one key."""

    key: str


@frozen
class Keys:
    """Keys just made: the first, all of them if several were asked for, and the customer if they have one.

    `portal_link` is where that customer associates with a user, if that was asked for.
    """

    key: str
    keys: Sequence[str] | None = None
    customer_id: int | None = None
    portal_link: str | None = None


@frozen
class CustomerDone:
    """A customer was made or changed. `secret` is the new one, shown once; `portal_link` is as in `Keys`."""

    customer_id: int
    portal_link: str | None = None
    secret: str | None = None


@frozen
class Customers:
    """Customers; with `portal_links` (None where one has none, in the same order) all that is kept of them."""

    customers: Sequence[CustomerFile]
    portal_links: Sequence[str | None] | None = None


@frozen
class CustomerLicenses:
    """Licenses of a customer, each a finished object; `metadata` are the blocks, in the same order, if asked for."""

    license_keys: Sequence[Mapping[str, object]]
    metadata: Sequence[Mapping[str, object]] | None = None


@frozen
class Logs:
    """Rows of the Web API log; with `classified` each says that it is no anomaly."""

    logs: Sequence[LoggedEntry]
    classified: bool = False


@frozen
class Events:
    """What clients told of themselves."""

    events: Sequence[LoggedEvent]


@frozen
class Messages:
    """Broadcasts, the newest first."""

    messages: Sequence[Message]


@frozen
class MessageId:
    """The id of a broadcast just made."""

    id: int


@frozen
class DerivedToken:
    """A token just derived, with the id of the license that it is locked to."""

    key_id: int
    token: str


@frozen
class Id:
    """The id of what was just made."""

    id: int


@frozen
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
