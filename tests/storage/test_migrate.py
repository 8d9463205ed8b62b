"""Migrations: forward only, once, from several hosts at the same time; and a program that is too old is told so."""

import asyncio
import datetime
import secrets
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from storage.embedded.postgres import Postgres
from storage.postgres import migrate as migrating
from storage.postgres.migrate import PROGRAM, SchemaError, check, migrate
from storage.postgres.sql import migrations
from storage.postgres.upkeep import upkeep

NOW = datetime.datetime.now(datetime.UTC)
NO_SAMPLES = 5  # the migrations before the one that takes none


@pytest.fixture
async def empty(postgres: Postgres) -> AsyncIterator[str]:
    """A database in which nothing was ever made."""
    name = f"empty_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(postgres.admin_dsn)
    await admin.execute(f"create database {name} owner keyturn template template0")
    yield postgres.dsn.replace("/keyturn?", f"/{name}?")
    await admin.execute(f"drop database {name} with (force)")
    await admin.close()


async def run(dsn: str, statement: str) -> Any:
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


SAMPLED = "select array_agg(attname order by attname) from pg_stats where schemaname = 'public' and tablename = 'customers'"


async def test_samples_of_what_is_personal_are_forgotten_and_not_taken_again(
    empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(migrating, "migrations", lambda: migrations()[:NO_SAMPLES])
        await migrate(empty, NOW)
    await run(empty, "insert into accounts (name, public_key, created) values ('a', '', 0)")
    await run(
        empty,
        "insert into customers (account_id, name, email, created, stamp) select 1, 'Ann', 'ann@example.org', 0, 0"
        " from generate_series(1, 100)",
    )
    await run(empty, "analyze customers")
    assert {"name", "email", "created"} <= set(await run(empty, SAMPLED))
    assert "0006_no_samples" in await migrate(empty, NOW)
    for _ in range(2):
        sampled = set(await run(empty, SAMPLED))
        assert "created" in sampled
        assert not sampled & {"name", "email", "company_name", "notes", "secret_hash"}
        await run(empty, "analyze customers")


async def test_the_log_has_room_for_months_and_gets_more_in_time(dsn: str) -> None:
    assert await upkeep(dsn, NOW) > 60
    later = NOW + datetime.timedelta(days=200)
    assert await upkeep(dsn, later) > 60
    assert await upkeep(dsn, later) > 60  # nothing is made twice


async def test_lanes_that_nobody_uses_are_removed_after_a_day(dsn: str) -> None:
    await run(dsn, "insert into lanes (id, used) values (1, now() - interval '25 hours'), (2, now())")
    await upkeep(dsn, NOW)
    assert await run(dsn, "select array_agg(id) from lanes") == [2]
