"""Several workers over one PostgreSQL and one Valkey, in one process, with a clock that tests set and steps they can hold.

What answers is the real thing: handlers, rules, ledger, scripts, table. Only HTTP is left out, and signing is not reached.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import redis.asyncio
import world as plain
from cryptography.hazmat.primitives.asymmetric import rsa

from server.config import Config
from server.handlers import floating, key
from server.limiter import Limiter
from server.rules.codes import Refusal
from server.rules.grants import Caller
from server.services import Services
from server.wire import requests
from server.wire.sign import EXPONENT, KEY_BITS, Signer
from storage.errors import Busy, Unavailable
from storage.postgres.customers import Customers
from storage.postgres.events import Events
from storage.postgres.installation import installation
from storage.postgres.leases import LeaseTable
from storage.postgres.ledger import Ledger
from storage.postgres.licenses import Licenses
from storage.postgres.log import Log
from storage.postgres.messages import Messages
from storage.postgres.objects import Objects
from storage.postgres.reads import Reads
from storage.records import Lease, LeaseKind, Token, Verdict
from storage.redis.limits import Limits
from storage.redis.seats import Seats
from storage.stamps import new_stamp

LIMIT = "Cannot activate the new device as the limit has been reached."
BLOCKED = "The key is blocked and cannot be accessed."
COME_AGAIN = "503"

CLOCK_KEY = "test:clock"
# The time of the scripts: as a test has set it, in microseconds, else that of the server.
CLOCK = f"""
local function clock()
    local set = redis.call('GET', '{CLOCK_KEY}')
    if set then
        return math.floor(tonumber(set) / 1000000), tonumber(set) % 1000000
    end
    local time = redis.call('TIME')
    return tonumber(time[1]), tonumber(time[2])
