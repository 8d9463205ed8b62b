"""Paths, forms, flat JSON and tokens: what arrives, before anybody knows which request it is."""

import contextlib
import json
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rules.codes import Code, Refusal
from server.wire.parse import MOST_FIELDS, flat_json, fold_path, form, merge, token_parts

V5 = '["17","Zm9vYmFyMTIzNDU2Nzg5MGFiY2RlZmdoaWprbG1u"]'


def assert_bad_input(read: object, *given: object) -> None:
    with pytest.raises(Refusal) as refused:
        read(*given)  # type: ignore[operator]
    assert refused.value.code is Code.INPUT


# ---- paths (protocol: transport, path variants)


@pytest.mark.parametrize(
    ("raw", "folded"),
    [
        ("/api//key/activate/", "key/activate"),  # .NET
        ("//api//key/activate/", "key/activate"),  # .NET with a base that ends in a slash
        ("/api//data/AddDataObjectToMachineCode/", "data/adddataobjecttomachinecode"),
        ("/api//userauth/Associate/", "userauth/associate"),
        ("/api//auth/GetChallenge", "auth/getchallenge"),
        ("/api//User/GetLicenseKeys", "user/getlicensekeys"),
        ("/api/key/activate", "key/activate"),  # Python
        ("/api//key/UnblockKey", "key/unblockkey"),
        ("/api//message/getmessages/", "message/getmessages"),
        ("/api/ai/getwebapilog", "ai/getwebapilog"),
        ("/api/ai/GetEvents", "ai/getevents"),
        ("/api//ai/RegisterEvent", "ai/registerevent"),
        ("/api//data/IncrementIntValueToKey/", "data/incrementintvaluetokey"),
        ("/api/AI/RegisterEvent", "ai/registerevent"),  # Java
        ("/api/data/listdataobjectstokey", "data/listdataobjectstokey"),
        ("/api/subscription/recordusage/", "subscription/recordusage"),
        ("/api/key/Activate", "key/activate"),  # Node, Go, PHP, Rust, C
        ("//api/key/Activate", "key/activate"),  # Node with a base that ends in a slash
        ("/api/data/ListDataObjectsToKey", "data/listdataobjectstokey"),
        ("/api/Key/CreateTrialKey", "key/createtrialkey"),  # C++
        ("/api/message/GetMessages", "message/getmessages"),
        ("/api/key/CreateKey", "key/createkey"),  # n8n
        ("/API/KEY/ACTIVATE", "key/activate"),
        ("///api///key///activate///", "key/activate"),
    ],
)
def test_every_path_that_sdks_send_leads_to_its_method(raw: str, folded: str) -> None:
    assert fold_path(raw) == folded


@pytest.mark.parametrize("raw", ["", "/", "/api", "/api/key", "/key/activate", "/v1/key/activate", "/api/key/a/b", "*"])
def test_any_other_path_leads_nowhere(raw: str) -> None:
    assert fold_path(raw) is None


# ---- forms


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"", {}),
        (b"&&", {}),
        (b"a=1&B=2", {"a": "1", "b": "2"}),
        (b"a=1&A=2", {"a": "1"}),
        (b"a", {"a": ""}),
        (b"a=", {"a": ""}),
        (b"token=WyI0Il0==&b=1", {"token": "WyI0Il0==", "b": "1"}),
        (b"OrderBy=Id+descending", {"orderby": "Id descending"}),
        (b"n=%C3%85sa+%2B1", {"n": "Åsa +1"}),
        ("n=Åsa".encode(), {"n": "Åsa"}),
        (b"States=%5b2014%2c2015%5d", {"states": "[2014,2015]"}),
        (b"%4dachineCode=m", {"machinecode": "m"}),
        (b"n=100%&m=%zz&o=%e", {"n": "100%", "m": "%zz", "o": "%e"}),
    ],
)
def test_a_form_is_split_and_unescaped(body: bytes, fields: dict[str, str]) -> None:
    assert form(body) == fields
    assert form(body.decode()) == fields


@pytest.mark.parametrize("body", [b"a=\xff", b"a=%FF", b"a=%ed%a0%80", b"a=\0", b"a=%00", b"%00=a", "a=\ud800"])
def test_a_form_that_is_no_text_is_bad_input(body: bytes | str) -> None:
    assert_bad_input(form, body)


