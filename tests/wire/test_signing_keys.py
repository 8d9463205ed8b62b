"""The files of private keys: who may read them, what is refused and with which advice, what can be taken over."""

import re
import stat
from base64 import b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from server import signing_keys
from server.signing_keys import KeyFileError
from server.wire.sign import public_der, public_xml

from .given import vector, vector_key

KEY = vector_key()
DER = public_der(KEY.public_key())


def dotnet_xml(key: rsa.RSAPrivateKey, *names: str) -> str:
    """Return the key as .NET's ToXmlString(true) writes it; only the parts named, if any are."""
    numbers = key.private_numbers()
    parts = {
        "Modulus": numbers.public_numbers.n,
        "Exponent": numbers.public_numbers.e,
        "P": numbers.p,
        "Q": numbers.q,
        "DP": numbers.dmp1,
        "DQ": numbers.dmq1,
        "InverseQ": numbers.iqmp,
        "D": numbers.d,
    }
    inner = "".join(
        f"<{name}>{b64encode(part.to_bytes((part.bit_length() + 7) // 8, 'big')).decode()}</{name}>"
        for name, part in parts.items()
        if name in names or not names
    )
    return f"<RSAKeyValue>{inner}</RSAKeyValue>"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "1.pem"


@pytest.mark.parametrize("passphrase", [None, b"open sesame"])
def test_a_new_key_is_read_back_and_only_its_owner_can_read_it(path: Path, passphrase: bytes | None) -> None:
    key = signing_keys.create(path, passphrase)
    loaded = signing_keys.load(path, passphrase, public_der(key.public_key()))
    assert loaded.private_numbers() == key.private_numbers()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [each.name for each in path.parent.iterdir()] == ["1.pem"]
    assert (b"ENCRYPTED" in path.read_bytes()) == (passphrase is not None)


def test_a_folder_that_others_could_enter_is_closed(path: Path) -> None:
    path.parent.mkdir(mode=0o755)
    signing_keys.create(path, None)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_file_is_never_overwritten(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("whatever")
    with pytest.raises(KeyFileError, match="never overwritten"):
        signing_keys.create(path, None)
    assert path.read_text() == "whatever"
    assert [each.name for each in path.parent.iterdir()] == ["1.pem"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("")
    with pytest.raises(KeyFileError, match=r"keys.*cannot be made"):
        signing_keys.create(tmp_path / "keys" / "1.pem", None)


def test_a_missing_file_is_told_with_what_to_do(path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"1\.pem is missing.*backup"):
        signing_keys.load(path, None, DER)


def test_another_key_is_told(path: Path) -> None:
    signing_keys.create(path, None)
    with pytest.raises(KeyFileError, match="differs"):
        signing_keys.load(path, None, DER)


@pytest.mark.parametrize(
    ("stored", "given", "advice"),
    [
        (b"right", b"wrong", "passphrase is wrong"),
        (b"right", None, "set KEYTURN_SIGNING_PASSPHRASE_FILE"),
        (None, b"right", "not encrypted.*openssl"),
    ],
)
def test_a_passphrase_that_does_not_fit_is_told(path: Path, stored: bytes | None, given: bytes | None, advice: str) -> None:
    signing_keys.store(path, KEY, stored)
    with pytest.raises(KeyFileError, match=advice):
        signing_keys.load(path, given, DER)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", b"\xff\0"])
def test_a_damaged_file_is_told(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match="cannot be used"):
        signing_keys.load(path, None, DER)


def test_a_path_that_is_a_folder_is_told(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(KeyFileError, match="cannot be read"):
        signing_keys.load(path, None, DER)
    with pytest.raises(KeyFileError, match="cannot be read"):
        signing_keys.read_foreign(path)


@pytest.mark.parametrize(
    "content",
    [
        vector("key.pem"),
        KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")),
        dotnet_xml(KEY).encode(),
        b"\xef\xbb\xbf" + re.sub(r"(<\w)", r"\n  \1", dotnet_xml(KEY)).encode(),
    ],
    ids=["PKCS#8", "PKCS#1", "encrypted", "XML", "pretty XML"],
)
def test_a_key_made_elsewhere_can_be_taken_over(tmp_path: Path, path: Path, content: bytes) -> None:
    foreign = tmp_path / "foreign"
    foreign.write_bytes(content)
    key = signing_keys.read_foreign(foreign, b"secret")
    assert key.private_numbers() == KEY.private_numbers()
    signing_keys.store(path, key, None)
    assert signing_keys.load(path, None, DER).private_numbers() == KEY.private_numbers()


def test_a_key_without_its_private_parts_is_told(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    for text in (public_xml(KEY.public_key()), dotnet_xml(KEY, "Modulus", "Exponent", "P", "Q")):
        foreign.write_text(text)
        with pytest.raises(KeyFileError, match="lacks its private parts"):
            signing_keys.read_foreign(foreign)


def test_private_parts_that_do_not_fit_together_are_told(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    other = rsa.generate_private_key(65_537, 2048)
    modulus = dotnet_xml(other, "Modulus").removeprefix("<RSAKeyValue>").removesuffix("</RSAKeyValue>")
    for text in (re.sub("<Modulus>.*</Modulus>", modulus, dotnet_xml(KEY)), dotnet_xml(KEY).replace("=<", "<")):
        foreign.write_text(text)
        with pytest.raises(KeyFileError, match="cannot be used"):
            signing_keys.read_foreign(foreign)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (rsa.generate_private_key(65_537, 3072), "2048 bits"),
        (rsa.generate_private_key(3, 2048), "exponent 65537"),
        (ec.generate_private_key(ec.SECP256R1()), "not an RSA key"),
    ],
)
def test_a_key_that_clients_cannot_use_is_told(
    tmp_path: Path, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, reason: str
) -> None:
    foreign = tmp_path / "foreign"
    foreign.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(KeyFileError, match=reason):
        signing_keys.read_foreign(foreign)


def test_an_export_is_pkcs8() -> None:
    assert signing_keys.export(KEY, None).startswith(b"-----BEGIN PRIVATE KEY-----")
    key = load_pem_private_key(signing_keys.export(KEY, b"secret"), b"secret")
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.private_numbers() == KEY.private_numbers()


def test_a_passphrase_is_the_text_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_bytes(b" open sesame \r\n")
    assert signing_keys.passphrase(file) == b" open sesame "
    assert signing_keys.passphrase(None) is None


def test_a_passphrase_file_that_is_empty_or_missing_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    for name, reason in (("empty", "is empty"), ("missing", "cannot be read")):
        with pytest.raises(KeyFileError, match=reason):
            signing_keys.passphrase(tmp_path / name)
