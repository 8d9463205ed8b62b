"""What tests of storage share: a database with an account and a product in it, and a worker, or two, of it."""

from collections.abc import AsyncIterator

import pytest
from world import World, make, worker

from storage.postgres.ledger import Ledger


@pytest.fixture
async def world(dsn: str) -> AsyncIterator[World]:
    made = await make(dsn)
    yield made
    await made.close()


@pytest.fixture
async def other(world: World) -> AsyncIterator[Ledger]:
    """The ledger of a second worker."""
    reads, _, ledger = await worker(world.dsn)
    yield ledger
    await ledger.close()
    await reads.close()
