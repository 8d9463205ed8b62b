"""The supervisor ends what it has under way, also what does not end when it is first told."""

import asyncio
import shutil

import pytest

from server import supervisor
from server.config import Config


async def test_a_task_that_takes_a_cancellation_for_another_ones_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "PAUSE_SECONDS", 0.01)
    one = supervisor.Supervisor(Config(), with_demo=False)
    swallowed = 0

    async def closes_a_connection() -> None:
        nonlocal swallowed
        while swallowed < 2:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                swallowed += 1
        await asyncio.sleep(60)

    try:
        one._spawn(closes_a_connection())
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await one._end_tasks()
    finally:
        shutil.rmtree(one._run)
    assert swallowed == 2
