"""One batch of the ledger: which calls it decides, on which licenses, and what the database is to be told. No I/O."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from storage.postgres.rows import Address
from storage.records import (
    CHANGEABLE,
    Change,
    Decided,
    Edit,
    Entry,
    Fact,
    Lease,
    License,
    Machine,
    Placed,
    Referencer,
    Rule,
    Token,
    Usage,
    Verdict,
)
from storage.stamps import new_stamp

MANY_EVENTS = 2_000  # of one batch, but for those of its last call: a call brings up to 1000, and all wait for them


@dataclass(slots=True, eq=False)
class Call:
    """One caller that waits for a verdict. `rounds` counts how often its verdict went stale.

    `facts` are what it brought along: its token, and what its last verdict rested on beside the license. One that may have
    been at fault when a batch failed goes `alone`, even if its license has to be read first.
    """

    token: Token
    address: Address
    rule: Rule[Any]  # the answer is the handler's: storage hands it back unread
    future: "asyncio.Future[Decided[Any]]"
    deadline: float
    rounds: int = 0
    facts: tuple[Fact, ...] = ()
    alone: bool = False


@dataclass(slots=True)
class Group:
    """The calls of a batch on one license: decided in order, each on the license as the one before left it.

    Of the leases of one machine only the one of the highest rank is kept: the database would keep no other. Of a data
    object only its last value: `put` and `dropped` are by its id.
    """

    before: License
    after: License
    calls: list[tuple[Call, Decided[Any]]] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    registered: dict[str, Machine] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    counted: set[bytes] = field(default_factory=set)
    put: dict[int, Placed] = field(default_factory=dict)
    dropped: set[int] = field(default_factory=set)

    @property
    def changed(self) -> bool:
        """Whether the license will not be as it was."""
        return self.after is not self.before

    def add(self, call: Call, verdict: Verdict[Any]) -> None:
        """Take a verdict in: the license is as it leaves it from here on."""
        change = verdict.change
        if change is not None:
            self.after = self.after.after(change, new_stamp())
            self._take_machine(change)
            self._take_object(change)
            if change.lease is not None:
                self._keep(change.lease)
            if change.counted_code is not None:
                self.counted.add(change.counted_code)
        if verdict.lease is not None:
            self._keep(verdict.lease)
        self.calls.append((call, Decided(self.after, verdict.answer)))

    def _take_machine(self, change: Change) -> None:
        """Machines are forgotten, with the data objects of their codes, before any is registered or put."""
        if change.forget is not None:
            self.forgotten.append(change.forget)
            self.registered.pop(change.forget, None)
            self.put = {each: placed for each, placed in self.put.items() if placed.machine_code != change.forget}
        if change.register is not None:
            self.registered[change.register.code] = change.register

    def _take_object(self, change: Change) -> None:
        if change.drop is not None:
            self.put.pop(change.drop.object.id, None)
            self.dropped.add(change.drop.object.id)
        if change.put is not None:
            self.put[change.put.object.id] = change.put

    def _keep(self, lease: Lease) -> None:
        known = self.leases.get(lease.code)
        if known is None or lease.rank > known.rank:
            self.leases[lease.code] = lease


class Batch:
    """Calls that are committed together. Ordinals of groups and of facts run from 1, in the order of arrival."""

    def __init__(self) -> None:
        self.groups: dict[Address, Group] = {}
        self.size = 0
        self._facts: dict[Fact, int] = {}
        self._pairs: dict[tuple[int, int], None] = {}
        self._entries: list[Entry] = []
        self._entry_groups: list[int] = []
        self._edits: list[Edit] = []
        self._edit_groups: list[int] = []
        self._events: list[tuple[object, ...]] = []
        self._usage: list[tuple[object, ...]] = []
        self._ordinals: dict[Address, int] = {}

    def has_room(self, most: int) -> bool:
        """Whether a further call may come in: there are fewer than `most`, and not very many events to be written.

        A part of a batch always has room for all of its calls, for the whole had room for all but its last.
        """
        return self.size < most and len(self._events) < MANY_EVENTS

    @property
    def writes(self) -> bool:
        """Whether there is anything to write: a batch of answers that are not logged is only checked."""
        if self._entries or self._edits or self._events or self._usage:
            return True
        return any(group.changed or group.leases for group in self.groups.values())

    @property
    def calls(self) -> Iterable[Call]:
        """All calls of the batch."""
        return (call for group in self.groups.values() for call, _ in group.calls)

    @property
    def refused(self) -> bool:
        """Whether a caller has been told 503 meanwhile: then the batch must not happen any more."""
        return any(call.future.done() for call in self.calls)

    def decide(self, call: Call, license_: License) -> None:
        """Run the call's rule; `license_` is what is known if the batch has nothing on that license yet.

        An exception of the rule is the call's alone.
        """
        group = self.groups.get(call.address)
        known = license_ if group is None else group.after
        try:
            verdict = call.rule(known)
        except Exception as error:  # noqa: BLE001 (the caller gets it; the batch goes on without the call)
            call.future.set_exception(error)
            return
        if group is None:
            group = self._open(call.address, known)
        group.add(call, verdict)
        self.size += 1
        ordinal = self._ordinals[call.address]
        call.facts = call.token.facts + verdict.facts
        self._rest_on(ordinal, call.facts)
        if verdict.entry is not None:
            self._entries.append(verdict.entry)
            self._entry_groups.append(ordinal)
        if verdict.edit is not None:
            self._edits.append(verdict.edit)
            self._edit_groups.append(ordinal)
        self._events += [(ordinal, *event) for event in verdict.events]
        if verdict.usage is not None:
            self._usage.append(_usage_row(ordinal, known, verdict.usage))

    def fact_ordinals(self, call: Call) -> Iterable[int]:
        """Return the ordinals of the facts that the call brought along."""
        return (self._facts[fact] for fact in call.facts)

    def checked_values(self) -> tuple[object, ...]:
        """Return what to ask ledger_stale(): licenses, stamps, facts, and which license rests on which fact."""
        groups = self.groups.values()
        return (
            [group.before.id for group in groups],
            [group.before.stamp for group in groups],
            list(self._facts),
            [license_ for license_, _ in self._pairs],
            [fact for _, fact in self._pairs],
        )

    def written_values(self) -> tuple[object, ...]:
        """Return what to tell ledger_write() after the lane and the number."""
        changed, forgotten, machines, leases, counted, put, dropped = [], [], [], [], [], [], []
        for ordinal, group in enumerate(self.groups.values(), 1):
            row = group.after
            leases += [(ordinal, row.id, row.account_id, *lease) for lease in group.leases.values()]
            counted += [(ordinal, row.id, row.account_id, code_hash) for code_hash in group.counted]
            if group.changed:
                changed.append((ordinal, row.id, row.stamp, *(getattr(row, name) for name in CHANGEABLE), row.customer_id))
                forgotten += [(ordinal, row.id, code) for code in group.forgotten]
                machines += [_machine_row(ordinal, row, machine) for machine in group.registered.values()]
                put += [_object_row(ordinal, row, placed) for placed in group.put.values()]
                dropped += [(ordinal, object_id) for object_id in group.dropped]
        return (
            *self.checked_values(),
            changed, forgotten, machines,
            self._entries, self._entry_groups, self._edits, self._edit_groups,
            leases, counted, put, dropped,
            self._events, self._usage,
        )  # fmt: skip

    def _open(self, address: Address, license_: License) -> Group:
        group = self.groups[address] = Group(license_, license_)
        self._ordinals[address] = len(self.groups)
        self._rest_on(len(self.groups), license_.facts)
        return group

    def _rest_on(self, ordinal: int, facts: Iterable[Fact]) -> None:
        for fact in facts:
            number = self._facts.setdefault(fact, len(self._facts) + 1)
            self._pairs[ordinal, number] = None


def _machine_row(ordinal: int, license_: License, machine: Machine) -> tuple[object, ...]:
    return (
        ordinal, license_.id, license_.account_id,
        machine.code, machine.friendly_name, machine.ip, machine.proxy_ip, machine.time,
    )  # fmt: skip


def _object_row(ordinal: int, license_: License, placed: Placed) -> tuple[object, ...]:
    kind = Referencer.KEY if placed.machine_code is None else Referencer.MACHINE_CODE
    return (ordinal, license_.account_id, int(kind), license_.id, placed.machine_code, *placed.object)


def _usage_row(ordinal: int, license_: License, usage: Usage) -> tuple[object, ...]:
    return (ordinal, license_.account_id, license_.product.id, license_.id, *usage)
