"""What tells this installation from others that may share an engine with it."""

from storage.postgres.reads import Reads
from storage.postgres.sql import load

INSTALLATION = load("installation")


async def installation(reads: Reads) -> str:
    """Return the short id of the installation: made by the first migration, anew by a restore. Raises `Unavailable`."""
    return str((await reads.fetch(INSTALLATION))[0]["id"])
