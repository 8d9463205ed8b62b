"""The answer that shows a license: the document in the form that was asked for, sealed. Used by several methods."""

import time
from collections.abc import Awaitable, Sequence
from typing import NamedTuple

from server import metrics
from server.rules import fields
from server.rules.fields import Field
from server.services import Services
from server.wire import encode, replies, requests
from server.wire.requests import SignMethod
from server.wire.sign import Signer
from storage.records import Lease, License, in_order

LISTS_SEATS = 3  # the model version from which on all seats are listed
HIDES_MACHINES = int(Field.ACTIVATED_MACHINES)  # an enum's own & takes ten times as long

Ask = requests.Activate | requests.GetKey


class Own(NamedTuple):
    """What the license shows of its caller even where machines are hidden: a machine code, or a floating seat.

    `floats` is for a call that asked for a seat, if none was needed: before model version 3 it lists nothing else.
    `leases` are all seats in order, its own among them, where they are known already.
    """

    code: str | None = None
    seat: Lease | None = None
    floats: bool = False
    leases: Sequence[Lease] | None = None


class _Seats(NamedTuple):
    """What is to be shown of seats: the rows of the machine list (None: the node-locked ones), how many are in use."""

    rows: Sequence[encode.Row] | None
    used: int


class _Shown(NamedTuple):
    """How the license is shown, and when."""

    view: encode.View
    seats: _Seats
    now: int


async def licensed(svc: Services, ask: Ask, license_: License, own: Own, now: int) -> replies.Licensed:
    """Return the license as its caller may see it."""
    seats = await _seats(svc, ask, license_, own)
    mid = own.code if own.seat is None else encode.lease_row(own.seat).mid
    view = encode.View(model_version=ask.model_version, mask=_mask(ask), own=mid)
    return await _sealed(svc.signers[ask.caller.token.account_id], ask, license_, _Shown(view, seats, now))


def shows_seats(ask: Ask) -> bool:
    """Whether the answer says anything of the floating seats of others."""
    return _lists(ask) or _counts(ask)


def _lists(ask: Ask) -> bool:
    return ask.model_version >= LISTS_SEATS and not _mask(ask) & HIDES_MACHINES


def _counts(ask: Ask) -> bool:
    return ask.metadata and ask.floating_time_interval > 0


def _mask(ask: Ask) -> int:
    return fields.effective(ask.caller.token.feature_lock, ask.fields_to_return)


async def _seats(svc: Services, ask: Ask, license_: License, own: Own) -> _Seats:
    """Find out what is to be shown of floating seats; asks nobody about a license that never had any."""
    lists, counts = _lists(ask), _counts(ask)
    leases: Sequence[Lease] = ()
    if license_.epoch.number and (lists or counts):
        leases = _with_own(await svc.seats.live(license_), own.seat) if own.leases is None else own.leases
    used = len(leases) if counts else 0
    if leases and lists:
        return _Seats(encode.rows(license_, leases), used)
    if own.floats and not lists:
        return _Seats([] if own.seat is None else [encode.lease_row(own.seat)], used)
    return _Seats(None, used)


def _with_own(leases: Sequence[Lease], own: Lease | None) -> Sequence[Lease]:
    """Put in the caller's seat as its verdict left it: what was read may be a moment older, or newer."""
    if own is None:
        return leases
    others = [lease for lease in leases if lease.code != own.code]
    return in_order([*others, own])


async def _sealed(signer: Signer, ask: Ask, license_: License, shown: _Shown) -> replies.Licensed:
    view, seats, now = shown
    metadata = None
    if ask.metadata:
        unsigned = encode.metadata(license_, now, seats.used)
        metadata = encode.metadata_block(unsigned, await _timed(signer.seal512(unsigned.data)), now)
    started = time.perf_counter()
    if ask.sign_method is SignMethod.STRING_SIGN:  # always signed: the form has no other use
        document = encode.document(license_, view, now, rows=seats.rows)
        metrics.encode_seconds.observe(time.perf_counter() - started)
        seal = await _timed(signer.seal(document))
        return replies.Licensed(encode.base64_text(document), encode.base64_text(seal), metadata)
    if not ask.sign:
        shown_license = encode.unsigned(license_, view, rows=seats.rows)
        metrics.encode_seconds.observe(time.perf_counter() - started)
        return replies.Licensed(shown_license, None, metadata)
    linq = encode.linq(license_, view, now, rows=seats.rows)
    metrics.encode_seconds.observe(time.perf_counter() - started)
    return replies.Licensed(encode.signed(linq.body, await _timed(signer.seal(linq.text))), None, metadata)


async def _timed(seal: Awaitable[bytes]) -> bytes:
    """Wait for a signature, and say how long that took."""
    started = time.perf_counter()
    signature = await seal
    metrics.sign_seconds.observe(time.perf_counter() - started)
    return signature
