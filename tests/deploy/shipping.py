"""What tests of `deploy/` share: its folder, other values in place of those in it, and programs that run for a while."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.request import urlopen

SHIPPED = Path(__file__).parent.parent.parent / "deploy"
SECONDS = 30.0  # a deadline of liveness


def free_port() -> int:
    """A port that nobody has at the moment, for a program that cannot choose one and say which."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def replaced(text: str, changes: Mapping[str, str]) -> str:
    """The text with other values. What is not there any more is no longer what the test means."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


@contextlib.contextmanager
def running(command: Sequence[object], port: int, log: Path) -> Iterator[None]:
    """A program in the foreground, from when it listens at its port until it is told to end."""
    with log.open("wb") as output:
        process = subprocess.Popen([str(each) for each in command], stdout=output, stderr=output)
    try:
        wait_until(lambda: process.poll() is not None or listens(port))
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()
        process.wait(SECONDS)


def wait_until(condition: Callable[[], object], seconds: float = SECONDS) -> None:
    """Wait until a condition is true; a deadline of liveness."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the state that the test waits for did not come"
        time.sleep(0.05)


def listens(port: int) -> bool:
    """Whether anybody takes connections there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def fetched(url: str) -> bytes:
    """What is at a URL."""
    with urlopen(url, timeout=SECONDS) as answer:
        return bytes(answer.read())
