"""The shared connection to Valkey: every reply finds its caller, whoever leaves; no call is made twice, none waits long."""

import asyncio
import contextlib
import datetime
import gc
import random
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis.asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from proxy import Mode, Proxy, proxy
from servers import open_folder, until
from structlog.testing import capture_logs

from storage.embedded.home import lock, prepare
from storage.embedded.valkey import Valkey
from storage.redis.mux import Full, Mux, NotSent, Refused, Unknown

SCRIPTS = {
    "echo": "return ARGV[1]",
    "add": "return redis.call('incrby', KEYS[1], ARGV[1])",
    "no": "redis.setresp(3) return false",
}
PATIENCE = 2.0  # long enough for the promised quarter more to be told from a busy machine
PROMISED = PATIENCE * 1.25
Redis = redis.asyncio.Redis


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[Mux]:
    """A mux that has tried to connect once. Unless a test is about it, its patience does not end on a busy machine."""
    mux = Mux(url, SCRIPTS, **{"name": "test", "patience": 30.0, **options})
    await mux.open()
    try:
        yield mux
    finally:
        await mux.close()


@pytest.fixture
async def direct(redis_url: str) -> AsyncIterator[Redis]:
    """A look past the mux."""
    async with redis.asyncio.from_url(redis_url) as client:
        yield client


@pytest.fixture
async def mux(redis_url: str) -> AsyncIterator[Mux]:
    """A mux over the unix socket."""
    async with opened(redis_url) as found:
        assert found.up
        yield found


@pytest.fixture
async def carrier(redis_url: str) -> AsyncIterator[Proxy]:
    """A proxy before Valkey."""
    async with proxy(urlsplit(redis_url).path) as found:
        yield found


@pytest.fixture
async def through(redis_url: str, carrier: Proxy) -> AsyncIterator[Mux]:
    """A mux whose way leads through the proxy."""
    async with opened(by_tcp(redis_url, carrier.port), patience=1.0) as found:
        assert found.up
        yield found


@pytest.fixture
async def own() -> AsyncIterator[Valkey]:
    """A Valkey that a test may stop and change."""
    with open_folder() as data, lock(data):
        engine = Valkey(prepare(data))
        await engine.start()
        yield engine
        await engine.stop()


def by_tcp(url: str, port: int, scheme: str = "redis") -> str:
    return f"{scheme}://:{urlsplit(url).password}@localhost:{port}/0"


@asynccontextmanager
async def pretended(*says: tuple[float, bytes], also: bytes = b"") -> AsyncIterator[str]:
    """A server that greets as Valkey does, and answers each further packet with the next of `says`: when, what."""
    info = b"role:master\r\nrun_id:pretended"
    greeting = b"+OK\r\n+OK\r\n$%d\r\n%s\r\n" % (len(info), info) + b"+loaded\r\n" * len(SCRIPTS) + also

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for seconds, answer in ((0, greeting), *says):
            await reader.read(65536)
            await asyncio.sleep(seconds)
            writer.write(answer)
        with contextlib.suppress(OSError):
            await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


async def outcomes(futures: list[asyncio.Future[Any]]) -> list[Any]:
    return await asyncio.gather(*futures, return_exceptions=True)


def only(answers: list[Any], kind: type[Exception]) -> list[Exception]:
    assert [type(answer) for answer in answers] == [kind] * len(answers)
    return answers


async def written(mux: Mux) -> None:
    """Wait until the calls so far have been handed over."""
    connection = mux._connection
    assert connection is not None
    await until(lambda: not connection._waiting)


async def connections(client: Redis) -> list[str]:
    return [each["id"] for each in await client.client_list() if each["name"] == "keyturn-test"]


