"""Where personal data goes: a day of calls with planted addresses, codes, names, tokens and keys, then a search everywhere.

The law is protocol: privacy. The full address stands with the machine and goes with it, with a seat only a masked one; a
token stands nowhere.
"""

import asyncio
import gzip
import json
import secrets
import time
from base64 import b64decode
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio
from lines import FORM, ask, line_to, request
from office import DONE, Office, Shop, open_office, unknown_token
from servers import Live, start, stop, until

from server.jobs import LEASES_SECONDS
from server.methods import METHODS
from storage.postgres.leases import forget_ended
from storage.records import ROW_SECONDS

PROXY = "127.0.0.8"
ADDRESS, ADDRESS_6, REFUSED = "203.0.113.77", "2001:db8:aaaa:bbbb::77", "198.51.100.88"
Places = dict[str, set[tuple[str, str]]]
LOGGED = {("log", "machine_code"), ("events", "machine_code")}

COLUMNS = """
select c.table_schema, c.table_name, c.column_name
from information_schema.columns c
join pg_class k on k.oid = format('%I.%I', c.table_schema, c.table_name)::regclass
where c.table_schema not in ('pg_catalog', 'information_schema') and k.relkind in ('r', 'p', 'm') and not k.relispartition
"""


async def search(office: Office, planted: list[str]) -> Places:
    """Every column of every table in which a planted text stands, as a text, in JSON or an array, or in bytes."""
    found: Places = {each: set() for each in planted}
    columns = await office.database.fetch(COLUMNS)
    assert {("licenses", "key"), ("log", "ip"), ("object_log", "changes"), ("tokens", "secret_hash")} <= {
        (row["table_name"], row["column_name"]) for row in columns
    }
    for schema, table, column in columns:
        statement = (
            f'select distinct n from (select t."{column}"::text as told from "{schema}"."{table}" t), unnest($1::text[]) n'
            " where position(n in told) > 0 or position(encode(convert_to(n, 'UTF8'), 'hex') in told) > 0"
        )
        for row in await office.database.fetch(statement, planted):
            found[row["n"]].add((table, column))
    return found


async def valkey(live: Live) -> str:
    """All that Valkey holds: the names of its keys, and their values whatever their type."""
    client = redis.asyncio.from_url(live.demo["redis_url"])
    read = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"zset": lambda key: client.zrange(key, 0, -1),
        b"stream": client.xrange,
    }
    try:
        keys = [key async for key in client.scan_iter()]
        values = [await read[await client.type(key)](key) for key in keys]
    finally:
        await client.aclose()
    return repr((keys, values))


def written(*servers: Live) -> str:
    """Everything that servers and engines wrote for people to read: stderr, and the logs below DATA."""
    paths = [
        path
        for server in servers
        for path in (server.data.with_name(f"{server.data.name}.log"), *server.data.rglob("*.log"))
    ]
    assert any(path.name == "postgres.log" for path in paths)
    return "".join(path.read_text(errors="replace") for path in paths)


@dataclass
class Day:
    """What was planted, and all answers to calls that were refused."""

    shop: Shop
    key: str
    full: str
    codes: list[str]
    names: list[str]
    tokens: list[str]
    answers: list[str] = field(default_factory=list)

    @property
    def secrets(self) -> list[str]:
        """The tokens, and the secrets inside them."""
        return [text for token in self.tokens for text in (token, json.loads(b64decode(token))[1])]


async def call(day: Day, method: str, address: str, **params: object) -> dict:
    """Call through the proxy, for a client at this address."""
    office = day.shop.office
    form = {"token": office.token, "ProductId": day.shop.id, "Key": day.key, **params}
    data = {name: str(value) for name, value in form.items()}
    async with office.http.post(
        f"{office.live.url}/api/{method}", data=data, headers={"X-Forwarded-For": address}
    ) as answer:
        body = await answer.text()
    if json.loads(body)["result"] == 1:
        day.answers.append(body)
    return json.loads(body)


