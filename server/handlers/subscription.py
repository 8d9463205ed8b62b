"""The `subscription/` methods. Each docstring is the method's entry in the API documentation."""

from functools import partial

from server.handlers.key import decide
from server.rules import usage
from server.services import Services
from server.wire import replies, requests


async def record_usage(svc: Services, ask: requests.RecordUsage, now: int) -> replies.Done:
    """Record an amount to be billed for a license. Repeating the call counts twice."""
    rule = partial(usage.record, amount=ask.amount, needs_item=not svc.usage_without_stripe, caller=ask.caller, now=now)
    await decide(svc, ask.caller, ask.product_id, ask.key, rule)
    return replies.Done()
