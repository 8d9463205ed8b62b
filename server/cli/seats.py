"""`keyturn seats`: who holds the floating seats of a license, and freeing one of them by hand."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import typer

from server.cli.arguments import Json
from server.cli.session import Desk, no_key, no_product, run
from server.cli.terminal import Problem, as_json, example, facts, remark, table, visible, when
from server.engine import redis_url
from server.rules import floating, keystring
from server.seating import Seating, seating
from server.wire.requests import INT32
from storage.errors import Busy, NoLicense, NoProduct
from storage.records import Lease, LeaseKind, License

Key = Annotated[str, typer.Argument(metavar="KEY", help="The license key.")]
ProductOption = Annotated[
    int | None, typer.Option("--product", min=1, max=INT32, help="The product's id, where several have the key.")
]

app = typer.Typer()


@app.command("list", epilog=example("seats list ABCDE-FGHIJ-KLMNO-PQRST"))
def seats_list(ctx: typer.Context, key: Key, *, product: ProductOption = None, json: Json = False) -> None:
    """List the machines that hold a floating seat of a license now; their addresses are kept masked only."""

    async def look(desk: Desk) -> tuple[License, tuple[Lease, ...]]:
        async with seating(desk.dsn) as all_seats:
            license_ = await _license(desk, all_seats, key, product)
            return license_, await all_seats.taken(license_.id)

    license_, taken = run(ctx, look)
    if json:
        as_json(_seats_json(license_, taken))
        return
    facts(_seats_facts(license_, taken))
    if taken:
        columns = ("Machine", "Name", "Since", "Last heartbeat", "Until", "Kind", "Address")
        table("Seats", columns, [_seat_row(lease) for lease in taken])


@app.command("free", epilog=example("seats free ABCDE-FGHIJ-KLMNO-PQRST my-machine"))
def seats_free(
    ctx: typer.Context,
    key: Key,
    machine: Annotated[str, typer.Argument(metavar="MACHINE", help="The code of the machine, as it is listed.")],
    *,
    product: ProductOption = None,
) -> None:
    """Free the floating seat of a machine, so that another can have it at once; also of a blocked key.

    A machine whose software still runs asks again with its next heartbeat, and gets a seat if there is one.
    """

    async def free(desk: Desk) -> Lease:
        async with seating(desk.dsn) as all_seats:
            license_ = await _license(desk, all_seats, key, product)
            lease = _of(machine, await all_seats.taken(license_.id))
            try:
                await all_seats.free(license_, lease.code, redis_url(desk.config))
            except Busy as error:
                raise Problem(
                    f"It did not end in time ({error}), so the seat may be free or not: `keyturn seats list` shows it."
                ) from error
            return lease

    lease = run(ctx, free)
    remark(f"Freed the seat of {visible(lease.code)}, taken {when(lease.start)}.")


async def _license(desk: Desk, all_seats: Seating, key: str, product_id: int | None) -> License:
    """Return the license that a key alone names, or one of the product that is named too. Raises `Problem`."""
    key = keystring.normalise(key)
    if product_id is None:
        product_id = await _product_of(desk, key)
    try:
        return await all_seats.license(desk.account.id, product_id, key)
    except NoProduct as error:
        raise no_product(product_id) from error
    except NoLicense as error:
        raise no_key(product_id) from error


async def _product_of(desk: Desk, key: str) -> int:
    found = await desk.admin.products_with(desk.account.id, key)
    if not found:
        raise Problem("No product has such a key. Is it spelled right?")
    if len(found) > 1:
        listed = ", ".join(str(each) for each in found)
        raise Problem(f"Several products have that key: {listed}. Say which is meant: --product {found[0]}.")
    return found[0]


def _of(machine: str, taken: Sequence[Lease]) -> Lease:
    """Return the seat of a machine: by its code as it is, else without the prefix that clients are shown."""
    for code in (machine, floating.plain_code(machine)):
        for lease in taken:
            if lease.code == code:
                return lease
    raise Problem("That machine holds no floating seat of this license, so nothing was changed. See `keyturn seats list`.")


def _seats_json(license_: License, taken: Sequence[Lease]) -> dict[str, object]:
    return {
        "product_id": license_.product.id,
        "key": license_.key,
        "global_id": license_.id,
        "block": license_.block,
        "limit": license_.max_machines,
        "seats": [_seat_json(lease) for lease in taken],
    }


def _seat_json(lease: Lease) -> dict[str, str | int]:
    return {
        "code": lease.code,
        "friendly_name": lease.friendly_name,
        "start": lease.start,
        "time": lease.time,
        "expires": lease.expires,
        "kind": _kind(lease),
        "ip": lease.ip,
    }


def _seat_row(lease: Lease) -> tuple[str, ...]:
    times = (when(lease.start), when(lease.time), when(lease.expires))
    return (lease.code, lease.friendly_name, *times, _kind(lease), lease.ip)


def _kind(lease: Lease) -> str:
    return lease.kind.name.lower()


def _seats_facts(license_: License, taken: Sequence[Lease]) -> list[tuple[str, str]]:
    count = Counter(lease.kind for lease in taken)
    limit = f"of at most {license_.max_machines}" if license_.max_machines else "without a limit: machines are not counted"
    beyond = f", and {count[LeaseKind.OVERDRAFT]} in overdraft" if count[LeaseKind.OVERDRAFT] else ""
    return [
        ("Key", license_.key),
        ("Product", f"{license_.product.id} {license_.product.name}"),
        ("Blocked", "yes" if license_.block else ""),
        ("Seats", f"{count[LeaseKind.REGULAR]} {limit}{beyond}"),
    ]
