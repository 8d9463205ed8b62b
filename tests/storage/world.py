"""A small world for storage tests: one account, one product, a token and licenses, put straight into the database."""

import dataclasses
import secrets
import time
from functools import partial
from typing import Any

import asyncpg

from storage.postgres.leases import LeaseTable
from storage.postgres.ledger import Ledger
from storage.postgres.licenses import Licenses
from storage.postgres.log import Log
from storage.postgres.reads import Reads
from storage.postgres.tokens import Tokens
from storage.records import Change, Entry, Lease, LeaseKind, License, Machine, Rule, Token, Verdict
from storage.stamps import new_stamp

NOW = int(time.time())
HERE = "database = (select oid from pg_database where datname = current_database())"  # other tests share the server


@dataclasses.dataclass(slots=True)
class World:
    """The database, and one worker's storage on it."""

    dsn: str
    connection: "asyncpg.Connection[asyncpg.Record]"
    account: int
    product: int
    token: Token
    reads: Reads
    tokens: Tokens
    ledger: Ledger
    licenses: Licenses
    log: Log
    table: LeaseTable

    async def license(self, machines: int = 5) -> str:
        """Make a license; its key."""
        key = "-".join("".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(5)) for _ in range(4))
        await self.connection.execute(
            """
            insert into licenses (account_id, product_id, number, key, created, expires, period, features, notes, block,
                                  trial_activation, max_machines, allowed_machines, stamp)
            select $1, $2, coalesce(max(number), 0) + 1, $3, 0, 0, 0, 0, '', false, false, $4, '', $5
            from licenses where product_id = $2
            """,
            self.account, self.product, key, machines, new_stamp(),
        )  # fmt: skip
        return key

    async def decide(self, key: str, rule: Rule[Any], *, token: Token | None = None) -> Any:
        """Have the ledger decide; the answer."""
        return (await self.ledger.decide(token or self.token, self.product, key, rule)).answer

    async def activate(self, key: str, code: str, **how: Any) -> Any:
        """Activate by a rule that is as small as can be."""
        return await self.decide(key, partial(admit, code=code), **how)

    async def show(self, key: str) -> License:
        """The license as the database has it."""
        return await self.licenses.show(self.token, self.product, key)

    async def id(self, key: str) -> int:
        """The id of a license."""
        return await self.connection.fetchval("select id from licenses where key = $1", key)

    async def leases(self, key: str) -> tuple[Lease, ...]:
        """The rows of the leases of a license, by code."""
        license_ = await self.id(key)
        return (await self.table.read([license_]))[license_]

    async def lift(self, key: str, *, to_table: bool, ready: bool = True) -> int:
        """Raise the epoch of a license, and mark it ready if it is to be; the epoch."""
        license_ = await self.id(key)
        known = (await self.table.epochs([license_]))[license_].number
        number = (await self.table.lift({license_: known}, to_table=to_table))[license_].number
        if to_table and ready:
            await self.table.settled()
            await self.table.mark_ready({license_: number})
        return number

    async def states(self, key: str) -> list[int]:
        """The states that are logged of a license, by id."""
        return [row["state"] for row in await self.connection.fetch("select state from log where key = $1 order by id", key)]

    async def machines(self, key: str) -> int:
        return await self.connection.fetchval(
            "select count(*) from machines m join licenses l on l.id = m.license_id where l.key = $1", key
        )

    async def change(self, key: str, assignment: str) -> None:
        """Change a license as another worker would: with a new stamp."""
        await self.connection.execute(f"update licenses set {assignment}, stamp = $2 where key = $1", key, new_stamp())

    async def close(self) -> None:
        await self.ledger.close()
        await self.reads.close()
        await self.connection.close()


def logged(license_: License, state: int, code: str = "", name: str = "") -> Entry:
    """A row of the log."""
    return Entry(license_.account_id, license_.product.id, license_.id, license_.key, "192.0.2.0", NOW, state, code, name)


