"""Floating seats: the algorithm step by step, the worked timelines, and what holds after any sequence of calls."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rules import activation
from server.rules.codes import Code
from server.rules.floating import Again, Answer, activate, deactivate, free, needs_seat, plain_code, seat
from server.rules.grants import Caller
from server.rules.term import LATEST
from storage.records import (
    NEVER_FLOATING,
    ByTable,
    Change,
    Claim,
    Edit,
    Entry,
    Epoch,
    Held,
    Lease,
    LeaseKind,
    License,
    Peek,
    Verdict,
    Wish,
    living,
)

from .given import (
    BY_TABLE,
    BY_VALKEY,
    DAY,
    FULL_ADDRESS,
    MASKED_ADDRESS,
    NOW,
    PROXY_ADDRESS,
    a_caller,
    a_lease,
    a_license,
    a_product,
    a_token,
    a_wish,
    left_by,
    settings,
)

A = TypeVar("A")

OVERDRAFT = LeaseKind.OVERDRAFT
REGULAR = LeaseKind.REGULAR
FIRST_ONLY = a_product(data_objects=settings(trialactivation="first_activation"))


def hash_of(code: str) -> bytes:
    return b"hash of " + code.encode()


def table(*leases: Lease) -> dict[str, Lease]:
    return {lease.code: lease for lease in leases}


def seated(
    *leases: Lease, code: str = "a", limit: int = 1, overdraft: int = 0, interval: int = 100, now: int = NOW
) -> Lease | None:
    wish = a_wish(code, interval=interval, overdraft=overdraft)
    return seat(table(*leases), wish, limit=limit, epoch=BY_TABLE.number, now=now)


def kind_of(lease: Lease | None) -> LeaseKind | None:
    return None if lease is None else lease.kind


def a_claim(
    license: License, lease: Lease | None, *, epoch: int | None = None, limit: int | None = None, was: Held | None = None
) -> Claim:
    """Return the answer of Valkey, made under the license's epoch and limit unless given, three seconds before now."""
    return Claim(
        lease=lease,
        epoch=license.epoch.number if epoch is None else epoch,
        limit=license.max_machines if limit is None else limit,
        now=NOW - 3,
        was=was,
        run=b"run",
    )


def a_peek(epoch: int = BY_VALKEY.number) -> Peek:
    return Peek(epoch, seq=7, now=NOW - 3, run=b"run")


def activated(license: License, claim: Claim | ByTable | None, wish: Wish | None = None, **locks: int) -> Verdict[Answer]:
    wish = a_wish("a") if wish is None else wish
    return activate(license, claim=claim, wish=wish, code_hash=hash_of(wish.code), caller=a_caller(**locks), now=NOW)


def deactivated(license: License, peek: Peek | ByTable | None, code: str = "a", **locks: int) -> Verdict[Answer]:
    return deactivate(license, peek=peek, code=code, caller=a_caller(**locks), now=NOW)


def entry_of(verdict: Verdict[Answer]) -> Entry:
    assert verdict.entry is not None
    return verdict.entry


def state_of(verdict: Verdict[Answer]) -> int:
    return entry_of(verdict).state


def change_of(verdict: Verdict[Answer]) -> Change:
    assert verdict.change is not None
    return verdict.change


def keeps_nothing(verdict: Verdict[Answer]) -> bool:
    return (verdict.change, verdict.lease, verdict.edit) == (None, None, None)


# The algorithm


def test_a_new_code_gets_a_regular_seat_while_there_is_one() -> None:
    assert seated(a_lease("b"), limit=2) == Lease(
        "a", REGULAR, NOW, NOW, NOW + 100, "", MASKED_ADDRESS, BY_TABLE.number, seq=2
    )


def test_a_live_regular_seat_is_renewed_and_keeps_its_start() -> None:
    renewed = seated(a_lease("a", start=NOW - 50))
    assert renewed is not None
    assert (renewed.kind, renewed.start, renewed.time, renewed.expires) == (REGULAR, NOW - 50, NOW, NOW + 100)


def test_a_live_regular_seat_is_renewed_after_the_limit_was_lowered() -> None:
    assert kind_of(seated(a_lease("a"), a_lease("b"), a_lease("c"), limit=1)) is REGULAR


def test_a_renewal_takes_the_name_and_the_address_of_the_last_call() -> None:
    held = a_lease("a")._replace(friendly_name="desk", ip="192.0.2.0")
    renewed = seat(table(held), a_wish("a", friendly_name="lab"), limit=1, epoch=BY_TABLE.number, now=NOW)
    assert renewed is not None
    assert (renewed.friendly_name, renewed.ip) == ("lab", MASKED_ADDRESS)


def test_a_renewal_with_a_shorter_interval_ends_the_seat_earlier() -> None:
    renewed = seated(a_lease("a", expires=NOW + 600), interval=10)
    assert renewed is not None
    assert renewed.expires == NOW + 10


def test_without_a_regular_seat_and_without_overdraft_a_code_is_refused() -> None:
    assert seated(a_lease("b")) is None


def test_without_a_regular_seat_an_overdraft_seat_is_given() -> None:
    assert kind_of(seated(a_lease("b"), overdraft=1)) is OVERDRAFT


def test_overdraft_seats_are_counted_with_the_regular_ones() -> None:
    assert seated(a_lease("b"), a_lease("c", OVERDRAFT), overdraft=1) is None
    assert kind_of(seated(a_lease("b"), a_lease("c", OVERDRAFT), overdraft=2)) is OVERDRAFT


def test_overdraft_seats_leave_regular_ones_free() -> None:
    assert kind_of(seated(a_lease("b", OVERDRAFT), a_lease("c", OVERDRAFT))) is REGULAR


