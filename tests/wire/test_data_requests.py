"""The requests of data objects: how each SDK names what an object hangs at, the object, its values; and their limits."""

import contextlib
import dataclasses
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.methods import METHODS
from server.rules.codes import Code, Refusal
from server.rules.values import Which
from server.wire import parse, requests
from server.wire.requests import INT32, INT64, Ask
from storage.records import Referencer

from .given import CALLER

REQUESTS = {method.path.removeprefix("data/"): method.ask for method in METHODS if method.path.startswith("data/")}
PARSERS = {cls: parse.compile(cls) for cls in REQUESTS.values()}
GENERAL = ("AddDataObject", "ListDataObjects")
BY_ID = ("SetIntValue", "SetStringValue", "IncrementIntValue", "DecrementIntValue", "RemoveDataObject")
LICENSE = "ProductId=3001&Key=ABCDE-FGHIJ-KLMNO-PQRST"
KEY = {"product_id": 3001, "key": "ABCDE-FGHIJ-KLMNO-PQRST"}
# What each form demands, and nothing else.
NEEDS = {"": {"id"}, "ToKey": {"product_id", "key"}, "ToMachineCode": {"product_id", "key", "machine_code"}}


def read(method: str, body: str | Mapping[str, object]) -> Ask:
    return PARSERS[REQUESTS[method]](parse.form(body) if isinstance(body, str) else body, CALLER)


def fields(made: Ask) -> dict[str, object]:
    return {each.name: getattr(made, each.name) for each in dataclasses.fields(made) if each.name != "caller"}


def refused(method: str, body: str) -> bool:
    try:
        read(method, body)
    except Refusal as refusal:
        return refusal.code is Code.INPUT
    return False


def target(method: str) -> str:
    """The smallest body that a method takes."""
    if method.endswith("ToMachineCode"):
        return f"{LICENSE}&MachineCode=m"
    if method.endswith("ToKey"):
        return LICENSE
    return "" if method in GENERAL else "Id=7"


# Protocol: data objects, examples; and what the sources of the SDKs send.
SENT = {
    "Java": (
        "IncrementIntValueToKey",
        f"token=T&{LICENSE}&Id=0&Name=usagecount&IntValue=1&EnableBound=true&Bound=10",
        {**KEY, "name": "usagecount", "int_value": 1, "enable_bound": True, "bound": 10},
    ),
    ".NET": (
        "AddDataObject",
        "Name=n&StringValue=&IntValue=0&ReferencerType=Key&ReferencerId=900042&CheckForDuplicates=False&token=T&v=1",
        {"name": "n", "referencer_type": Referencer.KEY, "referencer_id": 900_042},
    ),
    ".NET, all": (
        "ListDataObjects",
        "Contains=&ShowAll=True&ReferencerType=User&ReferencerId=0&token=T&v=1&modelversion=1",
        {"show_all": True},
    ),
    "C": ("ListDataObjectsToKey", f"{LICENSE}&token=T&Contains=&v=1", KEY),
    "C, of a product": (
        "ListDataObjects", "token=T&ReferencerType=1&ReferencerId=3001&Contains=&v=1",
        {"referencer_type": Referencer.PRODUCT, "referencer_id": 3001},
    ),
    "C, by id": ("DecrementIntValue", "token=T&Id=501&IntValue=2&EnableBound=True&Bound=0&v=1",
                 {"id": 501, "int_value": 2, "enable_bound": True}),
    "Node": (
        "AddDataObjectToKey",
        "token=T&productId=3001&key=ABCDE-FGHIJ-KLMNO-PQRST&checkForDuplicates=false&name=null&stringValue=null&intValue=0",
        KEY,
    ),
    "Python": (
        "AddDataObjectToMachineCode",
        f"token=T&{LICENSE}&Name=x&IntValue=-4&StringValue=s&CheckForDuplicates=True&MachineCode=m+1",
        {**KEY, "machine_code": "m 1", "name": "x", "int_value": -4, "string_value": "s", "check_for_duplicates": True},
    ),
    "Python, without a name": (
        "RemoveDataObjectToKey", f"token=T&{LICENSE}&Name=None&Id=12", {**KEY, "id": 12},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("method", "body", "differs"), SENT.values(), ids=SENT)
def test_what_sdks_send_is_understood(method: str, body: str, differs: dict[str, object]) -> None:
    """All else has its default."""
    defaults = {each.name: each.default for each in dataclasses.fields(REQUESTS[method]) if each.name != "caller"}
    assert fields(read(method, body)) == {**defaults, **differs}


@pytest.mark.parametrize("method", REQUESTS)
def test_a_method_demands_what_it_is_about_and_nothing_else(method: str) -> None:
    form = next(form for form in ("ToMachineCode", "ToKey", "") if method.endswith(form))
    needed = set() if method in GENERAL else NEEDS[form]
    demanded = {each.name for each in dataclasses.fields(REQUESTS[method]) if each.default is dataclasses.MISSING}
    assert demanded - {"caller"} == needed
    read(method, target(method))
    for name in needed:
        values = dict(parse.form(target(method)))
        del values[name.replace("_", "")]
        with pytest.raises(Refusal):
            read(method, values)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("Key", 2), ("key", 2), ("2", 2), ("Product", 1), ("1", 1), ("User", 0), ("0", 0), ("MachineCode", 3), ("", 0)],
)
def test_what_an_object_hangs_at_is_named_or_numbered(text: str, kind: int) -> None:
    for method in GENERAL:
        made = read(method, f"ReferencerType={text}&ReferencerId=5")
        assert fields(made)["referencer_type"] is Referencer(kind)


