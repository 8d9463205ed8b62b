"""`keyturn doctor`: every check is made to fail, and what it advises, followed to the letter, repairs it where it can."""

import asyncio
import datetime
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from backups import empty_database
from cryptography.hazmat.primitives.asymmetric import rsa
from servers import Live
from shell import Shell

from server.config import Config
from server.doctor import host
from server.doctor.checks import CHECKS, findings
from server.doctor.findings import State
from server.doctor.readings import (
    Disk,
    Holder,
    KeyFile,
    Lanes,
    Mode,
    PassphraseFile,
    Port,
    Readings,
    Server,
    Trouble,
)
from server.rules.privacy import mask
from server.signing_keys import export
from storage.embedded.home import prepare
from storage.embedded.postgres import Postgres
from storage.embedded.process import leftovers
from storage.embedded.valkey import Valkey
from storage.postgres.condition import Condition as PostgresCondition
from storage.postgres.condition import Schema, Setting
from storage.postgres.retention import Periods, retain
from storage.postgres.sql import migrations
from storage.records import Account
from storage.redis.condition import Condition as ValkeyCondition

KEYTURN = Path(sys.executable).with_name("keyturn")
NOW, DAY, GIB = 1_800_000_000, 86_400, 2**30
APPLIED = tuple((number, name) for number, name, _ in migrations())
SETTINGS = ("fsync", "synchronous_commit", "full_page_writes", "data_checksums")
PATH = Path("/var/lib/keyturn/keys/default.pem")
PRIVATE, FOLDER = Mode(0o600, 990, 990), Mode(0o700, 990, 990)
CONFIG = Config(trusted_proxies=(ip_network("127.0.0.1"),), workers=4, database_url="postgresql://h/d")

SCHEMA = Schema(
    migrations=APPLIED, oldest_program=1, installation="0123456789ab", accounts=(Account(1, "default", b"key"),),
    log_until=NOW + 90 * DAY, retained=NOW - 3600, home="1/2", here="1/2",
)  # fmt: skip
POSTGRES = PostgresCondition(
    number=180_006, version="18.6", ahead=0.01, standby=False, connections=97, role="keyturn", database="keyturn",
    settings={name: Setting("on", "default") for name in SETTINGS}, schema=SCHEMA,
)  # fmt: skip
VALKEY = ValkeyCondition(
    product="valkey", version="9.1.2", ahead=-0.01, replica=False, policy="noeviction", most=0, used=2**20, kept=(),
    unsaved=(),
)  # fmt: skip
GOOD = Readings(
    config=CONFIG, complaints={}, now=NOW, owner=990, files=65_536, cores=2, disks=(Disk(Path("/d"), 100 * GIB, 50 * GIB),),
    server=Server(7, 990, 65_536, CONFIG), ports=(Port("api port", "127.0.0.1", 8080, Holder.SERVER, ""),),
    postgres=POSTGRES, valkey=VALKEY, keys=(KeyFile(PATH, PRIVATE, FOLDER, "", compared=True),),
    passphrase=PassphraseFile(Path("/run/pass"), Mode(0o400, 990, 990), ""), lanes=Lanes(active=True, why="tried"),
)  # fmt: skip


def in_postgres(**changes: object) -> Readings:
    return replace(GOOD, postgres=POSTGRES._replace(**changes))


def setting(name: str, value: str, source: str) -> Readings:
    return in_postgres(settings={**POSTGRES.settings, name: Setting(value, source)})


def in_schema(**changes: object) -> Readings:
    return in_postgres(schema=SCHEMA._replace(**changes))


def in_valkey(**changes: object) -> Readings:
    return replace(GOOD, valkey=VALKEY._replace(**changes))


def key(**changes: object) -> Readings:
    return replace(GOOD, keys=(GOOD.keys[0]._replace(**changes),))


def secret(bits: int = 0o400, gid: int = 990, wrong: str = "") -> Readings:
    return replace(GOOD, passphrase=PassphraseFile(Path("/run/pass"), Mode(bits, 990, gid), wrong))


