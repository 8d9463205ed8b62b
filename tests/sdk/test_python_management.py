"""The Python SDK on what a vendor manages beside limits and times: features, notes, customers, messages and events."""

import datetime
import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from licensing.methods import AI, Customer, Key, Message  # type: ignore[import-untyped]
from licensing.models import LicenseKey  # type: ignore[import-untyped]

from .given import (
    AUTHENTICATE,
    COMPANY_LONG,
    CUSTOMER,
    CUSTOMER_NOT_ASSIGNED,
    DAY,
    DENIED,
    EMAIL_LONG,
    INPUT,
    NAME_LONG,
    NO_CUSTOMER,
    NO_ID,
    NO_KEY,
    NO_TOKEN,
    NOTES,
    NOTES_LONG,
    TIMESTAMP,
    NewToken,
    Vendor,
    camel,
    fields_of,
    is_now,
    iso,
)

pytestmark = pytest.mark.usefixtures("python_sdk")

DONE = (True, "")
GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
FEATURES = tuple(f"f{number}" for number in range(1, 9))


def seen(vendor: Vendor, key: str) -> LicenseKey:
    """Return the license as GetKey shows it, verified."""
    license, message = Key.get_key(vendor.token, vendor.public_key, vendor.product, key)
    assert message == ""
    return license


def states(vendor: Vendor, key: str) -> list[int]:
    """Return what the Web API log has on the key."""
    rows, message = AI.get_web_api_log(vendor.admin, vendor.product, key, limit=100)
    assert message == ""
    return [row["state"] for row in rows]


def unique(text: str) -> str:
    return f"{text} {uuid4()}"


# ---- features and notes


def test_features_are_added_and_removed_and_the_term_stays(vendor: Vendor) -> None:
    key = vendor.new_key(1, F2=True)
    before = seen(vendor, key)
    for feature in (1, 8, 8):
        assert Key.add_feature(vendor.admin, vendor.product, key, feature) == DONE
    for feature in (2, 2, 3):
        assert Key.remove_feature(vendor.admin, vendor.product, key, feature) == DONE
    after = seen(vendor, key)
    assert [getattr(after, name) for name in FEATURES] == [True, *[False] * 6, True]
    assert (after.expires, after.period) == (before.expires, before.period)
    assert states(vendor, key) == [3010, *[7010] * 6]


@pytest.mark.parametrize("feature", [0, 9, -1, "", "F1", None])
def test_there_are_eight_features(vendor: Vendor, feature: object) -> None:
    key = vendor.new_key(1)
    assert Key.add_feature(vendor.admin, vendor.product, key, feature) == (False, INPUT)
    assert Key.remove_feature(vendor.admin, vendor.product, key, feature) == (False, INPUT)
    assert not any(getattr(seen(vendor, key), name) for name in FEATURES)


def test_notes_are_changed_and_cleared(vendor: Vendor) -> None:
    key = vendor.new_key(1, Notes="before")
    for notes in (NOTES, "x" * 500, "🖥" * 500, "1+1 = 2 & 100%\nnext line"):
        assert Key.change_notes(vendor.admin, vendor.product, key, notes) == DONE
        assert seen(vendor, key).notes == notes
    assert Key.change_notes(vendor.admin, vendor.product, key, "x" * 501) == (False, NOTES_LONG)
    assert seen(vendor, key).notes.endswith("next line")
    for nothing in ("", None):
        Key.change_notes(vendor.admin, vendor.product, key, "something")
        assert Key.change_notes(vendor.admin, vendor.product, key, nothing) == DONE
        assert seen(vendor, key).notes == ""


def test_a_blocked_license_is_edited_like_any_other(vendor: Vendor) -> None:
    key = vendor.new_key(1, Block=True)
    assert Key.add_feature(vendor.admin, vendor.product, key, 4) == DONE
    assert Key.change_notes(vendor.admin, vendor.product, key, "blocked") == DONE
    assert Key.machine_lock_limit(vendor.admin, vendor.product, key, 7) == DONE
    license = seen(vendor, key)
    assert (license.block, license.f4, license.notes, license.max_no_of_machines) == (True, True, "blocked", 7)


# ---- customers


