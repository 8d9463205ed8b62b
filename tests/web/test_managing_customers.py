"""The `customer/` methods: made, changed, listed and removed, while licenses show their customers as they are."""

import asyncio
import json
import re
import secrets
import time
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from inside import Inside, worker_inside
from office import DAY, DENIED, DONE, INPUT, Answer, Office, Shop, refused, token_id
from test_personal_data import search

from server.rules.keystring import BYTES_NEEDED
from storage.stamps import new_stamp

NAME_LONG = refused("The name of the customer is limited to 100 characters.")
EMAIL_LONG = refused("The email of the customer is limited to 100 characters.")
COMPANY_LONG = refused("The company name of the customer is limited to 100 characters.")
UNKNOWN = refused("Customer could not be found.")
GONE = refused("Customer does not exist.")
NOT_FOUND = refused("Could not find the customer.")
NOBODY = 2_000_000_000
PORTAL = "https://portal.example.org/associate?id={id}&auth={auth}"


def word() -> str:
    """A text that stands nowhere else."""
    return f"w{secrets.token_hex(8)}"


async def add(office: Office, **params: object) -> Answer:
    answer = await office.call("customer/AddCustomer", **params)
    assert (answer["result"], answer["message"]) == (0, "")
    return answer


async def edit(office: Office, customer: int, **params: object) -> Answer:
    return await office.call("customer/EditCustomer", CustomerId=customer, **params)


async def listed(office: Office, **params: object) -> list[Answer]:
    answer = await office.call("customer/GetCustomers", **params)
    assert list(answer) == ["customers", "resellerCustomers", "visibleCustomers", "result", "message"]
    assert (answer["resellerCustomers"], answer["visibleCustomers"], answer["result"]) == ([], [], 0)
    return answer["customers"]


async def ids(office: Office, **params: object) -> list[int]:
    return [each["id"] for each in await listed(office, **params)]


async def whole(office: Office, customer: int) -> Answer:
    """All that is kept of a customer."""
    (found,) = await listed(office, CustomerId=customer, ModelVersion=2)
    return found


async def licenses(office: Office, customer: int, **params: object) -> list[Answer]:
    answer = await office.call("customer/GetCustomerLicenses", CustomerId=customer, **params)
    assert answer["result"] == 0
    return answer["licenseKeys"]


async def object_log(office: Office, customer: int) -> list[tuple[str, int, Answer]]:
    """What the object log says of a customer: action, token and changes."""
    rows = await office.database.fetch(
        "select action, token_id, changes from object_log where object_type = 'Customer' and object_id = $1 order by id",
        customer,
    )
    return [(row["action"], row["token_id"], json.loads(row["changes"])) for row in rows]


async def call_inside(inside: Inside, office: Office, method: str, **params: object) -> Answer:
    """Call a worker inside this process."""
    form = {name: str(value) for name, value in {"token": office.token, **params}.items()}
    async with office.http.post(f"{inside.url}/api/{method}", data=form) as answer:
        return await answer.json()


# ---- AddCustomer


async def test_a_customer_is_made_of_nothing_at_all(office: Office) -> None:
    began = int(time.time())
    answer = await add(office)
    number, secret = answer["customerId"], answer["secret"]
    assert answer == {"customerId": number, "secret": secret, **DONE}
    assert UUID(secret).version == 4
    kept = await whole(office, number)
    assert list(kept) == [
        "id", "name", "email", "companyName", "created", "notes", "enableCustomerAssociation", "allowActivationManagement",
        "allowMultipleUserAssociation", "maxNoOfDevices", "isPublic", "resellerId", "portalLink",
    ]  # fmt: skip
    created = kept.pop("created")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", created)
    assert began <= await office.database.fetchval("select created from customers where id = $1", number) <= time.time()
    assert kept == {
        "id": number, "name": "", "email": "", "companyName": "", "notes": "", "enableCustomerAssociation": False,
        "allowActivationManagement": False, "allowMultipleUserAssociation": False, "maxNoOfDevices": 0, "isPublic": False,
        "resellerId": 0, "portalLink": None,
    }  # fmt: skip
    assert await object_log(office, number) == [("AddCustomer", token_id(office.token), {"secret": True})]


