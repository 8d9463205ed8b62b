"""Makes licenses, and finds them by what is not their key. Ordinary transactions: one function call each."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import asyncpg

from server import metrics
from storage.errors import Broken, Busy, Conflict, NoCustomer, NoLicense, NoProduct, Stale
from storage.postgres import rows
from storage.postgres.connect import UNIQUE_VIOLATION, refused_with
from storage.postgres.reads import Reads
from storage.postgres.rows import LICENSE_LOAD, Address, Loaded
from storage.postgres.sql import load
from storage.records import Creation, License, Made, Product, Token

MAKE, TRIAL_KEY = load("licenses_make"), load("trial_key")
ROUNDS = 5
MAKE_SECONDS = 5.0

A = TypeVar("A")


class Licenses:
    """See `ports.Licenses`."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def create(self, token: Token, product_id: int, rule: Callable[[Product], Creation[A]]) -> A:
        """See `ports.Licenses`."""
        return (await self.make(token, product_id, rule)).answer

    async def make(self, token: Token, product_id: int, rule: Callable[[Product], Creation[A]]) -> Made[A]:
        """See `ports.Licenses`."""
        for _ in range(ROUNDS):
            product = await self._product(token, product_id)
            creation = rule(product)
            row = await self._make(token, product, creation)
            outcome = row["outcome"]
            if outcome == "done":
                return Made(creation.answer, row["made_for"])
            if outcome == "token":
                raise Stale
            if outcome == "customer":
                raise NoCustomer
        raise Busy("the product changed five times")

    async def trial_key(self, token: Token, product_id: int, code_hash: bytes) -> str | None:
        """See `ports.Licenses`."""
        await self._product(token, product_id)
        found = await self._reads.fetch(TRIAL_KEY, product_id, code_hash)
        return found[0]["key"] if found else None

    async def show(self, token: Token, product_id: int, key: str) -> License:
        """Return a license as it is now. Raises `NoProduct`, `NoLicense`, `Stale`, `Unavailable`."""
        found = await self._load(token, product_id, key)
        if found.license is None:
            raise NoLicense
        return found.license

    async def _product(self, token: Token, product_id: int) -> Product:
        found = await self._load(token, product_id, "")
        if found.product is None:
            raise NoProduct
        return found.product

    async def _load(self, token: Token, product_id: int, key: str) -> Loaded:
        metrics.license_loads.inc()
        values = rows.sought([Address(token.account_id, product_id, key)], token.facts)
        found = rows.loaded((await self._reads.fetch(LICENSE_LOAD, *values))[0])
        if found.stale:
            raise Stale
        if found.product is None:
            raise NoProduct
        return found

    async def _make(self, token: Token, product: Product, creation: Creation[A]) -> asyncpg.Record:
        machine = creation.machine
        machines = [] if machine is None else [(1, 0, product.account_id, *machine)]
        try:
            async with asyncio.timeout(MAKE_SECONDS):
                return await self._reads.call(
                    MAKE,
                    product.account_id, product.id, product.stamp, list(token.facts), list(creation.licenses), machines,
                    creation.trial_code, creation.entry, token.id, creation.customer, creation.reuse,
                )  # fmt: skip
        except Broken as error:
            if refused_with(error) == UNIQUE_VIOLATION:
                raise Conflict from error
            raise
        except TimeoutError as error:
            raise Busy("not made in five seconds") from error
