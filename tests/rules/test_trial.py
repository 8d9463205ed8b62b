"""CreateTrialKey: days, and each row of its decision table from row 5 on."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.rules import trial
from server.rules.codes import Code
from storage.records import Creation, FeatureType, License, Machine, NewLicense, Product, Verdict

from .given import (
    DAY,
    FULL_ADDRESS,
    MASKED_ADDRESS,
    NOW,
    PROXY_ADDRESS,
    a_caller,
    a_license,
    a_product,
    a_token,
    features,
)

WITH_TRIAL = a_product(features=features(F1=FeatureType.TIME_LIMITED, F3=FeatureType.TRIAL))


def again(license: License) -> Verdict[Code | None]:
    return trial.again(license, code="m", friendly_name="kiosk", caller=a_caller(), now=NOW)


def created(product: Product = WITH_TRIAL, **locks: int) -> Creation[Code | None]:
    return trial.create(
        product,
        key="KKKKK-KKKKK-KKKKK-KKKKK",
        stamp=77,
        code="m",
        friendly_name="kiosk",
        code_hash=b"hash",
        caller=a_caller(**locks),
        now=NOW,
    )


@pytest.mark.parametrize(
    ("lock", "expected"), [(0, 15), (1, 1), (30, 30), (36_500, 36_500), (4_472_832, 36_500), (-1, 15)]
)
def test_the_feature_lock_says_how_many_days(lock: int, expected: int) -> None:
    assert trial.days(a_token(feature_lock=lock)) == expected


@pytest.mark.parametrize(
    ("code", "problem"), [("", Code.CODE_EMPTY), ("x", None), ("x" * 128, None), ("x" * 129, Code.CODE_LONG)]
)
def test_a_machine_code_has_1_to_128_characters(code: str, problem: Code | None) -> None:
    assert trial.problem_with(code) is problem


@pytest.mark.parametrize("expires", [NOW + DAY, NOW - DAY])
def test_the_same_code_gets_the_same_key_again_even_expired(expires: int) -> None:
    verdict = again(a_license("m", product=WITH_TRIAL, features=0b101, expires=expires))
    assert verdict.answer is None
    assert verdict.change is None
    assert verdict.entry is not None
    assert (verdict.entry.state, verdict.entry.key) == (3012, "ABCDE-FGHIJ-KLMNO-PQRST")
    assert (verdict.entry.ip, verdict.entry.machine_code, verdict.entry.friendly_name) == (MASKED_ADDRESS, "m", "kiosk")


@pytest.mark.parametrize(
    "license",
    [
        a_license("m", product=WITH_TRIAL, features=0b101, block=True),
        a_license("m", product=WITH_TRIAL, features=0b001),
        a_license("m", block=True),
    ],
    ids=["blocked", "converted", "blocked without a trial feature"],
)
def test_a_blocked_or_converted_trial_key_is_not_given_out_again(license: License) -> None:
    verdict = again(license)
    assert verdict.answer is Code.TRIAL_USED
    assert verdict.entry is not None
    assert verdict.entry.state == 3021


@pytest.mark.parametrize("product", [a_product(), a_product(features=features(F1=FeatureType.TIME_LIMITED))])
def test_a_product_without_a_trial_feature_knows_its_trial_keys_by_memory_alone(product: Product) -> None:
    assert again(a_license("m", product=product)).answer is None


def test_a_trial_key_is_for_one_machine_and_its_days_from_now() -> None:
    creation = created(feature_lock=30)
    assert creation.licenses == (
        NewLicense(
            key="KKKKK-KKKKK-KKKKK-KKKKK",
            created=NOW,
            expires=NOW + 30 * DAY,
            period=30,
            features=0b101,
            notes="",
            block=False,
            customer_id=None,
            trial_activation=False,
            max_machines=1,
            allowed_machines="",
            stamp=77,
        ),
    )
    assert creation.machine == Machine("m", "kiosk", FULL_ADDRESS, PROXY_ADDRESS, NOW)
    assert creation.trial_code == b"hash"
    assert creation.answer is None


def test_a_product_without_trial_and_time_limited_features_makes_a_key_without_features() -> None:
    assert created(a_product()).licenses[0].features == 0


def test_a_trial_key_is_logged_with_its_machine_and_a_masked_address() -> None:
    entry = created().entry
    assert (entry.state, entry.time, entry.ip, entry.machine_code, entry.friendly_name, entry.product_id) == (
        3011,
        NOW,
        MASKED_ADDRESS,
        "m",
        "kiosk",
        3001,
    )
    assert FULL_ADDRESS not in repr(entry)


@given(st.text(max_size=300))
@example("x" * 128 + "y")
def test_a_refusal_is_logged_once_and_makes_nothing(code: str) -> None:
    creation = trial.refuse(WITH_TRIAL, code_value=code, refusal=Code.CODE_LONG, caller=a_caller(), now=NOW)
    assert creation.answer is Code.CODE_LONG
    assert (creation.licenses, creation.machine, creation.trial_code) == ((), None, None)
    assert (creation.entry.state, creation.entry.ip) == (3021, MASKED_ADDRESS)
    assert creation.entry.machine_code == code[:128]