def test_an_overdraft_seat_is_renewed_and_keeps_its_start() -> None:
    renewed = seated(a_lease("a", OVERDRAFT, start=NOW - 50), a_lease("b"), overdraft=1)
    assert renewed is not None
    assert (renewed.kind, renewed.start, renewed.expires) == (OVERDRAFT, NOW - 50, NOW + 100)


def test_an_overdraft_seat_is_promoted_and_keeps_its_start() -> None:
    promoted = seated(a_lease("a", OVERDRAFT, start=NOW - 50))
    assert promoted is not None
    assert (promoted.kind, promoted.start) == (REGULAR, NOW - 50)


def test_an_overdraft_seat_is_refused_to_its_holder_who_no_longer_asks_for_it() -> None:
    assert seated(a_lease("a", OVERDRAFT), a_lease("b"), overdraft=0) is None


def test_a_seat_is_taken_until_the_instant_before_it_ends() -> None:
    assert seated(a_lease("b", expires=NOW), now=NOW - 1) is None
    assert kind_of(seated(a_lease("b", expires=NOW), now=NOW)) is REGULAR


def test_a_seat_can_be_renewed_until_the_instant_before_it_ends() -> None:
    leases = a_lease("a", start=NOW - 50, expires=NOW), a_lease("b")
    renewed = seated(*leases, now=NOW - 1)
    assert renewed is not None
    assert renewed.start == NOW - 50
    assert seated(*leases, now=NOW) is None


def test_a_seat_that_has_ended_is_taken_anew() -> None:
    anew = seated(a_lease("a", start=NOW - 50, expires=NOW))
    assert anew is not None
    assert anew.start == NOW


def test_a_seat_that_was_given_back_is_free_for_all() -> None:
    given_back = a_lease("b", released=True)
    assert kind_of(seated(given_back)) is REGULAR
    anew = seated(given_back, code="b")
    assert anew is not None
    assert anew.start == NOW


def test_seats_from_before_the_epoch_count() -> None:
    assert seated(a_lease("b", epoch=BY_VALKEY.number)) is None


def test_each_row_has_a_higher_seq_than_all_before_it_under_its_epoch() -> None:
    before = a_lease("b", epoch=BY_VALKEY.number, seq=99)
    assert seated(before, limit=9, now=NOW) == seated(limit=9)
    ended, given_back = a_lease("c", expires=NOW - 1, seq=4), a_lease("d", released=True, seq=5)
    for rows, expected in [((before,), 1), ((before, ended), 5), ((before, ended, given_back), 6)]:
        lease = seated(*rows, limit=9)
        assert lease is not None
        assert lease.rank == (BY_TABLE.number, expected, False)


def test_live_seats_are_in_order_of_start_then_code() -> None:
    first, second, third = a_lease("c", start=NOW - 9), a_lease("a", start=NOW - 8), a_lease("b", start=NOW - 8)
    gone = a_lease("d", expires=NOW), a_lease("e", released=True)
    assert living([third, *gone, second, first], NOW) == (first, second, third)


@pytest.mark.parametrize(
    ("sent", "plain"),
    [
        ("a", "a"),
        ("", ""),
        ("floating:a", "a"),
        ("floating:overdraft:a", "a"),
        ("floating:", ""),
        ("floating:overdraft", "overdraft"),
        ("floating:floating:a", "floating:a"),
        ("Floating:a", "Floating:a"),
        ("xfloating:a", "xfloating:a"),
    ],
)
def test_a_code_is_stripped_of_what_lists_show_before_it_once(sent: str, plain: str) -> None:
    assert plain_code(sent) == plain


# Before anybody looks at seats


def test_a_claim_is_worth_making_where_nothing_else_decides() -> None:
    assert needs_seat(a_license(), a_caller())
    assert needs_seat(a_license(), a_caller(key_lock=1005))
    assert not needs_seat(a_license(), a_caller(key_lock=1006))
    assert not needs_seat(a_license(block=True), a_caller())
    assert not needs_seat(a_license(max_machines=0), a_caller())
    assert not needs_seat(a_license(max_machines=-1), a_caller())


EPOCHS = st.sampled_from([NEVER_FLOATING, BY_VALKEY, BY_TABLE, BY_TABLE._replace(ready=False)])
CLAIMS = st.sampled_from([None, ByTable(NOW), a_claim(a_license(epoch=BY_VALKEY), a_lease("a"))])


@given(EPOCHS, CLAIMS)
def test_a_token_locked_to_another_key_is_denied_whatever_was_claimed(epoch: Epoch, claim: Claim | ByTable | None) -> None:
    verdict = activated(a_license(epoch=epoch, block=True), claim, key_lock=1006)
    assert (verdict.answer, state_of(verdict), entry_of(verdict).time) == (Code.DENIED, 2020, NOW)
    assert keeps_nothing(verdict)


@given(EPOCHS, CLAIMS)
def test_a_key_that_was_blocked_since_the_claim_seats_nobody(epoch: Epoch, claim: Claim | ByTable | None) -> None:
    verdict = activated(a_license(epoch=epoch, block=True, max_machines=0), claim)
    assert (verdict.answer, state_of(verdict), entry_of(verdict).time) == (Code.BLOCKED, 2022, NOW)
    assert keeps_nothing(verdict)


@given(EPOCHS, CLAIMS, st.integers(-1, 0))
def test_without_a_limit_everybody_is_admitted_and_nobody_is_seated(
    epoch: Epoch, claim: Claim | ByTable | None, limit: int
) -> None:
    verdict = activated(a_license(epoch=epoch, max_machines=limit, trial_activation=True), claim)
    assert (verdict.answer, state_of(verdict), entry_of(verdict).floating_expires) == (None, 2010, 0)
    assert entry_of(verdict).time == NOW
    assert keeps_nothing(verdict)


