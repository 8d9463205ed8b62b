"""What the supervisor has done again and again: upkeep, seats that ended, what has become too old, what has expired."""

import asyncio
import datetime
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import redis.asyncio
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from server import metrics
from server.account import operator
from server.rules.expiry import block_expired
from server.rules.privacy import mask
from storage.errors import NoLicense, NoProduct, StorageError
from storage.postgres import expired
from storage.postgres.ledger import Ledger
from storage.postgres.reads import Reads
from storage.postgres.retention import Periods, retain
from storage.postgres.upkeep import forget_leases, held_leases, upkeep

UPKEEP_SECONDS = 6 * 3600.0
LEASES_SECONDS = 600.0
SEATS_SECONDS = 30.0
COUNTING_SHARE = 100
RETENTION_SECONDS = 600.0  # how often it is asked whether a day has passed: by every host, also one that starts each hour
EXPIRED_SECONDS = 1800.0  # a license is blocked within an hour of its end
AGAIN_SECONDS = 60.0
DECIDED_AT_ONCE = 128
CACHE_BYTES = 2**24  # for the licenses of one such batch, and then some

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Place:
    """Where the jobs are done, and for how long what is kept."""

    dsn: str
    redis_url: str
    periods: Periods


@dataclass(frozen=True, slots=True)
class Job:
    """`do` is done every `seconds`, and `again` seconds after it failed, which is logged as `failed`."""

    do: Callable[[Place], Awaitable[None]]
    failed: str
    seconds: float
    again: float = AGAIN_SECONDS


async def repeat(job: Job, place: Place) -> None:
    """Do a job for ever, the first time at once."""
    while True:
        try:
            await job.do(place)
            pause = job.seconds
        except StorageError as error:
            log.warning(job.failed, why=str(error))
            pause = job.again
        await asyncio.sleep(pause)


async def valkey_time(redis_url: str) -> float | None:
    """Ask Valkey for its time, in Unix seconds; None if it is not there."""
    client = redis.asyncio.from_url(redis_url, retry=Retry(NoBackoff(), 0), socket_timeout=1, socket_connect_timeout=1)
    try:
        return float((await client.time())[0])
    except (RedisError, OSError):
        return None
    finally:
        await client.aclose()


async def _upkeep(place: Place) -> None:
    metrics.partition_days.set(await upkeep(place.dsn, datetime.datetime.now(datetime.UTC)))


async def _forget_leases(place: Place) -> None:
    """Remove the rows of floating seats that ended a while ago, by the clock that is behind.

    Their times are those of the engine that decided. A row that stays longer does no harm; one that goes too early does.
    """
    of_valkey = await valkey_time(place.redis_url)
    behind = min(time.time(), math.inf if of_valkey is None else of_valkey)
    await forget_leases(place.dsn, datetime.datetime.fromtimestamp(behind, datetime.UTC))


async def _count_seats(place: Place) -> None:
    """Count the floating seats that are held, with a hundredth of PostgreSQL's time for it at most."""
    started = time.monotonic()
    metrics.seats_held.set(await held_leases(place.dsn, datetime.datetime.now(datetime.UTC)))
    await asyncio.sleep(COUNTING_SHARE * (time.monotonic() - started))


async def _retain(place: Place) -> None:
    """Have each part of the daily job done that is due."""
    complete = await retain(place.dsn, datetime.datetime.now(datetime.UTC), place.periods, mask)
    metrics.retention_last.set(complete)


async def _block_expired(place: Place) -> None:
    """Block the licenses that have expired where their product wants it, a bounded number at a time.

    Through a ledger of its own, as every change of a license: one that was extended meanwhile is found to be, and left.
    """
    blocked = 0
    try:
        async with _ledger(place.dsn) as (ledger, reads):
            for product in await expired.products(reads):
                after: expired.Position | None = expired.START
                while after is not None:
                    keys, after = await expired.look(reads, product, after, int(ledger.now()))
                    for first in range(0, len(keys), DECIDED_AT_ONCE):
                        blocked += await _blocked(ledger, product, keys[first : first + DECIDED_AT_ONCE])
    finally:
        if blocked:
            log.info("expired.blocked", licenses=blocked)


async def _blocked(ledger: Ledger, product: expired.Blocking, keys: Sequence[str]) -> int:
    """Decide on licenses of a product, all at once; return how many were blocked. One that is gone meanwhile is none."""
    by_nobody = operator(product.account_id)
    rule = partial(block_expired, now=int(ledger.now()))
    decisions = (ledger.decide(by_nobody, product.id, key, rule) for key in keys)
    outcomes = await asyncio.gather(*decisions, return_exceptions=True)
    blocked = sum(not isinstance(outcome, BaseException) and outcome.answer for outcome in outcomes)
    metrics.expired_blocked.inc(blocked)
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, NoLicense | NoProduct):
            raise outcome
    return blocked


@asynccontextmanager
async def _ledger(dsn: str) -> AsyncIterator[tuple[Ledger, Reads]]:
    """Open a ledger for the length of a job, and what it reads with. Raises `Unavailable`."""
    async with AsyncExitStack() as closing:
        reads = Reads(dsn)
        closing.push_async_callback(reads.close)
        await reads.open()
        size = {"queue": DECIDED_AT_ONCE, "batch": DECIDED_AT_ONCE, "cache_bytes": CACHE_BYTES}
        ledger = Ledger(dsn, reads, **size, on_connect=_forget_nothing)
        closing.push_async_callback(ledger.close)
        await ledger.open()
        yield ledger, reads


def _forget_nothing() -> None:
    """Stand in for a worker's memory of tokens, which is void with a new connection."""


JOBS = (
    Job(_upkeep, "upkeep.failed", UPKEEP_SECONDS),
    Job(_forget_leases, "upkeep.leases_failed", LEASES_SECONDS, LEASES_SECONDS),
    Job(_count_seats, "upkeep.seats_not_counted", SEATS_SECONDS, LEASES_SECONDS),
    Job(_retain, "retention.failed", RETENTION_SECONDS),
    Job(_block_expired, "expired.failed", EXPIRED_SECONDS),
)
