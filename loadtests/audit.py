"""The audit of a load: what clients were answered, the log, the tables and Valkey must all tell the same.

`python -m loadtests.audit --data var --journal FILE` prints each disagreement as a line, and exits with 1 if there is any.
It waits until nothing is written any more, changes nothing, and adds up in PostgreSQL, so a million calls are fine.

Not looked at: licenses that the journal does not name (a CreateKey without an answer may have made some).
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import asyncpg
from rich.console import Console

from loadtests.journal import OUTCOMES, STANDS_FOR, Call, Counter, Line, Terms, read
from server.rules.states import State
from storage.postgres.installation import INSTALLATION
from storage.postgres.sql import NAME
from storage.redis.keys import seats_key
from storage.redis.lua import scripts
from storage.redis.mux import Mux
from storage.redis.replies import Listed, Reply, listed

QUESTIONS = (
    "lost", "logged", "machines_limit", "machines_kept", "seats_limit", "leases_logged", "leases_copied", "counters_add_up",
)  # fmt: skip
MOST = 100  # disagreements told of one kind
LATE_SECONDS = 15  # a call without an answer may still be done so long after it was sent: the server's own limit is 5
QUIET_SECONDS = 30.0
LINES_AT_ONCE, SETS_AT_ONCE = 20_000, 200

Connection = asyncpg.Connection


class Disagreement(NamedTuple):
    """What does not agree: the question that found it, and where."""

    question: str
    what: str

    def __str__(self) -> str:
        return f"{self.question}: {self.what}"


async def audit(
    dsn: str, redis_url: str, journal: Iterable[Line], *, after: int = 0, emptied: bool = False
) -> list[Disagreement]:
    """Compare a journal with the database and with Valkey; nothing is returned if all is well.

    The calls of the journal are all that was asked of its licenses since the log had the id `after`. `emptied`: Valkey lost
    its data meanwhile, so that a set which is gone is no disagreement. Raises TimeoutError if the server goes on writing.
    """
    connection = await asyncpg.connect(dsn, server_settings={"application_name": "keyturn audit", "jit": "off"})
    try:
        await connection.execute(SQL["tables"])
        late = await _take_in(connection, journal)
        await _quiet(connection, late)
        await connection.execute(SQL["licenses"])
        await connection.execute(SQL["unanswered"])
        at = await _look_into_valkey(connection, redis_url)
        await connection.execute("insert into moment values ($1, $2, $3)", after, at, emptied)
        await connection.execute("analyze calls, audited, unanswered, seats")
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return [found for question in QUESTIONS for found in await _ask(connection, question)]
    finally:
        await connection.close()


async def _ask(connection: Connection, question: str) -> list[Disagreement]:
    """Return the first disagreements that a question finds, and that there are more."""
    cursor = await connection.cursor(SQL[question])
    rows = await cursor.fetch(MOST + 1)
    found = [Disagreement(question, " ".join(str(row[0]).split())) for row in rows[:MOST]]
    return [*found, Disagreement(question, "… and more")] if len(rows) > MOST else found


# What the journal says


async def _take_in(connection: Connection, journal: Iterable[Line]) -> float:
    """Copy the journal into the tables; return when a call without an answer can no longer be done (Unix seconds)."""
    await connection.copy_records_to_table("states", records=_states())
    late, lines = 0.0, iter(journal)
    while part := list(islice(lines, LINES_AT_ONCE)):
        calls = [line for line in part if isinstance(line, Call)]
        late = max([late, *(call.sent + LATE_SECONDS for call in calls if call.said is None)])
        await connection.copy_records_to_table("calls", records=map(_row, calls))
        await connection.copy_records_to_table("terms", records=[line for line in part if isinstance(line, Terms)])
        await connection.copy_records_to_table("counters", records=[line for line in part if isinstance(line, Counter)])
    return late


def _states() -> Iterator[tuple[int, int, int]]:
    """Give each state that answered calls are logged with, what it stands for, and its deed."""
    for outcome in {*OUTCOMES.values()}:
        for state in State:
            if STANDS_FOR.get(state, state) == outcome:
                yield state, outcome, _deed(state)


def _deed(state: State) -> int:
    """Return what was asked for, as a state tells it: the thousands; of data objects the last digit, too."""
    thousands, rest = divmod(state, 1000)
    return 10 * thousands + (rest % 10 if state >= State.OBJECT_DONE else 0)


DEEDS = {kind: _deed(state) for (kind, _), state in OUTCOMES.items()}


def _row(call: Call) -> tuple[object, ...]:
    deed, answered = DEEDS.get(call.kind, 0), call.said is not None
    return call.key, call.code, deed, call.outcome, answered, call.name, call.amount, call.number


# What there is


async def _quiet(connection: Connection, late: float) -> None:
    """Wait until no server writes or reads, and no call without an answer can be done any more. Raises TimeoutError."""
    await asyncio.sleep(late - time.time())
    async with asyncio.timeout(QUIET_SECONDS):
        while await connection.fetchval(SQL["under_way"]):  # noqa: ASYNC110 (other processes set no event)
            await asyncio.sleep(0.02)


async def _look_into_valkey(connection: Connection, redis_url: str) -> int:
    """Copy what Valkey has of the licenses that it decides on; return a time after all of it, by both engines' clocks."""
    installation = await connection.fetchval(INSTALLATION)
    licenses = [row[0] for row in await connection.fetch(SQL["by_valkey"])]
    valkey = Mux(redis_url, scripts(), name="audit", patience=QUIET_SECONDS)
    await valkey.open()
    try:
        for first in range(0, len(licenses), SETS_AT_ONCE):
            part = licenses[first : first + SETS_AT_ONCE]
            keys = [seats_key(installation, license_id) for license_id in part]
            asked = [valkey.script("list", [key], [valkey.run, 2**31]) for key in keys]
            replies = [Reply(valkey.run, values) for values in await asyncio.gather(*asked)]
            sets = [(each, listed(reply)) for each, reply in zip(part, replies, strict=True) if reply.seeded]
            await connection.copy_records_to_table("sets", records=[(each, found.epoch) for each, found in sets])
            await connection.copy_records_to_table("seats", records=_seats(sets))
        seconds, _ = await valkey.command("TIME")
    finally:
        await valkey.close()
    clock = await connection.fetchval("select extract(epoch from clock_timestamp())::bigint")
    return max(int(seconds), int(clock)) + 1


