"""The edges of HTTP: paths, verbs, bodies, broken requests, connections. What the server refuses itself, and how."""

import asyncio
import gzip
import json
import tracemalloc
import zlib
from urllib.parse import quote, urlencode

import pytest
from lines import FORM, Answered, ask, chunked, line_to, request
from office import AUTHENTICATE, DONE, INPUT, Office, Shop, refused, unknown_token
from servers import Live, until

from server import edges, http
from server.methods import METHODS, Method

NO_METHOD = refused("The method could not be found.")
TOO_LARGE = refused("The request is too large.")
COLD = [method for method in METHODS if method.multipart]
HOT = [method for method in METHODS if not method.multipart]


def name_of(method: Method) -> str:
    return method.path


@pytest.fixture
async def key(shop: Shop) -> str:
    return await shop.new_key(MaxNoOfMachines=1)


@pytest.fixture
def form(shop: Shop, key: str) -> bytes:
    """What GetKey and Activate want."""
    return urlencode({"token": shop.office.token, "ProductId": shop.id, "Key": key}).encode()


def good(answer: Answered) -> bool:
    return (answer.status, answer.json["result"], answer.json["message"]) == (200, 0, "")


# ---- paths and verbs


@pytest.mark.parametrize("path", [
    "/", "/api", "/api/", "/api/key", "/api/key/Nothing", "/api/key/Activate/x", "/key/Activate", "/apikey/Activate",
    "/api/key/Activ%61te", "/api%2fkey%2fActivate", "/metrics", "/healthz", "/readyz", "/favicon.ico", "/..//api/key",
])  # fmt: skip
async def test_an_unknown_path_is_answered_with_the_envelope(live: Live, path: str) -> None:
    for data in (request(path), request(path, b"a=b"), request(f"{path}?token=x")):
        answer = await ask(live.url, data)
        assert (answer.status, answer.json) == (404, NO_METHOD)


@pytest.mark.parametrize("path", [
    "/api//key/getkey/", "//api//key/getkey/", "/api/key/GetKey", "/api//KEY/GetKey", "//api/key/GetKey",
    "/API/Key/GETKEY///",
])  # fmt: skip
async def test_every_spelling_of_a_path_that_sdks_send_is_the_method(live: Live, form: bytes, path: str) -> None:
    assert good(await ask(live.url, request(path, form)))
    assert good(await ask(live.url, request(f"{path}?{form.decode()}")))


@pytest.mark.parametrize("verb", ["PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"])
async def test_other_verbs_are_refused_with_the_envelope(live: Live, form: bytes, verb: str) -> None:
    for path in ("/api/key/GetKey", "/nothing"):
        answer = await ask(live.url, request(path, form, verb))
        assert (answer.status, answer.json, answer.headers["allow"]) == (405, NO_METHOD, "GET, POST")


@pytest.mark.parametrize("verb", ["HEAD", "OPTIONS"])
async def test_head_and_options_are_refused_without_a_body(live: Live, form: bytes, verb: str) -> None:
    async with line_to(live.url) as line:
        await line.send(request("/api/key/GetKey", verb=verb) + request("/api/key/GetKey", form, Connection="close"))
        answer = await line.answer(without_body=True)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, POST")
        assert answer.headers.get("content-length", "0") == "0"
        assert good(await line.answer())


# ---- parameters


async def test_query_and_body_are_one_and_the_body_wins(live: Live, shop: Shop, key: str) -> None:
    query = urlencode({"token": shop.office.token, "key": "WRONG", "PRODUCTID": shop.id})
    assert good(await ask(live.url, request(f"/api/key/GetKey?{query}", urlencode({"Key": key}).encode())))
    wrong = urlencode({"Key": "WRONG"}).encode()
    query = query.replace("WRONG", key)
    assert (await ask(live.url, request(f"/api/key/GetKey?{query}", wrong))).json == refused("Could not find the key.")
    assert good(await ask(live.url, request(f"/api/key/GetKey?{query}")))
    assert good(await ask(live.url, request(f"/api/key/GetKey?{query}", b"")))


