"""Floating seats in Valkey: claims them, gives them back, and finds out who decides when Valkey does not.

The record is PostgreSQL's leases table; Valkey has a copy in which a seat can be claimed in some microseconds, and may
lose it at any moment. A claim counts once its verdict is committed, which it is only under the epoch that it was made
under (`records.Epoch`). So it does no harm to ask an old set, or to be answered late.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import structlog

from server import metrics
from storage.errors import Busy, StorageError
from storage.lru import Lru
from storage.ports import LeaseTable
from storage.records import NEVER_FLOATING, ByTable, Claim, Epoch, Lease, LeaseKind, License, Peek, Wish, living
from storage.redis import clocks, replies
from storage.redis.handover import Handover
from storage.redis.keys import field_of, probe_key, seats_key
from storage.redis.lua import scripts
from storage.redis.mux import Full, Mux, NotSent, Refused, Unknown
from storage.redis.replies import Listed, Reply

ROUNDS = 5
TABLE_SECONDS = 5  # for which the leases table decides at least, once it does: workers may see Valkey differently
SEED_SECONDS = 0.2  # how long to wait for the seed of another worker
SEED_POLL_SECONDS = 0.005
RECENT_SECONDS = 2  # what was raised longer ago is seeded by now, or never will be
BLIP_SECONDS = 0.1  # a connection that is there again so soon does not make the table decide
PROBE_SECONDS = 1.0  # how long it is believed that Valkey takes writes, or does not
TELL_SECONDS = 60.0
DOUBT_SECONDS = 1.0
PHANTOM_SECONDS = 10  # by then every claim is committed, or never will be
MANY = 1_000  # leases; more are listed over the other connection
SEED_PATIENCE = 5.0
USED_SECONDS = 600  # a set used so lately does not go by itself (layout.lua, KEEP)
NOTED_SECONDS = 1.0  # between two notes of its use
SUSPECT_SECONDS = 1.0
LOST = ("absent", "run_id")

NO_ANSWER = (NotSent, Unknown, Refused)
CLAIMED, RENEWED, PROMOTED, REFUSED, RELEASED = map(
    metrics.seat_claims.labels, ("claimed", "renewed", "promoted", "refused", "released")
)

log = structlog.get_logger()


class Used(NamedTuple):
    """Under which epoch a set was last found, and when (monotonic)."""

    epoch: int
    at: float


class Seats:
    """The seats of one worker. See `ports.Seats`.

    `installation` tells apart who shares a Valkey; `now` gives PostgreSQL's time; `forget` hears of licenses that turn out
    to be old; `clock` is another source of time for the scripts, for tests.
    """

    def __init__(
        self,
        url: str,
        installation: str,
        table: LeaseTable,
        now: Callable[[], float],
        *,
        forget: Callable[[License], None],
        clock: str = "",
    ) -> None:
        self._installation = installation
        self._table = table
        self._now = now
        self._forget = forget
        sources = scripts(clock)
        self._hot = Mux(url, sources, name="seats", on_up=self._came_up, on_down=self._went_down)
        # What takes long is sent over a connection of its own: the others would wait behind it.
        self._bulk = Mux(url, sources, name="seeds", patience=SEED_PATIENCE)
        self._handover = Handover(table, self._seed)
        self._doubted: Lru[int, float] = Lru(10_000)
        self._used: Lru[int, Used] = Lru(100_000)
        self._suspected = float("-inf")
        self._up = asyncio.Event()
        self._down_since = time.monotonic()
        self._probed = float("-inf")
        self._takes_writes = False
        self._probing = asyncio.Lock()
        self._told = float("-inf")
        self._clocks: asyncio.Task[None] | None = None
        metrics.valkey_oldest_seconds.set_function(lambda: self._hot.oldest_seconds)

    async def open(self) -> None:
        """Connect. A Valkey that is not there is waited for in the background: seats are decided without it."""
        await asyncio.gather(self._hot.open(), self._bulk.open())
        self._clocks = asyncio.create_task(clocks.compare(self._hot, self._table))

    async def close(self) -> None:
        """Close the connections; no call may be under way any more."""
        if self._clocks is not None:
            self._clocks.cancel()
            await asyncio.gather(self._clocks, return_exceptions=True)
        await self._handover.close()
        await self._hot.close()
        await self._bulk.close()

    # What a handler asks

    async def claim(self, license: License, wish: Wish, *, lists: bool = False) -> Claim | ByTable:
        """See `ports.Seats`."""
        claim = await self._claim(license, wish, lists=lists)
        if isinstance(claim, Claim) and claim.lease is None and await self._a_phantom_holds(license.id, claim):
            await self._seed_anew(license.id, claim.epoch, "doubt")
            claim = await self._claim(license, wish, lists=lists)
        return claim

    async def peek(self, license: License, code: str) -> Peek | ByTable:
        """See `ports.Seats`."""
        field, _ = field_of(code)
        reply = await self._ask(license, "peek", (field,))
        return reply if isinstance(reply, ByTable) else replies.peek(reply)

    async def confirm(self, license_id: int, claim: Claim) -> None:
        """See `ports.Seats`."""
        lease = claim.lease
        if lease is not None and claim.kept > lease.expires:
            await self._finish(license_id, "settle", claim.run, (*_named(lease), lease.expires))

    async def undo(self, license_id: int, claim: Claim) -> None:
        """See `ports.Seats`."""
        lease, was = claim.lease, claim.was
        if lease is None:
            return
        if was is None:
            await self._finish(license_id, "drop", claim.run, _named(lease))
        elif was != (lease.kind, claim.kept):
            await self._finish(license_id, "restore", claim.run, (*_named(lease), int(was.kind), was.expires))

    async def free(self, license_id: int, code: str, peek: Peek) -> None:
        """See `ports.Seats`."""
        RELEASED.inc()
        field, _ = field_of(code)
        await self._finish(license_id, "drop", peek.run, (field, peek.epoch, peek.seq))

    async def live(self, license: License) -> tuple[Lease, ...]:
        """See `ports.Seats`."""
        epoch = license.epoch
        if not epoch.number:
            return ()
        if epoch.by_table and epoch.ready:
            return living(license.leases.values(), int(self._now()))
        found = None if epoch.by_table else await self._list(license.id)
        if found is not None and found.epoch >= epoch.number:
            return living(found.leases, found.now)
        rows = await self._table.read([license.id])
        return living(rows.get(license.id, ()), int(self._now()))

    # Claims

    async def _claim(self, license: License, wish: Wish, *, lists: bool) -> Claim | ByTable:
        field, code = field_of(wish.code)
        limit, most = license.max_machines, MANY if lists else 0
        values = (field, wish.interval, limit, wish.overdraft, replies.kept(wish.ip, wish.friendly_name, code), most)
        reply = await self._ask(license, "claim", (*values, b""))
        if isinstance(reply, Reply) and reply.values[0] == replies.LOOK:
            known = await self._has_regular(license.id, wish.code, reply.values[2])
            reply = await self._ask(license, "claim", (*values, int(known)))
        if isinstance(reply, ByTable):
            return reply
        claim = replies.claim(reply, wish, limit)
        _count(claim)
        return claim

    async def _has_regular(self, license_id: int, code: str, now: int) -> bool:
        """Whether a regular lease of the machine is committed and lives."""
        rows = (await self._table.read([license_id])).get(license_id, ())
        return any(row.code == code and row.kind is LeaseKind.REGULAR and row.lives(now) for row in rows)

    async def _ask(self, license: License, script: str, values: Sequence[bytes | str | int]) -> Reply | ByTable:
        """Run a script on the license's set, seeded under the epoch that counts; or find that the table decides."""
        epoch = license.epoch
        reply = await self._reply(script, license.id, values) if epoch.by_valkey else None
        if reply is not None and reply.epoch == epoch.number:  # nearly always
            self._note_use(license.id, epoch.number)
            return reply
        found = await self._decided(license, script, values, reply)
        if not epoch.ready if isinstance(found, ByTable) else found.epoch != epoch.number:
            self._forget(license)
        return found

    async def _decided(
        self, license: License, script: str, values: Sequence[bytes | str | int], reply: Reply | None
    ) -> Reply | ByTable:
        """Go on as `_ask` until it is settled who decides; `reply` is to the script under the epoch of the license."""
        epoch, waited_for = license.epoch, 0
        for number in range(2 * ROUNDS):  # a round waits for a seed of others at most once, and raises at most once
            if not epoch.by_valkey:
                if epoch.by_table and not await self._may_return(epoch):
                    return await self._by_table(license.id, epoch)
                cause = "back" if epoch.by_table else "first"
            else:
                if number > 0:
                    reply = await self._reply(script, license.id, values)
                if reply is None:
                    return await self._by_table(license.id, epoch)
                known = epoch
                if reply.seeded and reply.epoch != epoch.number:  # one of the two is old
                    epoch = await self._fresh(license.id)
                if reply.epoch == epoch.number:
                    self._note_use(license.id, epoch.number)
                    return reply
                # If somebody has raised the epoch just now, the set is on its way. Raised once more it would never be used,
                # and two workers could go on like that for all of their rounds.
                if epoch.number != known.number or (epoch.number != waited_for and self._recent(epoch)):
                    waited_for = epoch.number
                    await self._wait_for_seed(license.id, epoch)
                    continue
                cause = reply.cause
            if not await self._writable():
                return await self._by_table(license.id, epoch)
            self._suspect_others(license.id, cause)
            epoch = await self._seed_anew(license.id, epoch.number, cause)
        raise Busy("five rounds did not find who decides on a floating seat")

    async def _reply(self, script: str, license_id: int, values: Sequence[bytes | str | int]) -> Reply | None:
        """Run a script; None if Valkey refuses, or is out of reach for longer than a moment.

        A claim that got no reply may have been done; made anew it is a renewal.
        """
        for _ in range(2):
            run = self._hot.run
            try:
                return Reply(run, await self._hot.script(script, [self._key(license_id)], [run, *values]))
            except Full as error:  # no reason to have the table decide, which is slower
                raise Busy("the queue to Valkey is full") from error
            except Refused as error:
                self._refuses(error)
                return None
            except (NotSent, Unknown):
                if not await self._soon_up():
                    return None
        return None

    async def _finish(self, license_id: int, script: str, run: bytes, values: tuple[bytes | int, ...]) -> None:
        """Change the set after a verdict. If that cannot be, the lease lapses, or is found when it stands in the way."""
        try:
            await self._hot.script(script, [self._key(license_id)], [run, *values])
        except NO_ANSWER:
            metrics.seats_left.inc()

    # Who decides

    async def _by_table(self, license_id: int, epoch: Epoch) -> ByTable:
        metrics.seats_by_table.inc()
        if not (epoch.by_table and epoch.ready):
            await self._handover.to_table(license_id)
        return ByTable(self._now())

    async def _may_return(self, epoch: Epoch) -> bool:
        """Whether Valkey may decide again on a license that the table decides on."""
        return self._now() >= epoch.at + TABLE_SECONDS + 1 and await self._writable()  # `at` is in whole seconds

    async def _seed_anew(self, license_id: int, known: int, cause: str) -> Epoch:
        """Have the set seeded under a new epoch, by this worker or by another that was quicker; return the epoch."""
        epoch, seeded = await self._handover.to_valkey(license_id, known, cause)
        if not seeded:
            await self._wait_for_seed(license_id, epoch)
        return epoch

    def _note_use(self, license_id: int, epoch: int) -> None:
        used, now = self._used.get(license_id), time.monotonic()
        if used is None or used.epoch != epoch or used.at + NOTED_SECONDS < now:
            self._used.put(license_id, Used(epoch, now))

    def _suspect_others(self, license_id: int, cause: str) -> None:
        """Have the sets used lately seeded anew with one that was used lately and is gone: Valkey has lost them all."""
        now, used = time.monotonic(), self._used.get(license_id)
        if cause not in LOST or used is None or used.at + USED_SECONDS < now or now < self._suspected + SUSPECT_SECONDS:
            return
        self._suspected = now
        known = {each: epoch for each, (epoch, at) in self._used.items() if at + USED_SECONDS >= now}
        self._handover.to_valkey_soon(known, cause)

    async def _wait_for_seed(self, license_id: int, epoch: Epoch) -> None:
        """Wait a little until another worker has put a set of that epoch, raised just now, into Valkey."""
        if epoch.by_table or not self._recent(epoch):
            return
        deadline = time.monotonic() + SEED_SECONDS
        with suppress(*NO_ANSWER):  # the next round finds out
            while time.monotonic() < deadline:
                run = self._hot.run
                if Reply(run, await self._hot.script("peek", [self._key(license_id)], [run, b""])).epoch >= epoch.number:
                    return
                await asyncio.sleep(SEED_POLL_SECONDS)

    def _recent(self, epoch: Epoch) -> bool:
        """Whether an epoch was raised so lately that its seed may still be on its way."""
        return self._now() <= epoch.at + RECENT_SECONDS

    async def _fresh(self, license_id: int) -> Epoch:
        return (await self._table.epochs([license_id])).get(license_id, NEVER_FLOATING)

    async def _seed(self, license_id: int, epoch: int, leases: tuple[Lease, ...]) -> None:
        values = [word for lease in leases for word in replies.seeded(lease)]
        try:
            await self._bulk.script("seed", [self._key(license_id)], [self._bulk.run, epoch, *values])
        except NO_ANSWER as error:
            self._refuses(error)

    async def _writable(self) -> bool:
        """Whether Valkey takes writes: looked up before an epoch is raised for it, at most once a second."""
        if not (self._hot.up and self._bulk.up):
            return False
        async with self._probing:
            if time.monotonic() >= self._probed + PROBE_SECONDS:
                try:
                    await self._hot.command("SET", probe_key(self._installation), 1, "EX", 10)
                except NO_ANSWER as error:
                    self._refuses(error)
                else:
                    self._takes_writes, self._probed = True, time.monotonic()
        return self._takes_writes

    def _refuses(self, error: StorageError) -> None:
        """Believe for a while that Valkey takes no writes, and tell the operator, once a minute at most."""
        self._takes_writes, self._probed = False, time.monotonic()
        if self._told + TELL_SECONDS < self._probed:
            self._told = self._probed
            why = error.code if isinstance(error, Refused) else str(error)  # the whole text of a refusal may quote arguments
            log.warning("redis.no_writes", why=why, do="see to Valkey: floating seats are decided by PostgreSQL meanwhile")

    # Leases that stand in the way

    async def _a_phantom_holds(self, license_id: int, claim: Claim) -> bool:
        """Whether the set that refused has a lease that nobody was answered: of a call that died before its commit."""
        last = self._doubted.get(license_id)
        if last is not None and time.monotonic() < last + DOUBT_SECONDS:
            return False
        self._doubted.put(license_id, time.monotonic())
        found = await self._list(license_id)
        if found is None or found.epoch != claim.epoch:
            return False
        rows = {row.code: row for row in (await self._table.read([license_id])).get(license_id, ())}
        old = [lease for lease in found.leases if lease.time + PHANTOM_SECONDS < found.now]
        return not all(_bears_out(rows.get(lease.code), lease) for lease in old)

    async def _list(self, license_id: int) -> Listed | None:
        """Return the leases of a set; None if it cannot tell."""
        try:
            reply = await self._listed(self._hot, license_id, MANY)
            if reply.values[0] == replies.TOO_MANY:
                reply = await self._listed(self._bulk, license_id, 2**31)
        except NO_ANSWER:
            return None
        return replies.listed(reply) if reply.seeded else None

    async def _listed(self, mux: Mux, license_id: int, most: int) -> Reply:
        run = mux.run
        return Reply(run, await mux.script("list", [self._key(license_id)], [run, most]))

    # The connection

    def _key(self, license_id: int) -> bytes:
        return seats_key(self._installation, license_id)

    def _came_up(self) -> None:
        metrics.valkey_up.set(1)
        self._up.set()

    def _went_down(self) -> None:
        metrics.valkey_up.set(0)
        self._down_since = time.monotonic()
        self._up.clear()

    async def _soon_up(self) -> bool:
        """Whether the connection stands, or stands again in a moment."""
        left = self._down_since + BLIP_SECONDS - time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(left, 0)):
                await self._up.wait()
        return self._hot.up


def _count(claim: Claim) -> None:
    if claim.lease is None:
        REFUSED.inc()
    elif claim.was is None:
        CLAIMED.inc()
    else:
        (RENEWED if claim.was.kind is claim.lease.kind else PROMOTED).inc()


def _named(lease: Lease) -> tuple[bytes, int, int]:
    """Return what a script must find to change a lease: its field, and that it is still this very claim."""
    field, _ = field_of(lease.code)
    return field, lease.epoch, lease.seq


def _bears_out(row: Lease | None, lease: Lease) -> bool:
    """Whether a committed row says what the set says, or more."""
    return row is not None and not row.released and row.kind == lease.kind and row.expires >= lease.expires
