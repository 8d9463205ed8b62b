"""The command line, `keyturn`: what is asked for by hand, and how it is told. How it is done stands below.

A command works beside a running server, and on embedded engines without one (see `engine`). What a script may want is
alone on stdout; everything said to a person is on stderr, but for tables.
"""

import asyncio
import datetime
import json as jsonlib
import os
import sys
import time
import unicodedata
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import typer
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from server import config as configuration
from server import logs, signing_keys
from server.account import NAME, client_permissions, ensure, key_file, make_token, operator
from server.config import RANGES, Config, ConfigError
from server.engine import engine, running
from server.methods import PERMISSIONS
from server.rules import editing, keystring, privacy, term
from server.rules.grants import Caller
from server.signing_keys import KeyFileError
from server.wire.parse import token_parts
from server.wire.requests import INT32, INT64
from server.wire.sign import public_pem, public_xml
from storage.embedded import home
from storage.errors import Busy, NoCustomer, NoLicense, NoProduct, StorageError, Unavailable
from storage.postgres.admin import Admin, IssuedToken, administration
from storage.postgres.licenses import Licenses
from storage.postgres.migrate import PROGRAM, migrate
from storage.postgres.reads import Reads
from storage.records import Account, DataObject, Feature, FeatureType, License, Machine, Product
from storage.stamps import new_stamp

FAILED = 1

# No guessing: neither numbers nor ":words:" in what clients chose are decorated.
OUT = Console(highlight=False, emoji=False)
ERR = Console(highlight=False, emoji=False, stderr=True)

# Control characters, those that change the direction of what follows, and what is no character at all.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})

FEATURES = 8
MOST_KEYS = 1_000  # at once (protocol: CreateKey)
LONGEST_NAME = 250
LONGEST_DATA_NAME, LONGEST_DATA_TEXT = 100, 10_000  # protocol: data objects

TYPES = {"normal": FeatureType.NORMAL, "time-limited": FeatureType.TIME_LIMITED, "trial": FeatureType.TRIAL}
TYPE_NAMES = {kind: name for name, kind in TYPES.items()}

# Methods that read the one feature lock of a token differently (protocol: auth): one token should not have two of them.
FEATURE_LOCK = {"Activate": "a field mask", "GetKey": "a field mask", "CreateTrialKey": "days"}

T = TypeVar("T")


# How a command speaks


class Problem(Exception):
    """What a command cannot do; the text says what happened, where, and what to do."""


EXPECTED = (Problem, ConfigError, KeyFileError, StorageError, home.EngineFailed, home.Busy, OSError)


class Commands(TyperGroup):
    """Ends the commands: an expected error is one line on stderr and exit code 1, never a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except EXPECTED as error:
            if isinstance(error, BrokenPipeError):  # `keyturn token list | head`: typer ends this quietly
                raise
            typer.echo(f"keyturn: {one_line(error)}", err=True)
            raise typer.Exit(FAILED) from None


def one_line(error: Exception) -> str:
    """Return what an expected error says, as one line without control characters."""
    text = str(error)
    if isinstance(error, OSError):
        text = ": ".join(filter(None, (str(error.filename or ""), error.strerror or type(error).__name__)))
    elif isinstance(error, StorageError) and not text.endswith("."):  # no sentence, as those of SchemaError are
        text = f"The database could not do it: {text or type(error).__name__}."
    return visible(" | ".join(line.strip() for line in text.splitlines() if line.strip()))


def visible(text: str) -> str:
    """Return the text with control characters and their like written as escapes, so that none reaches a terminal."""
    return "".join(_escaped(char) if unicodedata.category(char) in _HIDDEN else char for char in text)


def shown(text: str) -> str:
    """Return what clients or users chose, for a table or a remark: nothing in it is obeyed, neither codes nor markup."""
    return escape(visible(text))


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def when(time: int | None) -> str:
    """Return Unix seconds as a date and time in UTC, '' for None."""
    return "" if time is None else f"{datetime.datetime.fromtimestamp(time, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table. Its cells are plain text, escaped here; what does not fit is folded, never cut."""
    grid = Table(title=title, title_justify="left")
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*(shown(cell) for cell in row))
    OUT.print(grid)


def facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Print what is known of one thing: names and plain texts, escaped here. Empty ones are left out."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in pairs:
        if text:
            grid.add_row(name, shown(text))
    OUT.print(grid)


def as_json(value: object) -> None:
    """Print JSON in pure ASCII, so that no control character of any kind gets through."""
    typer.echo(jsonlib.dumps(value, indent=2))


def result(text: str) -> None:
    """Print what a script wants to take: alone on stdout, unwrapped."""
    typer.echo(text)


def remark(text: str) -> None:
    """Tell a person, on stderr, where it is in no script's way. What is from outside is `visible` first."""
    typer.echo(text, err=True)


# What commands there are


def example(text: str) -> str:
    """Return the last lines of a command's help."""
    return f"Example: keyturn {text}"


def _sub_app(name: str, about: str) -> typer.Typer:
    sub = typer.Typer(name=name, help=about, no_args_is_help=True)
    app.add_typer(sub)
    return sub


app = typer.Typer(
    cls=Commands,
    help="Keyturn, a self-hosted license-activation server.",
    epilog=example("serve --demo"),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they would show tokens and addresses
)
account_app = _sub_app("account", "The vendor's account and its signing key.")
product_app = _sub_app("product", "Products: containers of licenses.")
token_app = _sub_app("token", "Access tokens of client software and of your own.")
key_app = _sub_app("key", "License keys.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ProductId = Annotated[int, typer.Argument(metavar="PRODUCT", help="The product's id.", min=1, max=INT32)]
TokenId = Annotated[int, typer.Argument(metavar="TOKEN", help="The token's id.", min=1, max=INT64)]
FeatureTexts = Annotated[
    list[str] | None,
    typer.Option("--feature", metavar="N=NAME:TYPE", help="Name feature N; TYPE is normal, time-limited or trial."),
]
DataTexts = Annotated[
    list[str] | None,
    typer.Option("--data", metavar="NAME=TEXT:NUMBER", help="Set a data object; :NUMBER may be left out."),
]
Folder = Annotated[Path | None, typer.Option("--data", help="The folder of everything kept here; else DATA, else var.")]


@app.callback()
def options(ctx: typer.Context, data: Folder = None) -> None:
    """Keyturn, a self-hosted license-activation server. Settings come from the environment: DATABASE_URL and others."""
    ctx.obj = {"data": data}


def main() -> None:
    """Run the console script."""
    logs.configure("warning")
    if any(_is_no_text(argument) for argument in sys.argv):
        sys.exit("keyturn: The arguments are not all UTF-8. Set the terminal to UTF-8.")
    app(prog_name="keyturn")


def _is_no_text(argument: str) -> bool:
    """Whether the argument has bytes that are no UTF-8: Python keeps them as half characters, and no database takes them."""
    return any("\ud800" <= char <= "\udfff" for char in argument)


# What a command works with


@dataclass(frozen=True, slots=True)
class Desk:
    """An open database, the account, and the time in Unix seconds."""

    config: Config
    dsn: str
    admin: Admin
    account: Account
    now: int

    async def product(self, product_id: int) -> Product:
        """Return the product. Raises `Problem` if there is none."""
        product = await self.admin.product(self.account.id, product_id)
        if product is None:
            raise no_product(product_id)
        return product


def _config(ctx: typer.Context, **given: object) -> Config:
    """Return the settings: the command's own options first, then those before the command, then the environment."""
    before: Mapping[str, object] = ctx.obj
    given = {name: value for name, value in given.items() if value is not None}
    config = configuration.load(None, **{**before, **given})
    _check_address(config.database_url)
    return config


def _check_address(url: str) -> None:
    """Refuse what the driver cannot read either: its own error would be a traceback with parts of the password."""
    try:
        parts = urlsplit(url)
        parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        known = False
    else:
        hosts = parts.netloc.rpartition("@")[2].split(",")
        ports = [host.rpartition(":")[2] for host in hosts if ":" in host and not host.endswith("]")]
        known = parts.scheme in ("postgresql", "postgres") and all(port.isdigit() for port in ports)
    if url and not known:
        raise ConfigError(
            "DATABASE_URL is no address such as postgresql://user:password@host:5432/name. In a password, characters such "
            "as / ? # @ are written as %2F %3F %23 %40."
        )


def run(ctx: typer.Context, work: Callable[[Desk], Awaitable[T]]) -> T:
    """Open the database, do the work, close it again, and return what it returned."""
    config = _config(ctx)
    with _explained(config):
        return asyncio.run(_at_desk(config, work))


async def _at_desk(config: Config, work: Callable[[Desk], Awaitable[T]]) -> T:
    async with AsyncExitStack() as stack:
        with ERR.status("Connecting to PostgreSQL …") as status:
            dsn = await stack.enter_async_context(engine(config, status.update))
            admin = await stack.enter_async_context(administration(dsn))
            account = await admin.account(NAME)
        if account is None:
            raise Problem("The database has no account yet. Run `keyturn migrate` first: it makes the account and its key.")
        return await work(Desk(config, dsn, admin, account, int(time.time())))


@contextmanager
def _explained(config: Config) -> Iterator[None]:
    """Say of which PostgreSQL it is that storage complains."""
    where = f"The embedded PostgreSQL of {config.data}" if config.embedded else "The PostgreSQL that DATABASE_URL names"
    try:
        yield
    except Unavailable as error:
        raise Problem(f"{where} cannot be used ({error}). See that it runs, lets Keyturn in, and has disk space.") from error
    except Busy as error:
        raise Problem(f"{where} did not do it in time ({error}); nothing was changed. Try again shortly.") from error


def no_product(product_id: int) -> Problem:
    """Return the error for a product that is not there."""
    return Problem(f"There is no product {product_id}. `keyturn product list` shows those that there are.")


# The server and its database


@app.command(epilog=example("serve --demo --port 8080"))
def serve(
    ctx: typer.Context,
    *,
    demo: Annotated[bool, typer.Option("--demo", help="Make demo data, and say how to try them.")] = False,
    port: Annotated[
        int | None, typer.Option(min=RANGES["port"][0], max=RANGES["port"][1], help="The API's port; else PORT, else 8080.")
    ] = None,
    data: Folder = None,
    workers: Annotated[
        int | None, typer.Option(min=RANGES["workers"][0], max=RANGES["workers"][1], help="Processes; 0: one per core.")
    ] = None,
) -> None:
    """Run the server until SIGTERM or Ctrl-C.

    Without DATABASE_URL and REDIS_URL it starts PostgreSQL and Valkey as children of its own.
    """
    from server import supervisor  # noqa: PLC0415 (no other command needs what it imports)

    config = _config(ctx, port=port, data=data, workers=workers)
    with _explained(config):
        code = asyncio.run(supervisor.serve(config, demo=demo))
    raise typer.Exit(code)


@app.command("migrate", epilog=example("migrate --private-key old-key.pem"))
def migrate_command(
    ctx: typer.Context,
    *,
    private_key: Annotated[
        Path | None,
        typer.Option(help="An RSA key (PEM, or .NET's XML) that shipped clients trust already, for a new account."),
    ] = None,
) -> None:
    """Bring the database's schema up to this program, and make the account if there is none."""
    config = _config(ctx)
    with _explained(config):
        applied, account = asyncio.run(_migrate(config, private_key))
    for name in applied:
        result(f"Applied {name}.")
    if not applied:
        result(f"The schema is up to date (migration {PROGRAM}).")
    remark(f"The key of account {visible(account.name)} is in {key_file(config.data / 'keys')}. Keep a copy of it.")


async def _migrate(config: Config, private_key: Path | None) -> tuple[list[str], Account]:
    secret = signing_keys.passphrase(config.signing_passphrase_file)
    now = datetime.datetime.now(datetime.UTC)
    async with AsyncExitStack() as stack:
        with ERR.status("Connecting to PostgreSQL …") as status:
            dsn, _momentary = await stack.enter_async_context(running(config, status.update))
            status.update("Migrating the database …")
            applied = await migrate(dsn, now)
            admin = await stack.enter_async_context(administration(dsn))
            account = await ensure(admin, config.data / "keys", secret, int(now.timestamp()), private_key)
    return applied, account


# The account


@account_app.command("show", epilog=example("account show"))
def account_show(ctx: typer.Context, *, json: Json = False) -> None:
    """Show the public key, which goes into your software, and what the account has."""

    async def look(desk: Desk) -> dict[str, object]:
        counts = await desk.admin.counts(desk.account.id, desk.now)
        key = load_der_public_key(desk.account.public_key)
        if not isinstance(key, RSAPublicKey):
            raise Problem(f"The database has a public key of account {desk.account.name} that is not an RSA key.")
        return {
            "id": desk.account.id,
            "name": desk.account.name,
            "products": counts.products,
            "tokens": counts.tokens,
            "public_key_xml": public_xml(key),
            "public_key_pem": public_pem(key),
        }

    known = run(ctx, look)
    if json:
        as_json(known)
        return
    facts([(name.capitalize(), str(known[name])) for name in ("name", "products", "tokens")])
    result(f"\n{known['public_key_xml']}\n\n{str(known['public_key_pem']).rstrip()}")


@account_app.command("export-key", epilog=example("account export-key --to backup.pem --yes-show-the-private-key"))
def account_export_key(
    ctx: typer.Context,
    *,
    to: Annotated[Path | None, typer.Option(help="A new file, for its owner only; else it is printed.")] = None,
    yes: Annotated[bool, typer.Option("--yes-show-the-private-key", help="Do not ask.")] = False,
) -> None:
    """Give out the private key that signs licenses, not encrypted. Who has it can make licenses of yours."""
    if not yes:
        _ask_for_private_key()

    async def read(desk: Desk) -> bytes:
        secret = signing_keys.passphrase(desk.config.signing_passphrase_file)
        path = key_file(desk.config.data / "keys", desk.account.name)
        return signing_keys.export(signing_keys.load(path, secret, desk.account.public_key), None)

    pem = run(ctx, read)
    if to is None:
        result(pem.decode().rstrip())
        return
    _write_new(to, pem)
    remark(f"The private key is in {to}, not encrypted. Move it to a safe place.")


def _ask_for_private_key() -> None:
    """Have a person agree. Raises `Problem` where none is there."""
    if not sys.stdin.isatty():
        raise Problem("The private key is given out on request only: repeat this with --yes-show-the-private-key.")
    # Not typer.confirm: even with err=True it writes a space to stdout, before the key.
    typer.echo("Give out the private key that signs your licenses? [y/N] ", nl=False, err=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Problem("The private key was not given out.")


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, from its first moment on, and never over another."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise Problem(f"{path} is there already and is not overwritten. Name a new file.") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


# Products


@product_app.command("add", epilog=example('product add Editor --feature "1=Pro:time-limited"'))
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
    _check_name(name)
    features = _features(_UNNAMED, feature or ())
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


@product_app.command("list", epilog=example("product list --json"))
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


@product_app.command("set", epilog=example("product set 3001 --block-expired --data owner=Ann"))
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
        _check_name(name)
    _features(_UNNAMED, feature or ())
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


_UNNAMED = tuple(Feature(f"F{number}", FeatureType.NORMAL) for number in range(1, FEATURES + 1))


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


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > LONGEST_NAME:
        raise typer.BadParameter(f"A name has 1 to {LONGEST_NAME} characters.", param_hint="NAME")


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
        "data_objects": _data_json(product.data_objects),
    }


def _data_json(objects: Sequence[DataObject]) -> list[dict[str, object]]:
    return [each._asdict() for each in objects]


def _product_row(product: Product) -> tuple[str, ...]:
    features = [
        f"F{number} {name} ({TYPE_NAMES[kind]})"
        for number, ((name, kind), unnamed) in enumerate(zip(product.features, _UNNAMED, strict=True), 1)
        if (name, kind) != unnamed
    ]
    return (
        str(product.id),
        product.name,
        ", ".join(features),
        _yes(product.all_time_limited),
        _yes(product.block_expired),
        _data_text(product.data_objects),
    )


def _data_text(objects: Sequence[DataObject]) -> str:
    return ", ".join(f"{each.name}={each.string_value}:{each.int_value}" for each in objects)


def _yes(value: object) -> str:
    return "yes" if value else ""


# Tokens


@token_app.command("add", epilog=example("token add app-1 --allow Activate --allow GetKey --product-lock 3001"))
def token_add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="What it is for; you will look for it by this.")],
    *,
    allow: Annotated[list[str] | None, typer.Option(metavar="METHOD", help="A method that it may call.")] = None,
    allow_all_client: Annotated[bool, typer.Option("--allow-all-client", help="All that client software calls.")] = False,
    allow_all: Annotated[bool, typer.Option("--allow-all", help="Every method: for a token of your own.")] = False,
    product_lock: Annotated[int, typer.Option(min=0, max=INT32, help="Only this product.")] = 0,
    key_lock: Annotated[int, typer.Option(min=-1, max=INT64, help="Only this global id; -1: calls must name a key.")] = 0,
    feature_lock: Annotated[int, typer.Option(min=0, max=INT64, help="Fields to hide, or days of a trial key.")] = 0,
    expires: Annotated[
        datetime.datetime | None,
        typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], metavar="DATE", help="From when on it is refused, in UTC."),
    ] = None,
) -> None:
    """Add a token and print its text, which is shown this once only.

    Whoever has your software has the tokens in it: allow those little, and lock them to one product.
    """
    _check_name(name)
    permissions = _permissions(allow or (), client=allow_all_client, everything=allow_all)
    end = None if expires is None else _end(expires)

    async def add(desk: Desk) -> str:
        try:
            return await make_token(
                desk.admin, desk.account.id, name=name, permissions=permissions, product_lock=product_lock,
                key_lock=key_lock, feature_lock=feature_lock, expires=end, now=desk.now,
            )  # fmt: skip
        except NoProduct as error:
            raise no_product(product_lock) from error
        except NoLicense as error:
            inside = f" in product {product_lock}" if product_lock else ""
            raise Problem(f"There is no key with the global id {key_lock}{inside}. `keyturn key show` shows it.") from error

    token = run(ctx, add)
    token_id, _secret = token_parts(token) or (0, "")
    remark(f"Added token {token_id}, {visible(name)}. Its text is shown this once only:")
    result(token)
    if feature_lock and len({FEATURE_LOCK[each] for each in permissions if each in FEATURE_LOCK}) > 1:
        remark("Its feature lock is a field mask to Activate and GetKey but days to CreateTrialKey: use two tokens.")


