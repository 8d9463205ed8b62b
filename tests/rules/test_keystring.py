"""Key strings: their shape, that no letter is likelier than another, and what clients may type."""

import re
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rules.keystring import BYTES_NEEDED, LETTERS, from_bytes, normalise

SHAPE = re.compile(r"[A-Z]{5}-[A-Z]{5}-[A-Z]{5}-[A-Z]{5}")


@given(st.randoms(use_true_random=False))
def test_a_key_is_four_groups_of_five_letters(random: Random) -> None:
    assert SHAPE.fullmatch(from_bytes(random.randbytes(BYTES_NEEDED)))


def test_every_letter_stands_for_nine_bytes_and_the_rest_is_thrown_away() -> None:
    """All 256 bytes, each with nineteen zeros before it: the last letter is the byte's, or the zero's that follows."""
    last = [from_bytes(bytes(19) + bytes([byte]) + b"\x01")[-1] for byte in range(256)]
    accepted = Counter(last[:234])
    assert accepted == dict.fromkeys(LETTERS, 9)
    assert set(last[234:]) == {"B"}


def test_bytes_that_run_out_are_an_error() -> None:
    assert from_bytes(bytes(20)) == "AAAAA-AAAAA-AAAAA-AAAAA"
    for data in (b"", bytes(19), bytes([255]) * BYTES_NEEDED, bytes(19) + bytes([234])):
        with pytest.raises(ValueError, match="random bytes"):
            from_bytes(data)


def test_what_clients_type_is_trimmed_and_put_in_capitals() -> None:
    assert normalise(" \tabcde-FGHIJ-klmno-pqrst\r\n") == "ABCDE-FGHIJ-KLMNO-PQRST"


@given(st.binary(min_size=200, max_size=200).filter(lambda data: sum(byte < 234 for byte in data) >= 20))
def test_a_key_is_its_own_normal_form(data: bytes) -> None:
    assert normalise(from_bytes(data)) == from_bytes(data)
