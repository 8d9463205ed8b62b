"""Eight lanes: the same bytes as OpenSSL's, nothing but verified ones; and where they cannot be, the reason is told."""

import ctypes
import itertools
import platform
import random
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hiredis.hiredis
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from server.wire import lanes
from server.wire.lanes import LANES, SHA256, SHA512, Fault, Hash, Lanes, Unusable

from .given import vector_key
from .lane_library import Arithmetic, Faulty, flipped, library, reported

KEY = vector_key()
NOT_HERE = {  # what a machine may lack, and how an operator is told
    "Linux on x86-64": lambda: platform.machine() != "x86_64",
    "is not installed": lambda: not installed(),
    "libcrypto.so.3": lambda: not has_libcrypto(),
    "AVX-512 IFMA": lambda: "avx512ifma" not in Path("/proc/cpuinfo").read_text(),
}


def installed() -> bool:
    return any(each.name == "ipp-crypto" for each in metadata.distributions())


def has_libcrypto() -> bool:
    try:
        ctypes.CDLL("libcrypto.so.3")
    except OSError:
        return False
    return True


def by_openssl(payload: bytes, hash: Hash, key: rsa.RSAPrivateKey = KEY) -> bytes:
    return key.sign(payload, PKCS1v15(), hash.openssl)


def test_this_machine_has_eight_lanes_or_the_reason_why_not_is_told() -> None:
    lacks = [text for text, lacking in NOT_HERE.items() if lacking()]
    if lacks:
        with pytest.raises(Unusable, match=lacks[0]):
            lanes.opened(KEY)
    else:
        assert lanes.opened(KEY).sign([SHA256.block(b"x")]) == [by_openssl(b"x", SHA256)]


@pytest.mark.parametrize("made", [library, Arithmetic], ids=["this machine's", "Python's"])
def test_any_number_of_payloads_is_signed_as_openssl_does(made: Callable[[], Any]) -> None:
    eight, drawn = Lanes(made(), KEY), random.Random(8)
    sizes = itertools.cycle((0, 1, 31, 200, 700, 4_000))
    for count in (8, 1, 2, 3, 4, 5, 6, 7, 8):
        asked = [(drawn.randbytes(next(sizes)), drawn.choice((SHA256, SHA512))) for _ in range(count)]
        seals = eight.sign([hash.block(payload) for payload, hash in asked])
        assert seals == [by_openssl(payload, hash) for payload, hash in asked]


def test_more_than_eight_are_refused_before_memory_is_written() -> None:
    with pytest.raises(ValueError, match="different structures"):
        Lanes(library(), KEY).sign([SHA256.block(b"x")] * (LANES + 1))


def test_lanes_of_two_keys_do_not_mix() -> None:
    """Also where the second prime is the greater one, as other programs may have written it."""
    n = KEY.private_numbers()
    low, high = min(n.p, n.q), max(n.p, n.q)
    turned = rsa.RSAPrivateNumbers(
        low, high, n.d, n.d % (low - 1), n.d % (high - 1), rsa.rsa_crt_iqmp(low, high), n.public_numbers
    ).private_key()
    other = rsa.generate_private_key(65_537, 2048)
    made, block = library(), SHA256.block(b"x")
    each = [Lanes(made, key) for key in (KEY, other, turned)]
    assert [eight.sign([block]) for eight in each] == [[by_openssl(b"x", SHA256, key)] for key in (KEY, other, KEY)]


@pytest.mark.parametrize("count", [3, LANES])
@pytest.mark.parametrize("lane", [0, LANES - 1])
@pytest.mark.parametrize("fault", [flipped, reported])
def test_a_fault_of_any_lane_lets_nothing_out(count: int, lane: int, fault: Callable[[int], Any]) -> None:
    faulty = Faulty()
    eight = Lanes(faulty, KEY)  # type: ignore[arg-type]
    blocks = [SHA256.block(b"%d" % number) for number in range(count)]
    faulty.fault = fault(lane)
    with pytest.raises(Fault):
        eight.sign(blocks)


