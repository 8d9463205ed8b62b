"""The states of the Web API log, and the rows that rules write there. What leads to which state is not decided here."""

from enum import IntEnum

from server.rules.grants import Caller
from storage.records import Entry, License, Product


class State(IntEnum):
    """What became of a logged call (protocol: state codes). The third digit is 1 for success and 2 for failure."""

    KNOWN_MACHINE = 2010
    NEW_MACHINE = 2011
    COUNTDOWN_STARTED = 2012
    PRIORITY_MACHINE = 2013
    FLOATING = 2014
    OVERDRAFT = 2015
    ACTIVATION_DENIED = 2020
    KEY_BLOCKED = 2022
    LIMIT_REACHED = 2023
    FLOATING_LIMIT = 2024
    KEY_CREATED = 3010
    TRIAL_CREATED = 3011
    TRIAL_RETURNED = 3012
    CREATION_REFUSED = 3020
    TRIAL_REFUSED = 3021
    DEACTIVATED = 6010
    RELEASED = 6011
    DEACTIVATION_REFUSED = 6020
    EDITED = 7010
    EDIT_REFUSED = 7020
    OBJECT_DONE = 8010
    INCREMENTED = 8011
    DECREMENTED = 8012
    INT_SET = 8013
    STRING_SET = 8014
    OBJECT_REFUSED = 8020
    INCREMENT_REFUSED = 8021
    DECREMENT_REFUSED = 8022
    INT_REFUSED = 8023
    STRING_REFUSED = 8024


def license_entry(
    license: License,
    state: State,
    *,
    caller: Caller,
    now: int,
    code: str = "",
    friendly_name: str = "",
    floating_expires: int = 0,
    do_int_value: int = 0,
    do_id: int = 0,
) -> Entry:
    """Return the row of a call that reached a license: the machine as the call names it, the address masked.

    `floating_expires` is when the seat ends that the call was given, 0 if it was given none; `do_id` the data object that
    it was about, `do_int_value` the number that came with it.
    """
    return Entry(
        license.account_id,
        license.product.id,
        license.id,
        license.key,
        caller.log_ip,
        now,
        state,
        code,
        friendly_name,
        floating_expires,
        do_int_value,
        do_id,
    )


def product_entry(
    product: Product, state: State, *, caller: Caller, now: int, code: str = "", friendly_name: str = ""
) -> Entry:
    """Return the row of a call that named a product only; storage puts in the key, once one is made."""
    return Entry(product.account_id, product.id, 0, "", caller.log_ip, now, state, code, friendly_name)
