"""The `key/` methods. Each docstring is the method's entry in the API documentation."""

import time
from collections.abc import Callable
from functools import partial

from server import metrics
from server.handlers import floating
from server.handlers.licensed import Own, licensed, shows_seats
from server.handlers.portal import portal_link
from server.rules import activation, editing, keystring, trial
from server.rules.codes import Code, Refusal
from server.rules.events import with_system
from server.rules.grants import Caller
from server.services import Services
from server.wire import replies, requests
from storage.errors import Conflict, NoCustomer
from storage.records import Creation, License, NewCustomer, Product, Rule


async def decide(svc: Services, caller: Caller, product_id: int, key: str, rule: Rule[Code | None]) -> License:
    """Have the ledger decide on one license; return it as the verdict left it, or raise what the rule refused with."""
    started = time.perf_counter()
    decided = await svc.ledger.decide(caller.token, product_id, key, rule)
    metrics.decide_seconds.observe(time.perf_counter() - started)
    if decided.answer is not None:
        raise Refusal(decided.answer, confirmed=True)
    return decided.license


async def create(
    svc: Services, caller: Caller, product_id: int, rule: Callable[[Product], Creation[Code | None]]
) -> int | None:
    """Make licenses in one product and return the customer found or made for them; or raise what the rule refused with."""
    made = await svc.licenses.make(caller.token, product_id, rule)
    if made.answer is not None:
        raise Refusal(made.answer, confirmed=True)
    return made.customer_id


async def activate(svc: Services, ask: requests.Activate, now: int) -> replies.Licensed:
    """Register a machine with a license, within its limit, and return the signed license.

    Repeating the call for a machine that is registered always succeeds. Expiry has no effect here: the client checks it.
    `FloatingTimeInterval` above 0 asks for a floating seat for so many seconds instead; repeating the call before they are
    over keeps it. Up to `MaxOverdraft` seats above the limit are granted, and marked.
    """
    if ask.floating_time_interval > 0:
        taken = await floating.take(svc, ask, now, lists=shows_seats(ask))
        return await licensed(svc, ask, taken.license, Own(seat=taken.seat, floats=True, leases=taken.leases), now)
    rule = partial(activation.activate, code=ask.machine_code, friendly_name=ask.friendly_name, caller=ask.caller, now=now)
    told = with_system(rule, event_name="activate", system=ask.os_info)
    license_ = await decide(svc, ask.caller, ask.product_id, ask.key, told)
    return await licensed(svc, ask, license_, Own(code=ask.machine_code), now)


async def get_key(svc: Services, ask: requests.GetKey, now: int) -> replies.Licensed:
    """Return the signed license without registering anything. Not logged; blocked licenses are returned as well."""
    rule = partial(activation.read, caller=ask.caller)
    license_ = await decide(svc, ask.caller, ask.product_id, ask.key, rule)
    return await licensed(svc, ask, license_, Own(), now)


async def deactivate(svc: Services, ask: requests.Deactivate, now: int) -> replies.Done:
    """Remove a machine from a license, with all that is kept of it, or give a floating seat back (`Floating`)."""
    if ask.floating:
        await floating.give_back(svc, ask, now)
        return replies.Done()
    rule = partial(activation.deactivate, code=ask.machine_code, caller=ask.caller, now=now)
    told = with_system(rule, event_name="deactivate", system=ask.os_info)
    await decide(svc, ask.caller, ask.product_id, ask.key, told)
    return replies.Done()


async def create_trial_key(svc: Services, ask: requests.CreateTrialKey, now: int) -> replies.Key:
    """Create the trial key of a machine code, or return the one it has.

    The token's feature lock is its length in days (0: 15).
    """
    code, caller = ask.machine_code, ask.caller
    if (problem := trial.problem_with(code)) is not None:
        refuse = partial(trial.refuse, code_value=code, refusal=problem, caller=caller, now=now)
        await create(svc, caller, ask.product_id, refuse)
    code_hash = svc.signers[caller.token.account_id].keyed_hash(ask.product_id, code)
    key = keystring.from_bytes(svc.random_bytes(keystring.BYTES_NEEDED))
    make = partial(
        trial.create, key=key, stamp=svc.new_stamp(), code=code, friendly_name=ask.friendly_name, code_hash=code_hash,
        caller=caller, now=now,
    )  # fmt: skip
    known = await svc.licenses.trial_key(caller.token, ask.product_id, code_hash)
    if known is None:
        svc.limiter.trial(caller.network)
        try:
            await create(svc, caller, ask.product_id, make)
        except Conflict:  # made by another call at this moment
            known = await svc.licenses.trial_key(caller.token, ask.product_id, code_hash)
        else:
            return replies.Key(key=key)
    again = partial(trial.again, code=code, friendly_name=ask.friendly_name, caller=caller, now=now)
    license_ = await decide(svc, caller, ask.product_id, known or "", again)
    return replies.Key(key=license_.key)


