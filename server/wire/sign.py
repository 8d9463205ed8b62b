"""Signatures: what is signed is what is sent. The private key is used here only; where its file lies is not known."""

import asyncio
import hmac
from base64 import b64encode
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
THREADS = 2
ASIDE = 24  # signatures of a thread at a time: what comes back together makes the ledger's next batches larger and cheaper

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

    Lanes sign in the thread of the loop, and let it turn between two calls: what comes meanwhile fills the next eight. In
    threads they save no CPU (per signature 104 µs in one, 100 in two, 99 here, of which the lanes have 93; 64 callers,
    2 cores of a Zen 4), and where there is a worker for each core, no time either.

    OpenSSL alone signs one at once (200 to 600 µs), and several in threads, shared out, which leaves the loop free: it
    signs without the GIL (two threads: 133 µs per signature, one: 247; the same cores, idle; cryptography 50). In chunks of
    up to 24 instead of 8 an answer of a saturated server costs a tenth less: its batches are larger.
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
        self._idle = THREADS
        self._threads = ThreadPoolExecutor(THREADS, "signer")
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
        """End the threads, after the chunks they have begun. What still waits is refused."""
        self._closed = True
        self._threads.shutdown()

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
        """Sign the next eight by lanes, in this thread; their answers leave before the turn of others. Or call OpenSSL."""
        self._due = False
        if self._lanes is None:
            self._begin(loop)
            return
        if jobs := self._next(LANES):
            self._sign_here(jobs)
        if self._waiting:
            self._come(loop)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have OpenSSL sign: one alone here, several in threads. What comes while these are busy waits together."""
        while self._idle and self._waiting:
            alone = len(self._waiting) == 1 and self._idle == THREADS
            jobs = self._next(min(ASIDE, -(-len(self._waiting) // self._idle)))
            if self._closed or alone:
                self._sign_here(jobs)
            elif jobs:
                self._sign_aside(loop, jobs)

    def _next(self, most: int) -> list[_Job]:
        """Take up to so many jobs; none of callers who have left."""
        jobs: list[_Job] = []
        while self._waiting and len(jobs) < most:
            job = self._waiting.popleft()
            if not job.answer.done():
                jobs.append(job)
        if jobs:
            metrics.sign_batch.observe(len(jobs))
        return jobs

    def _sign_here(self, jobs: Sequence[_Job]) -> None:
        """Sign in this thread, with the same kind of outcome as in another one."""
        outcome: Future[list[bytes]] = Future()
        try:
            outcome.set_result(self._sign(jobs))
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait must learn of it
            outcome.set_exception(error)
        _hand_back(jobs, outcome)

    def _sign_aside(self, loop: asyncio.AbstractEventLoop, jobs: Sequence[_Job]) -> None:
        """Sign in a thread; its results come back to the loop in one go."""

        def ended(outcome: Future[list[bytes]]) -> None:
            self._idle += 1
            _hand_back(jobs, outcome)
            self._begin(loop)

        def finished(outcome: Future[list[bytes]]) -> None:
            loop.call_soon_threadsafe(ended, outcome)

        self._idle -= 1
        self._threads.submit(self._sign, jobs).add_done_callback(finished)

    def _sign(self, jobs: Sequence[_Job]) -> list[bytes]:
        if self._closed:
            raise RuntimeError("the signer is closed")
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
