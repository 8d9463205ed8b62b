"""Migrations: forward only, once, from several hosts at the same time; and a program that is too old is told so."""

import asyncio
import datetime
import secrets
from collections.abc import AsyncIterator

import asyncpg
import pytest

from storage.embedded.postgres import Postgres
from storage.postgres.migrate import PROGRAM, SchemaError, check, migrate
from storage.postgres.upkeep import upkeep

NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture
async def empty(postgres: Postgres) -> AsyncIterator[str]:
    """A database in which nothing was ever made."""
    name = f"empty_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(postgres.admin_dsn)
    await admin.execute(f"create database {name} owner keyturn template template0")
    yield postgres.dsn.replace("/keyturn?", f"/{name}?")
    await admin.execute(f"drop database {name} with (force)")
    await admin.close()


async def run(dsn: str, statement: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_several_hosts_at_once_apply_each_migration_once(empty: str) -> None:
    applied = await asyncio.gather(*(migrate(empty, NOW) for _ in range(4)))
    assert sorted(map(len, applied)) == [0, 0, 0, PROGRAM]
    await check(empty)
    assert await migrate(empty, NOW) == []


async def test_a_database_without_a_schema_says_what_to_do(empty: str) -> None:
    with pytest.raises(SchemaError, match="keyturn migrate"):
        await check(empty)


async def test_a_schema_that_no_longer_serves_this_program_is_refused(dsn: str) -> None:
    await run(dsn, f"insert into schema_history (number, name) values ({PROGRAM + 1}, 'later')")
    await check(dsn)  # newer, and it says that it still serves us
    await run(dsn, f"update installation set oldest_program = {PROGRAM + 1}")
    for refused in (check(dsn), migrate(dsn, NOW)):
        with pytest.raises(SchemaError, match="Install the newer Keyturn"):
            await refused


async def test_the_log_has_room_for_months_and_gets_more_in_time(dsn: str) -> None:
    assert await upkeep(dsn, NOW) > 60
    later = NOW + datetime.timedelta(days=200)
    assert await upkeep(dsn, later) > 60
    assert await upkeep(dsn, later) > 60  # nothing is made twice


async def test_lanes_that_nobody_uses_are_removed_after_a_day(dsn: str) -> None:
    await run(dsn, "insert into lanes (id, used) values (1, now() - interval '25 hours'), (2, now())")
    await upkeep(dsn, NOW)
    assert await run(dsn, "select array_agg(id) from lanes") == [2]
