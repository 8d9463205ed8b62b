"""`keyturn product`: products with their features and data objects."""

from collections.abc import Sequence
from typing import Annotated

import typer

from server.cli.arguments import FEATURES, Json, ProductId, check_name
from server.cli.session import Desk, run
from server.cli.terminal import Problem, as_json, example, remark, result, table, visible
from server.wire.requests import INT32
from storage.records import DataObject, Feature, FeatureType, Product

LONGEST_DATA_NAME, LONGEST_DATA_TEXT = 100, 10_000  # protocol: data objects

TYPES = {"normal": FeatureType.NORMAL, "time-limited": FeatureType.TIME_LIMITED, "trial": FeatureType.TRIAL}
TYPE_NAMES = {kind: name for name, kind in TYPES.items()}
UNNAMED = tuple(Feature(f"F{number}", FeatureType.NORMAL) for number in range(1, FEATURES + 1))

FeatureTexts = Annotated[
    list[str] | None,
    typer.Option("--feature", metavar="N=NAME:TYPE", help="Name feature N; TYPE is normal, time-limited or trial."),
]
DataTexts = Annotated[
    list[str] | None,
    typer.Option("--data", metavar="NAME=TEXT:NUMBER", help="Set a data object; :NUMBER may be left out."),
]

app = typer.Typer()


@app.command("add", epilog=example('product add Editor --feature "1=Pro:time-limited"'))
def product_add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="What people call it.")],
    *,
    description: Annotated[str, typer.Option(help="A text for yourself.")] = "",
    feature: FeatureTexts = None,
    all_time_limited: Annotated[bool, typer.Option(help="Every license ends with its period.")] = False,
    block_expired: Annotated[bool, typer.Option(help="Licenses are blocked once they have ended.")] = False,
    data: DataTexts = None,
) -> None:
    """Add a product and print its id."""
    check_name(name)
    features = _features(UNNAMED, feature or ())
    objects = [_data_object(text) for text in data or ()]

    async def add(desk: Desk) -> int:
        product_id = await desk.admin.add_product(
            desk.account.id, name=name, description=description, features=features, all_time_limited=all_time_limited,
            block_expired=block_expired, now=desk.now,
        )  # fmt: skip
        await _put_data(desk, product_id, objects)
        return product_id

    product_id = run(ctx, add)
    remark(f"Added product {product_id}, {visible(name)}.")
    result(str(product_id))


@app.command("list", epilog=example("product list --json"))
def product_list(ctx: typer.Context, *, json: Json = False) -> None:
    """List the products with their features and data objects."""
    products = run(ctx, lambda desk: desk.admin.products(desk.account.id))
    if json:
        as_json([_product_json(product) for product in products])
        return
    table(
        "Products",
        ("Id", "Name", "Features", "All time-limited", "Block expired", "Data objects"),
        [_product_row(product) for product in products],
    )


@app.command("set", epilog=example("product set 3001 --block-expired --data owner=Ann"))
def product_set(
    ctx: typer.Context,
    product: ProductId,
    *,
    name: Annotated[str | None, typer.Option(help="What people call it.")] = None,
    description: Annotated[str | None, typer.Option(help="A text for yourself.")] = None,
    feature: FeatureTexts = None,
    all_time_limited: Annotated[bool | None, typer.Option(help="Every license ends with its period.")] = None,
    block_expired: Annotated[bool | None, typer.Option(help="Licenses are blocked once they have ended.")] = None,
    data: DataTexts = None,
    remove_data: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Remove a data object.")] = None,
) -> None:
    """Change a product: what is not named stays as it is. It holds for every call that begins afterwards."""
    if name is not None:
        check_name(name)
    _features(UNNAMED, feature or ())
    objects = [_data_object(text) for text in data or ()]
    removed = remove_data or []

    async def change(desk: Desk) -> None:
        known = await desk.product(product)
        for gone in set(removed) - {each.name for each in known.data_objects}:
            raise Problem(f"Product {product} has no data object {visible(gone)!r}; nothing was changed.")
        await desk.admin.edit_product(
            desk.account.id, product, now=desk.now, name=name, description=description,
            features=_features(known.features, feature) if feature else None, all_time_limited=all_time_limited,
            block_expired=block_expired,
        )  # fmt: skip
        for gone in removed:
            await desk.admin.drop_product_data(desk.account.id, product, name=gone, now=desk.now)
        await _put_data(desk, product, objects)

    run(ctx, change)
    remark(f"Changed product {product}.")


