"""One writer of the ledger: a held connection and the lane in which its batches are numbered. It knows no rules.

What can happen to a batch is said by exceptions: `Lost` (sent, outcome unknown), `Poisoned` (an entry is at fault, nothing
was written), `LaneGone` (the database does not know the lane, nothing was written), `Unavailable` (refused whole, nothing
was written).
"""

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

import asyncpg
import structlog

from storage.errors import StorageError, Unavailable
from storage.postgres import connect as pg
from storage.postgres.migrate import PROGRAM
from storage.postgres.sql import load

WRITE, CHECK, SETTLE, OPEN = load("ledger_write"), load("ledger_check"), load("ledger_settle"), load("lane_open")
PROGRAM_RUNS = load("program_runs")

RECONNECT_SECONDS = 2.0
# The statement's own limit fires first; this one is for a server or a network that says nothing at all.
SILENCE_SECONDS = pg.STATEMENT_SECONDS + 0.5
LANE_GONE = "KT001"

log = structlog.get_logger()
T = TypeVar("T")


class Lost(StorageError):
    """The connection went away under the batch: it may have been committed or not."""


class Poisoned(StorageError):
    """PostgreSQL refused the batch for what one of its entries contains; nothing was written."""


class LaneGone(StorageError):
    """The database does not know this lane, or not at this number; nothing was written."""


class Answer(NamedTuple):
    """Which licenses and which facts of a batch were stale, as ordinals from 1; the rest is committed.

    `clock` is the time of the database when it answered (Unix seconds).
    """

    stale_licenses: frozenset[int]
    stale_facts: frozenset[int]
    clock: float


class Lane:
    """A connection that is opened again when it is lost, and the number of the last batch that is settled in it."""

    def __init__(self, dsn: str, *, on_up: Callable[[], None], on_down: Callable[[], None]) -> None:
        self._dsn = dsn
        self._on_up = on_up
        self._on_down = on_down
        self._connection: asyncpg.Connection | None = None
        self._lane = 0
        self._number = 0
        self._closing = False

    @property
    def up(self) -> bool:
        """Whether the connection stands, as far as is known."""
        return self._connection is not None

    async def open(self) -> None:
        """Connect, and begin a lane if there is none yet. Raises `Unavailable`."""
        connection = await pg.connect(self._dsn)
        try:
            with pg.translated():
                await connection.execute(PROGRAM_RUNS, PROGRAM)
            if not self._lane:
                await self._begin(connection)
        except BaseException:
            connection.terminate()
            raise
        connection.add_termination_listener(self._ended)
        self._connection = connection
        self._on_up()

    async def reopen(self) -> None:
        """Connect again, for as long as it takes."""
        pause = 0.02
        while self._connection is None:
            try:
                await self.open()
            except StorageError as error:
                log.debug("postgres.reconnect", error=str(error))
                await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 (jitter is no secret)
                pause = min(pause * 2, RECONNECT_SECONDS)

    async def close(self) -> None:
        """Close the connection; whatever is under way must have been answered before."""
        self._closing = True
        if self._connection is not None:
            await pg.close(self._connection)

    async def write(self, values: tuple[object, ...]) -> Answer:
        """Commit a batch under the next number; sent again after `Lost`, it still happens once."""
        answer = await self._ask(lambda connection: connection.fetchrow(WRITE, self._lane, self._number + 1, *values))
        self._number += 1
        return _answer(answer)

    async def check(self, values: tuple[object, ...]) -> Answer:
        """Ask whether the verdicts of a batch that writes nothing still hold."""
        return _answer(await self._ask(lambda connection: connection.fetchrow(CHECK, *values)))

    async def write_locked(
        self, prepare: Callable[[asyncpg.Connection], Awaitable[tuple[object, ...] | None]]
    ) -> Answer | None:
        """Open a transaction, let `prepare` lock and read and say what to write in it, and commit that as a batch."""

        async def transact(connection: asyncpg.Connection) -> asyncpg.Record | None:
            async with connection.transaction():
                values = await prepare(connection)
                if values is None:
                    return None
                return await connection.fetchrow(WRITE, self._lane, self._number + 1, *values)

        row = await self._ask(transact)
        if row is None:
            return None
        self._number += 1
        return _answer(row)

    async def settle(self) -> Answer | None:
        """Say what became of the batch that was lost; None: it did not happen, and never will. Raises `Lost`, `LaneGone`."""
        row = await self._ask(lambda connection: connection.fetchrow(SETTLE, self._lane, self._number + 1))
        self._number += 1
        return None if row is None or row["stale_licenses"] is None else _answer(row)

    def forget(self) -> None:
        """Give up lane and connection: the database does not know the lane. The next connection begins a new one."""
        self._lane = 0
        self.cut()

    def cut(self) -> None:
        """Give the connection up."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
            self._on_down()

    async def _begin(self, connection: asyncpg.Connection) -> None:
        lane = secrets.randbits(63)
        with pg.translated():
            await connection.execute(OPEN, lane)
        self._lane, self._number = lane, 0

    def _ended(self, connection: object) -> None:
        if connection is self._connection:
            self._connection = None
            if not self._closing:
                log.warning("postgres.connection_lost")
            self._on_down()

    async def _ask(self, ask: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        """Run one exchange, and say by the exception what its failure means for the batch."""
        if self._connection is None:
            raise Lost("not connected")
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                return await ask(self._connection)
        except pg.LOST as error:
            self.cut()
            raise Lost(pg.describe(error)) from error
        except asyncpg.PostgresError as error:
            if error.sqlstate == LANE_GONE:
                raise LaneGone(pg.describe(error)) from error
            if pg.is_poison(error):
                raise Poisoned(pg.describe(error)) from error
            if pg.is_missing_partition(error):
                do = "run `keyturn migrate`: no call is logged until the month has a partition"
                log.error("log.partition_missing", do=do)  # noqa: TRY400 (a traceback would say nothing more)
            else:
                log.warning("postgres.refused_batch", error=pg.describe(error))
            raise Unavailable(pg.describe(error)) from error


def _answer(row: asyncpg.Record | None) -> Answer:
    if row is None:
        raise Unavailable("the ledger's function gave no row")
    return Answer(frozenset(row["stale_licenses"]), frozenset(row["stale_facts"]), row["clock"])
