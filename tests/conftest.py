"""The engines and servers that tests run against: real ones, embedded, one set a session. No mocks of our own ports."""

import datetime
import secrets
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
from servers import Live, start, stop

from storage.embedded.home import lock, prepare
from storage.embedded.postgres import Postgres
from storage.postgres.migrate import migrate

@pytest.fixture(scope="session")
async def postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Postgres]:
    """An embedded PostgreSQL whose database `keyturn` has the schema and nothing else: the template of all others."""
    data = tmp_path_factory.mktemp("engines")
    with lock(data):
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
    name = f"test_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(postgres.admin_dsn)
    try:
        await admin.execute(f'create database "{name}" template keyturn owner keyturn')
        yield postgres.dsn.replace("/keyturn?", f"/{name}?")
        await admin.execute(f'drop database "{name}" with (force)')
    finally:
        await admin.close()


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server of two workers that tests share; whoever breaks things starts one of their own."""
    server = start(tmp_path_factory.mktemp("live") / "data")
    yield server
    assert stop(server) == 0
