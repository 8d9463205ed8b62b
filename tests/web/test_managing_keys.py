"""CreateKey and the methods that change a key, with what both logs say of them."""

import asyncio
import itertools
import json
import secrets
import time

import pytest
from office import BLOCKED, DAY, DENIED, DONE, INPUT, LIMIT, NO_KEY, NO_PRODUCT, Answer, Shop, refused, token_id

NOTES = refused("The notes field cannot be more than 500 characters.")
CUSTOMER = refused("Could not find the customer.")
RESELLER = refused("Could not issue a new license. Error message: Could not find the reseller.")


async def create(shop: Shop, **params: object) -> Answer:
    return await shop.call("key/CreateKey", **params)


async def object_log(shop: Shop) -> list[tuple[str, int, str, Answer]]:
    """What the object log says of the keys of a product: action, token and changes."""
    rows = await shop.rows(
        "select o.action, o.token_id, o.object_type, o.changes from object_log o join licenses l on l.id = o.object_id"
        " where l.product_id = $1 and o.object_type = 'Key' order by o.id"
    )
    return [(row["action"], row["token_id"], row["object_type"], json.loads(row["changes"])) for row in rows]


async def customers(shop: Shop, email: str) -> list[Answer]:
    """All that is kept of the customers with an email."""
    return (await shop.office.call("customer/GetCustomers", Search=email, ModelVersion=2))["customers"]


async def numbers(shop: Shop) -> list[int]:
    return [row["number"] for row in await shop.rows("select number from licenses where product_id = $1 order by 1")]


# ---- CreateKey


async def test_a_key_with_nothing_said_is_an_empty_one(shop: Shop) -> None:
    began = int(time.time())
    answer = await create(shop)
    assert answer == {"key": answer["key"], **DONE}
    shown = await shop.show(answer["key"])
    assert began <= shown["Created"] <= time.time()
    assert shown == {
        "ProductId": shop.id, "ID": 1, "Key": answer["key"], "Created": shown["Created"], "Expires": shown["Created"],
        "Period": 0, **{f"F{number}": False for number in range(1, 9)}, "Notes": "", "Block": False,
        "GlobalId": await shop.global_id(answer["key"]), "Customer": None, "ActivatedMachines": [], "TrialActivation": False,
        "MaxNoOfMachines": 0, "AllowedMachines": "", "DataObjects": [], "Reseller": None, "SignDate": shown["SignDate"],
    }  # fmt: skip


async def test_a_key_is_made_as_it_was_asked_for(shop: Shop) -> None:
    customer = await shop.office.database.fetchval(
        "insert into customers (account_id, name, created, stamp) values ($1, 'Ada', 1000, 1) returning id",
        shop.office.account.id,
    )
    answer = await create(
        shop, Period=36_500, F1=True, f2="on", F3="no", F8=1, Notes="ä" * 500, Block="TRUE", CustomerId=customer,
        TrialActivation=True, MaxNoOfMachines=7, AllowedMachines="a\nb", NoOfKeys=1,
    )  # fmt: skip
    assert answer == {"key": answer["key"], "customerId": customer, **DONE}
    shown = await shop.show(answer["key"])
    assert shown["Expires"] == shown["Created"] + 36_500 * DAY
    assert [shown[f"F{number}"] for number in range(1, 9)] == [True, True, False, False, False, False, False, True]
    wanted = {"Period": 36_500, "Notes": "ä" * 500, "Block": True, "TrialActivation": True, "MaxNoOfMachines": 7,
              "AllowedMachines": "a\nb",
              "Customer": {"Id": customer, "Name": "Ada", "Email": "", "CompanyName": "", "Created": 1000}}  # fmt: skip
    assert {name: shown[name] for name in wanted} == wanted


@pytest.mark.parametrize("none", ["0", "", "None", "null"])
async def test_what_sdks_send_for_what_they_were_not_given_is_not_given(shop: Shop, none: str) -> None:
    answer = await create(
        shop, CustomerId=none, ResellerId=none, Notes=none.strip("0"), AllowedMachines=none.strip("0"), NoOfKeys=none,
        Period=none, MaxNoOfMachines=none, NewCustomer="False", AddOrUseExistingCustomer="", Name="None", Email="None",
        CompanyName="None",
    )  # fmt: skip
    assert answer == {"key": answer["key"], **DONE}
    shown = await shop.show(answer["key"])
    assert (shown["Notes"], shown["AllowedMachines"], shown["Period"], shown["Customer"]) == ("", "", 0, None)


