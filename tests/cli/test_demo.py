"""The demo data: made at the first start, kept at every other."""

import json
from pathlib import Path

import asyncpg

from server import demo
from server.account import client_permissions, ensure
from server.methods import PERMISSIONS
from storage.postgres.admin import administration

ALLOWED = "select name, permissions from tokens order by id"


async def start(dsn: str, folder: Path) -> dict[str, object]:
    """What a start has of the demo."""
    async with administration(dsn) as admin:
        account = await ensure(admin, folder / "keys", None, 0)
        (await demo.prepare(admin, dsn, account, folder)).write()
    return json.loads((folder / "demo.json").read_text())


async def test_a_second_start_keeps_the_demo_and_its_tokens_may_do_what_a_newer_program_can(dsn: str, folder: Path) -> None:
    first = await start(dsn, folder)
    database = await asyncpg.connect(dsn)
    try:
        may = {"demo client": list(client_permissions()), "demo admin": list(PERMISSIONS)}
        assert dict(await database.fetch(ALLOWED)) == may
        await database.execute("update tokens set permissions = '{Activate}', stamp = 7")
        assert await start(dsn, folder) == first
        assert dict(await database.fetch(ALLOWED)) == may
        assert 7 not in {row["stamp"] for row in await database.fetch("select stamp from tokens")}
        told = await database.fetch("select object_id from object_log where object_type = 'Token' and action = 'Edit'")
        assert len(told) == 2
        assert await start(dsn, folder) == first
        assert len(await database.fetch("select from object_log where action = 'Edit'")) == 2
    finally:
        await database.close()
