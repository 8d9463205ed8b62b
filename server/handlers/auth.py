"""The `auth/` methods. Each docstring is the method's entry in the API documentation."""

from server.rules.codes import Code, Refusal
from server.services import Services
from server.wire import replies, requests
from server.wire.tokens import SECRET_BYTES, hash_of, secret_of, text_of


async def key_lock(svc: Services, ask: requests.LicenseAsk, now: int) -> replies.DerivedToken:
    """Derive a token that may do what the calling one may, but only with one license; blocked ones count too.

    Only for a token with a negative key lock. The new one ends with it: when it expires, and when it is revoked. Of the
    good ones of a license only the newest 1000 stay so.
    """
    token = ask.caller.token
    if token.key_lock >= 0:
        raise Refusal(Code.DENIED)
    secret = secret_of(svc.random_bytes(SECRET_BYTES))
    derived = await svc.tokens.derive(token, ask.product_id, ask.key, hash_of(secret), now)
    return replies.DerivedToken(derived.license_id, text_of(derived.token_id, secret))