async def test_of_a_name_that_is_repeated_the_first_value_counts_in_any_case(live: Live, form: bytes) -> None:
    assert good(await ask(live.url, request("/api/key/GetKey", form + b"&key=WRONG&KEY=&ProductId=1&token=x")))
    assert (await ask(live.url, request("/api/key/GetKey", b"token=x&" + form))).json == refused(AUTHENTICATE)


async def test_n8n_sends_json_for_its_type_and_nothing_in_the_body(live: Live, form: bytes) -> None:
    headers = {"Content_Type": "application/json", "token": "of n8n"}
    assert good(await ask(live.url, request(f"/api/key/GetKey?{form.decode()}", **headers)))
    assert good(await ask(live.url, request(f"/api/key/GetKey?{form.decode()}", b"", **headers)))


@pytest.mark.parametrize("broken", [b"a=%00", b"Key=a\0b", b"%00=a", b"a=\xff\xfe", b"a=%ff", b"&".join([b"a=b"] * 201)],
                         ids=range(6))  # fmt: skip
async def test_a_form_that_is_none_is_bad_input(live: Live, form: bytes, broken: bytes) -> None:
    answer = await ask(live.url, request("/api/key/GetKey", form + b"&" + broken))
    assert (answer.status, answer.json) == (200, refused(INPUT))


async def test_a_form_of_the_c_sdk_is_not_escaped(live: Live, shop: Shop, key: str) -> None:
    raw = f"token={shop.office.token}&ProductId={shop.id}&Key={key}&MachineCode=a=b/c%zz\N{SNOWMAN}".encode()
    assert good(await ask(live.url, request("/api/key/Activate", raw)))
    assert (await shop.log(key))[-1]["machineCode"] == "a=b/c%zz\N{SNOWMAN}"


@pytest.mark.parametrize(
    "type_", ["", FORM + "; charset=UTF-8", FORM + "; charset=utf8", FORM + ';charset="Utf-8"', "text/plain"]
)
async def test_a_body_is_a_form_unless_it_says_what_else(live: Live, form: bytes, type_: str) -> None:
    assert good(await ask(live.url, request("/api/key/GetKey", form, Content_Type=type_)))


@pytest.mark.parametrize("headers", [
    {"Content_Type": f"{FORM}; charset=latin-1"}, {"Content_Type": f"{FORM}; charset=utf-16"},
    {"Content_Type": "application/json; charset=x"}, {"Content_Encoding": "br"}, {"Content_Encoding": "zstd"},
    {"Content_Encoding": "gzip, gzip"}, {"Content_Encoding": "compress"}, {"Content_Encoding": "gzip"},
    {"Content_Encoding": "deflate"},
], ids=str)  # fmt: skip
async def test_a_body_that_cannot_be_read_is_bad_input_and_the_connection_goes_on(
    live: Live, form: bytes, headers: dict
) -> None:
    async with line_to(live.url) as line:
        await line.send(request("/api/key/GetKey", form, **headers) + request("/api/key/GetKey", form))
        answer = await line.answer()
        assert (answer.status, answer.json) == (200, refused(INPUT))
        assert good(await line.answer())


# ---- JSON


async def test_a_flat_json_object_is_as_good_as_a_form(live: Live, shop: Shop, key: str) -> None:
    asked = {"TOKEN": shop.office.token, "productId": shop.id, "Key": f" {key.lower()}", "MachineCode": 77, "sign": True,
             "SignMethod": 1, "FriendlyName": None, "Unknown": {"a": [1]}}  # fmt: skip
    answer = await ask(live.url, request("/api/key/Activate", json.dumps(asked).encode(), Content_Type="application/json"))
    assert shop.document(answer.json)["ActivatedMachines"][0]["Mid"] == "77"


@pytest.mark.parametrize("broken", [
    b"[]", b'"text"', b"null", b"{", b'{"a":NaN}', b"\xff", b'{"a":"\\ud800"}', b'{"a":"\\u0000"}', b'{"a":1}x', b"[" * 5000,
    b'{"Key":' * 2000 + b"1" + b"}" * 2000, b'{"ProductId":1e999}',
    b"{" + b",".join(b'"%d":1' % n for n in range(201)) + b"}",
    b'{"ProductId":' + b"9" * 5000 + b"}",
], ids=range(14))  # fmt: skip
async def test_json_that_is_no_flat_object_is_bad_input(live: Live, form: bytes, broken: bytes) -> None:
    query = form.decode()
    answer = await ask(live.url, request(f"/api/key/GetKey?{query}", broken, Content_Type="application/json"))
    assert (answer.status, answer.json) == (200, refused(INPUT))


