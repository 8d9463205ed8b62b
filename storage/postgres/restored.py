"""What a database that comes from a backup needs before it may serve: its first life went on after the backup was taken.

Clients, workers and Valkey may have seen what the database does not know any more. So nothing that was given out then is
given out again for something else, and nothing that was remembered then is taken for what is so now.
"""

import json
from typing import NamedTuple

import asyncpg

from storage.errors import StorageError
from storage.postgres import backup
from storage.postgres.admin import BY_HAND
from storage.postgres.connect import translated
from storage.postgres.migrate import unlimited
from storage.postgres.sql import load, statements
from storage.records import Edit
from storage.stamps import new_stamp

SQL, OBJECT_LOG = statements("restored"), statements("object_log")
CLOCK, LIFT = load("clock"), load("leases_lift")
SEQUENCE_AT = backup.SQL["sequence_at"]
LICENSES_AT_ONCE = 500


class Reach(NamedTuple):
    """How far ids are moved ahead: `least`, and `each_second` for each second in which some may have been drawn.

    Because it grows with that time, a backup that is restored a second time comes out above the first time's ids too.
    Never more than half of what is left up to `highest`.
    """

    least: int
    each_second: int
    highest: int

    def after(self, last: int, seconds: int) -> int:
        """Return the number to go on after."""
        return last + min(self.step(seconds), (self.highest - last) // 2)

    def step(self, seconds: int) -> int:
        """Return how far it is at most."""
        return self.least + self.each_second * max(seconds, 0)


# A million a second is some times what the largest machine writes to the log; JavaScript counts exactly up to 2^53.
WIDE = Reach(2**30, 2**20, 2**53 - 1)
# What the wire or the SDKs have as int32. A million keys at once, or ten a second for as long as it takes.
NARROW = Reach(1_000_000, 10, 2**31 - 1)
NARROW_SEQUENCES = frozenset({"products_id_seq", "licenses_id_seq", "customers_id_seq"})


class InUse(StorageError):
    """A server works with the database."""


class Gap(NamedTuple):
    """What is missing in the log: rows after `last` (None: all) and before the id `next`, from then until `now`.

    `installation` is the new id.
    """

    last: backup.Logged | None
    next: int
    now: int
    installation: str


async def restored(dsn: str) -> Gap:
    """Make ready a database that was restored by other means. Doing it twice does no harm. Raises `InUse`, `Unavailable`."""
    async with unlimited(dsn) as connection:
        with translated():
            await refuse_users(connection)
            async with connection.transaction():
                return await begin_anew(connection)


async def refuse_users(connection: asyncpg.Connection) -> None:
    """Raise `InUse` if a server is connected to the database."""
    if await connection.fetchval(SQL["users"]):
        raise InUse("A Keyturn server works with this database. Stop it (all of its hosts), then repeat this.")


async def begin_anew(connection: asyncpg.Connection, taken: int | None = None) -> Gap:
    """Do it, in the caller's transaction, on the newest schema. `taken`: when the backup was taken, if that is known."""
    await connection.execute(OBJECT_LOG["writer_begins"])
    now = int(await connection.fetchval(CLOCK))
    last = await backup.last_logged(connection)
    since = last.time if last else await connection.fetchval(SQL["last_edit"])
    known = [time for time in (taken, since) if time is not None]
    drawn = await _move_ids_ahead(connection, now - min(known, default=now))
    await connection.execute(SQL["forget_lanes"])
    await _lift_epochs(connection)
    installation: str = await connection.fetchval(SQL["new_installation"])
    gap = Gap(last, drawn["log_id"] + 1, now, installation)
    told = json.dumps({"logAfter": last.id if last else 0, "logBefore": gap.next})
    for account in await connection.fetch(backup.ACCOUNTS):
        edit = Edit(account["id"], now, "Account", account["id"], "Restore", BY_HAND, told)
        await connection.execute(OBJECT_LOG["add"], *edit)
    return gap


async def _move_ids_ahead(connection: asyncpg.Connection, seconds: int) -> dict[str, int]:
    """Move all ids and numbers ahead; return after which each sequence goes on."""
    drawn = {
        name: (NARROW if name in NARROW_SEQUENCES else WIDE).after(last, seconds)
        for name, last in (await backup.sequences(connection)).items()
    }
    for name, last in drawn.items():
        await connection.execute(SEQUENCE_AT, name, last)
    await connection.execute(SQL["counters_ahead"], NARROW.step(seconds), NARROW.highest)
    return drawn


async def _lift_epochs(connection: asyncpg.Connection) -> None:
    """Raise the epoch of every license with floating seats: the first claim then has them seeded from the table."""
    after = 0
    while found := await connection.fetch(SQL["floating"], after, LICENSES_AT_ONCE):
        licenses, epochs = [row["id"] for row in found], [row["lease_epoch"] for row in found]
        await connection.execute(LIFT, licenses, epochs, [new_stamp() for _ in found], False)  # noqa: FBT003 (SQL has no names)
        after = licenses[-1]
