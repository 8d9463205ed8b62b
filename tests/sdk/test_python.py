"""The official Python SDK, `licensing` from PyPI, unmodified: licenses and who may use them.

What hangs at a license stands in test_python_data, what else a vendor manages in test_python_management.
"""

import datetime
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from licensing.methods import AI, Helpers, Key, Subscription  # type: ignore[import-untyped]
from licensing.models import LicenseKey  # type: ignore[import-untyped]

from .given import (
    AUTHENTICATE,
    BLOCKED,
    CODE_EMPTY,
    CODE_LONG,
    CUSTOMER,
    DAY,
    DENIED,
    INPUT,
    KEY,
    LIMIT,
    MACHINE_CODES,
    NO_KEY,
    NO_PRODUCT,
    NO_TOKEN,
    NOT_ACTIVATED,
    NOTES,
    NOTES_LONG,
    PRODUCT,
    TRIAL_USED,
    WRONG_KEY,
    NewToken,
    Vendor,
    is_now,
    metadata_document,
)

pytestmark = pytest.mark.usefixtures("python_sdk")


def activate(vendor: Vendor, key: str, machine: str, **params: Any) -> tuple[Any, ...]:
    """Activate as shipped software does."""
    outcome: tuple[Any, ...] = Key.activate(vendor.token, vendor.public_key, vendor.product, key, machine, **params)
    return outcome


def activated(vendor: Vendor, key: str, machine: str, **params: Any) -> LicenseKey:
    """Activate, with success; return the license, which the SDK has verified."""
    license, message = activate(vendor, key, machine, **params)
    assert message == ""
    assert license is not None
    return license


def seen(vendor: Vendor, key: str) -> LicenseKey:
    """Return the license as GetKey shows it."""
    license, message = Key.get_key(vendor.token, vendor.public_key, vendor.product, key)
    assert message == ""
    return license


def machines(license: LicenseKey) -> list[str]:
    return [machine.Mid for machine in license.activated_machines]


def created(vendor: Vendor, **params: Any) -> str:
    """Create a license with the SDK; return its key."""
    answer, message = Key.create_key(vendor.admin, vendor.product, **params)
    assert message == ""
    key: str = answer["key"]
    return key


# ---- activation


def test_an_activation_gives_a_license_that_the_sdk_has_verified(vendor: Vendor) -> None:
    key = created(vendor, period=30, f1=True, f8=True, notes=NOTES, max_no_of_machines=2)
    license = activated(vendor, key, "m-alpha", friendly_name="LAB-01")
    assert (license.product_id, license.key, license.period) == (vendor.product, key, 30)
    assert license.expires - license.created == datetime.timedelta(days=30)
    assert [getattr(license, f"f{number}") for number in range(1, 9)] == [True, *[False] * 6, True]
    assert (license.notes, license.block, license.trial_activation) == (NOTES, False, False)
    assert (license.max_no_of_machines, license.allowed_machines) == (2, "")
    assert (license.customer, license.reseller, license.data_objects) == (None, None, [])
    assert license.id > 0
    assert license.global_id > 0
    (machine,) = license.activated_machines
    assert (machine.Mid, machine.FriendlyName, machine.FloatingExpires) == ("m-alpha", "LAB-01", 0)
    assert machine.IP == "127.0.0.1"
    assert is_now(machine.Time)
    assert is_now(int(license.sign_date.timestamp()))
    assert Helpers.HasNotExpired(license)


def test_a_license_is_for_the_machine_that_activated_it(vendor: Vendor) -> None:
    key = vendor.new_key(2)
    here = Helpers.GetMachineCode()
    license = activated(vendor, key, here)
    assert Helpers.IsOnRightMachine(license)
    assert Helpers.IsOnRightMachine(license, custom_machine_code=here)
    assert not Helpers.IsOnRightMachine(license, custom_machine_code="elsewhere")
    assert not Helpers.IsOnRightMachine(license, is_floating_license=True)


def test_one_machine_more_than_the_limit_is_refused_until_another_is_given_back(vendor: Vendor) -> None:
    key = vendor.new_key(2)
    activated(vendor, key, "one")
    activated(vendor, key, "two")
    assert activate(vendor, key, "three") == (None, LIMIT)
    assert machines(activated(vendor, key, "one")) == ["one", "two"]  # a known machine always gets in
    assert Key.deactivate(vendor.token, vendor.product, key, "one") == (True, "")
    assert sorted(machines(activated(vendor, key, "three"))) == ["three", "two"]
    assert activate(vendor, key, "one") == (None, LIMIT)


