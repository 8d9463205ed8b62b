"""What a batch of the ledger, and the load of a license, cost PostgreSQL: planned once, and planned anew at every call.

`python -m loadtests.plans` starts a PostgreSQL of its own, makes licenses, sends the same batch of re-activations on one
lane many times, and loads each license many times; the figures are the CPU of that connection's backend, in user and in
system mode.
"""

import asyncio
import datetime
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import asyncpg

from loadtests.machine import cpu_seconds, describe
from server.account import operator
from server.issuing import licenses_of, make_keys
from server.rules import activation, editing
from server.rules.grants import Caller
from storage.embedded.home import lock, prepare
from storage.embedded.postgres import Postgres
from storage.postgres.admin import administration
from storage.postgres.batch import Batch, Call
from storage.postgres.connect import LOOKUPS, SETTINGS
from storage.postgres.lane import Lane
from storage.postgres.migrate import migrate
from storage.postgres.rows import LICENSE_LOAD, Address, sought
from storage.records import Account, Feature, FeatureType, License

SIZES = (1, 10, 30, 60, 120)
TIMES = 600
LOADS = 5_000
MACHINE = "machine-1"
ANEW = ("plan_cache_mode = force_custom_plan", "enable_seqscan = on", "enable_hashjoin = on", "enable_mergejoin = on")


async def make(dsn: str, now: int) -> tuple[Account, list[License]]:
    """Make a product and the licenses of the largest batch."""
    async with administration(dsn) as admin:
        account = await admin.add_account("bench", b"", now)
        product = await admin.add_product(
            account.id, name="Bench", description="", features=[Feature("", FeatureType.NORMAL)] * 8,
            all_time_limited=False, block_expired=False, now=now,
        )  # fmt: skip
    wanted = editing.NewKeys(365, 0, "", False, None, False, 0, "")  # noqa: FBT003
    async with licenses_of(dsn) as licenses:
        keys = await make_keys(licenses, account.id, product, wanted, count=max(SIZES), now=now)
        return account, [await licenses.show(operator(account.id), product, key) for key in keys]


def batch_of(account: Account, licenses: list[License], now: int) -> tuple[object, ...]:
    """Return what the ledger would send for one call on each license."""
    token, batch = operator(account.id), Batch()
    rule = partial(
        activation.activate, code=MACHINE, friendly_name="", caller=Caller(token, "192.0.2.7", "", "192.0.2.0"), now=now
    )
    for known in licenses:
        address = Address(account.id, known.product.id, known.key)
        batch.decide(Call(token, address, rule, asyncio.get_running_loop().create_future(), 0.0), known)
    return batch.written_values()


async def cost(dsn: str, values: tuple[object, ...]) -> float:
    """Return the microseconds of CPU that one batch costs its backend."""
    lane = Lane(dsn, on_up=lambda: None, on_down=lambda: None)
    await lane.open()
    for _ in range(20):
        await lane.write(values)
    connection = await asyncpg.connect(dsn)
    last = "select pid from pg_stat_activity where application_name = 'keyturn' and query like '%ledger_write%'"
    pids = {row["pid"] for row in await connection.fetch(last)}
    used = cpu_seconds(pids)
    for _ in range(TIMES):
        await lane.write(values)
    used = cpu_seconds(pids) - used
    await connection.close()
    await lane.close()
    return round(used / TIMES * 1e6)


async def load_cost(dsn: str, licenses: list[License], settings: Mapping[str, str]) -> float:
    """Return the microseconds of CPU that loading one license costs the backend of a connection with such settings."""
    connection = await asyncpg.connect(dsn, server_settings=dict(settings))
    backend = {int(await connection.fetchval("select pg_backend_pid()"))}

    async def loads(times: int) -> None:
        for number in range(times):
            known = licenses[number % len(licenses)]
            address = Address(known.account_id, known.product.id, known.key)
            await connection.fetch(LICENSE_LOAD, *sought([address], []))

    await loads(LOADS // 10)
    used = cpu_seconds(backend)
    await loads(LOADS)
    used = cpu_seconds(backend) - used
    await connection.close()
    return round(used / LOADS * 1e6)


async def measure(data: Path) -> dict[str, object]:
    """Measure both ways in one run."""
    now = int(time.time())
    with lock(data):
        postgres = Postgres(prepare(data))
        await postgres.start()
        try:
            await migrate(postgres.dsn, datetime.datetime.now(datetime.UTC))
            account, licenses = await make(postgres.dsn, now)
            batches = {size: batch_of(account, licenses[:size], now) for size in SIZES}
            once = {size: await cost(postgres.dsn, values) for size, values in batches.items()}
            connection = await asyncpg.connect(postgres.dsn)
            for function in ("ledger_write", "ledger_stale"):
                for setting in ANEW:
                    await connection.execute(f"alter function {function} set {setting}")
            await connection.close()
            anew = {size: await cost(postgres.dsn, values) for size, values in batches.items()}
            loads = [await load_cost(postgres.dsn, licenses, settings) for settings in (LOOKUPS, SETTINGS)]
        finally:
            await postgres.stop()
    return {
        "machine": describe(),
        "us per batch, planned once": once,
        "us per batch, planned anew": anew,
        "us per license loaded, planned once": loads[0],
        "us per license loaded, planned anew": loads[1],
    }


def main() -> None:
    """Run, and print JSON: of batches, sizes to microseconds."""
    with tempfile.TemporaryDirectory(prefix="keyturn-bench-") as folder:
        Path(folder).chmod(0o755)  # root's embedded engines run as another user
        json.dump(asyncio.run(measure(Path(folder) / "data")), sys.stdout, indent=2)
        sys.stdout.write("\n")


if __name__ == "__main__":
    main()
