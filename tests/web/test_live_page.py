"""The live page: what is kept for it, for how long, what is made of it, and how it goes out. How it looks: tests/deploy."""

import asyncio
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from lines import Answered, ask, request
from office import Shop
from servers import Live, until

from server import metrics
from server.live import page
from server.live.figures import LEVELS, TAKEN, Figures, figures, quantile
from server.live.history import KEPT_SECONDS, MOST, STEP_SECONDS, History
from server.live.troubles import MOST as MOST_TROUBLES
from server.live.troubles import TOGETHER_SECONDS, WATCHED
from server.ops import Ops

ROOT = Path(__file__).parent.parent.parent
STATIC = ROOT / "server" / "live" / "static"
WELL: Figures = {"postgres": 1.0, "valkey": 1.0, "memory": 2e8, "largest": 1e8, "cpu": 0.1}
CALLS, REFUSED, BUCKET = "keyturn_calls_total", "keyturn_refused_requests_total", "keyturn_stage_seconds_bucket"


@dataclass
class Kept:
    """A history whose clock the test moves."""

    history: History = field(default_factory=History)
    at: float = 1_000_000.0
    monotonic: float = 0.0

    def add(self, counted: Mapping[tuple[str, ...], float], **taken: float) -> None:
        self.at += STEP_SECONDS
        self.monotonic += STEP_SECONDS
        self.history.add(
            self.at,
            self.monotonic,
            {("keyturn_workers",): 2.0, ("keyturn_workers_ready",): 2.0, **counted},
            {**WELL, **taken},
        )

    def last(self, name: str) -> float | None:
        return self.history.series(0)[name][-1]


@pytest.fixture
def kept() -> Kept:
    kept = Kept()
    kept.add({})
    return kept


def of(name: str) -> str:
    return (STATIC / name).read_text()


async def fetch(live: Live, path: str) -> Answered:
    return await ask(live.demo["ops_url"], request(path, Connection="close", Host="localhost"))


# ---- what is kept


def test_half_an_hour_is_kept_and_no_more(kept: Kept) -> None:
    for number in range(3 * MOST):
        kept.add({(CALLS, "OK", "key/Activate"): 10.0 * number})
    series = kept.history.series(0)
    assert {len(values) for values in series.values()} == {MOST}
    assert series["at"][-1] == kept.at
    assert series["at"][0] == kept.at - KEPT_SECONDS + STEP_SECONDS
    assert set(series["ok"]) == {10.0 / STEP_SECONDS}


def test_only_what_is_new_is_given_to_who_has_the_rest(kept: Kept) -> None:
    for _ in range(4):
        kept.add({})
    times = kept.history.series(0)["at"]
    assert kept.history.series(times[1])["at"] == times[2:]
    assert kept.history.series(times[-1])["at"] == []
    assert kept.history.series(times[-1] + 1e6)["at"] == times  # the clock of another life
    assert History().series(0) == {"at": []}


def test_a_clock_that_is_set_back_begins_anew_and_one_that_jumps_ahead_leaves_nothing_old(kept: Kept) -> None:
    for jump in (0.0, 0.0, -3600.0, 0.0, 7200.0, 0.0):
        kept.at += jump
        kept.add({(CALLS, "OK", "key/Activate"): kept.monotonic})
        times = kept.history.series(0)["at"]
        assert times == sorted(set(times))
        assert times[0] >= kept.at - KEPT_SECONDS
        assert kept.last("ok") == 1.0 or len(times) == 1


def test_no_rate_is_below_nothing_when_a_count_goes_back(kept: Kept) -> None:
    count, calls = ("keyturn_stage_seconds_count", "whole"), (CALLS, "OK", "key/Activate")
    took, decided = ("keyturn_stage_seconds_sum", "whole"), ("keyturn_stage_seconds_sum", "decide")
    kept.add({calls: 100.0, count: 100.0, took: 1.0, decided: 0.5, (BUCKET, "0.001", "whole"): 90.0})
    kept.add({calls: 7.0, count: 7.0, took: 0.1, decided: 0.7, (BUCKET, "0.001", "whole"): 5.0})
    for name, values in kept.history.series(0).items():
        assert [value for value in values if value is not None and value < 0] == [], name


# ---- what is made of it


