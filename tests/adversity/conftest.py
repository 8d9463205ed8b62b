"""What the fault tests share: a record of all calls, a server that a module may break and mend, a look into its database."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from processes import bugs, server
from recorder import Recorder
from servers import Live, open_folder

Connection = asyncpg.Connection


@pytest.fixture
def record() -> Recorder:
    return Recorder()


@pytest.fixture
async def database(live: Live) -> AsyncIterator[Connection]:
    """A look into the database of the server that all tests share."""
    connection = await live.database()
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
async def own() -> AsyncIterator[Live]:
    """A server of the module's own, for faults that a `with` mends."""
    with open_folder() as folder:
        async with server(folder) as live:
            yield live


@pytest.fixture
async def inside(own: Live) -> AsyncIterator[Connection]:
    """A look into the database of the module's own server, and a hand in it."""
    connection = await own.database()
    yield connection
    await connection.close()


@pytest.fixture
def quiet(own: Live) -> None:
    """Say at the end whether the server wrote of a bug."""
    before = len(bugs(own))
    yield
    assert bugs(own)[before:] == []
