"""The checks of the engines: whether they are there, new enough, safe for a record, and of one mind about the time."""

import re
import shlex
from collections.abc import Iterator

from server.doctor.findings import Finding, failure, ok, warning
from server.doctor.readings import Readings, Trouble
from storage.postgres.condition import Condition as Postgres
from storage.postgres.connect import OLDEST_SERVER

CONNECTIONS_A_WORKER, CONNECTIONS_BESIDE = 10, 10
# What scripts are safe in: older ones have holes in their Lua (CVE-2025-67733, CVE-2025-49844).
SAFE = {"valkey": (9, 0, 3), "redis": (8, 2, 2)}
OLDEST_REDIS = (6, 0, 0)  # knows HELLO 3
NEAR_FULL = 0.9
APART, TOO_FAR_APART = 1.0, 5.0  # seconds
SOURCES_OF_OURS = {  # pg_settings.source -> how a session of ours gets rid of it
    "database": 'alter database "{database}" reset {name}',
    "user": 'alter role "{role}" reset {name}',
    "database user": 'alter role "{role}" in database "{database}" reset {name}',
}


def postgres(readings: Readings) -> Iterator[Finding]:
    """Check that PostgreSQL answers, and is one that Keyturn can use."""
    found = readings.postgres
    if isinstance(found, Trouble):
        yield failure("postgresql", found.said, found.do)
    elif found.number // 10_000 < OLDEST_SERVER:
        said = f"PostgreSQL {found.version}: version {OLDEST_SERVER} or newer is needed."
        yield failure("postgresql", said, "Upgrade it with pg_upgrade, or take a backup and restore it into a newer one.")
    elif found.standby:
        said = f"PostgreSQL {found.version} is a standby: it takes no writes."
        yield failure("postgresql", said, "Let DATABASE_URL name the primary, or add ?target_session_attrs=primary to it.")
    else:
        yield ok("postgresql", f"PostgreSQL {found.version} answers.")


def connections(readings: Readings) -> Iterator[Finding]:
    """Check that PostgreSQL has room for the connections of the workers of this host."""
    found = readings.postgres
    if isinstance(found, Trouble):
        return
    workers = readings.config.workers or readings.cores
    needed = workers * CONNECTIONS_A_WORKER + CONNECTIONS_BESIDE
    said = f"PostgreSQL allows {found.connections} connections; {workers} workers and some commands take up to {needed}."
    if found.connections >= needed:
        yield ok("connections", said)
    else:
        fewer = f"Set `WORKERS={max((found.connections - CONNECTIONS_BESIDE) // CONNECTIONS_A_WORKER, 1)}`"
        more = f'`psql "$DATABASE_URL" -c "alter system set max_connections = {needed + 10}"`'
        own = f", or run {more} as a superuser and restart PostgreSQL"
        yield warning("connections", said, f"{fewer}{'' if readings.config.embedded else own}.")


def durability(readings: Readings) -> Iterator[Finding]:
    """Check that what PostgreSQL has confirmed is on disk, whole: each answered call relies on it."""
    found = readings.postgres
    if isinstance(found, Trouble):
        return
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        setting = found.settings[name]
        if setting.value == "off":
            said = f"{name} is off ({setting.source}): a crash loses or damages what was answered."
            yield failure(name, said, _turn_on(found, name, setting.source))
        else:
            yield ok(name, f"{name} is {setting.value}.")
    on = found.settings["data_checksums"].value == "on"
    yield ok("checksums", f"data_checksums is {'on' if on else 'off: damage on the disk would not be noticed'}.")


def _turn_on(found: Postgres, name: str, source: str) -> str:
    """Say how a setting is turned on, by where it was turned off."""
    if source in SOURCES_OF_OURS:
        statement = SOURCES_OF_OURS[source].format(name=name, role=_quoted(found.role), database=_quoted(found.database))
        return f'Run `psql "$DATABASE_URL" -c {shlex.quote(statement)}` and restart Keyturn.'
    if source in ("command line", "environment variable", "client"):
        return f"Take `{name}` out of PostgreSQL's command line and environment, and of DATABASE_URL, and restart it."
    where = 'psql "$DATABASE_URL"'
    return f"Run `{where} -c 'alter system set {name} = on'` and `{where} -c 'select pg_reload_conf()'` as a superuser."


