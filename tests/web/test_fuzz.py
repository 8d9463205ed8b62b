"""Every method, asked for anything: whatever the values and however they are sent, the answer is one of the protocol's."""

import contextlib
import http.client
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Annotated, NamedTuple, get_args, get_origin, get_type_hints
from urllib.parse import urlencode, urlsplit

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from office import Office, token_id, unknown_token
from servers import Live

from server.methods import METHODS, PERMISSIONS, Method
from server.rules.codes import Code
from server.wire.requests import INT32, INT64, Between, Clamp

SECONDS = 30.0  # a deadline of liveness
REFUSED = {400, 404, 405, 408, 413, 429}
MESSAGES = {
    *Code,
    "The method could not be found.",
    "The request is too large.",
    "Too many requests. Please try again later.",
}
BOUNDARY = "of-a-fuzz"

Values = Mapping[str, object]

# The state of the server is not that of the first run when an example is repeated, so there is nothing to shrink.
RUN = settings(
    database=None,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


# ---- values

ODD = st.sampled_from([
    "", " ", "None", "null", "NULL", "0", "-0", "-1", "1", "+1", "01", " 1", "1.5", "1,5", "1e3", "nan", "inf",
    "\u0661", "2", "9" * 30, "9" * 5000, "true", "TRUE", "yes", "Off", "[]", "[1]", "[1,2", "1,2,3", "1,,2", "1,None",
    '["None"]', "[null]", "{}", '{"gt":1}', '{"lte":"x"}', "[" * 3000, "a", "\0", "a\0b", "\n", "\r\n", "\u00e9",
    "\u2603" * 300, "\U0001f600", "\ufeff", "\u202e", "x" * 128, "x" * 129, "x" * 512, "x" * 513, "x" * 5000, "%",
    "&", "=", "'", '"', "\\", "' or 1=1 --", "%s", "{0}", "../..", "<script>", None, True, False, 0, -1, 1, 2, 1.5,
    -0.0, 1e300, INT32, INT32 + 1, -INT32 - 1, INT64, INT64 + 1, -INT64 - 1, 10**25, 10**400, [], [1], [1, 2], ["1"],
    [None], ["None"], [[]], [True], {}, {"gt": 1}, {"gt": None}, {"x": 1}, {"gte": "1", "lt": 2},
])  # fmt: skip
TEXTS = st.one_of(ODD, st.text(max_size=30))


def bounds(hint: object) -> list[int]:
    """The numbers at which a field changes its mind."""
    marks = [mark for mark in get_args(hint)[1:] if isinstance(mark, Between | Clamp)]
    edges = {edge for mark in marks for edge in (mark.low, mark.high)} | {0, 1, INT32, INT64, -INT64 - 1}
    return sorted({number + shift for number in edges for shift in (-1, 0, 1)})


def values(hint: object) -> st.SearchStrategy[object]:
    """What is mostly a value of a field's type."""
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if kind is bool:
        return st.sampled_from(["true", "False", "1", "0", "ON", "no", True, False, 1, 0])
    if kind is int:
        few = st.integers(0, 10)
        return st.one_of(few, few, st.sampled_from(bounds(hint)), st.integers()).flatmap(spelled)
    if isinstance(kind, type) and issubclass(kind, IntEnum):
        names = [each.name.replace("_", "") for each in kind]
        return st.sampled_from(
            [*names, *map(str.lower, names), *map(int, kind), *(str(int(each)) for each in kind), len(names)]
        )
    if get_origin(kind) is tuple:
        return st.lists(values(get_args(kind)[0]), max_size=5).flatmap(spelled)
    return TEXTS


def spelled(value: object) -> st.SearchStrategy[object]:
    """A value, or how a form would spell it."""
    return st.sampled_from([value, json.dumps(value)])


@dataclass(frozen=True, slots=True, repr=False)
class Stock:
    """What there is to be named: tokens, a product with keys of which some are blocked, machines; and what is not there."""

    tokens: list[str | None]
    products: list[int]
    keys: list[str]
    codes: list[str]


@pytest.fixture(scope="module")
async def stock(office: Office) -> Stock:
    shop, other = await office.open_shop(), await office.open_shop()
    keys = [await shop.new_key(MaxNoOfMachines=number) for number in (0, 1, 2, 1000)]
    keys.append(await shop.new_key(MaxNoOfMachines=2, F1=True, Block=True))
    for key in keys[1:4]:
        await shop.activate(key, "m1")
    bad = [
        unknown_token(office.token),
        await office.new_token(product_lock=other.id),
        await office.new_token(key_lock=await shop.global_id(keys[0])),
        await office.new_token(PERMISSIONS[0]),
        await office.new_token(expires=int(time.time()) - 60),
        office.token[: len(office.token) // 2],
        str(token_id(office.token)),
        None,
    ]
    wrong = ["AAAAA-AAAAA-AAAAA-AAAAA", keys[0].lower(), f" {keys[0]} ", ""]
    return Stock(
        [office.token] * 40 + bad, [shop.id] * 8 + [other.id, 0], keys * 3 + wrong, ["m1", "m2", "m3", "M1", "x" * 512]
    )


def plans(method: Method, stock: Stock) -> dict[str, st.SearchStrategy[object]]:
    """By wire name, what is likely to be taken for each parameter of a method."""
    hints = get_type_hints(method.ask, include_extras=True)
    known = {"productid": stock.products, "key": stock.keys, "machinecode": stock.codes}
    found: dict[str, st.SearchStrategy[object]] = {}
    for each in fields(method.ask):
        if each.metadata.get("parameter", True):
            name = each.name.replace("_", "")
            found[name] = st.sampled_from(known[name]) if name in known else values(hints[each.name])
    return found


# ---- requests


class Asked(NamedTuple):
    """A request: its verb, path with query, headers and body."""

    verb: str
    path: str
    headers: dict[str, str]
    body: bytes | None


def as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, list | dict) else str(value)


def form(given: Values) -> bytes:
    return urlencode({name: as_text(value) for name, value in given.items()}).encode()


def parts(given: Values) -> bytes:
    made = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{as_text(value)}\r\n'
        for name, value in given.items()
    ]
    return "".join([*made, f"--{BOUNDARY}--\r\n"]).encode()