def free(gib: float, total: float = 100) -> Readings:
    return replace(GOOD, disks=(Disk(Path("/d"), int(total * GIB), int(gib * GIB)),))


def port(holder: Holder = Holder.NOBODY, trouble: str = "") -> Readings:
    return replace(GOOD, ports=(Port("api port", "192.0.2.1", 8080, holder, trouble),))


def config(**changes: Any) -> Readings:
    changed = replace(CONFIG, **changes)
    return replace(GOOD, config=changed, server=Server(7, 990, 65_536, changed))


WARNING, FAILURE = State.WARNING, State.FAILURE
# What is read, the finding and its state, and what its advice has in it.
BAD: list[tuple[Readings, str, State, str]] = [
    (replace(GOOD, postgres=Trouble("Gone.", "Start it.")), "postgresql", FAILURE, "Start it."),
    (in_postgres(number=160_004), "postgresql", FAILURE, "Upgrade"),
    (in_postgres(standby=True), "postgresql", FAILURE, "target_session_attrs=primary"),
    (in_postgres(connections=49), "connections", WARNING, "`WORKERS=3`, or run"),
    (in_postgres(connections=49), "connections", WARNING, "max_connections = 60"),
    (replace(in_postgres(connections=49), config=replace(CONFIG, database_url=""), server=None),
     "connections", WARNING, "Set `WORKERS=3`."),
    (setting("fsync", "off", "configuration file"), "fsync", FAILURE, "alter system set fsync = on"),
    (setting("full_page_writes", "off", "command line"), "full_page_writes", FAILURE, "command line"),
    (setting("synchronous_commit", "off", "database"), "synchronous_commit", FAILURE, 'alter database "keyturn" reset'),
    (setting("synchronous_commit", "off", "user"), "synchronous_commit", FAILURE, 'alter role "keyturn" reset'),
    (setting("synchronous_commit", "off", "database user"), "synchronous_commit", FAILURE, 'in database "keyturn" reset'),
    (replace(GOOD, valkey=Trouble("Gone.", "Start it.")), "valkey", FAILURE, "Start it."),
    (in_valkey(version="9.0.2"), "valkey", WARNING, "9.0.3"),
    (in_valkey(product="redis", version="8.2.1"), "valkey", WARNING, "8.2.2"),
    (in_valkey(product="redis", version="5.0.14"), "valkey", FAILURE, "Upgrade"),
    (in_valkey(replica=True), "valkey", FAILURE, "primary"),
    (in_valkey(policy="allkeys-lru"), "eviction", WARNING, "config set maxmemory-policy noeviction"),
    (in_valkey(most=1000, used=901), "eviction", WARNING, "config set maxmemory 2000"),
    (in_valkey(kept=("snapshots",), unsaved=("snapshots",)), "persistence", WARNING, "bgsave"),
    (in_postgres(ahead=1.2), "clocks", WARNING, "timedatectl"),
    (in_valkey(ahead=-5.2), "clocks", FAILURE, "timedatectl"),
    (replace(in_postgres(ahead=0.6), valkey=VALKEY._replace(ahead=-0.6)), "clocks", WARNING, "timedatectl"),
    (in_postgres(schema=None), "migrations", FAILURE, "keyturn migrate"),
    (in_schema(migrations=APPLIED[:-1]), "migrations", WARNING, "keyturn migrate"),
    (in_schema(migrations=APPLIED[:-2]), "migrations", FAILURE, "keyturn migrate"),
    (in_schema(migrations=(*APPLIED[:-1], (len(APPLIED), "other"))), "migrations", FAILURE, "made this database"),
    (in_schema(migrations=(*APPLIED, (len(APPLIED) + 1, "later"))), "migrations", WARNING, "newer Keyturn"),
    (in_schema(oldest_program=len(APPLIED) + 1), "migrations", FAILURE, "newer Keyturn"),
    (in_schema(accounts=()), "account", FAILURE, "keyturn migrate"),
    (in_schema(log_until=NOW + 6 * DAY), "log room", FAILURE, "keyturn migrate"),
    (in_schema(log_until=None), "log room", FAILURE, "keyturn migrate"),
    (in_schema(log_until=NOW + 29 * DAY), "log room", WARNING, "keyturn migrate"),
    (in_schema(retained=0), "retention", WARNING, "keyturn serve"),
    (in_schema(retained=NOW - 4 * DAY), "retention", WARNING, "retention.failed"),
    (in_schema(here="1/3"), "installation", FAILURE, "keyturn restored"),
    (free(9), "disk", WARNING, "du -xh"),
    (free(4.9, 20), "disk", WARNING, "du -xh"),
    (free(1.9), "disk", FAILURE, "du -xh"),
    (free(0.9, 20), "disk", FAILURE, "du -xh"),
    (replace(GOOD, files=1_023), "open files", FAILURE, "LimitNOFILE"),
    (replace(GOOD, files=9_999), "open files", WARNING, "LimitNOFILE"),
    (key(wrong="It is damaged."), "signing key", FAILURE, "backup"),
    (key(mode=PRIVATE._replace(bits=0o640)), "key permissions", FAILURE, f"chmod 600 {PATH}"),
    (key(mode=PRIVATE._replace(uid=0)), "key permissions", FAILURE, f"chown 990 {PATH}"),
    (key(folder=FOLDER._replace(bits=0o750)), "key permissions", WARNING, f"chmod 700 {PATH.parent}"),
    (secret(0o644), "passphrase", WARNING, "chmod 600 /run/pass"),
    (secret(0o440), "passphrase", WARNING, "chmod 600 /run/pass"),
    (secret(wrong="It is empty: put it there."), "passphrase", FAILURE, "/run/pass"),
    (replace(GOOD, complaints={"KEYTURN_QEUE": "unknown"}), "settings", FAILURE, "unset KEYTURN_QEUE"),
    (replace(GOOD, config=replace(CONFIG, port=9090)), "server", WARNING, "those of the server"),
    (port(Holder.OTHER), "api port", FAILURE, "ss -ltnp"),
    (port(trouble="Cannot assign requested address"), "api port", FAILURE, "another PORT"),
    (config(host="0.0.0.0", trusted_proxies=()), "api reach", WARNING, "TLS"),
    (config(ops_host="0.0.0.0"), "ops reach", WARNING, "KEYTURN_OPS_HOST=127.0.0.1"),
    (config(trusted_proxies=()), "trusted proxies", WARNING, "KEYTURN_TRUSTED_PROXIES=127.0.0.1"),
    (config(trusted_proxies=(ip_network("0.0.0.0/0"),)), "trusted proxies", FAILURE, "Name the proxy alone"),
    (config(trusted_proxies=(ip_network("::/0"),)), "trusted proxies", FAILURE, "Name the proxy alone"),
]  # fmt: skip