def test_of_machines_that_activate_at_the_same_time_exactly_the_limit_gets_in(vendor: Vendor) -> None:
    key = vendor.new_key(3)
    with ThreadPoolExecutor(12) as clients:
        outcomes = list(clients.map(lambda number: activate(vendor, key, f"racer {number}"), range(12)))
    assert sum(license is not None for license, _ in outcomes) == 3
    assert {message for license, message in outcomes if license is None} == {LIMIT}
    assert len(machines(seen(vendor, key))) == 3


def test_without_a_limit_nobody_is_registered(vendor: Vendor) -> None:
    key = created(vendor, period=30)
    license = activated(vendor, key, "m-alpha")
    assert (license.max_no_of_machines, license.activated_machines) == (0, [])
    assert not Helpers.IsOnRightMachine(license, custom_machine_code="m-alpha")  # documented: software skips the check


@pytest.mark.parametrize("machine", MACHINE_CODES, ids=lambda code: ascii(code[:20]))
def test_a_machine_code_comes_back_as_it_was_sent(vendor: Vendor, machine: str) -> None:
    key = vendor.new_key(1)
    assert machines(activated(vendor, key, machine)) == [machine]
    license = activated(vendor, key, machine)  # it is known now
    assert Helpers.IsOnRightMachine(license, custom_machine_code=machine)
    assert activate(vendor, key, machine + "!" if len(machine) < 512 else "!") == (None, LIMIT)
    assert Key.deactivate(vendor.token, vendor.product, key, machine) == (True, "")
    assert machines(seen(vendor, key)) == []


@pytest.mark.parametrize("machine", ["x" * 513, "a\0b"], ids=["too long", "with a zero byte"])
def test_a_machine_code_that_cannot_be_kept_is_bad_input(vendor: Vendor, machine: str) -> None:
    key = vendor.new_key(1)
    assert activate(vendor, key, machine) == (None, INPUT)
    assert Key.deactivate(vendor.token, vendor.product, key, machine) == (False, INPUT)


def test_no_friendly_name_is_no_name_and_keeps_the_one_that_there_is(vendor: Vendor) -> None:
    key = vendor.new_key(2)

    def name_after(friendly_name: str | None) -> str:
        (machine,) = activated(vendor, key, "m", friendly_name=friendly_name).activated_machines
        name: str = machine.FriendlyName
        return name

    assert name_after(None) == ""  # the SDK sends the text None
    assert name_after("Åsa's laptop & more") == "Åsa's laptop & more"
    assert name_after(None) == "Åsa's laptop & more"
    assert name_after("") == "Åsa's laptop & more"
    assert name_after("new") == "new"


def test_an_end_user_may_type_the_key_in_small_letters_with_blanks_around_it(vendor: Vendor) -> None:
    key = vendor.new_key(1)
    assert activated(vendor, f"  {key.lower()} ", "m").key == key


def test_a_trial_activation_counts_from_the_first_activation_of_a_machine(vendor: Vendor) -> None:
    key = created(vendor, period=10, trial_activation=True, max_no_of_machines=2)
    Key.extend_license(vendor.admin, vendor.product, key, 20)  # the key ends later than its countdown will
    license = activated(vendor, key, "m")
    assert license.trial_activation
    assert (license.expires.timestamp() - license.activated_machines[0].Time) == 30 * DAY


def test_an_expired_license_is_still_activated(vendor: Vendor) -> None:
    key = created(vendor, period=0, max_no_of_machines=1)
    Key.extend_license(vendor.admin, vendor.product, key, -2)
    assert not Helpers.HasNotExpired(activated(vendor, key, "m"))


# ---- floating seats


def seat(vendor: Vendor, key: str, machine: str, overdraft: int = 0, **params: Any) -> tuple[Any, ...]:
    """Ask for a floating seat as shipped software does."""
    return activate(vendor, key, machine, floating_time_interval=100, max_overdraft=overdraft, **params)


def seated(vendor: Vendor, key: str, machine: str, overdraft: int = 0, **params: Any) -> LicenseKey:
    """Take or keep a floating seat; return the license, which the SDK has verified."""
    license, message = seat(vendor, key, machine, overdraft, **params)
    assert message == ""
    assert license is not None
    return license


def concludes(license: LicenseKey, machine: str) -> tuple[bool, bool, bool]:
    """Whether the SDK finds the machine node-locked; floating; floating where the software allows overdraft."""
    here: list[bool] = [
        Helpers.IsOnRightMachine(license, floats, overdraft, custom_machine_code=machine)
        for floats, overdraft in ((False, False), (True, False), (True, True))
    ]
    return here[0], here[1], here[2]


