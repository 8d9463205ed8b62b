"""The memory and the open files of a server's processes over time, and whether they are flat.

Memory is what a process has for itself (RssAnon): PostgreSQL's shared buffers, which fill up, are not in it. Of PostgreSQL
only sockets count, not files: its processes keep those of tables open as they like, and each is closed with its connection.
"""

import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import NamedTuple

from loadtests.machine import GROUPS, tree
from loadtests.victim import program

EVERY = 1.0  # seconds
WARM_UP = 60.0  # seconds: caches fill, statements are prepared
LEAST = 60.0  # seconds after that, below which nothing can be said
MOST_GROWTH = 0.10  # of the memory, from the first to the last quarter
MOST_MIB = 8.0  # or so much, if that is more
MOST_FILES = 8
ANON = re.compile(r"^RssAnon:\s+(\d+) kB", re.MULTILINE)


class Sample(NamedTuple):
    """At a moment (monotonic seconds), all processes of a kind together: how many, MiB, open files."""

    at: float
    processes: int
    mib: float
    files: int


class Trend(NamedTuple):
    """Memory (MiB) and open files in the first and the last quarter of so many seconds (medians), and if that is flat.

    `flat` is None where it was too short to say.
    """

    seconds: float
    mib: tuple[float, float]
    files: tuple[float, float]
    flat: bool | None


class Watch:
    """Looks at the processes below a supervisor each second, in a thread, until it is ended."""

    def __init__(self, supervisor: Callable[[], int]) -> None:
        self.samples: dict[str, list[Sample]] = defaultdict(list)
        self._supervisor = supervisor
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Look no more."""
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(EVERY):
            for kind, sample in look(self._supervisor()).items():
                self.samples[kind].append(sample)


def look(supervisor: int) -> dict[str, Sample]:
    """Return how the processes of a server are now, by kind."""
    now, found = time.monotonic(), dict[str, Sample]()
    for pid in tree(supervisor):
        name = program(pid)
        kind = "supervisor" if pid == supervisor else GROUPS.get(name, "worker")
        try:
            memory = ANON.search(Path(f"/proc/{pid}/status").read_text())
            files = _files(pid, sockets=kind == "postgres")
        except OSError:  # it has ended
            continue
        before = found.get(kind, Sample(now, 0, 0, 0))
        mib = int(memory[1]) / 1024 if memory else 0.0
        found[kind] = Sample(now, before.processes + 1, before.mib + mib, before.files + files)
    return found


def _files(pid: int, *, sockets: bool) -> int:
    found = 0
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found += not sockets or str(path.readlink()).startswith("socket:")
    return found


def trend(samples: Sequence[Sample]) -> Trend | None:
    """Compare the last quarter with the first after the warm-up; None of nothing. Shorter ones are looked at as a whole."""
    if not samples:
        return None
    warm = [each for each in samples if each.at - samples[0].at >= WARM_UP]
    enough = bool(warm) and warm[-1].at - warm[0].at >= LEAST
    seen = warm if enough else samples
    quarter = max(1, len(seen) // 4)
    first, last = seen[:quarter], seen[-quarter:]
    mib = median(each.mib for each in first), median(each.mib for each in last)
    files = median(each.files for each in first), median(each.files for each in last)
    flat = mib[1] - mib[0] <= max(MOST_MIB, MOST_GROWTH * mib[0]) and files[1] - files[0] <= MOST_FILES
    return Trend(seen[-1].at - seen[0].at, mib, files, flat if enough else None)
