"""The account and its key file at a start, and the texts of new tokens: what supervisor, demo and command line share.

A signing key is made with its account and at no other time, because every client that was shipped carries its public half.
"""

import secrets
from collections.abc import Sequence
from pathlib import Path

from server.methods import METHODS
from server.signing_keys import KeyFileError, create, load, read_foreign, store
from server.wire.sign import public_der
from server.wire.tokens import SECRET_BYTES, hash_of, secret_of, text_of
from storage.errors import Conflict
from storage.postgres.admin import Admin
from storage.records import Account, Token

NAME = "default"

# What client software calls, beside data objects.
_CLIENT = {"Activate", "GetKey", "Deactivate", "CreateTrialKey", "GetMessages", "RegisterEvent"}


def client_permissions() -> tuple[str, ...]:
    """Return what a token inside client software needs at most (protocol: sdk-matrix)."""
    of_data = {method.permission for method in METHODS if method.path.startswith("data/")}
    return tuple(sorted(_CLIENT | of_data))


def key_file(keys: Path, name: str = NAME) -> Path:
    """Return where an account's private key lies. `keys` is DATA/keys."""
    return keys / f"{name}.pem"


async def ensure(admin: Admin, keys: Path, passphrase: bytes | None, now: int, take_over: Path | None = None) -> Account:
    """Return the account *default*, made now if there is none, once its key file is found to be the right one.

    A new account gets the key in `take_over`, or the one that lies in `keys` already (a start was interrupted), or a
    new one; the file comes first, so that no account is ever without. Raises `KeyFileError`, which says what to do.
    """
    path = key_file(keys)
    account = await admin.account(NAME)
    if account is None:
        public_key = _key_of_new(path, passphrase, take_over)
        try:
            account = await admin.add_account(NAME, public_key, now)
        except Conflict:  # another host made it at this moment, with its own key
            account = await admin.account(NAME)
    if account is None:
        raise RuntimeError("the account was there a moment ago")
    load(path, passphrase, account.public_key)
    if take_over is not None and _public(take_over, passphrase) != account.public_key:
        raise KeyFileError(
            f"{take_over} was not taken over: the account has another key already ({path}), which every client that was "
            "shipped trusts. A key can be taken over into an empty database only."
        )
    return account


def _key_of_new(path: Path, passphrase: bytes | None, take_over: Path | None) -> bytes:
    """Have the key file of an account that is to be made; return its public half (DER)."""
    if path.exists():
        return _left_behind(path, passphrase, take_over)
    if take_over is None:
        return public_der(create(path, passphrase).public_key())
    key = read_foreign(take_over, passphrase)
    store(path, key, passphrase)
    return public_der(key.public_key())


def _left_behind(path: Path, passphrase: bytes | None, take_over: Path | None) -> bytes:
    """Use the file that lies there: no account has it yet, but it is a key, and only a person may throw one away."""
    found = _public(path, passphrase)
    if take_over is not None and _public(take_over, passphrase) != found:
        raise KeyFileError(
            f"{take_over} cannot be taken over: {path} holds another key already. If no client was ever shipped with that "
            "one, move the file away and repeat this."
        )
    load(path, passphrase, found)  # is it kept as the configuration wants it?
    return found


def _public(path: Path, passphrase: bytes | None) -> bytes:
    return public_der(read_foreign(path, passphrase).public_key())


async def make_token(
    admin: Admin,
    account_id: int,
    *,
    name: str,
    permissions: Sequence[str],
    now: int,
    product_lock: int = 0,
    key_lock: int = 0,
    feature_lock: int = 0,
    expires: int | None = None,
) -> str:
    """Make a token and return its text, which is kept nowhere (protocol: auth, token format).

    Its id is the database's to give, so the secret's hash goes there first. Raises as `Admin.add_token`.
    """
    secret = secret_of(secrets.token_bytes(SECRET_BYTES))
    token_id = await admin.add_token(
        account_id,
        name=name,
        secret_hash=hash_of(secret),
        permissions=sorted(permissions),
        product_lock=product_lock,
        key_lock=key_lock,
        feature_lock=feature_lock,
        expires=expires,
        now=now,
    )
    return text_of(token_id, secret)


def operator(account_id: int) -> Token:
    """Return the token of the command line itself: id 0, which rests on nothing and cannot be revoked."""
    return Token(0, account_id, "command line", b"", frozenset(), 0, 0, 0, None, 0)
