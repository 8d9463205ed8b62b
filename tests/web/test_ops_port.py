"""The ops port: alive, ready, and what all workers have counted together, also after one of them was killed."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import redis.asyncio
from aiohttp import web
from lines import ask, request
from office import Shop, open_office
from prometheus_client.parser import text_string_to_metric_families
from servers import Live, until

from server.methods import METHODS
from server.ops import Merged, Sample, Slot

OUTCOMES = ("claimed", "renewed", "promoted", "refused", "released")
LABELS = {"method", "code", "cause", "stage", "outcome", "to", "engine", "what", "signer", "le"}


async def fetch(live: Live, path: str, **headers: str) -> tuple[int, str]:
    answer = await ask(live.demo["ops_url"], request(path, Connection="close", **{"Host": "localhost", **headers}))
    return answer.status, answer.body.decode()


async def counted(live: Live) -> dict[tuple[str, ...], float]:
    """Every sample of /metrics by its name and the values of its labels."""
    status, text = await fetch(live, "/metrics")
    assert status == 200
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    return {(each.name, *(value for _, value in sorted(each.labels.items()))): each.value for each in samples}


async def ready(live: Live) -> dict:
    async with aiohttp.ClientSession() as client, client.get(f"{live.demo['ops_url']}/readyz") as answer:
        return {"status": answer.status, **await answer.json()}


READY = {"status": 200, "ready": True, "workers": 2, "postgres": True, "draining": False, "valkey": True}


async def test_a_server_says_that_it_is_alive_and_ready(live: Live) -> None:
    assert await fetch(live, "/healthz") == (200, "alive\n")
    assert await ready(live) == READY


async def test_readiness_shows_that_valkey_does_not_answer_and_does_not_need_it(live: Live) -> None:
    client = redis.asyncio.from_url(live.demo["redis_url"])
    pid = (await client.info("server"))["process_id"]
    await client.aclose()
    os.kill(pid, signal.SIGSTOP)
    try:
        assert await ready(live) == {**READY, "valkey": False}
    finally:
        os.kill(pid, signal.SIGCONT)
    assert await ready(live) == READY


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/", "/live.json", "/live/page.js"])
async def test_the_ops_port_answers_to_its_own_names_only(live: Live, behind_proxies: Live, path: str) -> None:
    port = live.demo["ops_url"].rpartition(":")[2]
    for host in ("localhost", f"localhost:{port}", f"127.0.0.1:{port}", "[::1]", f"[::1]:{port}", "LOCALHOST"):
        assert (await fetch(live, path, Host=host))[0] == 200
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "localhost.evil.example",
        "127.0.0.1.evil.example:80",
        "ops.example.org",
        "",
        "::1",
    ):
        assert (await fetch(live, path, Host=host))[0] == 403
    assert (await fetch(behind_proxies, path, Host="ops.example.org:80"))[0] == 200


async def test_nothing_else_is_served_there_and_nothing_of_it_on_the_api_port(live: Live) -> None:
    for path in ("/x", "/api/key/GetKey", "/metrics/x", "/live/", "/live/history.py"):
        assert (await fetch(live, path))[0] == 404
    for path in ("/healthz", "/readyz", "/metrics", "/", "/live.json", "/live/page.js"):
        answer = await ask(live.url, request(path))
        assert (answer.status, answer.json["result"]) == (404, 1)


async def test_counters_equal_the_calls_made_over_all_workers(live: Live, shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    before = await counted(live)
    await asyncio.gather(
        *(shop.activate(key, "a") for _ in range(30)), *(shop.activate(key, "a", token="x") for _ in range(7))
    )
    await asyncio.gather(
        *(shop.activate(key, f"b{number}") for number in range(5)), *(shop.call("key/GetKey") for _ in range(3))
    )
    for data in (request("/nothing"), request("/api/key/GetKey", b"x" * 20_000), request("/api/key/GetKey", b"%00"),
                 request("/api/key/GetKey", verb="PUT"), b"nonsense\r\n\r\n"):  # fmt: skip
        await ask(live.url, data)
    after = await counted(live)
    grown = {
        name: after[name] - before.get(name, 0.0)
        for name in after
        if name[0] in ("keyturn_calls_total", "keyturn_refused_requests_total") and after[name] != before.get(name, 0.0)
    }
    assert grown == {
        ("keyturn_calls_total", "OK", "key/Activate"): 30, ("keyturn_calls_total", "AUTHENTICATE", "key/Activate"): 7,
        ("keyturn_calls_total", "LIMIT", "key/Activate"): 5, ("keyturn_calls_total", "INPUT", "key/GetKey"): 3,
        ("keyturn_refused_requests_total", "unknown_method"): 1, ("keyturn_refused_requests_total", "too_large"): 1,
        ("keyturn_refused_requests_total", "unparsable"): 1, ("keyturn_refused_requests_total", "verb"): 1,
        ("keyturn_refused_requests_total", "broken_http"): 1,
    }  # fmt: skip
    whole = ("keyturn_stage_seconds_count", "whole")
    assert after[whole] - before.get(whole, 0.0) == 45
    assert after[("keyturn_workers_ready",)] == 2


async def test_what_became_of_floating_calls_is_counted(live: Live, shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    before = await counted(live)
    for code, overdraft in (("a", 0), ("a", 0), ("b", 0), ("b", 1)):
        await shop.activate(key, code, FloatingTimeInterval=100, MaxOverdraft=overdraft)
    await shop.deactivate(key, "a", Floating="true")
    await shop.activate(key, "b", FloatingTimeInterval=100)
    after = await counted(live)

    def grown(*name: str) -> float:
        return after.get(name, 0.0) - before.get(name, 0.0)

    outcomes = {outcome: grown("keyturn_seat_claims_total", outcome) for outcome in OUTCOMES}
    assert outcomes == {"claimed": 2, "renewed": 1, "promoted": 1, "refused": 1, "released": 1}
    assert grown("keyturn_seat_seeds_total", "first") == grown("keyturn_seat_handovers_total", "valkey") == 1
    assert grown("keyturn_seat_rounds_count") == 6
    assert grown("keyturn_stage_seconds_count", "claim") == 5
    assert after[("keyturn_valkey_up",)] == 2
    assert after[("keyturn_valkey_oldest_seconds",)] == 0


def test_of_seconds_that_go_up_and_down_the_worst_worker_speaks_and_counts_are_added() -> None:
    late = Sample("keyturn_x_seconds", "gauge", "", "keyturn_x_seconds", ())
    many = Sample("keyturn_y", "gauge", "", "keyturn_y", ())
    merged = Merged([{late: 0.5, many: 2.0}, {late: -3.0, many: 1.0}]).collect()
    assert {each.name: each.value for family in merged for each in family.samples} == {
        "keyturn_x_seconds": -3.0, "keyturn_y": 3.0,
    }  # fmt: skip


async def test_metrics_are_well_formed_and_their_labels_come_from_closed_sets(live: Live, shop: Shop) -> None:
    await shop.call("key/GetKey")
    await ask(live.url, request("/api/key/planted", b"planted", "PUT"))
    _, text = await fetch(live, "/metrics")
    families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(families) == len(set(families))
    assert all(name.startswith("keyturn_") for name in families)
    assert not [name for name in families if name.endswith("_created")]
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    assert {name for each in samples for name in each.labels} <= LABELS
    assert {each.labels["method"] for each in samples if "method" in each.labels} <= {method.path for method in METHODS}
    assert "planted" not in text
    buckets = [each for each in samples if each.name == "keyturn_stage_seconds_bucket" and each.labels["stage"] == "whole"]
    by_bound = [each.value for each in sorted(buckets, key=lambda each: float(each.labels["le"]))]
    assert by_bound == sorted(by_bound)


async def test_what_a_killed_worker_had_counted_stays_counted(behind_proxies: Live) -> None:
    async with open_office(behind_proxies) as office:
        shop = await office.open_shop()
        key = await shop.new_key(MaxNoOfMachines=1)
        name = ("keyturn_calls_total", "OK", "key/Activate")
        await asyncio.gather(*(shop.activate(key, "a") for _ in range(20)))
        seen = [(await counted(behind_proxies))[name]]
        pids = behind_proxies.demo["worker_pids"]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

        async def all_new() -> bool:
            seen.append((await counted(behind_proxies)).get(name, 0.0))
            return not set(pids) & set(behind_proxies.demo["worker_pids"]) and (await ready(behind_proxies))["workers"] == 2

        await until(all_new, seconds=30)
        await asyncio.gather(*(shop.activate(key, "a") for _ in range(10)))
        after = await counted(behind_proxies)
    assert set(seen) == {seen[0]}
    assert after[name] == seen[0] + 10
    assert after[("keyturn_worker_restarts_total",)] >= 2


# ---- one slot


@asynccontextmanager
async def worker(path: Path, text: str) -> AsyncIterator[None]:
    """Something on a worker's socket that has counted this."""

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(text=text)

    application = web.Application()
    application.add_routes([web.get("/metrics", metrics)])
    runner = web.AppRunner(application)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    yield
    await runner.cleanup()


