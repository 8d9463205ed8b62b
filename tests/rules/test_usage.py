"""RecordUsage: an amount of a license that has a subscription, or of any (protocol: RecordUsage, rows 7 to 11)."""

from dataclasses import replace

import pytest

from server.rules import usage
from server.rules.codes import Code
from server.rules.usage import SUBSCRIPTION_ITEM
from storage.records import DataObject, License, Usage, Verdict

from .given import MASKED_ADDRESS, NOW, a_caller, a_license

PLAIN = a_license()
SUBSCRIBED = replace(PLAIN, data_objects=(DataObject(1, "other", "", 0), DataObject(2, SUBSCRIPTION_ITEM, "si_1", 0)))


def record(license_: License, *, needs_item: bool = True, **locks: int) -> Verdict[Code | None]:
    return usage.record(license_, amount=5, needs_item=needs_item, caller=a_caller(**locks), now=NOW)


@pytest.mark.parametrize(
    ("license_", "needs_item"),
    [(SUBSCRIBED, True), (SUBSCRIBED, False), (PLAIN, False), (replace(SUBSCRIBED, block=True), True)],
)
def test_an_amount_is_recorded_and_logged(license_: License, needs_item: bool) -> None:
    verdict = record(license_, needs_item=needs_item)
    assert (verdict.answer, verdict.usage, verdict.change) == (None, Usage(5, NOW), None)
    assert verdict.entry is not None
    assert (verdict.entry.state, verdict.entry.ip) == (7010, MASKED_ADDRESS)


def test_without_a_subscription_nothing_is_recorded_and_that_is_logged() -> None:
    verdict = record(PLAIN)
    assert (verdict.answer, verdict.usage) == (Code.SUBSCRIPTION_ITEM, None)
    assert verdict.entry is not None
    assert verdict.entry.state == 7020


def test_objects_of_machines_and_of_the_product_are_no_subscription_of_the_key() -> None:
    item = SUBSCRIBED.data_objects
    product = replace(PLAIN.product, data_objects=item)
    assert record(replace(PLAIN, machine_objects={"m": item}, product=product)).answer is Code.SUBSCRIPTION_ITEM


@pytest.mark.parametrize(("lock", "answer"), [(1005, None), (-1, None), (1006, Code.DENIED)])
def test_a_key_lock_is_to_one_license(lock: int, answer: Code | None) -> None:
    verdict = record(SUBSCRIBED, key_lock=lock)
    assert (verdict.answer, verdict.usage is None) == (answer, answer is not None)
    assert verdict.entry is not None
    assert verdict.entry.state == (7010 if answer is None else 7020)
