"""`keyturn key`: license keys, made and shown."""

from functools import partial
from typing import Annotated

import typer

from server.account import operator
from server.cli.arguments import FEATURES, Json, ProductId
from server.cli.products import data_json, data_text
from server.cli.session import Desk, no_key, no_product, run
from server.cli.terminal import Problem, as_json, example, facts, remark, result, table, when
from server.issuing import licenses_of, make_keys
from server.rules import editing, keystring, privacy, term
from server.rules.codes import Refusal
from server.wire.requests import INT32, INT64
from storage.errors import NoCustomer, NoLicense, NoProduct
from storage.records import License, Machine

MOST_KEYS = 1_000  # at once (protocol: CreateKey)

app = typer.Typer()


@app.command("add", epilog=example("key add 3001 --period 365 --feature 1 --max-machines 3"))
def key_add(
    ctx: typer.Context,
    product: ProductId,
    *,
    period: Annotated[int, typer.Option(min=0, max=term.LONGEST_PERIOD, help="Days from now until it ends.")] = 0,
    feature: Annotated[list[int] | None, typer.Option(min=1, max=FEATURES, help="A feature that it has.")] = None,
    max_machines: Annotated[int, typer.Option(min=0, max=INT32, help="0: machines are not counted.")] = 0,
    allowed_machine: Annotated[list[str] | None, typer.Option(metavar="CODE", help="Always admitted.")] = None,
    notes: Annotated[str, typer.Option(help="Clients may see them.")] = "",
    block: Annotated[bool, typer.Option("--block", help="It is blocked from the start.")] = False,
    trial_activation: Annotated[
        bool, typer.Option("--trial-activation", help="Its period starts anew with a machine.")
    ] = False,
    customer: Annotated[int | None, typer.Option(min=1, max=INT64, help="The customer's id.")] = None,
    count: Annotated[int, typer.Option(min=1, max=MOST_KEYS, help="How many of them.")] = 1,
) -> None:
    """Add license keys to a product and print them, one a line."""
    wanted = editing.NewKeys(
        period=period, features=sum(1 << (number - 1) for number in set(feature or ())), notes=notes, block=block,
        customer_id=customer, trial_activation=trial_activation, max_machines=max_machines,
        allowed_machines="\n".join(allowed_machine or ()),
    )  # fmt: skip
    keys = run(ctx, partial(_make_keys, product_id=product, wanted=wanted, count=count))
    remark(f"Added {len(keys)} {'key' if count == 1 else 'keys'} to product {product}.")
    result("\n".join(keys))


async def _make_keys(desk: Desk, *, product_id: int, wanted: editing.NewKeys, count: int) -> list[str]:
    async with licenses_of(desk.dsn) as licenses:
        try:
            return await make_keys(licenses, desk.account.id, product_id, wanted, count=count, now=desk.now)
        except NoProduct as error:
            raise no_product(product_id) from error
        except NoCustomer as error:
            raise Problem(f"There is no customer {wanted.customer_id}; no key was made.") from error
        except Refusal as refusal:
            raise Problem(f"No key was made. {refusal.code.value}") from refusal


@app.command("show", epilog=example("key show 3001 ABCDE-FGHIJ-KLMNO-PQRST"))
def key_show(
    ctx: typer.Context,
    product: ProductId,
    key: Annotated[str, typer.Argument(help="The license key.")],
    *,
    addresses: Annotated[bool, typer.Option("--addresses", help="Show full addresses: personal data.")] = False,
    json: Json = False,
) -> None:
    """Show a license with its machines; their addresses are masked unless asked for."""

    async def look(desk: Desk) -> tuple[License, int]:
        async with licenses_of(desk.dsn) as licenses:
            try:
                return await licenses.show(operator(desk.account.id), product, keystring.normalise(key)), desk.now
            except NoProduct as error:
                raise no_product(product) from error
            except NoLicense as error:
                raise no_key(product) from error

    license_, now = run(ctx, look)
    known = _license_json(license_, now, addresses=addresses)
    if json:
        as_json(known)
        return
    facts(_license_facts(license_, str(known["state"])))
    machines = [_machine_row(machine, addresses=addresses) for machine in license_.machines.values()]
    if machines:
        table("Machines", ("Code", "Name", "Address", "Since"), machines)


def _license_state(license_: License, now: int) -> str:
    status = term.status(license_, now=now)
    return "valid" if status.is_valid else status.reason.name.lower()


def _license_json(license_: License, now: int, *, addresses: bool) -> dict[str, object]:
    return {
        "product_id": license_.product.id,
        "key": license_.key,
        "global_id": license_.id,
        "id": license_.number,
        "state": _license_state(license_, now),
        "created": license_.created,
        "expires": license_.expires,
        "period": license_.period,
        "features": [number for number in range(1, FEATURES + 1) if license_.features >> (number - 1) & 1],
        "notes": license_.notes,
        "block": license_.block,
        "trial_activation": license_.trial_activation,
        "max_machines": license_.max_machines,
        "allowed_machines": license_.allowed_machines.splitlines(),
        "customer_id": None if license_.customer is None else license_.customer.id,
        "data_objects": data_json(license_.data_objects),
        "machines": [_machine_json(machine, addresses=addresses) for machine in license_.machines.values()],
    }


def _machine_json(machine: Machine, *, addresses: bool) -> dict[str, str | int]:
    """Return a machine with its address masked, or with all that is kept of it."""
    known: dict[str, str | int] = {"code": machine.code, "friendly_name": machine.friendly_name, "time": machine.time}
    if addresses:
        return {**known, "ip": machine.ip, "proxy_ip": machine.proxy_ip}
    return {**known, "ip": privacy.mask(machine.ip)}


def _machine_row(machine: Machine, *, addresses: bool) -> tuple[str, ...]:
    ip = machine.ip if addresses else privacy.mask(machine.ip)
    via = f" via {machine.proxy_ip}" if addresses and machine.proxy_ip else ""
    return (machine.code, machine.friendly_name, ip + via, when(machine.time))


def _license_facts(license_: License, state: str) -> list[tuple[str, str]]:
    features = [
        f"F{number} {feature.name}"
        for number, feature in enumerate(license_.product.features, 1)
        if license_.features >> (number - 1) & 1
    ]
    limit = str(license_.max_machines) if license_.max_machines else "none: machines are not counted"
    return [
        ("Key", license_.key),
        ("Product", f"{license_.product.id} {license_.product.name}"),
        ("State", state),
        ("Blocked", "yes" if license_.block else "no"),
        ("Expires", f"{when(license_.expires)} (period {license_.period} days)"),
        ("Created", when(license_.created)),
        ("Features", ", ".join(features)),
        ("Machines", f"{len(license_.machines)} of at most {limit}" if license_.max_machines else limit),
        ("Always admitted", ", ".join(license_.allowed_machines.splitlines())),
        ("Trial", "its period starts with a new machine" if license_.trial_activation else ""),
        ("Customer", "" if license_.customer is None else str(license_.customer.id)),
        ("Notes", license_.notes),
        ("Data objects", data_text(license_.data_objects)),
        ("Ids", f"{license_.number} in the product, {license_.id} globally"),
    ]
