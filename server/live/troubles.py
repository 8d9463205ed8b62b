"""What an operator is to know of: counts that should stand still and states that should not last. No words of a client."""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from server import edges
from server.live.figures import FAILED, Figures, Sums
from server.rules.codes import Code

MOST = 50
TOGETHER_SECONDS = 60.0  # what comes again within it is still the same

REQUESTS = "keyturn_refused_requests_total"
WATCHED: Mapping[tuple[str, ...], str] = {
    (REQUESTS, edges.BUSY.cause): "503: no place in the queue of a worker",
    (REQUESTS, edges.CROWDED.cause): "503: too many calls on one license, method or network",
    (REQUESTS, edges.UNAVAILABLE.cause): "503: PostgreSQL was not there",
    (REQUESTS, edges.BUG.cause): "500: an error in the program; the log has it",
    ("keyturn_ledger_batches_total", "unknown"): "Batches whose connection was lost",
    ("keyturn_ledger_batches_total", "abandoned"): "Batches that were given up",
    ("keyturn_ledger_batches_total", "failed"): "Batches that failed",
    ("keyturn_lane_faults_total",): "Wrong signatures of the eight lanes; none left",
    ("keyturn_limits_untold_total",): "Limits not counted over all workers: no Valkey",
    ("keyturn_seat_seeds_total", "run_id"): "Valkey was restarted or replaced: seats seeded anew",
    ("keyturn_engine_restarts_total", "postgres"): "PostgreSQL ended and was started again",
    ("keyturn_engine_restarts_total", "valkey"): "Valkey ended and was started again",
    ("keyturn_worker_restarts_total",): "A worker ended and was started again",
}


class Trouble(NamedTuple):
    """Seen from `first` to `last` (Unix seconds); `times` is how often, 0 for a state."""

    what: str
    first: float
    last: float
    times: int


class Troubles:
    """The last ones, newest last."""

    def __init__(self) -> None:
        self._kept: deque[Trouble] = deque(maxlen=MOST)

    def see(self, at: float, growth: Sums, shown: Figures) -> None:
        """Take in what there is at a time: what has grown until then, and how things stand."""
        for name, what in WATCHED.items():
            if growth.get(name):
                self._keep(what, at, int(growth[name]))
        for what in _states(shown):
            self._keep(what, at, 0)

    def newest_first(self) -> list[Trouble]:
        """Return what is kept."""
        return [*reversed(self._kept)]

    def _keep(self, what: str, at: float, times: int) -> None:
        for place, known in enumerate(self._kept):
            if known.what == what and at - known.last <= TOGETHER_SECONDS:
                del self._kept[place]
                self._kept.append(Trouble(what, known.first, at, known.times + times))
                return
        self._kept.append(Trouble(what, at, at, times))


def _states(shown: Figures) -> Iterator[str]:
    if not shown["postgres"]:
        yield "No worker reaches PostgreSQL"
    if not shown["valkey"]:
        yield "Valkey does not answer"
    if (shown["ready"] or 0.0) < (shown["wanted"] or 0.0):
        yield "Fewer workers ready than there should be"


def refusals(growth: Sums) -> dict[str, int]:
    """Return how often each refusal was told, by its message or its cause. Server failures are troubles."""
    told: dict[str, int] = {}
    for name, value in growth.items():
        if not value:
            continue
        if name[0] == "keyturn_calls_total" and name[1] in Code.__members__:
            message = Code[name[1]].value
            told[message] = told.get(message, 0) + int(value)
        elif name[0] == REQUESTS and name[1] not in FAILED:
            told[name[1].replace("_", " ")] = int(value)
    return told
