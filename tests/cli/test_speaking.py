"""What every command has in common: help with an example, errors in one line, and nothing from outside is obeyed."""

import subprocess
import sys
from pathlib import Path

import pytest
from shell import Shell
from typer.main import get_command

from server import cli
from server.cli import terminal
from storage.embedded.home import EngineFailed
from storage.errors import Broken
from storage.postgres.migrate import SchemaError

KEYTURN = Path(sys.executable).with_name("keyturn")
NASTY = "[red]\x1b[31m"


def paths() -> list[tuple[str, ...]]:
    """Every command by its words."""
    found: list[tuple[str, ...]] = []
    for name, command in get_command(cli.app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found += [(name, each) for each in inner] if inner else [(name,)]
    return found


def test_all_commands_are_there() -> None:
    assert {" ".join(path) for path in paths()} == {
        "serve", "init", "migrate", "account show", "account export-key", "product add", "product list", "product set",
        "token add", "token list", "token revoke", "key add", "key show", "seats list", "seats free", "usage", "backup",
        "restore", "restored", "load-demo", "bench", "doctor", "config",
    }  # fmt: skip


@pytest.mark.parametrize("path", paths(), ids=" ".join)
def test_help_ends_with_an_example_of_this_very_command(nowhere: Shell, path: tuple[str, ...]) -> None:
    last = nowhere.ok(*path, "--help").splitlines()[-1].strip()
    assert last.startswith(f"Example: keyturn {' '.join(path)} ") or last == f"Example: keyturn {' '.join(path)}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("a\nb\tc\x00", r"a\nb\tc\x00"),
        ("\x9b31m", r"\x9b31m"),  # CSI in one character
        ("\u202eevil", r"\u202eevil"),  # right-to-left override
        ("Zoë 漢字 🙂", "Zoë 漢字 🙂"),
    ],
)
def test_control_characters_are_made_visible(text: str, expected: str) -> None:
    assert terminal.visible(text) == expected


def test_what_is_shown_is_neither_code_nor_markup(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.table("T", ("Column",), [(NASTY,), ("[/red] :smile: [link=http://x]y[/link]\\",)])
    out = capsys.readouterr().out
    assert r"[red]\x1b[31m" in out
    assert "[/red] :smile: [link=http://x]y[/link]\\" in out
    assert "\x1b" not in out


def test_names_that_people_chose_are_escaped_everywhere(shell: Shell) -> None:
    added = shell.run("product", "add", NASTY, "--feature", f"1={NASTY}:trial", "--data", f"{NASTY}=[b]:1")
    product = added.stdout.strip()
    shell.ok("token", "add", NASTY, "--allow", "Activate")
    key = shell.ok("key", "add", product, "--notes", NASTY, "--allowed-machine", NASTY)
    outputs = [added.output, *(shell.ok(*words) for words in
               (("product", "list"), ("product", "list", "--json"), ("token", "list"), ("token", "list", "--json"),
                ("key", "show", product, key), ("key", "show", product, key, "--json")))]  # fmt: skip
    assert not [output for output in outputs if "\x1b" in output]
    assert all("[red]" in output for output in outputs)


def test_an_expected_error_is_one_line_that_hides_nothing_of_use() -> None:
    assert terminal.one_line(EngineFailed("It ended.\n  FATAL: \x1b disk\n")) == r"It ended. | FATAL: \x1b disk"
    assert terminal.one_line(SchemaError("Run `keyturn migrate`.")) == "Run `keyturn migrate`."
    assert terminal.one_line(Broken("DataError 22000")) == "The database could not do it: DataError 22000."
    assert terminal.one_line(PermissionError(13, "Permission denied", "/x/lock")) == "/x/lock: Permission denied"


def test_an_unknown_setting_is_refused_by_name(nowhere: Shell) -> None:
    assert "KEYTURN_QEUE" in nowhere.refused("product", "list", KEYTURN_QEUE="1")


def test_a_database_that_is_not_there_is_told_without_its_password(nowhere: Shell) -> None:
    said = nowhere.refused("product", "list", DATABASE_URL="postgresql://me:s3cret@127.0.0.1:1/x")
    assert "DATABASE_URL" in said
    assert "s3cret" not in said


@pytest.mark.parametrize(
    "dsn", ["nonsense", "http://h", "postgresql://u:s3c/r3t@h/d", "postgresql://u:s3c?r3t@h/d", "postgresql://[s3c/d"]
)
def test_an_address_that_is_none_is_told_without_its_password_too(nowhere: Shell, dsn: str) -> None:
    said = nowhere.refused("product", "list", DATABASE_URL=dsn)
    assert "DATABASE_URL is no address" in said
    assert "s3c" not in said


@pytest.mark.parametrize("hosts", ["127.0.0.1:1,127.0.0.1:2", "[::1]:1", "u:p%2Fq@127.0.0.1:1"])
def test_any_address_that_the_driver_reads_is_one(nowhere: Shell, hosts: str) -> None:
    assert "cannot be used" in nowhere.refused("product", "list", DATABASE_URL=f"postgresql://{hosts}/d?sslmode=disable")


def test_help_waits_for_no_driver() -> None:
    looks = "import sys; from server import cli; print({'asyncpg', 'cryptography', 'prometheus_client'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", looks], capture_output=True, check=True).stdout == b"set()\n"


def test_an_argument_that_is_no_text_is_refused() -> None:
    done = subprocess.run([KEYTURN, "product", "add", b"\xff"], capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr == b"keyturn: The arguments are not all UTF-8. Set the terminal to UTF-8.\n"


def test_a_wrong_option_is_a_usage_error() -> None:
    assert subprocess.run([KEYTURN, "token", "--nonsense"], capture_output=True, check=False).returncode == 2