def test_answers_are_told_apart_by_whose_doing_they_are(kept: Kept) -> None:
    told = {
        (CALLS, "OK", "key/Activate"): 50.0, (CALLS, "OK", "key/GetKey"): 25.0, (CALLS, "LIMIT", "key/Activate"): 10.0,
        (REFUSED, "unparsable"): 3.0, (REFUSED, "too_many_failures"): 2.0,
        (REFUSED, "busy"): 1.0, (REFUSED, "crowded"): 1.0, (REFUSED, "unavailable"): 2.0, (REFUSED, "bug"): 1.0,
    }  # fmt: skip
    kept.add(told)
    assert [kept.last(name) for name in ("ok", "refused", "faulty", "failed")] == [15.0, 2.0, 1.0, 1.0]
    told = {(each.what, each.times, each.last) for each in kept.history.refusals()}
    assert told == {
        ("Cannot activate the new device as the limit has been reached.", 10, kept.at),
        ("unparsable", 3, kept.at), ("too many failures", 2, kept.at),
    }  # fmt: skip


def test_quantiles_lie_evenly_in_their_bucket_and_beyond_the_last_bound_nothing_is_known() -> None:
    counts = {"0.001": 40.0, "0.002": 80.0, "0.004": 95.0, "+Inf": 100.0}
    growth = {(BUCKET, bound, "whole"): count for bound, count in counts.items()} | {(BUCKET, "0.0002", "parse"): 1e6}
    found = [quantile(growth, part) for part in (0.5, 0.9, 0.99)]
    assert found == pytest.approx([0.00125, 0.002 + 0.002 * 10 / 15, 0.004])


def test_nothing_is_said_of_calls_that_were_not_made() -> None:
    shown = figures({(BUCKET, "+Inf", "whole"): 0.0}, {}, STEP_SECONDS)
    assert {shown[name] for name in ("p50", "p99", "parse", "decide", "other", "batch", "signed", "held")} == {None}
    assert shown["ok"] == 0.0


def test_the_stages_and_the_rest_make_up_the_whole(kept: Kept) -> None:
    took = {
        "parse": 1.0,
        "facts": 2.0,
        "claim": 4.0,
        "decide": 8.0,
        "encode": 16.0,
        "sign": 32.0,
        "write": 64.0,
        "whole": 100.0,
    }
    kept.add({("keyturn_stage_seconds_count", "whole"): 1000.0, ("keyturn_stage_seconds_count", "claim"): 3.0}
             | {("keyturn_stage_seconds_sum", stage): seconds for stage, seconds in took.items()})  # fmt: skip
    expected = {**took, "other": 100.0 - 2 - 4 - 8 - 16 - 32}
    del expected["whole"]
    assert {stage: kept.last(stage) for stage in expected} == {stage: time / 1000 for stage, time in expected.items()}


def test_errors_are_kept_by_kind_and_time_and_only_the_last_of_them(kept: Kept) -> None:
    bug = (REFUSED, "bug")
    kept.add({bug: 2.0})
    first = kept.at
    kept.add({bug: 5.0})
    kept.at += TOGETHER_SECONDS
    kept.add({bug: 6.0, ("keyturn_workers_ready",): 1.0}, valkey=0.0)
    found = [(each.what, each.first, each.last, each.times) for each in kept.history.troubles()]
    assert found == [
        ("Fewer workers ready than there should be", kept.at, kept.at, 0),
        ("Valkey does not answer", kept.at, kept.at, 0),
        (WATCHED[bug], kept.at, kept.at, 1),
        (WATCHED[bug], first, first + STEP_SECONDS, 5),
    ]
    for number in range(2 * MOST_TROUBLES):
        kept.at += TOGETHER_SECONDS
        kept.add({bug: 10.0 + number})
    assert len(kept.history.troubles()) == MOST_TROUBLES


def test_what_is_asked_for_is_counted_by_that_name_with_so_many_labels() -> None:
    declared = {
        name: len(family._labelnames)
        for registry in (metrics.WORKER, metrics.SUPERVISOR)
        for family, names in registry._collector_to_names.items()
        for name in names
    }
    for name, *labels in [*WATCHED, *((metric,) for metric in LEVELS.values())]:
        assert declared[name] == len(labels), name
    source = (ROOT / "server" / "live" / "figures.py").read_text()
    named = re.findall(r'"(keyturn_\w+)"', source)
    assert len(named) > 10
    assert [name for name in named if name not in declared and f"{name}_count" not in declared] == []


