"""Connecting to PostgreSQL, and what its errors mean. Every connection of Keyturn is made here."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from storage.errors import Broken, Busy, StorageError, Unavailable

CONNECT_SECONDS = 2.0
STATEMENT_SECONDS = 5.0
FOREIGN_KEY_VIOLATION, UNIQUE_VIOLATION = "23503", "23505"
OLDEST_SERVER = 17  # transaction_timeout: statement_timeout does not end a transaction whose Sync never comes

SETTINGS = {
    "application_name": "keyturn",
    "timezone": "UTC",
    "statement_timeout": f"{STATEMENT_SECONDS:.0f}s",
    "transaction_timeout": "6s",
    "idle_in_transaction_session_timeout": "6s",
    "plan_cache_mode": "force_custom_plan",  # a generic plan made on empty tables is 15 times slower later
    "jit": "off",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}

# For statements that look up what they name, in whatever tables: planned once for a connection, with nothing but indexes.
LOOKUPS = {
    **SETTINGS,
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}

# What says that the connection, not the statement, is at fault.
LOST = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionTimeoutError,
    asyncpg.InternalClientError,
)


async def connect(dsn: str) -> asyncpg.Connection:
    """Return a new connection with the settings that the ledger relies on. Raises `Unavailable`."""
    with translated():
        return await asyncpg.connect(dsn, timeout=CONNECT_SECONDS, server_settings=SETTINGS)


@contextmanager
def translated() -> Iterator[None]:
    """Let nothing of the driver escape: its errors become those of storage."""
    try:
        yield
    except StorageError:
        raise
    except LOST as error:
        raise Unavailable(describe(error)) from error
    except asyncpg.QueryCanceledError as error:
        raise Busy(describe(error)) from error
    except asyncpg.PostgresError as error:
        raise (Broken if is_poison(error) else Unavailable)(describe(error)) from error


def describe(error: BaseException) -> str:
    """Name an error without its text, which may quote a row."""
    state = getattr(error, "sqlstate", None)
    return f"{type(error).__name__} {state}" if state else type(error).__name__


def refused_with(error: StorageError) -> str | None:
    """Return the SQLSTATE that PostgreSQL refused with, if that is what the error was made of."""
    return getattr(error.__cause__, "sqlstate", None)


def is_poison(error: asyncpg.PostgresError) -> bool:
    """Tell whether an entry of the batch itself is at fault: SQLSTATE class 21, 22, 23 or P0001.

    A check violation that names no constraint is a missing partition: not the entry's fault, and nothing may be skipped.
    """
    state = error.sqlstate or ""
    if is_missing_partition(error):
        return False
    return state[:2] in ("21", "22", "23") or state == "P0001"


def is_missing_partition(error: BaseException) -> bool:
    """Tell whether a row of the log found no partition."""
    return isinstance(error, asyncpg.CheckViolationError) and not getattr(error, "constraint_name", None)


async def close(connection: asyncpg.Connection) -> None:
    """Close a connection in order, or cut it if that takes too long."""
    try:
        await connection.close(timeout=1)
    except asyncio.CancelledError:
        connection.terminate()
        raise
    except (*LOST, asyncpg.PostgresError):
        connection.terminate()
