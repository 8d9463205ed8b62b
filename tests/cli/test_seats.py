"""`keyturn seats`: who holds the floating seats of a license, and freeing one, with a server and without."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from servers import Live, start, stop
from shell import Shell

from server import engine, seating
from server.config import Config

KEYTURN = Path(sys.executable).with_name("keyturn")
NASTY_CODE, NASTY_NAME = "a\x1b[31m\nb[red]c", "\u202eevil[/red]\x9b2J\t[link=http://x]y[/link]"
FULL_LOG = "select state, machine_code, ip, license_id, time from log where key = $1 and state in (2014, 6011) order by id"


def keyturn(data: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run the console script as an operator does; on embedded engines unless they are named."""
    environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    return subprocess.run(
        [KEYTURN, "--data", str(data), *arguments], capture_output=True, text=True, check=False,
        env={**environment, **settings},
    )  # fmt: skip


def take(live: Live, key: str, code: str, **params: object) -> dict[str, Any]:
    """Ask the API for a seat."""
    return live.call("key/Activate", Key=key, MachineCode=code, **{"FloatingTimeInterval": 600, **params})


def rows(live: Live, statement: str, *values: object) -> list[dict[str, Any]]:
    """Look into the database of a server."""

    async def look() -> list[dict[str, Any]]:
        connection = await asyncpg.connect(live.demo["postgres_dsn"])
        try:
            return [dict(row) for row in await connection.fetch(statement, *values)]
        finally:
            await connection.close()

    return asyncio.run(look())


def edits(live: Live, license_id: int) -> list[dict[str, Any]]:
    """What the object log says of a license, but for how it was made."""
    return rows(
        live,
        "select action, object_type, token_id, time, changes from object_log "
        "where object_id = $1 and object_type = 'Key' and action <> 'Create'",
        license_id,
    )


@pytest.fixture
def product(shell: Shell) -> str:
    return shell.ok("product", "add", "Editor")


@pytest.fixture
def key(shell: Shell, product: str) -> str:
    return shell.ok("key", "add", product, "--max-machines", 3)


@pytest.fixture
def hold(shell: Shell) -> Callable[..., None]:
    """Put a lease into the table, as a seat that a machine holds under an epoch of Valkey."""

    def put(
        code: str,
        *,
        kind: int = 1,
        name: str = "",
        age: int = 60,
        left: int = 540,
        released: bool = False,
        license_id: int = 1001,
    ) -> None:
        now = int(time.time())
        shell.rows("update licenses set lease_epoch = 1000, stamp = stamp + 1 where id = $1", license_id)
        shell.rows(
            "insert into leases (license_id, code, account_id, kind, start, time, expires, friendly_name, ip, epoch, seq, "
            "released) values ($1, $2, 1, $3, $4, $5, $6, $7, '198.51.100.0', 1000, 5, $8)",
            license_id, code, kind, now - age, now - 50, now + left, name, released,
        )  # fmt: skip

    return put


# Beside a server


def test_a_seat_is_listed_and_freed_beside_a_server_and_another_machine_gets_it_at_once(live: Live) -> None:
    key = live.new_key(1)
    began = int(time.time())
    assert take(live, key, "kiosk-1", FriendlyName="Lab")["result"] == 0
    assert take(live, key, "kiosk-2")["result"] == 1
    listed = keyturn(live.data, "seats", "list", key, "--json")
    assert (listed.returncode, listed.stderr) == (0, "")
    known = json.loads(listed.stdout)
    assert (known["product_id"], known["key"], known["limit"], known["block"]) == (live.demo["product_id"], key, 1, False)
    (seat,) = known["seats"]
    assert began <= seat["start"] == seat["time"] <= time.time()
    assert seat["expires"] - seat["time"] in (600, 601)  # rounded up
    assert (seat["code"], seat["friendly_name"], seat["kind"], seat["ip"]) == ("kiosk-1", "Lab", "regular", "127.0.0.0")

    freed = keyturn(live.data, "seats", "free", key, "floating:kiosk-1")
    assert (freed.returncode, freed.stdout) == (0, "")
    assert freed.stderr.startswith("Freed the seat of kiosk-1, taken 2")
    assert freed.stderr.count("\n") == 1
    for code in ("kiosk-2", "kiosk-2"):  # by whichever worker
        assert take(live, key, code)["result"] == 0
    assert take(live, key, "kiosk-1")["result"] == 1

    log = rows(live, FULL_LOG, key)
    assert [(row["state"], row["machine_code"]) for row in log] == [
        (2014, "kiosk-1"), (6011, "kiosk-1"), (2014, "kiosk-2"), (2014, "kiosk-2")
    ]  # fmt: skip
    assert log[1]["ip"] == ""
    (edit,) = edits(live, known["global_id"])
    assert edit == {"action": "FreeSeat", "object_type": "Key", "token_id": 0, "time": log[1]["time"], "changes": "{}"}


