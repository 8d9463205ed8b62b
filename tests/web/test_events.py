"""Events: what clients tell of themselves and of their systems, and a reader who misses none of it."""

import asyncio
import json
import secrets
import time
from collections.abc import Mapping

import pytest
from office import (
    AUTHENTICATE,
    BLOCKED,
    DENIED,
    DONE,
    INPUT,
    LIMIT,
    NO_KEY,
    NO_PRODUCT,
    NOT_ACTIVATED,
    Answer,
    Office,
    Shop,
    refused,
    token_id,
)
from servers import until

from server.rules.term import LATEST
from server.wire.requests import INT64

ONE, MANY, READ = "ai/RegisterEvent", "ai/RegisterEvents", "ai/GetEvents"
SYSTEM = '{"OSName":"Linux","OSVersion":"6.18","Is64Bit":true}'
MISSING = "AAAAA-AAAAA-AAAAA-AAAAA"
ALL_WORKERS = 12  # calls, each of a connection of its own


async def read(shop: Shop, **params: object) -> list[Answer]:
    answer = await shop.call(READ, **params)
    assert (answer["result"], answer["message"]) == (0, "")
    return answer["events"]


async def told(shop: Shop, **params: object) -> list[tuple[str, int]]:
    return [(event["eventName"], event["value"]) for event in await read(shop, **params)]


def columns(events: list[Answer], *names: str) -> list[tuple[object, ...]]:
    return [tuple(event[name] for name in names) for event in events]


async def post(office: Office, method: str, asked: Mapping[str, object]) -> Answer:
    """Call with a JSON body."""
    body = {"token": office.token, **asked}
    async with office.http.post(f"{office.live.url}/api/{method}", json=body) as answer:
        assert answer.status == 200
        return await answer.json()


async def test_an_event_is_read_as_it_was_registered(shop: Shop) -> None:
    key = await shop.new_key()
    began = int(time.time())
    asked = {"MachineCode": "m", "FeatureName": "Export", "EventName": "click", "Value": 3, "Currency": "USD"}
    for path in (ONE, "AI/RegisterEvent", "/ai/RegisterEvent"):
        assert await shop.call(path, Key=key.lower(), **asked) == DONE
    answer = await shop.call(READ, Limit=2)
    assert list(answer) == ["events", "result", "message"]
    first, second = answer["events"]
    assert first["id"] < second["id"]
    assert began <= first["time"] <= time.time()
    assert first == {
        "id": first["id"], "productId": shop.id, "key": key, "machineCode": "m", "featureName": "Export",
        "eventName": "click", "value": 3, "currency": "USD", "time": first["time"], "metadata": None,
    }  # fmt: skip
    assert list(first)[:4] == ["id", "productId", "key", "machineCode"]


async def test_an_event_changes_nothing_and_is_in_no_other_log(shop: Shop) -> None:
    key = await shop.new_key()
    stamp = "select stamp from licenses where product_id = $1"
    before = await shop.rows(stamp)
    assert await shop.call(ONE, Key=key, EventName="e") == DONE
    assert await shop.rows(stamp) == before
    assert await shop.states(key) == []
    (written,) = await shop.rows("select to_jsonb(e)::text as event from events e where product_id = $1")
    assert "127.0.0" not in written["event"]


async def test_an_event_may_be_of_a_product_or_of_nothing(shop: Shop) -> None:
    mark = secrets.token_hex(8)
    assert await shop.call(ONE, EventName="product", Metadata=mark) == DONE
    for product in (None, 0, ""):
        assert await shop.office.call(ONE, ProductId=product, Key="", EventName="nothing", Metadata=mark) == DONE
    assert await shop.call(MANY, Events='[{"EventName":"a"},{"EventName":"b"}]') == DONE
    assert await told(shop) == [("product", 0), ("a", 0), ("b", 0)]
    found = (await shop.office.call(READ, Metadata=mark))["events"]
    assert columns(found, "productId", "key", "machineCode", "eventName", "currency") == [
        (shop.id, "", "", "product", ""), *[(0, "", "", "nothing", "")] * 3,
    ]  # fmt: skip


