"""Events: what client software tells of itself (protocol: RegisterEvent). No address of a caller is in one."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeVar

from server.rules.codes import Code
from server.rules.grants import Caller, key_lock_forbids
from storage.records import Event, License, Rule, Verdict

LONGEST_METADATA = 10_000

A = TypeVar("A")


class Told(NamedTuple):
    """What a client says of one event; `time` 0 is now. Money is in hundredths of `currency`."""

    feature_name: str
    event_name: str
    value: int
    currency: str
    time: int
    metadata: str


class About(NamedTuple):
    """What events are about: `product_id` 0 and `machine_code` '' are none."""

    account_id: int
    product_id: int
    machine_code: str


def register(license: License, *, told: Sequence[Told], machine_code: str, caller: Caller, now: int) -> Verdict[Code | None]:
    """Keep events of a license, of a blocked one too; None is done. Nothing of it is in the Web API log."""
    if key_lock_forbids(caller.token, license.id):
        return Verdict(Code.DENIED)
    about = About(license.account_id, license.product.id, machine_code)
    return Verdict(None, events=of(told, about, license_id=license.id, now=now))


def of(told: Sequence[Told], about: About, *, license_id: int, now: int) -> tuple[Event, ...]:
    """Return the events to be kept; `license_id` 0 is none."""
    return tuple(
        Event(
            about.account_id,
            about.product_id,
            license_id,
            about.machine_code,
            each.feature_name,
            each.event_name,
            each.value,
            each.currency,
            each.time or now,
            each.metadata,
        )
        for each in told
    )


def with_system(rule: Rule[A], *, event_name: str, system: str) -> Rule[A]:
    """Return the rule with an event beside its log row that says on which operating system it was called, if that is known.

    Protocol: activation, OSInfo; `system` is kept as it was sent, up to the length of metadata. What is not logged (a
    floating seat that is to be claimed again) leaves no event either.
    """
    return partial(_with_system, rule=rule, event_name=event_name, system=system) if system else rule


def _with_system(license: License, *, rule: Rule[A], event_name: str, system: str) -> Verdict[A]:
    verdict = rule(license)
    entry = verdict.entry
    if entry is None:
        return verdict
    about = About(entry.account_id, entry.product_id, entry.machine_code)
    told = Told("", event_name, 0, "", entry.time, system[:LONGEST_METADATA])
    return replace(verdict, events=of([told], about, license_id=entry.license_id, now=entry.time))
