"""The benchmark: `make bench`, `keyturn bench`, `python -m loadtests.bench`. Starts everything itself, and prints tables.

A full run is kept in loadtests/results/ as JSON and as a picture. What is measured, and how, stands in the README.
"""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

import orjson
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from loadtests import goals, others, report
from loadtests.commits import commits
from loadtests.extent import FULL, QUICK, Extent, Tell
from loadtests.limits import CLIENTS, Bare, bare, eight_lanes, openssl
from loadtests.machine import describe
from loadtests.measure import PLACES, SHARE, Load, client
from loadtests.scenarios import NAMED, SIGNED_REACTIVATION
from loadtests.target import OPENSSL, Target, serving
from loadtests.turns import COMPARED, Sides, medians, take

GOALS = "goals"  # asked for beside scenarios: only what the goals rest on
ONE, ALL, PLAIN = "one worker", "all workers", "one worker with OpenSSL only"
SERVERS: dict[str, tuple[int, dict[str, str]]] = {ONE: (1, {}), ALL: (0, {}), PLAIN: (1, {"KEYTURN_SIGNER": OPENSSL})}


class Bench:
    """The servers and loads of one run; each is made when it is first asked for, and ends with `stack`."""

    def __init__(self, stack: ExitStack, extent: Extent, tell: Tell) -> None:
        self.extent = extent
        self.tell = tell
        self.client = stack.enter_context(client())
        self._stack = stack
        self._targets: dict[str, Target] = {}
        self._loads: dict[tuple[str, str], Load] = {}

    def target(self, which: str) -> Target:
        """Return one of the servers."""
        if which not in self._targets:
            self.tell(f"starting a server: {which}")
            workers, settings = SERVERS[which]
            self._targets[which] = self._stack.enter_context(serving(workers, **settings))
        return self._targets[which]

    def load(self, which: str, scenario: str) -> Load:
        """Return a scenario for a server, its licenses made."""
        if (which, scenario) not in self._loads:
            target = self.target(which)
            self.tell(f"making licenses: {scenario}, {which}")
            self._loads[which, scenario] = Load(target, NAMED[scenario], self.client)
        return self._loads[which, scenario]

    def audit(self) -> None:
        """Hold all that the servers were asked against log, tables and Valkey. Raises SystemExit."""
        for which, target in self._targets.items():
            self.tell(f"audit: {which}")
            if found := target.witness.audit(target.demo["postgres_dsn"], target.demo["redis_url"]):
                raise SystemExit("\n".join([f"The audit failed, of {which}:", *map(str, found)]))

    def rows(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Measure scenarios on one worker, and in full on all workers too."""
        servers = (ONE, ALL) if self.extent.all_workers else (ONE,)
        return [
            row.figures for which in servers for name in names for row in self.load(which, name).rows(self.extent, self.tell)
        ]

    def bare(self) -> Bare:
        """Return L1 with answers as long as a signed one."""
        load = self.load(ONE, SIGNED_REACTIVATION)
        return self._stack.enter_context(bare(load.answer_bytes(), self.client))

    def signers(self) -> dict[str, str]:
        """Return which signer each server has used."""
        return {which: target.signer() for which, target in self._targets.items()}

    def limits(self, least: Bare) -> dict[str, object]:
        """Measure what the machine could do at most; where it cannot, a text says why."""
        requests, seconds = self.load(ONE, SIGNED_REACTIVATION).lasting, self.extent.closed
        self.tell("limits")
        lanes = self.client.submit(eight_lanes, seconds).result()
        empty = commits(self.target(ONE), self.extent.turn / 2)
        found = {
            "L1 bare aiohttp handler of the same form": least.closed(requests, seconds),
            "L1 with a connection for each call": least.closed(requests, seconds, keep_alive=False),
            "L2 signature of OpenSSL": self.client.submit(openssl, seconds).result(),
            "L3 signature of eight lanes": lanes,
            **{f"L4 {name}: PostgreSQL's part": limit for name, limit in empty.items()},
        }
        return {name: limit if isinstance(limit, str) else limit._asdict() for name, limit in found.items()}

    def turns(self, least: Bare) -> dict[str, list[float]]:
        """Measure what the goals compare."""
        one = {scenario: self.load(ONE, scenario) for scenario in COMPARED.values()}
        plain, everyone = (self.load(which, SIGNED_REACTIVATION) for which in (PLAIN, ALL))
        return take(Sides(one, plain, everyone, least, self.client), self.extent, self.tell)


def run(names: Sequence[str], extent: Extent, tell: Tell, *, with_goals: bool, with_others: bool = False) -> dict[str, Any]:
    """Measure these scenarios, and what the goals rest on; the result, as JSON has it."""
    result: dict[str, Any] = {
        "machine": describe(),
        "method": {**asdict(extent), "clients": CLIENTS, "places": PLACES, "share": SHARE},
    }
    with ExitStack() as stack:
        bench = Bench(stack, extent, tell)
        result["scenarios"] = bench.rows(names)
        if with_goals:
            least = bench.bare()
            result["limits"] = bench.limits(least)
            result["turns"] = bench.turns(least)
        result["signers"] = bench.signers()
        bench.audit()
    if with_others:
        result["others"] = others.run(tell)
    if with_goals:
        result["goals"] = _judged(result)
    return result


def _judged(result: dict[str, Any]) -> list[dict[str, Any]]:
    lanes = result["signers"][ONE] != OPENSSL
    known = medians(result["turns"], lanes=lanes) | others.medians(result.get("others", {}))
    return [goals.judge(goal, known)._asdict() for goal in goals.GOALS]


def _keep(result: dict[str, Any]) -> None:
    """Write the result and its picture into loadtests/results/."""
    from loadtests import picture  # noqa: PLC0415 (heavy, and only here)

    report.RESULTS.mkdir(exist_ok=True)
    (report.RESULTS / report.KEPT).write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")
    picture.draw(result, report.RESULTS / report.PICTURE)


@contextmanager
def progress() -> Iterator[Tell]:
    """Show on stderr what is done at the moment, and for how long it has been going on."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("")
        yield lambda what: shown.update(task, description=what)


def main(only: Sequence[str] = (), *, quick: bool = False, with_others: bool = False) -> None:
    """Measure and print everything, or some scenarios, or what the goals rest on; keep a full run. Raises SystemExit."""
    if unknown := set(only) - {*NAMED, GOALS}:
        raise SystemExit(f"There is no scenario {', '.join(sorted(unknown))}. There are: {', '.join(NAMED)}; {GOALS}.")
    names = [name for name in NAMED if not only or name in only]
    with progress() as tell:
        result = run(names, QUICK if quick else FULL, tell, with_goals=not only or GOALS in only, with_others=with_others)
    report.show(result)
    if not quick and not only:
        _keep(result)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two minutes instead of ten: shorter phases, one worker")
    parser.add_argument("--only", action="append", default=[], metavar="SCENARIO", help=f"of {', '.join(NAMED)}; or {GOALS}")
    parser.add_argument("--all", action="store_true", help=f"also {', '.join(others.FIGURES)}, which take long")
    arguments = parser.parse_args()
    main(arguments.only, quick=arguments.quick, with_others=arguments.all)