def test_where_all_is_well_every_check_says_so() -> None:
    found = findings(GOOD)
    assert {each.state for each in found} == {State.OK}
    assert not [each for each in found if each.do]
    assert [each.name for each in found] == [
        "postgresql", "connections", "fsync", "synchronous_commit", "full_page_writes", "checksums", "valkey", "eviction",
        "persistence", "clocks", "migrations", "account", "log room", "retention", "installation", "disk", "open files",
        "signing key", "key permissions", "passphrase", "signer", "settings", "server", "api port", "api reach", "ops reach",
        "trusted proxies",
    ]  # fmt: skip


@pytest.mark.parametrize(("readings", "name", "state", "advice"), BAD, ids=[f"{each[1]} {each[3]}" for each in BAD])
def test_a_check_that_is_made_to_fail_does_so_alone_and_says_what_to_do(
    readings: Readings, name: str, state: State, advice: str
) -> None:
    wrong = [each for each in findings(readings) if each.state is not State.OK]
    assert [(each.name, each.state) for each in wrong] == [(name, state)]
    assert advice in wrong[0].do


def test_every_check_was_made_to_fail() -> None:
    informs = {"lanes"}  # how signatures are made is good in either way
    failed = {check.__name__ for check in CHECKS for readings, *_ in BAD if any(each.do for each in check(readings))}
    assert {check.__name__ for check in CHECKS} - failed == informs


