"""`keyturn migrate` and `keyturn account`: the account, and the key that every shipped client trusts."""

import asyncio
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from shell import Shell

from server import account, signing_keys
from server.signing_keys import KeyFileError
from server.wire.sign import public_der, public_pem, public_xml
from storage.errors import Conflict
from storage.postgres.admin import Admin, administration
from storage.postgres.sql import migrations

KEYTURN = Path(sys.executable).with_name("keyturn")


def pem_file(shell: Shell) -> Path:
    return shell.data / "keys" / "default.pem"


def other_key(path: Path) -> Path:
    path.write_bytes(signing_keys.export(rsa.generate_private_key(65_537, 2048), None))
    return path


def accounts(shell: Shell) -> list[bytes]:
    return [row["public_key"] for row in shell.rows("select public_key from accounts")]


def public_of(pem: bytes) -> rsa.RSAPublicKey:
    key = load_pem_private_key(pem, None).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    return key


def test_migrate_makes_the_account_and_its_key_and_does_it_once(fresh: Shell) -> None:
    assert fresh.ok("migrate") == f"The schema is up to date (migration {len(migrations())})."
    pem = pem_file(fresh).read_bytes()
    assert stat.S_IMODE(pem_file(fresh).stat().st_mode) == 0o600
    assert accounts(fresh) == [public_der(public_of(pem))]
    fresh.ok("migrate")
    assert pem_file(fresh).read_bytes() == pem
    assert fresh.edits("Account") == [("Create", {"name": "default"})]


