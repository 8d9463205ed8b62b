"""`keyturn config`: every setting with its value, default and source, and no password in any form of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from shell import Shell

from server.cli.configured import masked
from server.config import VARIABLES

SECRET = "s3cr3t"


@pytest.fixture
def unset(nowhere: Shell) -> Shell:
    """No setting but DATA."""
    return Shell(nowhere.data, "")


def shown(shell: Shell, *arguments: object, **environment: str) -> dict[str, Any]:
    done = shell.run("config", *arguments, "--json", **environment)
    assert done.exit_code == 0, done.output
    return {each["name"]: each for each in json.loads(done.stdout)["settings"]}


def test_every_setting_is_shown_with_its_default_and_source(unset: Shell) -> None:
    settings = shown(unset, PORT="9090", KEYTURN_UNLIMITED="none", KEYTURN_LOG_ADDRESSES="0")
    assert list(settings) == list(VARIABLES)
    assert settings["PORT"] == {"name": "PORT", "value": 9090, "default": 8080, "source": "environment"}
    assert settings["KEYTURN_LOG_ADDRESSES"]["value"] is False
    assert (settings["KEYTURN_UNLIMITED"]["value"], settings["KEYTURN_UNLIMITED"]["default"]) == (
        [], ["127.0.0.0/8", "::1/128"],
    )  # fmt: skip
    assert settings["KEYTURN_SIGNING_PASSPHRASE_FILE"]["value"] is None
    sources = {name: each["source"] for name, each in settings.items()}
    given = {"DATA", "PORT", "KEYTURN_UNLIMITED", "KEYTURN_LOG_ADDRESSES"}
    assert {name for name, source in sources.items() if source == "environment"} == given
    assert {name for name, source in sources.items() if source == "default"} == VARIABLES.keys() - given


def test_what_the_command_line_says_comes_before_the_environment(unset: Shell, tmp_path: Path) -> None:
    for arguments in (("--data", tmp_path), ()):
        done = unset.run(*arguments, "config", *(() if arguments else ("--data", tmp_path)), "--json")
        (data,) = [each for each in json.loads(done.stdout)["settings"] if each["name"] == "DATA"]
        assert data == {"name": "DATA", "value": str(tmp_path), "default": "var", "source": "command line"}


def test_a_person_reads_the_same_in_a_table(unset: Shell) -> None:
    rows = [line.split("│") for line in unset.ok("config").splitlines() if "│" in line]
    cells = {row[1].strip(): tuple(cell.strip() for cell in row[2:5]) for row in rows}
    assert cells.keys() == VARIABLES.keys()
    assert cells["PORT"] == ("8080", "default", "8080")
    assert cells["KEYTURN_LOG_ADDRESSES"] == ("1", "default", "1")
    assert cells["KEYTURN_UNLIMITED"][0] == "127.0.0.0/8,::1/128"


ADDRESSES = [
    ("DATABASE_URL", f"postgresql://me:{SECRET}@db.example.org:5432/keyturn", "postgresql://me:***@db.example.org:5432/keyturn"),
    ("DATABASE_URL", f"postgresql:///d?host=/run/pg&password={SECRET}", "postgresql:///d?host=/run/pg&password=***"),
    ("DATABASE_URL", f"postgresql://me@h/d?sslpassword={SECRET}&sslmode=require", "postgresql://me@h/d?sslpassword=***&sslmode=require"),
    ("DATABASE_URL", f"postgresql://h/d?host=h;password={SECRET}", "postgresql://h/d?host=***"),
    ("DATABASE_URL", f"postgresql://me:{SECRET}@h/d#{SECRET}", "postgresql://me:***@h/d#***"),
    ("REDIS_URL", f"redis://:{SECRET}@h:6379/1", "redis://:***@h:6379/1"),
    ("REDIS_URL", f"redis://me:a@{SECRET}@h:6379/1", "redis://me:***@h:6379/1"),
    ("REDIS_URL", f"unix://:{SECRET}@/run/valkey.sock?db=0", "unix://:***@/run/valkey.sock?db=0"),
    ("REDIS_URL", f"rediss://h?password={SECRET}&ssl_keyfile={SECRET}&db=2", "rediss://h?password=***&ssl_keyfile=***&db=2"),
    (
        "KEYTURN_PORTAL_URL",
        f"https://me:{SECRET}@portal.example.org/a?id={{id}}&auth={{auth}}&key={SECRET}",
        "https://me:***@portal.example.org/a?id={id}&auth={auth}&key=***",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("variable", "address", "expected"), ADDRESSES)
def test_no_password_of_an_address_is_shown(unset: Shell, variable: str, address: str, expected: str) -> None:
    assert masked(address) == expected
    for form in ((), ("--json",)):
        done = unset.run("config", *form, **{variable: address})
        assert done.exit_code == 0, done.output
        assert expected in done.stdout
        assert SECRET not in done.output
