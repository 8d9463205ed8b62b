"""A chaos run: a mixed load on a server that is harmed all the time, the audit of it, and what a client noticed.

`python -m loadtests.chaos` takes ten minutes on a server of its own, and keeps its report as `chaos.json` and `chaos.md` in
`loadtests/results/`. In its first half only what spares the server's own processes is done to it, so that they live on and
their memory and open files can be compared; then all of it. The exit status is 1 if anything is not as promised.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from rich.console import Console

from loadtests import unrest
from loadtests.audit import QUESTIONS, Tally, audit
from loadtests.clients import Client, Seen
from loadtests.crowds import Life, Stock
from loadtests.faults import FAULTS, Fault, schedule
from loadtests.journal import Journal, read
from loadtests.machine import describe
from loadtests.unrest import LIVES, Patient
from loadtests.victim import Victim
from loadtests.vitals import Watch, trend

SECONDS, SEED, WORKERS = 600.0, 20_26, 2
RESULTS = Path(__file__).parent / "results"
KEPT = "chaos"
CACHE_BYTES = 2**24  # the least there may be
LAST_WORD = 5.0  # seconds in which the load goes on after the last fault


class Moment(NamedTuple):
    """A call came to its end, with an answer (200) or without."""

    at: float
    answered: bool


class Harm(NamedTuple):
    """A fault was begun `at`, and the server was `well` again; `until` the next one. Monotonic seconds."""

    fault: Fault
    at: float
    well: float
    until: float


class Noticed(NamedTuple):
    """What clients noticed of a fault: so many calls, so many of them answered; the longest time without an answer, and when
    the last call had none, in seconds from its begin.
    """  # noqa: D205 (one sentence)

    calls: int
    answered: int
    gap: float
    last: float


@dataclass(slots=True)
class Load:
    """The clients, and when their calls came to an end."""

    victim: Victim
    journal: Journal
    moments: list[Moment] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self, seed: int) -> Iterator[None]:
        """Have all clients call for the length of a `with`. Raises what a client raised."""
        demo = self.victim.demo
        with closing(Client(demo, self.journal.note)) as office:
            stock = unrest.stock(office)
        lives = [life for life, number in LIVES.items() for _ in range(number)]
        with ThreadPoolExecutor(len(lives)) as threads:
            clients: list[Future[None]] = []
            try:
                for number, life in enumerate(lives):
                    clients.append(threads.submit(self._live, demo, life, stock, random.Random(f"{seed} {number}"), number))
                yield
            finally:
                self.stop.set()
        for client in clients:
            client.result()

    def _live(self, demo: dict[str, Any], life: Life, stock: Stock, chance: random.Random, number: int) -> None:
        with closing(Patient(demo, self.journal.note, self._saw, keeps=bool(number % 2))) as client:
            for pause in life(client, stock, chance):
                if self.stop.wait(pause):
                    break

    def _saw(self, seen: Seen) -> None:
        self.moments.append(Moment(time.monotonic(), not seen.fault))
        if seen.fault:
            self.faults[seen.fault] += 1


def noticed(moments: Sequence[Moment], harm: Harm) -> Noticed:
    """Say what clients noticed from a fault to the next one. The moments are in their order."""
    seen = [each for each in moments if harm.at <= each.at < harm.until]
    ends = [harm.at, *(each.at for each in seen if each.answered), harm.until]
    failed = [each.at - harm.at for each in seen if not each.answered]
    gap = max(later - earlier for earlier, later in pairwise(ends))
    return Noticed(len(seen), len(ends) - 2, gap, max(failed, default=0.0))


# The run


def harm(victim: Victim, seconds: float, seed: int) -> list[Harm]:
    """Do to a server what the schedule says, for so long; when each was done. Raises TimeoutError if it does not recover."""
    chance, begin = random.Random(seed), time.monotonic()
    sparing = schedule(seed, [fault for fault in FAULTS if fault.spares])
    anything = schedule(seed)
    done: list[tuple[Fault, float, float]] = []
    while True:
        now = time.monotonic() - begin
        quiet, fault = next(sparing if now < seconds / 2 else anything)
        if now + quiet + LAST_WORD > seconds:
            break
        time.sleep(quiet)
        at = time.monotonic()
        fault.do(victim, chance)
        victim.wait_until_well()
        done.append((fault, at, time.monotonic()))
        print(f"{at - begin:6.1f} s  {fault.name}: well after {done[-1][2] - at:.1f} s", file=sys.stderr, flush=True)
    time.sleep(max(0.0, begin + seconds - time.monotonic()))
    ends = [*(at for _, at, _ in done[1:]), time.monotonic()]
    return [Harm(*each, until) for each, until in zip(done, ends, strict=False)]


def run(seconds: float, seed: int, workers: int = WORKERS) -> dict[str, Any]:
    """Run, audit, and return the report. Raises TimeoutError or OSError where the server does not come back or end well."""
    with tempfile.TemporaryDirectory(prefix="keyturn-journal-") as folder:
        path = Path(folder) / "journal.jsonl"
        with Victim(workers, KEYTURN_CACHE_BYTES=str(CACHE_BYTES)) as victim:
            with closing(Journal(path)) as journal:
                load, watch = Load(victim, journal), Watch(lambda: victim.pid)
                with load.running(seed):
                    begin = time.monotonic()
                    harms = harm(victim, seconds, seed)
                watch.end()
            tally = Tally()
            found = asyncio.run(
                audit(victim.demo["postgres_dsn"], victim.demo["redis_url"], tally.counted(read([path])), emptied=True)
            )
            bugs = victim.bugs()
    moments = sorted(load.moments)
    faults = [_fault(each, noticed(moments, each), begin) for each in harms]
    half = begin + seconds / 2
    trends = {kind: trend([each for each in samples if each.at < half]) for kind, samples in watch.samples.items()}
    peaks = {kind: (max(s.mib for s in samples), max(s.files for s in samples)) for kind, samples in watch.samples.items()}
    flat = [each.flat for each in trends.values() if each is not None]
    return {
        "ok": bool(faults) and not found and not bugs and False not in flat and all(each["as_promised"] for each in faults),
        "machine": describe(), "seconds": seconds, "seed": seed, "workers": workers,
        "calls": tally.calls, "without_answer": tally.unanswered, "why": dict(load.faults),
        "answered": sum(each.answered for each in moments) / max(1, len(moments)),
        "disagreements": {question: [each.what for each in found if each.question == question] for question in QUESTIONS},
        "bugs": bugs, "server_starts": victim.starts, "met": faults,
        "memory_and_files": {
            kind: {**each._asdict(), "peak_mib": peaks[kind][0], "peak_files": peaks[kind][1]}
            for kind, each in trends.items() if each is not None
        },
    }  # fmt: skip


def _fault(harm: Harm, noticed: Noticed, begin: float) -> dict[str, Any]:
    """Return what a report says of a fault; `at` in seconds of the run, `well` after it."""
    promised = noticed.answered == noticed.calls or not harm.fault.unnoticed
    times = {"at": harm.at - begin, "well": harm.well - harm.at}
    return {"name": harm.fault.name, **times, **noticed._asdict(), "as_promised": promised}


# The report


HEAD = """\
# A chaos run

