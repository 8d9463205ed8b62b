"""How much of a license an answer shows: model versions, masks, a token's feature lock; and metadata in both forms."""

from typing import Any

import pytest
from licensing.methods import Helpers, Key  # type: ignore[import-untyped]

from .given import FIELDS, PRODUCT, NewToken, Vendor, camel, fields_of, linq_document, metadata_document, string_document

PRIVATE = 16_384 + 4_194_304 + 262_144  # notes, data objects and machines: the mask that privacy asks for
MACHINES = 262_144
LINQ, STRING = 0, 1

NEUTRAL: dict[str, Any] = {
    **dict.fromkeys(("ProductId", "ID", "Created", "Expires", "Period", "GlobalId", "MaxNoOfMachines"), 0),
    **dict.fromkeys((*(f"F{number}" for number in range(1, 9)), "Block", "TrialActivation"), False),
    **dict.fromkeys(("Key", "Notes", "Customer", "AllowedMachines", "Reseller"), None),
    "DataObjects": [],
    "ActivatedMachines": [],
}
NO_TIME = "0001-01-01T00:00:00"


@pytest.fixture(scope="module")
def key(vendor: Vendor) -> str:
    """A license in which no field has its neutral value, but for those that this server cannot fill yet: the reseller."""
    customer = vendor.live.call("customer/AddCustomer", Name="Bob")["customerId"]
    features = {f"F{number}": True for number in range(1, 9)}
    key = vendor.new_key(
        3, **features, Notes="notes", AllowedMachines="vip", TrialActivation=True, CustomerId=customer
    )  # fmt: skip
    assert vendor.live.call("data/AddDataObjectToKey", Key=key, Name="n", StringValue="s", IntValue=5)["result"] == 0
    for machine in ("one", "two"):
        assert vendor.live.call("key/Activate", Key=key, MachineCode=machine, FriendlyName=machine)["result"] == 0
    return key


def ask(vendor: Vendor, method: str, key: str, **params: object) -> dict[str, Any]:
    """Ask for the license with a client's token unless another is given."""
    answer = vendor.live.call(method, **{"token": vendor.token, "Key": key, "Sign": True, **params})
    assert (answer["result"], answer["message"]) == (0, "")
    return answer


def shown(vendor: Vendor, method: str, key: str, sign_method: int, version: int = 1, **params: object) -> dict[str, Any]:
    """Return the license that an answer shows, verified."""
    answer = ask(vendor, method, key, SignMethod=sign_method, ModelVersion=version, **params)
    document = linq_document if sign_method == LINQ else string_document
    return document(answer, vendor.public_key, version)


# ---- model versions


@pytest.mark.parametrize("method", ["key/Activate", "key/GetKey"])
@pytest.mark.parametrize("sign_method", [LINQ, STRING], ids=["LinqSign", "StringSign"])
@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_model_version_says_which_fields_there_are(
    vendor: Vendor, key: str, method: str, sign_method: int, version: int
) -> None:
    license = shown(vendor, method, key, sign_method, version, MachineCode="one")
    machines = license["activatedMachines" if sign_method == LINQ else "ActivatedMachines"]
    expected = ["Mid", "IP", "Time", "FriendlyName", "FloatingExpires"][: version + 2]
    assert [list(machine) for machine in machines] == [list(map(camel, expected)) if sign_method == LINQ else expected] * 2
    assert ("reseller" in {name.lower() for name in license}) == (version == 3)


@pytest.mark.parametrize(("asked", "version"), [(0, 1), (-5, 1), (4, 3), (99, 3), ("", 1), ("None", 1)])
def test_a_model_version_that_is_none_becomes_the_nearest(vendor: Vendor, key: str, asked: object, version: int) -> None:
    answer = ask(vendor, "key/GetKey", key, SignMethod=STRING, ModelVersion=asked)
    string_document(answer, vendor.public_key, version)


def test_a_license_may_be_read_unsigned(vendor: Vendor, key: str) -> None:
    license = ask(vendor, "key/GetKey", key, Sign=False, SignMethod=LINQ)["licenseKey"]
    assert (license["signDate"], license["signature"]) == (NO_TIME, None)
    assert list(license) == [*map(camel, fields_of(1)), "signDate", "signature"]


