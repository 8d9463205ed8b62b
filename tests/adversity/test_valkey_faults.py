"""Valkey lies, falls silent, forgets, comes back older or as another one, refuses, tells another time: no seat is given out
twice, no holder is refused, and no client sees it."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import asyncpg
import pytest
from callers import Caller, stock, storm
from floating import LONG, SHORT, Desk, Terms, audit, everyone_renews, free_seats_are_given, refused, rush, termed, terms
from processes import bugs, events, kill, running, server, tree
from proxy import Mode, Proxy, proxy
from recorder import GIVE, OK, TAKE, Recorder, rows_of
from seats.world import LIMIT, Hold, Worker, World, world
from servers import Live, open_folder, until
from structlog.testing import capture_logs
from valkeys import (
    APPENDS,
    Ours,
    promote,
    replicates,
    through,
    valkey_of_ours,
    without_disk,
    without_replica,
    without_room,
)

from server import metrics
from storage.records import Lease
from storage.redis import clocks
from storage.redis import seats as seats_module
from storage.redis.keys import seats_key

PATIENCE = 1.25  # seconds: the connection's, and a quarter more
EPOCHS = "select coalesce(sum(lease_epoch), 0) from licenses"
Breaking = Callable[[Ours], AbstractAsyncContextManager[str]]


# A server of two workers whose way to Valkey leads through a proxy


@dataclass(frozen=True, slots=True)
class Shaky:
    live: Live
    carrier: Proxy
    valkey: Ours

    async def counted(self, name: str) -> float:
        """What all workers together have counted under a name of /metrics, labels and all."""
        return await asyncio.to_thread(self._counted, name)

    def _counted(self, name: str) -> float:
        with urlopen(f"{self.live.demo['ops_url']}/metrics", timeout=5) as answer:
            found = re.search(rf"^{re.escape(name)} (\S+)$", answer.read().decode(), re.MULTILINE)
        return float(found[1]) if found else 0.0

    async def connected(self) -> bool:
        return await self.counted("keyturn_valkey_up") == 2

    async def terms(self, record: Recorder, number: int = 6, seats: int = 3) -> list[Terms]:
        """Make licenses, half of them with short leases, some with overdraft."""
        return termed(record, await stock(self.live, record, seats, number), seats)

    @asynccontextmanager
    async def askers(self, record: Recorder, number: int = 10) -> AsyncIterator[list[Caller]]:
        async with AsyncExitStack() as stack:
            callers = [Caller(self.live, record) for _ in range(number)]
            for caller in callers:
                stack.callback(caller.close)
            yield callers


@pytest.fixture(scope="module")
async def shaky() -> AsyncIterator[Shaky]:
    async with valkey_of_ours() as ours, proxy(ours.socket) as carrier:
        with open_folder() as folder:
            async with server(folder, REDIS_URL=through(carrier)) as live:
                yield Shaky(live, carrier, ours)


@pytest.fixture
async def beside(shaky: Shaky) -> AsyncIterator[asyncpg.Connection]:
    """A look into that server's database; at the end the server has written of no bug."""
    before = len(bugs(shaky.live))
    connection = await shaky.live.database()
    yield connection
    await connection.close()
    assert bugs(shaky.live)[before:] == []


@pytest.mark.parametrize("cuts", [5, pytest.param(50, marks=pytest.mark.soak)])
async def test_a_reply_that_is_lost_costs_nobody_an_answer_and_takes_no_second_seat(
    shaky: Shaky, record: Recorder, beside: asyncpg.Connection, cuts: int
) -> None:
    licenses = await shaky.terms(record)
    async with shaky.askers(record) as askers:
        async with rush(record, licenses, askers) as load:
            for _ in range(cuts):
                await until(load.progress(50), 30)
                seen = shaky.carrier.cuts
                shaky.carrier.become(Mode.CUT)
                # After a cut that lasted, the table decides for some seconds, and Valkey is not asked.
                await until(lambda seen=seen: shaky.carrier.cuts > seen, 20)
                shaky.carrier.become(Mode.PASS)
            await until(load.progress(100), 30)
        await everyone_renews(record, askers)
    assert refused(record.calls) == []
    assert await audit(record, beside) == []


