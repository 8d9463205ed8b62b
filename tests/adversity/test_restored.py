"""A server that comes from a backup: what was answered before is there, and nothing of what came after is given out anew."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from backups import empty_database, put, take
from callers import LogReader, reader, storm
from licensing.methods import HelperMethods, Key
from licensing.models import LicenseKey
from recorder import Recorder, capped, logged, rows_of
from recorder import _machines as machines_of
from seats.world import LIMIT, world
from servers import Live, start, stop, until

from server.account import make_token
from storage.embedded.postgres import Postgres
from storage.postgres.admin import administration
from storage.records import Lease

KEYTURN = Path(sys.executable).with_name("keyturn")
INT32 = 2**31 - 1
LATE = 2**40  # as if there had been some restores before


def keyturn(data: Path, *arguments: object) -> str:
    """Run a command as an operator does, on embedded engines; what it says."""
    environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    command = [str(each) for each in (KEYTURN, "--data", data, *arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def second_life(first: Live, file: Path, data: Path, passphrase: Path) -> Live:
    """Restore a backup into a new folder, and start a server there. Its clients have the tokens that they had."""
    keyturn(data, "restore", file, "--passphrase-file", passphrase)
    shutil.copy(first.data / "demo.json", data / "demo.json")
    return start(data, workers=1)


async def _load(live: Live, record: Recorder, file: Path, passphrase: Path, calls: int) -> tuple[float, LogReader]:
    """Have a backup taken in the middle of a load; when it began, and somebody who followed the log all the time."""
    database = await live.database()
    for sequence in ("log_id", "event_id", "data_objects_id_seq", "messages_id_seq", "tokens_id_seq"):
        await database.execute("select setval(to_regclass($1), greatest(nextval(to_regclass($1)), $2))", sequence, LATE)
    async with reader(live, record, database) as following, storm(live, record, clients=6) as load:
        await until(load.progress(calls), 300)
        loop = asyncio.get_running_loop()
        began, before = loop.time(), record.answered
        await asyncio.to_thread(keyturn, live.data, "backup", file, "--passphrase-file", passphrase)
        assert record.answered > before  # it held up nobody
        await until(load.progress(calls // 4), 300)
    await database.close()
    return began, following


@pytest.mark.parametrize("calls", [300, pytest.param(40_000, marks=pytest.mark.soak)])
async def test_a_backup_taken_under_load_and_restored_elsewhere(
    own: Live, folder: Path, record: Recorder, tmp_path: Path, calls: int
) -> None:
    passphrase, file = tmp_path / "passphrase", tmp_path / "backup.zip"
    passphrase.write_text("correct horse battery")
    demo = own.demo
    offline = await asyncio.to_thread(_offline_copy, own)
    seats = {"Key": own.new_key(2), "FloatingTimeInterval": 600}
    assert [own.call("key/Activate", MachineCode=code, **seats)["message"] for code in ("a", "b")] == ["", ""]
    began, following = await _load(own, record, file, passphrase, calls)
    # After the backup a seat changes hands.
    assert own.call("key/Deactivate", Key=seats["Key"], MachineCode="a", Floating=True)["message"] == ""
    assert own.call("key/Activate", MachineCode="c", **seats)["message"] == ""
    await following.drain()
    cursor = max(number for page in following.pages for number in page.ids)

    second = await asyncio.to_thread(second_life, own, file, folder / "two", passphrase)
    try:
        assert second.demo["public_key_xml"] == demo["public_key_xml"]
        assert LicenseKey.load_from_string(second.demo["public_key_xml"], offline) is not None
        await _answered_before(second, record, began, calls)
        # Who followed the log goes on with new rows, and meets no id again.
        page = {"StartingAfter": cursor, "Limit": 1000}
        assert second.call("ai/GetWebAPILog", **page)["logs"] == []
        seated = [second.call("key/Activate", MachineCode=code, **seats)["message"] for code in ("a", "b", "c")]
        assert seated == ["", "", LIMIT]
        seen = second.call("ai/GetWebAPILog", **page)["logs"]
        assert [(row["machineCode"], row["state"]) for row in seen] == [("a", 2014), ("b", 2014), ("c", 2024)]
        assert all(cursor < row["id"] < 2**53 for row in seen)
        _call_all(second, await _key_lock_token(second))
    finally:
        assert await asyncio.to_thread(stop, second) == 0
    await asyncio.to_thread(keyturn, second.data, "backup", file.with_name("stopped.zip"), "--without-key")


def _offline_copy(live: Live) -> str:
    """Activate with the SDK, and keep what was signed."""
    demo = live.demo
    HelperMethods.server_address = demo["url"] + "/api/"
    license_, said = Key.activate(
        demo["token"], demo["public_key_xml"], demo["product_id"], live.new_key(1), "offline"
    )  # fmt: skip
    assert license_ is not None, said
    copy: str = license_.save_as_string()
    return copy


async def _answered_before(second: Live, record: Recorder, began: float, calls: int) -> None:
    """Every call that was answered before the backup began is there; machines and log are of one moment."""
    before = [call for call in record.calls if call.received < began]
    assert len(before) >= calls
    database = await second.database()
    rows, machines = await rows_of(database, list(record.limits)), await machines_of(database, list(record.limits))
    await database.close()
    assert [breach for breach in logged(before, rows) if "has no row" in breach.what] == []
    for key, limit in record.limits.items():
        if limit:
            assert list(capped(key, limit, [row for row in rows if row.key == key], machines[key])) == []


async def _key_lock_token(live: Live) -> str:
    """A token that derives others."""
    async with administration(live.demo["postgres_dsn"]) as admin:
        return await make_token(admin, 1, name="maker", permissions=["GetKey"], key_lock=-1, now=0)


def _call_all(live: Live, maker: str) -> None:
    """Whatever is made after a restore has an id that clients can read, and can be worked with."""
    key = {"Key": live.new_key(1)}
    added = live.call("data/AddDataObjectToKey", Name="n", IntValue=1, **key)
    assert LATE < added["id"] < 2**53
    assert live.call("data/IncrementIntValueToKey", Id=added["id"], IntValue=4, **key)["result"] == 0
    (listed,) = live.call("data/ListDataObjectsToKey", **key)["dataObjects"]
    assert (listed["id"], listed["intValue"]) == (added["id"], 5)
    assert live.call("data/RemoveDataObjectToKey", Id=added["id"], **key)["result"] == 0
    assert live.call("ai/RegisterEvent", EventName="e", **key)["result"] == 0
    assert [event["eventName"] for event in live.call("ai/GetEvents")["events"]] == ["e"]
    message = live.call("message/CreateMessage", Content="hello", Channel="c")["messageId"]
    assert live.call("message/RemoveMessage", Id=message)["result"] == 0
    customer = live.call("customer/AddCustomer", Name="Zoë")["customerId"]
    assert 1_000_000 < customer <= INT32
    made = live.call("key/CreateKey", CustomerId=customer, MaxNoOfMachines=1)["key"]
    shown = live.call("key/GetKey", Key=made)["licenseKey"]
    assert 1_000_000 < shown["id"] <= INT32
    assert 1_000_000 < shown["globalId"] <= INT32
    derived = live.call("auth/KeyLock", Key=made, token=maker)["token"]
    assert live.call("key/GetKey", Key=made, token=derived)["result"] == 0


@pytest.fixture
async def target(postgres: Postgres) -> AsyncIterator[str]:
    """An empty database."""
    async with empty_database(postgres) as dsn:
        yield dsn


@pytest.mark.parametrize("restarted", [True, False])
async def test_no_seat_too_many_beside_a_valkey_that_remembers_more(
    dsn: str, redis_url: str, target: str, restarted: bool
) -> None:
    """Also by a worker that was not restarted, and looks for the sets of the first life still."""
    async with world(dsn, redis_url, workers=1) as made:
        (one,) = made.workers
        key = await made.license(2)
        assert all([isinstance(await one.take(key, code), Lease) for code in ("a", "b")])
        taken = await take(dsn)
        assert await one.release(key, "a") == ""
        assert isinstance(await one.take(key, "c"), Lease)
        gap = await put(taken, target)
        if restarted:
            made.installation = gap.installation
        other = await made.worker(database_dsn=target)
        assert await other.take(key, "c") == LIMIT
        assert all([isinstance(await other.take(key, code), Lease) for code in ("b", "a")])
        assert await other.take(key, "c") == LIMIT
        connection = await asyncpg.connect(target)
        live = await connection.fetch("select code from leases where not released order by code")
        await connection.close()
        assert [row["code"] for row in live] == ["a", "b"]
