"""The ops port: /healthz (alive), /readyz (really able to serve), /metrics (all workers together). Never on the API port.

The live page is there, too: server/live.
"""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import aiohttp
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from server import metrics

ASK_SECONDS = 2.0
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Sample(NamedTuple):
    """What one number counts: its family with type and documentation, and its own name and labels."""

    family: str
    type: str
    documentation: str
    name: str
    labels: tuple[tuple[str, str], ...]

    @property
    def is_worst(self) -> bool:
        """Whether the worst worker speaks for all: seconds that go up and down cannot be added."""
        return self.type == "gauge" and self.name.endswith("_seconds")


class Line:
    """The way to one worker: its unix socket, and what the worker had counted when last asked."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.counted: Mapping[Sample, float] = {}
        self._session: aiohttp.ClientSession | None = None
        self._life = 0

    async def get(self, path: str, seconds: float = ASK_SECONDS) -> tuple[int, str]:
        """Ask the worker; status 0 if it does not answer in time."""
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(self.path))
        try:
            async with self._session.get(f"http://worker{path}", timeout=aiohttp.ClientTimeout(total=seconds)) as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0, ""

    async def count(self, path: str = "/metrics", seconds: float = ASK_SECONDS) -> bool:
        """Ask what it has counted; False, and nothing is changed, if it does not answer or has ended meanwhile."""
        life = self._life
        status, text = await self.get(path, seconds)
        if status != web.HTTPOk.status_code or life != self._life:
            return False
        self.counted = dict(_samples(text))
        return True

    def ended(self) -> Mapping[Sample, float]:
        """Return what the worker that ended had counted: what goes up and down (gauges) ends with it."""
        lasting = {sample: value for sample, value in self.counted.items() if sample.type != "gauge"}
        self.counted = {}
        self._life += 1
        return lasting

    async def close(self) -> None:
        """Close the connection to the worker."""
        if self._session is not None:
            await self._session.close()


class Slot:
    """One worker's place: the worker in it, the one that leaves it, and what those before had counted."""

    def __init__(self, path: str) -> None:
        self._paths = (path, f"{path}2")  # taken in turns: a worker is there before the one that it replaces has left
        self._line = Line(path)
        self._leaving: Line | None = None
        self._before: Counter[Sample] = Counter()

    @property
    def path(self) -> str:
        """Return the unix socket of the worker."""
        return self._line.path

    async def get(self, path: str) -> tuple[int, str]:
        """Ask the worker; status 0 if it does not answer."""
        return await self._line.get(path)

    async def count(self) -> Mapping[Sample, float]:
        """Return what all lives of the worker have counted. One that does not answer has what it had: sums never go back."""
        for line in self._lines():
            await line.count()
        counted: Counter[Sample] = Counter(self._before)
        for line in self._lines():
            counted.update(line.counted)
        return counted

    def ended(self) -> None:
        """Keep what the worker that ended had counted."""
        self._before.update(self._line.ended())

    def other(self) -> Line:
        """Return the line to a worker that may take the place of this one."""
        return Line(self._paths[self._paths[0] == self.path])

    def take(self, line: Line) -> Line:
        """Have another worker in this place; return the line to the one that leaves, which counts until it has `left`."""
        self._leaving, self._line = self._line, line
        return self._leaving

    async def left(self) -> None:
        """Keep what the worker that left had counted."""
        if self._leaving is not None:
            gone, self._leaving = self._leaving, None
            self._before.update(gone.ended())
            await gone.close()

    async def close(self) -> None:
        """Close the connections to the workers."""
        for line in self._lines():
            await line.close()

    def _lines(self) -> list[Line]:
        return [line for line in (self._line, self._leaving) if line is not None]


def _samples(text: str) -> Iterable[tuple[Sample, float]]:
    """Return what a worker's metrics say; the times at which it began to count are its own affair."""
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            if not each.name.endswith("_created"):
                labels = tuple(sorted(each.labels.items()))
                yield Sample(family.name, family.type, family.documentation, each.name, labels), each.value


def together(counted: Iterable[Mapping[Sample, float]]) -> Mapping[Sample, float]:
    """Return each sample over all slots: counts are added, of ages the worst is shown."""
    found: dict[Sample, list[float]] = defaultdict(list)
    for each in counted:
        for sample, value in each.items():
            found[sample].append(value)
    return {sample: max(values, key=abs) if sample.is_worst else sum(values) for sample, values in found.items()}


class Merged(Collector):
    """The workers' metrics as one, by slot and never by process id."""

    def __init__(self, counted: Iterable[Mapping[Sample, float]]) -> None:
        self._counted = counted

    def collect(self) -> Iterable[Metric]:
        """Return every family once, each sample over all slots."""
        families: dict[str, Metric] = {}
        for sample, value in together(self._counted).items():
            family = families.setdefault(sample.family, Metric(sample.family, sample.documentation, sample.type))
            family.add_sample(sample.name, dict(sample.labels), value)
        return families.values()


class Ops:
    """The three answers. `state` gives what the supervisor knows: engines, and whether it is draining."""

    def __init__(self, slots: Sequence[Slot], state: Callable[[], Awaitable[dict[str, bool]]], names: Sequence[str]) -> None:
        self._slots = slots
        self._state = state
        self._names = frozenset(("localhost", "127.0.0.1", "[::1]", *names))

    def application(self, further: Iterable[web.RouteDef] = ()) -> web.Application:
        """Return the application of the ops port, with further routes."""
        application = web.Application(middlewares=[self._known_host])
        application.add_routes(
            [web.get("/healthz", self.health), web.get("/readyz", self.ready), web.get("/metrics", self.metrics), *further]
        )
        return application

    async def health(self, _request: web.Request) -> web.Response:
        """Alive: the process answers."""
        return web.Response(text="alive\n")

    async def ready(self, _request: web.Request) -> web.Response:
        """Ready: PostgreSQL answers, some worker serves, and no drain has begun. Valkey is shown and does not count."""
        shown = await self.readiness()
        return web.Response(
            status=200 if shown["ready"] else 503, text=json.dumps(shown) + "\n", content_type="application/json"
        )

    async def readiness(self) -> dict[str, object]:
        """Return what /readyz shows."""
        answers = await asyncio.gather(*(slot.get("/readyz") for slot in self._slots))
        serving = sum(status == web.HTTPOk.status_code for status, _ in answers)
        metrics.workers_ready.set(serving)
        state = await self._state()
        ready = serving > 0 and not state["draining"]
        return {"ready": ready, "workers": serving, "postgres": serving > 0, **state}

    async def metrics(self, _request: web.Request) -> web.Response:
        """Everything that is counted, of the supervisor and of all workers together."""
        await self.readiness()
        registry = CollectorRegistry(auto_describe=False)
        registry.register(Merged([await self.counted()]))
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def counted(self) -> Mapping[Sample, float]:
        """Return what the supervisor and all workers have counted, together."""
        counted = await asyncio.gather(*(slot.count() for slot in self._slots))
        return together([dict(_samples(generate_latest(metrics.SUPERVISOR).decode())), *counted])

    @web.middleware
    async def _known_host(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse foreign Host names: a page in somebody's browser must not read this port through a name of its own."""
        host = request.host.rpartition(":")[0] if request.host.rpartition(":")[2].isdigit() else request.host
        if host.lower() not in self._names:
            return web.Response(status=403, text="This Host name is not served here. See KEYTURN_OPS_NAMES.\n")
        return await handler(request)
