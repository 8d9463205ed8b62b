"""The command line, `keyturn`: its groups of commands, its global options, and its start. Commands are in the modules.

A command works beside a running server, and on embedded engines without one (see `engine`). What a script may want is
alone on stdout; everything said to a person is on stderr, but for tables.
"""

import sys

import typer

from server import logs
from server.cli import serve
from server.cli.groups import Commands, group
from server.cli.terminal import example

app = typer.Typer(
    cls=Commands,
    help="Keyturn, a self-hosted license-activation server.",
    epilog=example("serve --demo"),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they would show tokens and addresses
)
app.add_typer(serve.app)  # without a name: its commands stand among the groups
app.add_typer(group("account", "server.cli.accounts", "The vendor's account and its signing key."))
app.add_typer(group("product", "server.cli.products", "Products: containers of licenses."))
app.add_typer(group("token", "server.cli.tokens", "Access tokens of client software and of your own."))
app.add_typer(group("key", "server.cli.keys", "License keys."))
app.add_typer(group("seats", "server.cli.seats", "Floating seats: who holds them."))


@app.callback()
def options(ctx: typer.Context, data: serve.Folder = None) -> None:
    """Keyturn, a self-hosted license-activation server. Settings come from the environment: DATABASE_URL and others."""
    ctx.obj = {"data": data}


def main() -> None:
    """Run the console script."""
    logs.configure("warning")
    if any(_is_no_text(argument) for argument in sys.argv):
        sys.exit("keyturn: The arguments are not all UTF-8. Set the terminal to UTF-8.")
    app(prog_name="keyturn")


def _is_no_text(argument: str) -> bool:
    """Whether the argument has bytes that are no UTF-8: Python keeps them as half characters, and no database takes them."""
    return any("\ud800" <= char <= "\udfff" for char in argument)
