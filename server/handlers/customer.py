"""The `customer/` methods. Each docstring is the method's entry in the API documentation."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from server.handlers.portal import portal_link
from server.rules import customers
from server.rules.codes import Code, Refusal
from server.rules.grants import Caller
from server.services import Services
from server.wire import encode, replies, requests
from storage.errors import Busy, Conflict
from storage.records import CustomerEdit, CustomerFile, CustomerQuery, License, LicensesQuery, NewCustomer, Place, Referencer

ROUNDS = 5
EXTENDED = 2  # the model version from which on all is shown that is kept of a customer

Licenses = requests.GetCustomerLicenses | requests.GetCustomerLicensesBySecret
A = TypeVar("A")


async def add_customer(svc: Services, ask: requests.AddCustomer, now: int) -> replies.CustomerDone:
    """Create a customer. The secret, by which its licenses can be listed, is shown this once."""
    problem = customers.too_long(name=ask.name, email=ask.email, company_name=ask.company_name)
    if problem is not None:
        raise Refusal(problem)

    async def add(secret_hash: bytes) -> int:
        new = NewCustomer(
            name=ask.name,
            email=ask.email,
            company_name=ask.company_name,
            notes=ask.notes,
            enable_customer_association=ask.enable_customer_association,
            allow_activation_management=ask.allow_activation_management,
            allow_multiple_user_association=ask.allow_multiple_user_association,
            secret_hash=secret_hash,
            created=now,
            stamp=svc.new_stamp(),
        )
        return await svc.customers.add(ask.caller.token, new)

    secret, made = await _with_secret(svc, ask.caller, add)
    link = portal_link(svc, ask.caller, made) if ask.enable_customer_association else None
    return replies.CustomerDone(made, link, secret)


async def edit_customer(svc: Services, ask: requests.EditCustomer, now: int) -> replies.CustomerDone:
    """Change what is given of a customer; `Secret` gives it a new one. Licenses show it from the next call on."""
    token = ask.caller.token
    problem = customers.too_long(name=ask.name, email=ask.email, company_name=ask.company_name)
    if problem is not None:
        known = await svc.customers.find(token, ask.customer_id)
        raise Refusal(Code.CUSTOMER_UNKNOWN if known is None else problem, confirmed=True)
    edit = partial(_edit, svc, ask, now)
    secret, associable = await _with_secret(svc, ask.caller, edit) if ask.secret else (None, await edit(None))
    if associable is None:
        raise Refusal(Code.CUSTOMER_UNKNOWN, confirmed=True)
    links = associable and (ask.secret or ask.enable_customer_association)
    return replies.CustomerDone(ask.customer_id, portal_link(svc, ask.caller, ask.customer_id) if links else None, secret)


async def remove_customer(svc: Services, ask: requests.RemoveCustomer, now: int) -> replies.Done:
    """Remove a customer with all that is kept of it. Its licenses stay, and have no customer any more."""
    if not await svc.customers.remove(ask.caller.token, ask.customer_id, now):
        raise Refusal(Code.CUSTOMER_GONE, confirmed=True)
    return replies.Done()


async def get_customers(svc: Services, ask: requests.GetCustomers, now: int) -> replies.Customers:  # noqa: ARG001
    """List customers, newest first. `Search` finds a part of a name, an email or a company, or a whole secret."""
    query = CustomerQuery(
        customer_id=ask.customer_id,
        search=ask.search,
        secret_hash=customers.hash_of(ask.search) if ask.search else None,
        id_in_search=customers.number_in(ask.search) if ask.include_id_in_search else None,
        limit=ask.limit,
    )
    found = await svc.customers.search(ask.caller.token, query)
    if ask.model_version < EXTENDED:
        return replies.Customers(found)
    return replies.Customers(found, [_link(svc, ask.caller, each) for each in found])


async def get_customer_licenses(svc: Services, ask: requests.GetCustomerLicenses, now: int) -> replies.CustomerLicenses:
    """List the licenses of a customer, blocked and expired ones too. Nothing in the list is signed."""
    return await _listed(svc, ask, LicensesQuery(customer_id=ask.customer_id), now)


async def get_customer_licenses_by_secret(
    svc: Services, ask: requests.GetCustomerLicensesBySecret, now: int
) -> replies.CustomerLicenses:
    """List the licenses of the customer who has this secret, as GetCustomerLicenses does."""
    return await _listed(svc, ask, LicensesQuery(secret_hash=customers.hash_of(ask.secret)), now)


async def _with_secret(svc: Services, caller: Caller, keep: Callable[[bytes], Awaitable[A]]) -> tuple[str, A]:
    """Draw a secret that no other customer has and keep its hash; return it with what keeping it answered."""
    token = caller.token
    settings = await svc.objects.read(token, Place(Referencer.USER, token.account_id))
    for _ in range(ROUNDS):
        secret = customers.secret_from(svc.random_bytes(customers.SECRET_BYTES), settings)
        try:
            return secret, await keep(customers.hash_of(secret))
        except Conflict:
            continue
    raise Busy("five secrets were taken")


async def _edit(svc: Services, ask: requests.EditCustomer, now: int, secret_hash: bytes | None) -> bool | None:
    """Change what is given; whether the customer may be associated with a user then, None if it is not there."""
    edit = CustomerEdit(
        name=ask.name or None,
        email=ask.email or None,
        company_name=ask.company_name or None,
        notes=ask.notes or None,
        enable_customer_association=ask.enable_customer_association,
        allow_activation_management=ask.allow_activation_management,
        allow_multiple_user_association=ask.allow_multiple_user_association,
        max_no_of_devices=ask.max_no_of_devices,
        secret_hash=secret_hash,
    )
    return await svc.customers.edit(ask.caller.token, ask.customer_id, edit, now)


def _link(svc: Services, caller: Caller, file: CustomerFile) -> str | None:
    return portal_link(svc, caller, file.customer.id) if file.enable_customer_association else None


async def _listed(svc: Services, ask: Licenses, query: LicensesQuery, now: int) -> replies.CustomerLicenses:
    """List the licenses that the locks of the token leave (protocol: auth, what a lock allows)."""
    token = ask.caller.token
    held = replace(query, product_id=token.product_lock, license_id=max(token.key_lock, 0))
    found = await svc.customers.licenses(token, held)
    if found is None:
        raise Refusal(Code.CUSTOMER, confirmed=True)
    view = encode.View(model_version=ask.model_version)

    def shown(license_: License) -> dict[str, object]:
        return encode.linq(license_, view, None).body if ask.detailed else encode.basic(license_)

    return replies.CustomerLicenses(
        [shown(each) for each in found],
        [encode.unsigned_metadata(each, now) for each in found] if ask.metadata else None,
    )
