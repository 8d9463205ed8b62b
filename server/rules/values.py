"""Data objects: named texts and counters of a license, a machine code, a product or the account (protocol: data objects).

An `Act` decides on the objects of one of these, wherever they are kept; `of_license` and `of_owner` make a verdict of it.
"""

import json
from collections.abc import Callable, Iterable
from itertools import chain
from typing import NamedTuple

from server.rules.codes import Code
from server.rules.grants import Caller, key_lock_forbids
from server.rules.states import State, license_entry
from storage.frozen import frozen
from storage.records import Change, DataObject, Edit, License, Place, Placed, Referencer, Token, Verdict

LOWEST, HIGHEST = -(2**31), 2**31 - 1
MOST = 1_000  # data objects of one referencer
MOST_OF_MACHINES = 10_000  # data objects of all machine codes of one license: they are loaded with it
MOST_TEXT = 1_000_000  # characters in the texts of all that is loaded together


class Which(NamedTuple):
    """How a call names a data object: an id above 0 counts, else the name (Java sends both)."""

    id: int
    name: str


@frozen
class Outcome:
    """What becomes of a call: `refusal` None is done. `found` is the object that it was about, `shown` what it lists."""

    refusal: Code | None = None
    put: DataObject | None = None
    drop: DataObject | None = None
    found: DataObject | None = None
    shown: tuple[DataObject, ...] = ()


Objects = tuple[DataObject, ...]
Act = Callable[[Objects], Outcome]


@frozen
class Call:
    """An act, and what the logs say of it.

    Of a license's objects the Web API log says how it ended, and the number that the caller passed; of those of a product
    or the account the object log has the `action`, '' for what is not told there.
    """

    act: Act
    done: State
    refused: State
    passed: int = 0
    action: str = ""


def of_license(license: License, *, machine_code: str | None, call: Call, caller: Caller, now: int) -> Verdict[Outcome]:
    """Decide on the license's own objects (`machine_code` None), or on those of a machine code. Every outcome is logged."""
    outcome = Outcome(Code.OBJECT)
    if not key_lock_forbids(caller.token, license.id):
        outcome = _within(license, machine_code, call.act(license.objects(machine_code)))
    found = outcome.found
    entry = license_entry(
        license,
        call.done if outcome.refusal is None else call.refused,
        caller=caller,
        now=now,
        code=machine_code or "",
        do_int_value=max(LOWEST, min(call.passed, HIGHEST)),
        do_id=0 if found is None else found.id,
    )
    return Verdict(outcome, _change(outcome, machine_code), entry)


def of_owner(objects: Objects, *, place: Place, call: Call, caller: Caller, now: int) -> Verdict[Outcome]:
    """Decide on the objects of a product or of the account. The object log gets the name only: values are free text."""
    outcome = _short(call.act(objects), objects)
    about, change = outcome.put or outcome.drop, _change(outcome, None)
    if about is None or not call.action:
        return Verdict(outcome, change)
    told = json.dumps({"dataObject": about.name}, separators=(",", ":"))
    token, kind = caller.token, _OWNERS[place.referencer]
    return Verdict(outcome, change, edit=Edit(token.account_id, now, kind, place.id, call.action, token.id, told))


def locked_out(token: Token, place: Place) -> Code | None:
    """Return what the token's locks refuse a place with that a call has named; None is nothing (protocol: data objects).

    Another key than that of a key lock is left to `of_license`, which logs it.
    """
    product, key = token.product_lock, token.key_lock
    match place.referencer:
        case Referencer.MACHINE_CODE:  # only its own forms reach it, which name the code
            return Code.OBJECT
        case Referencer.KEY:
            return Code.OBJECT if product not in (0, place.product_id) else None
        case Referencer.PRODUCT if product not in (0, place.id):
            return Code.DENIED
        case Referencer.USER if product:
            return Code.DENIED
    return Code.OBJECT if key > 0 else None


def hides(token: Token, place: Place) -> bool:
    """Whether the token's locks do not reach an object by its id alone: it is as if there were none, whatever the lock."""
    return locked_out(token, place) is not None


