"""L4: what a batch of the ledger costs PostgreSQL by itself, checked or committed, of no call and of many."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from loadtests.limits import Limit
from loadtests.plans import batch_of
from loadtests.target import Target
from server.account import NAME, operator
from server.issuing import licenses_of
from storage.postgres.admin import administration
from storage.postgres.lane import Answer, Lane
from storage.records import Account, License

SIZES = (0, 1, 32, 128)
WARM = 50
FACTS = 5  # of a batch's values, those that a check is told

Ask = Callable[[tuple[object, ...]], Awaitable[Answer]]


def commits(target: Target, seconds: float) -> dict[str, Limit]:
    """Send the same batch of re-activations again and again on one connection, for each size and both ways."""
    made = target.call("key/CreateKey", NoOfKeys=max(SIZES), MaxNoOfMachines=0, Period=365)
    return asyncio.run(_commits(target, made["keys"], seconds))


async def _commits(target: Target, keys: list[str], seconds: float) -> dict[str, Limit]:
    account, known = await _known(target, keys)
    lane = Lane(target.demo["postgres_dsn"], on_up=lambda: None, on_down=lambda: None)
    await lane.open()
    limits = {}
    for size in SIZES:
        values = batch_of(account, known[:size], int(time.time()))
        limits[f"batch of {size}, checked"] = await _repeated(target, lane.check, values[:FACTS], seconds)
        limits[f"batch of {size}, committed"] = await _repeated(target, lane.write, values, seconds)
    await lane.close()
    return limits


async def _known(target: Target, keys: list[str]) -> tuple[Account, list[License]]:
    dsn = target.demo["postgres_dsn"]
    async with administration(dsn) as admin:
        account = await admin.account(NAME)
    assert account is not None
    async with licenses_of(dsn) as licenses:
        return account, [await licenses.show(operator(account.id), target.demo["product_id"], key) for key in keys]


async def _repeated(target: Target, ask: Ask, values: tuple[object, ...], seconds: float) -> Limit:
    for _ in range(WARM):
        await ask(values)
    count, used, started = 0, target.cpu()["postgres"], time.perf_counter()
    while time.perf_counter() < started + seconds:
        answer = await ask(values)
        assert not answer.stale_licenses, "what was committed is not what is measured"
        count += 1
    taken = time.perf_counter() - started
    return Limit(count / taken, (target.cpu()["postgres"] - used) / count * 1e6)
