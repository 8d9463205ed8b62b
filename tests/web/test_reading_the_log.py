"""GetWebAPILog: pages that follow each other, filters, locks, and a reader who misses nothing."""

import asyncio
import time

import pytest
from office import DENIED, INPUT, NO_KEY, NO_PRODUCT, Answer, Office, Shop, refused


async def read(shop: Shop, **params: object) -> list[Answer]:
    answer = await shop.call("ai/GetWebAPILog", **params)
    assert (answer["result"], answer["message"]) == (0, "")
    return answer["logs"]


async def test_pages_follow_each_other_in_both_directions(shop: Shop) -> None:
    await shop.call("key/CreateKey", NoOfKeys=25)
    ids = [row["id"] for row in await read(shop, Limit=1000)]
    assert ids == sorted(set(ids))
    assert len(ids) == 25

    async def page(**params: object) -> list[int]:
        """The page as the numbers 1…25; cursors are given so too."""
        cursors = {
            name: ids[value - 1] if name in ("StartingAfter", "EndingBefore") else value for name, value in params.items()
        }
        return [ids.index(row["id"]) + 1 for row in await read(shop, **cursors)]

    assert await page() == list(range(1, 11))
    assert await page(Limit=0, StartingAfter=10) == list(range(11, 21))
    assert await page(StartingAfter=20) == list(range(21, 26))
    assert await page(StartingAfter=25) == []
    assert await page(EndingBefore=25) == list(range(24, 14, -1))
    assert await page(EndingBefore=15) == list(range(14, 4, -1))
    assert await page(EndingBefore=5) == [4, 3, 2, 1]
    assert await page(EndingBefore=1) == []
    assert await page(OrderBy="Id descending") == list(range(25, 15, -1))
    assert await page(OrderBy="time  DESCENDING ") == list(range(25, 15, -1))
    assert await page(OrderBy="Time descending", EndingBefore=16) == list(range(15, 5, -1))
    assert await page(OrderBy="Id descending", StartingAfter=20, Limit=3) == [25, 24, 23]
    assert await page(OrderBy="Id ascending", EndingBefore=3) == [1, 2]
    assert await page(StartingAfter=20, EndingBefore=3) == [2, 1]
    assert (
        await page(Limit=2, OrderBy="") == await page(Limit=2, OrderBy="None") == await page(Limit=2, OrderBy="Id") == [1, 2]
    )
    assert await page(Limit=5_000_000) == list(range(1, 26))


async def test_a_row_has_these_fields_and_an_empty_page_is_a_list(shop: Shop) -> None:
    assert await shop.call("ai/GetWebAPILog") == {"logs": [], "result": 0, "message": ""}
    key = await shop.new_key(MaxNoOfMachines=1)
    began = int(time.time())
    await shop.activate(key, "m", FriendlyName="Desk")
    _, row = await read(shop)
    assert isinstance(row.pop("id"), int)
    assert began <= row.pop("time") <= time.time()
    plain = {"productId": shop.id, "key": key, "ip": "127.0.0.0", "state": 2011, "machineCode": "m", "friendlyName": "Desk",
             "floatingExpires": 0, "doIntValue": 0, "doId": 0}  # fmt: skip
    assert row == plain
    _, told = await read(shop, AnomalyClassification=True)
    assert {name: told[name] for name in told if name not in ("id", "time")} == {
        **plain, "isAnomaly": False, "anomalyProperties": None,
    }  # fmt: skip


