"""Connections to PostgreSQL, and how they end."""

import asyncio

import pytest

from storage.postgres.connect import close, connect


async def test_who_is_cancelled_while_it_closes_a_connection_is_cancelled_and_the_connection_cut(dsn: str) -> None:
    connection = await connect(dsn)
    closing = asyncio.create_task(close(connection))
    await asyncio.sleep(0)  # now it waits for the server to close its end
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert connection.is_closed()


async def test_a_connection_is_closed_in_order_and_once(dsn: str) -> None:
    connection = await connect(dsn)
    for _ in range(2):
        await close(connection)
        assert connection.is_closed()