async def test_a_customer_is_made_as_it_was_asked_for(office: Office) -> None:
    texts = {"Name": "ä" * 100, "Email": "e" * 100, "CompanyName": "c" * 100, "Notes": "n" * 1000}
    flags = {"EnableCustomerAssociation": "True", "AllowActivationManagement": 1, "allowmultipleuserassociation": "on"}
    number = (await add(office, **texts, **flags))["customerId"]
    kept = await whole(office, number)
    assert {name: kept[name] for name in ("name", "email", "companyName", "notes")} == {
        "name": texts["Name"], "email": texts["Email"], "companyName": texts["CompanyName"], "notes": texts["Notes"]
    }  # fmt: skip
    assert kept["enableCustomerAssociation"] is kept["allowActivationManagement"] is kept["allowMultipleUserAssociation"]
    assert kept["enableCustomerAssociation"] is True
    (short,) = await listed(office, CustomerId=number)
    assert list(short) == ["id", "name", "email", "companyName", "created"]


@pytest.mark.parametrize(("wrong", "answer"), [
    ({"Name": "n" * 101}, NAME_LONG), ({"Email": "e" * 101}, EMAIL_LONG), ({"CompanyName": "c" * 101}, COMPANY_LONG),
    ({"Name": "n" * 101, "CompanyName": "c" * 101}, NAME_LONG), ({"Notes": "n" * 1001}, refused(INPUT)),
    ({"Notes": "n" * 1001, "Name": "n" * 101}, refused(INPUT)), ({"EnableCustomerAssociation": "maybe"}, refused(INPUT)),
])  # fmt: skip
async def test_what_is_too_long_or_unreadable_is_neither_added_nor_changed(
    office: Office, wrong: dict[str, object], answer: Answer
) -> None:
    number, before = (await add(office, Name="Ada"))["customerId"], await ids(office)
    assert await office.call("customer/AddCustomer", **wrong) == answer
    assert await edit(office, number, **wrong) == answer
    assert await ids(office) == before
    assert (await whole(office, number))["name"] == "Ada"


async def test_the_spelling_of_other_sdks_will_do(office: Office) -> None:
    """Python sends lower-case names, twofold and trailing slashes, and None for what it was not given."""
    name = word()
    form = {"token": office.token, "name": name, "email": "None", "CompanyName": "null", "EnableCustomerAssociation": "0"}
    async with office.http.post(f"{office.live.url}/api//customer/addcustomer/", data=form) as answer:
        number = (await answer.json())["customerId"]
    kept = await whole(office, number)
    assert (kept["name"], kept["email"], kept["companyName"]) == (name, "", "")
    listing = {"token": office.token, "customerId": number, "detailed": "False", "metadata": "False"}
    async with office.http.get(f"{office.live.url}/api//customer/GetCustomerLicenses/", params=listing) as answer:
        assert await answer.json() == {"licenseKeys": [], **DONE}


# ---- secrets


async def licenses_by(office: Office, secret: str, **params: object) -> Answer:
    return await office.call("customer/GetCustomerLicensesBySecret", Secret=secret, **params)


async def test_a_secret_lists_the_licenses_until_there_is_a_new_one(shop: Shop) -> None:
    office = shop.office
    made = await add(office, Name="Ada")
    key = await shop.new_key(CustomerId=made["customerId"])
    for _ in range(2):
        assert [each["key"] for each in (await licenses_by(office, made["secret"]))["licenseKeys"]] == [key]
    changed = await edit(office, made["customerId"], Secret="True")
    assert changed == {"customerId": made["customerId"], "secret": changed["secret"], **DONE}
    assert await licenses_by(office, made["secret"]) == NOT_FOUND
    assert (await licenses_by(office, changed["secret"]))["result"] == 0
    assert await licenses_by(office, "") == await licenses_by(office, secrets.token_hex(16), Detailed="x") == refused(INPUT)


