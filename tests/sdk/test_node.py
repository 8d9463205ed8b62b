"""The official Node SDK, `cryptolens` from npm, unmodified, in the Node of a wheel."""

import json
from typing import Any
from uuid import uuid4

import pytest
from licensing.methods import Key as PythonKey  # type: ignore[import-untyped]

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
    OBJECT,
    OBJECT_EXISTS,
    PRODUCT,
    TRIAL_USED,
    WRONG_KEY,
    Vendor,
    fields_of,
    is_now,
    metadata_document,
)
from .nodejs import Call, Node, Outcome

YES, NO = True, False  # arguments of the SDK, which has no names for them


class Software:
    """The vendor's software: the SDK's calls with what is built in. `url` is as its author wrote it."""

    def __init__(self, node: Node, vendor: Vendor, url: str) -> None:
        self.node = node
        self.vendor = vendor
        self.url = url

    def activation(self, key: str, machine: str, *, interval: int = 0, overdraft: int = 0, **other: Any) -> Call:
        """Return an activation, to be called."""
        values = {"token": self.vendor.token, "public_key": self.vendor.public_key, "product": self.vendor.product}
        token, public_key, product = (values | other).values()
        return ("Key.Activate", token, public_key, product, key, machine, 0, YES, interval, overdraft, self.url)

    def activate(self, key: str, machine: str, **other: Any) -> Outcome:
        return self.node.all(self.activation(key, machine, **other))[0]

    def activated(self, key: str, machine: str, **other: Any) -> dict[str, Any]:
        """Activate, with success; return the license, which the SDK has verified."""
        outcome = self.activate(key, machine, **other)
        assert outcome.error is None
        license: dict[str, Any] = outcome.value
        return license

    def deactivate(self, key: str, machine: str, *, floating: bool = False) -> Outcome:
        vendor = self.vendor
        return self.node.call("Key.Deactivate", vendor.token, vendor.product, key, machine, floating, None, self.url)

    def get_key(self, key: str, **other: Any) -> Outcome:
        values = {"token": self.vendor.token, "public_key": self.vendor.public_key, "product": self.vendor.product}
        token, public_key, product = (values | other).values()
        return self.node.call("Key.GetKey", token, public_key, product, key, 0, NO, self.url)

    def create_trial_key(self, machine: str, token: str = "") -> Outcome:
        vendor = self.vendor
        return self.node.call("Key.CreateTrialKey", token or vendor.token, vendor.product, machine, self.url)

    def create_key(self, period: object = 30, **params: object) -> Outcome:
        """Create keys as the vendor does: the SDK's parameters in its order, its defaults unless given."""
        values = {
            "notes": "", "block": False, "customer_id": None, "trial_activation": False, "max_machines": 0,
            "allowed_machines": None, "reseller_id": 0, "no_of_keys": 1, **{f"f{number}": False for number in range(1, 9)},
            "new_customer": False, "use_customer": False, **params,
        }  # fmt: skip
        vendor = self.vendor
        return self.node.call("Key.CreateKey", vendor.admin, vendor.product, period, *values.values(), self.url)

    def is_here(self, license: object, machine: str, *, floating: bool = False, overdraft: bool = False) -> bool:
        here: bool = self.node.call("Helpers.IsOnRightMachineCustom", license, machine, floating, overdraft).value
        return here

    def seated(self, key: str, machine: str, overdraft: int = 0) -> dict[str, Any]:
        """Take or keep a floating seat; return the license, which the SDK has verified."""
        return self.activated(key, machine, interval=100, overdraft=overdraft)

    def seat(self, key: str, machine: str, overdraft: int = 0) -> Outcome:
        """Ask for a floating seat."""
        return self.activate(key, machine, interval=100, overdraft=overdraft)

    def concludes(self, license: object, machine: str) -> tuple[bool, bool, bool]:
        """Whether the SDK finds the machine node-locked; floating; floating where the software allows overdraft."""
        return (
            self.is_here(license, machine), self.is_here(license, machine, floating=True),
            self.is_here(license, machine, floating=True, overdraft=True),
        )  # fmt: skip

    def load(self, copy: str | None, *, public_key: str = "", days: float = 0) -> Outcome:
        return self.node.call("Helpers.LoadFromString", public_key or self.vendor.public_key, copy, days)


