"""The journal of a load: what clients asked and were answered, a JSON object a line. The audit holds it against the record.

How calls are made is not told here.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Self

import orjson

from server.rules.codes import Code
from server.rules.states import State


class Kind(StrEnum):
    """What is asked for. A floating seat is another matter than a machine, though the method is the same."""

    ACTIVATE = "activate"
    GET_KEY = "get key"
    DEACTIVATE = "deactivate"
    TAKE = "take seat"
    GIVE = "give seat back"
    CREATE = "create key"
    ADD = "add counter"
    INCREMENT = "increment"


# How an answered call stands in the log, by what it was told ('' is yes); what is not here is not logged. A machine that is
# let in is logged with one of four states, which stand for each other as this one, and a seat with one of two (STANDS_FOR).
OUTCOMES: Mapping[tuple[Kind, str], State] = {
    (Kind.ACTIVATE, ""): State.KNOWN_MACHINE,
    (Kind.ACTIVATE, Code.BLOCKED): State.KEY_BLOCKED,
    (Kind.ACTIVATE, Code.LIMIT): State.LIMIT_REACHED,
    (Kind.TAKE, ""): State.FLOATING,
    (Kind.TAKE, Code.BLOCKED): State.KEY_BLOCKED,
    (Kind.TAKE, Code.LIMIT): State.FLOATING_LIMIT,
    (Kind.DEACTIVATE, ""): State.DEACTIVATED,
    (Kind.DEACTIVATE, Code.BLOCKED): State.DEACTIVATION_REFUSED,
    (Kind.DEACTIVATE, Code.NOT_ACTIVATED): State.DEACTIVATION_REFUSED,
    (Kind.GIVE, ""): State.RELEASED,
    (Kind.GIVE, Code.BLOCKED): State.DEACTIVATION_REFUSED,
    (Kind.CREATE, ""): State.KEY_CREATED,
    (Kind.ADD, ""): State.OBJECT_DONE,
    (Kind.INCREMENT, ""): State.INCREMENTED,
    (Kind.INCREMENT, Code.OBJECT): State.INCREMENT_REFUSED,
    (Kind.INCREMENT, Code.BOUND): State.INCREMENT_REFUSED,
    (Kind.INCREMENT, Code.OVERFLOW): State.INCREMENT_REFUSED,
}
STANDS_FOR = {
    State.NEW_MACHINE: State.KNOWN_MACHINE,
    State.COUNTDOWN_STARTED: State.KNOWN_MACHINE,
    State.PRIORITY_MACHINE: State.KNOWN_MACHINE,
    State.OVERDRAFT: State.FLOATING,
}


class Call(NamedTuple):
    """A call, or `number` calls that are all alike. `said` is the message of the answer: '' is yes, None is no answer.

    No answer is also a 5xx: the call may have been done or not. `name` and `amount` are those of a counter. `sent` is in
    Unix seconds, `took` in seconds.
    """

    kind: Kind
    key: str
    said: str | None
    code: str = ""
    name: str = ""
    amount: int = 0
    number: int = 1
    sent: float = 0.0
    took: float = 0.0

    @property
    def outcome(self) -> State | None:
        """The state that it must be logged with, if it was answered and is logged."""
        return None if self.said is None else OUTCOMES.get((self.kind, self.said))


class Terms(NamedTuple):
    """How many places a license has while the load runs, and the most seats above them that anybody asks for."""

    key: str
    places: int
    overdraft: int = 0


class Counter(NamedTuple):
    """A counter of a license, and its number before the load. Nobody sets it meanwhile: it is only added to."""

    key: str
    name: str
    start: int = 0


Line = Call | Terms | Counter
_LINES = {"call": Call, "terms": Terms, "counter": Counter}
_NAMES: Mapping[type, str] = {type_: name for name, type_ in _LINES.items()}


class Journal:
    """A journal that is being written; for its owner only, since license keys are in it. Whole once it is closed."""

    def __init__(self, path: Path) -> None:
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb", 1 << 20)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def note(self, line: Line) -> None:
        """Add a line."""
        self._file.write(orjson.dumps({_NAMES[type(line)]: line._asdict()}, option=orjson.OPT_APPEND_NEWLINE))

    def close(self) -> None:
        """Have all lines in the file."""
        self._file.close()


def read(paths: Iterable[Path]) -> Iterator[Line]:
    """Give the lines of journals. Raises ValueError for one that is none: cut off, or of something else."""
    for path in paths:
        with path.open("rb") as file:
            for number, text in enumerate(file, 1):
                try:
                    yield _line(text)
                except (ValueError, TypeError, KeyError) as error:
                    raise ValueError(f"{path}, line {number}: no line of a journal") from error


def _line(text: bytes) -> Line:
    ((name, values),) = orjson.loads(text).items()
    made: Line = _LINES[name](**values)
    return made._replace(kind=Kind(made.kind)) if isinstance(made, Call) else made