@pytest.mark.parametrize("value", [True, 1.5, [1], {"a": 1}, "x"])
async def test_a_json_value_of_the_wrong_kind_is_bad_input(live: Live, shop: Shop, key: str, value: object) -> None:
    asked = {"token": shop.office.token, "ProductId": value, "Key": key}
    answer = await ask(live.url, request("/api/key/GetKey", json.dumps(asked).encode(), Content_Type="application/json"))
    assert (answer.status, answer.json) == (200, refused(INPUT))


# ---- multipart


def multipart(fields: dict[str, bytes], *, disposition: str = "", boundary: bytes = b"of-a-test") -> bytes:
    parts = b"".join(
        b'--%b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
        % (boundary, name.encode(), disposition.encode(), value)
        for name, value in fields.items()
    )
    return parts + b"--%b--\r\n" % boundary


MULTIPART = {"Content_Type": "multipart/form-data; boundary=of-a-test"}


@pytest.mark.parametrize("method", METHODS, ids=name_of)
async def test_multipart_is_read_where_the_table_says_so_and_elsewhere_bad_input(
    live: Live, office: Office, method: Method
) -> None:
    fields = {"token": unknown_token(office.token).encode()}
    answer = await ask(live.url, request(f"/api/{method.path}", multipart(fields), **MULTIPART))
    assert answer.status == 200
    assert answer.json["message"] == (AUTHENTICATE if method.multipart else INPUT)


async def test_a_multipart_form_keeps_its_texts_and_may_be_chunked_or_compressed(live: Live, shop: Shop) -> None:
    fields = {"token": shop.office.token.encode(), "ProductId": str(shop.id).encode(), "Notes": "line\r\n--of\n\tä".encode()}
    body = multipart(fields) + b"epilogue"
    for data in (
        request("/api/key/CreateKey", b"preamble\r\n" + body, **MULTIPART),
        request("/api/key/CreateKey", chunked(body[:50], body[50:]), Transfer_Encoding="chunked", **MULTIPART),
        request("/api/key/CreateKey", gzip.compress(body), Content_Encoding="gzip", **MULTIPART),
        request(
            "/api/key/CreateKey", multipart(fields, boundary=b"x y"), Content_Type='Multipart/Form-Data; boundary="x y"'
        ),
    ):
        answer = await ask(live.url, data)
        assert (await shop.show(answer.json["key"]))["Notes"] == "line\r\n--of\n\tä"


async def test_sixty_four_parts_are_read_and_no_more(live: Live, shop: Shop) -> None:
    fields = {"token": shop.office.token.encode(), "ProductId": str(shop.id).encode()}
    fields |= {f"extra{number}": b"" for number in range(62)}
    assert (await ask(live.url, request("/api/key/CreateKey", multipart(fields), **MULTIPART))).json["message"] == ""
    fields["one more"] = b""
    assert (await ask(live.url, request("/api/key/CreateKey", multipart(fields), **MULTIPART))).json == refused(INPUT)


NESTED = b"".join(b'--of-a-test\r\nContent-Type: multipart/mixed; boundary="of-a-test"\r\n\r\n' for _ in range(60))