def test_a_form_may_have_200_fields_and_no_more() -> None:
    parts = [f"f{number}=" for number in range(MOST_FIELDS + 1)]
    assert len(form("&".join(parts[:-1]))) == MOST_FIELDS
    assert_bad_input(form, "&".join(parts))


@given(st.one_of(st.binary(), st.text(alphabet=st.characters(codec=None)), st.text("%&=+0aA;\0é")))
def test_whatever_a_form_is_made_of_it_is_read_or_refused(body: bytes | str) -> None:
    with contextlib.suppress(Refusal):
        assert all(name == name.lower() and isinstance(value, str) for name, value in form(body).items())


@given(st.dictionaries(st.text("abc", min_size=1), st.text(st.characters(codec="utf-8", exclude_characters="\0"))))
def test_what_python_encodes_is_read_back(values: dict[str, str]) -> None:
    assert form(urlencode(values).encode()) == values


# ---- JSON


def test_a_flat_object_keeps_its_values_and_folds_its_names() -> None:
    body = b'{"ProductId":3001,"Key":"K","Sign":true,"Notes":null,"States":[2014],"Time":{"gte":1},"Price":1.5}'
    assert flat_json(body) == {
        "productid": 3001,
        "key": "K",
        "sign": True,
        "notes": None,
        "states": [2014],
        "time": {"gte": 1},
        "price": 1.5,
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"1",
        b'"a"',
        b"null",
        b"{",
        b'{"a":NaN}',
        b'{"a":"\\ud800"}',
        b'{"a":"\\u0000"}',
        b'{"\\u0000":1}',
        b'{"a":"\xff"}',
        b"\xef\xbb\xbf{}",
        b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}",
        json.dumps({str(number): 1 for number in range(MOST_FIELDS + 1)}).encode(),
    ],
)
def test_anything_but_a_sound_object_is_bad_input(body: bytes) -> None:
    assert_bad_input(flat_json, body)


@given(st.binary())
def test_whatever_json_is_made_of_it_is_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(Refusal):
        flat_json(body)


def test_the_body_wins_over_the_query() -> None:
    assert merge({"token": "query", "v": "1"}, {"token": "body"}) == {"token": "body", "v": "1"}


# ---- tokens (protocol: auth, token format)


def packed(text: str) -> str:
    return b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "text",
    [
        packed(V5),
        packed(V5).rstrip("="),
        packed(V5) + "==",
        f"  {packed(V5)}\n",
        packed('[ "17", "Zm9vYmFyMTIzNDU2Nzg5MGFiY2RlZmdoaWprbG1u" ]'),
    ],
)
def test_a_token_is_read_leniently(text: str) -> None:
    assert token_parts(text) == (17, "Zm9vYmFyMTIzNDU2Nzg5MGFiY2RlZmdoaWprbG1u")


def test_a_token_may_use_either_alphabet_or_have_lost_its_plus() -> None:
    inner = '["5","~~~???>>>ÿþ"]'
    text = packed(inner)
    assert "+" in text
    assert "/" in text
    for variant in (text, urlsafe_b64encode(inner.encode()).decode(), text.replace("+", " ")):
        assert token_parts(variant) == (5, "~~~???>>>ÿþ")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "T",
        "====",
        "!!!!",
        "Wyé",
        packed("[]"),
        packed('["17"]'),
        packed('["17","a","b"]'),
        packed('[17,"a"]'),
        packed('["17",1]'),
        packed('{"17":"a"}'),
        packed('["x","a"]'),
        packed('["-1","a"]'),
        packed('["+1","a"]'),
        packed('["１","a"]'),  # noqa: RUF001  # a digit, but not one of ours
        packed('["0","a"]'),
        packed('["9223372036854775808","a"]'),
        packed('["' + "1" * 5000 + '","a"]'),
        packed('["\\ud800","a"]'),
    ],
)
def test_what_is_no_token_is_none(text: str) -> None:
    assert token_parts(text) is None


def test_the_largest_id_is_an_int64() -> None:
    assert token_parts(packed(f'["{2**63 - 1}","a"]')) == (2**63 - 1, "a")


@given(st.text(alphabet=st.characters(codec=None)))
def test_no_text_makes_the_token_reader_raise(text: str) -> None:
    token_parts(text)
