"""Requests from named values: the spellings of all SDKs, recorded bodies, defaults, limits, and what is refused."""

import contextlib
import dataclasses
from collections.abc import Mapping
from enum import IntEnum
from typing import get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rules.codes import Code, Refusal
from server.wire import parse, requests
from server.wire.requests import (
    INT32,
    INT64,
    Activate,
    Ask,
    CreateKey,
    CreateTrialKey,
    Deactivate,
    ExtendLicense,
    GetKey,
    GetWebAPILog,
    LicenseAsk,
    MachineLockLimit,
    Nullable,
    SignMethod,
    Span,
)
from storage.frozen import frozen_by_name

from .given import CALLER, vector
from .test_parse import packed

REQUESTS: tuple[type[Ask], ...] = (
    Activate,
    GetKey,
    Deactivate,
    CreateTrialKey,
    CreateKey,
    LicenseAsk,
    MachineLockLimit,
    ExtendLicense,
    GetWebAPILog,
)
PARSERS = {cls: parse.compile(cls) for cls in REQUESTS}
LICENSE = {"productid": "3001", "key": "ABCDE-FGHIJ-KLMNO-PQRST"}
KEY = "ABCDE-FGHIJ-KLMNO-PQRST"

# Protocol: parsing table, the parameters whose text None or null means "not given".
NULLABLE = {
    *("friendlyname", "osinfo", "notes", "allowedmachines", "name", "stringvalue", "email", "companyname", "price"),
    *("heading", "productname", "customfield", "metadata", "currency", "customerid", "resellerid", "contains"),
    *("search", "orderby", "states", "time", "passwordresettoken", "oldpassword"),
}


def ask(cls: type[Ask], values: Mapping[str, object]) -> dict[str, object]:
    """Return the fields of a request that was read from values."""
    made = PARSERS[cls](values, CALLER)
    return {each.name: getattr(made, each.name) for each in dataclasses.fields(made)}


def assert_bad(cls: type[Ask], values: Mapping[str, object]) -> None:
    with pytest.raises(Refusal) as refused:
        PARSERS[cls](values, CALLER)
    assert refused.value.code is Code.INPUT


# ---- V6


def requests_of_v6() -> list[tuple[str, str]]:
    """Return path and fields of each request line."""
    lines = vector("v6.requests").decode().replace("?", " ").splitlines()
    return [(path, fields) for _verb, path, fields in (line.split() for line in lines)]


@pytest.mark.parametrize(("path", "fields"), requests_of_v6())
def test_four_spellings_are_one_activation(path: str, fields: str) -> None:
    assert parse.fold_path(path) == "key/activate"
    values = parse.form(fields)
    assert values["token"] == "T"
    assert PARSERS[Activate](values, CALLER) == Activate(
        caller=CALLER,
        product_id=3001,
        key=KEY,
        sign=True,
        machine_code="m-alpha",
        sign_method=SignMethod.STRING_SIGN,
        model_version=3,
    )


# ---- recorded bodies (protocol: transport, typical recorded bodies)


