"""CreateTrialKey: the rows of its decision table, one key for each machine and product, and a memory that lasts."""

import asyncio

import pytest
from office import AUTHENTICATE, DAY, DENIED, DONE, INPUT, NO_PRODUCT, NORMAL, TRIALS, Answer, Office, Shop, refused

USED = refused("This machine code has already activated the trial.")


async def trial(shop: Shop, code: str, **params: object) -> Answer:
    return await shop.call("key/CreateTrialKey", MachineCode=code, **params)


async def test_a_new_machine_gets_a_key_of_fifteen_days_that_it_is_registered_with(shop: Shop) -> None:
    answer = await trial(shop, "m" * 128, FriendlyName="Desk")
    key = answer["key"]
    assert answer == {"key": key, **DONE}
    shown = await shop.show(key)
    (machine,) = shown["ActivatedMachines"]
    assert (machine["Mid"], machine["FriendlyName"], machine["IP"]) == ("m" * 128, "Desk", "127.0.0.1")
    assert shown["Expires"] == shown["Created"] + 15 * DAY == machine["Time"] + 15 * DAY
    assert (shown["Period"], shown["MaxNoOfMachines"], shown["TrialActivation"]) == (15, 1, False)
    assert (shown["Notes"], shown["AllowedMachines"], shown["Block"], shown["Customer"]) == ("", "", False, None)
    assert [shown[f"F{number}"] for number in range(1, 9)] == [feature.type > 0 for feature in TRIALS]
    (row,) = await shop.log(key)
    assert (row["state"], row["machineCode"], row["friendlyName"], row["ip"]) == (3011, "m" * 128, "Desk", "127.0.0.0")


async def test_the_feature_lock_of_the_token_is_the_days(shop: Shop) -> None:
    for lock, days in ((7, 7), (0, 15), (36_500, 36_500), (4_472_832, 36_500)):
        token = await shop.office.new_token("CreateTrialKey", feature_lock=lock)
        shown = await shop.show((await trial(shop, f"m{lock}", token=token))["key"])
        assert (shown["Period"], shown["Expires"]) == (days, shown["Created"] + days * DAY)


async def test_a_machine_that_asks_again_gets_the_same_key_even_if_it_has_expired(shop: Shop) -> None:
    key = (await trial(shop, "m"))["key"]
    assert (await trial(shop, "m", FriendlyName="Later"))["key"] == key
    await shop.change(key, "expires = 5")
    assert (await trial(shop, "m"))["key"] == key
    assert (await shop.show(key))["Expires"] == 5
    assert [(row["state"], row["friendlyName"]) for row in await shop.log(key)] == [(3011, ""), (3012, "Later"), (3012, "")]


async def test_each_code_and_each_product_has_its_own_key(shop: Shop, other_shop: Shop) -> None:
    keys = [(await trial(*which))["key"] for which in ((shop, "m"), (shop, "M"), (shop, " m"), (other_shop, "m"))]
    assert len(set(keys)) == 4


async def test_twenty_machines_of_one_code_at_once_get_one_key(shop: Shop) -> None:
    for code in ("a", "b"):
        answers = await asyncio.gather(*(trial(shop, code) for _ in range(20)))
        assert len({answer["key"] for answer in answers}) == 1
        assert sorted(row["state"] for row in await shop.log(MachineCode=code)) == [3011] + [3012] * 19
    assert [row["number"] for row in await shop.rows("select number from licenses where product_id = $1 order by 1")] == [
        1,
        2,
    ]


async def test_the_memory_outlives_the_machine(shop: Shop) -> None:
    key = (await trial(shop, "m"))["key"]
    assert await shop.deactivate(key, "m") == DONE
    assert (await shop.show(key))["ActivatedMachines"] == []
    assert (await trial(shop, "m"))["key"] == key
    assert (await shop.show(key))["ActivatedMachines"] == []
    assert (await shop.activate(key, "m"))["result"] == 0
    assert [row["state"] for row in await shop.log(key)] == [3011, 6010, 3012, 2011]


async def test_the_memory_is_a_hash_and_a_fresh_one_for_each_product(shop: Shop, other_shop: Shop) -> None:
    for each in (shop, other_shop):
        await trial(each, "a machine code")
    kept = [row["code_hash"] for each in (shop, other_shop)
            for row in await each.rows("select code_hash from trial_memory where product_id = $1")]  # fmt: skip
    assert len(set(kept)) == 2
    assert not any(b"a machine code" in each for each in kept)


async def test_a_blocked_trial_is_over_and_so_is_one_that_was_sold(shop: Shop) -> None:
    blocked, sold = [(await trial(shop, code))["key"] for code in ("a", "b")]
    await shop.call("key/BlockKey", Key=blocked)
    await shop.change(sold, "features = 1")
    assert await trial(shop, "a") == USED
    assert await trial(shop, "b") == USED
    assert [row["state"] for row in await shop.log(States="[3021]")] == [3021, 3021]
    await shop.call("key/UnblockKey", Key=blocked)
    assert (await trial(shop, "a"))["key"] == blocked


async def test_a_product_without_trial_features_knows_its_trials_by_memory(office: Office) -> None:
    shop = await office.open_shop(NORMAL)
    key = (await trial(shop, "m"))["key"]
    shown = await shop.show(key)
    assert [shown[f"F{number}"] for number in range(1, 9)] == [False] * 8
    await shop.change(key, "features = 255")
    assert (await trial(shop, "m"))["key"] == key


@pytest.mark.parametrize(("code", "message"), [
    ("", "The machine code cannot be null."),
    (None, "The machine code cannot be null."),
    ("m" * 129, "The machine code cannot exceed 128 chars in length."),
    ("m" * 5000, "The machine code cannot exceed 128 chars in length."),
])  # fmt: skip
async def test_a_code_that_is_none_is_refused_in_its_own_words(shop: Shop, code: str | None, message: str) -> None:
    assert await shop.call("key/CreateTrialKey", MachineCode=code) == refused(message)
    (row,) = await shop.log()
    assert (row["state"], row["key"], row["machineCode"]) == (3021, "", (code or "")[:128])


async def test_what_comes_before_the_code_is_checked_first(shop: Shop, other_shop: Shop) -> None:
    token = await shop.office.new_token("CreateTrialKey", product_lock=shop.id)
    anywhere = await shop.office.new_token("CreateTrialKey")
    others = await shop.office.new_token("Activate")
    locked = await shop.office.new_token("CreateTrialKey", key_lock=await other_shop.global_id(await other_shop.new_key()))
    for params, message in (
        ({"token": "x", "ProductId": "x"}, AUTHENTICATE),
        ({"token": others, "ProductId": "x"}, DENIED),
        ({"token": token, "ProductId": "x"}, INPUT),
        ({"token": token, "ProductId": None}, INPUT),
        ({"token": token, "ProductId": other_shop.id}, DENIED),
        ({"token": token, "ProductId": 2_000_000_000}, DENIED),
        ({"token": locked, "ProductId": other_shop.id}, DENIED),
        ({"token": anywhere, "ProductId": 2_000_000_000}, NO_PRODUCT),
    ):
        assert await shop.call("key/CreateTrialKey", MachineCode="", **params) == refused(message)
    assert await shop.log() == []