async def test_a_secret_stands_nowhere_not_even_in_the_log(office: Office) -> None:
    made = await add(office, Name="Ada")
    changed = await edit(office, made["customerId"], Secret=True)
    await ids(office, Search=changed["secret"])
    places = await search(office, [made["secret"], changed["secret"]])
    assert set().union(*places.values()) == set()
    log = office.live.data.with_name(f"{office.live.data.name}.log").read_text()
    assert made["secret"] not in log


async def test_secrets_are_like_keys_where_the_account_says_so(office: Office) -> None:
    setting = await office.database.fetchval(
        "insert into data_objects (account_id, referencer_type, referencer_id, name, string_value, int_value)"
        " values ($1, 0, $1, 'cryptolens_customer_secret', '', 2) returning id",
        office.account.id,
    )
    try:
        made = await add(office)
        changed = await edit(office, made["customerId"], Secret=True)
    finally:
        await office.database.execute("delete from data_objects where id = $1", setting)
    for answer in (made, changed):
        assert re.fullmatch(r"[A-Z]{5}(-[A-Z]{5}){3}", answer["secret"])
    assert (await licenses_by(office, changed["secret"]))["result"] == 0


async def test_a_secret_that_another_customer_has_is_drawn_anew(office: Office, inside: Inside) -> None:
    dispatcher = inside.endpoint._dispatcher
    first, second = (secrets.token_bytes(BYTES_NEEDED) for _ in range(2))
    draws = iter([first, first, second, second, secrets.token_bytes(BYTES_NEEDED)])
    dispatcher._svc = replace(dispatcher._svc, random_bytes=lambda _count: next(draws))
    one = await call_inside(inside, office, "customer/AddCustomer")
    two = await call_inside(inside, office, "customer/AddCustomer")
    again = await call_inside(inside, office, "customer/EditCustomer", CustomerId=one["customerId"], Secret=True)
    assert [answer["result"] for answer in (one, two, again)] == [0, 0, 0]
    assert len({one["secret"], two["secret"], again["secret"]}) == 3
    assert list(draws) == []


# ---- EditCustomer


async def test_what_is_given_is_changed_and_all_else_stays(office: Office) -> None:
    number = (await add(office, Name="Ada", Email="ada@example", Notes="n", AllowActivationManagement=True))["customerId"]
    before = await whole(office, number)
    token = await office.new_token("EditCustomer")
    done = {"customerId": number, **DONE}
    assert await edit(office, number, token=token, Email="new@example", MaxNoOfDevices=7) == done
    assert await whole(office, number) == {**before, "email": "new@example", "maxNoOfDevices": 7}
    assert await edit(office, number, AllowActivationManagement=False, MaxNoOfDevices=0) == done
    assert await whole(office, number) == {**before, "email": "new@example", "allowActivationManagement": False}
    assert (await object_log(office, number))[1:] == [
        ("EditCustomer", token_id(token), {"email": True, "maxNoOfDevices": True}),
        ("EditCustomer", token_id(office.token), {"allowActivationManagement": True, "maxNoOfDevices": True}),
    ]


@pytest.mark.parametrize("empty", ["", "None", "null"])
async def test_what_sdks_send_for_what_they_were_not_given_changes_nothing(office: Office, empty: str) -> None:
    given = {"Name": "Ada", "Email": "e", "CompanyName": "c", "Notes": "n", "EnableCustomerAssociation": 1}
    number = (await add(office, **given))["customerId"]
    await edit(office, number, MaxNoOfDevices=3)
    before = await whole(office, number)
    assert (before["name"], before["email"], before["companyName"], before["maxNoOfDevices"]) == ("Ada", "e", "c", 3)
    nothing = dict.fromkeys((
        "Name", "Email", "CompanyName", "Notes", "EnableCustomerAssociation", "AllowActivationManagement",
        "AllowMultipleUserAssociation", "MaxNoOfDevices", "Secret",
    ), empty)  # fmt: skip
    assert await edit(office, number, **nothing) == {"customerId": number, **DONE}
    assert await whole(office, number) == before


