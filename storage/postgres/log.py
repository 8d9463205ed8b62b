"""Reads the Web API log behind a barrier, so that a reader who follows the ids misses no row and sees none twice.

The barrier stands here for all who need it: `settled()`.
"""

import asyncio
import time

from server import metrics
from storage.errors import Stale, Unavailable
from storage.postgres.reads import Reads
from storage.postgres.sql import load
from storage.records import Entry, LoggedEntry, LogQuery, Token

HOLDERS, HORIZON, READ = load("barrier_holders"), load("log_horizon"), load("log_read")
WRITERS_LOCK = 5_437_140  # as in log_writer_begins()
BARRIER_SECONDS = 5.0


class Log:
    """See `ports.Log`."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def read(self, token: Token, query: LogQuery) -> list[LoggedEntry]:
        """See `ports.Log`.

        An id is drawn while its writer holds the shared lock. So once everybody who held it when the last id was read
        has ended, no row up to that id is still to come.
        """
        seen = (await self._reads.fetch(HORIZON, list(token.facts)))[0]
        if seen["stale_facts"]:
            raise Stale
        await settled(self._reads)
        found = await self._reads.fetch(
            READ,
            query.account_id, seen["horizon"], query.product_id, query.license_id, query.machine_code,
            query.friendly_name, list(query.states) or None, query.since, query.until, query.after_id, query.before_id,
            query.descending, query.limit,
        )  # fmt: skip
        return [LoggedEntry(row[0], Entry(*tuple(row)[1:])) for row in found]


async def settled(reads: Reads) -> None:
    """Return when every transaction that held the writers' lock at the time of the call has ended; blocks no writer.

    Those are the ones that write a log or leases, the ledger's batches among them.

    Raises `Unavailable` after five seconds.
    """
    started = time.monotonic()
    holders = (await reads.fetch(HOLDERS, WRITERS_LOCK, None))[0]["holders"]
    pause = 0.0005
    while holders:
        if time.monotonic() - started > BARRIER_SECONDS:
            raise Unavailable("a writer of the log did not end in five seconds")
        await asyncio.sleep(pause)
        pause = min(pause * 2, 0.05)
        holders = (await reads.fetch(HOLDERS, WRITERS_LOCK, holders))[0]["holders"]
    metrics.barrier_seconds.observe(time.monotonic() - started)
