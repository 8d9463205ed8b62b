"""Whether a worker takes one more call, by a clock that the tests move: how many places there are, and for whom."""

from collections import deque

import pytest

from server.places import BUNCH, LEAST, WAIT, WINDOW, Crowded, Places
from storage.errors import Busy

MOST = 1_000


class Clock:
    """A clock that stands."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def places(clock: Clock) -> Places:
    return Places(MOST, now=clock)


def fill(places: Places, *names: str) -> int:
    """Take places in these names until one is refused; how many there were."""
    taken = 0
    while True:
        try:
            places.take(names)
        except Busy:
            return taken
        taken += 1


def fill_each(places: Places) -> int:
    """Take places, each in a name of its own, until one is refused."""
    taken = 0
    while not places.refuses([]):
        places.take([f"license {taken}"])
        taken += 1
    with pytest.raises(Busy):
        places.take(["license more"])
    return taken


class Line:
    """A worker that answers so many calls a second, in order, while twice as many come, each of a license of its own."""

    def __init__(self, places: Places, clock: Clock, pace: int, size: int = 1) -> None:
        self._places, self._clock = places, clock
        self._step, self._size = size / pace, size
        self._waiting: deque[float] = deque()
        self.refused = self.longest = 0

    def go(self, seconds: float, times: int = 2) -> list[float]:
        """Serve for so long, so many calls together; how long each of those waited that were answered."""
        waits = []
        self.longest = 0
        until = self._clock.now + seconds
        while self._clock.now < until:
            for _ in range(times * self._size):
                try:
                    self._places.take([])
                except Busy:
                    self.refused += 1
                else:
                    self._waiting.append(self._clock.now)
            self.longest = max(self.longest, len(self._waiting))
            self._clock.now += self._step
            for _ in range(min(self._size, len(self._waiting))):
                waits.append(self._clock.now - self._waiting.popleft())
                self._places.leave([])
        return waits


def test_a_burst_takes_all_places_and_no_more(places: Places) -> None:
    assert fill_each(places) == MOST


def test_after_all_were_taken_there_are_several_before_one_is_given(places: Places) -> None:
    fill_each(places)
    for number in range(BUNCH):
        assert places.refuses([]) is Busy
        places.leave([f"license {number}"])
    assert fill(places, "network a") == BUNCH // 2
    assert fill_each(places) == BUNCH // 2


def test_who_leaves_before_all_were_taken_makes_room_at_once(places: Places) -> None:
    for number in range(MOST):
        places.take([f"license {number}"])
    places.leave(["license 7"])
    places.take(["license 7"])
    assert places.refuses([]) is Busy


@pytest.mark.parametrize("most", [1, 2, 3])
def test_with_few_places_half_of_them_are_several(clock: Clock, most: int) -> None:
    places = Places(most, now=clock)
    fill_each(places)
    places.leave(["license 0"])
    assert places.refuses([]) is None


@pytest.mark.parametrize("size", [1, 64])
@pytest.mark.parametrize("pace", [1_500, 3_000])
def test_in_an_overload_nobody_waits_for_much_longer_than_the_bound(
    places: Places, clock: Clock, pace: int, size: int
) -> None:
    line = Line(places, clock, pace, size)
    line.go(2.0)  # it began as a burst
    waits = line.go(10.0)
    assert max(waits) <= WAIT * 1.3
    assert len(waits) >= 9.9 * pace  # nobody has to be idle for it
    assert line.refused >= 9.9 * pace


def test_a_slow_worker_keeps_its_batches_full(places: Places, clock: Clock) -> None:
    line = Line(places, clock, 200)
    line.go(10.0)
    line.go(10.0)
    assert line.longest == LEAST


def test_a_fast_worker_has_no_more_places_than_are_set(places: Places, clock: Clock) -> None:
    line = Line(places, clock, 20_000)
    line.go(1.0)
    line.go(1.0)
    assert line.longest == MOST


def test_a_burst_is_no_overload(places: Places, clock: Clock) -> None:
    line = Line(places, clock, 1_500)
    for _ in range(3):
        line.go(WINDOW / 2)
        line.go(WINDOW * 2, times=0)
    assert line.refused == 0


def test_after_an_overload_everything_is_taken_again(places: Places, clock: Clock) -> None:
    line = Line(places, clock, 1_500)
    line.go(5.0)
    line.go(1.0, times=0)
    assert fill_each(places) == MOST


def test_one_alone_takes_half_of_the_places(places: Places) -> None:
    assert fill(places, "network a") == MOST // 2
    with pytest.raises(Crowded):
        places.take(["license x", "network a"])
    assert fill_each(places) == MOST // 2


@pytest.mark.parametrize("crowds", [1, 2, 3, 9])
def test_however_many_crowd_something_is_left_for_others(places: Places, crowds: int) -> None:
    crowding = [f"network {number}" for number in range(crowds)]
    while crowding:  # they come in turn
        for name in list(crowding):
            try:
                places.take([name])
            except Crowded:
                crowding.remove(name)
    left = fill_each(places)
    assert abs(left - MOST // (crowds + 1)) <= crowds


def test_a_call_that_is_refused_takes_nothing(places: Places) -> None:
    fill(places, "network a")
    with pytest.raises(Crowded):
        places.take(["license x", "network a"])
    assert fill(places, "license x") == MOST // 4


def test_a_crowd_that_leaves_may_come_back(places: Places) -> None:
    fill(places, "network a")
    places.leave(["network a"])
    assert fill(places, "network a") == 1
    for _ in range(MOST // 2):
        places.leave(["network a"])
    assert places._held == {}