@pytest.mark.parametrize(
    "readings",
    [
        free(11), free(6, 20), replace(GOOD, files=10_000), in_postgres(ahead=0.9), in_postgres(connections=50),
        in_postgres(number=170_000), setting("synchronous_commit", "remote_apply", "database"),
        setting("data_checksums", "off", "default"), in_valkey(version="9.0.3"), in_valkey(most=1000, used=899),
        in_valkey(product="redis", version="8.10.0"), in_valkey(kept=("snapshots",)),
        in_schema(log_until=NOW + 31 * DAY), in_schema(retained=NOW - 2 * DAY), in_schema(home=None), in_schema(here=None),
        key(mode=PRIVATE._replace(bits=0o400)), secret(0o440, gid=0), replace(GOOD, passphrase=None),
        replace(GOOD, server=None), replace(GOOD, lanes=Lanes(active=False, why="no such processor")), port(),
        config(host="::1"), config(host="0.0.0.0"), config(ops_host="localhost"),
        replace(GOOD, server=Server(7, 990, 65_536, replace(CONFIG, workers=1, data=Path("/d"), log_level="debug"))),
    ],
)  # fmt: skip
def test_what_is_just_good_enough_is_good(readings: Readings) -> None:
    assert not [each for each in findings(readings) if each.state is not State.OK]


# On real engines and files: what is advised is done as it is written, and the next look finds it repaired.


@pytest.fixture(autouse=True)
def _a_host_with_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk and the limits of whatever machine this is are no matter here."""
    monkeypatch.setattr(host, "disks", lambda _data: GOOD.disks)
    monkeypatch.setattr(host, "own_files", lambda: GOOD.files)


def commands_of(found: Mapping[str, str]) -> list[str]:
    """The commands in what is advised."""
    return re.findall(r"`([^`]+)`", found["do"])


@dataclass(frozen=True, slots=True)
class Patient:
    """An installation that is examined, and does what it is told."""

    shell: Shell
    redis_url: str

    def examined(self, **environment: str) -> dict[str, Any]:
        """What is found, by name; with the exit status that belongs to it."""
        settings = {"REDIS_URL": self.redis_url, "PORT": "0", "KEYTURN_TRUSTED_PROXIES": "127.0.0.1", **environment}
        done = self.shell.run("doctor", "--json", **settings)
        said = json.loads(done.stdout)
        fails = [each for each in said["findings"] if each["state"] == "failure"]
        assert (said["ok"], done.exit_code) == (not fails, 1 if fails else 0)
        assert all(each["said"] and bool(each["do"]) == (each["state"] != "ok") for each in said["findings"])
        return {each["name"]: each for each in said["findings"]}

    def states(self, **environment: str) -> Mapping[str, str]:
        return {name: each["state"] for name, each in self.examined(**environment).items()}

    def obeys(self, name: str, state: str, **environment: str) -> None:
        """Find something wrong, do what is advised, and find it well."""
        found = self.examined(**environment)[name]
        assert found["state"] == state, found
        self.does(commands_of(found)[0])
        assert self.examined(**environment)[name]["state"] == "ok"

    def does(self, command: str) -> None:
        """Run a command as a shell would. The engines' own tools may not be here: what they would send is sent."""
        words = shlex.split(command)
        if words[0] == "keyturn":
            self.shell.ok(*words[1:])
        elif words[:3] == ["psql", "$DATABASE_URL", "-c"]:
            self.shell.rows(words[3])
        elif words[:3] == ["valkey-cli", "-u", "$REDIS_URL"]:
            with redis.from_url(self.redis_url) as client:
                client.execute_command(*words[3:])
        else:
            subprocess.run(command, shell=True, check=True)


