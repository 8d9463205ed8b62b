"""Broadcasts to client software: made, read by channel and time, taken back."""

import json
import secrets
import time

import pytest
from office import AUTHENTICATE, DONE, INPUT, Answer, Office, Shop, refused, token_id

from server.rules.term import LATEST
from storage.stamps import new_stamp

BAD_TIME = "The timestamp in the Time parameter does not have the correct format."
GET, CREATE, REMOVE = "message/GetMessages", "message/CreateMessage", "message/RemoveMessage"
ALL_WORKERS = 12  # calls, each of a connection of its own


@pytest.fixture
def channel() -> str:
    """A channel that nobody else uses."""
    return f"stable-{secrets.token_hex(6)}"


async def create(office: Office, channel: str, content: str = "", created: object = 0) -> int:
    answer = await office.call(CREATE, Channel=channel, Content=content, Time=created)
    assert answer.keys() == {"messageId", "result", "message"}
    assert (answer["result"], answer["message"]) == (0, "")
    return answer["messageId"]


async def read(office: Office, **params: object) -> list[Answer]:
    answer = await office.call(GET, **params)
    assert (answer["result"], answer["message"]) == (0, "")
    return answer["messages"]


async def contents(office: Office, **params: object) -> list[str]:
    return [message["content"] for message in await read(office, **params)]


async def rows(office: Office, channel: str) -> list[tuple[str, int]]:
    found = await office.database.fetch("select content, created from messages where channel = $1 order by id", channel)
    return [(row["content"], row["created"]) for row in found]


async def test_a_message_is_read_until_it_is_taken_back(office: Office, channel: str) -> None:
    made = await create(office, channel, "v401 is now available", 1537815312)
    shown = {"id": made, "content": "v401 is now available", "created": 1537815312, "channel": channel}
    for path in (GET, "/message/getmessages/"):
        answer = await office.call(path, Channel=channel, Time=1537815311)
        assert answer == {"messages": [shown], "result": 0, "message": ""}
    assert list(answer) == ["messages", "result", "message"]
    assert list(answer["messages"][0]) == ["id", "content", "created", "channel"]
    assert await office.call(GET, Channel=channel, Time=1537815312) == {"messages": [], "result": 0, "message": ""}
    assert await office.call(REMOVE, Id=made) == DONE
    assert await read(office, Channel=channel) == []
    assert await office.call(REMOVE, Id=made) == refused(INPUT)


async def test_the_newest_come_first_and_of_one_second_the_last_made(office: Office, channel: str) -> None:
    for content, created in (("b", 20), ("c", 20), ("a", 10), ("d", 30), ("e", 20)):
        await create(office, channel, content, created)
    assert await contents(office, Channel=channel) == ["d", "e", "c", "b", "a"]
    assert await contents(office, Channel=channel, Time=10) == ["d", "e", "c", "b"]
    assert await contents(office, Channel=channel, Time=19) == ["d", "e", "c", "b"]
    assert await contents(office, Channel=channel, Time=20) == ["d"]
    assert await contents(office, Channel=channel, Time=30) == []


async def test_a_channel_is_exact_and_none_is_all_of_them(office: Office, channel: str) -> None:
    other = channel.capitalize()
    await create(office, channel, "lower", LATEST - 1)
    await create(office, other, "upper", LATEST)
    await create(office, "", f"of no channel, {channel}", LATEST - 2)
    assert await contents(office, Channel=channel) == ["lower"]
    assert await contents(office, Channel=other) == ["upper"]
    assert await contents(office, Channel=channel[:-1]) == []
    for params in ({}, {"Channel": ""}, {"Channel": "", "Time": LATEST - 3}):
        everything = [each for each in await read(office, **params) if each["created"] > LATEST - 3]
        assert [(each["content"], each["channel"]) for each in everything] == [
            ("upper", other), ("lower", channel), (f"of no channel, {channel}", "")
        ]  # fmt: skip
    assert await contents(office, Time=LATEST - 2) == ["upper", "lower"]
    await office.database.execute("delete from messages where created > $1", LATEST - 3)


@pytest.mark.parametrize("params", [{}, {"Time": 0}, {"Time": ""}, {"Time": "None"}])
async def test_without_a_time_a_message_is_of_now_and_all_are_read(office: Office, channel: str, params: Answer) -> None:
    began = int(time.time())
    assert (await office.call(CREATE, Channel=channel, Content="c", **params))["result"] == 0
    (message,) = await read(office, Channel=channel, **params)
    assert began <= message["created"] <= time.time()
    assert await contents(office, Channel=channel, Time=-5) == ["c"]


async def test_an_answer_holds_the_newest_thousand(office: Office, channel: str) -> None:
    await office.database.execute(
        "insert into messages (account_id, channel, content, created)"
        " select $1, $2, n::text, n from generate_series(1, 1005) n", office.account.id, channel,
    )  # fmt: skip
    try:
        assert await contents(office, Channel=channel) == [str(number) for number in range(1005, 5, -1)]
        assert len(await contents(office)) == 1_000
        assert await contents(office, Channel=channel, Time=1003) == ["1005", "1004"]
    finally:
        await office.database.execute("delete from messages where channel = $1", channel)