@pytest.mark.parametrize("text", ["4", "-1", "Machine_Code", "Customer", "x", "1.0"])
def test_any_other_kind_is_bad_input(text: str) -> None:
    assert all(refused(method, f"ReferencerType={text}&ReferencerId=5") for method in GENERAL)


@pytest.mark.parametrize(
    ("sent", "which"),
    [
        ("Id=0&Name=n", Which(0, "n")), ("Id=7&Name=n", Which(7, "n")), ("Id=7", Which(7, "")), ("Name=n", Which(0, "n")),
        ("", Which(0, "")), ("Id=null&Name=null", Which(0, "")), ("Id=None&Name=n", Which(0, "n")),
        (f"Id={INT64}", Which(INT64, "")),
    ],
)  # fmt: skip
def test_an_object_is_named_by_id_or_name(sent: str, which: Which) -> None:
    for method in BY_ID:
        for form in ("ToKey", "ToMachineCode"):
            made = read(method + form, f"{target(method + form)}&{sent}")
            assert getattr(made, "which") == which  # noqa: B009 (not all requests have it)
    assert all(getattr(read(method, "Id=7&Name=x"), "which") == Which(7, "") for method in BY_ID)  # noqa: B009


@pytest.mark.parametrize("text", ["x", "-1", "1.5", str(INT64 + 1), "true"])
def test_what_is_no_id_is_bad_input(text: str) -> None:
    for method in BY_ID:
        for form in ("", "ToKey", "ToMachineCode"):
            assert refused(method + form, f"{target(method + form).removesuffix('Id=7')}&Id={text}")
    assert all(refused(method, f"ReferencerType=1&ReferencerId={text}") for method in GENERAL)


# ---- values


SETS = [f"{method}{form}" for method in ("AddDataObject", "SetIntValue") for form in ("", "ToKey", "ToMachineCode")]
STEPS = [f"{method}IntValue{form}" for method in ("Increment", "Decrement") for form in ("", "ToKey", "ToMachineCode")]


@given(st.integers(-INT64 - 1, INT64), st.sampled_from(SETS))
def test_a_number_that_is_set_becomes_0_outside_int32(value: int, method: str) -> None:
    made = fields(read(method, f"{target(method)}&IntValue={value}"))
    assert made["int_value"] == (value if -(2**31) <= value <= 2**31 - 1 else 0)


