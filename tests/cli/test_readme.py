"""The README's commands are run as they stand there."""

import shlex
from pathlib import Path

from shell import Shell

README = (Path(__file__).parent.parent.parent / "README.md").read_text()


def test_the_operators_commands_of_the_readme_work_in_their_order(shell: Shell) -> None:
    commands = [line.partition("#")[0] for line in README.splitlines() if line.startswith("    keyturn ")]
    assert len(commands) >= 4
    for command in commands:
        shell.ok(*shlex.split(command)[1:])
    assert shell.rows("select max_machines, period from licenses") == [{"max_machines": 3, "period": 365}]
