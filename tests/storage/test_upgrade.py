"""An upgrade in the middle of the day: this program serves the schema before its own, the program before this one serves the
schema of this one, and what only that one needs is taken away when it is gone.

`previous/` has the statements of the program before the last migration, as far as they differ from those of now, in files as
storage/postgres/sql has them. Whoever adds a migration throws out what is there, and puts there what they change.
"""

import asyncio
import datetime
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
from aiohttp import web
from backups import empty_database, put, take

from server import app, http
from server.account import ensure, make_token
from server.config import Config
from server.jobs import JOBS, Place
from server.methods import METHODS, PERMISSIONS
from storage.embedded.postgres import Postgres
from storage.errors import Unavailable
from storage.postgres import migrate as migrating
from storage.postgres import sql
from storage.postgres.admin import administration
from storage.postgres.lane import Lane
from storage.postgres.migrate import (
    HISTORY,
    OLDEST_SCHEMA,
    PROGRAM,
    SchemaError,
    apply,
    check,
    finish,
    make_partitions,
    migrate,
    unfinished,
    unlimited,
)
from storage.postgres.retention import Periods
from storage.records import Feature, FeatureType

FEATURES = (
    Feature("Limited", FeatureType.TIME_LIMITED), Feature("Trial", FeatureType.TRIAL),
    *(Feature(f"F{number}", FeatureType.NORMAL) for number in range(3, 9)),
)  # fmt: skip
PREVIOUS = Path(__file__).with_name("previous")
NOW = datetime.datetime.now(datetime.UTC)
ONE_PHASE = 4  # the migrations up to this one turned the program before them out, each at once


@pytest.fixture
async def before(postgres: Postgres) -> AsyncIterator[str]:
    """A database with the schema of the program before this one."""
    async with empty_database(postgres) as dsn:
        async with unlimited(dsn) as connection:
            await connection.execute(HISTORY)
            await apply(connection, 0, OLDEST_SCHEMA)
            await make_partitions(connection, NOW)
        yield dsn


async def value(dsn: str, statement: str) -> Any:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


# ---- statements


def statements() -> Iterator[tuple[str, str]]:
    """Every statement of this program, and those that the one before had otherwise, with their names."""
    now = [(each.name, each.read_text()) for each in files(sql).iterdir() if each.name.endswith(".sql")]
    then = [(f"previous {each.name}", each.read_text()) for each in PREVIOUS.glob("*.sql")]
    for name, text in now + then:
        _about, *parts = sql.NAME.split(text)
        yield from zip((f"{name}: {part}" for part in parts[::2]), parts[1::2], strict=True) if parts else [(name, text)]


async def meaning(dsn: str) -> dict[str, object]:
    """What each statement takes and gives in this database: names and types; an error if it is none there."""
    found: dict[str, object] = {}
    connection = await asyncpg.connect(dsn)
    for name, text in statements():
        try:
            prepared = await connection.prepare(text)
            takes = [each.name for each in prepared.get_parameters()]
            found[name] = takes, [(each.name, each.type.name) for each in prepared.get_attributes()]
        except asyncpg.PostgresError as error:
            found[name] = f"{type(error).__name__}: {error}"
    await connection.close()
    return found


async def test_every_statement_of_both_programs_means_the_same_in_both_schemas(before: str, dsn: str) -> None:
    then, now = await meaning(before), await meaning(dsn)
    assert {name: said for name, said in now.items() if isinstance(said, str)} == {}
    assert then == now
    assert len(now) > 100


def test_no_migration_turns_out_the_program_before_it() -> None:
    assert [name for number, name, text in sql.migrations() if number > ONE_PHASE and "oldest_program" in text] == []


# ---- a worker


@dataclass(slots=True)
class Shop:
    """A worker that serves a database, and a product there. `called` has the methods that were."""

    url: str
    client: aiohttp.ClientSession
    token: str
    locked: str
    product: int
    called: set[str] = field(default_factory=set)

    async def call(self, method: str, **params: object) -> dict[str, Any]:
        """A call that is granted."""
        self.called.add(method)
        values = {"token": self.token, "ProductId": self.product, **params}
        form = {name: str(each) for name, each in values.items()}
        async with self.client.post(f"{self.url}/api/{method}", data=form) as said:
            answer: dict[str, Any] = await said.json()
        assert answer["result"] == 0, (method, said.status, answer)
        return answer

    async def new_key(self, **params: object) -> str:
        key: str = (await self.call("key/CreateKey", Period=30, MaxNoOfMachines=5, **params))["key"]
        return key