async def test_what_net_and_python_send_unset_filters_nothing(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    await shop.activate(key, "m")
    everything = await read(shop)
    net = {"StartingAfter": 0, "EndingBefore": 0, "Key": "", "FriendlyName": "", "MachineCode": "", "States": "", "Time": ""}
    python = {
        "StartingAfter": 0,
        "EndingBefore": 0,
        "FriendlyName": "None",
        "OrderBy": "None",
        "States": "None",
        "Time": "None",
    }
    assert await read(shop, **net) == await read(shop, **python) == everything
    anywhere = (await shop.office.call("ai/GetWebAPILog", ProductId=0, OrderBy="Id descending", Limit=2))["logs"]
    assert anywhere == everything[::-1]


async def test_filters_hold_what_they_say(shop: Shop) -> None:
    one, two = await shop.new_key(MaxNoOfMachines=1), await shop.new_key(MaxNoOfMachines=1)
    for key, code, name in ((one, "mach", "Anna's 100% PC"), (two, "Mach", "anna_b"), (one, "mach2", "ÄNNA"), (two, "", "")):
        await shop.activate(key, code, FriendlyName=name)

    async def found(**params: object) -> list[tuple[int, str]]:
        return [(row["state"], row["machineCode"]) for row in await read(shop, **params)]

    everything = [(3010, ""), (3010, ""), (2011, "mach"), (2011, "Mach"), (2023, "mach2"), (2023, "")]
    assert await found() == everything
    assert await found(MachineCode="mach") == [everything[2]]
    assert await found(MachineCode="mac") == await found(MachineCode="%") == []
    assert await found(FriendlyName="anna") == [everything[2], everything[3]]
    assert await found(FriendlyName="%") == [everything[2]]
    assert await found(FriendlyName="_") == [everything[3]]
    assert await found(FriendlyName="\\") == []
    assert await found(Key=one.lower()) == [everything[0], everything[2], everything[4]]
    assert await found(Key=one, States="[2023]", MachineCode="mach2", FriendlyName="N") == [everything[4]]
    for states in ("[2011,2023]", "2011,2023", " 2011 , 2023 ", "[ 2023 , 2011 ]"):
        assert await found(States=states) == everything[2:]
    assert await found(States="2011") == await found(States="[2011]") == everything[2:4]
    assert await found(States="[]") == everything
    assert await found(States="[7010]") == []


async def test_a_part_of_a_name_is_found_in_either_case_in_any_alphabet(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    await shop.activate(key, "m", FriendlyName="Ängström's Офис")
    for part in ("ängs", "ÄNGS", "офис", "ОФИС"):
        assert [row["state"] for row in await read(shop, FriendlyName=part)] == [2011], part


async def test_time_is_an_instant_or_an_open_or_closed_span(shop: Shop) -> None:
    await shop.new_key()
    (row,) = await read(shop)
    when = row["time"]
    good = (when, f'{{"gte":{when},"lte":{when}}}', f'{{"gt":{when - 1},"lt":{when + 1}}}', f'{{"GTE":{when}}}',
            f'{{"lte":{when}}}', "{}", 0, f'{{"gt":null,"gte":{when}}}')  # fmt: skip
    for time_ in good:
        assert await read(shop, Time=time_) == [row], time_
    for time_ in (
        when + 1,
        when - 1,
        f'{{"gt":{when}}}',
        f'{{"lt":{when}}}',
        f'{{"gte":{when + 1}}}',
        f'{{"gte":{when},"lt":{when}}}',
    ):
        assert await read(shop, Time=time_) == [], time_


async def test_structured_filters_may_come_as_json(shop: Shop) -> None:
    key = await shop.new_key()
    (row,) = await read(shop)
    asked = {"token": shop.office.token, "productId": shop.id, "key": key, "states": [3010], "time": {"gte": row["time"]}}
    async with shop.office.http.post(f"{shop.office.live.url}/api/ai/GetWebAPILog", json=asked) as answer:
        assert (await answer.json())["logs"] == [row]


@pytest.mark.parametrize("wrong", [
    {"Limit": -1}, {"StartingAfter": -1}, {"EndingBefore": "x"}, {"States": "[x]"}, {"States": "[1"}, {"States": '{"a":1}'},
    {"States": "[99999]"}, {"States": ",".join(["1"] * 101)}, {"Time": "x"}, {"Time": "[1]"}, {"Time": '{"from":1}'},
    {"Time": "{"},    {"OrderBy": "Key"}, {"OrderBy": "Id; drop table log"}, {"ProductId": -1}, {"MachineCode": "m" * 513},
    {"Key": "AAAAA-AAAAA-AAAAA-AAAAA", "ProductId": 0}, {"Key": "AAAAA-AAAAA-AAAAA-AAAAA", "ProductId": None},
])  # fmt: skip
async def test_a_filter_that_is_none_is_bad_input(shop: Shop, wrong: dict) -> None:
    assert await shop.call("ai/GetWebAPILog", **wrong) == refused(INPUT)


async def test_a_key_must_be_there_and_a_product_alone_need_not(shop: Shop) -> None:
    missing = "AAAAA-AAAAA-AAAAA-AAAAA"
    assert await shop.call("ai/GetWebAPILog", Key=missing) == refused(NO_KEY)
    assert await shop.call("ai/GetWebAPILog", Key=missing, ProductId=2_000_000_000) == refused(NO_PRODUCT)
    assert await read(shop, ProductId=2_000_000_000) == []


async def test_reading_leaves_no_trace(shop: Shop) -> None:
    key = await shop.new_key()
    for params in ({}, {"Key": key}, {"Key": "none"}, {"Limit": -1}):
        await shop.call("ai/GetWebAPILog", **params)
    assert [row["state"] for row in await shop.log()] == [3010]


async def test_a_lock_holds_a_reader_to_what_it_names(office: Office) -> None:
    shop, elsewhere = await office.open_shop(), await office.open_shop()
    mine, other = await shop.new_key(), await shop.new_key()
    foreign = await elsewhere.new_key()

    async def seen(token: str, **params: object) -> object:
        answer = await office.call("ai/GetWebAPILog", token=token, Limit=1000, **params)
        return [row["key"] for row in answer["logs"]] if answer["result"] == 0 else answer["message"]

    to_product = await office.new_token("GetWebAPILog", product_lock=shop.id)
    assert (
        await seen(to_product)
        == await seen(to_product, ProductId=shop.id)
        == await seen(to_product, ProductId=0)
        == [mine, other]
    )
    assert await seen(to_product, ProductId=elsewhere.id) == await seen(to_product, ProductId=2_000_000_000) == DENIED
    assert await seen(to_product, ProductId=elsewhere.id, Key=foreign) == DENIED

    to_key = await office.new_token("GetWebAPILog", key_lock=await shop.global_id(mine))
    assert (
        await seen(to_key)
        == await seen(to_key, ProductId=shop.id)
        == await seen(to_key, ProductId=shop.id, Key=mine)
        == [mine]
    )
    assert (
        await seen(to_key, ProductId=shop.id, Key=other) == await seen(to_key, ProductId=elsewhere.id, Key=foreign) == DENIED
    )
    assert await seen(to_key, ProductId=elsewhere.id) == []

    knows = await office.new_token("GetWebAPILog", key_lock=-1)
    assert await seen(knows) == await seen(knows, ProductId=shop.id) == await seen(knows, Key=mine) == INPUT
    assert await seen(knows, ProductId=shop.id, Key=mine) == [mine]
    assert await seen(knows, ProductId=elsewhere.id, Key=foreign) == [foreign]

    both = await office.new_token("GetWebAPILog", product_lock=shop.id, key_lock=await shop.global_id(mine))
    assert await seen(both) == [mine]
    assert await seen(both, ProductId=shop.id, Key=other) == await seen(both, ProductId=elsewhere.id, Key=foreign) == DENIED
    assert await seen(await office.new_token("GetWebAPILog", product_lock=shop.id, key_lock=-1), ProductId=shop.id) == INPUT


async def test_a_reader_who_follows_the_ids_while_others_write_sees_every_row_once(shop: Shop) -> None:
    keys = (await shop.call("key/CreateKey", NoOfKeys=4, MaxNoOfMachines=1))["keys"]
    writing = True

    async def write(key: str, writer: int) -> None:
        for number in range(25):
            await shop.activate(key, f"{writer}/{number}")

    async def follow() -> list[int]:
        seen: list[int] = []
        while True:
            over = not writing
            rows = await read(shop, StartingAfter=seen[-1] if seen else 0, Limit=17)
            seen += [row["id"] for row in rows]
            if over and not rows:
                return seen

    reader = asyncio.create_task(follow())
    await asyncio.gather(*(write(key, writer) for writer, key in enumerate(keys * 2)))
    writing = False
    assert await reader == [row["id"] for row in await read(shop, Limit=1000)]
    assert len(await reader) == 4 + 8 * 25


async def test_a_page_does_not_run_ahead_of_a_row_that_is_still_being_written(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=0)
    writer = await shop.office.live.database()
    try:
        await writer.execute("begin")
        await writer.execute("select log_writer_begins()")
        slow = await writer.fetchval(
            "insert into log (account_id, product_id, license_id, key, ip, time, state, machine_code, friendly_name,"
            " floating_expires, do_int_value, do_id)"
            " select account_id, product_id, license_id, key, ip, time, 2010, 'slow', '', 0, 0, 0"
            " from log where product_id = $1 returning id",
            shop.id,
        )
        await shop.activate(key, "quick")
        reading = asyncio.create_task(read(shop))
        done, _ = await asyncio.wait([reading], timeout=0.3)
        assert not done
        await writer.execute("commit")
    finally:
        await writer.close()
    assert [row["machineCode"] for row in await reading] == ["", "slow", "quick"]
    assert slow in [row["id"] for row in await reading]