def test_a_floating_seat_is_taken_kept_refused_to_others_and_given_back(vendor: Vendor) -> None:
    key = vendor.new_key(2)
    assert machines(seated(vendor, key, "A")) == ["floating:A"]
    assert machines(seated(vendor, key, "B")) == ["floating:A", "floating:B"]
    assert seat(vendor, key, "C") == (None, LIMIT)
    assert machines(seated(vendor, key, "A")) == ["floating:A", "floating:B"]  # who has a seat always gets in
    assert Key.deactivate(vendor.token, vendor.product, key, "A", floating=True) == (True, "")
    assert Key.deactivate(vendor.token, vendor.product, key, "A", floating=True) == (True, "")
    assert machines(seated(vendor, key, "C")) == ["floating:B", "floating:C"]
    assert seat(vendor, key, "A") == (None, LIMIT)


def test_what_the_sdk_concludes_of_its_seat(vendor: Vendor) -> None:
    key = vendor.new_key(2)
    regular, overdraft = (False, True, True), (False, False, True)
    assert concludes(seated(vendor, key, "A"), "A") == regular
    license = seated(vendor, key, "B")
    assert [concludes(license, machine) for machine in "ABC"] == [regular, regular, (False, False, False)]
    assert seat(vendor, key, "C") == (None, LIMIT)
    license = seated(vendor, key, "C", overdraft=1)
    assert machines(license) == ["floating:A", "floating:B", "floating:overdraft:C"]
    assert [concludes(license, machine) for machine in "ABC"] == [regular, regular, overdraft]
    assert seat(vendor, key, "D", overdraft=1) == (None, LIMIT)
    assert seat(vendor, key, "C") == (None, LIMIT)  # it no longer asks for overdraft, so it is a newcomer
    Key.deactivate(vendor.token, vendor.product, key, "A", floating=True)
    assert concludes(seated(vendor, key, "C"), "C") == regular


def test_a_seat_says_whose_it_is_and_until_when(vendor: Vendor) -> None:
    (machine,) = seated(vendor, vendor.new_key(1), "A", friendly_name="LAB-01").activated_machines
    assert (machine.Mid, machine.FriendlyName, machine.IP) == ("floating:A", "LAB-01", "127.0.0.0")  # shown to everybody
    assert is_now(machine.Time)
    assert machine.FloatingExpires - machine.Time in (100, 101)  # it is never shorter than was asked for


def test_metadata_count_the_seats_that_are_taken_and_are_verified(vendor: Vendor) -> None:
    key = vendor.new_key(1)

    def used(outcome: tuple[Any, ...]) -> tuple[int, int]:
        license, message, metadata = outcome
        assert message == ""
        assert license is not None
        return metadata["ActivatedMachines"], metadata["UsedFloatingMachines"]

    assert used(seat(vendor, key, "A", metadata=True)) == (0, 1)
    assert used(seat(vendor, key, "B", 2, metadata=True)) == (0, 2)
    assert used(seat(vendor, key, "C", 2, metadata=True)) == (0, 3)
    assert used(activate(vendor, key, "locked", metadata=True)) == (1, 0)  # without an interval nothing is counted
    Key.deactivate(vendor.token, vendor.product, key, "B", floating=True)
    assert used(seat(vendor, key, "A", metadata=True)) == (1, 2)


def test_one_key_is_node_locked_and_floating_at_once_and_each_has_its_own_limit(vendor: Vendor) -> None:
    key = vendor.new_key(1)
    activated(vendor, key, "A")
    license = seated(vendor, key, "A")
    assert machines(license) == ["A", "floating:A"]
    assert concludes(license, "A") == (True, True, True)
    assert seat(vendor, key, "B") == activate(vendor, key, "B") == (None, LIMIT)
    assert [machine.FloatingExpires > 0 for machine in activated(vendor, key, "A").activated_machines] == [False, True]
    assert Key.deactivate(vendor.token, vendor.product, key, "A") == (True, "")
    assert Key.deactivate(vendor.token, vendor.product, key, "A") == (False, NOT_ACTIVATED)
    assert machines(activated(vendor, key, "B")) == ["B", "floating:A"]


