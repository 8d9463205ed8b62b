"""`keyturn token`: access tokens of client software and of the vendor's own."""

import datetime
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from server.account import client_permissions, make_token
from server.cli.arguments import Json, check_name
from server.cli.session import Desk, no_product, run
from server.cli.terminal import Problem, as_json, example, remark, result, table, visible, when
from server.methods import PERMISSIONS
from server.wire.parse import token_parts
from server.wire.requests import INT32, INT64
from storage.errors import NoLicense, NoProduct
from storage.postgres.admin import IssuedToken

# Methods that read the one feature lock of a token differently (protocol: auth): one token should not have two of them.
FEATURE_LOCK = {"Activate": "a field mask", "GetKey": "a field mask", "CreateTrialKey": "days"}

TokenId = Annotated[int, typer.Argument(metavar="TOKEN", help="The token's id.", min=1, max=INT64)]

app = typer.Typer()


@app.command("add", epilog=example("token add app-1 --allow Activate --allow GetKey --product-lock 3001"))
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
    check_name(name)
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


@app.command("list", epilog=example("token list --all"))
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


@app.command("revoke", epilog=example("token revoke 4"))
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
