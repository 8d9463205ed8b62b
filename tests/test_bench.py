"""The benchmark itself: that a stall is charged to those who wait, that answers are audited, and that its sums are right."""

import asyncio
import contextlib
import importlib.util
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise, repeat

import pytest
from servers import Live
from typer.testing import CliRunner

from loadtests import bench, goals, others, report, scenarios, stages, turns
from loadtests.audit import Disagreement
from loadtests.driver import Clients, Outcome, closed_loop, drive, open_loop, post, schedule
from loadtests.extent import QUICK
from loadtests.machine import cpu_of_server, cpu_seconds, tree
from loadtests.measure import Load, disagreement
from loadtests.scenarios import SCENARIOS, Scenario
from loadtests.target import Target
from loadtests.witness import Witness
from server import cli

GOOD = b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"result":0}'
BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}"
CALL = post("/api/key/Activate", b"a=b")
MINUTE = 60.0


class Server:
    """Answers nothing until its gate is opened, and keeps what it has received."""

    def __init__(self, answer: bytes = GOOD) -> None:
        self.gate = asyncio.Event()
        self.received: asyncio.Queue[bytes] = asyncio.Queue()
        self._answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(len(b"a=b"))
                self.received.put_nowait(head)
                await self.gate.wait()
                if not self._answer:
                    break
                writer.write(self._answer)
        writer.close()


@contextlib.asynccontextmanager
async def clients_of(server: Server, places: int) -> AsyncIterator[Clients]:
    async with asyncio.timeout(20):
        made = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        clients = Clients("127.0.0.1", made.sockets[0].getsockname()[1], places, keep_alive=True)
        await clients.connect()
        yield clients
        made.close()


async def test_who_waits_for_a_stalled_server_is_charged_from_when_the_request_was_due() -> None:
    server = Server()
    async with clients_of(server, places=1) as clients:
        for _ in range(3):
            clients.offer(time.perf_counter() - MINUTE, CALL)
        await server.received.get()
        assert server.received.empty()  # the others wait for the place
        server.gate.set()
        await clients.drained(10)
    assert clients.outcome.answers == {"ok": 3}
    assert min(clients.outcome.latencies) >= MINUTE


async def test_arrivals_do_not_wait_for_answers() -> None:
    server = Server()
    async with clients_of(server, places=3) as clients:
        arriving = asyncio.ensure_future(open_loop(clients, repeat(CALL), [0.0, 0.0, 0.001, 0.002]))
        for _ in range(3):
            await server.received.get()
        assert not clients.outcome.answers
        server.gate.set()
        await arriving
    assert clients.outcome.answers == {"ok": 4}
    assert clients.outcome.methods == {"key/Activate": 4}


async def test_what_is_answered_between_two_arrivals_does_not_end_the_load() -> None:
    server = Server()
    server.gate.set()
    async with clients_of(server, places=1) as clients:
        answered = asyncio.Event()
        clients.after_answer = answered.set
        clients.offer(time.perf_counter(), CALL)
        await answered.wait()
        server.gate.clear()
        clients.offer(time.perf_counter(), CALL)
        draining = asyncio.ensure_future(clients.drained(10))
        await server.received.get()
        await server.received.get()
        assert not draining.done()
        server.gate.set()
        await draining
    assert clients.outcome.answers == {"ok": 2}


async def test_a_closed_loop_ends_with_its_requests() -> None:
    server = Server()
    server.gate.set()
    async with clients_of(server, places=2) as clients:
        await closed_loop(clients, iter([CALL] * 5), 2, MINUTE)
    assert clients.outcome.answers == {"ok": 5}


@pytest.mark.parametrize(("answer", "kind"), [(BUSY, "503"), (GOOD.replace(b"0}", b"1}"), "refused"), (b"", "lost")])
async def test_what_is_no_good_answer_is_told_apart(answer: bytes, kind: str) -> None:
    server = Server(answer)
    server.gate.set()
    async with clients_of(server, places=1) as clients:
        clients.offer(time.perf_counter(), CALL)
        await clients.drained(10)
    assert clients.outcome.answers == {kind: 1}
    assert disagreement(clients.outcome, 0)


@pytest.mark.parametrize("keep_alive", [True, False])
async def test_without_keep_alive_every_call_says_so(*, keep_alive: bool) -> None:
    server = Server()
    server.gate.set()
    made = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{made.sockets[0].getsockname()[1]}"
    outcome = await asyncio.to_thread(drive, url, [CALL] * 3, clients=1, seconds=10, keep_alive=keep_alive, once=True)
    made.close()
    heads = [server.received.get_nowait() for _ in range(3)]
    assert outcome.answers == {"ok": 3}
    assert [b"Connection: close\r\n" in head for head in heads] == [not keep_alive] * 3


