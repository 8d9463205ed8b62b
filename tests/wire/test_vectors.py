"""The byte-exact vectors V1 to V5 and V7: made from records, and judged by the official Python SDK's own code."""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator

import orjson
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from licensing.internal import HelperMethods  # type: ignore[import-untyped]
from licensing.methods import Helpers, Key  # type: ignore[import-untyped]

from server.wire import encode
from server.wire.encode import View
from server.wire.parse import token_parts
from server.wire.replies import Licensed
from server.wire.sign import Signer, public_xml

from .given import FULL, FULL_ROWS, PLAIN, RESELLER, SIGNED_AT, vector, vector_key

KEY = vector_key()
MODEL_1, MODEL_3 = View(1), View(3)


@pytest.fixture(scope="module")
def signer() -> Iterator[Signer]:
    made = Signer(KEY)
    yield made
    made.close()


def v1_document() -> bytes:
    return encode.document(FULL, MODEL_3, SIGNED_AT, rows=FULL_ROWS, reseller=RESELLER)


def response(name: str) -> dict[str, object]:
    """Return the StringSign response of a vector."""
    texts = {"licenseKey": f"{name}.licenseKey", "signature": f"{name}.signature"}
    return {**{key: vector(file).decode() for key, file in texts.items()}, "result": 0, "message": ""}


def sdk_activate(monkeypatch: pytest.MonkeyPatch, answer: object, *, metadata: bool = False) -> tuple[object, ...]:
    """Return what the SDK's Activate makes of an answer; only its transport is replaced."""
    monkeypatch.setattr(HelperMethods, "send_request", lambda _method, _parameters: json.dumps(answer))
    key = "ABCDE-FGHIJ-KLMNO-PQRST"
    outcome: tuple[object, ...] = Key.activate("T", vector("key.xml").decode(), 3001, key, "m-alpha", 0, metadata)
    return outcome


# ---- V1 and V2: StringSign


@pytest.mark.parametrize(
    ("name", "document"),
    [("v1", v1_document()), ("v2", encode.document(PLAIN, MODEL_1, SIGNED_AT))],
)
async def test_string_sign_is_byte_for_byte(signer: Signer, name: str, document: bytes) -> None:
    assert document == vector(f"{name}.payload")
    seal = await signer.seal(document)
    answer = encode.reply(Licensed(encode.base64_text(document), encode.base64_text(seal)))
    assert answer == orjson.dumps(response(name))


def test_the_sdk_accepts_v1(monkeypatch: pytest.MonkeyPatch) -> None:
    license, message = sdk_activate(monkeypatch, response("v1"))
    assert (message, license.key, license.product_id) == ("", "ABCDE-FGHIJ-KLMNO-PQRST", 3001)  # type: ignore[attr-defined]
    assert Helpers.IsOnRightMachine(license, custom_machine_code="m-alpha")
    assert Helpers.IsOnRightMachine(license, is_floating_license=True, custom_machine_code="m-beta")
    assert not Helpers.IsOnRightMachine(license, is_floating_license=True, custom_machine_code="m-alpha")


def test_the_sdk_accepts_v2(monkeypatch: pytest.MonkeyPatch) -> None:
    license, message = sdk_activate(monkeypatch, response("v2"))
    assert (message, license.notes, license.customer) == ("", None, None)  # type: ignore[attr-defined]
    assert license.reseller is None  # type: ignore[attr-defined]


# ---- V3 and V3b: LinqSign


@pytest.mark.parametrize(
    ("name", "linq"),
    [
        ("v3", encode.linq(FULL, MODEL_3, SIGNED_AT, rows=FULL_ROWS, reseller=RESELLER)),
        ("v3b", encode.linq(PLAIN, MODEL_1, SIGNED_AT)),
    ],
)
async def test_linq_sign_is_byte_for_byte(signer: Signer, name: str, linq: encode.Linq) -> None:
    assert linq.text == vector(f"{name}.string").decode().encode("utf-16-le")
    answer = encode.reply(Licensed(encode.signed(linq.body, await signer.seal(linq.text))))
    assert answer == vector(f"{name}.response")


