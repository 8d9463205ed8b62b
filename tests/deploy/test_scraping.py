"""Debian's Prometheus, with the configuration that is shipped, beside a server under a little load.

Its own are the server's port, and a second between two scrapes.
"""

import contextlib
import http.client
import json
import math
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote

import pytest
from servers import Live, start, stop
from shipping import SHIPPED, fetched, free_port, replaced, running, wait_until

pytestmark = pytest.mark.deploy

ELSEWHERE = ("127.9.8.7", 0)  # a network of its own, which fails too often
MANY = 60.0  # seconds until every query has its data; a deadline of liveness
COMPARED = re.compile(r"\s(?:==|!=|<=|>=|<|>)\s")
LABELS = {
    "__name__", "job", "instance", "method", "code", "cause", "stage", "outcome", "to", "engine", "what", "le", "signer",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Watch:
    """A running Prometheus and what it watches."""

    live: Live
    url: str

    def api(self, path: str) -> Any:
        answer = json.loads(fetched(f"{self.url}/api/v1/{path}"))
        assert answer["status"] == "success"
        return answer["data"]

    def values(self, query: str) -> list[float]:
        """What a query returns now; nothing of it that is no number."""
        found = self.api(f"query?query={quote(query)}")["result"]
        return [value for each in found if not math.isnan(value := float(each["value"][1]))]

    def rules(self, kind: str) -> list[dict[str, Any]]:
        rules = [rule for group in self.api("rules")["groups"] for rule in group["rules"]]
        return [rule for rule in rules if rule["type"] == kind]

    def series(self) -> list[dict[str, str]]:
        """Everything that is kept of the server, recorded figures too."""
        return [*self.api("series?" + "&".join(f"match[]={quote(each)}" for each in ('{job="keyturn"}', '{instance!=""}')))]


def ready(url: str) -> bool:
    """Whether Prometheus has read what it kept."""
    with contextlib.suppress(HTTPError):
        return bool(fetched(f"{url}/-/ready"))
    return False


def load(live: Live, number: int) -> None:
    """A little of everything that clients do, other machines and keys each time."""
    node, floating, planted = live.new_key(1), live.new_key(1), f"planted{number}"
    for machine in (f"{planted}-a", f"{planted}-b"):
        live.call("key/Activate", Key=node, MachineCode=machine, FriendlyName=planted, Sign="true")
        live.call("key/Activate", Key=floating, MachineCode=machine, FloatingTimeInterval=100)
    live.call("key/GetKey", Key=node)
    live.call("key/Deactivate", Key=floating, MachineCode=f"{planted}-a", Floating="true")
    for path in (f"/api/key/GetKey?token={planted}", f"/api/key/{planted}"):
        line = http.client.HTTPConnection(live.url.removeprefix("http://"), source_address=ELSEWHERE, timeout=30)
        with contextlib.closing(line):
            line.request("GET", path)
            line.getresponse().read()


@pytest.fixture(scope="module")
def watched(copy: Path) -> Iterator[Watch]:
    live = start(copy.parent / "data", KEYTURN_UNLIMITED="none", KEYTURN_FAILURES_PER_MINUTE="1")
    folder, port = copy / "prometheus", free_port()
    shipped = (folder / "prometheus.yml").read_text()
    (folder / "prometheus.yml").write_text(replaced(shipped, {"interval: 15s": "interval: 1s"}))
    targets = (folder / "targets" / "keyturn.yml").read_text()
    host = live.demo["ops_url"].removeprefix("http://")
    (folder / "targets" / "keyturn.yml").write_text(replaced(targets, {"127.0.0.1:8081": host}))
    command = [
        "prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={copy.parent}/tsdb",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    enough = threading.Event()

    def clients() -> None:
        number = 0
        while not enough.wait(0.2):
            load(live, number)
            number += 1

    calling = threading.Thread(target=clients)
    with running(command, port, copy.parent / "prometheus.log"):
        wait_until(lambda: ready(f"http://127.0.0.1:{port}"))
        calling.start()
        yield Watch(live, f"http://127.0.0.1:{port}")
        enough.set()
        calling.join()
    assert stop(live) == 0


def panels() -> dict[str, str]:
    """Every query of the dashboard, of all hosts, by the name of its panel and its place there."""
    dashboard = json.loads((SHIPPED / "grafana" / "dashboards" / "keyturn.json").read_text())
    return {
        f"{panel['title']} {target['refId']}": target["expr"].replace("$instance", ".*")
        for panel in dashboard["panels"]
        for target in panel["targets"]
    }


def answers(watch: Watch, queries: dict[str, str]) -> None:
    """Every one of them has data, now or soon."""
    missing = dict(queries)

    def all_have_data() -> bool:
        for name in [name for name, query in missing.items() if watch.values(query)]:
            del missing[name]
        return not missing

    try:
        wait_until(all_have_data, MANY)
    except AssertionError:
        pytest.fail(f"no data: {missing}")


def test_every_panel_has_data(watched: Watch) -> None:
    assert len(panels()) > 20
    answers(watched, panels())


def test_every_recorded_figure_has_data_by_its_name(watched: Watch) -> None:
    recorded = watched.rules("recording")
    assert len(recorded) > 10
    answers(watched, {rule["name"]: rule["name"] for rule in recorded})


def test_both_sides_of_every_alert_have_data_and_none_fires(watched: Watch) -> None:
    alerts = {rule["name"]: COMPARED.split(rule["query"]) for rule in watched.rules("alerting")}
    assert all(len(sides) == 2 for sides in alerts.values()), alerts
    sides = {f"{name} {side}": side for name, sides in alerts.items() for side in sides if re.search(r"keyturn|up{", side)}
    assert len(sides) >= len(alerts)
    answers(watched, sides)
    assert {(rule["name"], rule["health"]) for rule in watched.rules("alerting")} == {(name, "ok") for name in alerts}
    assert [each["labels"] for each in watched.api("alerts")["alerts"] if each["state"] == "firing"] == []


def test_no_label_is_personal_and_their_number_does_not_grow_with_what_clients_send(watched: Watch) -> None:
    answers(watched, panels())
    demo, before = watched.live.demo, watched.series()
    assert {name for each in before for name in each} <= LABELS
    values = {value for each in before for value in each.values()}
    assert not [value for value in values if "planted" in value]
    assert not values & {demo["token"], demo["admin_token"], demo["node_locked_key"], demo["floating_key"], "127.0.0.1"}
    last = watched.values("sum(keyturn_calls_total)")[0]
    for number in range(100, 120):
        load(watched.live, number)
    wait_until(lambda: watched.values("sum(keyturn_calls_total)")[0] > last + 150, MANY)
    known = {frozenset(each.items()) for each in before}
    assert [each for each in watched.series() if frozenset(each.items()) not in known] == []


def test_prometheus_found_nothing_to_complain_of(watched: Watch, copy: Path) -> None:
    (target,) = watched.api("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    assert target["scrapePool"] == "keyturn"
    lines = (copy.parent / "prometheus.log").read_text().splitlines()
    assert [line for line in lines if re.search(r"level=(warn|error)", line)] == []


# ---- Grafana, as far as it goes without it


def test_the_dashboard_asks_the_data_source_that_is_provisioned_and_has_no_panel_over_another() -> None:
    dashboard = json.loads((SHIPPED / "grafana" / "dashboards" / "keyturn.json").read_text())
    provisioned = (SHIPPED / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text()
    assert "uid: prometheus" in provisioned
    variables = dashboard["templating"]["list"]
    asked = [target for panel in dashboard["panels"] for target in panel["targets"]]
    assert {each["datasource"]["uid"] for each in (*asked, *dashboard["panels"], *variables)} == {"prometheus"}
    assert [each["name"] for each in variables] == ["instance"]
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in dashboard["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24
    assert len({panel["title"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
