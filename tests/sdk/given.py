"""What tests of the SDKs share: who calls, and the checks of an answer that every SDK makes in its own language.

Written from the protocol alone, with nothing of the server's code, so that a mistake there is not made here again.
"""

import base64
import datetime
import json
import xml.etree.ElementTree as ET
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from servers import Live

DAY = 86_400

NewToken = Callable[..., Awaitable[str]]  # the fixture `new_token`

FIELDS = (
    "ProductId", "ID", "Key", "Created", "Expires", "Period", "F1", "F2", "F3", "F4", "F5", "F6", "F7", "F8", "Notes",
    "Block", "GlobalId", "Customer", "ActivatedMachines", "TrialActivation", "MaxNoOfMachines", "AllowedMachines",
    "DataObjects", "Reseller",
)  # fmt: skip
MACHINE_FIELDS = ("Mid", "IP", "Time", "FriendlyName", "FloatingExpires")
SHOWN_OF_A_MACHINE = {1: 3, 2: 4, 3: 5}
STATUS_FIELDS = ("IsValid", "ReasonForInvalidity", "Trial", "TimeLimited", "TimeLeft")

# Another vendor's key: what it verifies was not signed here (protocol: vectors, TEST ONLY).
WRONG_KEY = (
    "<RSAKeyValue><Modulus>lAng6mHJmjNIg4kSx7xF/NzUhsgR2eN0y61On9B2w/HgIEC4egFb9TKeERfTM4Mm/3lYSt6CzxWSFidOHG2WTLns6jSl"
    "2WhQEhWISj/MnHT5ju9rExZnNb1+QC8EtvLNlJegzIxK1d0KE2DhY2+90OszqcPhNKGmwAyBQ99/wP5XHEu5mmxSXchnPXGdhrUv8GsaD5uKJyhsGq9H"
    "kAo6IA42L/il2TQSQla2fNWcxftkp9lKS70K1fGk802lasIFMtplIM7sXqqxs78LNCr61V0gfXm9an/Jhd4WPL3TzbEhqUhdGqVd5sxm2w0SkXvsXKQ3"
    "0b8en/zmwFMnQ5bPOQ==</Modulus><Exponent>AQAB</Exponent></RSAKeyValue>"
)

LIMIT = "Cannot activate the new device as the limit has been reached."
NOT_ACTIVATED = "Either the machine code was never activated or key activation feature was never set up."
BLOCKED = "The key is blocked and cannot be accessed."
AUTHENTICATE = "Unable to authenticate."
DENIED = "Access denied."
INPUT = "The input parameters were incorrect."
PRODUCT = "Could not find the product."
KEY = "Could not find the key."
TRIAL_USED = "This machine code has already activated the trial."
CODE_EMPTY = "The machine code cannot be null."
CODE_LONG = "The machine code cannot exceed 128 chars in length."
NOTES_LONG = "The notes field cannot be more than 500 characters."
CUSTOMER = "Could not find the customer."
CUSTOMER_UNKNOWN = "Customer could not be found."
CUSTOMER_GONE = "Customer does not exist."
CUSTOMER_NOT_ASSIGNED = "Customer not found, so current key no longer references any customer."
NAME_LONG = "The name of the customer is limited to 100 characters."
EMAIL_LONG = "The email of the customer is limited to 100 characters."
COMPANY_LONG = "The company name of the customer is limited to 100 characters."
OBJECT = "Not enough permission and/or key not found."
OBJECT_EXISTS = "A data object with the same name already exists."
BOUND = "The bound has been reached."
OVERFLOW = "The operation would result in an overflow."
TIMESTAMP = "The timestamp in the Time parameter does not have the correct format."
SUBSCRIPTION_ITEM = "The subscription item id could not be found."

NO_KEY = "AAAAA-AAAAA-AAAAA-AAAAA"
NO_PRODUCT = NO_CUSTOMER = NO_ID = 987_654_321
NO_TOKEN = "WyIxNyIsIlptOXZZbUZ5TVRJek5EVTJOemc1TUdGaVkyUmxabWRvYVdwcmJHMXUiXQ=="

NOTES = "Order #77 – Åsa"  # noqa: RUF001 (the dash of the protocol's vectors: three bytes)

# What end users' machines are called. All of it must come back as it was sent.
MACHINE_CODES = (
    "m-alpha",
    "lab 01",
    "  blanks around  ",
    "1+1",
    "a&b=c",
    "==",
    "100%",
    "%41",
    "a/b?c#d;e",
    'say "cheese" \\o/',
    "Åsas dator №5",
    "机器/マシン",
    "🖥",
    "line\nbreak\ttab",
    "None",
    "null",
    "floating:x",
    "é",  # not composed: the server must not normalise
    "",
    "x" * 512,
    "🖥" * 512,
)


@dataclass(frozen=True, slots=True)
class Vendor:
    """The demo account: what its software has built in (`token`, `public_key`), and what it keeps for itself (`admin`)."""

    live: Live
    url: str
    token: str
    admin: str
    product: int
    public_key: str

    def new_key(self, machines: int, **params: object) -> str:
        return self.live.new_key(machines, **params)


# ---- the checks


