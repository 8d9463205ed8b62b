"""Planted data: every method is called with unique texts, and each is found only in the record that it belongs to.

In rows, in PostgreSQL's files and WAL, in Valkey, in logs, metrics and refusals; and after removal no more.
"""

import datetime
import gzip
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from functools import partial

import aiohttp
import asyncpg
import planted
import pytest
from lines import FORM, ask, line_to, request
from office import Answer, Office, Shop, open_office, token_id
from page_search import Cluster, Hit, Relation, relations_of
from planted import Book, Hunt, Trio, trio
from searches import Places, in_metrics, in_rows, in_samples, in_valkey, in_writing
from servers import open_folder, start, stop

from server.config import Config
from server.methods import METHODS, Method
from server.rules.privacy import mask
from server.wire.tokens import hash_of, text_of
from storage.embedded.home import prepare
from storage.embedded.postgres import Postgres
from storage.postgres import retention
from storage.postgres.leases import forget_ended
from storage.records import ROW_SECONDS

Connection = asyncpg.Connection
Proxies = tuple[aiohttp.ClientSession, aiohttp.ClientSession]
TWO_YEARS = 740 * 86_400
TRIALS = 12  # an hour: more than the rounds need, few enough to be refused
DEMO = ("token", "admin_token", "node_locked_key", "floating_key")
UNKNOWN = 2_000_000_000

# A database that quotes whole rows in its errors.
LOUD = """
create function loud() returns trigger language plpgsql as $$ begin raise exception 'no place for %', new; end $$;
create trigger loud before insert on messages for each row execute function loud();
create trigger loud before insert on events for each row execute function loud();
"""
QUIET = "drop trigger loud on messages; drop trigger loud on events; drop function loud()"


@dataclass(frozen=True)
class Kit:
    """What one round of calls is made with: a license and what hangs at it. `leaving` is what the round itself removes."""

    key: str
    code: str
    customer: int
    secret: str
    objects: Mapping[str, int]
    leaving_code: str
    leaving_customer: int
    leaving_objects: Mapping[str, int]
    leaving_message: int


@dataclass
class Story:
    """What happened, and what was found of it."""

    office: Office
    shop: Shop
    book: Book
    proxies: Proxies
    kept: Trio
    leaving: Trio
    passing: Trio
    derives: str
    cluster: Cluster
    refusals: list[bytes] = field(default_factory=list)
    statuses: set[int] = field(default_factory=set)
    visited: list[str] = field(default_factory=list)
    rows: list[Places] = field(default_factory=list)
    valkey: list[Places] = field(default_factory=list)
    pages: list[set[Hit]] = field(default_factory=list)
    metrics: set[str] = field(default_factory=set)
    writing: Places = field(default_factory=dict)
    samples: Places = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)

    async def call(self, method: str, address: str, proxy: int = 0, **params: object) -> Answer:
        """Call through a proxy, for a client at this address; an answer that refuses is kept."""
        form = {name: str(value) for name, value in {"token": self.office.token, **params}.items()}
        url, headers = f"{self.office.live.url}/api/{method}", {"X-Forwarded-For": address}
        async with self.proxies[proxy].post(url, data=form, headers=headers) as answer:
            body = await answer.read()
            if answer.status != 200 or json.loads(body)["result"] == 1:
                self.refusals.append(repr(answer.headers).encode() + body)
                self.statuses.add(answer.status)
        return json.loads(body)

    async def done(self, method: str, address: str, proxy: int = 0, **params: object) -> Answer:
        """Call with success."""
        answer = await self.call(method, address, proxy, **params)
        assert (answer["result"], answer["message"]) == (0, ""), (method, answer)
        return answer


# ---- every method, with success