@pytest.mark.parametrize(("type_", "body"), [
    ("multipart/form-data", multipart({"a": b"b"})),
    ("multipart/form-data; boundary=", multipart({"a": b"b"})),
    ("multipart/form-data; boundary=\N{SNOWMAN}", multipart({"a": b"b"})),
    ("multipart/form-data; boundary=other", multipart({"a": b"b"})),
    ("multipart/form-data; boundary=of-a-test", multipart({"a": b"b"})[:-6]),
    ("multipart/form-data; boundary=of-a-test", multipart({"a": b"b"}, disposition='; filename="x"')),
    ("multipart/form-data; boundary=of-a-test", multipart({"a": b"b\0"})),
    ("multipart/form-data; boundary=of-a-test", multipart({"a": b"\xff"})),
    ("multipart/form-data; boundary=of-a-test", multipart({"": b"b"})),
    ("multipart/form-data; boundary=of-a-test", b"--of-a-test\r\n\r\nb\r\n--of-a-test--\r\n"),
    ("multipart/form-data; boundary=of-a-test", b"--of-a-test\r\nContent-Disposition: x\r\n--of-a-test--\r\n"),
    ("multipart/form-data; boundary=of-a-test", NESTED + b"--of-a-test--"),
    ("multipart/form-data; boundary=of-a-test", b"--of-a-test\r\n" * 4000),
    ("multipart/form-data; boundary=of-a-test", b"--of-a-test\r\n\r\n\r\n" * 3000 + b"--of-a-test--"),
    ("multipart/form-data; boundary=of-a-test", b"x"),
], ids=range(15))  # fmt: skip
async def test_a_multipart_form_that_is_none_is_bad_input(live: Live, shop: Shop, type_: str, body: bytes) -> None:
    query = urlencode({"token": shop.office.token, "ProductId": shop.id})
    answer = await ask(
        live.url, request(f"/api/key/CreateKey?{query}", chunked(body), Content_Type=type_, Transfer_Encoding="chunked")
    )
    assert (answer.status, answer.json) == (200, refused(INPUT))


# ---- sizes


def padded(form: bytes, size: int) -> bytes:
    return form + b"&Pad=" + b"x" * (size - len(form) - 5)


@pytest.mark.parametrize("method", METHODS, ids=name_of)
async def test_a_body_may_be_as_large_as_the_table_says_and_no_larger(live: Live, form: bytes, method: Method) -> None:
    path = f"/api/{method.path}"
    for size, status in ((method.body, 200), (method.body + 1, 413)):
        body = padded(form, size)
        for data in (
            request(path, body),
            request(path, chunked(body[:1000], body[1000:]), Transfer_Encoding="chunked"),
            request(path, gzip.compress(body), Content_Encoding="gzip"),
        ):
            answer = await ask(live.url, data)
            assert answer.status == status
            assert status == 200 or answer.json == TOO_LARGE


def raw_deflate(body: bytes) -> bytes:
    squeeze = zlib.compressobj(wbits=-15)
    return squeeze.compress(body) + squeeze.flush()


@pytest.mark.parametrize(("encoding", "compress"), [
    ("gzip", gzip.compress), ("GZIP", gzip.compress), ("x-gzip", gzip.compress), ("deflate", zlib.compress),
    ("deflate", raw_deflate),    ("identity", bytes),
])  # fmt: skip
async def test_a_compressed_body_is_read_and_a_bomb_is_too_large(live: Live, form: bytes, encoding: str, compress) -> None:  # noqa: ANN001
    assert good(await ask(live.url, request("/api/key/GetKey", compress(form), Content_Encoding=encoding)))
    bomb = compress(b"\0" * 10_000_000)
    answer = await ask(live.url, request("/api/key/GetKey", bomb[:10_000_000], Content_Encoding=encoding))
    assert (answer.status, answer.json) == (413, TOO_LARGE)
    if encoding != "identity":
        assert len(bomb) < 16 * 1024
        for broken in (compress(form)[:-1], compress(form) + b"x", compress(form)[:9] + b"zz" + compress(form)[11:], b""):
            answer = await ask(live.url, request("/api/key/GetKey", chunked(broken or b"x"), Content_Encoding=encoding,
                                                 Transfer_Encoding="chunked"))  # fmt: skip
            assert (answer.status, answer.json) == (200, refused(INPUT))


