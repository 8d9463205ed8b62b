"""The checks of the host: disk, limits, the files of keys, settings, ports, and who can reach them."""

import ipaddress
import pwd
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from server.config import VARIABLES, Config
from server.doctor.findings import Finding, failure, ok, parted, warning
from server.doctor.readings import Holder, KeyFile, Mode, Port, Readings

GIB = 2**30
LITTLE, SCARCE = (0.10, 5 * GIB), (0.02, GIB)  # of free disk: a part of all, and bytes
FEW_FILES, ENOUGH_FILES = 1_024, 10_000
FOR_OTHERS, FOR_GROUP, FOR_ALL = 0o077, 0o070, 0o007
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 (what is looked for)
# What commands may have otherwise than the server that runs: it is for the server alone.
OF_THE_SERVER = frozenset({"data", "workers", "log_level"})


def disk(readings: Readings) -> Iterator[Finding]:
    """Check that there is room. On a full disk every call is refused."""
    for each in readings.disks:
        said = f"{each.folder} has {each.free / GIB:.1f} GiB free, {each.free / each.total:.0%}."
        do = f"Make room there: `du -xh --max-depth=2 {_word(each.folder)} | sort -h | tail` shows what is large."
        if _is_below(SCARCE, each.free, each.total):
            yield failure("disk", said, do)
        elif _is_below(LITTLE, each.free, each.total):
            yield warning("disk", said, do)
        else:
            yield ok("disk", said)


def _is_below(bound: tuple[float, int], free: int, total: int) -> bool:
    part, size = bound
    return free < part * total or free < size


def files(readings: Readings) -> Iterator[Finding]:
    """Check how many files a worker may have open, which is how many connections."""
    number = readings.files
    said = f"A worker may have {number:,} files open." if number < 2**62 else "A worker may have any number of files open."
    do = "Set LimitNOFILE=65536 in the systemd unit (compose: ulimits, nofile), or run `ulimit -n 65536` as root before it."
    if number < FEW_FILES:
        yield failure("open files", said, do)
    elif number < ENOUGH_FILES:
        yield warning("open files", said, do)
    else:
        yield ok("open files", said)


def keys(readings: Readings) -> Iterator[Finding]:
    """Check that each private key is there, the right one, and for nobody else to read."""
    for key in readings.keys:
        yield _key(key)
        if key.mode is not None:
            yield _private(key, key.mode, readings.owner)


def _key(key: KeyFile) -> Finding:
    if key.wrong:
        otherwise = f"Bring {key.path} back from your copy of it, or out of a backup (`keyturn restore`)."
        return failure("signing key", *parted(key.wrong, otherwise))
    compared = "is that of the account" if key.compared else "can be read; there was no database to compare it with"
    return ok("signing key", f"The private key in {key.path} {compared}.")


def _private(key: KeyFile, mode: Mode, owner: int) -> Finding:
    if mode.uid != owner:
        said = f"{key.path} belongs to {_user(mode.uid)}; Keyturn runs as {_user(owner)}."
        return failure("key permissions", said, f"Run `chown {_user(owner)} {_word(key.path)}`.")
    if mode.bits & FOR_OTHERS:
        said = f"Others than its owner may use {key.path} ({mode.bits:04o}): who reads it makes licenses of yours."
        return failure("key permissions", said, f"Run `chmod 600 {_word(key.path)}`.")
    if key.folder is not None and key.folder.bits & FOR_OTHERS:
        said = f"Others than its owner may enter {key.path.parent} ({key.folder.bits:04o})."
        return warning("key permissions", said, f"Run `chmod 700 {_word(key.path.parent)}`.")
    return ok("key permissions", f"Only {_user(owner)} can read it ({mode.bits:04o}).")


def _word(path: Path) -> str:
    return shlex.quote(str(path))


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def passphrase(readings: Readings) -> Iterator[Finding]:
    """Check that the passphrase can be read, and by nobody else."""
    file = readings.passphrase
    if file is None:
        yield ok("passphrase", "None is set: the private keys are not encrypted.")
        return
    if file.wrong or file.mode is None:
        otherwise = f"Have the passphrase in {file.path}, for {_user(readings.owner)} to read."
        yield failure("passphrase", *parted(file.wrong, otherwise))
        return
    bits, of_root = file.mode.bits, file.mode.gid == 0
    if bits & FOR_ALL or (bits & FOR_GROUP and not of_root):
        said = f"Others than its owner may use {file.path} ({bits:04o})."
        yield warning("passphrase", said, f"Run `chmod 600 {_word(file.path)}`.")
    else:
        yield ok("passphrase", f"{file.path} is for its owner only ({bits:04o}).")