async def make_kit(story: Story, number: int) -> Kit:
    """Make what a round needs."""
    book = story.book
    do = partial(story.done, address=story.passing[number], ProductId=story.shop.id)
    key = (await do("key/CreateKey", Period=30, MaxNoOfMachines=20))["key"]
    book.known(f"key of kit {number}", key, planted.KEY)
    code = book.text(f"machine of kit {number}", "machines.code log.machine_code data_objects.machine_code")
    await story.done("key/Activate", story.kept[number], number % 2, ProductId=story.shop.id, Key=key, MachineCode=code)
    leaving_code = book.text(
        f"leaving machine {number}", "log.machine_code events.machine_code", once="machines.code data_objects.machine_code"
    )
    name = book.text(f"name of leaving machine {number}", "log.friendly_name", once="machines.friendly_name")
    asked = {"ProductId": story.shop.id, "Key": key, "MachineCode": leaving_code, "FriendlyName": name}
    await story.done("key/Activate", story.leaving[number], number % 2, **asked)
    customer, owner = await do("customer/AddCustomer"), await do("customer/AddCustomer")
    leaving = {
        name: book.text(f"{name} of leaving customer {number}", once=f"customers.{column}")
        for name, column in (("Name", "name"), ("Email", "email"), ("CompanyName", "company_name"), ("Notes", "notes"))
    }
    leaving_customer = await do("customer/AddCustomer", **leaving)
    book.secret(f"first secret of customer {number}", customer["secret"], once=planted.SECRET)
    book.secret(f"secret of owner {number}", owner["secret"], planted.SECRET)
    book.secret(f"secret of leaving customer {number}", leaving_customer["secret"], once=planted.SECRET)
    content = book.text(f"leaving message {number}", once="messages.content")
    message = await do("message/CreateMessage", Content=content)
    objects, leaving_objects = {}, {}
    for form, at in (("", {}), ("ToKey", {"Key": key}), ("ToMachineCode", {"Key": key, "MachineCode": code})):
        add = f"data/AddDataObject{form}"
        objects[form] = (await do(add, **at, Name="stays"))["id"]
        text = book.text(f"leaving object {form}, {number}", once="data_objects.string_value")
        leaving_objects[form] = (await do(add, **at, Name="leaves", StringValue=text))["id"]
    at_machine = book.text(f"object of leaving machine {number}", once="data_objects.string_value")
    await do("data/AddDataObjectToMachineCode", Key=key, MachineCode=leaving_code, StringValue=at_machine)
    return Kit(
        key, code, customer["customerId"], owner["secret"], objects, leaving_code, leaving_customer["customerId"],
        leaving_objects, message["messageId"],
    )  # fmt: skip


def good(story: Story, path: str, kit: Kit) -> dict[str, object]:
    """What a call of a method needs to succeed, beside texts of its own."""
    given: dict[str, object] = {"productid": story.shop.id, "key": kit.key, "customerid": kit.customer, "feature": 1}
    if path.startswith("data/") and not path.startswith(("data/Add", "data/List")):
        form = next(form for form in ("ToKey", "ToMachineCode", "") if path.endswith(form))
        given["id"] = (kit.leaving_objects if path.startswith("data/Remove") else kit.objects)[form]
        given["machinecode"] = kit.code
    return given | {
        "key/Deactivate": {"machinecode": kit.leaving_code},
        "key/CreateKey": {"customerid": 0, "newcustomer": True, "maxnoofmachines": 1},
        "key/MachineLockLimit": {"numberofmachines": 20},
        "customer/EditCustomer": {"secret": True},
        "customer/RemoveCustomer": {"customerid": kit.leaving_customer},
        "customer/GetCustomerLicensesBySecret": {"secret": kit.secret},
        "message/RemoveMessage": {"id": kit.leaving_message},
        "auth/KeyLock": {"token": story.derives},
    }.get(path, {})


