"""The goals, and whether a run meets them, from medians of alternate turns. Ratios of costs are of CPU µs an answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

Medians = Mapping[str, float]  # CPU µs of an answer, ms of p99, ratios of other benchmarks: by the names below

L1, L2, SIGNED, OPENSSL, ALL = "L1", "L2", "signed", "signed, openssl", "signed, all workers"
UNSIGNED, FLOATING, OF_FIVE = "unsigned", "floating", "signed, 5 machines"
P99, P99_ALL = "p99", "p99, all workers"
ZIPF, UNIFORM, LOADED, POOL, GOODPUT, SERVED = "Zipf", "uniform", "load-demo", "pool", "goodput", "p99 of those served"
LANES = "signed, eight lanes"


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to be reached: `must` at least, and `aim`; `up` where more is better. `of` raises KeyError if not measured."""

    what: str
    must: float
    aim: float
    of: Callable[[Medians], float]
    up: bool = False
    unit: str = ""


class Verdict(NamedTuple):
    """What became of a goal: `met` is "aim", "must", "missed" or "not measured"."""

    what: str
    must: str
    aim: str
    value: float | None
    met: str


def other(name: str) -> Callable[[Medians], float]:
    """Take a figure as another benchmark gave it."""
    return lambda medians: medians[name]


GOALS = (
    Goal("signed re-activation / one OpenSSL signature (L2), with eight lanes", 1.0, 0.70, lambda m: m[LANES] / m[L2]),
    Goal("(L1 + L2) / signed re-activation without lanes", 0.70, 0.85, lambda m: (m[L1] + m[L2]) / m[OPENSSL], up=True),
    Goal("unsigned re-activation / L1", 2.2, 1.6, lambda m: m[UNSIGNED] / m[L1]),
    Goal("floating heartbeat (5 holders) / signed re-activation", 1.25, 1.15, lambda m: m[FLOATING] / m[SIGNED]),
    Goal("the same / signed re-activation that lists 5 machines, too", 1.25, 1.15, lambda m: m[FLOATING] / m[OF_FIVE]),
    Goal("signed re-activation, all workers / one worker", 1.15, 1.05, lambda m: m[ALL] / m[SIGNED]),
    Goal("p99 at 60 % load, keep-alive, signed, one worker", 25, 8, other(P99), unit=" ms"),
    Goal("p99 at 60 % load, keep-alive, signed, all workers", 25, 8, other(P99_ALL), unit=" ms"),
    Goal("1,000,000 / 1,000 licenses, answers a second, by Zipf(1)", 0.85, 0.95, other(ZIPF), up=True),
    Goal("1,000,000 / 1,000 licenses, answers a second, uniformly random", 0.70, 0.85, other(UNIFORM), up=True),
    Goal("load-demo of 1,000,000 licenses with 5 machines each", 5, 2, other(LOADED), unit=" min"),
    Goal("new floating seats a second, pool of 20,000 / of 2,000", 0.9, 1.0, other(POOL), up=True),
    Goal("at twice the capacity: goodput / capacity left after the refusals", 0.85, 0.95, other(GOODPUT), up=True),
    Goal("at twice the capacity: p99 of those served", 1, 0.3, other(SERVED), unit=" s"),
)


def judge(goal: Goal, medians: Medians) -> Verdict:
    """Say whether the goal is met."""
    sign = "≥" if goal.up else "≤"
    must, aim = (f"{sign} {number:g}{goal.unit}" for number in (goal.must, goal.aim))
    try:
        value = goal.of(medians)
    except KeyError:
        return Verdict(goal.what, must, aim, None, "not measured")
    return Verdict(goal.what, must, aim, value, _met(goal, value))


def _met(goal: Goal, value: float) -> str:
    for name, bound in (("aim", goal.aim), ("must", goal.must)):
        if (value >= bound) if goal.up else (value <= bound):
            return name
    return "missed"
