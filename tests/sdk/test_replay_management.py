"""Recorded requests for customers, messages, events, derived tokens and usage, and the answers as the SDKs read them."""

import json
import re
from base64 import b64decode
from typing import Any
from uuid import uuid4

import pytest

from .given import (
    AUTHENTICATE,
    COMPANY_LONG,
    CUSTOMER,
    CUSTOMER_GONE,
    CUSTOMER_UNKNOWN,
    DENIED,
    EMAIL_LONG,
    INPUT,
    KEY,
    NAME_LONG,
    NO_CUSTOMER,
    NO_ID,
    NO_KEY,
    NO_PRODUCT,
    NO_TOKEN,
    OBJECT,
    PRODUCT,
    SHOWN_OF_A_MACHINE,
    SUBSCRIPTION_ITEM,
    TIMESTAMP,
    NewToken,
    Vendor,
    camel,
    fields_of,
    is_now,
    iso,
)
from .recorded import Answer, Recorded
from .recorded_management import (
    CUSTOMER_ADDITIONS,
    CUSTOMER_EDITS,
    CUSTOMER_LISTS,
    CUSTOMER_REMOVALS,
    EVENT_READS,
    KEY_LOCKS,
    LICENSE_LISTS,
    MESSAGE_ADDITIONS,
    MESSAGE_READS,
    MESSAGE_REMOVALS,
    READS_OF_ALL_CHANNELS,
    REGISTRATIONS,
    USAGES,
    CustomerEdit,
    EventRead,
    LicenseList,
    MessageRead,
    Registration,
)
from .replaying import done, each, is_json, manage, read, refused, send

BASIC = (
    "productId", "id", "key", "created", "expires", "period", "f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "notes",
    "block", "globalId",
)  # fmt: skip
OF_A_CUSTOMER = ["id", "name", "email", "companyName", "created"]
EXTENDED = [
    "notes", "enableCustomerAssociation", "allowActivationManagement", "allowMultipleUserAssociation", "maxNoOfDevices",
    "isPublic", "resellerId", "portalLink",
]  # fmt: skip
SECRET = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def new_customer(vendor: Vendor, **values: object) -> dict[str, Any]:
    """Add a customer by another way; return its id and its secret."""
    return vendor.live.call("customer/AddCustomer", **values)


def shown(vendor: Vendor, customer: int) -> dict[str, Any]:
    """Return the customer as a list shows it."""
    (found,) = vendor.live.call("customer/GetCustomers", CustomerId=customer)["customers"]
    assert list(found) == OF_A_CUSTOMER
    told: dict[str, Any] = found
    return told


# ---- customers


def add_customer(request: Recorded, vendor: Vendor, **other: object) -> Answer:
    return manage(request, vendor, **{"name": f"Åsa {uuid4()}", "email": "a@example.test", **other})


@each(CUSTOMER_ADDITIONS)
def test_a_recorded_customer_is_added_and_has_a_secret(request_: Recorded, vendor: Vendor) -> None:
    name, email = f"Åsa & Co {uuid4()}", f"asa+{uuid4()}@example.test"
    answer = add_customer(request_, vendor, name=name, email=email)
    assert answer.status == 200
    assert is_json(answer)
    assert list(answer.json) == ["customerId", "secret", "result", "message"]
    assert answer.body.endswith(b',"result":0,"message":""}')
    assert SECRET.fullmatch(answer.json["secret"])
    found = shown(vendor, answer.json["customerId"])
    assert (found["id"], found["name"], found["email"]) == (answer.json["customerId"], name, email)
    assert found["companyName"] == "Acme"


@each(CUSTOMER_ADDITIONS)
def test_a_recorded_customer_is_refused_word_for_word(request_: Recorded, vendor: Vendor) -> None:
    assert refused(add_customer(request_, vendor, token=NO_TOKEN), AUTHENTICATE)
    assert refused(add_customer(request_, vendor, token=vendor.token), DENIED)
    assert refused(add_customer(request_, vendor, name="n" * 101), NAME_LONG)
    assert refused(add_customer(request_, vendor, email="e" * 101), EMAIL_LONG)


