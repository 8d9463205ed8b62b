"""The commands without a group, as they are called: `keyturn serve`, `keyturn migrate` and `keyturn usage`.

`keyturn --help` imports this module, so what the commands need is imported when one of them runs (figure: groups.py).
"""
# ruff: noqa: PLC0415

import asyncio
import datetime
from pathlib import Path
from typing import Annotated

import typer

from server.cli.terminal import example
from server.config import RANGES

MOST_PRODUCTS = 2**31 - 1  # the highest id that the wire has

Folder = Annotated[Path | None, typer.Option("--data", help="The folder of everything kept here; else DATA, else var.")]

app = typer.Typer()


@app.command(epilog=example("serve --demo --port 8080"))
def serve(
    ctx: typer.Context,
    *,
    demo: Annotated[bool, typer.Option("--demo", help="Make demo data, and say how to try them.")] = False,
    port: Annotated[
        int | None, typer.Option(min=RANGES["port"][0], max=RANGES["port"][1], help="The API's port; else PORT, else 8080.")
    ] = None,
    data: Folder = None,
    workers: Annotated[
        int | None, typer.Option(min=RANGES["workers"][0], max=RANGES["workers"][1], help="Processes; 0: one per core.")
    ] = None,
) -> None:
    """Run the server until SIGTERM or Ctrl-C.

    Without DATABASE_URL and REDIS_URL it starts PostgreSQL and Valkey as children of its own.
    """
    from server import supervisor
    from server.cli.session import explained, settings

    config = settings(ctx, port=port, data=data, workers=workers)
    with explained(config):
        code = asyncio.run(supervisor.serve(config, demo=demo))
    raise typer.Exit(code)


@app.command(epilog=example("migrate --private-key old-key.pem"))
def migrate(
    ctx: typer.Context,
    *,
    private_key: Annotated[
        Path | None,
        typer.Option(help="An RSA key (PEM, or .NET's XML) that shipped clients trust already, for a new account."),
    ] = None,
) -> None:
    """Bring the database's schema up to this program, and make the account if there is none."""
    from server.cli import migration

    migration.migrate(ctx, private_key)


@app.command(epilog=example("usage --month 2026-05 --product 3001"))
def usage(
    ctx: typer.Context,
    *,
    product: Annotated[int | None, typer.Option(min=1, max=MOST_PRODUCTS, help="Of this product only, by its id.")] = None,
    month: Annotated[
        datetime.datetime | None, typer.Option(formats=["%Y-%m"], metavar="YYYY-MM", help="Of this month only, in UTC.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what was recorded with RecordUsage, added up by key and month (UTC), the newest month first."""
    from server.cli import billing

    billing.show(ctx, product, month, json=json)
