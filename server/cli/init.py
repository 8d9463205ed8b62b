"""What `keyturn init` does: all that a first start on servers of one's own needs is checked, and made step by step.

Each step finds what is there already and makes what is missing. So whatever was interrupted is finished by the same command
again, and nothing is ever made twice: no key pair, no product, no token.
"""

import asyncio
import datetime
import shlex
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import typer
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from rich.prompt import Prompt

from server.account import NAME, client_permissions, ensure, key_file, make_token
from server.cli.arguments import check_name
from server.cli.products import UNNAMED
from server.cli.session import explained, settings
from server.cli.terminal import ERR, Problem, as_json, remark, result, visible
from server.config import ADDRESSES, PARSERS, Config
from server.doctor import engines
from server.doctor.findings import State
from server.doctor.look import look
from server.methods import PERMISSIONS
from server.signing_keys import passphrase
from server.wire.parse import token_parts
from server.wire.sign import public_xml
from storage.embedded.home import write_private
from storage.postgres.admin import Admin, administration
from storage.postgres.ground import ground
from storage.postgres.migrate import migrate
from storage.records import Account, Product
from storage.redis.trial import refusal

TABLES_NAMED = 3  # of a database that is somebody else's
ENV_HEAD = "# Settings of Keyturn, written by `keyturn init`. It may hold passwords: for its owner only.\n"


class Wishes(NamedTuple):
    """What the command line says; None is what it does not say. `ask` is whether a person may be asked for that."""

    database_url: str | None
    redis_url: str | None
    product: str | None
    passphrase_file: Path | None
    private_key: Path | None
    write_env: Path | None
    data: Path | None
    ask: bool
    json: bool


class Kind(NamedTuple):
    """A usual kind of token: its name, what it is for, what it may call, and whether it is locked to the product."""

    name: str
    about: str
    permissions: tuple[str, ...]
    locked: bool


KINDS = (
    Kind("client", "It goes into your software, and is locked to the product.", client_permissions(), locked=True),
    Kind("back office", "For your own servers: it may call every method.", PERMISSIONS, locked=False),
    Kind("read-only", "For reports: it may call what only reads.",
         tuple(each for each in PERMISSIONS if each.startswith(("Get", "List"))), locked=False),
)  # fmt: skip


class Story:
    """Tells a person each step as it is done; a program, by JSON, all of them at the end, and also if that came early.

    For what is made is told once only.
    """

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self._told: dict[str, Any] = {"migrations": [], "account": None, "product": None, "tokens": [], "env_file": None}

    def tell(self, what: str, text: str = "") -> None:
        """Tell what was done or found, and what a script may want of it. Both are `visible` already."""
        remark(what)
        if text and not self._json:
            result(text)

    def note(self, name: str, value: object) -> None:
        """Note a part of the JSON: one of a list, or all there is."""
        if isinstance(self._told[name], list):
            self._told[name].append(value)
        else:
            self._told[name] = value

    def end(self) -> None:
        """Print what was noted, if anything was and it is to be JSON."""
        if self._json and any(self._told.values()):
            as_json(self._told)


def begin(ctx: typer.Context, wishes: Wishes) -> None:
    """Check, make, and tell."""
    if wishes.product is not None:
        check_name(wishes.product)
    config = _config(ctx, wishes)
    if wishes.write_env is not None:
        _check_place(wishes.write_env, _environment(config))
    story = Story(json=wishes.json)
    try:
        with explained(config):
            asyncio.run(_begin(config, wishes, story))
    finally:
        story.end()


# ---- settings


def at_terminal() -> bool:
    """Whether a person is there to be asked."""
    return sys.stdin.isatty()


def _config(ctx: typer.Context, wishes: Wishes) -> Config:
    """Return the settings, with the addresses of both engines in them. Raises `Problem` if one is missing."""
    config = settings(ctx, data=wishes.data, signing_passphrase_file=wishes.passphrase_file)
    given = {
        variable: _address(variable, text or getattr(config, variable.lower()), ask=wishes.ask)
        for variable, text in (("DATABASE_URL", wishes.database_url), ("REDIS_URL", wishes.redis_url))
    }
    config = replace(config, **{variable.lower(): text for variable, text in given.items()})  # type: ignore[arg-type]
    if wishes.ask and config.signing_passphrase_file is None and not key_file(config.data / "keys").exists():
        remark("The key that signs your licenses can be kept encrypted, by a passphrase in a file that the server reads.")
        path = Prompt.ask("File with the passphrase (none: not encrypted)", console=ERR, default="", show_default=False)
        config = replace(config, signing_passphrase_file=Path(path) if path.strip() else None)
    return config