def test_get_key_lists_the_seats_and_counts_them_if_it_is_told_an_interval(vendor: Vendor) -> None:
    key = vendor.new_key(1)
    seated(vendor, key, "A")
    seated(vendor, key, "B", overdraft=1)
    activated(vendor, key, "C")
    for interval, used in ((100, 2), (0, 0)):
        license, message = Key.get_key(
            vendor.token, vendor.public_key, vendor.product, key, metadata=True, floating_time_interval=interval
        )
        assert (message, machines(license)) == ("", ["C", "floating:A", "floating:overdraft:B"])
        metadata = license.raw_response.metadata  # the SDK neither verifies nor returns it
        assert (metadata["activatedMachines"], metadata["usedFloatingMachines"]) == (1, used)
        assert metadata_document({"metadata": metadata}, vendor.public_key)["UsedFloatingMachines"] == used


def test_without_a_limit_nobody_has_a_seat(vendor: Vendor) -> None:
    key = vendor.new_key(0)
    license, message, metadata = seat(vendor, key, "A", metadata=True)
    assert (message, machines(license), metadata["UsedFloatingMachines"]) == ("", [], 0)
    assert concludes(license, "A") == (False, False, False)  # documented: software skips the check
    assert Key.deactivate(vendor.token, vendor.product, key, "A", floating=True) == (True, "")


@pytest.mark.parametrize(("overdraft", "granted"), [(0, 3), (2, 5)])
def test_of_machines_that_want_a_seat_at_the_same_time_exactly_as_many_get_one_as_may(
    vendor: Vendor, overdraft: int, granted: int
) -> None:
    key = vendor.new_key(3)
    with ThreadPoolExecutor(12) as clients:
        outcomes = list(clients.map(lambda number: seat(vendor, key, f"racer {number}", overdraft), range(12)))
    assert sum(license is not None for license, _ in outcomes) == granted
    assert {message for license, message in outcomes if license is None} == {LIMIT}
    assert len(machines(seen(vendor, key))) == granted


@pytest.mark.parametrize("machine", MACHINE_CODES, ids=lambda code: ascii(code[:20]))
def test_a_seat_has_the_machine_code_as_it_was_sent(vendor: Vendor, machine: str) -> None:
    key = vendor.new_key(1)
    seated(vendor, key, machine)
    license = seated(vendor, key, machine)  # it is renewed
    assert machines(license) == [f"floating:{machine}"]
    assert concludes(license, machine)[1:] == (True, True)
    assert seat(vendor, key, machine + "!" if len(machine) < 512 else "!") == (None, LIMIT)
    # A code that looks like a listed one is taken for one, so it is given back under the name that is listed.
    back = f"floating:{machine}" if machine.startswith("floating:") else machine
    assert Key.deactivate(vendor.token, vendor.product, key, back, floating=True) == (True, "")
    assert machines(seen(vendor, key)) == []


def test_a_blocked_key_seats_nobody(vendor: Vendor) -> None:
    key = vendor.new_key(1)
    seated(vendor, key, "A")
    Key.block_key(vendor.admin, vendor.product, key)
    assert seat(vendor, key, "A") == (None, BLOCKED)
    assert Key.deactivate(vendor.token, vendor.product, key, "A", floating=True) == (False, BLOCKED)


def test_an_offline_copy_keeps_the_seat(vendor: Vendor) -> None:
    key = vendor.new_key(1)
    seated(vendor, key, "A")
    copy = seated(vendor, key, "B", overdraft=1).save_as_string()
    again = LicenseKey.load_from_string(vendor.public_key, copy)
    assert [concludes(again, machine) for machine in "AB"] == [(False, True, True), (False, False, True)]


def test_an_overdraft_or_an_interval_below_zero_is_bad_input(vendor: Vendor) -> None:
    key = vendor.new_key(1)
    assert seat(vendor, key, "A", -1) == activate(vendor, key, "A", floating_time_interval=-1) == (None, INPUT)


# ---- signatures


def test_a_license_that_another_key_signed_is_not_accepted(vendor: Vendor) -> None:
    key = vendor.new_key(1)
    software = replace(vendor, public_key=WRONG_KEY)
    assert activate(software, key, "m") == (None, "The signature check failed.")
    assert activate(software, key, "m", metadata=True) == (None, "The signature check failed.")
    refused = Key.get_key(vendor.token, WRONG_KEY, vendor.product, key)
    assert refused == (None, "The signature check failed.")


def test_metadata_say_what_a_license_is_worth_and_are_verified(vendor: Vendor) -> None:
    key = created(vendor, period=30, max_no_of_machines=3)
    activated(vendor, key, "one")
    license, message, metadata = activate(vendor, key, "two", metadata=True)
    assert (message, machines(license)) == ("", ["one", "two"])
    assert metadata["ActivatedMachines"] == 2
    assert metadata["UsedFloatingMachines"] == 0
    assert metadata["LicenseStatus"] == {
        "IsValid": True, "ReasonForInvalidity": 0, "Trial": False, "TimeLimited": False,
        "TimeLeft": metadata["LicenseStatus"]["TimeLeft"],
    }  # fmt: skip
    assert metadata["LicenseStatus"]["TimeLeft"] in (29, 30)  # whole days, from the second of the call


