"""Activate, GetKey and Deactivate of node-locked machines (protocol: decision tables of the same names).

What comes before the license is known (token, parameters, product, key: rows 1 to 6) is decided elsewhere.
"""

from server.rules.codes import Code
from server.rules.grants import Caller, key_lock_forbids
from server.rules.states import State, license_entry
from server.rules.term import LATEST, after, setting
from storage.records import Change, License, Machine, Verdict

_ANSWERS = {
    State.ACTIVATION_DENIED: Code.DENIED,
    State.KEY_BLOCKED: Code.BLOCKED,
    State.LIMIT_REACHED: Code.LIMIT,
}


def activate(license: License, *, code: str, friendly_name: str, caller: Caller, now: int) -> Verdict[Code | None]:
    """Admit a machine or say why not; None is yes. Whether the license has expired does not matter: clients check it.

    Every outcome is logged. Repeating the call changes nothing and succeeds while the machine is registered.
    """
    machine = Machine(code, friendly_name, caller.ip, caller.proxy_ip, now)
    state, change = _outcome(license, machine, caller)
    entry = license_entry(license, state, caller=caller, now=now, code=code, friendly_name=friendly_name)
    return Verdict(_ANSWERS.get(state), change, entry)


def read(license: License, *, caller: Caller) -> Verdict[Code | None]:
    """Say whether the caller may see the license (protocol: GetKey): blocked ones are shown. Never logged."""
    return Verdict(Code.DENIED if key_lock_forbids(caller.token, license.id) else None)


def deactivate(license: License, *, code: str, caller: Caller, now: int) -> Verdict[Code | None]:
    """Forget a machine, or say why not; None is done. `ever_activated` stays: it does not re-arm a trial countdown."""
    refusal = _no_deactivation(license, code, caller)
    state = State.DEACTIVATED if refusal is None else State.DEACTIVATION_REFUSED
    change = Change(forget=code) if refusal is None else None
    return Verdict(refusal, change, license_entry(license, state, caller=caller, now=now, code=code))


def countdown(license: License, now: int) -> int | None:
    """Return when the license ends if a new machine, or a new seat, starts its trial countdown, else None."""
    if not license.trial_activation:
        return None
    first_only = setting(license.product, "cryptolens_trialactivation") == "first_activation"
    if first_only and license.ever_activated:
        return None
    # A license that was extended to the end of time has a period that leads beyond it.
    return min(after(now, license.period), LATEST)


def _outcome(license: License, machine: Machine, caller: Caller) -> tuple[State, Change | None]:
    """Protocol: Activate rows 7 to 11, in their order: a known machine is admitted before any limit is looked at."""
    if key_lock_forbids(caller.token, license.id):
        return State.ACTIVATION_DENIED, None
    if license.block:
        return State.KEY_BLOCKED, None
    if license.max_machines <= 0:
        return State.KNOWN_MACHINE, None
    known = license.machines.get(machine.code)
    if known is not None:
        return State.KNOWN_MACHINE, _renamed(known, machine.friendly_name)
    return _newcomer(license, machine)


def _newcomer(license: License, machine: Machine) -> tuple[State, Change | None]:
    """Protocol: Activate rows 12 to 14. The state tells how a machine got in; a countdown only if nothing else does."""
    expires = countdown(license, machine.time)
    change = Change(register=machine, expires=expires, ever_activated=None if license.ever_activated else True)
    if len(license.machines) < license.max_machines:
        return (State.NEW_MACHINE if expires is None else State.COUNTDOWN_STARTED), change
    if machine.code in _priority_codes(license.allowed_machines):
        return State.PRIORITY_MACHINE, change
    return State.LIMIT_REACHED, None


def _renamed(known: Machine, friendly_name: str) -> Change | None:
    """Only the name follows a later call; time and address stay those of the first (protocol: Activate row 11)."""
    if friendly_name in ("", known.friendly_name):
        return None
    return Change(register=known._replace(friendly_name=friendly_name))


def _priority_codes(allowed_machines: str) -> set[str]:
    """Return the codes that are always admitted: one a line, trimmed (of carriage returns too).

    An empty line names nobody: the empty machine code is a code like any other, and must not slip in by it.
    """
    return {line.strip() for line in allowed_machines.split("\n")} - {""}


def _no_deactivation(license: License, code: str, caller: Caller) -> Code | None:
    """Protocol: Deactivate rows 7, 8, 10. A machine from before a limit of 0 can still be given back."""
    if key_lock_forbids(caller.token, license.id):
        return Code.DENIED
    if license.block:
        return Code.BLOCKED
    return None if code in license.machines else Code.NOT_ACTIVATED
