"""From bytes to requests: paths, forms, flat JSON, tokens, and a parser for each request class, built once at start.

Whatever cannot be read is `Refusal(Code.INPUT)`, and nothing else is ever raised (protocol: transport, parsing table).
"""

import re
from base64 import b64decode
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, fields
from enum import IntEnum
from functools import lru_cache, partial
from typing import Annotated, TypeVar, get_args, get_origin, get_type_hints
from urllib.parse import unquote_to_bytes

import orjson

from server.rules.codes import Code, Refusal
from server.rules.grants import Caller
from server.rules.keystring import normalise
from server.rules.term import EARLIEST, LATEST
from server.wire.requests import (
    INT64,
    Ask,
    Between,
    Clamp,
    Cut,
    KeyText,
    Longest,
    Nullable,
    Order,
    Span,
    Unreadable,
    ZeroMeans,
    ZeroOutside,
)

A = TypeVar("A", bound=Ask)
Step = Callable[[object], object]

MOST_FIELDS = 200
MOST_ITEMS = 1_000
LONGEST_TOKEN = 1_024
_REMEMBERED = 512

# What a step returns for a value that means "as if it had not been sent".
NOT_GIVEN = object()

_NOTHING = frozenset({"none", "null"})
_FLAGS: dict[str, object] = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
    **dict.fromkeys(_NOTHING, NOT_GIVEN),
}
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}")
_SHORT = 18  # so many decimal digits always fit into an int64
_ORDER = re.compile(r"\s*(?:id|time)(?:\s+(ascending|descending))?\s*", re.IGNORECASE)
_URL_SAFE = str.maketrans("-_ ", "+/+")


# ---- from the request line and the body to named values


def fold_path(raw_path: str) -> str | None:
    """Return "group/method" of a raw path without its query, or None if it cannot be a method's.

    Slashes are collapsed and dropped, letters lowered, whatever the SDK made of its base URL: `//api//key/Activate/`.
    """
    segments = [segment for segment in raw_path.lower().split("/") if segment]
    if len(segments) != 3 or segments[0] != "api":  # noqa: PLR2004  # api, group, method
        return None
    return f"{segments[1]}/{segments[2]}"


def form(body: bytes | str) -> dict[str, object]:
    """Return the fields of a form or of a query string by folded name: the first of a name counts.

    A percent sign that escapes nothing stands for itself: the C SDK pastes values raw (protocol: transport).
    """
    try:
        raw = body.encode() if isinstance(body, str) else body
        if b"\0" in raw or raw.count(b"&") >= MOST_FIELDS:
            raise _bad()
        return _split(raw.decode())
    except UnicodeError:
        raise _bad() from None


def _split(text: str) -> dict[str, object]:
    """Split a form, and unescape those of its parts that need it."""
    found: dict[str, object] = {}
    for part in text.replace("+", " ").split("&"):
        name, _, value = part.partition("=")
        if "%" in part:
            name, value = _unescaped(name), _unescaped(value)
        found.setdefault(name.lower(), value)
    found.pop("", None)
    return found


def _unescaped(text: str) -> str:
    if "%" not in text:
        return text
    plain = unquote_to_bytes(text).decode()
    if "\0" in plain:
        raise _bad()
    return plain


def flat_json(body: bytes) -> dict[str, object]:
    """Return the members of a JSON object by folded name; lists and objects are kept as they are.

    orjson itself refuses lone surrogates, NaN and what is nested too deep. Texts inside lists and objects are not
    looked at here: whoever reads such a value does (`_item`).
    """
    try:
        members = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise _bad() from None
    if not isinstance(members, dict) or len(members) > MOST_FIELDS:
        raise _bad()
    found: dict[str, object] = {}
    for name, value in members.items():
        if "\0" in name or (isinstance(value, str) and "\0" in value):
            raise _bad()
        found.setdefault(name.lower(), value)
    return found


def merge(query: Mapping[str, object], body: Mapping[str, object]) -> dict[str, object]:
    """Return the values of both; on a clash the body wins."""
    return {**query, **body}


def token_parts(text: str) -> tuple[int, str] | None:
    """Return the id and the secret in an access token, or None if it is none (protocol: auth, token format).

    Read leniently: with too few or too many "=", in the URL-safe alphabet, with "+" turned into spaces on its way. Id 0
    is never sent: it is the command line of the installation, which no token may claim to be.
    """
    if len(text) > LONGEST_TOKEN:
        return None
    plain = text.strip().translate(_URL_SAFE).rstrip("=")
    try:
        parts = orjson.loads(b64decode(plain + "=" * (-len(plain) % 4), validate=True))
    except ValueError:  # what base64, UTF-8 and JSON raise alike
        return None
    if not isinstance(parts, list) or [type(part) for part in parts] != [str, str]:
        return None
    number, secret = parts
    if not (number.isascii() and number.isdigit() and len(number) <= _SHORT + 1 and 0 < int(number) <= INT64):
        return None
    return int(number), secret


# ---- from named values to a request


