"""What the command line and the first start do by hand: accounts, products, tokens, usage. Licenses are made in licenses.py.

Every change is one transaction with its row in the object log, and draws a new stamp for the record that it changes, so
that every call that begins afterwards sees it.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import asyncpg

from storage.errors import Broken, Conflict, NoLicense, NoProduct
from storage.postgres import rows
from storage.postgres.connect import UNIQUE_VIOLATION, close, connect, refused_with, translated
from storage.postgres.rows import LICENSE_LOAD, Address
from storage.postgres.sql import statements
from storage.records import Account, Edit, Feature, Product
from storage.stamps import new_stamp

SQL, OBJECT_LOG = statements("admin"), statements("object_log")
BY_HAND = 0  # what the object log has for a token where there was none

Object = tuple[str, int]  # as the object log names one: type and id

# What the object log tells of a product's edit: field of Product -> the wire's name for it.
_TOLD = {
    "name": "name",
    "description": "description",
    "features": "featureDefinitions",
    "all_time_limited": "allLicensesTimeLimited",
    "block_expired": "blockExpiredLicenses",
}


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token as it is listed: without its hash, revoked ones too. `revoked` says when (of the parent, if it was that)."""

    id: int
    name: str
    permissions: tuple[str, ...]
    product_lock: int
    key_lock: int
    feature_lock: int
    expires: int | None
    created: int
    revoked: int | None


@dataclass(frozen=True, slots=True)
class MonthlyUsage:
    """What RecordUsage recorded of one license in one month, YYYY-MM in UTC: the sum, and of how many calls."""

    month: str
    product_id: int
    product_name: str
    key: str
    amount: int
    calls: int


@dataclass(frozen=True, slots=True)
class Counts:
    """How many products an account has, and how many tokens that are good."""

    products: int
    tokens: int