def test_an_expired_key_seats_machines() -> None:
    license = a_license(epoch=BY_TABLE, expires=NOW - DAY)
    assert isinstance(activated(license, ByTable(NOW)).answer, Lease)


# Decided by Valkey


def test_a_claim_is_confirmed_and_its_lease_kept_beside_the_license() -> None:
    license = a_license(epoch=BY_VALKEY)
    lease = a_lease("a", epoch=BY_VALKEY.number)
    verdict = activated(license, a_claim(license, lease))
    assert (verdict.answer, verdict.lease, verdict.change) == (lease, lease, None)


@pytest.mark.parametrize(("kind", "state"), [(REGULAR, 2014), (OVERDRAFT, 2015)])
def test_the_log_row_of_a_claim_tells_the_time_of_who_decided_and_when_the_seat_ends(kind: LeaseKind, state: int) -> None:
    license = a_license(epoch=BY_VALKEY)
    lease = a_lease("a", kind, expires=NOW + 77)
    assert activated(license, a_claim(license, lease), a_wish("a", friendly_name="kiosk")).entry == Entry(
        account_id=1,
        product_id=3001,
        license_id=1005,
        key="ABCDE-FGHIJ-KLMNO-PQRST",
        ip=MASKED_ADDRESS,
        time=NOW - 3,
        state=state,
        machine_code="a",
        friendly_name="kiosk",
        floating_expires=NOW + 77,
    )


def test_a_refused_claim_is_refused_and_logged_at_the_time_of_who_decided() -> None:
    license = a_license(epoch=BY_VALKEY)
    verdict = activated(license, a_claim(license, None))
    assert (verdict.answer, state_of(verdict)) == (Code.LIMIT, 2024)
    assert (entry_of(verdict).time, entry_of(verdict).floating_expires) == (NOW - 3, 0)
    assert keeps_nothing(verdict)


def test_the_table_is_not_looked_at_where_valkey_decides() -> None:
    license = a_license(epoch=BY_VALKEY, max_machines=1, leases=(a_lease("b"), a_lease("c")))
    lease = a_lease("a", epoch=BY_VALKEY.number)
    assert activated(license, a_claim(license, lease)).answer == lease


# Claim again


LEASE = a_lease("a", epoch=BY_VALKEY.number)
LICENSE = a_license(epoch=BY_VALKEY, trial_activation=True)


@pytest.mark.parametrize(
    ("epoch", "claim"),
    [
        pytest.param(NEVER_FLOATING, None, id="never floating, nothing claimed"),
        pytest.param(NEVER_FLOATING, a_claim(LICENSE, LEASE, epoch=0), id="never floating, and a claim"),
        pytest.param(NEVER_FLOATING, ByTable(NOW), id="never floating, and the table"),
        pytest.param(BY_VALKEY, None, id="nothing claimed"),
        pytest.param(BY_VALKEY, ByTable(NOW), id="the table gave way to Valkey"),
        pytest.param(BY_VALKEY, a_claim(LICENSE, LEASE, epoch=BY_VALKEY.number - 2), id="an earlier epoch"),
        pytest.param(BY_VALKEY, a_claim(LICENSE, LEASE, epoch=BY_VALKEY.number + 2), id="a later epoch"),
        pytest.param(BY_VALKEY, a_claim(LICENSE, LEASE, limit=1), id="the limit was raised since"),
        pytest.param(BY_VALKEY, a_claim(LICENSE, LEASE, limit=3), id="the limit was lowered since"),
        pytest.param(BY_VALKEY, a_claim(LICENSE, LEASE, limit=0), id="there was no limit"),
        pytest.param(BY_VALKEY, a_claim(LICENSE, None, limit=1), id="refused, and the limit was raised since"),
        pytest.param(BY_TABLE, None, id="by the table, nothing claimed"),
        pytest.param(BY_TABLE, a_claim(LICENSE, LEASE), id="Valkey gave way to the table"),
        pytest.param(BY_TABLE, a_claim(LICENSE, LEASE, epoch=BY_TABLE.number), id="a claim under an odd epoch"),
        pytest.param(BY_TABLE._replace(ready=False), ByTable(NOW), id="the table is not ready"),
    ],
)
def test_what_was_not_claimed_under_the_license_as_it_is_now_is_claimed_again(
    epoch: Epoch, claim: Claim | ByTable | None
) -> None:
    assert activated(replace(LICENSE, epoch=epoch), claim) == Verdict(Again.CLAIM)


@pytest.mark.parametrize(
    ("epoch", "peek"),
    [
        pytest.param(BY_VALKEY, None, id="nothing peeked"),
        pytest.param(BY_VALKEY, ByTable(NOW), id="the table gave way to Valkey"),
        pytest.param(BY_VALKEY, a_peek(BY_VALKEY.number - 2), id="an earlier epoch"),
        pytest.param(BY_VALKEY, a_peek(BY_VALKEY.number + 2), id="a later epoch"),
        pytest.param(BY_TABLE, None, id="by the table, nothing peeked"),
        pytest.param(BY_TABLE, a_peek(), id="Valkey gave way to the table"),
        pytest.param(BY_TABLE, a_peek(BY_TABLE.number), id="a peek under an odd epoch"),
        pytest.param(BY_TABLE._replace(ready=False), ByTable(NOW), id="the table is not ready"),
    ],
)
def test_what_was_not_peeked_under_the_epoch_as_it_is_now_is_peeked_again(epoch: Epoch, peek: Peek | ByTable | None) -> None:
    assert deactivated(replace(LICENSE, epoch=epoch), peek) == Verdict(Again.CLAIM)


# Decided by the table