@pytest.mark.parametrize(
    ("calls", "table", "heals"), [(300, 4.0, 5.0), pytest.param(10_000, 0.75, 1.0, marks=pytest.mark.soak)]
)
async def test_without_replies_everybody_is_decided_by_the_table_in_time_and_valkey_is_found_again(
    shaky: Shaky, record: Recorder, beside: asyncpg.Connection, *, calls: int, table: float, heals: float
) -> None:
    licenses = await shaky.terms(record)
    by_table = await shaky.counted("keyturn_seats_by_table_total")
    async with shaky.askers(record) as askers:
        async with rush(record, licenses, askers) as load:
            await until(load.progress(200), 30)
            shaky.carrier.become(Mode.BLACK_HOLE)
            began = time.monotonic()
            await until(load.progress(100), 30)
            noticed = time.monotonic()
            await until(load.progress(calls), 60)
            shaky.carrier.become(Mode.PASS)
            healed = time.monotonic()
            await until(shaky.connected, 10)
            found = time.monotonic()
            await until(load.progress(200), 30)
        await everyone_renews(record, askers)
    assert refused(record.calls) == []
    assert await shaky.counted("keyturn_seats_by_table_total") >= by_table + calls
    assert max(call.received - call.sent for call in record.calls) < PATIENCE + table
    meanwhile = [call for call in record.calls if noticed < call.sent and call.received < healed]
    assert max(call.received - call.sent for call in meanwhile) < table  # no pile-up: nobody waits for Valkey any more
    assert {call.message for call in meanwhile if call.method == TAKE} == {"", LIMIT}
    assert any(call.seat and call.seat.start <= time.time() - (time.monotonic() - began) for call in meanwhile)  # renewals
    assert found - healed < heals
    assert await audit(record, beside) == []


@pytest.mark.parametrize("times", [30, pytest.param(1_000, marks=pytest.mark.soak)])
async def test_an_emptied_script_cache_is_seen_by_nobody(
    shaky: Shaky, record: Recorder, beside: asyncpg.Connection, times: int
) -> None:
    licenses = await shaky.terms(record)
    async with shaky.askers(record) as askers, shaky.valkey.client() as client:
        async with rush(record, licenses, askers) as load:
            for _ in range(times):
                await until(load.progress(10), 30)
                await client.script_flush()
        await everyone_renews(record, askers)
    assert refused(record.calls) == []
    assert await audit(record, beside) == []


@pytest.mark.parametrize("times", [3, pytest.param(50, marks=pytest.mark.soak)])
async def test_an_emptied_valkey_is_filled_again_also_when_it_is_emptied_while_that_goes_on(
    shaky: Shaky, record: Recorder, beside: asyncpg.Connection, times: int
) -> None:
    licenses = await shaky.terms(record)
    async with shaky.askers(record, 14) as askers, shaky.valkey.client() as client:
        async with rush(record, licenses, askers) as load:
            for _ in range(times):
                await until(load.progress(150), 30)
                for _ in range(3):  # the first is noticed, and then another one comes in the middle of what it caused
                    epochs, enough = await beside.fetchval(EPOCHS), load.progress(60)
                    await client.flushall()
                    await until(lambda epochs=epochs, enough=enough: _moved(beside, epochs, enough), 30)
            await until(load.progress(150), 30)
        await everyone_renews(record, askers)
    assert len(refused(record.calls)) <= times // 3  # five rounds may not be enough for one who meets all three each time
    assert any(call.message == LIMIT for call in record.calls)
    assert await audit(record, beside) == []


async def _moved(connection: asyncpg.Connection, epochs: int, enough: Callable[[], bool]) -> bool:
    """Whether an epoch was raised; or enough calls were served, if seeds that were on their way made up for the loss."""
    return enough() or bool(await connection.fetchval(EPOCHS) != epochs)


@pytest.mark.parametrize("times", [2, pytest.param(30, marks=pytest.mark.soak)])
async def test_a_valkey_that_is_killed_and_comes_back_empty_costs_nobody_a_seat(
    shaky: Shaky, record: Recorder, beside: asyncpg.Connection, times: int
) -> None:
    licenses = await shaky.terms(record)
    async with shaky.askers(record) as askers:
        async with rush(record, licenses, askers) as load:
            for _ in range(times):
                await until(load.progress(100), 30)
                await shaky.valkey.kill()
                await until(load.progress(20), 30)
                await shaky.valkey.start()
                await until(load.progress(100), 30)
        await until(shaky.connected)
        await everyone_renews(record, askers)
    assert refused(record.calls) == []
    assert await audit(record, beside) == []


