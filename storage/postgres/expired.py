"""Finds the licenses that have expired in products that block such ones. Whether one is blocked, a rule decides."""

from dataclasses import dataclass
from typing import NamedTuple

from storage.postgres.reads import Reads
from storage.postgres.sql import statements

SQL = statements("expired")
LOOKED = 1_000


@dataclass(frozen=True, slots=True)
class Blocking:
    """A product whose expired licenses are blocked: those with one of `features`, or (`all_time_limited`) any."""

    id: int
    account_id: int
    all_time_limited: bool
    features: int


class Position(NamedTuple):
    """A place in the order of expiry: whatever is behind it was looked at."""

    expires: int
    license_id: int


START = Position(-1, 0)


class Step(NamedTuple):
    """The keys of the licenses to decide on, and where to go on; None: there are no more."""

    keys: list[str]
    then: Position | None


async def products(reads: Reads) -> list[Blocking]:
    """Return the products of all accounts that want their expired licenses blocked. Raises `Unavailable`, `Busy`."""
    return [Blocking(**row) for row in await reads.fetch(SQL["products"])]


async def look(reads: Reads, product: Blocking, after: Position, now: int) -> Step:
    """Look at the next thousand licenses of a product that have expired by `now`. Raises `Unavailable`, `Busy`."""
    values = (product.id, *after, now, LOOKED, product.all_time_limited, product.features)
    found = await reads.fetch(SQL["look"], *values)
    then = Position(found[-1]["expires"], found[-1]["id"]) if len(found) == LOOKED else None
    return Step([row["key"] for row in found if row["due"]], then)
