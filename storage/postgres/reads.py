"""A worker's small pool for everything that is not the ledger: reads, and ordinary transactions."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from storage.errors import Busy, Unavailable
from storage.postgres.connect import CONNECT_SECONDS, LOOKUPS, LOST, translated

CONNECTIONS = 4


class Reads:
    """Statements on a pool of connections. A worker whose ledger has no connection refuses at once (`suspended`).

    They are planned once, for index lookups, unless `settings` say otherwise: a quarter of the CPU (loadtests/plans.py).
    """

    def __init__(self, dsn: str, *, settings: Mapping[str, str] = LOOKUPS, connections: int = CONNECTIONS) -> None:
        self._dsn = dsn
        self._settings = dict(settings)
        self._connections = connections
        self._pool: asyncpg.Pool | None = None
        self.suspended: Callable[[], bool] = lambda: False

    async def open(self) -> None:
        """Open the pool, and see that it can connect. Raises `Unavailable`."""
        with translated():
            self._pool = await asyncpg.create_pool(
                self._dsn,
                min_size=0,  # no floor: asyncpg would log a line each time it cannot keep it up
                max_size=self._connections,
                timeout=CONNECT_SECONDS,
                server_settings=self._settings,
                reset=_keep,
            )
        await self._run("select 1", ())

    async def close(self) -> None:
        """Cut the connections: nothing here is under way when a worker ends."""
        if self._pool is not None:
            self._pool.terminate()

    async def fetch(self, statement: str, *values: object) -> list[asyncpg.Record]:
        """Return the rows of a read; on a lost connection it is read once more on another. Raises `Unavailable`, `Busy`."""
        try:
            return await self._run(statement, values)
        except Unavailable as error:
            if not isinstance(error.__cause__, LOST):
                raise
            return await self._run(statement, values)

    async def call(self, statement: str, *values: object) -> asyncpg.Record:
        """Return the one row of a function that writes: sent once, never repeated. Raises as `fetch`, and `Broken`."""
        return (await self.rows(statement, *values))[0]

    async def rows(self, statement: str, *values: object) -> list[asyncpg.Record]:
        """Return the rows of a function that writes: as `call`."""
        return await self._run(statement, values)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PoolConnectionProxy]:
        """One transaction, never repeated; whatever is raised inside undoes it. Raises as `call`.

        It keeps a connection of the pool for as long as it waits for a lock: a caller bounds how many there may be.
        """
        async with self._connection() as connection, connection.transaction():
            yield connection

    async def _run(self, statement: str, values: tuple[object, ...]) -> list[asyncpg.Record]:
        async with self._connection() as connection:
            return await connection.fetch(statement, *values)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[PoolConnectionProxy]:
        if self._pool is None or self.suspended():
            raise Unavailable("PostgreSQL is not connected")
        with translated():
            connection = await self._acquire(self._pool)
            try:
                yield connection
            finally:
                await self._pool.release(connection)

    async def _acquire(self, pool: asyncpg.Pool) -> PoolConnectionProxy:
        try:
            return await pool.acquire(timeout=CONNECT_SECONDS)
        except TimeoutError as error:
            raise Busy("no connection was free, or could be made, in two seconds") from error


async def _keep(_connection: asyncpg.Connection) -> None:
    """Stand in for asyncpg's reset of a released connection, which costs more than a read; nothing here needs one."""