def _features(known: Sequence[Feature], texts: Sequence[str]) -> tuple[Feature, ...]:
    """Return the features with those that are named in texts like `1=Pro:trial` put in."""
    features = list(known)
    for text in texts:
        number, feature = _feature(text)
        features[number - 1] = feature
    return tuple(features)


def _feature(text: str) -> tuple[int, Feature]:
    """Read one of them; without a type it is normal. Raises `BadParameter`."""
    number, _, rest = text.partition("=")
    name, _colon, kind = rest.rpartition(":") if ":" in rest else (rest, "", "normal")
    if number not in {str(each) for each in range(1, FEATURES + 1)} or not name:
        raise typer.BadParameter(f"{visible(text)!r} is not N=NAME:TYPE, N from 1 to {FEATURES}.", param_hint="--feature")
    if kind not in TYPES:
        known = ", ".join(TYPES)
        raise typer.BadParameter(f"{visible(kind)!r} is no type of feature. Known: {known}.", param_hint="--feature")
    return int(number), Feature(name, TYPES[kind])


def _data_object(text: str) -> DataObject:
    """Read `name=text:number`, the number (int32) after the last colon, if there is one. Raises `BadParameter`."""
    name, equals, rest = text.partition("=")
    value, colon, number = rest.rpartition(":")
    digits = number.removeprefix("-")
    if not (colon and digits.isascii() and digits.isdigit() and -INT32 - 1 <= int(number) <= INT32):
        value, number = rest, "0"
    if not (equals and 0 < len(name) <= LONGEST_DATA_NAME and len(value) <= LONGEST_DATA_TEXT):
        raise typer.BadParameter(
            f"{visible(text[:50])!r} is not NAME=TEXT:NUMBER with at most {LONGEST_DATA_NAME} characters of name and "
            f"{LONGEST_DATA_TEXT} of text.",
            param_hint="--data",
        )
    return DataObject(0, name, value, int(number))


async def _put_data(desk: Desk, product_id: int, objects: Sequence[DataObject]) -> None:
    for each in objects:
        await desk.admin.put_product_data(
            desk.account.id, product_id, name=each.name, string_value=each.string_value, int_value=each.int_value,
            now=desk.now,
        )  # fmt: skip


def _product_json(product: Product) -> dict[str, object]:
    return {
        "id": product.id,
        "name": product.name,
        "description": product.description,
        "created": product.created,
        "features": [{"name": name, "type": TYPE_NAMES[kind]} for name, kind in product.features],
        "all_time_limited": product.all_time_limited,
        "block_expired": product.block_expired,
        "data_objects": data_json(product.data_objects),
    }


def data_json(objects: Sequence[DataObject]) -> list[dict[str, object]]:
    """Return data objects of a product or a license, for `--json`."""
    return [each._asdict() for each in objects]


def _product_row(product: Product) -> tuple[str, ...]:
    features = [
        f"F{number} {name} ({TYPE_NAMES[kind]})"
        for number, ((name, kind), unnamed) in enumerate(zip(product.features, UNNAMED, strict=True), 1)
        if (name, kind) != unnamed
    ]
    return (
        str(product.id),
        product.name,
        ", ".join(features),
        _yes(product.all_time_limited),
        _yes(product.block_expired),
        data_text(product.data_objects),
    )


def data_text(objects: Sequence[DataObject]) -> str:
    """Return data objects of a product or a license as they are given to `--data`, for a table."""
    return ", ".join(f"{each.name}={each.string_value}:{each.int_value}" for each in objects)


def _yes(value: object) -> str:
    return "yes" if value else ""
