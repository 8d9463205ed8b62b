"""Messages to client software: read by every client again and again, in one statement; made and removed by hand."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from asyncpg.pool import PoolConnectionProxy

from storage.errors import Busy, Stale
from storage.postgres.reads import Reads
from storage.postgres.sql import load, statements
from storage.records import Edit, Message, Token

SQL, OBJECT_LOG, FACTS_STALE = statements("messages"), statements("object_log"), load("facts_stale")
CHANGE_SECONDS = 5.0


class Messages:
    """See `ports.Messages`. One change at a time in a worker: those who poll need the connections of the pool."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._turn = asyncio.Lock()

    async def newer(self, token: Token, channel: str, time: int, most: int) -> list[Message]:
        """See `ports.Messages`."""
        values = (token.account_id, channel, time, most, list(token.facts))
        found = await self._reads.fetch(SQL["newer"], *values)
        if found[0]["stale_facts"]:
            raise Stale
        return [Message(*tuple(row)[1:]) for row in found if row["id"] is not None]

    async def add(self, token: Token, *, content: str, channel: str, created: int, now: int) -> int:
        """See `ports.Messages`."""
        async with self._change(token) as connection:
            message_id: int = await connection.fetchval(SQL["add"], token.account_id, channel, content, created)
            told = {"channel": channel, "created": created}
            await connection.execute(OBJECT_LOG["add"], *_edit(token, message_id, "CreateMessage", told, now))
        return message_id

    async def remove(self, token: Token, message_id: int, now: int) -> bool:
        """See `ports.Messages`."""
        async with self._change(token) as connection:
            removed = await connection.fetchval(SQL["remove"], token.account_id, message_id)
            if removed is not None:
                await connection.execute(OBJECT_LOG["add"], *_edit(token, message_id, "RemoveMessage", {}, now))
        return removed is not None

    @asynccontextmanager
    async def _change(self, token: Token) -> AsyncIterator[PoolConnectionProxy]:
        """One transaction that writes a log, for a token that is found to be as it was."""
        try:
            async with asyncio.timeout(CHANGE_SECONDS), self._turn, self._reads.transaction() as connection:
                await connection.execute(OBJECT_LOG["writer_begins"])
                if await connection.fetchval(FACTS_STALE, list(token.facts)):
                    raise Stale
                yield connection
        except TimeoutError as error:
            raise Busy("not done in five seconds") from error


def _edit(token: Token, message_id: int, action: str, changes: Mapping[str, object], now: int) -> Edit:
    text = json.dumps(changes, separators=(",", ":"))
    return Edit(token.account_id, now, "Message", message_id, action, token.id, text)
