"""Which signer a worker uses: lanes where they work, OpenSSL where they do not or are not wanted; and that it is told."""

import json
import os
import subprocess
from pathlib import Path

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from prometheus_client.parser import text_string_to_metric_families
from servers import Live
from structlog.testing import capture_logs

from server import app
from server.config import ConfigError, load
from server.wire import lanes
from server.wire.lanes import Lanes, Unusable

ROOT = Path(__file__).parent.parent
KEY = rsa.generate_private_key(65_537, 2048)
MARKED = "requirements-fast.lock"


def here() -> dict[str, str]:
    """What must be told on this machine."""
    try:
        lanes.opened(KEY)
    except Unusable as unusable:
        return {"signer": "openssl", "why": str(unusable)}
    return {"signer": "eight_lanes", "why": "the self-test passed"}


def chosen(wanted: str) -> tuple[Lanes | None, dict[str, str]]:
    with capture_logs() as logs:
        found = app._lanes(load({"KEYTURN_SIGNER": wanted}), KEY)
    (line,) = logs
    assert (line["event"], line["log_level"]) == ("signer.active", "info")
    return found, {name: line[name] for name in ("signer", "why")}


def test_lanes_are_used_where_they_work_unless_the_operator_says_otherwise() -> None:
    for wanted in ("", "auto", "AUTO"):
        found, told = chosen(wanted)
        assert told == here()
        assert (found is not None) == (told["signer"] == "eight_lanes")
    assert chosen("openssl") == (None, {"signer": "openssl", "why": "KEYTURN_SIGNER says so"})
    with pytest.raises(ConfigError, match=r"^KEYTURN_SIGNER must be auto or openssl"):
        load({"KEYTURN_SIGNER": "lanes"})


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "_library", lanes.find)
    monkeypatch.setattr(lanes, "_PACKAGE", "no-such-package")
    assert chosen("auto") == (None, {"signer": "openssl", "why": "the package no-such-package is not installed"})


async def test_each_worker_tells_the_log_and_the_metrics_what_it_signs_with(live: Live) -> None:
    lines = [
        line for line in live.data.with_name(f"{live.data.name}.log").read_text().splitlines() if "signer.active" in line
    ]
    assert len(lines) >= 2
    for line in map(json.loads, lines):
        assert {name: line[name] for name in ("signer", "why")} == here()
    async with aiohttp.ClientSession() as client, client.get(f"{live.demo['ops_url']}/metrics") as answer:
        families = {each.name: each for each in text_string_to_metric_families(await answer.text())}
    active = {each.labels["signer"]: each.value for each in families["keyturn_signer"].samples if each.value}
    assert active == {here()["signer"]: 2}


@pytest.mark.parametrize("works", [True, False])
def test_make_installs_what_the_lanes_need_and_goes_on_where_it_cannot_be_had(tmp_path: Path, works: bool) -> None:
    pip = tmp_path / "bin" / "pip"
    pip.parent.mkdir()
    pip.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\ncase "$*" in *{MARKED}*) exit {int(not works)};; esac\n')
    pip.chmod(0o755)
    command = ["make", "-B", f"VENV={tmp_path}", "-o", str(pip), f"{tmp_path}/.installed"]
    # A make that runs this suite has told its own children by the environment how to behave.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    assert (tmp_path / ".installed").exists()
    assert ("OpenSSL" in done.stderr) == (not works)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [MARKED in line for line in asked].count(True) == 1
    assert asked[-1].endswith("-e .")


def test_what_the_lanes_need_is_locked_for_the_platform_that_it_exists_for() -> None:
    (line,) = [line for line in (ROOT / MARKED).read_text().splitlines() if line.startswith("ipp-crypto==")]
    assert "platform_machine == 'x86_64'" in line
    assert "sys_platform == 'linux'" in line
