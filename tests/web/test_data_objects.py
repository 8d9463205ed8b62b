"""Data objects, told as vendors and their customers use them: counters, settings and notes at whatever they hang at."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
from office import (
    AUTHENTICATE,
    BLOCKED,
    DENIED,
    DONE,
    INPUT,
    NO_OBJECT,
    NO_PRODUCT,
    Answer,
    Office,
    Shop,
    refused,
    token_id,
)

BOUND, OVERFLOW = "The bound has been reached.", "The operation would result in an overflow."
EXISTS, FULL = "A data object with the same name already exists.", "There are too many data objects already."
METHODS = ("AddDataObject", "ListDataObjects", "SetIntValue", "SetStringValue", "IncrementIntValue", "DecrementIntValue",
           "RemoveDataObject")  # fmt: skip
FORMS = ("", "ToKey", "ToMachineCode")
LOGGED = ("ToKey", "ToMachineCode", "Key")
NOTHING = 2_000_000_000


@dataclass(frozen=True, slots=True)
class At:
    """Something that objects hang at, and how calls name it: `kind` is a form, or of the general form a referencer."""

    shop: Shop
    kind: str
    key: str
    place: Answer
    tag: str

    async def on(self, method: str, **params: object) -> Answer:
        """Add or list. Names have the tag in them: the account is everybody's."""
        return await self.shop.office.call(self._path(method), **{**self.place, **params})

    async def one(self, method: str, number: int, **params: object) -> Answer:
        """Call a method on one object, by its id."""
        place = self.place if self.kind.startswith("To") else {}
        return await self.shop.office.call(self._path(method), **{**place, "Id": number, **params})

    async def add(self, name: str, **params: object) -> int:
        answer = await self.on("AddDataObject", Name=f"{name}{self.tag}", **params)
        assert answer == {"id": answer["id"], **DONE}
        return answer["id"]

    async def listed(self, contains: str = "") -> list[tuple[int, str, str, int]]:
        answer = await self.on("ListDataObjects", Contains=f"{contains}{self.tag}")
        assert list(answer) == ["dataObjects", "result", "message"]
        shown = answer["dataObjects"]
        assert all(list(each) == ["id", "name", "stringValue", "intValue"] for each in shown)
        return [(each["id"], each["name"].removesuffix(self.tag), each["stringValue"], each["intValue"]) for each in shown]

    async def told(self) -> list[tuple[int, int, int, str]]:
        """State, doId, doIntValue and machine code of what the Web API log says of the calls so far."""
        return [
            (row["state"], row["doId"], row["doIntValue"], row["machineCode"])
            for row in await self.shop.log(self.key)
            if row["state"] // 100 == 80
        ]

    def _path(self, method: str) -> str:
        return f"data/{method}{self.kind if self.kind.startswith('To') else ''}"


async def at(shop: Shop, kind: str) -> At:
    key = await shop.new_key(MaxNoOfMachines=3)
    of_key = {"ProductId": shop.id, "Key": key}
    places: dict[str, Answer] = {
        "ToKey": of_key, "ToMachineCode": {**of_key, "MachineCode": "m 1"},
        "Key": {"ReferencerType": "Key", "ReferencerId": await shop.global_id(key)},
        "Product": {"ReferencerType": 1, "ReferencerId": shop.id}, "User": {"ReferencerType": "User", "ReferencerId": 77},
    }  # fmt: skip
    return At(shop, kind, key, places[kind], f" of {shop.id}")


each_kind = pytest.mark.parametrize("kind", ["ToKey", "ToMachineCode", "Key", "Product", "User"])


# ---- one story of all methods, wherever the objects hang


