"""Reads what the host has: the server that runs, its limits and ports, disks, and who may read the files of keys."""

import errno
import resource
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from server import config as configuration
from server.config import Config, ConfigError
from server.doctor.readings import Disk, Holder, Mode, Port, Server

PROCESSES = Path("/proc")
UNBOUNDED = 2**63
LISTENS = "0A"  # the state of a listening socket in /proc/net/tcp
LOCAL, STATE, INODE = 1, 3, 9  # the columns there


def running(data: Path, processes: Path = PROCESSES) -> Server | None:
    """Return the supervisor that runs on a DATA folder; None if there is none, or none that we may look at."""
    return next((each for each in _servers(processes) if each.config.data == data.resolve()), None)


def _servers(processes: Path) -> Iterator[Server]:
    for process in processes.iterdir():
        try:
            argv = _texts(process / "cmdline") if process.name.isdecimal() else []
            if _serves(argv):
                yield Server(int(process.name), process.stat().st_uid, _files(process), _config(process, argv))
        except (OSError, ConfigError):  # it has ended, is another user's, or is just about to end
            continue


def _texts(path: Path) -> list[str]:
    return path.read_bytes().decode("utf-8", "surrogateescape").split("\0")[:-1]


def _serves(argv: list[str]) -> bool:
    """Whether these are the arguments of `keyturn serve`, a script of Python."""
    return len(argv) > 1 and "python" in Path(argv[0]).name and Path(argv[1]).name == "keyturn" and "serve" in argv


def _config(process: Path, argv: list[str]) -> Config:
    """Return the settings of a server, its DATA as a whole path. Raises `ConfigError`, `OSError`."""
    environment = dict(text.split("=", 1) for text in _texts(process / "environ") if "=" in text)
    folder = process.joinpath("cwd").readlink()
    numbers = {name: int(text) for name in ("port", "workers") if (text := _option(argv, name)).isdecimal()}
    data = Path(_option(argv, "data") or environment.get("DATA") or Config().data)
    return configuration.load(environment, **numbers, data=(folder / data).resolve())


def _option(argv: list[str], name: str) -> str:
    """Return the value of an option, the last one if it was given twice; '' if it was not."""
    found = [after for each, after in zip(argv, [*argv[1:], ""], strict=True) if each == f"--{name}"]
    found += [each.partition("=")[2] for each in argv if each.startswith(f"--{name}=")]
    return found[-1] if found else ""


def _files(process: Path) -> int:
    """Return how many files a process may have open: workers take all that they may (the hard limit)."""
    lines = process.joinpath("limits").read_text(encoding="ascii").splitlines()
    hard = next(line for line in lines if line.startswith("Max open files")).split()[4]
    return int(hard) if hard.isdecimal() else UNBOUNDED


def own_files() -> int:
    """Return how many files a process may have open that is started here."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return UNBOUNDED if hard == resource.RLIM_INFINITY else hard


def ports(config: Config, server: Server | None) -> tuple[Port, ...]:
    """Return the ports that the settings name, and who has them. One that is chosen at the start is none."""
    ops = config.ops_port or (config.port + 1 if config.port else 0)
    named = (("api port", config.host, config.port), ("ops port", config.ops_host, ops))
    return tuple(_port(name, host, number, server) for name, host, number in named if number)


def _port(name: str, host: str, number: int, server: Server | None) -> Port:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return Port(name, host, number, Holder.NOBODY, str(error.strerror))
            ours = server is not None and _listens(PROCESSES / str(server.pid), number)
            return Port(name, host, number, Holder.SERVER if ours else Holder.OTHER, "")
        except OverflowError:
            return Port(name, host, number, Holder.NOBODY, "there is no such port")
    return Port(name, host, number, Holder.NOBODY, "")


def _listens(process: Path, port: int) -> bool:
    """Whether a process has a listening socket on a port."""
    rows = [line.split() for each in ("tcp", "tcp6") for line in _lines(process / "net" / each)[1:]]
    at = f":{port:04X}"
    sockets = {f"socket:[{row[INODE]}]" for row in rows if row[STATE] == LISTENS and row[LOCAL].endswith(at)}
    return any(target in sockets for target in _targets(process / "fd"))


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="ascii").splitlines() if path.exists() else []


def _targets(folder: Path) -> Iterator[str]:
    """Return what the descriptors of a process lead to; nothing of a process that we may not look at."""
    try:
        for each in folder.iterdir():
            yield str(each.readlink())
    except OSError:
        return


def disks(data: Path) -> tuple[Disk, ...]:
    """Return the file systems of DATA and, where they are elsewhere, of the embedded engines."""
    elsewhere = data / "engines"
    folders = [data, Path(elsewhere.read_text(encoding="utf-8"))] if elsewhere.exists() else [data]
    return tuple(_disk(folder.absolute()) for folder in folders)


def _disk(folder: Path) -> Disk:
    there = next(each for each in (folder, *folder.parents) if each.exists())
    usage = shutil.disk_usage(there)
    return Disk(folder, usage.total, usage.free)


def mode(path: Path) -> Mode | None:
    """Return whose a file is and its permissions; None if it is not there, or we may not look."""
    try:
        known = path.stat()
    except OSError:
        return None
    return Mode(known.st_mode & 0o7777, known.st_uid, known.st_gid)
