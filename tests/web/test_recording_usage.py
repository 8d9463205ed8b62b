"""RecordUsage: amounts to be billed, kept once for each call that was answered."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from inside import Inside, worker_inside
from office import DENIED, DONE, INPUT, NO_KEY, NO_PRODUCT, Office, Shop, refused
from servers import Live

from server.rules.usage import SUBSCRIPTION_ITEM
from server.wire.requests import INT64

RECORD = "subscription/RecordUsage"
NO_ITEM = "The subscription item id could not be found."


@pytest.fixture
async def key(shop: Shop) -> str:
    """The key of a license with a subscription."""
    made = await shop.new_key()
    await shop.add_data(made, SUBSCRIPTION_ITEM)
    return made


async def amounts(shop: Shop) -> list[int]:
    return [row["amount"] for row in await shop.rows("select amount from usage where product_id = $1 order by id")]


async def test_what_is_recorded_is_kept_and_logged(shop: Shop, key: str) -> None:
    for path in (RECORD, "/subscription/recordusage/", "/subscription/RecordUsage/"):
        assert await shop.call(path, Key=key, Amount=5) == DONE
    assert await shop.call(RECORD, Key=key.lower(), Amount=INT64) == DONE
    assert await shop.call(RECORD, Key=key) == await shop.call(RECORD, Key=key, Amount="") == DONE
    assert await amounts(shop) == [5, 5, 5, INT64, 0, 0]
    assert await shop.states(key) == [7010] * 6
    (kept, *_) = await shop.rows("select account_id, license_id, time from usage where product_id = $1 order by id")
    assert (kept["account_id"], kept["license_id"]) == (shop.office.account.id, await shop.global_id(key))
    assert kept["time"] == (await shop.log(key))[1]["time"]


async def test_calls_at_once_all_count(shop: Shop, key: str) -> None:
    answers = await asyncio.gather(*(shop.call(RECORD, Key=key, Amount=amount) for amount in range(40)))
    assert answers == [DONE] * 40
    assert sorted(await amounts(shop)) == list(range(40))


async def test_a_blocked_or_expired_license_is_billed_too(shop: Shop, key: str) -> None:
    await shop.change(key, "block = true, expires = 1")
    assert await shop.call(RECORD, Key=key, Amount=1) == DONE
    assert await amounts(shop) == [1]


async def test_a_license_without_a_subscription_has_nothing_to_bill(shop: Shop) -> None:
    key = await shop.new_key()
    await shop.add_data(key, SUBSCRIPTION_ITEM.upper())
    await shop.add_data(key, SUBSCRIPTION_ITEM, machine="m")
    assert await shop.call(RECORD, Key=key, Amount=1) == refused(NO_ITEM)
    assert await amounts(shop) == []
    assert await shop.states(key) == [7020]
    assert (await shop.call("data/AddDataObjectToKey", Key=key, Name=SUBSCRIPTION_ITEM, StringValue="si_1"))["result"] == 0
    assert await shop.call(RECORD, Key=key, Amount=1) == DONE


@pytest.fixture
async def without_stripe(live: Live) -> AsyncIterator[Inside]:
    async with worker_inside(live, usage_without_stripe=True) as server:
        yield server


async def test_an_operator_may_have_usage_of_any_license_recorded(shop: Shop, without_stripe: Inside) -> None:
    key = await shop.new_key()
    asked = {"token": shop.office.token, "ProductId": shop.id, "Key": key, "Amount": 3}
    async with shop.office.http.post(f"{without_stripe.url}/api/{RECORD}", data=asked) as answer:
        assert await answer.json() == DONE
    assert await amounts(shop) == [3]


@pytest.mark.parametrize("wrong", [
    {"Amount": -1}, {"Amount": "x"}, {"Amount": "1.5"}, {"Amount": INT64 + 1}, {"ProductId": None}, {"ProductId": "x"},
    {"Key": None}, {"Key": " "},
])  # fmt: skip
async def test_what_cannot_be_meant_is_bad_input_and_logged_nowhere(shop: Shop, key: str, wrong: dict) -> None:
    assert await shop.call(RECORD, **{"Key": key, "Amount": 1, **wrong}) == refused(INPUT)
    assert await amounts(shop) == []
    assert await shop.states(key) == []


async def test_what_is_not_there_is_told(shop: Shop, other_shop: Shop, key: str) -> None:
    assert await other_shop.call(RECORD, Key=key, Amount=1) == refused(NO_KEY)
    assert await shop.call(RECORD, ProductId=2_000_000_000, Key=key, Amount=1) == refused(NO_PRODUCT)
    assert await amounts(shop) == []


async def test_a_token_of_another_license_bills_nothing(office: Office, shop: Shop, key: str) -> None:
    other = await office.new_token("Subscription", key_lock=await shop.global_id(await shop.new_key()))
    assert await shop.call(RECORD, token=other, Key=key, Amount=1) == refused(DENIED)
    assert await amounts(shop) == []
    assert await shop.states(key) == [7020]