def _address(variable: str, text: str, *, ask: bool) -> str:
    sample = ADDRESSES[variable][1]
    if not text and ask:
        text = Prompt.ask(f"{variable}, such as {sample}", console=ERR).strip()
    if not text:
        raise Problem(
            f"{variable} is not set, and this is for servers of your own. Set it to an address such as {sample}, or give "
            f"--{variable.lower().replace('_', '-')}. (`keyturn serve` needs no servers: it can start its own.)"
        )
    PARSERS[variable.lower()](variable, text)
    return text


def _environment(config: Config) -> str:
    """Return the settings as a file for systemd or a shell."""
    secret = config.signing_passphrase_file
    values = {
        "DATABASE_URL": config.database_url,
        "REDIS_URL": config.redis_url,
        "DATA": str(config.data.absolute()),
        "KEYTURN_SIGNING_PASSPHRASE_FILE": str(secret.absolute()) if secret else "",
    }
    return ENV_HEAD + "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items() if value)


def _check_place(path: Path, text: str) -> None:
    """See, before anything is done, that the file can be written: never over another one. Raises `Problem`."""
    if not path.parent.is_dir():
        raise Problem(f"There is no folder {path.parent} to write {path.name} into.")
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise Problem(f"{path} is there already, with other settings, and is not overwritten. Name a new file.")


# ---- steps


async def _begin(config: Config, wishes: Wishes, story: Story) -> None:
    now = datetime.datetime.now(datetime.UTC)
    passphrase(config.signing_passphrase_file)  # can it be read?
    with ERR.status("Looking at the engines …"):
        await _check_database(config, wishes)
        said = await _check_engines(config)
    for line in said:
        story.tell(visible(line))
    async with AsyncExitStack() as stack:
        with ERR.status("Migrating the database …"):
            applied = await migrate(config.database_url, now)
            admin = await stack.enter_async_context(administration(config.database_url))
        for name in applied:
            story.note("migrations", name)
        story.tell(f"Applied {len(applied)} migrations." if applied else "The schema is there, and up to date.")
        account = await _account(admin, config, wishes, int(now.timestamp()), story)
        product = await _product(admin, account, wishes, int(now.timestamp()), story)
        await _tokens(admin, account, product, int(now.timestamp()), story)
    _write(config, wishes, story)
    story.tell("Next: put the public key into your software (`keyturn account show`), start `keyturn serve`, and see what "
               "`keyturn doctor` says.")  # fmt: skip


async def _check_database(config: Config, wishes: Wishes) -> None:
    """See that the database is empty or ours, and that we may build in it. Raises `Problem`."""
    under = await ground(config.database_url)
    if under.foreign:
        some = ", ".join(under.foreign[:TABLES_NAMED]) + (", …" if len(under.foreign) > TABLES_NAMED else "")
        raise Problem(f"Database {under.database} has tables that are not Keyturn's ({some}). Give it an empty one.")
    if not under.may_create:
        raise Problem(
            f"User {under.role} may not make tables in database {under.database}. As a superuser: "
            f'alter database "{under.database}" owner to "{under.role}".'
        )
    if under.encoding != "UTF8":
        said = f"Database {under.database} is encoded in {under.encoding}."
        raise Problem(f"{said} Make another one: `create database … encoding 'UTF8' template template0`.")
    if not under.ours and not wishes.ask:
        _name_of_first(wishes)


