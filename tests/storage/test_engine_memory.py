"""How much memory the embedded PostgreSQL takes for its pages: a quarter, of what this process may have at all."""

import os
from pathlib import Path

import pytest

from storage.embedded.memory import available, shared_buffers

GIB = 2**30
MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("memory", "setting"),
    [(GIB // 4, "128MB"), (GIB, "256MB"), (10 * GIB, "2560MB"), (16 * GIB, "4096MB"), (99 * GIB, "4096MB")],
)
def test_it_is_a_quarter_within_bounds(memory: int, setting: str) -> None:
    assert shared_buffers(memory) == setting


def group(root: Path, name: str, limit: str) -> None:
    (root / name).mkdir(parents=True, exist_ok=True)
    (root / name / "memory.max").write_text(f"{limit}\n")


@pytest.mark.parametrize(
    ("own", "outer", "allowed"),
    [("max", "max", MACHINE), ("1000000", "max", 1_000_000), ("1000000", "70000", 70_000), ("max", str(2**60), MACHINE)],
)
def test_a_control_group_or_one_that_it_is_in_may_allow_less(tmp_path: Path, own: str, outer: str, allowed: int) -> None:
    group(tmp_path, "system.slice/keyturn.service", own)
    group(tmp_path, "system.slice", outer)
    (tmp_path / "cgroup").write_text("12:cpuset:/other\n0::/system.slice/keyturn.service\n")
    assert available(tmp_path, tmp_path / "cgroup") == allowed


def test_in_a_container_its_own_group_is_the_root(tmp_path: Path) -> None:
    group(tmp_path, ".", "5000000")
    (tmp_path / "cgroup").write_text("0::/\n")
    assert available(tmp_path, tmp_path / "cgroup") == 5_000_000


def test_without_control_groups_it_is_all_that_the_machine_has(tmp_path: Path) -> None:
    assert available(tmp_path / "none", tmp_path / "nor this") == MACHINE
