"""Every method of the table with every kind of token: what a lock allows stands in the protocol, and is repeated here."""

from dataclasses import dataclass

import pytest
from office import AUTHENTICATE, DENIED, INPUT, NO_OBJECT, NOT_ACTIVATED, Office, Shop, unknown_token

from server.methods import METHODS, PERMISSIONS, Method
from server.rules import usage
from server.rules.codes import Code
from server.rules.grants import Names

# Beside ProductId and Key, which are those of the place. A new method says here how it is called; in texts, {object},
# {global_id}, {customer} and {secret} stand for what the place has.
GOOD: dict[str, dict[str, object]] = {
    "key/Activate": {"MachineCode": "m"},
    "key/GetKey": {},
    "key/Deactivate": {"MachineCode": "m"},
    "key/CreateTrialKey": {"MachineCode": "m"},
    "key/CreateKey": {},
    "key/BlockKey": {},
    "key/UnblockKey": {},
    "key/MachineLockLimit": {"NumberOfMachines": 5},
    "key/ExtendLicense": {"NoOfDays": 1},
    "key/AddFeature": {"Feature": 1},
    "key/RemoveFeature": {"Feature": 1},
    "key/ChangeNotes": {"Notes": "note"},
    "key/ChangeCustomer": {"CustomerId": "{customer}"},
    "key/TrialActivation": {},
    "customer/AddCustomer": {},
    "customer/EditCustomer": {"CustomerId": "{customer}", "Notes": "note"},
    "customer/RemoveCustomer": {"CustomerId": 2_000_000_000},
    "customer/GetCustomers": {"CustomerId": "{customer}"},
    "customer/GetCustomerLicenses": {"CustomerId": "{customer}"},
    "customer/GetCustomerLicensesBySecret": {"Secret": "{secret}"},
    "data/AddDataObject": {"ReferencerType": 2, "ReferencerId": "{global_id}"},
    "data/AddDataObjectToKey": {},
    "data/AddDataObjectToMachineCode": {"MachineCode": "m"},
    "data/ListDataObjects": {"ReferencerType": "Key", "ReferencerId": "{global_id}"},
    "data/ListDataObjectsToKey": {},
    "data/ListDataObjectsToMachineCode": {"MachineCode": "m"},
    "data/SetIntValue": {"Id": "{object}"},
    "data/SetIntValueToKey": {"Id": "{object}"},
    "data/SetIntValueToMachineCode": {"Name": "none", "MachineCode": "m"},
    "data/SetStringValue": {"Id": "{object}"},
    "data/SetStringValueToKey": {"Id": "{object}"},
    "data/SetStringValueToMachineCode": {"Name": "none", "MachineCode": "m"},
    "data/IncrementIntValue": {"Id": "{object}"},
    "data/IncrementIntValueToKey": {"Id": "{object}"},
    "data/IncrementIntValueToMachineCode": {"Name": "none", "MachineCode": "m"},
    "data/DecrementIntValue": {"Id": "{object}"},
    "data/DecrementIntValueToKey": {"Id": "{object}"},
    "data/DecrementIntValueToMachineCode": {"Name": "none", "MachineCode": "m"},
    "data/RemoveDataObject": {"Id": "{object}"},
    "data/RemoveDataObjectToKey": {"Id": "{object}"},
    "data/RemoveDataObjectToMachineCode": {"Name": "none", "MachineCode": "m"},
    "ai/GetWebAPILog": {},
    "ai/RegisterEvent": {"FeatureName": "f"},
    "ai/RegisterEvents": {"Events": "[]"},
    "ai/GetEvents": {},
    "message/GetMessages": {"Channel": "of a test"},
    "message/CreateMessage": {"Channel": "of a test"},
    "message/RemoveMessage": {"Id": 2**62},
    "auth/KeyLock": {},
    "subscription/RecordUsage": {"Amount": 1},
}
# What no method takes for good: each has at least one of them.
BAD: dict[str, object] = {
    "Id": "x", "ReferencerId": "x", "CustomerId": "x", "Limit": "x", "Time": "x", "Events": "x", "Secret": ""
}  # fmt: skip
BAD_OTHERWISE: dict[str, str] = {
    **dict.fromkeys(("message/GetMessages", "message/CreateMessage"), Code.TIMESTAMP),
    "customer/AddCustomer": "",  # nothing of it is a parameter, and none is required
}
# What a token that is not refused may be told of these calls: what they name is not there.
NOT_THERE = {NOT_ACTIVATED, NO_OBJECT, "Customer does not exist."}