async def test_several_keys_are_all_returned_and_each_is_logged(shop: Shop) -> None:
    answer = await create(shop, NoOfKeys=1000, MaxNoOfMachines=1)
    assert list(answer) == ["key", "keys", "result", "message"]
    assert len(set(answer["keys"])) == 1000
    assert answer["key"] == answer["keys"][0]
    made = await shop.rows("select key, number from licenses where product_id = $1 order by number")
    assert [row["number"] for row in made] == list(range(1, 1001))
    assert [row["key"] for row in made] == answer["keys"]
    assert [row["key"] for row in await shop.log(States=3010)] == answer["keys"]
    assert len(await object_log(shop)) == 1000


@pytest.mark.parametrize("wrong", [
    {"NoOfKeys": 1001}, {"NoOfKeys": -1}, {"Period": -1}, {"Period": 36_501}, {"MaxNoOfMachines": -1}, {"CustomerId": -1},
    {"ResellerId": -1}, {"F1": "maybe"}, {"ProductId": None}, {"ProductId": "x"},
])  # fmt: skip
async def test_a_key_with_bad_parameters_is_not_made_and_not_logged(shop: Shop, wrong: dict) -> None:
    assert await create(shop, **wrong) == refused(INPUT)
    assert await shop.log() == []
    assert await numbers(shop) == []


@pytest.mark.parametrize(("wrong", "answer"), [
    ({"Notes": "n" * 501}, NOTES), ({"CustomerId": 2_000_000_000}, CUSTOMER), ({"ResellerId": 1}, RESELLER),
    ({"Notes": "n" * 501, "ResellerId": 1}, NOTES), ({"ResellerId": 1, "CustomerId": 2_000_000_000}, RESELLER),
])  # fmt: skip
async def test_a_key_that_cannot_be_made_is_logged_once_and_costs_no_number(shop: Shop, wrong: dict, answer: Answer) -> None:
    assert await create(shop, NoOfKeys=3, **wrong) == answer
    (row,) = await shop.log()
    assert (row["state"], row["key"], row["ip"]) == (3020, "", "127.0.0.0")
    await create(shop)
    assert await numbers(shop) == [1]
    assert [action for action, *_ in await object_log(shop)] == ["Create"]


@pytest.mark.parametrize("flag", ["NewCustomer", "AddOrUseExistingCustomer"])
async def test_a_customer_is_made_along_with_a_key_by_those_who_may_add_customers(shop: Shop, flag: str) -> None:
    token = await shop.office.new_token("CreateKey")
    asked = {flag: True, "Email": f"{secrets.token_hex(8)}@example.org"}
    assert await create(shop, **asked, token=token) == refused(DENIED)
    assert await create(shop, **asked, CustomerId=1) == refused(INPUT)
    assert await create(shop, **asked, Name="n" * 101) == refused("The name of the customer is limited to 100 characters.")
    assert await numbers(shop) == []
    assert await customers(shop, asked["Email"]) == []
    assert [row["state"] for row in await shop.log()] == [3020]


async def test_a_new_customer_is_as_it_was_asked_for_and_its_keys_show_it(shop: Shop) -> None:
    email = f"{secrets.token_hex(8)}@example.org"
    asked = {"NewCustomer": True, "Name": "Ada", "Email": email, "CompanyName": "Acme", "AllowActivationManagement": True}
    answer = await create(shop, **asked, Notes="of the key", NoOfKeys=2)
    number = answer["customerId"]
    assert answer == {"key": answer["key"], "keys": answer["keys"], "customerId": number, **DONE}
    for key in answer["keys"]:
        shown = await shop.show(key)
        assert (shown["Notes"], shown["Customer"]["Name"], shown["Customer"]["Id"]) == ("of the key", "Ada", number)
    (kept,) = await customers(shop, email)
    assert (kept["companyName"], kept["notes"], kept["allowActivationManagement"]) == ("Acme", "", True)
    assert (await create(shop, **asked))["customerId"] != number


async def test_who_has_the_email_already_is_used_again(shop: Shop) -> None:
    email = f"{secrets.token_hex(8)}@Example.org"
    asked = {"AddOrUseExistingCustomer": True, "Email": email}
    number = (await create(shop, **asked, Name="Ada"))["customerId"]
    again = await create(shop, AddOrUseExistingCustomer=True, NewCustomer=True, Email=email.upper(), Name="Bob")
    assert (again["customerId"], (await shop.show(again["key"]))["Customer"]["Name"]) == (number, "Ada")
    assert [each["id"] for each in await customers(shop, email)] == [number]
    token = await shop.office.new_token("CreateKey")
    without = await create(shop, AddOrUseExistingCustomer=True, Name="Ada", token=token)
    assert without == {"key": without["key"], **DONE}


