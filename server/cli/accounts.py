"""`keyturn account`: the vendor's account and its signing key."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from server import signing_keys
from server.account import key_file
from server.cli.arguments import Json
from server.cli.session import Desk, run
from server.cli.terminal import Problem, as_json, example, facts, remark, result
from server.wire.sign import public_pem, public_xml

app = typer.Typer()


@app.command("show", epilog=example("account show"))
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


@app.command("export-key", epilog=example("account export-key --to backup.pem --yes-show-the-private-key"))
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
