"""The memory of workers: flat under a mixed load of more licenses than it has room for."""

import asyncio
import itertools
import random
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import asyncpg
import pytest
from servers import Live, start, stop

from loadtests.driver import Outcome, drive, post
from loadtests.vitals import Watch, trend
from server.load_demo import Plan, load
from storage.postgres.admin import administration

PLAN = Plan(20_000, 5)
CACHE_BYTES = 2**24  # of each worker: half of the licenses fit in
POOLS, HOLDERS = 200, 10
CLIENTS = 32
MIX = {"known": 50, "shown": 20, "back": 10, "floats": 15, "unknown": 5}  # of a hundred calls
SIGNED = {"Sign": "true", "SignMethod": 1}
ANSWERED = {"ok", "refused"}  # an unknown key is refused


async def licensed(live: Live) -> int:
    """Load the licenses; the id of their product."""
    dsn = live.demo["postgres_dsn"]
    connection = await asyncpg.connect(dsn)
    account = await connection.fetchval("select account_id from products where id = $1", live.demo["product_id"])
    await connection.close()
    async with administration(dsn) as admin:
        loaded = await load(dsn, admin, account, PLAN, now=int(time.time()), tell=lambda _what, _done: None)
    return loaded.product_id


class Calls:
    """Calls on the licenses, without end, none of which leaves more behind than a row in the log."""

    def __init__(self, live: Live, product_id: int, pools: list[str]) -> None:
        self._token, self._demo, self._product = live.demo["admin_token"], live.demo["product_id"], product_id
        self._pools = pools
        self._chance = random.Random(1)

    def every_view(self) -> Iterator[bytes]:
        """Show each license in each form that workers keep: what they keep of forms is full then."""
        for number, version, how in itertools.product(range(1, PLAN.licenses + 1), (1, 2, 3), (SIGNED, {})):
            yield self._form("GetKey", Key=PLAN.license(number).key, ModelVersion=version, **how)

    def mixed(self) -> Iterator[bytes]:
        """Choose call after call; a machine that is given back comes again at once."""
        for what in iter(lambda: self._chance.choices([*MIX], [*MIX.values()])[0], ""):
            key, codes = PLAN.license(self._chance.randint(1, PLAN.licenses))
            code, version = self._chance.choice(codes), self._chance.randint(1, 3)
            if what == "known":
                yield self._form("Activate", Key=key, MachineCode=code, ModelVersion=version, **SIGNED)
            elif what == "shown":
                yield self._form("GetKey", Key=key, ModelVersion=version, **SIGNED)
            elif what == "back":
                yield self._form("Deactivate", Key=key, MachineCode=code)
                yield self._form("Activate", Key=key, MachineCode=code, ModelVersion=version)
            elif what == "floats":
                holder = f"{self._chance.randrange(HOLDERS):064x}"
                floating = {"ProductId": self._demo, "FloatingTimeInterval": 3600, "ModelVersion": version, **SIGNED}
                yield self._form("Activate", Key=self._chance.choice(self._pools), MachineCode=holder, **floating)
            else:
                yield self._form("Activate", Key=key[::-1], MachineCode=code)

    def _form(self, method: str, **params: object) -> bytes:
        values = {"token": self._token, "ProductId": self._product, **params}
        return post(f"/api/key/{method}", urlencode(values).encode())


async def driven(live: Live, calls: Iterator[bytes], seconds: float) -> Outcome:
    """Send calls for so long, or until there are none."""
    parts = iter(lambda: list(itertools.islice(calls, 5_000)), [])  # the client's own memory is bounded, too
    whole, until = Outcome(), time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0 and (part := next(parts, None)):
        told = await asyncio.to_thread(drive, live.url, part, clients=CLIENTS, seconds=left, once=True)
        whole.answers += told.answers
    return whole


@pytest.mark.soak
@pytest.mark.parametrize("minutes", [2.5, 10])
async def test_memory_is_flat_under_a_mixed_load(folder: Path, minutes: float) -> None:
    """The growth that loadtests/vitals.py allows from the first to the last quarter, of workers and of the supervisor."""
    live = await asyncio.to_thread(start, folder / "data", KEYTURN_CACHE_BYTES=str(CACHE_BYTES))
    try:
        made = await asyncio.to_thread(live.call, "key/CreateKey", MaxNoOfMachines=HOLDERS, Period=30, NoOfKeys=POOLS)
        calls = Calls(live, await licensed(live), made["keys"])
        assert set((await driven(live, calls.every_view(), 600)).answers) == {"ok"}
        watch = Watch(lambda: live.process.pid)
        told = await driven(live, calls.mixed(), minutes * 60)
        watch.end()
        assert set(told.answers) == ANSWERED
        for kind in ("worker", "supervisor"):
            seen = trend(watch.samples[kind])
            print(f"{minutes} min, {kind}: {seen}, {told.answers.total()} calls")  # noqa: T201 (shown by -rP)
            assert seen is not None
            assert seen.flat
    finally:
        assert await asyncio.to_thread(stop, live) == 0
