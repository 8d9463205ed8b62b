"""Activate, GetKey and Deactivate: the rows of their decision tables, what is logged, and what the license shows."""

import asyncio
import json
import time
from base64 import b64decode

import pytest
from office import (
    AUTHENTICATE,
    BLOCKED,
    DAY,
    DENIED,
    DONE,
    INPUT,
    LIMIT,
    NO_KEY,
    NO_PRODUCT,
    NOT_ACTIVATED,
    Office,
    Shop,
    refused,
    unknown_token,
)

STRING_SIGN = {"Sign": True, "SignMethod": 1}


def machines(document: dict) -> list[str]:
    return [machine["Mid"] for machine in document["ActivatedMachines"]]


# ---- who is admitted


async def test_machines_are_admitted_up_to_the_limit_and_known_ones_always(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=2)
    assert machines(shop.document(await shop.activate(key, "a", **STRING_SIGN))) == ["a"]
    assert machines(shop.document(await shop.activate(key, "b", **STRING_SIGN))) == ["a", "b"]
    assert await shop.activate(key, "c") == refused(LIMIT)
    assert (await shop.activate(key, "a"))["result"] == 0
    assert await shop.states(key) == [2011, 2011, 2023, 2010]


async def test_of_twenty_machines_at_once_as_many_are_admitted_as_there_are_places(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=3)
    answers = await asyncio.gather(*(shop.activate(key, f"m{number}") for number in range(20)))
    assert [answer["message"] for answer in answers].count("") == 3
    assert sorted(await shop.states(key)) == [2011] * 3 + [2023] * 17
    assert len((await shop.show(key))["ActivatedMachines"]) == 3


async def test_without_a_limit_every_machine_is_admitted_and_none_is_kept(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=0, TrialActivation=True)
    before = await shop.show(key)
    for code in ("a", "b", "a"):
        assert (await shop.activate(key, code))["result"] == 0
    after = await shop.show(key)
    assert {**before, "SignDate": 0} == {**after, "SignDate": 0}
    assert await shop.states(key) == [2010] * 3


async def test_a_lowered_limit_keeps_the_machines_and_admits_no_new_one(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=2)
    await shop.activate(key, "a")
    await shop.activate(key, "b")
    await shop.call("key/MachineLockLimit", Key=key, NumberOfMachines=1)
    assert await shop.activate(key, "c") == refused(LIMIT)
    assert (await shop.activate(key, "b"))["result"] == 0
    await shop.deactivate(key, "b")
    assert await shop.activate(key, "b") == refused(LIMIT)


async def test_machines_that_the_key_names_get_in_over_the_limit_and_no_place_is_kept_for_them(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1, AllowedMachines="vip\r\n  spaced \n\n last")
    assert (await shop.activate(key, "first comer"))["result"] == 0
    for code in ("vip", "spaced", "last"):
        assert (await shop.activate(key, code))["result"] == 0
    for code in ("VIP", "", "vip\r", "other"):
        assert await shop.activate(key, code) == refused(LIMIT)
    assert await shop.states(key) == [2011, 2013, 2013, 2013, 2023, 2023, 2023, 2023]


async def test_a_blocked_key_admits_nobody_and_lets_nobody_go(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=2)
    await shop.activate(key, "a")
    await shop.call("key/BlockKey", Key=key)
    assert await shop.activate(key, "a") == refused(BLOCKED)
    assert await shop.activate(key, "b") == refused(BLOCKED)
    assert await shop.deactivate(key, "a") == refused(BLOCKED)
    shown = await shop.show(key)
    assert (shown["Block"], machines(shown)) == (True, ["a"])
    await shop.call("key/UnblockKey", Key=key)
    assert await shop.deactivate(key, "a") == DONE
    assert await shop.states(key) == [2011, 7010, 2022, 2022, 6020, 7010, 6010]


