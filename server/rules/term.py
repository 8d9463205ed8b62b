"""Terms: when a license ends, what its features say of it, and what that makes of it now. Nothing here changes one."""

from enum import IntEnum

from storage.frozen import frozen
from storage.records import FeatureType, License, Product

DAY = 86_400

# What every client can read as a time (protocol: LicenseKey, times): 1970-01-01T00:00:00 to 9999-12-31T23:59:59.
EARLIEST = 0
LATEST = 253_402_300_799

# Days: the longest period that a call may ask for (protocol: CreateKey).
LONGEST_PERIOD = 36_500


class Reason(IntEnum):
    """Why a license is not valid (protocol: Metadata, reasonForInvalidity)."""

    NONE = 0
    EXPIRED = 1
    BLOCKED = 2


@frozen
class Status:
    """The licenseStatus of the metadata block. `time_left` is in whole days, negative once expired."""

    is_valid: bool
    reason: Reason
    trial: bool
    time_limited: bool
    time_left: int


def after(start: int, days: int) -> int:
    """Return the time `days` days after `start`, to the second. It may lie out of bounds: see `in_bounds`."""
    return start + days * DAY


def in_bounds(time: int) -> bool:
    """Whether clients can read the time."""
    return EARLIEST <= time <= LATEST


def features_of(product: Product, *types: FeatureType) -> int:
    """Return the bitmask of the features that the product defines to be of one of the types."""
    return sum(1 << bit for bit, feature in enumerate(product.features) if feature.type in types)


def setting(product: Product, name: str) -> str:
    """Return the text of a configuration data object, '' if there is none. Of several the oldest counts."""
    found = [(each.id, each.string_value) for each in product.data_objects if each.name == name]
    return min(found)[1] if found else ""


def status(license: License, *, now: int) -> Status:
    """Return what the license is worth at `now` (protocol: Metadata, licenseStatus).

    It has expired as soon as `expires` is reached. Of two reasons the block is told: extending would not help.
    """
    time_limited = license.product.all_time_limited or _has(license, FeatureType.TIME_LIMITED)
    reason = Reason.NONE
    if license.block:
        reason = Reason.BLOCKED
    elif time_limited and license.expires <= now:
        reason = Reason.EXPIRED
    return Status(
        is_valid=reason is Reason.NONE,
        reason=reason,
        trial=_has(license, FeatureType.TRIAL),
        time_limited=time_limited,
        time_left=(license.expires - now) // DAY,
    )


def _has(license: License, type_: FeatureType) -> bool:
    """Whether a feature of the type is set."""
    return license.features & features_of(license.product, type_) != 0
