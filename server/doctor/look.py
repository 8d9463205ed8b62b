"""Reads everything: asks the engines, those of a running server or embedded ones for the moment, and looks at the host.

It changes nothing, but that embedded engines that had not run in order recover. Where nothing was ever made, nothing is.
"""

import os
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from server import signing_keys
from server.account import NAME, key_file
from server.config import Config
from server.doctor import host
from server.doctor.findings import parted
from server.doctor.readings import KeyFile, Lanes, PassphraseFile, Readings, Server, Trouble
from server.engine import Tell, own, redis_url, running
from server.signing_keys import KeyFileError
from server.wire.lanes import Unusable, opened
from storage.embedded import valkey as embedded
from storage.embedded.home import Busy, EngineFailed, prepare
from storage.errors import StorageError
from storage.postgres.condition import Condition as Postgres
from storage.postgres.condition import condition as ask_postgres
from storage.records import Account
from storage.redis.condition import Condition as Valkey
from storage.redis.condition import condition as ask_valkey

NO_ENGINE = (EngineFailed, Busy, StorageError, OSError, ModuleNotFoundError)


async def look(config: Config, complaints: Mapping[str, str], tell: Tell) -> Readings:
    """Read everything. `tell` hears what takes long."""
    async with AsyncExitStack() as stack:
        postgres, ours = await _postgres(config, complaints, stack, tell)
        valkey = await _valkey(config, complaints, stack, ours=ours)
    server = host.running(config.data)
    passphrase, secret = _passphrase(config.signing_passphrase_file)
    keys = [_key(config, account, secret) for account in _accounts(config, postgres)]
    return Readings(
        config=config,
        complaints=complaints,
        now=time.time(),
        owner=_owner(config.data, server),
        files=server.files if server else host.own_files(),
        cores=os.cpu_count() or 1,
        disks=host.disks(config.data),
        server=server,
        ports=host.ports(config, server),
        postgres=postgres,
        valkey=valkey,
        keys=tuple(key for key, _ in keys),
        passphrase=passphrase,
        lanes=next((lanes for _, lanes in keys if lanes is not None), None),
    )


def _misnamed(variable: str, complaints: Mapping[str, str]) -> Trouble | None:
    """Return the trouble with an engine whose address is none: it must not be taken for an embedded one."""
    if variable not in complaints:
        return None
    return Trouble(f"{variable} is no address that can be used.", f"Correct it: {complaints[variable]}")


async def _postgres(
    config: Config, complaints: Mapping[str, str], stack: AsyncExitStack, tell: Tell
) -> tuple[Postgres | Trouble, bool]:
    """Ask PostgreSQL; and tell whether it, and so the lock on DATA, is ours for as long as the stack is open."""
    if misnamed := _misnamed("DATABASE_URL", complaints):
        return misnamed, False
    if config.embedded and not _began(config.data):
        return _nothing("PostgreSQL", "DATABASE_URL", config.data), False
    where = f"The embedded PostgreSQL of {config.data}" if config.embedded else "The PostgreSQL that DATABASE_URL names"
    log = config.data / "postgres" / "postgres.log"
    see = f"See what its log says: {log}." if config.embedded else "See what `psql \"$DATABASE_URL\" -c 'select 1'` says."
    try:
        dsn, momentary = await stack.enter_async_context(running(config, tell, begin=False))
    except (EngineFailed, Busy) as error:
        return Trouble(*parted(str(error), see)), False
    try:
        return await ask_postgres(dsn), momentary
    except StorageError as error:
        return Trouble(f"{where} cannot be used ({error}).", see), momentary


def _began(data: Path) -> bool:
    """Whether an embedded PostgreSQL was ever made here, or a key was (then `running` says what is missing)."""
    return (data / "postgres.password").exists() or key_file(data / "keys").exists()


def _nothing(engine: str, variable: str, data: Path) -> Trouble:
    do = f"If the server is given a {variable}, set it here too, or name its folder by --data. Else run `keyturn serve`."
    return Trouble(f"No embedded {engine} was ever started in {data}.", do)


async def _valkey(config: Config, complaints: Mapping[str, str], stack: AsyncExitStack, *, ours: bool) -> Valkey | Trouble:
    """Ask Valkey: that of the settings or of the running server, else an embedded one for the moment."""
    if misnamed := _misnamed("REDIS_URL", complaints):
        return misnamed
    see = 'See what `valkey-cli -u "$REDIS_URL" ping` says.'
    try:
        url = redis_url(config)
        if not url:
            if not (ours or (config.data / "valkey.password").exists()):
                return _nothing("Valkey", "REDIS_URL", config.data)
            see = f"See what its log says: {config.data / 'valkey' / 'valkey.log'}."
            if not ours:
                stack.enter_context(own(config.data))
            engine = embedded.Valkey(prepare(config.data))
            await engine.start()
            stack.push_async_callback(engine.stop)
            url = engine.url
        return await ask_valkey(url)
    except NO_ENGINE as error:
        return Trouble(f"Valkey cannot be used ({error}).", see)


def _accounts(config: Config, postgres: Postgres | Trouble) -> tuple[Account, ...]:
    """Return the accounts whose keys should be here; where the database does not say, that of the key that is here."""
    if not isinstance(postgres, Trouble) and postgres.schema and postgres.schema.accounts:
        return postgres.schema.accounts
    return (Account(0, NAME, b""),) if key_file(config.data / "keys").exists() else ()


def _passphrase(path: Path | None) -> tuple[PassphraseFile | None, bytes | None]:
    if path is None:
        return None, None
    try:
        return PassphraseFile(path, host.mode(path), ""), signing_keys.passphrase(path)
    except KeyFileError as error:
        return PassphraseFile(path, host.mode(path), str(error)), None


def _key(config: Config, account: Account, secret: bytes | None) -> tuple[KeyFile, Lanes | None]:
    """Read the key of an account, whose public half may not be known, and try how it signs."""
    path = key_file(config.data.absolute() / "keys", account.name)
    mode, folder, compared = host.mode(path), host.mode(path.parent), bool(account.public_key)
    try:
        key = signing_keys.load(path, secret, account.public_key) if compared else signing_keys.read_foreign(path, secret)
    except KeyFileError as error:
        return KeyFile(path, mode, folder, str(error), compared), None
    return KeyFile(path, mode, folder, "", compared), _lanes(config, key)


def _lanes(config: Config, key: RSAPrivateKey) -> Lanes:
    if config.signer != "auto":
        return Lanes(active=False, why="KEYTURN_SIGNER says so")
    try:
        opened(key)
    except Unusable as unusable:
        return Lanes(active=False, why=str(unusable))
    return Lanes(active=True, why="the self-test passed")


def _owner(data: Path, server: Server | None) -> int:
    """Return whose the files should be: the server's that runs, else of whom DATA is."""
    if server is not None:
        return server.uid
    folder = host.mode(data)
    return folder.uid if folder else os.geteuid()
