"""Where the engines of one DATA folder live and as whom they run, with passwords and lock; how they run: process.py.

As an ordinary user all is in DATA. PostgreSQL refuses to be run by root, so root has both engines run as *nobody*, who
owns DATA/postgres and DATA/valkey and nothing else. Where nobody cannot get to DATA (/root is 0700) the engines'
folders are below /var/lib/keyturn instead, and DATA/engines says where. A folder that is not ours is never opened to
others.
"""

import fcntl
import hashlib
import os
import pwd
import secrets
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import structlog

from storage.embedded.programs import Account, Programs, copied, forget_others, installed, usable, within_reach

log = structlog.get_logger()

ELSEWHERE = Path("/var/lib/keyturn")
ENGINES = ("postgres", "valkey")
LONGEST_SOCKET = 107  # bytes, sun_path of unix(7) without its final zero
SOCKET_TAIL = len("/keyturn-12345678/.s.PGSQL.5432")


class EngineFailed(Exception):
    """An engine cannot be started; the text says what to do about it."""


class Busy(Exception):
    """Another process owns this DATA folder."""


@dataclass(frozen=True, slots=True)
class Home:
    """What the engines of one DATA folder need to know; `account` is None when they run as we do."""

    data: Path
    engines: Path
    sockets: Path
    programs: Programs
    account: Account | None

    @property
    def mark(self) -> str:
        """A name for this place in the command lines of its processes, to know them by after a crash."""
        return _mark(self.engines)

    def secret(self, name: str) -> str:
        """Return the password in DATA/<name>.password, made at the first call; hexadecimal, so no URL need quote it."""
        path = self.data / f"{name}.password"
        if not path.exists():
            write_private(path, secrets.token_hex(32))
        return path.read_text(encoding="ascii")

    def open_sockets(self) -> None:
        """Make the folder of the sockets again if it is gone, under the same path: running workers have it in URLs."""
        if not _claim(self.sockets, self.account):
            note = self.data / "sockets"
            message = f"{self.sockets} is not a private folder of ours any more. Remove {note} and start again."
            raise EngineFailed(message)

    def leave_sockets(self) -> None:
        """Remove the folder of the sockets unless the other engine still has one in it."""
        try:
            self.sockets.rmdir()
        except OSError:
            return

    def tidy(self) -> None:
        """Remove program copies of other versions; for the holder of the lock, while no engine runs."""
        forget_others(self.programs, _shelf(self.engines))


class Lock:
    """The right to run the engines of one DATA folder, until release() or until the process and its forks are gone.

    The engines do not inherit it (close-on-exec). A child made by a bare fork does, and keeps it for its own life.
    """

    def __init__(self, descriptor: int) -> None:
        """Take over an open and locked descriptor."""
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock up; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        """Hold it for the length of a `with`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Release it."""
        self.release()


def lock(data: Path) -> Lock:
    """Take DATA/lock at once or raise Busy; makes DATA if it is not there."""
    path = _made(data) / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(descriptor, 20).decode("ascii", "replace") or "unknown"
        os.close(descriptor)
        message = f"Another Keyturn (process {holder}) runs on {data}. Stop it first, or choose another DATA."
        raise Busy(message) from error
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    return Lock(descriptor)


def prepare(data: Path) -> Home:
    """Make DATA ready for the engines and say where everything is. Raises EngineFailed where that cannot be.

    Take the lock first. Without it, call this only to look at a DATA whose engines run: then it changes nothing.
    """
    data = _made(data)
    account = _account()
    engines = _engines(data, account)
    for name in ENGINES:
        _give(engines / name, account)
    return Home(data, engines, _sockets(data, engines, account), _programs(engines, account), account)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all, and on disk when this returns."""
    descriptor, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    Path(aside).rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in `folder` on disk: a rename alone may be forgotten by a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _mark(path: Path) -> str:
    return f"keyturn-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"


def _account() -> Account | None:
    if os.geteuid():
        return None
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError as error:
        message = "PostgreSQL refuses to run as root and there is no user 'nobody'. Add one, or be another user."
        raise EngineFailed(message) from error
    return Account(nobody.pw_uid, nobody.pw_gid)


def _made(data: Path) -> Path:
    """Make DATA if it is not there: 0700, or as root 0710 for the group of nobody, who must pass to their folders."""
    data = data.resolve()
    data.parent.mkdir(parents=True, exist_ok=True)
    try:
        data.mkdir(mode=0o700)
    except FileExistsError:
        return data
    if account := _account():
        os.chown(data, -1, account.gid)
        data.chmod(0o710)
    return data


def _engines(data: Path, account: Account | None) -> Path:
    """Choose the folder of the engines' folders. Once chosen it stays: choosing anew would show an empty database."""
    note = data / "engines"
    if note.exists():
        engines = Path(note.read_text(encoding="utf-8"))
    elif account is None or (data / "postgres").exists() or within_reach(data, account):
        engines = data
    else:
        engines = _elsewhere(data)
        write_private(note, str(engines))
    _check(engines, account)
    if engines != data:
        log.warning("engines_elsewhere", data=str(data), engines=str(engines), reason="user nobody cannot reach DATA")
    return engines


