"""What clients asked of a server and were answered, and whether the database tells the same: the judge of every fault test.

The promises are those of the checker: Answered, Own, Logged, Capped, Kept, Cursor. It knows nothing of how calls are made.
What is promised of floating seats beyond that is judged by floating.py.
"""

import math
import time
from bisect import bisect
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

import asyncpg
import orjson
from servers import until

from server.rules.codes import Code

ACTIVATE, DEACTIVATE, GET_KEY = "key/Activate", "key/Deactivate", "key/GetKey"
CREATE_KEY, GET_LOG = "key/CreateKey", "ai/GetWebAPILog"
# The same methods where they are about a floating seat: their rows have states of their own.
TAKE, GIVE = "key/Activate, floating", "key/Deactivate, floating"
OK, UNAVAILABLE = 200, 503

# The states that an answered call may be logged with, by its method and message; an answer that is not here is not logged.
STATES: Mapping[tuple[str, str], frozenset[int]] = {
    (ACTIVATE, ""): frozenset((2010, 2011, 2012, 2013)),
    (ACTIVATE, Code.BLOCKED): frozenset((2022,)),
    (ACTIVATE, Code.LIMIT): frozenset((2023,)),
    (DEACTIVATE, ""): frozenset((6010,)),
    (DEACTIVATE, Code.BLOCKED): frozenset((6020,)),
    (DEACTIVATE, Code.NOT_ACTIVATED): frozenset((6020,)),
    (TAKE, ""): frozenset((2014, 2015)),
    (TAKE, Code.LIMIT): frozenset((2024,)),
    (GIVE, ""): frozenset((6011,)),
}
SEATED, OVERDRAWN, RELEASED = 2014, 2015, 6011
METHOD_OF = {2: ACTIVATE, 6: DEACTIVATE}  # by the first digit of the state
FLOATING = {SEATED: TAKE, OVERDRAWN: TAKE, 2024: TAKE, RELEASED: GIVE}
REGISTERED, FORGOTTEN = frozenset((2011, 2012, 2013)), 6010


class Promise(StrEnum):
    """What is promised to clients, and what the checker checks."""

    ANSWERED = "Answered"  # an answer or a closed connection in time; no 5xx but 503 with Retry-After
    OWN = "Own"  # nobody gets another's answer
    LOGGED = "Logged"  # answered: one row. Without an answer: one row or none
    CAPPED = "Capped"  # never more machines than the license has places, at any instant of the log
    KEPT = "Kept"  # what was answered is there, what was given back is not, and the log tells the same
    CURSOR = "Cursor"  # who follows the ids sees each row once, and what was answered before it asked


class Breach(NamedTuple):
    """A promise that was not kept, and by what one sees it."""

    promise: Promise
    what: str


class Seat(NamedTuple):
    """A floating seat as an answer shows it, or as a row of the table has it. Times in Unix seconds."""

    overdraft: bool
    start: int
    expires: int


class Identity(NamedTuple):
    """What a row of the log shares with the call that it is about. Clients that want to be matched make it unique."""

    method: str
    key: str
    code: str
    name: str


@dataclass(slots=True)
class Call:
    """One request. Without an answer the status is 0: the connection was closed. Times are of the monotonic clock."""

    method: str
    key: str
    code: str
    name: str
    sent: float
    received: float = math.inf
    status: int = 0
    retry_after: str = ""
    answer: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""  # what makes it no proper answer: never came, no JSON
    interval: int = 0  # asked for, of a floating seat
    seat: Seat | None = None

    def take(self, status: int, retry_after: str, body: bytes) -> None:
        """Note the answer."""
        self.status, self.retry_after = status, retry_after
        try:
            self.answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            self.fault = f"no JSON: {body[:200]!r}"
        if b"Traceback" in body:
            self.fault = "a traceback"
        if self.method == TAKE and self.granted:
            self.seat = _seat(self.answer)

    @property
    def message(self) -> str | None:
        """What the server said to it; '' is yes, None that it did not say."""
        return self.answer.get("message") if self.status == OK else None

    @property
    def granted(self) -> bool:
        return self.message == ""

    @property
    def unknown(self) -> bool:
        """Whether it may have been done or not."""
        return self.message is None

    @property
    def states(self) -> frozenset[int] | None:
        """What it has to be logged with; None if it is not logged, or if nobody knows."""
        return None if self.message is None else STATES.get((self.method, self.message))

    @property
    def identity(self) -> Identity:
        return Identity(self.method, self.key, self.code, self.name if self.method in (ACTIVATE, TAKE) else "")

    def __str__(self) -> str:
        said = self.status if self.message is None else repr(self.message)
        return f"{self.method} of {self.code!r} {self.name!r} on {self.key}: {said}"


