"""What `keyturn restore` and `keyturn restored` do: a database that may serve is made of a backup, and the gap is told."""

import asyncio
import datetime
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import typer
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from server import signing_keys
from server.account import key_file
from server.cli import archive
from server.cli.archive import Archive
from server.cli.backup import ask, bar
from server.cli.session import explained, settings
from server.cli.terminal import ERR, Problem, facts, remark, visible, when
from server.config import Config
from server.engine import engine, running
from server.wire.sign import public_der
from storage.postgres.backup import Table
from storage.postgres.migrate import PROGRAM
from storage.postgres.restore import Source
from storage.postgres.restore import restore as restore_tables
from storage.postgres.restored import Gap
from storage.postgres.restored import restored as make_ready
from storage.records import Account

UNDONE = """
What was done after that is undone. Do again, as far as you know of it:
  - block the keys that were blocked, and lower the limits that were lowered;
  - revoke the tokens that were revoked (keyturn token revoke): they are good again;
  - remove the customers who were removed: whoever asked to be forgotten is known again;
  - give back the machines that were deactivated: they hold their places again.
Keys, tokens, customers and activations made since are gone; what was signed for them still verifies offline.
Valkey is asked for no seat of before: the first call on a license has its seats taken from the table."""


def restore(ctx: typer.Context, file: Path, passphrase_file: Path | None, data: Path | None, *, without_key: bool) -> None:
    """Restore a backup, and say what is missing."""
    config = settings(ctx, data=data)
    with archive.open_archive(file) as backup, explained(config):
        manifest = backup.manifest
        if manifest.contents.schema > PROGRAM:
            raise Problem(
                f"{file} was made by a newer Keyturn (schema {manifest.contents.schema}; this program knows {PROGRAM}). "
                "Install that one, and restore with it."
            )
        with bar("Checking", manifest.size) as progress:
            backup.verify(progress.advance)
        keys = [] if without_key else _keys(config, backup, file, passphrase_file)
        gap = asyncio.run(_restore(config, backup, keys))
    where = f"the embedded PostgreSQL of {config.data}" if config.embedded else "the database that DATABASE_URL names"
    remark(f"Restored {visible(str(file))}, taken {when(manifest.contents.taken)}, into {visible(where)}.")
    _tell(gap)
    if without_key:
        remark(f"No private key was looked for. The server starts once it is in {key_file(config.data / 'keys')}.")


def restored(ctx: typer.Context) -> None:
    """Make a database ready that was restored by other means, and say what is missing."""
    config = settings(ctx)
    with explained(config):
        _tell(asyncio.run(_restored(config)))


def _keys(config: Config, backup: Archive, file: Path, passphrase_file: Path | None) -> list[tuple[Path, RSAPrivateKey]]:
    """Return the private keys that are to be put in place, with their paths. Raises `Problem`, `KeyFileError`."""
    kept_with = signing_keys.passphrase(config.signing_passphrase_file)
    found = []
    for account in backup.manifest.contents.accounts:
        path = key_file(config.data / "keys", account.name)
        if path.exists():
            signing_keys.load(path, kept_with, account.public_key)
        else:
            found.append((path, _key(config, backup, account, file, passphrase_file)))
    return found


def _key(config: Config, backup: Archive, account: Account, file: Path, passphrase_file: Path | None) -> RSAPrivateKey:
    part = archive.key_part(account.name)
    if part not in backup.manifest.parts:
        raise Problem(
            "The private key is not in this backup. Put your copy of it into "
            f"{key_file(config.data / 'keys', account.name)} and repeat this, or restore the data alone with --without-key."
        )
    secret = signing_keys.passphrase(passphrase_file or config.signing_passphrase_file) or ask(
        "The passphrase of the private key in the backup: "
    )
    if not secret:
        raise Problem("The private key in the backup is encrypted: repeat this with --passphrase-file.")
    key = signing_keys.read_exported(file / part, b"".join(backup.pieces(part)), secret)
    if public_der(key.public_key()) != account.public_key:
        raise archive.damaged(file)
    return key


async def _restore(config: Config, backup: Archive, keys: Sequence[tuple[Path, RSAPrivateKey]]) -> Gap:
    contents, parts = backup.manifest.contents, backup.manifest.parts
    rows = {table.name: parts[archive.table_part(table.name)].rows for table in contents.tables}
    kept_with = signing_keys.passphrase(config.signing_passphrase_file)
    async with AsyncExitStack() as stack:
        with ERR.status("Connecting to PostgreSQL …") as status:
            dsn, _momentary = await stack.enter_async_context(running(config, status.update))
        progress = stack.enter_context(bar("Restoring", backup.manifest.size))

        async def read(table: Table) -> AsyncIterator[bytes]:
            for data in backup.pieces(archive.table_part(table.name)):
                progress.advance(len(data))
                yield data

        def put_keys() -> None:
            for path, key in keys:
                signing_keys.store(path, key, kept_with)

        source = Source(contents, rows, read)
        return await restore_tables(dsn, source, put_keys, datetime.datetime.now(datetime.UTC))


async def _restored(config: Config) -> Gap:
    with ERR.status("Connecting to PostgreSQL …") as status:
        async with engine(config, status.update) as dsn:
            return await make_ready(dsn)


def _tell(gap: Gap) -> None:
    """Say what is missing: on stdout what can be told exactly, then what a person has to do."""
    last = gap.last
    facts([
        ("Installation", f"{gap.installation} (new)"),
        ("Missing in the log", f"ids after {last.id if last else 0} and before {gap.next}"),
        ("of the time", f"{f'after {when(last.time)}' if last else 'from the first row on'}, until {when(gap.now)}"),
    ])  # fmt: skip
    remark(UNDONE.strip())