def added(vendor: Vendor, *values: str, **params: object) -> tuple[int, str]:
    """Add a customer (name, email, company); return its id and its secret, from an answer that has nothing else."""
    answer, message = Customer.add_customer(vendor.admin, *values, **params)
    assert message == ""
    assert list(answer) == ["customerId", "secret", "result", "message"]  # a portal link needs a portal
    assert (answer["result"], answer["message"]) == (0, "")
    assert type(answer["customerId"]) is int
    assert GUID.fullmatch(answer["secret"])
    return answer["customerId"], answer["secret"]


def licenses(vendor: Vendor, customer: int, **params: object) -> dict[str, Any]:
    answer, message = Customer.get_customer_licenses(vendor.admin, customer, **params)
    assert message == ""
    assert list(answer) == [*["metadata"] * ("metadata" in params), "licenseKeys", "result", "message"]
    assert (answer["result"], answer["message"]) == (0, "")
    found: dict[str, Any] = answer
    return found


def keys_of(answer: dict[str, Any]) -> list[str]:
    return [license["key"] for license in answer["licenseKeys"]]


def test_a_customer_is_shown_by_the_license_that_is_assigned_to_it(vendor: Vendor) -> None:
    customer, _ = added(vendor, "Åsa & Co", "asa@example.test", "Åsa AB")
    key = vendor.new_key(1)
    assert seen(vendor, key).customer is None
    assert Key.change_customer(vendor.admin, vendor.product, key, customer) == DONE
    license, message = Key.activate(vendor.token, vendor.public_key, vendor.product, key, "m")
    assert message == ""
    assert list(license.customer) == ["Id", "Name", "Email", "CompanyName", "Created"]
    *told, created = license.customer.values()
    assert told == [customer, "Åsa & Co", "asa@example.test", "Åsa AB"]
    assert is_now(created)


def test_a_customer_of_whom_nothing_is_told_has_empty_texts(vendor: Vendor) -> None:
    customer, _ = added(vendor)
    key = vendor.new_key(1, CustomerId=customer)
    assert list(seen(vendor, key).customer.values())[:4] == [customer, "", "", ""]  # Rust cannot read null


def test_a_license_changes_its_customer_and_loses_it(vendor: Vendor) -> None:
    (first, _), (second, _) = added(vendor, "first"), added(vendor, "second")
    key = vendor.new_key(1, CustomerId=first)

    def change(customer: object) -> tuple[bool, str]:
        outcome: tuple[bool, str] = Key.change_customer(vendor.admin, vendor.product, key, customer)
        return outcome

    assert change(second) == change(second) == DONE
    assert seen(vendor, key).customer["Name"] == "second"
    assert (keys_of(licenses(vendor, first)), keys_of(licenses(vendor, second))) == ([], [key])
    for nobody, outcome in ((0, DONE), ("", DONE), (None, DONE), (NO_CUSTOMER, (False, CUSTOMER_NOT_ASSIGNED))):
        assert change(first) == DONE
        assert change(nobody) == outcome
        assert seen(vendor, key).customer is None
    assert change(first) == DONE
    assert change("Bob") == change(-1) == (False, INPUT)
    assert seen(vendor, key).customer["Id"] == first


@pytest.mark.parametrize(
    ("values", "message"),
    [(("n" * 101,), NAME_LONG), (("", "e" * 101), EMAIL_LONG), (("", "", "c" * 101), COMPANY_LONG)],
    ids=["name", "email", "company"],
)
def test_a_customer_has_a_hundred_letters_for_each(vendor: Vendor, values: tuple[str, ...], message: str) -> None:
    assert Customer.add_customer(vendor.admin, *values) == (None, message)
    added(vendor, *(text[:100] for text in values))


@pytest.mark.parametrize("flag", ["enable_customer_association", "allow_activation_management"])
def test_a_flag_of_a_customer_is_yes_or_no(vendor: Vendor, flag: str) -> None:
    added(vendor, **{flag: True})
    added(vendor, **{flag: "false"})
    assert Customer.add_customer(vendor.admin, **{flag: "perhaps"}) == (None, INPUT)