class Row(NamedTuple):
    """A row of the log, as far as it matters here."""

    id: int
    key: str
    state: int
    code: str
    name: str
    time: int = 0
    expires: int = 0  # of a floating seat

    @property
    def identity(self) -> Identity:
        method = FLOATING.get(self.state) or METHOD_OF.get(self.state // 1000, "")
        return Identity(method, self.key, self.code, self.name)


class Page(NamedTuple):
    """One answer to a reader of the log: when it asked, what ids it got, whether there were more to get."""

    sent: float
    ids: Sequence[int]
    full: bool


class Reader(Protocol):
    """Somebody who follows the log: where it began, and what it got."""

    first: int
    product: int
    pages: list[Page]

    async def drain(self) -> None:
        """Read to the end."""
        ...


class Recorder:
    """All calls of a test, and the licenses that they may change with the limits that these have."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.limits: dict[str, int] = {}
        self.overdrafts: dict[str, int] = {}  # the most that anybody asks for; 0 where none is named
        self.answered = 0  # with 200
        self._names = 0

    def note(self, method: str, params: Mapping[str, Any]) -> Call:
        """Remember a request that is sent now."""
        texts = (str(params.get(name, "")) for name in ("Key", "MachineCode", "FriendlyName"))
        interval = int(params.get("FloatingTimeInterval", 0))
        if interval:
            method = TAKE
        elif params.get("Floating"):
            method = GIVE
        call = Call(method, *texts, time.monotonic(), interval=interval)
        self.calls.append(call)
        return call

    def unique(self, what: str) -> str:
        """Return a machine code or a friendly name that nobody has used."""
        self._names += 1
        return f"{what}-{self._names}"

    async def audit(
        self, connection: "asyncpg.Connection[asyncpg.Record]", reader: Reader | None = None
    ) -> list[Breach]:
        """Compare the record with the database, once nobody writes there any more. Nothing is returned if all is well."""
        await until(lambda: _quiet(connection), 20)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            rows = await rows_of(connection, list(self.limits))
            machines = await _machines(connection, list(self.limits))
            followed = [] if reader is None else await _ids_since(connection, reader)
        limited = {key: codes for key, codes in machines.items() if self.limits[key]}
        breaches = [*answered(self.calls), *owned(self.calls), *logged(self.calls, rows), *kept(self.calls, limited)]
        for key, limit in self.limits.items():
            told = [row for row in rows if row.key == key]
            breaches += capped(key, limit, told, machines[key])
        if reader is not None:
            await reader.drain()
            breaches += seen_once(reader.pages, followed)
            breaches += seen_in_time(reader.pages, self.calls, rows)
        return breaches


def answered(calls: Iterable[Call]) -> Iterator[Breach]:
    for call in calls:
        if call.fault:
            yield Breach(Promise.ANSWERED, f"{call}: {call.fault}")
        elif call.received == math.inf:
            yield Breach(Promise.ANSWERED, f"{call}: neither answered nor closed")
        elif call.status not in (0, OK) and not (call.status == UNAVAILABLE and call.retry_after.isdigit()):
            yield Breach(Promise.ANSWERED, f"{call}, Retry-After {call.retry_after!r}")


def owned(calls: Iterable[Call]) -> Iterator[Breach]:
    for call in calls:
        shown = call.answer.get("licenseKey")
        if not call.granted or not isinstance(shown, Mapping):
            continue
        machines = [machine["mid"] for machine in shown["activatedMachines"]]
        prefix = "" if call.seat is None else "floating:overdraft:" if call.seat.overdraft else "floating:"
        mine = call.method in (ACTIVATE, TAKE)
        if shown["key"] != call.key or (machines and mine and prefix + call.code not in machines):
            yield Breach(Promise.OWN, f"{call} was shown {shown['key']} with {machines}")


def logged(calls: Iterable[Call], rows: Iterable[Row]) -> Iterator[Breach]:
    """A row each, with a state that fits; what has no answer may have one; nothing else is there."""
    told: dict[Identity, Counter[frozenset[int]]] = defaultdict(Counter)
    fitting = {(method, state): states for (method, _), states in STATES.items() for state in states}
    for row in rows:
        if row.identity.method:
            told[row.identity][fitting.get((row.identity.method, row.state), frozenset((row.state,)))] += 1
    owed: dict[Identity, Counter[frozenset[int]]] = defaultdict(Counter)
    open_ends: Counter[Identity] = Counter()
    for call in calls:
        if call.states is not None:
            owed[call.identity][call.states] += 1
        elif call.unknown:
            open_ends[call.identity] += 1
    for identity in told.keys() | owed.keys():
        missing, surplus = owed[identity] - told[identity], told[identity] - owed[identity]
        if missing:
            yield Breach(Promise.LOGGED, f"{identity} was answered and has no row with {_states(missing)}")
        if surplus.total() > open_ends[identity]:
            yield Breach(
                Promise.LOGGED, f"{identity} has rows too many: {_states(surplus)}, {open_ends[identity]} without an answer"
            )


def kept(calls: Iterable[Call], machines: Mapping[str, set[str]]) -> Iterator[Breach]:
    """What was granted is there unless it may have been given back; what was given back is gone unless it came again.

    `machines` are those of the licenses that have a limit: without one, nothing is registered.
    """
    asked: dict[tuple[str, str], list[Call]] = defaultdict(list)
    for call in calls:
        if call.key in machines and call.method in (ACTIVATE, DEACTIVATE) and (call.granted or call.unknown):
            asked[call.key, call.code].append(call)
    for key, codes in machines.items():
        for code in codes:
            if not any(call.method == ACTIVATE for call in asked[key, code]):
                yield Breach(Promise.KEPT, f"{code} is on {key}, and nobody was told that it may")
    for (key, code), history in asked.items():
        there = code in machines[key]
        last = {call.method: call.received for call in sorted(history, key=_received)}
        for call in history:
            undone = any(received > call.sent for method, received in last.items() if method != call.method)
            if call.granted and not undone and there != (call.method == ACTIVATE):
                yield Breach(Promise.KEPT, f"{call}, yet the machine is {'still' if there else 'not'} there")


def capped(key: str, limit: int, rows: Iterable[Row], machines: set[str]) -> Iterator[Breach]:
    """Go through a license's log: at no instant more machines than places, and in the end those that are there.

    Without a limit (0) nothing is registered. A license is locked while it changes, so its rows are in the order of that.
    """
    standing: set[str] = set()
    for row in rows:
        if row.state in REGISTERED:
            if row.code in standing:
                yield Breach(Promise.KEPT, f"{row}: new a second time")
            standing.add(row.code)
        elif row.state == FORGOTTEN:
            if row.code not in standing:
                yield Breach(Promise.KEPT, f"{row}: given back, but it was not there")
            standing.discard(row.code)
        if len(standing) > limit:
            yield Breach(Promise.CAPPED, f"{row}: the machine number {len(standing)} of {limit}")
    if len(machines) > limit:
        yield Breach(Promise.CAPPED, f"{key} has {len(machines)} machines and {limit} places")
    if standing != machines:
        yield Breach(Promise.KEPT, f"{key}: the log and the machines differ by {sorted(standing ^ machines)[:5]}")


def seen_once(pages: Iterable[Page], there: Iterable[int]) -> Iterator[Breach]:
    """Of the rows that are there, each was seen, once, in order."""
    seen = [number for page in pages for number in page.ids]
    if seen != sorted(set(seen)):
        yield Breach(Promise.CURSOR, "a row was seen twice, or out of order")
    if missed := set(there) - set(seen):
        yield Breach(Promise.CURSOR, f"{len(missed)} rows were never seen, the first is {min(missed)}")


def seen_in_time(pages: Sequence[Page], calls: Iterable[Call], rows: Iterable[Row]) -> Iterator[Breach]:
    """A row that was answered before a page was asked for stands on that page, or on one before, unless it was full."""
    page_of = {number: index for index, page in enumerate(pages) for number in page.ids}
    waiting: dict[Identity, deque[int]] = defaultdict(deque)
    for row in rows:
        if row.id in page_of:
            waiting[row.identity].append(page_of[row.id])
    ends = [(page.sent, index) for index, page in enumerate(pages) if not page.full]
    for call in sorted((call for call in calls if call.states is not None), key=_received):
        if not waiting[call.identity]:
            continue  # never seen at all, or not there: others say so
        on = waiting[call.identity].popleft()
        following = bisect(ends, (call.received, math.inf))
        at_the_latest = ends[following][1] if following < len(ends) else math.inf
        if on > at_the_latest:
            yield Breach(Promise.CURSOR, f"{call} was seen on page {on}, answered before page {at_the_latest} was asked for")


def _seat(answer: Mapping[str, Any]) -> Seat | None:
    """The seat that an answer shows, of one that shows no other machine."""
    machines = [each for each in answer["licenseKey"]["activatedMachines"] if each["mid"].startswith("floating:")]
    if not machines:
        return None
    (mine,) = machines
    return Seat(mine["mid"].startswith("floating:overdraft:"), _unix(mine["time"]), _unix(mine["floatingExpires"]))


def _unix(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def _received(call: Call) -> float:
    return call.received


def _states(counted: Counter[frozenset[int]]) -> list[int]:
    return sorted(state for states in counted for state in states)


async def _quiet(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    """Whether no server is writing or reading."""
    return not await connection.fetchval(
        "select count(*) from pg_stat_activity"
        " where application_name = 'keyturn' and state <> 'idle' and datname = current_database()"
    )


async def rows_of(connection: "asyncpg.Connection[asyncpg.Record]", keys: list[str]) -> list[Row]:
    found = await connection.fetch(
        "select id, key, state, machine_code, friendly_name, time, floating_expires from log"
        " where key = any ($1) order by id",
        keys,
    )
    return [Row(*row) for row in found]


async def _machines(connection: "asyncpg.Connection[asyncpg.Record]", keys: list[str]) -> dict[str, set[str]]:
    machines: dict[str, set[str]] = {key: set() for key in keys}
    for row in await connection.fetch(
        "select l.key, m.code from machines m join licenses l on l.id = m.license_id where l.key = any ($1)", keys
    ):
        machines[row["key"]].add(row["code"])
    return machines


async def _ids_since(connection: "asyncpg.Connection[asyncpg.Record]", reader: Reader) -> list[int]:
    found = await connection.fetch(
        "select id from log where product_id = $1 and id > $2 order by id", reader.product, reader.first
    )
    return [row["id"] for row in found]