def test_by_the_table_the_seat_is_a_change_of_the_license() -> None:
    license = a_license(epoch=BY_TABLE, leases=(a_lease("b"),))
    verdict = activated(license, ByTable(NOW - 1), a_wish("a", friendly_name="kiosk"))
    lease = Lease("a", REGULAR, NOW - 1, NOW - 1, NOW + 99, "kiosk", MASKED_ADDRESS, BY_TABLE.number, seq=2)
    assert verdict == Verdict(lease, Change(lease=lease), entry_of(verdict))
    assert (state_of(verdict), entry_of(verdict).time) == (2014, NOW - 1)
    assert entry_of(verdict).floating_expires == NOW + 99


def test_by_the_table_a_refusal_leaves_the_seat_that_the_code_still_has() -> None:
    license = a_license(epoch=BY_TABLE, max_machines=1, leases=(a_lease("a", OVERDRAFT), a_lease("b")))
    verdict = activated(license, ByTable(NOW - 1))
    assert (verdict.answer, state_of(verdict), entry_of(verdict).time) == (Code.LIMIT, 2024, NOW - 1)
    assert entry_of(verdict).floating_expires == 0
    assert keeps_nothing(verdict)


def test_by_the_table_no_decision_is_made_before_the_last_one() -> None:
    license = a_license(epoch=BY_TABLE, max_machines=1, leases=(a_lease("b", time=NOW + 5, expires=NOW + 5),))
    verdict = activated(license, ByTable(NOW))
    assert entry_of(verdict).time == NOW + 5
    assert change_of(verdict).lease == Lease(
        "a", REGULAR, NOW + 5, NOW + 5, NOW + 105, "", MASKED_ADDRESS, BY_TABLE.number, seq=2
    )
    full = a_license(epoch=BY_TABLE, max_machines=1, leases=(a_lease("b", time=NOW + 5),))
    assert entry_of(activated(full, ByTable(NOW))).time == NOW + 5
    assert entry_of(deactivated(full, ByTable(NOW))).time == NOW + 5


def test_allowed_machines_have_no_effect_on_seats() -> None:
    license = a_license(epoch=BY_TABLE, max_machines=1, allowed_machines="a", leases=(a_lease("b"),))
    assert activated(license, ByTable(NOW)).answer is Code.LIMIT


def test_node_locked_machines_take_no_seats() -> None:
    license = a_license("a", "b", epoch=BY_TABLE)
    assert state_of(activated(license, ByTable(NOW), a_wish("c"))) == 2014


# Giving back


@given(EPOCHS, st.sampled_from([None, ByTable(NOW), a_peek()]))
def test_a_token_locked_to_another_key_gives_nothing_back(epoch: Epoch, peek: Peek | ByTable | None) -> None:
    verdict = deactivated(a_license(epoch=epoch, block=True), peek, key_lock=1006)
    assert (verdict.answer, state_of(verdict), entry_of(verdict).time) == (Code.DENIED, 6020, NOW)
    assert keeps_nothing(verdict)


@given(EPOCHS, st.sampled_from([None, ByTable(NOW), a_peek()]))
def test_a_blocked_key_gives_nothing_back(epoch: Epoch, peek: Peek | ByTable | None) -> None:
    verdict = deactivated(a_license(epoch=epoch, block=True), peek)
    assert (verdict.answer, state_of(verdict), entry_of(verdict).time) == (Code.BLOCKED, 6020, NOW)
    assert keeps_nothing(verdict)


@pytest.mark.parametrize("limit", [-1, 0, 2])
def test_a_key_that_never_seated_anybody_gives_back_what_there_is_not(limit: int) -> None:
    verdict = deactivated(a_license(max_machines=limit), None)
    assert (verdict.answer, state_of(verdict), entry_of(verdict).time) == (None, 6011, NOW)
    assert keeps_nothing(verdict)


def test_a_release_under_valkey_is_a_row_of_the_seq_that_was_seen() -> None:
    verdict = deactivated(a_license(epoch=BY_VALKEY), a_peek())
    at = NOW - 3
    released = Lease("a", REGULAR, at, at, at, "", "", BY_VALKEY.number, 7, released=True)
    assert verdict == Verdict(None, None, entry_of(verdict), None, released)
    assert (state_of(verdict), entry_of(verdict).time, entry_of(verdict).machine_code) == (6011, NOW - 3, "a")
    assert entry_of(verdict).floating_expires == 0


def test_a_release_counts_more_than_its_claim_and_less_than_a_renewal_that_came_between() -> None:
    released = deactivated(a_license(epoch=BY_VALKEY), a_peek()).lease
    assert released is not None
    claimed = a_lease("a", epoch=BY_VALKEY.number, seq=7)
    assert claimed.rank < released.rank < claimed._replace(seq=8).rank


@pytest.mark.parametrize("kind", LeaseKind)
def test_a_release_by_the_table_is_the_next_row_of_the_code(kind: LeaseKind) -> None:
    license = a_license(epoch=BY_TABLE, leases=(a_lease("a", kind, seq=4), a_lease("b", seq=5)))
    verdict = deactivated(license, ByTable(NOW - 1))
    at = NOW - 1
    assert verdict.answer is None
    assert verdict.change == Change(lease=Lease("a", kind, at, at, at, "", "", BY_TABLE.number, 6, released=True))
    assert verdict.lease is None
    assert (state_of(verdict), entry_of(verdict).time) == (6011, NOW - 1)


def test_a_release_by_the_table_is_a_row_even_if_there_was_no_seat() -> None:
    lease = change_of(deactivated(a_license(epoch=BY_TABLE), ByTable(NOW))).lease
    assert lease == Lease("a", REGULAR, NOW, NOW, NOW, "", "", BY_TABLE.number, 1, released=True)


