"""Replies and licenses as bytes: order and omission of members, masks, model versions, and the documents kept."""

import dataclasses
import tracemalloc
from collections.abc import Iterator
from typing import cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rules.fields import Field
from server.wire import encode
from server.wire.encode import Row, View
from server.wire.replies import Done, Key, Keys, Licensed, Logs, Reply
from storage.records import Customer, DataObject, Entry, License, LoggedEntry, Machine
from storage.stamps import new_stamp

from .given import ALPHA, CUSTOMER, FULL, FULL_ROWS, PLAIN, RESELLER, SIGNED_AT, a_license

ENTRY = Entry(1, 3001, 900_042, "ABCDE", "192.0.2.0", 1_718_000_000, 2014, "m-beta", "", 1_718_000_100)
ROW = (
    b'{"id":771,"productId":3001,"key":"ABCDE","ip":"192.0.2.0","time":1718000000,"state":2014,"machineCode":"m-beta",'
    b'"friendlyName":"","floatingExpires":1718000100,"doIntValue":0,"doId":0'
)
BETA = Machine("m-beta", "", "192.0.2.11", "", 1_704_070_900)


# ---- replies


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (Done(), b'{"result":0,"message":""}'),
        (Key("ABCDE"), b'{"key":"ABCDE","result":0,"message":""}'),
        (Keys("A"), b'{"key":"A","result":0,"message":""}'),
        (Keys("A", ["A", "B"], 7), b'{"key":"A","keys":["A","B"],"customerId":7,"result":0,"message":""}'),
        (Licensed("bGlj", "c2ln"), b'{"licenseKey":"bGlj","signature":"c2ln","result":0,"message":""}'),
        (
            Licensed({"key": None}, metadata={"activatedMachines": 1}),
            b'{"metadata":{"activatedMachines":1},"licenseKey":{"key":null},"result":0,"message":""}',
        ),
        (Logs([]), b'{"logs":[],"result":0,"message":""}'),
        (Logs([LoggedEntry(771, ENTRY)]), b'{"logs":[' + ROW + b'}],"result":0,"message":""}'),
        (
            Logs([LoggedEntry(771, ENTRY)], classified=True),
            b'{"logs":[' + ROW + b',"isAnomaly":false,"anomalyProperties":null}],"result":0,"message":""}',
        ),
    ],
)
def test_a_reply_says_what_it_has_and_ends_with_result_and_message(answer: Reply, body: bytes) -> None:
    assert encode.reply(answer) == body


def test_a_refusal_is_its_message() -> None:
    assert encode.refusal('No "entry".') == b'{"result":1,"message":"No \\"entry\\"."}'


# ---- model versions and masks


def shown(view: View, **others: object) -> dict[str, object]:
    """Return the members of a document of the full license."""
    document = encode.document(FULL, view, SIGNED_AT, **others)  # type: ignore[arg-type]
    members = orjson.loads(document)
    assert orjson.dumps(members) == document
    assert isinstance(members, dict)
    return members


def listed(members: dict[str, object]) -> list[dict[str, object]]:
    """Return the machines of a document."""
    return cast("list[dict[str, object]]", members["ActivatedMachines"])


@pytest.mark.parametrize(
    ("version", "names"),
    [
        (1, ["Mid", "IP", "Time"]),
        (2, ["Mid", "IP", "Time", "FriendlyName"]),
        (3, ["Mid", "IP", "Time", "FriendlyName", "FloatingExpires"]),
    ],
)
def test_a_model_version_adds_fields(version: int, names: list[str]) -> None:
    members = shown(View(version))
    assert [list(machine) for machine in listed(members)] == [names]
    assert ("Reseller" in members) == (version == 3)


NEUTRAL: dict[Field, object] = {
    Field.PRODUCT_ID: 0,
    Field.ID: 0,
    Field.KEY: None,
    Field.CREATED: 0,
    Field.EXPIRES: 0,
    Field.PERIOD: 0,
    **dict.fromkeys((field for field in Field if field.name in {f"F{number}" for number in range(1, 9)}), False),
    Field.NOTES: None,
    Field.BLOCK: False,
    Field.GLOBAL_ID: 0,
    Field.CUSTOMER: None,
    Field.ACTIVATED_MACHINES: [],
    Field.TRIAL_ACTIVATION: False,
    Field.MAX_NO_OF_MACHINES: 0,
    Field.ALLOWED_MACHINES: None,
    Field.DATA_OBJECTS: [],
    Field.RESELLER: None,
}