@token_app.command("list", epilog=example("token list --all"))
def token_list(
    ctx: typer.Context,
    *,
    every: Annotated[bool, typer.Option("--all", help="Revoked and expired ones too.")] = False,
    json: Json = False,
) -> None:
    """List the tokens; their texts are kept nowhere."""

    async def look(desk: Desk) -> tuple[list[IssuedToken], int]:
        return await desk.admin.tokens(desk.account.id), desk.now

    tokens, now = run(ctx, look)
    chosen = [token for token in tokens if every or _state(token, now) == "good"]
    if json:
        as_json([{**asdict(token), "state": _state(token, now)} for token in chosen])
        return
    table(
        "Tokens",
        ("Id", "Name", "May call", "Locks", "Created", "Expires", "State"),
        [_token_row(token, now) for token in chosen],
    )


@token_app.command("revoke", epilog=example("token revoke 4"))
def token_revoke(ctx: typer.Context, token: TokenId) -> None:
    """Revoke a token: every call with it that begins afterwards is refused. It cannot be undone."""

    async def revoke(desk: Desk) -> None:
        if await desk.admin.revoke_token(desk.account.id, token, desk.now):
            return
        known = {each.id: each for each in await desk.admin.tokens(desk.account.id)}
        if token not in known:
            raise Problem(f"There is no token {token}. `keyturn token list` shows those that there are.")
        raise Problem(f"Token {token} was revoked already, {when(known[token].revoked)}. There is nothing to do.")

    run(ctx, revoke)
    remark(f"Revoked token {token}.")


