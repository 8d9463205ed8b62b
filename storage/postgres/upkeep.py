"""What the supervisor has done regularly: room for the log ahead; lanes and leases that nobody needs any more removed."""

import datetime

from storage.postgres.connect import close, connect, translated
from storage.postgres.leases import forget_ended
from storage.postgres.migrate import MIGRATION_LOCK, make_partitions, unlimited
from storage.postgres.sql import load


async def upkeep(dsn: str, now: datetime.datetime) -> float:
    """Do it; return for how many days ahead of `now` the log has partitions. Raises `Unavailable`, `SchemaError`."""
    async with unlimited(dsn) as connection:
        with translated():
            await connection.execute("select pg_advisory_lock($1)", MIGRATION_LOCK)
            await make_partitions(connection, now)
            await connection.execute(load("lanes_forget"))
            until: int = await connection.fetchval(load("partitions"))
    return (until - now.timestamp()) / 86_400


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