async def test_several_events_come_as_a_list_with_names_in_any_case(shop: Shop) -> None:
    key = await shop.new_key()
    net = [{"FeatureName": "f", "EventName": "e", "Value": 3, "Currency": None, "Time": 5, "Metadata": None}]
    assert await shop.call(MANY, Key=key, MachineCode="m", Events=json.dumps(net)) == DONE
    plain = [
        {"eventname": "x", "TIME": LATEST, "value": "-4", "Metadata": "{}"}, {"time": None, "eventName": "y"}, {"Time": 0},
    ]  # fmt: skip
    asked = {"ProductId": shop.id, "Key": key, "Events": plain}
    assert await post(shop.office, MANY, asked) == DONE
    first, *others = await read(shop)
    assert columns([first], "machineCode", "featureName", "eventName", "value", "currency", "time", "metadata") == [
        ("m", "f", "e", 3, "", 5, None)
    ]
    assert columns(others, "eventName", "value", "metadata") == [("x", -4, "{}"), ("y", 0, None), ("", 0, None)]
    assert others[0]["time"] == LATEST
    assert all(abs(each["time"] - time.time()) < 60 for each in others[1:])


async def test_a_thousand_events_are_kept_in_their_order(shop: Shop) -> None:
    key = await shop.new_key()
    events = json.dumps([{"Value": number} for number in range(1_000)])
    for params in ({"Key": key}, {}):
        assert await shop.call(MANY, Events=events, **params) == DONE
    values = [row["value"] for row in await shop.rows("select value from events where product_id = $1 order by id")]
    assert values == [*range(1_000)] * 2


async def test_what_is_too_long_is_cut_or_refused(shop: Shop) -> None:
    key = await shop.new_key()
    long = {"FeatureName": "é" * 101, "EventName": "漢" * 101, "Currency": "é" * 11, "Metadata": "é" * 10_000}
    for params in ({"Key": key}, {}):
        assert await shop.call(ONE, Value=-INT64 - 1, **long, **params) == DONE
        assert await shop.call(ONE, Metadata="m" * 10_001, **params) == refused(INPUT)
    kept = await read(shop)
    assert [each["key"] for each in kept] == [key, ""]
    for each in kept:
        assert (each["featureName"], each["eventName"], each["currency"]) == ("é" * 100, "漢" * 100, "é" * 10)
        assert (each["metadata"], each["value"]) == ("é" * 10_000, -INT64 - 1)


@pytest.mark.parametrize("wrong", [
    {"ProductId": None}, {"ProductId": 0}, {"ProductId": "x"}, {"ProductId": -1}, {"MachineCode": "m" * 513},
])  # fmt: skip
async def test_an_event_with_bad_input_is_refused(shop: Shop, wrong: dict) -> None:
    key = await shop.new_key()
    for method, params in ((ONE, {}), (MANY, {"Events": "[{}]"})):
        assert await shop.call(method, **{"Key": key, **params, **wrong}) == refused(INPUT)
    assert await read(shop) == []


@pytest.mark.parametrize("value", ["x", "1.5", INT64 + 1])
async def test_a_value_that_is_none_is_refused(shop: Shop, value: object) -> None:
    assert await shop.call(ONE, Value=value) == refused(INPUT)
    assert await read(shop) == []


@pytest.mark.parametrize("events", [
    None, "", "x", "{}", "[1]", "[[]]", '["a"]', "[null]", '[{"EventName":"a\\u0000b"}]', '[{"Metadata":"\\u0000"}]',
    '[{"EventName":"\\ud800"}]', '[{},{"Time":-1}]', f'[{{"Time":{LATEST + 1}}}]', '[{"Time":"soon"}]', '[{"Value":1.5}]',
    json.dumps([{}] * 1_001), json.dumps([{"Metadata": "m" * 10_001}]),
])  # fmt: skip
async def test_a_list_with_one_bad_event_is_refused_whole(shop: Shop, events: object) -> None:
    key = await shop.new_key()
    for params in ({"Key": key}, {}):
        assert await shop.call(MANY, Events=events, **params) == refused(INPUT)
    assert await read(shop) == []