def admit(license_: License, *, code: str, name: str = "") -> Verdict[str]:
    """Known, new or full."""
    if code in license_.machines:
        return Verdict("known", entry=logged(license_, 2010, code))
    if len(license_.machines) >= license_.max_machines:
        return Verdict("full", entry=logged(license_, 2023, code))
    return Verdict("new", Change(register=Machine(code, name, "192.0.2.7", "", NOW)), logged(license_, 2011, code, name))


def forget(license_: License, *, code: str) -> Verdict[str]:
    return Verdict("gone", Change(forget=code), logged(license_, 6010, code))


def leased(
    code: str,
    *,
    epoch: int = 2,
    seq: int = 1,
    released: bool = False,
    expires: int = NOW + 600,
    kind: LeaseKind = LeaseKind.REGULAR,
) -> Lease:
    """A lease, released at `expires` if it is."""
    return Lease(code, kind, NOW, NOW, expires, f"{code}'s", "192.0.2.0", epoch, seq, released)


def lease(license_: License, *, row: Lease) -> Verdict[str]:
    """Write a lease that Valkey has granted: the license is not changed by it."""
    return Verdict("leased", entry=logged(license_, 2014, row.code), lease=row)


def lease_by_table(license_: License, *, code: str, now: int = NOW) -> Verdict[str]:
    """Take a seat by the rows of the license: as small as can be."""
    live = [row for row in license_.leases.values() if row.lives(now) and row.code != code]
    if len(live) >= license_.max_machines:
        return Verdict("full", entry=logged(license_, 2024, code))
    seq = 1 + max((row.seq for row in license_.leases.values()), default=0)
    row = leased(code, epoch=license_.epoch.number, seq=seq, expires=now + 600)
    return Verdict("leased", Change(lease=row), logged(license_, 2014, code))


def look(license_: License) -> Verdict[int]:
    """A verdict that writes nothing: how many machines there are."""
    return Verdict(len(license_.machines))


async def new_token(connection: "asyncpg.Connection[asyncpg.Record]", account: int, parent: int | None = None) -> int:
    return await connection.fetchval(
        "insert into tokens (account_id, name, secret_hash, permissions, created, stamp, parent_id)"
        " values ($1, 't', '', '{Activate}', 0, $2, $3) returning id",
        account, new_stamp(), parent,
    )  # fmt: skip


async def make(dsn: str, *, ledger_dsn: str = "", queue: int = 1000, batch: int = 64) -> World:
    """Make the world, and open a worker's storage on it; `ledger_dsn` is where the worker connects, if by another way."""
    connection = await asyncpg.connect(dsn)
    account = await connection.fetchval("insert into accounts (name, public_key, created) values ('a', '', 0) returning id")
    product = await connection.fetchval(
        "insert into products (account_id, name, created, feature_names, feature_types, stamp)"
        " values ($1, 'p', 0, array_fill(''::text, array[8]), array_fill(0::smallint, array[8]), $2) returning id",
        account, new_stamp(),
    )  # fmt: skip
    await connection.execute("insert into product_counters (product_id) values ($1)", product)
    token_id = await new_token(connection, account)
    reads, tokens, ledger = await worker(ledger_dsn or dsn, queue=queue, batch=batch)
    token = await tokens.find(token_id)
    assert token is not None
    return World(
        dsn, connection, account, product, token, reads, tokens, ledger, Licenses(reads), Log(reads), LeaseTable(reads)
    )  # fmt: skip


async def worker(dsn: str, *, queue: int = 1000, batch: int = 64) -> tuple[Reads, Tokens, Ledger]:
    """Open the storage of one worker."""
    reads = Reads(dsn)
    await reads.open()
    tokens = Tokens(reads)
    ledger = Ledger(dsn, reads, queue=queue, batch=batch, cache_bytes=2**24, on_connect=tokens.forget)
    await ledger.open()
    return reads, tokens, ledger
