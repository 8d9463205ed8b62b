"""SIGHUP has the workers replaced one by one, and each may be told to end alone: nobody at all is turned away or cut off."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import asyncpg
import pytest
from callers import Caller, on_every_worker, request, stock
from processes import bugs, events, running, server, tree, workers_ready
from recorder import ACTIVATE, OK, Recorder
from servers import Live, until

READY_SECONDS = 60


class Mix(NamedTuple):
    """How often all workers are replaced, and who calls meanwhile: with a connection for each call, or keeping it."""

    rounds: int
    alone: int
    kept: int


@dataclass(slots=True)
class Load:
    """Clients that call as fast as they are answered: some with a connection for each call, some that keep theirs."""

    live: Live
    record: Recorder
    key: str
    stop: asyncio.Event

    async def client(self, *, keeps: bool) -> None:
        code = self.record.unique("m")
        async with Caller(self.live, self.record) as caller:
            while not self.stop.is_set():
                await caller.activate(self.key, code, self.record.unique("name"))  # raises if it cannot connect
                if not keeps:
                    caller.close()

    async def goes_on(self, calls: int) -> None:
        wanted = self.record.answered + calls
        await until(lambda: self.record.answered >= wanted, READY_SECONDS)


@asynccontextmanager
async def load(live: Live, record: Recorder, alone: int, kept: int) -> AsyncIterator[Load]:
    """So many clients with a connection for each call, and so many that keep theirs, for the length of a `with`."""
    (key,) = await stock(live, record, 100_000)
    crowd = Load(live, record, key, asyncio.Event())
    async with asyncio.TaskGroup() as group:
        for number in range(alone + kept):
            group.create_task(crowd.client(keeps=number >= alone))
        try:
            await crowd.goes_on(100)
            yield crowd
        finally:
            crowd.stop.set()


async def replace(live: Live) -> None:
    """Ask for new workers, and wait until they are there and the old ones gone."""
    done, before = events(live, "supervisor.replaced"), tree(live.process.pid)
    old = {pid: before[pid] for pid in live.demo["worker_pids"]}
    live.process.send_signal(signal.SIGHUP)
    failed = events(live, "worker.not_replaced")
    await until(lambda: events(live, "supervisor.replaced") > done or events(live, "worker.not_replaced") > failed, 60)
    assert events(live, "worker.not_replaced") == failed
    assert running(old) == []
    assert await asyncio.to_thread(workers_ready, live, len(old))


def metric(live: Live, start: str) -> float:
    """The sum of what begins so in /metrics."""
    with urlopen(f"{live.demo['ops_url']}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(start))


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    "mix",
    [
        Mix(1, alone=6, kept=3),
        pytest.param(Mix(10, alone=64, kept=0), marks=pytest.mark.soak),
        pytest.param(Mix(10, alone=32, kept=32), marks=pytest.mark.soak),
    ],
)
async def test_workers_replaced_under_load_turn_nobody_away_cut_nobody_off_and_count_on(
    own: Live, record: Recorder, inside: asyncpg.Connection, mix: Mix
) -> None:
    name = 'keyturn_calls_total{code="OK",method="key/Activate"}'
    before, restarts = await asyncio.to_thread(metric, own, name), metric(own, "keyturn_worker_restarts_total")
    async with load(own, record, mix.alone, mix.kept) as crowd:
        for _ in range(mix.rounds):
            await replace(own)
            await crowd.goes_on(100)
    assert {call.status for call in record.calls} == {OK}
    assert await record.audit(inside) == []
    counted = await asyncio.to_thread(metric, own, name) - before
    assert counted == sum(call.granted for call in record.calls)
    assert await asyncio.to_thread(metric, own, "keyturn_worker_restarts_total") == restarts


@pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=pytest.mark.soak)])
async def test_a_worker_told_to_end_under_load_cuts_off_nobody_with_a_connection_for_each_call(
    own: Live, record: Recorder, inside: asyncpg.Connection, rounds: int
) -> None:
    async with load(own, record, 8, 0) as crowd:
        for _ in range(rounds):
            for slot in range(2):
                ended = events(own, "worker.ended")
                os.kill(own.demo["worker_pids"][slot], signal.SIGTERM)
                await until(lambda ended=ended: events(own, "worker.ended") > ended, READY_SECONDS)
                await until(lambda: asyncio.to_thread(workers_ready, own, 2), READY_SECONDS)
            await crowd.goes_on(100)
    assert {call.status for call in record.calls} == {OK}
    assert await record.audit(inside) == []


@pytest.mark.parametrize("cut", [10, -10], ids=["in the header", "in the body"])
async def test_a_worker_told_to_end_in_the_middle_of_a_request_takes_the_rest_and_answers(
    own: Live, record: Recorder, cut: int
) -> None:
    (key,) = await stock(own, record, 5)
    async with on_every_worker(own, record, 2) as workers:
        pid, (halfway, idle) = own.demo["worker_pids"][0], workers[0]
        whole = request(ACTIVATE, halfway.body(Key=key, MachineCode="m"))
        connection, other = await halfway.connect(), await idle.connect()
        connection.writer.write(whole[:cut])
        await asyncio.sleep(0.05)  # or it would come in one piece, and prove less
        os.kill(pid, signal.SIGTERM)
        assert await other.reader.read() == b""  # it has begun to leave
        connection.writer.write(whole[cut:])
        status, _, body = await connection.answer()
        assert (status, connection.stays) == (OK, False)
        assert b'"result":0' in body
    await until(lambda: asyncio.to_thread(workers_ready, own, 2), READY_SECONDS)


async def test_a_new_worker_that_cannot_serve_leaves_the_old_ones_in_place(own: Live, record: Recorder) -> None:
    before = own.demo["worker_pids"]
    key_file = own.data / "keys" / "default.pem"
    away = key_file.rename(key_file.with_suffix(".away"))
    try:
        async with load(own, record, 2, 0) as crowd:
            failed = events(own, "worker.not_replaced")
            own.process.send_signal(signal.SIGHUP)
            await until(lambda: events(own, "worker.not_replaced") > failed, READY_SECONDS)
            await crowd.goes_on(50)
    finally:
        away.rename(key_file)
    assert {call.status for call in record.calls} == {OK}
    assert own.demo["worker_pids"] == before
    assert events(own, "worker.cannot_start") == 1
    await replace(own)  # what was wrong has been put right
    assert not {*own.demo["worker_pids"]} & {*before}


async def test_an_old_worker_that_dies_while_the_new_one_starts_makes_no_difference(own: Live, record: Recorder) -> None:
    before = own.demo["worker_pids"]
    known = tree(own.process.pid)

    def newcomers() -> set[int]:
        return tree(own.process.pid).keys() - known.keys()

    replaced = events(own, "supervisor.replaced")
    own.process.send_signal(signal.SIGHUP)
    await until(newcomers)
    os.kill(before[0], signal.SIGKILL)
    await until(lambda: events(own, "supervisor.replaced") > replaced, READY_SECONDS)
    await until(lambda: asyncio.to_thread(workers_ready, own, 2), READY_SECONDS)
    after = own.demo["worker_pids"]
    assert not {*after} & {*before}
    assert len(tree(own.process.pid)) == len(known)  # none too many
    async with on_every_worker(own, record) as callers:
        assert len(callers) == 2


async def test_a_server_told_to_stop_while_it_replaces_workers_leaves_none_behind(folder: Path, record: Recorder) -> None:
    async with server(folder) as live, on_every_worker(live, record):  # each worker is patient with its caller
        before = live.demo["worker_pids"]
        live.process.send_signal(signal.SIGHUP)
        await until(lambda: live.demo["worker_pids"] != before)
        family = tree(live.process.pid)
        assert len({*before, *live.demo["worker_pids"]} & family.keys()) == 3  # one leaves
        live.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(live.process.wait, 30) == 0
        assert running(family) == []
        assert events(live, "worker.stopped") == 3
        assert bugs(live) == []


@pytest.fixture
def told(folder: Path) -> Iterator[socket.socket]:
    """What systemd would listen at."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(folder / "notify"))
        listening.settimeout(READY_SECONDS)
        yield listening


