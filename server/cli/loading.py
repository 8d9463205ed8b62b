"""What `keyturn load-demo` does: the load with a progress bar, the sample, and what to do with both."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from server import load_demo
from server.cli.session import Desk, run, settings
from server.cli.terminal import ERR, Problem, remark, result
from server.load_demo import Loaded, Plan, Tell
from storage.errors import Conflict

USUAL_SIZE = 10_000

NEXT = """
A token for it, and a first call of a machine that is known already:

  keyturn token add load-demo --allow-all-client --product-lock {product}
  curl -d token=TOKEN -d ProductId={product} -d Key={key} \\
       -d MachineCode={code} http://{host}:{port}/api/key/Activate
"""


class Drawing(NamedTuple):
    """Where the sample goes, and how many licenses it has; None: nowhere, and the usual number."""

    file: Path | None
    size: int | None


class Rate(ProgressColumn):
    """Licenses a second."""

    def render(self, task: Task) -> Text:
        """Return it; '' before anything is done."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")


def load(ctx: typer.Context, licenses: int, machines: int, seed: int, drawing: Drawing) -> None:
    """Load, write the sample if one is wanted, and print the product's id."""
    plan = Plan(licenses, machines, seed)
    size = _size(plan, drawing)

    async def work(desk: Desk) -> Loaded:
        with _progress(plan) as tell:
            try:
                return await load_demo.load(desk.dsn, desk.admin, desk.account.id, plan, now=desk.now, tell=tell)
            except Conflict as error:
                raise Problem("Another load-demo is at work in this database. Repeat this when it has ended.") from error

    loaded = run(ctx, work)
    remark(_told(plan, loaded))
    if drawing.file is not None:
        _write(plan, drawing.file, size)
        remark(f"Wrote {size:,} of them, each with one of its machines, to {drawing.file}.")
    if machines:
        key, codes = plan.license(1)
        config = settings(ctx)
        remark(NEXT.format(product=loaded.product_id, key=key, code=codes[0], host=config.host, port=config.port))
    result(str(loaded.product_id))


def _size(plan: Plan, drawing: Drawing) -> int:
    """Return how many licenses the sample has. Raises `BadParameter` for one that cannot be drawn."""
    if drawing.file is None:
        if drawing.size is not None:
            raise typer.BadParameter("It needs --sample FILE.", param_hint="--sample-size")
        return 0
    if not plan.machines:
        raise typer.BadParameter("It names a machine of each license, and they would have none.", param_hint="--sample")
    size = min(USUAL_SIZE, plan.licenses) if drawing.size is None else drawing.size
    if size > plan.licenses:
        raise typer.BadParameter(f"There are {plan.licenses} licenses.", param_hint="--sample-size")
    return size


@contextmanager
def _progress(plan: Plan) -> Iterator[Tell]:
    """Show a bar if stderr is a terminal; what is given is to be told how far the load is."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=ERR, disable=not ERR.is_terminal) as bar:
        task = bar.add_task("Looking", total=plan.licenses)

        def tell(what: str, done: int) -> None:
            bar.update(task, description=what, completed=done)

        yield tell
        bar.update(task, description="Loaded")


def _told(plan: Plan, loaded: Loaded) -> str:
    """Say what is there, and what of it is new."""
    has = f"{plan.licenses:,} licenses, with {plan.machines} machines each and room for one more"
    new = f"Added {loaded.added:,} of them." if loaded.added else "They were there; nothing was added."
    return f"Product {loaded.product_id} has {has}. {new}"


def _write(plan: Plan, file: Path, size: int) -> None:
    with file.open("w", encoding="ascii") as lines:
        for key, code in plan.sample(size):
            lines.write(json.dumps({"key": key, "machineCode": code}) + "\n")
