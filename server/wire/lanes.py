"""Eight signatures at a time: the multi-buffer library of the package `ipp-crypto`, loaded, tried, called and checked.

It is optional. Where anything is missing, `Unusable` says what, and OpenSSL signs. When eight lanes pay, `sign` decides.
"""

import ctypes
import hashlib
import os
import platform
import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

LANES = 8

_BITS = 2048  # the library has functions of their own for each size of key; these are used here
_BLOCK_BYTES = _BITS // 8
_PACKAGE, _LIBRARY = "ipp-crypto", "libcrypto_mb.so.13"
# Libraries of a compiler that it says it needs: it uses no symbol of theirs (`nm -D --undefined-only`), and they come with
# a licence of their own. In the copy that is loaded, their names are that of a library that is needed anyway.
_NAMED_IN_VAIN, _NEEDED = (b"libsvml.so", b"libirng.so", b"libimf.so", b"libintlc.so.5"), b"libc.so.6"

_Buffer = ctypes.Array[ctypes.c_char]
_POINTER, _INT, _STATUS = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32
_Pointers = _POINTER * LANES
_FUNCTIONS = {  # name -> result and arguments (crypto_mb/rsa.h, crypto_mb/cpu_features.h)
    "mbx_is_crypto_mb_applicable": (_INT, [ctypes.c_uint64]),
    "mbx_RSA2K_private_crt_Method": (_POINTER, []),
    "mbx_RSA2K_pub65537_Method": (_POINTER, []),
    "mbx_RSA_Method_BufSize": (_INT, [_POINTER]),
    "mbx_rsa_private_crt_mb8": (_STATUS, [*[_POINTER] * 7, _INT, _POINTER, _POINTER]),
    "mbx_rsa_public_mb8": (_STATUS, [*[_POINTER] * 3, _INT, _POINTER, _POINTER]),
}


class Unusable(Exception):
    """Eight lanes cannot be used here; the text tells an operator why."""


class Fault(Exception):
    """A lane reported an error, or its signature does not verify: nothing of this call may leave."""


class Hash(NamedTuple):
    """A hash for both signers: as OpenSSL names it, what makes a digest, and what precedes it in a padded block."""

    openssl: hashes.HashAlgorithm
    digest: Callable[[bytes], bytes]
    head: bytes

    def block(self, payload: bytes) -> bytes:
        """Return the 256 bytes that are raised to the private exponent (RFC 8017, 9.2)."""
        return self.head + self.digest(payload)


def _head(digest_info: str) -> bytes:
    """Return what precedes a digest. The last byte of its DigestInfo says how long the digest is."""
    info = bytes.fromhex(digest_info)
    return b"\0\1".ljust(_BLOCK_BYTES - 1 - len(info) - info[-1], b"\xff") + b"\0" + info


def _sha256(payload: bytes) -> bytes:
    return hashlib.sha256(payload).digest()


def _sha512(payload: bytes) -> bytes:
    return hashlib.sha512(payload).digest()


SHA256 = Hash(hashes.SHA256(), _sha256, _head("3031300d060960864801650304020105000420"))
SHA512 = Hash(hashes.SHA512(), _sha512, _head("3051300d060960864801650304020305000440"))