async def test_twenty_calls_at_once_make_one_customer_of_an_email(shop: Shop) -> None:
    email = f"{secrets.token_hex(8)}@example.org"
    answers = await asyncio.gather(
        *(create(shop, AddOrUseExistingCustomer=True, Email=email.upper() if odd % 2 else email) for odd in range(20))
    )
    (only,) = await customers(shop, email)
    assert [answer["customerId"] for answer in answers] == [only["id"]] * 20
    assert await numbers(shop) == list(range(1, 21))


async def test_keys_made_at_once_have_numbers_without_gaps_or_doubles(shop: Shop) -> None:
    asked = [{"NoOfKeys": 3}, {"ResellerId": 5}, {"NoOfKeys": 1}, {"CustomerId": 2_000_000_000}] * 5
    answers = await asyncio.gather(*(create(shop, **each) for each in asked))
    assert [answer["result"] for answer in answers] == [0, 1, 0, 1] * 5
    assert await numbers(shop) == list(range(1, 21))
    assert len({key for answer in answers for key in answer.get("keys", [answer.get("key")])} - {None}) == 20
    assert sorted(row["state"] for row in await shop.log()) == [3010] * 20 + [3020] * 10


async def test_two_products_count_for_themselves(shop: Shop, other_shop: Shop) -> None:
    for each in (shop, other_shop, shop):
        await create(each)
    assert (await numbers(shop), await numbers(other_shop)) == ([1, 2], [1])


# ---- what is changed later


async def test_what_is_changed_is_in_both_logs_with_the_token_that_did_it(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=2, F2=True)
    token = await shop.office.new_token("BlockKey", "UnblockKey", "MachineLockLimit", "ExtendLicense")
    expires = (await shop.show(key))["Expires"]
    for method, params in (("BlockKey", {}), ("UnblockKey", {}), ("MachineLockLimit", {"NumberOfMachines": 5}),
                           ("ExtendLicense", {"NoOfDays": 10})):  # fmt: skip
        assert await shop.call(f"key/{method}", Key=key, token=token, **params) == DONE
    number = token_id(token)
    assert await object_log(shop) == [
        ("Create", token_id(shop.office.token), "Key", {"period": 30, "features": 2, "maxNoOfMachines": 2}),
        ("BlockKey", number, "Key", {"block": [False, True]}),
        ("UnblockKey", number, "Key", {"block": [True, False]}),
        ("MachineLockLimit", number, "Key", {"maxNoOfMachines": [2, 5]}),
        ("ExtendLicense", number, "Key", {"expires": [expires, expires + 10 * DAY], "period": [30, 40]}),
    ]
    assert await shop.states(key) == [7010] * 4
    assert {(row["ip"], row["machineCode"], row["friendlyName"]) for row in await shop.log(key)} == {("127.0.0.0", "", "")}


