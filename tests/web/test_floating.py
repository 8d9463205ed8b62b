"""Floating seats: who gets one and how long, what an answer shows of it, what the log tells, and what is kept of it."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable

import pytest
import redis.asyncio
from inside import worker_inside
from office import BLOCKED, DAY, DENIED, DONE, INPUT, LIMIT, NOT_ACTIVATED, Answer, Shop, open_office, refused
from servers import Live
from test_personal_data import search

INTERVAL = 100
LONGEST = 366 * DAY
MASK = 1 << 18  # hides the machines
MASKED = "127.0.0.0"
STRING_SIGN = {"Sign": True, "SignMethod": 1, "ModelVersion": 3}


async def ask(shop: Shop, key: str, code: str, interval: object = INTERVAL, **params: object) -> Answer:
    """Ask for a seat, or to keep one."""
    return await shop.activate(key, code, FloatingTimeInterval=interval, **{**STRING_SIGN, **params})


async def seat(shop: Shop, key: str, code: str, interval: object = INTERVAL, **params: object) -> Answer:
    """Take or keep a seat; the license that the answer shows."""
    return shop.document(await ask(shop, key, code, interval, **params))


async def back(shop: Shop, key: str, code: str, **params: object) -> Answer:
    return await shop.deactivate(key, code, Floating=True, **params)


def mids(document: Answer) -> list[str]:
    return [machine["Mid"] for machine in document["ActivatedMachines"]]


async def used(shop: Shop, key: str, **params: object) -> int:
    """How many seats are in use, as GetKey counts them."""
    asked = {"Key": key, "Metadata": True, "FloatingTimeInterval": INTERVAL, **params}
    return (await shop.call("key/GetKey", **asked))["metadata"]["usedFloatingMachines"]


async def leases(shop: Shop, key: str) -> list[Answer]:
    """What the database has of a key's seats."""
    return await shop.rows(
        "select s.* from leases s join licenses l on l.id = s.license_id where l.product_id = $1 and l.key = $2"
        " order by s.code",
        key,
    )


async def in_valkey(shop: Shop, key: str) -> list[bytes]:
    """The names of what Valkey holds about a key: one or none."""
    async with redis.asyncio.from_url(shop.office.live.demo["redis_url"]) as valkey:
        return [name async for name in valkey.scan_iter(f"*:seats:{await shop.global_id(key)}")]


async def pass_time(shop: Shop, key: str, seconds: int) -> None:
    """Move all that is recorded of a key's seats into the past, and have Valkey forget its copy: it is read anew."""
    await shop.office.database.execute(
        "update leases set start = start - $2, time = time - $2, expires = expires - $2 where license_id = $1",
        await shop.global_id(key), seconds,
    )  # fmt: skip
    async with redis.asyncio.from_url(shop.office.live.demo["redis_url"]) as valkey:
        for name in await in_valkey(shop, key):
            await valkey.delete(name)


# ---- who gets a seat


async def test_seats_are_given_up_to_the_limit_and_who_has_one_keeps_it(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=2)
    assert mids(await seat(shop, key, "a")) == ["floating:a"]
    assert mids(await seat(shop, key, "b")) == ["floating:a", "floating:b"]
    assert await ask(shop, key, "c") == refused(LIMIT)
    assert mids(await seat(shop, key, "a")) == ["floating:a", "floating:b"]
    assert await back(shop, key, "a") == DONE
    assert mids(await seat(shop, key, "c")) == ["floating:b", "floating:c"]
    assert await ask(shop, key, "a") == refused(LIMIT)
    assert await shop.states(key) == [2014, 2014, 2024, 2014, 6011, 2014, 2024]