FORMS = {
    "application/x-www-form-urlencoded": form,
    "application/json": lambda given: json.dumps(given).encode(),
    f"multipart/form-data; boundary={BOUNDARY}": parts,
}


@st.composite
def requests(draw: st.DrawFn, method: Method, stock: Stock) -> Asked:
    """A request that mostly is a good one: a few of its values are odd, missing, or ones that nobody knows."""
    likely = plans(method, stock)
    optional = draw(st.lists(st.sampled_from(list(likely)), max_size=5))
    chosen = [name for name in likely if name in optional or name in ("productid", "key")]
    named: dict[str, object] = {"token": draw(st.sampled_from(stock.tokens))}
    named |= {name: draw(likely[name]) for name in chosen}
    for name in draw(st.lists(st.sampled_from([*named, "unknown", "Token", "v", "k" * 300]), max_size=1)):
        named[name] = draw(ODD)
    if draw(st.sampled_from([False] * 9 + [True])):
        del named[draw(st.sampled_from(list(named)))]
    spell = draw(st.sampled_from([str.lower, str.upper, str.title, str.swapcase]))
    named = {spell(name): value for name, value in named.items() if value is not None or name != "token"}
    verb, path = "POST", f"/api/{draw(st.sampled_from([method.path] * 8 + [method.path.upper(), f'/{method.path}/']))}"
    where = draw(st.sampled_from(["body", "body", "query", "both"]))
    if where == "query":
        return Asked(draw(st.sampled_from(["GET", "POST"])), f"{path}?{form(named).decode()}", {}, None)
    type_ = draw(st.sampled_from(list(FORMS) if method.multipart else [*list(FORMS)[:2] * 4, list(FORMS)[2]]))
    if where == "both":
        cut = draw(st.integers(0, len(named)))
        path = f"{path}?{form(dict(list(named.items())[:cut])).decode()}"
        named = dict(list(named.items())[cut:])
    return Asked(verb, path, {"Content-Type": type_}, FORMS[type_](named))


# ---- answers


def hold(method: Method, stock: Stock, data: st.DataObject, line: http.client.HTTPConnection) -> None:
    """Ask, and hold the answer against the protocol."""
    asked = data.draw(requests(method, stock))
    line.request(asked.verb, asked.path, asked.body, asked.headers)
    answer = line.getresponse()
    body = answer.read()
    assert answer.status == 200 or answer.status in REFUSED, (asked, answer.status)
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    told = json.loads(body)
    assert (told["result"], told["message"] in MESSAGES) == (1, True) or (told["result"], told["message"]) == (0, ""), asked
    assert told["result"] == 1 or answer.status == 200


@pytest.fixture
def line(live: Live) -> Iterator[http.client.HTTPConnection]:
    """A connection, which begins anew when the server has ended it."""
    url = urlsplit(live.url)
    with contextlib.closing(http.client.HTTPConnection(url.hostname or "", url.port, timeout=SECONDS)) as connection:
        yield connection


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.path)
@settings(RUN, max_examples=max(5, 800 // len(METHODS)))
@given(data=st.data())
def test_a_method_that_is_asked_for_anything_answers_as_the_protocol_says(
    stock: Stock, line: http.client.HTTPConnection, method: Method, data: st.DataObject
) -> None:
    hold(method, stock, data, line)


@pytest.mark.soak
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.path)
@settings(RUN, max_examples=max(100, 20_000 // len(METHODS)), derandomize=False)
@given(data=st.data())
def test_a_method_that_is_asked_for_very_much_answers_as_the_protocol_says(
    stock: Stock, line: http.client.HTTPConnection, method: Method, data: st.DataObject
) -> None:
    hold(method, stock, data, line)
