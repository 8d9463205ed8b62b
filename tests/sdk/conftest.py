"""The SDKs and whom they serve: one vendor on the shared server."""

import datetime
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from licensing.internal import HelperMethods  # type: ignore[import-untyped]
from servers import Live

from server.account import NAME, make_token
from server.methods import PERMISSIONS
from storage.postgres.admin import administration
from storage.records import Feature, FeatureType

from .given import NewToken, Vendor
from .nodejs import Node, install


@pytest.fixture(scope="session")
def vendor(live: Live) -> Vendor:
    """The demo account of the shared server. Tests make keys of their own in it and leave its own keys alone."""
    demo = live.demo
    return Vendor(live, demo["url"], demo["token"], demo["admin_token"], demo["product_id"], demo["public_key_xml"])


@pytest.fixture
def python_sdk(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The Python SDK, pointed at the server as its users do: one setting, with `/api/`.

    It makes times local and then takes them for UTC when it looks at their age, so it is right by hours only in UTC.
    """
    monkeypatch.setattr(HelperMethods, "server_address", f"{vendor.url}/api/")
    with monkeypatch.context() as zone:
        zone.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Node SDK, installed from the lock file, once a session and outside the repository."""
    return install(tmp_path_factory.mktemp("npm"))


@pytest.fixture(scope="session")
def node(node_modules: Path) -> Iterator[Node]:
    """One Node process that the tests share: it keeps nothing between calls."""
    with Node.started(node_modules) as process:
        yield process


@pytest.fixture(scope="session")
async def other_product(live: Live) -> int:
    """Another product of the account, without licenses."""
    async with administration(live.demo["postgres_dsn"]) as admin:
        account = await admin.account(NAME)
        assert account is not None
        features = tuple(Feature(f"Feature {number}", FeatureType.NORMAL) for number in range(1, 9))
        return await admin.add_product(
            account.id, name="Another", description="", features=features, all_time_limited=False, block_expired=False,
            now=int(time.time()),
        )  # fmt: skip


@pytest.fixture(scope="session")
def new_token(live: Live) -> NewToken:
    """Make tokens in the account, with all permissions unless told; locks as `make_token` names them."""

    async def make(**scope: object) -> str:
        async with administration(live.demo["postgres_dsn"]) as admin:
            account = await admin.account(NAME)
            assert account is not None
            now = int(datetime.datetime.now(datetime.UTC).timestamp())
            values = {"name": "a test", "permissions": PERMISSIONS, "now": now, **scope}
            return await make_token(admin, account.id, **values)  # type: ignore[arg-type]

    return make
