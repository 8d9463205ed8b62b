"""The thinnest path: a seat taken, renewed, refused, released, over two workers."""

from seats.world import LIMIT, codes, world
from storage.records import Lease


async def test_a_seat_is_taken_renewed_refused_and_released(dsn: str, redis_url: str) -> None:
    async with world(dsn, redis_url) as made:
        one, two = made.workers
        key = await made.license(1)
        first = await one.take(key, "a", name="Ann's")
        assert isinstance(first, Lease)
        assert await two.take(key, "b") == LIMIT
        again = await two.take(key, "a")
        assert isinstance(again, Lease)
        assert again.start == first.start
        assert await made.seated(key) == ["a"]
        assert codes(await one.live(key)) == ["a"]
        assert await two.release(key, "a") == ""
        assert await made.seated(key) == []
        assert isinstance(await two.take(key, "b"), Lease)
        assert [state for state, *_ in await made.log(key)] == [2014, 2024, 2014, 6011, 2014]


async def test_without_valkey_the_table_decides(dsn: str) -> None:
    async with world(dsn, "unix:///nowhere", workers=2) as made:
        one, two = made.workers
        key = await made.license(1)
        assert isinstance(await one.take(key, "a"), Lease)
        assert await two.take(key, "b") == LIMIT
        assert isinstance(await two.take(key, "a"), Lease)
        assert await made.epoch(key) % 2 == 1
        assert await one.release(key, "a") == ""
        assert isinstance(await two.take(key, "b"), Lease)
        assert codes(await one.live(key)) == ["b"]