@each_kind
async def test_objects_are_added_listed_counted_set_and_removed(shop: Shop, kind: str) -> None:
    here = await at(shop, kind)
    assert await here.listed() == []
    units = await here.add("units", IntValue=12)
    note = await here.add("Note", StringValue="as it is")
    again = await here.add("units", IntValue="-5")
    made = [(units, "units", "", 12), (note, "Note", "as it is", 0), (again, "units", "", -5)]
    assert await here.listed() == sorted(made)  # by id: each worker draws a block of them
    assert await here.listed("NOTE") == [(note, "Note", "as it is", 0)]
    assert await here.on("ListDataObjects", Contains="no such name") == {"dataObjects": [], **DONE}
    assert await here.one("SetIntValue", units, IntValue=2_147_483_646) == DONE
    assert await here.one("IncrementIntValue", units, IntValue=1) == DONE
    assert await here.one("IncrementIntValue", units, IntValue=-1) == refused(OVERFLOW)
    assert await here.one("SetIntValue", units, IntValue=2_147_483_648) == DONE
    assert await here.one("DecrementIntValue", units, IntValue=2) == DONE
    assert await here.one("SetStringValue", note, StringValue="as it was") == DONE
    assert await here.one("SetStringValue", again) == DONE
    assert await here.listed() == sorted(
        [(units, "units", "", -2), (note, "Note", "as it was", 0), (again, "units", "", -5)]
    )
    assert await here.one("RemoveDataObject", units) == DONE
    assert await here.one("RemoveDataObject", units) == refused(NO_OBJECT)
    for method in METHODS[2:]:
        assert await here.one(method, units) == refused(NO_OBJECT)
        assert await here.one(method, 0) == refused(NO_OBJECT)
    assert [number for number, *_ in await here.listed()] == sorted([note, again])


@each_kind
async def test_a_counter_stops_at_its_bound_and_takes_the_absolute_value(shop: Shop, kind: str) -> None:
    here = await at(shop, kind)
    number = await here.add("n", IntValue=8)

    async def step(method: str, **params: object) -> tuple[str, int]:
        answer = await here.one(f"{method}IntValue", number, **params)
        ((_, _, _, value),) = await here.listed()
        return answer["message"], value

    assert await step("Increment", IntValue=-2, EnableBound=True, Bound=10) == ("", 10)
    assert await step("Increment", IntValue=1, EnableBound="true", Bound=10) == (BOUND, 10)
    assert await step("Increment", IntValue=1, EnableBound=False, Bound=10) == ("", 11)
    assert await step("Decrement", IntValue=-11, EnableBound=1, Bound=0) == ("", 0)
    assert await step("Decrement", IntValue=1, EnableBound=True) == (BOUND, 0)
    assert await step("Decrement", IntValue=2**31) == ("", -(2**31))
    assert await step("Decrement", IntValue=1) == (OVERFLOW, -(2**31))
    assert await step("Increment", IntValue=2**63 - 1) == (OVERFLOW, -(2**31))
    assert await step("Increment") == ("", -(2**31))


@each_kind
async def test_a_name_may_have_to_be_a_new_one(shop: Shop, kind: str) -> None:
    here = await at(shop, kind)
    number = await here.add("n", CheckForDuplicates=True)
    again = {"Name": f"n{here.tag}", "CheckForDuplicates": True}
    assert await here.on("AddDataObject", **again) == refused(EXISTS)
    assert (await here.on("AddDataObject", **{**again, "Name": f"N{here.tag}"}))["result"] == 0
    assert await here.one("RemoveDataObject", number) == DONE
    assert (await here.on("AddDataObject", **again))["id"] != number


@each_kind
async def test_without_a_name_and_values_an_object_has_empty_ones(shop: Shop, kind: str) -> None:
    here = await at(shop, kind)
    number = (await here.on("AddDataObject"))["id"]
    shown = (await here.on("ListDataObjects"))["dataObjects"]
    assert {"id": number, "name": "", "stringValue": "", "intValue": 0} in shown
    assert await here.one("RemoveDataObject", number) == DONE


@pytest.mark.parametrize("kind", LOGGED)
async def test_every_call_on_a_key_or_a_machine_is_logged_with_its_object_and_its_number(shop: Shop, kind: str) -> None:
    here = await at(shop, kind)
    code = "m 1" if kind == "ToMachineCode" else ""
    number = await here.add("n", IntValue=9)
    await here.on("AddDataObject", Name=f"n{here.tag}", IntValue=3, CheckForDuplicates=True)
    await here.listed()
    await here.one("IncrementIntValue", number, IntValue=-5)
    await here.one("IncrementIntValue", number, IntValue=2**40)
    await here.one("DecrementIntValue", number, IntValue=5)
    await here.one("DecrementIntValue", number, IntValue=5, EnableBound=True, Bound=8)
    await here.one("SetIntValue", number, IntValue=4)
    await here.one("SetStringValue", number, StringValue="x")
    await here.one("RemoveDataObject", number)
    told = [
        (8010, number, 9), (8020, 0, 3), (8010, 0, 0), (8011, number, -5), (8021, number, 2**31 - 1), (8012, number, 5),
        (8022, number, 5), (8013, number, 4), (8014, number, 0), (8010, number, 0),
    ]  # fmt: skip
    assert await here.told() == [(*each, code) for each in told]
    for method in METHODS[2:]:
        await here.one(method, number)
    missed = [8023, 8024, 8021, 8022, 8020] if kind != "Key" else []  # by id alone, no key is reached
    assert (await here.told())[len(told) :] == [(state, 0, 0, code) for state in missed]


