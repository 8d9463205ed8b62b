"""Where a command finds PostgreSQL: without a server it starts the embedded one, beside a server it uses that one."""

import asyncio
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from servers import Live
from shell import Shell

from server import engine
from server.config import Config
from server.wire.parse import token_parts
from storage.embedded.home import EngineFailed, prepare
from storage.embedded.process import leftovers

KEYTURN = Path(sys.executable).with_name("keyturn")


def keyturn(data: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the console script as an operator does, on embedded engines."""
    environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    return subprocess.run(
        [KEYTURN, "--data", str(data), *arguments], capture_output=True, text=True, check=False, env=environment
    )


def test_commands_work_without_a_server_again_and_again(folder: Path) -> None:
    data = folder / "data"
    added = keyturn(data, "product", "add", "Editor")
    assert (added.returncode, added.stdout) == (0, "3001\n"), added.stderr
    assert added.stderr == "Added product 3001, Editor.\n"
    assert stat.S_IMODE((data / "keys" / "default.pem").stat().st_mode) == 0o600
    token = keyturn(data, "token", "add", "app", "--allow-all-client", "--product-lock", "3001")
    assert token.returncode == 0
    listed = keyturn(data, "product", "list", "--json")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert [each["name"] for each in json.loads(listed.stdout)] == ["Editor"]
    assert json.loads(keyturn(data, "account", "show", "--json").stdout)["tokens"] == 1
    assert "up to date" in keyturn(data, "migrate").stdout
    assert not engine.engines_file(data).exists()
    assert leftovers("postgres", prepare(data).mark) == []


def test_two_commands_at_once_take_turns(folder: Path) -> None:
    data = folder / "data"
    environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    both = [
        subprocess.Popen([KEYTURN, "--data", str(data), "product", "add", name], stdout=subprocess.PIPE, env=environment)
        for name in ("One", "Two")
    ]
    said = sorted(process.communicate()[0] for process in both)
    assert said == [b"3001\n", b"3002\n"]
    assert [process.returncode for process in both] == [0, 0]


def test_a_command_beside_a_server_uses_its_engine(shell: Shell) -> None:
    with engine.own(shell.data):
        engine.write_engines(shell.data, shell.dsn, "unix://redis")
        assert stat.S_IMODE(engine.engines_file(shell.data).stat().st_mode) == 0o600
        assert shell.run("product", "add", "Editor", DATABASE_URL="").exit_code == 0
    assert [each["name"] for each in shell.json("product", "list")] == ["Editor"]


def test_what_is_done_beside_a_server_holds_for_its_next_call(live: Live) -> None:
    added = keyturn(live.data, "token", "add", "app", "--allow", "GetKey")
    assert added.returncode == 0, added.stderr
    key = keyturn(live.data, "key", "add", str(live.demo["product_id"]), "--max-machines", "2").stdout.strip()
    token = added.stdout.strip()
    for _ in range(4):  # let both workers know it
        assert live.call("key/GetKey", token=token, Key=key)["result"] == 0
    token_id = str(token_parts(token)[0])  # type: ignore[index]  # it is one
    assert keyturn(live.data, "token", "revoke", token_id).returncode == 0
    for _ in range(4):
        assert live.call("key/GetKey", token=token, Key=key)["message"] == "Unable to authenticate."


async def test_a_command_waits_for_one_that_starts_or_ends(tmp_path: Path) -> None:
    held = engine.own(tmp_path)
    heard: list[str] = []

    def tell(text: str) -> None:
        heard.append(text)
        held.release()

    async with asyncio.timeout(10):
        found = await engine._owner(tmp_path, tell)
    assert not isinstance(found, str)
    found.release()
    assert heard


def test_a_command_gives_up_waiting_and_says_for_whom(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PATIENCE", 0)
    with engine.own(shell.data):
        said = shell.refused("product", "list", DATABASE_URL="")
    assert f"process {os.getpid()}" in said


def test_what_a_killed_server_left_is_forgotten(tmp_path: Path) -> None:
    tmp_path.joinpath("engines.json").write_text('{"postgres_dsn": "postgresql://gone"}')
    with engine.own(tmp_path):
        assert not engine.engines_file(tmp_path).exists()
        engine.write_engines(tmp_path, "postgresql://now", "unix://now")
        assert engine._engines_dsn(tmp_path) == "postgresql://now"
        engine.forget_engines(tmp_path)
        engine.forget_engines(tmp_path)
        assert engine._engines_dsn(tmp_path) is None


async def test_no_first_database_is_begun_beside_the_key_of_another(tmp_path: Path) -> None:
    """A command without the server's DATABASE_URL must not write to a new database where nobody looks."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "default.pem").touch()
    with pytest.raises(EngineFailed, match="DATABASE_URL"):
        async with engine.engine(Config(data=tmp_path)):
            pass
    assert not (tmp_path / "postgres").exists()
    engine.own(tmp_path).release()
