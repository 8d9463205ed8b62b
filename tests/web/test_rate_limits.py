"""Callers that call too often: who is told to wait, and who is not."""

import asyncio
import ipaddress
import itertools
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from fronts import in_front
from inside import Inside, worker_inside
from lines import Answered, ask, request
from office import AUTHENTICATE, NO_KEY, NO_OBJECT, Office, Shop, open_office, unknown_token
from proxy import Mode, proxy
from servers import Live

from server.rules.limits import LEAST_SEATS, MINUTE

HERE = ipaddress.ip_network("127.0.0.0/8")
EVERYBODY = {"trusted_proxies": (HERE,), "unlimited": ()}
TOO_MANY = "Too many requests. Please try again later."
UNKNOWN_KEY = "AAAAA-AAAAA-AAAAA-AAAAA"
NETWORKS = (f"203.{number // 256}.{number % 256}" for number in itertools.count())


@pytest.fixture
def network() -> str:
    """The first three numbers of an address that no other test calls from."""
    return next(NETWORKS)


async def call(server: Inside, method: str, address: str, **params: object) -> Answered:
    body = urlencode(params).encode()
    return await ask(server.url, request(f"/api/{method}", body, X_Forwarded_For=address, Connection="close"))


async def calls(server: Inside, number: int, method: str, address: str, **params: object) -> list[Answered]:
    return [await call(server, method, address, **params) for _ in range(number)]


def told_to_wait(answer: Answered) -> bool:
    if answer.status == 200:
        return False
    assert (answer.status, answer.json) == (429, {"result": 1, "message": TOO_MANY})
    assert int(answer.headers["retry-after"]) >= 1
    return True


def messages(answers: list[Answered]) -> list[str]:
    return [answer.json["message"] for answer in answers]


@pytest.fixture
async def few_calls(live: Live) -> AsyncIterator[Inside]:
    async with worker_inside(live, token_rate=1, key_rate=0, **EVERYBODY) as server:
        yield server


async def test_a_token_that_calls_too_often_from_one_network_waits_there_and_nowhere_else(
    few_calls: Inside, office: Office, shop: Shop, network: str
) -> None:
    token, other = await office.new_token(), await office.new_token()
    key = await shop.new_key(MaxNoOfMachines=1)
    named = {"ProductId": shop.id, "Key": key}
    answers = await calls(few_calls, 15, "key/GetKey", f"{network}.7", token=token, **named)
    assert [told_to_wait(answer) for answer in answers[:10]] == [False] * 10
    assert any(map(told_to_wait, answers[10:]))
    assert told_to_wait(await call(few_calls, "key/GetKey", f"{network}.8", token=token, **named))
    assert not told_to_wait(await call(few_calls, "key/GetKey", f"{network}.8", token=other, **named))
    elsewhere = next(NETWORKS)
    assert not told_to_wait(await call(few_calls, "key/GetKey", f"{elsewhere}.7", token=token, **named))


async def test_a_call_that_waits_does_nothing(few_calls: Inside, office: Office, shop: Shop, network: str) -> None:
    token, key = await office.new_token(), await shop.new_key(MaxNoOfMachines=100)
    named = {"token": token, "ProductId": shop.id, "Key": key}
    answers = [
        await call(few_calls, "key/Activate", f"{network}.7", MachineCode=f"m{number}", **named) for number in range(15)
    ]
    passed = [told_to_wait(answer) for answer in answers].count(False)
    assert passed < 15
    assert len(await shop.states(key)) == passed