@pytest.fixture
def on_terminal(folder: Path, told: socket.socket) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """A server that was started in a terminal, and that terminal's other end."""
    ours, its = os.openpty()
    settings = {"PORT": "0", "DATA": str(folder / "data"), "WORKERS": "1", "NOTIFY_SOCKET": told.getsockname()}
    environment = {**os.environ, **settings}
    program = Path(sys.executable).with_name("keyturn")
    # A session of its own whose controlling terminal this becomes, as a shell in a terminal has it.
    lead = "import os, sys, fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", lead, program, "serve"], env=environment, stdin=its, stdout=its, stderr=its,
        start_new_session=True,
    )  # fmt: skip
    os.close(its)
    try:
        yield process, ours
    finally:
        with contextlib.suppress(OSError):
            os.close(ours)
        process.kill()
        process.wait()


def said(terminal: int, word: bytes) -> None:
    """Read what is written to a terminal up to a word."""
    text = b""
    while word not in text:
        text += os.read(terminal, 65_536)


async def test_a_terminal_that_is_closed_ends_the_server_and_sighup_from_elsewhere_does_not(
    on_terminal: tuple["subprocess.Popen[bytes]", int], told: socket.socket
) -> None:
    process, terminal = on_terminal
    async with asyncio.timeout(READY_SECONDS):
        await asyncio.to_thread(said, terminal, b"supervisor.serving")
        process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(said, terminal, b"supervisor.replaced")
    assert told.recv(100) == b"READY=1"
    assert told.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    assert told.recv(100) == b"READY=1"
    family = tree(process.pid)
    os.close(terminal)
    assert await asyncio.to_thread(process.wait, 30) == 0
    assert running(family) == []