async def test_in_json_nothing_gets_through_that_the_database_cannot_keep(shop: Shop) -> None:
    for events in ([{"EventName": "a\0"}], [{"Metadata": "\0"}], [{"Metadata": {}}], [{"Value": True}], "x", 1, {}):
        assert await post(shop.office, MANY, {"ProductId": shop.id, "Events": events}) == refused(INPUT)
    assert await read(shop) == []


async def test_what_is_not_there_is_told(shop: Shop, other_shop: Shop) -> None:
    key = await other_shop.new_key()
    for method, params in ((ONE, {}), (MANY, {"Events": "[{}]"})):
        assert await shop.call(method, Key=key, **params) == refused(NO_KEY)
        assert await shop.call(method, ProductId=2_000_000_000, Key=key, **params) == refused(NO_PRODUCT)
        assert await shop.call(method, ProductId=2_000_000_000, **params) == refused(NO_PRODUCT)
    assert await read(shop) == []


async def test_a_lock_holds_whoever_registers_to_what_it_names(office: Office, shop: Shop, other_shop: Shop) -> None:
    mine, other, foreign = await shop.new_key(), await shop.new_key(), await other_shop.new_key()
    mark = secrets.token_hex(8)

    async def says(token: str, **params: object) -> str:
        answers = [
            await office.call(method, token=token, Metadata=mark, Events="[]", **params) for method in (ONE, MANY)
        ]  # fmt: skip
        assert answers[0] == answers[1]
        return answers[0]["message"]

    to_product = await office.new_token("RegisterEvent", product_lock=shop.id)
    assert await says(to_product) == await says(to_product, ProductId=shop.id, Key=other) == ""
    for params in ({}, {"Key": foreign}):
        assert await says(to_product, ProductId=other_shop.id, **params) == DENIED
    to_key = await office.new_token("RegisterEvent", key_lock=await shop.global_id(mine))
    for params in ({}, {"ProductId": other_shop.id}, {"ProductId": shop.id, "Key": mine}):
        assert await says(to_key, **params) == ""
    assert await says(to_key, ProductId=shop.id, Key=other) == DENIED
    to_none = await office.new_token("RegisterEvent", key_lock=-1)
    assert await says(to_none) == await says(to_none, ProductId=shop.id, Key=mine) == ""
    kept = (await office.call(READ, Metadata=mark))["events"]
    assert [(each["productId"], each["key"]) for each in kept] == [
        (0, ""), (shop.id, other), (0, ""), (other_shop.id, ""), (shop.id, mine), (0, ""), (shop.id, mine),
    ]  # fmt: skip


async def test_a_blocked_license_has_events_too(shop: Shop) -> None:
    key = await shop.new_key(Block=True)
    assert await shop.call(ONE, Key=key, EventName="e") == DONE
    assert await told(shop, Key=key) == [("e", 0)]


async def test_a_token_that_is_revoked_registers_and_reads_nothing_from_then_on(office: Office, shop: Shop) -> None:
    key = await shop.new_key()
    token = await office.new_token("RegisterEvent", "GetEvents")
    calls: list[tuple[str, dict]] = [(ONE, {"Key": key}), (ONE, {}), (MANY, {"Events": "[{}]"}), (READ, {})]
    for method, params in calls * ALL_WORKERS:
        assert (await shop.call(method, token=token, **params))["result"] == 0
    kept = len(await read(shop, Limit=100))
    assert await office.admin.revoke_token(office.account.id, token_id(token), int(time.time()))
    for method, params in calls * ALL_WORKERS:
        assert await shop.call(method, token=token, **params) == refused(AUTHENTICATE)
    assert len(await read(shop, Limit=100)) == kept