# Workers in this process, which reach Valkey each in its way


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the table decide for one to two seconds at least, in place of five to six."""
    monkeypatch.setattr(seats_module, "TABLE_SECONDS", 0)
    monkeypatch.setattr(seats_module, "PROBE_SECONDS", 0.2)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Valkey decide again as soon as it is there, so that who decides changes as often as can be."""
    monkeypatch.setattr(seats_module, "TABLE_SECONDS", -1)
    monkeypatch.setattr(seats_module, "PROBE_SECONDS", 0.05)


def desks(made: World, record: Recorder, each: int = 5) -> list[Desk]:
    return [Desk(worker, record) for worker in made.workers for _ in range(each)]


def all_up(made: World) -> bool:
    return all(worker.seats._hot.up and worker.seats._bulk.up for worker in made.workers)


def seeds(cause: str) -> float:
    """How many licenses have been seeded for a cause, since this process began."""
    return float(metrics.seat_seeds.labels(cause)._value.get())


async def test_a_claim_whose_reply_is_lost_is_made_anew_and_has_one_seat_and_one_row(dsn: str, record: Recorder) -> None:
    async with valkey_of_ours() as ours, proxy(ours.socket) as carrier, world(dsn, through(carrier), 1) as made:
        (licensed,) = await terms(made, record, 1)
        (desk,) = desks(made, record, 1)
        await desk.take(licensed.key, "first", LONG)
        carrier.become(Mode.CUT)
        claim = asyncio.ensure_future(desk.take(licensed.key, "cut", LONG))
        await until(lambda: carrier.cuts)
        carrier.become(Mode.PASS)
        assert (await claim).granted
        assert await made.seated(licensed.key) == ["cut", "first"]
        assert [row[:2] for row in await made.log(licensed.key)] == [(2014, "first"), (2014, "cut")]
        assert await audit(record, made.database) == []


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("mode", [Mode.BLACK_HOLE, Mode.REFUSE])
@pytest.mark.parametrize(("rounds", "heals"), [(1, 5.0), pytest.param(20, 1.5, marks=pytest.mark.soak)])
async def test_a_worker_alone_cut_off_and_healed_gives_no_seat_out_twice(
    dsn: str, record: Recorder, mode: Mode, rounds: int, heals: float
) -> None:
    """Leases lapse meanwhile, and the life of Valkey is the same when the worker is back."""
    async with (
        valkey_of_ours() as ours,
        proxy(ours.socket) as carrier,
        world(dsn, ours.url) as made,
    ):
        other = await made.worker(redis_url=through(carrier))
        licenses = await terms(made, record)
        async with rush(record, licenses, desks(made, record, 4)) as load:
            for _ in range(rounds):
                await until(load.progress(150), 30)
                carrier.become(mode)
                await until(lambda: not other.seats._hot.up)
                lapsed = time.monotonic() + SHORT + 1
                await until(lambda lapsed=lapsed: time.monotonic() > lapsed)
                carrier.become(Mode.PASS)
                healed = time.monotonic()
                await until(lambda: other.seats._hot.up)
                assert time.monotonic() - healed < heals
            await until(load.progress(150), 30)
        await until(lambda: all_up(made))
        await everyone_renews(record, desks(made, record, 1))
        assert refused(record.calls) == []
        assert await audit(record, made.database) == []


@pytest.mark.usefixtures("soon")
async def test_the_table_decides_for_all_while_one_worker_is_cut_off_and_then_valkey_again(
    dsn: str, record: Recorder
) -> None:
    async with valkey_of_ours() as ours, proxy(ours.socket) as carrier, world(dsn, ours.url, 1) as made:
        other = await made.worker(redis_url=through(carrier))
        (licensed,) = await terms(made, record, 1, 2)
        one, two = desks(made, record, 1)
        assert (await one.take(licensed.key, "a", LONG)).granted
        carrier.become(Mode.REFUSE)
        await until(lambda: not other.seats._hot.up)
        assert (await two.take(licensed.key, "b", LONG)).granted
        assert await made.epoch(licensed.key) % 2 == 1
        assert (await one.take(licensed.key, "c", LONG)).message == LIMIT
        carrier.become(Mode.PASS)
        await until(lambda: all_up(made))

        async def returned() -> bool:
            return (await two.take(licensed.key, "b", LONG)).granted and not await made.epoch(licensed.key) % 2

        await until(returned)
        assert (await one.take(licensed.key, "c", LONG)).message == LIMIT
        await everyone_renews(record, [one, two])
        assert await audit(record, made.database) == []


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("older", [False, True], ids=["as it was", "from an older copy"])
@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.soak)])
async def test_a_valkey_that_is_killed_and_restarted_from_its_file_is_known_for_another_life(
    dsn: str, record: Recorder, tmp_path: Path, *, older: bool, times: int
) -> None:
    async with (
        valkey_of_ours(APPENDS) as ours,
        proxy(ours.socket) as carrier,
        world(dsn, through(carrier)) as made,
    ):
        licenses = await terms(made, record)
        async with rush(record, licenses, desks(made, record)) as load:
            for number in range(times):
                await until(load.progress(200), 30)
                await ours.copy(tmp_path / f"old{number}")
                await until(load.progress(300), 30)
                await ours.kill()
                if older:
                    ours.put_back(tmp_path / f"old{number}")
                await ours.start()
                async with ours.client() as client:
                    assert await client.exists(*[await _name(made, each.key) for each in licenses]) > 0
                await until(load.progress(200), 30)
        await until(lambda: all_up(made))
        await everyone_renews(record, desks(made, record, 1))
        assert refused(record.calls) == []
        assert await audit(record, made.database) == []