def _quoted(name: str) -> str:
    return name.replace('"', '""')


def valkey(readings: Readings) -> Iterator[Finding]:
    """Check that Valkey answers, and is one that Keyturn can use."""
    found = readings.valkey
    if isinstance(found, Trouble):
        yield failure("valkey", found.said, found.do)
        return
    name, version = found.product.capitalize(), _numbers(found.version)
    safe = ".".join(map(str, SAFE[found.product]))
    if found.product == "redis" and version < OLDEST_REDIS:
        yield failure("valkey", f"Redis {found.version} is too old.", "Upgrade it to Valkey 9, or Redis 8.2.2 or newer.")
    elif found.replica:
        said = f"{name} {found.version} is a replica: it takes no writes."
        yield failure("valkey", said, "Let REDIS_URL name the primary.")
    elif version < SAFE[found.product]:
        said = f"{name} {found.version} is older than {safe}, which mended holes in its Lua."
        yield warning("valkey", said, f"Upgrade it to {safe} or newer, unless your distribution mended its own.")
    else:
        yield ok("valkey", f"{name} {found.version} answers.")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def eviction(readings: Readings) -> Iterator[Finding]:
    """Check that Valkey throws no seats away, and has room."""
    found = readings.valkey
    if isinstance(found, Trouble):
        return
    if found.policy != "noeviction":
        said = f"maxmemory-policy is {found.policy}: seats that are evicted are read anew while callers wait."
        do = 'Run `valkey-cli -u "$REDIS_URL" config set maxmemory-policy noeviction`, and write it into its configuration.'
        yield warning("eviction", said, do)
    elif found.most and found.used > NEAR_FULL * found.most:
        said = f"Valkey has {found.used:,} of {found.most:,} bytes in use, and takes no writes when they are full."
        do = f'Run `valkey-cli -u "$REDIS_URL" config set maxmemory {2 * found.most}`, and write it into its configuration.'
        yield warning("eviction", said, do)
    else:
        yield ok("eviction", f"maxmemory-policy is noeviction; {found.used:,} bytes are in use.")


def persistence(readings: Readings) -> Iterator[Finding]:
    """Check that Valkey does not refuse writes because it cannot save. What it has may be lost: nothing need be saved."""
    found = readings.valkey
    if isinstance(found, Trouble):
        return
    if found.unsaved:
        said = f"Valkey could not write {' and '.join(found.unsaved)} to its disk, and takes no writes until it can."
        do = (
            'Make room on its disk and run `valkey-cli -u "$REDIS_URL" bgsave`, or have it save nothing, as Keyturn '
            'lets it: `valkey-cli -u "$REDIS_URL" config set save "" appendonly no`.'
        )
        yield warning("persistence", said, do)
    else:
        kept = " and ".join(found.kept) or "nothing"
        yield ok("persistence", f"Valkey keeps {kept} on disk; nothing in it has to survive.")


def clocks(readings: Readings) -> Iterator[Finding]:
    """Check the clocks of host, PostgreSQL and Valkey against each other: seats end by them."""
    found = {"PostgreSQL": readings.postgres, "Valkey": readings.valkey}
    ahead = {name: each.ahead for name, each in found.items() if not isinstance(each, Trouble)}
    if not ahead:
        return
    apart = max(0.0, *ahead.values()) - min(0.0, *ahead.values())
    said = "; ".join(f"{name} is {_against(seconds)}" for name, seconds in ahead.items())
    do = "Have all these machines take their time from one source: `timedatectl set-ntp true` on each."
    if apart > TOO_FAR_APART:
        yield failure("clocks", f"{said}.", do)
    elif apart > APART:
        yield warning("clocks", f"{said}.", do)
    else:
        yield ok("clocks", f"Host and engines are within {apart:.1f} s.")


def _against(seconds: float) -> str:
    return f"{abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} this host"


CHECKS = (postgres, connections, durability, valkey, eviction, persistence, clocks)
