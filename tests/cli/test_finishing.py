"""`keyturn migrate --finish`: what only older programs need is taken away when told, and told of before."""

import pytest
from shell import Shell

from storage.postgres import migrate
from storage.postgres.sql import migrations


def test_what_is_left_to_be_finished_is_told_and_done_when_told(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    number, name, _ = migrations()[-1]
    assert "--finish" not in shell.run("migrate").stderr
    assert shell.ok("migrate", "--finish") == "There is nothing to be finished."
    monkeypatch.setattr(migrate, "finishes", lambda: [(number, name, "create table was_finished ()")])
    told = shell.run("migrate").stderr
    assert "keyturn migrate --finish" in told
    assert name in told
    assert shell.ok("migrate", "--finish") == f"Finished {name}."
    assert shell.ok("migrate", "--finish") == "There is nothing to be finished."
    assert "--finish" not in shell.run("migrate").stderr
    assert shell.rows("select to_regclass('was_finished') is not null as done") == [{"done": True}]