async def test_a_restart_from_a_file_that_nobody_saw_is_noticed_by_the_run_id_alone(dsn: str, record: Recorder) -> None:
    async with (
        valkey_of_ours(APPENDS) as ours,
        proxy(ours.socket) as carrier,
        world(dsn, through(carrier)) as made,
    ):
        licenses = await terms(made, record)
        async with rush(record, licenses, desks(made, record)) as load:
            await until(load.progress(200), 30)
        before = seeds("run_id")
        await ours.kill()
        await ours.start()
        await until(lambda: all_up(made))
        await everyone_renews(record, desks(made, record, 1))
        assert seeds("run_id") > before
        async with rush(record, licenses, desks(made, record)) as load:
            await until(load.progress(200), 30)
        assert refused(record.calls) == []
        assert await audit(record, made.database) == []


async def _name(made: World, key: str) -> bytes:
    return seats_key(made.installation, await made.license_id(key))


@pytest.mark.usefixtures("at_once")
async def test_a_replica_that_lagged_and_is_promoted_costs_nobody_a_seat(dsn: str, record: Recorder) -> None:
    async with (
        valkey_of_ours("repl-diskless-sync-delay 0") as primary,
        valkey_of_ours() as replica,
        proxy(primary.socket) as between,
        proxy(primary.socket) as carrier,
        world(dsn, through(carrier)) as made,
    ):
        await replicates(replica, between)
        licenses = await terms(made, record)
        async with rush(record, licenses, desks(made, record)) as load:
            await until(load.progress(200), 30)
            between.become(Mode.BLACK_HOLE)
            await until(load.progress(400), 30)
            await primary.kill()
            between.cut_all()
            await promote(replica)
            async with replica.client() as client:
                assert await client.exists(*[await _name(made, each.key) for each in licenses]) > 0
            carrier.target = replica.socket
            await until(load.progress(300), 30)
        await until(lambda: all_up(made))
        await everyone_renews(record, desks(made, record, 1))
        assert refused(record.calls) == []
        assert await audit(record, made.database) == []


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("breaking", [without_room, without_replica, without_disk])
async def test_a_valkey_that_refuses_writes_counts_as_down_and_is_used_again_when_it_takes_them(
    dsn: str, record: Recorder, breaking: Breaking
) -> None:
    async with valkey_of_ours() as ours, world(dsn, ours.url) as made:
        licenses = await terms(made, record)
        back, by_table = seeds("back"), metrics.seats_by_table._value.get()
        async with rush(record, licenses, desks(made, record)) as load:
            await until(load.progress(200), 30)
            with capture_logs() as logged:
                async with breaking(ours) as word:
                    await until(lambda: any(line["event"] == "redis.no_writes" for line in logged))
                    await until(load.progress(300), 30)  # from then on: each license is asked for
            await until(lambda: seeds("back") >= back + len(licenses), 10)
            await until(load.progress(200), 30)
        (line, *_) = [line for line in logged if line["event"] == "redis.no_writes"]
        assert line["why"].startswith(word)
        assert line["do"]
        assert metrics.seats_by_table._value.get() > by_table
        async with ours.client() as client:
            assert (await client.info("stats"))["evicted_keys"] == 0
        await everyone_renews(record, desks(made, record, 1))
        assert refused(record.calls) == []
        assert await audit(record, made.database) == []