@pytest.mark.parametrize(("epoch", "peek"), [(BY_VALKEY, a_peek()), (BY_TABLE, ByTable(NOW))])
def test_a_seat_from_before_the_limit_became_0_can_be_given_back(epoch: Epoch, peek: Peek | ByTable) -> None:
    verdict = deactivated(a_license(epoch=epoch, max_machines=0), peek)
    assert (verdict.answer, state_of(verdict), keeps_nothing(verdict)) == (None, 6011, False)


def test_giving_back_a_seat_leaves_the_node_locked_machine() -> None:
    license = a_license("a", epoch=BY_TABLE, leases=(a_lease("a"),))
    assert list(left_by(license, deactivated(license, ByTable(NOW)).change).machines) == ["a"]


# Between claim and verdict


def test_a_limit_that_was_lowered_since_the_claim_refuses_a_newcomer_and_no_holder() -> None:
    lowered = a_license(epoch=BY_TABLE, max_machines=1, leases=(a_lease("b"), a_lease("c")))
    assert activated(lowered, ByTable(NOW)).answer is Code.LIMIT
    assert state_of(activated(lowered, ByTable(NOW), a_wish("b"))) == 2014
    assert state_of(activated(lowered, ByTable(NOW), a_wish("c"))) == 2014


def test_a_limit_that_was_raised_makes_an_overdraft_seat_a_regular_one() -> None:
    license = a_license(epoch=BY_TABLE, max_machines=1, leases=(a_lease("a", OVERDRAFT), a_lease("b")))
    assert state_of(activated(license, ByTable(NOW), a_wish("a", overdraft=1))) == 2015
    assert state_of(activated(replace(license, max_machines=2), ByTable(NOW), a_wish("a", overdraft=1))) == 2014


def test_a_limit_that_became_0_since_the_claim_needs_no_seat() -> None:
    license = a_license(epoch=BY_VALKEY)
    verdict = activated(replace(license, max_machines=0), a_claim(license, LEASE))
    assert (verdict.answer, state_of(verdict)) == (None, 2010)
    assert keeps_nothing(verdict)


# The trial countdown


def test_a_new_seat_starts_the_countdown_at_the_time_of_who_decided_and_once_for_each_code() -> None:
    license = a_license(epoch=BY_VALKEY, trial_activation=True)
    verdict = activated(license, a_claim(license, LEASE))
    expected = Change(counted_code=hash_of("a"), expires=NOW - 3 + 30 * DAY, ever_activated=True)
    assert (verdict.change, verdict.lease, state_of(verdict)) == (expected, LEASE, 2014)
    license = left_by(license, verdict.change)
    assert activated(license, a_claim(license, LEASE)).change is None
    other = activated(license, a_claim(license, LEASE._replace(code="b")), a_wish("b"))
    assert other.change == Change(counted_code=hash_of("b"), expires=NOW - 3 + 30 * DAY)


def test_by_the_table_a_new_seat_starts_the_countdown_with_its_row() -> None:
    license = a_license(epoch=BY_TABLE, trial_activation=True)
    verdict = activated(license, ByTable(NOW - 1))
    assert isinstance(verdict.answer, Lease)
    assert verdict.change == Change(
        lease=verdict.answer, counted_code=hash_of("a"), expires=NOW - 1 + 30 * DAY, ever_activated=True
    )


def test_an_overdraft_seat_starts_the_countdown_too_and_is_logged_as_one() -> None:
    license = a_license(epoch=BY_TABLE, trial_activation=True, max_machines=1, leases=(a_lease("b"),))
    verdict = activated(license, ByTable(NOW), a_wish("a", overdraft=1))
    assert (state_of(verdict), change_of(verdict).expires) == (2015, NOW + 30 * DAY)


@pytest.mark.parametrize("leases", [(), (a_lease("a", expires=NOW),), (a_lease("a", released=True),)])
def test_by_the_table_a_seat_is_new_where_the_code_has_no_live_one(leases: tuple[Lease, ...]) -> None:
    license = a_license(epoch=BY_TABLE, trial_activation=True, leases=leases)
    assert change_of(activated(license, ByTable(NOW))).counted_code == hash_of("a")


@pytest.mark.parametrize("kind", LeaseKind)
def test_a_renewal_or_a_promotion_of_a_counted_code_starts_no_countdown(kind: LeaseKind) -> None:
    license = a_license(
        epoch=BY_TABLE, trial_activation=True, leases=(a_lease("a", kind),), counted_codes=frozenset({hash_of("a")})
    )
    verdict = activated(license, ByTable(NOW))
    assert isinstance(verdict.answer, Lease)
    assert verdict.change == Change(lease=verdict.answer)


def test_a_claim_made_anew_starts_the_countdown_that_the_lost_one_did_not() -> None:
    license = a_license(epoch=BY_VALKEY, trial_activation=True)
    again = a_claim(license, LEASE, was=Held(LeaseKind.REGULAR, NOW + 9))
    assert change_of(activated(license, again)).counted_code == hash_of("a")


def test_a_code_that_comes_back_starts_no_countdown() -> None:
    license = a_license(epoch=BY_TABLE, trial_activation=True)
    license = left_by(license, activated(license, ByTable(NOW)).change)
    license = left_by(license, deactivated(license, ByTable(NOW + DAY)).change)
    verdict = activated(license, ByTable(NOW + DAY))
    assert (state_of(verdict), change_of(verdict).expires) == (2014, None)


def test_the_seat_of_a_node_locked_machine_starts_no_countdown() -> None:
    license = a_license("a", epoch=BY_VALKEY, trial_activation=True)
    assert activated(license, a_claim(license, LEASE)).change is None