def test_valkey_still_decides_after_a_seat_was_freed_beside_a_server(live: Live) -> None:
    """The command reaches the server's own Valkey: else seats would be decided by the table for a while."""
    key = live.new_key(1)
    assert take(live, key, "a")["result"] == 0
    before = rows(live, "select lease_epoch from licenses where key = $1", key)
    assert keyturn(live.data, "seats", "free", key, "a").returncode == 0
    assert take(live, key, "b")["result"] == 0
    assert rows(live, "select lease_epoch from licenses where key = $1", key) == before


def test_a_seat_of_a_blocked_key_is_freed_too(live: Live) -> None:
    key = live.new_key(1)
    assert take(live, key, "a")["result"] == 0
    assert live.call("key/BlockKey", Key=key)["result"] == 0
    assert live.call("key/Deactivate", Key=key, MachineCode="a", Floating=True)["result"] == 1
    assert "Blocked" in keyturn(live.data, "seats", "list", key).stdout
    assert keyturn(live.data, "seats", "free", key, "a").returncode == 0
    assert json.loads(keyturn(live.data, "seats", "list", key, "--json").stdout)["seats"] == []
    assert live.call("key/UnblockKey", Key=key)["result"] == 0
    assert take(live, key, "b")["result"] == 0


def test_beside_a_server_whose_valkey_the_command_does_not_know_the_table_decides(live: Live, tmp_path: Path) -> None:
    """As on another host: the server's workers hear of it by the license's epoch."""
    key = live.new_key(1)
    assert take(live, key, "a")["result"] == 0
    freed = keyturn(tmp_path, "seats", "free", key, "a", DATABASE_URL=live.demo["postgres_dsn"])
    assert (freed.returncode, freed.stderr.count("\n")) == (0, 1), freed.stderr
    assert take(live, key, "b")["result"] == 0
    assert take(live, key, "a")["result"] == 1


# Without a server


def test_a_seat_is_freed_while_no_server_runs_and_stays_free_when_one_does(folder: Path) -> None:
    data = folder / "data"
    server = start(data, workers=1)
    try:
        key = server.new_key(1)
        assert take(server, key, "kiosk-1")["result"] == 0
    finally:
        assert stop(server) == 0
    assert "kiosk-1" in keyturn(data, "seats", "list", key).stdout
    freed = keyturn(data, "seats", "free", key, "kiosk-1")
    assert (freed.returncode, freed.stderr.count("\n")) == (0, 1), freed.stderr  # no word of a Valkey that does not run
    server = start(data, workers=1)
    try:
        assert take(server, key, "kiosk-2")["result"] == 0
        assert take(server, key, "kiosk-1")["result"] == 1
        log = rows(server, FULL_LOG, key)
        assert [(row["state"], row["machine_code"]) for row in log] == [
            (2014, "kiosk-1"),
            (6011, "kiosk-1"),
            (2014, "kiosk-2"),
        ]
        assert [edit["action"] for edit in edits(server, log[0]["license_id"])] == ["FreeSeat"]
    finally:
        assert stop(server) == 0


