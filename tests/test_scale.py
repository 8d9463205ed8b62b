"""What the benchmark of size asks for: licenses drawn as it says, each with a machine that it has."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from urllib.parse import parse_qs

import pytest

from loadtests.scale import UNIFORM, ZIPF, Side
from loadtests.target import Target
from server.load_demo import Plan

PLAN = Plan(200, 3)
DRAWN = 20_000


def drawn(way: str) -> Counter[tuple[str, str]]:
    """Keys and machine codes of so many calls."""
    with ThreadPoolExecutor() as clients:
        side = Side(Target(0, {"admin_token": "t"}), PLAN, 3001, clients)
        forms = [parse_qs(call.partition(b"\r\n\r\n")[2].decode()) for call in islice(side._activations(way), DRAWN)]
    return Counter((each["Key"][0], each["MachineCode"][0]) for each in forms)


@pytest.mark.parametrize(("way", "first", "last"), [(ZIPF, 0.170, 0.0009), (UNIFORM, 0.005, 0.005)])
def test_licenses_are_drawn_as_it_says(way: str, first: float, last: float) -> None:
    """By Zipf(1), of 200 licenses the first is asked for in 17 % of all calls, 200 times as often as the last."""
    keys: Counter[str] = Counter()
    for (key, _), number in drawn(way).items():
        keys[key] += number
    shares = [number / DRAWN for _, number in keys.most_common()]
    assert len(shares) == PLAN.licenses
    assert shares[0] == pytest.approx(first, rel=0.5)
    assert shares[-1] == pytest.approx(last, rel=0.6)


def test_only_machines_that_are_there_already_are_asked_for() -> None:
    known = {(key, code) for key, codes in map(PLAN.license, range(1, 201)) for code in codes}
    assert set(drawn(UNIFORM)) == known
