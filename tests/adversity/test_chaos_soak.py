"""The chaos run: what it is made of does what it says, and (the long of it) the server keeps its promises through all of it.

`CHAOS_SECONDS` shortens it; a whole one keeps its report in `loadtests/results/`.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import pytest
from servers import Live

from loadtests import chaos, crowds, unrest
from loadtests.audit import QUESTIONS
from loadtests.chaos import SECONDS, Harm, Moment, Noticed, noticed, told
from loadtests.clients import Client
from loadtests.faults import FAULTS, Fault, schedule
from loadtests.journal import Call, Kind
from loadtests.unrest import LIVES, PAUSES, Patient
from loadtests.vitals import LEAST, WARM_UP, Sample, look, trend

ROOT = Path(__file__).parents[2]
LONG = float(os.environ.get("CHAOS_SECONDS", SECONDS))
FAULT = Fault("f", "F", lambda _victim, _chance: None)


@pytest.mark.soak
def test_through_all_faults_nothing_is_lost_doubled_or_over_the_cap_and_memory_is_flat(folder: Path) -> None:
    results = ROOT / "loadtests" / "results" if LONG >= SECONDS else folder
    command = [sys.executable, "-m", "loadtests.chaos", "--seconds", str(LONG), "--results", results]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr[-3000:]


# Faults


def test_every_fault_comes_before_any_comes_again_and_a_seed_gives_the_same_ones() -> None:
    due = list(islice(schedule(7), 3 * len(FAULTS)))
    for first in range(0, len(due), len(FAULTS)):
        assert {each.fault.name for each in due[first : first + len(FAULTS)]} == {fault.name for fault in FAULTS}
    assert due == list(islice(schedule(7), len(due)))
    assert [each.fault for each in due] != [each.fault for each in islice(schedule(8), len(due))]


# Clients


class Unlucky(Patient):
    """Is answered what it is told to, without a server."""

    def __init__(self, *told: str | None) -> None:
        super().__init__({"url": "http://127.0.0.1:1"}, lambda _: None)
        self.told = list(told)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []

    def ask(self: Unlucky, call: Call, params: Mapping[str, object]) -> str | None:
        del call, params
        return self.told.pop(0)

    monkeypatch.setattr(Client, "_ask", ask)
    monkeypatch.setattr(unrest.time, "sleep", waited.append)
    return waited


def test_a_client_asks_again_until_there_is_an_answer_and_not_for_ever(pauses: list[float]) -> None:
    client = Unlucky(None, None, "")
    assert client.activate("K", "m") == ""
    assert (client.told, pauses) == ([], list(PAUSES[:2]))
    client = Unlucky(*[None] * 9)
    assert client.take("K", "m", 60) is None
    assert len(client.told) == 9 - 1 - len(PAUSES)


def test_a_counter_is_never_moved_again(pauses: list[float]) -> None:
    client = Unlucky(None, "")
    assert client.increment("K", "runs") is None
    assert (client.told, pauses) == ([""], [])


def test_more_clients_want_places_and_seats_than_there_are() -> None:
    assert LIVES[unrest.jostle] > max(unrest.PLACES, unrest.SEATS)
    assert {crowds.day, crowds.heartbeat} < LIVES.keys()
    assert unrest.HARMLESS.isdisjoint({Kind.INCREMENT, Kind.CREATE, Kind.ADD})


# What clients noticed


def test_what_was_noticed_is_counted_from_a_fault_to_the_next() -> None:
    failed = [Moment(at, answered=False) for at in (9, 11, 11.5, 20)]
    moments = sorted([*failed, *(Moment(at, answered=True) for at in (10, 14, 15))])
    assert noticed(moments, Harm(FAULT, 10, 13, 20)) == Noticed(calls=5, answered=3, gap=5, last=1.5)
    assert noticed([], Harm(FAULT, 10, 13, 20)) == Noticed(0, 0, 10, 0)


@pytest.mark.parametrize(("unnoticed", "promised"), [(True, False), (False, True)])
def test_a_fault_that_nobody_may_notice_is_noticed(unnoticed: bool, promised: bool) -> None:
    harm = Harm(Fault("f", "F", FAULT.do, unnoticed=unnoticed), 10, 13, 20)
    assert chaos._fault(harm, Noticed(5, 4, 1, 1), 8)["as_promised"] == promised
    assert chaos._fault(harm, Noticed(5, 5, 1, 0), 8)["as_promised"]


# Memory and files


def samples(mib: float, mib_a_minute: float = 0, files_a_minute: float = 0, seconds: int = 300) -> list[Sample]:
    minutes = [second / 60 for second in range(seconds)]
    return [Sample(60 * at, 2, mib + mib_a_minute * at, round(50 + files_a_minute * at)) for at in minutes]


def test_what_does_not_grow_is_flat_and_what_leaks_is_not() -> None:
    assert trend(samples(90)).flat
    assert trend(samples(90, mib_a_minute=1)).flat
    assert not trend(samples(90, mib_a_minute=5)).flat
    assert not trend(samples(90, files_a_minute=5)).flat


def test_the_warm_up_does_not_count_and_of_too_short_a_run_nothing_is_said() -> None:
    warming = [each._replace(mib=10) if each.at < WARM_UP else each for each in samples(90)]
    assert trend(warming).flat
    assert trend(samples(90, 50, seconds=int(WARM_UP + LEAST) - 1)).flat is None
    assert trend([]) is None


def test_a_look_tells_the_processes_of_a_server_apart(live: Live) -> None:
    seen = look(live.process.pid)
    others = {kind: each.processes for kind, each in seen.items() if kind != "postgres"}
    assert others == {"supervisor": 1, "worker": 2, "valkey": 1}
    assert all(each.mib > 0.5 and each.files > 3 for each in seen.values())


# The report


def test_a_report_says_what_was_not_as_promised() -> None:
    fault = {"name": FAULTS[0].name, "at": 1, "well": 2, "calls": 4, "answered": 3, "gap": 0.5, "last": 1}
    report = {
        "ok": False, "machine": {"processor": "P", "cores": 2, "revision": "r", "date": "d"}, "seconds": 60.0, "seed": 1,
        "workers": 2, "calls": 1000, "without_answer": 1, "server_starts": 1, "bugs": [],
        "disagreements": {question: ["x"] * (question == "logged") for question in QUESTIONS},
        "met": [{**fault, "as_promised": True}, {**fault, "as_promised": False, "gap": 1.5}],
        "memory_and_files": {
            "worker": {"mib": (90.0, 120.0), "files": (50, 50), "flat": False, "peak_mib": 1.0, "peak_files": 9}
        },
    }  # fmt: skip
    text = told(report)
    assert "Not all is as promised" in text
    assert "| logged | 1 |" in text
    assert f"| {FAULTS[0].about} | 2 | 75.00 %, **none may be without** | 1.00, 1.50 | 1.00 | 2.0 |" in text
    assert "| worker | 90.0 → 120.0 | 50 → 50 | **no** | 1.0, 9 |" in text