@pytest.fixture(scope="session", params=["", "/"], ids=["as advised", "with a slash at the end"])
def software(request: pytest.FixtureRequest, node: Node, vendor: Vendor) -> Software:
    """The SDK with the server's URL in both ways that people write it; the second calls `//api/key/…`."""
    return Software(node, vendor, vendor.url + request.param)


def machines(license: dict[str, Any]) -> list[str]:
    return [machine["Mid"] for machine in license["ActivatedMachines"]]


def test_an_activation_gives_a_license_that_the_sdk_has_verified(software: Software) -> None:
    key = software.create_key(30, notes=NOTES, f1=True, max_machines=2).value["key"]
    license = software.activated(key, "m-alpha")
    raw = license.pop("RawResponse")
    assert list(raw) == ["metadata", "licenseKey", "signature", "result", "message"]
    assert (raw["result"], raw["message"]) == (0, "")
    assert list(license) == [*fields_of(1), "SignDate"]  # it asks for no model version
    assert (license["ProductId"], license["Key"], license["Notes"]) == (software.vendor.product, key, NOTES)
    assert (license["F1"], license["F2"], license["Block"]) == (True, False, False)
    assert license["Expires"] - license["Created"] == 30 * DAY
    assert is_now(license["SignDate"])
    (machine,) = license["ActivatedMachines"]
    assert list(machine) == ["Mid", "IP", "Time"]
    assert (machine["Mid"], machine["IP"]) == ("m-alpha", "127.0.0.1")
    assert is_now(machine["Time"])
    assert software.is_here(license, "m-alpha")
    assert not software.is_here(license, "elsewhere")
    assert not software.is_here(license, "m-alpha", floating=True)
    assert software.node.call("Helpers.HasNotExpired", license).value
    assert [software.node.call("Helpers.HasFeature", license, each).value for each in (1, 2)] == [True, False]


def test_one_machine_more_than_the_limit_is_refused_until_another_is_given_back(software: Software) -> None:
    key = software.vendor.new_key(2)
    software.activated(key, "one")
    software.activated(key, "two")
    assert software.activate(key, "three").error == ("Error", LIMIT)
    assert machines(software.activated(key, "one")) == ["one", "two"]
    assert software.deactivate(key, "one").value == ""
    assert software.deactivate(key, "one").error == ("Error", NOT_ACTIVATED)
    assert sorted(machines(software.activated(key, "three"))) == ["three", "two"]


def test_of_machines_that_activate_at_the_same_time_exactly_the_limit_gets_in(software: Software) -> None:
    key = software.vendor.new_key(3)
    outcomes = software.node.all(*(software.activation(key, f"racer {number}") for number in range(12)))
    assert sum(outcome.error is None for outcome in outcomes) == 3
    assert {outcome.error for outcome in outcomes} - {None} == {("Error", LIMIT)}
    assert len(machines(software.get_key(key).value)) == 3


@pytest.mark.parametrize("machine", MACHINE_CODES, ids=lambda code: ascii(code[:20]))
def test_a_machine_code_comes_back_as_it_was_sent(node: Node, vendor: Vendor, machine: str) -> None:
    software = Software(node, vendor, vendor.url)
    key = vendor.new_key(1)
    assert machines(software.activated(key, machine)) == [machine]
    license = software.activated(key, machine)
    assert software.is_here(license, machine)
    assert software.deactivate(key, machine).value == ""
    assert machines(software.get_key(key).value) == []


@pytest.mark.usefixtures("python_sdk")
def test_both_sdks_mean_the_same_machine(node: Node, vendor: Vendor) -> None:
    key, machine = vendor.new_key(1), "Åsas dator + 1 & 2 = 3%"
    assert machines(Software(node, vendor, vendor.url).activated(key, machine)) == [machine]
    license, message = PythonKey.activate(vendor.token, vendor.public_key, vendor.product, key, machine)
    assert message == ""
    assert [each.Mid for each in license.activated_machines] == [machine]