async def test_blocking_holds_for_every_call_that_begins_afterwards_and_may_be_repeated(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    await asyncio.gather(*(shop.activate(key, "a") for _ in range(10)))
    for _ in range(2):
        assert await shop.call("key/BlockKey", Key=key) == DONE
        answers = await asyncio.gather(*(shop.activate(key, "a") for _ in range(10)))
        assert answers == [refused(BLOCKED)] * 10
    for _ in range(2):
        assert await shop.call("key/UnblockKey", Key=key) == DONE
        answers = await asyncio.gather(*(shop.activate(key, "a") for _ in range(10)))
        assert {answer["result"] for answer in answers} == {0}


async def test_a_raised_limit_admits_more_and_none_given_is_none(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    await shop.activate(key, "a")
    assert await shop.activate(key, "b") == refused(LIMIT)
    assert await shop.call("key/MachineLockLimit", Key=key, NumberOfMachines=2) == DONE
    assert (await shop.activate(key, "b"))["result"] == 0
    for wrong in (-1, 2**31, "many"):
        assert await shop.call("key/MachineLockLimit", Key=key, NumberOfMachines=wrong) == refused(INPUT)
    assert await shop.call("key/MachineLockLimit", Key=key) == DONE
    assert (await shop.show(key))["MaxNoOfMachines"] == 0
    assert await shop.states(key) == [2011, 2023, 7010, 2011, 7010]


@pytest.mark.parametrize(("period", "days", "moved", "period_after"), [
    (30, 10, 10, 40), (30, -10, -10, 20), (5, -10, -10, 0), (30, 0, 0, 30), (30, "", 0, 30), (0, 36_500, 36_500, 36_500),
])  # fmt: skip
async def test_a_key_that_runs_is_extended_from_its_end(
    shop: Shop, period: int, days: object, moved: int, period_after: int
) -> None:
    key = await shop.new_key(Period=period)
    ends = int(time.time()) + 30 * DAY
    await shop.change(key, "expires = $4", ends)
    assert await shop.call("key/ExtendLicense", Key=key, NoOfDays=days) == DONE
    shown = await shop.show(key)
    assert (shown["Expires"], shown["Period"]) == (ends + moved * DAY, period_after)


@pytest.mark.parametrize("days", [10, 0, -10])
async def test_a_key_that_has_expired_is_extended_from_now(shop: Shop, days: int) -> None:
    key = await shop.new_key(Period=30)
    await shop.change(key, "expires = 999000000")
    began = int(time.time())
    assert await shop.call("key/ExtendLicense", Key=key, NoOfDays=days) == DONE
    shown = await shop.show(key)
    assert began <= shown["Expires"] - days * DAY <= time.time()
    assert shown["Period"] == 30 + days


@pytest.mark.parametrize("days", [-40_000, 3_000_000, 2**31 - 1, -(2**31) + 1])
async def test_an_extension_beyond_what_clients_can_read_is_bad_input_and_changes_nothing(shop: Shop, days: int) -> None:
    key = await shop.new_key()
    before = await shop.show(key)
    assert await shop.call("key/ExtendLicense", Key=key, NoOfDays=days) == refused(INPUT)
    assert {**await shop.show(key), "SignDate": 0} == {**before, "SignDate": 0}
    assert await shop.states(key) == [7020]
    assert [action for action, *_ in await object_log(shop)] == ["Create"]


@pytest.mark.parametrize(("setting", "blocked"), [(None, True), ("false", True), ("true", False)])
async def test_extending_unblocks_only_where_the_product_says_so(shop: Shop, setting: str | None, *, blocked: bool) -> None:
    if setting:
        await shop.set_up("cryptolens_unblockextendedlicenses", setting)
    key = await shop.new_key(Block=True)
    assert await shop.call("key/ExtendLicense", Key=key, NoOfDays=1) == DONE
    assert (await shop.show(key))["Block"] is blocked


async def test_changes_made_at_once_are_all_made(shop: Shop) -> None:
    key = await shop.new_key(Period=30)
    expires = (await shop.show(key))["Expires"]
    answers = await asyncio.gather(*(shop.call("key/ExtendLicense", Key=key, NoOfDays=1) for _ in range(30)))
    assert answers == [DONE] * 30
    shown = await shop.show(key)
    assert (shown["Expires"], shown["Period"]) == (expires + 30 * DAY, 60)
    assert [changes["period"] for _, _, _, changes in (await object_log(shop))[1:]] == [[30 + n, 31 + n] for n in range(30)]


EDITS = {
    "AddFeature": {"Feature": 1}, "RemoveFeature": {"Feature": 1}, "ChangeNotes": {"Notes": "note"},
    "ChangeCustomer": {"CustomerId": 2_000_000_000}, "TrialActivation": {"Enabled": True},
}  # fmt: skip


@pytest.mark.parametrize("method", EDITS)
async def test_an_edit_needs_a_key_that_is_there(shop: Shop, method: str) -> None:
    path, params = f"key/{method}", EDITS[method]
    assert await shop.call(path, **params) == refused(INPUT)
    assert await shop.call(path, Key="UNKNO-UNKNO-UNKNO-UNKNO", **params) == refused(NO_KEY)
    assert await shop.call(path, Key="x", **{**params, "ProductId": 2_000_000_000}) == refused(NO_PRODUCT)
    assert await shop.call(path, Key="x", **{**params, "ProductId": "x"}) == refused(INPUT)


async def test_features_are_set_and_cleared_one_by_one_on_blocked_keys_too(shop: Shop) -> None:
    key = await shop.new_key(F2=True, Block=True)
    expires = (await shop.show(key))["Expires"]
    for method, feature in (("AddFeature", 8), ("AddFeature", 8), ("RemoveFeature", 2), ("RemoveFeature", 3)):
        assert await shop.call(f"key/{method}", Key=key, Feature=feature) == DONE
    shown = await shop.show(key)
    assert [bit for bit in range(1, 9) if shown[f"F{bit}"]] == [8]
    assert (shown["Expires"], shown["Block"]) == (expires, True)
    bits = [changes["features"] for _, _, _, changes in (await object_log(shop))[1:]]
    assert bits == [[0b10, 0b1000_0010], [0b1000_0010] * 2, [0b1000_0010, 0b1000_0000], [0b1000_0000] * 2]
    assert await shop.states(key) == [7010] * 4
    for wrong in (0, 9, -1, "x", None):
        for method in ("AddFeature", "RemoveFeature"):
            assert await shop.call(f"key/{method}", Key=key, Feature=wrong) == refused(INPUT)


async def test_notes_are_replaced_and_cleared_and_never_in_the_object_log(shop: Shop) -> None:
    key = await shop.new_key(Notes="first")
    assert await shop.call("key/ChangeNotes", Key=key, Notes="ä" * 501) == NOTES
    assert (await shop.show(key))["Notes"] == "first"
    assert await shop.call("key/ChangeNotes", Key=key, Notes="ä" * 500) == DONE
    assert (await shop.show(key))["Notes"] == "ä" * 500
    for empty in ({"Notes": ""}, {"Notes": "None"}, {"Notes": "null"}, {}):
        await shop.call("key/ChangeNotes", Key=key, Notes="again")
        assert await shop.call("key/ChangeNotes", Key=key, **empty) == DONE
        assert (await shop.show(key))["Notes"] == ""
    assert {json.dumps(changes) for _, _, _, changes in (await object_log(shop))[1:]} == {'{"notes": true}'}
    assert (await shop.states(key))[:2] == [7020, 7010]


async def test_a_trial_countdown_is_switched_on_and_what_is_not_given_switches_it_off(shop: Shop) -> None:
    key = await shop.new_key()
    for params, enabled in (({"Enabled": True}, True), ({}, False), ({"Enabled": 1}, True), ({"Enabled": ""}, False)):
        assert await shop.call("key/TrialActivation", Key=key, **params) == DONE
        assert (await shop.show(key))["TrialActivation"] is enabled
    assert await shop.call("key/TrialActivation", Key=key, Enabled="maybe") == refused(INPUT)
    told = [changes for _, _, _, changes in (await object_log(shop))[1:]]
    assert told == [{"trialActivation": each} for each in ([False, True], [True, False]) * 2]


async def test_a_key_changes_hands_everywhere_at_once(shop: Shop) -> None:
    office, key = shop.office, await shop.new_key()
    ada, bob = [(await office.call("customer/AddCustomer", Name=name))["customerId"] for name in ("Ada", "Bob")]
    unassigned = refused("Customer not found, so current key no longer references any customer.")
    steps = [
        (ada, DONE, ada), (bob, DONE, bob), (bob, DONE, bob), (0, DONE, None), (ada, DONE, ada),
        (2_000_000_000, unassigned, None), (2_000_000_000, unassigned, None), (bob, DONE, bob), ("", DONE, None),
    ]  # fmt: skip
    for asked, answer, holder in steps:
        assert await shop.call("key/ChangeCustomer", Key=key, CustomerId=asked) == answer
        shown = await asyncio.gather(*(shop.show(key) for _ in range(4)))
        assert [each["Customer"] and each["Customer"]["Id"] for each in shown] == [holder] * 4
    told = [changes["customerId"] for _, _, _, changes in (await object_log(shop))[1:]]
    holders = [None, *(holder for *_, holder in steps)]
    assert told == [list(pair) for pair in itertools.pairwise(holders)]
    assert await shop.states(key) == [7010] * len(steps)
    for wrong in ("x", -1, 2**31):
        assert await shop.call("key/ChangeCustomer", Key=key, CustomerId=wrong) == refused(INPUT)


async def test_a_key_is_assigned_although_its_new_customer_is_changed_all_the_while(shop: Shop) -> None:
    office, key = shop.office, await shop.new_key()
    number = (await office.call("customer/AddCustomer"))["customerId"]
    calls = [
        call
        for turn in range(10)
        for call in (
            shop.call("key/ChangeCustomer", Key=key, CustomerId=number if turn % 2 else 0),
            office.call("customer/EditCustomer", CustomerId=number, Name=f"Ada {turn}"),
        )
    ]
    answers = await asyncio.gather(*calls)
    assert {answer["result"] for answer in answers} == {0}
    assert await shop.call("key/ChangeCustomer", Key=key, CustomerId=number) == DONE
    assert (await shop.show(key))["Customer"]["Id"] == number