def test_an_unsigned_object_has_no_date_and_no_signature() -> None:
    body = encode.linq(PLAIN, MODEL_1, None).body
    assert (body["signDate"], body["signature"]) == ("0001-01-01T00:00:00", None)


# ---- V4: metadata


async def test_metadata_is_byte_for_byte(signer: Signer) -> None:
    metadata = encode.metadata(FULL, SIGNED_AT, 1)
    assert metadata.data == vector("v4.data")
    block = encode.metadata_block(metadata, await signer.seal512(metadata.data), SIGNED_AT)
    assert orjson.dumps(block) == vector("v4.metadata")
    assert b64decode(str(block["signature"])) == vector("v4.envelope")


def test_metadata_comes_first_and_the_sdk_accepts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    v1 = response("v1")
    block = orjson.loads(vector("v4.metadata"))
    answer = orjson.loads(encode.reply(Licensed(str(v1["licenseKey"]), str(v1["signature"]), block)))
    assert list(answer) == ["metadata", "licenseKey", "signature", "result", "message"]
    _, message, metadata = sdk_activate(monkeypatch, answer, metadata=True)
    assert message == ""
    assert metadata == orjson.loads(vector("v4.data"))


# ---- V5 and the key


def test_the_token_of_v5_is_taken_apart() -> None:
    assert token_parts(vector("v5.token").decode()) == (17, "Zm9vYmFyMTIzNDU2Nzg5MGFiY2RlZmdoaWprbG1u")


def test_the_public_key_is_written_as_sdks_take_it() -> None:
    assert public_xml(KEY.public_key()) == vector("key.xml").decode()


# ---- V7: what must be rejected


def test_the_sdk_rejects_one_changed_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = vector("v1.payload").replace(b'"Period":27759', b'"Period":99999')
    answer = {**response("v1"), "licenseKey": b64encode(changed).decode()}
    assert sdk_activate(monkeypatch, answer) == (None, "The signature check failed.")


def test_the_sdk_rejects_a_signature_over_the_base64_text(monkeypatch: pytest.MonkeyPatch) -> None:
    seal = KEY.sign(vector("v1.licenseKey"), PKCS1v15(), hashes.SHA256())
    answer = {**response("v1"), "signature": b64encode(seal).decode()}
    assert sdk_activate(monkeypatch, answer) == (None, "The signature check failed.")


def test_the_sdk_rejects_a_further_property_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    payload = vector("v1.payload").replace(b'{"Mid":"m-alpha",', b'{"Mid":"m-alpha","Os":"",')
    seal = KEY.sign(payload, PKCS1v15(), hashes.SHA256())
    answer = {**response("v1"), "licenseKey": b64encode(payload).decode(), "signature": b64encode(seal).decode()}
    license, message = sdk_activate(monkeypatch, answer)
    assert license is None
    assert str(message).startswith("An error occured: ")


@pytest.mark.parametrize("name", ["Signature", "signature"])
def test_the_sdk_rejects_metadata_with_a_wrong_name_or_hash(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    unsigned = encode.metadata(FULL, SIGNED_AT, 1)
    digest = hashes.SHA512() if name == "Signature" else hashes.SHA256()
    block = encode.metadata_block(unsigned, KEY.sign(unsigned.data, PKCS1v15(), digest), SIGNED_AT)
    block[name] = block.pop("signature")
    outcome = sdk_activate(monkeypatch, {**response("v1"), "metadata": block}, metadata=True)
    assert outcome[2] == "Signature check for metadata object failed."


def test_a_shifted_date_breaks_the_signature_of_an_object() -> None:
    license = orjson.loads(vector("v3.response"))["licenseKey"]
    seal = b64decode(license["signature"])
    text = vector("v3.string").decode()
    KEY.public_key().verify(seal, text.encode("utf-16-le"), PKCS1v15(), hashes.SHA256())
    shifted = text.replace("2024-01-01T00:00:00", "2024-01-01T02:00:00")
    with pytest.raises(InvalidSignature):
        KEY.public_key().verify(seal, shifted.encode("utf-16-le"), PKCS1v15(), hashes.SHA256())
