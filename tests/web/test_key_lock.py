"""KeyLock: a token of its own for one license, which ends with the token that it was derived from."""

import asyncio
import hashlib
import json
import time
from base64 import b64decode

import pytest
from office import (
    AUTHENTICATE,
    DENIED,
    INPUT,
    NO_KEY,
    NO_PRODUCT,
    Answer,
    Office,
    Shop,
    refused,
    token_id,
    unknown_token,
)

from server.methods import PERMISSIONS
from storage.postgres.tokens import MOST_DERIVED
from storage.stamps import new_stamp

DERIVE = "auth/KeyLock"
ALL_WORKERS = 12  # calls, each of a connection of its own
FAR = 2_000_000_000

LIVE = """
select id from tokens where key_lock = $1 and parent_id is not null and revoked is null and (expires is null or expires > $2)
order by id
"""
MANY = """
insert into tokens (account_id, name, secret_hash, permissions, key_lock, parent_id, expires, created, revoked, stamp)
select $1, 'derived', '', '{}', $2, $3, $5, 1, $6, (random() * 2^62)::bigint from generate_series(1, $4::integer)
"""


@pytest.fixture
async def parent(office: Office) -> str:
    """A token that may do everything with licenses that it names."""
    return await office.new_token(key_lock=-1)


async def derive(shop: Shop, key: str, token: str) -> str:
    """A token for one license."""
    answer = await shop.call(DERIVE, Key=key, token=token)
    assert list(answer) == ["keyId", "token", "result", "message"]
    assert (answer["keyId"], answer["result"], answer["message"]) == (await shop.global_id(key), 0, "")
    return answer["token"]


async def row(office: Office, token: str) -> Answer:
    """What is kept of a token."""
    return dict(await office.database.fetchrow("select * from tokens where id = $1", token_id(token)))


async def live(shop: Shop, key: str) -> list[int]:
    """The derived tokens of a license that are good, by their ids."""
    found = await shop.office.database.fetch(LIVE, await shop.global_id(key), int(time.time()))
    return [each["id"] for each in found]


async def some_made(shop: Shop, key: str, parent: str, count: int, **ended: int) -> None:
    """So many derived tokens, all of them revoked or expired if that is said."""
    values = (await shop.global_id(key), token_id(parent), count, ended.get("expires"), ended.get("revoked"))
    await shop.office.database.execute(MANY, shop.office.account.id, *values)


async def test_a_derived_token_is_the_one_it_came_from_with_one_license(office: Office, shop: Shop) -> None:
    key = await shop.new_key()
    allowed, locks = ("Activate", "GetKey"), {"product_lock": shop.id, "feature_lock": 1}
    parent = await office.new_token(*allowed, key_lock=-7, expires=FAR, **locks)
    child = await derive(shop, key, parent)
    made = await row(office, child)
    origin = await row(office, parent)
    same = ("account_id", "name", "permissions", "product_lock", "feature_lock", "expires")
    assert {name: made[name] for name in same} == {name: origin[name] for name in same}
    assert sorted(made["permissions"]) == sorted(allowed)
    assert (made["key_lock"], made["parent_id"], made["revoked"]) == (await shop.global_id(key), origin["id"], None)
    assert made["secret_hash"] == hashlib.sha256(json.loads(b64decode(child))[1].encode()).digest()
    assert made["stamp"] not in (0, origin["stamp"])
    assert abs(made["created"] - time.time()) < 60


async def test_a_derived_token_may_do_with_its_license_what_the_other_may_and_nothing_with_another(
    shop: Shop, parent: str
) -> None:
    key, other = await shop.new_key(MaxNoOfMachines=1), await shop.new_key(MaxNoOfMachines=1)
    child = await derive(shop, key, parent)
    assert (await shop.call(DERIVE, Key=f" {key.lower()}", token=parent))["result"] == 0
    assert (await shop.activate(key, "m", token=child))["result"] == 0
    assert (await shop.call("ai/GetWebAPILog", token=child))["logs"][-1]["key"] == key
    assert await shop.activate(other, "m", token=child) == refused(DENIED)
    assert await shop.call("key/CreateKey", token=child) == refused(DENIED)
    assert await shop.call("key/GetKey", Key=key, token=unknown_token(child)) == refused(AUTHENTICATE)


