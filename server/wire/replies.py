"""What clients are answered: one dataclass per reply shape. How it is spelled on the wire stands in `encode`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from storage.records import LoggedEntry


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
    """Keys just made: the first, all of them if several were asked for, and the customer if they have one."""

    key: str
    keys: Sequence[str] | None = None
    customer_id: int | None = None


@dataclass(frozen=True, slots=True)
class Logs:
    """Rows of the Web API log; with `classified` each says that it is no anomaly."""

    logs: Sequence[LoggedEntry]
    classified: bool = False


Reply = Done | Licensed | Key | Keys | Logs
