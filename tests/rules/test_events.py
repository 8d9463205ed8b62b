"""Events: what is kept of what clients tell, and the one of OSInfo that stands beside a log row."""

from dataclasses import replace
from functools import partial

import pytest

from server.rules import activation, events, floating
from server.rules.codes import Code
from server.rules.events import LONGEST_METADATA, About, Told, with_system
from server.rules.floating import Again
from storage.records import Event

from .given import BY_VALKEY, FULL_ADDRESS, MASKED_ADDRESS, NOW, PROXY_ADDRESS, a_caller, a_license, a_wish

CLICK = Told("Export", "click", -3, "USD", 0, '{"a":1}')


def test_events_of_a_license_have_what_was_told_and_no_address() -> None:
    verdict = events.register(
        a_license(), told=[CLICK, CLICK._replace(time=5)], machine_code="m", caller=a_caller(), now=NOW
    )
    told = Event(1, 3001, 1005, "m", "Export", "click", -3, "USD", NOW, '{"a":1}')
    assert (verdict.answer, verdict.events) == (None, (told, told._replace(time=5)))
    assert (verdict.entry, verdict.edit, verdict.change) == (None, None, None)
    assert not [each for each in (FULL_ADDRESS, PROXY_ADDRESS, MASKED_ADDRESS) if each in repr(verdict)]


def test_a_blocked_license_has_events_too() -> None:
    verdict = events.register(a_license(block=True), told=[CLICK], machine_code="", caller=a_caller(), now=NOW)
    assert (verdict.answer, len(verdict.events)) == (None, 1)


@pytest.mark.parametrize(("lock", "answer", "count"), [(1005, None, 1), (-1, None, 1), (1006, Code.DENIED, 0)])
def test_a_key_lock_is_to_one_license(lock: int, answer: Code | None, count: int) -> None:
    verdict = events.register(a_license(), told=[CLICK], machine_code="", caller=a_caller(key_lock=lock), now=NOW)
    assert (verdict.answer, len(verdict.events)) == (answer, count)


def test_events_may_be_about_nothing_in_particular() -> None:
    (event,) = events.of([CLICK], About(1, 0, ""), license_id=0, now=NOW)
    assert event == Event(1, 0, 0, "", "Export", "click", -3, "USD", NOW, '{"a":1}')


# OSInfo

CALLER = a_caller()
ACTIVATE = partial(activation.activate, code="m", friendly_name="n", caller=CALLER, now=NOW)
DEACTIVATE = partial(activation.deactivate, code="m", caller=CALLER, now=NOW)


@pytest.mark.parametrize(
    "license_", [a_license(), a_license("m"), a_license(max_machines=0), a_license("a", "b"), a_license(block=True)]
)
def test_a_call_that_says_its_system_leaves_one_event_whatever_becomes_of_it(license_: object) -> None:
    for rule, name in ((ACTIVATE, "activate"), (DEACTIVATE, "deactivate")):
        plain, told = rule(license_), with_system(rule, event_name=name, system="{}")(license_)
        assert told.events == (Event(1, 3001, 1005, "m", "", name, 0, "", NOW, "{}"),)
        assert replace(told, events=()) == plain


def test_a_caller_that_the_key_lock_refuses_leaves_it_as_well() -> None:
    rule = partial(activation.activate, code="m", friendly_name="", caller=a_caller(key_lock=7), now=NOW)
    verdict = with_system(rule, event_name="activate", system="{}")(a_license())
    assert (verdict.answer, len(verdict.events)) == (Code.DENIED, 1)


def test_what_a_system_says_is_cut_to_the_length_of_metadata() -> None:
    verdict = with_system(ACTIVATE, event_name="activate", system="é" * (LONGEST_METADATA + 1))(a_license())
    assert verdict.events[0].metadata == "é" * LONGEST_METADATA


def test_a_call_that_says_nothing_is_decided_by_the_rule_itself() -> None:
    assert with_system(ACTIVATE, event_name="activate", system="") is ACTIVATE


def test_a_seat_that_is_to_be_claimed_again_leaves_no_event() -> None:
    rule = partial(floating.activate, claim=None, wish=a_wish("m"), code_hash=None, caller=CALLER, now=NOW)
    verdict = with_system(rule, event_name="activate", system="{}")(a_license(epoch=BY_VALKEY))
    assert (verdict.answer, verdict.entry, verdict.events) == (Again.CLAIM, None, ())
