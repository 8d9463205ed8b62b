"""Tokens: permissions, expiry, and each cell of the table of locks (protocol: auth)."""

from collections.abc import Callable

import pytest

from server.rules.codes import Code, Refusal
from server.rules.grants import Names, check_locks, check_token, key_lock_forbids, log_scope
from storage.records import Token

from .given import FULL_ADDRESS, NOW, PROXY_ADDRESS, a_caller, a_token


def refused(check: Callable[[], object]) -> Code | None:
    try:
        check()
    except Refusal as refusal:
        return refusal.code
    return None


def refusal_of(token: Token | None, permission: str = "Activate") -> Code | None:
    return refused(lambda: check_token(token, permission, NOW))


def test_a_token_with_the_permission_is_good() -> None:
    token = a_token()
    assert check_token(token, "Activate", NOW) is token


def test_an_unknown_token_is_not_authenticated() -> None:
    assert refusal_of(None) is Code.AUTHENTICATE


@pytest.mark.parametrize(
    ("expires", "expected"), [(NOW - 1, Code.AUTHENTICATE), (NOW, Code.AUTHENTICATE), (NOW + 1, None)]
)
def test_a_token_ends_as_soon_as_its_expiry_is_reached(expires: int, expected: Code | None) -> None:
    assert refusal_of(a_token(expires=expires)) is expected


def test_a_token_without_the_permission_is_denied() -> None:
    assert refusal_of(a_token(), "CreateKey") is Code.DENIED


def test_an_expired_token_without_the_permission_learns_only_that_it_is_not_authenticated() -> None:
    assert refusal_of(a_token(expires=NOW), "CreateKey") is Code.AUTHENTICATE


PRODUCT_LOCK = {"product_lock": 3001}
KEY_LOCK = {"key_lock": 1005}
NO_KEY_IN_PARTICULAR = {"key_lock": -1}


@pytest.mark.parametrize(
    ("locks", "names", "product_id", "has_key", "expected"),
    [
        ({}, Names.LICENSE, 3001, True, None),
        ({}, Names.PRODUCT, 3001, False, None),
        ({}, Names.LOG, 0, False, None),
        (PRODUCT_LOCK, Names.LICENSE, 3001, True, None),
        (PRODUCT_LOCK, Names.LICENSE, 3002, True, Code.DENIED),
        (PRODUCT_LOCK, Names.LICENSE, 0, True, Code.DENIED),
        (PRODUCT_LOCK, Names.PRODUCT, 3001, False, None),
        (PRODUCT_LOCK, Names.PRODUCT, 3002, False, Code.DENIED),
        (PRODUCT_LOCK, Names.PRODUCT, 0, False, Code.DENIED),
        (PRODUCT_LOCK, Names.LOG, 0, False, None),
        (PRODUCT_LOCK, Names.LOG, 3001, False, None),
        (PRODUCT_LOCK, Names.LOG, 3002, False, Code.DENIED),
        (PRODUCT_LOCK, Names.LOG, 3002, True, Code.DENIED),
        (KEY_LOCK, Names.LICENSE, 3001, True, None),
        (KEY_LOCK, Names.PRODUCT, 3001, False, Code.DENIED),
        (KEY_LOCK, Names.LOG, 0, False, None),
        (KEY_LOCK, Names.LOG, 3001, True, None),
        (NO_KEY_IN_PARTICULAR, Names.LICENSE, 3001, True, None),
        (NO_KEY_IN_PARTICULAR, Names.PRODUCT, 3001, False, None),
        (NO_KEY_IN_PARTICULAR, Names.LOG, 0, False, Code.INPUT),
        (NO_KEY_IN_PARTICULAR, Names.LOG, 3001, False, Code.INPUT),
        (NO_KEY_IN_PARTICULAR, Names.LOG, 0, True, Code.INPUT),
        (NO_KEY_IN_PARTICULAR, Names.LOG, 3001, True, None),
        (PRODUCT_LOCK | NO_KEY_IN_PARTICULAR, Names.LOG, 3002, True, Code.DENIED),
        (PRODUCT_LOCK | NO_KEY_IN_PARTICULAR, Names.LOG, 3002, False, Code.INPUT),
    ],
)
def test_a_lock_allows_what_the_table_says(
    *, locks: dict[str, int], names: Names, product_id: int, has_key: bool, expected: Code | None
) -> None:
    token = a_token(**locks)
    assert refused(lambda: check_locks(token, names=names, product_id=product_id, has_key=has_key)) is expected


@pytest.mark.parametrize(("lock", "forbidden"), [(0, False), (-1, False), (-7, False), (1005, False), (1006, True)])
def test_a_key_lock_forbids_every_other_key(*, lock: int, forbidden: bool) -> None:
    assert key_lock_forbids(a_token(key_lock=lock), 1005) is forbidden


@pytest.mark.parametrize(
    ("locks", "asked", "held_to"),
    [
        ({}, (0, 0), (0, 0)),
        ({}, (3001, 1005), (3001, 1005)),
        (PRODUCT_LOCK, (0, 0), (3001, 0)),
        (KEY_LOCK, (0, 0), (0, 1005)),
        (KEY_LOCK, (3001, 0), (3001, 1005)),
        (PRODUCT_LOCK | KEY_LOCK, (0, 0), (3001, 1005)),
        (NO_KEY_IN_PARTICULAR, (3001, 1005), (3001, 1005)),
        (NO_KEY_IN_PARTICULAR, (0, 0), (0, 0)),
        (KEY_LOCK, (3001, 1005), (3001, 1005)),
    ],
)
def test_locks_fill_in_what_a_reader_of_the_log_left_open(
    locks: dict[str, int], asked: tuple[int, int], held_to: tuple[int, int]
) -> None:
    assert log_scope(a_token(**locks), *asked) == held_to


def test_a_reader_locked_to_one_key_may_not_read_the_log_of_another() -> None:
    assert refused(lambda: log_scope(a_token(key_lock=1005), 3001, 1006)) is Code.DENIED


def test_a_caller_that_is_printed_does_not_show_its_full_addresses() -> None:
    assert FULL_ADDRESS not in repr(a_caller())
    assert PROXY_ADDRESS not in repr(a_caller())