async def _emptied(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("drop schema public cascade; create schema public")
    await connection.close()


def test_migrate_says_what_it_applied_and_other_commands_ask_for_it(fresh: Shell) -> None:
    asyncio.run(_emptied(fresh.dsn))
    assert "keyturn migrate" in fresh.refused("product", "list")
    assert fresh.ok("migrate").splitlines() == [f"Applied {name}." for _, name, _ in migrations()]


def test_without_an_account_commands_say_how_to_get_one(fresh: Shell) -> None:
    assert "Run `keyturn migrate` first" in fresh.refused("account", "show")
    assert not fresh.data.exists()


def test_a_key_is_taken_over(shell: Shell, private_pem: bytes) -> None:
    assert accounts(shell) == [public_der(public_of(private_pem))]
    assert public_of(pem_file(shell).read_bytes()) == public_of(private_pem)


def test_a_key_is_taken_over_once_only(shell: Shell, tmp_path: Path, private_pem: bytes) -> None:
    said = shell.refused("migrate", "--private-key", other_key(tmp_path / "other.pem"))
    assert "was not taken over" in said
    assert accounts(shell) == [public_der(public_of(private_pem))]
    shell.ok("migrate", "--private-key", tmp_path / "foreign.pem")


def test_a_key_that_cannot_be_read_makes_no_account(fresh: Shell, tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("nonsense")
    assert "bad.pem" in fresh.refused("migrate", "--private-key", tmp_path / "bad.pem")
    assert "none.pem" in fresh.refused("migrate", "--private-key", tmp_path / "none.pem")
    assert accounts(fresh) == []
    assert not pem_file(fresh).exists()


def test_the_file_of_a_start_that_was_interrupted_is_used(fresh: Shell, private_pem: bytes, tmp_path: Path) -> None:
    pem_file(fresh).parent.mkdir(parents=True)
    pem_file(fresh).write_bytes(private_pem)
    assert "another key already" in fresh.refused("migrate", "--private-key", other_key(tmp_path / "other.pem"))
    assert accounts(fresh) == []
    fresh.ok("migrate")
    assert accounts(fresh) == [public_der(public_of(private_pem))]
    assert pem_file(fresh).read_bytes() == private_pem


def test_a_missing_key_file_is_an_error_and_never_made_anew(shell: Shell) -> None:
    pem_file(shell).unlink()
    said = shell.refused("migrate")
    assert str(pem_file(shell)) in said
    assert "backup" in said
    assert not pem_file(shell).exists()
    shell.ok("product", "add", "Editor")  # needs no key


def test_another_key_file_is_an_error(shell: Shell) -> None:
    other_key(pem_file(shell))
    said = shell.refused("migrate")
    assert "differs" in said
    assert "Bring back" in said
    assert "differs" in shell.refused("account", "export-key", "--yes-show-the-private-key")


def test_the_key_file_is_encrypted_if_a_passphrase_is_configured(fresh: Shell, tmp_path: Path) -> None:
    (tmp_path / "pass").write_text("correct horse\n")
    settings = {"KEYTURN_SIGNING_PASSPHRASE_FILE": str(tmp_path / "pass")}
    assert fresh.run("migrate", **settings).exit_code == 0
    assert b"ENCRYPTED" in pem_file(fresh).read_bytes()
    assert "KEYTURN_SIGNING_PASSPHRASE_FILE" in fresh.refused("migrate")
    assert fresh.run("migrate", **settings).exit_code == 0


def test_show_tells_the_public_key_and_the_counts(shell: Shell, private_pem: bytes) -> None:
    shell.ok("product", "add", "Editor")
    shell.ok("token", "add", "app", "--allow", "GetKey")
    shell.ok("token", "add", "gone", "--allow", "GetKey")
    shell.ok("token", "revoke", 2)
    key = public_of(private_pem)
    assert shell.json("account", "show") == {
        "id": 1, "name": "default", "products": 1, "tokens": 1, "public_key_xml": public_xml(key),
        "public_key_pem": public_pem(key),
    }  # fmt: skip
    said = shell.ok("account", "show")
    assert public_xml(key) in said
    assert public_pem(key).strip() in said
    assert "PRIVATE" not in said


def test_the_private_key_needs_an_explicit_request(shell: Shell, private_pem: bytes, tmp_path: Path) -> None:
    said = shell.refused("account", "export-key", "--to", tmp_path / "out.pem")
    assert "--yes-show-the-private-key" in said
    assert not (tmp_path / "out.pem").exists()
    assert shell.ok("account", "export-key", "--yes-show-the-private-key") == private_pem.decode().strip()


def test_the_private_key_goes_to_a_new_file_of_its_owner(shell: Shell, private_pem: bytes, tmp_path: Path) -> None:
    out = tmp_path / "out.pem"
    assert shell.ok("account", "export-key", "--to", out, "--yes-show-the-private-key") == ""
    assert out.read_bytes() == private_pem
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert "is not overwritten" in shell.refused("account", "export-key", "--to", out, "--yes-show-the-private-key")


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"n\n", 1)])
def test_a_person_is_asked_for_the_private_key(shell: Shell, private_pem: bytes, answer: bytes, code: int) -> None:
    ours, theirs = pty.openpty()
    try:
        os.write(ours, answer)
        done = subprocess.run(
            [KEYTURN, "account", "export-key"], stdin=theirs, capture_output=True, check=False,
            env={**os.environ, "DATA": str(shell.data), "DATABASE_URL": shell.dsn},
        )  # fmt: skip
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == code
    assert done.stdout == (b"" if code else private_pem)
    assert b"Give out the private key" in done.stderr


async def test_two_hosts_that_start_at_once_make_one_account(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one finds the name taken after it made a key of its own, and is told that this is not the one."""
    async with administration(dsn) as first, administration(dsn) as second:
        made: list[bytes] = []

        async def overtaken(self: Admin, name: str, public_key_der: bytes, now: int) -> None:
            made.append((await account.ensure(first, tmp_path / "first", None, now)).public_key)
            await add_account(self, name, public_key_der, now)

        add_account = Admin.add_account
        monkeypatch.setattr(second, "add_account", overtaken.__get__(second))
        with pytest.raises(KeyFileError, match="differs"):
            await account.ensure(second, tmp_path / "second", None, 5)
        known = await second.account("default")
        assert known is not None
        assert made == [known.public_key]
        with pytest.raises(Conflict):
            await first.add_account("default", b"", 5)
