"""What `keyturn backup` does: all that is kept goes into one file, beside a running server or without one."""

import asyncio
import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from server import signing_keys
from server.account import key_file
from server.cli import archive
from server.cli.session import explained, settings
from server.cli.terminal import ERR, Problem, remark, visible, when
from server.config import Config
from server.engine import running
from storage.postgres.backup import Contents, Snapshot, Table, snapshot

SHORTEST_PASSPHRASE = 12  # bytes: the key's encryption has 2,048 rounds of PBKDF2, which are few

WITHOUT_KEY = """
The private key is NOT in this backup, and no restored server can start without it: no other key signs for the clients that
you have shipped. Keep a copy of {keys} elsewhere, or repeat this with --passphrase-file."""


def backup(ctx: typer.Context, file: Path, passphrase_file: Path | None, *, without_key: bool) -> None:
    """Take it, and say what is in it."""
    config = settings(ctx)
    archive.refuse_existing(file)  # early: before anything is asked or started
    secret = None if without_key else _passphrase(config, passphrase_file)
    _refuse_none(config)
    with explained(config):
        contents, rows = asyncio.run(_backup(config, file, secret))
    remark(f"{rows} rows as of {when(contents.taken)} are in {visible(str(file))}, personal data among them: keep it safe.")
    if secret is None:
        remark(WITHOUT_KEY.format(keys=visible(str(config.data / "keys"))).strip())
    else:
        remark("The private key is in it, encrypted. Keep the passphrase apart from it.")


def _passphrase(config: Config, given: Path | None) -> bytes | None:
    """Return the passphrase for the private key in the file: as given, as configured, or asked for; None: no key.

    Raises `KeyFileError`, and `Problem` for one that is too short to be chosen now.
    """
    if given is None and config.signing_passphrase_file is not None:
        return signing_keys.passphrase(config.signing_passphrase_file)
    secret = signing_keys.passphrase(given) or ask("A new passphrase for the private key (empty: leave the key out): ")
    if not secret:
        return None
    if len(secret) < SHORTEST_PASSPHRASE:
        raise Problem(f"The passphrase needs {SHORTEST_PASSPHRASE} characters or more: whoever has the file can try many.")
    if given is None and ask("Once more: ") != secret:
        raise Problem("These were two passphrases. Nothing was backed up.")
    return secret


def ask(what: str) -> bytes | None:
    """Ask a person for a passphrase; None if none is there."""
    return getpass.getpass(what).encode() if sys.stdin.isatty() else None


def _refuse_none(config: Config) -> None:
    """Refuse to begin an embedded database only to back it up."""
    if config.embedded and not (config.data / "postgres.password").exists():
        raise Problem(f"There is no embedded database in {config.data}. Name its folder with --data, or set DATABASE_URL.")


async def _backup(config: Config, file: Path, secret: bytes | None) -> tuple[Contents, int]:
    # Not `engine`: that would migrate the database, and an upgrade is what one may want to go back from.
    with archive.new_archive(file) as writer:
        async with running(config) as (dsn, _momentary), snapshot(dsn) as taken:
            if secret:
                _write_keys(config, taken.contents, writer, secret)
            with bar("Backing up", sum(table.size for table in taken.contents.tables)) as progress:
                rows = [await _copy(taken, table, writer, progress) for table in taken.contents.tables]
            writer.end(taken.contents)
        return taken.contents, sum(rows)


def _write_keys(config: Config, contents: Contents, writer: archive.Writer, secret: bytes) -> None:
    """Write the private key of each account, encrypted by the passphrase. Raises `KeyFileError`."""
    kept_with = signing_keys.passphrase(config.signing_passphrase_file)
    for account in contents.accounts:
        key = signing_keys.load(key_file(config.data / "keys", account.name), kept_with, account.public_key)
        with writer.part(archive.key_part(account.name)) as part:
            part.write(signing_keys.export(key, secret))


async def _copy(taken: Snapshot, table: Table, writer: archive.Writer, progress: "Bar") -> int:
    """Copy a table; what was thought of its size is put right at its end."""
    with writer.part(archive.table_part(table.name)) as part, progress.stretch(table.size) as advance:

        async def write(data: bytes) -> None:
            part.write(data)
            advance(len(data))

        part.rows = await taken.copy(table, write)
    return part.rows


class Bar:
    """A bar that fills with bytes. It may be told in stretches whose length is a guess: each ends where it was to end."""

    def __init__(self, progress: Progress, what: str, size: int) -> None:
        self._progress = progress
        self._task = progress.add_task(what, total=size)
        self._done = 0

    def advance(self, size: int) -> None:
        """Fill it by so many bytes more."""
        self._progress.advance(self._task, size)

    @contextmanager
    def stretch(self, size: int) -> Iterator[archive.Tell]:
        """Fill it by `size` bytes in all, whatever is told within."""
        left = size

        def advance(more: int) -> None:
            nonlocal left
            step = min(more, left)
            left -= step
            self.advance(step)

        yield advance
        self.advance(left)


@contextmanager
def bar(what: str, size: int) -> Iterator[Bar]:
    """Show a bar to whoever sits at a terminal, until the end of the `with`."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=ERR, transient=True, disable=not ERR.is_terminal) as progress:
        yield Bar(progress, what, size)
