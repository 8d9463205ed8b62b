"""A fresh clone, nothing beside it: the README's first command, then the unmodified SDK. It installs packages."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import licensing
import pytest
from servers import open_folder

ROOT = Path(__file__).parent.parent
FIRST_SECONDS, SECOND_SECONDS = 60, 5  # what the README promises
ACTIVATE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from licensing.methods import HelperMethods, Key
demo = json.load(open("var/demo.json"))
HelperMethods.server_address = demo["url"] + "/api/"
found, message = Key.activate(
    token=demo["token"], product_id=demo["product_id"], key=demo["node_locked_key"], machine_code="m",
    rsa_pub_key=demo["public_key_xml"])[:2]
assert found is not None and len(found.activated_machines) == 1, message
"""


@pytest.fixture(params=["as we are", "an ordinary user"])
def clone(request: pytest.FixtureRequest) -> Iterator[tuple[Path, dict[str, object]]]:
    """A clone, and how to run a command in it as a user who owns it."""
    with open_folder() as folder:
        subprocess.run(["git", "clone", "-q", ROOT, folder / "keyturn"], check=True)
        shutil.copytree(Path(licensing.__file__).parent, folder / "sdk" / "licensing")
        how: dict[str, object] = {"env": {**os.environ, "PORT": "0", "HOME": str(folder)}, "start_new_session": True}
        if request.param == "an ordinary user" and os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            subprocess.run(["chown", "-R", f"{nobody.pw_uid}:{nobody.pw_gid}", folder], check=True)
            how |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            how["env"] = {**how["env"], "PATH": "/usr/bin:/bin", "PYTHON": "/usr/bin/python3"}  # type: ignore[dict-item]
        yield folder / "keyturn", how


def first_activation(clone: Path, how: dict[str, object]) -> float:
    """Run the README's first command until an activation is answered; the seconds it took. Then stop it."""
    written, started = clone / "var" / "demo.json", time.time()
    command = subprocess.Popen(["make", "run"], cwd=clone, stdout=subprocess.DEVNULL, **how)  # type: ignore[call-overload]
    while not written.exists() or written.stat().st_mtime < started:
        assert command.poll() is None, "make run ended"
        assert time.time() < started + 3 * FIRST_SECONDS
        time.sleep(0.02)
    python = how["env"].get("PYTHON", sys.executable)  # type: ignore[attr-defined]
    subprocess.run([python, "-c", ACTIVATE, clone.parent / "sdk"], cwd=clone, check=True, **how)  # type: ignore[call-overload]
    taken = time.time() - started
    os.kill(json.loads(written.read_text())["supervisor_pid"], signal.SIGTERM)
    assert command.wait(30) == 0
    return taken


@pytest.mark.soak
def test_a_fresh_clone_activates_in_a_minute_and_starts_again_in_seconds(clone: tuple[Path, dict[str, object]]) -> None:
    assert first_activation(*clone) < FIRST_SECONDS
    assert first_activation(*clone) < SECOND_SECONDS
