"""What becomes of data with time: addresses masked, the log anonymised, events removed, partitions of the log dropped.

Each is a part of a daily job, done by one host for all. A part is walked in steps, each a transaction far under a second,
and may be interrupted between any two: what is done already is not done again (protocol: privacy, rules 2 and 4).
"""

import calendar
import datetime
import hmac
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

import asyncpg
import structlog

from server import metrics
from storage.errors import Unavailable
from storage.postgres.connect import close, connect, translated
from storage.postgres.migrate import unlimited
from storage.postgres.sql import load, statements
from storage.stamps import new_stamp

SQL, CLOCK = statements("retention"), load("clock")
RETENTION_LOCK = 5_437_142
DAY = 86_400
LOOKED = 4_000
LICENSES_AT_ONCE = 500
SALT_BYTES = 32
HASH_LETTERS = 16

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Periods:
    """How long things stay as they are; 0 is for ever. Machines and the log: the same number of months.

    `log_months` is for how long the log is kept at all, by whole months.
    """

    anonymise_months: int
    event_days: int
    log_months: int


async def retain(dsn: str, now: datetime.datetime, periods: Periods, mask: Callable[[str], str]) -> int:
    """Do each part that was not done for a day, unless another host is at it; return when the last run was complete.

    That is the time (Unix seconds; 0: never) of the part that was done the longest ago. `mask` gives the masked form of
    an address, of a masked one itself. Nothing of it can be undone, so of `now` and the database's clock the one that is
    behind counts. Raises `Unavailable`, `Busy`, `SchemaError`: the parts that were done by then stay done.
    """
    connection = await connect(dsn)
    try:
        with translated():
            held = await connection.fetchval(SQL["lock"], RETENTION_LOCK)  # until the connection ends
            done: dict[str, int] = {row["part"]: row["done"] for row in await connection.fetch(SQL["parts"])}
            clock: float = await connection.fetchval(CLOCK)
            now = min(now, datetime.datetime.fromtimestamp(int(clock), datetime.UTC))
            run = _Run(connection, dsn, now, periods, mask)
            try:
                for part, work in PARTS.items() if held else ():
                    if _is_due(done[part], int(now.timestamp())):
                        run.did(part, 0)
                        await work(run)
                        done[part] = int(now.timestamp())
                        await connection.execute(SQL["part_done"], part, done[part])
            finally:
                run.tell()
    finally:
        await close(connection)
    return min(done.values())


def months_before(now: datetime.datetime, months: int) -> int:
    """Return the time (Unix seconds) so many months before, or of that month's last day where it has no such day."""
    year, month = divmod(now.year * 12 + now.month - 1 - months, 12)
    day = min(now.day, calendar.monthrange(year, month + 1)[1])
    return int(now.replace(year=year, month=month + 1, day=day).timestamp())


def _is_due(done: int, now: int) -> bool:
    """Whether a day has passed; also for a part that is said to be done later than now: then a clock was put back."""
    return not now - DAY < done <= now


@dataclass(frozen=True, slots=True)
class _Run:
    """One run: its connection, its time, and what it did. Its connection is its own, as the lock is the connection's."""

    connection: asyncpg.Connection
    dsn: str
    now: datetime.datetime
    periods: Periods
    mask: Callable[[str], str]
    counts: Counter[str] = field(default_factory=Counter)

    async def rows(self, name: str, *values: object) -> list[asyncpg.Record]:
        """Return the rows of a statement."""
        return await self.connection.fetch(SQL[name], *values)

    async def one(self, name: str, *values: object) -> asyncpg.Record:
        """Return the row of a statement that always gives one."""
        row = await self.connection.fetchrow(SQL[name], *values)
        if row is None:
            raise Unavailable("a statement that always gives one row gave none")
        return row

    def did(self, part: str, number: int) -> None:
        """Count what a step did."""
        self.counts[part] += number
        metrics.retention_rows.labels(part).inc(number)

    def tell(self) -> None:
        """Write what the run did, unless that is nothing."""
        if self.counts.total():
            log.info("retention.done", **{part: self.counts[part] for part in PARTS})


# Machines


class _Unmasked(NamedTuple):
    """A machine whose address, or that of its proxy, is to be masked. The order of fields is that of the SQL."""

    license_id: int
    code: str
    was_ip: str
    was_proxy_ip: str
    ip: str
    proxy_ip: str


async def _mask_machines(run: _Run) -> None:
    """Mask the addresses of old machines. Answers show them, so their licenses get new stamps."""
    if not run.periods.anonymise_months:
        return
    before = months_before(run.now, run.periods.anonymise_months)
    license_, code = 0, ""
    while found := await run.rows("machines_look", license_, code, LOOKED, before):
        license_, code = found[-1]["last_license"], found[-1]["last_code"]
        for part in _by_licenses(list(_unmasked(found, run.mask))):
            await _mask(run, part, before)


