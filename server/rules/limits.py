"""How often clients may call: what is counted under which name, and how much of it is let through. Nothing is counted here.

A token in client software is public knowledge, so none is limited as a whole: that would let anybody lock out all others.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from storage.records import Limit

LEAST_SEATS = 5  # a license of fewer is limited like one of so many: restarts, tests and heartbeats of one machine add up
MINUTE, HOUR = 60, 3_600


class Counted(StrEnum):
    """What is limited."""

    TOKEN = "token"  # noqa: S105 (a name)
    KEY = "key"
    FAILURES = "failures"
    TRIALS = "trials"


class TooMany(Exception):
    """The caller is over a limit; `seconds` (above 0) is when the next call may pass."""

    def __init__(self, counted: Counted, seconds: float) -> None:
        super().__init__(f"too many: {counted}")
        self.counted = counted
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Rates:
    """How much is let through; 0 limits nothing. What each means stands in the README's table of settings.

    `token`: calls a second of one token from one network, ten seconds' worth at once. `key`: calls a second on a license
    for each of its seats, a minute's worth at once. `failures` a minute, and `trials` (trial keys created) an hour, from one
    network: five minutes' worth, and an hour's, at once.
    """

    token: int
    key: int
    failures: int
    trials: int

    def of_token(self) -> Limit | None:
        """Return the limit of one token in one network."""
        return _limit(self.token, 10 * self.token)

    def of_key(self, seats: int) -> Limit | None:
        """Return the limit of a license; one that counts no machines (0 seats) has none."""
        return _of_seats(self.key, max(seats, LEAST_SEATS)) if seats else None

    def of_failures(self) -> Limit | None:
        """Return the limit of look-ups that find nothing."""
        return _limit(self.failures / MINUTE, 5 * self.failures)

    def of_trials(self) -> Limit | None:
        """Return the limit of new trial keys."""
        return _limit(self.trials / HOUR, self.trials)


@lru_cache(maxsize=1024)
def _of_seats(rate: int, seats: int) -> Limit | None:
    return _limit(rate * seats, rate * seats * MINUTE)


def _limit(rate: float, burst: float) -> Limit | None:
    return Limit(rate, burst) if rate > 0 else None