async def visit(story: Story, method: Method, kit: Kit, number: int) -> None:
    """Call a method once, with a new text in each of its parameters that is one."""
    book, path = story.book, method.path
    texts = book.texts_of(path, method.ask, f"round {number}", stored=True)
    addresses = story.kept if path in ("key/Activate", "key/CreateTrialKey") else story.passing
    answer = await story.done(path, addresses[number], number % 2, **{**texts, **good(story, path, kit)})
    story.visited.append(path)
    if secret := answer.get("secret"):
        book.secret(f"secret by {path}, {number}", secret, planted.SECRET)
    if path == "auth/KeyLock":
        book.token(f"token by {path}, {number}", answer["token"])


async def take_seats(story: Story, key: str, passing: Trio) -> None:
    """Take floating seats: with a name, with a code that is kept as a digest in Valkey; and one that is given back."""
    book = story.book
    do = partial(story.done, ProductId=story.shop.id, Key=key, FloatingTimeInterval=1000)
    for number, address in enumerate(passing):
        code = book.text(f"code of seat {number}", planted.SEAT_CODE) + "-" * 64 * (number % 2)
        name = book.text(f"name of seat {number}", planted.SEAT_NAME)
        await do("key/Activate", address, MachineCode=code, FriendlyName=name)
    once = "leases.friendly_name Valkey.seats"
    code = book.text("code of a seat given back", "log.machine_code leases.code", once="Valkey.seats")
    name = book.text("name of a seat given back", "log.friendly_name", once=once)
    await do("key/Activate", passing[0], MachineCode=code, FriendlyName=name)
    await do("key/Deactivate", passing[0], MachineCode=code, Floating=True)


async def use_other_forms(story: Story, kit: Kit) -> None:
    """Store what the rounds do not: objects of a product, and of a license by its number; events of no license."""
    book = story.book
    license_id = await story.shop.global_id(kit.key)
    told = {1: "data_objects.name object_log.changes", 2: "data_objects.name"}
    for kind, number in ((1, story.shop.id), (2, license_id)):
        name = book.text(f"name of object at {kind}", told[kind])
        value = book.text(f"value of object at {kind}", "data_objects.string_value")
        at = {"ReferencerType": kind, "ReferencerId": number}
        await story.done("data/AddDataObject", story.passing[0], **at, Name=name, StringValue=value)
    for number, about in enumerate(({}, {"ProductId": story.shop.id})):
        code = book.text(f"code of event without key {number}", "events.machine_code")
        events = json.dumps([{"Metadata": book.text(f"metadata of event without key {number}", "events.metadata")}])
        await story.done("ai/RegisterEvents", story.passing[number], number, **about, MachineCode=code, Events=events)


# ---- what is refused


async def be_refused(story: Story, kit: Kit, method: Method, tokens: Mapping[str, str], addresses: Trio) -> None:
    """Call a method badly, each time with the same texts: nothing of them may be kept, by no method."""
    path, named = method.path, {each.name for each in fields(method.ask)}
    texts = story.book.texts_of(path, method.ask, "refused")
    bad: list[dict[str, str]] = [{"token": token} for token in tokens.values()]
    bad += [{"productid": each} for each in (str(UNKNOWN), story.book.stem) if "product_id" in named]
    bad += [{name: texts[name]} for name in ("key", "secret") if name in texts]
    for number, params in enumerate(bad):
        asked = {**texts, **good(story, path, kit), **params}
        answer = await story.call(path, addresses[number % 3], number % 2, **asked)
        assert answer["result"] == 1, (path, params)


async def be_logged_as_refused(story: Story, addresses: Trio) -> None:
    """Be refused by a rule: the log tells who was."""
    book = story.book
    asked = {"ProductId": story.shop.id, "MaxNoOfMachines": 1, "MachineCode": "somebody"}
    asked["Key"] = (await story.done("key/CreateKey", story.passing[0], **asked))["key"]
    await story.done("key/Activate", story.kept[0], **asked)
    for cause in ("limit", "block"):
        asked["MachineCode"] = book.text(f"code, {cause}", planted.LOGGED_CODE)
        asked["FriendlyName"] = book.text(f"name, {cause}", planted.LOGGED_NAME)
        for address in addresses:
            for method in ("key/Activate", "key/Deactivate"):
                assert (await story.call(method, address, **asked))["result"] == 1
        await story.done("key/BlockKey", story.passing[0], **asked)