@pytest.fixture(scope="module")
async def installation(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shell]:
    """A healthy one. Tests share it: they leave it as they found it, repaired."""
    async with empty_database(postgres) as dsn:
        shell = Shell(tmp_path_factory.mktemp("doctor") / "data", dsn)
        await asyncio.to_thread(shell.ok, "migrate")
        await asyncio.to_thread(retained, shell)
        yield shell


@pytest.fixture
def patient(installation: Shell, redis_url: str) -> Patient:
    return Patient(installation, redis_url)


def retained(shell: Shell) -> None:
    """Have the daily job done, as the server does."""
    asyncio.run(retain(shell.dsn, datetime.datetime.now(datetime.UTC), Periods(24, 30, 0), mask))


def test_a_healthy_installation_is_found_to_be_so(patient: Patient) -> None:
    assert set(patient.states().values()) == {"ok"}


def test_a_person_reads_a_table_and_below_it_what_to_do(patient: Patient) -> None:
    file = patient.shell.data / "keys" / "default.pem"
    file.chmod(0o644)
    done = patient.shell.run("doctor", REDIS_URL=patient.redis_url, PORT="0")
    assert done.exit_code == 1
    assert re.search(r"│ ok +│ postgresql +│ PostgreSQL \d+\.\d+ answers\.", done.stdout)
    assert re.search(r"│ FAILURE +│ key permissions +│", done.stdout)
    told = [line for line in done.stdout.splitlines() if line.startswith(("FAILURE", "WARNING"))]
    assert told[0] == f"FAILURE key permissions: Run `chmod 600 {file}`."
    assert told[1].startswith("WARNING trusted proxies: ")
    assert len(told) == 2
    file.chmod(0o600)


def test_a_warning_alone_is_no_failure(patient: Patient) -> None:
    done = patient.shell.run("doctor", REDIS_URL=patient.redis_url, PORT="0")
    assert done.exit_code == 0
    assert "WARNING trusted proxies" in done.stdout


async def test_an_empty_database_is_migrated(postgres: Postgres, tmp_path: Path, redis_url: str) -> None:
    async with empty_database(postgres) as dsn:
        patient = Patient(Shell(tmp_path / "data", dsn), redis_url)
        await asyncio.to_thread(patient.obeys, "migrations", "failure")
        states = await asyncio.to_thread(patient.states)
        assert (states["account"], states["signing key"], states["installation"]) == ("ok", "ok", "ok")


def test_a_database_without_an_account_gets_one(fresh: Shell, redis_url: str) -> None:
    Patient(fresh, redis_url).obeys("account", "failure")


def test_a_log_without_room_gets_some(patient: Patient) -> None:
    months = patient.shell.rows("select inhrelid::regclass::text as name from pg_inherits where inhparent = 'log'::regclass")
    for month in months[1:]:
        patient.shell.rows(f"drop table {month['name']}")
    patient.obeys("log room", "failure")


def test_a_retention_that_was_never_done_is_asked_for_until_it_is(patient: Patient) -> None:
    patient.shell.rows("update retention set done = 0 where part = 'events'")
    assert patient.states()["retention"] == "warning"
    retained(patient.shell)
    assert patient.states()["retention"] == "ok"


def test_a_database_that_was_copied_is_made_ready(shell: Shell, redis_url: str) -> None:
    """The database of a test is a copy, made by CREATE DATABASE … TEMPLATE."""
    Patient(shell, redis_url).obeys("installation", "failure")


def test_a_database_whose_tables_were_restored_in_place_is_made_ready(shell: Shell, redis_url: str) -> None:
    """As by `pg_restore --clean`: other tables, the same rows."""
    shell.ok("restored")
    for statement in (
        "create table other as table installation", "drop table installation", "alter table other rename to installation",
    ):  # fmt: skip
        shell.rows(statement)
    Patient(shell, redis_url).obeys("installation", "failure")