@pytest.mark.parametrize(
    ("cls", "body", "differs"),
    [
        (
            Activate,
            (
                "ProductId=3001&Key=ABCDE-FGHIJ-KLMNO-PQRST&Sign=True&MachineCode=m-alpha&FriendlyName=&FieldsToReturn=0&"
                "Metadata=True&FloatingTimeInterval=0&MaxOverdraft=0&SignMethod=LinqSign&OSInfo=os&token=T&v=1&modelversion=3"
            ),
            {"sign": True, "machine_code": "m-alpha", "metadata": True, "os_info": "os", "model_version": 3},
        ),
        (
            Activate,
            (
                "token=T&ProductId=3001&key=ABCDE-FGHIJ-KLMNO-PQRST&MachineCode=m-alpha&FieldsToReturn=0&metadata=False&"
                "FloatingTimeInterval=0&MaxOverdraft=0&FriendlyName=None&ModelVersion=3&Sign=True&SignMethod=1"
            ),
            {"sign": True, "machine_code": "m-alpha", "sign_method": SignMethod.STRING_SIGN, "model_version": 3},
        ),
        (
            Activate,
            (
                "token=T&ProductId=3001&Key=ABCDE-FGHIJ-KLMNO-PQRST&MachineCode=m-alpha&FieldsToReturn=0&Metadata=false&"
                "FloatingTimeInterval=0&MaxOverdraft=0&Sign=true&SignMethod=1"
            ),
            {"sign": True, "machine_code": "m-alpha", "sign_method": SignMethod.STRING_SIGN},
        ),
        (
            CreateKey,
            (
                "token=T&ProductId=3001&Period=30&Notes=&Block=false&CustomerId=null&TrialActivation=false&"
                "MaxNoOfMachines=0&AllowedMachines=null&ResellerId=0&NoOfKeys=1&F1=false&F8=true"
            ),
            {"period": 30, "f8": True},
        ),
        (
            Activate,
            (
                "MachineCode=m-alpha&FriendlyName=fn&FieldsToReturn=0&Metadata=false&MaxOverdraft=0&ProductId=3001&"
                "FloatingTimeInterval=0&Sign=true&ModelVersion=3&SignMethod=1&Key=ABCDE-FGHIJ-KLMNO-PQRST&token=T"
            ),
            {
                "sign": True,
                "machine_code": "m-alpha",
                "friendly_name": "fn",
                "sign_method": SignMethod.STRING_SIGN,
                "model_version": 3,
            },
        ),
        (
            Activate,
            (
                "FieldsToReturn=0&FloatingTimeInterval=0&Key=ABCDE-FGHIJ-KLMNO-PQRST&MachineCode=m-alpha&MaxOverdraft=0&"
                "ProductId=3001&Sign=true&SignMethod=1&token=T"
            ),
            {"sign": True, "machine_code": "m-alpha", "sign_method": SignMethod.STRING_SIGN},
        ),
        (
            Activate,
            (
                "token=WyI0Il0==&ProductId=3001&Key=ABCDE-FGHIJ-KLMNO-PQRST&Sign=true&MachineCode=m-beta&ModelVersion=3&"
                "SignMethod=1&FloatingTimeInterval=100&v=1"
            ),
            {
                "sign": True,
                "machine_code": "m-beta",
                "sign_method": SignMethod.STRING_SIGN,
                "model_version": 3,
                "floating_time_interval": 100,
            },
        ),
        (
            Activate,
            (
                "token=T&ProductId=3001&Key=ABCDE-FGHIJ-KLMNO-PQRST&Sign=true&MachineCode=m-alpha&FieldsToReturn=0&"
                "SignMethod=1&ModelVersion=3&v=1"
            ),
            {"sign": True, "machine_code": "m-alpha", "sign_method": SignMethod.STRING_SIGN, "model_version": 3},
        ),
        (
            GetWebAPILog,
            (
                "Limit=10&StartingAfter=0&EndingBefore=0&ProductId=0&Key=&FriendlyName=&States=%5b2014%2c2015%5d&"
                "OrderBy=Id+descending&token=T&v=1&modelversion=1"
            ),
            {"states": (2014, 2015), "order_by": requests.Order.DESCENDING},
        ),
    ],
    ids=[".NET", "Python", "Node", "Node CreateKey", "Java", "Go", "C", "C++", ".NET GetWebAPILog"],
)
def test_what_sdks_were_recorded_to_send_is_understood(cls: type[Ask], body: str, differs: dict[str, object]) -> None:
    """All else has its default."""
    required = {"product_id": 3001, "key": KEY} if issubclass(cls, LicenseAsk) else {}
    if cls is CreateKey:
        required = {"product_id": 3001}
    defaults = {each.name: each.default for each in dataclasses.fields(cls)}
    assert ask(cls, parse.form(body)) == {**defaults, "caller": CALLER, **required, **differs}


def test_edit_customer_of_dotnet_and_add_data_object_of_node_are_split() -> None:
    """Their requests come with their methods."""
    dotnet = parse.form("CustomerId=3&Name=&Email=a%40b.c&CompanyName=&MaxNoOfDevices=&Secret=&token=T&v=1&modelversion=1")
    assert dotnet["email"] == "a@b.c"
    assert dotnet["secret"] == ""
    node = parse.form("token=T&productId=3001&key=K&checkForDuplicates=false&name=null&stringValue=null&intValue=0")
    assert node["checkforduplicates"] == "false"


# ---- the table of value encodings


@pytest.mark.parametrize("text", ["True", "true", "1", "yes", "ON", "tRUE", True, 1])
def test_true_in_every_spelling(text: object) -> None:
    assert ask(Activate, {**LICENSE, "sign": text})["sign"] is True


@pytest.mark.parametrize("text", ["False", "false", "0", "no", "off", False, 0, "", "None", "null", "NULL", None])
def test_false_or_not_given_in_every_spelling(text: object) -> None:
    assert ask(Activate, {**LICENSE, "sign": text})["sign"] is False


