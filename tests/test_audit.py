"""The audit of loads: it agrees with a server that keeps its promises, and finds each kind of disagreement, planted here."""

import random
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio
from servers import Live

from loadtests import audit as audit_module
from loadtests import crowds
from loadtests.audit import audit, main
from loadtests.clients import Client
from loadtests.crowds import CROWDS
from loadtests.journal import Call, Counter, Journal, Kind, Line, Terms, read
from storage.redis.keys import seats_key

Database = asyncpg.Connection
LEASE = 600


@dataclass(slots=True)
class Loaded:
    """A small load on two licenses: two places each, all taken, a seat in overdraft, and a counter that stands at 6."""

    live: Live
    lines: list[Line] = field(default_factory=list)
    key: str = ""
    pool: str = ""

    def load(self) -> None:
        with closing(Client(self.live.demo, self.lines.append)) as client:
            self.key, self.pool = client.create(2, 2, overdraft=1)
            client.add_counter(self.key, "runs")
            for code in ("a", "b", "a", "c"):
                client.activate(self.key, code)
                client.take(self.pool, code, LEASE)
            client.take(self.pool, "above", LEASE, overdraft=1)
            for amount in (1, 2, 3):
                client.increment(self.key, "runs", amount)
            client.get_key(self.key)

    async def audit(self, **how: int) -> list[str]:
        """What the audit finds, by the names of its questions."""
        found = await audit(self.live.demo["postgres_dsn"], self.live.demo["redis_url"], self.lines, **how)
        return sorted({each.question for each in found})

    async def seats(self, database: Database) -> str:
        """The key of the pool's set in Valkey."""
        row = await database.fetchrow(
            "select i.id::text as installation, l.id from installation i, licenses l where l.key = $1", self.pool
        )
        return seats_key(row["installation"].replace("-", "")[:12], row["id"]).decode()


@pytest.fixture
def loaded(live: Live) -> Loaded:
    made = Loaded(live)
    made.load()
    return made


@pytest.fixture
async def database(live: Live) -> AsyncIterator[Database]:
    connection = await live.database()
    yield connection
    await connection.close()


# What agrees


ASKS = {
    "start-up": {Kind.ACTIVATE, Kind.GET_KEY},
    "heartbeats": {Kind.TAKE},
    "mixed-day": {Kind.ACTIVATE, Kind.GET_KEY, Kind.TAKE, Kind.INCREMENT},
    "rush": {Kind.ACTIVATE},
    "retry-storm": {Kind.ACTIVATE, Kind.TAKE},
}


