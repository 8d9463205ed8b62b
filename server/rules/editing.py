"""The methods by which a vendor makes and changes keys (protocol: key management). They work on blocked keys too."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from server.rules.codes import Code
from server.rules.grants import Caller, key_lock_forbids
from server.rules.states import State, license_entry, product_entry
from server.rules.term import after, in_bounds, setting
from storage.records import Change, Creation, Edit, License, NewLicense, Product, Verdict

LONGEST_NOTES = 500

# What the object log tells of an edit: field of Change and License -> the wire's name for it.
_TOLD = {"expires": "expires", "period": "period", "block": "block", "max_machines": "maxNoOfMachines"}


@dataclass(frozen=True, slots=True)
class NewKeys:
    """What CreateKey asks for, the same for each key made. `period` is in days; bit n-1 of `features` is Fn."""

    period: int
    features: int
    notes: str
    block: bool
    customer_id: int | None
    trial_activation: bool
    max_machines: int
    allowed_machines: str


def create(
    product: Product,
    *,
    wanted: NewKeys,
    keys: Sequence[str],
    stamps: Sequence[int],
    reseller_id: int,
    caller: Caller,
    now: int,
) -> Creation[Code | None]:
    """Make one license for each key and its stamp, or say why not (protocol: CreateKey). None is done."""
    if len(wanted.notes) > LONGEST_NOTES:
        return refuse(product, refusal=Code.NOTES_LONG, caller=caller, now=now)
    if reseller_id != 0:
        return refuse(product, refusal=Code.RESELLER, caller=caller, now=now)
    licenses = tuple(_license(wanted, key, stamp, now) for key, stamp in zip(keys, stamps, strict=True))
    return Creation(None, licenses, product_entry(product, State.KEY_CREATED, caller=caller, now=now))


def refuse(product: Product, *, refusal: Code, caller: Caller, now: int) -> Creation[Code | None]:
    """Make nothing and log it; also for the customer whom only storage finds to be unknown."""
    return Creation(refusal, (), product_entry(product, State.CREATION_REFUSED, caller=caller, now=now))


def block(license: License, *, caller: Caller, now: int) -> Verdict[Code | None]:
    """Block the key; done if it is blocked already (protocol: BlockKey)."""
    return _edit(license, Change(block=True), action="BlockKey", caller=caller, now=now)


def unblock(license: License, *, caller: Caller, now: int) -> Verdict[Code | None]:
    """Unblock the key; done if it is not blocked (protocol: UnblockKey)."""
    return _edit(license, Change(block=False), action="UnblockKey", caller=caller, now=now)


def machine_limit(license: License, *, limit: int, caller: Caller, now: int) -> Verdict[Code | None]:
    """Set how many machines may be registered; those that are stay (protocol: MachineLockLimit)."""
    return _edit(license, Change(max_machines=limit), action="MachineLockLimit", caller=caller, now=now)


def extend(license: License, *, days: int, caller: Caller, now: int) -> Verdict[Code | None]:
    """Move the end of the license by `days`, which may be negative (protocol: ExtendLicense)."""
    return _edit(license, _extension(license, days, now), action="ExtendLicense", caller=caller, now=now)


def _edit(license: License, wanted: Change | None, *, action: str, caller: Caller, now: int) -> Verdict[Code | None]:
    """Answer one edit, with its rows in both logs. `wanted` None: it would lead out of bounds, and nothing is done."""
    refusal = Code.INPUT if wanted is None else None
    if key_lock_forbids(caller.token, license.id):
        refusal = Code.DENIED
    if wanted is None or refusal is not None:
        return Verdict(refusal, entry=license_entry(license, State.EDIT_REFUSED, caller=caller, now=now))
    told = _told(license, wanted)
    changes = json.dumps(told, separators=(",", ":"))
    return Verdict(
        None,
        wanted if any(before != later for before, later in told.values()) else None,
        license_entry(license, State.EDITED, caller=caller, now=now),
        Edit(license.account_id, now, "Key", license.id, action, caller.token.id, changes),
    )


def _told(license: License, wanted: Change) -> dict[str, tuple[int, int]]:
    """Return each value that is set, as it was and as it becomes: under the wire's names, and nothing personal."""
    return {
        name: (getattr(license, field), value)
        for field, name in _TOLD.items()
        if (value := getattr(wanted, field)) is not None
    }


def _extension(license: License, days: int, now: int) -> Change | None:
    """Return the extension, counted from now once expired, or None if it ends where clients cannot read it."""
    expires = after(max(license.expires, now), days)
    if not in_bounds(expires):
        return None
    unblocks = setting(license.product, "cryptolens_unblockextendedlicenses") == "true"
    return Change(
        expires=expires,
        period=max(license.period + days, 0),
        block=False if unblocks and license.block else None,
    )


def _license(wanted: NewKeys, key: str, stamp: int, now: int) -> NewLicense:
    """Return one of the licenses wanted: its period runs from now (protocol: CreateKey)."""
    return NewLicense(
        key=key,
        created=now,
        expires=after(now, wanted.period),
        period=wanted.period,
        features=wanted.features,
        notes=wanted.notes,
        block=wanted.block,
        customer_id=wanted.customer_id,
        trial_activation=wanted.trial_activation,
        max_machines=wanted.max_machines,
        allowed_machines=wanted.allowed_machines,
        stamp=stamp,
    )