async def ask_for_too_many_trials(story: Story, addresses: Trio) -> None:
    """Have trial keys made until there are too many for one network, then from other addresses in it."""
    book = story.book
    callers = [*[story.kept[0]] * TRIALS, *addresses[:2]]
    for number, address in enumerate(callers):
        code, name = book.text(f"code of trial {number}"), book.text(f"name of trial {number}")
        asked = {"ProductId": story.shop.id, "MachineCode": code, "FriendlyName": name}
        if (await story.call("key/CreateTrialKey", address, **asked))["result"] == 0:
            book.stands(code, planted.STORED["key/CreateTrialKey"]["machine_code"])
            book.stands(name, planted.STORED["key/CreateTrialKey"]["friendly_name"])


async def meet_a_loud_database(story: Story, kit: Kit, admin: Connection, address: str) -> None:
    """Call what PostgreSQL then refuses in words that quote the row."""
    await admin.execute(LOUD)
    new = story.book.text
    asked = {"ProductId": story.shop.id, "MachineCode": new("code, loud"), "Metadata": new("metadata, loud")}
    for method, more in (
        ("message/CreateMessage", {"Content": new("content, loud"), "Channel": new("channel, loud")}),
        ("ai/RegisterEvent", asked),
        ("ai/RegisterEvent", {**asked, "Key": kit.key}),
    ):
        assert (await story.call(method, address, **more))["result"] == 1
    await admin.execute(QUIET)


async def break_http(story: Story, token: str, addresses: str) -> None:
    """Send requests that reach no method, full of what must not be repeated. No proxy does: it is told addresses only."""
    new, url = story.book.text, story.office.live.url
    query = f"token={token}&Key={new('key, odd')}&MachineCode={new('code, odd')}&FriendlyName={new('name, odd')}"
    body, path = query.encode(), f"/api/key/GetKey?{query}"
    headers = {"X_Forwarded_For": addresses, "User_Agent": new("agent"), "Authorization": f"Bearer {token}"}
    form, json_ = "multipart/form-data; boundary=x", "application/json"
    for data in (
        request(f"/api/{new('group')}/x?{query}", body, **headers), request(path, body, "PUT", **headers),
        request(path, body * 200, **headers), request(f"{path}%00", body, **headers),
        request(path, body, Content_Encoding="gzip", **headers),
        request(path, gzip.compress(body)[:-3], Content_Encoding="gzip", **headers),
        request(path, b'{"token":"%b' % body, Content_Type=json_, **headers),
        request("/api/key/CreateKey", b"--x\r\n" + body, Content_Type=form, **headers),
        request("/api/key/CreateKey", b"--x\r\nContent-Disposition: form-data; filename=%b\r\n\r\ny\r\n--x--" % body,
                Content_Type=form, **headers),
        request(path, body, Content_Type=f"{FORM}; charset={new('charset')}", **headers),
        f"GET {path} HTTP/1.1\r\nX-Forwarded-For: {addresses}\r\n{token}\r\n\r\n".encode(),
        f"{token} {new('start')}\r\n\r\n".encode(), request(f"/api/key/GetKey?{query * 60}", **headers),
    ):  # fmt: skip
        answer = await ask(url, data)
        story.refusals.append(repr(answer.headers).encode() + answer.body)
        story.statuses.add(answer.status)
    async with line_to(url) as line:  # and one that leaves
        await line.send(request(path, body, **headers)[:-5])


# ---- what is removed


