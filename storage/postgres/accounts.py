"""The accounts, as a worker needs them at its start: whose signing keys to load."""

from storage.postgres.reads import Reads
from storage.postgres.sql import load
from storage.records import Account

ACCOUNTS = load("accounts")


async def accounts(reads: Reads) -> list[Account]:
    """Return all accounts with their public keys (DER). Raises `Unavailable`."""
    return [Account(row["id"], row["name"], row["public_key"]) for row in await reads.fetch(ACCOUNTS)]
