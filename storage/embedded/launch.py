"""The few steps between fork and engine, a script of its own; it imports nothing of Keyturn and decides nothing.

A `preexec_fn` would do the same inside a copy of a process that may have threads, which can deadlock (Python 3.12 warns
of it), and uvloop knows neither `user=` nor `umask=`. So a small interpreter does the steps, then becomes the engine.

Arguments: the parent's pid, the signal for its death, "uid:gid" or "", the log file, the engine's own command line.
"""

import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def change_user(account: str) -> None:
    """Become `account` ("uid:gid") for good; nothing when it is empty."""
    if account:
        uid, gid = (int(number) for number in account.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)


def die_with(parent: int, farewell: int) -> None:
    """Have the kernel send `farewell` when `parent` dies. Only after change_user, which would clear it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(farewell), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it died before prctl, so no signal will come
        sys.exit("the process that starts the engines is gone")


def close_the_rest() -> None:
    """Close what was inherited besides stdin, stdout, stderr: uvloop leaves its ends of the pipes open in them."""
    for number in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if number > sys.stderr.fileno():
            with suppress(OSError):  # the one that listed them is closed already
                os.close(number)


def open_log(path: str) -> int:
    """Begin a log, the last one kept as .old. As the engine's user: the folder is theirs, a link may lead anywhere."""
    with suppress(FileNotFoundError):
        Path(path).replace(path + ".old")
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)


def main(parent: str, farewell: str, account: str, log: str, *command: str) -> None:
    """Take the steps, then become the engine. Any complaint goes to the old stderr, where spawn() reads it."""
    close_the_rest()
    change_user(account)
    die_with(int(parent), int(farewell))
    os.umask(0o077)
    descriptor = open_log(log)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores both, and an ignored signal survives exec
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    if not os.access(command[0], os.X_OK):
        sys.exit(f"{command[0]} cannot be run")
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.execv(command[0], command)  # noqa: S606 (no shell is what is wanted)


if __name__ == "__main__":
    main(*sys.argv[1:])
