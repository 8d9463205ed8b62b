"""Every method of the table with every kind of token: what a lock allows stands in the protocol, and is repeated here."""

from dataclasses import dataclass

import pytest
from office import AUTHENTICATE, DENIED, INPUT, NOT_ACTIVATED, Office, Shop, unknown_token

from server.methods import METHODS, PERMISSIONS, Method
from server.rules.grants import Names

# Beside ProductId and Key. A new method says here how it is called.
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
    "ai/GetWebAPILog": {},
}

# What each kind of lock answers to methods that name a key, a product only, and the log with a key: "" is yes.
NO_LOCK = {Names.LICENSE: "", Names.PRODUCT: "", Names.LOG: ""}
ALL_DENIED = dict.fromkeys(Names, DENIED)
EXPECTED = {
    "no lock": NO_LOCK,
    "locked to the product": NO_LOCK,
    "locked to another product": ALL_DENIED,
    "locked to the key": {**NO_LOCK, Names.PRODUCT: DENIED},
    "locked to another key": ALL_DENIED,
    "locked to no key in particular": NO_LOCK,
    "locked to product and key": {**NO_LOCK, Names.PRODUCT: DENIED},
    "locked to the product and another key": ALL_DENIED,
    "without the permission": ALL_DENIED,
    "expired": dict.fromkeys(Names, AUTHENTICATE),
    "revoked": dict.fromkeys(Names, AUTHENTICATE),
    "with another secret": dict.fromkeys(Names, AUTHENTICATE),
    "garbage": dict.fromkeys(Names, AUTHENTICATE),
    "empty": dict.fromkeys(Names, AUTHENTICATE),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Two products, two keys in the first, and how tokens are locked to them."""

    shop: Shop
    key: str
    locks: dict[str, dict[str, int]]


@pytest.fixture(scope="session")
async def place(office: Office) -> Place:
    shop, elsewhere = await office.open_shop(), await office.open_shop()
    key, other = await shop.new_key(MaxNoOfMachines=5), await shop.new_key(MaxNoOfMachines=5)
    mine, foreign = await shop.global_id(key), await shop.global_id(other)
    return Place(shop, key, {
        "locked to the product": {"product_lock": shop.id},
        "locked to another product": {"product_lock": elsewhere.id},
        "locked to the key": {"key_lock": mine},
        "locked to another key": {"key_lock": foreign},
        "locked to no key in particular": {"key_lock": -1},
        "locked to product and key": {"product_lock": shop.id, "key_lock": mine},
        "locked to the product and another key": {"product_lock": shop.id, "key_lock": foreign},
    })  # fmt: skip


async def token_for(place: Place, kind: str, method: Method) -> str:
    """A token of this kind, which may do nothing but this method."""
    office = place.shop.office
    match kind:
        case "garbage":
            return "WyJ4Iiwi" + "A" * 40
        case "empty":
            return ""
        case "without the permission":
            return await office.new_token(*(each for each in PERMISSIONS if each != method.permission))
        case "expired":
            return await office.new_token(method.permission, expires=1)
        case _:
            token = await office.new_token(method.permission, **place.locks.get(kind, {}))
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
    answer = await place.shop.call(method.path, token=token, Key=place.key, **GOOD[method.path])
    allowed = EXPECTED[kind][method.names]
    assert answer["message"] == allowed or (allowed == "" and answer["message"] == NOT_ACTIVATED)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.path)
async def test_without_its_permission_a_token_does_not_even_learn_what_is_wrong_with_a_call(
    office: Office, method: Method
) -> None:
    token = await office.new_token(*(each for each in PERMISSIONS if each != method.permission))
    bad = {"ProductId": "x", "Key": ""}
    assert (await office.call(method.path, token=token, **bad))["message"] == DENIED
    assert (await office.call(method.path, token="", **bad))["message"] == AUTHENTICATE
    assert (await office.call(method.path, token=await office.new_token(method.permission), **bad))["message"] == INPUT
