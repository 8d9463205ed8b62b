"""The design of floating seats holds in every scene of the model, and no rule of it can be left out."""

import pytest

from .seats_model import RULES, SCENES, main, walk

QUICK = (  # each walked in three seconds; the others take up to a minute
    "one machine twice, newcomer, stale",
    "two newcomers cut off, one not",
    "two seats, three machines",
    "release, crash, reseed",
    "shorter interval, crash",
    "holder cut off from Valkey, newcomer not",
)
BREAKS_IN = {  # the scene where its loss shows soonest
    "barrier": "two newcomers cut off, one not",
    "fence": "one machine twice, newcomer, stale",
    "fence_set": "one machine twice, one interval shorter",
    "no_blind_undo": "one machine twice, newcomer, stale",
    "own_undo": "one machine twice, newcomer, stale",
    "late_short": "shorter interval, crash",
    "by_seq": "release races renewal",
    "seed_once": "two newcomers, Valkey restarted",
    "run_id": "holder renews, newcomer, Valkey restarted",
    "paper_epoch": "two newcomers cut off, one not",
    "read_after": "two newcomers cut off, one not",
    "ready": "two newcomers cut off, one not",
    "ready_epoch": "two newcomers cut off, one not",
    "commit_checks_epoch": "two newcomers cut off, one not",
    "log_before_release": "release, crash, reseed",
}


@pytest.mark.parametrize("scene", QUICK)
def test_no_seat_is_given_twice_and_no_holder_is_refused(scene: str) -> None:
    seen, breach = walk(scene)
    assert not breach
    assert seen > 1_000  # the scene was walked, not stopped at its door


@pytest.mark.parametrize("rule", RULES)
def test_without_one_rule_a_seat_is_given_twice_or_a_holder_is_refused(rule: str) -> None:
    _, breach = walk(BREAKS_IN[rule], rule)
    assert breach


@pytest.mark.soak
def test_the_whole_model_holds_and_needs_every_rule() -> None:
    assert set(QUICK) < set(SCENES)
    assert main() == 0
