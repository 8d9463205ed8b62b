"""The text of license keys: made from random bytes that are handed in, and read from what people type."""

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
GROUPS = 4
GROUP = 5

# How many random bytes `from_bytes` wants: one in twelve is thrown away, and 64 do not suffice once in 10^33 keys.
BYTES_NEEDED = 64

# The largest multiple of 26 in a byte: bytes from here on would make the first letters likelier than the others.
_FAIR = 256 // len(LETTERS) * len(LETTERS)


def from_bytes(data: bytes) -> str:
    """Return a key string, ABCDE-FGHIJ-KLMNO-PQRST, from `BYTES_NEEDED` random bytes: each letter equally likely.

    Raises ValueError if the bytes run out; fewer will do, but may.
    """
    letters = "".join(LETTERS[byte % len(LETTERS)] for byte in data if byte < _FAIR)[: GROUPS * GROUP]
    if len(letters) < GROUPS * GROUP:
        raise ValueError("the random bytes do not suffice for a key")
    return "-".join(letters[start : start + GROUP] for start in range(0, len(letters), GROUP))


def normalise(text: str) -> str:
    """Return the key that a client means: keys are kept in capitals (protocol: LicenseKey, key strings)."""
    return text.strip().upper()
