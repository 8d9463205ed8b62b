"""What takes long, and is only run with `--all`: benchmarks that stand for themselves, and loading a million licenses."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loadtests import goals
from loadtests.extent import Tell

# Module, and which of its figures a goal is: the names on the way to it in the JSON that it prints.
FIGURES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "scale": {
        goals.ZIPF: ("answers a second, large / small", "Zipf(1)"),
        goals.UNIFORM: ("answers a second, large / small", "uniform"),
    },
    "pools": {goals.POOL: ("large / small, seats a second",)},
    "overload": {goals.GOODPUT: ("worst", "goodput"), goals.SERVED: ("worst", "p99_s")},
    "load-demo": {goals.LOADED: ("minutes",)},
}
LICENSES, MACHINES = 1_000_000, 5


def run(tell: Tell) -> dict[str, Any]:
    """Run them one after the other; what each found, by its name."""
    results = {}
    for name in FIGURES:
        tell(f"{name}, which takes minutes")
        results[name] = loading(LICENSES, MACHINES) if name == "load-demo" else _printed(name)
    return results


def _printed(name: str) -> dict[str, Any]:
    told = subprocess.run([sys.executable, "-m", f"loadtests.{name}"], stdout=subprocess.PIPE, check=True)
    return dict(json.loads(told.stdout))


def loading(licenses: int, machines: int) -> dict[str, float]:
    """Load demo data as an operator does, into a folder of their own; the minutes from the command to its end."""
    with tempfile.TemporaryDirectory(prefix="keyturn-bench-") as folder:
        Path(folder).chmod(0o755)  # root's embedded engines run as another user
        keyturn = Path(sys.executable).with_name("keyturn")
        started = time.perf_counter()
        subprocess.run(
            [keyturn, "--data", f"{folder}/data", "load-demo", "--licenses", str(licenses), "--machines", str(machines)],
            stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        return {"licenses": licenses, "machines": machines, "minutes": round((time.perf_counter() - started) / 60, 3)}


def medians(results: Mapping[str, Any]) -> dict[str, float]:
    """Pick what the goals look at."""
    found = {}
    for name, result in results.items():
        for goal, way in FIGURES[name].items():
            value = result
            for step in way:
                value = value[step]
            found[goal] = float(value)
    return found