def _permissions(names: Sequence[str], *, client: bool, everything: bool) -> tuple[str, ...]:
    """Return the permissions that are meant, spelled as the table of methods spells them. Raises `BadParameter`."""
    known = {permission.lower(): permission for permission in PERMISSIONS}
    for name in names:
        if name.lower() not in known:
            listed = ", ".join(PERMISSIONS)
            raise typer.BadParameter(f"{visible(name)!r} is no method here. Known: {listed}.", param_hint="--allow")
    chosen = {known[name.lower()] for name in names}
    chosen.update(client_permissions() if client else (), PERMISSIONS if everything else ())
    if not chosen:
        raise typer.BadParameter("Say what it may do; --allow-all: everything.", param_hint="--allow")
    return tuple(sorted(chosen))


def _end(expires: datetime.datetime) -> int:
    end = int(expires.replace(tzinfo=datetime.UTC).timestamp())
    if end <= time.time():
        raise typer.BadParameter(f"{when(end)} is over already.", param_hint="--expires")
    return end


def _state(token: IssuedToken, now: int) -> str:
    if token.revoked is not None:
        return "revoked"
    return "expired" if token.expires is not None and token.expires <= now else "good"


def _token_row(token: IssuedToken, now: int) -> tuple[str, ...]:
    locks = {"product": token.product_lock, "key": token.key_lock, "feature": token.feature_lock}
    return (
        str(token.id),
        token.name,
        ", ".join(token.permissions),
        ", ".join(f"{name} {value}" for name, value in locks.items() if value),
        when(token.created),
        when(token.expires),
        _state(token, now),
    )