@pytest.mark.parametrize(("params", "answer"), [
    ({}, refused(INPUT)), ({"CustomerId": "x"}, refused(INPUT)), ({"CustomerId": -1}, refused(INPUT)),
    ({"CustomerId": 2**31}, refused(INPUT)), ({"CustomerId": NOBODY, "MaxNoOfDevices": -1}, refused(INPUT)),
    ({"CustomerId": NOBODY, "MaxNoOfDevices": 2**31}, refused(INPUT)), ({"CustomerId": NOBODY}, UNKNOWN),
    ({"CustomerId": 0}, UNKNOWN), ({"CustomerId": NOBODY, "Name": "n" * 101}, UNKNOWN),
    ({"CustomerId": NOBODY, "Secret": True}, UNKNOWN),
])  # fmt: skip
async def test_a_customer_who_is_not_named_or_not_there_is_not_changed(
    office: Office, params: dict[str, object], answer: Answer
) -> None:
    assert await office.call("customer/EditCustomer", **params) == answer


async def test_a_changed_customer_is_shown_by_its_licenses_at_once_and_everywhere(shop: Shop) -> None:
    office = shop.office
    number = (await add(office, Name="Ada"))["customerId"]
    key = await shop.new_key(CustomerId=number, MaxNoOfMachines=3)
    for name in ("Ada", "Bob", "Cid"):
        await edit(office, number, Name=name)
        shown = await asyncio.gather(
            *(shop.show(key) for _ in range(8)),
            *(shop.activate(key, "m", Sign=True, SignMethod=1) for _ in range(8)),
        )
        documents = [*shown[:8], *map(shop.document, shown[8:])]
        assert {each["Customer"]["Name"] for each in documents} == {name}
    assert [each["customer"]["name"] for each in await licenses(office, number, Detailed=True)] == ["Cid"]


# ---- links to a portal


async def test_links_lead_to_the_portal_of_those_who_may_associate(office: Office, shop: Shop) -> None:
    async with worker_inside(office.live, portal_url=PORTAL) as server:

        async def call(method: str, **params: object) -> Answer:
            return await call_inside(server, office, method, **params)

        first = await call("customer/AddCustomer", EnableCustomerAssociation=True)
        number = first["customerId"]
        assert list(first) == ["customerId", "portalLink", "secret", "result", "message"]
        assert re.fullmatch(rf"https://portal\.example\.org/associate\?id={number}&auth=[\w-]{{22}}", first["portalLink"])
        second = await call("customer/AddCustomer", Name="Ada")
        assert "portalLink" not in second
        assert "portalLink" not in await call("customer/EditCustomer", CustomerId=number, Name="Ada")
        other = await call("customer/EditCustomer", CustomerId=second["customerId"], EnableCustomerAssociation=True)
        assert "secret" not in other
        assert other["portalLink"].rpartition("=")[2] != first["portalLink"].rpartition("=")[2]
        again = await call("customer/EditCustomer", CustomerId=number, Secret=True)
        assert again["portalLink"] == first["portalLink"]
        closed = await call(
            "customer/EditCustomer", CustomerId=number, Secret=True, EnableCustomerAssociation=False
        )  # fmt: skip
        assert "portalLink" not in closed
        links = {
            each["id"]: each["portalLink"] for each in (await call("customer/GetCustomers", ModelVersion=2))["customers"]
        }
        assert (links[number], links[second["customerId"]]) == (None, other["portalLink"])
        key = await call("key/CreateKey", ProductId=shop.id, NewCustomer=True, EnableCustomerAssociation=True)
        assert list(key) == ["key", "customerId", "portalLink", "result", "message"]
        assert f"id={key['customerId']}&" in key["portalLink"]
        assert "portalLink" not in await call("key/CreateKey", ProductId=shop.id, NewCustomer=True)
        named = await call("key/CreateKey", ProductId=shop.id, CustomerId=number, EnableCustomerAssociation=True)
        assert "portalLink" not in named


# ---- GetCustomers


