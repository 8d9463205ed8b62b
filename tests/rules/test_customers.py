"""What holds of customers by itself: lengths, secrets, and the link to a portal."""

import hashlib
import os
import re
from uuid import UUID

import pytest

from server.rules import customers
from server.rules.codes import Code
from storage.records import DataObject

LONG = "ä" * 101
LIKE_KEYS = DataObject(5, "cryptolens_customer_secret", "", 2)


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        ({}, None),
        (dict.fromkeys(("name", "email", "company_name"), "ä" * 100), None),
        ({"name": LONG, "email": LONG, "company_name": LONG}, Code.CUSTOMER_NAME_LONG),
        ({"email": LONG, "company_name": LONG}, Code.CUSTOMER_EMAIL_LONG),
        ({"company_name": LONG}, Code.CUSTOMER_COMPANY_LONG),
    ],
)
def test_texts_have_at_most_100_characters_and_the_first_that_is_longer_is_named(
    texts: dict[str, str], told: Code | None
) -> None:
    assert customers.too_long(**{"name": "", "email": "", "company_name": "", **texts}) is told


@pytest.mark.parametrize(
    "settings",
    [
        (),
        (DataObject(1, "cryptolens_customer_secret", "2", 1),),
        (DataObject(1, "cryptolens_customer_secret", "", 0), LIKE_KEYS),  # the oldest counts
        (DataObject(1, "cryptolens_other", "", 2),),
    ],
)
def test_a_secret_is_a_random_guid(settings: tuple[DataObject, ...]) -> None:
    first, second = (customers.secret_from(os.urandom(customers.SECRET_BYTES), settings) for _ in range(2))
    assert first != second
    assert str(UUID(first)) == first
    assert UUID(first).version == 4


def test_a_secret_is_like_a_key_where_the_account_says_so() -> None:
    secret = customers.secret_from(os.urandom(customers.SECRET_BYTES), (DataObject(1, "other", "", 1), LIKE_KEYS))
    assert re.fullmatch(r"[A-Z]{5}(-[A-Z]{5}){3}", secret)


def test_of_a_secret_its_hash_is_kept() -> None:
    assert customers.hash_of("sécret") == hashlib.sha256("sécret".encode()).digest()


@pytest.mark.parametrize(
    ("text", "number"),
    [("479", 479), (" 479 ", 479), ("0", 0), ("", None), ("a479", None), ("-1", None), ("٤", None), ("9" * 19, None)],
)
def test_an_id_is_searched_for_by_its_digits_alone(text: str, number: int | None) -> None:
    assert customers.number_in(text) == number


def test_a_link_has_the_id_and_a_code_that_needs_no_escaping() -> None:
    template = "https://portal.example.org/{id}/associate?id={id}&auth={auth}"
    link = customers.portal_link(template, 479, b"\xff\xfe" * 8)
    assert link == "https://portal.example.org/479/associate?id=479&auth=__7__v_-__7__v_-__7__g"
    assert customers.auth_text(1) != customers.auth_text(11)
