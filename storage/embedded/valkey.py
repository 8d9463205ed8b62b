"""The embedded Valkey: its settings and its life; what is kept in it: storage.redis."""

import asyncio
import signal
from urllib.parse import quote

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from storage.embedded.home import Home
from storage.embedded.process import POLL, Child, Command, leftovers_gone, spawn

# Nothing here must survive, so nothing is written: no snapshots, no append-only file. And no arguments of commands are
# logged: a crash report has those of the last client, the command logs (slow, large) those of many.
SETTINGS = """
set-proc-title no
port 0
unixsocketperm 777
requirepass {password}
save ""
appendonly no
maxmemory-policy noeviction
daemonize no
logfile ""
loglevel warning
crash-log-enabled no
hide-user-data-from-log yes
commandlog-execution-slower-than -1
commandlog-request-larger-than -1
commandlog-reply-larger-than -1
"""

STOP = ((signal.SIGTERM, 5.0),)


class Valkey:
    """Valkey of one home, as our child. start() may be called again after its end, and finds it empty."""

    def __init__(self, home: Home) -> None:
        """Only remember where; nothing is read or started yet."""
        self._home = home
        self._folder = home.engines / "valkey"
        self._socket = home.sockets / "valkey.sock"
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """For redis-py's from_url."""
        return f"unix://:{self._home.secret('valkey')}@{quote(str(self._socket))}?db=0"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._started().pid

    async def start(self) -> None:
        """Return when it answers PING; a dead server raises EngineFailed."""
        self._home.open_sockets()
        await leftovers_gone("valkey-server", str(self._socket))
        self._socket.unlink(missing_ok=True)
        self._child = await spawn(self._home, self._server(), self._settings())
        try:
            await self._answers()
        except BaseException:
            await self.stop()
            raise

    async def wait(self) -> int:
        """Wait for the end of the server; its exit code, negative for a signal."""
        return await self._started().wait()

    async def stop(self) -> None:
        """End it: SIGTERM, after 5 s SIGKILL. Does nothing for one that does not run."""
        if self._child:
            await self._child.stop(*STOP)
            self._socket.unlink(missing_ok=True)
            self._home.leave_sockets()

    def _started(self) -> Child:
        if self._child is None:
            message = "Valkey has not been started"
            raise RuntimeError(message)
        return self._child

    def _server(self) -> Command:
        """`-` reads the settings from stdin, so that the password is in no file of theirs and in no command line.

        The socket is there to know it by after a crash, so it must not be overwritten by a title (set-proc-title).
        SIGKILL if we die: there is nothing to save, and nothing to wait for at the next start.
        """
        argv = (str(self._home.programs.valkey), "-", "--unixsocket", str(self._socket))
        return Command(argv, self._folder, "valkey.log", signal.SIGKILL)

    def _settings(self) -> bytes:
        """Fill in the settings. The socket is open to all who get into its folder, the guard, as PostgreSQL's is."""
        return SETTINGS.format(password=self._home.secret("valkey")).encode()

    async def _answers(self) -> None:
        child = self._started()
        client = redis.asyncio.from_url(self.url, retry=Retry(NoBackoff(), 0), socket_timeout=5)
        try:
            while child.running:
                try:
                    await client.ping()
                except (OSError, RedisError):
                    await asyncio.sleep(POLL)
                else:
                    return
            what = f"Valkey ended with code {await child.wait()} instead of starting."
            raise child.failure(what)
        finally:
            await client.aclose()
