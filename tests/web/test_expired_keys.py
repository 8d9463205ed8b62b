"""What expires is blocked within the hour where its product wants it, by what runs inside every server (server/jobs.py)."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from functools import partial

import pytest
from office import BLOCKED, DAY, DONE, Office, Shop, refused
from prometheus_client.parser import text_string_to_metric_families
from servers import Live, until
from structlog.testing import capture_logs

from server import jobs
from server.rules.privacy import mask
from storage.errors import Unavailable
from storage.postgres import expired
from storage.postgres.retention import Periods, retain
from storage.stamps import new_stamp

KEPT = Periods(anonymise_months=24, event_days=30, log_months=0)
FULL, MASKED = "127.0.0.1", "127.0.0.0"  # where the tests call from


@pytest.fixture
async def strict(office: Office) -> AsyncIterator[Shop]:
    """A product that blocks what has expired, and that others are rid of afterwards."""
    shop = await office.open_shop()
    set_ = partial(office.admin.edit_product, office.account.id, shop.id, now=int(time.time()))
    await set_(block_expired=True)
    yield shop
    await set_(block_expired=False)


async def expired_key(shop: Shop, *, ago: int = 10, **params: object) -> str:
    """A time-limited license that ended so many seconds ago."""
    key = await shop.new_key(**{"F1": True, **params})
    await expire(shop, key, ago)
    return key


async def expire(shop: Shop, key: str, ago: int) -> None:
    await shop.office.database.execute(
        "update licenses set expires = $1, stamp = $2 where product_id = $3 and key = $4",
        int(time.time()) - ago, new_stamp(), shop.id, key,
    )  # fmt: skip


async def block(office: Office) -> int:
    """Do the job once; how many licenses it said that it blocked."""
    demo = office.live.demo
    with capture_logs() as lines:
        await jobs._block_expired(jobs.Place(demo["postgres_dsn"], demo["redis_url"], KEPT))
    told = [line["licenses"] for line in lines if line["event"] == "expired.blocked"]
    assert len(told) <= 1
    return sum(told)


async def blocked(shop: Shop) -> set[str]:
    return {row["key"] for row in await shop.rows("select key from licenses where product_id = $1 and block")}


async def test_a_license_that_has_expired_is_blocked_and_activated_no_more(strict: Shop) -> None:
    key = await expired_key(strict, MaxNoOfMachines=1)
    assert (await strict.activate(key, "m"))["result"] == 0  # expired alone is the client's to judge
    assert await block(strict.office) == 1
    assert await strict.activate(key, "m") == refused(BLOCKED)
    assert await strict.states(key) == [2011, 2022]  # of the blocking itself the Web API log says nothing
    edits = await strict.office.database.fetch(
        "select action, token_id, changes::text from object_log where object_type = 'Key' and object_id ="
        " (select id from licenses where product_id = $1 and key = $2) order by id",
        strict.id, key,
    )  # fmt: skip
    assert [tuple(row) for row in edits][1:] == [("BlockExpired", 0, '{"block": [false, true]}')]
    assert await block(strict.office) == 0


async def test_what_is_spared_stays_as_it_is_and_costs_no_decision(
    strict: Shop, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = [await expired_key(strict), await expired_key(strict, TrialActivation=True, MaxNoOfMachines=1)]
    assert (await strict.activate(due[1], "m"))["result"] == 0
    await expire(strict, due[1], 10)
    subscribed = await expired_key(strict)
    done = await strict.call("data/AddDataObjectToKey", Key=subscribed, Name="cryptolens_stripesubscriptionitemid")
    assert done["result"] == 0
    spared = [
        subscribed,
        await expired_key(strict, TrialActivation=True, MaxNoOfMachines=1),
        await expired_key(strict, F1=False),
        await expired_key(strict, ago=-3600),
    ]
    elsewhere = await expired_key(shop)
    decide = jobs.Ledger.decide
    decided = set()

    async def noted(self: jobs.Ledger, *asked: object) -> object:
        decided.add(asked[2])
        return await decide(self, *asked)  # type: ignore[arg-type]

    monkeypatch.setattr(jobs.Ledger, "decide", noted)
    assert await block(strict.office) == len(due)
    assert decided == set(due)
    assert await blocked(strict) == set(due)
    assert await blocked(shop) == set()
    for key in spared:
        assert (await strict.show(key))["Block"] is False
    assert (await shop.activate(elsewhere, "m"))["result"] == 0


async def test_a_license_that_is_extended_while_it_is_about_to_be_blocked_is_not(
    strict: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, other = await expired_key(strict), await expired_key(strict)
    look = expired.look

    async def then_extend(*asked: object) -> expired.Step:
        step = await look(*asked)  # type: ignore[arg-type]
        if key in step.keys:
            assert await strict.call("key/ExtendLicense", Key=key, NoOfDays=1) == DONE
        return step

    monkeypatch.setattr(expired, "look", then_extend)
    assert await block(strict.office) == 1
    assert await blocked(strict) == {other}


async def test_licenses_that_are_gone_meanwhile_are_passed_over(strict: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    key = await expired_key(strict)
    look = expired.look

    async def with_ghosts(*asked: object) -> expired.Step:
        step = await look(*asked)  # type: ignore[arg-type]
        return step._replace(keys=["NOSUCH", *step.keys])

    monkeypatch.setattr(expired, "look", with_ghosts)
    assert await block(strict.office) == 1
    assert await blocked(strict) == {key}


async def test_however_many_have_expired_all_are_found_among_those_that_are_spared(
    strict: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expired, "LOOKED", 50)
    statement = """
        insert into licenses (account_id, product_id, number, key, created, expires, period, features, notes, block,
                              trial_activation, max_machines, allowed_machines, stamp)
        select account_id, id, 10000 + n, 'K' || n, 0, n / 100, 0, 1, '', false, n % 3 = 0, 1, '', n
        from products, generate_series(1, 1000) n where id = $1
    """
    await strict.office.database.execute(statement, strict.id)
    assert await block(strict.office) == 667
    assert await blocked(strict) == {f"K{number}" for number in range(1, 1001) if number % 3}
    assert await block(strict.office) == 0


async def test_one_that_fails_holds_up_none_of_those_beside_it_and_the_job_is_done_again(
    strict: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {await expired_key(strict) for _ in range(3)}
    decide = jobs.Ledger.decide

    async def failing(self: jobs.Ledger, *asked: object) -> object:
        if asked[2] == min(keys):
            raise Unavailable("of a test")
        return await decide(self, *asked)  # type: ignore[arg-type]

    with monkeypatch.context() as broken:
        broken.setattr(jobs.Ledger, "decide", failing)
        with pytest.raises(Unavailable):
            await block(strict.office)
    assert await blocked(strict) == keys - {min(keys)}
    assert await block(strict.office) == 1


async def test_a_job_that_fails_says_so_and_is_done_again() -> None:
    done = asyncio.Event()
    outcomes = iter([Unavailable("of a test"), None])

    async def work(_place: jobs.Place) -> None:
        outcome = next(outcomes)
        if outcome is not None:
            raise outcome
        done.set()

    place = jobs.Place("", "", KEPT)
    with capture_logs() as lines:
        repeated = asyncio.ensure_future(jobs.repeat(jobs.Job(work, "test.failed", 3600.0, 0.01), place))
        await asyncio.wait_for(done.wait(), 10)
    repeated.cancel()
    assert [(line["event"], line["log_level"], line["why"]) for line in lines] == [("test.failed", "warning", "of a test")]
    assert {job.again for job in jobs.JOBS} == {60.0, jobs.LEASES_SECONDS}
    assert jobs.EXPIRED_SECONDS + 600 <= 3600


async def grow_old(shop: Shop, key: str) -> None:
    """Let 25 months pass for the machines of a license."""
    await shop.office.database.execute(
        "update machines set time = $1 from licenses l where license_id = l.id and l.product_id = $2 and l.key = $3",
        int(time.time()) - 25 * 31 * DAY, shop.id, key,
    )  # fmt: skip
    await expire(shop, key, -DAY)


async def test_a_client_goes_on_and_finds_its_masked_address_in_what_is_signed(live: Live, shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    for _ in range(10):  # so that every worker has it in memory
        assert (await shop.activate(key, "m", FriendlyName="Ann"))["result"] == 0
    await grow_old(shop, key)
    before = (await shop.show(key))["ActivatedMachines"]
    assert [machine["IP"] for machine in before] == [FULL]
    await shop.office.database.execute("update retention set done = 0")
    await retain(live.demo["postgres_dsn"], jobs.datetime.datetime.now(jobs.datetime.UTC), KEPT, mask)
    for _ in range(10):
        answer = await shop.activate(key, "m", Sign=True, SignMethod=1, ModelVersion=3)
        assert shop.document(answer)["ActivatedMachines"] == [{**before[0], "IP": MASKED}]
    assert await shop.deactivate(key, "m") == DONE


async def test_a_server_does_the_jobs_by_itself(strict: Shop, beside: Callable[..., AbstractContextManager[Live]]) -> None:
    key, machine = await expired_key(strict), await strict.new_key(MaxNoOfMachines=1)
    assert (await strict.activate(machine, "m"))["result"] == 0
    await grow_old(strict, machine)
    database = strict.office.database
    await database.execute(
        "insert into events (account_id, product_id, license_id, machine_code, feature_name, event_name, value, currency,"
        " time, metadata, registered) values ($1, $2, 0, 'm', '', '', 0, '', 0, '', $3)",
        strict.office.account.id, strict.id, int(time.time()) - 31 * DAY,
    )  # fmt: skip
    await database.execute("update retention set done = 0")
    began = time.time()
    left = (
        "exists (select from events where product_id = $1 and registered < $2)"
        " or exists (select from licenses where product_id = $1 and key = $3 and not block)"
        " or exists (select from retention where done = 0)"
    )
    with beside(WORKERS="1") as server:
        await until(lambda: database.fetchval(f"select not ({left})", strict.id, int(began) - 30 * DAY, key), 30)
        assert [each["IP"] for each in (await strict.show(machine))["ActivatedMachines"]] == [MASKED]
        await until(lambda: told(strict.office, server, "keyturn_retention_last_seconds"))
        await until(lambda: told(strict.office, server, "keyturn_expired_blocked_total"))
        found = await counted(strict.office, server)
        assert int(began) <= found[("keyturn_retention_last_seconds",)] <= time.time()
        did = {name[1]: value for name, value in found.items() if name[0] == "keyturn_retention_rows_total"}
        assert did.keys() == {"machines", "log", "events", "partitions"}
        assert did["machines"] >= 1
        assert did["events"] >= 1
        assert found[("keyturn_expired_blocked_total",)] == 1
        assert (server.data.parent / "data.log").read_text().count('"retention.done"') == 1


async def counted(office: Office, server: Live) -> dict[tuple[str, ...], float]:
    """Every sample of /metrics by its name and the values of its labels."""
    async with office.http.get(f"{server.demo['ops_url']}/metrics") as answer:
        families = text_string_to_metric_families(await answer.text())
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


async def told(office: Office, server: Live, name: str) -> float:
    return (await counted(office, server))[(name,)]