@pytest.mark.parametrize(("value", "becomes"), [(INT32, INT32), (INT32 + 1, 0), (-INT32 - 1, -INT32 - 1), (-INT32 - 2, 0)])
def test_the_bounds_of_int32_are_numbers_still(value: int, becomes: int) -> None:
    assert [fields(read(method, f"{target(method)}&IntValue={value}"))["int_value"] for method in SETS] == [becomes] * 6
    assert parse.compile(requests.SetIntValue)({"id": 7, "intvalue": value}, CALLER).int_value == becomes


def test_a_step_keeps_its_number_and_the_bound_counts_if_it_is_enabled() -> None:
    for method in STEPS:
        for value in (INT32 + 1, -INT64 - 1, -5, 0):
            made = read(method, f"{target(method)}&IntValue={value}&Bound=3")
            assert fields(made)["int_value"] == value
            assert getattr(made, "limit") is None  # noqa: B009
        for bound in (0, -(2**40), 2**40):
            made = read(method, f"{target(method)}&EnableBound=true&Bound={bound}")
            assert getattr(made, "limit") == bound  # noqa: B009
        assert fields(read(method, target(method)))["int_value"] == 0


@pytest.mark.parametrize("text", ["x", "1.5", "1e3", str(INT64 + 1)])
def test_what_is_no_number_is_bad_input(text: str) -> None:
    assert all(refused(method, f"{target(method)}&IntValue={text}") for method in (*SETS, *STEPS))
    assert all(refused(method, f"{target(method)}&Bound={text}") for method in STEPS)
    assert all(refused(method, f"{target(method)}&EnableBound={text}") for method in STEPS)


@pytest.mark.parametrize("form", ["", "ToKey", "ToMachineCode"])
def test_names_have_100_characters_and_texts_10000(form: str) -> None:
    """In characters, not bytes."""
    add, put = f"AddDataObject{form}", f"SetStringValue{form}"
    name, text = "é" * 100, "é" * 10_000
    made = fields(read(add, {**parse.form(target(add)), "name": name, "stringvalue": text}))
    assert (made["name"], made["string_value"]) == (name, text)
    assert fields(read(put, {**parse.form(target(put)), "stringvalue": text}))["string_value"] == text
    text += "x"
    for method, long in ((add, {"name": name + "x"}), (add, {"stringvalue": text}), (put, {"stringvalue": text})):
        with pytest.raises(Refusal):
            read(method, {**parse.form(target(method)), **long})


@pytest.mark.parametrize("text", ["", "null", "None"])
def test_a_text_that_is_not_given_is_the_empty_one(text: str) -> None:
    for form in ("", "ToKey", "ToMachineCode"):
        add, put, show = f"AddDataObject{form}", f"SetStringValue{form}", f"ListDataObjects{form}"
        made = fields(read(add, f"{target(add)}&Name={text}&StringValue={text}"))
        assert (made["name"], made["string_value"]) == ("", "")
        assert fields(read(put, f"{target(put)}&StringValue={text}"))["string_value"] == ""
        assert fields(read(show, f"{target(show)}&Contains={text}"))["contains"] == ""


@given(st.sampled_from(sorted(REQUESTS)), st.data())
def test_whatever_is_sent_it_is_read_or_refused(method: str, data: st.DataObject) -> None:
    names = sorted({each.name.replace("_", "") for each in dataclasses.fields(REQUESTS[method])} | {"referencerid", "id"})
    texts = st.one_of(st.text(), st.integers(), st.booleans(), st.none(), st.sampled_from(["Key", "null", "7"]))
    values = data.draw(st.dictionaries(st.sampled_from(names), texts))
    with contextlib.suppress(Refusal):
        assert read(method, {**parse.form(target(method)), **values}).caller is CALLER