def test_where_valkey_is_said_to_be_but_is_not_the_table_decides_in_seconds(
    shell: Shell, key: str, hold: Callable[..., None]
) -> None:
    hold("a")
    began = time.monotonic()
    freed = keyturn(shell.data, "seats", "free", key, "a", DATABASE_URL=shell.dsn, REDIS_URL="redis://127.0.0.1:1/0")
    assert freed.returncode == 0, freed.stderr
    assert time.monotonic() < began + 10
    assert "redis.not_connected" in freed.stderr
    assert shell.json("seats", "list", key)["seats"] == []


def test_where_the_valkey_of_a_server_is(tmp_path: Path) -> None:
    config = Config(data=tmp_path / "data")
    assert engine.redis_url(config) == ""
    assert not config.data.exists()
    with engine.own(config.data):
        engine.write_engines(config.data, "postgresql://now", "unix://now")
        assert engine.redis_url(config) == "unix://now"
        assert engine.redis_url(Config(data=config.data, redis_url="redis://mine")) == "redis://mine"
    assert engine.redis_url(config) == ""  # what a killed server left


# What is listed


def test_seats_are_listed_in_order_of_start_with_how_many_of_how_many(
    shell: Shell, key: str, hold: Callable[..., None]
) -> None:
    assert "0 of at most 3" in shell.ok("seats", "list", key)
    hold("b", name="Bob's", age=70)
    hold("a", age=90)
    hold("extra", kind=2)
    hold("gone", left=-1)
    hold("back", released=True)
    said = shell.ok("seats", "list", f" {key.lower()} ")
    assert "2 of at most 3, and 1 in overdraft" in said
    assert "3001 Editor" in said
    assert "Blocked" not in said
    for each in ("Bob's", "regular", "overdraft", "198.51.100.0", " UTC"):
        assert each in said
    assert "gone" not in said
    assert "back" not in said
    seats = shell.json("seats", "list", key, "--product", 3001)["seats"]
    assert [(seat["code"], seat["kind"]) for seat in seats] == [("a", "regular"), ("b", "regular"), ("extra", "overdraft")]
    assert seats[0]["start"] + 40 == seats[0]["time"] == seats[0]["expires"] - 590
    assert seats[0]["start"] <= time.time() - 90


def test_a_license_that_counts_no_machines_says_so(shell: Shell, product: str) -> None:
    key = shell.ok("key", "add", product)
    assert "machines are not counted" in shell.ok("seats", "list", key)
    assert shell.json("seats", "list", key)["limit"] == 0


def test_what_machines_call_themselves_is_escaped(shell: Shell, key: str, hold: Callable[..., None]) -> None:
    hold(NASTY_CODE, name=NASTY_NAME)
    listed = shell.run("seats", "list", key)
    assert r"a\x1b[31m\nb[red]c" in listed.stdout
    assert r"\u202eevil[/red]\x9b2J\t[link=http://x]y[/link]" in listed.stdout
    as_json = shell.run("seats", "list", key, "--json")
    (seat,) = json.loads(as_json.stdout)["seats"]
    assert (seat["code"], seat["friendly_name"]) == (NASTY_CODE, NASTY_NAME)
    freed = shell.run("seats", "free", key, NASTY_CODE)
    assert freed.exit_code == 0
    assert r"a\x1b[31m\nb[red]c" in freed.stderr
    for said in (listed.output, as_json.output, freed.output):
        assert not {"\x1b", "\x9b", "\u202e", "\t"} & {*said}
    assert freed.output.count("\n") == 1


# What is freed


@pytest.mark.parametrize(
    ("held", "said"),
    [("a", "a"), ("a", "floating:a"), ("a", "floating:overdraft:a"), ("floating:a", "floating:a"), ("", "")],
)
def test_a_machine_is_named_by_its_code_or_as_clients_are_shown_it(
    shell: Shell, key: str, hold: Callable[..., None], held: str, said: str
) -> None:
    hold("other")
    hold(held)
    shell.ok("seats", "free", key, said)
    assert [seat["code"] for seat in shell.json("seats", "list", key)["seats"]] == ["other"]
    assert [row["machine_code"] for row in shell.rows(FULL_LOG, key)] == [held]