# Keys


@key_app.command("add", epilog=example("key add 3001 --period 365 --feature 1 --max-machines 3"))
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
    token = operator(desk.account.id)
    keys = [keystring.from_bytes(os.urandom(keystring.BYTES_NEEDED)) for _ in range(count)]
    rule = partial(
        editing.create, wanted=wanted, keys=keys, stamps=[new_stamp() for _ in keys], reseller_id=0,
        caller=Caller(token, "", "", ""), now=desk.now,
    )  # fmt: skip
    async with _licenses(desk.dsn) as licenses:
        try:
            refusal = await licenses.create(token, product_id, rule)
        except NoProduct as error:
            raise no_product(product_id) from error
        except NoCustomer as error:
            raise Problem(f"There is no customer {wanted.customer_id}; no key was made.") from error
    if refusal is not None:
        raise Problem(f"No key was made. {refusal.value}")
    return keys


@key_app.command("show", epilog=example("key show 3001 ABCDE-FGHIJ-KLMNO-PQRST"))
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
        async with _licenses(desk.dsn) as licenses:
            try:
                return await licenses.show(operator(desk.account.id), product, keystring.normalise(key)), desk.now
            except NoProduct as error:
                raise no_product(product) from error
            except NoLicense as error:
                raise Problem(f"Product {product} has no such key. Is it spelled right, and of this product?") from error

    license_, now = run(ctx, look)
    known = _license_json(license_, now, addresses=addresses)
    if json:
        as_json(known)
        return
    facts(_license_facts(license_, str(known["state"])))
    machines = [_machine_row(machine, addresses=addresses) for machine in license_.machines.values()]
    if machines:
        table("Machines", ("Code", "Name", "Address", "Since"), machines)


@asynccontextmanager
async def _licenses(dsn: str) -> AsyncIterator[Licenses]:
    reads = Reads(dsn)
    await reads.open()
    try:
        yield Licenses(reads)
    finally:
        await reads.close()


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
        "data_objects": _data_json(license_.data_objects),
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
        ("Data objects", _data_text(license_.data_objects)),
        ("Ids", f"{license_.number} in the product, {license_.id} globally"),
    ]
