"""The last half hour, one point for every five seconds, in the supervisor's memory: under a megabyte, whatever happens."""

from collections import Counter, deque
from typing import NamedTuple

from server.live.figures import Figures, Sums, figures, grown, rounded
from server.live.troubles import Trouble, Troubles, refusals

STEP_SECONDS = 5.0
KEPT_SECONDS = 1800.0
MOST = int(KEPT_SECONDS / STEP_SECONDS)


class Point(NamedTuple):
    """What the time up to `at` (Unix seconds) was like; `refused` counts refusals by what was told."""

    at: float
    figures: Figures
    refused: dict[str, int]


class Refusals(NamedTuple):
    """How often something was refused in what is kept, and when last (Unix seconds)."""

    what: str
    times: int
    last: float


class History:
    """Points, oldest first. A clock that was set back begins it anew: no two points have the same time."""

    def __init__(self) -> None:
        self._points: deque[Point] = deque(maxlen=MOST)
        self._troubles = Troubles()
        self._before: Sums | None = None
        self._since = 0.0

    def add(self, at: float, monotonic: float, now: Sums, taken: Figures) -> None:
        """Take in what has been counted until now. `taken` are the figures of this moment that no count says."""
        before, seconds = self._before, monotonic - self._since
        self._before, self._since = now, monotonic
        if before is None:
            return
        growth = grown(before, now)
        shown = {**figures(growth, now, seconds), **{name: rounded(value) for name, value in taken.items()}}
        at = round(at, 1)
        if self._points and at <= self._points[-1].at:
            self._points.clear()
        while self._points and self._points[0].at < at - KEPT_SECONDS:
            self._points.popleft()
        self._points.append(Point(at, shown, refusals(growth)))
        self._troubles.see(at, growth, shown)

    def series(self, since: float) -> dict[str, list[float | None]]:
        """Return the points after a time, as a list of each figure; all of them if none is that old."""
        points = list(self._points)
        if points and since <= points[-1].at:
            points = [point for point in points if point.at > since]
        found: dict[str, list[float | None]] = {"at": [point.at for point in points]}
        for name in self._points[-1].figures if self._points else ():
            found[name] = [point.figures[name] for point in points]
        return found

    def refusals(self) -> list[Refusals]:
        """Return what was refused, the most frequent first."""
        counts: Counter[str] = Counter()
        last: dict[str, float] = {}
        for point in self._points:
            counts.update(point.refused)
            last |= dict.fromkeys(point.refused, point.at)
        return [Refusals(what, count, last[what]) for what, count in counts.most_common()]

    def troubles(self) -> list[Trouble]:
        """Return what an operator is to know of, the newest first."""
        return self._troubles.newest_first()
