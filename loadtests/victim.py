"""The server that a chaos run harms: started as an operator starts it, killed, and started again on the same data and ports.

What is done to it stands in `faults`.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from loadtests.machine import tree

DEADLINE = 60.0  # seconds until it serves again; a bound of liveness
ORPHANS = 15.0  # seconds until nothing is left of a server whose supervisor was killed
AGAIN = 0.2  # seconds between two attempts to start
ENGINES = {"postgres": "postgres", "valkey": "valkey-server"}  # the programs
BUGS = ("Traceback", '"call.failed"', '"supervisor.task_failed"', '"worker.ledger_failed"')  # never right in a log


class Victim:
    """A server with embedded engines in a folder of its own, which goes with it. Each method raises TimeoutError."""

    def __init__(self, workers: int, **settings: str) -> None:
        self.workers = workers
        self.starts = 0
        self._settings = settings
        self._ports: dict[str, str] = {"PORT": "0"}
        self._folder = Path(tempfile.mkdtemp(prefix="keyturn-chaos-"))
        self._folder.chmod(0o755)  # root's embedded engines run as another user
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            shutil.rmtree(self._folder)

    @property
    def pid(self) -> int:
        """The process id of its supervisor."""
        assert self._process is not None
        return self._process.pid

    @property
    def demo(self) -> dict[str, Any]:
        """What its demo.json says now: process ids change, addresses and tokens stay."""
        return dict(json.loads((self._folder / "data" / "demo.json").read_text()))

    def start(self) -> None:
        """Start it, again and again as systemd does while the old one is not quite gone, and wait until all of it serves."""
        until = time.monotonic() + DEADLINE
        while not self._started(until):
            if time.monotonic() > until:
                raise TimeoutError(f"The server did not start:\n{self._log()[-2000:]}")
            time.sleep(AGAIN)
        self.wait_until_well()
        ports = {"PORT": self.demo["url"], "KEYTURN_OPS_PORT": self.demo["ops_url"]}
        self._ports = {name: str(urllib.parse.urlsplit(url).port) for name, url in ports.items()}

    def stop(self) -> None:
        """End it as an operator does. Raises OSError if it did not end well."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        if code := self._process.wait(DEADLINE):
            raise OSError(f"The server ended with {code}:\n{self._log()[-2000:]}")

    def kill_engine(self, name: str) -> None:
        """SIGKILL to an embedded engine; when this returns another is there, if not ready."""
        killed = self.engine(name)
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: self.engine(name) not in {0, killed}, f"{name} is not started again")

    def kill_workers(self, pids: Iterable[int]) -> None:
        """SIGKILL to some workers; when this returns others are there, if not ready."""
        killed = {*pids}
        for pid in killed:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not killed & {*self.demo["worker_pids"]}, "workers are not started again")

    def kill(self) -> Mapping[int, str]:
        """SIGKILL to its supervisor alone; what else there was of it."""
        assert self._process is not None
        family = born(tree(self.pid) - {self.pid})
        self._process.kill()
        self._process.wait()
        return family

    def hang_up(self) -> None:
        """SIGHUP to its supervisor; when this returns it has other workers."""
        before, done = {*self.demo["worker_pids"]}, self._log().count('"supervisor.replaced"')
        os.kill(self.pid, signal.SIGHUP)
        wait_until(lambda: self._log().count('"supervisor.replaced"') > done, "the workers are not replaced")
        assert not before & {*self.demo["worker_pids"]}

    def engine(self, name: str) -> int:
        """Return the process id of an embedded engine, 0 if there is none."""
        for pid, parent in parents().items():
            if parent == self.pid and program(pid) == ENGINES[name]:
                return pid
        return 0

    def wait_until_well(self) -> None:
        """Return when all workers and both engines serve."""
        try:
            wait_until(self._well, "the server does not serve again")
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self._log()[-4000:]}") from error

    def bugs(self) -> list[str]:
        """Return the lines of its log that tell of a bug, whatever clients were told."""
        return [line[:500] for line in self._log().splitlines() if any(word in line for word in BUGS)]

    def _started(self, until: float) -> bool:
        environment = {**os.environ, "WORKERS": str(self.workers), "DATA": str(self._folder / "data")}
        environment |= {**self._ports, **self._settings}
        for name in ("DATABASE_URL", "REDIS_URL"):
            environment.pop(name, None)
        self.starts += 1
        with (self._folder / "server.log").open("ab") as lines:
            self._process = subprocess.Popen(
                [Path(sys.executable).with_name("keyturn"), "serve", "--demo"],
                env=environment, stdout=subprocess.DEVNULL, stderr=lines, start_new_session=True,
            )  # fmt: skip
        while self._process.poll() is None and time.monotonic() < until:
            with suppress(OSError, ValueError, KeyError):
                if self.demo["supervisor_pid"] == self.pid:
                    return True
            time.sleep(0.05)
        return False

    def _well(self) -> bool:
        with suppress(OSError, ValueError), urllib.request.urlopen(f"{self.demo['ops_url']}/readyz", timeout=5) as answer:
            said = json.load(answer)
            return bool(said["ready"] and said["valkey"] and said["workers"] == self.workers)
        return False

    def _log(self) -> str:
        return (self._folder / "server.log").read_text(errors="replace")


def wait_until(condition: Callable[[], object], otherwise: str, seconds: float = DEADLINE) -> None:
    """Wait for a state. Raises TimeoutError with the text."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"After {seconds:.0f} s {otherwise}.")
        time.sleep(0.02)


def parents() -> dict[int, int]:
    """Return every process that runs, with its parent."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if state not in "ZX":
                found[int(path.parent.name)] = int(parent)
    return found


def born(pids: set[int]) -> dict[int, str]:
    """Return those of the processes that there are, each with the time of its start: numbers are used again."""
    found = {}
    for pid in pids:
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if fields[0] not in "ZX":
                found[pid] = fields[19]
    return found


def program(pid: int) -> str:
    """Return the name of what a process runs, '' if it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""
