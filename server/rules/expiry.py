"""What becomes of a license once it has expired, in a product whose setting says so (protocol: Block expired licenses)."""

from server.rules.term import Reason, status
from server.rules.usage import is_subscribed
from storage.records import Change, Edit, License, Verdict

_JOB = 0  # the token of what nobody called for, as of the command line
_TOLD = '{"block":[false,true]}'


def block_expired(license: License, *, now: int) -> Verdict[bool]:
    """Block the license if its product wants that and it is due; whether it did. The Web API log has no row of it."""
    if not (license.product.block_expired and _is_due(license, now)):
        return Verdict(False)  # noqa: FBT003 (the answer itself)
    edit = Edit(license.account_id, now, "Key", license.id, "BlockExpired", _JOB, _TOLD)
    return Verdict(True, Change(block=True), edit=edit)  # noqa: FBT003 (the answer itself)


def _is_due(license: License, now: int) -> bool:
    """Whether it is time-limited, has expired, is not blocked yet, and is not of those that are spared."""
    if status(license, now=now).reason is not Reason.EXPIRED:
        return False
    return not (is_subscribed(license) or _is_waiting(license))  # a subscription may go on


def _is_waiting(license: License) -> bool:
    """Whether the next machine starts the countdown: the license has not begun, so it cannot have ended."""
    return license.trial_activation and len(license.machines) < license.max_machines