def test_string_sign_has_no_unsigned_form(vendor: Vendor, key: str) -> None:
    string_document(ask(vendor, "key/GetKey", key, Sign=False, SignMethod=STRING), vendor.public_key, 1)


# ---- masks


@pytest.mark.parametrize("sign_method", [LINQ, STRING], ids=["LinqSign", "StringSign"])
def test_each_bit_of_a_mask_hides_its_field_and_no_other(vendor: Vendor, key: str, sign_method: int) -> None:
    spell = camel if sign_method == LINQ else str
    signing = {"signDate", "signature", "SignDate"}
    whole = shown(vendor, "key/GetKey", key, sign_method, 3)
    assert list(whole)[: len(FIELDS)] == list(map(spell, FIELDS))
    for bit, name in enumerate(FIELDS):
        masked = shown(vendor, "key/GetKey", key, sign_method, 3, FieldsToReturn=1 << bit)
        neutral = NO_TIME if sign_method == LINQ and name in ("Created", "Expires") else NEUTRAL[name]
        expected = {**whole, spell(name): neutral}
        assert {field: value for field, value in masked.items() if field not in signing} == {
            field: value for field, value in expected.items() if field not in signing
        }


def test_all_fields_can_be_hidden_but_the_sign_date(vendor: Vendor, key: str) -> None:
    license = shown(vendor, "key/GetKey", key, STRING, 3, FieldsToReturn=2**24 - 1)
    assert license.pop("SignDate") > 0
    assert license == NEUTRAL
    assert shown(vendor, "key/GetKey", key, STRING, 3, FieldsToReturn=2**31 - 1)["Key"] is None


@pytest.mark.parametrize("sign_method", [LINQ, STRING], ids=["LinqSign", "StringSign"])
def test_where_machines_are_hidden_a_call_still_sees_its_own(vendor: Vendor, key: str, sign_method: int) -> None:
    license = shown(vendor, "key/Activate", key, sign_method, 3, MachineCode="two", FieldsToReturn=MACHINES)
    machines = [list(machine.values()) for machine in license[list(license)[18]]]
    assert [(mid, name) for mid, _, _, name, _ in machines] == [("two", "two")]


@pytest.mark.usefixtures("python_sdk")
def test_the_python_sdk_reads_a_masked_license(vendor: Vendor, key: str) -> None:
    license, message = Key.activate(vendor.token, vendor.public_key, vendor.product, key, "one", fields_to_return=PRIVATE)
    assert message == ""
    assert (license.key, license.notes, license.data_objects) == (key, None, [])
    assert [machine.Mid for machine in license.activated_machines] == ["one"]
    assert Helpers.IsOnRightMachine(license, custom_machine_code="one")
    license, message = Key.get_key(vendor.token, vendor.public_key, vendor.product, key, fields_to_return=2**24 - 1)
    assert (message, license.key, license.customer, license.activated_machines) == ("", None, None, [])


# ---- the token's feature lock


async def test_a_tokens_mask_overrides_the_one_that_is_asked_for(vendor: Vendor, key: str, new_token: NewToken) -> None:
    token = await new_token(feature_lock=PRIVATE, permissions=("Activate", "GetKey"), product_lock=vendor.product)
    for asked in (0, 4, 2**24 - 1):
        license = shown(vendor, "key/GetKey", key, STRING, 3, token=token, FieldsToReturn=asked)
        assert (license["Key"], license["Notes"], license["AllowedMachines"]) == (key, None, "vip")
        assert (license["ActivatedMachines"], license["DataObjects"]) == ([], [])
        linq = shown(vendor, "key/Activate", key, LINQ, 3, token=token, FieldsToReturn=asked, MachineCode="two")
        assert (linq["key"], linq["notes"]) == (key, None)
        assert [machine["mid"] for machine in linq["activatedMachines"]] == ["two"]