def compile(cls: type[A]) -> Callable[[Mapping[str, object], Caller], A]:
    """Return the parser of a request class: it takes values by folded name, as `form` and `flat_json` return them."""
    hints = get_type_hints(cls, include_extras=True)
    parameters = [each for each in fields(cls) if each.metadata.get("parameter", True)]
    plan = [(each.name, each.name.replace("_", ""), *_readers(hints[each.name])) for each in parameters]
    defaults = {each.name: each.default for each in parameters if each.default is not MISSING}
    complete = len(parameters) + 1  # and the caller
    make: Callable[..., A] = cls

    def parse(values: Mapping[str, object], caller: Caller) -> A:
        taken: dict[str, object] = {**defaults, "caller": caller}
        for name, wire, read_text, read in plan:
            value = values.get(wire)
            if value is None or value == "":
                continue
            value = read_text(value) if type(value) is str else read(value)
            if value is not NOT_GIVEN:
                taken[name] = value
        if len(taken) != complete:
            raise _bad()
        return make(**taken)

    return parse


def _bad() -> Refusal:
    return Refusal(Code.INPUT)


def _readers(hint: object) -> tuple[Step, Step]:
    """Return how a field of this type is read from a text, and from what JSON may bring instead.

    The texts of numbers, flags and options are mostly the same ones: they are remembered (0.1 µs against 0.4).
    """
    kind, *_ = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    read = _chain(_steps(hint))
    few = isinstance(kind, type) and issubclass(kind, int)
    return (lru_cache(_REMEMBERED)(read) if few else read), read


def _chain(steps: tuple[Step, ...]) -> Step:
    """Return the steps as one; "not given" ends them."""
    first, *rest = steps
    if not rest:
        return first

    def read(value: object) -> object:
        value = first(value)
        for step in rest:
            if value is NOT_GIVEN:
                break
            value = step(value)
        return value

    return read


def _steps(hint: object) -> tuple[Step, ...]:
    """Return what a value goes through on its way to a field of this type: reading, then the markers in their order."""
    kind, *marks = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    found = [_step(mark) for mark in marks]
    return (_reader(kind, marks), *(step for step in found if step is not None))


def _reader(kind: object, marks: Collection[object]) -> Step:
    """Return the step that reads a value as a type."""
    read = _plain_reader(kind, marks)
    codes = [mark.code for mark in marks if isinstance(mark, Unreadable)]
    return partial(_refusing_with, codes[0], read) if codes else read


def _plain_reader(kind: object, marks: Collection[object]) -> Step:
    """Return that step, if what cannot be read is bad input.

    Only texts care whether None and null can mean "not given", and only lists for their longest length before they are
    read: an item costs more than the bytes that it came in.
    """
    if kind is str:
        return _nullable_text if Nullable() in marks else _text
    if get_origin(kind) is tuple:
        longest = min((mark.length for mark in marks if isinstance(mark, Longest)), default=MOST_ITEMS)
        return partial(_list, _chain(_steps(get_args(kind)[0])), longest)
    if isinstance(kind, type) and issubclass(kind, IntEnum):
        return partial(_member, _members(kind))
    if isinstance(kind, type) and issubclass(kind, tuple) and kind not in _KINDS:
        return partial(_item, kind, _item_readers(kind))
    return _KINDS[kind]


def _item_readers(kind: type) -> dict[str, tuple[str, Step]]:
    """Return the fields of a `NamedTuple` with how each is read, by folded name."""
    hints = get_type_hints(kind, include_extras=True)
    return {name.replace("_", ""): (name, _chain(_steps(hint))) for name, hint in hints.items()}


def _step(mark: object) -> Step | None:
    """Return the step that a marker stands for; None for one that only `_reader` looks at."""
    step: Step | None = None
    match mark:
        case Between(low, high):
            step = partial(_between, low, high)
        case Clamp(low, high):
            step = partial(_clamp, low, high)
        case ZeroOutside(low, high):
            step = partial(_zero_outside, low, high)
        case ZeroMeans(number):
            step = partial(_zero_means, number)
        case Cut(characters):
            step = partial(_cut, characters)
        case Longest(length):
            step = partial(_longest, length)
        case KeyText():
            step = _key
    return step


def _refusing_with(code: Code, read: Step, value: object) -> object:
    """Read a value; what cannot be read is refused with a code of its own."""
    try:
        return read(value)
    except Refusal:
        raise Refusal(code) from None


def _text(value: object) -> object:
    """Read a text. JSON may bring a number: machine codes are often nothing else."""
    if isinstance(value, str):
        return value
    if type(value) is int:
        return str(value)
    raise _bad()


def _nullable_text(value: object) -> object:
    """Read a text where Python's None and Node's null arrive as texts."""
    text = _text(value)
    return NOT_GIVEN if isinstance(text, str) and text.lower() in _NOTHING else text


def _whole(value: object) -> object:
    """Read an int64. Plain digits, which is what SDKs send, take the short way."""
    if isinstance(value, str):
        if len(value) <= _SHORT and value.isascii() and value.isdigit():
            return int(value)
        if value.lower() in _NOTHING:
            return NOT_GIVEN
        if not _WHOLE.fullmatch(value):
            raise _bad()
        value = int(value)
    if type(value) is not int or not -INT64 - 1 <= value <= INT64:
        raise _bad()
    return value