def test_the_licenses_of_a_customer_are_listed_by_its_id_and_by_its_secret(vendor: Vendor) -> None:
    customer, secret = added(vendor, "Bob")
    assert licenses(vendor, customer)["licenseKeys"] == []
    plain, blocked = vendor.new_key(1, CustomerId=customer, F1=True, Notes=NOTES), vendor.new_key(1, CustomerId=customer)
    Key.block_key(vendor.admin, vendor.product, blocked)
    answer = licenses(vendor, customer)
    assert keys_of(answer) == [plain, blocked]
    license = seen(vendor, plain)
    assert list(answer["licenseKeys"][0].items()) == [
        ("productId", vendor.product), ("id", license.id), ("key", plain), ("created", utc(license.created)),
        ("expires", utc(license.expires)), ("period", 30), ("f1", True), *((name, False) for name in FEATURES[1:]),
        ("notes", NOTES), ("block", False), ("globalId", license.global_id),
    ]  # fmt: skip
    assert answer["licenseKeys"][1]["block"] is True
    assert Customer.get_customer_licenses_by_secret(vendor.admin, secret) == (answer, "")


def utc(time: datetime.datetime) -> str:
    """Return a time of the SDK as plain objects spell it. In UTC, which these tests are run in, its times are right."""
    return iso(int(time.timestamp()))


def test_detailed_licenses_have_all_fields_and_no_signature(vendor: Vendor) -> None:
    customer, secret = added(vendor, "Bob", "bob@example.test")
    key = vendor.new_key(2, CustomerId=customer, AllowedMachines="vip")
    Key.activate(vendor.token, vendor.public_key, vendor.product, key, "m-alpha", friendly_name="LAB")
    number = vendor.live.call("data/AddDataObjectToKey", Key=key, Name="n", StringValue="s", IntValue=5)["id"]
    answer = licenses(vendor, customer, detailed=True, metadata=True)
    (license,) = answer["licenseKeys"]
    assert list(license) == [*map(camel, fields_of(1)), "signDate", "signature"]
    assert license["signature"] is None
    assert license["key"] == key
    assert list(license["customer"].items())[:4] == [
        ("id", customer), ("name", "Bob"), ("email", "bob@example.test"), ("companyName", ""),
    ]  # fmt: skip
    assert license["dataObjects"] == [{"id": number, "name": "n", "stringValue": "s", "intValue": 5}]
    (machine,) = license["activatedMachines"]
    assert (list(machine), machine["mid"]) == (["mid", "ip", "time"], "m-alpha")
    times = (license["created"], license["expires"], license["customer"]["created"], machine["time"])
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", time) for time in times)
    (block,) = answer["metadata"]
    assert (block["activatedMachines"], block["usedFloatingMachines"]) == (1, 0)
    assert block["licenseStatus"]["isValid"] is True
    by_secret, _ = Customer.get_customer_licenses_by_secret(vendor.admin, secret, detailed=True, metadata=True)
    assert by_secret["licenseKeys"] == answer["licenseKeys"]


@pytest.mark.parametrize("customer", [NO_CUSTOMER, 0])
def test_a_customer_who_is_not_there_has_no_licenses(vendor: Vendor, customer: int) -> None:
    assert Customer.get_customer_licenses(vendor.admin, customer) == (None, CUSTOMER)
    assert Customer.get_customer_licenses_by_secret(vendor.admin, str(uuid4())) == (None, CUSTOMER)


@pytest.mark.parametrize("nothing", ["", "Bob", -1, 2**70])
def test_a_customer_is_named_by_a_number(vendor: Vendor, nothing: object) -> None:
    assert Customer.get_customer_licenses(vendor.admin, nothing) == (None, INPUT)
    assert Customer.get_customer_licenses_by_secret(vendor.admin, "") == (None, INPUT)


def test_a_customer_who_is_removed_leaves_its_licenses_behind(vendor: Vendor) -> None:
    customer, secret = added(vendor, "Bob")
    key = vendor.new_key(1, CustomerId=customer)
    assert vendor.live.call("customer/RemoveCustomer", CustomerId=customer)["result"] == 0  # the SDK cannot
    assert seen(vendor, key).customer is None
    assert Customer.get_customer_licenses_by_secret(vendor.admin, secret) == (None, CUSTOMER)
    assert Key.change_customer(vendor.admin, vendor.product, key, customer) == (False, CUSTOMER_NOT_ASSIGNED)


# ---- new licenses with their customers