@pytest.mark.parametrize("text", ["2", "wahr", " true", 2, 1.0, [], {}])
def test_what_is_no_boolean_is_bad_input(text: object) -> None:
    assert_bad(Activate, {**LICENSE, "sign": text})


@pytest.mark.parametrize("text", ["1", "StringSign", "stringsign", "STRINGSIGN", 1])
def test_string_sign_by_number_or_name(text: object) -> None:
    assert ask(Activate, {**LICENSE, "signmethod": text})["sign_method"] is SignMethod.STRING_SIGN


@pytest.mark.parametrize("text", ["0", "LinqSign", "linqsign", 0, "", None, "None", "null"])
def test_linq_sign_by_number_or_name_or_default(text: object) -> None:
    assert ask(Activate, {**LICENSE, "signmethod": text})["sign_method"] is SignMethod.LINQ_SIGN


@pytest.mark.parametrize("text", ["2", "-1", "Linq_Sign", "String", True, 1.0, [1]])
def test_an_unknown_option_is_bad_input(text: object) -> None:
    assert_bad(Activate, {**LICENSE, "signmethod": text})


@pytest.mark.parametrize(("text", "number"), [("Key", 2), ("2", 2), ("MachineCode", 3), ("User", 0), ("", 0)])
def test_referencer_types_of_dotnet_and_c(text: str, number: int) -> None:
    assert parse.compile(AboutObjects)({"referencertype": text}, CALLER).referencer_type == number


class ReferencerType(IntEnum):
    USER = 0
    PRODUCT = 1
    KEY = 2
    MACHINE_CODE = 3


@frozen_by_name
class AboutObjects(Ask):
    """What a request of later methods looks like."""

    referencer_type: ReferencerType = ReferencerType.USER


@pytest.mark.parametrize("text", ["", "None", "null", "nULL", None])
def test_an_optional_text_that_was_not_given(text: object) -> None:
    made = ask(Activate, {**LICENSE, "friendlyname": text, "osinfo": text})
    assert (made["friendly_name"], made["os_info"]) == ("", "")


@pytest.mark.parametrize("text", ["None", "null"])
def test_a_machine_or_a_key_may_be_called_none(text: str) -> None:
    made = ask(Activate, {"productid": "1", "key": text, "machinecode": text})
    assert (made["key"], made["machine_code"]) == (text.upper(), text)


def test_none_and_null_are_texts_for_all_parameters_but_those_of_the_table() -> None:
    for cls in REQUESTS:
        for name, hint in get_type_hints(cls, include_extras=True).items():
            if "str" in str(hint) or Nullable() in getattr(hint, "__metadata__", ()):
                nullable = Nullable() in getattr(hint, "__metadata__", ())
                assert nullable == (name.replace("_", "") in NULLABLE), (cls, name)


@pytest.mark.parametrize("text", ["", "None", "null", None, "0", 0])
def test_an_optional_number_that_was_not_given(text: object) -> None:
    assert ask(CreateKey, {"productid": "3001", "customerid": text, "resellerid": text})["customer_id"] == 0


@pytest.mark.parametrize(("text", "number"), [("30", 30), ("+30", 30), ("-30", -30), ("007", 7), (30, 30), (-30, -30)])
def test_numbers_have_a_sign_if_they_like(text: object, number: int) -> None:
    assert ask(ExtendLicense, {**LICENSE, "noofdays": text})["no_of_days"] == number


@pytest.mark.parametrize(
    "text", ["x", "1.0", "1e3", " 1", "1_0", "0x1", "--1", "+", "٣", str(2**63), "9" * 5000, 1.0, True, 2**63, [], {}]
)
def test_what_is_no_number_is_bad_input(text: object) -> None:
    assert_bad(ExtendLicense, {**LICENSE, "noofdays": text})


@pytest.mark.parametrize("value", [True, 1.5, [], ["a"], {"a": 1}])
def test_what_is_no_text_is_bad_input(value: object) -> None:
    assert_bad(Activate, {**LICENSE, "machinecode": value})


def test_a_number_may_stand_for_a_text() -> None:
    assert ask(Activate, {**LICENSE, "machinecode": 4711})["machine_code"] == "4711"


@pytest.mark.parametrize("text", ["[2014,2015]", "[ 2014 , 2015 ]", "2014,2015", "2014, 2015", [2014, 2015], ["2014", 2015]])
def test_a_list_as_json_or_with_commas(text: object) -> None:
    assert ask(GetWebAPILog, {"states": text})["states"] == (2014, 2015)