def test_the_seat_that_is_listed_so_is_meant_before_one_with_that_prefix(
    shell: Shell, key: str, hold: Callable[..., None]
) -> None:
    hold("a")
    hold("floating:a")
    shell.ok("seats", "free", key, "floating:a")
    assert [seat["code"] for seat in shell.json("seats", "list", key)["seats"]] == ["a"]


def test_freeing_is_logged_with_nothing_of_the_machine_in_the_object_log(
    shell: Shell, key: str, hold: Callable[..., None]
) -> None:
    hold("code-of-ann", name="Ann's")
    shell.ok("seats", "free", key, "code-of-ann")
    (row,) = shell.rows("select state, machine_code, friendly_name, ip from log where state <> 3010")
    assert row == {"state": 6011, "machine_code": "code-of-ann", "friendly_name": "", "ip": ""}
    assert shell.edits("Key")[1:] == [("FreeSeat", {})]
    assert shell.rows("select released, friendly_name, ip from leases") == [
        {"released": True, "friendly_name": "", "ip": ""}
    ]


def test_a_machine_that_holds_no_seat_is_told_and_nothing_is_written(
    shell: Shell, key: str, hold: Callable[..., None]
) -> None:
    hold("other")
    hold("gone", left=-1)
    hold("back", released=True)
    before = shell.rows("select stamp, lease_epoch from licenses")
    for code in ("never", "gone", "back", "OTHER"):
        assert "holds no floating seat" in shell.refused("seats", "free", key, code)
    assert shell.rows("select stamp, lease_epoch from licenses") == before
    assert shell.rows("select state from log where state <> 3010") == []
    assert [action for action, _ in shell.edits("Key")] == ["Create"]


def test_what_does_not_end_in_time_is_told_as_unknown(
    shell: Shell, key: str, hold: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    hold("a")
    monkeypatch.setattr(seating, "PATIENCE", 0)
    assert "the seat may be free or not" in shell.refused("seats", "free", key, "a")


# Which license


def test_a_key_of_several_products_needs_the_product(shell: Shell, key: str, hold: Callable[..., None]) -> None:
    other = shell.ok("product", "add", "Viewer")
    shell.ok("key", "add", other, "--max-machines", 1)
    shell.rows("update licenses set key = $1 where product_id = $2", key, int(other))
    hold("a", license_id=1001)
    hold("a", license_id=1002)
    for words in (("list", key), ("free", key, "a")):
        said = shell.refused("seats", *words)
        assert "3001, 3002" in said
        assert "--product 3001" in said
        assert key not in said
    assert shell.rows("select state from log where state = 6011") == []
    shell.ok("seats", "free", key, "a", "--product", other)
    assert shell.json("seats", "list", key, "--product", other)["seats"] == []
    assert [seat["code"] for seat in shell.json("seats", "list", key, "--product", 3001)["seats"]] == ["a"]


@pytest.mark.parametrize("words", [("list", "ABCDE-ABCDE-ABCDE-ABCDE"), ("free", "ABCDE-ABCDE-ABCDE-ABCDE", "a")])
def test_a_license_that_is_not_there_is_told(shell: Shell, product: str, words: tuple[str, ...]) -> None:
    said = shell.refused("seats", *words)
    assert "such a key" in said
    assert "ABCDE" not in said
    assert f"Product {product} has no such key" in shell.refused("seats", *words, "--product", product)
    assert "no product 3009" in shell.refused("seats", *words, "--product", 3009)


def test_without_a_database_the_commands_say_which(nowhere: Shell) -> None:
    assert "DATABASE_URL" in nowhere.refused("seats", "list", "K")
    assert "DATABASE_URL" in nowhere.refused("seats", "free", "K", "a")