@each(CUSTOMER_EDITS)
def test_a_recorded_edit_of_a_customer_changes_what_it_gives_and_nothing_else(
    request_: CustomerEdit, vendor: Vendor
) -> None:
    made = new_customer(vendor, Name="Bob", Email="before@example.test", CompanyName="Acme")
    key = vendor.new_key(1, CustomerId=made["customerId"])
    before = shown(vendor, made["customerId"])
    answer = manage(request_, vendor, customer=made["customerId"])
    assert answer.status == 200
    assert is_json(answer)
    assert list(answer.json) == ["customerId", *["secret"] * request_.secret, "result", "message"]
    assert (answer.json["customerId"], answer.json["result"], answer.json["message"]) == (made["customerId"], 0, "")
    assert shown(vendor, made["customerId"]) == {**before, **request_.after}
    license = read(vendor, key)["Customer"]
    assert {camel(name): license[name] for name in ("Name", "Email", "CompanyName")}.items() <= {
        **before, **request_.after,
    }.items()  # fmt: skip
    by_secret = vendor.live.call("customer/GetCustomerLicensesBySecret", Secret=made["secret"])
    assert by_secret["message"] == (CUSTOMER if request_.secret else "")
    if request_.secret:
        assert SECRET.fullmatch(answer.json["secret"])
        found = vendor.live.call("customer/GetCustomerLicensesBySecret", Secret=answer.json["secret"])
        assert [each["key"] for each in found["licenseKeys"]] == [key]


@each(CUSTOMER_EDITS)
def test_a_recorded_edit_of_a_customer_is_refused_word_for_word(request_: CustomerEdit, vendor: Vendor) -> None:
    customer = new_customer(vendor, Name="Bob")["customerId"]
    assert refused(manage(request_, vendor, customer=NO_CUSTOMER), CUSTOMER_UNKNOWN)
    assert refused(manage(request_, vendor, customer="Bob"), INPUT)
    assert refused(manage(request_, vendor, customer=""), INPUT)
    assert refused(manage(request_, vendor, customer=customer, token=vendor.token), DENIED)
    assert refused(manage(request_, vendor, customer=customer, token=NO_TOKEN), AUTHENTICATE)


@pytest.mark.parametrize(
    ("name", "message"), [("Name", NAME_LONG), ("Email", EMAIL_LONG), ("CompanyName", COMPANY_LONG)], ids=str
)
def test_an_edit_that_is_too_long_says_what_is(vendor: Vendor, name: str, message: str) -> None:
    customer = new_customer(vendor, Name="Bob")["customerId"]
    answer = vendor.live.call("customer/EditCustomer", CustomerId=customer, **{name: "x" * 101})
    assert answer == {"result": 1, "message": message}


@each(CUSTOMER_REMOVALS)
def test_a_recorded_removal_leaves_the_licenses_of_the_customer(request_: Recorded, vendor: Vendor) -> None:
    customer = new_customer(vendor, Name="Bob")["customerId"]
    key = vendor.new_key(1, CustomerId=customer)
    assert refused(manage(request_, vendor, customer=customer, token=vendor.token), DENIED)
    assert refused(manage(request_, vendor, customer="Bob"), INPUT)
    assert done(manage(request_, vendor, customer=customer))
    assert read(vendor, key)["Customer"] is None
    assert refused(manage(request_, vendor, customer=customer), CUSTOMER_GONE)


@each(CUSTOMER_LISTS)
def test_a_recorded_list_of_customers_has_the_newest_first(request_: Recorded, vendor: Vendor) -> None:
    name = f"Åsa & Co {uuid4()}"
    empty = manage(request_, vendor, name=name)
    assert empty.body == b'{"customers":[],"resellerCustomers":[],"visibleCustomers":[],"result":0,"message":""}'
    first, second = (new_customer(vendor, **values)["customerId"] for values in ({"Name": name}, {"Email": name.upper()}))
    answer = manage(request_, vendor, name=name)
    assert list(answer.json) == ["customers", "resellerCustomers", "visibleCustomers", "result", "message"]
    found = answer.json["customers"]
    names = OF_A_CUSTOMER + (EXTENDED if request_.model_version > 1 else [])
    assert [list(customer) for customer in found] == [names] * 2
    assert [customer["id"] for customer in found] == [second, first]
    assert [(customer["name"], customer["email"]) for customer in found] == [("", name.upper()), (name, "")]
    assert all(len(customer["created"]) == len(iso(0)) for customer in found)
    assert refused(manage(request_, vendor, name=name, token=vendor.token), DENIED)


