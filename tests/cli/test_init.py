"""`keyturn init`: a first start on servers of one's own, whole or in pieces, once or again."""

import asyncio
import json
import os
import pty
import re
import secrets
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis
from backups import empty_database
from shell import Shell

from server.account import client_permissions
from server.cli import init
from server.methods import PERMISSIONS
from storage.embedded.postgres import Postgres
from storage.errors import Unavailable
from storage.postgres.admin import Admin

KEYTURN = Path(sys.executable).with_name("keyturn")
README = (Path(__file__).parent.parent.parent / "README.md").read_text()
READING = {
    "GetCustomerLicenses", "GetCustomerLicensesBySecret", "GetCustomers", "GetEvents", "GetKey", "GetMessages",
    "GetWebAPILog", "ListDataObjects",
}  # fmt: skip
TABLES = ("accounts", "products", "tokens", "schema_history")


@pytest.fixture
async def empty(postgres: Postgres) -> AsyncIterator[str]:
    """A database in which nothing was ever made."""
    async with empty_database(postgres) as dsn:
        yield dsn


@pytest.fixture
def bare(empty: str, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """The command line on that database, and on a Valkey."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    return Shell(tmp_path / "data", empty)


def tokens(shell: Shell) -> list[tuple[Any, ...]]:
    """The tokens that there are: name, lock, permissions."""
    rows = shell.rows("select name, product_lock, permissions from tokens where revoked is null order by id")
    return [(row["name"], row["product_lock"], set(row["permissions"])) for row in rows]


def counts(shell: Shell) -> list[int]:
    """How many rows there are of what must not be made twice."""
    return [shell.rows(f"select count(*) as n from {table}")[0]["n"] for table in TABLES]


def made(shell: Shell) -> bool:
    """Whether anything was made."""
    return bool(shell.rows("select to_regclass('schema_history') as found")[0]["found"]) or shell.data.exists()


def usual(product: int) -> list[tuple[Any, ...]]:
    return [("client", product, {*client_permissions()}), ("back office", 0, {*PERMISSIONS}), ("read-only", 0, READING)]


def test_a_first_run_makes_all_that_a_server_needs_and_tells_it_once(bare: Shell) -> None:
    said = bare.json("init", "--product", "Editor")
    assert [token["name"] for token in said["tokens"]] == ["client", "back office", "read-only"]
    texts = [token["token"] for token in said["tokens"]]
    assert len({*texts}) == 3
    assert said["account"]["made"]
    assert said["product"] == {"id": 3001, "name": "Editor", "made": True}
    assert said["env_file"] is None
    assert tokens(bare) == usual(3001)
    key_file = Path(said["account"]["key_file"])
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert said["account"]["public_key_xml"] in bare.ok("account", "show")
    listed = bare.json("token", "list")
    assert not [text for text in texts if text in json.dumps(listed)]


def test_a_second_run_finds_everything_makes_nothing_and_shows_no_token(bare: Shell) -> None:
    first = bare.json("init", "--product", "Editor")
    key, before = Path(first["account"]["key_file"]).read_bytes(), counts(bare)
    for options in (("--product", "Editor"), ()):
        second = bare.json("init", *options)
        assert counts(bare) == before
        assert Path(first["account"]["key_file"]).read_bytes() == key
        assert not second["account"]["made"]
        assert not second["product"]["made"]
        assert [(token["id"], token["made"], token["token"]) for token in second["tokens"]] == [
            (token["id"], False, None) for token in first["tokens"]
        ]
        assert second["migrations"] == []
    told = bare.run("init").stderr
    assert "keyturn token revoke 1" in told
    assert not [token for token in first["tokens"] if token["token"] in told]


def test_a_token_that_was_revoked_or_has_expired_is_made_anew_and_another_product_gets_its_own_client(bare: Shell) -> None:
    bare.json("init", "--product", "Editor")
    bare.ok("token", "revoke", 2)
    bare.rows("update tokens set expires = 1 where id = 3")
    again = bare.json("init")
    assert [(token["name"], token["made"]) for token in again["tokens"]] == [
        ("client", False), ("back office", True), ("read-only", True),
    ]  # fmt: skip
    other = bare.json("init", "--product", "Viewer")
    assert other["product"] == {"id": 3002, "name": "Viewer", "made": True}
    assert [(token["name"], token["made"]) for token in other["tokens"]] == [
        ("client", True), ("back office", False), ("read-only", False),
    ]  # fmt: skip
    assert tokens(bare)[-1] == usual(3002)[0]


# ---- interrupted


def failing(nth: int, real: Callable[..., Any]) -> Callable[..., Any]:
    """What fails when it is called the nth time."""
    calls = 0

    async def call(*values: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise Unavailable("gone")
        return await real(*values, **named)

    return call


@pytest.mark.parametrize(
    ("step", "nth"),
    [("migrate", 1), ("ensure", 1), ("_product", 1), ("make_token", 1), ("make_token", 2), ("make_token", 3)],
)
def test_an_interrupted_run_has_told_what_it_made_and_is_finished_by_the_same_command(
    bare: Shell, monkeypatch: pytest.MonkeyPatch, step: str, nth: int
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(init, step, failing(nth, getattr(init, step)))
        done = bare.run("init", "--product", "Editor", "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)["tokens"] if done.stdout else []
    assert len(told) == (nth - 1 if step == "make_token" else 0)
    rest = bare.json("init", "--product", "Editor")["tokens"]
    assert sum(token["made"] for token in [*told, *rest]) == 3
    assert tokens(bare) == usual(3001)
    assert counts(bare)[:2] == [1, 1]


def test_a_run_that_was_killed_after_it_made_the_key_file_goes_on_with_that_key(
    bare: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(Admin, "add_account", failing(1, Admin.add_account))
        assert bare.run("init", "--product", "Editor").exit_code == 1
    key_file = bare.data / "keys" / "default.pem"
    key = key_file.read_bytes()
    assert bare.json("init", "--product", "Editor")["account"]["made"]
    assert key_file.read_bytes() == key


# ---- refused before anything is done


@pytest.mark.parametrize("variable", ["DATABASE_URL", "REDIS_URL"])
def test_an_engine_that_is_not_named_or_not_there_is_told_and_nothing_is_made(bare: Shell, variable: str) -> None:
    scheme = {"DATABASE_URL": "postgresql", "REDIS_URL": "redis"}[variable]
    option = f"--{variable.lower().replace('_', '-')}"
    assert f"{variable} is not set" in bare.refused("init", "--product", "Editor", **{variable: ""})
    gone = bare.refused("init", "--product", "Editor", **{variable: f"{scheme}://me:s3cret@127.0.0.1:1/0"})
    assert "cannot be used" in gone
    assert "s3cret" not in gone
    by_option = bare.refused("init", "--product", "Editor", option, f"{scheme}://me:s3cret@127.0.0.1:1/0")
    assert "cannot be used" in by_option
    wrong = bare.refused("init", "--product", "Editor", option, "mysql://me:s3cret@h/d")
    assert f"{variable} is no address" in wrong
    assert "s3cret" not in wrong
    assert not made(bare)


def test_a_database_of_somebody_else_is_refused_by_the_names_of_its_tables(bare: Shell) -> None:
    bare.rows("create table orders (id int)")
    bare.rows("create table people (id int)")
    assert "(orders, people)" in bare.refused("init", "--product", "Editor")
    assert not made(bare)


@pytest.mark.parametrize(
    ("kind", "said"),
    [("owner postgres", "may not make tables"), ("owner keyturn encoding 'LATIN1' locale 'C'", "encoded in LATIN1")],
)
def test_a_database_that_cannot_take_our_tables_is_refused(bare: Shell, postgres: Postgres, kind: str, said: str) -> None:
    async def run(statement: str) -> None:
        admin = await asyncpg.connect(postgres.admin_dsn)
        await admin.execute(statement)
        await admin.close()

    name = f"unfit_{secrets.token_hex(6)}"
    asyncio.run(run(f"create database {name} template template0 {kind}"))
    try:
        unfit = postgres.dsn.replace("/keyturn?", f"/{name}?")
        assert said in bare.refused("init", "--product", "Editor", DATABASE_URL=unfit)
        assert not bare.data.exists()
    finally:
        asyncio.run(run(f"drop database {name} with (force)"))


def test_a_valkey_that_takes_no_scripts_is_refused(bare: Shell, redis_url: str) -> None:
    with redis.from_url(redis_url) as client:
        client.execute_command("ACL", "SETUSER", "reader", "on", ">s3cret", "~*", "+@all", "-@scripting")
        try:
            scheme, _, rest = redis_url.partition("://")
            by_reader = f"{scheme}://reader:s3cret@{rest.rpartition('@')[2]}"
            assert "NoPermission" in bare.refused("init", "--product", "Editor", REDIS_URL=by_reader)
        finally:
            client.execute_command("ACL", "DELUSER", "reader")
    assert not made(bare)


def test_nobody_is_asked_who_is_not_there_and_a_product_without_a_name_is_told_first(bare: Shell) -> None:
    assert "--product" in bare.refused("init")
    assert "--product" in bare.refused("init", "--yes")
    assert "1 to 250" in bare.misused("init", "--product", " ")
    assert not made(bare)


# ---- the key, and the file of settings


def test_the_key_is_encrypted_by_a_passphrase_and_a_missing_one_is_told_first(bare: Shell, tmp_path: Path) -> None:
    secret = tmp_path / "passphrase"
    assert "cannot be read" in bare.refused("init", "--product", "Editor", "--passphrase-file", secret)
    assert not made(bare)
    secret.write_text("correct horse\n")
    said = bare.json("init", "--product", "Editor", "--passphrase-file", secret)
    assert b"ENCRYPTED" in Path(said["account"]["key_file"]).read_bytes()


def test_a_key_that_clients_trust_already_is_taken_over(bare: Shell, private_pem: bytes, tmp_path: Path) -> None:
    foreign = tmp_path / "old.pem"
    foreign.write_bytes(private_pem)
    said = bare.json("init", "--product", "Editor", "--private-key", foreign)
    assert Path(said["account"]["key_file"]).read_bytes() == private_pem


def test_a_lost_key_is_told_and_never_made_anew(bare: Shell) -> None:
    key_file = Path(bare.json("init", "--product", "Editor")["account"]["key_file"])
    key_file.unlink()
    done = bare.run("init")
    assert done.exit_code == 1
    assert "default.pem is missing" in done.stderr.splitlines()[-1]
    assert not key_file.exists()


def test_the_settings_are_written_for_a_shell_and_for_their_owner_alone_and_never_over_others(
    bare: Shell, redis_url: str, tmp_path: Path
) -> None:
    written = tmp_path / "keyturn.env"
    taken = tmp_path / "taken.env"
    taken.write_text("mine")
    assert "not overwritten" in bare.refused("init", "--product", "Editor", "--write-env", taken)
    assert "no folder" in bare.refused("init", "--product", "Editor", "--write-env", tmp_path / "no" / "file")
    assert not made(bare)
    for _ in range(2):
        assert bare.json("init", "--product", "Editor", "--write-env", written)["env_file"] == str(written)
    assert written.stat().st_mode & 0o777 == 0o600
    shown = subprocess.run(
        ["sh", "-c", f". {shlex.quote(str(written))}; printf '%s\n' \"$DATABASE_URL\" \"$REDIS_URL\" \"$DATA\""],
        capture_output=True, text=True, check=True, env={},
    )  # fmt: skip
    assert shown.stdout.splitlines() == [bare.dsn, redis_url, str(bare.data)]
    assert taken.read_text() == "mine"


# ---- a person at a terminal


def typed(command: Sequence[object], environment: dict[str, str], *answers: tuple[str, str]) -> str:
    """Run a command in a terminal, and answer what it asks; what stands on the screen in the end."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        list(map(str, command)), stdin=its, stdout=its, stderr=its, env={**os.environ, **environment}, close_fds=True
    )
    os.close(its)
    screen, waiting = "", list(answers)
    while True:
        try:
            screen += os.read(ours, 65_536).decode()
        except OSError:  # it has ended
            break
        if waiting and waiting[0][0] in screen:
            os.write(ours, f"{waiting.pop(0)[1]}\n".encode())
    os.close(ours)
    assert process.wait(10) == 0, screen
    return screen