# Reading


async def numbered(shop: Shop, count: int) -> list[int]:
    """Events with the values 1, 2, …; their ids."""
    events = json.dumps([{"Value": number, "Time": 100 + number} for number in range(1, count + 1)])
    assert await shop.call(MANY, Events=events) == DONE
    return [row["id"] for row in await shop.rows("select id from events where product_id = $1 order by id")]


async def test_pages_follow_each_other_in_both_directions(shop: Shop) -> None:
    ids = await numbered(shop, 25)

    async def page(**params: object) -> list[int]:
        cursors = {name: ids[value - 1] for name, value in params.items() if name in ("StartingAfter", "EndingBefore")}
        return [value for _, value in await told(shop, **{**params, **cursors})]

    assert await page() == await page(Limit=0) == await page(Limit="") == list(range(1, 11))
    assert await page(StartingAfter=10) == list(range(11, 21))
    assert await page(StartingAfter=25) == []
    assert await page(EndingBefore=25) == list(range(24, 14, -1))
    assert await page(EndingBefore=15, Limit=3) == [14, 13, 12]
    assert await page(EndingBefore=1) == []
    assert await page(StartingAfter=20, EndingBefore=3) == [2, 1]
    assert await page(Limit=5_000_000) == list(range(1, 26))
    net = {"StartingAfter": 0, "EndingBefore": 0, "Key": "", "Metadata": "", "Time": ""}
    python = {"StartingAfter": 0, "EndingBefore": 0, "Key": "", "Metadata": "None", "Time": "None"}
    assert await told(shop, **net) == await told(shop, **python) == await told(shop)
    beyond = await told(shop, EndingBefore=2**62, Limit=2)
    assert [value for _, value in beyond] == [25, 24]
    assert await told(shop, StartingAfter=2**62) == []


async def test_a_page_has_at_most_a_hundred(shop: Shop) -> None:
    await numbered(shop, 101)
    assert [value for _, value in await told(shop, Limit=1_000)] == list(range(1, 101))


async def test_filters_hold_what_they_say(shop: Shop) -> None:
    key = await shop.new_key()
    await shop.call(ONE, EventName="a", Metadata='{"Plan":"Pro 100%"}')
    await shop.call(ONE, Key=key, EventName="b", Metadata="plan_b")
    await shop.call(ONE, Key=await shop.new_key(), EventName="c")

    async def found(**params: object) -> str:
        return "".join(name for name, _ in await told(shop, **params))

    assert await found() == "abc"
    assert await found(Key=key.lower()) == "b"
    assert await found(Metadata="lan") == "ab"
    assert await found(Metadata="plan") == await found(Metadata="_") == "b"
    assert await found(Metadata="%") == await found(Metadata='"Plan":"Pro') == "a"
    assert await found(Metadata="lan", Key=key) == "b"
    assert await found(Metadata="none of it") == await found(ProductId=2_000_000_000) == ""


async def test_time_is_what_the_client_said(shop: Shop) -> None:
    await numbered(shop, 5)
    for when, expected in (
        (103, [3]), ('{"gte":103}', [3, 4, 5]), ('{"gt":103,"lte":104}', [4]), ('{"lt":102}', [1]), (0, [1, 2, 3, 4, 5]),
        ('{"gte":106}', []), ("x", None), (103.5, None), ('{"eq":1}', None),
    ):  # fmt: skip
        if expected is None:
            assert await shop.call(READ, Time=when) == refused(INPUT)
        else:
            assert [value for _, value in await told(shop, Time=when)] == expected, when
    answer = await post(shop.office, READ, {"ProductId": shop.id, "Time": {"gte": 104}})
    assert columns(answer["events"], "value") == [(4,), (5,)]


@pytest.mark.parametrize("wrong", [
    {"Limit": -1}, {"Limit": "x"}, {"StartingAfter": -1}, {"EndingBefore": "x"}, {"ProductId": -1},
    {"Key": MISSING, "ProductId": 0}, {"Key": MISSING, "ProductId": None},
])  # fmt: skip
async def test_a_filter_that_is_none_is_bad_input(shop: Shop, wrong: dict) -> None:
    assert await shop.call(READ, **wrong) == refused(INPUT)


