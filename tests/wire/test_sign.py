"""The signer: every caller gets its own signature, alone or among many, and the loop stays free meanwhile."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

from server.wire.sign import Signer, _Job, public_der, public_pem

from .given import vector_key

KEY = vector_key()
ALIVE = 30  # seconds, after which something hangs


@pytest_asyncio.fixture
async def signer() -> AsyncIterator[Signer]:
    made = Signer(KEY)
    yield made
    made.close()


def signature(payload: bytes, digest: hashes.HashAlgorithm | None = None) -> bytes:
    return KEY.sign(payload, PKCS1v15(), digest or hashes.SHA256())


async def test_one_alone_is_signed_in_the_thread_of_the_loop(signer: Signer, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = threads_of(signer, monkeypatch)
    assert await signer.seal(b"license") == signature(b"license")
    assert threads == [threading.get_ident()]


async def test_fifty_at_once_get_each_its_own_in_chunks_of_eight(signer: Signer, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = threads_of(signer, monkeypatch)
    payloads = [b"license %d" % number for number in range(50)]
    seals = await asyncio.gather(*(signer.seal(payload) for payload in payloads))
    assert seals == [signature(payload) for payload in payloads]
    assert len(threads) == 7
    assert threading.get_ident() not in threads


async def test_both_hashes_may_be_asked_for_at_once(signer: Signer) -> None:
    seals = await asyncio.gather(signer.seal(b"x"), signer.seal512(b"x"))
    assert tuple(seals) == (signature(b"x"), signature(b"x", hashes.SHA512()))


async def test_the_loop_is_free_while_threads_sign(signer: Signer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads are held until the loop has done something else; were it not free, nobody would let them go."""
    go = held(signer, monkeypatch)
    waiting = asyncio.gather(*(signer.seal(b"%d" % number) for number in range(20)))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    go.set()
    assert await waiting == [signature(b"%d" % number) for number in range(20)]


@pytest.mark.parametrize("turns", [1, 5], ids=["before it is signed", "while it is signed"])
async def test_a_caller_who_leaves_takes_nothing_from_the_others(
    signer: Signer, monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    go = held(signer, monkeypatch)
    tasks = [asyncio.create_task(signer.seal(b"%d" % number)) for number in range(10)]
    for _ in range(turns):
        await asyncio.sleep(0)
    tasks[3].cancel()
    await asyncio.sleep(0)
    go.set()
    async with asyncio.timeout(ALIVE):
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(outcomes.pop(3), asyncio.CancelledError)
    assert outcomes == [signature(b"%d" % number) for number in range(10) if number != 3]


@pytest.mark.parametrize("count", [1, 5])
async def test_an_error_reaches_everyone_who_waits_and_nobody_after(
    signer: Signer, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(signer, "_sign", lambda _jobs: 1 // 0)
        outcomes = await asyncio.gather(*(signer.seal(b"x") for _ in range(count)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError] * count
    assert await signer.seal(b"x") == signature(b"x")


@pytest.mark.parametrize("count", [1, 5])
async def test_a_closed_signer_signs_no_more(count: int) -> None:
    signer = Signer(KEY)
    waiting = [asyncio.ensure_future(signer.seal(b"x")) for _ in range(count)]
    await asyncio.sleep(0)
    signer.close()
    signer.close()
    async with asyncio.timeout(ALIVE):
        early = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in early] == [RuntimeError] * count
    with pytest.raises(RuntimeError, match="closed"):
        await signer.seal(b"x")


def test_a_signer_needs_no_loop_to_be_made() -> None:
    Signer(KEY).close()


def test_a_keyed_hash_is_short_stable_and_of_its_product() -> None:
    signer = Signer(KEY)
    first = signer.keyed_hash(3001, "m-alpha")
    assert first.hex() == "ed11fed7ef13b0b3337285373ddd7968"
    assert first != signer.keyed_hash(3002, "m-alpha")
    assert first != signer.keyed_hash(3001, "m-beta")
    signer.close()


def test_a_keyed_hash_needs_the_key() -> None:
    other = Signer(rsa.generate_private_key(65_537, 2048))
    assert other.keyed_hash(3001, "m-alpha").hex() != "ed11fed7ef13b0b3337285373ddd7968"
    other.close()


@pytest.mark.parametrize(("exponent", "bits"), [(65_537, 3072), (3, 2048)])
def test_keys_that_clients_cannot_use_are_refused(exponent: int, bits: int) -> None:
    with pytest.raises(ValueError, match="2048 bits"):
        Signer(rsa.generate_private_key(exponent, bits))


def test_public_keys_are_read_back() -> None:
    public = KEY.public_key()
    assert load_der_public_key(public_der(public)) == public
    assert load_pem_public_key(public_pem(public).encode()) == public


def held(signer: Signer, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Return what the signer's threads will wait for before they sign."""
    go = threading.Event()
    sign = signer._sign

    def sign_later(jobs: Sequence[_Job]) -> list[bytes]:
        assert go.wait(ALIVE)
        return sign(jobs)

    monkeypatch.setattr(signer, "_sign", sign_later)
    return go


def threads_of(signer: Signer, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the list to which each chunk will add the thread that it was signed in."""
    threads: list[int] = []
    sign = signer._sign

    def sign_and_tell(jobs: Sequence[_Job]) -> list[bytes]:
        threads.append(threading.get_ident())
        return sign(jobs)

    monkeypatch.setattr(signer, "_sign", sign_and_tell)
    return threads
