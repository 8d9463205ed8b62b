"""How many clients there are when: the shape of each scenario, as data."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Stage(NamedTuple):
    """For so many seconds there are, or are to be, so many clients; `rate` of them come or go in a second."""

    seconds: float
    clients: int
    rate: float


SHAPES: Mapping[str, Sequence[Stage]] = {
    "start-up": (Stage(5, 50, 25), Stage(10, 500, 100), Stage(5, 500, 100), Stage(5, 50, 200)),
    "heartbeats": (Stage(8, 320, 80), Stage(17, 320, 80)),
    "mixed-day": (Stage(5, 20, 10), Stage(10, 80, 20), Stage(5, 120, 20), Stage(5, 20, 50)),
    "rush": (Stage(3, 20, 20), Stage(22, 100, 50)),
    "retry-storm": (Stage(31, 400, 100),),
}


def stage_at(stages: Sequence[Stage], seconds: float, *, times: float = 1.0, longer: float = 1.0) -> Stage | None:
    """Return the stage that a load is in after so many seconds, None once it is over.

    `times` the clients, who come as much faster; the stages are `longer`, by that factor.
    """
    end = 0.0
    for stage in stages:
        end += stage.seconds * longer
        if seconds < end:
            return Stage(stage.seconds * longer, max(1, round(stage.clients * times)), max(1.0, stage.rate * times))
    return None