def _flag(value: object) -> object:
    """Read a boolean, in any spelling of any SDK."""
    if isinstance(value, bool):
        return value
    flag = _FLAGS.get(_spelled(value))
    if flag is None:
        raise _bad()
    return flag


def _members(kind: type[IntEnum]) -> dict[str, object]:
    """Return what may stand for the members of an enum: their numbers, and their names without underscores."""
    names = {each.name.replace("_", "").lower(): each for each in kind}
    return {**names, **{str(each.value): each for each in kind}, **dict.fromkeys(_NOTHING, NOT_GIVEN)}


def _member(members: Mapping[str, object], value: object) -> object:
    """Read an option by number or name: the .NET SDK sends `StringSign`, all others 1."""
    member = members.get(_spelled(value))
    if member is None:
        raise _bad()
    return member


def _spelled(value: object) -> str:
    """Return how a form would spell a value; nothing that has a meaning if it could not."""
    if isinstance(value, str):
        return value.lower()
    return str(value) if type(value) is int else ""


def _list(read_item: Step, longest: int, value: object) -> object:
    """Read a list: as JSON, alone or in a text, or numbers with commas between."""
    if isinstance(value, str):
        if value.lower() in _NOTHING:
            return NOT_GIVEN
        value = _json(value) if value.lstrip().startswith("[") else value.split(",")
    if not isinstance(value, list) or len(value) > longest:
        raise _bad()
    items = tuple(read_item(each.strip() if isinstance(each, str) else each) for each in value)
    if NOT_GIVEN in items:
        raise _bad()
    return items


def _item(make: Callable[..., object], readers: Mapping[str, tuple[str, Step]], value: object) -> object:
    """Read a JSON object as a `NamedTuple`: names in any case, the first of a name; what is null or empty is not given."""
    if not isinstance(value, dict):
        raise _bad()
    taken: dict[str, object] = {}
    for wire, each in value.items():
        name, read = readers.get(wire.lower(), ("", None))
        if read is None or name in taken or each is None or each == "":
            continue
        if isinstance(each, str) and "\0" in each:
            raise _bad()
        if (found := read(each)) is not NOT_GIVEN:
            taken[name] = found
    return make(**taken)


def _span(value: object) -> object:
    """Read a Time: an instant, or an object of gt, gte, lt and lte. 0 is no filter, as with every number."""
    if isinstance(value, str):
        if value.lower() in _NOTHING:
            return NOT_GIVEN
        value = _json(value)
    if not isinstance(value, dict):
        instant = _whole(value)
        return NOT_GIVEN if instant == 0 else _bounded({"gte": instant, "lte": instant})
    bounds = {str(name).lower(): _whole(each) for name, each in value.items() if each is not None}
    if not bounds.keys() <= {"gt", "gte", "lt", "lte"}:
        raise _bad()
    return _bounded(bounds)


def _bounded(bounds: Mapping[str, object]) -> Span:
    """Return the span between bounds, made inclusive and brought to times that can be stored: no row lies beyond."""
    shifts = {"gt": 1, "gte": 0, "lt": -1, "lte": 0}
    inclusive = {
        name: max(EARLIEST, min(number + shifts[name], LATEST)) for name, number in bounds.items() if isinstance(number, int)
    }
    since = [number for name, number in inclusive.items() if name.startswith("g")]
    until = [number for name, number in inclusive.items() if name.startswith("l")]
    return Span(max(since, default=None), min(until, default=None))


def _order(value: object) -> object:
    """Read an OrderBy."""
    if not isinstance(value, str):
        raise _bad()
    if value.lower() in _NOTHING:
        return NOT_GIVEN
    found = _ORDER.fullmatch(value)
    if found is None:
        raise _bad()
    return Order((found[1] or "ascending").lower())


def _json(text: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise _bad() from None


def _between(low: int, high: int, value: object) -> object:
    if isinstance(value, int) and low <= value <= high:
        return value
    raise _bad()


def _clamp(low: int, high: int, value: object) -> object:
    return max(low, min(value, high)) if isinstance(value, int) else value


def _zero_outside(low: int, high: int, value: object) -> object:
    return value if isinstance(value, int) and low <= value <= high else 0


def _zero_means(number: int, value: object) -> object:
    return number if value == 0 else value


def _cut(characters: int, value: object) -> object:
    return value[:characters] if isinstance(value, str) else value


def _longest(length: int, value: object) -> object:
    if isinstance(value, str | tuple) and len(value) <= length:
        return value
    raise _bad()


def _key(value: object) -> object:
    """Read a license key. One of nothing but spaces is none."""
    return (normalise(value) or NOT_GIVEN) if isinstance(value, str) else value


_KINDS: Mapping[object, Step] = {
    int: _whole,
    int | None: _whole,
    bool: _flag,
    bool | None: _flag,
    Span: _span,
    Order | None: _order,
}
