"""More calls than there are places for, on a worker in this process: which are refused, and what becomes of the others."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlencode

import pytest
from inside import Inside, worker_inside
from lines import Answered, ask, request
from office import Office, Shop
from servers import Live, until

from server import metrics
from storage.postgres import ledger

PLACES = 8
BUSY = {"result": 1, "message": "The server is busy. Please try again later."}
FROM_ANYWHERE = {"trusted_proxies": (ipaddress.ip_network("127.0.0.0/8"),), "unlimited": ()}


@pytest.fixture
async def small(live: Live) -> AsyncIterator[Inside]:
    """A worker with few places."""
    async with worker_inside(live, queue=PLACES) as server:
        yield server


@pytest.fixture
async def strict(live: Live) -> AsyncIterator[Inside]:
    """One that exempts nobody."""
    async with worker_inside(live, queue=PLACES, **FROM_ANYWHERE) as server:
        yield server


def taken(server: Inside) -> int:
    return server.endpoint._dispatcher._places._taken


def refused(cause: str) -> float:
    return metrics.refused_by_server.labels(cause)._value.get()


class Desk:
    """Makes calls on licenses of one product, from an address."""

    def __init__(self, server: Inside, shop: Shop, address: str = "203.0.113.7") -> None:
        self._server, self._shop, self._address = server, shop, address

    async def activate(self, key: str, code: str) -> Answered:
        return await self.call("key/Activate", Key=key, MachineCode=code)

    async def call(self, method: str, **params: object) -> Answered:
        body = urlencode({"token": self._shop.office.token, "ProductId": self._shop.id, **params}).encode()
        return await ask(self._server.url, request(f"/api/{method}", body, X_Forwarded_For=self._address))


def was_refused(answer: Answered) -> bool:
    if answer.status == 200:
        assert answer.json["result"] == 0
        return False
    assert (answer.status, answer.headers["retry-after"], answer.json) == (503, "1", BUSY)
    return True


@asynccontextmanager
async def stalled(office: Office, table: str = "log") -> AsyncIterator[None]:
    """Have every commit wait for the length of a `with`."""
    async with office.database.transaction():
        await office.database.execute(f"lock table {table} in exclusive mode")
        yield


async def test_who_finds_no_place_is_refused_and_nothing_of_it_is_done(small: Inside, office: Office, shop: Shop) -> None:
    desk, before = Desk(small, shop), refused("busy")
    keys = [await shop.new_key(MaxNoOfMachines=2) for _ in range(PLACES + 1)]
    async with stalled(office):
        accepted = [asyncio.create_task(desk.activate(key, "first")) for key in keys[:PLACES]]
        await until(lambda: taken(small) == PLACES)
        for _ in range(3):
            assert was_refused(await desk.activate(keys[PLACES], "second"))
        assert was_refused(await desk.activate(keys[0], "second"))
        assert taken(small) == PLACES
    assert not any(map(was_refused, await asyncio.gather(*accepted)))
    assert refused("busy") == before + 4
    assert [await shop.states(key) for key in keys] == [[2011]] * PLACES + [[]]
    assert taken(small) == 0
    assert not was_refused(await desk.activate(keys[PLACES], "second"))
    assert await shop.states(keys[PLACES]) == [2011]


async def test_without_a_place_nothing_of_a_call_is_looked_at(small: Inside, office: Office, shop: Shop) -> None:
    desk = Desk(small, shop)
    keys = [await shop.new_key(MaxNoOfMachines=2) for _ in range(PLACES)]
    async with stalled(office):
        accepted = [asyncio.create_task(desk.activate(key, "first")) for key in keys]
        await until(lambda: taken(small) == PLACES)
        assert was_refused(await ask(small.url, request("/api/key/Activate", b"%", Content_Type="multipart/form-data")))
        assert (await ask(small.url, request("/api/no/such", b""))).status == 404
    await asyncio.gather(*accepted)


async def test_a_popular_license_leaves_places_to_others(small: Inside, office: Office, shop: Shop) -> None:
    desk, before = Desk(small, shop), refused("crowded")
    hot, other = [await shop.new_key(MaxNoOfMachines=100) for _ in range(2)]
    async with stalled(office):
        crowd = [asyncio.create_task(desk.activate(hot, f"m{number}")) for number in range(PLACES * 2)]
        await until(lambda: refused("crowded") == before + len(crowd) - PLACES // 2)
        quiet = [asyncio.create_task(desk.activate(other, "m"))]
        await until(lambda: taken(small) == PLACES // 2 + 1)
    assert [was_refused(await each) for each in quiet] == [False]
    assert sum(map(was_refused, await asyncio.gather(*crowd))) == len(crowd) - PLACES // 2
    assert await shop.states(hot) == [2011] * (PLACES // 2)
    assert not was_refused(await desk.activate(hot, "late"))


async def test_a_noisy_network_leaves_places_to_others(strict: Inside, office: Office, shop: Shop) -> None:
    before = refused("crowded")
    keys = [await shop.new_key(MaxNoOfMachines=2) for _ in range(PLACES)]
    async with stalled(office):
        noise = [
            asyncio.create_task(Desk(strict, shop, f"203.0.113.{number}").activate(key, "m"))
            for number, key in enumerate(keys)
        ]
        await until(lambda: refused("crowded") == before + PLACES // 2)
        unread = request("/api/key/Activate", b"%", Content_Type="multipart/form-data", X_Forwarded_For="203.0.113.9")
        assert was_refused(await ask(strict.url, unread))
        elsewhere = asyncio.create_task(Desk(strict, shop, "198.51.100.1").activate(keys[0], "elsewhere"))
        await until(lambda: taken(strict) == PLACES // 2 + 1)
    assert not was_refused(await elsewhere)
    assert sum(map(was_refused, await asyncio.gather(*noise))) == PLACES // 2


async def test_a_method_that_names_no_license_leaves_places_to_others(small: Inside, office: Office, shop: Shop) -> None:
    desk, before = Desk(small, shop), refused("crowded")
    key = await shop.new_key(MaxNoOfMachines=2)
    async with stalled(office):
        made = [asyncio.create_task(desk.call("key/CreateKey", Key=f"of no matter {number}")) for number in range(PLACES)]
        await until(lambda: refused("crowded") == before + PLACES // 2)
        other = asyncio.create_task(desk.activate(key, "m"))
        await until(lambda: taken(small) == PLACES // 2 + 1)
    assert not was_refused(await other)
    assert sum(map(was_refused, await asyncio.gather(*made))) == PLACES // 2


async def test_who_has_a_place_is_answered_in_time_and_leaves_it(
    small: Inside, office: Office, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its five seconds are shortened."""
    monkeypatch.setattr(ledger, "CALLER_SECONDS", 0.2)
    desk = Desk(small, shop)
    keys = [await shop.new_key(MaxNoOfMachines=2) for _ in range(PLACES)]
    async with stalled(office):
        answers = await asyncio.gather(*(desk.activate(key, "m") for key in keys))
        assert all(map(was_refused, answers))
        assert taken(small) == 0
    monkeypatch.undo()
    assert not was_refused(await desk.activate(keys[0], "m"))