@asynccontextmanager
async def serving(dsn: str, redis_url: str, folder: Path) -> AsyncIterator[Shop]:
    """A worker of this program in this process, with what is made on the command line beforehand."""
    now = int(time.time())
    async with administration(dsn) as admin:
        account = await ensure(admin, folder / "keys", None, now)
        product = await admin.add_product(
            account.id, name="P", description="", features=FEATURES, all_time_limited=False, block_expired=True, now=now
        )
        tokens = [
            await make_token(admin, account.id, name="t", permissions=PERMISSIONS, now=now, key_lock=lock)
            for lock in (0, -1)
        ]
    config = Config(data=folder, database_url=dsn, redis_url=redis_url, usage_without_stripe=True)
    async with app.worker(config) as worker, aiohttp.ClientSession() as client:
        runner = web.ServerRunner(http.Server(worker.endpoint), shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        yield Shop(f"http://{host}:{port}", client, *tokens, product)
        await runner.cleanup()


async def everything(shop: Shop) -> None:
    """Call every method once at least."""
    call, key = shop.call, await shop.new_key()
    mine = {"Key": key, "MachineCode": "m"}
    await call("key/Activate", **mine, FriendlyName="f", OSInfo="o", Sign=True)
    await call("key/Activate", **mine)
    await call("key/GetKey", Key=key, Sign=True, Metadata=True, ModelVersion=3)
    floating = await shop.new_key()
    for code in ("a", "b", "a"):
        await call("key/Activate", Key=floating, MachineCode=code, FloatingTimeInterval=100, MaxOverdraft=1, ModelVersion=3)
    await call("key/Deactivate", Key=floating, MachineCode="a", Floating=True)
    await call("key/CreateTrialKey", MachineCode="m")
    for method, params in (
        ("BlockKey", {}), ("UnblockKey", {}), ("MachineLockLimit", {"NumberOfMachines": 3}),
        ("ExtendLicense", {"NoOfDays": 3}), ("AddFeature", {"Feature": 3}), ("RemoveFeature", {"Feature": 3}),
        ("ChangeNotes", {"Notes": "n"}), ("TrialActivation", {"Enabled": True}), ("TrialActivation", {"Enabled": False}),
    ):  # fmt: skip
        await call(f"key/{method}", Key=key, **params)
    await call("key/Deactivate", **mine)
    await _customers(shop, key)
    await _objects(shop, mine)
    await call("ai/RegisterEvent", Key=key, EventName="e")
    await call("ai/RegisterEvents", Key=key, Events='[{"EventName": "e"}]')
    assert len((await call("ai/GetEvents", Key=key))["events"]) >= 2
    assert len((await call("ai/GetWebAPILog", Key=key))["logs"]) >= 3
    message = (await call("message/CreateMessage", Content="c", Channel="x"))["messageId"]
    assert (await call("message/GetMessages", Channel="x"))["messages"]
    await call("message/RemoveMessage", Id=message)
    await call("auth/KeyLock", Key=key, token=shop.locked)
    await call("subscription/RecordUsage", Key=key, Amount=1)


async def _customers(shop: Shop, key: str) -> None:
    customer = (await shop.call("customer/AddCustomer", Name="n"))["customerId"]
    secret = (await shop.call("customer/EditCustomer", CustomerId=customer, Secret=True))["secret"]
    await shop.call("key/ChangeCustomer", Key=key, CustomerId=customer)
    assert (await shop.call("customer/GetCustomers"))["customers"]
    assert (await shop.call("customer/GetCustomerLicenses", CustomerId=customer))["licenseKeys"]
    await shop.call("customer/GetCustomerLicensesBySecret", Secret=secret)
    await shop.call("customer/RemoveCustomer", CustomerId=customer)


async def _objects(shop: Shop, mine: dict[str, str]) -> None:
    of_product = {"ReferencerType": 1, "ReferencerId": shop.product}
    for form, at in (("", of_product), ("ToKey", {"Key": mine["Key"]}), ("ToMachineCode", mine)):
        made = (await shop.call(f"data/AddDataObject{form}", **at, Name="n", IntValue=1))["id"]
        one = {**({} if not form else at), "Id": made}
        for verb in ("SetIntValue", "IncrementIntValue", "DecrementIntValue"):
            await shop.call(f"data/{verb}{form}", **one, IntValue=1)
        await shop.call(f"data/SetStringValue{form}", **one, StringValue="s")
        assert (await shop.call(f"data/ListDataObjects{form}", **at))["dataObjects"]
        await shop.call(f"data/RemoveDataObject{form}", **one)


async def daily(dsn: str, redis_url: str) -> None:
    """Do what the supervisor has done again and again."""
    await asyncio.gather(*(job.do(Place(dsn, redis_url, Periods(24, 30, 0))) for job in JOBS))


async def test_this_program_serves_the_schema_before_its_own_and_goes_on_while_it_is_migrated(
    before: str, redis_url: str, tmp_path: Path
) -> None:
    assert await check(before) == OLDEST_SCHEMA
    stop = asyncio.Event()

    async def goes_on(shop: Shop, key: str, code: str) -> int:
        for calls in range(1_000_000):
            if stop.is_set():
                return calls
            await shop.call("key/Activate", Key=key, MachineCode=code, FriendlyName=str(calls))
            await shop.call("key/Activate", Key=key, MachineCode=code, FloatingTimeInterval=100)
        raise AssertionError

    async with serving(before, redis_url, tmp_path) as shop:
        await asyncio.gather(everything(shop), daily(before, redis_url))
        assert shop.called == {method.path for method in METHODS}
        load = [asyncio.create_task(goes_on(shop, await shop.new_key(), code)) for code in ("a", "b", "c")]
        await migrate(before, NOW)
        assert await check(before) == PROGRAM
        await everything(shop)  # on connections, and with plans, that are older than the schema
        stop.set()
        assert all(calls > 3 for calls in await asyncio.gather(*load))


# ---- the second part


@pytest.fixture
def second_part(monkeypatch: pytest.MonkeyPatch) -> str:
    """The newest migration has a second part, which can be done but once; its name."""
    _, name, _ = sql.migrations()[-1]
    monkeypatch.setattr(migrating, "finishes", lambda: [(PROGRAM, name, "alter table messages drop column channel")])
    return name


HAS_CHANNEL = "select count(*) from pg_attribute where attrelid = 'messages'::regclass and attname = 'channel'"


async def test_the_second_part_is_applied_when_told_once_and_turns_out_older_programs(
    before: str, second_part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SchemaError, match="keyturn migrate"):
        await finish(before)
    await migrate(before, NOW)
    assert await value(before, HAS_CHANNEL) == 1
    assert await unfinished(before) == [second_part]
    finished = await asyncio.gather(*(finish(before) for _ in range(3)))
    assert sorted(finished) == [[], [], [second_part]]
    assert await value(before, HAS_CHANNEL) == 0
    assert await unfinished(before) == []
    await check(before)
    monkeypatch.setattr(migrating, "PROGRAM", OLDEST_SCHEMA)  # the program before this one
    with pytest.raises(SchemaError, match="newer Keyturn"):
        await check(before)


async def test_the_second_part_waits_for_older_programs_to_be_gone_and_not_for_this_one(
    dsn: str, second_part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lane() -> Lane:
        return Lane(dsn, on_up=lambda: None, on_down=lambda: None)

    with monkeypatch.context() as older:
        older.setattr("storage.postgres.lane.PROGRAM", OLDEST_SCHEMA)
        old = lane()
        await old.open()
    new = lane()
    await new.open()
    with pytest.raises(SchemaError, match=f"up to {OLDEST_SCHEMA} only"):
        await finish(dsn)
    assert await unfinished(dsn) == [second_part]
    await old.close()
    assert await finish(dsn) == [second_part]
    await new.close()


# What it says itself goes well, and what is noted of it then does not.
GOES_WRONG = "drop table messages; alter table installation rename column oldest_program to oldest"


async def test_a_second_part_that_fails_is_not_done_at_all(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, name, _ = sql.migrations()[-1]
    monkeypatch.setattr(migrating, "finishes", lambda: [(PROGRAM, name, GOES_WRONG)])
    with pytest.raises(Unavailable):
        await finish(dsn)
    assert await unfinished(dsn) == [name]
    assert await value(dsn, "select to_regclass('messages')") is not None


@pytest.mark.usefixtures("second_part")
async def test_a_backup_knows_what_is_finished_and_is_restored_so(dsn: str, postgres: Postgres) -> None:
    await finish(dsn)
    taken = await take(dsn)
    assert taken.contents.finished == (PROGRAM,)
    async with empty_database(postgres) as target:
        await put(taken, target)
        assert await value(target, HAS_CHANNEL) == 0
        assert await unfinished(target) == []


async def test_a_backup_of_a_schema_that_could_not_say_so_has_nothing_finished(before: str) -> None:
    assert (await take(before)).contents.finished == ()


def test_files_are_told_apart_by_their_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "files", lambda _package: tmp_path)
    folder = tmp_path / "migrations"
    folder.mkdir()
    for name in ("0001_first", "0002_second", "0002_second.finish"):
        (folder / f"{name}.sql").write_text(name)
    assert sql.migrations() == [(1, "0001_first", "0001_first"), (2, "0002_second", "0002_second")]
    assert sql.finishes() == [(2, "0002_second", "0002_second.finish")]
    (folder / "0003_third.finish.sql").touch()
    with pytest.raises(RuntimeError, match="0003_third"):
        sql.finishes()
