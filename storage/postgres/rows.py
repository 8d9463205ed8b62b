"""Rows of PostgreSQL to records: the one place that knows both the columns and the fields."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import asyncpg

from storage.postgres.sql import load
from storage.records import (
    Customer,
    DataObject,
    Epoch,
    Fact,
    FactKind,
    Feature,
    FeatureType,
    Lease,
    LeaseKind,
    License,
    Machine,
    Product,
    Token,
)

LICENSE_LOAD = load("license_load")


class Address(NamedTuple):
    """How calls name a license; the account is the token's, so that nobody sees into another's."""

    account_id: int
    product_id: int
    key: str


class Loaded(NamedTuple):
    """What one load found; `stale` are the ordinals (from 1) of the tokens that are not good any more."""

    stale: frozenset[int]
    product: Product | None
    license: License | None


NOTHING: Mapping[str, Any] = {}  # what most licenses have of some kinds; one for all of them


def sought(addresses: Sequence[Address], facts: Iterable[Fact], known: Sequence[Product | None] = ()) -> tuple[object, ...]:
    """Return the values that license_load.sql takes; `known` are the products of the addresses, None where nobody knows."""
    stamps = [0 if product is None else product.stamp for product in known] or [0] * len(addresses)
    columns = map(list, zip(*addresses, strict=True))
    return (*columns, stamps, list(facts))


def loaded(row: asyncpg.Record, known: Product | None = None) -> Loaded:
    """Read a row of license_load.sql; `known` is the product whose stamp was named for it."""
    stale = frozenset(row["stale_tokens"])
    if row["product_id"] is None:
        return Loaded(stale, None, None)
    product = known if known is not None and known.stamp == row["product_stamp"] else _product(row)
    return Loaded(stale, product, None if row["id"] is None else _license(row, product))


def _product(row: asyncpg.Record) -> Product:
    features = zip(row["feature_names"], row["feature_types"], strict=True)
    return Product(
        id=row["product_id"],
        account_id=row["product_account_id"],
        name=row["product_name"],
        description=row["description"],
        created=row["product_created"],
        features=tuple(Feature(name, FeatureType(kind)) for name, kind in features),
        all_time_limited=row["all_time_limited"],
        block_expired=row["block_expired"],
        data_objects=data_objects(row["product_data_objects"]),
        stamp=row["product_stamp"],
    )


def _license(row: asyncpg.Record, product: Product) -> License:
    return License(
        id=row["id"],
        account_id=row["account_id"],
        product=product,
        number=row["number"],
        key=row["key"],
        created=row["created"],
        expires=row["expires"],
        period=row["period"],
        features=row["features"],
        notes=row["notes"],
        block=row["block"],
        customer=customer(row),
        trial_activation=row["trial_activation"],
        ever_activated=row["ever_activated"],
        max_machines=row["max_machines"],
        allowed_machines=row["allowed_machines"],
        machines={machine[0]: Machine(*machine) for machine in row["machines"]},
        data_objects=data_objects(row["data_objects"]),
        stamp=row["stamp"],
        epoch=epoch(row),
        leases={values[0]: lease(values) for values in row["leases"]} or NOTHING,
        counted_codes=frozenset(row["counted_codes"]),
        machine_objects=_by_code(row["machine_objects"]),
    )


def epoch(row: asyncpg.Record) -> Epoch:
    """Read the epoch of a license's row."""
    return Epoch(row["lease_epoch"], row["lease_epoch_at"], row["lease_ready"])


def lease(values: Sequence[Any]) -> Lease:
    """Read the columns of a lease, in the order of the record."""
    code, kind, *others = values
    return Lease(code, LeaseKind(kind), *others)


def customer(row: asyncpg.Record) -> Customer | None:
    """Read the columns of a customer, if there is one."""
    if row["customer_id"] is None:
        return None
    return Customer(
        id=row["customer_id"],
        name=row["customer_name"],
        email=row["email"],
        company_name=row["company_name"],
        created=row["customer_created"],
        stamp=row["customer_stamp"],
    )


def data_objects(rows: Sequence[asyncpg.Record]) -> tuple[DataObject, ...]:
    """Read rows of (id, name, string_value, int_value)."""
    return tuple(DataObject(*row) for row in rows)


def _by_code(rows: Sequence[asyncpg.Record]) -> Mapping[str, tuple[DataObject, ...]]:
    """Read rows of (machine_code, and a data object), in order of id."""
    found: dict[str, tuple[DataObject, ...]] = {}
    for code, *values in rows:
        found[code] = (*found.get(code, ()), DataObject(*values))
    return found or NOTHING


def token(row: asyncpg.Record) -> Token:
    """Read a row of token_load.sql."""
    parent = row["parent_id"]
    return Token(
        id=row["id"],
        account_id=row["account_id"],
        name=row["name"],
        secret_hash=row["secret_hash"],
        permissions=frozenset(row["permissions"]),
        product_lock=row["product_lock"],
        key_lock=row["key_lock"],
        feature_lock=row["feature_lock"],
        expires=row["expires"],
        stamp=row["stamp"],
        parent=None if parent is None else Fact(FactKind.TOKEN, parent, row["parent_stamp"]),
    )
