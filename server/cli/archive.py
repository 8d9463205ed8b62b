"""The file of a backup: a zip of tables, private keys and a manifest that says what each must be. Nothing is restored here.

The manifest comes last, and a zip's directory after it: a file that was cut off is no zip, and a part that was changed is
not what the manifest says. That tells damage, and a wrong file; it does not stop whoever can write the file.
"""

import hashlib
import json
import os
import tempfile
import zipfile
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from server.cli.terminal import Problem
from storage.embedded.home import sync_folder
from storage.postgres.backup import Contents, Logged, Table
from storage.records import Account

FORMAT = "keyturn backup 1"
MANIFEST = "manifest.json"
MOST_MANIFEST = 2**24  # bytes: some thousand months of the log
LEVEL = 1  # of compression: PostgreSQL is waited for, not the disk
PIECE = 2**18

# What reading a zip, its compression, or the manifest ends in.
_DAMAGE = (zipfile.BadZipFile, zlib.error, LookupError, TypeError, ValueError, EOFError, RuntimeError)

Tell = Callable[[int], None]


class Part(NamedTuple):
    """What one file in the zip must be. Of a table, `rows` says how many it has."""

    sha256: str
    size: int
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup has, and its parts by their names in the zip."""

    contents: Contents
    parts: Mapping[str, Part]

    @property
    def size(self) -> int:
        """How many bytes all parts have, not compressed."""
        return sum(part.size for part in self.parts.values())


def table_part(name: str) -> str:
    """Return the name of a table's part."""
    return f"tables/{name}"


def key_part(account: str) -> str:
    """Return the name of the part with the private key of an account."""
    return f"keys/{account}.pem"


class Writer:
    """A backup that is being written, part after part, and at last the manifest."""

    def __init__(self, zip_: zipfile.ZipFile, path: Path) -> None:
        self._zip = zip_
        self._path = path
        self._parts: dict[str, Part] = {}

    @contextmanager
    def part(self, name: str) -> Iterator["PartWriter"]:
        """Begin a part; it ends with the `with`."""
        with self._zip.open(name, "w", force_zip64=True) as file:
            writer = PartWriter(file, self._path)
            yield writer
        self._parts[name] = writer.part

    def end(self, contents: Contents) -> None:
        """Write the manifest."""
        self._zip.writestr(MANIFEST, json.dumps(_told(Manifest(contents, self._parts)), indent=1))


class PartWriter:
    """One part that is being written. Set `rows` before it ends, of a table."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file = file
        self._path = path
        self._digest = hashlib.sha256()
        self._size = 0
        self.rows = 0

    def write(self, data: bytes) -> None:
        """Write the next bytes. Raises `Problem`: an `OSError` would be taken for one of PostgreSQL's connection."""
        try:
            self._file.write(data)
        except OSError as error:
            raise Problem(f"{self._path} cannot be written: {error.strerror}.") from error
        self._digest.update(data)
        self._size += len(data)

    @property
    def part(self) -> Part:
        """What was written."""
        return Part(self._digest.hexdigest(), self._size, self.rows)


@contextmanager
def new_archive(path: Path) -> Iterator[Writer]:
    """Write a backup aside, for its owner only; have it on disk, whole and under its name, at the end of the `with`.

    Never over another file. Raises `Problem`, `OSError`.
    """
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.unfinished-", dir=path.parent)
    aside = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as zip_:
                yield Writer(zip_, path)
            file.flush()
            os.fsync(descriptor)
        _take_name(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    sync_folder(path.parent)


def refuse_existing(path: Path) -> None:
    """Raise `Problem` if there is a file of this name."""
    if os.path.lexists(path):
        raise Problem(f"{path} is there already and is not overwritten. Name a new file.")


def _take_name(aside: Path, path: Path) -> None:
    """Rename, but never over a file that came meanwhile: the name is taken first. Not by a link: some disks have none."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        refuse_existing(path)
        raise
    aside.rename(path)


class Archive:
    """A backup that is read. What it says of its parts is believed only once `verify` has seen all of them."""

    def __init__(self, path: Path, zip_: zipfile.ZipFile) -> None:
        """Read the manifest. Raises `Problem` if the file is no backup that this program can read."""
        self._path = path
        self._zip = zip_
        with self._intact():
            self.manifest = self._read_manifest()

    def verify(self, tell: Tell) -> None:
        """Read all parts, and hold them against the manifest; `tell` hears of the bytes read. Raises `Problem`."""
        parts = self.manifest.parts
        with self._intact():
            self._check_names()
            for name, part in parts.items():
                digest = hashlib.sha256()
                for data in self.pieces(name):
                    digest.update(data)
                    tell(len(data))
                if digest.hexdigest() != part.sha256:
                    raise ValueError(name)

    def pieces(self, name: str) -> Iterator[bytes]:
        """Return the bytes of a part. Raises `Problem` if they cannot be read, and as `PartWriter.write` no `OSError`."""
        with self._intact(), self._zip.open(name) as file:
            while data := file.read(PIECE):
                yield data

    def _check_names(self) -> None:
        """See that there is a part for each table, one or none for the key of each account, and nothing else."""
        contents, parts = self.manifest.contents, self.manifest.parts
        tables = {table_part(table.name) for table in contents.tables}
        keys = {key_part(account.name) for account in contents.accounts}
        if not tables <= parts.keys() <= tables | keys or sorted(self._zip.namelist()) != sorted([*parts, MANIFEST]):
            raise ValueError(MANIFEST)

    def _read_manifest(self) -> Manifest:
        if self._zip.getinfo(MANIFEST).file_size > MOST_MANIFEST:
            raise ValueError(MANIFEST)
        told = json.loads(self._zip.read(MANIFEST))
        if told["format"] != FORMAT:
            raise Problem(f"{self._path} has a form that this program does not know: restore it with the one that made it.")
        return _manifest(told)

    @contextmanager
    def _intact(self) -> Iterator[None]:
        """Say of which file it is that it is damaged. What is wrong in it is no matter: nothing of it is used."""
        try:
            yield
        except OSError as error:
            raise Problem(f"{self._path} cannot be read: {error.strerror}.") from error
        except _DAMAGE as error:
            raise damaged(self._path) from error


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open a backup. Raises `Problem` if it is none, `OSError`."""
    try:
        zip_ = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise damaged(path) from error
    with zip_:
        yield Archive(path, zip_)


def damaged(path: Path) -> Problem:
    """Return the error for a file that is not what a backup is."""
    return Problem(f"{path} is no backup of Keyturn, or damaged: not whole, or not as it was written. Nothing was changed.")


def _told(manifest: Manifest) -> dict[str, Any]:
    contents = asdict(manifest.contents)
    contents["accounts"] = [[each.id, each.name, b64encode(each.public_key).decode()] for each in manifest.contents.accounts]
    return {"format": FORMAT, "contents": contents, "parts": {name: part._asdict() for name, part in manifest.parts.items()}}


def _manifest(told: Any) -> Manifest:
    """Return what a manifest says. Raises whatever of it is not as it should be."""
    contents = dict(told["contents"])
    contents["accounts"] = tuple(Account(id_, name, b64decode(key)) for id_, name, key in contents["accounts"])
    contents["finished"] = tuple(contents.get("finished", ()))  # one of before has it not
    contents["last_logged"] = contents["last_logged"] and Logged(*contents["last_logged"])
    contents["tables"] = tuple(
        Table(name, tuple(columns), size, month and (month[0], month[1]))
        for name, columns, size, month in contents["tables"]
    )
    return Manifest(Contents(**contents), {name: Part(**part) for name, part in told["parts"].items()})