def test_load_goes_to_this_machine_only() -> None:
    with pytest.raises(ValueError, match="this machine"):
        drive("http://192.0.2.1:80", [CALL], clients=1, seconds=1)


def test_arrivals_are_independent_and_as_many_as_asked_for() -> None:
    times = list(schedule(1_000, 10, 1))
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert 9_500 < len(times) < 10_500
    assert 0.9 < statistics.stdev(gaps) / statistics.mean(gaps) < 1.1  # of a Poisson process: 1
    assert times == list(schedule(1_000, 10, 1))
    assert times != list(schedule(1_000, 10, 2))


def test_a_percentile_is_the_latency_that_so_many_kept_within() -> None:
    outcome = Outcome(latencies=[number / 1000 for number in range(1000, 0, -1)])
    assert [outcome.percentile(part) for part in (0.5, 0.99, 0.999)] == [500, 990, 999]
    assert Outcome(latencies=[0.007]).percentile(0.999) == 7


def test_an_audit_wants_one_row_for_each_answer_that_is_logged() -> None:
    outcome = Outcome(answers=Counter(ok=5), done=Counter({CALL: 3, post("/api/key/GetKey", b""): 2}))
    assert disagreement(outcome, 3) is None
    assert disagreement(outcome, 2)
    assert disagreement(outcome, 5)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_each_scenario_is_answered_well_and_audited(
    scenario: Scenario, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, number in (("LICENSES", 3), ("POOLS", 2), ("LARGE_POOLS", 1), ("MANY_HOLDERS", 4)):
        monkeypatch.setattr(scenarios, name, number)
    monkeypatch.setattr("loadtests.measure.LIKELY_RATE", 500)
    with ThreadPoolExecutor(1) as client:
        load = Load(Target(live.process.pid, live.demo), scenario, client)
        full, part = load.closed(0.1), load.open(0.1, 100, keep_alive=False)
        assert not load.lasting or load.answer_bytes()
    assert full.answers and part.answers  # noqa: PT018 (as one)
    target = load.target
    assert not target.witness.audit(target.demo["postgres_dsn"], target.demo["redis_url"])
    assert part.stages.by_name["whole"].number == part.answers


def test_a_run_ends_where_its_audit_finds_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Witness, "audit", lambda *_: [Disagreement("lost", "a call")])
    with contextlib.ExitStack() as stack:
        run = bench.Bench(stack, QUICK, lambda _: None)
        run.audit()  # of no server
        run._targets["one worker"] = Target(0, {"postgres_dsn": "", "redis_url": ""})
        with pytest.raises(SystemExit, match="of one worker:\nlost: a call"):
            run.audit()


def test_the_cpu_of_a_server_is_that_of_all_its_processes(live: Live) -> None:
    pid = live.process.pid
    before = cpu_seconds(tree(pid))
    used = cpu_of_server(pid)
    assert before - 0.1 <= sum(used.values()) <= cpu_seconds(tree(pid)) + 0.1  # processes come and go, in ticks
    assert set(used) == {"worker", "postgres", "valkey", "supervisor"}
    assert all(used.values())


def test_the_cpu_of_children_that_have_ended_counts() -> None:
    before = cpu_seconds({os.getpid()})
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True)
    assert cpu_seconds({os.getpid()}) - before >= 0.28  # children are counted in ticks


PAGE = """
# HELP keyturn_stage_seconds .
# TYPE keyturn_stage_seconds histogram
keyturn_stage_seconds_bucket{{le="+Inf",stage="whole"}} {calls}
keyturn_stage_seconds_count{{stage="whole"}} {calls}
keyturn_stage_seconds_sum{{stage="whole"}} {whole}
keyturn_stage_seconds_count{{stage="claim"}} {claims}
keyturn_stage_seconds_sum{{stage="claim"}} {claim}
keyturn_stage_seconds_count{{stage="sign"}} {calls}
keyturn_stage_seconds_sum{{stage="sign"}} {sign}
keyturn_stage_seconds_count{{stage="facts"}} 7
keyturn_stage_seconds_sum{{stage="facts"}} 7.0
# TYPE keyturn_ledger_commit_seconds histogram
keyturn_ledger_commit_seconds_count {batches}
keyturn_ledger_commit_seconds_sum {commit}
# TYPE keyturn_ledger_batch_calls histogram
keyturn_ledger_batch_calls_count {batches}
keyturn_ledger_batch_calls_sum {calls}
"""


