"""The live page of the ops port: `/`, what it is made of below `/live/`, and its figures at `/live.json?since=`.

The page takes nothing from elsewhere and sends nothing there: its policy allows this host alone, and no words in a text
that came with the page become code or style.
"""

import asyncio
import hashlib
import math
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import orjson
import structlog
from aiohttp import web

from server import logs
from server.live.figures import Figures, sums
from server.live.history import KEPT_SECONDS, STEP_SECONDS, History
from server.ops import Ops

FOLDER = Path(__file__).parent / "static"
PAGE = "page.html"
PARTS = {
    PAGE: "text/html", "page.css": "text/css", "page.js": "text/javascript",
    "uPlot.min.css": "text/css", "uPlot.iife.min.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}  # fmt: skip
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
PAGE_BYTES, TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")

log = structlog.get_logger()


class Process(NamedTuple):
    """A process: its memory in bytes, and the CPU time that it has used, in s."""

    resident: int
    spent: float


class Live:
    """The page and its history. `pids` gives the processes of the workers that serve."""

    def __init__(self, ops: Ops, pids: Callable[[], Sequence[int]]) -> None:
        self._ops = ops
        self._pids = pids
        self._parts = {name: (FOLDER / name).read_bytes() for name in PARTS}
        self._version = hashlib.sha256(b"".join(self._parts.values())).hexdigest()[:12]
        self._history = History()
        self._spent: dict[int, float] = {}
        self._looked = 0.0
        self._now: dict[str, object] = {}
        self._began = time.time()

    def routes(self) -> Iterator[web.RouteDef]:
        """Return what the ops port is to serve for it."""
        yield web.get("/", self.part)
        yield web.get("/live.json", self.figures)
        for name in PARTS:
            yield web.get(f"/live/{name}", self.part)

    async def part(self, request: web.Request) -> web.Response:
        """Return the page, or what it is made of."""
        name = request.path.rpartition("/")[2] or PAGE
        return web.Response(body=self._parts[name], content_type=PARTS[name], charset="utf-8", headers=HEADERS)

    async def figures(self, request: web.Request) -> web.Response:
        """Return the figures after `since` (Unix seconds; whatever is no number: all of them), and how things stand."""
        told = {
            "version": self._version,
            "now": time.time(),
            "began": self._began,
            "step": STEP_SECONDS,
            "kept": KEPT_SECONDS,
            "state": self._now,
            "series": self._history.series(_number(request.query.get("since", ""))),
            "refusals": [each._asdict() for each in self._history.refusals()],
            "troubles": [each._asdict() for each in self._history.troubles()],
        }
        return web.Response(body=orjson.dumps(told), content_type="application/json", headers=HEADERS)

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Take a point every few seconds, meanwhile."""
        keeping = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            while not keeping.done():  # what a library is in the middle of may take a cancellation for its own
                keeping.cancel()
                await asyncio.wait([keeping], timeout=1.0)

    async def _keep(self) -> None:
        """Take points for ever. Whatever goes wrong with one is no reason to end the server."""
        due = time.monotonic()
        while True:
            try:
                await self.take()
            except Exception as error:  # noqa: BLE001 (a worker may be of another version)
                log.warning("live.not_taken", **logs.told(error))
            due = max(due + STEP_SECONDS, time.monotonic())
            await asyncio.sleep(due - time.monotonic())

    async def take(self) -> None:
        """Take one point."""
        shown = await self._ops.readiness()
        counted = sums(await self._ops.counted())
        processes = {pid: process for pid in self._pids() if (process := _look(pid))}
        memory = [process.resident for process in processes.values()]
        taken: Figures = {
            "postgres": float(bool(shown["postgres"])),
            "valkey": float(bool(shown["valkey"])),
            "memory": float(sum(memory)),
            "largest": float(max(memory, default=0)),
            "cpu": self._used(processes),
        }
        self._history.add(time.time(), time.monotonic(), counted, taken)
        signers = {key[1]: value for key, value in counted.items() if key[0] == "keyturn_signer"}
        self._now = {**shown, "signers": signers}

    def _used(self, processes: Mapping[int, Process]) -> float:
        """Return how many cores those have used since the last time that were there then, too."""
        now = time.monotonic()
        grown = sum(process.spent - self._spent[pid] for pid, process in processes.items() if pid in self._spent)
        seconds, self._looked = now - self._looked, now
        self._spent = {pid: process.spent for pid, process in processes.items()}
        return max(grown, 0.0) / seconds


def _look(pid: int) -> Process | None:
    """Look at a process; None if it is gone."""
    with suppress(OSError):
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # proc(5): from the third field on
        user, system, pages = (int(after_name[field - 3]) for field in (14, 15, 24))
        return Process(pages * PAGE_BYTES, (user + system) / TICKS)
    return None


def _number(text: str) -> float:
    with suppress(ValueError):
        number = float(text)
        return number if math.isfinite(number) else 0.0
    return 0.0