# What each kind of lock answers, by what the method names: "" is yes. Protocol: auth, what a lock allows.
YES = {**dict.fromkeys(Names, ""), Names.DERIVING: DENIED}
ALL_DENIED = dict.fromkeys(Names, DENIED)
ONLY_A_KEY = {Names.PRODUCT: DENIED, Names.ACCOUNT: DENIED}
OBJECTS = {Names.OBJECT: NO_OBJECT, Names.OBJECT_OF_LICENSE: NO_OBJECT}
EXPECTED = {
    "no lock": YES,
    "locked to the product": {**YES, Names.ACCOUNT: DENIED},
    "locked to another product": {**ALL_DENIED, Names.OBJECT: NO_OBJECT, Names.CUSTOMER_LICENSES: ""},
    "locked to the key": {**YES, **ONLY_A_KEY},
    "locked to another key": {**ALL_DENIED, **OBJECTS, Names.CUSTOMER_LICENSES: ""},
    "locked to no key in particular": {**YES, Names.OBJECT: NO_OBJECT, Names.DERIVING: ""},
    "locked to product and key": {**YES, **ONLY_A_KEY},
    "locked to the product and another key": {**ALL_DENIED, **OBJECTS, Names.CUSTOMER_LICENSES: ""},
    "without the permission": ALL_DENIED,
    "expired": dict.fromkeys(Names, AUTHENTICATE),
    "revoked": dict.fromkeys(Names, AUTHENTICATE),
    "with another secret": dict.fromkeys(Names, AUTHENTICATE),
    "garbage": dict.fromkeys(Names, AUTHENTICATE),
    "empty": dict.fromkeys(Names, AUTHENTICATE),
}
# Where a method by itself answers otherwise.
OTHERWISE: dict[tuple[str, str], str] = {
    **{("message/RemoveMessage", kind): INPUT for kind in ("no lock", "locked to no key in particular")},
    # It takes neither product nor key, so a lock to another one says nothing of it.
    **{
        ("message/GetMessages", kind): ""
        for kind in ("locked to another product", "locked to another key", "locked to the product and another key")
    },
}


@dataclass(frozen=True, slots=True)
class Place:
    """Two products, two keys in the first, and how tokens are locked to them. `has` are the words of `GOOD`."""

    shop: Shop
    key: str
    locks: dict[str, dict[str, int]]
    has: dict[str, object]

    def params(self, path: str) -> dict[str, object]:
        return {
            name: value.format_map(self.has) if isinstance(value, str) else value for name, value in GOOD[path].items()
        }


@pytest.fixture(scope="session")
async def place(office: Office) -> Place:
    shop, elsewhere = await office.open_shop(), await office.open_shop()
    key, other = await shop.new_key(MaxNoOfMachines=5), await shop.new_key(MaxNoOfMachines=5)
    mine, foreign = await shop.global_id(key), await shop.global_id(other)
    await shop.add_data(key, usage.SUBSCRIPTION_ITEM)
    customer = await office.call("customer/AddCustomer", Name="Of a test")
    await shop.call("key/ChangeCustomer", Key=key, CustomerId=customer["customerId"])
    has = {
        "global_id": mine, "object": await shop.add_data(key, "of a test"), "customer": customer["customerId"],
        "secret": customer["secret"],
    }  # fmt: skip
    return Place(shop, key, {
        "locked to the product": {"product_lock": shop.id},
        "locked to another product": {"product_lock": elsewhere.id},
        "locked to the key": {"key_lock": mine},
        "locked to another key": {"key_lock": foreign},
        "locked to no key in particular": {"key_lock": -1},
        "locked to product and key": {"product_lock": shop.id, "key_lock": mine},
        "locked to the product and another key": {"product_lock": shop.id, "key_lock": foreign},
    }, has)  # fmt: skip


async def token_for(place: Place, kind: str, method: Method) -> str:
    """A token of this kind, which may do nothing but this method."""
    office, own = place.shop.office, method.permission or PERMISSIONS[0]
    match kind:
        case "garbage":
            return "WyJ4Iiwi" + "A" * 40
        case "empty":
            return ""
        case "without the permission":
            return await office.new_token(*(each for each in PERMISSIONS if each != method.permission))
        case "expired":
            return await office.new_token(own, expires=1)
        case _:
            token = await office.new_token(own, **place.locks.get(kind, {}))
    if kind == "revoked":
        (last, *_) = sorted(await office.admin.tokens(office.account.id), key=lambda each: -each.id)
        assert await office.admin.revoke_token(office.account.id, last.id, 1)
    return unknown_token(token) if kind == "with another secret" else token


def test_every_method_says_how_it_is_called_here() -> None:
    assert set(GOOD) == {method.path for method in METHODS}


@pytest.mark.parametrize("kind", EXPECTED)
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.path)
async def test_a_token_may_do_what_it_was_made_for(place: Place, method: Method, kind: str) -> None:
    token = await token_for(place, kind, method)
    answer = await place.shop.call(method.path, token=token, Key=place.key, **place.params(method.path))
    expected = OTHERWISE.get((method.path, kind), EXPECTED[kind][method.names])
    assert answer["message"] == expected or (expected == "" and answer["message"] in NOT_THERE)


@pytest.mark.parametrize("method", [each for each in METHODS if each.permission], ids=lambda method: method.path)
async def test_without_its_permission_a_token_does_not_even_learn_what_is_wrong_with_a_call(
    office: Office, method: Method
) -> None:
    token = await office.new_token(*(each for each in PERMISSIONS if each != method.permission))
    bad = {"ProductId": "x", "Key": ""}
    assert (await office.call(method.path, token=token, **bad))["message"] == DENIED
    assert (await office.call(method.path, token="", **bad))["message"] == AUTHENTICATE
    own = await office.new_token(method.permission)
    told = (await office.call(method.path, token=own, **bad, **BAD))["message"]
    assert told == BAD_OTHERWISE.get(method.path, INPUT)
