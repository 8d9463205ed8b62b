"""What `keyturn migrate` does: the schema is brought up to this program, and the account made, under signs of life."""

import asyncio
import datetime
from contextlib import AsyncExitStack
from pathlib import Path

import typer

from server.account import ensure, key_file
from server.cli.session import explained, settings
from server.cli.terminal import ERR, remark, result, visible
from server.config import Config
from server.engine import running
from server.signing_keys import passphrase
from storage.postgres.admin import administration
from storage.postgres.migrate import PROGRAM, unfinished
from storage.postgres.migrate import finish as finish_schema
from storage.postgres.migrate import migrate as migrate_schema
from storage.records import Account


def migrate(ctx: typer.Context, private_key: Path | None) -> None:
    """Migrate, and say what was done, and what is left to be done."""
    config = settings(ctx)
    with explained(config):
        applied, left, account = asyncio.run(_migrate(config, private_key))
    for name in applied:
        result(f"Applied {name}.")
    if not applied:
        result(f"The schema is up to date (migration {PROGRAM}).")
    if left:
        remark(f"Once no older Keyturn runs anywhere, `keyturn migrate --finish` takes away what only those need: {left}.")
    remark(f"The key of account {visible(account.name)} is in {key_file(config.data / 'keys')}. Keep a copy of it.")


def finish(ctx: typer.Context) -> None:
    """Finish migrations, and say which."""
    config = settings(ctx)
    with explained(config):
        finished = asyncio.run(_finish(config))
    for name in finished:
        result(f"Finished {name}.")
    if not finished:
        result("There is nothing to be finished.")


async def _finish(config: Config) -> list[str]:
    with ERR.status("Connecting to PostgreSQL …") as status:
        async with running(config, status.update) as (dsn, _momentary):
            status.update("Finishing migrations …")
            return await finish_schema(dsn)


async def _migrate(config: Config, private_key: Path | None) -> tuple[list[str], str, Account]:
    secret = passphrase(config.signing_passphrase_file)
    now = datetime.datetime.now(datetime.UTC)
    async with AsyncExitStack() as stack:
        with ERR.status("Connecting to PostgreSQL …") as status:
            dsn, _momentary = await stack.enter_async_context(running(config, status.update))
            status.update("Migrating the database …")
            applied = await migrate_schema(dsn, now)
            left = ", ".join(await unfinished(dsn))
            admin = await stack.enter_async_context(administration(dsn))
            account = await ensure(admin, config.data / "keys", secret, int(now.timestamp()), private_key)
    return applied, left, account
