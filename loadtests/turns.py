"""What the goals compare, measured in short turns one after the other: whatever else goes on meets both sides of a ratio."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from statistics import median

from loadtests import goals
from loadtests.extent import Extent, Tell
from loadtests.limits import Bare, Limit, openssl
from loadtests.measure import SHARE, Load, Phase
from loadtests.scenarios import SEED

COMPARED = {
    goals.SIGNED: "signed-reactivation", goals.UNSIGNED: "unsigned-reactivation", goals.FLOATING: "floating",
    goals.OF_FIVE: "reactivation-of-5",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sides:
    """Who takes turns: one worker with each kind of call (by scenario), one that signs with OpenSSL, all workers, and L1."""

    one: Mapping[str, Load]
    plain: Load
    everyone: Load
    bare: Bare
    client: Executor

    def ways(self, seconds: float) -> dict[str, Callable[[], Limit | Phase]]:
        """Return how each cost is measured in a turn of so many seconds."""
        signed = self.one[COMPARED[goals.SIGNED]]
        return {
            goals.L1: lambda: self.bare.closed(signed.lasting, seconds),
            goals.L2: lambda: self.client.submit(openssl, seconds).result(),
            goals.OPENSSL: lambda: self.plain.closed(seconds),
            goals.ALL: lambda: self.everyone.closed(seconds),
            **{name: partial(self.one[scenario].closed, seconds) for name, scenario in COMPARED.items()},
        }


def take(sides: Sides, extent: Extent, tell: Tell) -> dict[str, list[float]]:
    """Take the turns; what each gave, in order: costs in µs of CPU, and p99 in ms at a share of what the turn could do."""
    ways = sides.ways(extent.turn)
    waits = ((goals.P99, goals.SIGNED, sides.one[COMPARED[goals.SIGNED]]), (goals.P99_ALL, goals.ALL, sides.everyone))
    taken: dict[str, list[float]] = defaultdict(list)
    for turn in range(extent.turns):
        able = {}
        for name, measure in ways.items():
            tell(f"turn {turn + 1} of {extent.turns}: {name}")
            measured = measure()
            able[name] = measured.per_second
            taken[name].append(measured.cost)
        for name, of, load in waits:
            tell(f"turn {turn + 1} of {extent.turns}: {name}")
            taken[name].append(load.open(extent.open, able[of] * SHARE, seed=SEED + turn).p99)
    return dict(taken)


def medians(taken: Mapping[str, list[float]], *, lanes: bool) -> dict[str, float]:
    """Return the medians; with `lanes`, signed is signed by them."""
    found = {name: median(values) for name, values in taken.items()}
    return found | ({goals.LANES: found[goals.SIGNED]} if lanes else {})