async def test_the_longest_content_and_channel(office: Office) -> None:
    channel = secrets.token_hex(6) + "é" * 88
    await create(office, channel, "漢" * 10_000)
    assert await contents(office, Channel=channel) == ["漢" * 10_000]
    assert await office.call(CREATE, Channel=channel, Content="m" * 10_001) == refused(INPUT)
    for method in (GET, CREATE):
        assert await office.call(method, Channel=f"{channel}x") == refused(INPUT)
    assert len(await rows(office, channel)) == 1


@pytest.mark.parametrize("method", [GET, CREATE])
@pytest.mark.parametrize("when", ["x", "1.5", "12:00", '{"gt":1}', 2**63])
async def test_a_time_that_is_none_is_told_so(office: Office, channel: str, method: str, when: object) -> None:
    assert await office.call(method, Channel=channel, Time=when) == refused(BAD_TIME)
    assert await rows(office, channel) == []


@pytest.mark.parametrize("when", [-1, LATEST + 1])
async def test_a_time_that_clients_cannot_read_is_bad_input(office: Office, channel: str, when: int) -> None:
    assert await office.call(CREATE, Channel=channel, Time=when) == refused(INPUT)
    assert await rows(office, channel) == []


@pytest.mark.parametrize("number", [None, "", "x", -1, 0, 2**62, "1.5"])
async def test_only_a_message_that_is_there_can_be_taken_back(office: Office, number: object) -> None:
    assert await office.call(REMOVE, Id=number) == refused(INPUT)


async def test_parameters_may_come_as_json(office: Office, channel: str) -> None:
    made = {"token": office.token, "channel": channel, "content": "c", "time": 5}
    async with office.http.post(f"{office.live.url}/api/{CREATE}", json=made) as answer:
        assert (await answer.json())["result"] == 0
    for when, expected in ((4, ["c"]), (None, ["c"]), (5, [])):
        asked = {"token": office.token, "channel": channel, "time": when}
        async with office.http.post(f"{office.live.url}/api/{GET}", json=asked) as answer:
            assert [each["content"] for each in (await answer.json())["messages"]] == expected
    for method in (GET, CREATE):
        asked = {"token": office.token, "time": True}
        async with office.http.post(f"{office.live.url}/api/{method}", json=asked) as answer:
            assert await answer.json() == refused(BAD_TIME)


async def test_what_is_done_is_in_the_object_log_without_the_text(office: Office, channel: str) -> None:
    made = await create(office, channel, "secret plans", 7)
    assert await office.call(REMOVE, Id=made) == DONE
    assert await office.call(REMOVE, Id=made) == refused(INPUT)
    found = await office.database.fetch(
        "select account_id, time, action, token_id, changes from object_log where object_type = 'Message' and object_id = $1"
        " order by id", made,
    )  # fmt: skip
    assert [(row["action"], json.loads(row["changes"])) for row in found] == [
        ("CreateMessage", {"channel": channel, "created": 7}), ("RemoveMessage", {})
    ]  # fmt: skip
    assert {(row["account_id"], row["token_id"]) for row in found} == {(office.account.id, token_id(office.token))}
    assert all(abs(row["time"] - time.time()) < 60 for row in found)


async def test_another_account_is_another_world(office: Office, channel: str) -> None:
    other = await office.database.fetchval(
        "insert into accounts (name, public_key, created) values ($1, '', 0) returning id", channel
    )
    foreign = await office.database.fetchval(
        "insert into messages (account_id, channel, content, created) values ($1, $2, 'c', 5) returning id", other, channel
    )
    try:
        assert await read(office, Channel=channel) == []
        assert channel not in [message["channel"] for message in await read(office)]
        assert await office.call(REMOVE, Id=foreign) == refused(INPUT)
        assert await rows(office, channel) == [("c", 5)]
    finally:  # every account has a key file that a worker looks for
        await office.database.execute("delete from messages where account_id = $1", other)
        await office.database.execute("delete from accounts where id = $1", other)


async def test_a_token_that_is_revoked_reads_and_writes_nothing_from_then_on(office: Office, channel: str) -> None:
    token = await office.new_token("GetMessages", "EditMessages")
    made = await create(office, channel, "c")
    for _ in range(ALL_WORKERS):
        assert (await office.call(GET, token=token))["result"] == 0
    assert await office.admin.revoke_token(office.account.id, token_id(token), int(time.time()))
    for _ in range(ALL_WORKERS):
        assert await office.call(GET, token=token) == refused(AUTHENTICATE)
        assert await office.call(CREATE, token=token, Channel=channel) == refused(AUTHENTICATE)
        assert await office.call(REMOVE, token=token, Id=made) == refused(AUTHENTICATE)
    assert await contents(office, Channel=channel) == ["c"]


async def test_a_token_that_has_changed_is_looked_at_again(office: Office, shop: Shop, channel: str) -> None:
    token = await office.new_token("GetMessages", "EditMessages")
    for _ in range(ALL_WORKERS):
        assert (await office.call(GET, token=token))["result"] == 0
    changed = await office.database.execute(
        "update tokens set product_lock = $2, stamp = $3 where id = $1", token_id(token), shop.id, new_stamp()
    )
    assert changed == "UPDATE 1"
    for _ in range(ALL_WORKERS):
        assert (await office.call(GET, token=token))["result"] == 0
        assert (await office.call(CREATE, token=token, Channel=channel))["message"] == "Access denied."
    assert await rows(office, channel) == []