async def test_replies_go_to_their_callers_among_thousands_of_mixed_calls(mux: Mux, direct: Redis) -> None:
    await direct.rpush("list", "x")
    kinds: list[Callable[[str], asyncio.Future[Any]]] = [
        lambda text: mux.command("ECHO", text),
        lambda text: mux.script("echo", [], [text]),
        lambda _: mux.command(b"GET", b"list"),
        lambda _: mux.command(b"GET", b"missing"),
        lambda _: mux.script("no", [], []),
    ]

    async def caller(number: int) -> None:
        chance = random.Random(number)
        for count in range(100):
            kind, text = chance.randrange(len(kinds)), f"{number}-{count}" * chance.randrange(1, 50)
            answer = (await outcomes([kinds[kind](text)]))[0]
            expected = (text.encode(), text.encode(), "WRONGTYPE", None, False)[kind]
            assert (answer.code if isinstance(answer, Refused) else answer) == expected

    await asyncio.gather(*(caller(number) for number in range(60)))
    assert mux.oldest_seconds == 0


async def test_callers_that_leave_shift_no_reply_and_cost_no_connection(mux: Mux, direct: Redis) -> None:
    before = await connections(direct)
    received = (await direct.info("stats"))["total_connections_received"]
    chance = random.Random(7)

    async def caller(text: str) -> None:
        await asyncio.sleep(chance.random() / 10)
        assert await mux.script("echo", [], [text]) == text.encode()

    tasks = [asyncio.create_task(caller(f"caller {number}")) for number in range(2400)]
    for task in chance.sample(tasks, 700):
        asyncio.get_running_loop().call_later(chance.random() / 10, task.cancel)
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert set(map(type, answers)) == {type(None), asyncio.CancelledError}
    assert len(before) == 1
    assert await connections(direct) == before
    assert (await direct.info("stats"))["total_connections_received"] == received


async def test_a_caller_that_leaves_after_its_call_was_written_leaves_its_slot(mux: Mux) -> None:
    first, second = mux.command("ECHO", "first"), mux.command("ECHO", "second")
    await written(mux)
    first.cancel()
    assert await second == b"second"
    assert await mux.command("ECHO", "third") == b"third"


async def test_what_was_cut_off_after_the_send_is_unknown_and_ran_once(through: Mux, carrier: Proxy, direct: Redis) -> None:
    carrier.become(Mode.CUT)
    only(await outcomes([through.command("INCR", "n") for _ in range(50)]), Unknown)
    assert not through.up
    carrier.become(Mode.PASS)
    await until(lambda: through.up)
    assert await direct.get("n") == b"50"
    assert await through.command("INCR", "n") == 51


async def test_calls_while_down_fail_at_once_and_were_not_sent(through: Mux, carrier: Proxy, direct: Redis) -> None:
    carrier.become(Mode.REFUSE)
    await until(lambda: not through.up)
    calls = [through.command("INCR", "n"), through.script("add", [b"n"], [1])]
    assert all(call.done() for call in calls)
    only(await outcomes(calls), NotSent)
    assert through.run == b""
    carrier.become(Mode.PASS)
    await until(lambda: through.up)
    assert await direct.get("n") is None


async def test_at_a_loss_the_written_is_unknown_and_the_unwritten_was_not_sent(
    through: Mux, carrier: Proxy, direct: Redis
) -> None:
    carrier.become(Mode.BLACK_HOLE)
    sent = [through.command("INCR", "n") for _ in range(10)]
    await written(through)
    unsent = [through.command("INCR", "n") for _ in range(5)]
    assert through._connection is not None
    through._connection._transport.abort()
    only(await outcomes(sent), Unknown)
    only(await outcomes(unsent), NotSent)
    carrier.become(Mode.PASS)
    await until(lambda: through.up)
    assert int(await direct.get("n")) <= 10


async def test_a_full_network_is_not_filled_further_and_what_stayed_here_was_not_sent(
    through: Mux, carrier: Proxy, direct: Redis
) -> None:
    """40 MB for a proxy that takes nothing: more than the sockets between hold."""
    carrier.become(Mode.STALL)
    calls = [through.command("SET", f"k{number}", b"x" * 100_000) for number in range(400)]
    assert through._connection is not None
    connection = through._connection
    await until(lambda: connection._paused)
    assert connection._transport.get_write_buffer_size() < 300_000
    answers = await outcomes(calls)
    assert set(map(type, answers)) == {Unknown, NotSent}
    carrier.become(Mode.PASS)
    await until(lambda: through.up)
    for number, answer in enumerate(answers):
        if type(answer) is NotSent:
            assert not await direct.exists(f"k{number}")