class Lanes:
    """Eight lanes of one key, with one set of buffers: one call at a time. A call leaves the GIL to other threads.

    It costs the same however many signatures are wanted, so idle lanes make the signatures of an earlier call again: then
    all eight must be right, and nothing is special about a part of them. Raises `Unusable` for a key of uneven primes.
    """

    def __init__(self, library: ctypes.CDLL, key: RSAPrivateKey) -> None:
        private = key.private_numbers()
        primes = (private.p, private.q, private.dmp1, private.dmq1, private.iqmp)
        if max(primes).bit_length() > _BITS // 2:
            raise Unusable("the primes of the signing key differ in size")
        self._blocks, self._seals, self._opened = (ctypes.create_string_buffer(LANES * _BLOCK_BYTES) for _ in range(3))
        self._numbers = [_words(number, _BLOCK_BYTES // 2) for number in primes]
        self._modulus = _words(private.public_numbers.n, _BLOCK_BYTES)
        blocks, seals, opened = (_pointers(each, _BLOCK_BYTES) for each in (self._blocks, self._seals, self._opened))
        numbers = [_pointers(each, 0) for each in self._numbers]
        self._seal, self._open = library.mbx_rsa_private_crt_mb8, library.mbx_rsa_public_mb8
        self._to_seal = (blocks, seals, *numbers, _BITS, *_method(library, "mbx_RSA2K_private_crt_Method"))
        self._to_open = (seals, opened, _pointers(self._modulus, 0), _BITS, *_method(library, "mbx_RSA2K_pub65537_Method"))
        self._room = memoryview(self._blocks).cast("B")
        self._room[:] = SHA256.block(b"") * LANES

    def sign(self, blocks: Sequence[bytes]) -> list[bytes]:
        """Return the signatures (256 bytes) of one to eight padded blocks, each verified. Raises `Fault`."""
        joined = b"".join(blocks)
        self._room[: len(joined)] = joined  # raises ValueError where there is no room
        if status := self._seal(*self._to_seal) or self._open(*self._to_open):  # four bits a lane; 0 is good
            raise Fault(f"status {status:08x}")
        if self._opened.raw != self._blocks.raw:
            raise Fault("a signature does not verify")
        seals = self._seals.raw
        return [seals[start : start + _BLOCK_BYTES] for start in range(0, len(joined), _BLOCK_BYTES)]


def _words(number: int, size: int) -> _Buffer:
    """Return a number as the library reads it: 64-bit words, the lowest first."""
    return ctypes.create_string_buffer(number.to_bytes(size, "little"), size)


def _pointers(buffer: _Buffer, step: int) -> "ctypes.Array[ctypes.c_void_p]":
    """Return a pointer for each lane, `step` bytes apart. They do not keep the buffer: somebody has to."""
    start = ctypes.addressof(buffer)
    return _Pointers(*(start + lane * step for lane in range(LANES)))


def _method(library: ctypes.CDLL, name: str) -> tuple[int, _Buffer]:
    """Return a method of the library and the memory that it works in."""
    method = getattr(library, name)()
    return method, ctypes.create_string_buffer(library.mbx_RSA_Method_BufSize(method))


def opened(key: RSAPrivateKey) -> Lanes:
    """Return lanes that have just signed as OpenSSL does. Raises `Unusable`."""
    lanes = Lanes(_library(), key)
    tries = [(hash, b"%d" % lane) for lane, hash in enumerate((SHA256, SHA512) * (LANES // 2))]
    try:
        seals = lanes.sign([hash.block(payload) for hash, payload in tries])
    except Fault as fault:
        raise Unusable(f"the self-test failed: {fault}") from fault
    if seals != [key.sign(payload, PKCS1v15(), hash.openssl) for hash, payload in tries]:
        raise Unusable("the self-test failed: OpenSSL signs otherwise")
    return lanes


@cache
def _library() -> ctypes.CDLL:
    """Return the library, loaded once in a process. Raises `Unusable`."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise Unusable("there is a library for Linux on x86-64 only")
    return load(find())


def find() -> Path:
    """Return where the package has put the library. Raises `Unusable`."""
    try:
        files = metadata.files(_PACKAGE) or ()
    except metadata.PackageNotFoundError as error:
        raise Unusable(f"the package {_PACKAGE} is not installed") from error
    path = next((Path(str(file.locate())) for file in files if file.name == _LIBRARY), None)
    if path is None:
        raise Unusable(f"the package {_PACKAGE} has no {_LIBRARY}")
    return path


def load(path: Path) -> ctypes.CDLL:
    """Return the library in this file, its functions declared. Raises `Unusable` if it does not load, or not run here."""
    try:
        library = _loaded(path.read_bytes())
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:  # of a missing libcrypto.so.3, too: it says what is missing
        raise Unusable(f"{_LIBRARY} cannot be loaded: {error}") from error
    if not library.mbx_is_crypto_mb_applicable(0):
        raise Unusable("the CPU has no AVX-512 IFMA")
    return library


def _loaded(image: bytes) -> ctypes.CDLL:
    """Load a library from memory. The changed copy lies in no folder, where it could be exchanged."""
    for name in _NAMED_IN_VAIN:
        image = image.replace(b"\0" + name + b"\0", b"\0" + _NEEDED.ljust(len(name), b"\0") + b"\0")
    number = os.memfd_create(_LIBRARY)  # it stays open: the loader would take another file of this name for this one
    try:
        with os.fdopen(number, "wb", closefd=False) as file:
            file.write(image)
        return ctypes.CDLL(f"/proc/self/fd/{number}")
    except OSError:
        os.close(number)
        raise