async def test_customers_are_found_by_what_is_in_their_texts(office: Office) -> None:
    mark = word()
    by_name = (await add(office, Name=f"Ädá {mark} 100%"))["customerId"]
    by_email = (await add(office, Email=f"x@{mark}.example"))["customerId"]
    by_company = (await add(office, CompanyName=f"{mark} & Sons"))["customerId"]
    await add(office, Notes=mark)  # notes are not searched
    assert await ids(office, Search=mark.upper()) == [by_company, by_email, by_name]
    assert await ids(office, Search=mark, SortByCreatedDescending=True) == [by_company, by_email, by_name]
    assert await ids(office, Search=mark, Limit=0) == [by_company, by_email, by_name]
    assert await ids(office, Search=mark, Limit=2) == [by_company, by_email]
    assert await ids(office, Search=mark, CustomerId=by_email) == [by_email]
    assert await ids(office, Search=f"äDÁ {mark} 100%") == [by_name]
    assert await ids(office, Search=f"{mark}_") == await ids(office, Search=f"%{mark}") == []
    assert await ids(office, CustomerId=NOBODY) == []
    for empty in ("", "None", "null"):
        assert set(await ids(office, Search=empty)) >= {by_name, by_email, by_company}


async def test_customers_are_found_by_their_whole_secret_and_by_their_id_if_that_is_asked_for(office: Office) -> None:
    made = await add(office, Name=word())
    number, secret = made["customerId"], made["secret"]
    assert await ids(office, Search=secret) == [number]
    assert await ids(office, Search=secret[:-1]) == []
    assert number in await ids(office, Search=number, IncludeIdInSearch=True)
    await edit(office, number, Name="no digits")
    digits = f"{number:09}"
    assert number not in await ids(office, Search=digits)
    assert await ids(office, Search=digits, IncludeIdInSearch=True) == [number]
    assert await ids(office, Search="no digits", IncludeIdInSearch=True) == [number]


async def test_the_newest_customer_comes_first(office: Office) -> None:
    mark = word()
    rows = await office.database.fetch(
        "insert into customers (account_id, name, created, stamp)"
        " select $1, $2, t, t from unnest($3::bigint[]) t returning id",
        office.account.id, mark, [100, 300, 200],
    )  # fmt: skip
    oldest, newest, middle = (row["id"] for row in rows)
    assert await ids(office, Search=mark) == [newest, middle, oldest]
    assert (await listed(office, Search=mark, Limit=1))[0]["created"] == "1970-01-01T00:05:00"


@pytest.mark.parametrize("wrong", [{"Limit": -1}, {"CustomerId": -1}, {"IncludeIdInSearch": "maybe"}, {"ModelVersion": "x"}])
async def test_a_list_that_cannot_be_read_is_bad_input(office: Office, wrong: dict[str, object]) -> None:
    assert await office.call("customer/GetCustomers", **wrong) == refused(INPUT)


# ---- GetCustomerLicenses


async def test_a_list_has_the_licenses_in_order_of_id_with_blocked_and_expired_ones(shop: Shop, other_shop: Shop) -> None:
    office = shop.office
    number = (await add(office, Name="Ada"))["customerId"]
    await shop.new_key()
    keys = [await each.new_key(CustomerId=number) for each in (shop, other_shop)]
    blocked = await shop.new_key(CustomerId=number, Block=True, F3=True, Notes="note")
    await shop.change(blocked, "expires = 1000")
    found = await licenses(office, number)
    assert [each["key"] for each in found] == [*keys, blocked]
    made = (await shop.rows("select created from licenses where product_id = $1 and key = $2", blocked))[0]["created"]
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(made))
    assert found[2] == {
        "productId": shop.id, "id": 3, "key": blocked, "created": stamp, "expires": "1970-01-01T00:16:40", "period": 30,
        **{f"f{bit}": bit == 3 for bit in range(1, 9)}, "notes": "note", "block": True,
        "globalId": await shop.global_id(blocked),
    }  # fmt: skip
    locked = await office.new_token("GetCustomerLicenses", product_lock=other_shop.id)
    assert [each["key"] for each in await licenses(office, number, token=locked)] == [keys[1]]
    to_key = await office.new_token("GetCustomerLicenses", key_lock=await shop.global_id(blocked))
    assert [each["key"] for each in await licenses(office, number, token=to_key)] == [blocked]
    to_any = await office.new_token("GetCustomerLicenses", key_lock=-1, feature_lock=4)  # which hides nothing here
    assert await licenses(office, number, token=to_any) == found


