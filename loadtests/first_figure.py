"""The first figure: re-activations a second of one worker, signed and not, beside two limits measured in the same run.

`python -m loadtests.first_figure` starts a server of its own, loads it from this machine, audits the log, and prints a
table and JSON. The limits: a bare aiohttp handler that parses the same form and answers as many bytes, and a loop that
only signs.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from multiprocessing import Process
from pathlib import Path
from typing import Any

import asyncpg
import uvloop
from aiohttp import web
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from rich.console import Console
from rich.table import Table

from loadtests.driver import Outcome, drive, post
from loadtests.machine import cpu_seconds, describe, tree

LICENSES = 500
WARM_SECONDS = 2.0
DEADLINE = 60.0


def call(url: str, method: str, **params: object) -> dict[str, Any]:
    """Call a method; its answer."""
    with urllib.request.urlopen(f"{url}/api/{method}", urllib.parse.urlencode(params).encode(), timeout=30) as answer:
        return dict(json.load(answer))


def start(data: Path) -> tuple["subprocess.Popen[bytes]", dict[str, Any]]:
    """Start a server of one worker; its process and its demo.json."""
    keyturn = Path(sys.executable).with_name("keyturn")
    environment = {**os.environ, "DATA": str(data), "PORT": "0", "WORKERS": "1"}
    process = subprocess.Popen([keyturn, "serve", "--demo"], env=environment, stdout=subprocess.DEVNULL)
    until = time.monotonic() + DEADLINE
    while time.monotonic() < until and process.poll() is None:
        if (data / "demo.json").exists():
            return process, json.loads((data / "demo.json").read_text())
        time.sleep(0.05)
    raise SystemExit("The server did not start; its log is above.")


def forms(demo: dict[str, Any], keys: list[str], **how: object) -> list[bytes]:
    """Return one Activate per license, always of the same machine."""
    shared = {"token": demo["token"], "ProductId": demo["product_id"], "MachineCode": "machine-1", **how}
    return [post("/api/key/Activate", urllib.parse.urlencode({**shared, "Key": key}).encode()) for key in keys]


async def rows(dsn: str) -> int:
    """Return how many rows the log has."""
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval("select count(*) from log"))
    finally:
        await connection.close()


def measure(process_id: int, demo: dict[str, Any], requests: list[bytes], clients: int, seconds: float) -> dict[str, Any]:
    """Load the server; the figures, after an audit: every good answer has its row."""
    drive(demo["url"], requests, clients=clients, seconds=WARM_SECONDS)
    pids, workers, before = tree(process_id), set(demo["worker_pids"]), asyncio.run(rows(demo["postgres_dsn"]))
    used, of_workers = cpu_seconds(pids), cpu_seconds(workers)
    outcome = drive(demo["url"], requests, clients=clients, seconds=seconds)
    used, of_workers = cpu_seconds(pids) - used, cpu_seconds(workers) - of_workers
    logged = asyncio.run(rows(demo["postgres_dsn"])) - before
    if logged != outcome.answers["ok"] or set(outcome.answers) != {"ok"}:
        raise SystemExit(f"The audit failed: {dict(outcome.answers)} answers, {logged} rows.")
    return {**figures(outcome, used), "of_it_in_the_worker": round(of_workers / outcome.answers["ok"] * 1e6, 1)}


def figures(outcome: Outcome, used: float) -> dict[str, Any]:
    """Return the figures of one run."""
    return {
        "per_second": round(outcome.rate),
        "cpu_us_per_answer": round(used / outcome.answers["ok"] * 1e6, 1),
        "p50_ms": round(outcome.percentile(0.50), 2),
        "p99_ms": round(outcome.percentile(0.99), 2),
        "answers": outcome.answers["ok"],
    }


def bare_handler(listening: socket.socket, size: int) -> None:
    """Serve a handler that parses a form and answers `size` bytes: the most that aiohttp could do here."""
    body = (b'{"result":0,"filler":"' + b"x" * size)[: size - 2] + b'"}'

    async def handle(request: web.Request) -> web.Response:
        await request.post()
        return web.Response(body=body, content_type="application/json")

    async def serve() -> None:
        application = web.Application()
        application.router.add_route("*", "/{tail:.*}", handle)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.SockSite(runner, listening).start()
        await asyncio.Event().wait()

    uvloop.run(serve())


def measure_bare(requests: list[bytes], size: int, clients: int, seconds: float) -> dict[str, Any]:
    """Load the bare handler in a process of its own."""
    listening = socket.create_server(("127.0.0.1", 0))
    process = Process(target=bare_handler, args=(listening, size), daemon=True)
    process.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    drive(url, requests, clients=clients, seconds=WARM_SECONDS)
    used = cpu_seconds({process.pid or 0})
    outcome = drive(url, requests, clients=clients, seconds=seconds)
    used = cpu_seconds({process.pid or 0}) - used
    process.terminate()
    process.join()
    return figures(outcome, used)


def signatures(seconds: float) -> dict[str, Any]:
    """Sign on one core, and nothing else: the most that one worker could sign with OpenSSL."""
    key = rsa.generate_private_key(65_537, 2048)
    payload, count, started = b"x" * 700, 0, time.perf_counter()
    while time.perf_counter() < started + seconds:
        key.sign(payload, padding.PKCS1v15(), hashes.SHA256())
        count += 1
    taken = time.perf_counter() - started
    return {"per_second": round(count / taken), "cpu_us_per_answer": round(taken / count * 1e6, 1)}


def run(clients: int, seconds: float, data: Path) -> dict[str, Any]:
    """Measure everything in one run."""
    process, demo = start(data)
    try:
        made = call(
            demo["url"], "key/CreateKey", token=demo["admin_token"], ProductId=demo["product_id"], NoOfKeys=LICENSES,
            MaxNoOfMachines=3, Period=365,
        )  # fmt: skip
        signed = forms(demo, made["keys"], Sign="true", SignMethod=1, ModelVersion=3)
        unsigned = forms(demo, made["keys"], ModelVersion=3)
        drive(demo["url"], signed, clients=32, seconds=WARM_SECONDS)  # every license gets its machine
        example = urllib.request.urlopen(f"{demo['url']}/api/key/Activate", signed[0].partition(b"\r\n\r\n")[2]).read()
        return {
            "machine": describe(),
            "clients": clients,
            "seconds": seconds,
            "unsigned re-activations, one worker": measure(process.pid, demo, unsigned, clients, seconds),
            "signed re-activations, one worker": measure(process.pid, demo, signed, clients, seconds),
            "limit: bare aiohttp form handler": measure_bare(signed, len(example), clients, seconds),
            "limit: RSA-2048 signatures, one core": signatures(seconds),
        }
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def show(result: dict[str, Any]) -> None:
    """Print the table, and the whole result as JSON."""
    columns = ("what", "per second", "CPU µs each", "of it in the worker", "p50 ms", "p99 ms")
    table = Table(*columns, title="One worker, all on this machine")
    for name, each in result.items():
        if isinstance(each, dict) and "per_second" in each:
            keys = ("per_second", "cpu_us_per_answer", "of_it_in_the_worker", "p50_ms", "p99_ms")
            table.add_row(name, *(str(each.get(key, "")) for key in keys))
    Console(stderr=True).print(table)
    print(json.dumps(result, indent=2))


def carry_out(
    about: str, run: Callable[[int, float, Path], dict[str, Any]], show: Callable[[dict[str, Any]], None], seconds: float
) -> None:
    """Parse the arguments of a benchmark, run it in a folder of its own, and show what came out."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=seconds)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="keyturn-bench-"))
    folder.chmod(0o755)  # root's embedded engines run as another user
    try:
        show(run(arguments.clients, arguments.seconds, folder / "data"))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    carry_out(__doc__ or "", run, show, seconds=10.0)