async def test_a_key_must_be_there_and_a_product_alone_need_not(shop: Shop) -> None:
    assert await shop.call(READ, Key=MISSING) == refused(NO_KEY)
    assert await shop.call(READ, Key=MISSING, ProductId=2_000_000_000) == refused(NO_PRODUCT)
    assert await shop.call(READ, ProductId=2_000_000_000) == {"events": [], "result": 0, "message": ""}


async def test_a_lock_holds_a_reader_to_what_it_names(office: Office, shop: Shop, other_shop: Shop) -> None:
    mine, other, foreign = await shop.new_key(), await shop.new_key(), await other_shop.new_key()
    mark = secrets.token_hex(8)
    for place, key in ((shop, mine), (shop, other), (shop, ""), (other_shop, foreign)):
        assert await place.call(ONE, Key=key, Metadata=mark) == DONE
    assert await office.call(ONE, Metadata=mark) == DONE

    async def seen(token: str, **params: object) -> object:
        answer = await office.call(READ, token=token, Metadata=mark, **params)
        return [row["key"] for row in answer["events"]] if answer["result"] == 0 else answer["message"]

    assert await seen(office.token) == [mine, other, "", foreign, ""]
    to_product = await office.new_token("GetEvents", product_lock=shop.id)
    assert await seen(to_product) == await seen(to_product, ProductId=shop.id) == [mine, other, ""]
    assert await seen(to_product, ProductId=other_shop.id) == DENIED
    to_key = await office.new_token("GetEvents", key_lock=await shop.global_id(mine))
    assert await seen(to_key) == await seen(to_key, ProductId=shop.id, Key=mine) == [mine]
    assert await seen(to_key, ProductId=shop.id, Key=other) == DENIED
    assert await seen(to_key, ProductId=other_shop.id) == []
    to_none = await office.new_token("GetEvents", key_lock=-1)
    assert await seen(to_none) == await seen(to_none, ProductId=shop.id) == INPUT
    assert await seen(to_none, ProductId=other_shop.id, Key=foreign) == [foreign]


async def test_a_reader_who_follows_the_ids_while_others_write_sees_every_event_once(shop: Shop) -> None:
    keys = [*(await shop.call("key/CreateKey", NoOfKeys=3))["keys"], ""]
    writing = True

    async def write(key: str, writer: int) -> None:
        for number in range(25):
            assert await shop.call(ONE, Key=key, Value=100 * writer + number) == DONE

    async def follow() -> list[int]:
        seen: list[Answer] = []
        while True:
            over = not writing
            page = await read(shop, StartingAfter=seen[-1]["id"] if seen else 0, Limit=17)
            seen += page
            if over and not page:
                return [each["value"] for each in seen]

    reader = asyncio.create_task(follow())
    await asyncio.gather(*(write(key, writer) for writer, key in enumerate(keys * 2)))
    writing = False
    assert sorted(await reader) == [100 * writer + number for writer in range(8) for number in range(25)]


@pytest.mark.parametrize("how", ["by the ledger", "without a license"])
async def test_a_page_does_not_run_ahead_of_an_event_that_is_still_being_written(shop: Shop, how: str) -> None:
    key = await shop.new_key() if how == "by the ledger" else ""
    writer = await shop.office.live.database()
    try:
        await writer.execute("begin")
        await writer.execute("select log_writer_begins()")
        await writer.execute(
            "insert into events (account_id, product_id, license_id, machine_code, feature_name, event_name, value,"
            " currency, time, metadata) values ($1, $2, 0, '', '', 'slow', 0, '', 5, '')", shop.office.account.id, shop.id,
        )  # fmt: skip
        assert await shop.call(ONE, Key=key, EventName="quick") == DONE
        reading = asyncio.create_task(told(shop))
        done, _ = await asyncio.wait([reading], timeout=0.3)
        assert not done
        await writer.execute("commit")
    finally:
        await writer.close()
    assert await reading == [("slow", 0), ("quick", 0)]