def created(vendor: Vendor, token: str = "", **params: object) -> dict[str, Any]:
    answer, message = Key.create_key(token or vendor.admin, vendor.product, **params)
    assert message == ""
    found: dict[str, Any] = answer
    return found


def test_a_license_is_created_with_a_new_customer(vendor: Vendor) -> None:
    told = {"name": "Åsa", "email": f"{uuid4()}@example.test", "company_name": "Åsa AB"}
    answers = [created(vendor, new_customer=True, notes="of the key", **told) for _ in range(2)]
    for answer in answers:
        assert list(answer) == ["key", "customerId", "result", "message"]
        license = seen(vendor, answer["key"])
        assert list(license.customer.values())[:4] == [answer["customerId"], *told.values()]
        assert license.notes == "of the key"
    assert answers[0]["customerId"] != answers[1]["customerId"]


def test_a_customer_is_used_again_for_the_same_email(vendor: Vendor) -> None:
    email = f"Asa-{uuid4()}@example.test"
    first = created(vendor, add_or_use_existing_customer=True, name="first", email=email, no_of_keys=2)
    assert list(first) == ["key", "keys", "customerId", "result", "message"]
    second = created(vendor, add_or_use_existing_customer=True, name="second", email=email.upper())
    assert second["customerId"] == first["customerId"]
    assert seen(vendor, second["key"]).customer["Name"] == "first"
    assert keys_of(licenses(vendor, first["customerId"])) == [*first["keys"], second["key"]]
    assert created(vendor, new_customer=True, email=email)["customerId"] != first["customerId"]


def test_without_an_email_no_customer_is_looked_for(vendor: Vendor) -> None:
    for email in (None, ""):
        answer = created(vendor, add_or_use_existing_customer=True, name="nobody", email=email)
        assert list(answer) == ["key", "result", "message"]
        assert seen(vendor, answer["key"]).customer is None


def test_a_license_is_created_for_a_customer_that_there_is(vendor: Vendor) -> None:
    customer, _ = added(vendor, "Bob")
    answer = created(vendor, customer_id=customer)
    assert (list(answer), answer["customerId"]) == (["key", "customerId", "result", "message"], customer)
    for nobody in (0, "", None):
        assert list(created(vendor, customer_id=nobody)) == ["key", "result", "message"]


async def test_who_may_not_add_customers_creates_licenses_without(vendor: Vendor, new_token: NewToken) -> None:
    token = await new_token(permissions=("CreateKey",))
    for flag in ("new_customer", "add_or_use_existing_customer"):
        told = {"name": "Bob", "email": "bob@example.test", flag: True}
        assert Key.create_key(token, vendor.product, **told) == (None, DENIED)
    assert seen(vendor, created(vendor, token)["key"]).customer is None


# ---- messages


def messages(vendor: Vendor, channel: str, *time: object) -> list[tuple[int, str, int]]:
    """Return the messages that shipped software is shown of a channel, in their order."""
    found, message = Message.get_messages(vendor.token, channel, *time)
    assert message == ""
    assert all(list(each) == ["id", "content", "created", "channel"] for each in found)
    assert {each["channel"] for each in found} <= {channel}
    return [(each["id"], each["content"], each["created"]) for each in found]


def create_message(vendor: Vendor, *values: object) -> int:
    number, message = Message.create_message(vendor.admin, *values)
    assert message == ""
    assert type(number) is int
    return number


def test_a_message_is_read_by_shipped_software_until_it_is_taken_back(vendor: Vendor) -> None:
    channel = unique("stable & Å")
    assert messages(vendor, channel) == []
    number = create_message(vendor, "v401 is now available\n🖥", channel)
    ((found, content, made),) = messages(vendor, channel)
    assert (found, content) == (number, "v401 is now available\n🖥")
    assert is_now(made)
    everything, _ = Message.get_messages(vendor.token)
    assert number in [each["id"] for each in everything]
    assert Message.remove_message(vendor.admin, number) == DONE
    assert messages(vendor, channel) == []
    assert Message.remove_message(vendor.admin, number) == (None, INPUT)