def test_metadata_say_that_a_trial_has_ended(vendor: Vendor) -> None:
    key = created(vendor, f1=True, f2=True, max_no_of_machines=1)
    Key.extend_license(vendor.admin, vendor.product, key, -3)
    _, _, metadata = activate(vendor, key, "m", metadata=True)
    status = metadata["LicenseStatus"]
    assert (status["IsValid"], status["ReasonForInvalidity"]) == (False, 1)
    assert (status["Trial"], status["TimeLimited"]) == (True, True)
    assert status["TimeLeft"] < 0


def test_get_key_takes_metadata_along_and_shows_the_same_license(vendor: Vendor) -> None:
    key = vendor.new_key(1)
    activated(vendor, key, "m")
    outcome = Key.get_key(vendor.token, vendor.public_key, vendor.product, key, metadata=True)
    assert (machines(outcome[0]), outcome[1:]) == (["m"], ("",))


# ---- offline copies


def test_an_offline_copy_is_the_license_again(vendor: Vendor) -> None:
    key = created(vendor, period=30, f3=True, notes="naïve „test“", max_no_of_machines=1)
    license = activated(vendor, key, "Åsas dator")
    copy = license.save_as_string()
    again = LicenseKey.load_from_string(vendor.public_key, copy)
    assert again is not None
    assert (again.key, again.notes, again.f3, again.expires) == (key, "naïve „test“", True, license.expires)
    assert Helpers.IsOnRightMachine(again, custom_machine_code="Åsas dator")
    assert again.save_as_string() == copy


def test_an_offline_copy_keeps_the_metadata(vendor: Vendor) -> None:
    license, _, metadata = activate(vendor, vendor.new_key(1), "m", metadata=True)
    saved = json.loads(license.save_as_string())
    assert saved["metadata"]["activatedMachines"] == metadata["ActivatedMachines"] == 1
    assert LicenseKey.load_from_string(vendor.public_key, json.dumps(saved)) is not None


def test_an_offline_copy_may_be_too_old(vendor: Vendor) -> None:
    copy = activated(vendor, vendor.new_key(1), "m").save_as_string()
    assert LicenseKey.load_from_string(vendor.public_key, copy, 1) is not None
    moment = 1e-9  # days: 86 microseconds, less than the answer has been on its way
    assert LicenseKey.load_from_string(vendor.public_key, copy, moment) is None


def test_an_offline_copy_that_was_changed_or_is_another_vendors_is_none(vendor: Vendor) -> None:
    saved = json.loads(activated(vendor, vendor.new_key(1), "m").save_as_string())
    other = json.loads(activated(vendor, vendor.new_key(1), "m").save_as_string())

    def load(public_key: str = vendor.public_key, **changes: object) -> LicenseKey | None:
        return LicenseKey.load_from_string(public_key, json.dumps({**saved, **changes}))

    assert load() is not None
    assert load(WRONG_KEY) is None
    assert load(licenseKey=other["licenseKey"]) is None
    assert load(signature=other["signature"]) is None
    assert load(licenseKey=saved["licenseKey"].swapcase()) is None


# ---- refusals, word for word

CLIENT_CALLS: dict[str, Callable[[Vendor, str, int, str], tuple[Any, ...]]] = {
    "activate": lambda vendor, token, product, key: Key.activate(token, vendor.public_key, product, key, "m"),
    "get_key": lambda vendor, token, product, key: Key.get_key(token, vendor.public_key, product, key),
    "deactivate": lambda _, token, product, key: Key.deactivate(token, product, key, "m"),
    "register_event": lambda _, token, product, key: AI.register_event(token, product, key),
}
ADMIN_CALLS: dict[str, Callable[[Vendor, str, int, str], tuple[Any, ...]]] = {
    "block_key": lambda _, token, product, key: Key.block_key(token, product, key),
    "unblock_key": lambda _, token, product, key: Key.unblock_key(token, product, key),
    "machine_lock_limit": lambda _, token, product, key: Key.machine_lock_limit(token, product, key, 3),
    "extend_license": lambda _, token, product, key: Key.extend_license(token, product, key, 1),
    "add_feature": lambda _, token, product, key: Key.add_feature(token, product, key, 1),
    "remove_feature": lambda _, token, product, key: Key.remove_feature(token, product, key, 1),
    "change_notes": lambda _, token, product, key: Key.change_notes(token, product, key, "notes"),
    "change_customer": lambda _, token, product, key: Key.change_customer(token, product, key, 0),
    "record_usage": lambda _, token, product, key: Subscription.record_usage_to_stripe(token, product, key, 1),
    "get_web_api_log": lambda _, token, product, key: AI.get_web_api_log(token, product, key),
    "get_events": lambda _, token, product, key: AI.get_events(token, product_id=product, key=key),
}
KEY_CALLS = {**CLIENT_CALLS, **ADMIN_CALLS}
PRODUCT_CALLS: dict[str, Callable[[Vendor, str, int, str], tuple[Any, ...]]] = {
    "create_trial_key": lambda _, token, product, _key: Key.create_trial_key(token, product, "m"),
    "create_key": lambda _, token, product, _key: Key.create_key(token, product),
}


