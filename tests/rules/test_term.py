"""Terms: expiry arithmetic and the status of a license."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rules import term
from server.rules.term import Reason, Status
from storage.records import FeatureType, Product

from .given import DAY, NOW, a_license, a_product, features

LIMITED = a_product(features=features(F1=FeatureType.TIME_LIMITED, F2=FeatureType.TRIAL))


def test_a_period_is_counted_to_the_second() -> None:
    assert term.after(NOW, 30) == 1_002_592_000


def test_the_bounds_are_those_of_the_calendar() -> None:
    assert datetime.fromtimestamp(term.EARLIEST, UTC) == datetime(1970, 1, 1, tzinfo=UTC)
    assert datetime.fromtimestamp(term.LATEST, UTC) == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert [term.in_bounds(time) for time in (-1, 0, term.LATEST, term.LATEST + 1)] == [False, True, True, False]


def test_features_are_found_by_their_type() -> None:
    product = a_product(features=features(F1=FeatureType.TIME_LIMITED, F8=FeatureType.TRIAL))
    assert term.features_of(product, FeatureType.TIME_LIMITED) == 0b0000_0001
    assert term.features_of(product, FeatureType.TRIAL) == 0b1000_0000
    assert term.features_of(product, FeatureType.TIME_LIMITED, FeatureType.TRIAL) == 0b1000_0001
    assert term.features_of(a_product(), FeatureType.TRIAL) == 0


def test_a_license_without_limits_in_time_stays_valid_after_its_expiry() -> None:
    license = a_license(expires=NOW - DAY)
    assert term.status(license, now=NOW) == Status(
        is_valid=True, reason=Reason.NONE, trial=False, time_limited=False, time_left=-1
    )


@pytest.mark.parametrize("product", [LIMITED, a_product(all_time_limited=True)])
def test_a_time_limited_license_ends(product: Product) -> None:
    license = a_license(expires=NOW - 1, product=product, features=0b1)
    assert term.status(license, now=NOW) == Status(
        is_valid=False, reason=Reason.EXPIRED, trial=False, time_limited=True, time_left=-1
    )


def test_a_feature_limits_in_time_only_where_it_is_set() -> None:
    assert not term.status(a_license(product=LIMITED), now=NOW).time_limited


def test_a_license_with_a_trial_feature_is_a_trial() -> None:
    status = term.status(a_license(product=LIMITED, features=0b10), now=NOW)
    assert (status.trial, status.time_limited) == (True, False)


@pytest.mark.parametrize("expires", [NOW + DAY, NOW - DAY])
def test_a_block_is_told_before_an_expiry(expires: int) -> None:
    status = term.status(a_license(block=True, expires=expires, product=LIMITED, features=0b1), now=NOW)
    assert (status.is_valid, status.reason) == (False, Reason.BLOCKED)
    assert status.reason == 2


@pytest.mark.parametrize(
    ("left", "days", "valid"),
    [(2 * DAY, 2, True), (2 * DAY - 1, 1, True), (1, 0, True), (0, 0, False), (-1, -1, False), (-DAY - 1, -2, False)],
)
def test_days_left_are_whole_and_the_last_second_does_not_count(*, left: int, days: int, valid: bool) -> None:
    status = term.status(a_license(expires=NOW + left, product=LIMITED, features=0b1), now=NOW)
    assert (status.time_left, status.is_valid) == (days, valid)


@given(
    block=st.booleans(),
    limited=st.booleans(),
    bits=st.integers(0, 255),
    expires=st.integers(term.EARLIEST, term.LATEST),
    now=st.integers(0, 2**32),
)
def test_a_license_is_invalid_exactly_if_there_is_a_reason(
    *, block: bool, limited: bool, bits: int, expires: int, now: int
) -> None:
    product = a_product(features=LIMITED.features, all_time_limited=limited)
    status = term.status(a_license(block=block, product=product, features=bits, expires=expires), now=now)
    assert status.is_valid == (status.reason is Reason.NONE)
    assert status.is_valid == (not block and not (status.time_limited and expires <= now))
