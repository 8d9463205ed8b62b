"""Lists of objects in one parameter (`Events`), and the parameter with a refusal of its own (`Time` of messages)."""

import json

import pytest

from server.rules.codes import Code, Refusal
from server.rules.events import Told
from server.wire import parse
from server.wire.requests import INT64, CreateMessage, GetMessages, NewEvent, RegisterEvents

from .given import CALLER

READ = parse.compile(RegisterEvents)


def read(events: object) -> tuple[NewEvent, ...]:
    return READ({"events": events}, CALLER).events


def assert_bad(events: object) -> None:
    with pytest.raises(Refusal) as refused:
        read(events)
    assert refused.value.code is Code.INPUT


def test_items_come_as_a_list_or_as_its_text_with_names_in_any_case() -> None:
    items = [
        {"FeatureName": "f", "EventName": "e", "Value": 3, "Currency": None, "Time": 5, "Metadata": None},
        {"featurename": "g", "VALUE": "-4", "Other": [{}], "metadata": '{"a":1}', "currency": "USD"},
        {},
    ]
    expected = (NewEvent("f", "e", 3, "", 5, ""), NewEvent("g", "", -4, "USD", 0, '{"a":1}'), NewEvent())
    assert read(items) == read(json.dumps(items)) == read(f" {json.dumps(items)}") == expected


def test_an_empty_list_is_one() -> None:
    assert read([]) == read("[]") == ()


def test_an_item_is_told_field_by_field() -> None:
    assert NewEvent._fields == Told._fields
    assert READ({"events": [{"Value": 1}]}, CALLER).told == (Told("", "", 1, "", 0, ""),)


def test_of_one_name_in_two_cases_the_first_counts_and_what_is_null_or_empty_is_not_given() -> None:
    assert read([{"Value": 1, "value": 2}]) == read([{"Value": None, "value": 1}]) == read([{"Value": "", "value": 1}])
    assert read([{"Currency": "null", "currency": "None"}]) == (NewEvent(),)


def test_names_are_cut_and_metadata_are_not() -> None:
    (made,) = read([{"FeatureName": "é" * 101, "EventName": "é" * 101, "Currency": "é" * 11, "Metadata": "é" * 10_000}])
    assert made == NewEvent("é" * 100, "é" * 100, 0, "é" * 10, 0, "é" * 10_000)
    assert_bad([{"Metadata": "m" * 10_001}])


@pytest.mark.parametrize("value", [INT64, -INT64 - 1])
def test_values_are_int64(value: int) -> None:
    assert read([{"Value": value}]) == (NewEvent(value=value),)


@pytest.mark.parametrize(
    "events",
    [
        None, "", "None", "null", "{}", "[", "x", "[1]", "1,2", "[null]", '["a"]', "[[]]", 1, {}, [1], [None], ["a"], [[]],
        [{"Value": 1.5}], [{"Value": True}], [{"Value": []}], [{"Value": "x"}], [{"Value": INT64 + 1}],
        [{"Time": -1}], [{"Time": 253_402_300_800}], [{"FeatureName": ["f"]}], [{"Metadata": {"a": 1}}],
        [{"FeatureName": "a\0"}], [{"Metadata": "\0"}], '[{"MetaData":"a\\u0000b"}]', '[{"Value":"1\\u0000"}]',
        '[{"FeatureName":"\\ud800"}]',
    ],
)  # fmt: skip
def test_anything_else_is_bad_input(events: object) -> None:
    assert_bad(events)


def test_a_list_that_is_too_long_is_refused_before_its_items_are_read() -> None:
    assert len(read([{}] * 1_000)) == 1_000
    assert_bad([{}] * 1_001)
    assert_bad(json.dumps([{}] * 1_001))
    seen: list[object] = []

    def read_item(value: object) -> object:
        seen.append(value)
        return value

    with pytest.raises(Refusal):
        parse._list(read_item, 2, [1, 2, 3])
    assert seen == []


@pytest.mark.parametrize("cls", [GetMessages, CreateMessage])
@pytest.mark.parametrize("time", ["x", "1.5", "{}", 1.5, True, [], {"gte": 1}, str(2**63)])
def test_a_time_that_is_no_whole_number_has_a_refusal_of_its_own(cls: type, time: object) -> None:
    with pytest.raises(Refusal) as refused:
        parse.compile(cls)({"time": time}, CALLER)
    assert refused.value.code is Code.TIMESTAMP


@pytest.mark.parametrize("cls", [GetMessages, CreateMessage])
@pytest.mark.parametrize(("time", "read_as"), [("", 0), (None, 0), ("None", 0), ("null", 0), ("0", 0), ("7", 7), (7, 7)])
def test_a_time_that_is_not_given_is_none(cls: type, time: object, read_as: int) -> None:
    assert parse.compile(cls)({"time": time}, CALLER).time == read_as
