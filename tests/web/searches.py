"""Searches through what a server keeps and shows, but for PostgreSQL's files: rows, Valkey, metrics, all that is written."""

import asyncpg
import redis.asyncio
from lines import ask, request
from planted import Hunt
from servers import Live

COLUMNS = """
select c.table_schema, c.table_name, c.column_name
from information_schema.columns c
join pg_class k on k.oid = format('%I.%I', c.table_schema, c.table_name)::regclass
where c.table_schema not in ('pg_catalog', 'information_schema') and k.relkind in ('r', 'p', 'm') and not k.relispartition
"""
STATISTICS = """
select tablename, attname, concat(most_common_vals::text, histogram_bounds::text, most_common_elems::text) as told
from pg_stats
where schemaname not in ('pg_catalog', 'information_schema')
"""
Places = dict[str, set[str]]


async def in_rows(database: "asyncpg.Connection[asyncpg.Record]", hunt: Hunt) -> Places:
    """Label -> the columns in which a row has it, whatever their type; and statements that PostgreSQL shows."""
    found: Places = {}
    columns = [tuple(row) for row in await database.fetch(COLUMNS)]
    known = {f"{table}.{column}" for _, table, column in columns}
    assert known >= {"licenses.key", "log.ip", "object_log.changes", "tokens.secret_hash"}
    texts = {}
    for schema, table, column in columns:
        statement = f"""select string_agg(t."{column}"::text, E'\\n') from "{schema}"."{table}" t"""
        texts[f"{table}.{column}"] = await database.fetchval(statement) or ""
    texts["pg_stat_activity.query"] = await database.fetchval("select string_agg(query, E'\\n') from pg_stat_activity")
    for place, text in texts.items():
        for label in hunt.in_bytes(text.encode()):
            found.setdefault(label, set()).add(place)
    return found


async def in_samples(database: "asyncpg.Connection[asyncpg.Record]", hunt: Hunt) -> Places:
    """Label -> the columns of which PostgreSQL keeps it as a sample, to plan by: those of indexes on expressions too."""
    found: Places = {}
    for table, column, told in await database.fetch(STATISTICS):
        for label in hunt.in_bytes(told.encode()):
            found.setdefault(label, set()).add(f"{table}.{column}")
    return found


async def in_valkey(live: Live, hunt: Hunt) -> Places:
    """Label -> the kinds of Valkey's keys whose name or content has it."""
    found: Places = {}
    client = redis.asyncio.from_url(live.demo["redis_url"])
    try:
        await client.config_set("rdbcompression", "no")  # or a dump would hide texts
        keys = [key async for key in client.scan_iter()]
        assert {_kind(key) for key in keys} >= {"seats", "limit"}
        for key in keys:
            for label in hunt.in_bytes(key + b"\n" + await client.dump(key)):
                found.setdefault(label, set()).add(f"Valkey.{_kind(key)}")
    finally:
        await client.aclose()
    return found


def _kind(key: bytes) -> str:
    return next(part.decode() for part in key.split(b":")[3:] if not part.isdigit())  # a number: how it is packed


async def in_metrics(live: Live, hunt: Hunt) -> set[str]:
    """The labels of what /metrics shows."""
    shown = (await ask(live.demo["ops_url"], request("/metrics", Host="localhost"))).body
    assert b"keyturn_calls_total" in shown
    return hunt.in_bytes(shown)


def in_writing(live: Live, hunt: Hunt) -> Places:
    """Label -> the files that have it: all below DATA but PostgreSQL's own, and what the server wrote on stderr."""
    found: Places = {}
    errors = live.data.with_name(f"{live.data.name}.log")
    paths = [path for path in live.data.rglob("*") if path.is_file() and "cluster" not in path.parts]
    assert {"demo.json", "postgres.log", "valkey.log", "default.pem"} <= {path.name for path in paths}
    for path in (errors, *paths):
        for label in hunt.in_bytes(path.read_bytes()):
            found.setdefault(label, set()).add(path.name)
    return found
