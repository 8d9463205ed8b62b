"""`keyturn product`: what the database has afterwards, and what is refused."""

import pytest
from shell import Shell


def test_a_product_is_added_with_all_that_was_said(shell: Shell) -> None:
    product = shell.ok("product", "add", "Editor", "--description", "text", "--feature", "1=Pro:time-limited",
                       "--feature", "2=A:b:trial", "--feature", "3=Plain", "--all-time-limited", "--block-expired",
                       "--data", "owner=Ann", "--data", "n=http://x:80/:-5")  # fmt: skip
    assert product == "3001"
    assert shell.rows(
        "select name, description, feature_names, feature_types, all_time_limited, block_expired from products"
    ) == [
        {
            "name": "Editor", "description": "text", "all_time_limited": True, "block_expired": True,
            "feature_names": ["Pro", "A:b", "Plain", "F4", "F5", "F6", "F7", "F8"],
            "feature_types": [1, 2, 0, 0, 0, 0, 0, 0],
        }
    ]  # fmt: skip
    assert shell.rows("select product_id, last from product_counters") == [{"product_id": 3001, "last": 0}]
    assert shell.rows(
        "select referencer_type, referencer_id, name, string_value, int_value from data_objects order by id"
    ) == [
        {"referencer_type": 1, "referencer_id": 3001, "name": "owner", "string_value": "Ann", "int_value": 0},
        {"referencer_type": 1, "referencer_id": 3001, "name": "n", "string_value": "http://x:80/", "int_value": -5},
    ]
    assert shell.edits("Product") == [
        ("Create", {"name": "Editor"}), ("Edit", {"dataObject": "owner"}), ("Edit", {"dataObject": "n"})
    ]  # fmt: skip


def test_set_changes_what_is_named_and_nothing_else(shell: Shell) -> None:
    product = shell.ok("product", "add", "Editor", "--feature", "1=Pro:time-limited", "--data", "a=1", "--data", "b=2")
    before = shell.rows("select stamp from products")
    shell.ok("product", "set", product, "--feature", "2=Two:trial", "--no-all-time-limited", "--block-expired",
             "--data", "a=new:7", "--remove-data", "b")  # fmt: skip
    (known,) = shell.json("product", "list")
    assert known["name"] == "Editor"
    assert known["features"][:3] == [
        {"name": "Pro", "type": "time-limited"}, {"name": "Two", "type": "trial"}, {"name": "F3", "type": "normal"}
    ]  # fmt: skip
    assert (known["all_time_limited"], known["block_expired"]) == (False, True)
    assert [(each["name"], each["string_value"], each["int_value"]) for each in known["data_objects"]] == [("a", "new", 7)]
    assert shell.rows("select stamp from products") != before
    shell.ok("product", "set", product, "--name", "Painter", "--description", "x")
    assert shell.edits("Product")[-1] == ("Edit", {"name": ["Editor", "Painter"], "description": ["", "x"]})


def test_set_to_what_is_there_writes_nothing(shell: Shell) -> None:
    product = shell.ok("product", "add", "Editor")
    before = shell.rows("select stamp from products")
    shell.ok("product", "set", product, "--name", "Editor", "--no-block-expired")
    assert shell.rows("select stamp from products") == before
    assert len(shell.edits("Product")) == 1


def test_the_list_shows_every_product(shell: Shell) -> None:
    assert shell.json("product", "list") == []
    shell.ok("product", "add", "One", "--feature", "1=Pro:trial", "--data", "a=b:3")
    shell.ok("product", "add", "Two")
    assert [each["name"] for each in shell.json("product", "list")] == ["One", "Two"]
    listed = shell.ok("product", "list")
    assert "F1 Pro (trial)" in listed
    assert "a=b:3" in listed


def test_an_unknown_product_is_told_with_where_to_look(shell: Shell) -> None:
    said = shell.refused("product", "set", 3007, "--name", "x")
    assert "no product 3007" in said
    assert "keyturn product list" in said


def test_a_data_object_that_is_not_there_leaves_all_as_it_was(shell: Shell) -> None:
    product = shell.ok("product", "add", "Editor")
    assert "no data object" in shell.refused("product", "set", product, "--name", "New", "--remove-data", "x")
    assert shell.rows("select name from products") == [{"name": "Editor"}]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--feature", "1=Pro:nonsense"), "Known: normal, time-limited, trial"),
        (("--feature", "9=Nine:trial"), "N from 1 to 8"),
        (("--feature", "Pro"), "N=NAME:TYPE"),
        (("--feature", "1=:trial"), "N=NAME:TYPE"),
        (("--data", "=x"), "NAME=TEXT:NUMBER"),
        (("--data", "name"), "NAME=TEXT:NUMBER"),
        (("--data", "n" * 101 + "=x"), "at most 100 characters"),
        (("--data", "n=" + "x" * 10_001), "10000"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(nowhere: Shell, arguments: tuple[object, ...], words: str) -> None:
    assert words in nowhere.misused("product", "add", "Editor", *arguments)


@pytest.mark.parametrize("name", ["", "  ", "x" * 251])
def test_a_product_needs_a_name(nowhere: Shell, name: str) -> None:
    assert "1 to 250 characters" in nowhere.misused("product", "add", name)


def test_a_number_that_is_no_int32_is_text(shell: Shell) -> None:
    shell.ok("product", "add", "Editor", "--data", "n=a:2147483648")
    assert shell.rows("select string_value, int_value from data_objects") == [
        {"string_value": "a:2147483648", "int_value": 0}
    ]