async def _check_engines(config: Config) -> list[str]:
    """See that both engines can be used, and return what is to be said of them. Raises `Problem`."""
    readings = await look(config, {}, lambda _what: None)
    found = [finding for check in engines.CHECKS for finding in check(readings)]
    if failing := [finding for finding in found if finding.state is State.FAILURE]:
        raise Problem(" ".join(f"{finding.said} {finding.do}" for finding in failing))
    if word := await refusal(config.redis_url):
        raise Problem(
            f"Valkey refuses a script that writes ({word}). Let its user run scripts, and write keys named keyturn:…"
        )
    there = [finding.said for finding in found if finding.state is State.OK and finding.name in ("postgresql", "valkey")]
    return there + [f"Warning: {finding.said} {finding.do}" for finding in found if finding.state is State.WARNING]


async def _account(admin: Admin, config: Config, wishes: Wishes, now: int, story: Story) -> Account:
    """Return the account with its key, made now if it is not there. Raises `KeyFileError`."""
    secret = passphrase(config.signing_passphrase_file)
    before = await admin.account(NAME)
    account = await ensure(admin, config.data / "keys", secret, now, wishes.private_key)
    path = key_file(config.data.absolute() / "keys")
    key = load_der_public_key(account.public_key)
    assert isinstance(key, RSAPublicKey)  # noqa: S101 (`ensure` has just held the private half against it)
    told = {"id": account.id, "name": account.name, "made": before is None}
    story.note("account", {**told, "key_file": str(path), "public_key_xml": public_xml(key)})
    if before is None:
        story.tell(f"Made account {account.name}. Its signing key is in {visible(str(path))}: keep a copy of it.")
    else:
        story.tell(f"Account {account.name} is there, and its signing key in {visible(str(path))}.")
    return account


async def _product(admin: Admin, account: Account, wishes: Wishes, now: int, story: Story) -> Product:
    """Return the product of that name, or the first if none was named; made now if it is not there."""
    products = await admin.products(account.id)
    found = [each for each in products if wishes.product in (None, each.name)]
    made = not found
    if made:
        name = _name_of_first(wishes)
        product_id = await admin.add_product(
            account.id, name=name, description="", features=UNNAMED, all_time_limited=False, block_expired=False, now=now
        )
        product = await admin.product(account.id, product_id)
        assert product is not None  # noqa: S101 (made a moment ago, and nothing removes one)
        found = [product]
    product = found[0]
    story.note("product", {"id": product.id, "name": product.name, "made": made})
    story.tell(f"{'Made product' if made else 'There is product'} {product.id}, {visible(product.name)}.")
    return product


def _name_of_first(wishes: Wishes) -> str:
    """Return what the product is to be called. Raises `Problem` if nobody says so."""
    if wishes.product is not None:
        return wishes.product
    if not wishes.ask:
        raise Problem("There is no product yet: say by --product what yours is called.")
    name = Prompt.ask("What your product is called", console=ERR).strip()
    check_name(name)
    return name


async def _tokens(admin: Admin, account: Account, product: Product, now: int, story: Story) -> None:
    """Make those of the usual tokens that are not there, or not good any more."""
    good = {
        (token.name, token.product_lock): token.id
        for token in await admin.tokens(account.id)
        if token.revoked is None and (token.expires is None or token.expires > now)
    }
    for kind in KINDS:
        lock = product.id if kind.locked else 0
        known = good.get((kind.name, lock))
        if known is not None:
            story.note("tokens", {"id": known, "name": kind.name, "made": False, "token": None})
            lost = f"`keyturn token revoke {known}`, then this again"
            story.tell(f"Token {known}, {kind.name}, is there; its text is kept nowhere. If it is lost: {lost}.")
            continue
        text = await make_token(admin, account.id, name=kind.name, permissions=kind.permissions, now=now, product_lock=lock)
        token_id, _secret = token_parts(text) or (0, "")
        story.note("tokens", {"id": token_id, "name": kind.name, "made": True, "token": text})
        story.tell(f"Made token {token_id}, {kind.name}. {kind.about} Its text is shown this once only:", text)


def _write(config: Config, wishes: Wishes, story: Story) -> None:
    if wishes.write_env is None:
        return
    text = _environment(config)
    _check_place(wishes.write_env, text)
    if not wishes.write_env.exists():
        write_private(wishes.write_env, text)
    story.note("env_file", str(wishes.write_env))
    story.tell(f"The settings are in {visible(str(wishes.write_env))}, for its owner only.")