@pytest.mark.parametrize("field", list(Field))
def test_a_hidden_field_stays_with_a_neutral_value_and_all_others_show(field: Field) -> None:
    license = dataclasses.replace(FULL, features=0xFF, block=True, trial_activation=True)
    everything = orjson.loads(encode.document(license, View(3), 1, rows=FULL_ROWS, reseller=RESELLER))
    members = orjson.loads(encode.document(license, View(3, field), 1, rows=FULL_ROWS, reseller=RESELLER))
    name = next(name for name in everything if name.lower() == (field.name or "").lower().replace("_", ""))
    assert members == {**everything, name: NEUTRAL[field]}
    assert everything[name] != NEUTRAL[field]
    assert list(members) == list(everything)


def test_hidden_times_of_an_object_are_dotnets_default() -> None:
    body = encode.linq(FULL, View(3, Field.CREATED | Field.EXPIRES), SIGNED_AT).body
    assert (body["created"], body["expires"]) == ("0001-01-01T00:00:00",) * 2


def test_a_hidden_field_is_not_signed_either() -> None:
    text = encode.linq(FULL, View(3, Field.KEY | Field.CUSTOMER | Field.DATA_OBJECTS), SIGNED_AT).text
    assert text.decode("utf-16-le").startswith("3001,42,,2024-01-01T00:00:00,")
    assert "Åsa Öst" not in text.decode("utf-16-le")
    assert ",[],2024-06-10T06:13:25," in text.decode("utf-16-le")


def test_of_hidden_machines_the_callers_own_is_shown() -> None:
    members = shown(View(1, Field.ACTIVATED_MACHINES, "m-alpha"))
    assert members["ActivatedMachines"] == [{"Mid": "m-alpha", "IP": "192.0.2.10", "Time": 1_704_070_800}]


@pytest.mark.parametrize("own", [None, "m-unknown", ""])
def test_of_hidden_machines_none_is_shown_to_others(own: str | None) -> None:
    assert shown(View(1, Field.ACTIVATED_MACHINES, own))["ActivatedMachines"] == []


def test_of_hidden_machines_the_others_are_not_looked_at_however_many_there_are() -> None:
    class Unwalked(dict[str, Machine]):
        def __iter__(self) -> Iterator[str]:
            raise AssertionError

        values = items = keys = __iter__  # type: ignore[assignment]

    license_ = a_license(stamp=new_stamp(), machines=Unwalked({"m-alpha": ALPHA, "m-beta": BETA}))
    view = View(1, Field.ACTIVATED_MACHINES, "m-beta")
    assert b'"ActivatedMachines":[{"Mid":"m-beta"' in encode.document(license_, view, SIGNED_AT)
    assert encode.linq(license_, view, None).body["activatedMachines"][0]["mid"] == "m-beta"  # type: ignore[index]
    with pytest.raises(AssertionError):
        encode.document(license_, View(3), SIGNED_AT)


def test_of_hidden_floating_machines_the_row_of_the_call_is_shown() -> None:
    view = View(3, Field.ACTIVATED_MACHINES, "floating:m-beta")
    assert [machine["Mid"] for machine in listed(shown(view, rows=FULL_ROWS))] == ["floating:m-beta"]


def test_the_hop_that_connected_is_never_shown() -> None:
    assert ALPHA.proxy_ip.encode() not in encode.document(FULL, View(3), SIGNED_AT)


# ---- documents kept


def test_a_kept_document_is_signed_anew() -> None:
    first, second = (encode.document(FULL, View(3), now) for now in (SIGNED_AT, SIGNED_AT + 1))
    assert orjson.loads(second) == {**orjson.loads(first), "SignDate": SIGNED_AT + 1}


def test_another_state_of_the_license_or_its_customer_is_another_document() -> None:
    before = a_license(stamp=601, customer=CUSTOMER)
    renamed = dataclasses.replace(before, customer=dataclasses.replace(CUSTOMER, name="Eva", stamp=602))
    grown = dataclasses.replace(before, stamp=603, machines={ALPHA.code: ALPHA, BETA.code: BETA})
    gone = dataclasses.replace(before, stamp=604, customer=None)
    documents = [encode.document(license, View(3), 1) for license in (before, renamed, grown, gone, before)]
    assert len(set(documents)) == 4
    assert documents[0] == documents[-1]