def every(calls: dict[str, Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("call", calls.values(), ids=calls)


@every(KEY_CALLS | PRODUCT_CALLS)
@pytest.mark.parametrize("token", [NO_TOKEN, "", "not a token", "None"])
def test_without_a_valid_token_nothing_is_done(vendor: Vendor, call: Callable[..., Any], token: str) -> None:
    refused, message = call(vendor, token, vendor.product, NO_KEY)
    assert not refused
    assert message == AUTHENTICATE


@every(ADMIN_CALLS | {"create_key": PRODUCT_CALLS["create_key"]})
def test_shipped_software_may_not_manage_licenses(vendor: Vendor, call: Callable[..., Any]) -> None:
    refused, message = call(vendor, vendor.token, vendor.product, NO_KEY)
    assert not refused
    assert message == DENIED


@every(KEY_CALLS | PRODUCT_CALLS)
def test_an_unknown_product_is_said_to_be_one(vendor: Vendor, call: Callable[..., Any]) -> None:
    refused, message = call(vendor, vendor.admin, NO_PRODUCT, NO_KEY)
    assert not refused
    assert message == PRODUCT


@every(CLIENT_CALLS | {"create_trial_key": PRODUCT_CALLS["create_trial_key"]})
def test_a_token_for_one_product_is_not_told_whether_another_exists(vendor: Vendor, call: Callable[..., Any]) -> None:
    refused, message = call(vendor, vendor.token, NO_PRODUCT, NO_KEY)
    assert not refused
    assert message == DENIED


@every(KEY_CALLS)
@pytest.mark.parametrize("key", [NO_KEY, "not a key", "Åsa", NO_KEY.replace("A", "a")])
def test_an_unknown_key_is_said_to_be_one(vendor: Vendor, call: Callable[..., Any], key: str) -> None:
    refused, message = call(vendor, vendor.admin, vendor.product, key)
    assert not refused
    assert message == KEY


@every(KEY_CALLS | PRODUCT_CALLS)
@pytest.mark.parametrize("product", ["x", 2**31, -1, "1.5"])
def test_a_product_that_is_no_number_is_bad_input(vendor: Vendor, call: Callable[..., Any], product: object) -> None:
    refused, message = call(vendor, vendor.admin, product, NO_KEY)
    assert not refused
    assert message == INPUT


def test_an_unknown_machine_cannot_be_given_back(vendor: Vendor) -> None:
    key = vendor.new_key(1)
    assert Key.deactivate(vendor.token, vendor.product, key, "m") == (False, NOT_ACTIVATED)
    activated(vendor, key, "m")
    assert Key.deactivate(vendor.token, vendor.product, key, "M") == (False, NOT_ACTIVATED)  # codes have a case
    assert Key.deactivate(vendor.token, vendor.product, key, "m") == (True, "")
    assert Key.deactivate(vendor.token, vendor.product, key, "m") == (False, NOT_ACTIVATED)


def test_a_blocked_key_is_shown_and_nothing_else(vendor: Vendor) -> None:
    key = vendor.new_key(2)
    activated(vendor, key, "m")
    assert Key.block_key(vendor.admin, vendor.product, key) == (True, "")
    assert Key.block_key(vendor.admin, vendor.product, key) == (True, "")
    assert activate(vendor, key, "m") == (None, BLOCKED)
    assert activate(vendor, key, "m", metadata=True) == (None, BLOCKED)
    assert Key.deactivate(vendor.token, vendor.product, key, "m") == (False, BLOCKED)
    assert seen(vendor, key).block
    assert Key.unblock_key(vendor.admin, vendor.product, key) == (True, "")
    assert not activated(vendor, key, "m").block


# ---- trial keys


def test_a_trial_key_is_made_once_for_a_machine_and_activated_there(vendor: Vendor) -> None:
    machine = f"trial & error = {uuid4()}"
    key, message = Key.create_trial_key(vendor.token, vendor.product, machine, "Åsa")
    assert message == ""
    assert Key.create_trial_key(vendor.token, vendor.product, machine) == (key, "")
    license = activated(vendor, key, machine)
    assert (license.f1, license.f2, license.f3) == (True, True, False)  # the demo product's features of these kinds
    assert (license.period, license.max_no_of_machines, machines(license)) == (15, 1, [machine])
    assert license.activated_machines[0].FriendlyName == "Åsa"
    assert activate(vendor, key, "elsewhere") == (None, LIMIT)


async def test_the_tokens_feature_lock_is_the_length_of_a_trial(vendor: Vendor, new_token: NewToken) -> None:
    token = await new_token(feature_lock=7, permissions=("CreateTrialKey",))
    key, message = Key.create_trial_key(token, vendor.product, str(uuid4()))
    assert message == ""
    license = seen(vendor, key)
    assert license.period == 7
    assert license.expires - license.created == datetime.timedelta(days=7)


@pytest.mark.parametrize(("machine", "message"), [("", CODE_EMPTY), ("x" * 129, CODE_LONG)])
def test_a_trial_needs_a_machine_code_of_decent_length(vendor: Vendor, machine: str, message: str) -> None:
    assert Key.create_trial_key(vendor.token, vendor.product, machine) == (None, message)


def test_a_machine_code_of_a_trial_may_have_128_characters(vendor: Vendor) -> None:
    machine = str(uuid4()).ljust(128, "ß")
    key, message = Key.create_trial_key(vendor.token, vendor.product, machine)
    assert message == ""
    assert machines(activated(vendor, key, machine)) == [machine]


def test_a_blocked_trial_is_not_made_anew(vendor: Vendor) -> None:
    machine = str(uuid4())
    key, _ = Key.create_trial_key(vendor.token, vendor.product, machine)
    Key.block_key(vendor.admin, vendor.product, key)
    assert Key.create_trial_key(vendor.token, vendor.product, machine) == (None, TRIAL_USED)


def test_machines_that_ask_for_one_trial_at_the_same_time_get_one_key(vendor: Vendor) -> None:
    machine = str(uuid4())
    with ThreadPoolExecutor(8) as clients:
        outcomes = set(clients.map(lambda _: Key.create_trial_key(vendor.token, vendor.product, machine), range(8)))
    ((_, message),) = outcomes
    assert message == ""


# ---- managing licenses


def test_keys_are_created_one_or_several_at_a_time(vendor: Vendor) -> None:
    one, message = Key.create_key(vendor.admin, vendor.product)
    assert (message, one["message"], one["result"]) == ("", "", 0)
    assert list(one) == ["key", "result", "message"]  # no list, no customer
    three, message = Key.create_key(vendor.admin, vendor.product, no_of_keys=3, period=7, f5=True, notes="a batch")
    assert message == ""
    assert len(set(three["keys"])) == 3
    assert three["key"] == three["keys"][0]
    for key in three["keys"]:
        license = seen(vendor, key)
        assert (license.period, license.f5, license.notes) == (7, True, "a batch")


def test_a_license_may_be_created_blocked(vendor: Vendor) -> None:
    key = created(vendor, block=True, max_no_of_machines=1)
    assert activate(vendor, key, "m") == (None, BLOCKED)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"notes": "n" * 501}, NOTES_LONG),
        ({"customer_id": 987_654_321}, CUSTOMER),
        ({"period": -1}, INPUT),
        ({"period": 36_501}, INPUT),
        ({"no_of_keys": 1_001}, INPUT),
        ({"no_of_keys": -1}, INPUT),
        ({"max_no_of_machines": -1}, INPUT),
        ({"f1": "perhaps"}, INPUT),
    ],
    ids=str,
)
def test_what_a_license_cannot_be_is_refused(vendor: Vendor, params: dict[str, Any], message: str) -> None:
    assert Key.create_key(vendor.admin, vendor.product, **params) == (None, message)


