"""Derived tokens that ended are removed after a day; none that is good is."""

import datetime
from collections.abc import AsyncIterator

import asyncpg
import pytest
from world import NOW

from storage.postgres import upkeep as module
from storage.postgres.upkeep import DAY, TOKENS_AT_ONCE, forget_tokens, upkeep
from storage.stamps import new_stamp

OLD = NOW - DAY - 1


async def add(
    connection: "asyncpg.Connection[asyncpg.Record]",
    name: str,
    *,
    parent: int | None = None,
    revoked: int | None = None,
    expires: int | None = None,
) -> int:
    return await connection.fetchval(
        "insert into tokens (account_id, name, secret_hash, permissions, key_lock, parent_id, expires, created, revoked,"
        " stamp) select a.id, $1, '', '{}', 5, $2, $3, 0, $4, $5 from accounts a returning id",
        name, parent, expires, revoked, new_stamp(),
    )  # fmt: skip


async def names(connection: "asyncpg.Connection[asyncpg.Record]") -> list[str]:
    return [row["name"] for row in await connection.fetch("select name from tokens order by id")]


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    opened = await asyncpg.connect(dsn)
    await opened.execute("insert into accounts (name, public_key, created) values ('a', '', 0)")
    yield opened
    await opened.close()


async def test_a_derived_token_is_removed_a_day_after_it_or_what_it_came_from_ended(
    dsn: str, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    parent, gone = await add(connection, "parent"), await add(connection, "gone parent", revoked=OLD)
    recent = await add(connection, "recently gone parent", revoked=OLD + 2)
    await add(connection, "expired token of its own", expires=OLD)
    for name, how in {
        "good": {},
        "to expire": {"expires": NOW + 5},
        "expired": {"expires": OLD},
        "revoked": {"revoked": OLD},
        "revoked, to expire": {"revoked": OLD, "expires": NOW + 5},
        "expired, revoked since": {"expires": OLD, "revoked": NOW},
        "recently expired": {"expires": OLD + 2},
        "recently revoked": {"revoked": OLD + 2},
        "of a token that is gone": {"parent": gone},
        "of a token that went recently": {"parent": recent},
    }.items():
        await add(connection, name, **{"parent": parent, **how})
    await upkeep(dsn, datetime.datetime.fromtimestamp(NOW, datetime.UTC))
    assert await names(connection) == [
        "parent", "gone parent", "recently gone parent", "expired token of its own", "good", "to expire",
        "recently expired", "recently revoked", "of a token that went recently",
    ]  # fmt: skip


async def test_very_many_are_removed_in_steps_and_the_rest_later(
    connection: "asyncpg.Connection[asyncpg.Record]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOKEN_STEPS", 2)
    parent = await add(connection, "parent")
    await connection.execute(
        "insert into tokens (account_id, name, secret_hash, permissions, parent_id, created, revoked, stamp)"
        " select account_id, 'child', '', '{}', id, 0, 1, n from tokens, generate_series(1, $2::integer) n where id = $1",
        parent, 2 * TOKENS_AT_ONCE + 10,
    )  # fmt: skip
    assert [await forget_tokens(connection, NOW) for _ in range(3)] == [2 * TOKENS_AT_ONCE, 10, 0]
    assert await names(connection) == ["parent"]