def test_a_person_is_asked_for_what_is_missing_and_not_a_second_time(bare: Shell, redis_url: str) -> None:
    environment = {"DATA": str(bare.data), "REDIS_URL": "", "DATABASE_URL": bare.dsn, "COLUMNS": "400"}
    asked = [("REDIS_URL", redis_url), ("passphrase (none", ""), ("your product is called", "Editor")]
    screen = typed([KEYTURN, "init"], environment, *asked)
    assert "Made product 3001, Editor." in screen
    assert tokens(bare) == usual(3001)
    again = typed([KEYTURN, "init"], {**environment, "REDIS_URL": redis_url})
    assert "There is product 3001" in again


# ---- the README


def going_live() -> list[str]:
    """The transcript of the README's section, without its margin."""
    section = README.partition("\n## Going live\n")[2].partition("\n## ")[0]
    return [line[4:] for line in section.splitlines() if line.startswith("    ")]


def shape(text: str) -> list[str]:
    """A transcript without what differs from run to run: versions, ids, paths, the texts of tokens."""
    text = re.sub(r"\S*/keys/default\.pem", "KEY_FILE", text)
    text = re.sub(r"\b(PostgreSQL|Valkey|Redis) [\d.]+", r"\1 VERSION", text)
    text = re.sub(r"\b(product|token) \d+", r"\1 ID", text)
    text = re.sub(r"^Wy\S+$", "TOKEN", text, flags=re.MULTILINE)
    return re.sub(r"Applied \d+", "Applied N", text).splitlines()


def test_going_live_in_the_readme_is_what_the_commands_say(
    bare: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    steps = [part.splitlines() for part in re.split(r"^\$ keyturn ", "\n".join(going_live()), flags=re.MULTILINE)[1:]]
    (first, *transcript), *others = steps
    done = bare.run(*shlex.split(first))
    assert done.exit_code == 0
    assert shape(done.output) == shape("\n".join(transcript))
    assert [command for command, in others][-1] == "serve"
    for (command,) in others[:-1]:
        bare.ok(*shlex.split(command))