async def test_two_tokens_of_a_license_are_two(shop: Shop, parent: str) -> None:
    key = await shop.new_key()
    one, two = await derive(shop, key, parent), await derive(shop, key, parent)
    assert one != two
    assert await live(shop, key) == [token_id(one), token_id(two)]


async def test_no_permission_is_needed_but_a_negative_key_lock(office: Office, shop: Shop) -> None:
    key = await shop.new_key()
    for permission in PERMISSIONS[:2]:
        assert await derive(shop, key, await office.new_token(permission, key_lock=-1))
    mine = await shop.global_id(key)
    for locks in ({}, {"product_lock": shop.id}, {"key_lock": mine}, {"product_lock": shop.id, "key_lock": mine}):
        assert await shop.call(DERIVE, Key=key, token=await office.new_token(**locks)) == refused(DENIED)
    assert len(await live(shop, key)) == 2


async def test_from_a_derived_token_none_can_be_derived(shop: Shop, parent: str) -> None:
    key = await shop.new_key()
    assert await shop.call(DERIVE, Key=key, token=await derive(shop, key, parent)) == refused(DENIED)
    assert len(await live(shop, key)) == 1


async def test_a_blocked_license_has_tokens_too(shop: Shop, parent: str) -> None:
    key = await shop.new_key(Block=True)
    child = await derive(shop, key, parent)
    assert (await shop.call("key/GetKey", Key=key, token=child))["result"] == 0


async def test_what_is_not_there_is_told(office: Office, shop: Shop, other_shop: Shop, parent: str) -> None:
    key = await shop.new_key()
    assert await other_shop.call(DERIVE, Key=key, token=parent) == refused(NO_KEY)
    assert await shop.call(DERIVE, ProductId=2_000_000_000, Key=key, token=parent) == refused(NO_PRODUCT)
    elsewhere = await office.new_token(key_lock=-1, product_lock=other_shop.id)
    assert await shop.call(DERIVE, Key=key, token=elsewhere) == refused(DENIED)
    assert await live(shop, key) == []


@pytest.mark.parametrize("wrong", [{"ProductId": None}, {"ProductId": "x"}, {"Key": None}, {"Key": " "}])
async def test_a_license_must_be_named(shop: Shop, parent: str, wrong: dict) -> None:
    assert await shop.call(DERIVE, **{"Key": await shop.new_key(), "token": parent, **wrong}) == refused(INPUT)


async def test_what_was_derived_is_in_the_object_log_without_the_token(office: Office, shop: Shop, parent: str) -> None:
    key = await shop.new_key()
    child = await derive(shop, key, parent)
    (logged,) = await office.database.fetch(
        "select account_id, action, token_id, changes from object_log where object_type = 'Token' and object_id = $1",
        token_id(child),
    )
    told = (logged["account_id"], logged["action"], logged["token_id"], json.loads(logged["changes"]))
    assert told == (office.account.id, "KeyLock", token_id(parent), {"keyLock": await shop.global_id(key)})
    assert await shop.states(key) == []


async def test_revoking_a_token_revokes_those_that_came_from_it_everywhere_at_once(
    office: Office, shop: Shop, parent: str
) -> None:
    key = await shop.new_key(MaxNoOfMachines=0)
    child = await derive(shop, key, parent)
    calls: list[tuple[str, dict]] = [
        ("key/Activate", {"MachineCode": "m"}), ("key/GetKey", {}), ("ai/GetWebAPILog", {}), ("message/GetMessages", {}),
        ("ai/RegisterEvent", {"Key": None, "ProductId": None}),
    ]  # fmt: skip
    for method, params in calls * ALL_WORKERS:
        assert (await shop.call(method, token=child, **{"Key": key, **params}))["result"] == 0
    before = await row(office, child)
    assert await office.admin.revoke_token(office.account.id, token_id(parent), int(time.time()))
    for method, params in calls * ALL_WORKERS:
        assert await shop.call(method, token=child, **{"Key": key, **params}) == refused(AUTHENTICATE)
    assert await row(office, child) == before
    assert await shop.call(DERIVE, Key=key, token=parent) == refused(AUTHENTICATE)
    assert await shop.states(key) == [2010] * ALL_WORKERS