def test_the_page_shows_figures_that_there_are() -> None:
    known = set(figures({}, {}, 1.0)) | set(TAKEN)
    assert set(WELL) == set(TAKEN)
    script = of("page.js")
    shown = set(re.findall(r'\["(\w+)", "[^"]+", "--\w+"\]', script)) | set(re.findall(r"\blast\.(\w+)", script))
    assert len(shown) > 25
    assert shown - known == set()


async def test_a_point_that_cannot_be_taken_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[None] = []

    async def broken(_ops: Ops) -> dict[str, object]:
        asked.append(None)
        raise ValueError

    monkeypatch.setattr(Ops, "readiness", broken)
    monkeypatch.setattr(page, "STEP_SECONDS", 0.001)
    async with page.Live(Ops([], dict, []), list).kept():
        await until(lambda: len(asked) > 2)
    many = len(asked)
    await asyncio.sleep(0)
    assert len(asked) == many


# ---- how it goes out


@pytest.mark.parametrize("path", ["/", "/live.json", *(f"/live/{name}" for name in page.PARTS)])
async def test_a_browser_is_told_to_trust_nothing_but_this_host_and_to_keep_nothing(live: Live, path: str) -> None:
    answer = await fetch(live, path)
    assert answer.status == 200
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "connect-src": "'self'", "img-src": "'self'",
        "frame-ancestors": "'none'", "base-uri": "'none'", "form-action": "'none'",
    }  # fmt: skip
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in answer.headers
    if path.startswith("/live/"):
        assert answer.body == (STATIC / path.rpartition("/")[2]).read_bytes()


async def test_the_page_is_made_of_what_is_served_and_nothing_in_it_is_code_or_style(live: Live) -> None:
    text = (await fetch(live, "/")).body.decode()
    parts = re.findall(r'(?:src|href)="([^"]+)"', text)
    for part in parts:
        assert (await fetch(live, f"/{part}")).status == 200, part
    assert len(parts) > 5
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|https?:", text)
    named = {address for name in ("page.js", "page.css", "icon.svg") for address in re.findall(r"//\w[^\s\"]*", of(name))}
    assert named == {"//www.w3.org/2000/svg"}  # the name of a language, nothing to fetch


async def test_figures_grow_with_the_calls_and_hold_nothing_of_them(live: Live, shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    begun = max(json.loads((await fetch(live, "/live.json")).body)["series"]["at"], default=0.0)
    for code in ("planted-code", "planted-code-2"):
        await shop.activate(key, code, FriendlyName="planted-name")
    await shop.activate(key, "planted-code", token="planted-token")
    await ask(live.url, request("/api/key/planted", b"planted", "PUT"))

    async def told() -> dict[str, Any]:
        return json.loads((await fetch(live, f"/live.json?since={begun}")).body)

    async def seen() -> bool:
        series = (await told())["series"]
        return any(series.get("ok", ())) and any(series["refused"]) and any(series["faulty"])

    await until(seen)
    shown = await told()
    assert {"version", "now", "began", "step", "kept", "state", "series", "refusals", "troubles"} == set(shown)
    assert shown["state"].keys() >= {"ready", "workers", "postgres", "valkey", "draining", "signers"}
    assert (shown["state"]["ready"], sum(shown["state"]["signers"].values())) == (True, 2)
    series = shown["series"]
    assert set(series) == {"at", *figures({}, {}, 1.0), *TAKEN}
    assert all(at > begun for at in series["at"])
    assert {len(values) for values in series.values()} == {len(series["at"])}
    assert (series["wanted"][-1], series["ready"][-1]) == (2, 2)
    assert series["memory"][-1] > series["largest"][-1] > 1e7
    assert "Unable to authenticate." in {each["what"] for each in shown["refusals"]}
    whole = (await fetch(live, "/live.json?since=nan")).body.decode()
    assert len(whole) >= len(json.dumps(series, separators=(",", ":")))
    for secret in ("planted", key, live.demo["token"], live.demo["admin_token"], "127.0.0.1", str(live.data)):
        assert secret not in whole


def test_an_installed_package_has_the_page_with_it() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["server"]
    files = [path.relative_to(ROOT / "server").as_posix() for path in STATIC.iterdir()]
    assert set(page.PARTS) < {path.rpartition("/")[2] for path in files}
    assert [path for path in files if not any(fnmatch(path, each) for each in told)] == []
    assert "MIT" in of("uPlot.LICENSE")
