"""The methods that make and change keys: results, both logs, and the worked expiry arithmetic."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from server.rules import editing
from server.rules.codes import Code
from server.rules.term import EARLIEST, LATEST
from storage.records import (
    Assigned,
    Change,
    Creation,
    Customer,
    DataObject,
    Edit,
    License,
    NewCustomer,
    NewLicense,
    Verdict,
)

from .given import DAY, FULL_ADDRESS, MASKED_ADDRESS, NOW, a_caller, a_license, a_product, left_by, settings

Edited = Callable[..., Verdict[Code | None]]

ADA = Customer(id=9, name="Ada", email="ada@example.org", company_name="", created=0, stamp=99)
BOB = Customer(id=10, name="Bob", email="", company_name="", created=0, stamp=100)

EDITS: list[tuple[Edited, dict[str, Any], str]] = [
    (editing.block, {}, "BlockKey"),
    (editing.unblock, {}, "UnblockKey"),
    (editing.machine_limit, {"limit": 3}, "MachineLockLimit"),
    (editing.extend, {"days": 10}, "ExtendLicense"),
    (editing.add_feature, {"feature": 1}, "AddFeature"),
    (editing.remove_feature, {"feature": 1}, "RemoveFeature"),
    (editing.change_notes, {"notes": "order 77"}, "ChangeNotes"),
    (editing.change_customer, {"customer_id": 9, "customer": ADA}, "ChangeCustomer"),
    (editing.trial_activation, {"enabled": True}, "TrialActivation"),
]


def extended(license: License, days: int, **locks: int) -> Verdict[Code | None]:
    return editing.extend(license, days=days, caller=a_caller(**locks), now=NOW)


def told(verdict: Verdict[Code | None]) -> object:
    assert verdict.edit is not None
    return json.loads(verdict.edit.changes)


@pytest.mark.parametrize(("edit", "values", "action"), EDITS)
@pytest.mark.parametrize("blocked", [False, True])
def test_an_edit_is_written_to_both_logs_on_blocked_keys_too(
    *, edit: Edited, values: dict[str, Any], action: str, blocked: bool
) -> None:
    verdict = edit(a_license(block=blocked), **values, caller=a_caller(), now=NOW)
    assert verdict.answer is None
    assert verdict.entry is not None
    assert (verdict.entry.state, verdict.entry.ip, verdict.entry.machine_code) == (7010, MASKED_ADDRESS, "")
    assert verdict.edit is not None
    assert verdict.edit._replace(changes="") == Edit(1, NOW, "Key", 1005, action, 4, "")


@pytest.mark.parametrize(("edit", "values", "action"), EDITS)
def test_an_edit_with_a_token_for_another_key_is_denied_and_logged_as_failed(
    edit: Edited, values: dict[str, Any], action: str
) -> None:
    verdict = edit(a_license(), **values, caller=a_caller(key_lock=1006), now=NOW)
    assert (verdict.answer, verdict.change, verdict.edit) == (Code.DENIED, None, None), action
    assert verdict.entry is not None
    assert verdict.entry.state == 7020


def test_blocking_tells_the_value_before_and_after() -> None:
    verdict = editing.block(a_license(), caller=a_caller(), now=NOW)
    assert verdict.change == Change(block=True)
    assert verdict.edit is not None
    assert verdict.edit.changes == '{"block":[false,true]}'


def test_unblocking_ends_a_block() -> None:
    assert editing.unblock(a_license(block=True), caller=a_caller(), now=NOW).change == Change(block=False)


@pytest.mark.parametrize(
    ("edit", "license", "values"),
    [
        (editing.block, a_license(block=True), {}),
        (editing.unblock, a_license(), {}),
        (editing.machine_limit, a_license(max_machines=3), {"limit": 3}),
        (editing.extend, a_license(), {"days": 0}),
        (editing.add_feature, a_license(features=0b100), {"feature": 3}),
        (editing.remove_feature, a_license(features=0b100), {"feature": 2}),
        (editing.change_notes, a_license(), {"notes": ""}),
        (editing.change_customer, a_license(), {"customer_id": 0, "customer": None}),
        (editing.change_customer, replace(a_license(), customer=ADA), {"customer_id": 9, "customer": ADA}),
        (editing.trial_activation, a_license(), {"enabled": False}),
    ],
)
def test_an_edit_that_changes_nothing_succeeds_and_is_logged_and_leaves_the_license_alone(
    edit: Edited, license: License, values: dict[str, Any]
) -> None:
    verdict = edit(license, **values, caller=a_caller(), now=NOW)
    assert (verdict.answer, verdict.change) == (None, None)
    assert verdict.entry is not None
    assert verdict.edit is not None


def test_the_machine_limit_may_be_set_below_the_machines_there_are() -> None:
    license = a_license("a", "b")
    verdict = editing.machine_limit(license, limit=1, caller=a_caller(), now=NOW)
    assert verdict.change == Change(max_machines=1)
    assert list(left_by(license, verdict.change).machines) == ["a", "b"]
    assert told(verdict) == {"maxNoOfMachines": [2, 1]}


@pytest.mark.parametrize(
    ("expires", "days", "expires_after", "period_after"),
    [
        (1_002_592_000, 10, 1_003_456_000, 40),
        (1_002_592_000, -10, 1_001_728_000, 20),
        (999_000_000, 10, 1_000_864_000, 40),
        (999_000_000, -10, NOW - 10 * DAY, 20),
        (1_002_592_000, -40, 1_002_592_000 - 40 * DAY, 0),
        (NOW, 1, NOW + DAY, 31),
    ],
)
def test_extending_counts_from_the_end_or_from_now_once_expired(
    expires: int, days: int, expires_after: int, period_after: int
) -> None:
    verdict = extended(a_license(expires=expires), days)
    assert verdict.change == Change(expires=expires_after, period=period_after)
    assert told(verdict) == {"expires": [expires, expires_after], "period": [30, period_after]}


UNBLOCKS = a_product(data_objects=settings(unblockextendedlicenses="true"))


def test_extending_unblocks_where_the_product_says_so() -> None:
    verdict = extended(a_license(block=True, product=UNBLOCKS), 10)
    assert verdict.change == Change(expires=NOW + 39 * DAY, period=40, block=False)
    assert told(verdict) == {"expires": [NOW + 29 * DAY, NOW + 39 * DAY], "period": [30, 40], "block": [True, False]}


@pytest.mark.parametrize("objects", [(), settings(unblockextendedlicenses="false")])
def test_extending_leaves_a_block_otherwise(objects: tuple[DataObject, ...]) -> None:
    license = a_license(block=True, product=a_product(data_objects=objects))
    assert left_by(license, extended(license, 10).change).block


def test_a_feature_lock_means_nothing_to_extending() -> None:
    assert extended(a_license(), 10, feature_lock=5).answer is None


@pytest.mark.parametrize("days", [2**63 - 1, -(2**63), 2_930_000, -11_604])
def test_extending_beyond_what_clients_can_read_is_bad_input_and_logged_as_failed(days: int) -> None:
    verdict = extended(a_license(), days)
    assert (verdict.answer, verdict.change, verdict.edit) == (Code.INPUT, None, None)
    assert verdict.entry is not None
    assert verdict.entry.state == 7020


@pytest.mark.parametrize(("bound", "days"), [(LATEST, 1), (EARLIEST, -1)])
def test_the_first_and_the_last_second_can_be_reached(bound: int, days: int) -> None:
    license = a_license(expires=bound - days * DAY)
    verdict = editing.extend(license, days=days, caller=a_caller(), now=EARLIEST)
    assert left_by(license, verdict.change).expires == bound
    assert (
        editing.extend(replace(license, expires=bound), days=days, caller=a_caller(), now=EARLIEST).answer is Code.INPUT
    )


def test_a_key_lock_is_looked_at_before_the_days() -> None:
    assert extended(a_license(), 2**40, key_lock=1006).answer is Code.DENIED


@pytest.mark.parametrize(
    ("edit", "feature", "before", "after"),
    [
        (editing.add_feature, 1, 0, 0b1),
        (editing.add_feature, 8, 0b1, 0b1000_0001),
        (editing.remove_feature, 8, 0b1111_1111, 0b0111_1111),
        (editing.remove_feature, 1, 0b1, 0),
    ],
)
def test_a_feature_is_one_bit_and_changes_no_other_and_no_date(edit: Edited, feature: int, before: int, after: int) -> None:
    verdict = edit(a_license(features=before), feature=feature, caller=a_caller(), now=NOW)
    assert verdict.change == Change(features=after)
    assert told(verdict) == {"features": [before, after]}


def test_notes_are_replaced_and_the_log_learns_only_whether_they_changed() -> None:
    license = replace(a_license(), notes="old words")
    for notes, changes in (("new words", True), ("", True), ("old words", False)):
        verdict = editing.change_notes(license, notes=notes, caller=a_caller(), now=NOW)
        assert left_by(license, verdict.change).notes == notes
        assert told(verdict) == {"notes": changes}


def test_changed_notes_have_at_most_500_characters() -> None:
    assert editing.change_notes(a_license(), notes="ä" * 500, caller=a_caller(), now=NOW).answer is None
    verdict = editing.change_notes(a_license(), notes="ä" * 501, caller=a_caller(), now=NOW)
    assert (verdict.answer, verdict.change, verdict.edit) == (Code.NOTES_LONG, None, None)
    assert verdict.entry is not None
    assert verdict.entry.state == 7020


def test_a_trial_countdown_is_switched_on_and_off() -> None:
    verdict = editing.trial_activation(a_license(), enabled=True, caller=a_caller(), now=NOW)
    assert verdict.change == Change(trial_activation=True)
    assert told(verdict) == {"trialActivation": [False, True]}
    off = editing.trial_activation(a_license(trial_activation=True), enabled=False, caller=a_caller(), now=NOW)
    assert off.change == Change(trial_activation=False)


def assigned(license: License, customer_id: int, customer: Customer | None) -> Verdict[Code | None]:
    return editing.change_customer(license, customer_id=customer_id, customer=customer, caller=a_caller(), now=NOW)


def test_a_license_is_assigned_to_a_customer_as_found_and_to_no_other_state_of_it() -> None:
    license = replace(a_license(), customer=ADA)
    verdict = assigned(license, 10, BOB)
    assert (verdict.answer, verdict.change, verdict.facts) == (None, Change(assign=Assigned(BOB)), (BOB.fact,))
    assert left_by(license, verdict.change).customer == BOB
    assert told(verdict) == {"customerId": [9, 10]}
    assert told(assigned(a_license(), 10, BOB)) == {"customerId": [None, 10]}


def test_a_license_is_assigned_to_nobody_whether_that_was_asked_for_or_the_customer_is_unknown() -> None:
    license = replace(a_license(), customer=ADA)
    for customer_id, answer in ((0, None), (7, Code.CUSTOMER_NOT_ASSIGNED)):
        verdict = assigned(license, customer_id, None)
        assert (verdict.answer, verdict.facts) == (answer, ())
        assert left_by(license, verdict.change).customer is None
        assert told(verdict) == {"customerId": [9, None]}
        assert verdict.entry is not None
        assert verdict.entry.state == 7010  # the license was changed


def test_a_token_for_another_key_does_not_learn_that_a_customer_is_unknown() -> None:
    verdict = editing.change_customer(a_license(), customer_id=7, customer=None, caller=a_caller(key_lock=1006), now=NOW)
    assert (verdict.answer, verdict.change) == (Code.DENIED, None)


WANTED = editing.NewKeys(
    period=30,
    features=0b11,
    notes="order 77",
    block=False,
    customer_id=9,
    trial_activation=True,
    max_machines=2,
    allowed_machines="a\nb",
)


def created(
    wanted: editing.NewKeys = WANTED, reseller_id: int = 0, customer: NewCustomer | None = None
) -> Creation[Code | None]:
    return editing.create(
        a_product(),
        wanted=wanted,
        keys=["K1", "K2"],
        stamps=[71, 72],
        reseller_id=reseller_id,
        caller=a_caller(),
        now=NOW,
        customer=customer,
        reuse=customer is not None,
    )


NEW = NewCustomer("Ada", "ada@example.org", "Acme", "", False, False, False, None, NOW, 17)  # noqa: FBT003


def test_a_customer_may_be_made_along_with_the_keys() -> None:
    creation = created(replace(WANTED, customer_id=None), customer=NEW)
    assert (creation.answer, creation.customer, creation.reuse) == (None, NEW, True)
    assert (created().customer, created().reuse) == (None, False)


def test_no_key_is_made_for_a_customer_whose_texts_are_too_long_and_that_is_logged() -> None:
    creation = created(customer=NEW._replace(email="e" * 101))
    assert (creation.answer, creation.licenses, creation.entry.state) == (Code.CUSTOMER_EMAIL_LONG, (), 3020)
    assert creation.customer is None
    assert created(replace(WANTED, notes="x" * 501), customer=NEW._replace(name="n" * 101)).answer is Code.NOTES_LONG
    assert created(reseller_id=1, customer=NEW._replace(name="n" * 101)).answer is Code.RESELLER


def test_keys_are_made_with_what_was_asked_for_and_a_period_from_now() -> None:
    first = NewLicense(
        key="K1",
        created=NOW,
        expires=1_002_592_000,
        period=30,
        features=0b11,
        notes="order 77",
        block=False,
        customer_id=9,
        trial_activation=True,
        max_machines=2,
        allowed_machines="a\nb",
        stamp=71,
    )
    creation = created()
    assert creation.licenses == (first, first._replace(key="K2", stamp=72))
    assert (creation.answer, creation.machine, creation.trial_code) == (None, None, None)


def test_making_keys_is_logged_with_a_masked_address() -> None:
    entry = created().entry
    assert (entry.state, entry.time, entry.ip, entry.account_id, entry.product_id) == (
        3010,
        NOW,
        MASKED_ADDRESS,
        1,
        3001,
    )
    assert FULL_ADDRESS not in repr(entry)


def test_a_period_of_0_ends_as_it_begins() -> None:
    assert created(replace(WANTED, period=0)).licenses[0].expires == NOW


def test_notes_have_at_most_500_characters() -> None:
    assert created(replace(WANTED, notes="x" * 500)).answer is None
    creation = created(replace(WANTED, notes="x" * 501))
    assert (creation.answer, creation.licenses, creation.entry.state) == (Code.NOTES_LONG, (), 3020)


@pytest.mark.parametrize("reseller_id", [1, -1])
def test_there_are_no_resellers(reseller_id: int) -> None:
    creation = created(reseller_id=reseller_id)
    assert (creation.answer, creation.licenses, creation.entry.state) == (Code.RESELLER, (), 3020)


def test_an_unknown_customer_is_refused_and_logged_once() -> None:
    creation = editing.refuse(a_product(), refusal=Code.CUSTOMER, caller=a_caller(), now=NOW)
    assert (creation.answer, creation.licenses, creation.entry.state) == (Code.CUSTOMER, (), 3020)
    assert creation.entry.ip == MASKED_ADDRESS


def test_each_key_needs_its_stamp() -> None:
    with pytest.raises(ValueError, match="zip"):
        editing.create(
            a_product(), wanted=WANTED, keys=["K1", "K2"], stamps=[71], reseller_id=0, caller=a_caller(), now=NOW
        )