def lanes(readings: Readings) -> Iterator[Finding]:
    """Tell how signatures are made."""
    if readings.lanes is not None:
        how = "Eight signatures are made at a time" if readings.lanes.active else "Signatures are made one at a time"
        yield ok("signer", f"{how}: {readings.lanes.why}.")


def settings(readings: Readings) -> Iterator[Finding]:
    """Check that every setting is one, and that those of the running server are these."""
    for name, wrong in readings.complaints.items():
        yield failure("settings", f"{name}: {wrong}", f"Run `unset {name}`, or correct it where it is set.")
    if not readings.complaints:
        yield ok("settings", "All settings are known and can be used.")
    if readings.server is None:
        yield ok("server", "No server runs on this DATA, as far as can be seen.")
    elif other := _differing(readings.config, readings.server.config):
        said = f"The server that runs here (process {readings.server.pid}) has other settings: {', '.join(other)}."
        do = "Give this command those of the server (systemd: `set -a; . /etc/keyturn.env; set +a`), or restart the server."
        yield warning("server", said, do)
    else:
        yield ok("server", f"A server runs with these settings (process {readings.server.pid}).")


def _differing(ours: Config, servers: Config) -> list[str]:
    """Return the variables of the settings that differ."""
    names = {each.name for each in fields(Config) if getattr(ours, each.name) != getattr(servers, each.name)} - OF_THE_SERVER
    return [variable for variable, name in VARIABLES.items() if name in names]


def ports(readings: Readings) -> Iterator[Finding]:
    """Check that the ports are free, or held by this very server."""
    for port in readings.ports:
        yield _port(port)


def _port(port: Port) -> Finding:
    where = f"{port.host}:{port.number}"
    variable = "PORT" if port.name == "api port" else "KEYTURN_OPS_PORT"
    if port.trouble:
        said = f"Nobody can listen on {where}: {port.trouble}."
        return failure(port.name, said, f"Choose an address of this host, and another {variable} if need be.")
    if port.holder is Holder.OTHER:
        said = f"{where} is in use, and not by a server that runs on this DATA, as far as can be seen."
        do = (
            f"See whose it is with `ss -ltnp 'sport = :{port.number}'` (that of systemd's keyturn.socket may stay), and end "
            f"that, or choose another {variable}."
        )
        return failure(port.name, said, do)
    return ok(port.name, f"{where} is {'free' if port.holder is Holder.NOBODY else 'held by the server'}.")


def reach(readings: Readings) -> Iterator[Finding]:
    """Check who can reach the API, and whose word on a client's address counts."""
    config = readings.config
    yield _api(config)
    if _is_loopback(config.ops_host):
        yield ok("ops reach", f"The ops port is for this host only ({config.ops_host}).")
    else:
        said = f"The ops port is open to others ({config.ops_host}), and asks for no password."
        yield warning("ops reach", said, "Set `KEYTURN_OPS_HOST=127.0.0.1`, or let a firewall keep others out.")
    yield _proxies(config)


def _api(config: Config) -> Finding:
    if _is_loopback(config.host):
        return ok("api reach", f"The API is for this host only ({config.host}): others need a proxy here.")
    who = "everybody who reaches this host" if config.host in EVERYWHERE else f"who reaches {config.host}"
    if config.trusted_proxies:
        return ok("api reach", f"The API is open to {who}; behind a proxy, nobody else should.")
    said = f"The API is open to {who}, without TLS: tokens and addresses travel in the clear."
    do = "Put a proxy with TLS in front of it (deploy/nginx/keyturn.conf), and set `KEYTURN_HOST=127.0.0.1`."
    return warning("api reach", said, do)


def _proxies(config: Config) -> Finding:
    trusted = ", ".join(map(str, config.trusted_proxies))
    if any(network.prefixlen == 0 for network in config.trusted_proxies):
        said = f"KEYTURN_TRUSTED_PROXIES is {trusted}: every client says for itself which address it has."
        return failure("trusted proxies", said, "Name the proxy alone, such as `KEYTURN_TRUSTED_PROXIES=127.0.0.1`.")
    if not config.trusted_proxies and _is_loopback(config.host):
        said = "No proxy is trusted: clients that come through one all seem to be on this host, and none is limited."
        return warning("trusted proxies", said, "If a proxy is on this host, set `KEYTURN_TRUSTED_PROXIES=127.0.0.1`.")
    return ok("trusted proxies", f"X-Forwarded-For counts from {trusted}." if trusted else "X-Forwarded-For never counts.")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


CHECKS = (disk, files, keys, passphrase, lanes, settings, ports, reach)
