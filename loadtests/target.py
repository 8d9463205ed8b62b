"""The server that is measured: started on a folder of its own as an operator starts it, and asked how it is."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadtests.driver import drive
from loadtests.machine import cpu_of_server
from loadtests.witness import COUNTER, Witness

DEADLINE = 60.0
SETTLERS = 32  # clients
MOST_KEYS = 1_000  # of one CreateKey
OPENSSL = "openssl"


@dataclass(frozen=True, slots=True)
class Target:
    """A running server: the process id of its supervisor, what its demo.json says, and who keeps what it was asked."""

    pid: int
    demo: dict[str, Any]
    witness: Witness = field(default_factory=Witness)

    @property
    def url(self) -> str:
        """Where its API is."""
        return str(self.demo["url"])

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """Call a method with the admin token unless another is given; its answer. Raises OSError."""
        values = {"token": self.demo["admin_token"], "ProductId": self.demo["product_id"], **params}
        body = urllib.parse.urlencode(values).encode()
        with urllib.request.urlopen(f"{self.url}/api/{method}", body, timeout=60) as answer:
            return dict(json.load(answer))

    def new_keys(self, count: int, machines: int) -> list[str]:
        """Make so many licenses with so many places each; their keys. The witness knows of them."""
        keys: list[str] = []
        while len(keys) < count:
            number = min(count - len(keys), MOST_KEYS)
            made = self.call("key/CreateKey", NoOfKeys=number, MaxNoOfMachines=machines, Period=365)
            keys += made["keys"] if number > 1 else [made["key"]]
        for key in keys:
            self.witness.license(key, machines)
        return keys

    def new_counter(self, key: str) -> int:
        """Give a license a counter, at 0; its id. The witness knows of it."""
        made = self.call("data/AddDataObjectToKey", Key=key, Name=COUNTER, IntValue=0)
        self.witness.counter(key)
        return int(made["id"])

    def settle(self, requests: list[bytes]) -> None:
        """Send each request once, and go on when all are answered well."""
        outcome = drive(self.url, requests, clients=SETTLERS, seconds=DEADLINE, once=True)
        if outcome.answers != {"ok": len(requests)}:
            raise SystemExit(f"Of {len(requests)} calls to begin with not all were answered well: {dict(outcome.answers)}")
        self.witness.saw(outcome.done)

    def metrics(self) -> str:
        """Return what the ops port shows to Prometheus."""
        with urllib.request.urlopen(f"{self.demo['ops_url']}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    def signer(self) -> str:
        """Return which signer its workers use, as they call it."""
        found = re.search(r'^keyturn_signer{signer="(\w+)"} [1-9]', self.metrics(), re.MULTILINE)
        return found[1] if found else OPENSSL

    def cpu(self) -> dict[str, float]:
        """Return the processor time used so far, in seconds, by kind of process."""
        return cpu_of_server(self.pid)


@contextlib.contextmanager
def serving(workers: int, **settings: str) -> Iterator[Target]:
    """Start a server with embedded engines, on free ports; end it and remove its folder. 0 workers: one per core."""
    folder = Path(tempfile.mkdtemp(prefix="keyturn-bench-"))
    folder.chmod(0o755)  # root's embedded engines run as another user
    data = folder / "data"
    environment = {**os.environ, "DATA": str(data), "PORT": "0", "WORKERS": str(workers), **settings}
    for name in ("DATABASE_URL", "REDIS_URL"):
        environment.pop(name, None)
    log = folder / "server.log"
    with log.open("wb") as lines:
        keyturn = Path(sys.executable).with_name("keyturn")
        process = subprocess.Popen([keyturn, "serve", "--demo"], env=environment, stdout=lines, stderr=lines)
    try:
        yield Target(process.pid, _ready(process, data / "demo.json", log))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        shutil.rmtree(folder)


def _ready(process: "subprocess.Popen[bytes]", written: Path, log: Path) -> dict[str, Any]:
    """Wait for demo.json, which is complete once the server serves. Raises SystemExit with the log's end."""
    until = time.monotonic() + DEADLINE
    while time.monotonic() < until and process.poll() is None:
        if written.exists() and "supervisor_pid" in (demo := json.loads(written.read_text())):
            return dict(demo)
        time.sleep(0.05)
    raise SystemExit(f"The server did not start:\n{log.read_text()[-2000:]}")
