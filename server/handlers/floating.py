"""Calls about floating seats: claim, have the verdict committed, finish in Valkey; over again while the license moves."""

import time
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from server import metrics
from server.rules import floating
from server.rules.codes import Code, Refusal
from server.rules.events import with_system
from server.rules.floating import Again
from server.services import Services
from server.wire import requests
from storage.errors import Broken, Busy, NoLicense, NoProduct, Stale
from storage.records import ByTable, Claim, Decided, Lease, License, Rule, Wish

ROUNDS = 5
NOT_COMMITTED = (Stale, NoLicense, NoProduct, Broken)  # any other error may leave a verdict that happened after all

A = TypeVar("A")


class Taken(NamedTuple):
    """A seat that is committed: the license, its lease (None where machines are not counted), and all leases if known.

    They are in order, and have that lease as it is committed.
    """

    license: License
    seat: Lease | None
    leases: Sequence[Lease] | None


async def take(svc: Services, ask: requests.Activate, now: int, *, lists: bool = False) -> Taken:
    """Seat a machine. `lists` says that the answer shows all seats. Raises `Refusal`, `Busy`."""
    caller = ask.caller
    overdraft = min(ask.max_overdraft, svc.max_overdraft)
    wish = Wish(ask.machine_code, ask.floating_time_interval, overdraft, ask.friendly_name, caller.log_ip)
    license_ = await svc.ledger.glance(caller.token, ask.product_id, ask.key)
    for number in range(1, ROUNDS + 1):
        claim = None
        if floating.needs_seat(license_, caller):
            started = time.perf_counter()
            claim = await svc.seats.claim(license_, wish, lists=lists)
            metrics.claim_seconds.observe(time.perf_counter() - started)
        code_hash = None
        if license_.trial_activation:  # no others need it
            code_hash = svc.signers[caller.token.account_id].keyed_hash(ask.product_id, ask.machine_code)
        rule = partial(floating.activate, claim=claim, wish=wish, code_hash=code_hash, caller=caller, now=now)
        told = with_system(rule, event_name="activate", system=ask.os_info)
        decided = await _claimed(svc, ask, told, license_.id, claim)
        if decided.answer is not Again.CLAIM:
            metrics.seat_rounds.observe(number)
            seat = _lease(decided.answer)
            leases = claim.leases if isinstance(claim, Claim) and seat is not None else None
            return Taken(decided.license, seat, leases)
        metrics.claims_again.inc()
        license_ = decided.license
    raise Busy("a floating seat was claimed five times")


async def give_back(svc: Services, ask: requests.Deactivate, now: int) -> None:
    """Release the seat of a machine, if it has one. Raises `Refusal`, `Busy`."""
    caller, code = ask.caller, floating.plain_code(ask.machine_code)
    license_ = await svc.ledger.glance(caller.token, ask.product_id, ask.key)
    for number in range(1, ROUNDS + 1):
        peek = await svc.seats.peek(license_, code) if license_.epoch.number else None
        rule = partial(floating.deactivate, peek=peek, code=code, caller=caller, now=now)
        told = with_system(rule, event_name="deactivate", system=ask.os_info)
        decided = await _decided(svc, ask, told)
        if decided.answer is not Again.CLAIM:
            metrics.seat_rounds.observe(number)
            _lease(decided.answer)
            if peek is not None and not isinstance(peek, ByTable):
                await svc.seats.free(license_.id, code, peek)
            return
        metrics.claims_again.inc()
        license_ = decided.license
    raise Busy("a floating seat was released five times")


async def _claimed(
    svc: Services, ask: requests.Activate, rule: Rule[A], license_id: int, claim: Claim | ByTable | None
) -> Decided[A]:
    """Have a claim decided, and tell Valkey what became of it. A verdict that may be committed after all is left alone."""
    if not isinstance(claim, Claim):
        return await _decided(svc, ask, rule)
    try:
        decided = await _decided(svc, ask, rule)
    except NOT_COMMITTED:
        await svc.seats.undo(license_id, claim)
        raise
    if isinstance(decided.answer, Lease):
        await svc.seats.confirm(license_id, claim)
    else:
        await svc.seats.undo(license_id, claim)
    return decided


async def _decided(svc: Services, ask: requests.LicenseAsk, rule: Rule[A]) -> Decided[A]:
    started = time.perf_counter()
    decided = await svc.ledger.decide(ask.caller.token, ask.product_id, ask.key, rule)
    metrics.decide_seconds.observe(time.perf_counter() - started)
    return decided


def _lease(answer: floating.Answer) -> Lease | None:
    """Return what a committed verdict answered, or raise what it refused with."""
    if isinstance(answer, Code):
        raise Refusal(answer, confirmed=True)
    return answer if isinstance(answer, Lease) else None
