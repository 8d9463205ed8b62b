"""What the fault tests share: a record of all calls, a server that may be broken by who mends it, a look into databases."""

from collections.abc import AsyncIterator, Iterator

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


@pytest.fixture(scope="session")
async def own() -> AsyncIterator[Live]:
    """A server for the fault tests alone: what a `with` breaks here, it mends."""
    with open_folder() as folder:
        async with server(folder) as live:
            yield live


@pytest.fixture
async def inside(own: Live) -> AsyncIterator[Connection]:
    """A look into the database of that server, and a hand in it."""
    connection = await own.database()
    yield connection
    await connection.close()


@pytest.fixture
def quiet(own: Live) -> Iterator[None]:
    """Say at the end whether the server wrote of a bug."""
    before = len(bugs(own))
    yield
    assert bugs(own)[before:] == []