async def test_a_license_is_limited_by_its_seats_whoever_calls(live: Live, office: Office, shop: Shop) -> None:
    small, large = await shop.new_key(MaxNoOfMachines=1), await shop.new_key(MaxNoOfMachines=50)
    most = LEAST_SEATS * MINUTE
    async with worker_inside(live, token_rate=0, key_rate=1, **EVERYBODY) as server:
        for key in (small, large):
            answers = []
            for _ in range(10):
                asked = {"token": office.token, "ProductId": shop.id, "Key": key}
                address = f"{next(NETWORKS)}.7"
                answers += await asyncio.gather(
                    *(call(server, "key/GetKey", address, **asked) for _ in range(most // 10 + 5))
                )
            assert any(map(told_to_wait, answers)) is (key == small)


@pytest.fixture
async def wary(live: Live) -> AsyncIterator[Inside]:
    """A server that lets a network fail five times at once, and once a minute."""
    async with worker_inside(live, failures_per_minute=1, **EVERYBODY) as server:
        yield server


async def test_who_tries_unknown_tokens_waits_but_for_what_is_known(
    wary: Inside, office: Office, shop: Shop, network: str
) -> None:
    key, address = await shop.new_key(MaxNoOfMachines=1), f"{network}.7"
    good = {"token": await office.new_token(), "ProductId": shop.id, "Key": key}
    assert not told_to_wait(await call(wary, "key/GetKey", address, **good))
    wrong = {**good, "token": unknown_token(office.token)}
    assert messages(await calls(wary, 6, "key/GetKey", address, **wrong)) == [AUTHENTICATE] * 5 + [TOO_MANY]
    assert not told_to_wait(await call(wary, "key/GetKey", address, **good))
    assert told_to_wait(await call(wary, "key/GetKey", address, **{**good, "token": await office.new_token()}))
    assert told_to_wait(await call(wary, "key/GetKey", address, **{**good, "Key": UNKNOWN_KEY}))
    assert not told_to_wait(await call(wary, "key/GetKey", f"{next(NETWORKS)}.7", **wrong))


@pytest.mark.parametrize(("method", "text"), [("key/GetKey", NO_KEY), ("data/ListDataObjectsToKey", NO_OBJECT)])
async def test_who_tries_unknown_keys_waits(wary: Inside, shop: Shop, network: str, method: str, text: str) -> None:
    named = {"token": shop.office.token, "ProductId": shop.id, "Key": UNKNOWN_KEY}
    assert messages(await calls(wary, 6, method, f"{network}.7", **named)) == [text] * 5 + [TOO_MANY]


async def test_a_data_object_that_is_not_there_is_no_failure(wary: Inside, office: Office, shop: Shop, network: str) -> None:
    key = await shop.new_key()
    named = {"token": office.token, "ProductId": shop.id, "Key": key, "Name": "usagecount", "IntValue": 1}
    answers = await calls(wary, 7, "data/IncrementIntValueToKey", f"{network}.7", **named)
    assert messages(answers) == [NO_OBJECT] * 7


async def test_who_tries_customer_secrets_waits(wary: Inside, office: Office, network: str) -> None:
    named = {"token": office.token, "Secret": "WPIGP-UPHHT-INUYJ-MSDTJ"}
    answers = await calls(wary, 6, "customer/GetCustomerLicensesBySecret", f"{network}.7", **named)
    assert messages(answers) == ["Could not find the customer."] * 5 + [TOO_MANY]


async def test_trial_keys_are_made_for_so_many_machines_of_a_network_and_given_out_again_to_any(
    live: Live, office: Office, shop: Shop, network: str
) -> None:
    address, named = f"{network}.7", {"token": office.token, "ProductId": shop.id}
    async with worker_inside(live, trials_per_hour=3, **EVERYBODY) as server:
        answers = [
            await call(server, "key/CreateTrialKey", address, MachineCode=f"m{number}", **named) for number in range(4)
        ]
        assert [told_to_wait(answer) for answer in answers] == [False] * 3 + [True]
        again = await calls(server, 5, "key/CreateTrialKey", address, MachineCode="m0", **named)
        assert {answer.json["key"] for answer in again} == {answers[0].json["key"]}
        assert not told_to_wait(await call(server, "key/CreateTrialKey", f"{next(NETWORKS)}.7", MachineCode="m4", **named))


async def test_nobody_on_this_machine_waits_unless_the_operator_says_so(live: Live, office: Office, shop: Shop) -> None:
    wrong = {"token": unknown_token(office.token), "ProductId": shop.id, "Key": UNKNOWN_KEY}
    body = urlencode(wrong).encode()
    for unlimited, waits in ((None, False), ((), True)):
        settings: dict[str, Any] = {} if unlimited is None else {"unlimited": unlimited}
        async with worker_inside(live, failures_per_minute=1, **settings) as server:
            answers = [await ask(server.url, request("/api/key/GetKey", body, Connection="close")) for _ in range(7)]
            assert any(map(told_to_wait, answers)) is waits


async def test_all_workers_count_together(live: Live, office: Office, shop: Shop, network: str) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    with in_front(
        live, KEYTURN_TOKEN_RATE="2", KEYTURN_KEY_RATE="0", KEYTURN_UNLIMITED="none", KEYTURN_TRUSTED_PROXIES="127.0.0.0/8"
    ) as server:
        async with open_office(server, **{"X-Forwarded-For": f"{network}.7"}) as there:
            token = await office.new_token()
            passed = 0
            for _ in range(100):
                status, _, _ = await there.answer("key/GetKey", token=token, ProductId=shop.id, Key=key)
                passed += status == 200
    assert 20 <= passed < 38  # ten seconds' worth, and what goes untold; each of two workers alone would let 20 pass


@pytest.mark.parametrize("failure", [Mode.REFUSE, Mode.BLACK_HOLE], ids=str)
async def test_without_valkey_a_call_does_not_wait_for_its_limits(
    live: Live, office: Office, shop: Shop, network: str, failure: Mode
) -> None:
    key, token = await shop.new_key(MaxNoOfMachines=1), await office.new_token()
    named = {"token": token, "ProductId": shop.id, "Key": key, "MachineCode": "m", "OSInfo": '{"OSName":"x"}'}
    address = urlsplit(live.demo["redis_url"])
    async with proxy(address.path) as valkey:
        login = address.netloc.rpartition("@")[0]
        settings = {"redis_url": f"redis://{login}@127.0.0.1:{valkey.port}", "token_rate": 100, **EVERYBODY}
        async with worker_inside(live, **settings) as server:
            assert not told_to_wait(await call(server, "key/Activate", f"{network}.7", **named))
            valkey.become(failure)
            async with asyncio.timeout(30):  # each of these would wait for a second
                answers = await calls(server, 300, "key/Activate", f"{network}.7", **named)
            assert not any(map(told_to_wait, answers))
