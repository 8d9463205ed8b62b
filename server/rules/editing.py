"""The methods by which a vendor makes and changes keys (protocol: key management). They work on blocked keys too."""

import json
from collections.abc import Sequence
from dataclasses import replace

from server.rules import customers
from server.rules.codes import Code
from server.rules.grants import Caller, key_lock_forbids
from server.rules.states import State, license_entry, product_entry
from server.rules.term import after, in_bounds, setting
from storage.frozen import frozen
from storage.records import (
    Assigned,
    Change,
    Creation,
    Customer,
    Edit,
    Fact,
    License,
    NewCustomer,
    NewLicense,
    Product,
    Verdict,
)

LONGEST_NOTES = 500

# What the object log tells of an edit: field of Change and License -> the wire's name for it.
_TOLD = {
    "expires": "expires",
    "period": "period",
    "features": "features",
    "block": "block",
    "trial_activation": "trialActivation",
    "max_machines": "maxNoOfMachines",
}


@frozen
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
    customer: NewCustomer | None = None,
    reuse: bool = False,
) -> Creation[Code | None]:
    """Make one license for each key and its stamp, or say why not (protocol: CreateKey). None is done.

    With `customer` one is made along with them; with `reuse` only if nobody has that email yet.
    """
    refusal = _problem(wanted, reseller_id, customer)
    if refusal is not None:
        return refuse(product, refusal=refusal, caller=caller, now=now)
    licenses = tuple(_license(wanted, key, stamp, now) for key, stamp in zip(keys, stamps, strict=True))
    entry = product_entry(product, State.KEY_CREATED, caller=caller, now=now)
    return Creation(None, licenses, entry, customer=customer, reuse=reuse)


def _problem(wanted: NewKeys, reseller_id: int, customer: NewCustomer | None) -> Code | None:
    if len(wanted.notes) > LONGEST_NOTES:
        return Code.NOTES_LONG
    if reseller_id != 0:
        return Code.RESELLER
    if customer is None:
        return None
    return customers.too_long(name=customer.name, email=customer.email, company_name=customer.company_name)


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


def add_feature(license: License, *, feature: int, caller: Caller, now: int) -> Verdict[Code | None]:
    """Set a feature, 1 to 8; done if it is set already (protocol: AddFeature)."""
    wanted = Change(features=license.features | 1 << (feature - 1))
    return _edit(license, wanted, action="AddFeature", caller=caller, now=now)


def remove_feature(license: License, *, feature: int, caller: Caller, now: int) -> Verdict[Code | None]:
    """Clear a feature, 1 to 8; done if it is not set (protocol: RemoveFeature)."""
    wanted = Change(features=license.features & ~(1 << (feature - 1)))
    return _edit(license, wanted, action="RemoveFeature", caller=caller, now=now)


def change_notes(license: License, *, notes: str, caller: Caller, now: int) -> Verdict[Code | None]:
    """Replace the notes; none clears them (protocol: ChangeNotes)."""
    wanted = Change(notes=notes) if len(notes) <= LONGEST_NOTES else Code.NOTES_LONG
    return _edit(license, wanted, action="ChangeNotes", caller=caller, now=now)


def trial_activation(license: License, *, enabled: bool, caller: Caller, now: int) -> Verdict[Code | None]:
    """Say whether activating starts the countdown of the license (protocol: TrialActivation)."""
    return _edit(license, Change(trial_activation=enabled), action="TrialActivation", caller=caller, now=now)


def change_customer(
    license: License, *, customer_id: int, customer: Customer | None, caller: Caller, now: int
) -> Verdict[Code | None]:
    """Assign the license to the customer found, or to nobody (protocol: ChangeCustomer).

    That the customer asked for (0: none was) is not there is said by the answer, and the license loses the one it had.
    """
    facts = () if customer is None else (customer.fact,)
    verdict = _edit(license, Change(assign=Assigned(customer)), action="ChangeCustomer", caller=caller, now=now, facts=facts)
    if verdict.answer is None and customer_id and customer is None:
        return replace(verdict, answer=Code.CUSTOMER_NOT_ASSIGNED)
    return verdict


def _edit(
    license: License, wanted: Change | Code, *, action: str, caller: Caller, now: int, facts: tuple[Fact, ...] = ()
) -> Verdict[Code | None]:
    """Answer one edit, with its rows in both logs. `wanted` may be why it cannot be: then nothing is done."""
    refusal = wanted if isinstance(wanted, Code) else None
    if key_lock_forbids(caller.token, license.id):
        refusal = Code.DENIED
    if isinstance(wanted, Code) or refusal is not None:
        return Verdict(refusal, entry=license_entry(license, State.EDIT_REFUSED, caller=caller, now=now))
    changes = json.dumps(_told(license, wanted), separators=(",", ":"))
    return Verdict(
        None,
        wanted if license.after(wanted, license.stamp) != license else None,
        license_entry(license, State.EDITED, caller=caller, now=now),
        Edit(license.account_id, now, "Key", license.id, action, caller.token.id, changes),
        facts=facts,
    )


def _told(license: License, wanted: Change) -> dict[str, object]:
    """Return each value that is set, as it was and as it becomes: under the wire's names, and nothing personal.

    Notes are free text: only whether they change is told.
    """
    told: dict[str, object] = {
        name: (getattr(license, field), value)
        for field, name in _TOLD.items()
        if (value := getattr(wanted, field)) is not None
    }
    if wanted.notes is not None:
        told["notes"] = wanted.notes != license.notes
    if wanted.assign is not None:
        customer = wanted.assign.customer
        told["customerId"] = (license.customer_id, None if customer is None else customer.id)
    return told


def _extension(license: License, days: int, now: int) -> Change | Code:
    """Return the extension, counted from now once expired, or why not if it ends where clients cannot read it."""
    expires = after(max(license.expires, now), days)
    if not in_bounds(expires):
        return Code.INPUT
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