async def test_no_lock_leaves_the_mask_to_the_caller(vendor: Vendor, key: str, new_token: NewToken) -> None:
    token = await new_token(feature_lock=0, permissions=("GetKey",))
    assert shown(vendor, "key/GetKey", key, STRING, 3, token=token, FieldsToReturn=16_384)["Notes"] is None
    assert shown(vendor, "key/GetKey", key, STRING, 3, token=token)["Notes"] == "notes"


@pytest.mark.usefixtures("python_sdk")
async def test_a_machine_that_is_hidden_from_others_is_on_the_right_machine(vendor: Vendor, new_token: NewToken) -> None:
    token = await new_token(feature_lock=PRIVATE, permissions=("Activate",), product_lock=vendor.product)
    key = vendor.new_key(2)
    for machine in ("one", "two"):
        license, message = Key.activate(token, vendor.public_key, vendor.product, key, machine)
        assert message == ""
        assert [each.Mid for each in license.activated_machines] == [machine]
        assert Helpers.IsOnRightMachine(license, custom_machine_code=machine)


async def test_a_token_without_locks_reaches_every_product_and_says_which_is_none(
    vendor: Vendor, key: str, new_token: NewToken
) -> None:
    token = await new_token(permissions=("GetKey",))
    assert shown(vendor, "key/GetKey", key, STRING, 3, token=token)["Key"] == key
    assert vendor.live.call("key/GetKey", token=token, ProductId=1, Key=key) == {"result": 1, "message": PRODUCT}


# ---- metadata


@pytest.mark.parametrize("method", ["key/Activate", "key/GetKey"])
@pytest.mark.parametrize("sign_method", [LINQ, STRING], ids=["LinqSign", "StringSign"])
@pytest.mark.parametrize("version", [1, 2, 3])
def test_metadata_come_with_either_form_and_are_signed(
    vendor: Vendor, key: str, method: str, sign_method: int, version: int
) -> None:
    answer = ask(
        vendor, method, key, SignMethod=sign_method, ModelVersion=version, Metadata=True, MachineCode="one",
    )  # fmt: skip
    signed = metadata_document(answer, vendor.public_key)
    document = linq_document if sign_method == LINQ else string_document
    document(answer, vendor.public_key, version)
    assert (signed["ActivatedMachines"], signed["UsedFloatingMachines"]) == (2, 0)
    assert signed["LicenseStatus"] == {
        "IsValid": True, "ReasonForInvalidity": 0, "Trial": True, "TimeLimited": True,
        "TimeLeft": signed["LicenseStatus"]["TimeLeft"],
    }  # fmt: skip
    assert signed["LicenseStatus"]["TimeLeft"] in (29, 30)


def test_metadata_are_there_whatever_is_hidden(vendor: Vendor, key: str) -> None:
    answer = ask(vendor, "key/GetKey", key, SignMethod=STRING, Metadata=True, FieldsToReturn=2**24 - 1)
    assert metadata_document(answer, vendor.public_key)["ActivatedMachines"] == 2


@pytest.mark.parametrize(
    ("params", "days", "block", "status"),
    [
        ({}, 0, False, (True, 0, False, False)),
        ({}, -31, False, (True, 0, False, False)),
        ({"F1": True}, 0, False, (True, 0, False, True)),
        ({"F1": True}, -31, False, (False, 1, False, True)),
        ({"F2": True}, 0, False, (True, 0, True, False)),
        ({}, 0, True, (False, 2, False, False)),
    ],
    ids=["plain", "past its end", "time-limited", "expired", "trial", "blocked"],
)
def test_metadata_say_what_a_license_is_worth(
    vendor: Vendor, params: dict[str, bool], days: int, status: tuple[object, ...], *, block: bool
) -> None:
    key = vendor.new_key(1, **params)
    if days:
        assert vendor.live.call("key/ExtendLicense", Key=key, NoOfDays=days)["result"] == 0
    if block:
        assert vendor.live.call("key/BlockKey", Key=key)["result"] == 0
    answer = ask(vendor, "key/GetKey", key, SignMethod=STRING, Metadata=True)
    *worth, left = metadata_document(answer, vendor.public_key)["LicenseStatus"].values()
    assert tuple(worth) == status
    assert left in ((29, 30) if not days else (-1, -2))