def test_a_limit_holds_from_the_next_call_on(vendor: Vendor) -> None:
    key = vendor.new_key(1)
    activated(vendor, key, "one")
    assert activate(vendor, key, "two") == (None, LIMIT)
    assert Key.machine_lock_limit(vendor.admin, vendor.product, key, 2) == (True, "")
    activated(vendor, key, "two")
    assert Key.machine_lock_limit(vendor.admin, vendor.product, key, 1) == (True, "")
    assert machines(activated(vendor, key, "two")) == ["one", "two"]  # who is in stays in
    assert activate(vendor, key, "three") == (None, LIMIT)
    assert Key.machine_lock_limit(vendor.admin, vendor.product, key, -1) == (False, INPUT)
    assert seen(vendor, key).max_no_of_machines == 1


def test_a_license_is_extended_by_days(vendor: Vendor) -> None:
    key = created(vendor, period=30)
    before = seen(vendor, key)
    assert Key.extend_license(vendor.admin, vendor.product, key, 10) == (True, "")
    assert seen(vendor, key).expires - before.expires == datetime.timedelta(days=10)
    assert Key.extend_license(vendor.admin, vendor.product, key, -5) == (True, "")
    after = seen(vendor, key)
    assert after.expires - before.expires == datetime.timedelta(days=5)
    assert after.period == 35
    assert Key.extend_license(vendor.admin, vendor.product, key, 4_000_000) == (False, INPUT)  # past the year 9999


