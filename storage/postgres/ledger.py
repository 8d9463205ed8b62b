"""The ledger: decides calls on licenses in batches, commits each batch once, and answers only then.

A call waits in one of three places: in the *queue*, *held* with its license (which is being loaded, or which a batch under
way changes), or in a *batch* under way on one of the lanes. Everything here runs on one event loop and takes no locks.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from typing import TypeVar

import asyncpg
import structlog

from server import metrics
from storage.errors import Broken, Busy, NoLicense, NoProduct, Stale, StorageError, Unavailable
from storage.postgres import rows
from storage.postgres.batch import Batch, Call, Group
from storage.postgres.connect import FOREIGN_KEY_VIOLATION, refused_with
from storage.postgres.known import Known
from storage.postgres.lane import Answer, Lane, LaneGone, Lost, Poisoned
from storage.postgres.leases import Lifted
from storage.postgres.reads import Reads
from storage.postgres.rows import LICENSE_LOAD, Address, Loaded
from storage.postgres.sql import load
from storage.records import Decided, Fact, License, Rule, Token, Verdict

LANES = 2
TURNS = 4  # from bytes in the kernel to a call in the queue: read, resume the connection, start its task, run it
READERS, MOST_READ = 2, 64  # statements that read licenses, at once; licenses in one
ROUNDS = 5
CONTENDED_ROUNDS = 2  # from this round on a license is decided under its row lock, so that somebody gets on
CALLER_SECONDS = 5.0
SWEEP_SECONDS = 0.1
SETTLE_AGAIN_SECONDS = 0.2
GRACE_SECONDS = 0.25  # for connections that were cut and are there again: longer, and callers are refused at once
LICENSE_LOCK = load("license_lock")
LOG_WRITER_BEGINS = "select log_writer_begins()"
NOTHING: tuple[object, ...] = ([], [], [], [], [])  # as Batch.checked_values(): asks for nothing but the time

log = structlog.get_logger()
A = TypeVar("A")


class Ledger:
    """The ledger of one worker.

    `on_connect` is called whenever a database connection is new: memory may be of another time. `failed` gets the
    exception of a task here that ended by one, which is a bug: the worker must end then, its callers cannot be served.
    """

    def __init__(
        self, dsn: str, reads: Reads, *, queue: int, batch: int, cache_bytes: int, on_connect: Callable[[], None]
    ) -> None:
        self._reads = reads
        self._limit = queue
        self._batch = batch
        self._on_connect = on_connect
        self._known = Known(cache_bytes)
        self._queue: deque[Call] = deque()
        self._alone: deque[list[Call]] = deque()  # parts of a batch in which an entry was at fault
        self._contended: deque[Address] = deque()
        self._held: dict[Address, list[Call]] = {}
        self._unread: deque[Address] = deque()  # what calls are held for until it is read
        self._readers = 0
        self._order: deque[Call] = deque()  # every call, oldest deadline first; what is answered leaves with the sweep
        self._waiting = 0
        self._up = 0
        self._refusing = True
        self._ahead = 0.0  # seconds from the monotonic clock here to the database's, as its last answer said
        self._work = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()  # to ask for it costs a system call, each time
        self.failed: asyncio.Future[None] = self._loop.create_future()
        self._lanes = [Lane(dsn, on_up=self._lane_up, on_down=self._lane_down) for _ in range(LANES)]
        reads.suspended = lambda: self._refusing

    @property
    def up(self) -> bool:
        """Whether a connection stands."""
        return self._up > 0

    async def open(self) -> None:
        """Connect the lanes and begin to write. Raises `Unavailable`."""
        for lane in self._lanes:
            await lane.open()
        try:
            self._hear(await self._lanes[0].check(NOTHING))
        except Lost as error:
            raise Unavailable("the connection was lost at once") from error
        for lane in self._lanes:
            self._spawn(self._write_on(lane))
        self._spawn(self._sweep())

    async def close(self) -> None:
        """Answer what has come, then stop."""
        while self._waiting:  # noqa: ASYNC110 (once in a life: no event is worth its upkeep on every call)
            await asyncio.sleep(0.005)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)  # what failed has been told to `failed`
        for lane in self._lanes:
            await lane.close()

    async def decide(self, token: Token, product_id: int, key: str, rule: Rule[A]) -> Decided[A]:
        """See `ports.Ledger`."""
        if self._refusing:
            raise Unavailable("PostgreSQL is not connected")
        if self._waiting >= self._limit:
            raise Busy("the queue is full")
        address = Address(token.account_id, product_id, key)
        call = Call(token, address, rule, self._loop.create_future(), self._loop.time() + CALLER_SECONDS)
        self._waiting += 1
        try:
            self._order.append(call)
            self._arrive(call)
            return await call.future
        finally:
            self._waiting -= 1

    async def glance(self, token: Token, product_id: int, key: str) -> License:
        """See `ports.Ledger`. What is not known is read by a call that asks for nothing, with its token confirmed."""
        if self._refusing:
            raise Unavailable("PostgreSQL is not connected")
        known = self.known(token, product_id, key)
        return (await self.decide(token, product_id, key, _as_it_is)).license if known is None else known

    def known(self, token: Token, product_id: int, key: str) -> License | None:
        """See `ports.Ledger`."""
        return self._known.get(Address(token.account_id, product_id, key))

    def forget(self, license_: License) -> None:
        """Drop a license from memory that is known to have changed since: the next call reads it before it decides."""
        address = Address(license_.account_id, license_.product.id, license_.key)
        if (known := self._known.get(address)) is not None and known.stamp == license_.stamp:
            self._known.drop(address)

    def renew(self, lifted: Lifted) -> None:
        """Take in that the epoch of a license was raised, if it is in memory as it was before: nothing else has changed."""
        address = self._known.address(lifted.license_id)
        known = None if address is None else self._known.get(address)
        if address is not None and known is not None and known.stamp == lifted.before:
            self._known.put(address, replace(known, stamp=lifted.after, epoch=lifted.epoch, leases={}))

    def now(self) -> float:
        """See `ports.Ledger`."""
        return time.monotonic() + self._ahead

    def _hear(self, answer: Answer) -> None:
        self._ahead = answer.clock - time.monotonic()

    # Where a call waits

    def _arrive(self, call: Call) -> None:
        held = self._held.get(call.address)
        if held is not None:
            held.append(call)
        elif self._known.get(call.address) is None:
            self._hold_and_load(call.address, [call])
        else:
            self._queue.append(call)
            self._work.set()

    def _hold_and_load(self, address: Address, calls: list[Call]) -> None:
        self._held[address] = calls
        self._unread.append(address)
        if self._readers < READERS:
            self._readers += 1
            self._spawn(self._load_waiting())

    def _release(self, address: Address) -> None:
        """Let the calls that waited for this license go on, before all that came later."""
        held = self._held.pop(address, [])
        if any(call.alone for call in held):
            self._alone.extend([call] for call in held if call.alone)
            held = [call for call in held if not call.alone]
        self._queue.extendleft(reversed(held))
        self._work.set()

    def _redo(self, address: Address, calls: list[Call]) -> None:
        """Decide calls again, on a license as it is now; after two rounds that went stale, under the row's lock."""
        self._known.drop(address)
        if (held := self._held.get(address)) is not None:
            held[:0] = calls
        elif any(call.rounds >= CONTENDED_ROUNDS for call in calls):
            self._held[address] = calls
            self._contended.append(address)
            self._work.set()
        else:
            self._hold_and_load(address, calls)

    async def _load_waiting(self) -> None:
        """Read all licenses that calls wait for, together: as many as have come while others were read."""
        try:
            while self._unread:
                await self._load([self._unread.popleft() for _ in range(min(len(self._unread), MOST_READ))])
        finally:
            self._readers -= 1

    async def _load(self, addresses: list[Address]) -> None:
        """Read licenses that calls are held for, and let these go on; or tell them why not."""
        known = [self._known.product(address.product_id) for address in addresses]
        asked = [list(self._held[address]) for address in addresses]  # whoever comes later has a token nobody looked at
        named = dict.fromkeys(fact for calls in asked for call in calls for fact in call.token.facts)
        facts = {fact: number for number, fact in enumerate(named, 1)}
        try:
            found = await self._reads.fetch(LICENSE_LOAD, *rows.sought(addresses, facts, known))
        except StorageError as error:
            for each in addresses:
                if isinstance(error, Broken) and len(addresses) > 1:  # one of them is at fault
                    await self._load([each])
                else:
                    _fail(self._held.pop(each), error)
            return
        metrics.license_loads.inc(len(addresses))
        for row in found:
            ordinal = row["n"] - 1
            self._take(addresses[ordinal], rows.loaded(row, known[ordinal]), asked[ordinal], facts)

    def _take(self, address: Address, found: Loaded, asked: list[Call], facts: dict[Fact, int]) -> None:
        """Let the calls on a license go on that was looked for, or tell those `asked` for that it is not there."""
        if found.license is not None:
            self._known.put(address, found.license)
            self._release(address)
            return
        missing = NoLicense() if found.product else NoProduct()
        for call in asked:
            _fail([call], missing if found.stale.isdisjoint(facts[fact] for fact in call.token.facts) else Stale())
        for call in self._held.pop(address):
            if not call.future.done():
                self._arrive(call)

    # Batches

    async def _write_on(self, lane: Lane) -> None:
        """Write batch after batch on one lane: the next leaves as soon as this connection is free.

        And some turns of the loop later: so calls that the kernel has already come along. A batch costs as much as thirty
        calls in it, and one that is as large as it can be without waiting is a third cheaper per call.
        """
        while True:
            if not lane.up:
                await lane.reopen()
            await self._work.wait()
            for _ in range(TURNS):
                await asyncio.sleep(0)
            if not lane.up:
                continue
            if self._contended:
                await self._write_contended(lane, self._contended.popleft())
            elif (batch := self._assemble()).size:
                await self._carry(lane, batch)

    def _assemble(self) -> Batch:
        """Decide what has come, in order of arrival, until the batch is full or nothing is left that may go."""
        batch = Batch()
        calls = deque(self._alone.popleft()) if self._alone else self._queue
        while calls and batch.has_room(self._batch):
            call = calls.popleft()
            if call.future.done():
                continue
            held, known = self._held.get(call.address), self._known.get(call.address)
            if held is not None:
                held.append(call)
            elif known is None:
                self._hold_and_load(call.address, [call])
            else:
                batch.decide(call, known)
        for address, group in batch.groups.items():
            if group.changed:
                self._held[address] = []  # later calls on it wait for the outcome
        if not (self._queue or self._alone or self._contended):
            self._work.clear()
        return batch

    async def _carry(self, lane: Lane, batch: Batch) -> None:
        """Commit a batch and answer its callers, whatever happens to the connection meanwhile."""
        started = time.perf_counter()
        metrics.batch_calls.observe(batch.size)
        writes = batch.writes
        values = batch.written_values() if writes else batch.checked_values()
        answer: Answer | None
        try:
            answer = await (lane.write(values) if writes else lane.check(values))
        except Lost:
            answer = await self._recover(lane, batch, values)
        except StorageError as error:
            self._refuse(lane, batch, error)
            return
        if answer is not None:
            metrics.batches.labels("committed" if writes else "checked").inc()
            metrics.commit_seconds.observe(time.perf_counter() - started)
            self._finish(batch, answer)

    async def _recover(self, lane: Lane, batch: Batch, values: tuple[object, ...]) -> Answer | None:
        """Settle a batch whose connection was lost: send it again under its number; give it up once a caller was refused.

        Returns its answer, or None if it has been dealt with otherwise.
        """
        metrics.batches.labels("unknown").inc()
        writes = batch.writes
        losses = 1
        while True:
            await lane.reopen()
            try:
                if not writes:
                    return None if batch.refused else await lane.check(values)
                if losses < 2 and not batch.refused:  # noqa: PLR2004 (twice lost: an entry may be killing its backend)
                    return await lane.write(values)
                answer = await lane.settle()
            except Lost:
                losses += 1
            except Unavailable:  # the server answers, but cannot do this now: only settling can tell
                losses += 1
                await asyncio.sleep(SETTLE_AGAIN_SECONDS)
            except StorageError as error:
                self._refuse(lane, batch, error)
                return None
            else:
                metrics.batches.labels("abandoned" if answer is None else "settled").inc()
                if answer is None:  # one of its entries may be killing its backend
                    self._split(batch, Unavailable("the connection was lost twice"))
                return answer

    def _refuse(self, lane: Lane, batch: Batch, error: StorageError) -> None:
        """Deal with a batch of which nothing was written."""
        if isinstance(error, Poisoned):
            self._split(batch, _told_alone(error))
        elif isinstance(error, LaneGone):
            log.error("ledger.lane_gone", do="the database was replaced or restored; this writer begins anew")
            lane.forget()
            self._let_go(batch)
            self._queue.extendleft(reversed(list(batch.calls)))  # before those that waited for them
        else:
            metrics.batches.labels("failed").inc()
            _fail(batch.calls, error)
            self._let_go(batch)

    def _split(self, batch: Batch, error: StorageError) -> None:
        """Decide both halves of a batch again, apart: the one entry at fault ends up alone, and fails alone by `error`."""
        calls = [call for call in batch.calls if not call.future.done()]
        if len(calls) <= 1:
            _fail(calls, error)
            calls = []
        for call in calls:
            call.alone = True
        metrics.batches.labels("split").inc()
        middle = len(calls) // 2
        self._alone.extend(part for part in (calls[:middle], calls[middle:]) if part)
        self._let_go(batch)

    def _let_go(self, batch: Batch) -> None:
        """Forget what the batch would have made of its licenses."""
        for address, group in batch.groups.items():
            if group.changed:
                self._release(address)
        self._work.set()

    def _finish(self, batch: Batch, answer: Answer) -> None:
        self._hear(answer)
        for ordinal, (address, group) in enumerate(batch.groups.items(), 1):
            if ordinal in answer.stale_licenses:
                self._went_stale(batch, address, group, answer)
                continue
            if group.changed:
                self._known.put(address, group.after)
            for call, decided in group.calls:
                if not call.future.done():
                    call.future.set_result(decided)
            if group.changed:
                self._release(address)

    def _went_stale(self, batch: Batch, address: Address, group: Group, answer: Answer) -> None:
        """Give the calls of a license back: to their handler if their token has changed, else to be decided again."""
        metrics.stale_verdicts.inc(len(group.calls))
        held = self._held.pop(address, []) if group.changed else []
        again = []
        for call, _ in group.calls:
            if call.future.done():
                continue
            call.rounds += 1
            if not answer.stale_facts.isdisjoint(batch.fact_ordinals(call)):
                call.future.set_exception(Stale())
            elif call.rounds >= ROUNDS:
                call.future.set_exception(Busy("went stale five times"))
            else:
                again.append(call)
        if again or held:
            self._redo(address, again + held)
        else:
            self._known.drop(address)

    async def _write_contended(self, lane: Lane, address: Address) -> None:
        """Decide all calls that are held for one license under its row lock: nobody can make these verdicts stale."""
        batch = Batch()

        async def prepare(connection: asyncpg.Connection) -> tuple[object, ...] | None:
            await connection.execute(LOG_WRITER_BEGINS)
            await connection.fetch(LICENSE_LOCK, *address)
            found = rows.loaded(await _one(connection, LICENSE_LOAD, *rows.sought([address], [])))
            if found.license is None:
                return None
            calls, self._held[address] = self._held[address], []
            for call in calls[: self._batch]:
                if not call.future.done():
                    batch.decide(call, found.license)
            self._held[address][:0] = calls[self._batch :]
            return batch.written_values() if batch.size else None

        metrics.batches.labels("contended").inc()
        try:
            answer = await lane.write_locked(prepare)
        except Lost:
            answer = await self._recover(lane, batch, batch.written_values()) if batch.size else None
        except StorageError as error:
            self._refuse(lane, batch, error)
            answer = None
        if answer is not None:
            self._finish(batch, answer)
        if address in self._held and address not in self._contended:  # if it went stale after all, its turn comes again
            self._known.drop(address)
            self._hold_and_load(address, self._held[address])

    # Time and connections

    async def _sweep(self) -> None:
        """Refuse callers that have waited five seconds; what they asked may still be done."""
        clock = self._loop.time
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            metrics.queue_calls.set(self._waiting)
            while self._order and (self._order[0].future.done() or self._order[0].deadline <= clock()):
                _fail([self._order.popleft()], Busy("not settled in five seconds"))

    def _lane_up(self) -> None:
        self._up += 1
        self._refusing = False
        metrics.postgres_up.set(self._up)
        self._known.clear()
        self._on_connect()

    def _lane_down(self) -> None:
        self._up -= 1
        metrics.postgres_up.set(self._up)
        self._work.set()  # its writer may be waiting for work: it shall connect again
        if not self.up:
            self._loop.call_later(GRACE_SECONDS, self._give_up)

    def _give_up(self) -> None:
        """Without any connection still, refuse all that is not under way: it has not been sent, and will not be."""
        if self.up:
            return
        self._refusing = True
        waiting = [*self._queue, *(call for part in self._alone for call in part)]
        self._queue.clear()
        self._alone.clear()
        for held in self._held.values():
            waiting += held
            held.clear()
        _fail(waiting, Unavailable("PostgreSQL is not connected"))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self.failed.done():
            self.failed.set_exception(error)


def _told_alone(error: Poisoned) -> StorageError:
    """Return what an entry is answered that PostgreSQL refuses by itself, too.

    Where a foreign key fails, a customer who was to be assigned went between the check of the facts and the writing: a fact
    that is stale as soon as it is looked at again.
    """
    if refused_with(error) == FOREIGN_KEY_VIOLATION:
        return Stale()
    return Broken("PostgreSQL refuses this entry")


def _as_it_is(_license: License) -> Verdict[None]:
    return Verdict(None)


async def _one(connection: asyncpg.Connection, statement: str, *values: object) -> asyncpg.Record:
    row = await connection.fetchrow(statement, *values)
    if row is None:
        raise Unavailable("a statement that always gives one row gave none")
    return row


def _fail(calls: Iterable[Call], error: StorageError) -> None:
    """Give the calls an error instead of an answer; those that have one already keep it."""
    for call in calls:
        if not call.future.done():
            call.future.set_exception(error)