@pytest.mark.parametrize(
    ("other", "key", "message"),
    [
        ({"token": NO_TOKEN}, NO_KEY, AUTHENTICATE),
        ({"token": None}, NO_KEY, AUTHENTICATE),
        ({"product": "x"}, NO_KEY, INPUT),
        ({"product": NO_PRODUCT}, NO_KEY, DENIED),
        ({}, NO_KEY, KEY),
    ],
    ids=["no such token", "no token", "no product id", "another product", "no such key"],
)
def test_a_refused_activation_is_rejected_word_for_word(
    software: Software, other: dict[str, Any], key: str, message: str
) -> None:
    assert software.activate(key, "m", **other).error == ("Error", message)


def test_an_unknown_product_is_said_to_be_one(software: Software) -> None:
    outcome = software.activate(NO_KEY, "m", token=software.vendor.admin, product=NO_PRODUCT)
    assert outcome.error == ("Error", PRODUCT)


def test_a_blocked_key_is_shown_and_nothing_else(software: Software) -> None:
    key = software.create_key(30, block=True, max_machines=1).value["key"]
    assert software.activate(key, "m").error == ("Error", BLOCKED)
    assert software.deactivate(key, "m").error == ("Error", BLOCKED)
    assert software.get_key(key).value["Block"] is True  # BlockKey is not in the npm release, only in the repository


def test_get_key_shows_the_license_and_registers_nobody(software: Software) -> None:
    key = software.vendor.new_key(1)
    license = software.get_key(key).value
    assert list(license) == [*fields_of(1), "SignDate", "RawResponse"]
    assert (license["Key"], machines(license)) == (key, [])


@pytest.mark.parametrize("other", [{"token": NO_TOKEN}, {"product": "x"}, {}], ids=["token", "product", "key"])
def test_get_key_turns_every_refusal_into_a_type_error(software: Software, other: dict[str, Any]) -> None:
    # Its own: it looks for the text "1", finds a number, and goes on to verify what is not there. The answer is right
    # for all other SDKs, and any other status would lose the message in Java (protocol: HTTP status).
    error, _ = software.get_key(NO_KEY, **other).error or ("", "")
    assert error == "TypeError"


# ---- floating seats: without a model version, an answer lists the caller's seat alone


def test_a_floating_seat_is_taken_kept_refused_to_others_and_given_back(software: Software) -> None:
    key = software.vendor.new_key(2)
    assert machines(software.seated(key, "A")) == ["floating:A"]
    assert machines(software.seated(key, "B")) == ["floating:B"]
    assert software.seat(key, "C").error == ("Error", LIMIT)
    assert machines(software.seated(key, "A")) == ["floating:A"]
    assert software.deactivate(key, "A", floating=True).value == ""
    assert software.deactivate(key, "A", floating=True).value == ""
    assert machines(software.seated(key, "C")) == ["floating:C"]
    assert software.seat(key, "A").error == ("Error", LIMIT)
    assert software.deactivate(key, "C").error == ("Error", NOT_ACTIVATED)  # it is not node-locked


def test_what_the_sdk_concludes_of_its_seat(software: Software) -> None:
    key = software.vendor.new_key(2)
    regular, overdraft = (False, True, True), (False, False, True)
    for machine in "AB":
        assert software.concludes(software.seated(key, machine), machine) == regular
    assert software.seat(key, "C").error == ("Error", LIMIT)
    license = software.seated(key, "C", overdraft=1)
    assert machines(license) == ["floating:overdraft:C"]
    assert [software.concludes(license, machine) for machine in "ABC"] == [(False, False, False)] * 2 + [overdraft]
    assert software.seat(key, "D", overdraft=1).error == ("Error", LIMIT)
    software.deactivate(key, "A", floating=True)
    assert software.concludes(software.seated(key, "C"), "C") == regular


def test_metadata_count_the_seats_that_are_taken(software: Software) -> None:
    key = software.vendor.new_key(1)
    software.seated(key, "A")
    software.activated(key, "locked")
    for license, used in ((software.seated(key, "B", overdraft=1), 2), (software.activated(key, "locked"), 0)):
        signed = metadata_document(license["RawResponse"], software.vendor.public_key)  # the SDK does not look at it
        assert (signed["ActivatedMachines"], signed["UsedFloatingMachines"]) == (1, used)