@pytest.mark.parametrize("kind", ["Product", "User"])
async def test_changes_of_a_product_and_of_the_account_are_in_the_object_log_by_name(shop: Shop, kind: str) -> None:
    here = await at(shop, kind)
    before = await shop.office.database.fetchval("select coalesce(max(id), 0) from object_log")
    number = await here.add("n", StringValue="of Ann")
    for method in ("IncrementIntValue", "DecrementIntValue", "SetIntValue", "SetStringValue"):
        await here.one(method, number, IntValue=7, StringValue="of Bob")
    await here.listed()
    await here.one("RemoveDataObject", number)
    told = [
        (row["object_type"], row["object_id"], row["action"], row["token_id"], row["changes"])
        for row in await shop.office.database.fetch("select * from object_log where id > $1 order by id", before)
    ]
    what = ("Product", shop.id) if kind == "Product" else ("Account", shop.office.account.id)
    assert told == [
        (*what, action, token_id(shop.office.token), f'{{"dataObject": "n{here.tag}"}}')
        for action in ("AddDataObject", "SetIntValue", "SetStringValue", "RemoveDataObject")
    ]
    assert [row["state"] for row in await shop.log()] == [3010]  # nothing but the key


@pytest.mark.parametrize("kind", [*LOGGED, "Product"])
async def test_at_most_1000_objects_hang_at_anything(shop: Shop, kind: str) -> None:
    here = await at(shop, kind)
    first = await here.add("n")
    await shop.office.database.execute(
        "insert into data_objects (account_id, referencer_type, referencer_id, machine_code, name, string_value, int_value)"
        " select account_id, referencer_type, referencer_id, machine_code, 'n', '', 0"
        " from data_objects, generate_series(1, 999) where id = $1",
        first,
    )  # fmt: skip
    await shop.change(here.key, "notes = notes")
    assert await here.on("AddDataObject") == refused(FULL)
    assert len((await here.on("ListDataObjects"))["dataObjects"]) == 1000
    assert await here.one("RemoveDataObject", first) == DONE
    assert (await here.on("AddDataObject"))["result"] == 0
    assert await here.on("AddDataObject") == refused(FULL)


# ---- what is refused


WHOLE: dict[str, object] = {"IntValue": "x"}
BAD_VALUES: dict[str, tuple[Answer, ...]] = {
    "AddDataObject": ({"Name": "x" * 101}, {"StringValue": "x" * 10_001}, {"CheckForDuplicates": "maybe"}, WHOLE),
    "ListDataObjects": (),
    "SetIntValue": (WHOLE, {"IntValue": 2**63}, {"IntValue": 1.5}),
    "SetStringValue": ({"StringValue": "x" * 10_001},),
    "IncrementIntValue": (WHOLE, {"Bound": "x"}, {"EnableBound": "x"}),
    "DecrementIntValue": (WHOLE, {"Bound": 2**63}, {"EnableBound": 2}),
    "RemoveDataObject": (),
}
BAD_PLACES: dict[str, tuple[Answer, ...]] = {
    "": ({"ReferencerType": 4}, {"ReferencerType": "Customer"}, {"ReferencerId": "x"}, {"ReferencerId": -1}),
    "ToKey": ({"ProductId": None}, {"ProductId": "x"}, {"ProductId": -1}, {"Key": None}, {"Key": ""}, {"Key": " "}),
    "ToMachineCode": ({"Key": None}, {"MachineCode": None}, {"MachineCode": ""}, {"MachineCode": "m" * 513}),
}
BAD_IDS: tuple[Answer, ...] = ({"Id": "x"}, {"Id": -1}, {"Id": 2**63})


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", METHODS)
async def test_what_cannot_be_read_is_bad_input(shop: Shop, method: str, form: str) -> None:
    key = await shop.new_key()
    good: Answer = {"ProductId": shop.id, "Key": key, "MachineCode": "m"}
    bad = list(BAD_VALUES[method])
    if method in METHODS[:2] or form:
        bad += BAD_PLACES[form]
    if method not in METHODS[:2]:
        bad += BAD_IDS if form else ({}, *BAD_IDS)
    for wrong in bad:
        assert await shop.office.call(f"data/{method}{form}", **{**good, **wrong}) == refused(INPUT), wrong
    assert await shop.states(key) == []


