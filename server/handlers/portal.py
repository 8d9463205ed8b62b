"""The link by which a customer associates with a user of a portal. Used by several methods."""

from server.rules import customers
from server.rules.grants import Caller
from server.services import Services

_NO_PRODUCT = 0  # keyed hashes are otherwise those of machine codes under a product, whose ids begin at 3001


def portal_link(svc: Services, caller: Caller, customer_id: int) -> str | None:
    """Return the link of a customer, with a code that nobody else can make; None if there is no portal."""
    if not svc.portal_url:
        return None
    signer = svc.signers[caller.token.account_id]
    return customers.portal_link(
        svc.portal_url, customer_id, signer.keyed_hash(_NO_PRODUCT, customers.auth_text(customer_id))
    )
