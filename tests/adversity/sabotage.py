"""How tests break a server's database on purpose: functions without one of their lines, rows that stall, raise or kill."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

Connection = asyncpg.Connection
Change = tuple[str, str]

# What ledger_write() and its like lose, each a promise with it. The first text must be there, so that none rots.
NO_LICENSE_IS_STALE: Change = ("\nend $function$", "\n stale_licenses := '{}'; end $function$")
NOTHING_IS_STALE: Change = ("\nend $function$", "\n stale_licenses := '{}'; stale_facts := '{}'; end $function$")
CHECK = """
    select s.stale_licenses, s.stale_facts into stale_licenses, stale_facts
    from ledger_stale(p_licenses, p_stamps, p_facts, p_pair_license, p_pair_fact) s;
"""
LOCK = """
    if cardinality(p_changed) > 0 then
        perform from licenses l where l.id in (select c.id from unnest(p_changed) c) order by l.id for no key update;
    end if;
"""
CHECKED_BEFORE_THE_LOCK: tuple[Change, ...] = (
    (CHECK.strip(), ""),
    (LOCK.strip(), f"{CHECK} perform pg_sleep(0.05); {LOCK}"),
)  # the pause makes sure of what else would only happen now and then
LOGGED_TWICE: Change = (
    "from unnest(p_entries, p_entry_license)", "from generate_series(1, 2), unnest(p_entries, p_entry_license)"
)  # fmt: skip
NOT_LOGGED: Change = ("where e.n <> all (v_stale)\n    order by e.ordinal", "where false order by e.ordinal")
NO_LEASE: Change = ("if cardinality(p_leases) > 0 then", "if false then")
ENDS_NOT_LOGGED: Change = ("e.friendly_name,\n           e.floating_expires,", "e.friendly_name, 0,")
NO_MACHINE: Change = ("if cardinality(p_machines) > 0 then", "if false then")
NOT_FORGOTTEN: Change = ("if cardinality(p_forgotten) > 0 then", "if false then")
LOCKED_SLOWLY: Change = ("perform from licenses l where l.id in", "perform pg_sleep(0.001) from licenses l where l.id in")
LOCKED_IN_ANY_ORDER: Change = ("order by l.id for no key update", "order by random() for no key update")
SENT_AGAIN_IS_DONE_AGAIN: Change = ("if v_lane.last = p_number and not v_lane.abandoned then", "if false then")
ANY_NUMBER_WILL_DO: Change = ("elsif v_lane.last is distinct from p_number - 1 then", "elsif false then")
NO_WRITERS_LOCK: Change = ("select pg_advisory_xact_lock_shared(5437140)", "select 1")


@asynccontextmanager
async def rewritten(connection: Connection, function: str, *changes: Change) -> AsyncIterator[None]:
    """Have a function of the database say something else for the length of a `with`."""
    original = await connection.fetchval("select pg_get_functiondef($1::text::regproc)", function)
    text: str = original
    for old, new in changes:
        assert old in text, f"{function}() is not what it was: adapt the sabotage"
        text = text.replace(old, new)
    await connection.execute(text)
    try:
        yield
    finally:
        await connection.execute(original)


@asynccontextmanager
async def trigger(connection: Connection, table: str, condition: str, action: str) -> AsyncIterator[None]:
    """Do something before certain rows of a table are inserted, for the length of a `with`."""
    await connection.execute(
        f"""
        create function sabotage() returns trigger language plpgsql as $$ begin {action}; return new; end $$;
        create trigger sabotage before insert on {table} for each row when ({condition}) execute function sabotage();
        """
    )
    try:
        yield
    finally:
        await connection.execute(f"drop trigger sabotage on {table}; drop function sabotage()")


@asynccontextmanager
async def holding(dsn: str, statement: str) -> AsyncIterator[None]:
    """Hold what a statement locks for the length of a `with`, in a session of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute(statement)
            yield
    finally:
        await connection.close()


def lock_license(key: str) -> str:
    """The statement that locks a license as a writer does. `key` is one that a server made: letters and hyphens."""
    assert key.replace("-", "").isalpha()
    return f"select from licenses where key = '{key}' for update"


async def waiting(connection: Connection, number: int) -> bool:
    """Whether so many statements of servers wait for a lock. In a transaction PostgreSQL would repeat its first answer."""
    return number <= await connection.fetchval(
        "select count(*) from pg_stat_activity"
        " where wait_event_type = 'Lock' and application_name = 'keyturn' and datname = current_database()"
    )
