"""Floating seats: Activate with an interval, and Deactivate of a seat (protocol: floating licences).

Who decides depends on the license's epoch. Under an even one Valkey has decided, and the rule holds the claim against
the license as it is now; under an odd one the rule decides by the rows of the leases table. Nothing is claimed here.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import Enum
from functools import partial
from math import ceil
from typing import NamedTuple

from server.rules.activation import countdown
from server.rules.codes import Code
from server.rules.grants import Caller, key_lock_forbids
from server.rules.states import State, license_entry
from storage.records import ByTable, Change, Claim, Edit, Lease, LeaseKind, License, Peek, Verdict, Wish


class Again(Enum):
    """Neither yes nor no: the caller starts over with the license as it is now. Nothing is committed."""

    CLAIM = "claim again"


# A lease: seated. None: yes, without a seat (the limit is 0); of `deactivate`: done.
Answer = Lease | Code | Again | None

# What stands before the machine code of a seat that is shown; the longest first, so that it is recognised first.
PREFIXES = {LeaseKind.OVERDRAFT: "floating:overdraft:", LeaseKind.REGULAR: "floating:"}

_SEATED = {LeaseKind.REGULAR: State.FLOATING, LeaseKind.OVERDRAFT: State.OVERDRAFT}
_REFUSED = {Code.DENIED: State.ACTIVATION_DENIED, Code.BLOCKED: State.KEY_BLOCKED}


class _Decision(NamedTuple):
    """What became of a wish at `now`: a lease, or None where the seats are taken."""

    lease: Lease | None
    now: int


def needs_seat(license: License, caller: Caller) -> bool:
    """Whether a claim is worth making, by what is known of the license: it would not be refused or useless anyway."""
    return _refusal(license, caller) is None and license.max_machines > 0


def activate(
    license: License, *, claim: Claim | ByTable | None, wish: Wish, code_hash: bytes | None, caller: Caller, now: int
) -> Verdict[Answer]:
    """Seat a machine or say why not (protocol: Activate rows 7 to 10).

    `code_hash` is the keyed hash of its code, None for a license that was without trial activation when it was looked at.

    Every outcome but `Again` is logged: where seats were looked at, at the time of whoever decided on them, so that the
    log shows their order; else at `now`.
    """
    entry = partial(license_entry, license, caller=caller, code=wish.code, friendly_name=wish.friendly_name)
    refusal = _refusal(license, caller)
    if refusal is not None:
        return Verdict(refusal, entry=entry(_REFUSED[refusal], now=now))
    if license.max_machines <= 0:
        return Verdict(None, entry=entry(State.KNOWN_MACHINE, now=now))
    decision = _by_table(license, claim, wish) if license.epoch.by_table else _by_claim(license, claim)
    if decision is None or (license.trial_activation and code_hash is None):
        return Verdict(Again.CLAIM)
    lease = decision.lease
    if lease is None:
        return Verdict(Code.LIMIT, entry=entry(State.FLOATING_LIMIT, now=decision.now))
    row = entry(_SEATED[lease.kind], now=decision.now, floating_expires=lease.expires)
    return _kept(license, lease, Verdict(lease, _counted(license, wish.code, code_hash, decision), row, lease=lease))


def deactivate(license: License, *, peek: Peek | ByTable | None, code: str, caller: Caller, now: int) -> Verdict[Answer]:
    """Give a seat back, or say why not; None is done, also where there was none (protocol: Deactivate rows 7 to 9).

    `code` is a plain one. Whatever the limit is now: a seat from before it became 0 can still be given back.
    """
    entry = partial(license_entry, license, caller=caller, code=code)
    refusal = _refusal(license, caller)
    if refusal is not None:
        return Verdict(refusal, entry=entry(State.DEACTIVATION_REFUSED, now=now))
    if not license.epoch.number:  # never floating: there is no seat, and nothing in flight to fence off
        return Verdict(None, entry=entry(State.RELEASED, now=now))
    released = _released(license, peek, code)
    if released is None:
        return Verdict(Again.CLAIM)
    return _kept(license, released, Verdict(None, entry=entry(State.RELEASED, now=released.time), lease=released))


def free(license: License, *, peek: Peek | ByTable, code: str, caller: Caller) -> Verdict[Answer]:
    """Give a seat back by hand, also of a blocked key: as `deactivate` does, with a row in the object log.

    That row has the time of the Web API log's, which says whose seat it was: no machine code where it would outlive the
    erasure there.
    """
    released = _released(license, peek, code)
    if released is None:
        return Verdict(Again.CLAIM)
    entry = license_entry(license, State.RELEASED, caller=caller, now=released.time, code=code)
    edit = Edit(license.account_id, released.time, "Key", license.id, "FreeSeat", caller.token.id, "{}")
    return _kept(license, released, Verdict(None, entry=entry, edit=edit, lease=released))


def seat(leases: Mapping[str, Lease], wish: Wish, *, limit: int, epoch: int, now: int) -> Lease | None:
    """Return the seat that a wish gets, as the new row of its code, or None where all are taken (protocol: algorithm).

    `leases` are the rows of the license by code, ended and released ones too. The wish's interval counts, even where
    it ends a lease earlier than the call before did; `start` stays while the code keeps a seat.
    """
    held = _held(leases, wish.code, now)
    kind = _kind(leases.values(), held, wish, limit, now)
    if kind is None:
        return None
    return Lease(
        code=wish.code,
        kind=kind,
        start=now if held is None else held.start,
        time=now,
        expires=now + wish.interval,
        friendly_name=wish.friendly_name,
        ip=wish.ip,
        epoch=epoch,
        seq=_next_seq(leases, epoch),
    )


def plain_code(code: str) -> str:
    """Return the machine code without the prefix that lists show it with (protocol: Deactivate, MachineCode)."""
    for prefix in PREFIXES.values():
        if code.startswith(prefix):
            return code.removeprefix(prefix)
    return code


def _refusal(license: License, caller: Caller) -> Code | None:
    """Protocol: Activate and Deactivate rows 7 and 8. What is refused here is refused whoever decides on seats."""
    if key_lock_forbids(caller.token, license.id):
        return Code.DENIED
    return Code.BLOCKED if license.block else None


def _by_claim(license: License, claim: Claim | ByTable | None) -> _Decision | None:
    """Return what Valkey decided, or None where it was not under the license's present epoch and limit."""
    if not isinstance(claim, Claim) or not license.epoch.number:
        return None
    if (claim.epoch, claim.limit) != (license.epoch.number, license.max_machines):
        return None
    return _Decision(claim.lease, claim.now)


