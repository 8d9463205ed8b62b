"""The process that owns everything else: the listening socket, the embedded engines, the workers, the ops port.

It binds the socket once and hands it down; what ends by itself is started again; a signal ends all of it in order.
"""

import asyncio
import contextlib
import datetime
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Protocol

import structlog
from aiohttp import web

from server import demo, edges, logs, metrics
from server.account import ensure
from server.config import Config, ConfigError
from server.engine import forget_engines, own, write_engines
from server.jobs import JOBS, Place, repeat, valkey_time
from server.live.page import Live
from server.ops import Ops, Slot
from server.signing_keys import passphrase
from server.systemd import READY, RELOADING, STOPPING, inherited, notify
from server.workers import READY_SECONDS, Workers
from storage.embedded.home import prepare
from storage.embedded.postgres import Postgres
from storage.embedded.valkey import Valkey
from storage.postgres.admin import administration
from storage.postgres.migrate import migrate
from storage.postgres.retention import Periods

OPS_KEEP_ALIVE_SECONDS = 75.0
PAUSE_SECONDS = 1.0
FAILED = 1

log = structlog.get_logger()


class Engine(Protocol):
    """An embedded engine, as the supervisor sees it."""

    async def start(self) -> None:
        """Return when it answers."""
        ...

    async def wait(self) -> int:
        """Return its exit code when it ends."""
        ...

    async def stop(self) -> None:
        """End it."""
        ...


