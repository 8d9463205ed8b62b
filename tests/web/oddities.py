"""The table of malformed and hostile requests: what each is, what a server has to say to it, and how it is made."""

import gzip
import json
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import quote, urlencode

from lines import FORM as TYPE
from lines import chunked, request

from server.rules.codes import Code

SECRET = "secret"  # wherever there is a place for it: no answer may repeat it
GET_KEY, UNBLOCK_KEY = "/api/key/GetKey", "/api/key/UnblockKey"
LOG = "/api/ai/GetWebAPILog"
HOST = "Host: keyturn.test\r\n"


class Given(NamedTuple):
    """What a good request needs: a token that may do everything, a product, and a key of it."""

    token: str
    product_id: int
    key: str

    @property
    def form(self) -> bytes:
        return urlencode({"token": self.token, "ProductId": self.product_id, "Key": self.key}).encode()


Make = Callable[[Given], bytes]


class Said(NamedTuple):
    """An answer: its status and message, and whether the same connection serves the next request."""

    status: int
    message: str
    goes_on: bool = True


GOOD = Said(200, "")
INPUT = Said(200, Code.INPUT)
NO_TOKEN = Said(200, Code.AUTHENTICATE)
NO_PRODUCT = Said(200, Code.PRODUCT)
NO_KEY = Said(200, Code.KEY)
NO_METHOD = Said(404, "The method could not be found.")
NO_VERB = Said(405, "The method could not be found.")
TOO_LARGE = Said(413, "The request is too large.", goes_on=False)
BROKEN = Said(400, Code.INPUT, goes_on=False)
CLOSED = Said(0, "", goes_on=False)


class Odd(NamedTuple):
    """A row: `leaves` if the client ends its side when it has sent this."""

    what: str
    said: Said
    make: Make
    leaves: bool = False


def last(said: Said) -> Said:
    """The same answer, and the end of the connection."""
    return said._replace(goes_on=False)


# ---- how a request is made


def raw(data: bytes) -> Make:
    """These bytes, whatever is given."""
    return lambda _: data


def post(before: bytes = b"", after: bytes = b"", path: str = GET_KEY, **headers: str) -> Make:
    """A form with something before and after what is needed; of a name, the first value counts."""
    return lambda given: request(path, before + given.form + after, **headers)


def pack(squeeze: Callable[[bytes], bytes], encoding: str = "gzip", path: str = GET_KEY) -> Make:
    """A good form, encoded."""
    return lambda given: request(path, squeeze(given.form), Content_Encoding=encoding)


def number(text: str, path: str = GET_KEY, name: str = "ProductId") -> Make:
    """A form with this number in it."""
    return post(f"{name}={quote(text)}&".encode(), path=path)


def query(added: str, path: str = GET_KEY) -> Make:
    """A GET with something before what is needed."""
    return lambda given: request(f"{path}?{added}&{given.form.decode()}")


def beside(body: bytes, path: str, **headers: str) -> Make:
    """A good query with a body, which wins."""
    return lambda given: request(f"{path}?{given.form.decode()}", body, **headers)


def as_json(body: bytes, path: str = GET_KEY, type_: str = "application/json") -> Make:
    """A good query with a body that says it is JSON."""
    return beside(body, path, Content_Type=type_)


def members(**values: object) -> Make:
    """A good query with these members in a JSON object."""
    return as_json(json.dumps(values).encode(), LOG if "States" in values or "Time" in values else GET_KEY)


def parts(body: bytes, path: str = UNBLOCK_KEY, type_: str = "multipart/form-data; boundary=x") -> Make:
    """A good query with a body that says it is a multipart form."""
    return beside(body, path, Content_Type=type_)


def part(value: bytes = b"v", disposition: bytes = b'form-data; name="extra"', more: bytes = b"") -> bytes:
    """One part of a multipart form."""
    return b"--x\r\nContent-Disposition: %b\r\n%b\r\n%b\r\n" % (disposition, more, value)


END = b"--x--\r\n"


def in_chunks(body: Callable[[bytes], bytes], coding: str = "chunked", path: str = GET_KEY, **headers: str) -> Make:
    """A form whose chunks are made by hand."""
    return lambda given: request(path, body(given.form), Transfer_Encoding=coding, **headers)


def long(length: str) -> Make:
    """A good form with this for its length."""
    return post(Content_Length=length)


def line(start: str, headers: str = HOST) -> Make:
    """A request without a body, from its first line on."""
    return raw(f"{start}\r\n{headers}\r\n".encode("latin-1"))


def header(text: str) -> Make:
    """A good form with another header before all others."""
    return lambda given: request(GET_KEY, given.form).replace(b"\r\n", b"\r\n" + text.encode("latin-1") + b"\r\n", 1)


def typed(text: str) -> Make:
    """A good form of this type, a byte for each character."""
    return lambda given: request(GET_KEY, given.form).replace(TYPE.encode(), text.encode("latin-1"), 1)


def version(text: str) -> Make:
    """A good form with another version of HTTP."""
    return lambda given: request(GET_KEY, given.form).replace(b"HTTP/1.1", text.encode())


def verb(name: str, path: str = GET_KEY) -> Make:
    """A good form with another verb."""
    return lambda given: request(path, given.form, name)


def at(path: str) -> Make:
    """A good form sent to another path."""
    return lambda given: request(path, given.form)