def test_an_expired_license_is_extended_from_today(vendor: Vendor) -> None:
    key = created(vendor)
    Key.extend_license(vendor.admin, vendor.product, key, -100)
    assert Key.extend_license(vendor.admin, vendor.product, key, 10) == (True, "")
    days = (seen(vendor, key).expires - datetime.datetime.now()).total_seconds() / DAY  # noqa: DTZ005 (as the SDK does it)
    assert 9.9 < days <= 10


# ---- the log


def test_the_log_tells_what_happened_to_a_key(vendor: Vendor) -> None:
    key = created(vendor, max_no_of_machines=1)
    activated(vendor, key, "m=1&2", friendly_name="Åsa")
    activated(vendor, key, "m=1&2")
    activate(vendor, key, "other")
    seen(vendor, key)  # is not logged
    Key.block_key(vendor.admin, vendor.product, key)
    activate(vendor, key, "m=1&2")
    Key.unblock_key(vendor.admin, vendor.product, key)
    Key.deactivate(vendor.token, vendor.product, key, "m=1&2")
    Key.deactivate(vendor.token, vendor.product, key, "m=1&2")

    logs, message = AI.get_web_api_log(vendor.admin, vendor.product, key, limit=100)
    assert message == ""
    assert [row["state"] for row in logs] == [3010, 2011, 2010, 2023, 7010, 2022, 7010, 6010, 6020]
    assert [row["id"] for row in logs] == sorted({row["id"] for row in logs})
    assert {(row["productId"], row["key"], row["ip"]) for row in logs} == {(vendor.product, key, "127.0.0.0")}
    assert all(is_now(row["time"]) for row in logs)
    assert [row["machineCode"] for row in logs if row["state"] // 1000 in (2, 6)] == [
        "m=1&2", "m=1&2", "other", "m=1&2", "m=1&2", "m=1&2",
    ]  # fmt: skip
    assert logs[1]["friendlyName"] == "Åsa"
    assert {(row["floatingExpires"], row["doIntValue"], row["doId"]) for row in logs} == {(0, 0, 0)}


def test_the_log_is_read_page_by_page(vendor: Vendor) -> None:
    key = created(vendor, max_no_of_machines=30)
    for number in range(12):
        activated(vendor, key, f"m{number}", friendly_name=f"Desk {number}")

    def page(**params: Any) -> list[dict[str, Any]]:
        logs, message = AI.get_web_api_log(vendor.admin, vendor.product, key, **params)
        assert message == ""
        rows: list[dict[str, Any]] = logs
        return rows

    every_id = [row["id"] for row in page(limit=1000)]
    assert len(every_id) == 13
    first = page()
    assert [row["id"] for row in first] == every_id[:10]
    assert [row["id"] for row in page(starting_after=first[-1]["id"])] == every_id[10:]
    assert page(starting_after=every_id[-1]) == []
    assert [row["id"] for row in page(ending_before=every_id[5], limit=3)] == every_id[4:1:-1]
    assert [row["id"] for row in page(order_by="Id descending", limit=2)] == every_id[:-3:-1]
    assert [row["machineCode"] for row in page(machine_code="m3")] == ["m3"]
    assert [row["machineCode"] for row in page(friendly_name="desk 1")] == ["m1", "m10", "m11"]
    assert len(page(friendly_name=None, limit=0)) == 10  # the SDK sends the text None


def test_the_log_of_a_key_needs_its_product(vendor: Vendor) -> None:
    assert AI.get_web_api_log(vendor.admin, key=NO_KEY) == (None, INPUT)
