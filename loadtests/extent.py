"""How long a run of the benchmark takes for what: in full, and quickly."""

from collections.abc import Callable
from dataclasses import dataclass

Tell = Callable[[str], None]  # is told what is done next


@dataclass(frozen=True, slots=True)
class Extent:
    """How long each phase lasts (seconds), how many turns are taken, and by which servers scenarios are measured."""

    closed: float
    open: float
    warm: float
    turn: float
    turns: int
    all_workers: bool


FULL = Extent(closed=4, open=4, warm=1, turn=2, turns=5, all_workers=True)
QUICK = Extent(closed=1.5, open=1.5, warm=0.5, turn=1, turns=3, all_workers=False)