def twice(squeeze: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda plain: squeeze(squeeze(plain))


def bomb(squeeze: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda plain: squeeze(plain + b"&Pad=" + b"0" * 10_000_000)


def named(said: Said, rows: Mapping[str, Make]) -> list[Odd]:
    """Rows with the same answer."""
    return [Odd(what, said, make) for what, make in rows.items()]


# ---- the table

ENCODINGS = [
    *named(
        INPUT,
        {
            "a charset that nobody knows": post(Content_Type=f"{TYPE}; charset={SECRET}"),
            "a charset that is another": post(Content_Type=f"{TYPE}; charset=iso-8859-1"),
            "a charset of a codec that is none of texts": post(Content_Type=f"{TYPE}; charset=zlib"),
            "a charset with bytes that are no text": typed(f"{TYPE}; charset=\xff"),
            "UTF-16 that says so": lambda given: request(
                GET_KEY, given.form.decode().encode("utf-16"), Content_Type=f"{TYPE}; charset=utf-16"
            ),
            "UTF-16 that does not say so": lambda given: request(GET_KEY, given.form.decode().encode("utf-16-le")),
            "a byte that UTF-8 has not": post(b"a=\xff&"),
            "a byte that UTF-8 has not, in a name": post(b"\xfe=a&"),
            "a byte that UTF-8 has not, escaped": post(b"a=%FF&"),
            "an overlong slash": post(b"a=\xc0\xaf&"),
            "an overlong slash, escaped": post(b"a=%c0%af&"),
            "an overlong NUL": post(b"a=%C0%80&"),
            "a surrogate": post(b"a=\xed\xa0\x80&"),
            "a surrogate, escaped": post(b"a=%ED%A0%80&"),
            "a pair of surrogates, escaped": post(b"a=%ED%A0%BD%ED%B8%80&"),
            "a character above the last": post(b"a=%F4%90%80%80&"),
            "half a character": post(b"a=%E2%82&"),
            "half a character in a query": query("a=%E2%82"),
            "a NUL": post(b"a=\0&"),
            "a NUL, escaped": post(b"a=%00&"),
            "a NUL in a name, escaped": post(b"%00=a&"),
            "a NUL in a query, escaped": query("a=%00"),
            "a type with 4,000 parameters": post(Content_Type=TYPE + ";a" * 4000),
            "an encoding that nobody knows": post(Content_Encoding=SECRET),
            "an encoding that is not read": post(Content_Encoding="br"),
            "two encodings": pack(twice(gzip.compress), "gzip, gzip"),
            "an encoding with a weight": pack(gzip.compress, "gzip;q=1"),
            "an encoding with bytes that are no text": header("Content-Encoding: \xff"),
            "gzip that is none": post(Content_Encoding="gzip"),
            "gzip that is deflate": pack(zlib.compress),
            "deflate that is gzip": pack(gzip.compress, "deflate"),
            "gzip without its end": pack(lambda plain: gzip.compress(plain)[:-9]),
            "gzip without its last byte": pack(lambda plain: gzip.compress(plain)[:-1]),
            "gzip of nothing but its header": pack(lambda plain: gzip.compress(plain)[:10]),
            "gzip with a wrong sum": pack(lambda plain: gzip.compress(plain)[:-8] + bytes(4) + gzip.compress(plain)[-4:]),
            "gzip with a wrong length": pack(lambda plain: gzip.compress(plain)[:-4] + b"\xff\xff\xff\xff"),
            "gzip with something after it": pack(lambda plain: gzip.compress(plain) + b"x"),
            "gzip after gzip": pack(lambda plain: gzip.compress(plain) + gzip.compress(b"&a=b")),
            "gzip of gzip": pack(twice(gzip.compress)),
            "gzip of a bomb": pack(lambda plain: gzip.compress(bomb(gzip.compress)(plain))),
            "nothing, in gzip": in_chunks(lambda _: b"0\r\n\r\n", Content_Encoding="gzip"),
        },
    ),
    *named(
        TOO_LARGE,
        {
            "a bomb of gzip": pack(bomb(gzip.compress)),
            "a bomb of deflate": pack(bomb(zlib.compress), "deflate"),
            "a bomb of gzip in chunks": in_chunks(
                lambda plain: chunked(bomb(gzip.compress)(plain)), Content_Encoding="gzip"
            ),
            "a bomb for a method that takes more": pack(bomb(gzip.compress), path=UNBLOCK_KEY),
        },
    ),
    *named(
        NO_TOKEN,
        {
            "a mark of UTF-8 before the first name": post(b"\xef\xbb\xbf"),
            "a token with bytes that are no text": line(
                f"GET {GET_KEY} HTTP/1.1", HOST + "Authorization: Bearer \xff\xfe\r\n"
            ),
            "a token of 8,000 letters": line(f"GET {GET_KEY} HTTP/1.1", HOST + f"Authorization: Bearer {'A' * 8000}\r\n"),
            "a token that is a deep list": raw(request(GET_KEY, b"token=" + b"W1tb" * 250)),
        },
    ),
    *named(
        GOOD,
        {
            "a charset without a name": post(Content_Type=f"{TYPE}; charset="),
            "two charsets": post(Content_Type=f"{TYPE}; charset=utf-8; charset={SECRET}"),
            "no encoding, said": post(Content_Encoding=""),
            "percent signs that escape nothing": post(b"a=%&b=%4&c=%zz&d=%-1&%=%%41&e=100%&"),
            "percent signs in the manner of browsers long ago": post(b"a=%u0000%u2603&"),
            "a type of nested comments": post(Content_Type=TYPE + "; a=" + "(" * 7900),
            "a type with a parameter of a codec that fails": post(Content_Type=f"{TYPE}; a*=idna''x; charset*=undefined''x"),
            "a type with a parameter in pieces that do not fit": post(Content_Type=f"{TYPE}; a*=1; a*0=2"),
            "a type with a piece of a parameter of 5,000 digits": post(Content_Type=f"{TYPE}; a*{'1' * 5000}*=x"),
            "a type that is nothing but marks": post(Content_Type=';;;=;"'),
            "a type with bytes that are no text": typed("\xff\xfe"),
        },
    ),
]

SIZES = [
    *named(
        TOO_LARGE,
        {
            "a form of 1 MB": post(b"a=" + b"b" * 1_000_000 + b"&"),
            "200,000 fields": post(b"a=b&" * 200_000),
            "20,000 bytes in chunks of one": in_chunks(lambda plain: b"1\r\na\r\n" * 20_000 + chunked(plain)),
            "a chunk of 1 MB": in_chunks(lambda plain: chunked(b"a" * 1_000_000, plain)),
            "a JSON object of 1 MB": as_json(b'{"a":"' + b"b" * 1_000_000 + b'"}'),
            "a JSON list that is 100,000 deep": as_json(b"[" * 100_000 + b"]" * 100_000),
            "900 parts for a method that takes few bytes": parts(part() * 900 + END, GET_KEY),
            "100,000 nines": number("9" * 100_000),
        },
    ),
    *named(
        INPUT,
        {
            "201 fields": post(b"a=b&" * 201),
            "15,000 ampersands": post(b"&" * 15_000),
            "201 fields in a query": query("&" * 201),
            "a machine code of 513 characters": post(b"MachineCode=" + b"m" * 513 + b"&", path="/api/key/Deactivate"),
            "900 parts": parts(part() * 900 + END),
            "a JSON object of 201 members": as_json(json.dumps({str(each): each for each in range(201)}).encode()),
        },
    ),
    *named(
        GOOD,
        {
            "a name of 15,000 letters": post(b"a" * 15_000 + b"=b&"),
            "a name of 4,000 escaped letters": post(b"%61" * 4000 + b"=b&"),
            "60 kB of headers": lambda given: request(GET_KEY, given.form, **{f"X{each}": "x" * 8000 for each in range(7)}),
            "120 headers": lambda given: request(GET_KEY, given.form, **{f"X{each}": "x" for each in range(120)}),
        },
    ),
    *named(NO_KEY, {"a key of 15,000 letters": number("K" * 15_000, name="Key")}),
    *named(
        BROKEN,
        {
            "a line of 9,000 bytes": line(f"GET {GET_KEY}?{'x' * 9000} HTTP/1.1"),
            "a line of 60,000 bytes": line(f"GET {GET_KEY}?{'x' * 60_000} HTTP/1.1"),
            "a line that never ends": raw(b"GET /" + b"x" * 50_000),
            "a header that never ends": raw(b"GET / HTTP/1.1\r\nX: " + b"x" * 50_000),
            "200 headers": header("\r\n".join(f"X{each}: x" for each in range(200))),
            "5,000 headers": header("x:\r\n" * 5000 + "x:"),
            "a header of 9,000 bytes": header("X: " + SECRET * 1500),
            "a header with a name of 9,000 bytes": header("X" * 9000 + ": x"),
        },
    ),
]

LENGTHS = [
    *named(
        BROKEN,
        {
            "a length below zero": long("-1"),
            "a length with a sign": long("+10"),
            "a length in hexadecimal": long("0x10"),
            "a length with an exponent": long("1e1"),
            "a length with a point": long("10.0"),
            "a length with an underscore": long("1_0"),
            "a length that is a list": long("10, 10"),
            "a length in two words": long("1 0"),
            "a length in other digits": long("\u0661\u0660".encode().decode("latin-1")),
            "a length that is a word": long(SECRET),
            "a length that is empty": long(""),
            "a length above all": long("99999999999999999999999"),
            "a length of 5,000 digits": long("9" * 5000),
            "two lengths that are one": header("Content-Length: 10\r\nContent-Length: 10"),
            "two lengths": header("Content-Length: 10\r\nContent-Length: 11"),
            "a length and chunks": in_chunks(chunked, Content_Length="10"),
            "a length below the body, whose rest is no request": long("5"),
            "a body that was not announced": lambda given: request(GET_KEY) + given.form,
            "a length that is wrong and chunks": in_chunks(chunked, Content_Length=SECRET),
        },
    ),
    *named(
        TOO_LARGE,
        {
            "a length of 2 GB, with a body": post(b"a=" + b"b" * 20_000 + b"&", Content_Length="2147483648"),
        },
    ),
    Odd("a length above the body", CLOSED, long("10000"), leaves=True),
    Odd("a length of 2^63 - 1", TOO_LARGE, long("9223372036854775807"), leaves=False),
]

INTEGERS = {
    "5,000 digits": "9" * 5000,
    "5,000 zeros and a one": "0" * 5000 + "1",
    "a digit too many for int32": "21474836470",
    "one more than int32 has": "2147483648",
    "one more than int64 has": "9223372036854775808",
    "one less than int64 has": "-9223372036854775809",
    "one more than uint64 has": "18446744073709551616",
    "one below zero": "-1",
    "a float": "1.0",
    "a float with a comma": "1,0",
    "an exponent": "1e3",
    "infinity": "inf",
    "infinity below zero": "-Infinity",
    "no number": "nan",
    "digits of Arabic": "\u0661\u0662",
    "digits with bars": "\uff11",
    "a fraction": "\u00bd",
    "a raised digit": "\u00b2",
    "a number of Rome": "\u2167",
    "a space before": " 1",
    "a space after": "1 ",
    "a new line after": "1\n",
    "a wide space": "1\u00a0",
    "a mark of direction": "\u200e1",
    "hexadecimal": "0x1",
    "octal": "0o1",
    "binary": "0b1",
    "an underscore": "1_0",
    "thousands": "1,000",
    "two signs": "--1",
    "a sign alone": "-",
    "a sign after": "1-",
    "a minus of typesetters": "\u22121",
    "a word": SECRET,
    "true": "true",
    "a list": "[1]",
    "an object": "{}",
    "quotes": '"1"',
    "an expression": "1+1",
    "another expression": "${7*7}",
    "a statement": "1; drop table licenses",
    "an inclusion": "../../etc/passwd",
}

NUMBERS = [
    *named(INPUT, {f"{what} for a product": number(text) for what, text in INTEGERS.items()}),
    *named(
        INPUT,
        {
            f"{what} for a product in JSON": members(ProductId=value)
            for what, value in {
                "a float": 1.0,
                "true": True,
                "a list": [1],
                "an object": {"a": 1},
                "one more than int32 has": 2**31,
                "minus one": -1,
                "one more than int64 has": 2**63,
                "one less than int64 has": -(2**63) - 1,
                "30 digits": 10**30,
                "4,000 digits": 10**4000,
                "a small float": 1e-300,
                "a great float": 1e300,
                "an empty list": [],
            }.items()
        },
    ),
    *named(
        INPUT,
        {
            "a count below zero": number("-1", name="FloatingTimeInterval"),
            "a count above int64": number("9223372036854775808", name="FloatingTimeInterval"),
            "fields to return above int32": number("2147483648", name="FieldsToReturn"),
            "a way to sign that is none": number("2", name="SignMethod"),
            "a way to sign with a point": number("1.0", name="SignMethod"),
            "a way to sign below zero": number("-1", name="SignMethod"),
            "a flag that is 2": number("2", name="Sign"),
            "a flag that is a word": number(SECRET, name="Sign"),
            "a flag with a space": number("true ", name="Sign"),
            "a flag of 15,000 letters": number("t" * 15_000, name="Sign"),
            "days above int32": number("2147483648", "/api/key/ExtendLicense", "NoOfDays"),
            "days below int32": number("-2147483649", "/api/key/ExtendLicense", "NoOfDays"),
            "a limit above int64": number("9223372036854775808", LOG, "Limit"),
            "a cursor below zero": number("-1", LOG, "StartingAfter"),
            "a state above int16": number("32768", LOG, "States"),
            "a state below zero": number("1,-1", LOG, "States"),
            "states with a gap": number("1,,2", LOG, "States"),
            "states with one that is not given": number("1,None", LOG, "States"),
            "states that are not given, in a list": number('["None"]', LOG, "States"),
            "101 states": number(",".join(["1"] * 101), LOG, "States"),
            "10,000 states": number(",".join(["1"] * 10_000), LOG, "States"),
            "states that are deep": number("[" * 5000 + "]" * 5000, LOG, "States"),
            "states that are no list": number("[1", LOG, "States"),
            "a list of lists of states": number("[[1]]", LOG, "States"),
            "a list of null": number("[null]", LOG, "States"),
            "a time that is a list": number("[]", LOG, "Time"),
            "a time with a bound that nobody knows": number('{"gt":1,"x":2}', LOG, "Time"),
            "a time with a bound that is an object": number('{"gt":{"gt":1}}', LOG, "Time"),
            "a time above int64": number('{"gt":9223372036854775808}', LOG, "Time"),
            "a time that is a float": number("1.5", LOG, "Time"),
            "a time that is not a number": number('{"gt":NaN}', LOG, "Time"),
            "a time that is deep": number('{"gt":' * 3000 + "1" + "}" * 3000, LOG, "Time"),
            "an order that is none": number(SECRET, LOG, "OrderBy"),
            "an order that is a statement": number("Id; drop table log", LOG, "OrderBy"),
            "an order of 15,000 spaces": number("Id" + " " * 15_000 + "x", LOG, "OrderBy"),
        },
    ),
    *named(
        NO_PRODUCT,
        {
            "zero for a product": number("0"),
            "minus zero for a product": number("-0"),
            "plus zero for a product": number("+0"),
            "the last product of all": number("2147483647"),
        },
    ),
    *named(
        GOOD,
        {
            "an interval of int64": number("9223372036854775807", name="FloatingTimeInterval"),
            "a model of the far future": number("9223372036854775807", name="ModelVersion"),
            "a model below zero": number("-9223372036854775808", name="ModelVersion"),
            "times of int64": number('{"gt":9223372036854775807,"lt":-9223372036854775808}', LOG, "Time"),
            "a cursor of int64": number("9223372036854775807", LOG, "StartingAfter"),
            "a limit of int64": number("9223372036854775807", LOG, "Limit"),
        },
    ),
    Odd("zeros before a product", GOOD, lambda given: request(GET_KEY, b"ProductId=%012d&" % given.product_id + given.form)),
    Odd(
        "a plus before a product", GOOD, lambda given: request(GET_KEY, b"ProductId=%%2B%d&" % given.product_id + given.form)
    ),
]

JSON = [
    *named(
        INPUT,
        {
            "a list": as_json(b"[]"),
            "a text": as_json(b'"secret"'),
            "a number": as_json(b"7"),
            "null": as_json(b"null"),
            "true": as_json(b"true"),
            "white space": as_json(b" \r\n\t"),
            "half an object": as_json(b'{"a":'),
            "a form": as_json(b"a=b"),
            "an object that ends twice": as_json(b"{}}"),
            "two objects": as_json(b"{}{}"),
            "lines of objects": as_json(b"{}\n{}"),
            "a comma too many": as_json(b'{"a":1,}'),
            "a comma too many in a list": as_json(b'{"a":[1,]}'),
            "a comment": as_json(b'{"a":1/* secret */}'),
            "a comment to the end": as_json(b"{} // secret"),
            "NaN": as_json(b'{"a":NaN}'),
            "infinity": as_json(b'{"a":-Infinity}'),
            "a number too great": as_json(b'{"a":1e999}'),
            "hexadecimal": as_json(b'{"a":0x1}'),
            "a zero before": as_json(b'{"a":01}'),
            "a plus before": as_json(b'{"a":+1}'),
            "a point at the end": as_json(b'{"a":1.}'),
            "single quotes": as_json(b"{'a':1}"),
            "a name without quotes": as_json(b"{a:1}"),
            "a name that is a number": as_json(b"{1:1}"),
            "a lone surrogate": as_json(b'{"a":"\\ud800"}'),
            "a lone surrogate in a name": as_json(b'{"\\udfff":1}'),
            "surrogates in the wrong order": as_json(b'{"a":"\\udc00\\ud800"}'),
            "a surrogate in UTF-8": as_json(b'{"a":"\xed\xa0\x80"}'),
            "a byte that UTF-8 has not": as_json(b'{"a":"\xff"}'),
            "an overlong quote": as_json(b'{"a":"\xc0\xa2"}'),
            "a NUL, escaped": as_json(b'{"a":"\\u0000"}'),
            "a NUL in a name, escaped": as_json(b'{"\\u0000":1}'),
            "a NUL": as_json(b'{"a":"\0"}'),
            "a NUL after it": as_json(b"{}\0"),
            "a new line in a text": as_json(b'{"a":"\n"}'),
            "a mark of UTF-8 before it": as_json(b"\xef\xbb\xbf{}"),
            "UTF-16": as_json("{}".encode("utf-16")),
            "UTF-16 that says so": as_json("{}".encode("utf-16"), type_="application/json; charset=utf-16"),
            "lists that are 5,000 deep": as_json(b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"),
            "objects that are 2,000 deep": as_json(b'{"a":' * 2000 + b"1" + b"}" * 2000),
            "a number of 5,000 digits for a product": as_json(b'{"ProductId":' + b"9" * 5000 + b"}"),
            "a float of 5,000 digits for a product": as_json(b'{"ProductId":1.' + b"9" * 5000 + b"}"),
            "a key that is a list": members(Key=["A"]),
            "a key that is a float": members(Key=1.5),
            "a key that is true": members(Key=True),
            "a key that is an object": members(Key={"Key": "A"}),
            "a flag that is a float": members(Sign=1.0),
            "a flag that is a list": members(Sign=[True]),
            "a flag that is 2": members(Sign=2),
            "a way to sign that is true": members(SignMethod=True),
            "a way to sign that is a float": members(SignMethod=1.0),
            "states with a text": members(States=[SECRET]),
            "states with null": members(States=[None]),
            "states with true": members(States=[True]),
            "states with a list": members(States=[[1]]),
            "states that are an object": members(States={"1": 1}),
            "states that are a number": members(States=1),
            "states not given, in a list": members(States=["null"]),
            "a time with a list": members(Time={"gt": [1]}),
            "a time with a float": members(Time={"gt": 1.5}),
            "a time that is a list": members(Time=[1, 2]),
            "a time that is true": members(Time=True),
        },
    ),
    *named(
        NO_TOKEN,
        {
            "a token that is a number": members(token=1),
            "a token that is a list": members(token=["1", SECRET]),
            "a token that is an object": members(token={"a": 1}),
            "a token that is true": members(token=True),
        },
    ),
    *named(
        GOOD,
        {
            "an empty object": as_json(b"{}"),
            "two members of a name": as_json(b'{"a":1,"a":2,"A":3}'),
            "members without a name": as_json(b'{"":1}'),
            "a number of 300 digits that nobody reads": as_json(b'{"a":' + b"9" * 300 + b"}"),
            "lists that are 900 deep": as_json(b'{"a":' + b"[" * 900 + b"]" * 900 + b"}"),
            "null for flags": members(Sign=None, Metadata=None),
            "a name of a method of Python": members(__class__="x", __init__={"a": 1}),
            "names that JavaScript minds": members(__proto__={"a": 1}, constructor="x"),
        },
    ),
]

MULTIPART = [
    *named(
        INPUT,
        {
            "no boundary": parts(part() + END, type_="multipart/form-data"),
            "an empty boundary": parts(part() + END, type_='multipart/form-data; boundary=""'),
            "another boundary": parts(part() + END, type_="multipart/form-data; boundary=y"),
            "a boundary in other letters": parts(part() + END, type_="multipart/form-data; boundary=X"),
            "a boundary of a codec that fails": parts(part() + END, type_="multipart/form-data; boundary*=idna''x"),
            "a boundary in pieces that do not fit": parts(
                part() + END, type_="multipart/form-data; boundary*=x; boundary*0=y"
            ),
            "a boundary with a quote that stays open": parts(part() + END, type_='multipart/form-data; boundary="x'),
            "a boundary of 4,000 bytes": parts(part() + END, type_="multipart/form-data; boundary=" + "x" * 4000),
            "no end": parts(part()),
            "half an end": parts(part() + b"--x-"),
            "nothing": parts(b"secret"),
            "an end within a line": parts(part() + b"secret" + END),
            "parts within a part": parts(
                part(b"", b"form-data; name=a", b"Content-Type: multipart/mixed; boundary=x\r\n") * 40
            ),
            "a file": parts(part(disposition=b'form-data; name="a"; filename="secret"') + END),
            "a file without a name": parts(part(disposition=b'form-data; name="a"; filename=""') + END),
            "a file in another spelling": parts(part(disposition=b"form-data; name=a; FileName*=utf-8''secret") + END),
            "a file of a codec that fails": parts(part(disposition=b"form-data; name=a; filename*=idna''x") + END),
            "a file of a codec with a NUL": parts(part(disposition=b"form-data; name=a; filename*=a\0b''x") + END),
            "a file in pieces": parts(part(disposition=b"form-data; name=a; filename*0=a; filename*1=b") + END),
            "65 parts": parts(part() * 65 + END),
            "a part without a name": parts(part(disposition=b"form-data") + END),
            "a part with an empty name": parts(part(disposition=b'form-data; name=""') + END),
            "a part with a name of a codec": parts(part(disposition=b"form-data; name*=utf-8''a") + END),
            "a part without headers": parts(b"--x\r\n\r\nsecret\r\n" + END),
            "a part that is empty": parts(b"--x\r\n" + END),
            "a part with a header that never ends": parts(b"--x\r\n" + b"a" * 60_000 + b"\r\n" + END),
            "a part of 12,000 headers": parts(b"--x\r\n" + b"a:b\r\n" * 12_000 + b"\r\nv\r\n" + END),
            "a part with 60,000 marks in its name": parts(
                part(disposition=b'form-data; name="' + b";" * 60_000 + b'"') + END
            ),
            "a part with 20,000 parameters": parts(part(disposition=b"form-data; name=a" + b";a=" * 20_000) + END),
            "a part with 14,000 open quotes": parts(part(disposition=b"form-data; name=a" + b';a="' * 14_000) + END),
            "bytes that are no text": parts(part(bytes(range(256))) + END),
            "a byte that UTF-8 has not": parts(part(b"\xff") + END),
            "a byte that UTF-8 has not, in a name": parts(part(disposition=b'form-data; name="\xff"') + END),
            "a NUL": parts(part(b"a\0b") + END),
            "a NUL in a name": parts(part(disposition=b'form-data; name="a\0b"') + END),
            "lines that end otherwise": parts((part() + END).replace(b"\r\n", b"\n")),
            "12,000 boundaries": parts(b"--x\r\n" * 12_000),
            "a multipart form that is compressed badly": beside(
                part() + END, UNBLOCK_KEY, Content_Type="multipart/form-data; boundary=x", Content_Encoding="gzip"
            ),
            "a multipart form where none is read": parts(part() + END, GET_KEY),
            "a multipart form in UTF-16": parts(part() + END, type_="multipart/form-data; boundary=x; charset=utf-16"),
            "a wrong product in a part": parts(part(SECRET.encode(), b'form-data; name="ProductId"') + END),
        },
    ),
    *named(
        GOOD,
        {
            "a part with a parameter of 5,000 digits": parts(
                part(disposition=b"form-data; name=a; z*" + b"1" * 5000 + b"=x") + END
            ),
            "a part with a parameter in pieces that do not fit": parts(
                part(disposition=b"form-data; name=a; z*=1; z*0=2") + END
            ),
            "a part with two dispositions": parts(
                part(more=b"Content-Disposition: form-data; name=b; filename=c\r\n") + END
            ),
            "something before and after the parts": parts(b"secret\r\n" + part() + END + b"secret"),
            "64 parts": parts(part() * 64 + END),
            "no parts at all": parts(END),
            "a multipart form of another kind": parts(b"a=b", GET_KEY, "multipart/mixed; boundary=x"),
        },
    ),
]

CHUNKS = [
    *named(
        BROKEN,
        {
            "a size that is a word": in_chunks(lambda _: b"secret\r\na=b\r\n0\r\n\r\n"),
            "a size below zero": in_chunks(lambda _: b"-1\r\na\r\n0\r\n\r\n"),
            "a size with a sign": in_chunks(lambda _: b"+1\r\na\r\n0\r\n\r\n"),
            "a size in hexadecimal, with its mark": in_chunks(lambda _: b"0x1\r\na\r\n0\r\n\r\n"),
            "a size of nothing": in_chunks(lambda _: b"\r\na\r\n0\r\n\r\n"),
            "a size with a space before": in_chunks(lambda _: b" 1\r\na\r\n0\r\n\r\n"),
            "a size above all": in_chunks(lambda _: b"fffffffffffffffff\r\na\r\n0\r\n\r\n"),
            "a size of 5,000 digits": in_chunks(lambda _: b"1" * 5000 + b"\r\na\r\n0\r\n\r\n"),
            "a size that ends with a line feed only": in_chunks(lambda _: b"1\na\r\n0\r\n\r\n"),
            "a chunk longer than its size": in_chunks(lambda _: b"3\r\nsecret\r\n0\r\n\r\n"),
            "a chunk without its end": in_chunks(lambda plain: chunked(plain).replace(b"\r\n0", b"0", 1)),
            "chunks and lengths": header("Transfer-Encoding: chunked"),
            "chunks that are encoded afterwards": in_chunks(chunked, "chunked, gzip"),
            "chunks of chunks": in_chunks(chunked, "chunked, chunked"),
            "an encoding of the transfer that is none": post(Transfer_Encoding="identity"),
            "gzip as the encoding of the transfer": post(Transfer_Encoding="gzip"),
            "an encoding like chunked": in_chunks(chunked, "xchunked"),
            "chunked in quotes": in_chunks(chunked, '"chunked"'),
            "two encodings of the transfer": in_chunks(chunked, "chunked\r\nTransfer-Encoding: identity"),
            "an extension with a NUL, of 5,000 bytes": in_chunks(lambda _: b"1;" + b"x" * 5000 + b"\0"),
            "a trailer that is a length": in_chunks(lambda plain: chunked(plain)[:-2] + b"Content-Length: 5\r\n\r\n"),
            "a trailer that is none": in_chunks(lambda plain: chunked(plain)[:-2] + b"secret\r\n\r\n"),
            "chunks in HTTP/1.0 with a length": lambda given: request(
                GET_KEY, given.form, Transfer_Encoding="chunked", Content_Length="5"
            ).replace(b"HTTP/1.1", b"HTTP/1.0"),
        },
    ),
    *named(
        GOOD,
        {
            "extensions": in_chunks(lambda plain: chunked(plain).replace(b"\r\n", b";secret=1;b='c'\r\n", 1)),
            "trailers": in_chunks(lambda plain: chunked(plain)[:-2] + b"X: secret\r\nY: z\r\n\r\n"),
            "a size with zeros before": in_chunks(lambda plain: b"0" * 100 + chunked(plain)),
            "chunked in capitals": in_chunks(chunked, "CHUNKED"),
            "chunks of one byte": in_chunks(lambda plain: chunked(*(plain[each : each + 1] for each in range(len(plain))))),
            "gzip and chunked, which is not gzip": in_chunks(chunked, "gzip, chunked"),
        },
    ),
    Odd("chunks that end before their end", CLOSED, in_chunks(lambda plain: chunked(plain)[:-5]), leaves=True),
    Odd("a chunk that ends before its size", CLOSED, in_chunks(lambda plain: b"fff\r\n" + plain), leaves=True),
    Odd("a chunk of 2^60 bytes", CLOSED, in_chunks(lambda plain: b"fffffffffffffff\r\n" + plain), leaves=True),
]

HEADERS = [
    *named(
        BROKEN,
        {
            "a NUL": header("X: a\0b"),
            "a NUL in a name": header("X\0: secret"),
            "a line that is folded": header("X: a\r\n secret"),
            "a first line that is folded": header(" X: secret"),
            "no colon": header("secret"),
            "a space before the colon": header("X : secret"),
            "a tab before the colon": header("X\t: secret"),
            "no name": header(": secret"),
            "a name with brackets": header("X(a): secret"),
            "a name with bytes": header("X\xff: secret"),
            "a carriage return alone": header("X: a\rsecret: b"),
            "a control in a value": header("X: a\x01b"),
            "DEL in a value": header("X: a\x7fb"),
            "two hosts": header("Host: a"),
            "no host": lambda given: request(GET_KEY, given.form).replace(b"Host", b"Most"),
            "two types": header("Content-Type: application/json"),
            "a socket of the web of long ago": header("Sec-WebSocket-Key1: secret"),
            "a header that ends with a line feed only": lambda given: request(GET_KEY, given.form).replace(b"\r\n", b"\n"),
        },
    ),
    *named(
        GOOD,
        {
            "bytes in a value": header("X: \xff\xfe\x80"),
            "an empty value": header("X:"),
            "the same header 100 times": header("\r\n".join(["X: secret"] * 100)),
            "an expectation that nobody knows": header(f"Expect: {SECRET}"),
            "an expectation of bytes": header("Expect: \xff"),
            "an empty host": lambda given: request(GET_KEY, given.form).replace(b"keyturn.test", b""),
            "a host that is none": lambda given: request(GET_KEY, given.form).replace(b"keyturn.test", b"<secret>:99999999"),
            "an upgrade to sockets of the web": header("Connection: Upgrade\r\nUpgrade: websocket"),
            "an upgrade to HTTP/2": header(
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk"
            ),
            "an upgrade to nothing known": header(f"Connection: Upgrade\r\nUpgrade: {SECRET}"),
            "a connection to be treated in a way that nobody knows": header(f"Connection: {SECRET}"),
            "a keep-alive of ages": header("Keep-Alive: timeout=999999999, max=-1"),
            "a range": header("Range: bytes=0-0,-1"),
            "conditions": header("If-None-Match: *\r\nIf-Modified-Since: secret"),
            "cookies": header("Cookie: " + "secret=secret; " * 400),
            "an origin": header("Origin: null\r\nReferer: javascript:secret"),
            "another method in a header": header("X-HTTP-Method-Override: DELETE"),
            "another path in a header": header("X-Original-URL: /metrics\r\nX-Rewrite-URL: /metrics"),
            "an address that is none": header("X-Forwarded-For: secret, ::1, 127.0.0.1"),
            "a language": header("Accept-Language: ../../secret\r\nAccept: */*;q=nan\r\nAccept-Encoding: gzip;q=1e999"),
            "two tokens": header("Authorization: Bearer secret\r\nAuthorization: Basic secret"),
            "lines before the first": lambda given: b"\r\n\r\n" + request(GET_KEY, given.form),
        },
    ),
    *named(
        last(GOOD),
        {
            "a connection to be closed": header("Connection: close"),
            "a connection to be kept and closed": header("Connection: keep-alive, close"),
            "a connection of many words": header("Connection: close, " + "x, " * 500),
            "HTTP/1.0": version("HTTP/1.0"),
            "a protocol that is much like it": version("RTSP/1.0"),
        },
    ),
]

VERSIONS = [
    *named(
        BROKEN,
        {
            "HTTP/2 without asking": raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
            "HTTP/9.9": version("HTTP/9.9"),
            "HTTP/1.2": version("HTTP/1.2"),
            "HTTP/1": version("HTTP/1"),
            "HTTP/1.10": version("HTTP/1.10"),
            "HTTP/-1.1": version("HTTP/-1.1"),
            "http/1.1": version("http/1.1"),
            "no version": version("HTTP/"),
            "a word": version(SECRET),
            "TLS": raw(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03secret"),
            "SSH": raw(b"SSH-2.0-secret\r\n"),
            "SMTP": raw(b"EHLO secret\r\n"),
            "a proxy's own line": raw(b"PROXY TCP4 203.0.113.7 127.0.0.1 1 2\r\n"),
            "a database": raw(b"\0\0\0\x08\x04\xd2\x16\x2f"),
            "a Redis": raw(b"*1\r\n$4\r\nPING\r\n"),
            "noise": raw(bytes(range(256)) * 16),
            "a space before the verb": line(f" GET {GET_KEY} HTTP/1.1"),
            "a tab for a space": line(f"GET\t{GET_KEY} HTTP/1.1"),
            "a space in the path": line(f"GET {GET_KEY} secret HTTP/1.1"),
            "a verb alone": line("GET"),
            "a path alone": line(GET_KEY),
            "no path": line("GET HTTP/1.1"),
            "a carriage return in the line": line(f"GET {GET_KEY}\r HTTP/1.1"),
        },
    ),
    *named(
        last(NO_TOKEN),
        {
            "HTTP/0.9": raw(f"GET {GET_KEY}\r\n\r\n".encode()),
            "HTTP/0.9 that says so": line(f"GET {GET_KEY} HTTP/0.9"),
        },
    ),
]

VERBS = [
    *named(
        NO_VERB,
        {
            f"{name}": verb(name)
            for name in (
                "PUT",
                "DELETE",
                "PATCH",
                "TRACE",
                "HEAD",
                "OPTIONS",
                "PROPFIND",
                "PURGE",
                "MKCOL",
                "SEARCH",
                "LINK",
                "M-SEARCH",
                "SUBSCRIBE",
                "SOURCE",
                "REPORT",
                "QUERY",
            )
        },
    ),
    *named(NO_VERB, {"OPTIONS of all": line("OPTIONS * HTTP/1.1"), "PUT of nothing known": verb("PUT", f"/{SECRET}")}),
    *named(
        NO_VERB, {"CONNECT": line(f"CONNECT {GET_KEY} HTTP/1.1"), "CONNECT to a port": line("CONNECT a.test:443 HTTP/1.1")}
    ),
    *named(
        BROKEN,
        {
            "a verb in small letters": verb("get"),
            "a verb in mixed letters": verb("Post"),
            "a verb that is a word": verb("SECRET"),
            "a verb that nearly is one": verb("POSTS"),
            "a verb of 9,000 letters": verb("A" * 9000),
            "an empty verb": line(f" {GET_KEY} HTTP/1.1"),
            "a verb with a NUL": verb("GET\0"),
            "a verb with bytes": verb("P\xd6ST"),
            "CONNECT to a port that is none": line("CONNECT a.test:secret HTTP/1.1"),
            "CONNECT to bytes": line("CONNECT \xff HTTP/1.1"),
            "GET of all": line("GET * HTTP/1.1"),
        },
    ),
    Odd("a GET with a body", GOOD, lambda given: request(GET_KEY, given.form, "GET")),
]

PATHS = [
    *named(
        NO_METHOD,
        {
            f"{path[:50]} ({len(path)})": at(path)
            for path in (
                "/",
                "//",
                "/api",
                "/api/",
                "/api/key",
                "/api/key/",
                "/api/key/GetKey/x",
                "/api/key/GetKey/..",
                "/api/./key/GetKey",
                "/x/../api/key/GetKey",
                "/api/../api/key/GetKey",
                "/api%2fkey%2fGetKey",
                "/api/key%2FGetKey",
                "/api/key/GetKey%00",
                "/api/key/Get%4Bey",
                "/api/key/GetKey%20",
                "/api/key/GetKey;a=b",
                "/api;x/key/GetKey",
                "/api/key\\GetKey",
                "/api\\key\\GetKey",
                "/api/key/GetKey.json",
                "/api/key/GetKey#secret",
                "/api/key/GetKey:secret",
                "/api/key/GetKey&a=b",
                "/api/key/__class__",
                "/api/__init__/__new__",
                "/..%2f..%2f..%2fetc%2fpasswd",
                "/../../../etc/passwd",
                "/%2e%2e/api/key/GetKey",
                "/api/key/%",
                "/api/key/%zz",
                "/api/key/%ED%A0%80",
                "/api/key/%FF",
                "/api/key/GetKey%E2%80%8B",
                "/http://a.test/api/key/GetKey",
                "/metrics",
                "/healthz",
                "/.git/config",
                "/.env",
                "/wp-login.php",
                "/api/key/" + "x" * 7000,
                "/" * 7000,
                "/a" * 3500,
                "/api/" + "../" * 2000 + "key/GetKey",
                "http://keyturn.test/api/key/GetKey",
            )
        },
    ),
    *named(
        GOOD,
        {
            f"{path[:50]} ({len(path)})": at(path)
            for path in (
                "//api//key//GetKey//",
                "/API/KEY/GETKEY",
                "/api/key/GetKey?",
                "/api/key/GetKey?&&&",
                "/api/key/GetKey?=",
                "/api/key/GetKey??a=b",
                "/api/key/GetKey?a=/../../x",
                "/" * 4000 + "api/key/GetKey",
            )
        },
    ),
    *named(
        BROKEN,
        {
            "a path with a NUL": line("GET /\0 HTTP/1.1"),
            "a path that becomes a method in small letters": at("/api/\N{KELVIN SIGN}ey/GetKey"),
            "a path with bytes": line(f"GET {GET_KEY}\xff HTTP/1.1"),
            "a query with bytes": line(f"GET {GET_KEY}?a=\xff HTTP/1.1"),
            "a path without its slash": line("GET api/key/GetKey HTTP/1.1"),
            "an address with a port that is none": line("GET http://a.test:secret/api/key/GetKey HTTP/1.1"),
            "an address with half a bracket": line("GET http://[::1/api/key/GetKey HTTP/1.1"),
            "a path with a control": line("GET /\x01 HTTP/1.1"),
            "a query with a tab": line(f"GET {GET_KEY}?a=\tb HTTP/1.1"),
        },
    ),
    *named(
        NO_TOKEN,
        {
            "two spaces before the path": line(f"GET  {GET_KEY} HTTP/1.1"),
            "a query of nothing but marks": line(f"GET {GET_KEY}?&=&&==&%&;;?? HTTP/1.1"),
            "a token in the path's user": raw(request(GET_KEY, b"token=" + SECRET.encode())),
            "a token with a statement": raw(request(GET_KEY, b"token=' or 1=1 --")),
            "a token with a template": raw(request(GET_KEY, b"token={{7*7}}${jndi:ldap://secret}")),
        },
    ),
]

GROUPS = {
    "encodings": ENCODINGS,
    "sizes": SIZES,
    "lengths": LENGTHS,
    "numbers": NUMBERS,
    "JSON": JSON,
    "multipart": MULTIPART,
    "chunks": CHUNKS,
    "headers": HEADERS,
    "versions": VERSIONS,
    "verbs": VERBS,
    "paths": PATHS,
}

ODDITIES = {f"{group}: {odd.what}": odd for group, odds in GROUPS.items() for odd in odds}
assert len(ODDITIES) == sum(map(len, GROUPS.values())), "two rows of one name"