@pytest.mark.parametrize("form", ["ToKey", "ToMachineCode"])
async def test_an_unknown_product_is_named_and_an_unknown_key_is_not(shop: Shop, other_shop: Shop, form: str) -> None:
    key = await shop.new_key()
    for method in METHODS:
        path, given = f"data/{method}{form}", {"MachineCode": "m", "Name": "n"}
        assert await shop.call(path, Key=key, **{**given, "ProductId": NOTHING}) == refused(NO_PRODUCT)
        assert await shop.call(path, Key="NO-SUCH-KEY", **given) == refused(NO_OBJECT)
        assert await other_shop.call(path, Key=key, **given) == refused(NO_OBJECT)
    assert await shop.states(key) == []


async def test_in_the_general_form_what_is_not_there_is_not_told_apart(shop: Shop) -> None:
    key = await shop.new_key()
    machine = await shop.add_data(key, "of a machine", machine="m")
    call, mine = shop.office.call, await shop.global_id(key)
    for method in METHODS[:2]:
        for named in (
            {"ReferencerType": "Key", "ReferencerId": NOTHING}, {"ReferencerType": "Key"},
            {"ReferencerType": "MachineCode", "ReferencerId": mine},
            {"ReferencerType": 3},
        ):  # fmt: skip
            assert await call(f"data/{method}", **named) == refused(NO_OBJECT)
        for number in (NOTHING, 0):
            unknown = await call(f"data/{method}", ReferencerType="Product", ReferencerId=number)
            assert unknown == refused(NO_PRODUCT)
    for method in METHODS[2:]:
        for number in (machine, 2**63 - 1, 0):
            assert await call(f"data/{method}", Id=number) == refused(NO_OBJECT)
    assert await shop.states(key) == []
    assert (await shop.rows("select name, int_value from data_objects where $1 > 0 and id = $2", machine)) == [
        {"name": "of a machine", "int_value": 7}
    ]


async def test_an_id_of_another_key_or_machine_is_not_found_and_logged_without_it(shop: Shop) -> None:
    here, elsewhere = await at(shop, "ToKey"), await at(shop, "ToKey")
    machine, other = await at(shop, "ToMachineCode"), await at(shop, "ToMachineCode")
    code = At(shop, "ToMachineCode", machine.key, {**machine.place, "MachineCode": "m 2"}, machine.tag)
    ids = [await each.add("n") for each in (here, machine)]
    of_machine = At(shop, "ToKey", machine.key, {"ProductId": shop.id, "Key": machine.key}, machine.tag)
    for caller, number in ((elsewhere, ids[0]), (other, ids[1]), (code, ids[1]), (of_machine, ids[1]), (here, ids[1])):
        before = len(await caller.told())
        for method in METHODS[2:]:
            assert await caller.one(method, number, Name=f"n{here.tag}") == refused(NO_OBJECT)
        states = [(state, number) for state, number, *_ in (await caller.told())[before:]]
        assert states == [(state, 0) for state in (8023, 8024, 8021, 8022, 8020)]
    assert [len(await each.listed()) for each in (here, machine, elsewhere, other, code)] == [1, 1, 0, 0, 0]


async def test_names_and_texts_are_as_long_as_the_protocol_says(shop: Shop) -> None:
    here = await at(shop, "ToKey")
    name, text = "ü" * 100, "ü" * 10_000
    number = (await here.on("AddDataObject", Name=name, StringValue=text))["id"]
    assert (await here.on("ListDataObjects"))["dataObjects"] == [
        {"id": number, "name": name, "stringValue": text, "intValue": 0}
    ]
    assert await here.one("SetStringValue", number, StringValue=text[1:]) == DONE
    assert (await shop.show(here.key))["DataObjects"][0]["StringValue"] == text[1:]