async def remove_everything(story: Story) -> None:
    """Take back by methods all that methods take back."""
    address, rows = story.passing[2], story.shop.rows
    every = "select {} from {} t join licenses l on l.id = {} where l.product_id = $1"
    do = partial(story.done, address=address, ProductId=story.shop.id)
    for row in await rows("select key from licenses where product_id = $1"):
        await do("key/UnblockKey", Key=row["key"])
        await do("key/ChangeNotes", Key=row["key"], Notes="")
    for row in await rows(every.format("l.key, t.code", "machines", "t.license_id")):
        await do("key/Deactivate", Key=row["key"], MachineCode=row["code"])
    for row in await rows(every.format("l.key, t.code", "leases", "t.license_id") + " and not released"):
        await do("key/Deactivate", Key=row["key"], MachineCode=row["code"], Floating=True)
    left = every.format("l.key, t.id, t.machine_code", "data_objects", "t.referencer_id") + " and t.referencer_type = 3"
    for row in await rows(left):
        await do("data/RemoveDataObjectToMachineCode", Key=row["key"], Id=row["id"], MachineCode=row["machine_code"])
    for table, method in (
        ("data_objects", "data/RemoveDataObject"), ("messages", "message/RemoveMessage"),
        ("customers", "customer/RemoveCustomer"),
    ):  # fmt: skip
        for row in await story.office.database.fetch(f"select id from {table}"):
            await do(method, Id=row["id"], CustomerId=row["id"])
    await forget_ended(story.office.database, int(time.time()) + ROW_SECONDS + 2)


async def grow_old(story: Story) -> None:
    """Let one machine come, and two years go by for the daily job: by the database's clock too, which it asks."""
    demo, book, kept = story.office.live.demo, story.book, Config()
    code = book.text("code of who stays", once="machines.code log.machine_code")
    name = book.text("name of who stays", once="machines.friendly_name log.friendly_name")
    asked = {"ProductId": demo["product_id"], "Key": demo["node_locked_key"], "MachineCode": code, "FriendlyName": name}
    await story.done("key/Activate", story.kept[0], **asked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retention, "CLOCK", f"select extract(epoch from now()) + {TWO_YEARS}")
        ahead = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=TWO_YEARS)
        periods = retention.Periods(kept.anonymise_months, kept.event_days, kept.log_months)
        await retention.retain(demo["postgres_dsn"], ahead, periods, mask)


# ---- the story


@asynccontextmanager
async def opened(*, at: str) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(local_addr=(at, 0))
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


async def planted_tokens(office: Office, book: Book) -> dict[str, str]:
    """Tokens that are good for nothing, each for another reason."""
    expired, nothing, wrong = (book.text(f"secret of the {each} token") for each in ("expired", "empty", "wrong"))
    make = partial(
        office.admin.add_token, office.account.id, product_lock=0, key_lock=0, feature_lock=0, now=int(time.time())
    )
    tokens = {}
    for name, secret, permissions, expires in (
        ("expired", expired, ["GetKey"], 1), ("empty", nothing, [], None),
    ):  # fmt: skip
        told = book.text(f"name of the {name} token", "tokens.name object_log.changes")
        number = await make(name=told, secret_hash=hash_of(secret), permissions=permissions, expires=expires)
        tokens[name] = text_of(number, secret)
        book.secret(f"secret of the {name} token", secret, planted.HASHED)
    return {**tokens, "wrong": text_of(token_id(office.token), wrong)}


async def live_through(story: Story, admin: Connection, tokens: Mapping[str, str]) -> None:
    """Call every method, well and badly."""
    kits = [await make_kit(story, number) for number in range(3)]
    for number, kit in enumerate(kits):
        for method in METHODS:
            await visit(story, method, kit, number)
    await take_seats(story, kits[0].key, story.passing)
    await use_other_forms(story, kits[1])
    addresses = trio(story.book, 3, "refused")
    for method in METHODS:
        await be_refused(story, kits[2], method, tokens, addresses)
    await be_logged_as_refused(story, addresses)
    await ask_for_too_many_trials(story, addresses)
    await meet_a_loud_database(story, kits[2], admin, addresses[0])
    await break_http(story, tokens["wrong"], ", ".join(addresses))


