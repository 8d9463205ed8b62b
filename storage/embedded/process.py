"""One engine as a child process: start, watch, end, and what a killed supervisor left; knows no engine by name."""

import asyncio
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from storage.embedded.home import EngineFailed, Home

LAUNCH = Path(__file__).with_name("launch.py")
POLL = 0.01  # seconds between two looks at something that sends no event
LEFTOVER_PATIENCE = 30.0  # seconds; a fast shutdown writes shared_buffers to disk first
TAIL = 4096  # bytes of a log that go into an error


@dataclass(frozen=True, slots=True)
class Command:
    """What to run and how: its folder is the working directory and takes the log; `farewell` is sent if we die."""

    argv: tuple[str, ...]
    folder: Path
    log: str
    farewell: signal.Signals


class Child:
    """A started engine."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        """Take over a process that spawn() has started."""
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """Its process id, also after its end."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """False once its end has been seen."""
        return self._process.returncode is None

    async def wait(self) -> int:
        """Wait for its end; the exit code, negative for a signal."""
        return await self._process.wait()

    async def stop(self, *steps: tuple[signal.Signals, float]) -> None:
        """Send each signal and give it its seconds; SIGKILL after the last. Does nothing for one that has ended."""
        for number, patience in steps:
            if await self._ends_on(number, patience):
                return
        self._send(signal.SIGKILL)
        await self.wait()

    async def _ends_on(self, number: signal.Signals, patience: float) -> bool:
        if self.running:
            self._send(number)
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self.wait()
        return not self.running

    def _send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it ended just now
            self._process.send_signal(number)

    def failure(self, what: str) -> EngineFailed:
        """Make the error to raise: `what` went wrong, where the log is and how it ends."""
        return EngineFailed(f"{what} Its log, {self._log}, ends with:\n{_tail(self._log)}")


async def spawn(home: Home, command: Command, given: bytes = b"") -> Child:
    """Start `command` in a session of its own (Ctrl-C is ours, not theirs), `given` on its stdin. Raises EngineFailed.

    Call it from a thread that lives as long as the engine shall: the kernel sends `farewell` when that *thread* ends.
    """
    process = await asyncio.create_subprocess_exec(
        *_launcher(home, command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        cwd=command.folder,
        env={"LC_ALL": "C"},  # nothing of ours: PGOPTIONS and its like would change the server
        start_new_session=True,
    )
    child = Child(process, command.folder / command.log)
    try:
        await _hand_over(process, given)
    except BaseException:
        await child.stop()
        raise
    return child


def _launcher(home: Home, command: Command) -> tuple[str, ...]:
    account = f"{home.account.uid}:{home.account.gid}" if home.account else ""
    how = (str(os.getpid()), str(int(command.farewell)), account, str(command.folder / command.log))
    return (sys.executable, "-I", "-S", str(LAUNCH), *how, *command.argv)


async def _hand_over(process: asyncio.subprocess.Process, given: bytes) -> None:
    """Give it its input; then stderr ends, empty, as soon as the launcher has put the log in its place."""
    if process.stdin is None or process.stderr is None:
        message = "both were asked for as pipes"
        raise TypeError(message)
    process.stdin.write(given)
    process.stdin.close()
    complaint = await process.stderr.read()
    if complaint:
        message = f"An engine could not be launched: {complaint.decode(errors='replace').strip()}"
        raise EngineFailed(message)


def _tail(log: Path) -> str:
    """Read the last lines of a log. Never through a link: the engine's user owns the folder and may point anywhere."""
    try:
        descriptor = os.open(log, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        return f"({error.strerror})"
    with os.fdopen(descriptor, "rb") as file:
        file.seek(max(0, os.fstat(descriptor).st_size - TAIL))
        return "\n".join(file.read(TAIL).decode(errors="replace").splitlines()[-10:])


async def leftovers_gone(program: str, mark: str, patience: float = LEFTOVER_PATIENCE) -> None:
    """Wait until no `program` of an earlier start has `mark` in its command line; EngineFailed after `patience` s."""
    deadline = time.monotonic() + patience
    while left := leftovers(program, mark):
        if time.monotonic() > deadline:
            oldest = min(left)
            message = f"{program} of an earlier start still runs. `kill -QUIT {oldest}`, then start again."
            raise EngineFailed(message)
        await asyncio.sleep(POLL)


def leftovers(program: str, mark: str) -> list[int]:
    """List the ids of `program` with `mark` in the command line; the dead that no one has collected do not count.

    The command line, because in a container root may not ask for the working directory of other users' processes, and
    not the pid file alone, because after a restart of a container its number belongs to some other process.
    """
    numbered = (entry for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [int(entry.name) for entry in numbered if _is_one(entry, program, mark)]


def _is_one(process: Path, program: str, mark: str) -> bool:
    try:
        return (process / "comm").read_text().strip() == program and mark.encode() in (process / "cmdline").read_bytes()
    except OSError:  # ended meanwhile, or hidden from us
        return False