@each_kind
async def test_a_feature_lock_is_the_largest_step(shop: Shop, kind: str) -> None:
    here = await at(shop, kind)
    number = await here.add("n")
    locked = await shop.office.new_token(feature_lock=2)
    for method, amount, message in (
        ("Increment", 2, ""), ("Increment", 3, NO_OBJECT), ("Increment", -3, NO_OBJECT), ("Decrement", -2, ""),
        ("Decrement", 3, NO_OBJECT), ("Set", 100, ""),
    ):  # fmt: skip
        answer = await here.one(f"{method}IntValue", number, token=locked, IntValue=amount)
        assert answer["message"] == message
    assert (await here.listed())[0][3] == 100


# ---- locks


async def test_a_product_lock_reaches_the_product_and_its_keys_and_nothing_else(shop: Shop, other_shop: Shop) -> None:
    office, mine, foreign = shop.office, [], []
    for where, ids in ((shop, mine), (other_shop, foreign)):
        ids += [await (await at(where, kind)).add("n") for kind in ("Product", "ToKey")]
    account = await (await at(shop, "User")).add("n")
    locked = await office.new_token(product_lock=shop.id)
    for number in mine:
        assert await office.call("data/IncrementIntValue", token=locked, Id=number, IntValue=1) == DONE
    for number in (*foreign, account):
        for method in METHODS[2:]:
            assert await office.call(f"data/{method}", token=locked, Id=number) == refused(NO_OBJECT)
    other_key = await other_shop.global_id(await other_shop.new_key())
    for method in METHODS[:2]:
        for kind, number, message in (
            ("Product", other_shop.id, DENIED), ("Product", NOTHING, DENIED), ("User", 0, DENIED),
            ("Key", other_key, NO_OBJECT),
        ):  # fmt: skip
            answer = await office.call(f"data/{method}", token=locked, ReferencerType=kind, ReferencerId=number)
            assert answer == refused(message)
    assert (await office.call("data/ListDataObjects", token=locked, ReferencerType=1, ReferencerId=shop.id))["result"] == 0


async def test_a_key_lock_reaches_that_key_and_nothing_else(shop: Shop) -> None:
    office, here, other = shop.office, await at(shop, "Key"), await at(shop, "Key")
    mine = await here.add("n")
    others = [await other.add("n"), *[await (await at(shop, kind)).add("n") for kind in ("Product", "User")]]
    locked = await office.new_token(key_lock=here.place["ReferencerId"])
    assert await office.call("data/IncrementIntValue", token=locked, Id=mine, IntValue=1) == DONE
    for number in others:
        assert await office.call("data/IncrementIntValue", token=locked, Id=number) == refused(NO_OBJECT)
    for place in (other.place, {"ReferencerType": 1, "ReferencerId": shop.id}, {"ReferencerType": 0}, {}):
        for method in METHODS[:2]:
            assert await office.call(f"data/{method}", token=locked, **place) == refused(NO_OBJECT)
    assert await office.call("data/ListDataObjects", token=locked, ShowAll=True, **here.place) == refused(NO_OBJECT)
    assert (await office.call("data/ListDataObjects", token=locked, **here.place))["dataObjects"][0]["intValue"] == 1
    assert [state for state, *_ in await other.told()] == [8010, 8021, 8020, 8020]


async def test_a_lock_to_no_key_in_particular_wants_product_and_key(shop: Shop) -> None:
    here = await at(shop, "ToKey")
    number = await here.add("n")
    locked = await shop.office.new_token(key_lock=-1)
    for method in METHODS:
        answer = await shop.office.call(f"data/{method}", token=locked, Id=number, ReferencerType=1, ReferencerId=shop.id)
        assert answer == refused(NO_OBJECT)
    assert await here.one("IncrementIntValue", number, token=locked, IntValue=1) == DONE


