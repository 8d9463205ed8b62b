"""Which fields of a license an answer hides: the bits of FieldsToReturn. What a hidden field shows is not said here."""

from enum import IntFlag


class Field(IntFlag):
    """A field that can be hidden (protocol: bit table of the masks). A set bit hides it; SignDate has none."""

    PRODUCT_ID = 1 << 0
    ID = 1 << 1
    KEY = 1 << 2
    CREATED = 1 << 3
    EXPIRES = 1 << 4
    PERIOD = 1 << 5
    F1 = 1 << 6
    F2 = 1 << 7
    F3 = 1 << 8
    F4 = 1 << 9
    F5 = 1 << 10
    F6 = 1 << 11
    F7 = 1 << 12
    F8 = 1 << 13
    NOTES = 1 << 14
    BLOCK = 1 << 15
    GLOBAL_ID = 1 << 16
    CUSTOMER = 1 << 17
    ACTIVATED_MACHINES = 1 << 18
    TRIAL_ACTIVATION = 1 << 19
    MAX_NO_OF_MACHINES = 1 << 20
    ALLOWED_MACHINES = 1 << 21
    DATA_OBJECTS = 1 << 22
    RESELLER = 1 << 23


_ALL = (1 << len(Field)) - 1


def effective(feature_lock: int, asked: int) -> int:
    """Return the mask that counts: the token's, unless it has none (it overrides and does not add up).

    Bits that name no field are dropped, so that callers cannot make more masks than there are answers to keep.
    """
    return (feature_lock or asked) & _ALL
