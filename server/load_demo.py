"""Demo data by the million: what they are, worked out from a seed alone, and how they come into a product of their own.

The same plan gives the same keys, machine codes and names on every machine, so that a benchmark can be repeated, and aimed
without reading the database. So anybody can work the keys out: they are no data for products that are sold.
"""

import asyncio
import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import NamedTuple

from server.demo import DAYS, FEATURES
from server.rules import keystring, term
from storage.postgres.admin import Admin
from storage.postgres.bulk import Bulk, Filled, bulk
from storage.records import Machine, NewLicense
from storage.stamps import new_stamp

DESCRIPTION = "Made by load-demo: anybody can work out its keys"
CODE_BYTES = 32  # a machine code is 64 hex digits, as the SDKs' own
ROWS = 25_000  # of a transaction: half a second, in nobody's way. Never change it: an unfinished load is resumed by it
LANES = 2  # connections. 200,000 licenses with 5 machines: 16.9 s with one, 14.5 with two, 14.2 with three (2 busy cores)

Tell = Callable[[str, int], None]


class Planned(NamedTuple):
    """A license key, and the codes of its machines."""

    key: str
    codes: list[str]


@dataclass(frozen=True, slots=True)
class Plan:
    """So many licenses with so many machines each. License n (from 1) is the same in every plan of the seed.

    So are its machines: with fewer of them it has the first.
    """

    licenses: int
    machines: int
    seed: int = 0

    def license(self, number: int) -> Planned:
        """Return one of the licenses, 1 to `licenses`."""
        length = keystring.BYTES_NEEDED + CODE_BYTES * self.machines
        digest = hashlib.shake_128(f"{self.seed}/{number}".encode()).digest(length)
        codes = digest[keystring.BYTES_NEEDED :].hex()
        step = CODE_BYTES * 2
        return Planned(keystring.from_bytes(digest), [codes[at : at + step] for at in range(0, len(codes), step)])

    def sample(self, size: int) -> Iterator[tuple[str, str]]:
        """Draw so many different licenses, each with one of its machines, all equally likely: keys and machine codes."""
        chance = random.Random(f"{self.seed}/sample")  # noqa: S311 (it is to be the same again)
        for number in chance.sample(range(1, self.licenses + 1), size):
            key, codes = self.license(number)
            yield key, chance.choice(codes)

    @property
    def product_name(self) -> str:
        """The name of the product that has it."""
        return f"Load demo {self.licenses} x {self.machines}, seed {self.seed}"

    @property
    def chunk(self) -> int:
        """How many licenses a transaction has."""
        return max(1, ROWS // (1 + self.machines))

    def filled(self, first: int, now: int) -> list[Filled]:
        """Return the licenses of the transaction that begins with license `first`, as they are stored."""
        numbers = range(first, min(first + self.chunk, self.licenses + 1))
        return [self._filled(number, now) for number in numbers]

    def _filled(self, number: int, now: int) -> Filled:
        key, codes = self.license(number)
        license_ = NewLicense(
            key=key, created=now, expires=term.after(now, DAYS), period=DAYS, features=1, notes="", block=False,
            customer_id=None, trial_activation=False, max_machines=self.machines + 1, allowed_machines="",
            stamp=new_stamp(),
        )  # fmt: skip
        address = f"192.0.2.{number % 254 + 1}"  # of the network that is for documentation
        return Filled(license_, [Machine(code, f"desk {at}", address, "", now) for at, code in enumerate(codes, 1)])


def plan(licenses: int, machines: int, seed: int = 0) -> Iterator[Planned]:
    """Give the licenses in order."""
    whole = Plan(licenses, machines, seed)
    return (whole.license(number) for number in range(1, licenses + 1))


class Loaded(NamedTuple):
    """The product, and how many licenses were added to it: 0 if all were there."""

    product_id: int
    added: int


async def load(dsn: str, admin: Admin, account_id: int, wanted: Plan, *, now: int, tell: Tell) -> Loaded:
    """Load what is not there yet, into the plan's own product, which is made if there is none.

    An interrupted load leaves whole licenses, and is resumed. `tell` hears what is done, and how many licenses are there.
    Raises `Conflict` if somebody else is loading, `Unavailable`, `Broken`.
    """
    async with AsyncExitStack() as stack:
        lanes = [await stack.enter_async_context(bulk(dsn)) for _ in range(LANES)]
        await lanes[0].alone()
        product_id = await _product(admin, account_id, wanted, now)
        missing = await lanes[0].missing(product_id, wanted.licenses, wanted.chunk)
        added = sum(min(wanted.chunk, wanted.licenses + 1 - first) for first in missing)
        waiting, there = iter(missing), wanted.licenses - added
        tell("Loading", there)

        async def work(lane: Bulk) -> None:
            nonlocal there
            for first in waiting:  # both lanes take from it
                licenses = wanted.filled(first, now)
                await lane.add(account_id, product_id, first, licenses)
                there += len(licenses)
                tell("Loading", there)

        try:
            async with asyncio.TaskGroup() as group:
                for lane in lanes:
                    group.create_task(work(lane))
        except ExceptionGroup as errors:  # of both lanes: one says enough
            raise errors.exceptions[0] from errors.exceptions[0].__cause__
        if added:
            tell("Vacuuming", there)
            await lanes[0].tidy()
    return Loaded(product_id, added)


async def _product(admin: Admin, account_id: int, wanted: Plan, now: int) -> int:
    """Return the id of the plan's product, made now if there is none."""
    for known in await admin.products(account_id):
        if (known.name, known.description) == (wanted.product_name, DESCRIPTION):
            return known.id
    return await admin.add_product(
        account_id, name=wanted.product_name, description=DESCRIPTION, features=FEATURES, all_time_limited=False,
        block_expired=False, now=now,
    )  # fmt: skip
