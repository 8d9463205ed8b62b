"""The library of the eight lanes for tests: the real one where it works, else its arithmetic in Python; and a faulty one."""

import ctypes
from collections.abc import Callable
from typing import Any

from server.wire import lanes
from server.wire.lanes import LANES, Unusable

BLOCK = 256


def library() -> Any:
    """The real library, or on a machine that cannot have it one that does the same."""
    try:
        return lanes._library()
    except Unusable:
        return Arithmetic()


def number(pointer: int, size: int, order: str) -> int:
    return int.from_bytes(ctypes.string_at(pointer, size), order)  # type: ignore[arg-type]


class Arithmetic:
    """What the functions do that are used, by the formulas of RFC 8017, 5.1.2."""

    def mbx_RSA2K_private_crt_Method(self) -> int:  # noqa: N802
        return 1

    mbx_RSA2K_pub65537_Method = mbx_RSA2K_private_crt_Method  # noqa: N815

    def mbx_RSA_Method_BufSize(self, method: int) -> int:  # noqa: N802
        return method

    def mbx_rsa_private_crt_mb8(self, blocks: Any, seals: Any, *rest: Any) -> int:
        numbers, (bits, _method, _room) = rest[:5], rest[5:]
        assert bits == 8 * BLOCK
        for lane in range(LANES):
            p, q, dp, dq, iq = (number(each[lane], BLOCK // 2, "little") for each in numbers)
            block = number(blocks[lane], BLOCK, "big")
            by_p, by_q = pow(block, dp, p), pow(block, dq, q)
            seal = by_q + q * ((by_p - by_q) * iq % p)
            ctypes.memmove(seals[lane], seal.to_bytes(BLOCK, "big"), BLOCK)
        return 0

    def mbx_rsa_public_mb8(self, seals: Any, opened: Any, moduli: Any, *_rest: Any) -> int:
        for lane in range(LANES):
            block = pow(number(seals[lane], BLOCK, "big"), 65_537, number(moduli[lane], BLOCK, "little"))
            ctypes.memmove(opened[lane], block.to_bytes(BLOCK, "big"), BLOCK)
        return 0


class Faulty:
    """A library that does all as it should, until it is told what is to go wrong. It counts the calls that sign."""

    def __init__(self) -> None:
        self._library = library()
        self.calls = 0
        self.fault: Callable[[Any], int] = lambda _seals: 0  # changes the signatures; returns the status
        self.status_of_check = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def mbx_rsa_private_crt_mb8(self, blocks: Any, seals: Any, *rest: Any) -> int:
        self.calls += 1
        return self._library.mbx_rsa_private_crt_mb8(blocks, seals, *rest) or self.fault(seals)

    def mbx_rsa_public_mb8(self, *arguments: Any) -> int:
        return self._library.mbx_rsa_public_mb8(*arguments) or self.status_of_check


def flipped(lane: int) -> Callable[[Any], int]:
    """A fault: one bit of this lane's signature."""

    def flip(seals: Any) -> int:
        byte = ctypes.c_ubyte.from_address(seals[lane] + BLOCK // 2)
        byte.value ^= 0x10
        return 0

    return flip


def reported(lane: int) -> Callable[[Any], int]:
    """A fault: this lane says that it could not."""
    return lambda _seals: 2 << (4 * lane)