@pytest.mark.parametrize("again", ["flushed", "killed"])
async def test_what_is_lost_again_in_the_middle_of_a_reseed_is_found_again(dsn: str, record: Recorder, again: str) -> None:
    """The leases have been read, and the seed is about to be sent to a Valkey that forgets once more."""
    async with (
        valkey_of_ours() as ours,
        proxy(ours.socket) as carrier,
        world(dsn, through(carrier)) as made,
    ):
        (licensed,) = await terms(made, record, 1, 2)
        one, two = desks(made, record, 1)
        holders = [await one.take(licensed.key, code, LONG) for code in ("a", "b")]
        assert all(call.granted for call in holders)
        await made.lose()
        for worker in made.workers:
            await made.change(licensed.key, "notes = ''")
            assert worker.seats._hot.up
        seed = Hold(made.workers[0].table, "read", before=False)
        reseeding = asyncio.ensure_future(one.take(licensed.key, "a", LONG))
        await seed.reached()
        if again == "flushed":
            await made.lose()
        else:
            await ours.kill()
            await ours.start()
            await until(lambda: all_up(made))
        stranger = asyncio.ensure_future(two.take(licensed.key, "stranger", LONG))
        seed.go()
        assert (await reseeding).granted
        assert (await stranger).message == LIMIT
        await everyone_renews(record, [one, two])
        assert await audit(record, made.database) == []


async def test_workers_that_miss_a_set_at_the_same_time_do_not_raise_its_epoch_in_turns(
    dsn: str, redis_url: str, record: Recorder
) -> None:
    """Who reads an epoch that was raised just now waits for its set. One that raised it again instead would undo what the
    other worker is about to use, and that one would do the same: until the rounds of a caller are over."""
    raised = metrics.seat_handovers.labels("valkey")._value
    async with world(dsn, redis_url, 3) as made:
        licenses = await terms(made, record, 6)
        before = raised.get()
        async with rush(record, licenses, desks(made, record, 4)) as load:
            for _ in range(4):
                await until(load.progress(150), 60)
                await made.lose()
            await until(load.progress(150), 60)
        each = (raised.get() - before) / (5 * len(licenses))
        assert each < 1.5
        assert refused(record.calls) == []
        assert await audit(record, made.database) == []


# Time


@pytest.mark.parametrize("step", [3600, -3600])
async def test_a_step_of_valkeys_clock_moves_the_end_of_leases_by_its_size_and_no_more(
    dsn: str, redis_url: str, step: int
) -> None:
    """`a` renews across the step, `b` never; both had 600 seconds."""
    async with world(dsn, redis_url) as made:
        one, two = made.workers
        key = await made.license(2)
        await made.at(0)
        for code in "ab":
            assert isinstance(await one.take(key, code, LONG), Lease)
        await made.at(10)
        assert await two.take(key, "stranger", LONG) == LIMIT
        await made.at(20 + step)
        if step > 0:  # both have ended, and their seats are there for whoever asks
            assert isinstance(await two.take(key, "c", LONG), Lease)
            assert isinstance(await one.take(key, "a", LONG), Lease)
            assert await two.take(key, "b", LONG) == LIMIT
            assert await made.seated(key) == ["a", "c"]
            await made.at(20 + step + LONG - 1)
            assert await two.take(key, "b", LONG) == LIMIT
        else:  # both last; one renews, and has what it asked for by the new time
            renewed = await two.take(key, "a", LONG)
            assert isinstance(renewed, Lease)
            assert (renewed.start, renewed.expires) == (made.began, made.began + 20 + step + LONG)
            assert await one.take(key, "stranger", LONG) == LIMIT
            await made.at(20 + step + LONG)
            assert isinstance(await one.take(key, "c", 5), Lease)
            await made.at(LONG - 1)
            assert isinstance(await one.take(key, "c", 10), Lease)
            assert await two.take(key, "stranger", LONG) == LIMIT  # `b` still has its 600 seconds
        await made.at(20 + max(step, 0) + LONG)
        assert isinstance(await one.take(key, "d", LONG), Lease)
        assert len(await made.seated(key)) <= 2