async def test_a_derived_token_expires_when_the_one_does_that_it_came_from(office: Office, shop: Shop) -> None:
    key = await shop.new_key()
    parent = await office.new_token("GetKey", key_lock=-1, expires=int(time.time()) + 1000)
    child = await derive(shop, key, parent)
    assert (await shop.call("key/GetKey", Key=key, token=child))["result"] == 0
    assert (await row(office, child))["expires"] == (await row(office, parent))["expires"]


async def test_a_revoked_token_derives_nothing_on_any_worker(office: Office, shop: Shop, parent: str) -> None:
    key = await shop.new_key()
    for _ in range(ALL_WORKERS):
        await derive(shop, key, parent)
    assert await office.admin.revoke_token(office.account.id, token_id(parent), int(time.time()))
    for _ in range(ALL_WORKERS):
        assert await shop.call(DERIVE, Key=key, token=parent) == refused(AUTHENTICATE)
    assert len(await live(shop, key)) == ALL_WORKERS


# The bound


async def test_of_the_good_tokens_of_a_license_the_newest_thousand_stay_so(office: Office, shop: Shop, parent: str) -> None:
    key, other = await shop.new_key(), await shop.new_key()
    oldest = await derive(shop, key, parent)
    elsewhere = await derive(shop, other, parent)
    for _ in range(ALL_WORKERS):
        assert (await shop.call("key/GetKey", Key=key, token=oldest))["result"] == 0
    stamp = (await row(office, oldest))["stamp"]
    await some_made(shop, key, parent, MOST_DERIVED - 1)
    before = await live(shop, key)
    assert len(before) == MOST_DERIVED == 1_000
    newest = await derive(shop, key, parent)
    assert await live(shop, key) == [*before[1:], token_id(newest)]
    gone = await row(office, oldest)
    assert abs(gone["revoked"] - time.time()) < 60
    assert gone["stamp"] != stamp
    for _ in range(ALL_WORKERS):
        assert await shop.call("key/GetKey", Key=key, token=oldest) == refused(AUTHENTICATE)
    for token, key_ in ((newest, key), (elsewhere, other)):
        assert (await shop.call("key/GetKey", Key=key_, token=token))["result"] == 0


async def test_tokens_that_are_no_longer_good_do_not_count(office: Office, shop: Shop, parent: str) -> None:
    key = await shop.new_key()
    dead = await office.new_token(key_lock=-1)
    oldest = await derive(shop, key, parent)
    await some_made(shop, key, parent, 1_000, expires=1)
    await some_made(shop, key, parent, 1_000, revoked=1)
    await some_made(shop, key, dead, 1_000)
    assert await office.admin.revoke_token(office.account.id, token_id(dead), int(time.time()))
    await office.database.execute(
        "update tokens set key_lock = $2, stamp = $3 where id = $1",
        token_id(await office.new_token()), await shop.global_id(key), new_stamp(),
    )  # fmt: skip
    await derive(shop, key, parent)
    assert (await row(office, oldest))["revoked"] is None


async def test_calls_at_once_keep_the_bound(shop: Shop, parent: str) -> None:
    key = await shop.new_key()
    await some_made(shop, key, parent, MOST_DERIVED - 5)
    answers = await asyncio.gather(*(shop.call(DERIVE, Key=key, token=parent) for _ in range(15)))
    left = await live(shop, key)
    assert len(left) == MOST_DERIVED
    assert left[-15:] == sorted(token_id(answer["token"]) for answer in answers)
