"""The worker processes of a supervisor: started, started again when they end, replaced one by one, ended in order."""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress

import structlog
from aiohttp import web

from server import metrics
from server.ops import Line, Slot

DRAIN_SECONDS = 12.0  # longer than a worker takes for it
READY_SECONDS = 60.0
QUICK_DEATH_SECONDS = 2.0
PAUSE_SECONDS = 1.0
POLL_SECONDS = 0.05

log = structlog.get_logger()

Process = asyncio.subprocess.Process


class Workers:
    """One worker in each slot, all of them on one listening socket, whose descriptor is `listening`.

    `spawn` runs a task whose failure is the supervisor's, `changed` hears the process ids whenever there are others. With
    `stop` set nobody is started any more.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        listening: int,
        environment: Mapping[str, str],
        *,
        stop: asyncio.Event,
        spawn: Callable[[Coroutine[None, None, None]], None],
        changed: Callable[[list[int]], None],
    ) -> None:
        self._slots = slots
        self._listening = listening
        self._environment = environment
        self._stop = stop
        self._spawn = spawn
        self._changed = changed
        self._serving: dict[int, Process] = {}
        self._running: set[Process] = set()  # those that come and those that leave, too
        self._changing = [asyncio.Lock() for _ in slots]

    @property
    def pids(self) -> list[int]:
        """Return the process ids of those that serve, in the order of their slots."""
        return [self._serving[slot].pid for slot in sorted(self._serving)]

    async def start(self) -> None:
        """Start all of them; they are not ready yet."""
        for slot in range(len(self._slots)):
            await self._start(slot)

    async def replace(self) -> bool:
        """Replace one after the other, by the program as it is on disk now.

        False if a new one does not get ready: the one before goes on then, and so do those that had not had their turn.
        """
        for slot in range(len(self._slots)):
            if self._stop.is_set() or not await self._replace(slot):
                return False
        return True

    async def end(self) -> None:
        """Let all answer what they have; end those that take too long."""
        self._stop.set()
        await self._end(self._running)

    async def _start(self, slot: int) -> None:
        self._put(slot, await self._run(slot, self._slots[slot].path))

    async def _run(self, slot: int, path: str) -> Process:
        """Start a worker that is to answer the supervisor at this unix socket."""
        with suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108 (a moment, and not for pathlib in a coroutine)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "server.worker", f"--slot={slot}", f"--socket={self._listening}",
            f"--ops={path}", f"--parent={os.getpid()}", pass_fds=(self._listening,), env=self._environment, process_group=0,
        )  # fmt: skip
        self._running.add(process)
        return process

    def _put(self, slot: int, process: Process) -> None:
        self._serving[slot] = process
        self._spawn(self._watch(slot, process))
        self._changed(self.pids)

    async def _watch(self, slot: int, process: Process) -> None:
        """Start another worker when this one ends by itself."""
        started = time.monotonic()
        code = await process.wait()
        self._running.discard(process)
        if self._stop.is_set() or self._serving[slot] is not process:
            return
        log.error("worker.ended", slot=slot, code=code)
        self._slots[slot].ended()
        metrics.worker_restarts.inc()
        if time.monotonic() - started < QUICK_DEATH_SECONDS:
            await asyncio.sleep(PAUSE_SECONDS)
        async with self._changing[slot]:
            if not self._stop.is_set() and self._serving[slot] is process:
                await self._start(slot)

    async def _replace(self, slot: int) -> bool:
        """Have a new worker serve, then the old one leave: there is never one less."""
        place = self._slots[slot]
        line = place.other()
        async with self._changing[slot]:
            process = await self._run(slot, line.path)
            if not await self._gets_ready(process, line):
                await line.close()
                await self._end([process])
                if not self._stop.is_set():
                    log.error("worker.not_replaced", slot=slot, do="the old one goes on; see the lines above")
                return False
            before, leaving = self._serving[slot], place.take(line)
            self._put(slot, process)
        if await leaving.count("/leave", DRAIN_SECONDS):
            await asyncio.wait([asyncio.ensure_future(before.wait())], timeout=DRAIN_SECONDS)
        await self._end([before])
        await place.left()
        log.info("worker.replaced", slot=slot, code=before.returncode)
        return True

    async def _gets_ready(self, process: Process, line: Line) -> bool:
        deadline = time.monotonic() + READY_SECONDS
        while process.returncode is None and time.monotonic() < deadline and not self._stop.is_set():
            status, _ = await line.get("/readyz")
            if status == web.HTTPOk.status_code:
                return True
            await asyncio.sleep(POLL_SECONDS)
        return False

    async def _end(self, processes: Iterable[Process]) -> None:
        running = [process for process in processes if process.returncode is None]
        for process in running:
            with suppress(ProcessLookupError):
                process.terminate()
        if running:
            _, late = await asyncio.wait([asyncio.ensure_future(each.wait()) for each in running], timeout=DRAIN_SECONDS)
            for process in running if late else ():
                with suppress(ProcessLookupError):
                    process.kill()
        self._running.difference_update(running)