@pytest.mark.parametrize("step", [3600, -3600])
async def test_a_step_of_valkeys_clock_raises_an_alarm(
    dsn: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr(clocks, "EVERY_SECONDS", 0.02)
    async with world(dsn, redis_url, 1) as made:
        (worker,) = made.workers
        with capture_logs() as logged:
            await until(lambda: abs(metrics.clock_difference_seconds.labels("valkey")._value.get()) < 1)
            _stepped(worker, step, monkeypatch)
            await until(lambda: any(line["event"] == "clocks.differ" for line in logged))
        (line, *_) = [line for line in logged if line["event"] == "clocks.differ"]
        assert (line["engine"], line["log_level"]) == ("valkey", "warning")
        assert line["seconds"] == pytest.approx(step, abs=1)
        assert metrics.clock_difference_seconds.labels("valkey")._value.get() == pytest.approx(step, abs=1)


def _stepped(worker: Worker, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a worker see Valkey's clock so many seconds ahead of what it is: no clock of the machine is touched."""
    real = worker.seats._hot.command

    async def command(*words: bytes | str | int) -> object:
        answer = await real(*words)
        return [b"%d" % (int(answer[0]) + step), answer[1]] if words == ("TIME",) else answer

    monkeypatch.setattr(worker.seats._hot, "command", command)


@pytest.mark.parametrize("reached", [True, False], ids=["by Valkey", "by the table"])
async def test_workers_whose_clocks_differ_by_ten_seconds_count_seats_exactly(
    dsn: str, redis_url: str, record: Recorder, *, reached: bool
) -> None:
    async with world(dsn, redis_url if reached else "unix:///nowhere", 4) as made:
        for worker, ahead in zip(made.workers, (-5, -2, 2, 5), strict=True):
            worker.now = lambda ahead=ahead: time.time() + ahead  # type: ignore[misc]
        licenses = await terms(made, record)
        began = int(time.time())
        async with rush(record, licenses, desks(made, record, 3)) as load:
            await until(load.progress(600), 60)
        ended = time.time()
        assert refused(record.calls) == []
        assert await audit(record, made.database) == []
        rows = [row for row in await rows_of(made.database, list(record.limits)) if row.identity.method in (TAKE, GIVE)]
        assert began <= min(row.time for row in rows)
        assert max(row.time for row in rows) <= ended


# Everything at once

PHANTOMS_SLEEP = """
    create or replace function sabotage() returns trigger language plpgsql
        as $$ begin perform pg_sleep(60); return new; end $$;
    create or replace trigger sabotage before insert on log for each row
        when (new.machine_code = 'phantom') execute function sabotage();
"""
ASLEEP = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'"


@pytest.mark.parametrize("own_valkey", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["embedded", "Valkey stays"])
@pytest.mark.parametrize("crashes", [1, pytest.param(10, marks=pytest.mark.soak)])
async def test_after_the_whole_tree_was_killed_under_load_everybody_has_his_seat_and_every_free_one_is_given(
    folder: Path, record: Recorder, *, own_valkey: bool, crashes: int
) -> None:
    """One of those that were never answered has taken the last seat of a license, if Valkey lives on."""
    async with AsyncExitStack() as stack:
        where = {"REDIS_URL": (await stack.enter_async_context(valkey_of_ours())).url} if own_valkey else {}
        for _ in range(crashes):
            full = await _killed_under_load(folder, record, where)
        async with server(folder, **where) as live:
            connection = await live.database()
            assert await audit(record, connection) == []
            async with Caller(live, record) as caller, Caller(live, record) as other:
                await everyone_renews(record, [caller, other])
                await free_seats_are_given(record, caller, full, 15)
                assert (await other.take(full, "one too many", LONG)).message == LIMIT
            assert await audit(record, connection) == []
            await connection.close()
            assert bugs(live) == []
            assert events(live, "worker.ended") == 0


async def _killed_under_load(folder: Path, record: Recorder, where: dict[str, str]) -> str:
    """Start a server, load it with everything, and kill all of it; the key of a license with one answered holder of two, and
    a machine that took the other seat and was not answered."""
    async with server(folder, **where) as live:
        connection = await live.database()
        (full,) = await stock(live, record, 2)
        licenses = termed(record, await stock(live, record, 3, 6), 3)
        record.overdrafts[full] = 0
        await connection.execute(PHANTOMS_SLEEP)
        async with storm(live, record, 4) as mixed, AsyncExitStack() as stack:
            askers: Sequence[Caller] = [await stack.enter_async_context(Caller(live, record)) for _ in range(10)]
            assert (await askers[0].take(full, "holder", LONG)).granted
            async with rush(record, licenses, askers[2:]):
                await until(mixed.progress(400), 60)
                phantom = asyncio.ensure_future(askers[1].take(full, "phantom", LONG))
                await until(lambda: connection.fetchval(ASLEEP))
                family = tree(live.process.pid)
                kill(family)
                await until(lambda: not running(family))
                connection.terminate()
                await asyncio.to_thread(live.process.wait, 10)
            assert (await phantom).status != OK
    return full
