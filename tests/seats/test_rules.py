"""Each rule of floating seats, in the interleaving that breaks without it; then the same with the rule taken out.

The first half of the names is that of tests/model, which walks every interleaving; here the real code goes through one.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
import redis.asyncio
from servers import open_folder

from seats.breaking import HELD, gone, held_claim, held_commits, rewrite, until, without
from seats.world import BLOCKED, COME_AGAIN, LIMIT, Hold, Worker, codes, world
from server import metrics
from server.handlers import floating as handler
from server.rules import floating
from server.rules.states import State, license_entry
from storage.embedded.home import lock, prepare
from storage.embedded.valkey import Valkey
from storage.errors import Unavailable
from storage.postgres import leases as leases_module
from storage.postgres import ledger as ledger_module
from storage.postgres import rows as rows_module
from storage.records import ByTable, Claim, Epoch, Lease, LeaseKind, License, Verdict
from storage.redis.keys import seats_key
from storage.redis.mux import Unknown
from storage.redis.seats import Seats

both = pytest.mark.parametrize("kept", [True, False], ids=["with the rule", "without it"])
NOWHERE = "unix:///nowhere"


async def nothing(*_args: object, **_named: object) -> None:
    """Stands for a step that is left out."""


@both
async def test_barrier(dsn: str, redis_url: str, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that was checked before the epoch was raised is committed before the leases are read."""
    async with world(dsn, redis_url) as made, held_commits(made) as commit:
        one, two = made.workers
        key = await made.license(1)
        first = asyncio.create_task(one.take(key, HELD))
        await commit.reached()
        await made.lose()
        if kept:
            step = Hold(two.table, "settled")
            second = asyncio.create_task(two.take(key, "b"))
            await step.reached()
            step.go()
        else:
            monkeypatch.setattr(two.table, "settled", nothing)
            second = asyncio.create_task(two.take(key, "b"))
            assert isinstance(await second, Lease)
        await commit.go()
        assert isinstance(await first, Lease)
        assert (await second == LIMIT) is kept
        assert len(await made.seated(key)) == (1 if kept else 2)