async def live_through(day: Day) -> None:
    """Call every method, well and badly, from addresses of clients; at the end two machines are there, and two seats."""
    (code, other, trial), (name, _) = day.codes, day.names
    await call(day, "key/Activate", "192.0.2.9", Key=day.full, MachineCode="somebody")
    asked = {"MachineCode": code, "FriendlyName": name, "NumberOfMachines": 2}
    for method in METHODS:
        await call(day, method.path, ADDRESS, **asked)
        for bad in ({"token": token} for token in day.tokens):
            await call(day, method.path, REFUSED, **asked, **bad)
        for bad in (
            {"Key": f"{code}-NO-KEY"},
            {"ProductId": code},
            {"ProductId": 2_000_000_000},
            {"MachineCode": code * 40},
        ):
            await call(day, method.path, REFUSED, **{**asked, **bad})
    for asked in ({"Notes": name * 40}, {"CustomerId": 2_000_000_000}, {"NoOfKeys": 3}):
        await call(day, "key/CreateKey", ADDRESS, **asked)
    await asyncio.gather(
        *(call(day, "key/CreateTrialKey", ADDRESS, MachineCode=trial, FriendlyName=name) for _ in range(20))
    )
    await call(day, "key/UnblockKey", ADDRESS)
    for machine, address in ((code, ADDRESS), (other, ADDRESS_6), (code, ADDRESS), ("refused", REFUSED)):
        await call(day, "key/Activate", address, MachineCode=machine, FriendlyName=name, FloatingTimeInterval=1000)
    above = {"FloatingTimeInterval": 1000, "MaxOverdraft": 1, "MachineCode": "somebody"}
    await call(day, "key/Activate", "192.0.2.9", **above)
    await call(day, "key/Deactivate", "192.0.2.9", Floating=True, MachineCode="somebody")
    for _ in range(2):
        await call(day, "key/Activate", ADDRESS, MachineCode=code, FriendlyName=name, OSInfo='{"OSName":"x"}')
    await call(day, "key/Activate", ADDRESS_6, MachineCode=other, FriendlyName=name, OSInfo='{"OSName":"x"}')
    await call(day, "key/Activate", REFUSED, Key=day.full, MachineCode=code)
    await call(day, "key/BlockKey", REFUSED, Key=day.full)
    await call(day, "key/Activate", REFUSED, Key=day.full, MachineCode=code)
    await call(day, "key/Deactivate", REFUSED, MachineCode="unknown")


async def break_things(day: Day) -> None:
    """Requests that never reach a method, full of what must not be repeated."""
    live, query = (
        day.shop.office.live,
        f"token={day.tokens[0]}&Key={day.key}&MachineCode={day.codes[0]}&FriendlyName={day.names[0]}",
    )
    body = query.encode()
    headers = {"X_Forwarded_For": REFUSED, "User_Agent": day.names[0], "Authorization": f"Bearer {day.tokens[0]}"}
    for data in (
        request(f"/api/{day.codes[0]}/x?{query}", body, **headers),
        request(f"/api/key/GetKey?{query}", body, "PUT", **headers),
        request(f"/api/key/GetKey?{query}", body * 100, **headers), request(f"/api/key/GetKey?{query}%00", body, **headers),
        request(f"/api/key/GetKey?{query}", body, Content_Encoding="gzip", **headers),
        request("/api/key/GetKey", gzip.compress(body)[:-3], Content_Encoding="gzip", **headers),
        request("/api/key/GetKey", b'{"token":"%b' % body, Content_Type="application/json", **headers),
        request("/api/key/CreateKey", b"--x\r\n" + body, Content_Type="multipart/form-data; boundary=x", **headers),
        request("/api/key/CreateKey", b"--x\r\nContent-Disposition: form-data; name=%b; filename=y\r\n\r\ny\r\n--x--" % body,
                Content_Type="multipart/form-data; boundary=x", **headers),
        request("/api/key/GetKey", body, Content_Type=f"{FORM}; charset={day.codes[0]}", **headers),
        f"GET /api/key/GetKey?{query} HTTP/1.1\r\nX-Forwarded-For: {REFUSED}\r\n{day.tokens[0]}\r\n\r\n".encode(),
        f"{day.tokens[0]} {day.codes[0]}\r\n\r\n".encode(), request(f"/api/key/GetKey?{query * 60}", **headers),
    ):  # fmt: skip
        answer = await ask(live.url, data)
        day.answers.append(repr((answer.headers, answer.body)))
    async with line_to(live.url) as line:
        await line.send(request(f"/api/key/GetKey?{query}", body, **headers)[:-5])