def test_one_key_is_node_locked_and_floating_at_once_and_each_has_its_own_limit(software: Software) -> None:
    key = software.vendor.new_key(1)
    locked, floating = software.activated(key, "A"), software.seated(key, "A")
    assert (machines(locked), machines(floating)) == (["A"], ["floating:A"])
    assert software.concludes(locked, "A") == (True, False, False)
    assert software.concludes(floating, "A") == (False, True, True)
    assert software.seat(key, "B").error == software.activate(key, "B").error == ("Error", LIMIT)
    assert machines(software.activated(key, "A")) == machines(software.get_key(key).value) == ["A"]
    assert software.deactivate(key, "A", floating=True).value == ""
    assert machines(software.get_key(key).value) == ["A"]


def test_without_a_limit_nobody_has_a_seat(software: Software) -> None:
    license = software.seated(software.vendor.new_key(0), "A")
    assert machines(license) == []
    assert software.concludes(license, "A") == (False, False, False)  # documented: software skips the check


@pytest.mark.parametrize(("overdraft", "granted"), [(0, 3), (2, 5)])
def test_of_machines_that_want_a_seat_at_the_same_time_exactly_as_many_get_one_as_may(
    software: Software, overdraft: int, granted: int
) -> None:
    key = software.vendor.new_key(3)
    racers = (software.activation(key, f"racer {number}", interval=100, overdraft=overdraft) for number in range(12))
    outcomes = software.node.all(*racers)
    assert sum(outcome.error is None for outcome in outcomes) == granted
    assert {outcome.error for outcome in outcomes} - {None} == {("Error", LIMIT)}


def test_a_blocked_key_seats_nobody(software: Software) -> None:
    key = software.vendor.new_key(1)
    software.seated(key, "A")
    assert software.vendor.live.call("key/BlockKey", Key=key)["result"] == 0
    assert software.seat(key, "A").error == software.deactivate(key, "A", floating=True).error == ("Error", BLOCKED)


def test_an_offline_copy_keeps_the_seat(software: Software) -> None:
    key = software.vendor.new_key(1)
    copy = software.node.call("Helpers.SaveAsString", software.seated(key, "A")).value
    assert software.concludes(software.load(copy).value, "A") == (False, True, True)


@pytest.mark.usefixtures("python_sdk")
def test_both_sdks_share_the_seats(node: Node, vendor: Vendor) -> None:
    key, software = vendor.new_key(1), Software(node, vendor, vendor.url)
    built_in = vendor.token, vendor.public_key, vendor.product
    software.seated(key, "Åsas dator")
    assert PythonKey.activate(*built_in, key, "m", floating_time_interval=100) == (None, LIMIT)
    license, _ = PythonKey.activate(*built_in, key, "Åsas dator", floating_time_interval=100)
    assert [each.Mid for each in license.activated_machines] == ["floating:Åsas dator"]
    assert PythonKey.deactivate(vendor.token, vendor.product, key, "Åsas dator", floating=True) == (True, "")
    assert machines(software.seated(key, "m")) == ["floating:m"]


# ---- signatures and offline copies


def test_a_license_that_another_key_signed_is_not_accepted(software: Software) -> None:
    key = software.vendor.new_key(1)
    failed = ("Error", "Signature verification failed.")
    assert software.activate(key, "m", public_key=WRONG_KEY).error == failed
    assert software.get_key(key, public_key=WRONG_KEY).error == failed


def test_an_offline_copy_is_the_license_again(software: Software) -> None:
    license = software.activated(software.vendor.new_key(1), "Åsas dator")
    copy = software.node.call("Helpers.SaveAsString", license).value
    assert json.loads(copy) == license["RawResponse"]
    again = software.load(copy).value
    assert again == license
    assert software.is_here(again, "Åsas dator")


