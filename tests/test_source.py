"""The linters are tests: one command is the whole gate."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHECKS = {
    "ruff finds nothing": ["ruff", "check", "--quiet", "server", "storage", "tests", "loadtests"],
    "mypy is content": ["mypy", "--strict", "server", "storage", "loadtests"],
}


@pytest.mark.parametrize("arguments", CHECKS.values(), ids=CHECKS)
def test_the_source_is_clean(arguments: list[str]) -> None:
    run = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
