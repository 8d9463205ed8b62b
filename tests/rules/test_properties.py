"""What holds after any sequence of calls on one license."""

from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from operator import attrgetter

from hypothesis import given
from hypothesis import strategies as st

from server.rules import activation, editing
from server.rules.codes import Code
from server.rules.states import State
from server.rules.term import in_bounds
from storage.records import CHANGEABLE, Change, License, Machine, Verdict

from .given import DAY, FULL_ADDRESS, NOW, PROXY_ADDRESS, a_caller, a_license, a_product, left_by, settings

Call = Callable[[License], Verdict[Code | None]]

CODES = st.sampled_from(["", "a", "b", "c", "d", "A", "é"])
# Workers' clocks differ, so that times do not only grow.
TIMES = st.integers(NOW - 3, NOW + 3)
PRODUCTS = st.sampled_from(
    [
        a_product(),
        a_product(data_objects=settings(trialactivation="first_activation")),
        a_product(data_objects=settings(unblockextendedlicenses="true")),
    ]
)
LICENSES = st.builds(
    a_license,
    product=PRODUCTS,
    trial_activation=st.booleans(),
    block=st.booleans(),
    max_machines=st.integers(-1, 4),
    allowed_machines=st.lists(CODES, max_size=3).map("\n".join),
    expires=st.integers(NOW - 40 * DAY, NOW + 40 * DAY),
)


def an_activation(code: str, name: str, now: int) -> Call:
    return partial(activation.activate, code=code, friendly_name=name, caller=a_caller(), now=now)


def a_deactivation(code: str, now: int) -> Call:
    return partial(activation.deactivate, code=code, caller=a_caller(), now=now)


def an_extension(days: int, now: int) -> Call:
    return partial(editing.extend, days=days, caller=a_caller(), now=now)


def a_limit(limit: int, now: int) -> Call:
    return partial(editing.machine_limit, limit=limit, caller=a_caller(), now=now)


def a_block(now: int) -> Call:
    return partial(editing.block, caller=a_caller(), now=now)


def an_unblock(now: int) -> Call:
    return partial(editing.unblock, caller=a_caller(), now=now)


ACTIVATIONS = st.builds(an_activation, CODES, st.sampled_from(["", "desk", "lab"]), TIMES)
DEACTIVATIONS = st.builds(a_deactivation, CODES, TIMES)
EDITS = st.one_of(
    st.builds(an_extension, st.integers(-4_000_000, 4_000_000), TIMES),
    st.builds(a_limit, st.integers(0, 4), TIMES),
    st.builds(a_block, TIMES),
    st.builds(an_unblock, TIMES),
)
MOVES = st.lists(st.one_of(ACTIVATIONS, DEACTIVATIONS), max_size=15)
CALLS = st.lists(st.one_of(ACTIVATIONS, DEACTIVATIONS, EDITS), max_size=15)


def after_all(license: License, calls: list[Call]) -> License:
    for call in calls:
        license = left_by(license, call(license).change)
    return license


@given(LICENSES, MOVES)
def test_never_more_machines_than_the_limit_unless_they_are_allowed(license: License, moves: list[Call]) -> None:
    allowed = set(license.allowed_machines.split("\n")) - {""}
    for move in moves:
        license = left_by(license, move(license).change)
        assert len(license.machines.keys() - allowed) <= max(license.max_machines, 0)
        assert len(license.machines) <= max(license.max_machines, 0) or license.machines.keys() & allowed


@given(LICENSES, CALLS, ACTIVATIONS)
def test_a_call_beyond_the_limit_adds_only_allowed_machines(license: License, calls: list[Call], last: Call) -> None:
    license = after_all(license, calls)
    verdict = last(license)
    grown = left_by(license, verdict.change).machines
    new = grown.keys() - license.machines.keys()
    if new and len(grown) > license.max_machines:
        assert new <= set(license.allowed_machines.split("\n")) - {""}
        assert verdict.entry is not None
        assert verdict.entry.state == State.PRIORITY_MACHINE


@given(LICENSES, CALLS, CODES, TIMES, TIMES)
def test_repeating_an_activation_changes_nothing_and_succeeds(
    license: License, calls: list[Call], code: str, now: int, later: int
) -> None:
    license = after_all(license, calls)
    first = an_activation(code, "desk", now)(license)
    license = left_by(license, first.change)
    again = an_activation(code, "desk", later)(license)
    assert again.change is None
    assert again.answer == first.answer
    if code in license.machines and not license.block:
        assert again.answer is None


@given(LICENSES, CALLS)
def test_only_what_is_granted_changes_a_license(license: License, calls: list[Call]) -> None:
    for call in calls:
        verdict = call(license)
        assert verdict.answer is None or (verdict.change is None and verdict.edit is None)
        license = left_by(license, verdict.change)


@given(LICENSES, CALLS)
def test_log_rows_never_hold_a_full_address(license: License, calls: list[Call]) -> None:
    for call in calls:
        verdict = call(license)
        for told in (repr(verdict.entry), repr(verdict.edit)):
            assert FULL_ADDRESS not in told
            assert PROXY_ADDRESS not in told
        license = left_by(license, verdict.change)


@given(LICENSES, CALLS)
def test_the_end_of_a_license_stays_readable_and_its_period_fits_an_int32(license: License, calls: list[Call]) -> None:
    license = after_all(license, calls)
    assert in_bounds(license.expires)
    assert 0 <= license.period < 2**31


@given(LICENSES, CALLS)
def test_machines_stay_in_the_order_of_time_and_code(license: License, calls: list[Call]) -> None:
    machines = list(after_all(license, calls).machines.values())
    assert machines == sorted(machines, key=attrgetter("time", "code"))


@given(LICENSES, CALLS)
def test_a_license_in_memory_equals_the_one_that_storage_would_load(license: License, calls: list[Call]) -> None:
    stored = Stored(license)
    for call in calls:
        change = call(license).change
        if change is not None:
            license = license.after(change, license.stamp + 1)
            stored.apply(change, license.stamp)
        loaded = stored.load()
        assert license == loaded
        assert list(license.machines.items()) == list(loaded.machines.items())


class Stored:
    """A license as rows: what the SQL of the ledger does with a change, and what its load gives back."""

    def __init__(self, license: License) -> None:
        """Store it."""
        self._row = {field.name: getattr(license, field.name) for field in fields(license)}
        self._machines: dict[str, Machine] = dict(license.machines)

    def apply(self, change: Change, stamp: int) -> None:
        """Write a change: forget first, then register."""
        self._row |= {name: value for name in CHANGEABLE if (value := getattr(change, name)) is not None}
        self._row["stamp"] = stamp
        if change.forget is not None:
            self._machines.pop(change.forget, None)
        if change.register is not None:
            self._machines[change.register.code] = change.register

    def load(self) -> License:
        """Read it anew."""
        rows = sorted(self._machines.values(), key=attrgetter("time", "code"))
        return replace(License(**self._row), machines={machine.code: machine for machine in rows})