TEXT = '# TYPE calls_total counter\ncalls_total{{m="a"}} {0}\ncalls_created 5\n# TYPE waiting gauge\nwaiting {0}\n'


async def test_a_slot_adds_the_lives_of_its_workers_and_never_goes_back(tmp_path: Path) -> None:
    slot = Slot(str(tmp_path / "s"))

    async def values() -> dict[str, float]:
        return {sample.name: value for sample, value in (await slot.count()).items()}

    try:
        assert await values() == {}
        async with worker(tmp_path / "s", TEXT.format(7)):
            assert await values() == {"calls_total": 7, "waiting": 7}
        assert await values() == {"calls_total": 7, "waiting": 7}  # it has gone, and nobody has noticed yet
        slot.ended()
        assert await values() == {"calls_total": 7}
        async with worker(tmp_path / "s", TEXT.format(2)):
            assert await values() == {"calls_total": 9, "waiting": 2}
        slot.ended()
        slot.ended()
        assert list(await slot.count()) == [Sample("calls", "counter", "", "calls_total", (("m", "a"),))]
        assert await values() == {"calls_total": 9}
    finally:
        await slot.close()


async def test_an_answer_of_a_worker_that_has_ended_meanwhile_is_not_counted_twice(tmp_path: Path) -> None:
    slot = Slot(str(tmp_path / "s"))
    try:
        async with worker(tmp_path / "s", TEXT.format(7)):
            await slot.count()
            asked = asyncio.create_task(slot.count())
            await asyncio.sleep(0)
            slot.ended()
            assert {sample.name: value for sample, value in (await asked).items()} == {"calls_total": 7}
    finally:
        await slot.close()
