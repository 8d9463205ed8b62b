"""The condition of a Valkey or Redis, as `keyturn doctor` reads it. What of it is wrong is not said here."""

import time
from typing import NamedTuple

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from storage.errors import Unavailable

SECONDS = 2.0
SECTIONS = ("server", "replication", "memory", "persistence")


class Condition(NamedTuple):
    """A server that answers. `product` is valkey or redis, `ahead` its clock against ours in seconds.

    `used` and `most` are bytes of memory (most 0: no bound); `kept` is what it keeps on disk, and `unsaved` what of that it
    could not write the last time.
    """

    product: str
    version: str
    ahead: float
    replica: bool
    policy: str
    most: int
    used: int
    kept: tuple[str, ...]
    unsaved: tuple[str, ...]


async def condition(url: str) -> Condition:
    """Read it. Raises `Unavailable`, which names the error without its text: that may quote the password."""
    client = redis.asyncio.from_url(
        url, retry=Retry(NoBackoff(), 0), socket_timeout=SECONDS, socket_connect_timeout=SECONDS, decode_responses=True
    )
    try:
        before = time.time()
        seconds, micros = await client.time()
        ahead = seconds + micros / 1e6 - (before + time.time()) / 2
        facts = await client.info(*SECTIONS)
        kept = {
            "snapshots": (await _saves(client), "rdb_last_bgsave_status"),
            "an append-only file": (bool(facts.get("aof_enabled")), "aof_last_write_status"),
        }
    except (RedisError, OSError) as error:
        raise Unavailable(type(error).__name__) from error
    finally:
        await client.aclose()
    return Condition(
        product="valkey" if "valkey_version" in facts else "redis",
        version=str(facts.get("valkey_version", facts["redis_version"])),
        ahead=ahead,
        replica=facts["role"] != "master",
        policy=str(facts.get("maxmemory_policy", "noeviction")),
        most=int(facts.get("maxmemory", 0)),
        used=int(facts["used_memory"]),
        kept=tuple(what for what, (keeps, _) in kept.items() if keeps),
        unsaved=tuple(what for what, (keeps, status) in kept.items() if keeps and facts.get(status, "ok") != "ok"),
    )


async def _saves(client: redis.asyncio.Redis) -> bool:
    """Whether it makes snapshots by itself. Where we may not ask for its settings, it is taken to."""
    try:
        return bool((await client.config_get("save"))["save"])
    except ResponseError:
        return True
