"""The demo data of `serve --demo`, and DATA/demo.json, which says how to reach it all. No other part reads that file."""

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from server.account import client_permissions, make_token
from server.issuing import licenses_of, make_keys
from server.methods import PERMISSIONS
from server.rules import editing
from server.wire.parse import token_parts
from server.wire.sign import public_xml
from storage.embedded.home import write_private
from storage.postgres.admin import Admin
from storage.records import Account, Feature, FeatureType

NODE_LOCKED_LIMIT, FLOATING_LIMIT = 3, 2
DAYS = 365
FEATURES = (
    Feature("Time-limited", FeatureType.TIME_LIMITED),
    Feature("Trial", FeatureType.TRIAL),
    *(Feature(f"Feature {number}", FeatureType.NORMAL) for number in range(3, 9)),
)
LASTING = ("token", "admin_token", "product_id", "node_locked_key", "floating_key")

HOW_TO_TRY = """
Keyturn serves {url} (health, readiness and metrics on {ops_url}).

Activate the demo license with curl:

  curl -d token={token} -d ProductId={product_id} -d Key={node_locked_key} \\
       -d MachineCode=my-machine -d Sign=true -d SignMethod=1 {url}/api/key/Activate

or with the official Python SDK (pip install licensing):

  from licensing.methods import HelperMethods, Key
  HelperMethods.server_address = "{url}/api/"
  print(Key.activate(token="{token}", product_id={product_id},
                     key="{node_locked_key}", machine_code="my-machine",
                     rsa_pub_key="{public_key_xml}"))

"""


class Demo:
    """What demo.json says: the demo's tokens and keys, and how to reach this run of the server."""

    def __init__(self, path: Path, lasting: Mapping[str, Any]) -> None:
        self._path = path
        self._values = dict(lasting)

    def write(self, **values: object) -> None:
        """Put new values in, and the file in place, whole and only for its owner."""
        self._values.update(values)
        write_private(self._path, json.dumps(self._values, indent=2) + "\n")

    def how_to_try(self) -> str:
        """Return lines to paste."""
        return HOW_TO_TRY.format(**self._values)


async def prepare(admin: Admin, dsn: str, account: Account, data: Path) -> Demo:
    """Make the demo data, or take them from an earlier start of the same database as demo.json has them.

    That may have been a start of an older program: the tokens may do what this one has, too.
    """
    path = data / "demo.json"
    known = _read(path)
    if not all(name in known for name in LASTING) or await admin.product(account.id, known["product_id"]) is None:
        known = await _make(admin, dsn, account)
    else:
        await _allow(admin, account, known)
    public_key = load_der_public_key(account.public_key)
    assert isinstance(public_key, RSAPublicKey)  # noqa: S101 (no other kind is ever made)
    return Demo(path, {**known, "public_key_xml": public_xml(public_key)})


def _read(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return {name: known[name] for name in LASTING if name in known} if isinstance(known, dict) else {}


async def _make(admin: Admin, dsn: str, account: Account) -> dict[str, Any]:
    now = int(datetime.datetime.now(datetime.UTC).timestamp())
    product_id = await admin.add_product(
        account.id, name="Demo", description="Made by serve --demo", features=FEATURES, all_time_limited=False,
        block_expired=False, now=now,
    )  # fmt: skip
    keys = [await _key(dsn, account, product_id, limit, now) for limit in (NODE_LOCKED_LIMIT, FLOATING_LIMIT)]
    return {
        "token": await make_token(
            admin, account.id, name="demo client", permissions=client_permissions(), product_lock=product_id, now=now
        ),
        "admin_token": await make_token(admin, account.id, name="demo admin", permissions=PERMISSIONS, now=now),
        "product_id": product_id,
        "node_locked_key": keys[0],
        "floating_key": keys[1],
    }


async def _allow(admin: Admin, account: Account, known: Mapping[str, Any]) -> None:
    now = int(datetime.datetime.now(datetime.UTC).timestamp())
    for name, permissions in (("token", client_permissions()), ("admin_token", PERMISSIONS)):
        parts = token_parts(known[name])
        if parts is not None:
            await admin.allow_token(account.id, parts[0], permissions, now)


async def _key(dsn: str, account: Account, product_id: int, limit: int, now: int) -> str:
    wanted = editing.NewKeys(
        period=DAYS, features=1, notes="", block=False, customer_id=None, trial_activation=False, max_machines=limit,
        allowed_machines="",
    )  # fmt: skip
    async with licenses_of(dsn) as licenses:
        (key,) = await make_keys(licenses, account.id, product_id, wanted, count=1, now=now)
    return key
