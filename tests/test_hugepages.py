"""A worker's heap lies in huge pages, wherever the kernel can do that and the operator has not forbidden it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from servers import Live, until

from server import hugepages

MIB = 2**20
CAN = (
    tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) >= (6, 1)
    and hugepages.SETTING.exists()
    and "[never]" not in hugepages.SETTING.read_text()
)
GROWN = """
from pathlib import Path
from server import hugepages
from test_hugepages import huge

hugepages.SETTING = Path({setting!r})
objects = [(number, str(number)) for number in range(400_000)]
print(huge("self"), hugepages.gather(), huge("self"))
"""


def huge(process: int | str) -> int:
    """How many bytes of a process lie in huge pages, as the kernel counts them."""
    rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    return int(re.search(r"^AnonHugePages: +(\d+) kB$", rollup, re.MULTILINE)[1]) << 10


def gathered(setting: Path) -> tuple[int, ...]:
    """Grow in a process of its own; what was in huge pages before, what was said to be gathered, what is there after."""
    path = os.pathsep.join(each for each in sys.path if each)
    program = GROWN.format(setting=str(setting))
    environment = {**os.environ, "PYTHONPATH": path}
    told = subprocess.run([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, check=True)
    return tuple(map(int, told.stdout.split()))


def test_what_has_grown_is_gathered() -> None:
    before, moved, after = gathered(hugepages.SETTING)
    if CAN:
        assert before < 8 * MIB < 24 * MIB < moved <= after
    else:
        assert (before, moved, after) == (0, 0, 0)


@pytest.mark.parametrize("setting", ["always madvise [never]\n", None], ids=["never", "no such kernel"])
def test_nothing_is_moved_where_that_is_forbidden_or_unknown(tmp_path: Path, setting: str | None) -> None:
    path = tmp_path / "enabled"
    if setting is not None:
        path.write_text(setting)
    before, moved, after = gathered(path)
    assert (moved, after) == (0, before)


async def test_a_worker_gathers_its_own(live: Live) -> None:
    if CAN:
        await until(lambda: all(huge(worker) > 16 * MIB for worker in live.demo["worker_pids"]), seconds=30)
    else:
        assert not any(huge(worker) for worker in live.demo["worker_pids"])