@pytest.mark.parametrize("version", [1, 2, 3])
async def test_a_detailed_license_is_what_getkey_shows_of_it_unsigned(shop: Shop, version: int) -> None:
    office = shop.office
    made = await add(office, Name="Ada")
    key = await shop.new_key(CustomerId=made["customerId"], MaxNoOfMachines=2)
    await shop.activate(key, "m", FriendlyName="Ann's")
    await shop.add_data(key, "of a test")
    await shop.change(key, "expires = expires + 3600")  # no day of what is left ends in between
    alone = await shop.call("key/GetKey", Key=key, ModelVersion=version, Metadata=True)
    assert alone["licenseKey"]["signDate"] == "0001-01-01T00:00:00"
    assert alone["licenseKey"]["signature"] is None
    metadata = {**alone["metadata"], "signature": None}
    expected = {"metadata": [metadata], "licenseKeys": [alone["licenseKey"]], **DONE}
    params = {"Detailed": True, "Metadata": True, "ModelVersion": version}
    assert await office.call("customer/GetCustomerLicenses", CustomerId=made["customerId"], **params) == expected
    assert await licenses_by(office, made["secret"], **params) == expected


async def test_metadata_stands_beside_basic_licenses_too_and_a_list_may_be_empty(shop: Shop) -> None:
    office = shop.office
    number = (await add(office))["customerId"]
    assert await office.call("customer/GetCustomerLicenses", CustomerId=number) == {"licenseKeys": [], **DONE}
    empty = await office.call("customer/GetCustomerLicenses", CustomerId=number, Metadata=True)
    assert empty == {"metadata": [], "licenseKeys": [], **DONE}
    keys = [await shop.new_key(CustomerId=number, Block=block) for block in (False, True)]
    answer = await office.call("customer/GetCustomerLicenses", CustomerId=number, Metadata=True)
    assert [each["key"] for each in answer["licenseKeys"]] == keys
    assert [each["licenseStatus"]["reasonForInvalidity"] for each in answer["metadata"]] == [0, 2]


@pytest.mark.parametrize(("params", "answer"), [
    ({}, refused(INPUT)), ({"CustomerId": "x"}, refused(INPUT)), ({"CustomerId": -1}, refused(INPUT)),
    ({"CustomerId": NOBODY, "Detailed": "maybe"}, refused(INPUT)), ({"CustomerId": NOBODY}, NOT_FOUND),
    ({"CustomerId": 0}, NOT_FOUND),
])  # fmt: skip
async def test_a_customer_who_is_not_named_or_not_there_has_no_list(
    office: Office, params: dict[str, object], answer: Answer
) -> None:
    assert await office.call("customer/GetCustomerLicenses", **params) == answer


# ---- RemoveCustomer


@pytest.mark.parametrize(("params", "answer"), [
    ({}, refused(INPUT)), ({"CustomerId": "x"}, refused(INPUT)), ({"CustomerId": -1}, refused(INPUT)),
    ({"CustomerId": NOBODY}, GONE), ({"CustomerId": 0}, GONE),
])  # fmt: skip
async def test_a_customer_who_is_not_named_or_not_there_is_not_removed(
    office: Office, params: dict[str, object], answer: Answer
) -> None:
    assert await office.call("customer/RemoveCustomer", **params) == answer