def add(objects: Objects, *, new: DataObject, unique: bool) -> Outcome:
    """Add an object; `unique` refuses a name that is there already (protocol: CheckForDuplicates)."""
    if unique and any(each.name == new.name for each in objects):
        return Outcome(Code.OBJECT_EXISTS)
    if len(objects) >= MOST:
        return Outcome(Code.OBJECTS_FULL)
    return Outcome(put=new, found=new)


def listed(objects: Objects, *, contains: str) -> Outcome:
    """List the objects whose name contains a text, in whatever case, in order of id."""
    return Outcome(shown=tuple(each for each in objects if contains.lower() in each.name.lower()))


def set_int(objects: Objects, *, which: Which, value: int) -> Outcome:
    """Set the number."""
    found = _find(objects, which)
    return _NONE if found is None else _changed(found, found._replace(int_value=value))


def set_string(objects: Objects, *, which: Which, value: str) -> Outcome:
    """Set the text."""
    found = _find(objects, which)
    return _NONE if found is None else _changed(found, found._replace(string_value=value))


def increment(objects: Objects, *, which: Which, amount: int, bound: int | None, largest: int) -> Outcome:
    """Add the absolute value of `amount`, if the sum is no higher than `bound`; `largest` is a feature lock (0: none)."""
    return _stepped(objects, which, abs(amount), largest, lambda value: bound is not None and value > bound)


def decrement(objects: Objects, *, which: Which, amount: int, bound: int | None, largest: int) -> Outcome:
    """Take the absolute value of `amount` away, if what is left is no lower than `bound`; as `increment`."""
    return _stepped(objects, which, -abs(amount), largest, lambda value: bound is not None and value < bound)


def remove(objects: Objects, *, which: Which) -> Outcome:
    """Remove the object."""
    found = _find(objects, which)
    return _NONE if found is None else Outcome(drop=found, found=found)


_NONE = Outcome(Code.OBJECT)
# How the object log names what an object hangs at.
_OWNERS = {Referencer.USER: "Account", Referencer.PRODUCT: "Product"}


def _change(outcome: Outcome, machine_code: str | None) -> Change | None:
    put, drop = (None if each is None else Placed(each, machine_code) for each in (outcome.put, outcome.drop))
    return Change(put=put, drop=drop) if put or drop else None


def _find(objects: Objects, which: Which) -> DataObject | None:
    """Return the object that is meant. Names are not unique: of several the lowest id has it, which stands first."""
    if which.id > 0:
        return next((each for each in objects if each.id == which.id), None)
    return next((each for each in objects if each.name == which.name), None)


def _changed(found: DataObject, after: DataObject) -> Outcome:
    """Return an object as it becomes; one that stays as it is needs no change."""
    return Outcome(put=None if after == found else after, found=after)


def _stepped(objects: Objects, which: Which, step: int, largest: int, beyond: Callable[[int], bool]) -> Outcome:
    found = _find(objects, which)
    if found is None:
        return _NONE
    value = found.int_value + step
    refusal = None
    if 0 < largest < abs(step):
        refusal = Code.OBJECT
    elif not LOWEST <= value <= HIGHEST:
        refusal = Code.OVERFLOW
    elif beyond(value):
        refusal = Code.BOUND
    return _changed(found, found._replace(int_value=value)) if refusal is None else Outcome(refusal, found=found)


def _within(license: License, machine_code: str | None, outcome: Outcome) -> Outcome:
    """Return the outcome, or refuse an object that would make too much of what is loaded with the license."""
    put = outcome.put
    if put is None:
        return outcome
    is_new = all(each.id != put.id for each in license.objects(machine_code))
    if machine_code is not None and is_new and sum(map(len, license.machine_objects.values())) >= MOST_OF_MACHINES:
        return Outcome(Code.OBJECTS_FULL)
    return _short(outcome, chain(license.data_objects, *license.machine_objects.values()))


def _short(outcome: Outcome, together: Iterable[DataObject]) -> Outcome:
    """Return the outcome, or refuse a text with which those of all objects `together` would be too long."""
    put = outcome.put
    if put is None or not put.string_value:
        return outcome
    others = sum(len(each.string_value) for each in together if each.id != put.id)
    return outcome if others + len(put.string_value) <= MOST_TEXT else Outcome(Code.OBJECTS_FULL)