end
"""
_SIGNER_KEY = rsa.generate_private_key(public_exponent=EXPONENT, key_size=KEY_BITS)


@dataclass
class Worker:
    """The storage of one worker, and the calls that it serves."""

    svc: Services
    seats: Seats
    table: LeaseTable
    ledger: Ledger
    reads: Reads
    token: Token
    product: int
    now: Callable[[], float]

    async def take(
        self, key_: str, code: str, interval: int = 100, *, overdraft: int = 0, name: str = "", ip: str = "198.51.100.7"
    ) -> Lease | str | None:
        """Activate with an interval; the lease (None: not counted), or what the client is told."""
        ask = requests.Activate(
            caller=self._caller(ip), product_id=self.product, key=key_, machine_code=code, friendly_name=name,
            floating_time_interval=interval, max_overdraft=overdraft,
        )  # fmt: skip
        try:
            return (await floating.take(self.svc, ask, int(self.now()))).seat
        except Refusal as refusal:
            return refusal.code.value
        except (Busy, Unavailable):
            return COME_AGAIN

    async def release(self, key_: str, code: str) -> str:
        """Deactivate with Floating; "" or what the client is told."""
        ask = requests.Deactivate(
            caller=self._caller("198.51.100.7"), product_id=self.product, key=key_, machine_code=code, floating=True
        )
        try:
            await floating.give_back(self.svc, ask, int(self.now()))
        except Refusal as refusal:
            return refusal.code.value
        except (Busy, Unavailable):
            return COME_AGAIN
        return ""

    async def node_locked(self, key_: str, code: str) -> str:
        """Activate without an interval; "" or what the client is told."""
        ask = requests.Activate(
            caller=self._caller("198.51.100.7"), product_id=self.product, key=key_, machine_code=code, fields_to_return=1
        )
        try:
            await key.activate(self.svc, ask, int(self.now()))
        except Refusal as refusal:
            return refusal.code.value
        return ""

    async def live(self, key_: str) -> tuple[Lease, ...]:
        """The seats that an answer would list."""
        decided = await self.ledger.decide(self.token, self.product, key_, lambda _license: Verdict(None))
        return await self.seats.live(decided.license)

    def _caller(self, ip: str) -> Caller:
        return Caller(self.token, ip, "", ip.rpartition(".")[0] + ".0")


@dataclass
class World:
    """The engines as a test sees them, and the workers on them. `database_dsn` and `redis_url` lead there directly."""

    database_dsn: str
    redis_url: str
    database: "asyncpg.Connection[asyncpg.Record]"
    valkey: "redis.asyncio.Redis[bytes]"
    base: plain.World
    installation: str
    began: int = field(default_factory=lambda: int(time.time()))
    workers: list[Worker] = field(default_factory=list)
    _set: float | None = None

    def now(self) -> float:
        """The time: as set, else the real one."""
        return time.time() if self._set is None else self._set

    async def at(self, seconds: float) -> None:
        """Set the time of scripts and of deciding without Valkey: so long after the test began."""
        self._set = self.began + seconds
        await self.valkey.set(CLOCK_KEY, round(self._set * 1_000_000))

    async def worker(self, *, database_dsn: str = "", redis_url: str = "", clock: str = CLOCK) -> Worker:
        """Open one more worker, by another way to the engines if one is given."""
        reads, tokens, ledger = await plain.worker(database_dsn or self.database_dsn)
        table = LeaseTable(reads, ledger.renew)
        url = redis_url or self.redis_url
        seats = Seats(url, self.installation, table, self.now, forget=ledger.forget, clock=clock)
        await seats.open()
        svc = Services(
            ledger=ledger, licenses=Licenses(reads), tokens=tokens, log=Log(reads), seats=seats,
            signers={self.base.account: Signer(_SIGNER_KEY)}, random_bytes=lambda n: b"\0" * n, new_stamp=new_stamp,
            max_overdraft=1_000, events=Events(reads, reads), messages=Messages(reads), usage_without_stripe=False,
            objects=Objects(reads, reads), customers=Customers(reads, reads), portal_url="",
            limiter=Limiter(Limits(url, self.installation), Config().rates, Config().unlimited),
        )  # fmt: skip
        worker = Worker(svc, seats, table, ledger, reads, self.base.token, self.base.product, self.now)
        self.workers.append(worker)
        return worker

    async def license(self, seats: int = 1) -> str:
        """Make a license with so many seats; its key."""
        return await self.base.license(seats)

    async def lose(self) -> None:
        """FLUSHALL; only the clock stays."""
        async with self.valkey.pipeline(transaction=True) as pipe:
            pipe.flushall()
            if self._set is not None:
                pipe.set(CLOCK_KEY, round(self._set * 1_000_000))
            await pipe.execute()

    async def license_id(self, key_: str) -> int:
        found: int = await self.database.fetchval("select id from licenses where key = $1", key_)
        return found

    async def epoch(self, key_: str) -> int:
        found: int = await self.database.fetchval("select lease_epoch from licenses where key = $1", key_)
        return found

    async def change(self, key_: str, assignment: str) -> None:
        """Change a license as another worker would: with a new stamp."""
        await self.base.change(key_, assignment)

    async def seated(self, key_: str) -> list[str]:
        """The codes of the leases that live by what is committed, an overdraft one with a + behind."""
        rows = await self.database.fetch(
            "select s.code, s.kind from leases s join licenses l on l.id = s.license_id"
            " where l.key = $1 and not s.released and s.expires > $2 order by s.code",
            key_, int(self.now()),
        )  # fmt: skip
        return [row["code"] + ("+" if row["kind"] == LeaseKind.OVERDRAFT else "") for row in rows]

    async def log(self, key_: str) -> list[tuple[int, str, int, int]]:
        """What is logged of a license, by id: state, machine code, time and end (0: none) since the test began."""
        rows = await self.database.fetch(
            "select state, machine_code, time, floating_expires from log where key = $1 order by id", key_
        )
        return [
            (row[0], row[1], row[2] - self.began, row[3] - self.began if row[3] else 0)
            for row in rows
        ]  # fmt: skip

    async def close(self) -> None:
        for worker in self.workers:
            await worker.ledger.close()
            await worker.seats.close()
            await worker.reads.close()
        await self.valkey.aclose()
        await self.base.close()


@asynccontextmanager
async def world(database_dsn: str, redis_url: str, workers: int = 2) -> AsyncIterator[World]:
    """Make a world on a database of its own and an empty Valkey."""
    base = await plain.make(database_dsn)
    valkey = redis.asyncio.from_url(redis_url)
    made = World(database_dsn, redis_url, base.connection, valkey, base, await installation(base.reads))
    try:
        for _ in range(workers):
            await made.worker()
        yield made
    finally:
        await made.close()


class Hold:
    """Stops calls of one method of one object at a step, until they are let go.

    `before` stops them before it is done, else after it, with its result in hand. `only` says which calls, by their
    arguments; `times` how many of those are stopped.
    """

    def __init__(
        self, owner: object, name: str, *, before: bool = True, only: Callable[..., bool] | None = None, times: int = 1
    ) -> None:
        self._original = getattr(owner, name)
        self._before = before
        self._only = only
        self._left = times
        self._reached = asyncio.Event()
        self._go = asyncio.Event()
        self._owner, self._name = owner, name
        setattr(owner, name, self._call)

    async def reached(self) -> None:
        """Return when a call has come to the step."""
        await asyncio.wait_for(self._reached.wait(), 10)

    def go(self) -> None:
        """Let what is held go on, and hold nothing more."""
        self._left = 0
        self._go.set()

    async def _call(self, *args: Any, **named: Any) -> Any:
        held = self._left > 0 and (self._only is None or self._only(*args, **named))
        if not held:
            return await self._original(*args, **named)
        self._left -= 1
        if self._before:
            self._reached.set()
            await self._go.wait()
            return await self._original(*args, **named)
        result = await self._original(*args, **named)
        self._reached.set()
        await self._go.wait()
        return result


def codes(leases: Iterable[Lease]) -> list[str]:
    """The codes of leases, an overdraft one with a + behind."""
    return [lease.code + ("+" if lease.kind is LeaseKind.OVERDRAFT else "") for lease in leases]
