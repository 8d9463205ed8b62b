"""What the machine could do at most, and what an answer must cost at least: the limits beside which figures stand.

L1 is a bare aiohttp handler of the same form, L2 a signature of OpenSSL, L3 one of those that are made eight at a time.
L4, a commit of the ledger by itself, is in `commits`.
"""

import asyncio
import multiprocessing
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import uvloop
from aiohttp import web
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from loadtests.driver import drive
from loadtests.machine import cpu_seconds
from server.wire.lanes import LANES, SHA256, Unusable, opened

CLIENTS = 64
DOCUMENT = b"x" * 700  # about the size of a license of one machine
FRAME = b'{"result":0,"filler":""}'


class Limit(NamedTuple):
    """How many a second, and the CPU µs of each."""

    per_second: float
    cost: float


@dataclass(frozen=True, slots=True)
class Bare:
    """L1, in a process of its own; its load comes from the same client as the server's."""

    pid: int
    url: str
    client: Executor

    def closed(self, requests: list[bytes], seconds: float, *, keep_alive: bool = True) -> Limit:
        """Load it as the server is loaded."""
        used = cpu_seconds({self.pid})
        work = partial(drive, self.url, requests, clients=CLIENTS, seconds=seconds, keep_alive=keep_alive)
        outcome = self.client.submit(work).result()
        return Limit(outcome.rate, (cpu_seconds({self.pid}) - used) / outcome.answers["ok"] * 1e6)


@contextmanager
def bare(size: int, client: Executor) -> Iterator[Bare]:
    """Have L1 for a while: it parses a form and answers `size` bytes."""
    with socket.create_server(("127.0.0.1", 0), backlog=1_024) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        process = multiprocessing.get_context("spawn").Process(target=_serve, args=(listening, size), daemon=True)
        process.start()
    assert process.pid is not None
    try:
        yield Bare(process.pid, url, client)
    finally:
        process.terminate()
        process.join()


def _serve(listening: socket.socket, size: int) -> None:
    body = FRAME.replace(b'""', b'"%b"' % (b"x" * (size - len(FRAME))))

    async def handle(request: web.Request) -> web.Response:
        await request.post()
        return web.Response(body=body, content_type="application/json")

    async def serve() -> None:
        application = web.Application()
        application.router.add_route("*", "/{tail:.*}", handle)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.SockSite(runner, listening, backlog=1_024).start()
        await asyncio.Event().wait()

    uvloop.run(serve())


def openssl(seconds: float) -> Limit:
    """Sign on one core, and nothing else: L2."""
    key = rsa.generate_private_key(65_537, 2_048)
    scheme, digest = padding.PKCS1v15(), hashes.SHA256()
    return repeated(lambda: key.sign(DOCUMENT, scheme, digest), seconds)


def eight_lanes(seconds: float) -> Limit | str:
    """Sign eight at a time on one core, each checked as before it leaves: L3. A text says why that cannot be."""
    try:
        lanes = opened(rsa.generate_private_key(65_537, 2_048))
    except Unusable as unusable:
        return str(unusable)
    return repeated(lambda: lanes.sign([SHA256.block(DOCUMENT)] * LANES), seconds, makes=LANES)


def repeated(work: Callable[[], object], seconds: float, *, makes: int = 1) -> Limit:
    """Do the work over and over in this thread; it makes so many at a time."""
    made, started, used = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() < started + seconds:
        work()
        made += makes
    taken, used = time.perf_counter() - started, time.process_time() - used
    return Limit(made / taken, used / made * 1e6)