async def test_a_removed_customer_leaves_nothing_behind_and_its_licenses_go_on(shop: Shop) -> None:
    office = shop.office
    planted = {name: word() for name in ("Name", "Email", "CompanyName", "Notes")}
    made = await add(office, **planted)
    number = made["customerId"]
    await edit(office, number, Name=(renamed := word()), Secret=True)
    key = await shop.new_key(CustomerId=number, MaxNoOfMachines=2)
    await shop.activate(key, "m")
    assert (await shop.show(key))["Customer"]["Name"] == renamed
    token = await office.new_token("RemoveCustomer")
    assert await office.call("customer/RemoveCustomer", CustomerId=number, token=token) == DONE
    shown = await asyncio.gather(*(shop.show(key) for _ in range(8)))
    assert [each["Customer"] for each in shown] == [None] * 8
    assert (await shop.activate(key, "n"))["result"] == 0
    assert await search(office, [*planted.values(), renamed]) == {each: set() for each in (*planted.values(), renamed)}
    assert await office.call("customer/RemoveCustomer", CustomerId=number) == GONE
    assert await office.call("customer/GetCustomerLicenses", CustomerId=number) == NOT_FOUND
    assert await edit(office, number, Name="x") == UNKNOWN
    assert await ids(office, CustomerId=number) == []
    assert (await object_log(office, number))[-1] == ("RemoveCustomer", token_id(token), {})
    of_key = await office.database.fetch(
        "select action, token_id, changes from object_log where object_type = 'Key' and object_id = $1 order by id",
        await shop.global_id(key),
    )
    assert tuple(of_key[-1]) == ("RemoveCustomer", token_id(token), json.dumps({"customerId": [number, None]}))


async def test_a_customer_of_many_licenses_is_removed_while_they_are_activated(shop: Shop) -> None:
    office, customer = shop.office, (await add(shop.office, Name="Ada"))["customerId"]
    await shop.rows(
        "insert into licenses (account_id, product_id, number, key, created, expires, period, features, notes, block,"
        " trial_activation, max_machines, allowed_machines, stamp, customer_id)"
        " select $2, $1, 9999 + n, 'BULK-' || n, 0, $3, 30, 0, '', false, false, 2, '', $4::bigint + n, $5"
        " from generate_series(1, 1200) n",
        office.account.id, int(time.time()) + DAY, new_stamp() // 2, customer,
    )  # fmt: skip
    done = asyncio.Event()

    async def activate(first: int) -> list[int]:
        results, number = [], first
        while not done.is_set() or number < first + 60:
            status, _, body = await office.answer(
                "key/Activate", ProductId=shop.id, Key=f"BULK-{number % 1200 + 1}", MachineCode="m"
            )
            results += [status, body["result"]]
            number += 20
        return results

    async def remove() -> tuple[int, Any]:
        status, _, body = await office.answer("customer/RemoveCustomer", CustomerId=customer)
        done.set()
        return status, body

    removed, *activated = await asyncio.gather(remove(), *(activate(first) for first in range(0, 1200, 150)))
    assert removed == (200, DONE)
    assert {each for results in activated for each in results} == {200, 0}
    left = await shop.rows("select count(*) as n, count(customer_id) as held from licenses where product_id = $1")
    assert left == [{"n": 1200, "held": 0}]
    told = await shop.rows(
        "select count(*) as n from object_log o join licenses l on l.id = o.object_id"
        " where l.product_id = $1 and o.object_type = 'Key' and o.action = 'RemoveCustomer'"
    )
    assert told == [{"n": 1200}]


async def test_a_license_that_is_assigned_while_its_customer_goes_ends_without_one(shop: Shop) -> None:
    office = shop.office
    keys = [await shop.new_key() for _ in range(3)]
    for _ in range(4):
        number = (await add(office))["customerId"]
        await shop.call("key/ChangeCustomer", Key=keys[0], CustomerId=number)
        assigning = [shop.call("key/ChangeCustomer", Key=key, CustomerId=number) for key in keys for _ in range(3)]
        removed, *answers = await asyncio.gather(office.call("customer/RemoveCustomer", CustomerId=number), *assigning)
        assert removed == DONE
        gone = refused("Customer not found, so current key no longer references any customer.")
        assert all(answer in (DONE, gone) for answer in answers)
        assert [(await shop.show(key))["Customer"] for key in keys] == [None] * 3


async def test_who_may_only_read_may_not_change(office: Office) -> None:
    token = await office.new_token("GetCustomers")
    number = (await add(office))["customerId"]
    for method in ("AddCustomer", "EditCustomer", "RemoveCustomer", "GetCustomerLicenses"):
        assert await office.call(f"customer/{method}", token=token, CustomerId=number) == refused(DENIED)