def _by_table(license: License, claim: Claim | ByTable | None, wish: Wish) -> _Decision | None:
    """Decide by the rows of the table, or return None where they are not yet all there are, or a claim was made."""
    if not isinstance(claim, ByTable) or not license.epoch.ready:
        return None
    time = _table_time(license, claim.now)
    late = max(time, ceil(claim.now)) - time  # the lease is never shorter than was asked for
    wish = wish._replace(interval=wish.interval + late)
    lease = seat(license.leases, wish, limit=license.max_machines, epoch=license.epoch.number, now=time)
    return _Decision(lease, time)


def _table_time(license: License, now: float) -> int:
    """Return the time that a decision by the table is made at: never before the last one that the table knows.

    Workers' clocks differ; the log's times show the order that decided all the same.
    """
    return max([int(now), *(lease.time for lease in license.leases.values())])


def _held(leases: Mapping[str, Lease], code: str, now: int) -> Lease | None:
    """Return the seat that a code has at `now`."""
    lease = leases.get(code)
    return lease if lease is not None and lease.lives(now) else None


def _kind(leases: Iterable[Lease], held: Lease | None, wish: Wish, limit: int, now: int) -> LeaseKind | None:
    """Protocol: floating, steps 3 to 6, in their order: who has a regular seat keeps it whatever the limit is now."""
    if held is not None and held.kind == LeaseKind.REGULAR:
        return LeaseKind.REGULAR
    others = Counter(lease.kind for lease in leases if lease.code != wish.code and lease.lives(now))
    if others[LeaseKind.REGULAR] < limit:
        return LeaseKind.REGULAR
    return LeaseKind.OVERDRAFT if others.total() < limit + wish.overdraft else None


def _next_seq(leases: Mapping[str, Lease], epoch: int) -> int:
    """Return the number of the next row under an epoch: each is higher than all before, ended and released ones too."""
    return 1 + max((lease.seq for lease in leases.values() if lease.epoch == epoch), default=0)


def _released(license: License, peek: Peek | ByTable | None, code: str) -> Lease | None:
    """Return the row that gives a seat back, or None where `peek` is not of the license's present epoch.

    Under Valkey it has the seq that was seen there: a renewal that came between has a higher one, and lives.
    """
    if license.epoch.by_table:
        if not isinstance(peek, ByTable) or not license.epoch.ready:
            return None
        seq, time = _next_seq(license.leases, license.epoch.number), _table_time(license, peek.now)
    else:
        if not isinstance(peek, Peek) or peek.epoch != license.epoch.number:
            return None
        seq, time = peek.seq, peek.now
    known = license.leases.get(code)
    kind = LeaseKind.REGULAR if known is None else known.kind
    return Lease(code, kind, time, time, time, "", "", license.epoch.number, seq, released=True)


def _counted(license: License, code: str, code_hash: bytes | None, decision: _Decision) -> Change | None:
    """Start the trial countdown, once for each code that gets a seat and is not a machine of the license anyway.

    With a renewal, too: the call that took the seat may have died before its verdict was committed.
    """
    if code_hash is None or code_hash in license.counted_codes or code in license.machines:
        return None
    expires = countdown(license, decision.now)
    if expires is None:
        return None
    return Change(counted_code=code_hash, expires=expires, ever_activated=None if license.ever_activated else True)


def _kept(license: License, lease: Lease, verdict: Verdict[Answer]) -> Verdict[Answer]:
    """Return the verdict, beside which a row is to be written, so that it changes the license where its table decides."""
    if not license.epoch.by_table:
        return verdict
    return replace(verdict, change=replace(verdict.change or Change(), lease=lease), lease=None)
