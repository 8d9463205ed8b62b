"""Activate, GetKey and Deactivate: each row of their decision tables, by example."""

import pytest

from server.rules.activation import activate, deactivate, read
from server.rules.codes import Code
from server.rules.states import State
from server.rules.term import LATEST
from storage.records import Change, DataObject, Entry, License, Machine, Verdict

from .given import (
    DAY,
    FULL_ADDRESS,
    MASKED_ADDRESS,
    NOW,
    PROXY_ADDRESS,
    a_caller,
    a_license,
    a_machine,
    a_product,
    left_by,
    settings,
)


def activated(
    license: License, code: str, friendly_name: str = "", now: int = NOW, **locks: int
) -> Verdict[Code | None]:
    return activate(license, code=code, friendly_name=friendly_name, caller=a_caller(**locks), now=now)


def deactivated(license: License, code: str, **locks: int) -> Verdict[Code | None]:
    return deactivate(license, code=code, caller=a_caller(**locks), now=NOW)


def state_of(verdict: Verdict[Code | None]) -> int:
    assert verdict.entry is not None
    return verdict.entry.state


def test_a_token_locked_to_another_key_is_denied_and_logged() -> None:
    verdict = activated(a_license(), "a", key_lock=1006)
    assert (verdict.answer, state_of(verdict), verdict.change) == (Code.DENIED, 2020, None)


def test_the_key_lock_is_looked_at_before_the_block() -> None:
    assert activated(a_license(block=True), "a", key_lock=1006).answer is Code.DENIED


@pytest.mark.parametrize("lock", [-1, 0, 1005])
def test_a_token_that_is_locked_to_this_key_or_to_none_may_activate(lock: int) -> None:
    assert activated(a_license(), "a", key_lock=lock).answer is None


def test_a_blocked_key_admits_nobody_not_even_a_known_machine() -> None:
    verdict = activated(a_license("a", block=True), "a", "new name")
    assert (verdict.answer, state_of(verdict), verdict.change) == (Code.BLOCKED, 2022, None)


def test_an_expired_key_can_be_activated() -> None:
    assert activated(a_license(expires=NOW - DAY), "a").answer is None


@pytest.mark.parametrize("limit", [0, -1])
def test_without_a_limit_everybody_is_admitted_and_nobody_is_stored(limit: int) -> None:
    verdict = activated(a_license(max_machines=limit, trial_activation=True), "a")
    assert (verdict.answer, state_of(verdict), verdict.change) == (None, 2010, None)


def test_a_known_machine_is_admitted_even_when_the_license_is_full() -> None:
    verdict = activated(a_license("a", "b"), "b")
    assert (verdict.answer, state_of(verdict), verdict.change) == (None, 2010, None)


def test_a_known_machine_is_admitted_after_the_limit_was_lowered() -> None:
    assert activated(a_license("a", "b", "c", max_machines=1), "c").answer is None


def test_a_known_machine_takes_a_new_friendly_name_and_keeps_its_time_and_addresses() -> None:
    license = a_license("a")
    change = activated(license, "a", "reception").change
    assert change == Change(register=license.machines["a"]._replace(friendly_name="reception"))


@pytest.mark.parametrize("sent", ["", "reception"])
def test_a_known_machine_is_not_written_for_an_empty_or_unchanged_name(sent: str) -> None:
    license = a_license(a_machine("a", "reception"))
    assert activated(license, "a", sent).change is None


def test_a_known_machine_starts_no_new_countdown() -> None:
    assert activated(a_license("a", trial_activation=True), "a", "name").change == Change(
        register=a_machine("a", "name")
    )


def test_a_new_machine_is_registered_with_its_full_address_and_the_time() -> None:
    verdict = activated(a_license("a"), "b", "kiosk")
    assert (verdict.answer, state_of(verdict)) == (None, 2011)
    assert verdict.change == Change(register=Machine("b", "kiosk", FULL_ADDRESS, PROXY_ADDRESS, NOW))