async def new_day(office: Office) -> Day:
    shop = Shop(office, (await office.open_shop()).id)
    key, full = await shop.new_key(MaxNoOfMachines=3), await shop.new_key(MaxNoOfMachines=1)
    codes = [f"plantedcode{secrets.token_hex(8)}" for _ in range(3)]
    names = [f"plantedname{secrets.token_hex(8)}" for _ in range(2)]
    nothing, expired = await office.new_token("GetWebAPILog", product_lock=shop.id), await office.new_token(expires=1)
    return Day(shop, key, full, codes, names, [unknown_token(office.token), nothing, expired])


@pytest.fixture(scope="module")
async def day(behind_proxies: Live) -> AsyncIterator[Day]:
    async with open_office(behind_proxies, at=PROXY) as office:
        made = await new_day(office)
        await live_through(made)
        await break_things(made)
        yield made


async def test_a_day_has_seen_every_outcome(day: Day) -> None:
    states = {row["state"] for row in await day.shop.log()}
    assert {2010, 2011, 2022, 2023, 3010, 3011, 3012, 3020, 3021, 6010, 6020, 7010} <= states
    assert {2014, 2015, 2024, 6011} <= states
    shown = {row["Mid"]: row["IP"] for row in (await day.shop.show(day.key))["ActivatedMachines"]}
    code, other, _ = day.codes
    assert shown == {
        code: ADDRESS, other: ADDRESS_6, f"floating:{code}": "203.0.113.0", f"floating:{other}": "2001:db8:aaaa::",
    }  # fmt: skip
    assert len(day.answers) > 50


async def test_the_database_has_each_datum_in_its_place_and_nowhere_else(day: Day, live: Live) -> None:
    office = day.shop.office
    code, other, trial = day.codes
    keys = [row["key"] for row in await day.shop.rows("select key from licenses where product_id = $1")]
    admin = [office.token, live.demo["token"], *day.tokens]
    tokens = [text for token in admin for text in (token, json.loads(b64decode(token))[1])]
    found = await search(office, [ADDRESS, ADDRESS_6, REFUSED, PROXY, *day.codes, *day.names, *keys, *tokens])
    assert found.pop(ADDRESS) == found.pop(ADDRESS_6) == {("machines", "ip")}
    assert found.pop(REFUSED) == set()
    assert found.pop(PROXY) == {("machines", "proxy_ip")}
    for each in (code, other):
        assert found.pop(each) == {("machines", "code"), ("leases", "code"), *LOGGED}
    assert found.pop(trial) == {("machines", "code"), ("log", "machine_code")}
    used, unused = day.names
    assert found.pop(used) == {("machines", "friendly_name"), ("leases", "friendly_name"), ("log", "friendly_name")}
    assert found.pop(unused) == set()
    for key in keys:
        assert found.pop(key) == {("licenses", "key"), ("log", "key")}
    assert {text: places for text, places in found.items() if places} == {}
    assert len(found) == len(set(tokens))


async def test_the_log_has_masked_addresses_only(day: Day) -> None:
    masked = {"203.0.113.0", "2001:db8:aaaa::", "198.51.100.0", "192.0.2.0", "127.0.0.0"}
    assert {row["ip"] for row in await day.shop.log()} == masked


