"""How much is let through, of what."""

import pytest

from server.rules.limits import HOUR, LEAST_SEATS, MINUTE, Counted, Rates, TooMany
from storage.records import Limit

RATES = Rates(token=500, key=20, failures=60, trials=100)


def test_a_token_has_ten_seconds_worth_at_once() -> None:
    assert RATES.of_token() == Limit(500, 5_000)


@pytest.mark.parametrize(("seats", "counted"), [(1, LEAST_SEATS), (LEAST_SEATS, LEAST_SEATS), (6, 6), (500, 500)])
def test_a_license_is_limited_in_proportion_to_its_seats(seats: int, counted: int) -> None:
    assert RATES.of_key(seats) == Limit(20 * counted, 20 * counted * MINUTE)


def test_a_license_that_counts_no_machines_is_not_limited() -> None:
    assert RATES.of_key(0) is None


def test_failures_are_counted_by_the_minute_and_trials_by_the_hour() -> None:
    assert RATES.of_failures() == Limit(1, 300)
    assert RATES.of_trials() == Limit(100 / HOUR, 100)


def test_a_rate_of_nothing_limits_nothing() -> None:
    none = Rates(token=0, key=0, failures=0, trials=0)
    assert [none.of_token(), none.of_key(7), none.of_failures(), none.of_trials()] == [None] * 4


def test_what_is_too_much_says_of_what_and_until_when() -> None:
    refusal = TooMany(Counted.KEY, 1.5)
    assert (refusal.counted, refusal.seconds) == ("key", 1.5)