{seconds:.0f} s, seed {seed}, {workers} workers; {processor}, {cores} cores; revision {revision}, {date}.
Made by `python -m loadtests.chaos`.

**{verdict}** {calls:,} calls, {without_answer:,} of them sent and not answered; {logged_bugs} lines of a bug in the log
of the server, which was started {server_starts} times.

| the audit asked | disagreements |
|---|---|
{audit}

From each fault to the next, which comes some seconds after all of the server is well again. Who gets no answer asks again
soon, so calls during an outage count more than once. Times are in seconds, the worst unless both are given.

| fault | times | calls answered | nobody was answered for: median, worst | last call without answer after | all well after |
|---|---|---|---|---|---|
{faults}

In the first half, in which supervisor and workers live on: medians of the first and the last quarter after the first
minute, all processes of a kind together; and the most in the whole run. Of PostgreSQL sockets, not files.

| processes | own memory, MiB | open files | flat | most: MiB, files |
|---|---|---|---|---|
{processes}
"""
FLAT = {True: "yes", False: "**no**", None: "too short to say"}


def told(report: dict[str, Any]) -> str:
    """Return a report as Markdown."""
    verdict = "All is as promised." if report["ok"] else "Not all is as promised."
    return HEAD.format(
        **{**report, **report["machine"]},
        verdict=verdict,
        logged_bugs=len(report["bugs"]),
        audit=_table((question, len(found)) for question, found in report["disagreements"].items()),
        faults=_table(_row(fault, [each for each in report["met"] if each["name"] == fault.name]) for fault in FAULTS),
        processes=_table(_process(kind, of) for kind, of in report["memory_and_files"].items()),
    )


def _table(rows: Iterable[Sequence[object]]) -> str:
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


def _row(fault: Fault, met: Sequence[dict[str, Any]]) -> Sequence[object]:
    if not met:
        return fault.about, 0, "", "", "", ""
    share = 100 * sum(each["answered"] for each in met) / max(1, sum(each["calls"] for each in met))
    failed = "" if all(each["as_promised"] for each in met) else ", **none may be without**"
    gaps = [each["gap"] for each in met]
    last, well = (max(each[name] for each in met) for name in ("last", "well"))
    gap = f"{median(gaps):.2f}, {max(gaps):.2f}"
    return fault.about, len(met), f"{share:.2f} %{failed}", gap, f"{last:.2f}", f"{well:.1f}"


def _process(kind: str, of: dict[str, Any]) -> Sequence[object]:
    mib, files = (" → ".join(f"{value:.{digits}f}" for value in of[name]) for name, digits in (("mib", 1), ("files", 0)))
    return kind, mib, files, FLAT[of["flat"]], f"{of['peak_mib']:.1f}, {of['peak_files']}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and keep the report; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder of the report")
    asked = parser.parse_args(arguments)
    report = run(asked.seconds, asked.seed, asked.workers)
    (asked.results / f"{KEPT}.json").write_text(json.dumps(report, indent=1) + "\n")
    (asked.results / f"{KEPT}.md").write_text(told(report))
    Console().print(told(report), markup=False, highlight=False, soft_wrap=True)
    for question, found in report["disagreements"].items():
        for each in found:
            print(f"{question}: {each}")
    for line in report["bugs"]:
        print(line)
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
