"""The answer that shows a license: the document in the form that was asked for, sealed. Used by several methods."""

from server import metrics
from server.rules import fields
from server.services import Services
from server.wire import encode, replies, requests
from server.wire.requests import SignMethod
from storage.records import License


async def licensed(
    svc: Services, ask: requests.Activate | requests.GetKey, license_: License, *, own: str | None, now: int
) -> replies.Licensed:
    """Return the license as its caller may see it. `own` is the call's machine, listed even where machines are hidden."""
    with metrics.sign_seconds.time():
        return await _sealed(svc, ask, license_, own, now)


async def _sealed(
    svc: Services, ask: requests.Activate | requests.GetKey, license_: License, own: str | None, now: int
) -> replies.Licensed:
    token = ask.caller.token
    signer = svc.signers[token.account_id]
    mask = fields.effective(token.feature_lock, ask.fields_to_return)
    view = encode.View(model_version=ask.model_version, mask=mask, own=own)
    metadata = None
    if ask.metadata:
        unsigned = encode.metadata(license_, now)
        metadata = encode.metadata_block(unsigned, await signer.seal512(unsigned.data), now)
    if ask.sign_method is SignMethod.STRING_SIGN:  # always signed: the form has no other use
        document = encode.document(license_, view, now)
        seal = await signer.seal(document)
        return replies.Licensed(encode.base64_text(document), encode.base64_text(seal), metadata)
    if not ask.sign:
        return replies.Licensed(encode.linq(license_, view, None).body, None, metadata)
    linq = encode.linq(license_, view, now)
    return replies.Licensed(encode.signed(linq.body, await signer.seal(linq.text)), None, metadata)
