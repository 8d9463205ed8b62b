"""How much memory there is for the engines: that of the machine, or less where a control group allows less."""

import os
from pathlib import Path

CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN_GROUP = Path("/proc/self/cgroup")
BUFFERS_PART = 4  # PostgreSQL's manual: a quarter of the memory is a reasonable value for shared_buffers
LEAST_BUFFERS, MOST_BUFFERS = 128, 4_096  # MiB; a million licenses with their log take about half of the most


def shared_buffers(memory: int) -> str:
    """Return PostgreSQL's setting for a machine with so many bytes."""
    return f"{min(max(memory // BUFFERS_PART // 2**20, LEAST_BUFFERS), MOST_BUFFERS)}MB"


def available(groups: Path = CONTROL_GROUPS, own: Path = OWN_GROUP) -> int:
    """Return the bytes of memory that this process and its children may use."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *_limits(groups, own)])


def _limits(groups: Path, own: Path) -> list[int]:
    """Return the limits (version 2) of our control group and of those that it is in; there may be none."""
    name = next((line[3:] for line in _text(own).splitlines() if line.startswith("0::")), "/").lstrip("/")
    group = groups / name
    texts = [_text(each / "memory.max").strip() for each in (group, *group.parents) if each.is_relative_to(groups)]
    return [int(text) for text in texts if text.isdigit()]  # `max`: none


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