def test_a_refused_code_starts_no_countdown() -> None:
    license = a_license(epoch=BY_VALKEY, trial_activation=True)
    assert activated(license, a_claim(license, None)).change is None


def test_a_key_without_trial_activation_counts_no_codes() -> None:
    license = a_license(epoch=BY_VALKEY)
    assert activated(license, a_claim(license, LEASE)).change is None


def test_with_first_activation_only_the_first_seat_ever_starts_the_countdown() -> None:
    license = a_license(epoch=BY_TABLE, trial_activation=True, product=FIRST_ONLY)
    license = left_by(license, activated(license, ByTable(NOW)).change)
    assert (license.expires, license.counted_codes) == (NOW + 30 * DAY, frozenset({hash_of("a")}))
    license = left_by(license, activated(license, ByTable(NOW + DAY), a_wish("b")).change)
    assert (license.expires, license.counted_codes) == (NOW + 30 * DAY, frozenset({hash_of("a")}))


def test_with_first_activation_a_seat_and_a_machine_know_of_each_other() -> None:
    license = a_license("b", epoch=BY_VALKEY, trial_activation=True, product=FIRST_ONLY)
    assert activated(license, a_claim(license, LEASE)).change is None
    license = a_license(epoch=BY_VALKEY, trial_activation=True, product=FIRST_ONLY)
    license = left_by(license, activated(license, a_claim(license, LEASE)).change)
    verdict = activation.activate(license, code="b", friendly_name="", caller=a_caller(), now=NOW)
    assert verdict.entry is not None
    assert (verdict.entry.state, change_of(verdict).expires) == (2011, None)


def test_a_countdown_by_a_seat_ends_where_clients_can_still_read_it() -> None:
    license = a_license(epoch=BY_VALKEY, trial_activation=True, period=2_930_000)
    assert change_of(activated(license, a_claim(license, LEASE))).expires == LATEST


# The worked timelines


@dataclass
class Story:
    """One license whose table decides, told by seconds since the story began."""

    license: License

    def activate(self, at: int, code: str, *, interval: int = 100, overdraft: int = 0) -> tuple[Answer, int]:
        wish = a_wish(code, interval=interval, overdraft=overdraft)
        return self._kept(
            activate(
                self.license,
                claim=ByTable(NOW + at),
                wish=wish,
                code_hash=hash_of(code),
                caller=a_caller(),
                now=NOW + at,
            )
        )

    def release(self, at: int, code: str) -> tuple[Answer, int]:
        peek = ByTable(NOW + at)
        return self._kept(deactivate(self.license, peek=peek, code=code, caller=a_caller(), now=NOW + at))

    def lock(self, at: int, code: str) -> tuple[Code | None, int]:
        return self._kept(activation.activate(self.license, code=code, friendly_name="", caller=a_caller(), now=NOW + at))

    def unlock(self, at: int, code: str) -> tuple[Code | None, int]:
        return self._kept(activation.deactivate(self.license, code=code, caller=a_caller(), now=NOW + at))

    def listed(self, at: int) -> dict[str, int]:
        """Return who is seated, an overdraft seat with a `+`, and until when."""
        leases = living(self.license.leases.values(), NOW + at)
        return {lease.code + "+" * (lease.kind == OVERDRAFT): lease.expires - NOW for lease in leases}

    def _kept(self, verdict: Verdict[A]) -> tuple[A, int]:
        self.license = left_by(self.license, verdict.change)
        assert verdict.entry is not None
        return verdict.answer, verdict.entry.state


def seat_until(story: Story, at: int, code: str, **asked: int) -> tuple[int, int]:
    """Return the state of a call that must be granted, and when its seat ends."""
    answer, state = story.activate(at, code, **asked)
    assert isinstance(answer, Lease)
    return state, answer.expires - NOW


def test_the_worked_timeline_of_two_seats_and_one_in_overdraft() -> None:
    story = Story(a_license(epoch=BY_TABLE, max_machines=2))
    refused = (Code.LIMIT, 2024)
    assert seat_until(story, 0, "A", overdraft=1) == (2014, 100)
    assert seat_until(story, 10, "B", overdraft=1) == (2014, 110)
    assert story.activate(20, "C", overdraft=0) == refused
    assert seat_until(story, 25, "C", overdraft=1) == (2015, 125)
    assert story.listed(25) == {"A": 100, "B": 110, "C+": 125}
    assert story.activate(30, "D", overdraft=1) == refused
    assert seat_until(story, 50, "A", overdraft=1) == (2014, 150)
    assert story.listed(109) == {"A": 150, "B": 110, "C+": 125}
    assert story.listed(110) == {"A": 150, "C+": 125}
    assert seat_until(story, 112, "D", overdraft=0) == (2014, 212)
    assert seat_until(story, 115, "C", overdraft=1) == (2015, 215)
    assert story.listed(115) == {"A": 150, "D": 212, "C+": 215}
    assert story.activate(118, "B", overdraft=1) == refused
    assert story.release(120, "A") == (None, 6011)
    assert story.release(121, "A") == (None, 6011)
    assert story.listed(121) == {"D": 212, "C+": 215}
    assert seat_until(story, 130, "C", overdraft=1) == (2014, 230)
    assert story.listed(130) == {"D": 212, "C": 230}
    assert story.activate(140, "A", overdraft=0) == refused
    assert seat_until(story, 141, "A", overdraft=1) == (2015, 241)
    assert story.lock(150, "B") == (None, 2011)
    assert story.listed(150) == {"D": 212, "C": 230, "A+": 241}
    assert story.listed(260) == {}
    assert list(story.license.machines) == ["B"]


