"""The files that hold the accounts' private keys: making, reading and taking them over. Nothing is signed here.

A key is made with its account and never again: its public half is compiled into every client that was shipped, so a
file that is gone or another one is an error to be put right by a person, not a reason to make a new one.
"""

import os
import re
import secrets
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from server.wire.sign import EXPONENT, KEY_BITS, check_size, public_der

_XML_PART = re.compile(r"<(Modulus|Exponent|P|Q|DP|DQ|InverseQ|D)>\s*([A-Za-z0-9+/=\s]+?)\s*</\1>")
_XML_PARTS = frozenset({"Modulus", "Exponent", "P", "Q", "DP", "DQ", "InverseQ", "D"})


class KeyFileError(Exception):
    """A private key that cannot be used; the text says which file, why, and what to do."""


def passphrase(path: Path | None) -> bytes | None:
    """Return the passphrase that the file holds, without its line end; None if there is no such setting.

    Raises `KeyFileError` if the file cannot be read or is empty.
    """
    if path is None:
        return None
    try:
        secret = path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise KeyFileError(f"The passphrase file {path} cannot be read: {error.strerror}.") from error
    if not secret:
        raise KeyFileError(f"The passphrase file {path} is empty: put the passphrase of the private keys there.")
    return secret


def create(path: Path, passphrase: bytes | None) -> rsa.RSAPrivateKey:
    """Make a new key and its file, and return the key. Raises `KeyFileError` if there is a file already."""
    key = rsa.generate_private_key(EXPONENT, KEY_BITS)
    store(path, key, passphrase)
    return key


def store(path: Path, key: rsa.RSAPrivateKey, passphrase: bytes | None) -> None:
    """Put a key into a new file that only its owner can read, in a folder of the same kind; on disk when it returns.

    Raises `KeyFileError` if there is a file already, whatever is in it.
    """
    _make_folder(path.parent)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _write_new(aside, export(key, passphrase))
        os.link(aside, path)  # unlike a rename it never replaces
    except FileExistsError:
        raise KeyFileError(f"There is a private key in {path} already: it is never overwritten.") from None
    except OSError as error:
        raise KeyFileError(f"The private key cannot be written to {path}: {error.strerror}.") from error
    finally:
        aside.unlink(missing_ok=True)
    _sync_folder(path.parent)


def load(path: Path, passphrase: bytes | None, expected_public_der: bytes) -> rsa.RSAPrivateKey:
    """Return the key in a file, if it is the one whose public half the database has. Raises `KeyFileError`."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise KeyFileError(
            f"The private key file {path} is missing. Bring it back from a backup: clients that were shipped trust "
            "this key only, so no new one is made."
        ) from None
    except OSError as error:
        raise KeyFileError(f"The private key file {path} cannot be read: {error.strerror}.") from error
    if passphrase and b"ENCRYPTED" not in text:
        raise KeyFileError(
            f"A passphrase is configured, but the private key in {path} is not encrypted. Encrypt it (openssl pkcs8 "
            "-topk8 -v2 aes256 -in … -out …) or remove KEYTURN_SIGNING_PASSPHRASE_FILE."
        )
    key = _read_pem(path, text, passphrase)
    if public_der(key.public_key()) != expected_public_der:
        raise KeyFileError(
            f"The private key in {path} differs from the one that the database knows the account by. Bring back the "
            "file that belongs to this database, or the database that belongs to this file."
        )
    return key


def read_foreign(path: Path, passphrase: bytes | None = None) -> rsa.RSAPrivateKey:
    """Return a key that was made elsewhere, to be taken over: PEM (PKCS#1, PKCS#8) or .NET's <RSAKeyValue>.

    Raises `KeyFileError`, also for a key that clients could not use.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise KeyFileError(f"The key file {path} cannot be read: {error.strerror}.") from error
    key = _read_xml(path, text) if b"<RSAKeyValue>" in text else _read_pem(path, text, passphrase)
    with _explained(path):
        check_size(key.public_key())
    return key


def read_exported(where: Path, text: bytes, passphrase: bytes) -> rsa.RSAPrivateKey:
    """Return the key in a text that `export` made with this passphrase. Raises `KeyFileError`, which names `where`."""
    return _read_pem(where, text, passphrase)


def export(key: rsa.RSAPrivateKey, passphrase: bytes | None) -> bytes:
    """Return the key as a PEM text (PKCS#8), encrypted if there is a passphrase."""
    encryption: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def _read_pem(path: Path, text: bytes, passphrase: bytes | None) -> rsa.RSAPrivateKey:
    """Return the key in a PEM text. What is wrong with the passphrase is told from what is wrong with the text."""
    encrypted = b"ENCRYPTED" in text
    if encrypted and not passphrase:
        raise KeyFileError(f"The private key in {path} is encrypted: set KEYTURN_SIGNING_PASSPHRASE_FILE.")
    with _explained(path, "The passphrase is wrong, or the file is damaged." if encrypted else ""):
        key = load_pem_private_key(text, passphrase if encrypted else None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise KeyFileError(f"The private key in {path} is not an RSA key.")
    return key


def _read_xml(path: Path, text: bytes) -> rsa.RSAPrivateKey:
    """Return the key in an <RSAKeyValue> with all its private parts; the library checks that they fit together."""
    found = _XML_PART.findall(text.decode("utf-8", "replace"))
    with _explained(path):
        parts = {name: int.from_bytes(b64decode(value), "big") for name, value in found}
    if parts.keys() != _XML_PARTS:
        raise KeyFileError(f"The key in {path} lacks its private parts: export it with them.")
    public = rsa.RSAPublicNumbers(parts["Exponent"], parts["Modulus"])
    numbers = rsa.RSAPrivateNumbers(parts["P"], parts["Q"], parts["D"], parts["DP"], parts["DQ"], parts["InverseQ"], public)
    with _explained(path):
        return numbers.private_key()


@contextmanager
def _explained(path: Path, reason: str = "") -> Iterator[None]:
    """Say of which file it is that the library complains."""
    try:
        yield
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"The private key in {path} cannot be used. {reason or error}") from error


def _make_folder(folder: Path) -> None:
    """Make a folder that only its owner can enter, and see that it is one."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise KeyFileError(f"The folder {folder} for private keys cannot be made: {error.strerror}.") from error


def _write_new(path: Path, data: bytes) -> None:
    """Write a new file, readable by its owner only from its first moment on, and wait for the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
