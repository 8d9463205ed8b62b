"""The process of one worker: an event loop that serves the inherited socket until told to end, then answers what has come.

Started by the supervisor as `python -m server.worker --slot N --socket FD --ops PATH --parent PID`; the settings come
by the environment. That, what is asked at PATH and SIGTERM is all that the two share: they may be of two versions.
"""

import argparse
import asyncio
import ctypes
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial

import structlog
import uvloop
from aiohttp import web
from prometheus_client import generate_latest

from server import app, config, edges, http, hugepages, logs, metrics, signing_keys
from storage.errors import StorageError

DRAIN_SECONDS = 10.0
LEFT_SECONDS = 0.5  # for what is still there after that
PATIENCE_SECONDS = 5.0  # with idle connections, of a worker that is replaced
PR_SET_PDEATHSIG = 1
GARBAGE = (20_000, 20, 50)  # new objects until the youngest are looked at; how often that, until those older are
PAGES_SECONDS = 10.0
FAILED = 1

log = structlog.get_logger()


class Readiness:
    """Whether this worker can serve, for the supervisor alone: a small HTTP server on a private unix socket.

    `leave` is called when the worker is to end because another one is there.
    """

    def __init__(self, worker: app.Worker, leave: Callable[[], None]) -> None:
        self._worker = worker
        self._leave = leave
        self._drained = asyncio.Event()
        self.draining = False

    def drained(self) -> None:
        """Say that the last call has been answered."""
        self._drained.set()

    async def ready(self, _request: web.Request) -> web.Response:
        """200 if a statement just came back from PostgreSQL and the ledger's connection stands, else 503."""
        try:
            await self._worker.reads.fetch("select 1")
        except StorageError:
            return web.Response(status=503)
        return web.Response(status=503 if self.draining or not self._worker.ledger.up else 200)

    async def metrics(self, _request: web.Request) -> web.Response:
        """Return the metrics of this worker, as text."""
        return web.Response(body=generate_latest(metrics.WORKER))

    async def leave(self, request: web.Request) -> web.Response:
        """Have the worker end, without haste; return the metrics once the last call has been answered."""
        self._leave()
        await self._drained.wait()
        return await self.metrics(request)

    def application(self) -> web.Application:
        """Return the three of them as an application."""
        application = web.Application()
        application.add_routes(
            [web.get("/readyz", self.ready), web.get("/metrics", self.metrics), web.get("/leave", self.leave)]
        )
        return application


async def serve(listening: socket.socket, ops_path: str, slot: int) -> int:
    """Serve until told to stop; return the exit code."""
    stop = asyncio.Event()
    async with app.worker(config.load()) as worker:
        server = http.Server(worker.endpoint)

        def end(patience: float = 0.0) -> None:
            server.patience = patience
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, end)
        readiness = Readiness(worker, partial(end, PATIENCE_SECONDS))
        ops = web.AppRunner(readiness.application(), access_log=None)
        await ops.setup()
        await web.UnixSite(ops, ops_path).start()
        runner = web.ServerRunner(server, shutdown_timeout=LEFT_SECONDS)
        await runner.setup()
        site = web.SockSite(runner, listening, backlog=edges.BACKLOG)
        await site.start()
        settle_garbage()
        gathering = asyncio.create_task(gather_pages())
        log.info("worker.serving", slot=slot)
        worker.ledger.failed.add_done_callback(lambda _failed: stop.set())
        await stop.wait()
        if worker.ledger.failed.done() and (error := worker.ledger.failed.exception()) is not None:
            log.error("worker.ledger_failed", slot=slot, **logs.told(error))
            os._exit(FAILED)  # its callers cannot be answered, so there is nothing to wait for
        gathering.cancel()
        readiness.draining = worker.endpoint.leaving = True
        await site.stop()  # nobody new: the other workers take who comes
        await server.drain(DRAIN_SECONDS)
        await runner.cleanup()
        readiness.drained()
        await ops.cleanup()
    log.info("worker.stopped", slot=slot)
    return 0


def settle_garbage() -> None:
    """Have the collector of cycles look at new objects only, and seldom: it took 7 % of a worker's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)


async def gather_pages() -> None:
    """Have the heap in huge pages as it grows. It is done in a thread: 60 MiB take 160 ms the first time, then 0.2 ms."""
    while True:
        await asyncio.sleep(PAGES_SECONDS)
        await asyncio.to_thread(hugepages.gather)


def end_with(parent: int) -> None:
    """Have the kernel end this process when the supervisor dies; if it is dead already, end now."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(FAILED)


def allow_connections() -> None:
    """Let this process have as many files, and so connections, as it may: the usual 1,024 are for users of select()."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    """Run one worker."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--slot", type=int, required=True)
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--ops", required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    end_with(arguments.parent)
    allow_connections()
    logs.configure(config.load().log_level)
    listening = socket.socket(fileno=arguments.socket)
    try:
        code = uvloop.run(serve(listening, arguments.ops, arguments.slot))
    except (StorageError, config.ConfigError, signing_keys.KeyFileError) as error:
        log.error("worker.cannot_start", slot=arguments.slot, why=str(error))  # noqa: TRY400 (expected, no traceback)
        code = FAILED
    sys.exit(code)


if __name__ == "__main__":
    main()