async def test_an_expired_key_activates_as_any_other(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    await shop.change(key, "expires = 1000")
    assert shop.document(await shop.activate(key, "a", **STRING_SIGN))["Expires"] == 1000
    assert await shop.states(key) == [2011]


async def test_the_empty_machine_code_is_a_code_like_any_other(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    answer = await shop.call("key/Activate", Key=key, **STRING_SIGN)
    assert machines(shop.document(answer)) == [""]
    assert await shop.activate(key, "a") == refused(LIMIT)
    assert await shop.deactivate(key, "") == DONE


@pytest.mark.parametrize("code", ["m" * 512, "é" * 512, "\U0001f5a5 \t<b>&=+%41\\\"'", "Case", "case"])
async def test_a_machine_code_is_kept_as_it_came(shop: Shop, code: str) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    assert machines(shop.document(await shop.activate(key, code, **STRING_SIGN))) == [code]
    assert (await shop.log(key))[-1]["machineCode"] == code
    assert await shop.activate(key, code.swapcase() if code.swapcase() != code else "x") == refused(LIMIT)
    assert await shop.deactivate(key, code) == DONE


async def test_a_code_of_513_characters_is_bad_input(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    assert await shop.activate(key, "m" * 513) == refused(INPUT)
    assert await shop.deactivate(key, "m" * 513) == refused(INPUT)
    assert await shop.states(key) == []


async def test_an_interval_of_0_is_none_and_the_machine_is_node_locked(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    asked = {"FloatingTimeInterval": 0, "MaxOverdraft": 5, "ModelVersion": 3}
    assert machines(shop.document(await shop.activate(key, "a", **asked, **STRING_SIGN))) == ["a"]
    assert await shop.activate(key, "b", **asked) == refused(LIMIT)
    assert await shop.states(key) == [2011, 2023]


# ---- the countdown of a trial


async def test_each_new_machine_starts_the_countdown_and_a_known_one_does_not(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=2, TrialActivation=True, AllowedMachines="vip")
    for code in ("a", "b"):
        await shop.change(key, "expires = 5")
        shown = shop.document(await shop.activate(key, code, **STRING_SIGN))
        assert shown["Expires"] == shown["ActivatedMachines"][-1]["Time"] + 30 * DAY
        assert (shown["Period"], shown["TrialActivation"]) == (30, True)
    await shop.change(key, "expires = 5")
    assert shop.document(await shop.activate(key, "a", **STRING_SIGN))["Expires"] == 5
    assert await shop.activate(key, "c") == refused(LIMIT)
    assert (await shop.show(key))["Expires"] == 5
    assert shop.document(await shop.activate(key, "vip", **STRING_SIGN))["Expires"] > 5
    assert await shop.states(key) == [2012, 2012, 2010, 2023, 2013]


async def test_a_machine_that_comes_back_starts_the_countdown_anew(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1, TrialActivation=True)
    await shop.activate(key, "a")
    await shop.deactivate(key, "a")
    await shop.change(key, "expires = 5")
    assert shop.document(await shop.activate(key, "a", **STRING_SIGN))["Expires"] > 5
    assert await shop.states(key) == [2012, 6010, 2012]


async def test_with_first_activation_only_the_first_machine_ever_starts_the_countdown(shop: Shop) -> None:
    await shop.set_up("cryptolens_trialactivation", "first_activation")
    key = await shop.new_key(MaxNoOfMachines=2, TrialActivation=True)
    await shop.change(key, "expires = 5")
    assert shop.document(await shop.activate(key, "a", **STRING_SIGN))["Expires"] > 5
    await shop.change(key, "expires = 5")
    await shop.activate(key, "b")
    for code in ("a", "b"):
        await shop.deactivate(key, code)
    await shop.activate(key, "a")
    assert (await shop.show(key))["Expires"] == 5
    assert await shop.states(key) == [2012, 2011, 6010, 6010, 2011]


# ---- the machine and its name


async def test_a_friendly_name_follows_the_last_call_that_sent_one_and_nothing_else_does(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    named = []
    for name in ("First", "", "None", "null", "x" * 300, "Última"):
        document = shop.document(await shop.activate(key, "a", FriendlyName=name, ModelVersion=3, **STRING_SIGN))
        named.append(document["ActivatedMachines"][0])
        if name == "First":
            license_id = await shop.global_id(key)
            await shop.office.database.execute(
                "update machines set time = 7, ip = '192.0.2.1' where license_id = $1", license_id
            )
            await shop.change(key, "notes = notes")
    assert [machine["FriendlyName"] for machine in named] == ["First", "First", "First", "First", "x" * 250, "Última"]
    assert [(machine["Time"], machine["IP"]) for machine in named[1:]] == [(7, "192.0.2.1")] * 5
    assert [row["friendlyName"] for row in await shop.log(key)][1:] == ["First", "", "", "", "x" * 250, "Última"]


async def test_a_machine_has_the_fields_of_its_model_version_and_no_other(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    began = int(time.time())
    for version, names in ((1, ["Mid", "IP", "Time"]), (2, ["Mid", "IP", "Time", "FriendlyName"]),
                           (3, ["Mid", "IP", "Time", "FriendlyName", "FloatingExpires"])):  # fmt: skip
        asked = {"FriendlyName": "Desk", "ModelVersion": version}
        (signed,) = shop.document(await shop.activate(key, "a", **asked, **STRING_SIGN))["ActivatedMachines"]
        assert list(signed) == names
        assert began <= signed["Time"] <= time.time()
        values = {"Mid": "a", "IP": "127.0.0.1", "Time": signed["Time"], "FriendlyName": "Desk", "FloatingExpires": 0}
        assert signed == {name: values[name] for name in names}
        (plain,) = (await shop.activate(key, "a", Sign=True, **asked))["licenseKey"]["activatedMachines"]
        assert list(plain) == [name.lower() if name == "IP" else name[0].lower() + name[1:] for name in names]
        assert plain["time"] == time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(signed["Time"]))
        assert plain.get("floatingExpires") is None


@pytest.mark.parametrize(("asked", "is_like"), [(0, 1), (-5, 1), ("", 1), (4, 3), (99, 3)])
async def test_a_model_version_that_is_none_is_the_nearest(shop: Shop, asked: object, is_like: int) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    await shop.activate(key, "a")
    assert list(await shop.show(key, ModelVersion=asked)) == list(await shop.show(key, ModelVersion=is_like))


async def test_the_machine_has_the_full_address_and_the_log_a_masked_one(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    await shop.activate(key, "a")
    await shop.activate(key, "b")
    await shop.deactivate(key, "b")
    await shop.deactivate(key, "a")
    assert {row["ip"] for row in await shop.log(key)} == {"127.0.0.0"}
    await shop.activate(key, "a")
    assert (await shop.show(key))["ActivatedMachines"][0]["IP"] == "127.0.0.1"
    (kept,) = await shop.rows("select m.* from machines m join licenses l on l.id = license_id where l.product_id = $1")
    assert (kept["ip"], kept["proxy_ip"]) == ("127.0.0.1", "")


async def test_the_license_shows_the_key_as_it_is_stored_however_it_was_typed(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=3)
    for number, typed in enumerate((key.lower(), f"  {key} ", f"\t{key.title()}\r\n")):
        assert shop.document(await shop.activate(typed, f"m{number}", **STRING_SIGN))["Key"] == key
        assert (await shop.show(typed))["Key"] == key
        assert await shop.deactivate(typed, f"m{number}") == DONE
    for other in (key.replace("-", ""), key.replace("-", " "), key[:-1], "0"):
        assert await shop.activate(other, "a") == refused(NO_KEY)
    for empty in ("", "   "):
        assert await shop.activate(empty, "a") == refused(INPUT)


# ---- what is read


async def test_get_key_registers_nothing_starts_nothing_and_is_not_logged(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1, TrialActivation=True)
    await shop.change(key, "expires = 5")
    for _ in range(3):
        shown = await shop.show(key, MachineCode="a", FloatingTimeInterval=100)
        assert (shown["ActivatedMachines"], shown["Expires"]) == ([], 5)
    assert await shop.states(key) == []


async def test_the_answer_comes_in_four_forms(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    await shop.activate(key, "a")
    for method in ("key/Activate", "key/GetKey"):
        ask = {"Key": key, "MachineCode": "a"}
        unsigned = await shop.call(method, **ask)
        assert list(unsigned) == ["licenseKey", "result", "message"]
        assert unsigned["licenseKey"]["signDate"] == "0001-01-01T00:00:00"
        assert unsigned["licenseKey"]["signature"] is None
        linq = await shop.call(method, **ask, Sign=True, SignMethod="LinqSign")
        assert list(linq) == ["licenseKey", "result", "message"]
        assert len(b64decode(linq["licenseKey"]["signature"])) == 256
        text = await shop.call(method, **ask, SignMethod="StringSign")
        assert list(text) == ["licenseKey", "signature", "result", "message"]
        assert shop.document(text)["Key"] == key
        told = await shop.call(method, **ask, SignMethod=1, Metadata=True)
        assert list(told) == ["metadata", "licenseKey", "signature", "result", "message"]
        assert (told["metadata"]["activatedMachines"], told["metadata"]["usedFloatingMachines"]) == (1, 0)
        data = json.loads(b64decode(json.loads(b64decode(told["metadata"]["signature"]))["Data"]))
        assert data["ActivatedMachines"] == 1


async def test_metadata_tells_what_the_license_is_worth(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1, F1=True, F3=True)

    async def status() -> dict:
        return (await shop.call("key/GetKey", Key=key, Metadata=True))["metadata"]["licenseStatus"]

    good = {"isValid": True, "reasonForInvalidity": 0, "trial": True, "timeLimited": True, "timeLeft": 29}
    assert await status() in (good, {**good, "timeLeft": 30})
    await shop.change(key, "expires = $4", int(time.time()) - 10)
    assert await status() == {**good, "isValid": False, "reasonForInvalidity": 1, "timeLeft": -1}
    await shop.call("key/BlockKey", Key=key)
    assert await status() == {**good, "isValid": False, "reasonForInvalidity": 2, "timeLeft": -1}


NEUTRAL = {
    **dict.fromkeys(("ProductId", "ID"), 0),
    "Key": None,
    **dict.fromkeys(("Created", "Expires", "Period"), 0),
    **{f"F{number}": False for number in range(1, 9)},
    "Notes": None,
    "Block": False,
    "GlobalId": 0,
    "Customer": None,
    "ActivatedMachines": [],
    "TrialActivation": False,
    "MaxNoOfMachines": 0,
    "AllowedMachines": None,
    "DataObjects": [],
    "Reseller": None,
}


async def full_license(shop: Shop) -> str:
    """A license with something in every field that can have something."""
    customer = await shop.office.database.fetchval(
        "insert into customers (account_id, name, email, company_name, created, stamp)"
        " values ($1, 'Ada', 'ada@example.org', 'Engines', 1000, 1) returning id",
        shop.office.account.id,
    )
    features = {f"F{number}": True for number in range(1, 9)}
    key = await shop.new_key(
        MaxNoOfMachines=3, Notes="Order 77", CustomerId=customer, TrialActivation=True, AllowedMachines="vip", **features
    )
    await shop.new_key()
    await shop.add_data(key, "usagecount")
    await shop.activate(key, "a")
    return key


async def test_each_bit_of_the_mask_hides_one_field_which_stays_with_its_neutral_value(shop: Shop) -> None:
    key = await full_license(shop)
    await shop.call("key/BlockKey", Key=key)
    full = await shop.show(key)
    assert list(full) == [*NEUTRAL, "SignDate"]
    assert {name for name in NEUTRAL if full[name] == NEUTRAL[name]} == {"Reseller"}
    for bit, name in enumerate(NEUTRAL):
        shown = await shop.show(key, FieldsToReturn=1 << bit)
        assert {**shown, "SignDate": 0} == {**full, name: NEUTRAL[name], "SignDate": 0}
    masked = await shop.show(key, FieldsToReturn=(1 << 24) - 1)
    assert {**masked, "SignDate": 0} == {**NEUTRAL, "SignDate": 0}
    plain = (await shop.call("key/GetKey", Key=key, ModelVersion=3, FieldsToReturn=(1 << 24) - 1))["licenseKey"]
    assert (plain["created"], plain["expires"], plain["key"]) == ("0001-01-01T00:00:00", "0001-01-01T00:00:00", None)


async def test_where_machines_are_hidden_the_caller_still_finds_its_own(shop: Shop) -> None:
    key = await full_license(shop)
    hidden = {**STRING_SIGN, "FieldsToReturn": 1 << 18}
    assert machines(shop.document(await shop.activate(key, "b", **hidden))) == ["b"]
    assert machines(shop.document(await shop.activate(key, "a", **hidden))) == ["a"]
    assert machines(await shop.show(key, FieldsToReturn=1 << 18)) == []


async def test_the_mask_of_the_token_overrides_the_one_that_was_asked_for(shop: Shop) -> None:
    key = await full_license(shop)
    token = await shop.office.new_token("Activate", "GetKey", feature_lock=4472832)
    for shown in (
        await shop.show(key, token=token, FieldsToReturn=1 << 2),
        shop.document(await shop.activate(key, "b", token=token, FieldsToReturn=1 << 2, **STRING_SIGN)),
    ):
        assert (shown["Key"], shown["Notes"], shown["DataObjects"]) == (key, None, [])
        assert set(machines(shown)) <= {"b"}
        assert shown["Customer"]["Name"] == "Ada"


# ---- who leaves


async def test_a_machine_that_leaves_is_forgotten_with_its_data_and_makes_room(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    await shop.activate(key, "a")
    await shop.add_data(key, "of the machine", machine="a")
    await shop.add_data(key, "of another", machine="b")
    await shop.add_data(key, "of the key")
    assert await shop.deactivate(key, "a", OSInfo='{"OSName":"x"}') == DONE
    assert await shop.deactivate(key, "a") == refused(NOT_ACTIVATED)
    assert (await shop.activate(key, "b"))["result"] == 0
    left = await shop.rows("select name from data_objects where referencer_type >= 2 and referencer_id in"
                           " (select id from licenses where product_id = $1) order by id")  # fmt: skip
    assert [row["name"] for row in left] == ["of another", "of the key"]
    assert await shop.states(key) == [2011, 6010, 6020, 2011]


async def test_without_a_limit_there_is_nothing_to_leave_but_what_came_before(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    await shop.activate(key, "a")
    await shop.call("key/MachineLockLimit", Key=key, NumberOfMachines=0)
    assert await shop.deactivate(key, "b") == refused(NOT_ACTIVATED)
    assert await shop.deactivate(key, "a") == DONE
    assert machines(await shop.show(key)) == []


# ---- the order of checks


@pytest.mark.parametrize("method", ["key/Activate", "key/GetKey", "key/Deactivate", "key/BlockKey", "key/UnblockKey",
                                    "key/MachineLockLimit", "key/ExtendLicense"])  # fmt: skip
async def test_checks_come_in_their_order(shop: Shop, other_shop: Shop, method: str) -> None:
    office = shop.office
    mine, blocked = await shop.new_key(MaxNoOfMachines=1), await shop.new_key(MaxNoOfMachines=1, Block=True)
    elsewhere = await other_shop.new_key()
    permission = method.partition("/")[2]
    locks = {"key_lock": await shop.global_id(mine)}
    token = await office.new_token(permission, **locks)
    in_product = await office.new_token(permission, product_lock=shop.id, **locks)
    others = await office.new_token("GetWebAPILog" if permission != "GetWebAPILog" else "Activate", **locks)
    bad = {"Key": None, "ProductId": "x"}
    for params, message in (
        ({"token": None, **bad}, AUTHENTICATE),
        ({"token": "garbage", **bad}, AUTHENTICATE),
        ({"token": unknown_token(token), **bad}, AUTHENTICATE),
        ({"token": others, **bad}, DENIED),
        ({"token": in_product, **bad}, INPUT),
        ({"token": in_product, "Key": None, "ProductId": 2_000_000_000}, INPUT),
        ({"token": in_product, "Key": mine, "ProductId": 2_000_000_000}, DENIED),
        ({"token": in_product, "Key": elsewhere, "ProductId": other_shop.id}, DENIED),
        ({"token": token, "Key": mine, "ProductId": 2_000_000_000}, NO_PRODUCT),
        ({"token": token, "Key": mine, "ProductId": other_shop.id}, NO_KEY),
        ({"token": token, "Key": "AAAAA-AAAAA-AAAAA-AAAAA", "ProductId": shop.id}, NO_KEY),
        ({"token": token, "Key": blocked, "ProductId": shop.id}, DENIED),
    ):
        assert await office.call(method, **params) == refused(message), params
    denied = {"key/Activate": [2020], "key/Deactivate": [6020], "key/GetKey": []}.get(method, [7020])
    assert await shop.states(blocked) == denied
    assert await shop.states(mine) == []


@pytest.mark.parametrize("wrong", [
    {"ProductId": -1}, {"ProductId": 2**31}, {"ProductId": ""}, {"ProductId": "3001.0"}, {"Sign": "maybe"},
    {"SignMethod": 2}, {"FieldsToReturn": -1}, {"FloatingTimeInterval": -1}, {"MaxOverdraft": -1}, {"ModelVersion": "one"},
    {"Metadata": "2"},
])  # fmt: skip
async def test_a_parameter_of_the_wrong_kind_is_bad_input_and_not_logged(shop: Shop, wrong: dict) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    assert await shop.activate(key, "a", **wrong) == refused(INPUT)
    assert await shop.states(key) == []


async def test_a_product_of_another_account_does_not_exist(shop: Shop) -> None:
    database = shop.office.database
    key = await shop.new_key(MaxNoOfMachines=1)
    account = await database.fetchval(
        "insert into accounts (name, public_key, created) values ('other', '', 0) returning id"
    )
    await database.execute("update products set account_id = $2, stamp = stamp + 1 where id = $1", shop.id, account)
    try:
        assert await shop.activate(key, "a") == refused(NO_PRODUCT)
        assert await shop.call("key/CreateKey") == refused(NO_PRODUCT)
        assert await shop.call("ai/GetWebAPILog", Key=key) == refused(NO_PRODUCT)
    finally:  # a server that starts wants the key file of each account
        back = "update products set account_id = $2, stamp = stamp + 2 where id = $1"
        await database.execute(back, shop.id, shop.office.account.id)
        await database.execute("delete from accounts where id = $1", account)


async def test_a_revoked_token_and_its_children_are_refused_by_every_call_that_begins_afterwards(office: Office) -> None:
    shop = await office.open_shop()
    key = await shop.new_key(MaxNoOfMachines=1)
    parent, child = await office.new_token(), await office.new_token()
    numbers = [json.loads(b64decode(token))[0] for token in (parent, child)]
    await office.database.execute("update tokens set parent_id = $1 where id = $2", *map(int, numbers))
    for token in (parent, child):
        answers = await asyncio.gather(*(shop.activate(key, "a", token=token) for _ in range(8)))
        assert {answer["message"] for answer in answers} == {""}
    assert await office.admin.revoke_token(office.account.id, int(numbers[0]), int(time.time()))
    for token in (parent, child):
        for method in ("key/Activate", "key/GetKey", "ai/GetWebAPILog", "key/CreateKey"):
            answers = await asyncio.gather(*(shop.call(method, Key=key, MachineCode="a", token=token) for _ in range(8)))
            assert {answer["message"] for answer in answers} == {AUTHENTICATE}


async def test_a_token_is_good_until_its_last_second_is_over(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    assert await shop.activate(key, "a", token=await shop.office.new_token(expires=int(time.time()) - 1)) == refused(
        AUTHENTICATE
    )
    assert (await shop.activate(key, "a", token=await shop.office.new_token(expires=int(time.time()) + 60)))["result"] == 0