def test_the_first_machine_ever_leaves_a_mark_on_the_license() -> None:
    assert left_by(a_license(), activated(a_license(), "a").change).ever_activated


def test_the_empty_machine_code_is_registered_like_any_other() -> None:
    license = left_by(a_license(max_machines=1), activated(a_license(max_machines=1), "").change)
    assert list(license.machines) == [""]
    assert activated(license, "").answer is None
    assert activated(license, "a").answer is Code.LIMIT


def test_machine_codes_differ_by_case() -> None:
    assert state_of(activated(a_license("a"), "A")) == State.NEW_MACHINE


def test_a_full_license_refuses_a_new_machine() -> None:
    verdict = activated(a_license("a", "b"), "c")
    assert (verdict.answer, state_of(verdict), verdict.change) == (Code.LIMIT, 2023, None)


@pytest.mark.parametrize("allowed", ["c", "x\nc\ny", "x\r\n  c \r\ny", "\tc"])
def test_a_code_in_allowed_machines_is_registered_above_the_limit(allowed: str) -> None:
    verdict = activated(a_license("a", "b", allowed_machines=allowed), "c")
    assert (verdict.answer, state_of(verdict)) == (None, 2013)
    assert verdict.change is not None
    assert verdict.change.register == Machine("c", "", FULL_ADDRESS, PROXY_ADDRESS, NOW)


@pytest.mark.parametrize(
    ("allowed", "code"), [("C", "c"), ("cc", "c"), ("c", " c"), ("", ""), ("x\n\ny", ""), (" ", "")]
)
def test_allowed_machines_are_compared_exactly_and_an_empty_line_names_nobody(allowed: str, code: str) -> None:
    assert activated(a_license("a", "b", allowed_machines=allowed), code).answer is Code.LIMIT


def test_allowed_machines_are_no_whitelist_and_no_places_are_kept_for_them() -> None:
    assert state_of(activated(a_license("a", allowed_machines="x"), "b")) == State.NEW_MACHINE


def test_a_code_in_allowed_machines_that_finds_a_place_is_an_ordinary_machine() -> None:
    assert state_of(activated(a_license("a", allowed_machines="c"), "c")) == State.NEW_MACHINE


def test_each_new_machine_starts_the_trial_countdown_anew() -> None:
    """Protocol: worked expiry arithmetic, the last three rows."""
    license = a_license(trial_activation=True, expires=7)
    first = activated(license, "A", now=NOW)
    assert (state_of(first), left_by(license, first.change).expires) == (2012, 1_002_592_000)
    license = left_by(license, first.change)
    second = activated(license, "B", now=1_000_500_000)
    assert (state_of(second), left_by(license, second.change).expires) == (2012, 1_003_092_000)
    license = left_by(license, second.change)
    again = activated(license, "A", now=1_000_600_000)
    assert (state_of(again), again.change) == (2010, None)
    assert license.trial_activation
    assert license.period == 30


FIRST_ONLY = a_product(data_objects=settings(orderby="x", trialactivation="first_activation"))


def test_with_first_activation_only_the_first_machine_ever_starts_the_countdown() -> None:
    license = a_license(trial_activation=True, product=FIRST_ONLY)
    first = activated(license, "a")
    assert (state_of(first), left_by(license, first.change).expires) == (2012, NOW + 30 * DAY)
    license = left_by(license, first.change)
    second = activated(license, "b", now=NOW + DAY)
    assert (state_of(second), left_by(license, second.change).expires) == (2011, NOW + 30 * DAY)


def test_giving_all_machines_back_does_not_rearm_the_countdown() -> None:
    license = a_license("a", trial_activation=True, product=FIRST_ONLY)
    license = left_by(license, deactivated(license, "a").change)
    assert not license.machines
    assert state_of(activated(license, "a")) == State.NEW_MACHINE


def test_without_first_activation_a_machine_that_comes_back_counts_as_new() -> None:
    license = a_license("a", trial_activation=True)
    license = left_by(license, deactivated(license, "a").change)
    assert state_of(activated(license, "a")) == State.COUNTDOWN_STARTED


