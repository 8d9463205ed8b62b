"""Tries whether Valkey lets us do what the seats need: run scripts that write."""

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from storage.errors import Unavailable
from storage.redis.condition import SECONDS
from storage.redis.keys import probe_key
from storage.redis.lua import trial_script


async def refusal(url: str) -> str:
    """Return the word that Valkey refuses with, such as NOPERM or OOM; '' if it does not. Raises `Unavailable`."""
    client = redis.asyncio.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=SECONDS, socket_connect_timeout=SECONDS)
    try:
        await client.eval(trial_script(), 1, probe_key("init"))
    except ResponseError as error:
        return type(error).__name__.removesuffix("Error")
    except (RedisError, OSError) as error:
        raise Unavailable(type(error).__name__) from error
    finally:
        await client.aclose()
    return ""
