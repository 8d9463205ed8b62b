"""Runs a scenario with locust against a running `make run`, and audits it.

What the clients do stands in `crowds`, when how many are there in `shapes`. The audit's verdict is the exit status.
"""

import json
import random
import subprocess
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from locust import LoadTestShape, User, events, task
from locust.env import Environment
from locust.runners import LocalRunner
from locust.user.task import LOCUST_STATE_STOPPING

from loadtests.clients import Client, Seen
from loadtests.crowds import CROWDS, Crowd, Stock
from loadtests.journal import Journal
from loadtests.shapes import SHAPES, stage_at

STOP_SECONDS = 40.0  # longer than a client waits for an answer


class Load:
    """The load that runs now: what the listeners below make of the options."""

    crowd: Crowd
    stock: Stock
    demo: dict[str, Any]
    journal: Journal


@events.init_command_line_parser.add_listener
def options(parser: ArgumentParser) -> None:
    """Add options; they can be set on the web page, too."""
    parser.add_argument("--scenario", choices=list(CROWDS), default="mixed-day", help="; ".join(_about()))
    parser.add_argument("--data", env_var="DATA", default="var", help="the folder of the server's demo.json")
    parser.add_argument("--journal", default="", help="where the journal goes (DATA/journal.jsonl)")
    parser.add_argument("--times", type=float, default=1.0, help="so many times the clients")
    parser.add_argument("--longer", type=float, default=1.0, help="so many times the seconds")


def _about() -> list[str]:
    return [f"{name}: {crowd.about}" for name, crowd in CROWDS.items()]


@events.init.add_listener
def one_process(environment: Environment, **_: object) -> None:
    """Be the only one: clients of several processes would write one journal."""
    if not isinstance(environment.runner, LocalRunner):
        raise SystemExit("One process only: the audit needs all calls in one journal.")
    environment.stop_timeout = STOP_SECONDS


@events.test_start.add_listener
def begin(environment: Environment, **_: object) -> None:
    """Make the licenses of the scenario; without them there is no load."""
    asked = environment.parsed_options
    Load.crowd = CROWDS[asked.scenario]
    try:
        Load.demo = json.loads((Path(asked.data) / "demo.json").read_text())
        Load.journal = Journal(_journal(environment))
        office = Client(Load.demo, Load.journal.note)
        Load.stock = Load.crowd.stock(office)
        office.close()
    except (OSError, ValueError) as error:
        raise SystemExit(f"{error}. Is the server running? See `make run`.") from error


@events.test_stop.add_listener
def end(environment: Environment, **_: object) -> None:
    """Audit, in a process of its own: here asyncio would have to share with gevent."""
    Load.journal.close()
    audit = [sys.executable, "-m", "loadtests.audit", "--data", environment.parsed_options.data]
    environment.process_exit_code = subprocess.run([*audit, "--journal", _journal(environment)], check=False).returncode


def _journal(environment: Environment) -> Path:
    asked = environment.parsed_options
    return Path(asked.journal or f"{asked.data}/journal.jsonl")


class Shape(LoadTestShape):
    """The shape of the scenario."""

    def tick(self) -> tuple[int, float] | None:
        """Return how many clients there are to be now, and how fast they come."""
        asked = self.runner.environment.parsed_options
        stage = stage_at(SHAPES[asked.scenario], self.get_run_time(), times=asked.times, longer=asked.longer)
        return None if stage is None else (stage.clients, stage.rate)


class OfTheCrowd(User):
    """One client."""

    @task
    def live(self) -> None:
        """Live until told to leave, and leave between two calls: locust may end who waits in its manner midway."""
        crowd = Load.crowd
        client = Client(Load.demo, Load.journal.note, self._seen, keeps=crowd.keeps)
        for pause in crowd.life(client, Load.stock, random.Random()):
            time.sleep(pause)
            if self._state == LOCUST_STATE_STOPPING:
                break
        client.close()

    def _seen(self, seen: Seen) -> None:
        self.environment.events.request.fire(
            request_type="POST", name=seen.kind, response_time=seen.took * 1000, response_length=seen.size,
            exception=Exception(seen.fault) if seen.fault else None, context={},
        )  # fmt: skip
