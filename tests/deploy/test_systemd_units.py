"""The units: systemd accepts them, judges how much they leave open, and Keyturn serves within what they allow."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from servers import open_folder
from shipping import SECONDS, SHIPPED, free_port, listens, replaced, wait_until

from server import config, worker, workers

pytestmark = pytest.mark.deploy

EXPOSURE = 1.2  # of 10, as `systemd-analyze security` says; the runbook names it
KEYTURN = Path(sys.executable).with_name("keyturn")
INSTALLED = "/opt/keyturn/.venv/bin/keyturn"
# Has the kernel forbid what the unit forbids and a process can forbid itself: PR_SET_NO_NEW_PRIVS, and PR_SET_MDWE of
# Linux 6.3 or newer.
FORBID = """
import ctypes, os, sys
process = ctypes.CDLL(None)
assert process.prctl(38, 1, 0, 0, 0) == 0
process.prctl(65, 1, 0, 0, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


def unit(name: str) -> dict[str, list[str]]:
    """The settings of a unit, each with all its values."""
    found: dict[str, list[str]] = {}
    for line in (SHIPPED / "systemd" / name).read_text().splitlines():
        if line and line[0] not in "#[":
            setting, _, value = line.partition("=")
            found.setdefault(setting, []).append(value)
    return found


def settings() -> dict[str, str]:
    """The environment that the service has."""
    lines = (SHIPPED / "systemd" / "keyturn.env").read_text().splitlines()
    given = [pair for line in unit("keyturn.service")["Environment"] for pair in line.split()]
    return dict(pair.split("=", 1) for pair in (*given, *(line for line in lines if line and line[0] != "#")))


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units with Keyturn where it is installed here."""
    for path in (SHIPPED / "systemd").glob("keyturn.s*"):
        text = path.read_text()
        text = replaced(text, {f"ExecStart={INSTALLED}": f"ExecStart={KEYTURN}"}) if path.suffix == ".service" else text
        (tmp_path / path.name).write_text(text)
    return tmp_path


def test_systemd_finds_nothing_wrong(units: Path) -> None:
    command = ["systemd-analyze", "verify", units / "keyturn.service", units / "keyturn.socket"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout + run.stderr) == (0, "")


def test_systemd_judges_that_little_is_left_open_and_the_runbook_says_how_much(units: Path) -> None:
    judge = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE * 10:.0f}"]
    command = [*judge, units / "keyturn.service"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    (found,) = re.findall(r"Overall exposure level for keyturn.service: ([0-9.]+)", run.stdout)
    assert float(found) == EXPOSURE
    assert f"exposure {EXPOSURE} of 10" in (SHIPPED / "RUNBOOK.md").read_text()


def test_the_environment_of_the_service_is_what_keyturn_knows() -> None:
    known = settings()
    assert known.keys() - config.VARIABLES.keys() == {"PYTHONUNBUFFERED", "TMPDIR"}
    loaded = config.load({**known, "KEYTURN_SIGNING_PASSPHRASE_FILE": "/x"})
    assert str(loaded.data) == "/var/lib/keyturn"
    assert unit("keyturn.socket")["ListenStream"] == [f"{loaded.host}:{loaded.port}"]
    commented = re.findall(r"^#([A-Z_]+)=", (SHIPPED / "systemd" / "keyturn.env").read_text(), re.MULTILINE)
    assert commented
    assert set(commented) <= config.VARIABLES.keys()


def test_systemd_waits_longer_than_a_drain_takes() -> None:
    engines = 15 + 15  # PostgreSQL and Valkey, each at most
    assert int(unit("keyturn.service")["TimeoutStopSec"][0]) > workers.DRAIN_SECONDS + engines > worker.DRAIN_SECONDS
    assert unit("keyturn.service")["KillMode"] == ["mixed"]


def test_keyturn_serves_from_systemds_socket_without_memory_to_write_and_run() -> None:
    port = free_port()
    with open_folder() as folder:
        given = {"DATA": str(folder / "data"), "WORKERS": "1", "PORT": "0"}
        passed = [f"--setenv={name}" for name in ("PATH", *given)]
        activate = ["systemd-socket-activate", f"--listen=127.0.0.1:{port}", *passed, KEYTURN, "serve", "--demo"]
        command = [sys.executable, "-c", FORBID, *map(str, activate)]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(command, env={**os.environ, **given}, stdout=log, stderr=log)
        try:
            wait_until(lambda: listens(port))  # this connection is what it starts for
            with urlopen(f"http://127.0.0.1:{port}/api/key/GetKey", timeout=60) as answer:
                assert json.load(answer) == {"result": 1, "message": "Unable to authenticate."}
            wait_until((folder / "data" / "demo.json").exists)
            demo = json.loads((folder / "data" / "demo.json").read_text())
            assert demo["url"] == f"http://127.0.0.1:{port}"
            assert demo["supervisor_pid"] == server.pid
            server.terminate()
            assert server.wait(SECONDS) == 0, (folder / "log").read_text()
        finally:
            server.kill()
            server.wait()