def test_the_worked_timeline_of_intervals_that_change_between_calls() -> None:
    story = Story(a_license(epoch=BY_TABLE, max_machines=1))
    refused = (Code.LIMIT, 2024)
    assert seat_until(story, 0, "A", interval=100) == (2014, 100)
    assert seat_until(story, 50, "A", interval=600) == (2014, 650)
    assert story.activate(60, "B", interval=10) == refused
    assert seat_until(story, 70, "A", interval=10) == (2014, 80)
    assert story.activate(79, "B", interval=1000) == refused
    assert seat_until(story, 80, "B", interval=1000) == (2014, 1080)
    assert story.activate(81, "A", interval=10) == refused
    assert story.lock(90, "A") == (None, 2011)
    assert story.listed(90) == {"B": 1080}
    assert story.unlock(91, "A") == (None, 6010)
    assert story.unlock(92, "B") == (Code.NOT_ACTIVATED, 6020)
    assert story.listed(92) == {"B": 1080}
    assert story.release(93, "B") == (None, 6011)
    assert story.listed(93) == {}


def test_the_worked_timeline_of_three_machines_and_two_seats() -> None:
    story = Story(a_license(epoch=BY_TABLE, max_machines=2))
    assert seat_until(story, 0, "A") == (2014, 100)
    assert seat_until(story, 0, "B") == (2014, 100)
    assert story.activate(0, "C", overdraft=0) == (Code.LIMIT, 2024)
    assert seat_until(story, 0, "C", overdraft=1) == (2015, 100)
    assert story.listed(0) == {"A": 100, "B": 100, "C+": 100}


# After any sequence of calls by the table

Call = Callable[[License], Verdict[Answer]]

CODES = st.sampled_from(["", "a", "b", "c", "d", "A", "é"])
# Workers' clocks differ, so that times do not only grow.
TIMES = st.integers(NOW - 3, NOW + 30)


def a_claiming(code: str, interval: int, overdraft: int, now: int) -> Call:
    wish = a_wish(code, interval=interval, overdraft=overdraft, friendly_name="desk")
    return partial(activate, claim=ByTable(now), wish=wish, code_hash=hash_of(code), caller=a_caller(), now=now)


def a_release(code: str, now: int) -> Call:
    return partial(deactivate, peek=ByTable(now), code=code, caller=a_caller(), now=now)


def a_limit(limit: int) -> Call:
    return lambda _: Verdict(None, Change(max_machines=limit))


LICENSES = st.builds(
    a_license,
    epoch=st.just(BY_TABLE),
    max_machines=st.integers(0, 3),
    trial_activation=st.booleans(),
    product=st.sampled_from([a_product(), FIRST_ONLY]),
)
MOST_OVERDRAFT = 2
CLAIMINGS = st.builds(a_claiming, CODES, st.integers(1, 20), st.integers(0, MOST_OVERDRAFT), TIMES)
MOVES = st.one_of(CLAIMINGS, CLAIMINGS, st.builds(a_release, CODES, TIMES))
CALLS = st.one_of(MOVES, MOVES, st.builds(a_limit, st.integers(0, 3)))


def seats_of(license: License, kind: LeaseKind, now: int) -> int:
    return sum(lease.kind == kind for lease in living(license.leases.values(), now))


def rows(license: License, calls: list[Call]) -> list[Entry]:
    """Return the log that the calls leave."""
    found = []
    for call in calls:
        verdict = call(license)
        license = left_by(license, verdict.change)
        found += [verdict.entry] if verdict.entry is not None else []
    return found


@given(LICENSES, st.lists(MOVES, max_size=25))
def test_never_more_seats_than_the_limit_and_the_overdraft(license: License, moves: list[Call]) -> None:
    for move in moves:
        verdict = move(license)
        license = left_by(license, verdict.change)
        now = entry_of(verdict).time
        assert seats_of(license, REGULAR, now) <= license.max_machines
        assert seats_of(license, OVERDRAFT, now) <= MOST_OVERDRAFT


@given(LICENSES, st.lists(CALLS, max_size=25), CODES, st.integers(0, MOST_OVERDRAFT), TIMES)
def test_a_newcomer_is_granted_only_what_its_own_call_allows(
    license: License, calls: list[Call], code: str, overdraft: int, now: int
) -> None:
    for call in calls:
        license = left_by(license, call(license).change)
    lease = a_claiming(code, 5, overdraft, now)(license).answer
    if not isinstance(lease, Lease):
        return
    others = living((each for each in license.leases.values() if each.code != code), lease.time)
    held = license.leases.get(code)
    if lease.kind == OVERDRAFT:
        assert len(others) < license.max_machines + overdraft
    elif held is None or not held.lives(lease.time) or held.kind == OVERDRAFT:
        assert sum(each.kind == REGULAR for each in others) < license.max_machines


@given(LICENSES, st.lists(CALLS, max_size=25), st.integers(0, MOST_OVERDRAFT), TIMES)
def test_who_has_a_regular_seat_is_never_refused(license: License, calls: list[Call], overdraft: int, now: int) -> None:
    for call in calls:
        license = left_by(license, call(license).change)
    if license.max_machines == 0:
        return
    at = max([now, *(lease.time for lease in license.leases.values())])
    for held in living(license.leases.values(), at):
        if held.kind == REGULAR:
            renewed = a_claiming(held.code, 5, overdraft, now)(license).answer
            assert isinstance(renewed, Lease)
            assert (renewed.kind, renewed.start, renewed.expires) == (REGULAR, held.start, at + 5)


@given(LICENSES, st.lists(CALLS, max_size=25), CLAIMINGS)
def test_repeating_a_claim_renews_the_seat(license: License, calls: list[Call], last: Call) -> None:
    for call in calls:
        license = left_by(license, call(license).change)
    first = last(license)
    license = left_by(license, first.change)
    again = last(license)
    if isinstance(first.answer, Lease):
        assert again.answer == first.answer._replace(seq=first.answer.seq + 1)
        assert again.change == Change(lease=again.answer)
    else:
        assert again == first