@each(LICENSE_LISTS)
def test_a_recorded_list_of_licenses_is_present_even_if_it_is_empty(request_: LicenseList, vendor: Vendor) -> None:
    made = new_customer(vendor, Name="Bob")
    named = {"customer": made["customerId"], "secret": made["secret"]}
    assert manage(request_, vendor, **named).body == b'{"licenseKeys":[],"result":0,"message":""}'
    key = vendor.new_key(1, CustomerId=made["customerId"], F3=True, Notes="Order 77")
    vendor.live.call("key/Activate", Key=key, MachineCode="m-alpha", FriendlyName="LAB")
    vendor.live.call("data/AddDataObjectToKey", Key=key, Name="n")
    answer = manage(request_, vendor, **named)
    assert list(answer.json) == ["licenseKeys", "result", "message"]
    assert answer.body.endswith(b',"result":0,"message":""}')
    (license,) = answer.json["licenseKeys"]
    plain = read(vendor, key)
    expected = {camel(name): plain[name] for name in ("ProductId", "ID", "Key", "Period", "F2", "F3", "Notes", "Block")}
    assert expected.items() <= license.items()
    assert (license["created"], license["expires"]) == (iso(plain["Created"]), iso(plain["Expires"]))
    if not request_.detailed:
        assert tuple(license) == BASIC
        return
    assert list(license) == [*map(camel, fields_of(request_.model_version)), "signDate", "signature"]
    assert license["signature"] is None
    assert license["customer"]["id"] == made["customerId"]
    (item,), (machine,) = license["dataObjects"], license["activatedMachines"]
    assert (item["name"], item["stringValue"], item["intValue"]) == ("n", "", 0)
    assert (machine["mid"], len(machine)) == ("m-alpha", SHOWN_OF_A_MACHINE[request_.model_version])


@each(LICENSE_LISTS)
def test_a_recorded_list_of_licenses_is_refused_word_for_word(request_: LicenseList, vendor: Vendor) -> None:
    unknown = {"customer": NO_CUSTOMER, "secret": uuid4()}
    assert refused(manage(request_, vendor, **unknown), CUSTOMER)
    assert refused(manage(request_, vendor, **{**unknown, "token": vendor.token}), DENIED)
    assert refused(manage(request_, vendor, **{**unknown, "token": NO_TOKEN}), AUTHENTICATE)
    assert refused(manage(request_, vendor, customer="", secret=""), INPUT)


# ---- messages


def new_message(vendor: Vendor, channel: str, time: int) -> int:
    number: int = vendor.live.call("message/CreateMessage", Content=f"Åsa {time}", Channel=channel, Time=time)["messageId"]
    return number


def messages_of(answer: Answer) -> list[dict[str, Any]]:
    """Check a list of messages as C++ does, which sees none at all if one lacks something; return it."""
    assert answer.status == 200
    assert is_json(answer)
    assert list(answer.json) == ["messages", "result", "message"]
    assert answer.body.endswith(b',"result":0,"message":""}')
    found: list[dict[str, Any]] = answer.json["messages"]
    assert all(list(item) == ["id", "content", "created", "channel"] for item in found)
    assert all(type(item["id"]) is type(item["created"]) is int for item in found)
    assert all(type(item["content"]) is type(item["channel"]) is str for item in found)
    order = [(item["created"], item["id"]) for item in found]
    assert order == sorted(order, reverse=True)
    return found


@each(MESSAGE_READS)
def test_recorded_readers_of_a_channel_are_answered_what_is_newer(request_: MessageRead, vendor: Vendor) -> None:
    channel = f"stable & {uuid4()}"
    assert send(request_, vendor, channel=channel).body == b'{"messages":[],"result":0,"message":""}'
    ids = {time: new_message(vendor, channel, time) for time in (1_537_815_312, 1_537_815_311)}
    assert messages_of(send(request_, vendor, channel=channel)) == [
        {"id": ids[time], "content": f"Åsa {time}", "created": time, "channel": channel} for time in request_.times
    ]
    assert refused(send(request_, vendor, channel=channel, token=NO_TOKEN), AUTHENTICATE)


