"""The records that examples begin with, each with what the example does not care about filled in. No checks here."""

from server.rules.grants import Caller
from storage.records import (
    NEVER_FLOATING,
    Change,
    DataObject,
    Epoch,
    Feature,
    FeatureType,
    Lease,
    LeaseKind,
    License,
    Machine,
    Product,
    Token,
    Wish,
)

NOW = 1_000_000_000
DAY = 86_400

FULL_ADDRESS = "198.51.100.77"
PROXY_ADDRESS = "203.0.113.66"
MASKED_ADDRESS = "198.51.100.0"

BY_VALKEY = Epoch(2_000_000_000_000, NOW - DAY)
BY_TABLE = Epoch(2_000_000_000_001, NOW - DAY, ready=True)


def a_token(*, product_lock: int = 0, key_lock: int = 0, feature_lock: int = 0, expires: int | None = None) -> Token:
    """Return a token that may activate; without locks unless given."""
    return Token(
        id=4,
        account_id=1,
        name="client",
        secret_hash=b"",
        permissions=frozenset({"Activate"}),
        product_lock=product_lock,
        key_lock=key_lock,
        feature_lock=feature_lock,
        expires=expires,
        stamp=44,
    )


def a_caller(**locks: int) -> Caller:
    """Return a caller with such a token, from behind a proxy."""
    return Caller(a_token(**locks), FULL_ADDRESS, PROXY_ADDRESS, MASKED_ADDRESS)


def features(**types: FeatureType) -> tuple[Feature, ...]:
    """Return eight feature definitions; those not named are normal."""
    names = [f"F{number}" for number in range(1, 9)]
    return tuple(Feature(name, types.get(name, FeatureType.NORMAL)) for name in names)


NORMAL = features()


def settings(**texts: str) -> tuple[DataObject, ...]:
    """Return configuration data objects, the prefix of their names left out."""
    return tuple(DataObject(id_, f"cryptolens_{name}", text, 0) for id_, (name, text) in enumerate(texts.items(), 1))


def a_product(
    *,
    features: tuple[Feature, ...] = NORMAL,
    data_objects: tuple[DataObject, ...] = (),
    all_time_limited: bool = False,
) -> Product:
    """Return a product; plain unless given."""
    return Product(
        id=3001,
        account_id=1,
        name="Editor",
        description="",
        created=0,
        features=features,
        all_time_limited=all_time_limited,
        block_expired=False,
        data_objects=data_objects,
        stamp=33,
    )


def a_machine(code: str, friendly_name: str = "") -> Machine:
    """Return a machine that was registered a day ago."""
    return Machine(code, friendly_name, "192.0.2.9", "", NOW - DAY)


def a_license(
    *machines: str | Machine,
    product: Product | None = None,
    expires: int = NOW + 29 * DAY,
    period: int = 30,
    features: int = 0,
    block: bool = False,
    trial_activation: bool = False,
    max_machines: int = 2,
    allowed_machines: str = "",
    epoch: Epoch = NEVER_FLOATING,
    leases: tuple[Lease, ...] = (),
    counted_codes: frozenset[bytes] = frozenset(),
) -> License:
    """Return a license of 30 days for two machines, with those machines registered and those leases in its table."""
    registered = [a_machine(machine) if isinstance(machine, str) else machine for machine in machines]
    return License(
        id=1005,
        account_id=1,
        product=product or a_product(),
        number=5,
        key="ABCDE-FGHIJ-KLMNO-PQRST",
        created=NOW - DAY,
        expires=expires,
        period=period,
        features=features,
        notes="",
        block=block,
        customer=None,
        trial_activation=trial_activation,
        ever_activated=bool(machines),
        max_machines=max_machines,
        allowed_machines=allowed_machines,
        machines={machine.code: machine for machine in registered},
        data_objects=(),
        stamp=55,
        epoch=epoch,
        leases={lease.code: lease for lease in leases},
        counted_codes=counted_codes,
    )


def a_wish(code: str, *, interval: int = 100, overdraft: int = 0, friendly_name: str = "") -> Wish:
    """Return the wish for a seat for 100 seconds, within the limit unless given."""
    return Wish(code, interval, overdraft, friendly_name, MASKED_ADDRESS)


def a_lease(
    code: str,
    kind: LeaseKind = LeaseKind.REGULAR,
    *,
    start: int = NOW - 50,
    time: int = NOW - 50,
    expires: int = NOW + 50,
    epoch: int = BY_TABLE.number,
    seq: int = 1,
    released: bool = False,
) -> Lease:
    """Return a regular seat, taken 50 seconds ago for 100 seconds; `released`: and given back."""
    return Lease(code, kind, start, time, expires, "", MASKED_ADDRESS, epoch, seq, released)


def left_by(license: License, change: Change | None) -> License:
    """Return the license as a verdict leaves it."""
    return license if change is None else license.after(change, license.stamp + 1)
