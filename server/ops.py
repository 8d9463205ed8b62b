"""The ops port: /healthz (alive), /readyz (really able to serve), /metrics (all workers together). Never on the API port."""

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


class Slot:
    """One worker's place: its unix socket, what its worker had counted when last asked, and what earlier lives had."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._session: aiohttp.ClientSession | None = None
        self._life = 0
        self._now: Mapping[Sample, float] = {}
        self._before: Counter[Sample] = Counter()

    async def get(self, path: str) -> tuple[int, str]:
        """Ask the worker; status 0 if it does not answer."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=ASK_SECONDS)
            self._session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(self.path), timeout=timeout)
        try:
            async with self._session.get(f"http://worker{path}") as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0, ""

    async def count(self) -> Mapping[Sample, float]:
        """Return what all lives of the worker have counted. One that does not answer has what it had: sums never go back."""
        life = self._life
        status, text = await self.get("/metrics")
        if status == web.HTTPOk.status_code and life == self._life:
            self._now = dict(_samples(text))
        return {sample: self._now.get(sample, 0.0) + self._before[sample] for sample in {**self._before, **self._now}}

    def ended(self) -> None:
        """Keep what the worker that ended had counted; what goes up and down (gauges) ends with it."""
        self._before.update({sample: value for sample, value in self._now.items() if sample.type != "gauge"})
        self._now = {}
        self._life += 1

    async def close(self) -> None:
        """Close the connection to the worker."""
        if self._session is not None:
            await self._session.close()


def _samples(text: str) -> Iterable[tuple[Sample, float]]:
    """Return what a worker's metrics say; the times at which it began to count are its own affair."""
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            if not each.name.endswith("_created"):
                labels = tuple(sorted(each.labels.items()))
                yield Sample(family.name, family.type, family.documentation, each.name, labels), each.value


class Merged(Collector):
    """The workers' metrics as one, by slot and never by process id: counts are added, of ages the worst is shown."""

    def __init__(self, counted: Iterable[Mapping[Sample, float]]) -> None:
        self._counted = counted

    def collect(self) -> Iterable[Metric]:
        """Return every family once, each sample over all slots."""
        found: dict[Sample, list[float]] = defaultdict(list)
        for counted in self._counted:
            for sample, value in counted.items():
                found[sample].append(value)
        families: dict[str, Metric] = {}
        for sample, values in found.items():
            value = max(values, key=abs) if sample.is_worst else sum(values)
            family = families.setdefault(sample.family, Metric(sample.family, sample.documentation, sample.type))
            family.add_sample(sample.name, dict(sample.labels), value)
        return families.values()


class Ops:
    """The three answers. `state` gives what the supervisor knows: engines, and whether it is draining."""

    def __init__(self, slots: Sequence[Slot], state: Callable[[], Awaitable[dict[str, bool]]], names: Sequence[str]) -> None:
        self._slots = slots
        self._state = state
        self._names = frozenset(("localhost", "127.0.0.1", "[::1]", *names))

    def application(self) -> web.Application:
        """Return the application of the ops port."""
        application = web.Application(middlewares=[self._known_host])
        application.add_routes(
            [web.get("/healthz", self.health), web.get("/readyz", self.ready), web.get("/metrics", self.metrics)]
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
        counted = await asyncio.gather(*(slot.count() for slot in self._slots))
        await self.readiness()
        own = dict(_samples(generate_latest(metrics.SUPERVISOR).decode()))
        registry = CollectorRegistry(auto_describe=False)
        registry.register(Merged([own, *counted]))
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @web.middleware
    async def _known_host(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse foreign Host names: a page in somebody's browser must not read this port through a name of its own."""
        host = request.host.rpartition(":")[0] if request.host.rpartition(":")[2].isdigit() else request.host
        if host.lower() not in self._names:
            return web.Response(status=403, text="This Host name is not served here. See KEYTURN_OPS_NAMES.\n")
        return await handler(request)