async def test_everything_is_listed_with_what_it_hangs_at(shop: Shop, other_shop: Shop) -> None:
    office, tag = shop.office, f"all of {shop.id}"
    kinds = ["User", "ToMachineCode", "Product", "ToKey"]
    places = [await at(shop, kind) for kind in kinds]
    ids = [(await each.on("AddDataObject", Name=f"{tag} {number}"))["id"] for number, each in enumerate(places)]
    foreign = (await (await at(other_shop, "Product")).on("AddDataObject", Name=tag))["id"]
    holders = [(0, office.account.id), (3, await shop.global_id(places[1].key)), (1, shop.id),
               (2, await shop.global_id(places[3].key))]  # fmt: skip

    async def listed(**params: object) -> list[tuple[int, int, int]]:
        answer = await office.call("data/ListDataObjects", ShowAll=True, **{"Contains": tag.upper(), **params})
        assert (answer["result"], answer["message"]) == (0, "")
        return [(each["id"], each["referencerType"], each["referencerId"]) for each in answer["dataObjects"]]

    all_mine = [(number, *holder) for number, holder in zip(ids, holders, strict=True)]
    mine, of_shop = sorted(all_mine), sorted(all_mine[1:])
    assert await listed() == sorted([*mine, (foreign, 1, other_shop.id)])
    assert await listed(ReferencerType="Key", ReferencerId=NOTHING) == await listed()
    assert await listed(token=await office.new_token(product_lock=shop.id)) == of_shop
    assert await listed(token=await office.new_token(product_lock=other_shop.id)) == [(foreign, 1, other_shop.id)]
    assert await listed(Contains="nothing is called that") == []
    assert await listed(token=await office.new_token(product_lock=shop.id), Contains="") == of_shop
    shown = (await office.call("data/ListDataObjects", ShowAll="True", Contains=f"{tag} 3"))["dataObjects"]
    assert shown == [
        {"id": ids[3], "name": f"{tag} 3", "stringValue": "", "intValue": 0, "referencerType": 2,
         "referencerId": holders[3][1]}
    ]  # fmt: skip


# ---- as SDKs call it


async def test_dotnet_java_node_and_c_are_understood(shop: Shop) -> None:
    key = await shop.new_key()
    office, number = shop.office, await shop.global_id(key)
    dotnet = await office.call(
        "/data/adddataobject/", Name="n", StringValue="", IntValue=0, ReferencerType="Key", ReferencerId=number,
        CheckForDuplicates=False, v=1, modelversion=1,
    )  # fmt: skip
    assert dotnet == {"id": dotnet["id"], **DONE}
    java = {"ProductId": shop.id, "Key": key, "Id": 0, "Name": "n", "IntValue": 1, "EnableBound": "true", "Bound": 1}
    assert await office.call("data/incrementintvaluetokey", **java) == DONE
    assert await office.call("data/incrementintvaluetokey", **java) == refused(BOUND)
    assert await office.call("data/decrementintvaluetokey", **{**java, "Id": dotnet["id"], "Name": "x", "Bound": 0}) == DONE
    node = await office.call(
        "data/AddDataObjectToKey", productId=shop.id, key=key, checkForDuplicates="false", name="null", stringValue="null",
        intValue=0,
    )  # fmt: skip
    assert await office.call("data/removedataobjecttokey", **{**java, "Id": 0}) == DONE
    assert await raw(office, "data/ListDataObjectsToKey", ProductId=shop.id, Key=key.lower(), Contains="", v=1) == (
        f'{{"dataObjects":[{{"id":{node["id"]},"name":"","stringValue":"","intValue":0}}],"result":0,"message":""}}'
    )
    listed = await raw(office, "data/ListDataObjects", ReferencerType=1, ReferencerId=shop.id, Contains="", v=1)
    assert listed == '{"dataObjects":[],"result":0,"message":""}'
    assert await raw(office, "data/RemoveDataObject/", Id=node["id"]) == '{"result":0,"message":""}'


async def raw(office: Office, path: str, **params: object) -> str:
    form = {"token": office.token, **{name: str(value) for name, value in params.items()}}
    async with office.http.post(f"{office.live.url}/api/{path}", data=form) as answer:
        return await answer.text()


async def test_client_software_meters_what_it_uses(shop: Shop) -> None:
    """Count; if there is no counter yet, make it unless another did, and count again: many clients at once."""
    here = await at(shop, "ToKey")
    token = await shop.office.new_token("IncrementIntValue", "AddDataObject", product_lock=shop.id, feature_lock=1)
    name = {"Name": "used", "token": token}

    async def use() -> str:
        step = {**name, "Id": 0, "IntValue": 1, "EnableBound": True, "Bound": 10}
        answer = await here.on("IncrementIntValue", **step)
        if answer["message"] == NO_OBJECT:
            made = await here.on("AddDataObject", **name, CheckForDuplicates=True)
            assert made["message"] in ("", EXISTS)
            answer = await here.on("IncrementIntValue", **step)
        return answer["message"]

    answers = await asyncio.gather(*(use() for _ in range(16)))
    assert sorted(answers) == [""] * 10 + [BOUND] * 6
    assert [(each["Name"], each["IntValue"]) for each in (await shop.show(here.key))["DataObjects"]] == [("used", 10)]
    told = [state for state, *_ in await here.told()]
    assert (told.count(8011), told.count(8010)) == (10, 1)