async def test_writing_goes_on_when_the_network_takes_more_again(redis_url: str, carrier: Proxy) -> None:
    async with opened(by_tcp(redis_url, carrier.port)) as mux:
        carrier.become(Mode.STALL)
        calls = [mux.command("ECHO", str(number) * 100_000) for number in range(100)]
        connection = mux._connection
        assert connection is not None
        await until(lambda: connection._paused)
        carrier.become(Mode.PASS)
        assert await asyncio.gather(*calls) == [str(number).encode() * 100_000 for number in range(100)]


@pytest.mark.parametrize("mode", [Mode.STALL, Mode.BLACK_HOLE])
async def test_all_calls_to_a_silent_server_fail_in_time_and_it_is_found_again(
    mode: Mode, redis_url: str, carrier: Proxy
) -> None:
    async def caller(mux: Mux, number: int) -> float:
        await asyncio.sleep(number / 1000)
        asked = time.monotonic()
        with pytest.raises(Unknown, match="no reply"):
            await mux.command("PING")
        return time.monotonic() - asked

    async with opened(by_tcp(redis_url, carrier.port), patience=PATIENCE) as mux:
        carrier.become(mode)
        waits = await asyncio.gather(*(caller(mux, number) for number in range(200)))
        assert not mux.up
        assert waits[0] > PATIENCE
        assert max(waits) < PROMISED
        carrier.become(Mode.PASS)
        await until(lambda: mux.up)
        assert await mux.command("PING") == b"PONG"


async def test_a_worker_is_back_within_a_second_also_if_a_greeting_was_swallowed(through: Mux, carrier: Proxy) -> None:
    carrier.cut_all()
    carrier.become(Mode.BLACK_HOLE)
    await until(lambda: not through.up)
    before = carrier.requests
    await until(lambda: carrier.requests > before)
    carrier.become(Mode.PASS)
    healed = time.monotonic()
    await until(lambda: through.up)
    assert time.monotonic() - healed < 1


async def test_the_age_of_the_oldest_call_is_told(through: Mux, carrier: Proxy) -> None:
    carrier.become(Mode.STALL)
    asked = time.monotonic()
    call = through.command("PING")
    await until(lambda: through.oldest_seconds > 0.1)
    assert through.oldest_seconds <= time.monotonic() - asked
    carrier.become(Mode.PASS)
    await call
    assert through.oldest_seconds == 0


async def test_a_process_that_stood_still_does_not_blame_the_server(redis_url: str) -> None:
    """The worst moment: right before the watchdog looks, with the reply unread in the socket."""
    async with opened(redis_url, patience=0.5) as mux:
        connection, calls = mux._connection, []
        assert connection is not None

        def stand_still() -> None:
            calls.append(mux.command("ECHO", "here"))
            connection._flush()
            time.sleep(0.7)

        asyncio.get_running_loop().call_at(connection._watchdog.when() - 1e-9, stand_still)
        await until(lambda: calls)
        assert await calls[0] == b"here"


async def test_an_emptied_script_cache_is_invisible_also_in_the_midst_of_calls(mux: Mux) -> None:
    """All of it is in flight at once: what comes behind the flush comes back and is sent again, and nothing runs twice."""
    calls: list[asyncio.Future[Any]] = []
    for number in range(300):
        calls += [mux.script("add", [b"n"], [1]), mux.command("ECHO", str(number))]
        if number in (100, 200):
            flush = mux.command("SCRIPT", "FLUSH")
    answers = await asyncio.gather(*calls)
    assert await flush == b"OK"
    assert sorted(answers[::2]) == list(range(1, 301))
    assert answers[1::2] == [str(number).encode() for number in range(300)]
    assert await mux.command("GET", "n") == b"300"