def test_stages_are_of_what_came_between_two_readings_and_of_an_answer() -> None:
    before = stages.read(PAGE.format(calls=100, whole=5.0, claims=10, claim=1.0, sign=2.0, batches=10, commit=1.0))
    after = stages.read(PAGE.format(calls=300, whole=7.0, claims=410, claim=1.4, sign=2.6, batches=60, commit=1.5))
    found = after.since(before)
    assert found.milliseconds() == pytest.approx({"whole": 10, "claim": 2, "sign": 3})  # a call claims twice here
    assert found.shares() == pytest.approx({"claim": 0.4, "sign": 0.6})
    assert (found.commit.mean, found.batch.mean) == pytest.approx((0.01, 4))


def test_stages_of_a_server_that_has_done_nothing_are_none() -> None:
    assert stages.read("").since(stages.read("")).commit.mean == 0


def ratio(medians: goals.Medians) -> float:
    return medians["a"] / medians["b"]


LESS, MORE = goals.Goal("less", 2, 1, ratio), goals.Goal("more", 1, 2, ratio, up=True)


@pytest.mark.parametrize(
    ("goal", "value", "met"),
    [
        (LESS, 1, "aim"), (LESS, 1.5, "must"), (LESS, 2, "must"), (LESS, 2.01, "missed"),
        (MORE, 2, "aim"), (MORE, 1.5, "must"), (MORE, 1, "must"), (MORE, 0.99, "missed"),
    ],
)  # fmt: skip
def test_a_goal_is_met_at_its_bound(goal: goals.Goal, value: float, met: str) -> None:
    verdict = goals.judge(goal, {"a": value * 3, "b": 3})
    assert verdict.value == pytest.approx(value)
    assert verdict.met == met


def test_a_goal_without_a_measurement_says_so() -> None:
    assert goals.judge(LESS, {"a": 1}).met == "not measured"


def test_goals_are_worked_out_from_medians() -> None:
    taken = {
        goals.L1: [50.0], goals.L2: [200, 240, 9_999], goals.SIGNED: [120, 100, 180], goals.UNSIGNED: [100],
        goals.FLOATING: [150], goals.OF_FIVE: [125], goals.ALL: [132], goals.OPENSSL: [290],
        goals.P99: [9], goals.P99_ALL: [7],
    }  # fmt: skip
    with_lanes = [goals.judge(goal, turns.medians(taken, lanes=True)).value for goal in goals.GOALS]
    assert with_lanes[:8] == pytest.approx([120 / 240, 1, 2, 1.25, 1.2, 1.1, 9, 7])
    assert goals.judge(goals.GOALS[0], turns.medians(taken, lanes=False)).met == "not measured"


def test_ratios_of_other_benchmarks_are_found_in_what_they_print(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(others, "FIGURES", {"scale": {"a": ("x", "y"), "b": ("z",)}})
    assert others.medians({"scale": {"x": {"y": 0.9}, "z": 2}}) == {"a": 0.9, "b": 2}


def test_every_goal_is_of_some_benchmark() -> None:
    asked: set[str] = set()

    class Asked(dict[str, float]):
        def __missing__(self, name: str) -> float:
            asked.add(name)
            return 1.0

    for goal in goals.GOALS:
        goals.judge(goal, Asked())
    elsewhere = {name for figures in others.FIGURES.values() for name in figures}
    of_turns = {goals.L1, goals.L2, goals.OPENSSL, goals.ALL, goals.P99, goals.P99_ALL, goals.LANES, *turns.COMPARED}
    assert asked == elsewhere | of_turns


def test_loading_demo_data_is_timed() -> None:
    assert others.loading(20, 1)["minutes"] > 0


def test_the_benchmark_in_the_readme_is_the_run_that_was_kept() -> None:
    text = report.README.read_text()
    assert text.count(report.BEGIN) == text.count(report.END) == 1
    assert report.updated(text) == text


def test_the_command_tells_what_it_can_do() -> None:
    told = CliRunner().invoke(cli.app, ["bench", "--help"]).output
    assert "--quick" in told
    assert "keyturn bench --quick" in told


def test_the_command_says_how_to_install_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    find: Callable[..., object] = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "matplotlib" else find(name, *more))
    monkeypatch.setattr(bench, "main", lambda *_, **__: None)
    result = CliRunner().invoke(cli.app, ["bench"])
    assert result.exit_code == 1
    assert "make bench" in result.output


def test_an_unknown_scenario_is_named_before_anything_starts() -> None:
    with pytest.raises(SystemExit, match=r"no scenario nonsense.*signed-reactivation"):
        bench.main(["nonsense"])