@each(READS_OF_ALL_CHANNELS)
def test_recorded_readers_who_name_no_channel_are_answered_all_of_them(request_: Recorded, vendor: Vendor) -> None:
    made = [new_message(vendor, f"{name} {uuid4()}", 0) for name in ("stable", "beta")]
    found = messages_of(send(request_, vendor))
    assert set(made) <= {item["id"] for item in found}


@each(MESSAGE_ADDITIONS)
def test_a_recorded_message_is_broadcast_from_now_on(request_: Recorded, vendor: Vendor) -> None:
    channel = f"stable & {uuid4()}"
    answer = manage(request_, vendor, channel=channel)
    number = answer.json["messageId"]
    assert (answer.status, answer.body) == (200, b'{"messageId":%d,"result":0,"message":""}' % number)
    assert is_json(answer)
    (found,) = vendor.live.call("message/GetMessages", Channel=channel)["messages"]
    assert (found["id"], found["content"]) == (number, "v402 & more")
    assert is_now(found["created"])
    assert refused(manage(request_, vendor, channel=channel, token=vendor.token), DENIED)


@each(MESSAGE_REMOVALS)
def test_a_recorded_removal_takes_a_message_back(request_: Recorded, vendor: Vendor) -> None:
    channel = f"stable {uuid4()}"
    number = new_message(vendor, channel, 5)
    assert refused(manage(request_, vendor, message=number, token=vendor.token), DENIED)
    assert done(manage(request_, vendor, message=number))
    assert vendor.live.call("message/GetMessages", Channel=channel)["messages"] == []
    assert refused(manage(request_, vendor, message=number), INPUT)
    assert refused(manage(request_, vendor, message=NO_ID), INPUT)


def test_a_time_that_is_none_is_said_to_be_one(vendor: Vendor) -> None:
    request = next(each for each in MESSAGE_READS if each.sdk.name == "C++")
    assert request.body is not None
    wrong = Recorded(request.sdk, request.path, request.body.replace("Time=0", "Time=now"))
    assert refused(send(wrong, vendor, channel="stable"), TIMESTAMP)


# ---- events


@each(REGISTRATIONS)
def test_recorded_events_are_read_as_they_were_registered(request_: Registration, vendor: Vendor) -> None:
    key, machine = vendor.new_key(1), "m-alpha"
    assert done(send(request_, vendor, key=key, machine=machine))
    found = vendor.live.call("ai/GetEvents", Key=key)["events"]
    assert [
        (each["productId"], each["key"], each["machineCode"], each["featureName"], each["eventName"], each["value"],
         each["currency"], each["metadata"])
        for each in found
    ] == [
        (vendor.product, key, machine, feature, event, value, currency, metadata)
        for feature, event, value, currency, _, metadata in request_.told
    ]  # fmt: skip
    for row, (*_, time, _metadata) in zip(found, request_.told, strict=True):
        assert row["time"] == time if time else is_now(row["time"])


@each(REGISTRATIONS)
def test_recorded_events_are_refused_word_for_word(request_: Registration, vendor: Vendor) -> None:
    assert refused(send(request_, vendor, token=NO_TOKEN), AUTHENTICATE)
    assert refused(send(request_, vendor), KEY)
    assert refused(send(request_, vendor, product=NO_PRODUCT), DENIED)
    assert refused(send(request_, vendor, product=NO_PRODUCT, token=vendor.admin), PRODUCT)
    assert refused(send(request_, vendor, key=vendor.new_key(1), product='"none"'), INPUT)


@each(EVENT_READS)
def test_a_recorded_reading_of_events_is_answered_with_its_rows(request_: EventRead, vendor: Vendor) -> None:
    key = vendor.new_key(1)
    assert manage(request_, vendor, key=key).body == b'{"events":[],"result":0,"message":""}'
    told = [{"EventName": f"at {time}", "Time": time} for time in (1_537_815_311, 1_537_815_312, 1_537_815_313)]
    assert vendor.live.call("ai/RegisterEvents", Key=key, Events=json.dumps(told))["result"] == 0
    answer = manage(request_, vendor, key=key)
    assert answer.status == 200
    assert is_json(answer)
    assert list(answer.json) == ["events", "result", "message"]
    assert tuple(row["time"] for row in answer.json["events"]) == request_.times
    names = [
        "id", "productId", "key", "machineCode", "featureName", "eventName", "value", "currency", "time", "metadata",
    ]  # fmt: skip
    assert all(list(row) == names for row in answer.json["events"])
    assert all(type(row["id"]) is type(row["value"]) is int for row in answer.json["events"])  # .NET: never null
    assert refused(manage(request_, vendor, key=key, token=vendor.token), DENIED)


