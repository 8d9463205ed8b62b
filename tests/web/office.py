"""A vendor's office for these stories: calls methods, makes tokens and products by hand, looks into the database."""

import json
import secrets
import time
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import asyncpg
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from servers import Live

from server.account import make_token
from server.methods import PERMISSIONS
from storage.postgres.admin import Admin, administration
from storage.records import Account, Feature, FeatureType
from storage.stamps import new_stamp

DAY = 86_400
Answer = dict[str, Any]

AUTHENTICATE = "Unable to authenticate."
DENIED = "Access denied."
INPUT = "The input parameters were incorrect."
NO_PRODUCT = "Could not find the product."
NO_KEY = "Could not find the key."
NO_OBJECT = "Not enough permission and/or key not found."
BLOCKED = "The key is blocked and cannot be accessed."
LIMIT = "Cannot activate the new device as the limit has been reached."
NOT_ACTIVATED = "Either the machine code was never activated or key activation feature was never set up."

NORMAL = tuple(Feature(f"Feature {number}", FeatureType.NORMAL) for number in range(1, 9))
TRIALS = (Feature("Time-limited", FeatureType.TIME_LIMITED), NORMAL[1], Feature("Trial", FeatureType.TRIAL), *NORMAL[3:])


def refused(message: str) -> Answer:
    return {"result": 1, "message": message}


DONE = {"result": 0, "message": ""}


@dataclass(frozen=True, slots=True, repr=False)
class Office:
    """The one account of a running server. Every call is a connection of its own, so that all workers get some."""

    live: Live
    http: aiohttp.ClientSession
    database: "asyncpg.Connection[asyncpg.Record]"
    admin: Admin
    account: Account
    token: str

    async def answer(self, method: str, **params: object) -> tuple[int, dict[str, str], Answer]:
        """Status, headers and body of one call; with the token of the office unless another is given (None: none at all)."""
        given = {"token": self.token, **params}
        form = {name: str(value) for name, value in given.items() if value is not None}
        async with self.http.post(f"{self.live.url}/api/{method}", data=form) as answer:
            return answer.status, dict(answer.headers), await answer.json()

    async def call(self, method: str, **params: object) -> Answer:
        """The body of one call, which like every outcome of the application has status 200."""
        status, _, body = await self.answer(method, **params)
        assert status == 200, body
        return body

    async def new_token(self, *permissions: str, expires: int | None = None, **locks: int) -> str:
        """A token that may do this (everything if nothing is named)."""
        return await make_token(
            self.admin, self.account.id, name="of a test", permissions=permissions or PERMISSIONS, now=int(time.time()),
            expires=expires, **locks,
        )  # fmt: skip

    async def open_shop(self, features: Sequence[Feature] = TRIALS) -> "Shop":
        """A product with nothing in it."""
        product_id = await self.admin.add_product(
            self.account.id, name="Of a test", description="", features=features, all_time_limited=False,
            block_expired=False, now=int(time.time()),
        )  # fmt: skip
        return Shop(self, product_id)


@dataclass(frozen=True, slots=True)
class Shop:
    """One product."""

    office: Office
    id: int

    async def call(self, method: str, **params: object) -> Answer:
        return await self.office.call(method, **{"ProductId": self.id, **params})

    async def new_key(self, **params: object) -> str:
        return (await self.call("key/CreateKey", **{"Period": 30, **params}))["key"]

    async def activate(self, key: str, code: str, **params: object) -> Answer:
        return await self.call("key/Activate", Key=key, MachineCode=code, **params)

    async def deactivate(self, key: str, code: str, **params: object) -> Answer:
        return await self.call("key/Deactivate", Key=key, MachineCode=code, **params)

    async def log(self, key: str = "", **params: object) -> list[Answer]:
        """The log of the product, or of one key, as GetWebAPILog gives it."""
        return (await self.call("ai/GetWebAPILog", Key=key, **{"Limit": 1000, **params}))["logs"]

    async def states(self, key: str) -> list[int]:
        """What the log says of a key, from its creation on, which every key has."""
        made, *rest = [row["state"] for row in await self.log(key)]
        assert made in (3010, 3011)
        return rest

    async def show(self, key: str, **params: object) -> Answer:
        """The license as a reader of ModelVersion 3 sees it."""
        return self.document(
            await self.call("key/GetKey", **{"Key": key, "Sign": True, "SignMethod": 1, "ModelVersion": 3, **params})
        )

    def document(self, answer: Answer) -> Answer:
        """The document that a StringSign answer holds, once its signature is found to be good."""
        assert (answer["result"], answer["message"]) == (0, "")
        signed = b64decode(answer["licenseKey"], validate=True)
        public = load_der_public_key(self.office.account.public_key)
        assert isinstance(public, RSAPublicKey)
        public.verify(b64decode(answer["signature"], validate=True), signed, PKCS1v15(), SHA256())
        return json.loads(signed)

    async def rows(self, statement: str, *values: object) -> list[Answer]:
        """Look into the database; $1 is the product."""
        return [dict(row) for row in await self.office.database.fetch(statement, self.id, *values)]

    async def change(self, key: str, what: str, *values: object) -> None:
        """Change a license behind the server's back, as another host would: with a new stamp."""
        assert await self.office.database.fetchval(
            f"update licenses set {what}, stamp = $3 where product_id = $1 and key = $2 returning id",
            self.id, key, new_stamp(), *values,
        )  # fmt: skip

    async def global_id(self, key: str) -> int:
        return (await self.rows("select id from licenses where product_id = $1 and key = $2", key))[0]["id"]

    async def add_data(self, key: str, name: str, *, machine: str | None = None) -> int:
        """Attach a data object to a license, or to a machine code under it."""
        license_id = await self.global_id(key)
        added = await self.office.database.fetchval(
            "insert into data_objects"
            " (account_id, referencer_type, referencer_id, machine_code, name, string_value, int_value)"
            " values ($1, $2, $3, $4, $5, 'text', 7) returning id",
            self.office.account.id, 2 if machine is None else 3, license_id, machine, name,
        )  # fmt: skip
        await self.change(key, "notes = notes")
        return added

    async def set_up(self, name: str, value: str) -> None:
        """Set a configuration data object of the product."""
        await self.office.admin.put_product_data(
            self.office.account.id, self.id, name=name, string_value=value, int_value=0, now=int(time.time())
        )


@asynccontextmanager
async def open_office(live: Live, *, at: str = "127.0.0.1", **headers: str) -> AsyncIterator[Office]:
    """An office of the account of a running server, at an address of this host."""
    database = await live.database()
    client = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True, local_addr=(at, 0)), headers=headers
    )
    try:
        async with administration(live.demo["postgres_dsn"]) as admin, client as http:
            account = await admin.account("default")
            assert account is not None
            yield Office(live, http, database, admin, account, live.demo["admin_token"])
    finally:
        await database.close()


def unknown_token(token: str) -> str:
    """A token that looks like this one, with another secret."""
    number, _ = json.loads(b64decode(token))
    return b64encode(json.dumps([number, b64encode(secrets.token_bytes(30)).decode()]).encode()).decode()


def token_id(token: str) -> int:
    return int(json.loads(b64decode(token))[0])