@pytest.mark.parametrize("name", CROWDS)
async def test_a_crowd_and_the_server_agree(live: Live, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for many, few in (("LICENSES", 4), ("POOLS", 2), ("COUNTERS", 1), ("PLACES", 20)):
        monkeypatch.setattr(crowds, many, few)
    crowd = CROWDS[name]
    with ExitStack() as stack:
        journal = stack.enter_context(Journal(folder / "journal"))

        def client() -> Client:
            return stack.enter_context(closing(Client(live.demo, journal.note, keeps=crowd.keeps)))

        stock = crowd.stock(client())
        lives = [crowd.life(client(), stock, random.Random(number)) for number in range(16)]
        for _ in range(4):  # a pause is not waited for
            for life in lives:
                next(life)
    lines = list(read([folder / "journal"]))
    asked = [line for line in lines if isinstance(line, Call)]
    assert all(call.said is not None for call in asked)
    assert {call.kind for call in asked if call.said == ""} >= ASKS[name]
    assert await audit(live.demo["postgres_dsn"], live.demo["redis_url"], lines) == []


async def test_a_call_without_an_answer_may_have_been_done_or_not(loaded: Loaded) -> None:
    done = [line for line in loaded.lines if isinstance(line, Call)]
    loaded.lines = [line._replace(said=None, sent=0) if isinstance(line, Call) else line for line in loaded.lines]
    loaded.lines += [line._replace(said=None, sent=0) for line in done]
    assert await loaded.audit() == []


async def test_a_set_that_is_gone_is_no_disagreement_if_valkey_was_emptied(loaded: Loaded, database: Database) -> None:
    async with redis.asyncio.from_url(loaded.live.demo["redis_url"]) as valkey:
        await valkey.delete(await loaded.seats(database))
    assert await loaded.audit() == ["leases_copied"]
    assert await loaded.audit(emptied=True) == []


async def test_only_rows_after_the_given_one_belong_to_the_calls(loaded: Loaded, database: Database) -> None:
    calls = [line for line in loaded.lines if isinstance(line, Call)]
    after = await database.fetchval("select max(id) from log")
    with closing(Client(loaded.live.demo, loaded.lines.append)) as client:
        client.activate(loaded.key, "a")
        client.increment(loaded.key, "runs", 4)
    loaded.lines = [line for line in loaded.lines if line not in calls]
    loaded.lines = [line._replace(start=6) if isinstance(line, Counter) else line for line in loaded.lines]
    assert await loaded.audit() == ["counters_add_up", "logged"]
    assert await loaded.audit(after=after) == []


# What does not

OF_KEY = "where license_id = (select id from licenses where key = $1)"
AGAIN = (
    "insert into log (account_id, product_id, license_id, key, ip, time, state, machine_code, friendly_name,"
    " floating_expires, do_int_value, do_id)"
    " select account_id, product_id, license_id, key, ip, time, {state}, {code}, friendly_name, floating_expires,"
    " do_int_value, do_id from log " + OF_KEY + " and state = {like} and machine_code = '{machine}' order by id desc limit 1"
)
MACHINE = (
    "insert into machines (license_id, account_id, code, friendly_name, ip, proxy_ip, time)"
    " select license_id, account_id, 'd', '', '', '', time from machines " + OF_KEY + " limit 1"
)


def again(like: int, machine: str = "a", state: int = 0, code: str = "") -> str:
    """A row of the log once more, perhaps with another state or code."""
    return AGAIN.format(like=like, machine=machine, state=state or like, code=f"'{code or machine}'")


OF_OBJECT = OF_KEY.replace("license_id", "referencer_id")
# By what it is: on which license, what is done to the database, and which questions find it.
PLANTED: dict[str, tuple[str, list[str], list[str]]] = {
    "a row is missing": ("key", [f"delete from log {OF_KEY} and state = 2010 and machine_code = 'a'"], ["logged"]),
    "a refusal was not logged": ("key", [f"delete from log {OF_KEY} and state = 2023"], ["logged"]),
    "a key was made and not logged": ("key", [f"delete from log {OF_KEY} and state = 3010"], ["logged"]),
    "a row is doubled": ("key", [again(2010)], ["logged"]),
    "a row is nobody's": ("key", [again(2010, code="x")], ["logged"]),
    "another outcome was logged": ("key", [f"update log set state = 2023 {OF_KEY} and state = 2010"], ["logged"]),
    "a machine too many": ("key", [MACHINE], ["machines_kept", "machines_limit"]),
    "a machine too many for a moment": (
        "key", [again(2011, code="x"), again(2011, code="x", state=6010)], ["logged", "machines_limit"]
    ),
    "a machine is gone": ("key", [f"delete from machines {OF_KEY} and code = 'b'"], ["machines_kept"]),
    "a machine was forgotten and is there": ("key", [again(2010, state=6010)], ["logged", "machines_kept"]),
    "a counter is one too high": ("key", [f"update data_objects set int_value = 7 {OF_OBJECT}"], ["counters_add_up"]),
    "a counter moved twice, and says so": (
        "key", [f"update data_objects set int_value = 9 {OF_OBJECT}", again(8011, machine="")], ["counters_add_up", "logged"]
    ),
    "a counter is gone": ("key", [f"delete from data_objects {OF_OBJECT}"], ["counters_add_up"]),
    "a lease has no row": (
        "pool", [f"delete from leases {OF_KEY} and code = 'a'"], ["leases_copied", "leases_logged"]
    ),
    "a lease ends later by the table": (
        "pool", [f"update leases set expires = expires + 9 {OF_KEY} and code = 'a'"], ["leases_copied", "leases_logged"]
    ),
    "a lease is of another kind by the table": (
        "pool", [f"update leases set kind = 2 {OF_KEY} and code = 'a'"], ["leases_copied", "leases_logged"]
    ),
    "a lease ends earlier by the log": (
        "pool", [f"update log set floating_expires = floating_expires - 9 {OF_KEY} and state = 2014"], ["leases_logged"]
    ),
    "a seat above the limit is a regular one by the log": (
        "pool",
        [f"update log set state = 2014 {OF_KEY} and state = 2015", f"update leases set kind = 1 {OF_KEY} and kind = 2"],
        ["leases_copied", "seats_limit"],
    ),
    "a seat was given back by the log": ("pool", [again(2014, state=6011)], ["leases_logged", "logged"]),
    "a seat too many by the log": ("pool", [again(2014, code="x")], ["leases_logged", "logged", "seats_limit"]),
}  # fmt: skip


@pytest.mark.parametrize(("license", "planted", "found"), PLANTED.values(), ids=PLANTED)
async def test_the_audit_finds_that(
    loaded: Loaded, database: Database, license: str, planted: list[str], found: list[str]
) -> None:
    for statement in planted:
        assert not (await database.execute(statement, getattr(loaded, license))).endswith(" 0")
    assert await loaded.audit() == found


async def test_the_audit_finds_a_lease_that_only_valkey_has(loaded: Loaded, database: Database) -> None:
    async with redis.asyncio.from_url(loaded.live.demo["redis_url"]) as valkey:
        key = await loaded.seats(database)
        await valkey.hset(key, "x", await valkey.hget(key, "a"))
    assert await loaded.audit() == ["leases_copied"]


async def test_a_call_without_an_answer_may_leave_a_lease_in_valkey(loaded: Loaded, database: Database) -> None:
    loaded.lines.append(Call(Kind.TAKE, loaded.pool, None, "x"))
    async with redis.asyncio.from_url(loaded.live.demo["redis_url"]) as valkey:
        key = await loaded.seats(database)
        await valkey.hset(key, "x", await valkey.hget(key, "a"))
        assert await loaded.audit() == []
        await valkey.hset(key, "y", await valkey.hget(key, "a"))
    assert await loaded.audit() == ["leases_copied"]


async def test_of_calls_at_once_any_may_have_been_the_last(loaded: Loaded, database: Database) -> None:
    loaded.lines.append(Call(Kind.GIVE, loaded.pool, None, "a"))
    await database.execute(again(2014, state=6011), loaded.pool)
    assert await loaded.audit() == []
    await database.execute(f"update leases set expires = expires + 9 {OF_KEY} and code = 'a'", loaded.pool)
    assert await loaded.audit() == ["leases_logged"]


async def test_the_audit_finds_a_lease_that_only_the_table_has(loaded: Loaded, database: Database) -> None:
    async with redis.asyncio.from_url(loaded.live.demo["redis_url"]) as valkey:
        await valkey.hdel(await loaded.seats(database), "a")
    assert await loaded.audit() == ["leases_copied"]


async def test_the_audit_finds_a_set_of_an_old_epoch(loaded: Loaded, database: Database) -> None:
    await database.execute("update licenses set lease_epoch = lease_epoch + 2 where key = $1", loaded.pool)
    assert await loaded.audit() == ["leases_copied"]


async def test_the_audit_finds_more_machines_and_seats_than_a_license_ever_had(loaded: Loaded) -> None:
    loaded.lines = [line._replace(places=1) if isinstance(line, Terms) else line for line in loaded.lines]
    assert await loaded.audit() == ["machines_limit", "seats_limit"]


async def test_the_audit_finds_that_a_license_is_gone_or_never_was(loaded: Loaded) -> None:
    loaded.lines.append(Call(Kind.ACTIVATE, "NO-SUCH-KEY", "", "a"))
    assert await loaded.audit() == ["lost"]


async def test_the_audit_finds_a_row_more_than_calls_without_an_answer(loaded: Loaded, database: Database) -> None:
    loaded.lines.append(Call(Kind.ACTIVATE, loaded.key, None, "a"))
    await database.execute(again(2010), loaded.key)
    assert await loaded.audit() == []
    await database.execute(again(2010), loaded.key)
    assert await loaded.audit() == ["logged"]


async def test_a_counter_may_have_moved_by_what_has_no_answer_and_by_no_more(loaded: Loaded, database: Database) -> None:
    loaded.lines.append(Call(Kind.INCREMENT, loaded.key, None, name="runs", amount=3))
    move = f"update data_objects set int_value = int_value + 3 {OF_KEY.replace('license_id', 'referencer_id')}"
    await database.execute(move, loaded.key)
    await database.execute(again(8011, machine=""), loaded.key)  # the last one was of 3
    assert await loaded.audit() == []
    await database.execute(move, loaded.key)
    assert await loaded.audit() == ["counters_add_up"]


async def test_of_many_disagreements_some_are_told(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_module, "MOST", 2)
    loaded.lines = [line for line in loaded.lines if not isinstance(line, Call)]
    found = await audit(loaded.live.demo["postgres_dsn"], loaded.live.demo["redis_url"], loaded.lines)
    assert [each.what for each in found if each.question == "logged"][2:] == ["… and more"]


async def test_the_audit_waits_until_nothing_is_written_any_more(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_module, "QUIET_SECONDS", 0.1)
    server = await asyncpg.connect(loaded.live.demo["postgres_dsn"], server_settings={"application_name": "keyturn"})
    async with server.transaction():
        await server.execute("select 1")
        with pytest.raises(TimeoutError):
            await loaded.audit()
    await server.close()
    monkeypatch.undo()
    assert await loaded.audit() == []


async def test_the_audit_waits_for_what_a_call_without_an_answer_may_still_become(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(audit_module.asyncio, "sleep", sleep)
    loaded.lines.append(Call(Kind.ACTIVATE, loaded.key, None, "a", sent=time.time() + 60))
    await loaded.audit()
    assert max(waited) > 60


# The command


def test_the_command_says_what_it_found_in_a_line_each(
    loaded: Loaded, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(lines: list[Line]) -> tuple[int, str, str]:
        with closing(Journal(folder / "journal")) as journal:
            for line in lines:
                journal.note(line)
        status = main(["--data", str(loaded.live.data), "--journal", str(folder / "journal")])
        out, err = capsys.readouterr()
        return status, out, err

    status, out, err = run(loaded.lines)
    assert (status, out) == (0, "")
    assert "16 calls, 0 without an answer: all agree" in err
    status, out, err = run([*loaded.lines, Call(Kind.ACTIVATE, loaded.key, "", "a")])
    assert status == 1
    assert out == f"logged: {loaded.key} a: logged 2 times with 2010, and 3 such calls were answered\n"
    assert "1 disagreements" in err


def test_a_journal_that_was_cut_off_is_none(folder: Path) -> None:
    with closing(Journal(folder / "journal")) as journal:
        journal.note(Call(Kind.ACTIVATE, "K", ""))
    assert (folder / "journal").stat().st_mode & 0o077 == 0
    with (folder / "journal").open("ab") as file:
        file.write(b'{"call":{"kind":"activ')
    with pytest.raises(ValueError, match="line 2"):
        list(read([folder / "journal"]))