def test_messages_are_newer_than_a_time_and_the_newest_comes_first(vendor: Vendor) -> None:
    channel = unique("stable")
    old, new = (create_message(vendor, f"at {time}", channel, time) for time in (1_537_815_311, 1_537_815_312))
    last = create_message(vendor, "at the same time", channel, 1_537_815_312)
    create_message(vendor, "elsewhere", channel.upper(), 1_537_815_400)
    assert [each[0] for each in messages(vendor, channel)] == [last, new, old]
    assert [each[0] for each in messages(vendor, channel, 1_537_815_310)] == [last, new, old]
    assert [each[0] for each in messages(vendor, channel, 1_537_815_311)] == [last, new]
    assert messages(vendor, channel, 1_537_815_312) == []
    assert messages(vendor, channel, "") == messages(vendor, channel, None) == messages(vendor, channel)


@pytest.mark.parametrize("time", ["yesterday", "1.5", "2026-01-01"])
def test_a_time_that_is_no_number_is_said_to_be_one(vendor: Vendor, time: str) -> None:
    assert Message.get_messages(vendor.token, "", time) == (None, TIMESTAMP)
    assert Message.create_message(vendor.admin, "c", "", time) == (None, TIMESTAMP)


def test_a_message_has_ten_thousand_letters(vendor: Vendor) -> None:
    channel = unique("long")
    create_message(vendor, "🖥" * 10_000, channel)
    assert Message.create_message(vendor.admin, "x" * 10_001, channel) == (None, INPUT)
    assert [content for _, content, _ in messages(vendor, channel)] == ["🖥" * 10_000]


@pytest.mark.parametrize("number", [NO_ID, "", "x", -1])
def test_a_message_that_is_not_there_is_bad_input(vendor: Vendor, number: object) -> None:
    assert Message.remove_message(vendor.admin, number) == (None, INPUT)


# ---- events


def events(vendor: Vendor, **params: object) -> list[dict[str, Any]]:
    found, message = AI.get_events(vendor.admin, **params)
    assert message == ""
    rows: list[dict[str, Any]] = found
    return rows


def test_an_event_is_read_as_it_was_registered(vendor: Vendor) -> None:
    key = vendor.new_key(1)
    assert events(vendor, product_id=vendor.product, key=key) == []
    metadata = '{"colour": "Åsa & 1+1"}'
    told = ("m = 1 & 2", "Export", "click", 2530, "USD", metadata)
    assert AI.register_event(vendor.token, vendor.product, key, *told) == DONE
    assert AI.register_event(vendor.token, vendor.product, key) == DONE
    full, plain = events(vendor, product_id=vendor.product, key=key)
    assert list(full.items()) == [
        ("id", full["id"]), ("productId", vendor.product), ("key", key), ("machineCode", told[0]),
        ("featureName", "Export"), ("eventName", "click"), ("value", 2530), ("currency", "USD"), ("time", full["time"]),
        ("metadata", metadata),
    ]  # fmt: skip
    assert list(plain.items()) == [
        ("id", plain["id"]), ("productId", vendor.product), ("key", key), ("machineCode", ""), ("featureName", ""),
        ("eventName", ""), ("value", 0), ("currency", ""), ("time", plain["time"]), ("metadata", None),
    ]  # fmt: skip
    assert full["id"] < plain["id"]
    assert is_now(full["time"])
    assert states(vendor, key) == [3010]  # an event is no change


def test_an_event_needs_no_license(vendor: Vendor) -> None:
    name = unique("start")
    last = vendor.live.call("ai/GetEvents", ProductId=0, EndingBefore=2**62, Limit=1)["events"]
    newest = max((row["id"] for row in last), default=0)
    assert AI.register_event(vendor.token, machine_code="m", event_name=name, value=-3) == DONE
    assert AI.register_event(vendor.token, vendor.product, event_name=name) == DONE
    mine = [row for row in events(vendor, limit=100, starting_after=newest) if row["eventName"] == name]
    assert [(row["productId"], row["key"], row["machineCode"], row["value"]) for row in mine] == [
        (0, "", "m", -3), (vendor.product, "", "", 0),
    ]  # fmt: skip