@given(LICENSES, st.lists(CALLS, max_size=25))
def test_the_start_of_a_seat_stays_and_each_row_outranks_all_before_it(license: License, calls: list[Call]) -> None:
    for call in calls:
        change = call(license).change
        if change is not None and change.lease is not None:
            new = change.lease
            held = license.leases.get(new.code)
            assert all(new.seq > lease.seq and new.time >= lease.time for lease in license.leases.values())
            if held is not None and held.lives(new.time) and not new.released:
                assert new.start == held.start
        license = left_by(license, change)


@given(LICENSES, st.lists(CALLS, max_size=25))
def test_the_times_of_the_log_show_the_order_that_decided(license: License, calls: list[Call]) -> None:
    log = rows(license, calls)
    decided = [row.time for row in log if row.state in (2014, 2015, 6011)]
    assert all(earlier <= later for earlier, later in pairwise(decided))
    for earlier, later in pairwise(log):
        if later.state == 2024 and earlier.state in (2014, 2015, 6011):
            assert earlier.time <= later.time


@given(LICENSES, st.lists(CALLS, max_size=25))
def test_log_rows_hold_the_masked_address_and_the_plain_code(license: License, calls: list[Call]) -> None:
    for row in rows(license, calls):
        assert row.ip == MASKED_ADDRESS
        assert FULL_ADDRESS not in repr(row)
        assert PROXY_ADDRESS not in repr(row)
        assert not row.machine_code.startswith("floating:")
        assert (row.floating_expires > row.time) == (row.state in (2014, 2015))


@given(LICENSES, st.lists(CALLS, max_size=25))
def test_a_countdown_starts_at_most_once_for_each_code(license: License, calls: list[Call]) -> None:
    started = []
    for call in calls:
        change = call(license).change
        if change is not None and change.expires is not None:
            started.append(change.counted_code)
        license = left_by(license, change)
    assert len(started) == len(set(started))
    assert license.trial_activation or not started
    assert license.product != FIRST_ONLY or len(started) <= 1


# Freeing by hand

OPERATOR = Caller(replace(a_token(), id=0), "", "", "")


def freed(license: License, peek: Peek | ByTable, code: str = "a") -> Verdict[Answer]:
    return free(license, peek=peek, code=code, caller=OPERATOR)


@pytest.mark.parametrize(("epoch", "peek"), [(BY_VALKEY, a_peek()), (BY_TABLE, ByTable(NOW - 3))])
def test_a_seat_is_freed_as_its_machine_would_give_it_back(epoch: Epoch, peek: Peek | ByTable) -> None:
    license = a_license(epoch=epoch, leases=(a_lease("a", OVERDRAFT),) if epoch.by_table else ())
    by_machine, by_hand = deactivated(license, peek), freed(license, peek)
    assert (by_hand.answer, by_hand.change, by_hand.lease) == (None, by_machine.change, by_machine.lease)
    assert by_hand.entry == entry_of(by_machine)._replace(ip="")
    assert (state_of(by_hand), entry_of(by_hand).machine_code, entry_of(by_hand).time) == (6011, "a", NOW - 3)


@pytest.mark.parametrize(("epoch", "peek"), [(BY_VALKEY, a_peek()), (BY_TABLE, ByTable(NOW - 3))])
def test_who_freed_a_seat_stands_in_the_object_log_at_the_same_time_and_without_the_machine(
    epoch: Epoch, peek: Peek | ByTable
) -> None:
    verdict = freed(a_license(epoch=epoch), peek, "code of a machine")
    assert verdict.edit == Edit(1, entry_of(verdict).time, "Key", 1005, "FreeSeat", 0, "{}")


def test_a_seat_of_a_blocked_key_can_be_freed_by_hand() -> None:
    license = a_license(epoch=BY_TABLE, block=True, max_machines=0, leases=(a_lease("a"),))
    assert deactivated(license, ByTable(NOW)).answer is Code.BLOCKED
    assert living(left_by(license, freed(license, ByTable(NOW)).change).leases.values(), NOW) == ()


@pytest.mark.parametrize(
    ("epoch", "peek"),
    [
        pytest.param(NEVER_FLOATING, a_peek(), id="never floating"),
        pytest.param(BY_VALKEY, ByTable(NOW), id="the table gave way to Valkey"),
        pytest.param(BY_VALKEY, a_peek(BY_VALKEY.number - 2), id="an earlier epoch"),
        pytest.param(BY_TABLE, a_peek(), id="Valkey gave way to the table"),
        pytest.param(BY_TABLE._replace(ready=False), ByTable(NOW), id="the table is not ready"),
    ],
)
def test_what_was_not_peeked_under_the_present_epoch_frees_nothing_yet(epoch: Epoch, peek: Peek | ByTable) -> None:
    assert freed(replace(LICENSE, epoch=epoch), peek) == Verdict(Again.CLAIM)


def test_without_the_hash_of_the_code_a_trial_key_is_looked_at_anew() -> None:
    license = a_license(epoch=BY_VALKEY, trial_activation=True)
    claim = a_claim(license, LEASE)
    wish, caller = a_wish("a"), a_caller()
    assert activate(license, claim=claim, wish=wish, code_hash=None, caller=caller, now=NOW) == Verdict(Again.CLAIM)
    plain = a_license(epoch=BY_VALKEY)
    verdict = activate(plain, claim=claim, wish=wish, code_hash=None, caller=caller, now=NOW)
    assert (verdict.answer, verdict.lease) == (LEASE, LEASE)