@pytest.mark.parametrize("text", ["", "[]", "None", "null", None, []])
def test_a_list_that_was_not_given(text: object) -> None:
    assert ask(GetWebAPILog, {"states": text})["states"] == ()


@pytest.mark.parametrize("text", ["[", "[a]", "1,,2", "[1.5]", "[true]", "[null]", "[[1]]", "-1", "32768", [None], 2014, {}])
def test_what_is_no_list_of_states_is_bad_input(text: object) -> None:
    assert_bad(GetWebAPILog, {"states": text})


def test_a_list_is_bounded() -> None:
    assert_bad(GetWebAPILog, {"states": [2014] * 101})


# ---- parameters


@pytest.mark.parametrize("cls", REQUESTS)
def test_without_what_is_required_it_is_bad_input(cls: type[Ask]) -> None:
    required = {name: LICENSE[name] for name in LICENSE if name.replace("productid", "product_id") in required_of(cls)}
    ask(cls, required)
    for name in required:
        assert_bad(cls, {**required, name: ""})
        assert_bad(cls, {**required, name: None})
        assert_bad(cls, {other: required[other] for other in required if other != name})


def required_of(cls: type[Ask]) -> set[str]:
    return {each.name for each in dataclasses.fields(cls) if each.default is dataclasses.MISSING}


def test_what_nobody_knows_is_ignored() -> None:
    assert ask(LicenseAsk, {**LICENSE, "v": "x", "modelversion": [], "_": "1"})["product_id"] == 3001


@pytest.mark.parametrize(("text", "version"), [("-5", 1), ("0", 1), ("1", 1), ("2", 2), ("3", 3), ("4", 3), ("", 1)])
def test_model_versions_are_clamped(text: str, version: int) -> None:
    assert ask(Activate, {**LICENSE, "modelversion": text})["model_version"] == version


@pytest.mark.parametrize("text", [str(2**63), str(-(2**63) - 1), 2**63, "9" * 20])
def test_a_number_beyond_an_int64_is_bad_input_even_where_any_would_be_clamped(text: object) -> None:
    assert_bad(Activate, {**LICENSE, "modelversion": text})


@pytest.mark.parametrize("text", ["  abcde-fghij-klmno-pqrst ", "Abcde-Fghij-Klmno-Pqrst\n"])
def test_keys_are_read_as_people_type_them(text: str) -> None:
    assert ask(LicenseAsk, {**LICENSE, "key": text})["key"] == KEY


def test_a_key_of_spaces_is_none() -> None:
    assert_bad(LicenseAsk, {**LICENSE, "key": "  "})


@pytest.mark.parametrize(
    ("cls", "name", "worst", "best"),
    [
        (Activate, "productid", -1, 0),
        (Activate, "productid", INT32 + 1, INT32),
        (Activate, "floatingtimeinterval", -1, 0),
        (Activate, "maxoverdraft", -1, 0),
        (Activate, "maxoverdraft", INT64 + 1, INT64),
        (Activate, "fieldstoreturn", -1, 0),
        (CreateKey, "period", -1, 0),
        (CreateKey, "period", 36_501, 36_500),
        (CreateKey, "noofkeys", -1, 1),
        (CreateKey, "noofkeys", 1001, 1000),
        (CreateKey, "maxnoofmachines", -1, 0),
        (CreateKey, "customerid", -1, 0),
        (MachineLockLimit, "numberofmachines", -1, 0),
        (MachineLockLimit, "numberofmachines", INT32 + 1, INT32),
        (ExtendLicense, "noofdays", INT32 + 1, INT32),
        (ExtendLicense, "noofdays", -INT32 - 1, -INT32),
        (GetWebAPILog, "limit", -1, 1),
        (GetWebAPILog, "startingafter", -1, 0),
        (GetWebAPILog, "endingbefore", INT64 + 1, INT64),
    ],
)
def test_limits_of_numbers(cls: type[Ask], name: str, worst: int, best: int) -> None:
    assert best in ask(cls, {**LICENSE, name: str(best)}).values()
    assert_bad(cls, {**LICENSE, name: str(worst)})


def test_intervals_are_clamped_to_a_year() -> None:
    assert ask(Activate, {**LICENSE, "floatingtimeinterval": str(INT64)})["floating_time_interval"] == 31_622_400


def test_dotnet_asks_for_no_keys_and_means_one() -> None:
    assert ask(CreateKey, {"productid": "3001", "noofkeys": "0"})["no_of_keys"] == 1