class Supervisor:
    """One installation on this host. `config` is as the user gave it; workers get it with the engines' addresses."""

    def __init__(self, config: Config, *, with_demo: bool) -> None:
        self._config = config
        self._with_demo = with_demo
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._replace = asyncio.Event()
        self._terminal = [descriptor for descriptor in range(3) if os.isatty(descriptor)]
        self._announced = False
        self._failed = False
        self._postgres_dsn = config.database_url
        self._redis_url = config.redis_url
        self._engines: list[tuple[str, Engine]] = []
        self._run = Path(tempfile.mkdtemp(prefix="keyturn-run-"))
        count = config.workers or os.cpu_count() or 1
        self._slots = [Slot(str(self._run / f"worker-{slot}.sock")) for slot in range(count)]
        metrics.workers.set(count)
        self._demo: demo.Demo | None = None

    async def run(self) -> int:
        """Start everything, serve until SIGTERM or SIGINT, stop everything. Returns the exit code.

        SIGHUP has the workers replaced one by one.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(shutil.rmtree, self._run, ignore_errors=True)
            given = inherited(os.environ, os.getpid())
            listening = stack.enter_context(given or _bind(self._config.host, self._config.port))
            ops_socket = stack.enter_context(_bind(self._config.ops_host, self._ops_port(listening)))
            if not (self._postgres_dsn and self._redis_url):
                stack.enter_context(own(self._config.data))  # given up only when the engines have ended
                stack.callback(forget_engines, self._config.data)
            stack.push_async_callback(self._end_engines)
            stack.push_async_callback(self._end_tasks)  # before that: they would start an engine again
            await self._start_engines()
            await self._prepare_database()
            workers = self._make_workers(listening)
            stack.push_async_callback(self._end_workers, workers)
            await workers.start()
            ops = self._ops()
            live = Live(ops, lambda: workers.pids)
            application = ops.application(live.routes())
            runner = web.AppRunner(application, access_log=None, keepalive_timeout=OPS_KEEP_ALIVE_SECONDS)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.SockSite(runner, ops_socket).start()
            if await self._until_ready():
                self._announce(listening, ops_socket, workers)
                self._spawn(self._replace_on_demand(workers))
                await stack.enter_async_context(live.kept())  # ends before the workers do, whom it asks
                for job in JOBS:
                    self._spawn(repeat(job, self._place()))
                notify(os.environ.get("NOTIFY_SOCKET", ""), READY)
                await self._stop.wait()
            notify(os.environ.get("NOTIFY_SOCKET", ""), STOPPING)
            log.info("supervisor.draining")
            listening.close()  # nobody new: whoever is connected gets an answer
        log.info("supervisor.stopped")
        return FAILED if self._failed else 0

    def _ops_port(self, listening: socket.socket) -> int:
        """PORT+1 unless set; any free one if the API took any free one."""
        if self._config.ops_port or not self._config.port:
            return self._config.ops_port
        return int(listening.getsockname()[1]) + 1

    # Engines

    async def _start_engines(self) -> None:
        """Start the engines that the user has not given, and say for other commands where they are."""
        if self._postgres_dsn and self._redis_url:
            return
        home = prepare(self._config.data)
        if not self._postgres_dsn:
            postgres = Postgres(home)
            await self._start_engine("postgres", postgres)
            self._postgres_dsn = postgres.dsn
        if not self._redis_url:
            valkey = Valkey(home)
            await self._start_engine("valkey", valkey)
            self._redis_url = valkey.url
        write_engines(self._config.data, self._postgres_dsn, self._redis_url)

    async def _start_engine(self, name: str, engine: Engine) -> None:
        started = time.monotonic()
        await engine.start()
        log.info("engine.started", engine=name, seconds=round(time.monotonic() - started, 2))
        self._engines.append((name, engine))
        self._spawn(self._watch_engine(name, engine))

    async def _watch_engine(self, name: str, engine: Engine) -> None:
        """Start the engine again whenever it ends, until the end of all."""
        metrics.engine_up.labels(name).set(1)
        metrics.engine_restarts.labels(name)  # at 0 from the start
        while True:
            code = await engine.wait()
            metrics.engine_up.labels(name).set(0)
            log.error("engine.ended", engine=name, code=code, do="it is started again; see its log in DATA")
            while True:
                try:
                    await engine.start()
                    break
                except Exception as error:  # noqa: BLE001 (whatever it is: say it, and try again)
                    log.error("engine.not_started", engine=name, why=str(error))  # noqa: TRY400
                    await asyncio.sleep(PAUSE_SECONDS)
            metrics.engine_restarts.labels(name).inc()
            metrics.engine_up.labels(name).set(1)

    async def _end_engines(self) -> None:
        for _name, engine in reversed(self._engines):
            await engine.stop()

    async def _prepare_database(self) -> None:
        now = datetime.datetime.now(datetime.UTC)
        for name in await migrate(self._postgres_dsn, now):
            log.info("schema.migrated", migration=name)
        async with administration(self._postgres_dsn) as admin:
            secret = passphrase(self._config.signing_passphrase_file)
            account = await ensure(admin, self._config.data / "keys", secret, int(now.timestamp()))
            if self._with_demo:
                self._demo = await demo.prepare(admin, self._postgres_dsn, account, self._config.data)

    # Workers

    def _make_workers(self, listening: socket.socket) -> Workers:
        engines = {"DATABASE_URL": self._postgres_dsn, "REDIS_URL": self._redis_url}
        environment = {**os.environ, "DATA": str(self._config.data), **engines}
        return Workers(
            self._slots, listening.fileno(), environment,
            stop=self._stop, spawn=self._spawn, changed=self._workers_changed,
        )  # fmt: skip

    def _workers_changed(self, pids: list[int]) -> None:
        if self._demo is not None and self._announced:
            self._demo.write(worker_pids=pids)

    def _hung_up(self) -> None:
        """Tell a terminal that was closed, which ends what runs in it, from somebody who wants new workers."""
        if not self._terminal or any(map(os.isatty, self._terminal)):
            self._replace.set()
            return
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in self._terminal:
            os.dup2(nowhere, descriptor)  # the log's lines would be errors
        self._stop.set()

    async def _replace_on_demand(self, workers: Workers) -> None:
        while True:
            await self._replace.wait()
            self._replace.clear()
            notify(os.environ.get("NOTIFY_SOCKET", ""), f"{RELOADING}\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
            if await workers.replace():
                log.info("supervisor.replaced", workers=len(self._slots))
            notify(os.environ.get("NOTIFY_SOCKET", ""), READY)

    async def _end_workers(self, workers: Workers) -> None:
        await workers.end()
        for slot in self._slots:
            await slot.close()

    # Watching

    def _ops(self) -> Ops:
        return Ops(self._slots, self._state, (self._config.ops_host, *self._config.ops_names))

    async def _state(self) -> dict[str, bool]:
        return {"draining": self._stop.is_set(), "valkey": await valkey_time(self._redis_url) is not None}

    async def _until_ready(self) -> bool:
        """Wait until every worker serves; False if told to stop before."""
        deadline = time.monotonic() + READY_SECONDS
        while not self._stop.is_set():
            answers = await asyncio.gather(*(slot.get("/readyz") for slot in self._slots))
            if all(status == web.HTTPOk.status_code for status, _ in answers):
                return True
            if time.monotonic() > deadline:
                raise ConfigError(f"The workers did not get ready in {READY_SECONDS:.0f} s; the log lines above say why.")
            await asyncio.sleep(0.05)
        return False

    def _announce(self, listening: socket.socket, ops_socket: socket.socket, workers: Workers) -> None:
        url, ops_url = _url(listening), _url(ops_socket)
        self._announced = True
        log.info("supervisor.serving", url=url, ops_url=ops_url, workers=len(self._slots))
        if self._demo is not None:
            self._demo.write(
                url=url,
                ops_url=ops_url,
                supervisor_pid=os.getpid(),
                worker_pids=workers.pids,
                postgres_dsn=self._postgres_dsn,
                redis_url=self._redis_url,
            )
            sys.stdout.write(self._demo.how_to_try())
            sys.stdout.flush()

    def _place(self) -> Place:
        config = self._config
        periods = Periods(config.anonymise_months, config.event_days, config.log_months)
        return Place(self._postgres_dsn, self._redis_url, periods)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("supervisor.task_failed", **logs.told(error))
            self._failed = True
            self._stop.set()

    async def _end_tasks(self) -> None:
        """Cancel until all have ended: what a library is in the middle of may take the first cancellation for its own."""
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=PAUSE_SECONDS)


async def serve(config: Config, *, demo: bool) -> int:
    """Run an installation until it is told to stop; return the exit code."""
    logs.configure(config.log_level)
    return await Supervisor(config, with_demo=demo).run()


def _bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes any free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(edges.BACKLOG)
    except OSError as error:
        bound.close()
        why = f"Cannot listen on {host}:{port}: {error.strerror}. Choose another PORT or KEYTURN_HOST."
        raise ConfigError(why) from error
    bound.setblocking(False)  # noqa: FBT003 (the standard library's signature)
    return bound


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
