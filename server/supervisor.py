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
from server.ops import Ops, Slot
from server.signing_keys import passphrase
from storage.embedded.home import prepare
from storage.embedded.postgres import Postgres
from storage.embedded.valkey import Valkey
from storage.postgres.admin import administration
from storage.postgres.migrate import migrate
from storage.postgres.retention import Periods

DRAIN_SECONDS = 12.0
READY_SECONDS = 60.0
OPS_KEEP_ALIVE_SECONDS = 75.0
QUICK_DEATH_SECONDS = 2.0
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
        self._workers: dict[int, asyncio.subprocess.Process] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._draining = False
        self._announced = False
        self._failed = False
        self._postgres_dsn = config.database_url
        self._redis_url = config.redis_url
        self._engines: list[tuple[str, Engine]] = []
        self._run = Path(tempfile.mkdtemp(prefix="keyturn-run-"))
        count = config.workers or os.cpu_count() or 1
        self._slots = [Slot(str(self._run / f"worker-{slot}.sock")) for slot in range(count)]
        self._demo: demo.Demo | None = None

    async def run(self) -> int:
        """Start everything, serve until SIGTERM or SIGINT, stop everything. Returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(shutil.rmtree, self._run, ignore_errors=True)
            listening = stack.enter_context(_bind(self._config.host, self._config.port))
            ops_socket = stack.enter_context(_bind(self._config.ops_host, self._ops_port(listening)))
            if not (self._postgres_dsn and self._redis_url):
                stack.enter_context(own(self._config.data))  # given up only when the engines have ended
                stack.callback(forget_engines, self._config.data)
            stack.push_async_callback(self._end_engines)
            stack.push_async_callback(self._end_tasks)  # before that: they would start an engine again
            await self._start_engines()
            await self._prepare_database()
            stack.push_async_callback(self._end_workers)
            for slot in range(len(self._slots)):
                await self._start_worker(slot, listening)
            runner = web.AppRunner(self._ops().application(), access_log=None, keepalive_timeout=OPS_KEEP_ALIVE_SECONDS)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.SockSite(runner, ops_socket).start()
            if await self._until_ready():
                self._announce(listening, ops_socket)
                for job in JOBS:
                    self._spawn(repeat(job, self._place()))
                await self._stop.wait()
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

    async def _start_worker(self, slot: int, listening: socket.socket) -> None:
        path = self._slots[slot].path
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108 (a moment, and not for pathlib in a coroutine)
        environment = {
            **os.environ,
            "DATA": str(self._config.data),
            "DATABASE_URL": self._postgres_dsn,
            "REDIS_URL": self._redis_url,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "server.worker", f"--slot={slot}", f"--socket={listening.fileno()}", f"--ops={path}",
            f"--parent={os.getpid()}", pass_fds=(listening.fileno(),), env=environment, process_group=0,
        )  # fmt: skip
        self._workers[slot] = process
        self._spawn(self._watch_worker(slot, process, listening))

    async def _watch_worker(self, slot: int, process: asyncio.subprocess.Process, listening: socket.socket) -> None:
        """Start another worker when this one ends."""
        started = time.monotonic()
        code = await process.wait()
        if self._draining or self._stop.is_set():
            return
        log.error("worker.ended", slot=slot, code=code)
        self._slots[slot].ended()
        metrics.worker_restarts.inc()
        if time.monotonic() - started < QUICK_DEATH_SECONDS:
            await asyncio.sleep(PAUSE_SECONDS)
        await self._start_worker(slot, listening)
        if self._demo is not None and self._announced:
            self._demo.write(worker_pids=self._pids())

    async def _end_workers(self) -> None:
        """Let the workers answer what they have; end those that take too long."""
        self._draining = True
        running = [process for process in self._workers.values() if process.returncode is None]
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        if running:
            _, late = await asyncio.wait([asyncio.ensure_future(each.wait()) for each in running], timeout=DRAIN_SECONDS)
            for process in running if late else ():
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
        for slot in self._slots:
            await slot.close()

    def _pids(self) -> list[int]:
        return [self._workers[slot].pid for slot in sorted(self._workers)]

    # Watching

    def _ops(self) -> Ops:
        return Ops(self._slots, self._state, (self._config.ops_host, *self._config.ops_names))

    async def _state(self) -> dict[str, bool]:
        return {"draining": self._draining or self._stop.is_set(), "valkey": await valkey_time(self._redis_url) is not None}

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

    def _announce(self, listening: socket.socket, ops_socket: socket.socket) -> None:
        url, ops_url = _url(listening), _url(ops_socket)
        self._announced = True
        log.info("supervisor.serving", url=url, ops_url=ops_url, workers=len(self._slots))
        if self._demo is not None:
            self._demo.write(
                url=url,
                ops_url=ops_url,
                supervisor_pid=os.getpid(),
                worker_pids=self._pids(),
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
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


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
