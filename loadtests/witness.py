"""What one server was asked in a run and answered well, as the audit wants it: all calls on the licenses made for it."""

import asyncio
import urllib.parse
from collections import Counter
from collections.abc import Iterator

from loadtests import journal
from loadtests.audit import Disagreement, audit
from loadtests.driver import method_of
from loadtests.journal import Call, Kind, Line, Terms

COUNTER = "uses"  # what the counter of a license is called
YES = ""
KINDS = {"key/Activate": Kind.ACTIVATE, "key/GetKey": Kind.GET_KEY, "data/IncrementIntValueToKey": Kind.INCREMENT}


class Witness:
    """Takes note of licenses and counters as they are made, and of answers."""

    def __init__(self) -> None:
        self._made: list[Line] = []
        self._done: Counter[bytes] = Counter()

    def license(self, key: str, places: int) -> None:
        """Note a license that was made."""
        self._made += [Terms(key, places), Call(Kind.CREATE, key, YES)]

    def counter(self, key: str) -> None:
        """Note a counter that a license was given, at 0."""
        self._made += [journal.Counter(key, COUNTER), Call(Kind.ADD, key, YES, name=COUNTER)]

    def saw(self, done: Counter[bytes]) -> None:
        """Note how often each request was answered well; none was answered otherwise, or not at all."""
        self._done.update(done)

    def lines(self) -> Iterator[Line]:
        """Return the journal."""
        yield from self._made
        for request, number in self._done.items():
            yield told(request)._replace(number=number)

    def audit(self, postgres_dsn: str, redis_url: str) -> list[Disagreement]:
        """Hold it against what the engines have."""
        return asyncio.run(audit(postgres_dsn, redis_url, self.lines()))


def told(request: bytes) -> Call:
    """Return a request as a line of the journal, answered with yes."""
    asked = dict(urllib.parse.parse_qsl(request.partition(b"\r\n\r\n")[2].decode()))
    kind = KINDS[method_of(request)]
    if kind is Kind.INCREMENT:
        return Call(kind, asked["Key"], YES, name=COUNTER, amount=int(asked["IntValue"]))
    if kind is Kind.ACTIVATE and "FloatingTimeInterval" in asked:
        kind = Kind.TAKE
    return Call(kind, asked["Key"], YES, asked.get("MachineCode", ""))
