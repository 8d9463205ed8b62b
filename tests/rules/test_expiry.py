"""The blocking of expired licenses (protocol: Block expired licenses), by examples."""

from dataclasses import replace

import pytest

from server.rules.expiry import block_expired
from storage.records import Change, DataObject, Edit, FeatureType, License

from .given import DAY, NOW, a_license, a_product, features

TIMED = replace(a_product(features=features(F1=FeatureType.TIME_LIMITED)), block_expired=True)
ALL_TIMED = replace(a_product(all_time_limited=True), block_expired=True)
STRIPE = (DataObject(7, "cryptolens_stripesubscriptionitemid", "si_1", 0),)


def expired(*machines: str, **values: object) -> License:
    """A license of a product that blocks, which has ended a second ago."""
    return a_license(*machines, **{"product": TIMED, "features": 1, "expires": NOW - 1, **values})  # type: ignore[arg-type]


def test_an_expired_license_is_blocked_and_the_object_log_says_that_nobody_called_for_it() -> None:
    verdict = block_expired(expired("a"), now=NOW)
    assert verdict.answer is True
    assert verdict.change == Change(block=True)
    assert verdict.edit == Edit(1, NOW, "Key", 1005, "BlockExpired", 0, '{"block":[false,true]}')
    assert verdict.entry is None


BLOCKED = {
    "it ends at this moment": expired(expires=NOW),
    "all licenses of its product are time-limited": expired(product=ALL_TIMED, features=0),
    "it has one time-limited feature among others": expired(features=0b11),
    "a trial activation whose machines are all there": expired("a", "b", trial_activation=True),
    "a trial activation above a limit that was lowered": expired("a", "b", trial_activation=True, max_machines=1),
    "a trial activation that takes no machines": expired(trial_activation=True, max_machines=0),
    "a license with room for machines, without trial activation": expired(),
    "other data objects": replace(expired(), data_objects=(DataObject(7, "stripesubscriptionitemid", "", 0),)),
    "a subscription of a machine only": replace(expired(), machine_objects={"a": STRIPE}),
}


@pytest.mark.parametrize("license_", BLOCKED.values(), ids=BLOCKED)
def test_what_is_blocked(license_: License) -> None:
    assert block_expired(license_, now=NOW).change == Change(block=True)


LEFT = {
    "it ends in a second": expired(expires=NOW + 1),
    "it was extended": expired(expires=NOW + 30 * DAY),
    "no feature of it is time-limited": expired(features=0),
    "only features are set that are not time-limited": expired(features=0b10),
    "its product does not want it": expired(product=replace(TIMED, block_expired=False)),
    "it is blocked already": expired(block=True),
    "it is a subscription": replace(expired(), data_objects=STRIPE),
    "it is a subscription without an item": replace(expired(), data_objects=(STRIPE[0]._replace(string_value=""),)),
    "a trial activation that waits for its first machine": expired(trial_activation=True),
    "a trial activation that waits for its second machine": expired("a", trial_activation=True),
}


@pytest.mark.parametrize("license_", LEFT.values(), ids=LEFT)
def test_what_is_left_as_it_is_with_nothing_written(license_: License) -> None:
    verdict = block_expired(license_, now=NOW)
    assert verdict.answer is False
    assert (verdict.change, verdict.edit, verdict.entry) == (None, None, None)