WRITES = """
select exists (
    select from pg_locks w
    join pg_locks a on a.pid = w.pid and a.locktype = 'advisory' and a.objid = 5437140 and a.mode = 'ShareLock' and a.granted
    where w.relation = 'events'::regclass and not w.granted
)
"""


@pytest.mark.parametrize("how", ["by the ledger", "without a license"])
async def test_whoever_writes_an_event_holds_the_lock_that_readers_wait_for(shop: Shop, how: str) -> None:
    key = await shop.new_key() if how == "by the ledger" else ""
    blocker = await shop.office.live.database()
    try:
        await blocker.execute("begin")
        await blocker.execute("lock table events in share mode")
        writing = asyncio.create_task(shop.call(ONE, Key=key, EventName="e"))
        await until(lambda: shop.office.database.fetchval(WRITES), 4)
        await blocker.execute("rollback")
    finally:
        await blocker.close()
    assert await writing == DONE


# OSInfo


async def systems(shop: Shop) -> list[tuple[str, str, str]]:
    return [(each["eventName"], each["machineCode"], each["metadata"]) for each in await read(shop, Limit=100)]


@pytest.mark.parametrize("floating", [{}, {"FloatingTimeInterval": 100}], ids=["node-locked", "floating"])
async def test_a_call_that_says_its_system_leaves_one_event(shop: Shop, floating: dict) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    back = {"Floating": bool(floating)}
    for _ in range(2):
        assert (await shop.activate(key, "m", OSInfo=SYSTEM, **floating))["result"] == 0
    assert await shop.activate(key, "n", OSInfo=SYSTEM, **floating) == refused(LIMIT)
    assert await shop.deactivate(key, "m", OSInfo="linux", **back) == DONE
    again = await shop.deactivate(key, "m", OSInfo="linux", **back)
    assert again == (DONE if floating else refused(NOT_ACTIVATED))
    await shop.call("key/BlockKey", Key=key)
    assert await shop.activate(key, "b", OSInfo=SYSTEM, **floating) == refused(BLOCKED)
    assert await systems(shop) == [
        ("activate", "m", SYSTEM), ("activate", "m", SYSTEM), ("activate", "n", SYSTEM), ("deactivate", "m", "linux"),
        ("deactivate", "m", "linux"), ("activate", "b", SYSTEM),
    ]  # fmt: skip
    event, *_ = await read(shop, Key=key)
    assert (event["key"], event["featureName"], event["value"], event["currency"]) == (key, "", 0, "")
    log = [row["time"] for row in await shop.log(key) if row["machineCode"]]
    assert [each["time"] for each in await read(shop)] == log


@pytest.mark.parametrize("said", ["", "None", "null", None])
async def test_a_call_that_says_nothing_of_its_system_leaves_none(shop: Shop, said: str | None) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    for floating in ({}, {"FloatingTimeInterval": 100}):
        assert (await shop.activate(key, "m", OSInfo=said, **floating))["result"] == 0
        assert await shop.deactivate(key, "m", OSInfo=said, Floating=bool(floating)) == DONE
    assert await systems(shop) == []


async def test_a_call_that_reaches_no_license_leaves_none(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    assert await shop.activate(MISSING, "m", OSInfo=SYSTEM) == refused(NO_KEY)
    assert await shop.activate(key, "m", OSInfo=SYSTEM, MaxOverdraft=-1) == refused(INPUT)
    assert await shop.activate(key, "m", OSInfo=SYSTEM, token="") == refused(AUTHENTICATE)
    assert await systems(shop) == []


async def test_a_very_long_system_is_cut(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    assert (await shop.activate(key, "m", OSInfo="x" * 10_001))["result"] == 0
    assert await systems(shop) == [("activate", "m", "x" * 10_000)]
