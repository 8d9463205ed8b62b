"""What the supervisor has done regularly: room for the log ahead; lanes, leases and derived tokens removed that ended."""

import datetime

import asyncpg

from storage.postgres.connect import close, connect, translated
from storage.postgres.leases import forget_ended
from storage.postgres.migrate import MIGRATION_LOCK, make_partitions, unlimited
from storage.postgres.sql import load

DAY = 86_400
TOKENS_AT_ONCE, TOKEN_STEPS = 1_000, 100


async def upkeep(dsn: str, now: datetime.datetime) -> float:
    """Do it; return for how many days ahead of `now` the log has partitions. Raises `Unavailable`, `SchemaError`."""
    async with unlimited(dsn) as connection:
        with translated():
            await connection.execute("select pg_advisory_lock($1)", MIGRATION_LOCK)
            await make_partitions(connection, now)
            await connection.execute(load("lanes_forget"))
            await forget_tokens(connection, int(now.timestamp()))
            until: int = await connection.fetchval(load("partitions"))
    return (until - now.timestamp()) / 86_400


async def forget_tokens(connection: asyncpg.Connection, now: int) -> int:
    """Remove derived tokens that ended over a day before `now`, they or what they came from; return how many.

    In steps of a thousand, each far under a second, and no more than a hundred of them: the rest has its turn later.
    """
    removed = 0
    for _ in range(TOKEN_STEPS):
        gone = len(await connection.fetch(load("tokens_forget"), now - DAY, TOKENS_AT_ONCE))
        removed += gone
        if gone < TOKENS_AT_ONCE:
            break
    return removed


async def forget_leases(dsn: str, now: datetime.datetime) -> int:
    """Remove the leases that ended or were released over ten minutes before `now`, and by the database's clock; how many.

    Raises `Unavailable`. Harmless when several do it at once. Meant for every ten minutes: a license in use has a row for
    each machine it saw.
    """
    connection = await connect(dsn)
    try:
        with translated():
            clock: float = await connection.fetchval(load("clock"))
            return await forget_ended(connection, int(min(now.timestamp(), clock)))
    finally:
        await close(connection)


async def held_leases(dsn: str, now: datetime.datetime) -> int:
    """Return how many floating seats are held. Raises `Unavailable`; reads the whole table, of a million in some 0.4 s."""
    connection = await connect(dsn)
    try:
        with translated():
            held: int = await connection.fetchval(load("leases_held"), int(now.timestamp()))
            return held
    finally:
        await close(connection)
