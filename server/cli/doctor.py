"""What `keyturn doctor` does: everything is read, judged and shown, and what is to be done about it."""

import asyncio
from pathlib import Path

import typer

from server import config as configuration
from server.cli.groups import FAILED
from server.cli.terminal import ERR, as_json, result, table, visible
from server.config import Config
from server.doctor.checks import findings
from server.doctor.findings import Finding, State
from server.doctor.look import look
from server.doctor.readings import Readings

COLUMNS = ("State", "Check", "What was found")
MARKS = {State.OK: "ok", State.WARNING: "WARNING", State.FAILURE: "FAILURE"}


def examine(ctx: typer.Context, data: Path | None, *, json: bool) -> None:
    """Look at everything, show what was found, and end with 1 if anything fails."""
    config, wrong = configuration.examine(None, data=data or ctx.obj["data"])
    found = findings(asyncio.run(_look(config, wrong)))
    fails = any(each.state is State.FAILURE for each in found)
    if json:
        as_json({"ok": not fails, "findings": [each._asdict() for each in found]})
    else:
        _show(found)
    if fails:
        raise typer.Exit(FAILED)


async def _look(config: Config, wrong: dict[str, str]) -> Readings:
    with ERR.status("Looking …") as status:
        return await look(config, wrong, status.update)


def _show(found: list[Finding]) -> None:
    """Show it as a table, and below, in whole lines for whoever copies them, what to do."""
    table("Keyturn", COLUMNS, [(MARKS[each.state], each.name, each.said) for each in found], whole=COLUMNS[:2])
    for state in (State.FAILURE, State.WARNING):
        for each in found:
            if each.state is state:
                result(f"{MARKS[state]} {each.name}: {visible(each.do)}")