async def test_above_the_limit_as_many_are_seated_as_the_caller_allows_and_are_marked(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    await seat(shop, key, "a", MaxOverdraft=1)
    assert await ask(shop, key, "b") == refused(LIMIT)
    assert mids(await seat(shop, key, "b", MaxOverdraft=1)) == ["floating:a", "floating:overdraft:b"]
    assert await ask(shop, key, "c", MaxOverdraft=1) == refused(LIMIT)
    assert mids(await seat(shop, key, "c", MaxOverdraft=2))[-1] == "floating:overdraft:c"
    assert mids(await seat(shop, key, "b", MaxOverdraft=2))[1] == "floating:overdraft:b"
    assert await used(shop, key) == 3
    assert await shop.states(key) == [2014, 2024, 2015, 2024, 2015, 2015]


async def test_who_sits_above_the_limit_gets_the_next_regular_seat_and_keeps_its_start(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    await seat(shop, key, "a")
    await seat(shop, key, "b", MaxOverdraft=1)
    await pass_time(shop, key, 30)
    before = (await shop.show(key))["ActivatedMachines"][1]
    assert await ask(shop, key, "b") == refused(LIMIT)  # without overdraft it is a newcomer
    assert (await shop.show(key))["ActivatedMachines"][1] == before
    await back(shop, key, "a")
    (after,) = (await seat(shop, key, "b"))["ActivatedMachines"]
    assert (before["Mid"], after["Mid"]) == ("floating:overdraft:b", "floating:b")
    assert after["Time"] == before["Time"] <= time.time() - 30
    assert await ask(shop, key, "a") == refused(LIMIT)
    assert await shop.states(key) == [2014, 2015, 2024, 6011, 2014, 2024]


async def test_a_seat_is_free_when_its_time_is_over_and_not_before(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    await seat(shop, key, "a")
    await pass_time(shop, key, INTERVAL - 20)
    assert await ask(shop, key, "b") == refused(LIMIT)
    assert (mids(await shop.show(key)), await used(shop, key)) == (["floating:a"], 1)
    await seat(shop, key, "a")  # a heartbeat
    await pass_time(shop, key, INTERVAL - 20)
    assert await ask(shop, key, "b") == refused(LIMIT)
    await pass_time(shop, key, 22)
    assert (mids(await shop.show(key)), await used(shop, key)) == ([], 0)
    assert mids(await seat(shop, key, "b")) == ["floating:b"]
    assert await ask(shop, key, "a") == refused(LIMIT)


async def test_of_a_seat_that_ended_nothing_goes_on_in_the_next(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    await seat(shop, key, "b")
    await seat(shop, key, "a", MaxOverdraft=1, FriendlyName="Desk")
    await pass_time(shop, key, INTERVAL + 2)
    began = int(time.time())
    (row,) = (await seat(shop, key, "a"))["ActivatedMachines"]
    assert (row["Mid"], row["FriendlyName"]) == ("floating:a", "")
    assert row["Time"] >= began


async def test_each_call_says_how_long_its_seat_lasts_from_now_on(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    for interval in (100, 600, 10, 1000, 30):
        (row,) = (await seat(shop, key, "a", interval))["ActivatedMachines"]
        assert 0 <= row["FloatingExpires"] - interval - row["Time"] < 60
        (shown,) = (await shop.show(key))["ActivatedMachines"]
        assert shown == row
    await pass_time(shop, key, 32)
    assert mids(await seat(shop, key, "b", 1000)) == ["floating:b"]
    await pass_time(shop, key, 800)
    assert await ask(shop, key, "a", 1) == refused(LIMIT)  # what it would call recent does not matter


@pytest.mark.parametrize("interval", [LONGEST, LONGEST + 1, 2**31 - 1, 2**62])
async def test_a_seat_lasts_366_days_at_the_most(shop: Shop, interval: int) -> None:
    (row,) = (await seat(shop, await shop.new_key(MaxNoOfMachines=1), "a", interval))["ActivatedMachines"]
    assert row["FloatingExpires"] - row["Time"] in (LONGEST, LONGEST + 1)


async def test_a_seat_may_last_a_second(shop: Shop) -> None:
    (row,) = (await seat(shop, await shop.new_key(MaxNoOfMachines=1), "a", 1))["ActivatedMachines"]
    assert row["FloatingExpires"] - row["Time"] in (1, 2)


@pytest.mark.parametrize("wrong", [
    {"FloatingTimeInterval": -1}, {"FloatingTimeInterval": "soon"}, {"FloatingTimeInterval": "1.5"}, {"MaxOverdraft": -1},
    {"MaxOverdraft": "all"}, {"MaxOverdraft": 2**63}, {"MachineCode": "m" * 513},
])  # fmt: skip
async def test_what_is_no_number_or_below_zero_is_bad_input_and_not_logged(shop: Shop, wrong: dict[str, object]) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    asked = {"MachineCode": "a", "FloatingTimeInterval": INTERVAL, **wrong}
    assert await shop.call("key/Activate", Key=key, **asked) == refused(INPUT)
    assert await shop.states(key) == []


async def test_without_a_limit_everybody_is_welcome_and_nothing_is_kept(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=0, TrialActivation=True)
    before = await shop.show(key)
    for code in ("a", "b", "a"):
        document = await seat(shop, key, code, MaxOverdraft=1)
        assert {**document, "SignDate": 0} == {**before, "SignDate": 0}
    assert (await leases(shop, key), await in_valkey(shop, key), await used(shop, key)) == ([], [], 0)
    rows = (await shop.log(key))[1:]
    assert [(row["state"], row["machineCode"], row["floatingExpires"]) for row in rows] == [
        (2010, "a", 0), (2010, "b", 0), (2010, "a", 0),
    ]  # fmt: skip
    assert await back(shop, key, "a") == DONE


async def test_a_limit_that_is_lowered_refuses_newcomers_until_there_are_fewer(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=3)
    for code in "abc":
        await seat(shop, key, code)
    await shop.call("key/MachineLockLimit", Key=key, NumberOfMachines=1)
    for code in "abc":
        assert mids(await seat(shop, key, code)) == ["floating:a", "floating:b", "floating:c"]
    assert await ask(shop, key, "d") == await ask(shop, key, "d", MaxOverdraft=2) == refused(LIMIT)
    await back(shop, key, "b")
    await back(shop, key, "c")
    assert await ask(shop, key, "b") == await ask(shop, key, "d") == refused(LIMIT)
    await back(shop, key, "a")
    assert mids(await seat(shop, key, "d")) == ["floating:d"]


async def test_a_limit_that_is_raised_makes_room_at_once(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    await seat(shop, key, "a")
    await seat(shop, key, "b", MaxOverdraft=1)
    await shop.call("key/MachineLockLimit", Key=key, NumberOfMachines=3)
    assert mids(await seat(shop, key, "b")) == ["floating:a", "floating:b"]
    await seat(shop, key, "c")
    assert await ask(shop, key, "d") == refused(LIMIT)


async def test_a_seat_from_before_the_limit_went_can_be_given_back(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    await seat(shop, key, "a")
    await shop.call("key/MachineLockLimit", Key=key, NumberOfMachines=0)
    assert (await ask(shop, key, "b"))["result"] == 0
    assert await back(shop, key, "a") == DONE
    await shop.call("key/MachineLockLimit", Key=key, NumberOfMachines=1)
    assert mids(await seat(shop, key, "b")) == ["floating:b"]
    assert await shop.states(key) == [2014, 7010, 2010, 6011, 7010, 2014]


async def test_a_blocked_key_seats_nobody_and_lets_nobody_go(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=2)
    await seat(shop, key, "a")
    await shop.call("key/BlockKey", Key=key)
    assert await ask(shop, key, "a") == await ask(shop, key, "b") == refused(BLOCKED)
    assert await back(shop, key, "a") == refused(BLOCKED)
    shown = await shop.show(key)
    assert (shown["Block"], mids(shown)) == (True, ["floating:a"])  # it runs out by itself
    await shop.call("key/UnblockKey", Key=key)
    assert mids(await seat(shop, key, "b")) == ["floating:a", "floating:b"]
    rows = await shop.log(key)
    assert [row["state"] for row in rows[1:]] == [2014, 7010, 2022, 2022, 6020, 7010, 2014]
    assert [row["floatingExpires"] for row in rows if row["state"] in (2022, 6020)] == [0, 0, 0]


async def test_a_key_that_expired_or_names_machines_seats_as_any_other(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1, AllowedMachines="vip")
    await shop.change(key, "expires = 1000")
    assert (await seat(shop, key, "a"))["Expires"] == 1000
    assert await ask(shop, key, "vip") == refused(LIMIT)


async def test_node_locked_machines_and_seats_of_one_key_are_counted_apart(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    assert (await shop.activate(key, "a"))["result"] == 0
    assert mids(await seat(shop, key, "a")) == ["a", "floating:a"]
    assert await ask(shop, key, "b") == await shop.activate(key, "b") == refused(LIMIT)
    assert await shop.deactivate(key, "a") == DONE
    assert await shop.deactivate(key, "a") == refused(NOT_ACTIVATED)  # the seat is none of its business
    assert (await shop.activate(key, "b"))["result"] == 0
    assert await back(shop, key, "a") == DONE
    assert mids(await shop.show(key)) == ["b"]
    assert mids(await seat(shop, key, "c")) == ["b", "floating:c"]
    assert await shop.states(key) == [2011, 2014, 2024, 2023, 6010, 6020, 2011, 6011, 2014]


# ---- machine codes


@pytest.mark.parametrize(
    ("code", "another"),
    [
        ("", "a"),
        ("a" * 64, "a" * 63),
        ("a" * 65, "a" * 66),
        ("m" * 512, "m" * 511 + "n"),
        ("é" * 33, "é" * 32 + "e"),
        ("é" * 512, "é" * 511 + "e"),
        ("\U0001f5a5" * 512, "\U0001f5a5" * 511),
        ("Case", "case"),
        ("e\u0301", "\u00e9"),
        ("  blanks ", "blanks"),
        ("\U0001f5a5 \t<b>&=+%41\\\"'", "\n"),
        ("floating:x", "x"),
        ("floating:overdraft:x", "x"),
    ],
    ids=lambda code: f"{code[:12]!a} {len(code.encode())}",
)
async def test_a_code_is_kept_as_it_came_and_no_other_is_taken_for_it(shop: Shop, code: str, another: str) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    for _ in range(2):
        assert mids(await seat(shop, key, code)) == [f"floating:{code}"]
    assert await ask(shop, key, another) == refused(LIMIT)
    assert mids(await seat(shop, key, another, MaxOverdraft=1)) in (
        [f"floating:{code}", f"floating:overdraft:{another}"], [f"floating:overdraft:{another}", f"floating:{code}"],
    )  # fmt: skip
    assert [row["code"] for row in await leases(shop, key)] == sorted([code, another])
    assert [row["machineCode"] for row in await shop.log(key)][1:] == [code, code, another, another]
    await pass_time(shop, key, 1)  # and it is the same code again once it was read from the table
    assert await ask(shop, key, "third", MaxOverdraft=1) == refused(LIMIT)
    # A code that looks like a listed one is taken for one, so it is given back under the name that is listed.
    assert await back(shop, key, f"floating:{code}" if code.startswith("floating:") else code) == DONE
    assert mids(await shop.show(key)) == [f"floating:overdraft:{another}"]


async def test_the_empty_code_may_be_left_out(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    answer = await shop.call("key/Activate", Key=key, FloatingTimeInterval=INTERVAL, **STRING_SIGN)
    assert mids(shop.document(answer)) == ["floating:"]
    assert await ask(shop, key, "a") == refused(LIMIT)
    assert await shop.call("key/Deactivate", Key=key, Floating=True) == DONE
    assert mids(await seat(shop, key, "a")) == ["floating:a"]


# ---- who gives a seat back


@pytest.mark.parametrize("prefix", ["", "floating:", "floating:overdraft:"])
@pytest.mark.parametrize("code", ["a", "b"], ids=["regular", "overdraft"])
async def test_a_seat_is_given_back_by_its_code_or_as_it_is_listed(shop: Shop, prefix: str, code: str) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    await seat(shop, key, "a")
    await seat(shop, key, "b", MaxOverdraft=1)
    assert await back(shop, key, prefix + code) == DONE
    assert {mid.rpartition(":")[2] for mid in mids(await shop.show(key))} == {"a", "b"} - {code}
    assert await shop.deactivate(key, f"floating:{code}") == refused(NOT_ACTIVATED)
    (row,) = await shop.log(key, States="6011")
    assert (row["machineCode"], row["floatingExpires"], row["friendlyName"], row["ip"]) == (code, 0, "", MASKED)


async def test_giving_back_what_one_does_not_have_is_a_success(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    assert await back(shop, key, "a") == DONE  # nobody ever had a seat
    assert (await leases(shop, key), await in_valkey(shop, key)) == ([], [])
    await seat(shop, key, "b")
    for code in ("a", "b", "b"):
        assert await back(shop, key, code, OSInfo='{"OSName":"x"}') == DONE
    await shop.activate(key, "a")
    assert await back(shop, key, "a") == DONE
    assert mids(await shop.show(key)) == ["a"]
    assert await shop.states(key) == [6011, 2014, 6011, 6011, 6011, 2011, 6011]


async def test_a_seat_is_no_node_locked_machine_to_deactivate(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    await seat(shop, key, "a")
    for code in ("a", "floating:a"):
        assert await shop.deactivate(key, code, Floating=False) == refused(NOT_ACTIVATED)
    assert mids(await shop.show(key)) == ["floating:a"]
    assert await shop.states(key) == [2014, 6020, 6020]


# ---- what an answer shows


async def crowded(shop: Shop) -> str:
    """A key with two node-locked machines, and three seats taken in an order that is not that of their codes."""
    key = await shop.new_key(MaxNoOfMachines=2)
    await shop.activate(key, "n1", FriendlyName="First")
    await shop.activate(key, "n2")
    for code, overdraft, before in (("z", 0, 20), ("y", 0, 10), ("x", 1, 0)):
        await seat(shop, key, code, 1000, MaxOverdraft=overdraft, FriendlyName=f"Desk {code}")
        await shop.office.database.execute(
            "update leases set start = start - $3 where license_id = $1 and code = $2",
            await shop.global_id(key),
            code,
            before,
        )
    await pass_time(shop, key, 10)
    return key


SEATS = ["floating:z", "floating:y", "floating:overdraft:x"]


@pytest.mark.parametrize("version", [1, 2, 3])
async def test_an_answer_lists_what_its_model_version_does(shop: Shop, version: int) -> None:
    everything = ["n1", "n2", *SEATS]
    key = await crowded(shop)
    for code, own in zip("zyx", SEATS, strict=True):
        after = await seat(shop, key, code, 1000, MaxOverdraft=1, ModelVersion=version)
        assert mids(after) == (everything if version == 3 else [own])
    locked = shop.document(await shop.activate(key, "n1", **{**STRING_SIGN, "ModelVersion": version}))
    assert mids(locked) == (everything if version == 3 else ["n1", "n2"])
    read = await shop.show(key, ModelVersion=version, FloatingTimeInterval=INTERVAL, MachineCode="z")
    assert mids(read) == (everything if version == 3 else ["n1", "n2"])


NAMES = ("Mid", "IP", "Time", "FriendlyName", "FloatingExpires")


@pytest.mark.parametrize("version", [1, 2, 3])
async def test_a_seat_has_the_fields_of_its_model_version_in_both_forms(shop: Shop, version: int) -> None:
    key = await crowded(shop)
    document = await seat(shop, key, "z", 1000, FriendlyName="Åsa", ModelVersion=version)
    row = next(machine for machine in document["ActivatedMachines"] if machine["Mid"] == "floating:z")
    (lease,) = [each for each in await leases(shop, key) if each["code"] == "z"]
    values = ("floating:z", MASKED, lease["start"], "Åsa", lease["expires"])
    assert row == dict(zip(NAMES[: version + 2], values, strict=False))
    assert lease["start"] <= time.time() - 30
    assert lease["expires"] - lease["time"] in (1000, 1001)

    asked = {"Sign": True, "SignMethod": 0, "ModelVersion": version, "FriendlyName": "Åsa"}
    plain = (await shop.activate(key, "z", FloatingTimeInterval=1000, **asked))["licenseKey"]["activatedMachines"]
    row = next(machine for machine in plain if machine["mid"] == "floating:z")
    (lease,) = [each for each in await leases(shop, key) if each["code"] == "z"]
    names = ("mid", "ip", "time", "friendlyName", "floatingExpires")
    values = ("floating:z", MASKED, iso(lease["start"]), "Åsa", iso(lease["expires"]))
    assert row == dict(zip(names[: version + 2], values, strict=False))


def iso(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


async def test_a_node_locked_machine_beside_seats_never_ends(shop: Shop) -> None:
    key = await crowded(shop)
    for document in (await seat(shop, key, "z"), await shop.show(key)):
        ends = [machine["FloatingExpires"] for machine in document["ActivatedMachines"]]
        assert ends[:2] == [0, 0]
        assert all(end > time.time() for end in ends[2:])
    plain = (await shop.call("key/GetKey", Key=key, Sign=True, ModelVersion=3))["licenseKey"]["activatedMachines"]
    assert [machine["floatingExpires"] is None for machine in plain] == [True, True, False, False, False]
    assert plain[0]["ip"] == "127.0.0.1"  # of a machine that stays the whole address is kept


@pytest.mark.parametrize("version", [1, 2, 3])
async def test_where_machines_are_hidden_a_caller_sees_its_own_seat_only(shop: Shop, version: int) -> None:
    locked = await shop.office.new_token("Activate", "GetKey", feature_lock=MASK)
    key = await crowded(shop)
    for hiding in ({"FieldsToReturn": MASK}, {"token": locked}, {"token": locked, "FieldsToReturn": 4}):
        asked = {"ModelVersion": version, **hiding}
        for code, own in zip("zyx", SEATS, strict=True):
            assert mids(await seat(shop, key, code, 1000, MaxOverdraft=1, **asked)) == [own]
        # Its node-locked machine is another thing than its seat.
        assert mids(shop.document(await shop.activate(key, "n1", **{**STRING_SIGN, **asked}))) == ["n1"]
        assert mids(await shop.show(key, **asked)) == []
        assert await ask(shop, key, "new", 1000, **asked) == refused(LIMIT)


async def test_seats_in_use_are_counted_for_who_says_an_interval_whatever_is_hidden(shop: Shop) -> None:
    key = await crowded(shop)
    for asked in ({}, {"FieldsToReturn": MASK}, {"ModelVersion": 3}, {"SignMethod": 1}, {"FloatingTimeInterval": 1}):
        assert await used(shop, key, **asked) == 3
        assert await used(shop, key, **{**asked, "FloatingTimeInterval": 0}) == 0
        own = {**asked, "Metadata": True, "MaxOverdraft": 1, "FloatingTimeInterval": 1000}
        metadata = (await shop.activate(key, "x", **own))["metadata"]
        assert (metadata["activatedMachines"], metadata["usedFloatingMachines"]) == (2, 3)
    locked = (await shop.activate(key, "n1", Metadata=True))["metadata"]
    assert (locked["activatedMachines"], locked["usedFloatingMachines"]) == (2, 0)
    await back(shop, key, "y")
    assert await used(shop, key) == 2
    assert "metadata" not in await ask(shop, key, "z")


async def test_the_first_seat_is_in_the_answer_that_grants_it(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    answer = await ask(shop, key, "a", Metadata=True)
    assert mids(shop.document(answer)) == ["floating:a"]
    assert answer["metadata"]["usedFloatingMachines"] == 1


async def test_get_key_takes_no_seat(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    await shop.show(key, MachineCode="a", FloatingTimeInterval=INTERVAL, MaxOverdraft=1, Metadata=True)
    assert (await leases(shop, key), await in_valkey(shop, key), await shop.states(key)) == ([], [], [])


# ---- names and addresses

ADDRESS, ADDRESS_6 = "203.0.113.91", "2001:db8:abcd:ef01::91"


async def test_the_name_and_the_masked_address_are_those_of_the_last_heartbeat(behind_proxies: Live) -> None:
    async with open_office(behind_proxies, at="127.0.0.8") as office:
        shop = await office.open_shop()
        key = await shop.new_key(MaxNoOfMachines=1)

        async def heartbeat(address: str, name: str) -> Answer:
            form = {"token": office.token, "ProductId": shop.id, "Key": key, "MachineCode": "a", "FriendlyName": name,
                    "FloatingTimeInterval": INTERVAL, **STRING_SIGN}  # fmt: skip
            data = {name: str(value) for name, value in form.items()}
            headers = {"X-Forwarded-For": address}
            async with office.http.post(f"{office.live.url}/api/key/Activate", data=data, headers=headers) as answer:
                (row,) = shop.document(await answer.json())["ActivatedMachines"]
                return row

        first = await heartbeat(ADDRESS, "Desk")
        assert (first["IP"], first["FriendlyName"]) == ("203.0.113.0", "Desk")
        await pass_time(shop, key, 10)
        second = await heartbeat(ADDRESS_6, "x" * 300)
        assert (second["IP"], second["FriendlyName"]) == ("2001:db8:abcd::", "x" * 250)
        third = await heartbeat(ADDRESS, "None")  # Python's way to say that there is no name
        assert (third["IP"], third["FriendlyName"]) == ("203.0.113.0", "")
        assert first["Time"] - 10 == second["Time"] == third["Time"]

        (kept,) = await leases(shop, key)
        assert (kept["ip"], kept["friendly_name"], kept["start"]) == ("203.0.113.0", "", first["Time"] - 10)
        logged = (await shop.log(key))[1:]
        assert [(row["ip"], row["friendlyName"]) for row in logged] == [
            ("203.0.113.0", "Desk"), ("2001:db8:abcd::", "x" * 250), ("203.0.113.0", ""),
        ]  # fmt: skip
        assert await search(office, [ADDRESS, ADDRESS_6]) == {ADDRESS: set(), ADDRESS_6: set()}
        async with redis.asyncio.from_url(office.live.demo["redis_url"]) as valkey:
            (name,) = await in_valkey(shop, key)
            copy = repr(await valkey.hgetall(name))
        assert "203.0.113.0" in copy
        assert ADDRESS not in copy
        assert ADDRESS_6 not in copy


async def test_where_no_address_is_logged_a_seat_has_none_that_means_anything(without_addresses: Live) -> None:
    async with open_office(without_addresses) as office:
        shop = await office.open_shop()
        key = await shop.new_key(MaxNoOfMachines=1)
        (row,) = (await seat(shop, key, "a"))["ActivatedMachines"]
        assert row["IP"] == "0.0.0.0"  # the Rust SDK wants to parse one
        assert [each["ip"] for each in await leases(shop, key)] == [""]


# ---- how far over the limit


async def test_nobody_gets_further_over_the_limit_than_the_server_allows(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    async with worker_inside(shop.office.live, max_overdraft=2) as inside:

        async def asked(code: str, overdraft: int) -> str:
            """What a caller who would go so far is told."""
            form = {"token": shop.office.token, "ProductId": shop.id, "Key": key, "MachineCode": code,
                    "FloatingTimeInterval": INTERVAL, "MaxOverdraft": overdraft}  # fmt: skip
            async with shop.office.http.post(f"{inside.url}/api/key/Activate", data=form) as answer:
                return (await answer.json())["message"]

        assert [await asked(code, 2**31 - 1) for code in "abcd"] == ["", "", "", LIMIT]
        assert await asked("d", 3) == LIMIT
        await back(shop, key, "c")
        assert [await asked("d", overdraft) for overdraft in (1, 2)] == [LIMIT, ""]  # a caller may want less
    assert mids(await shop.show(key)) == ["floating:a", "floating:overdraft:b", "floating:overdraft:d"]
    assert mids(await seat(shop, key, "e", MaxOverdraft=3))[-1] == "floating:overdraft:e"  # elsewhere more is allowed


# ---- the countdown of a trial


async def test_each_code_that_gets_a_seat_starts_the_countdown_once(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=2, TrialActivation=True)

    async def started(code: str, **params: object) -> bool:
        """Whether this call starts it."""
        await shop.change(key, "expires = 5")
        document = await seat(shop, key, code, **params)
        if document["Expires"] == 5:
            return False
        assert document["Expires"] == next(
            row["Time"] for row in document["ActivatedMachines"] if row["Mid"].endswith(f":{code}")
        ) + 30 * DAY  # fmt: skip
        return True

    assert await started("a")
    assert not await started("a")  # a heartbeat
    await back(shop, key, "a")
    assert not await started("a")  # it comes back
    await pass_time(shop, key, INTERVAL + 2)
    assert not await started("a")  # its seat had ended
    assert await started("b")
    await shop.change(key, "expires = 5")
    assert await ask(shop, key, "c") == refused(LIMIT)
    assert (await shop.show(key))["Expires"] == 5
    assert await started("c", MaxOverdraft=1)
    assert await shop.states(key) == [2014, 2014, 6011, 2014, 2014, 2014, 2024, 2015]  # an audit needs these, not 2012


async def test_a_machine_counts_down_once_as_a_machine_and_not_again_as_a_seat(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=2, TrialActivation=True)
    await shop.activate(key, "a")
    await shop.change(key, "expires = 5")
    assert (await seat(shop, key, "a"))["Expires"] == 5
    assert (await seat(shop, key, "b"))["Expires"] > 5
    await shop.change(key, "expires = 5")
    assert shop.document(await shop.activate(key, "b", **STRING_SIGN))["Expires"] > 5  # a new machine always does
    assert await shop.states(key) == [2012, 2014, 2014, 2012]


async def test_with_first_activation_only_the_first_seat_or_machine_ever_starts_the_countdown(shop: Shop) -> None:
    await shop.set_up("cryptolens_trialactivation", "first_activation")
    key = await shop.new_key(MaxNoOfMachines=2, TrialActivation=True)
    await shop.change(key, "expires = 5")
    assert (await seat(shop, key, "a"))["Expires"] > 5
    await shop.change(key, "expires = 5")
    await back(shop, key, "a")
    assert (await seat(shop, key, "b"))["Expires"] == 5
    assert shop.document(await shop.activate(key, "c", **STRING_SIGN))["Expires"] == 5
    assert await shop.states(key) == [2014, 6011, 2014, 2011]


async def test_codes_that_were_counted_are_remembered_by_a_keyed_hash_alone(shop: Shop) -> None:
    key, code = await shop.new_key(MaxNoOfMachines=1, TrialActivation=True), f"counted-{time.time_ns()}"
    await seat(shop, key, code)
    places = (await search(shop.office, [code]))[code]
    assert places == {("leases", "code"), ("log", "machine_code")}
    (row,) = await shop.rows(
        "select c.code_hash from counted_codes c join licenses l on l.id = c.license_id where l.product_id = $1"
    )
    assert len(row["code_hash"]) >= 16


# ---- locks


async def test_a_lock_holds_for_seats_as_for_machines(shop: Shop, other_shop: Shop) -> None:
    office = shop.office
    key, other = await shop.new_key(MaxNoOfMachines=1), await shop.new_key(MaxNoOfMachines=1)
    to_other_key = await office.new_token("Activate", "Deactivate", key_lock=await shop.global_id(other))
    to_key = await office.new_token("Activate", "Deactivate", key_lock=await shop.global_id(key), product_lock=shop.id)
    to_other_product = await office.new_token("Activate", "Deactivate", product_lock=other_shop.id)
    neither = await office.new_token("GetKey", "CreateKey", product_lock=shop.id)
    for token in (to_other_key, to_other_product, neither):
        assert await ask(shop, key, "a", token=token) == refused(DENIED)
        assert await back(shop, key, "a", token=token) == refused(DENIED)
    assert (await leases(shop, key), await in_valkey(shop, key)) == ([], [])
    await seat(shop, key, "a", token=to_key)
    assert await back(shop, key, "a", token=to_other_key) == refused(DENIED)
    assert mids(await shop.show(key)) == ["floating:a"]
    assert await back(shop, key, "a", token=to_key) == DONE
    assert await shop.states(key) == [2020, 6020, 2014, 6020, 6011]


# ---- the log, and who audits it


async def test_a_row_of_the_log_tells_whose_seat_it_was_and_until_when(shop: Shop) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    began = int(time.time())
    first = (await seat(shop, key, "a", FriendlyName="Desk"))["ActivatedMachines"][0]
    second = (await seat(shop, key, "b", 50, MaxOverdraft=1))["ActivatedMachines"][-1]
    await ask(shop, key, "c", FriendlyName="Lab")
    await back(shop, key, "floating:overdraft:b")
    rows = (await shop.log(key))[1:]
    assert [(row["state"], row["machineCode"], row["friendlyName"], row["floatingExpires"]) for row in rows] == [
        (2014, "a", "Desk", first["FloatingExpires"]), (2015, "b", "", second["FloatingExpires"]), (2024, "c", "Lab", 0),
        (6011, "b", "", 0),
    ]  # fmt: skip
    times = [row["time"] for row in rows]
    assert times == sorted(times)
    assert began <= times[0]
    assert times[-1] <= time.time() + 1
    assert times[:2] == [first["Time"], second["Time"]]
    assert {(row["productId"], row["key"], row["ip"], row["doIntValue"], row["doId"]) for row in rows} == {
        (shop.id, key, MASKED, 0, 0)
    }


async def audited(shop: Shop, key: str, page: int) -> list[Answer]:
    """The log of a key's seats as the vendor's audit tool reads it, backwards and page by page; then in the order of time.

    Ids alone are not in that order: workers write what they decided at nearly the same time as they come to it.
    """
    rows: list[Answer] = []
    while True:
        read = await shop.log(
            key, States="[2014,2015,6011,2024]", OrderBy="Time descending", Limit=page,
            EndingBefore=rows[-1]["id"] if rows else 0,
        )  # fmt: skip
        if not read:
            return sorted(rows, key=lambda row: (row["time"], row["id"]))
        rows += read


def peak_of(rows: Iterable[Answer]) -> tuple[int, int, dict[str, int]]:
    """The most seats that were taken at once, how often the limit was reached, and until when whom is still seated."""
    taken: dict[str, int] = {}
    peak = reached = 0
    for row in rows:
        taken = {code: until for code, until in taken.items() if until > row["time"]}
        reached += row["state"] in (2015, 2024)
        if row["state"] % 100 // 10 == 2:
            continue
        if row["state"] == 6011:
            taken.pop(row["machineCode"], None)
        else:
            taken[row["machineCode"]] = row["floatingExpires"]
        peak = max(peak, len(taken))
    return peak, reached, taken


@pytest.mark.parametrize("page", [1, 4, 1000])
async def test_an_audit_of_the_log_finds_what_was_done(shop: Shop, page: int) -> None:
    key = await shop.new_key(MaxNoOfMachines=2)
    await shop.activate(key, "locked")
    for code in "ab":
        await seat(shop, key, code)
    assert await ask(shop, key, "c") == refused(LIMIT)
    await seat(shop, key, "c", MaxOverdraft=2)
    await seat(shop, key, "a")
    await seat(shop, key, "d", MaxOverdraft=2)
    for code in "bcx":
        await back(shop, key, code)
    await seat(shop, key, "e", MaxOverdraft=2)
    await shop.call("key/BlockKey", Key=key)
    assert await ask(shop, key, "f") == refused(BLOCKED)
    peak, reached, still = peak_of(await audited(shop, key, page))
    assert (peak, reached, sorted(still)) == (4, 3, ["a", "d", "e"])
    shown = {row["Mid"].rpartition(":")[2]: row["FloatingExpires"] for row in (await shop.show(key))["ActivatedMachines"]}
    assert {code: end for code, end in shown.items() if end} == still
    assert await used(shop, key) == len(still)


async def test_an_audit_of_seats_that_come_and_go_at_once_never_finds_more_than_there_are(shop: Shop) -> None:
    keys = (await shop.call("key/CreateKey", NoOfKeys=4, MaxNoOfMachines=2))["keys"]
    granted: Counter[str] = Counter()

    async def client(key: str, number: int) -> None:
        for _ in range(3):
            code = f"m{number}"
            if (await ask(shop, key, code, FieldsToReturn=MASK, MaxOverdraft=1))["result"] == 0:
                granted[key] += 1
                await back(shop, key, code)

    await asyncio.gather(*(client(key, number) for key in keys for number in range(6)))
    for key in keys:
        rows = await audited(shop, key, 1000)
        peak, _, still = peak_of(rows)
        assert 1 <= peak <= 3
        assert still == {}
        assert sum(row["state"] in (2014, 2015) for row in rows) == granted[key]
