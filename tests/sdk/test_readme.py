"""The README's examples are run as they stand there, on the unmodified SDKs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from servers import Live

from .nodejs import BINARY

README = (Path(__file__).parent.parent.parent / "README.md").read_text()


@pytest.fixture
def beside(live: Live, tmp_path: Path) -> Path:
    """A folder in which the README's `var/demo.json` is the live server's."""
    (tmp_path / "var").mkdir()
    shutil.copy(live.data / "demo.json", tmp_path / "var")
    return tmp_path


def example(language: str) -> str:
    (found,) = re.findall(f"```{language}\n(.*?)```", README, re.DOTALL)
    return found


def run(command: list[str | Path], folder: Path, **environment: str) -> str:
    settings = {**os.environ, **environment}
    done = subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_python_example_activates(live: Live, beside: Path) -> None:
    # How the SDK finds a machine code is the machine's business: a container may have no such thing.
    text = example("python").replace("Helpers.GetMachineCode(v=2)", "'the-readme'")
    assert run([sys.executable, "-c", text], beside, TZ="UTC").startswith("activated until 20")
    assert live.call("key/Deactivate", Key=live.demo["node_locked_key"], MachineCode="the-readme")["result"] == 0


def test_the_node_example_activates(live: Live, beside: Path, node_modules: Path) -> None:
    (beside / "node_modules").symlink_to(node_modules / "node_modules")
    (beside / "example.js").write_text(example("js"))
    assert run([BINARY, "example.js"], beside).startswith("activated until ")
    assert live.call("key/Deactivate", Key=live.demo["node_locked_key"], MachineCode="my-machine")["result"] == 0
