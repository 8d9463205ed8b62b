"""The rules: Debian's promtool accepts and tries them, and whoever is woken finds an entry for each in the runbook."""

import re
import subprocess
from collections.abc import Iterable
from typing import Any

import pytest
import yaml
from shipping import SHIPPED

pytestmark = pytest.mark.deploy


def rules() -> list[dict[str, Any]]:
    files = sorted((SHIPPED / "prometheus" / "rules").glob("*.yml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def tried() -> Iterable[tuple[str, dict[str, Any]]]:
    """Each test of an alert, with the name of its group."""
    for test in yaml.safe_load((SHIPPED / "prometheus" / "tests" / "alerts.yml").read_text())["tests"]:
        for each in test["alert_rule_test"]:
            yield test["name"], each


def promtool(*arguments: object) -> None:
    run = subprocess.run(
        ["promtool", *map(str, arguments)], cwd=SHIPPED / "prometheus", capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_promtool_accepts_configuration_and_rules() -> None:
    promtool("check", "config", "prometheus.yml")
    promtool("check", "rules", *(SHIPPED / "prometheus" / "rules").glob("*.yml"))


def test_every_rule_does_what_its_test_says() -> None:
    promtool("test", "rules", *(SHIPPED / "prometheus" / "tests").glob("*.yml"))


def test_every_alert_is_seen_to_fire_and_to_be_silent_on_a_healthy_server() -> None:
    fires = {each["alertname"] for _, each in tried() if each.get("exp_alerts")}
    silent = {each["alertname"] for name, each in tried() if "healthy" in name and not each.get("exp_alerts")}
    assert fires == silent == set(alerts())


def test_every_recorded_figure_is_tried() -> None:
    text = (SHIPPED / "prometheus" / "tests" / "recording.yml").read_text()
    assert all(f"expr: {rule['record']}" in text for rule in rules() if "record" in rule)


def test_every_alert_says_how_bad_it_is_what_it_is_and_where_to_read_on() -> None:
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert len(rule["annotations"]["summary"]) > 20
        assert rule["annotations"]["runbook_url"] == f"deploy/RUNBOOK.md#{name.lower()}"


def test_the_runbook_has_an_entry_for_each_alert_and_for_nothing_else() -> None:
    entries = re.split(r"^## ", (SHIPPED / "RUNBOOK.md").read_text(), flags=re.MULTILINE)[1:]
    named = {entry.partition("\n")[0]: entry for entry in entries}
    assert list(named) == list(alerts())
    for name, entry in named.items():
        assert f"\n\n{alerts()[name]['labels']['severity']}. **Means:**" in entry
        assert "**Confirm:**" in entry
        assert "**Do:**" in entry
    linked = set(re.findall(r"\(#(\w+)\)", "".join(entries)))
    assert linked <= {name.lower() for name in named}