def _unmasked(found: Sequence[asyncpg.Record], mask: Callable[[str], str]) -> Iterator[_Unmasked]:
    for _, _, license_, code, ip, proxy_ip in found:
        if license_ is not None and (ip, proxy_ip) != (mask(ip), mask(proxy_ip)):
            yield _Unmasked(license_, code, ip, proxy_ip, mask(ip), mask(proxy_ip))


def _by_licenses(machines: Sequence[_Unmasked]) -> Iterator[list[_Unmasked]]:
    """Return the machines, in order of license as they come, in lots of so many licenses."""
    each = [list(of_one) for _, of_one in groupby(machines, lambda machine: machine.license_id)]
    for first in range(0, len(each), LICENSES_AT_ONCE):
        yield [machine for of_one in each[first : first + LICENSES_AT_ONCE] for machine in of_one]


async def _mask(run: _Run, machines: Sequence[_Unmasked], before: int) -> None:
    """Mask what still is as it was read: a machine may have been given back since, or come again from elsewhere."""
    licenses = sorted({machine.license_id for machine in machines})
    columns = [list(column) for column in zip(*machines, strict=True)]
    async with run.connection.transaction():
        await run.rows("licenses_lock", licenses)
        masked = await run.one("machines_mask", *columns, before, licenses, [new_stamp() for _ in licenses])
    run.did("machines", masked["count"])


# The log


async def _anonymise_log(run: _Run) -> None:
    """Anonymise old rows of the log. They keep who was told what when, for statistics and audits.

    The salt is of this run and kept nowhere: rows that it anonymised can be told to be of one machine, and nobody can
    find out of which by trying codes.
    """
    if not run.periods.anonymise_months:
        return
    before = months_before(run.now, run.periods.anonymise_months)
    salt = secrets.token_bytes(SALT_BYTES)
    for begins, ends, log_id in await run.rows("log_months", before):
        await _anonymise_month(run, _Month(begins, ends, log_id), before, salt)


class _Month(NamedTuple):
    """A partition of the log, and the id up to which no row of it is left to be anonymised."""

    begins: int
    ends: int
    log_id: int


async def _anonymise_month(run: _Run, month: _Month, before: int, salt: bytes) -> None:
    """Walk the month to its end: ids and times differ in order. What is noted stays before the first row that is young."""
    after = noted = month.log_id
    first_young: int | None = None
    while True:
        found = await run.rows("log_look", month.begins, month.ends, after, LOOKED, before)
        after = found[0]["last"]
        if after is None:
            return
        first_young = first_young or found[0]["first_young"]
        named = [row for row in found if row["id"] is not None]
        done = after if first_young is None else first_young - 1
        if named or done > noted:
            codes = [_anonymous(row["machine_code"], salt) for row in named]
            values = ([row["id"] for row in named], [row["time"] for row in named], codes)
            anonymised = await run.one("log_anonymise", month.begins, month.ends, *values, done)
            run.did("log", anonymised["count"])
            noted = done


def _anonymous(code: str, salt: bytes) -> str:
    """Return what stands for a machine code; none stays none."""
    return f"anon:{hmac.digest(salt, code.encode(), 'sha256').hex()[:HASH_LETTERS]}" if code else ""


# Events


async def _delete_events(run: _Run) -> None:
    """Remove old events, by when they came."""
    if not run.periods.event_days:
        return
    before = int(run.now.timestamp()) - run.periods.event_days * DAY
    registered, id_ = 0, 0
    while True:
        step = await run.one("events_delete", registered, id_, before, LOOKED)
        run.did("events", step["gone"])
        if step["gone"] < LOOKED:
            return
        registered, id_ = step["registered"], step["id"]


# Partitions


async def _drop_partitions(run: _Run) -> None:
    """Have whole months of the log leave that are older than it is kept for, and end what was interrupted before.

    Detached first, and CONCURRENTLY: DROP TABLE would make every writer of the log wait for its longest reader.
    """
    async with unlimited(run.dsn) as connection:
        with translated():
            await connection.execute(SQL["patience"])
            for row in await connection.fetch(SQL["partitions_pending"]):
                await connection.execute(row["finalize"])
            await connection.execute(SQL["leaving_forget"])
            if run.periods.log_months:
                before = months_before(run.now, run.periods.log_months)
                for row in await connection.fetch(SQL["partitions_old"], before):
                    await connection.execute(SQL["leaving_note"], row["name"])
                    await connection.execute(row["detach"])
            for row in await connection.fetch(SQL["leaving"]):
                if row["drop"] is not None:
                    await connection.execute(row["drop"])
                    run.did("partitions", 1)
                await connection.execute(SQL["leaving_gone"], row["name"])


PARTS: Mapping[str, Callable[[_Run], Awaitable[None]]] = {
    "machines": _mask_machines,
    "log": _anonymise_log,
    "events": _delete_events,
    "partitions": _drop_partitions,
}
