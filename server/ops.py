"""The ops port: /healthz (alive), /readyz (really able to serve), /metrics (all workers together). Never on the API port."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence

import aiohttp
from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client import CollectorRegistry

from server import metrics

ASK_SECONDS = 2.0
Sample = tuple[str, tuple[tuple[str, str], ...]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Slot:
    """One worker's place: its unix socket, and what its earlier lives had counted."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._session: aiohttp.ClientSession | None = None
        self._seen: dict[Sample, float] = {}
        self._before: dict[Sample, float] = defaultdict(float)

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

    async def close(self) -> None:
        """Close the connection to the worker."""
        if self._session is not None:
            await self._session.close()

    def ended(self) -> None:
        """Keep what the worker that ended had counted, so that the sums never go back."""
        for sample, value in self._seen.items():
            self._before[sample] += value
        self._seen = {}

    def samples(self, families: Iterable[Metric]) -> Iterable[tuple[str, Sample, float]]:
        """Return (family, sample, value) with earlier lives added; what counts down (gauges) has no earlier lives."""
        self._seen = {}
        for family in families:
            for sample in family.samples:
                name: Sample = (sample.name, tuple(sorted(sample.labels.items())))
                if family.type != "gauge":
                    self._seen[name] = sample.value
                yield family.name, name, sample.value + self._before.get(name, 0.0)


class Merged(Collector):
    """The sum of the workers' metrics, by slot and never by process id."""

    def __init__(self, slots: Sequence[Slot], texts: Sequence[str]) -> None:
        self._slots = slots
        self._texts = texts

    def collect(self) -> Iterable[Metric]:
        """Return every family once, each sample summed over the slots."""
        families: dict[str, Metric] = {}
        sums: dict[str, dict[Sample, float]] = defaultdict(lambda: defaultdict(float))
        for slot, text in zip(self._slots, self._texts, strict=True):
            parsed = list(text_string_to_metric_families(text))
            families.update({family.name: family for family in parsed})
            for name, sample, value in slot.samples(parsed):
                sums[name][sample] += value
        for name, family in families.items():
            merged = Metric(name, family.documentation, family.type)
            for (sample_name, labels), value in sums[name].items():
                if not sample_name.endswith("_created"):
                    merged.add_sample(sample_name, dict(labels), value)
            yield merged


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
        answers = await asyncio.gather(*(slot.get("/metrics") for slot in self._slots))
        await self.readiness()
        registry = CollectorRegistry(auto_describe=False)
        registry.register(Merged(self._slots, [text for _, text in answers]))
        body = generate_latest(metrics.SUPERVISOR) + generate_latest(registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    @web.middleware
    async def _known_host(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse foreign Host names: a page in somebody's browser must not read this port through a name of its own."""
        host = request.host.rpartition(":")[0] if request.host.rpartition(":")[2].isdigit() else request.host
        if host.lower() not in self._names:
            return web.Response(status=403, text="This Host name is not served here. See KEYTURN_OPS_NAMES.\n")
        return await handler(request)
