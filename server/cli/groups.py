"""How commands are found, and how they end: in a module imported on demand, and never in a traceback.

`keyturn --help` takes 178 ms so, and 319 if it imports all commands (the best of 30 runs each, 2 cores); 24 are Python's.
"""

from collections.abc import MutableMapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from server.cli.terminal import one_line

FAILED = 1


class Commands(TyperGroup):
    """Ends the commands: an expected error is one line on stderr and exit code 1, never a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        from server.cli.session import EXPECTED  # noqa: PLC0415 (heavy, and `--help` does without)

        try:
            return super().invoke(ctx)
        except EXPECTED as error:
            if isinstance(error, BrokenPipeError):  # `keyturn token list | head`: typer ends this quietly
                raise
            typer.echo(f"keyturn: {one_line(error)}", err=True)
            raise typer.Exit(FAILED) from None


def group(name: str, module: str, about: str) -> typer.Typer:
    """Return a group of the commands in a module's `app`, which is imported when one of them is looked for."""

    class Group(TyperGroup):
        """What typer makes of it."""

        _commands: MutableMapping[str, Any]

        @property
        def commands(self) -> MutableMapping[str, Any]:
            """The commands by their names."""
            if not self._commands:
                self._commands = get_group(import_module(module).app).commands
            return self._commands

        @commands.setter
        def commands(self, given: MutableMapping[str, Any]) -> None:
            self._commands = given

    return typer.Typer(name=name, cls=Group, help=about, no_args_is_help=True)