@pytest.mark.parametrize("text", ["", "First_Activation", "true"])
def test_another_text_in_the_setting_means_nothing(text: str) -> None:
    product = a_product(data_objects=settings(trialactivation=text))
    assert state_of(activated(a_license("a", trial_activation=True, product=product), "b")) == 2012


def test_of_two_settings_of_one_name_the_older_counts() -> None:
    objects = tuple(
        DataObject(id_, "cryptolens_trialactivation", text, 0) for id_, text in [(9, ""), (8, "first_activation")]
    )
    license = a_license("a", trial_activation=True, product=a_product(data_objects=objects))
    assert state_of(activated(license, "b")) == State.NEW_MACHINE


def test_a_machine_admitted_above_the_limit_starts_the_countdown_too_and_is_logged_as_admitted() -> None:
    license = a_license("a", "b", trial_activation=True, allowed_machines="c")
    verdict = activated(license, "c")
    assert (state_of(verdict), left_by(license, verdict.change).expires) == (2013, NOW + 30 * DAY)


def test_a_refused_machine_starts_no_countdown() -> None:
    assert activated(a_license("a", "b", trial_activation=True), "c").change is None


def test_a_countdown_ends_where_clients_can_still_read_it() -> None:
    license = a_license(trial_activation=True, period=2_930_000)
    assert left_by(license, activated(license, "a").change).expires == LATEST


def test_the_log_row_tells_the_call_with_a_masked_address() -> None:
    assert activated(a_license(), "a", "kiosk").entry == Entry(
        account_id=1,
        product_id=3001,
        license_id=1005,
        key="ABCDE-FGHIJ-KLMNO-PQRST",
        ip=MASKED_ADDRESS,
        time=NOW,
        state=2011,
        machine_code="a",
        friendly_name="kiosk",
    )


def test_an_activation_is_not_an_edit() -> None:
    assert activated(a_license(), "a").edit is None


def test_get_key_shows_a_blocked_key_and_writes_nothing() -> None:
    assert read(a_license(block=True), caller=a_caller()) == Verdict(None)


def test_get_key_with_a_token_for_another_key_is_denied_and_writes_nothing() -> None:
    assert read(a_license(), caller=a_caller(key_lock=1006)) == Verdict(Code.DENIED)


def test_a_machine_can_be_given_back() -> None:
    verdict = deactivated(a_license("a", "b"), "a")
    assert (verdict.answer, state_of(verdict), verdict.change) == (None, 6010, Change(forget="a"))


def test_giving_back_frees_the_place() -> None:
    license = a_license("a", "b")
    license = left_by(license, deactivated(license, "a").change)
    assert activated(license, "c").answer is None


def test_a_machine_that_was_never_activated_cannot_be_given_back() -> None:
    verdict = deactivated(a_license("a"), "b")
    assert (verdict.answer, state_of(verdict), verdict.change) == (Code.NOT_ACTIVATED, 6020, None)


def test_without_a_limit_there_is_nothing_to_give_back() -> None:
    assert deactivated(a_license(max_machines=0), "a").answer is Code.NOT_ACTIVATED


def test_a_machine_from_before_the_limit_became_0_can_be_given_back() -> None:
    assert deactivated(a_license("a", max_machines=0), "a").answer is None


def test_a_blocked_key_gives_nothing_back() -> None:
    verdict = deactivated(a_license("a", block=True), "a")
    assert (verdict.answer, state_of(verdict), verdict.change) == (Code.BLOCKED, 6020, None)


def test_deactivation_with_a_token_for_another_key_is_denied_and_logged() -> None:
    verdict = deactivated(a_license("a", block=True), "a", key_lock=1006)
    assert (verdict.answer, state_of(verdict), verdict.change) == (Code.DENIED, 6020, None)


def test_giving_back_leaves_the_countdown_of_the_others() -> None:
    license = a_license("a", "b", trial_activation=True)
    assert left_by(license, deactivated(license, "a").change).expires == license.expires
