"""Access tokens: kept in memory with their stamps; every call that uses one has it checked in PostgreSQL."""

from storage.errors import NoLicense, NoProduct, Stale, StorageError
from storage.lru import Lru
from storage.postgres import rows
from storage.postgres.reads import Reads
from storage.postgres.sql import load
from storage.records import Derived, Token
from storage.stamps import new_stamp

CACHED = 10_000
MOST_DERIVED = 1_000  # good ones of one license (protocol: auth, KeyLock)
TOKEN_LOAD, FACTS_STALE, DERIVE = load("token_load"), load("facts_stale"), load("token_derive")
REFUSED: dict[str, type[StorageError]] = {"token": Stale, "product": NoProduct, "license": NoLicense}


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

    def known(self, token_id: int) -> Token | None:
        """See `ports.Tokens`."""
        return self._known.get(token_id)

    async def confirm(self, token: Token) -> bool:
        """See `ports.Tokens`."""
        stale = (await self._reads.fetch(FACTS_STALE, token.facts))[0]["stale_facts"]
        if stale:
            self._known.drop(token.id)
        return not stale

    async def derive(self, token: Token, product_id: int, key: str, secret_hash: bytes, now: int) -> Derived:
        """See `ports.Tokens`."""
        row = await self._reads.call(
            DERIVE,
            token.account_id, product_id, key, list(token.facts), token.id, secret_hash, now, new_stamp(), new_stamp(),
            MOST_DERIVED,
        )  # fmt: skip
        if (refused := REFUSED.get(row["outcome"])) is not None:
            raise refused
        return Derived(row["license_id"], row["token_id"])

    def forget(self) -> None:
        """Forget all: the database connection is new."""
        self._known.clear()
