"""The clients of load tests, what their crowds do and when; and locust itself, which runs them: an extra, so seldom."""

import socketserver
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random

import pytest
from servers import Live

from loadtests.clients import Client, Seen
from loadtests.crowds import CROWDS, DAY, Stock
from loadtests.journal import Call, Kind, Line
from loadtests.shapes import SHAPES, Stage, stage_at

ROOT = Path(__file__).parent.parent
YES = b'{"result":0,"message":""}'
NO = b'{"result":1,"message":"Cannot activate the new device as the limit has been reached."}'


class Answering(socketserver.ThreadingTCPServer):
    """Answers one request after the other with what it is told to; None cuts the connection. Counts connections."""

    daemon_threads = True

    def __init__(self, answers: Sequence[tuple[int, bytes] | None]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.answers = list(answers)
        self.connections = 0

    @property
    def demo(self) -> dict[str, object]:
        url = f"http://127.0.0.1:{self.server_address[1]}"
        return {"url": url, "token": "t", "admin_token": "a", "product_id": 1}


class Answer(socketserver.StreamRequestHandler):
    server: Answering

    def handle(self) -> None:
        self.server.connections += 1
        while self.rfile.readline():
            length, closes = 0, False
            while (line := self.rfile.readline().strip().lower()) != b"":
                length = int(line[15:]) if line.startswith(b"content-length:") else length
                closes = closes or line == b"connection: close"
            self.rfile.read(length)
            answer = self.server.answers.pop(0)
            if answer is None:
                return
            status, body = answer
            self.wfile.write(b"HTTP/1.1 %d So\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
            if closes:
                return


@contextmanager
def answering(*answers: tuple[int, bytes] | None) -> Iterator[Answering]:
    with Answering(answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def activations(server: Answering, times: int, *, keeps: bool = True) -> tuple[list[str | None], list[Line], list[str]]:
    """What so many Activate were answered, the journal of them, and their faults."""
    lines: list[Line] = []
    seen: list[Seen] = []
    with closing(Client(server.demo, lines.append, seen.append, keeps=keeps)) as client:
        said = [client.activate("K", "m") for _ in range(times)]
    return said, lines, [each.fault for each in seen]


# Clients


def test_a_client_notes_what_it_was_answered() -> None:
    with answering((200, YES), (200, NO), (429, NO)) as server:
        said, lines, faults = activations(server, 3)
    assert said[0] == ""
    assert said[1] == said[2] == "Cannot activate the new device as the limit has been reached."
    assert [line.said for line in lines if isinstance(line, Call)] == said
    assert faults == ["", "", "HTTP 429"]


def test_what_was_cut_off_or_not_done_for_sure_has_no_answer_and_is_not_made_again() -> None:
    with answering((200, YES), None, (503, NO)) as server:
        said, lines, faults = activations(server, 3)
    assert said == ["", None, None]
    assert [line.said for line in lines if isinstance(line, Call)] == said
    assert faults == ["", "RemoteDisconnected", "HTTP 503"]
    assert server.answers == []


def test_a_call_that_found_nobody_was_not_made() -> None:
    with answering() as server:
        pass
    assert activations(server, 1) == ([None], [], ["nobody there"])


def test_a_client_that_is_ended_midway_notes_that_it_does_not_know() -> None:
    class Ended(BaseException):
        pass

    def end(_: Seen) -> None:
        raise Ended

    lines: list[Line] = []
    with (
        answering((200, YES)) as server,
        closing(Client(server.demo, lines.append, end)) as client,
        pytest.raises(Ended),
    ):
        client.activate("K", "m")
    assert [line.said for line in lines if isinstance(line, Call)] == [None]


@pytest.mark.parametrize(("keeps", "connections"), [(True, 1), (False, 3)])
def test_a_client_keeps_its_connection_or_makes_one_for_each_call(keeps: bool, connections: int) -> None:
    with answering(*[(200, YES)] * 3) as server:
        activations(server, 3, keeps=keeps)
        assert server.connections == connections


def test_load_goes_to_this_machine_only() -> None:
    with pytest.raises(ValueError, match="this machine"):
        Client({"url": "http://192.0.2.1:80"}, [].append)


# Crowds


class Recorded(Client):
    """A client that answers itself: yes, or at first what it is told to."""

    def __init__(self, *told: str | None) -> None:
        super().__init__({"url": "http://127.0.0.1:1"}, self.take_note)
        self.asked: list[Call] = []
        self.told = list(told)

    def take_note(self, line: Line) -> None:
        raise AssertionError(line)

    def create(self, count: int, places: int, overdraft: int = 0) -> list[str]:
        self.asked += [Call(Kind.CREATE, f"new-{places}-{overdraft}-{number}", "") for number in range(count)]
        return [call.key for call in self.asked[-count:]]

    def _ask(self, call: Call, params: object) -> str | None:
        del params
        self.asked.append(call)
        return self.told.pop(0) if self.told else ""


def live_on(name: str, client: Recorded, steps: int, seed: int = 1) -> list[float]:
    """Have one client live for some steps; its pauses."""
    life = CROWDS[name].life(client, Stock(["k1", "k2"], ["p1", "p2"], ["k1"]), Random(seed))
    return [next(life) for _ in range(steps)]


def test_who_starts_activates_and_then_looks_at_the_key() -> None:
    client = Recorded()
    live_on("start-up", client, 200)
    assert [call.kind for call in client.asked] == [Kind.ACTIVATE, Kind.GET_KEY] * 200
    assert 20 < len({call.code for call in client.asked}) < 60  # every fifth start is somebody else's


def test_a_heartbeat_renews_one_seat_until_it_is_given_back() -> None:
    client = Recorded()
    live_on("heartbeats", client, 200)
    for before, after in zip(client.asked, client.asked[1:], strict=False):
        assert (before.code == after.code) == (before.kind is Kind.TAKE)
    assert 0 < sum(call.kind is Kind.GIVE for call in client.asked) < 20


def test_a_mixed_day_is_mixed_as_it_says() -> None:
    client = Recorded()
    live_on("mixed-day", client, 5_000)
    asked = Counter(call.kind for call in client.asked)
    assert sum(DAY.values()) == 100
    moved = asked[Kind.DEACTIVATE]
    shares = {
        "activate": asked[Kind.ACTIVATE] - moved, "look": asked[Kind.GET_KEY], "beat": asked[Kind.TAKE],
        "count": asked[Kind.INCREMENT], "move": moved, "sell": asked[Kind.CREATE],
    }  # fmt: skip
    assert all(abs(shares[what] / 50 - DAY[what]) < 3 for what in DAY)


def test_who_rushes_is_new_each_time_and_does_not_rest() -> None:
    client = Recorded()
    assert live_on("rush", client, 50)[1:] == [0.0] * 49
    assert len({call.code for call in client.asked}) == 50


def test_a_herd_waits_for_the_same_moment_and_asks_until_there_is_an_answer() -> None:
    client = Recorded(None, None, "", None, "")
    pauses = live_on("retry-storm", client, 5)
    assert [call.kind for call in client.asked] == [Kind.ACTIVATE] * 3 + [Kind.TAKE] * 2
    assert len({(call.key, call.code) for call in client.asked}) == 2
    assert pauses[1:4] == [0.05] * 3
    assert 0 < pauses[0] <= 10


# Shapes


def test_each_crowd_has_a_shape() -> None:
    assert SHAPES.keys() == CROWDS.keys()


def test_a_load_goes_through_its_stages_and_ends() -> None:
    stages = (Stage(5, 10, 2), Stage(3, 4, 8))
    assert [stage_at(stages, seconds) for seconds in (0, 4.9, 5, 7.9, 8)] == [stages[0]] * 2 + [stages[1]] * 2 + [None]
    assert stage_at(stages, 9, times=2, longer=2) == Stage(10, 20, 4)
    assert stage_at(stages, 15, times=0.1, longer=2) == Stage(6, 1, 1)


# Locust


@pytest.mark.soak
@pytest.mark.parametrize("name", CROWDS)
def test_locust_runs_a_scenario_that_the_audit_agrees_with(live: Live, folder: Path, name: str) -> None:
    command = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless", "--only-summary"]
    options = ["--scenario", name, "--data", live.data, "--journal", folder / "journal"]
    options += ["--times", "0.2", "--longer", "0.5"]
    run = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "all agree" in run.stderr
