"""`keyturn load-demo`: the same data each time, whole or resumed, never twice, and good for activations."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from servers import Live, start, stop
from shell import Shell
from test_engine import keyturn

from server import load_demo
from server.cli import terminal
from server.load_demo import Plan
from storage.postgres.bulk import BULK_LOCK, SQL

LICENSES, MACHINES = 1_000, 3
ASKED = ("load-demo", "--licenses", str(LICENSES), "--machines", str(MACHINES))
LOADED = (
    "select l.number, l.key, array_agg(array[m.code, m.friendly_name, m.ip] order by m.friendly_name) as machines"
    " from licenses l join machines m on m.license_id = l.id where l.product_id = $1 group by l.id order by l.number"
)
COUNTS = "select (select count(*) from licenses) as licenses, (select count(*) from machines) as machines"


@pytest.fixture
def _many_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred licenses in each transaction."""
    monkeypatch.setattr(load_demo, "ROWS", 100 * (1 + MACHINES))


def keys(rows: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    return [(row["key"], [code for code, _, _ in row["machines"]]) for row in rows]


def sample(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_plan_is_the_same_each_time_and_of_the_usual_form() -> None:
    planned = list(load_demo.plan(LICENSES, MACHINES, 7))
    assert planned == list(load_demo.plan(LICENSES, MACHINES, 7))
    assert len({key for key, _ in planned}) == LICENSES
    assert all(re.fullmatch(r"([A-Z]{5}-){3}[A-Z]{5}", key) for key, _ in planned)
    codes = [code for _, codes in planned for code in codes]
    assert len(set(codes)) == len(codes) == LICENSES * MACHINES
    assert all(re.fullmatch(r"[0-9a-f]{64}", code) for code in codes)
    assert not {key for key, _ in load_demo.plan(LICENSES, MACHINES, 8)} & {key for key, _ in planned}


def test_what_a_seed_gives_is_the_same_with_every_version_and_size() -> None:
    """Whoever kept a sample can go on using it."""
    key, codes = Plan(10, 2, 0).license(1)
    assert key == "WXTBB-LRCJE-JKBDA-EKAFI"
    assert codes[1] == "776a4b96d14d1c62b0882b1bdd81063bd9651f682a5802b8b26030a212edf207"
    assert next(load_demo.plan(99, 1)) == (key, codes[:1])


def test_an_unfinished_load_can_be_resumed_by_every_version() -> None:
    assert [Plan(10**6, machines).chunk for machines in (0, 5, 10_000)] == [25_000, 4_166, 2]


def test_a_sample_is_drawn_without_repeating_from_all_licenses_and_all_their_machines() -> None:
    plan = Plan(LICENSES, MACHINES)
    number_of = {plan.license(number).key: number for number in range(1, LICENSES + 1)}
    drawn = list(plan.sample(LICENSES))
    assert {key for key, _ in drawn} == set(number_of)
    places = [plan.license(number_of[key]).codes.index(code) for key, code in drawn]
    for place in range(MACHINES):  # expected 333; 233 is 6.7 standard deviations away
        assert places.count(place) > 233
    assert list(plan.sample(10)) == list(plan.sample(10))
    low = sum(number_of[key] <= LICENSES // 2 for key, _ in plan.sample(400))
    assert 140 < low < 260  # expected 200; 60 are over 6


def test_a_load_has_all_that_licenses_have(shell: Shell) -> None:
    other = shell.ok("product", "add", "Editor")
    shell.ok("key", "add", other)
    before = shell.rows("select * from licenses"), shell.rows("select count(*) from log")
    product = int(shell.ok(*ASKED))
    rows = shell.rows(LOADED, product)
    assert [row["number"] for row in rows] == list(range(1, LICENSES + 1))
    assert keys(rows) == list(load_demo.plan(LICENSES, MACHINES))
    assert rows[41]["machines"][1][1:] == ["desk 2", "192.0.2.43"]
    assert shell.rows(
        "select account_id, expires - created as lasts, period, features, notes, block, customer_id, trial_activation,"
        " ever_activated, max_machines, allowed_machines, lease_epoch from licenses where product_id = $1 group by"
        " account_id, lasts, period, features, notes, block, customer_id, trial_activation, ever_activated, max_machines,"
        " allowed_machines, lease_epoch", product,
    ) == [
        {
            "account_id": 1, "lasts": 365 * 86_400, "period": 365, "features": 1, "notes": "", "block": False,
            "customer_id": None, "trial_activation": False, "ever_activated": True, "max_machines": MACHINES + 1,
            "allowed_machines": "", "lease_epoch": 0,
        }
    ]  # fmt: skip
    stamps = [row["stamp"] for row in shell.rows("select stamp from licenses")]
    assert len(set(stamps)) == len(stamps)
    assert max(stamps).bit_length() == 63
    assert shell.rows("select last from product_counters where product_id = $1", product) == [{"last": LICENSES}]
    assert shell.rows("select account_id, max(time) = (select max(created) from licenses) as now, max(proxy_ip) as proxy"
                      " from machines group by account_id") == [{"account_id": 1, "now": True, "proxy": ""}]  # fmt: skip
    assert shell.rows("select count(*) from leases") == [{"count": 0}]
    assert (shell.rows("select * from licenses where product_id <> $1", product), shell.rows("select count(*) from log")) \
        == before  # fmt: skip
    tidied = shell.rows("select relname from pg_class where relname in ('licenses', 'machines') and relallvisible > 0"
                        " and reltuples >= $1", LICENSES)  # fmt: skip
    assert len(tidied) == 2
    shell.ok("key", "add", product)
    assert shell.rows("select max(number) from licenses where product_id = $1", product) == [{"max": LICENSES + 1}]


def test_a_second_load_adds_nothing_and_still_writes_the_sample(shell: Shell, tmp_path: Path) -> None:
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    product = shell.ok(*ASKED, "--sample", first, "--sample-size", 50)
    before = shell.rows(LOADED, int(product)), shell.rows("select id, stamp from licenses order by id")
    done = shell.run(*ASKED, "--sample", second, "--sample-size", 50)
    assert done.stdout.strip() == product
    assert "nothing was added" in done.stderr
    assert (shell.rows(LOADED, int(product)), shell.rows("select id, stamp from licenses order by id")) == before
    assert len(shell.edits("Product")) == 1
    assert second.read_text() == first.read_text()
    there = dict(keys(before[0]))
    drawn = sample(first)
    assert len({each["key"] for each in drawn}) == len(drawn) == 50
    assert all(set(each) == {"key", "machineCode"} and each["machineCode"] in there[each["key"]] for each in drawn)
    assert len({there[each["key"]].index(each["machineCode"]) for each in drawn}) == MACHINES


def test_another_plan_is_another_product_and_disturbs_none(shell: Shell) -> None:
    products = [
        shell.ok("load-demo", "--licenses", licenses, "--machines", machines, "--seed", seed)
        for licenses, machines, seed in ((20, 1, 0), (30, 1, 0), (20, 2, 0), (20, 1, 1), (5, 0, 0), (20, 1, 0))
    ]
    assert products[5] == products[0]
    assert len(set(products)) == 5
    counted = shell.rows("select count(*), max(max_machines) from licenses group by product_id order by product_id")
    assert [tuple(row.values()) for row in counted] == [(20, 2), (30, 2), (20, 3), (20, 2), (5, 1)]
    assert not any(row["ever_activated"] for row in shell.rows("select ever_activated from licenses where product_id = $1",
                                                               int(products[4])))  # fmt: skip


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """PostgreSQL is gone between the licenses and the machines of the fourth chunk."""
    begun: list[int] = []
    copy = asyncpg.Connection.copy_records_to_table

    async def copy_or_fail(self: Any, table: str, **how: Any) -> str:
        begun.append(len(begun)) if table == "machines" else None
        if table == "machines" and len(begun) == 4:
            raise asyncpg.ConnectionDoesNotExistError
        return await copy(self, table, **how)

    with monkeypatch.context() as patch:
        patch.setattr(asyncpg.Connection, "copy_records_to_table", copy_or_fail)
        yield begun


@pytest.mark.usefixtures("_many_chunks")
def test_an_interrupted_load_leaves_whole_licenses_and_is_resumed(shell: Shell, failing: list[int]) -> None:
    assert "cannot be used" in shell.refused(*ASKED)
    assert len(failing) >= 4
    product = shell.json("product", "list")[0]["id"]
    before = shell.rows(LOADED, product)
    assert 200 <= len(before) < LICENSES  # the third was under way in the other lane
    assert len(before) % 100 == 0
    assert shell.rows(COUNTS) == [{"licenses": len(before), "machines": len(before) * MACHINES}]
    done = shell.run(*ASKED)
    assert (done.exit_code, done.stdout) == (0, f"{product}\n")
    assert f"Added {LICENSES - len(before):,} of them" in done.stderr
    assert keys(shell.rows(LOADED, product)) == list(load_demo.plan(LICENSES, MACHINES))
    assert shell.rows(COUNTS) == [{"licenses": LICENSES, "machines": LICENSES * MACHINES}]


@pytest.mark.usefixtures("_many_chunks")
def test_a_terminal_shows_how_far_it_is_and_how_fast(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal.ERR, "_force_terminal", True)
    said = shell.run(*ASKED).stderr
    assert re.search(r"Loaded.*1000/1000.*[0-9]/s", said)


def test_one_load_at_a_time(shell: Shell) -> None:
    async def beside() -> str:
        connection = await asyncpg.connect(shell.dsn)
        try:
            assert await connection.fetchval(SQL["alone"], BULK_LOCK)
            return await asyncio.to_thread(shell.refused, *ASKED)
        finally:
            await connection.close()

    assert "Another load-demo is at work" in asyncio.run(beside())
    assert shell.json("product", "list") == []


def test_loaded_beside_a_server_a_known_machine_activates_and_one_more_fits(live: Live, tmp_path: Path) -> None:
    file = tmp_path / "sample.jsonl"
    done = keyturn(live.data, *ASKED, "--sample", str(file), "--sample-size", "5")
    assert done.returncode == 0, done.stderr
    product = int(done.stdout)
    for each in sample(file):
        answer = live.call("key/Activate", ProductId=product, Key=each["key"], MachineCode=each["machineCode"], Sign=True)
        assert answer["result"] == 0
        found = live.call("key/GetKey", ProductId=product, Key=each["key"])
        assert len(found["licenseKey"]["activatedMachines"]) == MACHINES
    for code, result in (("one more", 0), ("too many", 1)):
        assert live.call("key/Activate", ProductId=product, Key=each["key"], MachineCode=code)["result"] == result


def test_loaded_without_a_server_it_is_there_when_one_starts(folder: Path) -> None:
    data = folder / "data"
    done = keyturn(data, *ASKED)
    assert done.returncode == 0, done.stderr
    server = start(data, workers=1)
    try:
        key, codes = Plan(LICENSES, MACHINES).license(LICENSES)
        answer = server.call("key/Activate", ProductId=int(done.stdout), Key=key, MachineCode=codes[-1])
        assert answer["result"] == 0
    finally:
        assert stop(server) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--licenses", 0, "--machines", 1), "--licenses"),
        (("--licenses", 1, "--machines", -1), "--machines"),
        (("--licenses", 1), "--machines"),
        (("--licenses", 5, "--machines", 1, "--sample", "s.jsonl", "--sample-size", 6), "There are 5 licenses"),
        (("--licenses", 5, "--machines", 0, "--sample", "s.jsonl"), "would have none"),
        (("--licenses", 5, "--machines", 1, "--sample-size", 1), "--sample FILE"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(nowhere: Shell, arguments: tuple[object, ...], said: str) -> None:
    assert said in nowhere.misused("load-demo", *arguments)
    assert not Path("s.jsonl").exists()