def _seats(sets: Iterable[tuple[int, Listed]]) -> Iterator[tuple[object, ...]]:
    for license_id, found in sets:
        for lease in found.leases:
            yield license_id, lease.code, int(lease.kind), lease.start, lease.expires


def _statements() -> dict[str, str]:
    _about, *parts = NAME.split(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
    return dict(zip(parts[::2], parts[1::2], strict=True))


SQL = _statements()


# The command


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit journals against the server that a demo.json tells of; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("var"), help="the folder of demo.json")
    parser.add_argument("--journal", type=Path, nargs="+", required=True)
    parser.add_argument("--after", type=int, default=0, help="the last id of the log before the load; 0: new licenses")
    parser.add_argument("--emptied", action="store_true", help="Valkey was emptied or restarted meanwhile")
    asked = parser.parse_args(arguments)
    demo = json.loads((asked.data / "demo.json").read_text())
    tally = Tally()
    lines = tally.counted(read(asked.journal))
    found = asyncio.run(audit(demo["postgres_dsn"], demo["redis_url"], lines, after=asked.after, emptied=asked.emptied))
    for each in found:
        print(each)
    verdict = f"{len(found)} disagreements" if found else "all agree"
    Console(stderr=True).print(f"Audit: {tally.calls} calls, {tally.unanswered} without an answer: {verdict}.")
    return 1 if found else 0


class Tally:
    """Counts calls as they pass."""

    def __init__(self) -> None:
        self.calls = self.unanswered = 0

    def counted(self, lines: Iterable[Line]) -> Iterator[Line]:
        """Give the lines on."""
        for line in lines:
            if isinstance(line, Call):
                self.calls += line.number
                self.unanswered += line.number * (line.said is None)
            yield line


if __name__ == "__main__":
    sys.exit(main())
