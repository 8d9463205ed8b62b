"""The composition root of a worker: everything is built here, in reading order, and closed in the opposite one."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from server.config import Config
from server.dispatch import Dispatcher
from server.http import Endpoint
from server.limiter import Limiter
from server.places import Places
from server.services import Services
from server.signing_keys import load, passphrase
from server.wire.lanes import Lanes, Unusable, opened
from server.wire.sign import Signer
from storage.postgres.accounts import accounts
from storage.postgres.connect import SETTINGS
from storage.postgres.customers import Customers
from storage.postgres.events import Events
from storage.postgres.installation import installation
from storage.postgres.leases import LeaseTable
from storage.postgres.ledger import Ledger
from storage.postgres.licenses import Licenses
from storage.postgres.log import Log
from storage.postgres.messages import Messages
from storage.postgres.migrate import PROGRAM, check
from storage.postgres.objects import Objects
from storage.postgres.reads import Reads
from storage.postgres.tokens import Tokens
from storage.redis.limits import Limits
from storage.redis.seats import Seats
from storage.stamps import new_stamp

log = structlog.get_logger()

REPORTS = 2  # connections for statements that have to be planned for what they ask


@dataclass(frozen=True, slots=True)
class Worker:
    """What the process of a worker needs to see of what was built."""

    endpoint: Endpoint
    ledger: Ledger
    reads: Reads


@asynccontextmanager
async def worker(config: Config) -> AsyncIterator[Worker]:
    """Open everything that a worker works with. Raises `Unavailable`, `SchemaError`, `KeyFileError`."""
    dsn = config.database_url
    if (schema := await check(dsn)) < PROGRAM:
        log.warning("schema.behind", schema=schema, program=PROGRAM, do="run `keyturn migrate`")
    async with AsyncExitStack() as closing:
        reads = Reads(dsn)
        closing.push_async_callback(reads.close)
        await reads.open()
        tokens = Tokens(reads)
        ledger = Ledger(
            dsn, reads, queue=config.queue, batch=config.batch, cache_bytes=config.cache_bytes, on_connect=tokens.forget
        )
        await ledger.open()
        reports = Reads(dsn, settings=SETTINGS, connections=REPORTS)
        reports.suspended = reads.suspended
        closing.push_async_callback(reports.close)
        await reports.open()
        table, installed = LeaseTable(reads, ledger.renew), await installation(reads)
        seats = Seats(config.redis_url, installed, table, ledger.now, forget=ledger.forget)
        closing.push_async_callback(seats.close)
        await seats.open()
        limits = Limits(config.redis_url, installed)
        closing.push_async_callback(limits.close)
        await limits.open()
        signers = await _signers(config, reads)
        for signer in signers.values():
            closing.callback(signer.close)
        svc = Services(
            ledger=ledger,
            licenses=Licenses(reads),
            tokens=tokens,
            log=Log(reports),
            events=Events(reads, reports),
            messages=Messages(reads),
            objects=Objects(reads, reports),
            customers=Customers(reads, reports),
            seats=seats,
            limiter=Limiter(limits, config.rates, config.unlimited),
            signers=signers,
            random_bytes=os.urandom,
            new_stamp=new_stamp,
            max_overdraft=config.max_overdraft,
            usage_without_stripe=config.usage_without_stripe,
            portal_url=config.portal_url,
        )
        dispatcher = Dispatcher(svc, Places(config.queue), log_addresses=config.log_addresses)
        yield Worker(Endpoint(dispatcher, config.trusted_proxies), ledger, reads)
        await ledger.close()


async def _signers(config: Config, reads: Reads) -> dict[int, Signer]:
    """Load the signing key of every account; one that is missing or differs stops the start."""
    secret = passphrase(config.signing_passphrase_file)
    keys = {
        account.id: load(config.data / "keys" / f"{account.name}.pem", secret, account.public_key)
        for account in await accounts(reads)
    }
    return {account: Signer(key, _lanes(config, key)) for account, key in keys.items()}


def _lanes(config: Config, key: RSAPrivateKey) -> Lanes | None:
    """Return eight lanes for a key if they work here; tell the log what signs, and why."""
    why = "KEYTURN_SIGNER says so"
    if config.signer == "auto":
        try:
            lanes = opened(key)
        except Unusable as unusable:
            why = str(unusable)
        else:
            log.info("signer.active", signer="eight_lanes", why="the self-test passed")
            return lanes
    log.info("signer.active", signer="openssl", why=why)
    return None