async def test_where_postgresql_does_not_say_which_it_is_nothing_is_made_of_it(
    postgres: Postgres, tmp_path: Path, redis_url: str
) -> None:
    async with empty_database(postgres) as dsn:
        of_superuser = Shell(tmp_path, postgres.admin_dsn.replace("/postgres?", f"{urlsplit(dsn).path}?"))
        await asyncio.to_thread(of_superuser.rows, "revoke execute on function pg_control_system() from public")
        patient = Patient(Shell(tmp_path / "data", dsn), redis_url)
        await asyncio.to_thread(patient.shell.ok, "migrate")
        assert (await asyncio.to_thread(patient.states))["installation"] == "ok"
        assert await asyncio.to_thread(patient.shell.rows, "select home from installation") == [{"home": None}]


def test_commits_that_do_not_wait_for_the_disk_are_made_to(patient: Patient) -> None:
    patient.shell.rows(f'alter database "{urlsplit(patient.shell.dsn).path[1:]}" set synchronous_commit = off')
    patient.obeys("synchronous_commit", "failure")


@pytest.fixture
def valkey_settings(valkey: Valkey, redis_url: str) -> Iterator[Callable[..., None]]:
    """Sets Valkey otherwise for one test, which shares it with others."""
    assert valkey.url == redis_url
    with redis.from_url(redis_url) as client:
        names = ("maxmemory", "maxmemory-policy", "save")
        before = {name: client.config_get(name)[name] for name in names}
        yield client.config_set
        for name, value in before.items():
            client.config_set(name, value)


def test_a_valkey_that_evicts_is_made_to_keep(patient: Patient, valkey_settings: Callable[..., None]) -> None:
    valkey_settings("maxmemory-policy", "allkeys-lru")
    patient.obeys("eviction", "warning")


def test_a_valkey_that_is_nearly_full_gets_room(patient: Patient, valkey_settings: Callable[..., None]) -> None:
    with redis.from_url(patient.redis_url) as client:
        used = client.info("memory")["used_memory"]
    valkey_settings("maxmemory", int(used * 1.05))
    patient.obeys("eviction", "warning")


def saved(url: str, how: str) -> None:
    """Wait until Valkey has tried to make a snapshot, and come to this."""
    with redis.from_url(url) as client:
        deadline = time.monotonic() + 10
        while client.info("persistence")["rdb_bgsave_in_progress"]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert client.info("persistence")["rdb_last_bgsave_status"] == how


@pytest.fixture
def unable_to_save(valkey: Valkey, valkey_settings: Callable[..., None]) -> Iterator[None]:
    """Valkey makes snapshots, and could not make the last one for want of a disk. Now it could."""
    valkey_settings("save", "3600 1000000000")  # as good as never by itself
    valkey._folder.chmod(0o555)
    with redis.from_url(valkey.url) as client:
        client.bgsave()
        saved(valkey.url, "err")
        valkey._folder.chmod(0o700)
        yield
        client.bgsave()
    saved(valkey.url, "ok")
    (valkey._folder / "dump.rdb").unlink()


@pytest.mark.usefixtures("unable_to_save")
@pytest.mark.parametrize("number", [0, 1], ids=["saves again", "saves nothing"])
def test_a_valkey_that_could_not_save_does_or_need_not(patient: Patient, number: int) -> None:
    found = patient.examined()["persistence"]
    assert found["state"] == "warning"
    patient.does(commands_of(found)[number])
    if not number:
        saved(patient.redis_url, "ok")
    assert patient.states()["persistence"] == "ok"


def test_a_key_that_others_may_read_is_closed(patient: Patient) -> None:
    keys = patient.shell.data / "keys"
    (keys / "default.pem").chmod(0o640)
    patient.obeys("key permissions", "failure")
    keys.chmod(0o755)
    patient.obeys("key permissions", "warning")


def test_a_key_that_is_gone_is_missed_until_it_is_back(patient: Patient) -> None:
    file = patient.shell.data / "keys" / "default.pem"
    aside = file.rename(file.with_suffix(".aside"))
    found = patient.examined()["signing key"]
    assert found["state"] == "failure"
    assert "Bring it back from a backup" in found["do"]
    aside.rename(file)
    assert patient.states()["signing key"] == "ok"


