"""Stamps: 63 random bits that name one state of one record and never another."""

import secrets


def new_stamp() -> int:
    """Return a stamp for a state that nobody has named before; never 0."""
    return secrets.randbits(63) or 1
