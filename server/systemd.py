"""What systemd and the supervisor tell each other: the listening socket that it opened, and how far the start or end is.

Sources: sd_listen_fds(3), sd_notify(3). Without systemd there is nothing to take and nobody to tell. The watchdog is left
out: a supervisor that hangs stops no worker, and ending all of them for it would be the greater harm.
"""

import socket
from collections.abc import MutableMapping
from contextlib import suppress

from server.config import ConfigError

FIRST = 3  # the descriptor at which the handed-over ones begin
READY, RELOADING, STOPPING = "READY=1", "RELOADING=1", "STOPPING=1"


def inherited(environment: MutableMapping[str, str], pid: int) -> socket.socket | None:
    """Take over the listening socket of this process, if it was given one, and forget it for the processes below.

    Raises `ConfigError` if what was given is not one listening TCP socket.
    """
    given = {name: environment.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")}
    if given["LISTEN_PID"] != str(pid):
        return None
    if given["LISTEN_FDS"] != "1":
        raise ConfigError(f"systemd handed over {given['LISTEN_FDS']} sockets; the socket unit must have one ListenStream=.")
    listening = socket.socket(fileno=FIRST)
    listening.set_inheritable(False)
    listening.setblocking(False)  # noqa: FBT003
    is_tcp = listening.family in (socket.AF_INET, socket.AF_INET6) and listening.type == socket.SOCK_STREAM
    if not (is_tcp and listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)):
        listening.close()
        raise ConfigError("systemd handed over no listening TCP socket: ListenStream= must be a port, with Accept=no.")
    return listening


def notify(address: str, state: str) -> None:
    """Tell systemd a state. `address` is what NOTIFY_SOCKET says, '' if nobody listens; nobody who does is waited for."""
    if not address:
        return
    path = "\0" + address[1:] if address.startswith("@") else address
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)  # noqa: FBT003
        sender.sendto(state.encode(), path)
