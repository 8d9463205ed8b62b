"""Events that client software tells of itself: those without a license are written here, and all are read here.

Those of a license are written by the ledger. Reading is behind the barrier, as with the Web API log.
"""

import asyncio
from collections.abc import Sequence

from storage.errors import NoProduct, Stale
from storage.postgres.log import settled
from storage.postgres.reads import Reads
from storage.postgres.sql import load
from storage.records import Event, EventQuery, LoggedEvent, Token

ADD, HORIZON, READ = load("events_add"), load("event_horizon"), load("events_read")
AT_ONCE = 2  # commits under way: licenses are read over the same connections, and must not wait for many of them
NO_GROUP = 0  # what stands before an event in SQL: the ordinal of a license in its batch


class Events:
    """See `ports.Events`. `reports` is for what has to be planned for what it asks."""

    def __init__(self, reads: Reads, reports: Reads) -> None:
        self._reads = reads
        self._reports = reports
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def add(self, token: Token, product_id: int, events: Sequence[Event]) -> None:
        """See `ports.Events`."""
        rows = [(NO_GROUP, *event) for event in events]
        async with self._turns:
            outcome = (await self._reads.call(ADD, token.account_id, product_id, list(token.facts), rows))["outcome"]
        if outcome == "token":
            raise Stale
        if outcome == "product":
            raise NoProduct

    async def read(self, token: Token, query: EventQuery) -> list[LoggedEvent]:
        """See `ports.Events`. An id is drawn while its writer holds the lock that the barrier waits for."""
        seen = (await self._reports.fetch(HORIZON, list(token.facts)))[0]
        if seen["stale_facts"]:
            raise Stale
        await settled(self._reports)
        found = await self._reports.fetch(
            READ,
            query.account_id, seen["horizon"], query.product_id, query.license_id, query.metadata, query.since,
            query.until, query.after_id, query.before_id, query.limit,
        )  # fmt: skip
        return [LoggedEvent(row[0], row[1], Event(*tuple(row)[2:])) for row in found]