def verifier(public_key_xml: str) -> RSAPublicKey:
    """Read a public key as SDKs are given it."""
    root = ET.fromstring(public_key_xml)
    assert [each.tag for each in root] == ["Modulus", "Exponent"]
    modulus, exponent = (base64.b64decode(each.text or "", validate=True) for each in root)
    assert len(modulus) == 256, "SDKs know 2048 bits only, without a leading zero"
    return RSAPublicNumbers(int.from_bytes(exponent), int.from_bytes(modulus)).public_key()


def string_document(answer: Mapping[str, Any], public_key_xml: str, model_version: int) -> dict[str, Any]:
    """Verify the license of a StringSign answer, as it is on the wire; return it."""
    assert [name for name in answer if name != "metadata"] == ["licenseKey", "signature", "result", "message"]
    payload = base64.b64decode(answer["licenseKey"], validate=True)
    signature = base64.b64decode(answer["signature"], validate=True)
    verifier(public_key_xml).verify(signature, payload, PKCS1v15(), hashes.SHA256())
    document: dict[str, Any] = json.loads(payload)
    assert payload == json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    assert list(document) == [*fields_of(model_version), "SignDate"]
    for machine in document["ActivatedMachines"]:
        assert tuple(machine) == MACHINE_FIELDS[: SHOWN_OF_A_MACHINE[model_version]]
    return document


def linq_document(answer: Mapping[str, Any], public_key_xml: str, model_version: int) -> dict[str, Any]:
    """Verify the license of a LinqSign answer, from the text that a client makes of the object; return the object."""
    assert [name for name in answer if name != "metadata"] == ["licenseKey", "result", "message"]
    document: dict[str, Any] = answer["licenseKey"]
    assert list(document) == [*map(camel, fields_of(model_version)), "signDate", "signature"]
    for machine in document["activatedMachines"]:
        assert list(machine) == list(map(camel, MACHINE_FIELDS[: SHOWN_OF_A_MACHINE[model_version]]))
    signature = base64.b64decode(document["signature"], validate=True)
    verifier(public_key_xml).verify(signature, linq_text(document).encode("utf-16-le"), PKCS1v15(), hashes.SHA256())
    return document


def fields_of(model_version: int) -> Sequence[str]:
    """Return the names of a license's fields in their order: the reseller came with model version 3."""
    return FIELDS if model_version == 3 else FIELDS[:-1]


def camel(name: str) -> str:
    """Return the plain spelling of a name: ProductId is productId, ID is id, IP is ip."""
    return name.lower() if name.isupper() else name[0].lower() + name[1:]


def linq_text(document: Mapping[str, Any]) -> str:
    """Return what LinqSign signs (protocol: LinqSign), as the .NET SDK builds it from what it received."""
    values = [_linq_value(name, value) for name, value in document.items() if name not in ("reseller", "signature")]
    return ",".join([*values, ""])


def _linq_value(name: str, value: object) -> str:
    if name == "customer" and isinstance(value, Mapping):
        return ",".join(_linq_plain(value[each]) for each in ("name", "email", "companyName", "created"))
    if name in ("activatedMachines", "dataObjects") and isinstance(value, Sequence):
        signed = ("mid", "ip", "time") if name == "activatedMachines" else ("id", "name", "stringValue", "intValue")
        items = [",".join(_linq_plain(item[each]) for each in signed) for item in value]
        return "[" + "".join(f"{item}," for item in items) + "]"
    return _linq_plain(value)


def _linq_plain(value: object) -> str:
    return "" if value is None else str(value)  # Python's True and False are spelled as .NET's


def metadata_document(answer: Mapping[str, Any], public_key_xml: str) -> dict[str, Any]:
    """Verify the metadata of an answer, and that what is signed is what stands beside it; return what is signed."""
    assert next(iter(answer)) == "metadata", "genuine answers have it first"
    block = answer["metadata"]
    assert list(block) == ["activatedMachines", "licenseStatus", "usedFloatingMachines", "signature"]
    assert list(block["licenseStatus"]) == list(map(camel, STATUS_FIELDS))
    envelope = json.loads(base64.b64decode(block["signature"], validate=True))
    assert list(envelope) == ["Data", "Signature", "Date", "Version"]
    assert envelope["Version"] == 1
    assert is_now(envelope["Date"])
    data, signature = (base64.b64decode(envelope[name], validate=True) for name in ("Data", "Signature"))
    verifier(public_key_xml).verify(signature, data, PKCS1v15(), hashes.SHA512())
    signed: dict[str, Any] = json.loads(data)
    assert data == json.dumps(signed, ensure_ascii=False, separators=(",", ":")).encode()
    assert list(signed) == ["ActivatedMachines", "LicenseStatus", "UsedFloatingMachines", "Signature"]
    assert signed["Signature"] is None
    assert {camel(name): value for name, value in signed["LicenseStatus"].items()} == block["licenseStatus"]
    assert signed["ActivatedMachines"] == block["activatedMachines"]
    assert signed["UsedFloatingMachines"] == block["usedFloatingMachines"]
    return signed


def is_now(seconds: int) -> bool:
    """Whether a time on the wire is of this test: a whole number, and in this minute."""
    return type(seconds) is int and abs(seconds - datetime.datetime.now(datetime.UTC).timestamp()) < 60


def iso(seconds: int) -> str:
    """Return a time as LinqSign spells it."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")
