"""Signatures: what is signed is what is sent. The private key is used here only; where its file lies is not known."""

import asyncio
import hmac
from base64 import b64encode
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from server import metrics

KEY_BITS = 2048
EXPONENT = 65_537
CHUNK = 8
THREADS = 2

_SHA256 = hashes.SHA256()
_SHA512 = hashes.SHA512()
_PADDING = PKCS1v15()
_TRIAL_MEMORY = b"keyturn trial memory"
_HASH_BYTES = 16


def check_size(key: RSAPublicKey) -> None:
    """Raise ValueError for a key that clients cannot use: their verifiers know this size and exponent only."""
    if key.key_size != KEY_BITS or key.public_numbers().e != EXPONENT:
        raise ValueError(f"clients can only verify RSA keys of {KEY_BITS} bits with the exponent {EXPONENT}")


def public_xml(key: RSAPublicKey) -> str:
    """Return the key as SDKs take it: no white space, no leading zero in the modulus (protocol: StringSign)."""
    numbers = key.public_numbers()
    modulus, exponent = (_base64(number) for number in (numbers.n, numbers.e))
    return f"<RSAKeyValue><Modulus>{modulus}</Modulus><Exponent>{exponent}</Exponent></RSAKeyValue>"


def public_pem(key: RSAPublicKey) -> str:
    """Return the key as a PEM text (SubjectPublicKeyInfo)."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def public_der(key: RSAPublicKey) -> bytes:
    """Return the key as the database keeps it (SubjectPublicKeyInfo, DER)."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _base64(number: int) -> str:
    return b64encode(number.to_bytes((number.bit_length() + 7) // 8, "big")).decode()


class _Job(NamedTuple):
    """A payload that waits for its signature."""

    payload: bytes
    digest: hashes.HashAlgorithm
    answer: asyncio.Future[bytes]


class Signer:
    """Signs for one account. Whatever is asked for in one turn of the event loop is signed together.

    One alone is signed at once (200 to 600 µs). Several go to threads, in chunks, and leave the loop free: OpenSSL
    signs without the GIL (two threads: 133 µs per signature, one: 247; 2 cores of a Zen 4, cryptography 50).
    """

    def __init__(self, private_key: RSAPrivateKey) -> None:
        check_size(private_key.public_key())
        self.public_key = private_key.public_key()
        self._key = private_key
        self._hash_key = _derived(private_key)
        self._waiting: list[_Job] = []
        self._threads = ThreadPoolExecutor(THREADS, "signer")
        self._closed = False

    async def seal(self, payload: bytes) -> bytes:
        """Return the signature of a license: PKCS#1 v1.5, SHA-256. Raises RuntimeError once closed."""
        return await self._sealed(payload, _SHA256)

    async def seal512(self, payload: bytes) -> bytes:
        """Return the signature of a metadata block: PKCS#1 v1.5, SHA-512. Raises RuntimeError once closed."""
        return await self._sealed(payload, _SHA512)

    def keyed_hash(self, product_id: int, code: str) -> bytes:
        """Return the 16 bytes by which a machine code is remembered without being kept (protocol: privacy)."""
        message = product_id.to_bytes(8, "big") + code.encode()
        return hmac.digest(self._hash_key, message, "sha256")[:_HASH_BYTES]

    def close(self) -> None:
        """End the threads, after the chunks they have begun. What still waits is refused."""
        self._closed = True
        self._threads.shutdown()

    def _sealed(self, payload: bytes, digest: hashes.HashAlgorithm) -> asyncio.Future[bytes]:
        """Queue a payload; the first of a turn has the queue signed at the end of it."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._turn, loop)
        job = _Job(payload, digest, loop.create_future())
        self._waiting.append(job)
        return job.answer

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """Sign what has gathered; nothing for callers who have left."""
        waiting, self._waiting = self._waiting, []
        jobs = [job for job in waiting if not job.answer.done()]
        metrics.sign_batch.observe(len(jobs))
        if len(jobs) == 1 or self._closed:
            _hand_back(jobs, self._sign_here(jobs))
            return
        for start in range(0, len(jobs), CHUNK):
            self._sign_aside(loop, jobs[start : start + CHUNK])

    def _sign_aside(self, loop: asyncio.AbstractEventLoop, jobs: Sequence[_Job]) -> None:
        """Sign in a thread; its results come back to the loop in one go."""

        def finished(outcome: Future[list[bytes]]) -> None:
            loop.call_soon_threadsafe(_hand_back, jobs, outcome)

        self._threads.submit(self._sign, jobs).add_done_callback(finished)

    def _sign_here(self, jobs: Sequence[_Job]) -> Future[list[bytes]]:
        """Sign in this thread, with the same kind of outcome as in another one."""
        outcome: Future[list[bytes]] = Future()
        try:
            outcome.set_result(self._sign(jobs))
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait must learn of it
            outcome.set_exception(error)
        return outcome

    def _sign(self, jobs: Sequence[_Job]) -> list[bytes]:
        if self._closed:
            raise RuntimeError("the signer is closed")
        return [self._key.sign(job.payload, _PADDING, job.digest) for job in jobs]


def _hand_back(jobs: Sequence[_Job], outcome: Future[list[bytes]]) -> None:
    """Give each caller that still waits its signature, or the error of them all."""
    error = outcome.exception()
    signatures = [b""] * len(jobs) if error else outcome.result()
    for job, signature in zip(jobs, signatures, strict=True):
        if job.answer.done():
            continue
        if error:
            job.answer.set_exception(error)
        else:
            job.answer.set_result(signature)


def _derived(private_key: RSAPrivateKey) -> bytes:
    """Return the key of the keyed hashes: it is backed up with the private key, and tells nothing about it."""
    der = private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=_TRIAL_MEMORY).derive(der)
