"""What `keyturn doctor` has read, before anything is made of it. Tests make these up."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from server.config import Config
from storage.postgres.condition import Condition as Postgres
from storage.redis.condition import Condition as Valkey


class Trouble(NamedTuple):
    """Why something could not be read, and what to do about it."""

    said: str
    do: str


class Disk(NamedTuple):
    """The file system of a folder, in bytes."""

    folder: Path
    total: int
    free: int


class Mode(NamedTuple):
    """Whose a file is, and its permissions."""

    bits: int
    uid: int
    gid: int


class KeyFile(NamedTuple):
    """The private key of an account, and the folder that it lies in. `wrong` is why it cannot be used, '' if it can.

    `compared` says whether the database was there to compare it with.
    """

    path: Path
    mode: Mode | None
    folder: Mode | None
    wrong: str
    compared: bool


class PassphraseFile(NamedTuple):
    """The file with the passphrase of the private keys."""

    path: Path
    mode: Mode | None
    wrong: str


class Lanes(NamedTuple):
    """Whether eight signatures are made at a time, and why not."""

    active: bool
    why: str


class Server(NamedTuple):
    """The supervisor that runs on this DATA, on this host; `files` is how many each of its processes may have open."""

    pid: int
    uid: int
    files: int
    config: Config


class Holder(StrEnum):
    """Who has a port."""

    NOBODY = "nobody"
    SERVER = "the running server"
    OTHER = "somebody else"


class Port(NamedTuple):
    """A port that a server would listen on; `trouble` is why nobody can, '' if that is not so."""

    name: str
    host: str
    number: int
    holder: Holder
    trouble: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """All of it. What belongs to a running server is None, or of this process, where none runs.

    `complaints` are those about settings, by variable; `now` is the host's time, `owner` whose the files should be, `files`
    how many a process may have open, `cores` how many the host has.
    """

    config: Config
    complaints: Mapping[str, str]
    now: float
    owner: int
    files: int
    cores: int
    disks: tuple[Disk, ...]
    server: Server | None
    ports: tuple[Port, ...]
    postgres: Postgres | Trouble
    valkey: Valkey | Trouble
    keys: tuple[KeyFile, ...]
    passphrase: PassphraseFile | None
    lanes: Lanes | None