def _elsewhere(data: Path) -> Path:
    """Make a folder of root's below /var/lib/keyturn that everyone may pass through and no one else may write to."""
    engines = ELSEWHERE / f"{data.name}-{_mark(data).removeprefix('keyturn-')}"
    for folder in (ELSEWHERE, engines):
        folder.mkdir(mode=0o711, exist_ok=True)
        known = folder.lstat()
        if known.st_uid or not stat.S_ISDIR(known.st_mode) or known.st_mode & 0o022:
            message = f"{folder} must be a folder of root that no one else may write to."
            raise EngineFailed(message)
    return engines


def _check(engines: Path, account: Account | None) -> None:
    """Refuse a folder of another user's engines, and one that the engines' user cannot reach any more."""
    expected = account.uid if account else os.geteuid()
    for folder in (engines / name for name in ENGINES):
        if folder.exists() and folder.stat().st_uid != expected:
            owner = folder.stat().st_uid
            message = (
                f"{folder} belongs to user {owner}, but the engines would run as user {expected}. "
                "Start Keyturn as the user that started it first."
            )
            raise EngineFailed(message)
    if account and not within_reach(engines, account):
        message = (
            f"{engines} holds the database, but user nobody cannot reach it. Let others pass through it and the folders "
            "above (chmod o+x), or move DATA to where they can."
        )
        raise EngineFailed(message)


def _give(folder: Path, account: Account | None) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    if account:
        os.chown(folder, *account)


def _shelf(engines: Path) -> Path:
    return engines / "programs"


def _programs(engines: Path, account: Account | None) -> Programs:
    programs = installed()
    if account is None or usable(programs, account):
        return programs
    copy = copied(programs, _shelf(engines))
    reason = "user nobody cannot reach the environment"
    log.warning("engine_programs_copied", programs=str(copy.valkey.parent), reason=reason)
    return copy


def _sockets(data: Path, engines: Path, account: Account | None) -> Path:
    """Choose the folder of the sockets: the last one if it can be had again, so that URLs stay the same, or a new one.

    DATA/sockets also names the DATA it is for, so that a copied DATA does not take over the sockets of the first.
    """
    note = data / "sockets"
    if note.exists():
        path, _, owner = note.read_text(encoding="utf-8").partition("\n")
        if owner == str(data) and _claim(Path(path), account):
            return Path(path)
    sockets = Path(tempfile.mkdtemp(prefix="keyturn-", dir=_base(engines, account)))
    _make_private(sockets, account)
    write_private(note, f"{sockets}\n{data}")
    return sockets


def _base(engines: Path, account: Account | None) -> Path:
    """Choose the folder for temporary files, or the engines' own where it is too long or root's alone (pam_tmpdir)."""
    for base in (Path(tempfile.gettempdir()).resolve(), engines):
        if len(os.fsencode(base)) + SOCKET_TAIL <= LONGEST_SOCKET and (account is None or within_reach(base, account)):
            return base
    message = "No short enough folder for the engines' sockets. Set TMPDIR to one, such as the system's."
    raise EngineFailed(message)


def _claim(path: Path, account: Account | None) -> bool:
    """Have `path` as our private folder: made now, or ours already. False when it is neither."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        return _is_private(path, account)
    except OSError:
        return False
    _make_private(path, account)
    return True


def _make_private(path: Path, account: Account | None) -> None:
    """As root: the engines own it, and workers get in by our group."""
    if account:
        os.chown(path, account.uid, os.getgid())
        path.chmod(0o750)


def _is_private(path: Path, account: Account | None) -> bool:
    """Is it exactly what _make_private leaves? Others may make that name, but not with our owner and group."""
    known = path.lstat()
    if account:
        expected = (stat.S_IFDIR | 0o750, account.uid, os.getgid())
    else:
        expected = (stat.S_IFDIR | 0o700, os.geteuid(), known.st_gid)
    return (known.st_mode, known.st_uid, known.st_gid) == expected
