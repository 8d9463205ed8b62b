"""The engines and servers that tests run against: real ones, embedded, one set a session. No mocks of our own ports."""

import datetime
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis.asyncio
from servers import Live, database, open_folder, start, stop

from storage.embedded.home import lock, prepare
from storage.embedded.postgres import Postgres
from storage.embedded.valkey import Valkey
from storage.postgres.migrate import migrate


@pytest.fixture(scope="session")
async def postgres() -> AsyncIterator[Postgres]:
    """An embedded PostgreSQL whose database `keyturn` has the schema and nothing else: the template of all others."""
    with open_folder() as data, lock(data):
        engine = Postgres(prepare(data))
        await engine.start()
        try:
            await migrate(engine.dsn, datetime.datetime.now(datetime.UTC))
            yield engine
        finally:
            await engine.stop()


@pytest.fixture
async def dsn(postgres: Postgres) -> AsyncIterator[str]:
    """A database of its own for one test, a clone of the template."""
    async with database(postgres, "keyturn") as made:
        yield made


@pytest.fixture(scope="session")
async def valkey() -> AsyncIterator[Valkey]:
    """An embedded Valkey."""
    with open_folder() as data, lock(data):
        engine = Valkey(prepare(data))
        await engine.start()
        try:
            yield engine
        finally:
            await engine.stop()


@pytest.fixture
async def redis_url(valkey: Valkey) -> str:
    """Where that Valkey is, emptied for one test."""
    async with redis.asyncio.from_url(valkey.url) as client:
        await client.flushall()
    return valkey.url


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for the DATA of a server that a test starts itself."""
    with open_folder() as path:
        yield path


@pytest.fixture(scope="session")
def live() -> Iterator[Live]:
    """A server of two workers that tests share; whoever breaks things starts one of their own."""
    with open_folder() as path:
        server = start(path / "data")
        yield server
        assert stop(server) == 0
