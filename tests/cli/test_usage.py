"""`keyturn usage`: what RecordUsage recorded, added up by key and month."""

import datetime

import pytest
from shell import Shell

NASTY = "[red]\x1b[31m"


def at(*when: int) -> int:
    return int(datetime.datetime(*when, tzinfo=datetime.UTC).timestamp())


def record(shell: Shell, key: str, *amounts: tuple[int, int]) -> None:
    """Record usage of a license: times and amounts."""
    for time, amount in amounts:
        assert shell.rows(
            "insert into usage (account_id, product_id, license_id, amount, time)"
            " select account_id, product_id, id, $2, $3 from licenses where key = $1 returning id", key, amount, time,
        )  # fmt: skip


@pytest.fixture
def products(shell: Shell) -> tuple[str, str]:
    return shell.ok("product", "add", "Editor"), shell.ok("product", "add", NASTY)


def test_usage_is_added_up_by_key_and_month_the_newest_first(shell: Shell, products: tuple[str, str]) -> None:
    editor, other = products
    one, two = sorted(shell.ok("key", "add", editor, "--count", 2).splitlines())
    third = shell.ok("key", "add", other)
    most = 2**63 - 1
    record(shell, two, (at(2026, 5, 1), 1), (at(2026, 5, 31, 23, 59, 59), 2))
    record(shell, one, (at(2026, 4, 30, 23, 59, 59), 4), (at(2026, 6, 1), 8), (at(2026, 5, 7), most), (at(2026, 5, 7), most))
    record(shell, third, (at(2026, 5, 9), 16), (at(2025, 12, 9), 0))

    def found(*options: object) -> list[tuple[object, ...]]:
        names = ("month", "product_id", "key", "amount", "calls")
        return [tuple(row[name] for name in names) for row in shell.json("usage", *options)]

    may = [("2026-05", 3001, one, 2 * most, 2), ("2026-05", 3001, two, 3, 2), ("2026-05", 3002, third, 16, 1)]
    before, after = ("2026-04", 3001, one, 4, 1), ("2026-06", 3001, one, 8, 1)
    assert found() == [after, *may, before, ("2025-12", 3002, third, 0, 1)]
    assert found("--month", "2026-05") == may
    assert found("--month", "2026-05", "--product", other) == may[2:]
    assert found("--product", editor) == [after, *may[:2], before]
    assert found("--month", "2025-12", "--product", editor) == []
    assert shell.json("usage")[0] == {
        "month": "2026-06", "product_id": 3001, "product_name": "Editor", "key": one, "amount": 8, "calls": 1,
    }  # fmt: skip
    shown = " ".join(shell.ok("usage", "--month", "2026-05").split())
    assert f"2026-05 │ 3001 Editor │ {one} │ {2 * most} │ 2" in shown


def test_of_another_account_nothing_is_told(shell: Shell, products: tuple[str, str]) -> None:
    record(shell, shell.ok("key", "add", products[0]), (at(2026, 5, 1), 1))
    shell.rows("insert into accounts (name, public_key, created) values ('other', '', 0)")
    shell.rows("update usage set account_id = (select id from accounts where name = 'other')")
    assert shell.json("usage") == []


def test_names_are_escaped(shell: Shell, products: tuple[str, str]) -> None:
    record(shell, shell.ok("key", "add", products[1]), (at(2026, 5, 1), 1))
    for options in ((), ("--json",)):
        said = shell.ok("usage", *options)
        assert "[red]" in said
        assert "\x1b" not in said


def test_nothing_recorded_is_told_to_people_and_is_an_empty_list_to_programs(
    shell: Shell, products: tuple[str, str]
) -> None:
    done = shell.run("usage")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "No usage was recorded.\n")
    asked = shell.run("usage", "--product", products[0], "--month", "2026-12")
    assert asked.stderr == f"No usage was recorded of product {products[0]} in 2026-12.\n"
    assert shell.json("usage", "--month", "9999-12") == []


def test_a_product_that_is_not_there_is_told(shell: Shell) -> None:
    assert "no product 3009" in shell.refused("usage", "--product", 3009)


@pytest.mark.parametrize("month", ["2026", "2026-13", "May", "2026-05-01"])
def test_a_month_that_is_none_is_a_usage_error(nowhere: Shell, month: str) -> None:
    assert "--month" in nowhere.misused("usage", "--month", month)
