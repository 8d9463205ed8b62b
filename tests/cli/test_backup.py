"""`keyturn backup`, `restore` and `restored`: what is in the file, who may open it, and what is refused at once."""

import json
import os
import re
import stat
import zipfile
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from backups import empty_database
from rich.console import Console
from shell import Shell

from server import signing_keys
from server.account import key_file
from server.cli import backup as taking
from server.cli import restoring
from server.wire.sign import public_der
from storage.embedded.postgres import Postgres

SECRET, WRONG = "correct horse battery", "correct horse batteries"


@pytest.fixture
async def elsewhere(postgres: Postgres, tmp_path: Path) -> AsyncIterator[Shell]:
    """The command line of another host, on an empty database."""
    async with empty_database(postgres) as dsn:
        yield Shell(tmp_path / "elsewhere", dsn)


@pytest.fixture
def passphrase(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase"
    path.write_text(SECRET + "\n")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder / "one.zip"


@pytest.fixture
def taken(shell: Shell, file: Path, passphrase: Path) -> Path:
    """A backup with the private key."""
    shell.ok("product", "add", "Editor")
    shell.ok("key", "add", "3001", "--count", "3")
    shell.ok("backup", file, "--passphrase-file", passphrase)
    return file


def rewrite(path: Path, change: Callable[[dict[str, bytes]], object]) -> None:
    """Change what is in a zip, as somebody would who knows how."""
    with zipfile.ZipFile(path) as zip_:
        parts = {name: zip_.read(name) for name in zip_.namelist()}
    change(parts)
    with zipfile.ZipFile(path, "w") as zip_:
        for name, data in parts.items():
            zip_.writestr(name, data)


# The file


def test_a_backup_is_for_its_owner_only_and_alone_in_its_folder(taken: Path) -> None:
    assert stat.S_IMODE(taken.stat().st_mode) == 0o600
    assert list(taken.parent.iterdir()) == [taken]


def test_a_backup_restored_elsewhere_serves_the_same(shell: Shell, elsewhere: Shell, taken: Path, passphrase: Path) -> None:
    done = elsewhere.run("restore", taken, "--passphrase-file", passphrase)
    assert done.exit_code == 0, done.output
    for command in (("product", "list"), ("token", "list"), ("account", "show")):
        assert elsewhere.json(*command) == shell.json(*command)
    key = "select key, number from licenses order by id"
    assert elsewhere.rows(key) == shell.rows(key)
    assert key_file(elsewhere.data / "keys").read_bytes() == key_file(shell.data / "keys").read_bytes()
    assert stat.S_IMODE(key_file(elsewhere.data / "keys").stat().st_mode) == 0o600
    added = elsewhere.ok("product", "add", "Viewer")
    assert int(added) > 1_000_000


def test_no_backup_is_written_over_a_file_nor_even_begun(nowhere: Shell, file: Path) -> None:
    file.write_text("precious")
    assert "not overwritten" in nowhere.refused("backup", file, "--without-key")
    assert file.read_text() == "precious"


def test_a_file_that_came_meanwhile_is_not_overwritten(shell: Shell, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = taking.snapshot

    def meanwhile(dsn: str) -> object:
        file.write_text("precious")
        return snapshot(dsn)

    monkeypatch.setattr(taking, "snapshot", meanwhile)
    assert "not overwritten" in shell.refused("backup", file, "--without-key")
    assert file.read_text() == "precious"
    assert list(file.parent.iterdir()) == [file]


def test_a_backup_that_fails_leaves_no_file(nowhere: Shell, file: Path) -> None:
    assert "cannot be used" in nowhere.refused("backup", file, "--without-key")
    assert list(file.parent.iterdir()) == []


def test_a_full_disk_is_said_to_be_full(shell: Shell, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is not taken for a lost connection."""

    class Full:
        def write(self, _data: bytes) -> None:
            raise OSError(28, "No space left on device")

    original = taking.archive.PartWriter.__init__

    def full(self: taking.archive.PartWriter, _file: object, path: Path) -> None:
        original(self, Full(), path)  # type: ignore[arg-type]

    monkeypatch.setattr(taking.archive.PartWriter, "__init__", full)
    said = shell.refused("backup", file, "--without-key")
    assert "No space left on device" in said
    assert "PostgreSQL" not in said
    assert list(file.parent.iterdir()) == []


def test_what_has_no_database_is_not_backed_up_and_none_is_begun(nowhere: Shell, file: Path) -> None:
    embedded = replace(nowhere, dsn="")
    assert "no embedded database" in embedded.refused("backup", file, "--without-key")
    assert not nowhere.data.exists()


def test_whoever_sits_at_a_terminal_sees_how_far_it_is(
    shell: Shell, elsewhere: Shell, file: Path, passphrase: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown(*command: object) -> str:
        screen = Console(file=StringIO(), force_terminal=True, width=100)
        monkeypatch.setattr(taking, "ERR", screen)
        shell_ = shell if command[0] == "backup" else elsewhere
        shell_.ok(*command, file, "--passphrase-file", passphrase)
        return screen.file.getvalue()  # type: ignore[attr-defined]

    assert re.search(r"Backing up.* kB", shown("backup"))
    restored = shown("restore")
    assert re.search(r"Checking.* kB", restored)
    assert re.search(r"Restoring.* kB", restored)


# The private key


def test_the_private_key_is_in_the_file_only_encrypted(shell: Shell, taken: Path, private_pem: bytes) -> None:
    with zipfile.ZipFile(taken) as zip_:
        parts = {name: zip_.read(name) for name in zip_.namelist()}
    key = parts["keys/default.pem"]
    assert key.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    for line in private_pem.splitlines()[1:-1]:
        assert line not in b"".join(parts.values())
    read = signing_keys.read_exported(taken, key, SECRET.encode())
    assert public_der(read.public_key()) == shell.rows("select public_key from accounts")[0]["public_key"]


def test_without_a_passphrase_the_key_is_left_out_and_what_follows_is_said(
    shell: Shell, elsewhere: Shell, file: Path
) -> None:
    done = shell.run("backup", file)
    assert done.exit_code == 0
    assert "NOT in this backup" in done.stderr
    assert "no restored server can start without it" in done.stderr
    with zipfile.ZipFile(file) as zip_:
        assert [name for name in zip_.namelist() if "pem" in name] == []
    said = elsewhere.refused("restore", file)
    assert str(key_file(elsewhere.data / "keys")) in said
    assert elsewhere.rows("select count(*) from pg_class where relname = 'accounts'") == [{"count": 0}]
    os.makedirs(elsewhere.data / "keys")  # noqa: PTH103
    key_file(elsewhere.data / "keys").write_bytes(key_file(shell.data / "keys").read_bytes())  # as it says
    elsewhere.ok("restore", file)
    assert elsewhere.json("account", "show") == shell.json("account", "show")


def test_the_data_alone_are_restored_on_demand(shell: Shell, elsewhere: Shell, taken: Path) -> None:
    done = elsewhere.run("restore", taken, "--without-key")
    assert done.exit_code == 0
    assert str(key_file(elsewhere.data / "keys")) in done.stderr
    assert not key_file(elsewhere.data / "keys").exists()
    assert elsewhere.json("product", "list") == shell.json("product", "list")


def test_a_wrong_passphrase_is_refused_before_anything_is_done(elsewhere: Shell, taken: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text(WRONG)
    assert "passphrase is wrong" in elsewhere.refused("restore", taken, "--passphrase-file", wrong)
    assert "--passphrase-file" in elsewhere.refused("restore", taken)
    assert not elsewhere.data.exists()
    assert elsewhere.rows("select count(*) from pg_class where relname = 'accounts'") == [{"count": 0}]


def test_the_key_of_another_account_is_not_used_nor_replaced(elsewhere: Shell, taken: Path, passphrase: Path) -> None:
    path = key_file(elsewhere.data / "keys")
    elsewhere.data.mkdir()
    signing_keys.create(path, None)
    other = path.read_bytes()
    assert "differs" in elsewhere.refused("restore", taken, "--passphrase-file", passphrase)
    assert path.read_bytes() == other


def test_a_key_that_is_kept_encrypted_is_kept_so(shell: Shell, elsewhere: Shell, file: Path, passphrase: Path) -> None:
    """With KEYTURN_SIGNING_PASSPHRASE_FILE nothing has to be said: that passphrase is used."""
    kept = {"KEYTURN_SIGNING_PASSPHRASE_FILE": str(passphrase)}
    path = key_file(shell.data / "keys")
    key = signing_keys.load(path, None, shell.rows("select public_key from accounts")[0]["public_key"])
    path.unlink()
    signing_keys.store(path, key, SECRET.encode())
    assert shell.run("backup", file, **kept).exit_code == 0
    done = elsewhere.run("restore", file, **kept)
    assert done.exit_code == 0, done.output
    assert key_file(elsewhere.data / "keys").read_bytes().startswith(b"-----BEGIN ENCRYPTED")


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ([SECRET, SECRET], "encrypted"),
        ([""], "NOT in this backup"),
        ([SECRET, WRONG], "two passphrases"),
        (["short"], "12 characters"),
    ],
)
def test_a_person_is_asked_for_the_passphrase(
    shell: Shell, file: Path, monkeypatch: pytest.MonkeyPatch, answers: list[str], outcome: str
) -> None:
    asked = iter(answers)
    monkeypatch.setattr(taking, "ask", lambda _what: next(asked).encode())
    assert outcome in shell.run("backup", file).stderr
    assert next(asked, None) is None


def test_a_person_is_asked_for_the_passphrase_of_a_backup(
    elsewhere: Shell, taken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "ask", lambda _what: SECRET.encode())
    elsewhere.ok("restore", taken)


# What is refused


def damages() -> dict[str, Callable[[Path], object]]:
    """What can happen to a file."""

    def flip(path: Path, at: float) -> None:
        data = bytearray(path.read_bytes())
        data[int(len(data) * at)] ^= 0x10
        path.write_bytes(data)

    def told(change: Callable[[dict[str, object]], object]) -> Callable[[Path], object]:
        def of_parts(parts: dict[str, bytes]) -> None:
            manifest = json.loads(parts["manifest.json"])
            change(manifest)
            parts["manifest.json"] = json.dumps(manifest).encode()

        return lambda path: rewrite(path, of_parts)

    def part(name: str, data: bytes) -> Callable[[Path], object]:
        return lambda path: rewrite(path, lambda parts: parts.update({name: data}))

    return {
        "empty": lambda path: path.write_bytes(b""),
        "no zip": lambda path: path.write_bytes(b"PK" * 1000),
        "half": lambda path: os.truncate(path, path.stat().st_size // 2),
        "without its last byte": lambda path: os.truncate(path, path.stat().st_size - 1),
        "a bit at a tenth": lambda path: flip(path, 0.1),
        "a bit in the middle": lambda path: flip(path, 0.5),
        "other rows": part("tables/products", b"3001\t1\tOther\n"),
        "another key": part("keys/default.pem", b""),
        "a table too many": part("tables/pg_authid", b""),
        "a table too few": lambda path: rewrite(path, lambda parts: parts.pop("tables/products")),
        "no manifest": lambda path: rewrite(path, lambda parts: parts.pop("manifest.json")),
        "a manifest of nothing": part("manifest.json", b"{}"),
        "a manifest of something else": part("manifest.json", b"[1, 2"),
        "a part not told of": told(lambda manifest: manifest["parts"].pop("tables/machines")),  # type: ignore[attr-defined]
        "another program's": told(lambda manifest: manifest["contents"].update(more=1)),  # type: ignore[attr-defined]
    }


def test_a_damaged_file_is_refused_before_anything_is_done(
    nowhere: Shell, taken: Path, passphrase: Path, tmp_path: Path
) -> None:
    there = replace(nowhere, data=tmp_path / "new")
    for damage, do in damages().items():
        path = taken.with_name(f"{damage}.zip")
        path.write_bytes(taken.read_bytes())
        do(path)
        said = there.refused("restore", path, "--passphrase-file", passphrase)
        assert f"{path} is no backup of Keyturn, or damaged" in said, damage
    assert not there.data.exists()
    assert "cannot be used" in there.refused("restore", taken, "--passphrase-file", passphrase)  # the database, at last


def test_a_backup_of_a_later_form_or_of_a_newer_keyturn_is_refused(nowhere: Shell, taken: Path) -> None:
    def change(path: str, value: object) -> Callable[[dict[str, bytes]], None]:
        def of_parts(parts: dict[str, bytes]) -> None:
            manifest = json.loads(parts["manifest.json"])
            (manifest if path == "format" else manifest["contents"])[path] = value
            parts["manifest.json"] = json.dumps(manifest).encode()

        return of_parts

    rewrite(taken, change("schema", 10_000))
    assert "newer Keyturn" in nowhere.refused("restore", taken)
    rewrite(taken, change("format", "keyturn backup 2"))
    assert "form that this program does not know" in nowhere.refused("restore", taken)


def test_a_database_with_something_in_it_takes_no_backup_in(
    shell: Shell, elsewhere: Shell, taken: Path, passphrase: Path
) -> None:
    before = shell.rows("select id from installation")
    assert "tables already" in shell.refused("restore", taken, "--passphrase-file", passphrase)
    assert shell.rows("select id from installation") == before
    elsewhere.ok("restore", taken, "--passphrase-file", passphrase)
    assert "tables already" in elsewhere.refused("restore", taken, "--passphrase-file", passphrase)


# What is said


def test_the_gap_is_told_with_its_range_and_what_is_to_be_done_again(
    shell: Shell, elsewhere: Shell, taken: Path, passphrase: Path
) -> None:
    shell.ok("token", "add", "lost", "--allow-all-client")
    done = elsewhere.run("restore", taken, "--passphrase-file", passphrase)
    (last,) = shell.rows("select max(id) as id, max(time) as time from log")
    (known,) = elsewhere.rows("select last_value + 1 as next from log_id")
    assert f"ids after {last['id'] or 0} and before {known['next']}" in done.stdout
    installation = elsewhere.rows("select id::text from installation")[0]["id"].replace("-", "")[:12]
    assert f"{installation} (new)" in done.stdout
    for word in ("blocked", "revoked", "removed", "deactivated", "forgotten"):
        assert word in done.stderr


def test_a_database_restored_by_other_means_is_made_ready(shell: Shell) -> None:
    (before,) = shell.rows("select id from installation")
    shell.ok("product", "add", "Editor")
    assert "(new)" in shell.ok("restored")
    assert shell.rows("select id from installation") != [before]
    assert int(shell.ok("product", "add", "Viewer")) > 1_000_000