def test_an_offline_copy_may_be_too_old(software: Software) -> None:
    copy = json.dumps(software.activated(software.vendor.new_key(1), "m")["RawResponse"])
    assert software.load(copy, days=2).value is not None
    # It counts from midnight and drops fractions: half a day ended when the day began.
    outcome = software.load(copy, days=0.5)
    assert (outcome.value, outcome.said) == (None, [["The license has expired."]])


def test_an_offline_copy_that_was_changed_or_is_another_vendors_is_none(software: Software) -> None:
    saved = software.activated(software.vendor.new_key(1), "m")["RawResponse"]
    other = software.activated(software.vendor.new_key(1), "m")["RawResponse"]
    assert software.load(json.dumps(saved)).value is not None
    assert software.load(json.dumps(saved), public_key=WRONG_KEY).value is None
    for name in ("licenseKey", "signature"):
        assert software.load(json.dumps({**saved, name: other[name]})).value is None
    assert software.load("no license at all").value is None


@pytest.mark.usefixtures("python_sdk")
def test_each_sdk_reads_the_others_offline_copy(node: Node, vendor: Vendor) -> None:
    key = vendor.new_key(1)
    license, _ = PythonKey.activate(vendor.token, vendor.public_key, vendor.product, key, "m")
    again = Software(node, vendor, vendor.url).load(license.save_as_string()).value
    assert (again["Key"], machines(again)) == (key, ["m"])


# ---- trial keys and managing licenses


def test_a_trial_key_is_made_once_for_a_machine_and_activated_there(software: Software) -> None:
    machine = f"trial & error = {uuid4()}"
    key = software.create_trial_key(machine).value
    assert software.create_trial_key(machine).value == key
    license = software.activated(key, machine)
    assert (license["F1"], license["F2"], license["F3"]) == (True, True, False)
    assert (license["Period"], license["MaxNoOfMachines"], machines(license)) == (15, 1, [machine])


@pytest.mark.parametrize(
    ("machine", "token", "message"),
    [("", "", CODE_EMPTY), ("x" * 129, "", CODE_LONG), ("m", NO_TOKEN, AUTHENTICATE)],
    ids=["empty", "too long", "no such token"],
)
def test_create_trial_key_says_no_on_the_console_only(software: Software, machine: str, token: str, message: str) -> None:
    outcome = software.create_trial_key(machine, token)
    assert (outcome.value, outcome.error) == (None, None)
    assert outcome.said == [[{"result": 1, "message": message}], [message]]


def test_a_blocked_trial_is_not_made_anew(software: Software) -> None:
    machine = str(uuid4())
    key = software.create_trial_key(machine).value
    software.vendor.live.call("key/BlockKey", Key=key)
    outcome = software.create_trial_key(machine)
    assert (outcome.value, outcome.said[-1]) == (None, [TRIAL_USED])


def test_keys_are_created_one_or_several_at_a_time(software: Software) -> None:
    one = software.create_key(30)
    assert list(one.value) == ["key", "result", "message"]
    assert (one.value["result"], one.value["message"]) == (0, "")
    assert one.said == [[""]]
    three = software.create_key(7, no_of_keys=3, f5=True, allowed_machines="vip 1\nvip 2").value
    assert len(set(three["keys"])) == 3
    assert three["key"] == three["keys"][0]
    license = software.get_key(three["keys"][2]).value
    assert (license["Period"], license["F5"], license["AllowedMachines"]) == (7, True, "vip 1\nvip 2")
    assert software.get_key(one.value["key"]).value["AllowedMachines"] == ""  # it sends the text null


@pytest.mark.parametrize(
    ("period", "params", "message"),
    [
        (30, {"notes": "n" * 501}, NOTES_LONG),
        (30, {"customer_id": 987_654_321}, CUSTOMER),
        (-1, {}, INPUT),
        (30, {"no_of_keys": 1001}, INPUT),
    ],
    ids=["notes", "customer", "period", "number of keys"],
)
def test_create_key_says_no_on_the_console_only(
    software: Software, period: int, params: dict[str, object], message: str
) -> None:
    outcome = software.create_key(period, **params)
    assert (outcome.value, outcome.error, outcome.said) == (None, None, [[message]])