def test_another_key_is_not_taken_for_the_accounts(patient: Patient) -> None:
    file = patient.shell.data / "keys" / "default.pem"
    of_account = file.read_bytes()
    file.write_bytes(export(rsa.generate_private_key(65_537, 2048), None))
    found = patient.examined()["signing key"]
    assert (found["state"], "differs" in found["said"]) == ("failure", True)
    file.write_bytes(of_account)
    assert patient.states()["signing key"] == "ok"


def test_a_passphrase_file_is_there_not_empty_and_closed(patient: Patient, tmp_path: Path) -> None:
    file = tmp_path / "pass phrase"
    setting = {"KEYTURN_SIGNING_PASSPHRASE_FILE": str(file)}
    assert patient.states(**setting)["passphrase"] == "failure"
    file.touch()
    found = patient.examined(**setting)["passphrase"]
    assert (found["state"], "empty" in found["said"]) == ("failure", True)
    file.write_text("correct horse")
    file.chmod(0o644)
    patient.obeys("passphrase", "warning", **setting)


def test_an_unknown_setting_and_one_that_cannot_be_used_are_found_and_the_rest_is_looked_at(patient: Patient) -> None:
    found = patient.examined(KEYTURN_QEUE="1")
    assert (found["settings"]["state"], found["postgresql"]["state"]) == ("failure", "ok")
    assert found["settings"]["do"].startswith("Run `unset KEYTURN_QEUE`")
    assert "KEYTURN_QUEUE must be a whole number" in patient.examined(KEYTURN_QUEUE="x")["settings"]["said"]
    assert patient.states()["settings"] == "ok"


def test_no_password_is_told(patient: Patient) -> None:
    for environment in (
        {"DATABASE_URL": "postgresql://me:s3cret@127.0.0.1:1/x"}, {"REDIS_URL": "redis://me:s3cret@127.0.0.1:1"},
        {"DATABASE_URL": "postgresql://me:s3cret@[h/x"}, {"REDIS_URL": "redis://:s3cret/@h"},
    ):  # fmt: skip
        found = patient.examined(**environment)
        assert "failure" in {each["state"] for each in found.values()}
        assert "s3cret" not in json.dumps(found)


def test_an_address_that_is_none_is_not_taken_for_an_embedded_engine(patient: Patient) -> None:
    for engine, variable in (("postgresql", "DATABASE_URL"), ("valkey", "REDIS_URL")):
        found = patient.examined(**{variable: "nonsense"})
        assert found[engine]["said"] == f"{variable} is no address that can be used."
        assert (found[engine]["state"], found["settings"]["state"]) == ("failure", "failure")


def test_engines_that_are_not_there_are_failures(patient: Patient) -> None:
    states = patient.states(DATABASE_URL="postgresql://127.0.0.1:1/x", REDIS_URL="redis://127.0.0.1:1")
    assert (states["postgresql"], states["valkey"], states["signing key"]) == ("failure", "failure", "ok")
    assert "migrations" not in states


def test_a_port_that_somebody_else_has_is_found(patient: Patient) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        number = str(other.getsockname()[1])
        assert patient.states(PORT=number)["api port"] == "failure"
    assert patient.states(PORT=number)["api port"] == "ok"


def test_an_address_that_is_not_of_this_host_is_found(patient: Patient) -> None:
    found = patient.examined(PORT="8080", KEYTURN_HOST="192.0.2.1")["api port"]
    assert (found["state"], "192.0.2.1:8080" in found["said"]) == ("failure", True)


# Beside a server, and without one.


def examined(data: Path, **environment: str) -> tuple[int, dict[str, Any]]:
    """Run the console script on embedded engines, as an operator does."""
    bare = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    command = [KEYTURN, "doctor", "--data", data, "--json"]
    done = subprocess.run(command, capture_output=True, check=False, env={**bare, "PORT": "0", **environment})
    said = json.loads(done.stdout)
    return done.returncode, {each["name"]: each for each in said["findings"]}