def test_another_view_is_another_document() -> None:
    hidden = Field.ACTIVATED_MACHINES
    both = a_license(stamp=801, notes="x", machines={ALPHA.code: ALPHA, BETA.code: BETA})
    views = [View(1), View(2), View(3), View(3, Field.NOTES), View(3, hidden), View(3, hidden, "m-alpha")]
    assert len({encode.document(both, view, 1) for view in views}) == len(views)


def test_rows_that_were_given_are_not_kept() -> None:
    encode.document(FULL, View(3), 1, rows=FULL_ROWS)
    assert b"floating:" not in encode.document(FULL, View(3), 1)


def test_kept_documents_take_no_more_memory_than_is_counted() -> None:
    """What orjson returns is ten times as large as it says."""
    kept, texts = encode._Documents(2**24), [f"{number:01000}" for number in range(500)]
    tracemalloc.start()
    for text in texts:
        kept.keep((text,), orjson.dumps(text))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken <= kept._bytes


def test_kept_documents_are_bounded_and_the_oldest_goes_first() -> None:
    kept = encode._Documents(3 * 1_500)
    for number in range(3):
        kept.keep((number,), b"x" * 1_000)
    kept.find((0,))
    kept.keep((3,), b"x" * 1_000)
    assert [kept.find((number,)) is not None for number in range(4)] == [True, False, True, True]
    kept.keep((4,), b"x" * 10_000)
    assert [kept.find((number,)) for number in range(5)] == [None] * 5


# ---- any license

TEXTS = st.text(st.characters(codec="utf-8"))
INT32S = st.integers(-(2**31), 2**31 - 1)
TIMES = st.integers(0, 253_402_300_799)
MACHINES = st.builds(Machine, TEXTS, TEXTS, TEXTS, TEXTS, TIMES)
LICENSES = st.builds(
    a_license,
    stamp=st.builds(new_stamp),
    key=TEXTS,
    notes=TEXTS,
    created=TIMES,
    expires=TIMES,
    features=st.integers(0, 255),
    customer=st.none() | st.builds(Customer, st.integers(1, 2**31), TEXTS, TEXTS, TEXTS, TIMES, st.just(1)),
    machines=st.lists(MACHINES, max_size=3).map(lambda found: {each.code: each for each in found}),
    data_objects=st.lists(st.builds(DataObject, st.integers(1, 2**63 - 1), TEXTS, TEXTS, INT32S)).map(tuple),
)
VIEWS = st.builds(View, st.integers(1, 3), st.integers(0, 2**24 - 1), st.none() | TEXTS)


@given(LICENSES, VIEWS, TIMES)
def test_any_document_is_the_compact_json_of_its_members(license: License, view: View, now: int) -> None:
    """What is kept and what is added are, together, what orjson makes of the whole."""
    document = encode.document(license, view, now)
    members = orjson.loads(document)
    assert orjson.dumps(members) == document
    assert list(members)[-1] == "SignDate"
    assert members["SignDate"] == now


@given(LICENSES, VIEWS)
def test_both_spellings_show_the_same(license: License, view: View) -> None:
    string = orjson.loads(encode.document(license, view, 0))
    linq = encode.linq(license, view, None).body
    assert [name.lower() for name in string] == [name.lower() for name in linq][:-1]
    plain = [name for name, value in string.items() if not isinstance(value, list | dict)]
    same = set(plain) - {"ID", "Created", "Expires", "SignDate"}
    assert {name: string[name] for name in same} == {name: linq[name[0].lower() + name[1:]] for name in same}


def test_texts_are_not_escaped_beyond_need() -> None:
    document = encode.document(a_license(stamp=700, notes="Ö/<>&'\n\"\\"), View(1), 1)
    assert '"Notes":"Ö/<>&\'\\n\\"\\\\"'.encode() in document


def test_a_row_that_does_not_float_never_expires() -> None:
    linq = encode.linq(PLAIN, View(3), 1, rows=[Row("m", "", 0, "")]).body
    assert linq["activatedMachines"] == [
        {"mid": "m", "ip": "", "time": "1970-01-01T00:00:00", "friendlyName": "", "floatingExpires": None}
    ]
