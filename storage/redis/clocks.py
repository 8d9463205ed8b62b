"""Holds the clocks of both engines against this process's own: leases end by theirs, and an operator must know."""

import asyncio
import time
from contextlib import suppress

import structlog

from server import metrics
from storage.errors import StorageError
from storage.ports import LeaseTable
from storage.redis.mux import Mux

EVERY_SECONDS = 60.0
APART_SECONDS = 1.0

log = structlog.get_logger()


async def compare(valkey: Mux, table: LeaseTable) -> None:
    """Compare now and every minute, for ever. An engine that does not answer is left out."""
    while True:
        with suppress(StorageError):
            if valkey.up:
                seconds, micros = await valkey.command("TIME")
                _judge("valkey", int(seconds) + int(micros) / 1e6)
        with suppress(StorageError):
            _judge("postgres", await table.clock())
        await asyncio.sleep(EVERY_SECONDS)


def _judge(engine: str, clock: float) -> None:
    difference = clock - time.time()
    metrics.clock_difference_seconds.labels(engine).set(difference)
    if abs(difference) > APART_SECONDS:
        do = "let both machines take their time from the same source: leases end by the clock of the engine"
        log.warning("clocks.differ", engine=engine, seconds=round(difference, 3), do=do)