@both
async def test_fence(dsn: str, redis_url: str, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release ends the lease that it saw, not the one that was renewed since."""
    if not kept:
        without(monkeypatch, "drop", "or mine[SEQ] ~= tonumber(ARGV[4])")
    async with world(dsn, redis_url) as made:
        one, two = made.workers
        key = await made.license(1)
        await one.take(key, "a")
        peek = Hold(two.seats, "peek", before=False)
        release = asyncio.create_task(two.release(key, "a"))
        await peek.reached()
        assert isinstance(await one.take(key, "a"), Lease)
        peek.go()
        assert await release == ""
        assert (await one.take(key, "b") == LIMIT) is kept
        assert len(await made.seated(key)) == (1 if kept else 2)


@both
async def test_fence_set(dsn: str, redis_url: str, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Undoing names the epoch of the set: in the next one the numbers begin anew."""
    if not kept:
        without(monkeypatch, "drop", "set[EPOCH] ~= tonumber(ARGV[3]) or ")
    async with world(dsn, redis_url) as made:
        one, two = made.workers
        key = await made.license(1)
        await one.release(key, "nobody")
        await one.take(await made.license(1), "warm")
        claim, undo = Hold(one.seats, "claim", before=False), Hold(one.seats, "undo")
        late = asyncio.create_task(one.take(key, "a"))
        await claim.reached()
        await made.change(key, "max_machines = 2")
        claim.go()
        await undo.reached()
        await made.change(key, "max_machines = 1")
        await made.lose()
        assert isinstance(await two.take(key, "a"), Lease)
        again = Hold(one.seats, "claim")
        undo.go()
        await again.reached()
        assert (await two.take(key, "b") == LIMIT) is kept
        assert len(await made.seated(key)) == (1 if kept else 2)
        again.go()
        await late


@both
async def test_no_blind_undo(dsn: str, redis_url: str, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a commit whose outcome is unknown nothing is undone."""
    if not kept:
        monkeypatch.setattr(handler, "NOT_COMMITTED", (*handler.NOT_COMMITTED, Unavailable))
    async with world(dsn, redis_url) as made:
        one, two = made.workers
        key = await made.license(1)
        decide = one.ledger.decide

        async def lost(*args: Any) -> Any:
            decided = await decide(*args)
            if isinstance(decided.answer, Lease):
                raise Unavailable("the connection was lost after the commit")
            return decided

        monkeypatch.setattr(one.ledger, "decide", lost)
        assert await one.take(key, "a") == COME_AGAIN
        assert (await two.take(key, "b") == LIMIT) is kept
        assert len(await made.seated(key)) == (1 if kept else 2)


@both
async def test_own_undo(dsn: str, redis_url: str, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the call that took the seat gives it back: another has been answered since that it is there."""
    async with world(dsn, redis_url) as made:
        one, two = made.workers
        if not kept:
            undo = two.seats.undo
            monkeypatch.setattr(two.seats, "undo", lambda number, claim: undo(number, claim._replace(was=None)))
        key = await made.license(1)
        assert isinstance(await one.take(key, "a"), Lease)
        claim, renewal = await held_claim(two, key, "a")
        await made.change(key, "block = true")
        claim.go()
        assert await renewal == BLOCKED
        await made.change(key, "block = false")
        assert (await one.take(key, "b") == LIMIT) is kept
        assert len(await made.seated(key)) == (1 if kept else 2)


@both
async def test_late_short(dsn: str, redis_url: str, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shorter interval shortens the lease after its commit, not before: the call may die in between."""
    if not kept:
        without(monkeypatch, "claim", "expires > ended and expires or ended", "expires")
    async with world(dsn, redis_url) as made:
        one, two = made.workers
        key = await made.license(1)
        await made.at(0)
        await one.take(key, "a", 100)
        await made.at(1)
        _, short = await held_claim(one, key, "a", 1)
        await gone(short)
        await made.at(5)
        assert (await two.take(key, "b") == LIMIT) is kept
        assert len(await made.seated(key)) == (1 if kept else 2)


@both
async def test_by_seq(dsn: str, redis_url: str, kept: bool) -> None:
    """Of two rows of a machine the one claimed later counts, whichever is committed later."""
    async with world(dsn, redis_url) as made:
        one, two = made.workers
        key = await made.license(1)
        await made.at(0)
        await two.release(await made.license(1), "warm")
        if not kept:
            where = "where (excluded.epoch, excluded.seq, excluded.released) > (leases.epoch, leases.seq, leases.released)"
            await rewrite(made, "ledger_write", where)
        claim, short = await held_claim(one, key, "a", 10)
        assert isinstance(await two.take(key, "a", 1000), Lease)
        claim.go()
        assert isinstance(await short, Lease)
        await made.lose()
        await made.at(50)
        assert (await two.take(key, "b") == LIMIT) is kept
        assert isinstance(await two.take(key, "a"), Lease) is kept


@both
async def test_seed_once(dsn: str, redis_url: str, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A seed is sent once for each epoch, known to have arrived or not."""
    async with world(dsn, redis_url) as made:
        one, two = made.workers
        key = await made.license(1)
        await two.take(key, "x", 1)
        await made.at(60)
        await made.lose()
        bulk, sent = one.seats._bulk, []
        script = bulk.script

        async def unknown(name: str, keys: Sequence[bytes], values: Sequence[Any]) -> None:
            sent.append((name, keys, values))
            await script(name, keys, values)
            raise Unknown("the reply was lost")

        monkeypatch.setattr(bulk, "script", unknown)
        assert isinstance(await one.take(key, "a"), Lease)
        await made.lose()
        if not kept:
            await script(*sent[0])  # a client library that repeats what got no reply
        assert (await two.take(key, "b") == LIMIT) is kept
        assert len(await made.seated(key)) == (1 if kept else 2)
        epochs = [values[1] for _, _, values in sent]
        assert len(epochs) == len(set(epochs)) > 0


@both
async def test_run_id(dsn: str, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set that is there after a restart may be an old one: it counts as none."""
    if not kept:
        without(monkeypatch, "claim", "if set[RUN] ~= ARGV[1] then", "if false then")
    with open_folder() as data, lock(data):
        engine = Valkey(prepare(data))
        await engine.start()
        try:
            async with world(dsn, engine.url) as made:
                one, two = made.workers
                key = await made.license(1)
                await one.take(key, "a")
                await one.release(key, "a")
                name = seats_key(made.installation, await made.license_id(key))
                old = await made.valkey.dump(name)
                assert isinstance(await one.take(key, "a"), Lease)
                await engine.stop()
                await engine.start()
                async with redis.asyncio.from_url(engine.url) as client:
                    await client.restore(name, 0, old)
                for mux in (each for worker in made.workers for each in (worker.seats._hot, worker.seats._bulk)):
                    await until(lambda mux=mux: mux.up)
                assert (await two.take(key, "b") == LIMIT) is kept
                assert len(await made.seated(key)) == (1 if kept else 2)
        finally:
            await engine.stop()


@both
async def test_paper_epoch(dsn: str, redis_url: str, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deciding without Valkey raises the epoch first: what was claimed in Valkey does not count after it."""
    async with world(dsn, redis_url, workers=1) as made:
        one, cut = *made.workers, await made.worker(redis_url=NOWHERE)
        key = await made.license(1)
        await one.release(key, "nobody")
        await one.take(key, "x", 1)
        await one.release(key, "x")
        if not kept:
            _decide_on_even_epochs_without_valkey(cut, monkeypatch)
        claim, first = await held_claim(one, key, "a")
        assert isinstance(await cut.take(key, "b"), Lease)
        claim.go()
        assert (await first == LIMIT) is kept
        assert len(await made.seated(key)) == (1 if kept else 2)


def _decide_on_even_epochs_without_valkey(cut: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    real = floating.activate

    async def by_table(_license_id: int, _epoch: Epoch) -> ByTable:
        return ByTable(cut.now())

    def activate(license: License, *, claim: Claim | ByTable | None, wish: Any, caller: Any, **more: Any) -> Verdict[Any]:
        if not isinstance(claim, ByTable) or license.epoch.by_table:
            return real(license, claim=claim, wish=wish, caller=caller, **more)
        now, epoch = int(claim.now), license.epoch.number
        lease = Lease(wish.code, LeaseKind.REGULAR, now, now, now + wish.interval, "", "", epoch, 99)
        return Verdict(lease, lease=lease, entry=license_entry(license, State.FLOATING, caller=caller, now=now))

    monkeypatch.setattr(cut.seats, "_by_table", by_table)
    monkeypatch.setattr(floating, "activate", activate)


@both
async def test_own_barrier(dsn: str, redis_url: str, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who finds an odd epoch that is not ready waits for the batches begun before it, too."""
    async with world(dsn, redis_url, workers=1) as made, held_commits(made) as commit:
        one = made.workers[0]
        cuts = [await made.worker(redis_url=NOWHERE) for _ in range(2)]
        key = await made.license(1)
        first = asyncio.create_task(one.take(key, HELD))
        await commit.reached()
        raiser = Hold(cuts[0].table, "settled")
        raising = asyncio.create_task(cuts[0].take(key, "b"))
        await raiser.reached()
        assert await made.epoch(key) % 2 == 1
        if not kept:
            monkeypatch.setattr(cuts[1].table, "settled", nothing)
            second = asyncio.create_task(cuts[1].take(key, "c"))
            assert isinstance(await second, Lease)
        else:
            step = Hold(cuts[1].table, "settled")
            second = asyncio.create_task(cuts[1].take(key, "c"))
            await step.reached()
            step.go()
        await commit.go()
        await first
        assert (await second == LIMIT) is kept
        assert len(await made.seated(key)) == (1 if kept else 2)
        raiser.go()
        await raising


@both
async def test_commit_checks_epoch(dsn: str, redis_url: str, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim is committed only under the epoch that it was made under."""
    async with world(dsn, redis_url) as made:
        one, two = made.workers
        key = await made.license(1)
        await one.take(key, "x", 1)
        await one.release(key, "x")
        if not kept:
            monkeypatch.setattr(floating, "_by_claim", _whatever_the_epoch)
        claim, first = await held_claim(one, key, "a")
        await made.lose()
        assert isinstance(await two.take(key, "b"), Lease)
        claim.go()
        assert (await first == LIMIT) is kept
        assert len(await made.seated(key)) == (1 if kept else 2)


def _whatever_the_epoch(_license: License, claim: Claim) -> floating._Decision:
    return floating._Decision(claim.lease, claim.now)


@both
async def test_a_raised_epoch_draws_a_new_stamp(dsn: str, redis_url: str, kept: bool) -> None:
    """Else a worker that has the license in memory would never learn of it."""
    async with world(dsn, redis_url) as made:
        one, two = made.workers
        key = await made.license(1)
        await one.take(key, "x", 1)
        await one.release(key, "x")
        if not kept:
            await rewrite(made, "leases_lift", "stamp = m.stamp", "stamp = l.stamp")
        claim, first = await held_claim(one, key, "a")
        await made.lose()
        await two.take(await made.license(1), "warm")
        second = await two.take(key, "b")
        claim.go()
        if kept:
            assert (isinstance(second, Lease), await first) == (True, LIMIT)
        else:
            assert isinstance(await first, Lease)  # under an epoch that is over


@both
async def test_log_before_release(dsn: str, redis_url: str, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A seat is freed once its release is committed, not before."""
    async with world(dsn, redis_url) as made:
        one, two = made.workers
        key = await made.license(1)
        await one.take(key, "a")
        if not kept:
            peek = one.seats.peek

            async def freeing(license: License, code: str) -> Any:
                seen = await peek(license, code)
                await one.seats.free(license.id, code, seen)
                return seen

            monkeypatch.setattr(one.seats, "peek", freeing)
        decide = Hold(one.ledger, "decide")
        release = asyncio.create_task(one.release(key, "a"))
        await decide.reached()
        assert (await two.take(key, "b") == LIMIT) is kept
        assert len(await made.seated(key)) == (1 if kept else 2)
        decide.go()
        assert await release == ""
        assert isinstance(await two.take(key, "b"), Lease)


@both
async def test_read_after(dsn: str, redis_url: str, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The leases that the table decides by are those read after the barrier: a copy from before lacks what was in flight."""
    if not kept:
        sooner = ledger_module.LICENSE_LOAD.replace(" and l.lease_ready", "")
        assert sooner != ledger_module.LICENSE_LOAD
        monkeypatch.setattr(ledger_module, "LICENSE_LOAD", sooner)
        epoch = rows_module.epoch
        monkeypatch.setattr(rows_module, "epoch", lambda row: epoch(row)._replace(ready=True))
    async with world(dsn, redis_url, workers=1) as made, held_commits(made) as commit:
        one = made.workers[0]
        raiser, early = [await made.worker(redis_url=NOWHERE) for _ in range(2)]
        key = await made.license(1)
        if not kept:
            await rewrite(made, "leases_ready", "stamp = w.stamp", "stamp = l.stamp")
            told = leases_module.LeaseTable
            monkeypatch.setattr(told, "_heard", lambda _, found: {row["id"]: epoch(row) for row in found})
        first = asyncio.create_task(one.take(key, HELD))
        await commit.reached()
        step = Hold(raiser.table, "settled")
        raising = asyncio.create_task(raiser.take(key, "b"))
        await step.reached()
        await early.ledger.decide(early.token, early.product, key, lambda each: Verdict(each.epoch))
        step.go()
        await commit.go()
        assert isinstance(await first, Lease)
        await asyncio.wait_for(raising, 10)
        assert (await early.take(key, "c") == LIMIT) is kept


@both
async def test_a_limit_lowered_between_claim_and_commit(
    dsn: str, redis_url: str, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim counts only under the limit that it was made with."""
    if not kept:
        monkeypatch.setattr(floating, "_by_claim", _whatever_the_limit)
    async with world(dsn, redis_url) as made:
        one, two = made.workers
        key = await made.license(2)
        await two.take(key, "a")
        claim, newcomer = await held_claim(one, key, "b")
        await made.change(key, "max_machines = 1")
        claim.go()
        assert (await newcomer == LIMIT) is kept
        assert await made.seated(key) == (["a"] if kept else ["a", "b"])
        assert codes(await two.live(key)) == await made.seated(key)


@both
async def test_a_limit_raised_between_claim_and_commit(
    dsn: str, redis_url: str, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal counts only under the limit that it was made with, too."""
    if not kept:
        monkeypatch.setattr(floating, "_by_claim", _whatever_the_limit)
    async with world(dsn, redis_url) as made:
        one, two = made.workers
        key = await made.license(1)
        await two.take(key, "a")
        claim, newcomer = await held_claim(one, key, "b")
        await made.change(key, "max_machines = 2")
        claim.go()
        assert isinstance(await newcomer, Lease) is kept


def _whatever_the_limit(license: License, claim: Claim) -> floating._Decision | None:
    return floating._Decision(claim.lease, claim.now) if claim.epoch == license.epoch.number else None


@both
async def test_a_key_blocked_between_claim_and_commit(
    dsn: str, redis_url: str, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim is refused with the block, and its seat is given back."""
    async with world(dsn, redis_url) as made:
        one, two = made.workers
        if not kept:
            monkeypatch.setattr(one.seats, "undo", nothing)
        key = await made.license(1)
        claim, newcomer = await held_claim(one, key, "a")
        await made.change(key, "block = true")
        claim.go()
        assert await newcomer == BLOCKED
        await made.change(key, "block = false")
        assert isinstance(await two.take(key, "b"), Lease) is kept


@both
async def test_a_phantom_of_a_killed_worker(dsn: str, redis_url: str, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that nobody was answered refuses others for ten seconds and no longer."""
    if not kept:
        monkeypatch.setattr(Seats, "_a_phantom_holds", _no_phantoms)
    async with world(dsn, redis_url) as made:
        one, two = made.workers
        key = await made.license(1)
        await made.at(0)
        _, call = await held_claim(one, key, "a", 1000)
        await gone(call)
        await made.at(10)
        assert await two.take(key, "b") == LIMIT
        two.seats._doubted.drop(await made.license_id(key))  # in place of the second that has to pass
        await made.at(11)
        assert isinstance(await two.take(key, "b"), Lease) is kept


@both
async def test_a_longer_lease_of_a_killed_worker(
    dsn: str, redis_url: str, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease ends when its last answer said so, whatever a call that died has made of it."""
    if not kept:
        monkeypatch.setattr(Seats, "_a_phantom_holds", _no_phantoms)
    async with world(dsn, redis_url) as made:
        one, two = made.workers
        key = await made.license(1)
        await made.at(0)
        await one.take(key, "a", 20)
        _, call = await held_claim(one, key, "a", 1000)
        await gone(call)
        await made.at(19)
        assert await two.take(key, "b") == LIMIT
        two.seats._doubted.drop(await made.license_id(key))
        await made.at(20)
        assert isinstance(await two.take(key, "b"), Lease) is kept


async def _no_phantoms(*_: object) -> bool:
    return False


@both
async def test_kinds(dsn: str, redis_url: str, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A promotion that nobody was answered does not take a regular seat from others."""
    if not kept:
        bears_out = "storage.redis.seats._bears_out"
        monkeypatch.setattr(bears_out, lambda row, lease: row is not None and row.expires >= lease.expires)
    async with world(dsn, redis_url) as made:
        one, two = made.workers
        key = await made.license(1)
        await made.at(0)
        await one.take(key, "a", 1000)
        await one.take(key, "b", 1000, overdraft=1)
        assert await made.seated(key) == ["a", "b+"]
        await one.release(key, "a")
        _, call = await held_claim(one, key, "b", 1000)
        await gone(call)
        await made.at(15)
        assert isinstance(await two.take(key, "c"), Lease) is kept
        assert await made.seated(key) == (["b+", "c"] if kept else ["b+"])


@both
async def test_the_janitor(dsn: str, redis_url: str, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row of a release stays for as long as an older claim may still be on its way."""
    if not kept:
        monkeypatch.setattr(leases_module, "ROW_SECONDS", -1)
    async with world(dsn, redis_url) as made:
        one, two = made.workers
        key = await made.license(1)
        claim, late = await held_claim(one, key, "a")
        assert await two.release(key, "a") == ""
        assert isinstance(await two.take(key, "b"), Lease)
        await leases_module.forget_ended(made.database, int(made.now()))
        claim.go()
        await late
        assert await made.seated(key) == (["b"] if kept else ["a", "b"])


@both
async def test_a_restored_database_beside_an_old_set(dsn: str, redis_url: str, kept: bool) -> None:
    """An epoch that is raised is above every one that was raised before, restored database or not."""
    async with world(dsn, redis_url) as made:
        one, two = made.workers
        key = await made.license(1)
        if not kept:
            above = "greatest(w.epoch, 2 * floor(v_now * 1000)::bigint)"
            await rewrite(made, "leases_lift", above, "w.epoch")
        assert isinstance(await one.take(key, "a"), Lease)
        backup = await made.epoch(key)
        rows = await made.database.fetch("select * from leases")
        await made.lose()
        await one.take(key, "a")
        await one.release(key, "a")  # after the backup: an empty set under the next epoch
        await made.database.execute("delete from leases")
        await made.database.copy_records_to_table("leases", records=[tuple(row) for row in rows])
        await made.change(key, f"lease_epoch = {backup}")
        assert (await two.take(key, "b") == LIMIT) is kept
        assert len(await made.seated(key)) == (1 if kept else 2)


async def test_a_license_that_never_floated_costs_no_look_into_valkey(dsn: str, redis_url: str) -> None:
    async with world(dsn, redis_url, workers=1) as made:
        one = made.workers[0]
        key = await made.license(2)
        before = (await made.valkey.info("commandstats")).get("cmdstat_evalsha", {}).get("calls", 0)
        assert await one.node_locked(key, "m") == ""
        assert await one.release(key, "m") == ""
        assert await one.live(key) == ()
        after = (await made.valkey.info("commandstats")).get("cmdstat_evalsha", {}).get("calls", 0)
        assert (after - before, await made.epoch(key)) == (0, 0)


async def test_many_licenses_share_one_barrier(dsn: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(dsn, redis_url, workers=1) as made:
        one = made.workers[0]
        keys = [await made.license(1) for _ in range(60)]
        await asyncio.gather(*(one.take(key, "a") for key in keys))
        await made.lose()
        passed = 0
        settled = one.table.settled

        async def counted() -> None:
            nonlocal passed
            passed += 1
            await settled()

        monkeypatch.setattr(one.table, "settled", counted)
        assert all(isinstance(lease, Lease) for lease in await asyncio.gather(*(one.take(key, "a") for key in keys)))
        assert passed <= 5
        assert all([await made.seated(key) == ["a"] for key in keys])



async def test_workers_that_find_a_set_gone_at_once_seed_it_once(
    dsn: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two that raise the same epoch one wins; the other waits for its seed, and sends none."""
    seeded: list[tuple[int, int]] = []
    seed = Seats._seed

    async def counted(self: Seats, license_id: int, epoch: int, leases: tuple[Lease, ...]) -> None:
        seeded.append((license_id, epoch))
        await seed(self, license_id, epoch, leases)

    monkeypatch.setattr(Seats, "_seed", counted)
    async with world(dsn, redis_url, workers=3) as made:
        keys = [await made.license(1) for _ in range(20)]
        await asyncio.gather(*(made.workers[0].take(key, "a") for key in keys))
        seeded.clear()
        await made.lose()
        calls = [worker.take(key, "a") for worker in made.workers for key in keys]
        assert all(isinstance(lease, Lease) for lease in await asyncio.gather(*calls))
        assert len(seeded) == len(set(seeded)) >= len(keys)
        assert {license_id for license_id, _ in seeded} == {await made.license_id(key) for key in keys}


@both
async def test_a_phantom_above_a_lowered_limit(
    dsn: str, redis_url: str, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder keeps its seat though the limit was lowered; a lease that nobody was answered is no holder's."""
    if not kept:
        without(monkeypatch, "claim", "look = before == REGULAR and ARGV[8] == ''", "look = false")
        without(monkeypatch, "claim", "(before == REGULAR and ARGV[8] == '1')", "before == REGULAR")
    async with world(dsn, redis_url) as made:
        one, two = made.workers
        key = await made.license(3)
        await two.take(key, "a")
        await two.take(key, "b")
        _, call = await held_claim(one, key, "c")
        await gone(call)
        await made.change(key, "max_machines = 1")
        assert isinstance(await two.take(key, "b"), Lease)
        assert (await two.take(key, "c") == LIMIT) is kept
        assert len(await made.seated(key)) == (2 if kept else 3)


@both
async def test_a_claim_that_is_not_committed_leaves_what_was(
    dsn: str, redis_url: str, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a promotion nor a longer lease stays of a claim that is known not to be committed."""
    async with world(dsn, redis_url) as made:
        one, two = made.workers
        if not kept:
            monkeypatch.setattr(one.seats, "undo", nothing)
        key = await made.license(2)
        await made.at(0)
        await two.take(key, "a", 20)
        await two.take(key, "b", 5)
        await two.take(key, "c", 20, overdraft=1)
        await made.at(10)
        claim, call = await held_claim(one, key, "c", 1000)
        await made.change(key, "block = true")
        claim.go()
        assert await call == BLOCKED
        await made.change(key, "block = false")
        assert (codes(await two.live(key)) == ["a", "c+"]) is kept
        await made.at(20)
        assert (codes(await two.live(key)) == []) is kept


async def test_a_queue_that_is_full_is_no_reason_to_do_without_valkey(
    dsn: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(dsn, redis_url, workers=1) as made:
        one = made.workers[0]
        key = await made.license(5)
        assert isinstance(await one.take(key, "a"), Lease)
        epoch = await made.epoch(key)
        monkeypatch.setattr(one.seats._hot._connection, "_queue", 3)
        answers = await asyncio.gather(*(one.take(key, str(number)) for number in range(40)))
        assert COME_AGAIN in answers
        assert await made.epoch(key) == epoch


async def test_with_one_set_that_is_gone_all_that_were_used_lately_are_seeded(dsn: str, redis_url: str) -> None:
    async with world(dsn, redis_url, workers=1) as made:
        one = made.workers[0]
        keys = [await made.license(1) for _ in range(30)]
        await asyncio.gather(*(one.take(key, "a") for key in keys))
        sets = [seats_key(made.installation, await made.license_id(key)) for key in keys]
        await made.lose()
        assert isinstance(await one.take(keys[0], "a"), Lease)
        async with asyncio.timeout(10):
            while await made.valkey.exists(*sets) < len(sets):  # noqa: ASYNC110 (Valkey tells nobody)
                await asyncio.sleep(0.005)
        assert [codes(await one.live(key)) for key in keys] == [["a"]] * len(keys)


async def test_a_license_whose_epoch_was_raised_and_nothing_else_is_not_read_again(dsn: str, redis_url: str) -> None:
    async with world(dsn, redis_url) as made:
        one, two = made.workers
        key = await made.license(2)
        for worker in made.workers:
            assert isinstance(await worker.take(key, "a"), Lease)
            await worker.node_locked(key, "m")
        await made.lose()
        loads = metrics.license_loads._value.get()
        for worker in made.workers:
            assert isinstance(await worker.take(key, "b"), Lease)
        assert metrics.license_loads._value.get() == loads
        await made.change(key, "max_machines = 1")
        await made.lose()
        assert isinstance(await one.take(key, "a"), Lease)
        assert await two.take(key, "c") == LIMIT  # it has read the limit
