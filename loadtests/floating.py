"""What a floating heartbeat costs beside a node-locked re-activation: CPU of all processes, in one run, in turns.

`python -m loadtests.floating` starts a server of its own with one worker, makes licenses whose machines are node-locked and
others whose machines float, loads each kind several times in turns, audits the log after each, and prints a table and JSON.
"""

import json
import signal
import urllib.parse
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from loadtests.driver import drive, post
from loadtests.first_figure import WARM_SECONDS, call, carry_out, measure, start
from loadtests.machine import describe

LICENSES = 200
TURNS = 3
INTERVAL = 3_600
NAME = "Annabellelee"  # twelve letters


def forms(demo: dict[str, Any], keys: list[str], machines: int, **how: object) -> list[bytes]:
    """Return an Activate for each machine of each license, signed, all machines listed."""
    shared = {
        "token": demo["token"], "ProductId": demo["product_id"], "FriendlyName": NAME, "Sign": "true", "SignMethod": 1,
        "ModelVersion": 3, **how,
    }  # fmt: skip
    codes = [f"{number:064x}" for number in range(machines)]
    return [
        post("/api/key/Activate", urllib.parse.urlencode({**shared, "Key": key, "MachineCode": code}).encode())
        for key in keys
        for code in codes
    ]


def run(clients: int, seconds: float, data: Path) -> dict[str, Any]:
    """Measure both kinds with one machine a license, and with five."""
    process, demo = start(data)
    result: dict[str, Any] = {"machine": describe(), "clients": clients, "seconds": seconds, "turns": TURNS}
    try:
        for machines in (1, 5):
            kinds: dict[str, list[bytes]] = {}
            for kind, how in (("node-locked", {}), ("floating", {"FloatingTimeInterval": INTERVAL})):
                made = call(
                    demo["url"], "key/CreateKey", token=demo["admin_token"], ProductId=demo["product_id"],
                    NoOfKeys=LICENSES, MaxNoOfMachines=machines, Period=365,
                )  # fmt: skip
                kinds[kind] = forms(demo, made["keys"], machines, **how)
                drive(demo["url"], kinds[kind], clients=32, seconds=2 * WARM_SECONDS)  # every machine gets its place
            taken: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
            for _ in range(TURNS):
                for kind, requests in kinds.items():
                    taken[kind].append(measure(process.pid, demo, requests, clients, seconds))
            of = {kind: _middle(turns) for kind, turns in taken.items()}
            ratio = of["floating"]["cpu_us_per_answer"] / of["node-locked"]["cpu_us_per_answer"]
            result |= {f"{kind}, {machines} a license": figures for kind, figures in of.items()}
            result[f"floating / node-locked, {machines} a license"] = round(ratio, 3)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    return result


def _middle(turns: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: round(median(turn[name] for turn in turns), 2) for name in turns[0]}


def show(result: dict[str, Any]) -> None:
    """Print the table, and the whole result as JSON."""
    keys = ("per_second", "cpu_us_per_answer", "of_it_in_the_worker", "p50_ms", "p99_ms")
    table = Table("what", "per second", "CPU µs each", "of it in the worker", "p50 ms", "p99 ms", title="Signed, one worker")
    for name, each in result.items():
        if isinstance(each, dict) and "per_second" in each:
            table.add_row(name, *(str(each[key]) for key in keys))
        elif "/" in name:
            table.add_row(name, "", f"{each} times", "", "", "")
    Console(stderr=True).print(table)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    carry_out(__doc__ or "", run, show, seconds=5.0)