async def everywhere(ask: Callable[[], Awaitable[Answer]]) -> list[Answer]:
    """The answers to several calls, each on a connection of its own, so that all workers give some."""
    return await asyncio.gather(*(ask() for _ in range(8)))


async def test_a_license_shows_its_own_objects_at_once_on_every_worker_and_no_others(shop: Shop) -> None:
    here, general = await at(shop, "ToKey"), None
    general = At(shop, "Key", here.key, {"ReferencerType": 2, "ReferencerId": await shop.global_id(here.key)}, here.tag)
    machine = At(shop, "ToMachineCode", here.key, {**here.place, "MachineCode": "m"}, here.tag)
    for each in (machine, await at(shop, "Product"), await at(shop, "User")):
        await each.add("hidden")
    assert [each["DataObjects"] for each in await everywhere(lambda: shop.show(here.key))] == [[]] * 8
    first, second = await here.add("a", IntValue=3), await general.add("b", StringValue="text")
    await here.one("IncrementIntValue", first, IntValue=4)
    one = {"Id": first, "Name": f"a{here.tag}", "StringValue": "", "IntValue": 7}
    other = {"Id": second, "Name": f"b{here.tag}", "StringValue": "text", "IntValue": 0}
    shown = [one, other] if first < second else [other, one]
    assert [each["DataObjects"] for each in await everywhere(lambda: shop.show(here.key))] == [shown] * 8
    await general.one("RemoveDataObject", first)
    assert [each["DataObjects"] for each in await everywhere(lambda: shop.show(here.key))] == [[other]] * 8
    activated = await shop.activate(here.key, "m")
    assert [each["id"] for each in activated["licenseKey"]["dataObjects"]] == [second]


async def test_the_objects_of_a_machine_leave_with_it(shop: Shop) -> None:
    here = await at(shop, "ToMachineCode")
    number = await here.add("before it was activated")
    assert (await shop.activate(here.key, "m 1"))["result"] == 0
    assert [each[0] for each in await here.listed()] == [number]
    assert await shop.deactivate(here.key, "m 1") == DONE
    assert [await here.listed() for _ in range(4)] == [[]] * 4
    assert await shop.rows("select id from data_objects where $1 > 0 and id = $2", number) == []


async def test_a_setting_of_a_product_acts_at_once(shop: Shop) -> None:
    here = await at(shop, "Product")
    key = await shop.new_key(Block=True)
    await everywhere(lambda: shop.show(key))
    name = {"Name": "cryptolens_unblockextendedlicenses", "StringValue": "false"}
    number = (await here.on("AddDataObject", **name))["id"]
    assert await shop.call("key/ExtendLicense", Key=key, NoOfDays=1) == DONE
    assert (await shop.show(key))["Block"] is True
    await here.one("SetStringValue", number, StringValue="true")
    assert await shop.call("key/ExtendLicense", Key=key, NoOfDays=1) == DONE
    assert [each["Block"] for each in await everywhere(lambda: shop.show(key))] == [False] * 8


@pytest.mark.parametrize("kind", LOGGED)
async def test_a_blocked_key_is_counted_on_like_any_other(shop: Shop, kind: str) -> None:
    here = await at(shop, kind)
    number = await here.add("n")
    assert await shop.call("key/BlockKey", Key=here.key) == DONE
    assert (await shop.activate(here.key, "m"))["message"] == BLOCKED
    for method in METHODS[2:]:
        assert await here.one(method, number, IntValue=1) == DONE
    assert await here.listed() == []
    assert await here.add("n") != number


async def test_a_token_that_is_revoked_does_nothing_any_more(shop: Shop) -> None:
    here, office = await at(shop, "Product"), shop.office
    number, token = await here.add("n"), await office.new_token()

    def count() -> Awaitable[Answer]:
        return here.one("IncrementIntValue", number, token=token, IntValue=1)

    assert await everywhere(count) == [DONE] * 8
    assert await office.admin.revoke_token(office.account.id, token_id(token), int(time.time()))
    assert await everywhere(count) == [refused(AUTHENTICATE)] * 8
    assert await here.on("ListDataObjects", token=token) == refused(AUTHENTICATE)
    assert (await here.listed())[0][3] == 8