def test_a_check_that_could_not_be_made_lets_nothing_out() -> None:
    faulty = Faulty()
    faulty.status_of_check = 0x2000_0000
    with pytest.raises(Fault, match="20000000"):
        Lanes(faulty, KEY).sign([SHA256.block(b"x")])  # type: ignore[arg-type]


class Consistent(Arithmetic):
    """Wrong in a manner that its own check does not find."""

    def mbx_rsa_private_crt_mb8(self, blocks: Any, seals: Any, *_rest: Any) -> int:
        for lane in range(LANES):
            ctypes.memmove(seals[lane], blocks[lane], 256)
        return 0

    mbx_rsa_public_mb8 = mbx_rsa_private_crt_mb8


def faulty_at_once() -> Faulty:
    faulty = Faulty()
    faulty.fault = flipped(3)
    return faulty


@pytest.mark.parametrize(
    ("made", "why"),
    [(faulty_at_once, "the self-test failed: a signature does not verify"), (Consistent, "OpenSSL signs otherwise")],
)
def test_lanes_that_sign_otherwise_than_openssl_are_not_opened(
    monkeypatch: pytest.MonkeyPatch, made: Callable[[], Any], why: str
) -> None:
    wrong = made()
    monkeypatch.setattr(lanes, "_library", lambda: wrong)
    with pytest.raises(Unusable, match=why):
        lanes.opened(KEY)


def test_a_key_of_uneven_primes_is_left_to_openssl() -> None:
    numbers = SimpleNamespace(p=1 << 1024, q=1, dmp1=1, dmq1=1, iqmp=1)
    with pytest.raises(Unusable, match="primes"):
        Lanes(library(), SimpleNamespace(private_numbers=lambda: numbers))  # type: ignore[arg-type]


@pytest.mark.parametrize(("machine", "system"), [("aarch64", "linux"), ("x86_64", "darwin")])
def test_elsewhere_nothing_is_looked_for(monkeypatch: pytest.MonkeyPatch, machine: str, system: str) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr("sys.platform", system)
    with pytest.raises(Unusable, match="Linux on x86-64 only"):
        lanes._library.__wrapped__()


def test_a_package_that_is_missing_or_another_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "_PACKAGE", "no-such-package")
    with pytest.raises(Unusable, match="the package no-such-package is not installed"):
        lanes.find()
    monkeypatch.setattr(lanes, "_PACKAGE", "hiredis")
    with pytest.raises(Unusable, match=r"the package hiredis has no libcrypto_mb\.so"):
        lanes.find()


def test_a_file_that_is_no_such_library_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "libcrypto_mb.so"
    for path, why in ((broken, "No such file"), (broken, "invalid ELF|too short"), (Path(hiredis.hiredis.__file__), "mbx_")):
        with pytest.raises(Unusable, match=f"cannot be loaded: .*({why})"):
            lanes.load(path)
        broken.write_bytes(b"\x7fELF")


def test_a_system_library_that_is_missing_is_named(tmp_path: Path) -> None:
    if not installed():
        with pytest.raises(Unusable, match="is not installed"):
            lanes.find()
        return
    changed = tmp_path / "libcrypto_mb.so"
    changed.write_bytes(lanes.find().read_bytes().replace(b"\0libcrypto.so.3\0", b"\0libcrypto.so.9\0"))
    with pytest.raises(Unusable, match=r"libcrypto\.so\.9"):
        lanes.load(changed)


def test_a_cpu_without_the_instructions_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    functions = {name: (lambda *_: 0) for name in lanes._FUNCTIONS}
    monkeypatch.setattr(lanes, "_loaded", lambda _image: SimpleNamespace(**functions))
    (tmp_path / "library").touch()
    with pytest.raises(Unusable, match="AVX-512 IFMA"):
        lanes.load(tmp_path / "library")
