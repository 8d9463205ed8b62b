"""The commands without a group, as they are called: `keyturn serve`, `keyturn migrate` and others.

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
MOST_DEMO_LICENSES, MOST_DEMO_MACHINES = 100_000_000, 10_000

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
    """Run the server until SIGTERM or Ctrl-C. SIGHUP replaces its workers one by one, for a new version.

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
    finish: Annotated[
        bool, typer.Option("--finish", help="Only take away what older programs needed, once none of them runs.")
    ] = False,
) -> None:
    """Bring the database's schema up to this program, and make the account if there is none.

    The program before this one may run meanwhile, and afterwards until --finish.
    """
    from server.cli import migration

    if finish:
        migration.finish(ctx)
    else:
        migration.migrate(ctx, private_key)


@app.command(epilog=example('init --product "My App" --write-env keyturn.env'))
def init(
    ctx: typer.Context,
    *,
    database_url: Annotated[
        str | None, typer.Option(help="Your PostgreSQL; better by DATABASE_URL: others see the command line.")
    ] = None,
    redis_url: Annotated[str | None, typer.Option(help="Your Valkey; better by REDIS_URL.")] = None,
    product: Annotated[str | None, typer.Option(help="What your product is called; else the first there is.")] = None,
    passphrase_file: Annotated[
        Path | None, typer.Option(help="Has what encrypts the signing key. Else KEYTURN_SIGNING_PASSPHRASE_FILE has.")
    ] = None,
    private_key: Annotated[
        Path | None, typer.Option(help="A signing key that shipped clients trust already, as for `keyturn migrate`.")
    ] = None,
    write_env: Annotated[
        Path | None, typer.Option(help="Write the settings into this new file, for systemd or a shell.", dir_okay=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "--non-interactive", help="Ask nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data: Folder = None,
) -> None:
    """Make all that a server on your own PostgreSQL and Valkey needs: schema, account, signing key, product, tokens.

    What is missing on the command line and in the environment is asked for. Repeated, it finds what is there, makes what
    is missing, and nothing twice.
    """
    from server.cli import init

    wishes = init.Wishes(
        database_url, redis_url, product, passphrase_file, private_key, write_env, data,
        ask=not yes and init.at_terminal(), json=json,
    )  # fmt: skip
    init.begin(ctx, wishes)


@app.command(epilog=example("doctor --json"))
def doctor(
    ctx: typer.Context,
    *,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data: Folder = None,
) -> None:
    """Look for what is wrong or soon will be, and say what to do. Exit status: 1 if anything fails, else 0.

    It looks at engines, schema, clocks, disk, limits, signing key, settings and ports, beside a running server or without
    one (then it starts embedded engines for the moment). It changes nothing.
    """
    from server.cli import doctor

    doctor.examine(ctx, data, json=json)


@app.command(epilog=example("config --json"))
def config(
    ctx: typer.Context, *, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False, data: Folder = None
) -> None:
    """Show every setting with its value, its default and its source. Passwords are masked."""
    from server.cli import configured

    configured.show(ctx, data, json=json)


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


@app.command("load-demo", epilog=example("load-demo --licenses 100000 --machines 5 --sample sample.jsonl"))
def load_demo(
    ctx: typer.Context,
    *,
    licenses: Annotated[int, typer.Option(min=1, max=MOST_DEMO_LICENSES, help="How many licenses.")],
    machines: Annotated[int, typer.Option(min=0, max=MOST_DEMO_MACHINES, help="How many machines each has.")],
    seed: Annotated[int, typer.Option(help="Another seed gives other keys and machine codes.")] = 0,
    sample: Annotated[
        Path | None,
        typer.Option(dir_okay=False, writable=True, help="Write here some of the licenses, drawn by chance, as JSON lines."),
    ] = None,
    sample_size: Annotated[
        int | None, typer.Option(min=1, help="How many of them; else 10000, or all if there are fewer.")
    ] = None,
) -> None:
    """Load demo data in bulk, into a product of their own, and print its id.

    The same arguments give the same keys, so anybody can work them out: this is for trying and measuring. A load that was
    interrupted is resumed by the same command; one that is there already is left alone.
    """
    from server.cli import loading

    loading.load(ctx, licenses, machines, seed, loading.Drawing(sample, sample_size))


@app.command(epilog=example("backup keyturn-2026-05-01.zip --passphrase-file passphrase.txt"))
def backup(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="A new file, for its owner only.")],
    *,
    passphrase_file: Annotated[
        Path | None,
        typer.Option(help="Has what encrypts the private key in the file. Else KEYTURN_SIGNING_PASSPHRASE_FILE has."),
    ] = None,
    without_key: Annotated[bool, typer.Option("--without-key", help="Leave the private key out.")] = False,
) -> None:
    """Back up all that is kept into one file, beside a running server or without one. It holds nobody up."""
    from server.cli import backup

    backup.backup(ctx, file, passphrase_file, without_key=without_key)


@app.command(epilog=example("restore keyturn-2026-05-01.zip --data new --passphrase-file passphrase.txt"))
def restore(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="What `keyturn backup` made.", exists=True, dir_okay=False)],
    *,
    passphrase_file: Annotated[Path | None, typer.Option(help="The passphrase of the private key in the file.")] = None,
    without_key: Annotated[bool, typer.Option("--without-key", help="The data alone: no server starts on them.")] = False,
    data: Folder = None,
) -> None:
    """Restore a backup into a new DATA folder, or into an empty database, and say what is missing since it was taken."""
    from server.cli import restoring

    restoring.restore(ctx, file, passphrase_file, data, without_key=without_key)


@app.command(epilog=example("restored"))
def restored(ctx: typer.Context) -> None:
    """Make a database ready that was restored by other means (pg_restore, pg_basebackup), before a server uses it."""
    from server.cli import restoring

    restoring.restored(ctx)


@app.command(epilog=example("bench --quick"))
def bench(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Two minutes instead of ten: shorter phases, one worker.")] = False,
    only: Annotated[list[str] | None, typer.Option(metavar="SCENARIO", help="This scenario alone, or `goals`.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Those of scale and overload too: they take long.")] = False,
) -> None:
    """Measure what this machine can do with a server of its own, beside limits measured in the same run."""
    from importlib.util import find_spec

    from server.cli.terminal import Problem

    if find_spec("matplotlib") is None:
        raise Problem("The benchmark needs packages that are not installed: run `make bench`, or pip install keyturn[load].")
    from loadtests import bench as benchmark

    benchmark.main(only or (), quick=quick, with_others=everything)
