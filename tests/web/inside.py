"""A worker in the process of the tests: for what needs another patience, or a fault that no client can cause."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from servers import Live

from server import app, http
from server.config import Config


@dataclass(frozen=True, slots=True)
class Inside:
    """Where it listens, and what answers there."""

    url: str
    endpoint: http.Endpoint


@asynccontextmanager
async def worker_inside(live: Live, **settings: Any) -> AsyncIterator[Inside]:
    """Serve on the engines of a running server, with its keys, as one more worker of it, and with settings of its own."""
    engines = {"database_url": live.demo["postgres_dsn"], "redis_url": live.demo["redis_url"]}
    config = Config(data=live.data, **{**engines, **settings})
    async with app.worker(config) as worker:
        runner = web.ServerRunner(http.Server(worker.endpoint), shutdown_timeout=5)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0]
            yield Inside(f"http://{host}:{port}", worker.endpoint)
        finally:
            await runner.cleanup()
