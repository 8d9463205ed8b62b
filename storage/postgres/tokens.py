"""Access tokens: kept in memory with their stamps; every call that uses one has it checked in PostgreSQL."""

from storage.lru import Lru
from storage.postgres import rows
from storage.postgres.reads import Reads
from storage.postgres.sql import load
from storage.records import Token

CACHED = 10_000
TOKEN_LOAD, FACTS_STALE = load("token_load"), load("facts_stale")


class Tokens:
    """See `ports.Tokens`. Unknown tokens are not remembered: they would be a way to fill the memory."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._known: Lru[int, Token] = Lru(CACHED)

    async def find(self, token_id: int) -> Token | None:
        """See `ports.Tokens`."""
        if (token := self._known.get(token_id)) is not None:
            return token
        found = await self._reads.fetch(TOKEN_LOAD, token_id)
        if not found:
            return None
        token = rows.token(found[0])
        self._known.put(token_id, token)
        return token

    async def confirm(self, token: Token) -> bool:
        """See `ports.Tokens`."""
        stale = (await self._reads.fetch(FACTS_STALE, token.facts))[0]["stale_facts"]
        if stale:
            self._known.drop(token.id)
        return not stale

    def forget(self) -> None:
        """Forget all: the database connection is new."""
        self._known.clear()