async def create_key(svc: Services, ask: requests.CreateKey, now: int) -> replies.Keys:
    """Create one or more licenses (`NoOfKeys`, at most 1000) in a product, all alike but for their keys.

    `NewCustomer` creates a customer for them, too; `AddOrUseExistingCustomer` does if nobody has that email yet.
    """
    customer = _customer_along(svc, ask, now)
    wanted = editing.NewKeys(
        period=ask.period, features=_mask(ask), notes=ask.notes, block=ask.block,
        customer_id=ask.customer_id or None, trial_activation=ask.trial_activation,
        max_machines=ask.max_no_of_machines, allowed_machines=ask.allowed_machines,
    )  # fmt: skip
    keys = [keystring.from_bytes(svc.random_bytes(keystring.BYTES_NEEDED)) for _ in range(ask.no_of_keys)]
    rule = partial(
        editing.create, wanted=wanted, keys=keys, stamps=[svc.new_stamp() for _ in keys], reseller_id=ask.reseller_id,
        caller=ask.caller, now=now, customer=customer, reuse=_reuses(ask),
    )  # fmt: skip
    made_for: int | None = None
    try:
        made_for = await create(svc, ask.caller, ask.product_id, rule)
    except NoCustomer:
        unknown = partial(editing.refuse, refusal=Code.CUSTOMER, caller=ask.caller, now=now)
        await create(svc, ask.caller, ask.product_id, unknown)
    linked = made_for if ask.enable_customer_association else None
    return replies.Keys(
        key=keys[0],
        keys=keys if len(keys) > 1 else None,
        customer_id=made_for or ask.customer_id or None,
        portal_link=None if linked is None else portal_link(svc, ask.caller, linked),
    )


async def block_key(svc: Services, ask: requests.LicenseAsk, now: int) -> replies.Done:
    """Block a license: it can no longer be activated or deactivated. Holds for every call that begins afterwards."""
    return await _edited(svc, ask, partial(editing.block, caller=ask.caller, now=now))


async def unblock_key(svc: Services, ask: requests.LicenseAsk, now: int) -> replies.Done:
    """Unblock a license."""
    return await _edited(svc, ask, partial(editing.unblock, caller=ask.caller, now=now))


async def machine_lock_limit(svc: Services, ask: requests.MachineLockLimit, now: int) -> replies.Done:
    """Set how many machines a license may have. Machines above a lowered limit stay; no new one is admitted."""
    return await _edited(svc, ask, partial(editing.machine_limit, limit=ask.number_of_machines, caller=ask.caller, now=now))


async def extend_license(svc: Services, ask: requests.ExtendLicense, now: int) -> replies.Done:
    """Move the expiry of a license by a number of days, from now if it has expired already."""
    return await _edited(svc, ask, partial(editing.extend, days=ask.no_of_days, caller=ask.caller, now=now))


async def add_feature(svc: Services, ask: requests.ChangeFeature, now: int) -> replies.Done:
    """Set a feature of a license, `Feature` 1 to 8. Its expiry stays."""
    return await _edited(svc, ask, partial(editing.add_feature, feature=ask.feature, caller=ask.caller, now=now))


async def remove_feature(svc: Services, ask: requests.ChangeFeature, now: int) -> replies.Done:
    """Clear a feature of a license, `Feature` 1 to 8. Its expiry stays."""
    return await _edited(svc, ask, partial(editing.remove_feature, feature=ask.feature, caller=ask.caller, now=now))


async def change_notes(svc: Services, ask: requests.ChangeNotes, now: int) -> replies.Done:
    """Replace the notes of a license, at most 500 characters; none clears them."""
    return await _edited(svc, ask, partial(editing.change_notes, notes=ask.notes, caller=ask.caller, now=now))


async def change_customer(svc: Services, ask: requests.ChangeCustomer, now: int) -> replies.Done:
    """Assign a license to a customer, or (0) to nobody. An unknown customer is refused, and the license has none then."""
    caller, customer_id = ask.caller, ask.customer_id
    customer = await svc.customers.find(caller.token, customer_id) if customer_id else None
    rule = partial(editing.change_customer, customer_id=customer_id, customer=customer, caller=caller, now=now)
    return await _edited(svc, ask, rule)


async def trial_activation(svc: Services, ask: requests.TrialActivation, now: int) -> replies.Done:
    """Say whether activating starts the countdown of a license. `Enabled` not given is no."""
    return await _edited(svc, ask, partial(editing.trial_activation, enabled=ask.enabled, caller=ask.caller, now=now))


async def _edited(svc: Services, ask: requests.LicenseAsk, rule: Rule[Code | None]) -> replies.Done:
    """Have a license changed."""
    await decide(svc, ask.caller, ask.product_id, ask.key, rule)
    return replies.Done()


def _reuses(ask: requests.CreateKey) -> bool:
    """Whether a customer with the same email is to be looked for; without an email that is not asked for."""
    return ask.add_or_use_existing_customer and bool(ask.email)


def _customer_along(svc: Services, ask: requests.CreateKey, now: int) -> NewCustomer | None:
    """Return the customer that is to be made along with the licenses, who has no secret: nobody would be told it.

    Raises `Refusal`: DENIED for a token that may not add customers, INPUT if a customer is named as well.
    """
    if not ask.new_customer and not _reuses(ask):
        return None
    if "AddCustomer" not in ask.caller.token.permissions:
        raise Refusal(Code.DENIED)
    if ask.customer_id:
        raise Refusal(Code.INPUT)
    return NewCustomer(
        name=ask.name,
        email=ask.email,
        company_name=ask.company_name,
        notes="",  # those of this method belong to the key
        enable_customer_association=ask.enable_customer_association,
        allow_activation_management=ask.allow_activation_management,
        allow_multiple_user_association=ask.allow_multiple_user_association,
        secret_hash=None,
        created=now,
        stamp=svc.new_stamp(),
    )


def _mask(ask: requests.CreateKey) -> int:
    """Return F1…F8 as bits, F1 the lowest."""
    return sum(on << bit for bit, on in enumerate((ask.f1, ask.f2, ask.f3, ask.f4, ask.f5, ask.f6, ask.f7, ask.f8)))
