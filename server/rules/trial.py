"""Trial keys: one for each machine code and product (protocol: CreateTrialKey). Storage remembers which one it was."""

from server.rules.codes import Code
from server.rules.grants import Caller
from server.rules.states import State, license_entry, product_entry
from server.rules.term import LONGEST_PERIOD, after, features_of
from storage.records import Creation, FeatureType, License, Machine, NewLicense, Product, Token, Verdict

DEFAULT_DAYS = 15
LONGEST_CODE = 128


def days(token: Token) -> int:
    """Return for how many days the token's trial keys last: its feature lock.

    The lock of a token that is meant for other methods too may be a mask of fields, millions of days: it is bounded.
    """
    return min(token.feature_lock, LONGEST_PERIOD) if token.feature_lock > 0 else DEFAULT_DAYS


def problem_with(code: str) -> Code | None:
    """Say what is wrong with a machine code, if anything (protocol: CreateTrialKey rows 5 and 6)."""
    if not code:
        return Code.CODE_EMPTY
    return Code.CODE_LONG if len(code) > LONGEST_CODE else None


def again(license: License, *, code: str, friendly_name: str, caller: Caller, now: int) -> Verdict[Code | None]:
    """Decide on the key that was made for this code before: None gives it out again, expired or not.

    Protocol: CreateTrialKey rows 7 to 9.
    """
    usable = _is_trial(license) and not license.block
    state = State.TRIAL_RETURNED if usable else State.TRIAL_REFUSED
    entry = license_entry(license, state, caller=caller, now=now, code=code, friendly_name=friendly_name)
    return Verdict(None if usable else Code.TRIAL_USED, entry=entry)


def create(
    product: Product,
    *,
    key: str,
    stamp: int,
    code: str,
    friendly_name: str,
    code_hash: bytes,
    caller: Caller,
    now: int,
) -> Creation[Code | None]:
    """Make a trial key with its one machine (protocol: CreateTrialKey row 10); `code_hash` is what is remembered."""
    period = days(caller.token)
    new = NewLicense(
        key=key,
        created=now,
        expires=after(now, period),
        period=period,
        features=features_of(product, FeatureType.TIME_LIMITED, FeatureType.TRIAL),
        notes="",
        block=False,
        customer_id=None,
        trial_activation=False,
        max_machines=1,
        allowed_machines="",
        stamp=stamp,
    )
    machine = Machine(code, friendly_name, caller.ip, caller.proxy_ip, now)
    entry = product_entry(product, State.TRIAL_CREATED, caller=caller, now=now, code=code, friendly_name=friendly_name)
    return Creation(None, (new,), entry, machine, code_hash)


def refuse(product: Product, *, code_value: str, refusal: Code, caller: Caller, now: int) -> Creation[Code | None]:
    """Make nothing and log why. Of a code that is too long the log keeps what could have been one."""
    entry = product_entry(product, State.TRIAL_REFUSED, caller=caller, now=now, code=code_value[:LONGEST_CODE])
    return Creation(refusal, (), entry)


def _is_trial(license: License) -> bool:
    """Whether the key still is a trial key.

    The features say so, where the product has one for trials; else that it was made as one must do.
    """
    trial = features_of(license.product, FeatureType.TRIAL)
    return trial == 0 or license.features & trial != 0