def test_a_bomb_is_not_unpacked_beyond_the_bound() -> None:
    bomb = gzip.compress(b"\0" * 15_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(edges.TooLarge):
            http._inflated(bomb, "gzip", 16 * 1024)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


async def test_a_body_without_end_is_refused_at_its_bound_and_cut(live: Live) -> None:
    async with line_to(live.url) as line:
        await line.send(request("/api/key/GetKey", b"", Transfer_Encoding="chunked"))
        for _ in range(17):
            await line.send(b"400\r\n" + b"x" * 1024 + b"\r\n")
        answer = await line.answer()
        assert (answer.status, answer.json, answer.headers["connection"]) == (413, TOO_LARGE, "close")
        assert await line.ended() == b""


async def test_a_query_is_bound_by_the_line_it_stands_in(live: Live, form: bytes) -> None:
    assert good(await ask(live.url, request(f"/api/key/GetKey?{padded(form, 8000).decode()}")))
    async with line_to(live.url) as line:
        await line.send(request(f"/api/key/GetKey?{padded(form, 9000).decode()}"))
        answer = await line.answer()
        assert (answer.status, answer.json) == (400, refused(INPUT))
        assert await line.ended() == b""


# ---- broken HTTP


BROKEN = [
    b"nonsense\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03secret",
    b"GET /api/key/GetKey?token=secret HTTP/9.9\r\n\r\n",
    b"GET /secret secret HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /secret HTTP/1.1\r\nHost: x\r\nsecret\r\n\r\n", b"GET /secret HTTP/1.1\r\nsecret: a\0b\r\n\r\n",
    b"GET /secret HTTP/1.1\r\n secret: folded\r\n\r\n", b"GET /secret HTTP/1.1\r\nX: " + b"secret" * 2000 + b"\r\n\r\n",
    b"GET /secret HTTP/1.1\r\n" + b"X: secret\r\n" * 200 + b"\r\n", b"GET /secret\0 HTTP/1.1\r\nHost: x\r\n\r\n",
    request("/api/key/GetKey", b"secret", Content_Length="secret"),
    request("/api/key/GetKey", b"secret", Content_Length="-6"),
    request("/api/key/GetKey", b"secret", Content_Length="6", **{"content-length": "5"}),
    request("/api/key/GetKey", chunked(b"secret"), Content_Length="6", Transfer_Encoding="chunked"),
    request("/api/key/GetKey", b"secret\r\nsecret", Transfer_Encoding="chunked"),
    request("/api/key/GetKey", b"6\r\nsecretsecret\r\n0\r\n\r\n", Transfer_Encoding="chunked"),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]  # fmt: skip


@pytest.mark.parametrize("data", BROKEN, ids=range(len(BROKEN)))
async def test_what_is_no_http_is_told_so_without_being_quoted_and_cut(live: Live, data: bytes) -> None:
    async with line_to(live.url) as line:
        await line.send(data)
        answer = await line.answer()
        assert (answer.status, answer.json) == (400, refused(INPUT))
        assert "secret" not in str(answer.headers)
        assert await line.ended() == b""


async def test_what_follows_a_broken_request_is_not_looked_at(live: Live, shop: Shop, key: str, form: bytes) -> None:
    async with line_to(live.url) as line:
        await line.send(b"nonsense\r\n\r\n" + request("/api/key/Activate", form))
        assert (await line.answer()).status == 400
        assert await line.ended() == b""
    assert await shop.states(key) == []


# ---- connections


async def test_a_client_that_asks_first_is_told_to_go_on(live: Live, form: bytes) -> None:
    async with line_to(live.url) as line:
        for _ in range(2):
            await line.send(request("/api/key/GetKey", form, Expect="100-continue")[: -len(form)])
            assert await line.head() == (100, {})
            await line.send(form)
            assert good(await line.answer())


async def test_a_client_that_asks_first_is_spared_a_body_that_is_too_large(live: Live) -> None:
    async with line_to(live.url) as line:
        await line.send(request("/api/key/GetKey", b"", Expect="100-Continue", Content_Length="16385"))
        answer = await line.answer()
        assert (answer.status, answer.json) == (413, TOO_LARGE)


async def test_other_expectations_and_those_of_old_clients_are_passed_over(live: Live, form: bytes) -> None:
    assert good(await ask(live.url, request("/api/key/GetKey", form, Expect="the best")))
    old = request("/api/key/GetKey", form, Expect="100-continue").replace(b"HTTP/1.1", b"HTTP/1.0")
    assert good(await ask(live.url, old))


async def test_requests_in_one_piece_are_answered_in_their_order(live: Live, shop: Shop, form: bytes) -> None:
    codes = [b"&MachineCode=%d" % number for number in range(40)]
    async with line_to(live.url) as line:
        await line.send(b"".join(request("/api/key/GetKey", form) + request("/nothing", form + code) for code in codes))
        for _ in codes:
            assert good(await line.answer())
            assert (await line.answer()).status == 404
        await line.send(b"".join(request("/api/key/Activate", form + code) for code in codes))
        results = [(await line.answer()).json["result"] for _ in codes]
    assert results == [0] + [1] * 39
    assert [row["machineCode"] for row in await shop.log(States="2011,2023")] == [str(number) for number in range(40)]


async def test_a_request_may_come_byte_by_byte(live: Live, form: bytes) -> None:
    async with line_to(live.url) as line:
        for data in (request("/api/key/GetKey", form), request("/api/key/GetKey", form)):
            for position in range(len(data)):
                await line.send(data[position : position + 1])
                await asyncio.sleep(0)
            assert good(await line.answer())


@pytest.mark.parametrize(("version", "header", "stays"), [
    (b"1.1", "", True), (b"1.1", "keep-alive", True), (b"1.1", "close", False), (b"1.0", "", False),
    (b"1.0", "keep-alive", True),
])  # fmt: skip
async def test_a_connection_stays_as_long_as_it_was_asked_to(
    live: Live, form: bytes, version: bytes, header: str, *, stays: bool
) -> None:
    data = request("/api/key/GetKey", form, **({"Connection": header} if header else {})).replace(
        b"HTTP/1.1", b"HTTP/" + version
    )
    async with line_to(live.url) as line:
        await line.send(data)
        assert good(await line.answer())
        if stays:
            await line.send(data)
            assert good(await line.answer())
        else:
            assert await line.ended() == b""


async def test_a_body_that_nobody_reads_does_not_disturb_the_next_request(live: Live, form: bytes) -> None:
    async with line_to(live.url) as line:
        await line.send(
            request("/nothing", form) + request("/api/key/GetKey", form, "PUT") + request("/api/key/GetKey", form)
        )
        assert [(await line.answer()).status for _ in range(3)] == [404, 405, 200]


async def test_a_client_that_leaves_without_waiting_has_its_call_done(live: Live, shop: Shop, key: str, form: bytes) -> None:
    async with line_to(live.url) as line:
        await line.send(request("/api/key/Activate", form))
    await until(lambda: logged(shop, key))


async def logged(shop: Shop, key: str) -> bool:
    return await shop.states(key) == [2011]


async def test_a_client_that_leaves_within_its_request_is_forgotten(live: Live, shop: Shop, key: str, form: bytes) -> None:
    data = request("/api/key/Activate", form)
    for cut in (1, 20, len(data) - len(form) - 2, len(data) - len(form), len(data) - 1):
        async with line_to(live.url) as line:
            await line.send(data[:cut])
    assert good(await ask(live.url, request("/api/key/GetKey", form)))
    assert await shop.states(key) == []


# ---- the token in a header


async def test_a_bearer_token_is_as_good_as_the_parameter_which_wins(
    live: Live, office: Office, shop: Shop, key: str
) -> None:
    form = urlencode({"ProductId": shop.id, "Key": key}).encode()
    for scheme in ("Bearer", "bearer", "BEARER "):
        good_token = {"Authorization": f"{scheme} {office.token}"}
        assert good(await ask(live.url, request("/api/key/GetKey", form, **good_token)))
        assert good(await ask(live.url, request("/api/key/GetKey", b"token=&" + form, **good_token)))
        assert good(await ask(live.url, request(f"/api/key/GetKey?{form.decode()}", **good_token)))
        assert (await ask(live.url, request("/api/key/GetKey", b"token=x&" + form, **good_token))).json == refused(
            AUTHENTICATE
        )
    token = b"&token=" + quote(office.token).encode()
    assert good(await ask(live.url, request("/api/key/GetKey", form + token, Authorization="Bearer x")))
    for header in (f"Basic {office.token}", office.token, "Bearer", "Bearer x", ""):
        assert (await ask(live.url, request("/api/key/GetKey", form, Authorization=header))).json == refused(AUTHENTICATE)


@pytest.mark.parametrize("token", ["stripped", "padded", "url safe", "spaces for plus"])
async def test_a_token_is_read_leniently(office: Office, shop: Shop, key: str, token: str) -> None:
    forms = {
        "stripped": office.token.rstrip("="),
        "padded": office.token + "==",
        "url safe": office.token.replace("+", "-").replace("/", "_"),
        "spaces for plus": f" {office.token} ",
    }
    assert (await shop.call("key/BlockKey", Key=key, token=forms[token])) == DONE