class Admin:
    """One connection for what is done by hand. Every method raises `Unavailable`, `Busy` and `Broken`."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    # Accounts

    async def account(self, name: str) -> Account | None:
        """Return the account with its public key (DER), or None."""
        found = await self._fetch(SQL["account_find"], name)
        return _account(found[0]) if found else None

    async def counts(self, account_id: int, now: int) -> Counts:
        """Return what the account has."""
        row = (await self._fetch(SQL["account_counts"], account_id, now))[0]
        return Counts(row["products"], row["tokens"])

    async def add_account(self, name: str, public_key_der: bytes, now: int) -> Account:
        """Make an account; its key file must be on disk already. Raises `Conflict` if the name is taken."""
        try:
            async with self._change():
                account_id: int = await self._connection.fetchval(SQL["account_add"], name, public_key_der, now)
                await self._log(account_id, now, ("Account", account_id), "Create", {"name": name})
        except Broken as error:
            if refused_with(error) == UNIQUE_VIOLATION:
                raise Conflict from error
            raise
        return Account(account_id, name, public_key_der)

    # Products

    async def products(self, account_id: int) -> list[Product]:
        """Return the account's products in order of id, each with its data objects."""
        ids = [row["id"] for row in await self._fetch(SQL["product_ids"], account_id)]
        found = [await self.product(account_id, product_id) for product_id in ids]
        return [product for product in found if product is not None]

    async def product(self, account_id: int, product_id: int) -> Product | None:
        """Return one product with its data objects, or None."""
        with translated():
            return await self._product(account_id, product_id)

    async def products_with(self, account_id: int, key: str) -> list[int]:
        """Return the ids of the products that have a license with this key, in order."""
        return [row["id"] for row in await self._fetch(SQL["products_with"], account_id, key)]

    async def add_product(
        self,
        account_id: int,
        *,
        name: str,
        description: str,
        features: Sequence[Feature],
        all_time_limited: bool,
        block_expired: bool,
        now: int,
    ) -> int:
        """Make a product and return its id. `features` are the eight, F1 first."""
        async with self._change():
            product_id: int = await self._connection.fetchval(
                SQL["product_add"], account_id, name, description, now, *_columns(features), all_time_limited,
                block_expired, new_stamp(),
            )  # fmt: skip
            await self._log(account_id, now, ("Product", product_id), "Create", {"name": name})
        return product_id

    async def edit_product(
        self,
        account_id: int,
        product_id: int,
        *,
        now: int,
        name: str | None = None,
        description: str | None = None,
        features: Sequence[Feature] | None = None,
        all_time_limited: bool | None = None,
        block_expired: bool | None = None,
    ) -> bool:
        """Set what is not None; False if there is no such product. Nothing is written if nothing changes."""
        given = {
            "name": name,
            "description": description,
            "features": None if features is None else tuple(features),
            "all_time_limited": all_time_limited,
            "block_expired": block_expired,
        }
        async with self._change():
            before = await self._locked(account_id, product_id)
            if before is None:
                return False
            after = replace(before, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]  # each is its field's
            if after != before:
                await self._connection.execute(
                    SQL["product_edit"], product_id, after.name, after.description, *_columns(after.features),
                    after.all_time_limited, after.block_expired, new_stamp(),
                )  # fmt: skip
                await self._log(account_id, now, ("Product", product_id), "Edit", _told(before, after))
        return True

    async def put_product_data(
        self, account_id: int, product_id: int, *, name: str, string_value: str, int_value: int, now: int
    ) -> None:
        """Set the product's data object of that name (of several the oldest, which is the one that counts), or add it.

        The object log gets the name only: the value is free text. Raises `NoProduct`.
        """
        async with self._change():
            await self._changing(account_id, product_id)
            values = (product_id, name, string_value, int_value)
            if await self._connection.fetchval(SQL["product_data_set"], *values) is None:
                await self._connection.execute(SQL["product_data_add"], *values, account_id)
            await self._log(account_id, now, ("Product", product_id), "Edit", {"dataObject": name})

    async def drop_product_data(self, account_id: int, product_id: int, *, name: str, now: int) -> bool:
        """Remove the product's data objects of that name; False if there are none. Raises `NoProduct`."""
        async with self._change():
            await self._changing(account_id, product_id)
            dropped = await self._connection.fetch(SQL["product_data_drop"], product_id, name)
            if dropped:
                await self._log(account_id, now, ("Product", product_id), "Edit", {"dataObjectRemoved": name})
        return bool(dropped)

    # Tokens

    async def tokens(self, account_id: int) -> list[IssuedToken]:
        """Return all tokens of the account in order of id, revoked and expired ones too."""
        return [_issued(row) for row in await self._fetch(SQL["tokens"], account_id)]

    async def add_token(
        self,
        account_id: int,
        *,
        name: str,
        secret_hash: bytes,
        permissions: Sequence[str],
        product_lock: int,
        key_lock: int,
        feature_lock: int,
        expires: int | None,
        now: int,
    ) -> int:
        """Make a token and return its id. Locks are 0 when unset.

        Raises `NoProduct` or `NoLicense` for a lock to what is not there, or to a license of another product.
        """
        async with self._change():
            await self._check_locks(account_id, product_lock, key_lock)
            token_id: int = await self._connection.fetchval(
                SQL["token_add"], account_id, name, secret_hash, list(permissions), product_lock, key_lock, feature_lock,
                expires, now, new_stamp(),
            )  # fmt: skip
            told = {
                "name": name, "permissions": list(permissions), "productLock": product_lock, "keyLock": key_lock,
                "featureLock": feature_lock, "expires": expires,
            }  # fmt: skip
            await self._log(account_id, now, ("Token", token_id), "Create", told)
        return token_id

    async def allow_token(self, account_id: int, token_id: int, permissions: Sequence[str], now: int) -> bool:
        """Give a token these permissions instead of its own. False if it has them, is unknown, or is revoked."""
        async with self._change():
            values = (account_id, token_id, list(permissions), new_stamp())
            allowed = await self._connection.fetchval(SQL["token_allow"], *values)
            if allowed is not None:
                await self._log(account_id, now, ("Token", token_id), "Edit", {"permissions": list(permissions)})
        return allowed is not None

    async def revoke_token(self, account_id: int, token_id: int, now: int) -> bool:
        """Revoke a token: no call that begins afterwards succeeds with it. False if it is unknown or revoked already."""
        async with self._change():
            revoked = await self._connection.fetchval(SQL["token_revoke"], account_id, token_id, now, new_stamp())
            if revoked is not None:
                await self._log(account_id, now, ("Token", token_id), "Revoke", {})
        return revoked is not None

    # Usage

    async def usage(self, account_id: int, product_id: int, since: int, until: int) -> list[MonthlyUsage]:
        """Return what was recorded from `since` on and before `until`, the newest month first; product 0 is all of them."""
        return [
            MonthlyUsage(**{**row, "amount": int(row["amount"])})
            for row in await self._fetch(SQL["usage"], account_id, product_id, since, until)
        ]

    # The database

    async def _fetch(self, statement: str, *values: object) -> list[asyncpg.Record]:
        with translated():
            return await self._connection.fetch(statement, *values)

    @asynccontextmanager
    async def _change(self) -> AsyncIterator[None]:
        """One transaction that writes a log; whatever is raised inside undoes it."""
        with translated():
            async with self._connection.transaction():
                await self._connection.execute(OBJECT_LOG["writer_begins"])
                yield

    async def _log(self, account_id: int, now: int, what: Object, action: str, changes: Mapping[str, object]) -> None:
        text = json.dumps(changes, separators=(",", ":"))
        await self._connection.execute(OBJECT_LOG["add"], *Edit(account_id, now, *what, action, BY_HAND, text))

    async def _product(self, account_id: int, product_id: int) -> Product | None:
        row = await self._connection.fetchrow(LICENSE_LOAD, *rows.sought([Address(account_id, product_id, "")], []))
        return None if row is None else rows.loaded(row).product

    async def _locked(self, account_id: int, product_id: int) -> Product | None:
        """Lock the product, then read it: in one statement the data objects would be older than what the lock waited for."""
        await self._connection.fetchval(SQL["product_lock"], account_id, product_id)
        return await self._product(account_id, product_id)

    async def _changing(self, account_id: int, product_id: int) -> None:
        """Lock the product for a change of what belongs to it, and stamp it. Raises `NoProduct`."""
        if await self._connection.fetchval(SQL["product_lock"], account_id, product_id) is None:
            raise NoProduct
        await self._connection.execute(SQL["product_stamp"], product_id, new_stamp())

    async def _check_locks(self, account_id: int, product_lock: int, key_lock: int) -> None:
        row = await self._connection.fetchrow(SQL["token_locks"], account_id, product_lock, key_lock)
        if row is None or not row["has_product"]:
            raise NoProduct
        if not row["has_license"]:
            raise NoLicense


@asynccontextmanager
async def administration(dsn: str) -> AsyncIterator[Admin]:
    """Connect for what is done by hand. Raises `Unavailable`."""
    connection = await connect(dsn)
    try:
        yield Admin(connection)
    finally:
        await close(connection)


def _account(row: asyncpg.Record) -> Account:
    return Account(row["id"], row["name"], row["public_key"])


def _issued(row: asyncpg.Record) -> IssuedToken:
    values = dict(row)
    return IssuedToken(**{**values, "permissions": tuple(values["permissions"])})


def _columns(features: Sequence[Feature]) -> tuple[list[str], list[int]]:
    """Return the features as the table keeps them: names and types."""
    return [feature.name for feature in features], [int(feature.type) for feature in features]


def _told(before: Product, after: Product) -> dict[str, tuple[object, object]]:
    """Return each value that changes, as it was and as it becomes."""
    return {
        name: (getattr(before, field), getattr(after, field))
        for field, name in _TOLD.items()
        if getattr(before, field) != getattr(after, field)
    }