@pytest.fixture(scope="module")
async def story() -> AsyncIterator[Story]:
    book = Book()
    proxies = planted.PROXIES
    for which, address in zip("ab", proxies, strict=True):
        book.known(f"proxy, IPv4 {which}", address, planted.PROXY)
    settings = {
        "KEYTURN_TRUSTED_PROXIES": ",".join(proxies), "KEYTURN_TRIALS_PER_HOUR": str(TRIALS), "KEYTURN_LOG_LEVEL": "debug",
        "KEYTURN_FAILURES_PER_MINUTE": "2000", "KEYTURN_USAGE_WITHOUT_STRIPE": "1",
    }  # fmt: skip
    with open_folder() as folder:
        live = start(folder / "data", workers=1, **settings)
        try:
            home = prepare(live.data)
            admin = await asyncpg.connect(Postgres(home).admin_dsn.replace("/postgres?", "/keyturn?"))
            async with open_office(live) as office, opened(at=proxies[0]) as first, opened(at=proxies[1]) as second:
                made = await begin(office, book, (first, second), Cluster(home))
                relations = await tell(made, admin)
            await admin.close()
        finally:
            assert stop(live) == 0
        hunt = Hunt(book)
        made.pages.append(made.cluster.search(hunt, relations))
        made.writing = in_writing(live, hunt)
        yield made


async def begin(office: Office, book: Book, proxies: Proxies, cluster: Cluster) -> Story:
    """Plant what is there from the start."""
    for name in DEMO:
        text = office.live.demo[name]
        _ = book.token(name, text) if "token" in name else book.known(name, text, planted.KEY)
    for text, version in ((planted.MASKED_4, 4), (planted.MASKED_6, 6)):
        book.known(f"network of IPv{version}", text, planted.MASKED, once=planted.KEPT_ADDRESS)  # see `grow_old`
    kept = trio(book, 0, "kept", planted.KEPT_ADDRESS)
    leaving = trio(book, 1, "leaving", once=planted.KEPT_ADDRESS)
    passing = trio(book, 2, "passing")
    derives = book.token("token that derives", await office.new_token(key_lock=-1))
    return Story(office, await office.open_shop(), book, proxies, kept, leaving, passing, derives, cluster)


async def tell(story: Story, admin: Connection) -> dict[str, Relation]:
    """Live through it, and search: before, after all calls, after all removals. Returns the relations."""
    assert await admin.fetchval("show wal_compression") == "off"  # or the WAL would hide texts
    await admin.execute("alter system set autovacuum = off")  # it would take samples now and then
    await admin.execute("select pg_reload_conf()")
    live, database = story.office.live, story.office.database
    await in_files(story, admin)
    await live_through(story, admin, await planted_tokens(story.office, story.book))
    hunt = Hunt(story.book)
    story.rows.append(await in_rows(database, hunt))
    story.valkey.append(await in_valkey(live, hunt))
    story.metrics = await in_metrics(live, hunt)
    story.refused = hunt.in_bytes(b"\n".join(story.refusals))
    relations = await in_files(story, admin)
    await database.execute("analyze")  # as autovacuum does after enough changes
    await remove_everything(story)
    story.rows.append(await in_rows(database, hunt))
    story.valkey.append(await in_valkey(live, hunt))
    story.samples = await in_samples(database, hunt)
    await grow_old(story)
    story.rows.append(await in_rows(database, Hunt(story.book)))
    story.cluster.read_wal()
    return relations


async def in_files(story: Story, admin: Connection) -> dict[str, Relation]:
    """Search PostgreSQL's files once they have all that memory has; return what they are called."""
    story.cluster.read_wal()
    await admin.execute("checkpoint")
    relations = await relations_of(admin)
    story.pages.append(story.cluster.search(Hunt(story.book), relations))
    return relations