def test_beside_a_server_its_engines_ports_and_settings_are_looked_at(live: Live) -> None:
    _, found = examined(live.data)
    for name in ("postgresql", "valkey", "migrations", "signing key", "installation", "log room"):
        assert found[name]["state"] == "ok", found[name]
    assert found["server"]["said"] == f"A server runs with these settings (process {live.process.pid})."
    number = live.url.rpartition(":")[2]
    _, found = examined(live.data, PORT=number)
    assert "held by the server" in found["api port"]["said"]
    assert (found["server"]["state"], found["server"]["said"].endswith("has other settings: PORT.")) == ("warning", True)
    assert live.ready()


def test_without_a_server_embedded_engines_run_for_the_moment(folder: Path) -> None:
    data = folder / "data"
    code, found = examined(data)
    assert (code, found["postgresql"]["state"], found["valkey"]["state"]) == (1, "failure", "failure")
    assert "signing key" not in found
    assert not data.exists()
    subprocess.run([KEYTURN, "--data", data, "migrate"], check=True, capture_output=True)
    _, found = examined(data)
    for name in ("postgresql", "valkey", "migrations", "signing key", "key permissions", "installation", "clocks"):
        assert found[name]["state"] == "ok", found[name]
    home = prepare(data)
    assert not (home.sockets / "valkey.sock").exists()  # it was ended in order
    assert leftovers("postgres", home.mark) == leftovers("valkey-server", str(home.sockets / "valkey.sock")) == []


# The host, as it is and as it might be.


def process(folder: Path, argv: list[str], environment: dict[str, str], cwd: Path, files: str = "4096") -> None:
    folder.mkdir(parents=True)
    (folder / "cmdline").write_bytes(b"".join(each.encode() + b"\0" for each in argv))
    (folder / "environ").write_bytes(b"".join(f"{name}={value}\0".encode() for name, value in environment.items()))
    (folder / "limits").write_text(f"Limit  Soft Limit  Hard Limit  Units\nMax open files            1024 {files} files\n")
    (folder / "cwd").symlink_to(cwd)


SERVES = ["/opt/keyturn/.venv/bin/python3", "/opt/keyturn/.venv/bin/keyturn"]


def test_the_server_of_a_data_folder_is_told_from_others(tmp_path: Path) -> None:
    processes, work = tmp_path / "proc", tmp_path / "work"
    work.mkdir()
    (processes / "self").mkdir(parents=True)
    process(processes / "9", [SERVES[0], "/opt/other/tool", "serve"], {"DATA": "d"}, work)
    process(processes / "10", ["bash", "keyturn", "serve"], {"DATA": "d"}, work)
    process(processes / "11", [*SERVES, "doctor"], {}, work)
    process(processes / "12", [*SERVES, "serve"], {"KEYTURN_QUEUE": "nonsense"}, work)
    process(processes / "13", [*SERVES, "serve"], {}, work)
    process(processes / "14", [*SERVES, "--data", "a", "serve", "--data=b", "--port", "9"], {"DATA": "c", "PORT": "8"}, work)
    process(processes / "15", [*SERVES, "serve"], {"DATA": "c", "KEYTURN_QUEUE": "7"}, work, "unlimited")
    found = {name: host.running(work / name, processes) for name in ("var", "a", "b", "c", "d")}
    pids = {name: each and each.pid for name, each in found.items()}
    assert pids == {"var": 13, "a": None, "b": 14, "c": 15, "d": None}
    assert found["b"] is not None
    assert (found["b"].config.port, found["b"].files) == (9, 4096)
    assert found["c"] is not None
    assert found["c"].config.queue == 7
    assert found["c"].files > 2**60


def test_the_disk_is_that_of_the_folder_or_of_where_it_will_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    (there,) = host.disks(tmp_path)
    (not_yet,) = host.disks(tmp_path / "a" / "b")
    assert there.total == not_yet.total > there.free > 0
    assert not_yet.folder == tmp_path / "a" / "b"
    (tmp_path / "engines").write_text("/")
    assert [each.folder for each in host.disks(tmp_path)] == [tmp_path, Path("/")]
    assert host.own_files() > 0