async def test_callers_do_not_notice_that_the_script_cache_is_emptied_all_the_time(mux: Mux, direct: Redis) -> None:
    async def caller() -> None:
        for _ in range(50):
            await mux.script("add", [b"n"], [1])

    served = asyncio.Event()

    async def emptier() -> None:
        while not served.is_set():  # not ended by a cancel: redis-py can swallow one
            await direct.script_flush()
            await asyncio.sleep(0.005)

    emptying = asyncio.create_task(emptier())
    await asyncio.gather(*(caller() for _ in range(50)))
    served.set()
    await emptying
    assert await direct.get("n") == b"2500"


async def test_a_script_that_the_server_does_not_know_after_loading_either_is_refused(mux: Mux) -> None:
    mux._shas["echo"] = b"0" * 40
    with pytest.raises(Refused) as refused:
        await mux.script("echo", [], ["x"])
    assert refused.value.code == "NOSCRIPT"
    assert await mux.command("ECHO", "y") == b"y"


async def test_a_script_that_is_sent_again_waits_no_longer_than_others() -> None:
    late = (PATIENCE / 2, b"-NOSCRIPT No matching script.\r\n")
    async with pretended(late) as url, opened(url, patience=PATIENCE) as mux:
        asked = time.monotonic()
        repeated = mux.script("echo", [], ["x"])
        await asyncio.sleep(PATIENCE * 0.4)
        later = mux.command("PING")
        answers = only(await outcomes([repeated, later]), Unknown)
        assert PATIENCE < time.monotonic() - asked < PROMISED
        assert str(answers[0]) == "no reply for 2 s"


async def test_a_restarted_server_has_another_run_id_and_knows_the_scripts(own: Valkey) -> None:
    counts = {"up": 0, "down": 0}

    def count(what: str) -> Callable[[], None]:
        return lambda: counts.update({what: counts[what] + 1})

    async with opened(own.url, on_up=count("up"), on_down=count("down")) as mux:
        first = mux.run
        await own.stop()
        await until(lambda: not mux.up)
        assert mux.run == b""
        await own.start()
        await until(lambda: mux.up)
        assert len(first) == len(mux.run) == 16
        assert mux.run != first
        assert await mux.script("echo", [], ["again"]) == b"again"
        assert counts == {"up": 2, "down": 1}
    assert counts == {"up": 2, "down": 2}


async def test_a_cut_connection_to_the_same_server_has_the_same_run_id(through: Mux, carrier: Proxy) -> None:
    first = through.run
    carrier.cut_all()
    await until(lambda: not through.up)
    await until(lambda: through.up)
    assert through.run == first


async def test_a_wrong_password_is_reported_once_and_the_right_one_is_taken_later(redis_url: str, direct: Redis) -> None:
    url = redis_url.replace(f":{urlsplit(redis_url).password}@", "seats:made-up@")
    await direct.acl_setuser("seats", enabled=True, passwords="+other", keys="*", commands=["+@all"])
    try:
        with capture_logs() as logged:
            async with opened(url) as mux:
                assert not mux.up
                await until(lambda: mux._pause == 0.5)
                assert [(line["event"], line["reason"]) for line in logged] == [("redis.not_connected", "WRONGPASS")]
                await direct.acl_setuser("seats", enabled=True, passwords="+made-up")
                await until(lambda: mux.up)
                assert await mux.command("ACL", "WHOAMI") == b"seats"
        assert "made-up" not in str(logged)
    finally:
        await direct.acl_deluser("seats")


QUOTING = b"-ERR unknown command `HELLO`, with args beginning with: `3` `AUTH` `default` `made-up`\r\n"


@pytest.mark.parametrize(
    ("says", "reason"), [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "unreadable"), (QUOTING, "ERR"), (b"", "closed")]
)
async def test_something_else_than_a_valkey_is_reported_without_secrets(says: bytes, reason: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10_000)
        writer.write(says)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"redis://:made-up@127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with capture_logs() as logged:
        async with opened(url) as mux:
            await until(lambda: mux._pause == 0.5)
            assert not mux.up
    server.close()
    assert [line["event"] for line in logged] == ["redis.not_connected"]
    assert reason in logged[0]["reason"]
    assert "made-up" not in str(logged)