def test_events_are_read_page_by_page(vendor: Vendor) -> None:
    key = vendor.new_key(1)
    for number in range(12):
        AI.register_event(vendor.token, vendor.product, key, value=number)

    def page(**params: object) -> list[int]:
        return [row["value"] for row in events(vendor, product_id=vendor.product, key=key, **params)]

    ids = [row["id"] for row in events(vendor, product_id=vendor.product, key=key, limit=100)]
    assert page(limit=0) == page() == list(range(10))
    assert page(starting_after=ids[9]) == [10, 11]
    assert page(starting_after=ids[-1]) == []
    assert page(limit=2, starting_after=ids[3]) == [4, 5]


@pytest.mark.parametrize("other", [{"value": "much"}, {"metadata": "x" * 10_001}, {"machine_code": "x" * 513}], ids=str)
def test_what_an_event_cannot_be_is_refused(vendor: Vendor, other: dict[str, object]) -> None:
    assert AI.register_event(vendor.token, vendor.product, vendor.new_key(1), **other) == (False, INPUT)


def test_a_key_needs_its_product(vendor: Vendor) -> None:
    assert AI.register_event(vendor.token, key=NO_KEY) == (False, INPUT)
    assert AI.get_events(vendor.admin, key=NO_KEY) == (None, INPUT)


def test_names_of_events_are_cut_at_a_hundred_letters(vendor: Vendor) -> None:
    key = vendor.new_key(1)
    assert AI.register_event(vendor.token, vendor.product, key, "m", "f" * 101, "é" * 150) == DONE
    (row,) = events(vendor, product_id=vendor.product, key=key)
    assert (row["featureName"], row["eventName"]) == ("f" * 100, "é" * 100)


# ---- refusals, word for word

ACCOUNT_CALLS: dict[str, Callable[[str], tuple[Any, ...]]] = {
    "add_customer": lambda token: Customer.add_customer(token, "Bob"),
    "get_customer_licenses": lambda token: Customer.get_customer_licenses(token, NO_CUSTOMER),
    "get_customer_licenses_by_secret": lambda token: Customer.get_customer_licenses_by_secret(token, str(uuid4())),
    "create_message": lambda token: Message.create_message(token, "content"),
    "remove_message": lambda token: Message.remove_message(token, NO_ID),
    "get_messages": Message.get_messages,
    "get_events": AI.get_events,
    "register_event": AI.register_event,
}
BY_ANYONE = ("get_messages", "register_event")  # what shipped software may do


@pytest.mark.parametrize("call", ACCOUNT_CALLS.values(), ids=ACCOUNT_CALLS)
@pytest.mark.parametrize("token", [NO_TOKEN, "", "not a token", "None"])
def test_without_a_valid_token_nothing_is_done(call: Callable[..., tuple[Any, ...]], token: str) -> None:
    refused, message = call(token)
    assert not refused
    assert message == AUTHENTICATE


@pytest.mark.parametrize("name", [name for name in ACCOUNT_CALLS if name not in BY_ANYONE])
def test_shipped_software_manages_nothing(vendor: Vendor, name: str) -> None:
    assert ACCOUNT_CALLS[name](vendor.token) == (None, DENIED)


@pytest.mark.parametrize("name", BY_ANYONE)
async def test_a_token_without_the_permission_is_denied(new_token: NewToken, name: str) -> None:
    refused, message = ACCOUNT_CALLS[name](await new_token(permissions=("Activate",)))
    assert not refused
    assert message == DENIED


async def test_a_token_for_one_product_lists_a_customers_licenses_of_that_product(
    vendor: Vendor, other_product: int, new_token: NewToken
) -> None:
    customer, _ = added(vendor, "Bob")
    key = vendor.new_key(1, CustomerId=customer)
    theirs = vendor.new_key(1, CustomerId=customer, ProductId=other_product)
    for product, keys in ((vendor.product, [key]), (other_product, [theirs]), (0, [key, theirs])):
        answer, message = Customer.get_customer_licenses(await new_token(product_lock=product), customer)
        assert (keys_of(answer), message) == (keys, "")


def test_an_extended_license_is_what_its_customers_list_shows(vendor: Vendor) -> None:
    customer, _ = added(vendor, "Bob")
    key = vendor.new_key(1, CustomerId=customer)
    before = seen(vendor, key)
    assert Key.extend_license(vendor.admin, vendor.product, key, 10) == DONE
    (license,) = licenses(vendor, customer)["licenseKeys"]
    assert license["expires"] == iso(int(before.expires.timestamp()) + 10 * DAY)
    assert license["period"] == 40
