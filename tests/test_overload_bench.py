"""The benchmark of overload: its sums, its audit, and that it says from which network a call comes."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from servers import Live

from loadtests import overload
from loadtests.driver import Outcome
from loadtests.overload import Side, Stream, disagreement, left
from loadtests.target import Target


def test_refusals_are_paid_for_from_the_capacity_by_what_they_cost() -> None:
    assert left(capacity=1_000, cost=200, refused=500, refusal=40) == 900


@pytest.mark.parametrize(("answers", "good", "rows", "agrees"), [
    ({"ok": 3, "503": 2}, True, 3, True),
    ({"ok": 3, "503": 2}, True, 4, False),
    ({"ok": 3}, True, 2, False),
    ({"ok": 3, "lost": 1}, True, 3, False),
    ({"ok": 3, "refused": 1}, True, 3, False),
    ({"503": 3, "refused": 1}, False, 0, True),
    ({"ok": 1, "refused": 1}, False, 1, False),
])  # fmt: skip
def test_the_audit_wants_one_row_for_each_yes_and_no_answers_of_other_kinds(
    answers: dict[str, int], rows: int, *, good: bool, agrees: bool
) -> None:
    found = disagreement([Stream([], 1, good=good)], [Outcome(answers=Counter(answers))], rows)
    assert (found is None) == agrees


def test_streams_are_sent_at_once_and_each_is_told_what_it_saw(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overload, "LICENSES", 3)
    with ThreadPoolExecutor(1) as sender:
        side = Side(Target(live.process.pid, live.demo), sender)
        bad = [request.replace(b"Key=", b"Not=") for request in side.known]
        phase = side.phase(Stream(side.known, 2, 50.0), Stream(bad, 2, 100.0, good=False), seconds=0.4)
        with pytest.raises(SystemExit, match="other kinds"):
            side.phase(Stream(bad, 2, 100.0), seconds=0.1)
    well, noisy = phase.streams
    assert (well.share, noisy.share) == (1, 1)
    assert 0 < well.served < noisy.served
    assert noisy.p99 == 0 < well.p50 <= well.p99


def test_a_request_says_from_where_it_comes() -> None:
    assert overload._from(b"POST / HTTP/1.1\r\nHost: x\r\n\r\na=b", "198.18.0.9") == (
        b"POST / HTTP/1.1\r\nX-Forwarded-For: 198.18.0.9\r\nHost: x\r\n\r\na=b"
    )
    assert len({overload._network(number).rpartition(".")[0] for number in range(1_000)}) == overload.NETWORKS
