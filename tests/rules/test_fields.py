"""Masks of fields: the bit table, and which mask counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rules.fields import Field, effective


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (Field.PRODUCT_ID, 1),
        (Field.ID, 2),
        (Field.KEY, 4),
        (Field.CREATED, 8),
        (Field.EXPIRES, 16),
        (Field.PERIOD, 32),
        (Field.F1, 64),
        (Field.F5, 1024),
        (Field.F6, 2048),
        (Field.F8, 8192),
        (Field.NOTES, 16384),
        (Field.BLOCK, 32768),
        (Field.GLOBAL_ID, 65536),
        (Field.CUSTOMER, 131072),
        (Field.ACTIVATED_MACHINES, 262144),
        (Field.TRIAL_ACTIVATION, 524288),
        (Field.MAX_NO_OF_MACHINES, 1048576),
        (Field.ALLOWED_MACHINES, 2097152),
        (Field.DATA_OBJECTS, 4194304),
        (Field.RESELLER, 8388608),
    ],
)
def test_a_bit_stands_where_the_table_has_it(field: Field, value: int) -> None:
    assert field == value


def test_the_recommended_privacy_mask_hides_notes_data_objects_and_machines() -> None:
    assert Field.NOTES | Field.DATA_OBJECTS | Field.ACTIVATED_MACHINES == 4472832


@pytest.mark.parametrize(
    ("lock", "asked", "mask"),
    [
        (0, 0, 0),
        (0, 64, 64),
        (16384, 0, 16384),
        (16384, 64, 16384),
        (0, 1 << 24, 0),
        (1 << 24, 64, 0),
        (0, -1, 2**24 - 1),
    ],
)
def test_the_token_overrides_what_was_asked(lock: int, asked: int, mask: int) -> None:
    assert effective(lock, asked) == mask


@given(st.integers(), st.integers())
def test_a_mask_names_fields_only(lock: int, asked: int) -> None:
    assert 0 <= effective(lock, asked) < 2 ** len(Field)
