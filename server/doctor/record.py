"""The checks of what is in the database: its schema, room for the log, the daily job, and whether it is still itself."""

from collections.abc import Iterator

from server.doctor.findings import Finding, failure, ok, warning
from server.doctor.readings import Readings, Trouble
from storage.postgres.condition import Schema
from storage.postgres.migrate import OLDEST_SCHEMA, PROGRAM
from storage.postgres.sql import migrations

DAY = 86_400
LITTLE_ROOM, SOME_ROOM = 7, 30  # days
LATE_DAYS = 3


def schema(readings: Readings) -> Iterator[Finding]:
    """Check that all migrations are applied, none is unknown, and there is an account."""
    if isinstance(readings.postgres, Trouble):
        return
    found = readings.postgres.schema
    if found is None:
        yield failure("migrations", "The database has no schema of Keyturn's.", "Run `keyturn migrate`.")
        return
    yield _migrations(found)
    if found.accounts:
        yield ok("account", f"Account {', '.join(each.name for each in found.accounts)}.")
    else:
        yield failure("account", "The database has no account.", "Run `keyturn migrate`: it makes the account and its key.")


def _migrations(found: Schema) -> Finding:
    applied, known = dict(found.migrations), {number: name for number, name, _ in migrations()}
    newest = max(applied, default=0)
    missing = sorted(known.keys() - applied.keys())
    other = sorted(number for number in known.keys() & applied.keys() if applied[number] != known[number])
    if other:
        said = f"Migration {other[0]} of the database is {applied[other[0]]}, that of this program {known[other[0]]}."
        return failure("migrations", said, "Install the program that made this database.")
    if found.oldest_program > PROGRAM:
        said = f"The schema ({newest}) serves programs from {found.oldest_program} on; this one knows {PROGRAM}."
        return failure("migrations", said, "Install the newer Keyturn again: a schema never goes back.")
    if missing:
        said = f"Not applied: {', '.join(known[number] for number in missing)}."
        serves = missing[0] > OLDEST_SCHEMA
        return (warning if serves else failure)("migrations", said, "Run `keyturn migrate`.")
    if newest > PROGRAM:
        said = f"The schema ({newest}) is newer than this program ({PROGRAM}), and still serves it."
        return warning("migrations", said, "Install the newer Keyturn on this host, too.")
    return ok("migrations", f"All {len(known)} are applied, and no others.")


def log_room(readings: Readings) -> Iterator[Finding]:
    """Check that the log has partitions for the time to come: without one, no call can be answered."""
    found = _schema(readings)
    if found is None:
        return
    days = ((found.log_until or 0) - readings.now) / DAY
    said = f"The log has room for {max(days, 0):.0f} days."
    do = "Run `keyturn migrate`. A running server does it by itself; if it did not, `upkeep.failed` in its log says why."
    if days < LITTLE_ROOM:
        yield failure("log room", said, do)
    elif days < SOME_ROOM:
        yield warning("log room", said, do)
    else:
        yield ok("log room", said)


def retention(readings: Readings) -> Iterator[Finding]:
    """Check that what has become too old is anonymised and removed."""
    found = _schema(readings)
    if found is None or found.retained is None:
        return
    days = (readings.now - found.retained) / DAY
    do = "Let `keyturn serve` run: it does it at its start, and daily. `retention.failed` in its log says why it could not."
    if not found.retained:
        yield warning("retention", "The daily job, which anonymises and removes what is too old, was never complete.", do)
    elif days > LATE_DAYS:
        yield warning("retention", f"The daily job was last complete {days:.0f} days ago.", do)
    else:
        yield ok("retention", f"The daily job was last complete {max(days, 0) * 24:.0f} hours ago.")


def itself(readings: Readings) -> Iterator[Finding]:
    """Check that the database is where it was made, or made ready: a copy gives out ids that were given out before."""
    found = _schema(readings)
    if found is None:
        return
    if found.home and found.here and found.home != found.here:
        said = "The database was not made in this PostgreSQL, or not under this name: it was restored, copied or moved here."
        yield failure("installation", said, "Stop Keyturn on all hosts, run `keyturn restored`, and start it again.")
    else:
        yield ok("installation", f"Installation {found.installation}.")


def _schema(readings: Readings) -> Schema | None:
    return None if isinstance(readings.postgres, Trouble) else readings.postgres.schema


CHECKS = (schema, log_room, retention, itself)
