"""`keyturn key`: licenses made and shown by hand."""

import re
import time

import pytest
from shell import Shell

FULL, PROXY = "198.51.100.77", "203.0.113.66"


@pytest.fixture
def product(shell: Shell) -> str:
    return shell.ok("product", "add", "Editor", "--feature", "1=Pro:time-limited")


def test_a_key_is_made_with_all_that_was_said_and_logged(shell: Shell, product: str) -> None:
    key = shell.ok("key", "add", product, "--period", 30, "--feature", 1, "--feature", 3, "--max-machines", 2,
                   "--allowed-machine", "m1", "--allowed-machine", "m2", "--notes", "n", "--block",
                   "--trial-activation")  # fmt: skip
    assert re.fullmatch(r"([A-Z]{5}-){3}[A-Z]{5}", key)
    (row,) = shell.rows(
        "select key, number, period, features, max_machines, allowed_machines, notes, block, trial_activation, "
        "expires - created as lasts from licenses"
    )
    assert row == {
        "key": key, "number": 1, "period": 30, "features": 5, "max_machines": 2, "allowed_machines": "m1\nm2", "notes": "n",
        "block": True, "trial_activation": True, "lasts": 30 * 86_400,
    }  # fmt: skip
    assert shell.rows("select state, key, ip from log") == [{"state": 3010, "key": key, "ip": ""}]
    assert [action for action, _ in shell.edits("Key")] == ["Create"]


def test_many_keys_are_printed_one_a_line(shell: Shell, product: str) -> None:
    keys = shell.ok("key", "add", product, "--count", 3).splitlines()
    assert len(set(keys)) == 3
    assert [row["key"] for row in shell.rows("select key from licenses order by number")] == keys


def test_a_license_is_shown_with_masked_addresses_unless_asked(shell: Shell, product: str) -> None:
    key = shell.ok("key", "add", product, "--max-machines", 3, "--feature", 1, "--period", 9)
    shell.rows(
        "insert into machines (license_id, account_id, code, friendly_name, ip, proxy_ip, time) "
        "values (1001, 1, 'code-1', 'desk', $1, $2, 1000000000)", FULL, PROXY,
    )  # fmt: skip
    for spelled in (key, f" {key.lower()} "):
        said = shell.ok("key", "show", product, spelled)
        assert "198.51.100.0" in said
        assert "1 of at most 3" in said
        assert "F1 Pro" in said
        assert "valid" in said
        assert "2001-09-09 01:46:40 UTC" in said
        assert FULL not in said
        assert PROXY not in said
    full = shell.ok("key", "show", product, key, "--addresses")
    assert FULL in full
    assert PROXY in full


def test_a_license_as_json(shell: Shell, product: str) -> None:
    key = shell.ok("key", "add", product, "--max-machines", 3, "--feature", 1)
    shell.rows(
        "insert into machines (license_id, account_id, code, friendly_name, ip, proxy_ip, time) "
        "values (1001, 1, 'code-1', 'desk', $1, $2, 7)", FULL, PROXY,
    )  # fmt: skip
    known = shell.json("key", "show", product, key)
    assert known["key"] == key
    assert (known["product_id"], known["global_id"], known["id"]) == (3001, 1001, 1)
    assert known["features"] == [1]
    assert known["state"] == "expired"  # a period of 0 days
    assert known["expires"] <= time.time()
    assert known["machines"] == [{"code": "code-1", "friendly_name": "desk", "time": 7, "ip": "198.51.100.0"}]
    assert shell.json("key", "show", product, key, "--addresses")["machines"][0]["proxy_ip"] == PROXY


def test_a_blocked_license_says_so(shell: Shell, product: str) -> None:
    key = shell.ok("key", "add", product, "--block", "--max-machines", 0)
    assert shell.json("key", "show", product, key)["state"] == "blocked"
    assert "none: machines are not counted" in shell.ok("key", "show", product, key)


def test_what_is_not_there_is_told(shell: Shell, product: str) -> None:
    assert "no product 3009" in shell.refused("key", "add", 3009)
    assert "no product 3009" in shell.refused("key", "show", 3009, "ABCDE-ABCDE-ABCDE-ABCDE")
    said = shell.refused("key", "show", product, "ABCDE-ABCDE-ABCDE-ABCDE")
    assert "no such key" in said
    assert "ABCDE" not in said
    assert "no customer 5" in shell.refused("key", "add", product, "--customer", 5)
    assert shell.rows("select id from licenses") == []


def test_what_the_rules_refuse_is_told_in_their_words(shell: Shell, product: str) -> None:
    assert "more than 500 characters" in shell.refused("key", "add", product, "--notes", "n" * 501)
    assert shell.rows("select state from log") == [{"state": 3020}]


@pytest.mark.parametrize(
    "arguments", [("--feature", 9), ("--period", 36_501), ("--count", 1001), ("--count", 0), ("--max-machines", -1)]
)
def test_what_cannot_be_meant_is_a_usage_error(nowhere: Shell, arguments: tuple[object, ...]) -> None:
    assert str(arguments[0]) in nowhere.misused("key", "add", 3001, *arguments)
