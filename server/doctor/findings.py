"""What a check says."""

import re
from enum import StrEnum
from typing import NamedTuple

SENTENCE = re.compile(r"(?<=[.!]) (?=[A-Z])")


class State(StrEnum):
    """How bad it is: a failure refuses or loses something now or soon, a warning may."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


class Finding(NamedTuple):
    """`name` stays the same from one program to the next, for monitoring. `do` is '' where there is nothing to be done."""

    name: str
    state: State
    said: str
    do: str = ""


def ok(name: str, said: str) -> Finding:
    """Return what is as it should be."""
    return Finding(name, State.OK, said)


def warning(name: str, said: str, do: str) -> Finding:
    """Return what may become a failure."""
    return Finding(name, State.WARNING, said, do)


def failure(name: str, said: str, do: str) -> Finding:
    """Return what has to be put right."""
    return Finding(name, State.FAILURE, said, do)


def parted(text: str, otherwise: str) -> tuple[str, str]:
    """Part the text of an expected error: its first sentence says what is wrong, the others what to do, or `otherwise`."""
    said, *advice = SENTENCE.split(text, maxsplit=1)
    return said, advice[0] if advice else otherwise
