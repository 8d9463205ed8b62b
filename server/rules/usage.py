"""Usage that is to be billed (protocol: RecordUsage). There is no payment processor here: it is kept, and read by hand."""

from server.rules.codes import Code
from server.rules.grants import Caller, key_lock_forbids
from server.rules.states import State, license_entry
from storage.records import License, Usage, Verdict

SUBSCRIPTION_ITEM = "cryptolens_stripesubscriptionitemid"


def is_subscribed(license: License) -> bool:
    """Whether a data object of the license names a subscription that is billed elsewhere."""
    return any(each.name == SUBSCRIPTION_ITEM for each in license.data_objects)


def record(license: License, *, amount: int, needs_item: bool, caller: Caller, now: int) -> Verdict[Code | None]:
    """Record an amount, of a blocked license too; None is done. Two calls count twice.

    With `needs_item` only for a license whose data objects name a subscription (protocol: RecordUsage row 9).
    """
    refusal = None
    if key_lock_forbids(caller.token, license.id):
        refusal = Code.DENIED
    elif needs_item and not is_subscribed(license):
        refusal = Code.SUBSCRIPTION_ITEM
    if refusal is not None:
        return Verdict(refusal, entry=license_entry(license, State.EDIT_REFUSED, caller=caller, now=now))
    return Verdict(None, entry=license_entry(license, State.EDITED, caller=caller, now=now), usage=Usage(amount, now))
