"""Signatures: what is signed is what is sent. The private key is used here only; where its file lies is not known."""

import asyncio
import hmac
from base64 import b64encode
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import structlog
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from server import metrics
from server.wire.lanes import LANES, SHA256, SHA512, Fault, Hash, Lanes

KEY_BITS = 2048
EXPONENT = 65_537
PAYS = 3  # signatures from which on a call of the lanes costs less than OpenSSL
AT_ONCE = 24  # signatures in a turn of the loop, 3 to 8 ms: what is answered together comes back as a larger batch

_PADDING = PKCS1v15()
_TRIAL_MEMORY = b"keyturn trial memory"
_HASH_BYTES = 16

log = structlog.get_logger()


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
    hash: Hash
    answer: asyncio.Future[bytes]


class Signer:
    """Signs for one account: eight at a time where `lanes` are given, else with OpenSSL. Both make the same bytes.

    Everything is signed in the thread of the loop, up to 24 in a turn of it; what comes meanwhile waits for the next. With
    24 instead of 8, an answer of two saturated workers cost 346 to 428 instead of 455 to 459 µs. In threads lanes save no
    CPU (per signature 104 µs in one, 100 in two, 99 here, of which the lanes have 93; 64 callers, 2 cores of a Zen 4), and
    OpenSSL costs more, although it needs no GIL: an answer of one saturated worker took 609 to 652 µs with two threads, with
    none 450 to 470, and at 60 % of that its p99 was 9.2 ms with and 7.9 without. Other cores have other workers. (64
    callers, 2 cores of a Xeon.)
    """

    def __init__(self, private_key: RSAPrivateKey, lanes: Lanes | None = None) -> None:
        check_size(private_key.public_key())
        self.public_key = private_key.public_key()
        self._key = private_key
        self._lanes = lanes
        self._hash_key = _derived(private_key)
        self._loop: asyncio.AbstractEventLoop | None = None  # the one that asks
        self._waiting: deque[_Job] = deque()
        self._due = False
        self._closed = False
        (metrics.signers_with_lanes if lanes else metrics.signers_with_openssl).inc()

    async def seal(self, payload: bytes) -> bytes:
        """Return the signature of a license: PKCS#1 v1.5, SHA-256. Raises RuntimeError once closed."""
        return await self._sealed(payload, SHA256)

    async def seal512(self, payload: bytes) -> bytes:
        """Return the signature of a metadata block: PKCS#1 v1.5, SHA-512. Raises RuntimeError once closed."""
        return await self._sealed(payload, SHA512)

    def keyed_hash(self, product_id: int, code: str) -> bytes:
        """Return the 16 bytes by which a machine code is remembered without being kept (protocol: privacy)."""
        message = product_id.to_bytes(8, "big") + code.encode()
        return hmac.digest(self._hash_key, message, "sha256")[:_HASH_BYTES]

    def close(self) -> None:
        """Sign no more. What still waits is refused."""
        self._closed = True

    def _sealed(self, payload: bytes, hash: Hash) -> asyncio.Future[bytes]:
        """Queue a payload; what waits is looked at at the end of this turn of the loop."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()  # to ask for it costs a system call, each time
        job = _Job(payload, hash, self._loop.create_future())
        self._waiting.append(job)
        self._come(self._loop)
        return job.answer

    def _come(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._due:
            self._due = True
            loop.call_soon(self._turn, loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """Sign what waits, by eights; come again if that is not all."""
        self._due = False
        jobs = self._next()
        for start in range(0, len(jobs), LANES):
            self._answer(jobs[start : start + LANES])
        if self._waiting:
            self._come(loop)

    def _answer(self, jobs: Sequence[_Job]) -> None:
        """Give each caller its signature, or the error of them all."""
        try:
            seals = self._sign(jobs)
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait must learn of it
            for job in jobs:
                job.answer.set_exception(error)
        else:
            for job, seal in zip(jobs, seals, strict=True):
                job.answer.set_result(seal)

    def _next(self) -> list[_Job]:
        """Take as many jobs as are signed in a turn; none of callers who have left."""
        jobs: list[_Job] = []
        while self._waiting and len(jobs) < AT_ONCE:
            job = self._waiting.popleft()
            if not job.answer.done():
                jobs.append(job)
        return jobs

    def _sign(self, jobs: Sequence[_Job]) -> list[bytes]:
        if self._closed:
            raise RuntimeError("the signer is closed")
        metrics.sign_batch.observe(len(jobs))
        if self._lanes is not None and len(jobs) >= PAYS:
            try:
                seals = self._lanes.sign([job.hash.block(job.payload) for job in jobs])
            except Fault as fault:
                self._give_up_lanes(fault)
            else:
                metrics.signatures_by_lanes.inc(len(jobs))
                return seals
        metrics.signatures_by_openssl.inc(len(jobs))
        return [self._key.sign(job.payload, _PADDING, job.hash.openssl) for job in jobs]

    def _give_up_lanes(self, fault: Fault) -> None:
        """Sign with OpenSSL from now on. It checks its signatures too."""
        self._lanes = None
        metrics.lane_faults.inc()
        metrics.signers_with_lanes.dec()
        metrics.signers_with_openssl.inc()
        log.error("signer.lanes_given_up", why=str(fault))


def _derived(private_key: RSAPrivateKey) -> bytes:
    """Return the key of the keyed hashes: it is backed up with the private key, and tells nothing about it."""
    der = private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=_TRIAL_MEMORY).derive(der)