def test_a_license_is_extended_by_days(software: Software) -> None:
    vendor, key = software.vendor, software.vendor.new_key(1)
    before = software.get_key(key).value
    done = software.node.call("Key.ExtendLicense", vendor.admin, vendor.product, key, 10, software.url)
    assert done.value == {"result": 0, "message": ""}
    after = software.get_key(key).value
    assert after["Expires"] - before["Expires"] == 10 * DAY
    assert after["Period"] - before["Period"] == 10


@pytest.mark.parametrize(
    ("token", "product", "days", "message"),
    [
        (NO_TOKEN, 0, 1, AUTHENTICATE),
        ("client", 0, 1, DENIED),
        ("admin", NO_PRODUCT, 1, PRODUCT),
        ("admin", 0, 1, KEY),
        ("admin", 0, "soon", INPUT),
    ],
    ids=["no such token", "client's token", "no such product", "no such key", "no number"],
)
def test_a_refused_extension_is_rejected_word_for_word(
    software: Software, token: str, product: int, days: object, message: str
) -> None:
    vendor = software.vendor
    token = {"client": vendor.token, "admin": vendor.admin}.get(token, token)
    outcome = software.node.call("Key.ExtendLicense", token, product or vendor.product, NO_KEY, days, software.url)
    assert outcome.error == ("Error", message)


# ---- features, notes, data objects and customers


def edit(software: Software, method: str, key: str, value: object, **other: Any) -> Outcome:
    """Change a license as the vendor does."""
    values = {"token": software.vendor.admin, "product": software.vendor.product} | other
    return software.node.call(f"Key.{method}", values["token"], values["product"], key, value, software.url)


def add_object(software: Software, key: str, *values: object, unique: bool = False, **other: object) -> Outcome:
    """Add a data object (name, text, number; the SDK's defaults for what is not given)."""
    defaults = (None, None, 0)
    given = {"token": software.vendor.token, "product": software.vendor.product} | other
    scope = (given["token"], given["product"], key, unique)
    return software.node.call("Data.AddDataObjectToKey", *scope, *values, *defaults[len(values) :], software.url)


def test_features_are_added_and_removed(software: Software) -> None:
    key, done = software.vendor.new_key(1, F2=True), {"result": 0, "message": ""}
    for feature in (3, "8", 8):
        assert edit(software, "AddFeature", key, feature).value == done
    for feature in (2, 2):
        assert edit(software, "RemoveFeature", key, feature).value == done
    license = software.activated(key, "m")
    assert [license[f"F{number}"] for number in range(1, 9)] == [False, False, True, *[False] * 4, True]
    has = [software.node.call("Helpers.HasFeature", license, feature).value for feature in (2, 3, 8)]
    assert has == [False, True, True]


def test_notes_are_changed_and_cleared(software: Software) -> None:
    key = software.vendor.new_key(1, Notes="before")
    for notes, after in ((NOTES, NOTES), ("1+1 = 2 & 100%\n🖥", "1+1 = 2 & 100%\n🖥"), ("", ""), ("x" * 500, "x" * 500)):
        assert edit(software, "ChangeNotes", key, notes).value == {"result": 0, "message": ""}
        assert software.get_key(key).value["Notes"] == after
    assert edit(software, "ChangeNotes", key, "x" * 501).error == ("Error", NOTES_LONG)
    assert edit(software, "ChangeNotes", key, None).value == {"result": 0, "message": ""}  # it sends the text null
    assert software.get_key(key).value["Notes"] == ""


@pytest.mark.parametrize(("method", "value"), [("AddFeature", 1), ("RemoveFeature", 1), ("ChangeNotes", "notes")])
def test_a_refused_edit_is_rejected_word_for_word(software: Software, method: str, value: object) -> None:
    def said(key: str = NO_KEY, value: object = value, **other: Any) -> object:
        return edit(software, method, key, value, **other).error

    assert said(token=NO_TOKEN) == said(token=None) == ("Error", AUTHENTICATE)
    assert said(token=software.vendor.token) == ("Error", DENIED)
    assert said(product="x") == ("Error", INPUT)
    assert said(product=NO_PRODUCT) == ("Error", PRODUCT)
    assert said() == ("Error", KEY)
    if method != "ChangeNotes":
        assert [said(software.vendor.new_key(1), each) for each in (0, 9, "F1", None)] == [("Error", INPUT)] * 4


