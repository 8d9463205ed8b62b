"""The vectors' files and the records they were made of, and callers for parsers. No checks here.

The files in `fixtures` are bytes of the protocol's test vectors: V1 and so on. Their private key is public.
"""

from pathlib import Path
from typing import cast

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from server.rules.grants import Caller
from server.wire.encode import Reseller, Row
from storage.records import Customer, DataObject, Feature, FeatureType, License, Machine, Product, Token

SIGNED_AT = 1_718_000_005
NOTHING = cast("str", None)  # the vectors hold null for some texts; our own records never do

FIXTURES = Path(__file__).parent / "fixtures"


def vector(name: str) -> bytes:
    """Return a block of the vectors."""
    return (FIXTURES / name).read_bytes()


def vector_key() -> RSAPrivateKey:
    """Return the vectors' key: TEST ONLY."""
    key = load_pem_private_key(vector("key.pem"), None)
    assert isinstance(key, RSAPrivateKey)
    return key


TOKEN = Token(4, 1, "client", b"", frozenset({"Activate"}), 0, 0, 0, None, 44)
CALLER = Caller(TOKEN, "192.0.2.10", "", "192.0.2.0")

PRODUCT = Product(
    id=3001,
    account_id=1,
    name="Editor",
    description="",
    created=0,
    features=(Feature("", FeatureType.NORMAL),) * 8,
    all_time_limited=True,
    block_expired=False,
    data_objects=(),
    stamp=33,
)
CUSTOMER = Customer(7, "Åsa Öst", "asa@example.test", NOTHING, 1_704_067_100, 22)
ALPHA = Machine("m-alpha", "LAB-01", "192.0.2.10", "203.0.113.9", 1_704_070_800)


def a_license(**changes: object) -> License:
    """Return the license of V2: null notes, one machine, nothing else."""
    values: dict[str, object] = {
        "id": 900_042,
        "account_id": 1,
        "product": PRODUCT,
        "number": 42,
        "key": "ABCDE-FGHIJ-KLMNO-PQRST",
        "created": 1_704_067_200,
        "expires": 4_102_444_800,
        "period": 27_759,
        "features": 0b0001_0001,
        "notes": NOTHING,
        "block": False,
        "customer": None,
        "trial_activation": False,
        "ever_activated": True,
        "max_machines": 2,
        "allowed_machines": "",
        "machines": {ALPHA.code: ALPHA},
        "data_objects": (),
        "stamp": 2,
    }
    return License(**{**values, **changes})  # type: ignore[arg-type]  # examples name their changes


PLAIN = a_license()
FULL = a_license(
    stamp=1,
    notes="Order #77 – Åsa",  # noqa: RUF001  # the dash is in the vector
    customer=CUSTOMER,
    allowed_machines="m-vip1\nm-vip2",
    data_objects=(DataObject(501, "usagecount", "", 12),),
)
FULL_ROWS = (
    Row("m-alpha", "192.0.2.10", 1_704_070_800, "LAB-01"),
    Row("floating:m-beta", "192.0.2.11", 1_718_000_000, "", 1_718_000_100),
)
RESELLER = Reseller(
    9, 4, 55, 1_700_000_000, "North Resale", "https://resale.example.test", "r@example.test", "", ""
)  # fmt: skip