# ---- derived tokens, and usage


@pytest.fixture(scope="session")
async def deriving(vendor: Vendor, new_token: NewToken) -> str:
    """A token that others may be derived from, as software has it built in: key lock -1."""
    allowed = ("GetKey", "AddDataObject", "ListDataObjects")
    return await new_token(permissions=allowed, product_lock=vendor.product, key_lock=-1)


@each(KEY_LOCKS)
def test_a_recorded_key_lock_gives_a_token_for_one_license(request_: Recorded, vendor: Vendor, deriving: str) -> None:
    key, other = vendor.new_key(1), vendor.new_key(1, Block=True)
    answer = send(request_, vendor, key=key, token=deriving)
    assert answer.status == 200
    assert is_json(answer)
    assert list(answer.json) == ["keyId", "token", "result", "message"]
    assert answer.body.endswith(b',"result":0,"message":""}')
    assert answer.json["keyId"] == read(vendor, key)["GlobalId"]
    number, secret = json.loads(b64decode(answer.json["token"], validate=True))
    assert int(number) > 0  # .NET reads it
    assert len(b64decode(secret, validate=True)) == 30
    derived = answer.json["token"]
    assert send(request_, vendor, key=key, token=deriving).json["token"] != derived

    def added(key: str, token: str) -> str:
        said: str = vendor.live.call("data/AddDataObjectToKey", Key=key, Name="n", token=token)["message"]
        return said

    assert (added(key, derived), added(other, derived), added(other, deriving)) == ("", OBJECT, "")
    assert vendor.live.call("key/GetKey", Key=key, token=derived)["message"] == ""
    assert vendor.live.call("key/GetKey", Key=other, token=derived)["message"] == DENIED
    assert vendor.live.call("key/Activate", Key=key, token=derived)["message"] == DENIED
    assert refused(send(request_, vendor, key=key, token=derived), DENIED)
    assert list(send(request_, vendor, key=other, token=deriving).json) == ["keyId", "token", "result", "message"]


@each(KEY_LOCKS)
def test_a_recorded_key_lock_is_refused_word_for_word(request_: Recorded, vendor: Vendor, deriving: str) -> None:
    key = vendor.new_key(1)
    assert refused(send(request_, vendor, key=key), DENIED)
    assert refused(manage(request_, vendor, key=key), DENIED)
    assert refused(send(request_, vendor, key=key, token=NO_TOKEN), AUTHENTICATE)
    assert refused(send(request_, vendor, key=NO_KEY, token=deriving), KEY)
    assert refused(send(request_, vendor, key=key, token=deriving, product=NO_PRODUCT), DENIED)
    assert refused(send(request_, vendor, key=key, token=deriving, product="none"), INPUT)


@each(USAGES)
def test_recorded_usage_is_kept_for_a_license_that_names_its_subscription(request_: Recorded, vendor: Vendor) -> None:
    key = vendor.new_key(1)
    assert refused(manage(request_, vendor, key=key), SUBSCRIPTION_ITEM)
    item = {"Name": "cryptolens_stripesubscriptionitemid", "StringValue": "si_1"}
    assert vendor.live.call("data/AddDataObjectToKey", Key=key, **item)["result"] == 0
    assert done(manage(request_, vendor, key=key))
    assert done(manage(request_, vendor, key=key))
    logs = vendor.live.call("ai/GetWebAPILog", Key=key)["logs"]
    assert [row["state"] for row in logs] == [3010, 7020, 8010, 7010, 7010]
    assert refused(manage(request_, vendor), KEY)
    assert refused(manage(request_, vendor, key=key, product=NO_PRODUCT), PRODUCT)
    assert refused(manage(request_, vendor, key=key, token=vendor.token), DENIED)
    assert refused(manage(request_, vendor, key=key, token=NO_TOKEN), AUTHENTICATE)
