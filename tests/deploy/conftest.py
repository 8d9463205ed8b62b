"""What `deploy/` ships, copied to where a test may put values of its own into it."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import open_folder
from shipping import SHIPPED


@pytest.fixture(scope="module")
def copy() -> Iterator[Path]:
    """A copy, made ready for the name localhost as an operator does it; in a folder that other users can pass."""
    with open_folder() as folder:
        shutil.copytree(SHIPPED, folder / "deploy", ignore=shutil.ignore_patterns("secrets"))
        subprocess.run([folder / "deploy" / "prepare", "localhost"], check=True, stdout=subprocess.DEVNULL)
        yield folder / "deploy"