def test_a_data_object_is_added_and_shown_by_the_license(software: Software) -> None:
    key = software.vendor.new_key(1)
    number = add_object(software, key, "usage & Å", "1+1 = 2\n🖥", -3).value
    plain = add_object(software, key).value  # it sends the text null for name and text
    assert type(number) is type(plain) is int
    shown = sorted(
        [
            {"Id": number, "Name": "usage & Å", "StringValue": "1+1 = 2\n🖥", "IntValue": -3},
            {"Id": plain, "Name": "", "StringValue": "", "IntValue": 0},
        ],
        key=lambda each: each["Id"],
    )
    assert software.activated(key, "m")["DataObjects"] == software.get_key(key).value["DataObjects"] == shown


def test_a_data_object_that_is_there_already_is_rejected_if_that_is_looked_for(software: Software) -> None:
    key = software.vendor.new_key(1)
    assert add_object(software, key, "n", unique=True).error is None
    assert add_object(software, key, "n", unique=True).error == ("Error", OBJECT_EXISTS)
    assert add_object(software, key, "n").error is None


def test_a_refused_data_object_is_rejected_word_for_word(software: Software) -> None:
    key = software.vendor.new_key(1)
    assert add_object(software, key, token=NO_TOKEN).error == ("Error", AUTHENTICATE)
    assert add_object(software, key, product=NO_PRODUCT).error == ("Error", DENIED)
    assert add_object(software, key, product=NO_PRODUCT, token=software.vendor.admin).error == ("Error", PRODUCT)
    assert add_object(software, NO_KEY).error == ("Error", OBJECT)
    assert add_object(software, key, product="x").error == ("Error", INPUT)
    assert add_object(software, key, "n" * 101).error == ("Error", INPUT)
    assert add_object(software, key, "n", "", "many").error == ("Error", INPUT)
    assert software.get_key(key).value["DataObjects"] == []


def test_custom_features_are_read_from_the_object_that_names_them(software: Software) -> None:
    key = software.vendor.new_key(1)
    add_object(software, key, "cryptolens_features", '["ModuleA",["ModuleB",["Sub 1"]]]', unique=True)
    license = software.activated(key, "m")
    names = ("ModuleA", "ModuleB", "ModuleB.Sub 1", "ModuleB.Sub 2", "ModuleC")
    has = [software.node.call("Helpers.HasFeature", license, name).value for name in names]
    assert has == [True, True, True, False, False]


def test_a_license_is_created_for_a_customer(software: Software) -> None:
    customer = software.vendor.live.call("customer/AddCustomer", Name="Åsa & Co", Email="asa@example.test")["customerId"]
    answer = software.create_key(30, customer_id=customer).value
    assert list(answer.items()) == [("key", answer["key"]), ("customerId", customer), ("result", 0), ("message", "")]
    shown = software.activated(answer["key"], "m")["Customer"]
    assert list(shown.items())[:4] == [
        ("Id", customer), ("Name", "Åsa & Co"), ("Email", "asa@example.test"), ("CompanyName", ""),
    ]  # fmt: skip
    assert is_now(shown["Created"])


def test_a_license_is_created_with_a_new_customer_of_whom_nothing_is_told(software: Software) -> None:
    answers = [software.create_key(30, new_customer=True).value for _ in range(2)]  # the SDK has no names and emails
    assert [list(answer) for answer in answers] == [["key", "customerId", "result", "message"]] * 2
    shown = [software.get_key(answer["key"]).value["Customer"] for answer in answers]
    assert [each["Id"] for each in shown] == [answer["customerId"] for answer in answers]
    assert [(each["Name"], each["Email"], each["CompanyName"]) for each in shown] == [("", "", "")] * 2
    assert shown[0]["Id"] != shown[1]["Id"]
    nobody = software.create_key(30, use_customer=True).value  # without an email nobody is looked for
    assert list(nobody) == ["key", "result", "message"]
    assert software.get_key(nobody["key"]).value["Customer"] is None