async def test_a_server_out_of_reach_is_not_raised_and_is_found_when_it_is_there(own: Valkey) -> None:
    await own.stop()
    with capture_logs() as logged:
        async with opened(own.url) as mux:
            assert not mux.up
            await until(lambda: mux._pause == 0.5)
            await own.start()
            await until(lambda: mux.up)
    assert [line["event"] for line in logged] == ["redis.not_connected"]


async def test_a_silent_server_does_not_hold_up_the_start(redis_url: str, carrier: Proxy) -> None:
    carrier.become(Mode.BLACK_HOLE)
    begun = time.monotonic()
    async with opened(by_tcp(redis_url, carrier.port), patience=1.0) as mux:
        assert not mux.up
        assert time.monotonic() - begun < 2.5
        carrier.become(Mode.PASS)
        await until(lambda: mux.up)


async def test_errors_reach_only_their_caller_and_the_connection_stays(mux: Mux, direct: Redis) -> None:
    await direct.set("text", "x")
    before = await connections(direct)
    await direct.config_set("maxmemory", 1)
    try:
        answers = await outcomes([
            mux.command("GET", "text"), mux.command("SET", "text", "y"), mux.command("LPUSH", "text", "y"),
            mux.script("add", [b"n"], [1]), mux.command("LLEN", "text"), mux.command("NONSENSE"), mux.command("GET", "text"),
        ])  # fmt: skip
    finally:
        await direct.config_set("maxmemory", 0)
    codes = [answer.code if isinstance(answer, Refused) else answer for answer in answers]
    assert codes == [b"x", "OOM", "OOM", "OOM", "WRONGTYPE", "ERR", b"x"]
    assert await mux.script("add", [b"n"], [1]) == 1
    assert await connections(direct) == before


