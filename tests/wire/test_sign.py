"""The signer: every caller gets its own signature, alone or among many, and the loop turns in between."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key
from structlog.testing import capture_logs

from server import metrics
from server.wire.lanes import Lanes
from server.wire.sign import Signer, _Job, public_der, public_pem

from .given import vector_key
from .lane_library import Faulty, flipped, library, reported

KEY = vector_key()
ALIVE = 30  # seconds, after which something hangs


@pytest_asyncio.fixture
async def signer() -> AsyncIterator[Signer]:
    made = Signer(KEY)
    yield made
    made.close()


@pytest_asyncio.fixture
async def by_lanes() -> AsyncIterator[Signer]:
    made = Signer(KEY, Lanes(library(), KEY))
    yield made
    made.close()


@pytest.fixture(params=["signer", "by_lanes"], ids=["OpenSSL", "eight lanes"])
def either(request: pytest.FixtureRequest) -> Signer:
    return request.getfixturevalue(request.param)


def signature(payload: bytes, digest: hashes.HashAlgorithm | None = None) -> bytes:
    return KEY.sign(payload, PKCS1v15(), digest or hashes.SHA256())


@pytest.mark.parametrize(("count", "eights"), [(1, 0), (2, 0), (16, 2), (17, 2), (50, 6)])
async def test_each_gets_its_own(either: Signer, monkeypatch: pytest.MonkeyPatch, count: int, eights: int) -> None:
    sizes = sizes_of(either, monkeypatch)
    payloads = [b"license %d" % number for number in range(count)]
    async with asyncio.timeout(ALIVE):
        seals = await asyncio.gather(*(either.seal(payload) for payload in payloads))
    assert seals == [signature(payload) for payload in payloads]
    assert sizes == [8] * eights + [rest for rest in [count - 8 * eights] if rest]


async def test_both_hashes_may_be_asked_for_at_once(either: Signer) -> None:
    seals = await asyncio.gather(*[either.seal(b"x"), either.seal512(b"x")] * 5)
    assert seals == [signature(b"x"), signature(b"x", hashes.SHA512())] * 5


@pytest.mark.parametrize(("count", "made_by_lanes"), [(1, 0), (2, 0), (3, 3), (8, 8), (10, 8), (11, 11), (50, 48)])
async def test_lanes_sign_eight_at_a_time_and_openssl_one_or_two(by_lanes: Signer, count: int, made_by_lanes: int) -> None:
    before = made()
    async with asyncio.timeout(ALIVE):
        seals = await asyncio.gather(*(by_lanes.seal(b"%d" % number) for number in range(count)))
    assert seals == [signature(b"%d" % number) for number in range(count)]
    assert made() == (before[0] + made_by_lanes, before[1] + count - made_by_lanes)


async def test_the_loop_turns_after_twenty_four_and_what_comes_meanwhile_joins_the_others(
    either: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    sign = either._sign
    monkeypatch.setattr(either, "_sign", lambda jobs: order.append(f"signs {len(jobs)}") or sign(jobs))

    async def call(again: int) -> None:
        await either.seal(b"x")
        order.append("answers")
        if again:
            await call(again - 1)

    await asyncio.gather(*(call(1) for _ in range(25)))
    full = [*["signs 8"] * 3, *["answers"] * 24]
    assert order == [*full, *full, "signs 2", *["answers"] * 2]


@pytest.mark.parametrize("fault", [flipped(0), flipped(7), reported(5)], ids=["first", "idle", "reported"])
async def test_a_faulty_signature_never_leaves_and_its_lanes_are_not_used_again(fault: Callable[[Any], int]) -> None:
    faulty = Faulty()
    signer = Signer(KEY, Lanes(faulty, KEY))  # type: ignore[arg-type]
    payloads = [b"%d" % number for number in range(5)]
    right = [signature(payload) for payload in payloads]
    assert await asyncio.gather(*map(signer.seal, payloads)) == right
    before, faults, with_lanes = made(), metrics.lane_faults._value.get(), metrics.signers_with_lanes._value.get()
    faulty.fault = fault
    with capture_logs() as logs:
        assert await asyncio.gather(*map(signer.seal, payloads)) == right
        assert await asyncio.gather(*map(signer.seal, payloads)) == right
    signer.close()
    assert [(each["event"], each["log_level"]) for each in logs] == [("signer.lanes_given_up", "error")]
    assert faulty.calls == 2
    assert made() == (before[0], before[1] + 10)
    assert (metrics.lane_faults._value.get(), metrics.signers_with_lanes._value.get()) == (faults + 1, with_lanes - 1)


async def test_nothing_is_signed_for_callers_who_have_left(either: Signer, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = sizes_of(either, monkeypatch)
    tasks = [asyncio.create_task(either.seal(b"%d" % number)) for number in range(10)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    async with asyncio.timeout(ALIVE):
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert outcomes[1::2] == [signature(b"%d" % number) for number in range(1, 10, 2)]
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[::2])
    assert sizes == [5]


@pytest.mark.parametrize("count", [1, 5])
async def test_an_error_reaches_everyone_who_waits_and_nobody_after(
    either: Signer, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(either, "_sign", lambda _jobs: 1 // 0)
        outcomes = await asyncio.gather(*(either.seal(b"x") for _ in range(count)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError] * count
    assert await either.seal(b"x") == signature(b"x")


@pytest.mark.parametrize("count", [1, 5, 50])
async def test_a_closed_signer_signs_no_more(either: Signer, count: int) -> None:
    signer = either
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


def made() -> tuple[float, float]:
    """How many signatures lanes and OpenSSL have made, as the metrics count them."""
    return metrics.signatures_by_lanes._value.get(), metrics.signatures_by_openssl._value.get()


def sizes_of(signer: Signer, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the list to which each turn of the signer will add how many signatures it makes."""
    sizes: list[int] = []
    sign = signer._sign

    def sign_and_tell(jobs: Sequence[_Job]) -> list[bytes]:
        sizes.append(len(jobs))
        return sign(jobs)

    monkeypatch.setattr(signer, "_sign", sign_and_tell)
    return sizes
