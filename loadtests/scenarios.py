"""What is asked of the server, as a table: one row per scenario, and how its requests are made."""

import random
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass

from loadtests.driver import post
from loadtests.target import Target

SEED = 20_26
LICENSES = 500
POOLS, HOLDERS = 200, 5
LARGE_POOLS, MANY_HOLDERS = 2, 1_000
INTERVAL = 3_600
NAME = "Annabellelee"
SIGNED = {"Sign": "true", "SignMethod": 1, "ModelVersion": 3}
UNSIGNED = {"ModelVersion": 3}
FLOATS = {**SIGNED, "FloatingTimeInterval": INTERVAL}
SIGNED_REACTIVATION = "signed-reactivation"
UNLOGGED = frozenset({"key/GetKey"})  # every other good answer of these has one row in the log
MIX = {"reactivation": 60, "getkey": 15, "floating": 15, "counter": 5, "new": 5}  # of a hundred calls


class Forms:
    """Makes requests as they go over the wire: of client software, with the demo's token."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._shared = {"token": target.demo["token"], "ProductId": target.demo["product_id"]}

    def form(self, method: str, **params: object) -> bytes:
        """Return one call."""
        return post(f"/api/{method}", urllib.parse.urlencode({**self._shared, **params}).encode())


def code(number: int) -> str:
    """Return a machine code as the SDKs make them: 64 hexadecimal digits."""
    return f"{number:064x}"


def known(make: Forms, licenses: int, machines: int, **how: object) -> list[bytes]:
    """Re-activate the machines of full licenses: every one has its place already."""
    keys = make.target.new_keys(licenses, machines)
    requests = [
        make.form("key/Activate", Key=key, MachineCode=code(number), FriendlyName=NAME, **how)
        for number in range(machines)
        for key in keys
    ]
    make.target.settle(requests)
    return requests


def new(make: Forms, count: int) -> list[bytes]:
    """Activate machines that no license has yet: the first of each license, then the second, up to five."""
    keys = make.target.new_keys(-(-count // HOLDERS), HOLDERS)
    return [
        make.form("key/Activate", Key=key, MachineCode=code(number), FriendlyName=NAME, **SIGNED)
        for number in range(HOLDERS)
        for key in keys
    ]


def lookups(make: Forms) -> list[bytes]:
    """Get licenses of one machine each, signed."""
    keys = make.target.new_keys(LICENSES, 1)
    machines = [make.form("key/Activate", Key=key, MachineCode=code(0), FriendlyName=NAME) for key in keys]
    make.target.settle(machines)
    return [make.form("key/GetKey", Key=key, **SIGNED) for key in keys]


def counters(make: Forms) -> list[bytes]:
    """Move a counter of each license."""
    keys = make.target.new_keys(POOLS, 1)
    ids = [make.target.new_counter(key) for key in keys]
    return [
        make.form("data/IncrementIntValueToKey", Key=key, Id=number, IntValue=1)
        for key, number in zip(keys, ids, strict=True)
    ]


def mix(make: Forms, count: int) -> list[bytes]:
    """Mix them as a day does."""
    sources = {
        "reactivation": known(make, LICENSES, 1, **SIGNED),
        "getkey": lookups(make),
        "floating": known(make, POOLS, HOLDERS, **FLOATS),
        "counter": counters(make),
        "new": new(make, count * MIX["new"] // 100 + 1),
    }
    drawn = random.Random(SEED).choices(list(MIX), list(MIX.values()), k=count)
    turns = dict.fromkeys(MIX, 0)
    requests = []
    for kind in drawn:
        requests.append(sources[kind][turns[kind] % len(sources[kind])])
        turns[kind] += 1
    return requests


@dataclass(frozen=True, slots=True)
class Scenario:
    """A kind of load. `make` gets the forms and how many requests a run may need.

    Requests that are the same the first time and ever after are sent over and over; others `once`.
    """

    name: str
    title: str
    make: Callable[[Forms, int], list[bytes]]
    once: bool = False
    signed: bool = True


SCENARIOS = (
    Scenario(
        SIGNED_REACTIVATION, "signed re-activation",
        lambda make, _count: known(make, LICENSES, 1, **SIGNED),
    ),
    Scenario(
        "unsigned-reactivation", "unsigned re-activation",
        lambda make, _count: known(make, LICENSES, 1, **UNSIGNED), signed=False,
    ),
    Scenario("getkey", "GetKey, signed", lambda make, _count: lookups(make)),
    Scenario("new-activation", "new activation, signed", new, once=True),
    Scenario(
        "reactivation-of-5", "signed re-activation, 5 machines",
        lambda make, _count: known(make, POOLS, HOLDERS, **SIGNED),
    ),
    Scenario(
        "floating", "floating heartbeat, 5 holders, signed",
        lambda make, _count: known(make, POOLS, HOLDERS, **FLOATS),
    ),
    Scenario(
        "floating-1000", "floating heartbeat, 1,000 holders listed",
        lambda make, _count: known(make, LARGE_POOLS, MANY_HOLDERS, **FLOATS),
    ),
    Scenario("counter", "counter increment", lambda make, _count: counters(make), signed=False),
    Scenario("mix", "realistic mix", mix, once=True),
)  # fmt: skip
NAMED = {scenario.name: scenario for scenario in SCENARIOS}
