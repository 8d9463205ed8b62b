"""The places for calls in a worker: whoever finds none is refused at once, so that whoever has one is answered in time.

* There are `most` places, which is for a burst. In an overload there are as many as calls were answered in `WAIT` seconds of
  late: so nobody waits for much longer, however slow the machine is. It is one when in a whole `WINDOW` there never was less
  than a quarter of the places taken.
* When all have been taken, none is given until `BUNCH` are free: those who come then go through together. One by one, as
  places become free, they made batches of 40 to 55 calls instead of 65 to 80.
* Nobody gets another place who has as many as are free: no network, no license, no method that names none. One of them
  alone can take half of the places, two of them a third each: some are left for whoever has none yet.
"""

import time
from collections.abc import Callable, Sequence

from server import metrics
from storage.errors import Busy

WAIT = 0.15
WINDOW = 0.1
BUNCH = 64
LEAST = 128  # as many as fill a batch: with fewer, an answer would cost more


class Crowded(Busy):
    """There are places, but the caller's network, license or method has as many as are free."""


class Places:
    """The places of one worker. `now` gives monotonic seconds."""

    def __init__(self, most: int, *, now: Callable[[], float] = time.monotonic) -> None:
        self._most = self._open = most
        self._now = now
        self._held: dict[str, int] = {}
        self._taken = 0
        self._shut = False
        self._began = now()  # of the window
        self._fewest = self._answered = 0  # in it: places taken, calls
        metrics.queue_most.set(most)

    def refuses(self, names: Sequence[str]) -> type[Busy] | None:
        """Return why the next call in these names is refused; None if there is a place for it."""
        now = self._now()
        if now >= self._began + WINDOW:
            self._look(now)
        free = self._open - self._taken
        self._shut = free < min(BUNCH, self._open // 2) if self._shut else free <= 0
        if self._shut:
            return Busy
        for name in names:
            if self._held.get(name, 0) >= free:
                return Crowded
        return None

    def take(self, names: Sequence[str]) -> None:
        """Take a place, in the name of each of them. Raises `Busy`, `Crowded`."""
        if refusal := self.refuses(names):
            raise refusal("there is no place")
        held = self._held
        for name in names:
            held[name] = held.get(name, 0) + 1
        self._taken += 1

    def leave(self, names: Sequence[str]) -> None:
        """Give a place back: its call is answered."""
        held = self._held
        for name in names:
            if rest := held.pop(name) - 1:
                held[name] = rest
        self._taken -= 1
        self._fewest = min(self._fewest, self._taken)
        self._answered += 1

    def _look(self, now: float) -> None:
        """Begin another window, with as many places as the last one tells."""
        overload = self._fewest * 4 >= self._open
        pace = self._answered / (now - self._began)
        self._open = min(self._most, max(LEAST, int(pace * WAIT))) if overload else self._most
        self._began, self._fewest, self._answered = now, self._taken, 0
        metrics.queue_most.set(self._open)
