"""Packs leases as the scripts of the seats keep them, and reads what these answer, in an order that each tells at its head.

What comes from the scripts is numbers, but for leases: they are ours.
"""

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Any, NamedTuple

from storage.records import Claim, Held, Lease, LeaseKind, Peek, Wish, in_order
from storage.redis.keys import HEAD, field_of

LOOK = 3  # the claim script: the table must say whether a lease above the limit is committed
REFUSED = 1
TOO_MANY = 1  # the list script: there are more leases than were asked for
new = tuple.__new__
NO_SEQ = -1  # seqs of claims begin at 1, those of seeds are 0
KINDS = {int(kind): kind for kind in LeaseKind}
NUMBERS = Struct("<BIIIQ")  # of a lease, as in layout.lua: kind, start, time, expires, seq


class Reply(NamedTuple):
    """What a script answered, and the life of the server that did."""

    run: bytes
    values: Sequence[Any]

    @property
    def seeded(self) -> bool:
        """Whether the set was there, and of this life of the server."""
        return bool(self.values[0] > 0)

    @property
    def epoch(self) -> int:
        """The epoch of the set; 0 if it was not seeded."""
        return self.values[1] if self.seeded else 0

    @property
    def cause(self) -> str:
        """Why the set has to be seeded anew."""
        return {0: "absent", -1: "run_id"}.get(self.values[0], "epoch")


class Listed(NamedTuple):
    """The leases of a set that lived at `now`, by the server's clock."""

    epoch: int
    leases: tuple[Lease, ...]
    now: int


def kept(ip: str, friendly_name: str, code: bytes) -> bytes:
    """Return what a set keeps of a machine behind the numbers of its lease; `code` as `field_of` gives it."""
    return b"%b\0%b\0%b" % (ip.encode(), friendly_name.encode(), code)


def seeded(lease: Lease) -> tuple[bytes, bytes]:
    """Return field and packed text of a lease, as a set begins with it."""
    field, code = field_of(lease.code)
    numbers = NUMBERS.pack(lease.kind, lease.start, lease.time, lease.expires, 0)
    return field, numbers + kept(lease.ip, lease.friendly_name, code)


def claim(reply: Reply, wish: Wish, limit: int) -> Claim:
    """Read the answer of the claim script."""
    if reply.values[0] == REFUSED:
        _, epoch, now = reply.values
        return Claim(None, epoch, limit, now, run=reply.run)
    _, epoch, now, kind, start, expires, seq, until, before, ended, *all_ = reply.values
    lease = Lease(wish.code, KINDS[kind], start, now, expires, wish.friendly_name, wish.ip, epoch, seq)
    was = Held(KINDS[before], ended) if before else None
    leases = in_order([*_living(all_[0], epoch, now, but=seq), lease]) if all_ else None
    return Claim(lease, epoch, limit, now, until, was, reply.run, leases)


def peek(reply: Reply) -> Peek:
    """Read the answer of the peek script."""
    _, epoch, seq, now = reply.values
    return Peek(epoch, seq, now, reply.run)


def listed(reply: Reply) -> Listed:
    """Read the answer of the list script, of a seeded set that has not too many leases."""
    _, epoch, now, all_ = reply.values
    return Listed(epoch, tuple(_living(all_, epoch, now)), now)


def _living(fields: Sequence[bytes], epoch: int, now: int, but: int = NO_SEQ) -> Iterator[Lease]:
    """Read the fields of a set and their values, in turns: the leases that live, but the one of a seq and the head."""
    pairs = iter(fields)
    for field, packed in zip(pairs, pairs, strict=True):
        if field == HEAD:
            continue
        kind, start, at, expires, seq = NUMBERS.unpack_from(packed)
        if expires > now and seq != but:
            ip, name, code = packed[NUMBERS.size :].decode().split("\0")
            # Lease(…) takes half as long again, and there is one for each seat of a heartbeat's answer.
            yield new(Lease, (code or field.decode(), KINDS[kind], start, at, expires, name, ip, epoch, seq, False))
