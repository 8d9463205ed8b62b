"""Under systemd: the listening socket is taken over, and systemd is told when the server is ready and when it ends."""

import contextlib
import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from server import systemd
from server.config import ConfigError

GIVEN = {"LISTEN_PID": "77", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "keyturn.socket"}
# As systemd does it: the socket is descriptor 3 of the process whose id is named.
START = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.argv[2], [sys.argv[2], "serve"])
"""


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A TCP socket in the place of the first one that systemd hands over; who takes it over owns the descriptor."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        copy = os.dup(made.fileno())
        monkeypatch.setattr(systemd, "FIRST", copy)
        yield made


def test_what_was_given_to_another_process_or_to_nobody_is_left_alone() -> None:
    for given in ({}, GIVEN, {**GIVEN, "LISTEN_PID": ""}):
        assert systemd.inherited({**given}, 78) is None


def test_the_socket_is_taken_over_and_no_process_below_takes_it_for_its_own(handed: socket.socket) -> None:
    handed.listen()
    environment = {**GIVEN, "PORT": "1"}
    taken = systemd.inherited(environment, 77)
    assert taken is not None
    with taken:
        assert taken.getsockname() == handed.getsockname()
        assert not taken.getblocking()
        assert not taken.get_inheritable()
    assert environment == {"PORT": "1"}


@pytest.mark.usefixtures("handed")
def test_what_is_no_listening_socket_is_refused() -> None:
    with pytest.raises(ConfigError, match="no listening TCP socket"):
        systemd.inherited({**GIVEN}, 77)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(systemd.FIRST)


def test_two_sockets_are_refused() -> None:
    with pytest.raises(ConfigError, match="2 sockets"):
        systemd.inherited({**GIVEN, "LISTEN_FDS": "2"}, 77)


def test_systemd_is_told_by_a_path_or_an_abstract_name_and_not_waited_for(folder: Path) -> None:
    systemd.notify("", systemd.READY)
    systemd.notify(str(folder / "nobody"), systemd.READY)
    for address in (str(folder / "notify"), f"@{folder}"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(address.replace("@", "\0"))
            systemd.notify(address, systemd.READY)
            assert listener.recv(100) == b"READY=1"


def test_who_connects_before_the_start_is_answered_and_systemd_hears_of_start_and_end(folder: Path) -> None:
    environment = {
        **os.environ, "NOTIFY_SOCKET": str(folder / "notify"), "DATA": str(folder / "data"), "PORT": "0", "WORKERS": "1",
    }  # fmt: skip
    with contextlib.ExitStack() as stack:
        told = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        told.bind(environment["NOTIFY_SOCKET"])
        told.settimeout(60)
        given = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        early = stack.enter_context(contextlib.closing(http.client.HTTPConnection(*given.getsockname(), timeout=60)))
        early.request("GET", "/api/key/Activate")
        program = Path(sys.executable).with_name("keyturn")
        command = [sys.executable, "-c", START, str(given.fileno()), program]
        log = stack.enter_context((folder / "log").open("w"))
        server = subprocess.Popen(command, env=environment, pass_fds=(given.fileno(),), stderr=log)
        stack.callback(server.wait)
        stack.callback(server.terminate)
        assert told.recv(100) == b"READY=1"
        assert early.getresponse().status == 200
        server.terminate()
        assert told.recv(100) == b"STOPPING=1"
        assert server.wait(30) == 0
        with socket.create_connection(given.getsockname()):  # it is systemd's, and stays open for the next start
            pass