def test_machine_codes_have_512_characters_and_friendly_names_are_cut_to_250() -> None:
    made = ask(Activate, {**LICENSE, "machinecode": "é" * 512, "friendlyname": "é" * 251})
    assert (made["machine_code"], made["friendly_name"]) == ("é" * 512, "é" * 250)
    assert_bad(Activate, {**LICENSE, "machinecode": "m" * 513})
    assert_bad(Deactivate, {**LICENSE, "machinecode": "m" * 513})


def test_the_rule_judges_the_machine_code_of_a_trial() -> None:
    assert ask(CreateTrialKey, {"productid": "3001", "machinecode": "m" * 600})["machine_code"] == "m" * 600
    assert ask(CreateTrialKey, {"productid": "3001"})["machine_code"] == ""


# ---- GetWebAPILog


@pytest.mark.parametrize(("text", "limit"), [("0", 10), ("", 10), ("1", 1), ("1000", 1000), ("5000", 1000)])
def test_the_length_of_a_page(text: str, limit: int) -> None:
    assert ask(GetWebAPILog, {"limit": text})["limit"] == limit


@pytest.mark.parametrize(
    ("order_by", "ending_before", "descending"),
    [
        ("", "0", False),
        ("", "15", True),
        ("None", "15", True),
        ("Id", "0", False),
        ("Id ascending", "15", False),
        ("Id descending", "0", True),
        ("Time", "0", False),
        ("time  DESCENDING ", "0", True),
    ],
)
def test_the_order_of_a_page(order_by: str, ending_before: str, descending: bool) -> None:
    made = PARSERS[GetWebAPILog]({"orderby": order_by, "endingbefore": ending_before}, CALLER)
    assert isinstance(made, GetWebAPILog)
    assert made.descending is descending


@pytest.mark.parametrize("text", ["Key", "descending", "Id desc", "Id descending, Time", "Iddescending", 1, []])
def test_any_other_order_is_bad_input(text: object) -> None:
    assert_bad(GetWebAPILog, {"orderby": text})


def test_of_two_cursors_ending_before_wins() -> None:
    made = PARSERS[GetWebAPILog]({"startingafter": "5", "endingbefore": "9"}, CALLER)
    assert isinstance(made, GetWebAPILog)
    assert (made.after_id, made.ending_before) == (0, 9)


def test_a_key_needs_its_product() -> None:
    assert_bad(GetWebAPILog, {"key": KEY})
    assert_bad(GetWebAPILog, {"key": KEY, "productid": "0"})
    assert ask(GetWebAPILog, LICENSE)["key"] == KEY


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("", Span()),
        ("null", Span()),
        ("None", Span()),
        ("0", Span()),
        (0, Span()),
        ("{}", Span()),
        ("1534407953", Span(1534407953, 1534407953)),
        (1534407953, Span(1534407953, 1534407953)),
        ('{"gte":5,"lte":9}', Span(5, 9)),
        ('{"gt":5,"lt":9}', Span(6, 8)),
        ('{"GT":5,"gte":9,"lt":null}', Span(9, None)),
        ({"gt": "5"}, Span(6, None)),
        ({"lte": 2**63 - 1, "gte": -(2**63)}, Span(0, 253_402_300_799)),
    ],
)
def test_a_time_is_an_instant_or_a_span(text: object, span: Span) -> None:
    assert ask(GetWebAPILog, {"time": text})["time"] == span


@pytest.mark.parametrize("text", ["{", "x", "[1]", '{"eq":1}', '{"gt":1.5}', '{"gt":true}', '{"gt":[]}', "1.5", True])
def test_any_other_time_is_bad_input(text: object) -> None:
    assert_bad(GetWebAPILog, {"time": text})


# ---- everything at once

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(REQUESTS), st.data())
def test_whatever_is_sent_it_is_read_or_refused(cls: type[Ask], data: st.DataObject) -> None:
    names = [each.name.replace("_", "") for each in dataclasses.fields(cls)]
    values = data.draw(st.dictionaries(st.sampled_from(names), VALUES))
    with contextlib.suppress(Refusal):
        PARSERS[cls](values, CALLER)


def test_a_text_that_was_seen_before_is_read_the_same_again() -> None:
    read = parse.compile(Activate)
    for _ in range(3):
        assert read({**LICENSE, "fieldstoreturn": "1", "sign": "1"}, CALLER).fields_to_return == 1
        with pytest.raises(Refusal):
            read({**LICENSE, "fieldstoreturn": True}, CALLER)


def test_a_caller_cannot_be_sent() -> None:
    made = PARSERS[LicenseAsk]({**LICENSE, "caller": packed("[]")}, CALLER)
    assert made.caller is CALLER
