"""The processes of a server that a test started: which there are, which serves a connection, and how they are killed."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import orjson
from servers import Live, start, stop

PROC = Path("/proc")
# Log events that are never right: a bug of ours, whatever the clients were told.
BUGS = ("call.failed", "supervisor.task_failed", "worker.ledger_failed")


@asynccontextmanager
async def server(folder: Path, *, workers: int = 2, **environment: str) -> AsyncIterator[Live]:
    """A server of the test's own, started beside the event loop (a proxy may run there), stopped if it still runs."""
    live = await asyncio.to_thread(start, folder / "data", workers=workers, **environment)
    try:
        yield live
    finally:
        if live.process.poll() is None:
            await asyncio.to_thread(stop, live)


def bugs(live: Live) -> list[str]:
    """What a server wrote to its log that it must never have to write."""
    lines = (live.data.parent / f"{live.data.name}.log").read_text().splitlines()
    return [line for line in lines if "Traceback" in line or any(f'"{event}"' in line for event in BUGS)]


def events(live: Live, name: str) -> int:
    """How often a server logged this event."""
    return (live.data.parent / f"{live.data.name}.log").read_text().count(f'"{name}"')


def parents() -> dict[int, int]:
    """Every process that runs, with its parent."""
    found = {}
    for path in PROC.iterdir():
        if path.name.isdigit():
            with suppress(OSError):
                state, parent = (path / "stat").read_text().rpartition(")")[2].split()[:2]
                if state not in "ZX":
                    found[int(path.name)] = int(parent)
    return found


def tree(root: int) -> dict[int, str]:
    """A process and all that descends from it, each with the time of its start: numbers are used again."""
    family, children = [root], parents()
    for pid in family:
        family += [child for child, parent in children.items() if parent == pid]
    return {pid: born for pid in family if (born := _born(pid))}


def running(processes: Mapping[int, str]) -> list[int]:
    """Those of them that still run."""
    return [pid for pid, born in processes.items() if pid in parents() and _born(pid) == born]


def kill(processes: Mapping[int, str] | Iterable[int]) -> None:
    """SIGKILL, in this order."""
    for pid in processes:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def engine(live: Live, program: str) -> int:
    """The process id of an embedded engine: the child of the supervisor that runs the program."""
    children = (pid for pid, parent in parents().items() if parent == live.process.pid)
    (found,) = [pid for pid in children if (PROC / str(pid) / "comm").read_text().strip() == program]
    return found


def worker_of(live: Live, port: int) -> int | None:
    """The worker at the other end of a connection of ours, by our port; None while it has not been accepted."""
    serving = int(live.url.rpartition(":")[2])
    for line in (PROC / "net" / "tcp").read_text().splitlines()[1:]:
        _, local, remote, *rest = line.split()
        if (int(local.partition(":")[2], 16), int(remote.partition(":")[2], 16)) == (serving, port):
            return next((pid for pid in live.demo["worker_pids"] if rest[6] in _sockets(pid)), None)
    return None


def workers_ready(live: Live, number: int) -> bool:
    """Whether so many workers serve, none of them a dead one in the file."""
    pids = live.demo["worker_pids"]
    return len(pids) == number and set(pids) <= parents().keys() and ready_workers(live) == number


def ready_workers(live: Live) -> int:
    """How many workers the ops port counts."""
    try:
        with urlopen(f"{live.demo['ops_url']}/readyz", timeout=5) as answer:
            return int(orjson.loads(answer.read())["workers"])
    except HTTPError as error:
        with error:
            return int(orjson.loads(error.read())["workers"])
    except OSError:
        return 0


def _born(pid: int) -> str:
    with suppress(OSError):
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[19]
    return ""


def _sockets(pid: int) -> set[str]:
    """The inodes of a process's sockets."""
    found = set()
    with suppress(OSError):
        for path in (PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):
                found.add(str(path.readlink()).removeprefix("socket:[").removesuffix("]"))
    return found