async def test_nothing_of_it_is_where_people_read_along(day: Day, live: Live) -> None:
    server = day.shop.office.live
    metrics = (await ask(server.demo["ops_url"], request("/metrics", Host="localhost"))).body.decode()
    everywhere = {
        "logs": written(live, server),
        "metrics": metrics,
        "valkey": await valkey(live),
        "refusals": "".join(day.answers),
    }
    planted = [ADDRESS, ADDRESS_6, REFUSED, PROXY, "203.0.113.", "2001:db8:aaaa", *day.codes, *day.names, day.key, day.full,
               day.shop.office.token, *day.secrets]  # fmt: skip
    found = {(place, text) for place, content in everywhere.items() for text in planted if text in content}
    # Who has a seat is in Valkey as it is in the answers that list seats: code, name, masked address.
    seats = (*day.codes[:2], day.names[0], "203.0.113.", "2001:db8:aaaa")
    assert found == {("valkey", text) for text in seats}


async def test_a_machine_that_leaves_takes_its_address_and_its_name_along(day: Day, live: Live) -> None:
    code, other, trial = day.codes
    await call(day, "key/UnblockKey", ADDRESS)
    for each in (code, other):
        assert await call(day, "key/Deactivate", ADDRESS, MachineCode=each) == DONE
        assert await call(day, "key/Deactivate", ADDRESS, MachineCode=each, Floating=True) == DONE
    trial_key = (await day.shop.log(MachineCode=trial, States="3011"))[0]["key"]
    first = (await day.shop.log(MachineCode=code, States="3011"))[0]["key"]
    assert await call(day, "key/Deactivate", ADDRESS, Key=trial_key, MachineCode=trial) == DONE
    assert await call(day, "key/Deactivate", ADDRESS, Key=first, MachineCode=code) == DONE
    planted = [ADDRESS, ADDRESS_6, *day.codes, *day.names]
    left = {
        ADDRESS: set(), ADDRESS_6: set(), code: LOGGED, other: LOGGED, trial: {("log", "machine_code")},
        day.names[0]: {("log", "friendly_name")}, day.names[1]: set(),
    }  # fmt: skip
    fenced = {each: {("leases", "code"), *left[each]} for each in (code, other)}  # a release counts until it is old
    assert await search(day.shop.office, planted) == {**left, **fenced}
    assert [text for text in planted if text in await valkey(live)] == []
    assert await forget_ended(day.shop.office.database, int(time.time()) + ROW_SECONDS + 2) >= len(fenced)
    assert await search(day.shop.office, planted) == left


async def test_a_server_may_log_no_address_at_all(without_addresses: Live) -> None:
    async with open_office(without_addresses, at=PROXY) as office:
        day = await new_day(office)
        await live_through(day)
        assert {row["ip"] for row in await day.shop.log()} == {""}
        kept = await day.shop.rows("select m.ip, m.proxy_ip from machines m join licenses l on l.id = license_id"
                                   " where l.product_id = $1 and l.key = $2", day.key)  # fmt: skip
        assert {(row["ip"], row["proxy_ip"]) for row in kept} == {(ADDRESS, PROXY), (ADDRESS_6, PROXY)}


async def test_a_server_removes_the_rows_of_seats_that_ended_within_the_hour(folder: Path) -> None:
    server = start(folder / "data", workers=1)
    database = await server.database()
    await database.execute(
        "insert into leases select l.id, ended::text, l.account_id, 1, 0, 0, $1 - ended, 'Ann', '203.0.113.0', 2, 1, false"
        " from licenses l, unnest(array[300, 610]) ended where l.key = $2",
        int(time.time()), server.demo["floating_key"],
    )  # fmt: skip
    await database.close()
    assert stop(server) == 0
    server = start(folder / "data", workers=1)
    database = await server.database()
    try:
        await until(lambda: gone(database))
        assert await database.fetchval("select array_agg(code) from leases") == ["300"]
    finally:
        await database.close()
        assert stop(server) == 0
    assert LEASES_SECONDS + ROW_SECONDS <= 3600


async def gone(database: "asyncpg.Connection[asyncpg.Record]") -> bool:
    return not await database.fetchval("select exists (select from leases where code = '610')")
