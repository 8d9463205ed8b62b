"""What the stories share: the office of the server that all tests share, a product of each test's own, servers in front."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

import pytest
from fronts import in_front
from inside import Inside, worker_inside
from office import Office, Shop, open_office
from servers import Live


@pytest.fixture(scope="session")
async def office(live: Live) -> AsyncIterator[Office]:
    async with open_office(live) as opened:
        yield opened


@pytest.fixture
async def shop(office: Office) -> Shop:
    """A product whose F1 is time-limited and whose F3 is a trial."""
    return await office.open_shop()


@pytest.fixture
async def other_shop(office: Office) -> Shop:
    return await office.open_shop()


@pytest.fixture
def beside(live: Live) -> Callable[..., AbstractContextManager[Live]]:
    """What starts another server on the engines of the one that all share."""
    return partial(in_front, live)


@pytest.fixture(scope="session")
def behind_proxies(live: Live) -> Iterator[Live]:
    """A server that trusts some addresses of this host to be proxies, and whose ops port has a name."""
    networks = "127.0.0.8/31,10.0.0.0/8,2001:db8:ffff::/48"
    with in_front(live, KEYTURN_TRUSTED_PROXIES=networks, KEYTURN_OPS_NAMES="ops.example.org") as server:
        yield server


@pytest.fixture(scope="session")
def without_addresses(live: Live) -> Iterator[Live]:
    """A server that logs no address, not even a masked one."""
    with in_front(live, KEYTURN_LOG_ADDRESSES="0", KEYTURN_TRUSTED_PROXIES="127.0.0.8/31") as server:
        yield server


@pytest.fixture
async def inside(live: Live) -> AsyncIterator[Inside]:
    """A worker in this process."""
    async with worker_inside(live) as server:
        yield server


@pytest.fixture(scope="module", autouse=True)
def _quiet(live: Live) -> Iterator[None]:
    """Whatever clients do, the server writes nothing of it on stderr."""
    log = live.data.with_name(f"{live.data.name}.log")
    before = log.read_text()
    yield
    assert log.read_text().removeprefix(before) == ""