# ---- what is found


def expected(story: Story, *, valkey: bool = False, outlives: frozenset[str] | None = None) -> Places:
    """Label -> where it stands, in Valkey or in the database, by the inventory; `outlives`: where anything still may."""
    found = {
        label: {each for each in planted.places if each.startswith("Valkey.") == valkey}
        for label, planted in story.book.by_label.items()
    }
    kept = {label: places if outlives is None else places & outlives for label, places in found.items()}
    return {label: places for label, places in kept.items() if places}


def differing(found: Places, wanted: Places) -> dict[str, tuple[set[str], set[str]]]:
    """What is not as it should be: found where it may not be, not found where it has to be."""
    return {
        label: (places - wished, wished - places)
        for label in found.keys() | wanted.keys()
        if (places := found.get(label, set())) != (wished := wanted.get(label, set()))
    }


def test_every_method_was_called_with_success_and_every_kind_of_refusal_met(story: Story) -> None:
    assert sorted(story.visited) == sorted([method.path for method in METHODS] * 3)
    assert story.statuses == {200, 400, 404, 405, 413, 429, 500}
    assert len(story.refusals) > 5 * len(METHODS)


def test_every_datum_is_in_the_rows_that_it_belongs_to_and_in_no_others(story: Story) -> None:
    assert differing(story.rows[0], expected(story)) == {}


def test_valkey_has_of_a_seat_its_code_its_name_and_its_network_and_nothing_else_of_anybody(story: Story) -> None:
    assert differing(story.valkey[0], expected(story, valkey=True)) == {}


def test_files_and_wal_of_postgresql_have_each_datum_in_the_relations_that_it_was_stored_in_only(story: Story) -> None:
    known = story.book.by_label
    hits = {hit for each in story.pages for hit in each if hit.relation is None or hit.relation.table != "pg_statistic"}
    assert [hit for hit in hits if hit.relation is None or not hit.relation.may_hold(known[hit.found.label].ever)] == []


def test_the_search_through_files_and_wal_finds_all_that_is_stored(story: Story) -> None:
    found = {
        (hit.found.label, hit.relation.table, hit.where)
        for each in story.pages for hit in each if hit.relation is not None and hit.relation.columns is None
    }  # fmt: skip
    wanted = {
        (label, place.partition(".")[0], where)
        for label, places in expected(story).items() for place in places for where in ("file", "WAL")
    }  # fmt: skip
    assert wanted - found == set()


def test_nothing_of_it_is_where_people_read_along(story: Story) -> None:
    assert story.metrics == set()
    assert story.refused == set()
    demo = {label for label in story.book.by_label if label in DEMO or label.removeprefix("secret of ") in DEMO}
    assert story.writing == {label: {"demo.json"} for label in demo}


def test_what_is_removed_leaves_rows_and_valkey(story: Story) -> None:
    # Rows only. Files keep dead rows until they are vacuumed, and the WAL keeps all until its segments are used again.
    assert differing(story.rows[1], expected(story, outlives=planted.AFTER_REMOVAL)) == {}
    assert story.valkey[1] == {}


def test_in_two_years_the_logs_name_nobody_and_a_machine_that_stays_has_its_network_only(story: Story) -> None:
    left = expected(story, outlives=planted.AFTER_RETENTION)
    stays = {
        "code of who stays": {"machines.code"},
        "name of who stays": {"machines.friendly_name"},
        "network of IPv4": {"machines.ip"},
    }
    assert differing(story.rows[2], {**left, **stays}) == {}


def test_the_planner_keeps_no_samples_of_personal_data(story: Story) -> None:
    assert {place for places in story.samples.values() for place in places} == set()
    assert [hit for each in story.pages for hit in each if hit.relation and hit.relation.table == "pg_statistic"] == []
