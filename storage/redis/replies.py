"""Reads what the scripts of the seats answer: numbers and texts in an order that each script tells at its head."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from storage.records import Claim, Held, Lease, LeaseKind, Peek, Wish

LOOK = 3  # the claim script: the table must say whether a lease above the limit is committed
TOO_MANY = 1  # the list script: there are more leases than were asked for
CODE = 8  # where a listed lease has its machine code, if its field is a digest
KINDS = {int(kind): kind for kind in LeaseKind}


class Reply(NamedTuple):
    """What a script answered, and the life of the server that did."""

    run: bytes
    values: Sequence[Any]  # numbers, but for leases: the scripts are ours

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


def claim(reply: Reply, wish: Wish, limit: int) -> Claim:
    """Read the answer of the claim script."""
    _, epoch, now, *granted = reply.values
    if not granted:
        return Claim(None, epoch, limit, now, run=reply.run)
    kind, start, expires, seq, kept, before, ended, *listed = granted
    lease = Lease(wish.code, KINDS[kind], start, now, expires, wish.friendly_name, wish.ip, epoch, seq)
    was = Held(KINDS[before], ended) if before else None
    leases = tuple(_lease(each, epoch) for each in listed) if listed else None
    return Claim(lease, epoch, limit, now, kept, was, reply.run, leases)


def peek(reply: Reply) -> Peek:
    """Read the answer of the peek script."""
    _, epoch, seq, now = reply.values
    return Peek(epoch, seq, now, reply.run)


def listed(reply: Reply) -> Listed:
    """Read the answer of the list script, of a seeded set that has not too many leases."""
    _, epoch, now, *leases = reply.values
    return Listed(epoch, tuple(_lease(each, epoch) for each in leases), now)


def _lease(values: Sequence[Any], epoch: int) -> Lease:
    code = values[CODE] if len(values) > CODE else values[0]
    kind, start, at, expires, seq, ip, name = values[1:CODE]
    return Lease(code.decode(), KINDS[kind], start, at, expires, name.decode(), ip.decode(), epoch, seq)
