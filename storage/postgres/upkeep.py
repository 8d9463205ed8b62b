"""What the supervisor has done regularly: room for the log ahead, and lanes that nobody uses any more taken away."""

import datetime

from storage.postgres.connect import translated
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