@pytest.mark.parametrize("code", ["READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "NOAUTH"])
async def test_a_server_that_is_the_wrong_one_is_looked_for_anew(code: str) -> None:
    """What it said of the others is certain; what it said nothing of is not."""
    reply = f"+yes\r\n-{code} go away\r\n+yes\r\n".encode()
    async with pretended((0, reply)) as url, opened(url) as mux:
        answers = await outcomes([mux.command("PING") for _ in range(4)])
        assert [type(answer) for answer in answers] == [bytes, Refused, bytes, Unknown]
        assert answers[1].code == code
        assert not mux.up
        await until(lambda: mux.up)


async def test_a_reply_too_many_ends_the_connection_before_it_can_answer_anybody() -> None:
    async with pretended((0, b"+first\r\n+stray\r\n")) as url, opened(url) as mux:
        assert await mux.command("PING") == b"first"
        assert not mux.up


async def test_a_connection_that_ends_with_its_greeting_is_not_used() -> None:
    async with pretended(also=b"+stray\r\n") as url, opened(url) as mux:
        assert not mux.up


async def test_a_replica_refuses_is_dropped_and_not_used_until_it_is_a_primary(own: Valkey) -> None:
    async with opened(own.url) as mux, redis.asyncio.from_url(own.url) as client:
        await client.replicaof("127.0.0.1", 1)
        answers = await outcomes([mux.command("GET", "n"), mux.command("INCR", "n"), mux.command("GET", "n")])
        assert [answer.code if isinstance(answer, Refused) else answer for answer in answers] == [None, "READONLY", None]
        assert not mux.up
        await until(lambda: mux._pause == 0.5)
        assert not mux.up
        await client.replicaof("NO", "ONE")
        await until(lambda: mux.up)
        assert await mux.command("INCR", "n") == 1


async def test_a_server_that_evicts_is_reported_once(own: Valkey) -> None:
    async with redis.asyncio.from_url(own.url) as client:
        await client.config_set("maxmemory-policy", "allkeys-lru")
        with capture_logs() as logged:
            async with opened(own.url) as mux:
                assert await client.client_kill_filter(_type="normal", skipme=True)
                await until(lambda: not mux.up)
                await until(lambda: mux.up)
    evicts = [line for line in logged if line["event"] == "redis.evicts"]
    assert len(evicts) == 1
    assert evicts[0]["do"].startswith("set maxmemory-policy noeviction")


async def test_push_frames_answer_nobody(mux: Mux, direct: Redis) -> None:
    """The server tells of every write, between the replies."""
    assert await mux.command("CLIENT", "TRACKING", "ON", "BCAST") == b"OK"

    async def writer() -> None:
        for number in range(500):
            await direct.set(f"w{number}", number)

    async def caller(number: int) -> None:
        for _ in range(200):
            assert await mux.command("ECHO", str(number)) == str(number).encode()

    await asyncio.gather(writer(), *(caller(number) for number in range(8)))
    assert await mux.command("ECHO", "after") == b"after"


async def test_a_push_frame_between_two_replies_answers_nobody() -> None:
    push = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"
    async with pretended((0, push + b"+one\r\n" + push + b"+two\r\n")) as url, opened(url) as mux:
        assert await outcomes([mux.command("PING"), mux.command("PING")]) == [b"one", b"two"]
        assert mux.up


async def test_the_queue_is_bounded(redis_url: str) -> None:
    async with opened(redis_url, queue=10) as mux:
        calls = [mux.command("INCR", "n") for _ in range(15)]
        assert [call.done() for call in calls] == [False] * 10 + [True] * 5
        answers = await outcomes(calls)
        assert answers[:10] == list(range(1, 11))
        only(answers[10:], Full)
        assert await mux.command("INCR", "n") == 11


async def test_tcp_is_kept_alive_and_does_not_wait_for_full_packets(through: Mux) -> None:
    assert through._connection is not None
    sock = through._connection._transport.get_extra_info("socket")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 5
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_the_database_and_the_name_of_the_address_are_used(redis_url: str, direct: Redis) -> None:
    async with opened(redis_url.replace("db=0", "db=3"), name="w1-seats") as mux:
        found = [each for each in await direct.client_list() if each["name"] == "keyturn-w1-seats"]
        assert [(each["db"], each["resp"]) for each in found] == [("3", "3")]
        await mux.command("PING")


def certificate(folder: Path) -> Path:
    """A certificate for localhost that it has signed itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "tls.pem"
    path.write_bytes(key.private_bytes(*form) + made.public_bytes(serialization.Encoding.PEM))
    return path


async def test_tls_trusts_whom_the_address_says_and_nobody_else(redis_url: str, tmp_path: Path) -> None:
    path = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    carrier = Proxy(urlsplit(redis_url).path)
    server = await asyncio.start_server(carrier.serve, "127.0.0.1", 0, ssl=context)
    url = by_tcp(redis_url, server.sockets[0].getsockname()[1], "rediss")
    async with opened(f"{url}?ssl_ca_certs={path}") as mux:
        assert mux.up
        assert await mux.script("echo", [], ["secret"]) == b"secret"
    with capture_logs() as logged:
        async with opened(url) as mux:
            assert not mux.up
    assert "CERTIFICATE_VERIFY_FAILED" in logged[0]["reason"]
    server.close()


async def test_the_failures_of_callers_that_are_gone_bother_nobody(through: Mux, carrier: Proxy) -> None:
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    try:
        through.command("NONSENSE")
        await through.command("PING")
        through.command("INCR", "n")
        carrier.become(Mode.REFUSE)
        await until(lambda: not through.up)
        through.command("INCR", "n")
        gc.collect()
        assert complaints == []
    finally:
        loop.set_exception_handler(None)


async def test_a_closed_mux_sends_nothing(redis_url: str) -> None:
    async with opened(redis_url) as mux:
        call = mux.command("PING")
    only(await outcomes([call]), NotSent)
    only(await outcomes([mux.command("PING")]), NotSent)
    await mux.close()
