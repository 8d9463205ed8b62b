"""Debian's nginx with the configuration that is shipped: only ports, folders and who it runs as are the test's own."""

import contextlib
import http.client
import json
import os
import re
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from licensing.internal import HelperMethods  # type: ignore[import-untyped]
from licensing.methods import Key  # type: ignore[import-untyped]
from servers import Live, start, stop
from shipping import free_port, replaced, running, wait_until

pytestmark = pytest.mark.deploy

DEBIAN = Path("/etc/nginx/nginx.conf")
CLIENT, MASKED = "127.9.8.7", "127.9.8.0"
MIB = 1024 * 1024
FORGED = {"X-Forwarded-For": "203.0.113.77", "X-Real-IP": "203.0.113.77", "Forwarded": "for=203.0.113.77"}


@dataclass(frozen=True, slots=True)
class Front:
    """A running nginx in front of a running Keyturn."""

    live: Live
    port: int
    folder: Path

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.folder / "cert.pem"))

    def connect(self, **options: Any) -> http.client.HTTPSConnection:
        values: dict[str, Any] = {"context": self.trust, "source_address": (CLIENT, 0), "timeout": 30, **options}
        return http.client.HTTPSConnection("localhost", self.port, **values)

    def ask(self, verb: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """One request of a connection of its own: status, headers in lower case, body."""
        with contextlib.closing(self.connect()) as connection:
            connection.request(verb, path, body, headers)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def activate(self, key: str, machine: str, path: str = "/api/key/Activate", **headers: str) -> dict[str, Any]:
        demo = self.live.demo
        names = {"token": demo["token"], "ProductId": demo["product_id"], "Key": key, "MachineCode": machine}
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        status, _, answer = self.ask("POST", path, urlencode({**names, "ModelVersion": 3}).encode(), **kind, **headers)
        assert status == 200
        return dict(json.loads(answer))

    def lines(self, least: int) -> list[str]:
        """The log, once it has so many lines: each is written after the answer."""
        path = self.folder / "keyturn.log"
        wait_until(lambda: len(path.read_text().splitlines()) >= least)
        return path.read_text().splitlines()


def configured(copy: Path, folder: Path, port: int, upstream: str, further: str = "") -> Path:
    """Debian's nginx.conf with the shipped one included, all their files in one folder; the path of it."""
    for name in ("cert.pem", "key.pem"):
        (folder / name).write_bytes((copy / "secrets" / name).read_bytes())
    known = (copy / "nginx" / "upstream.conf").read_text()
    (folder / "upstream.conf").write_text(replaced(known, {"127.0.0.1:8080": upstream}))
    site = {"listen 443": f"listen 127.0.0.1:{port}", "/etc/nginx/keyturn/": f"{folder}/", "/var/log/nginx": f"{folder}"}
    (folder / "keyturn.conf").write_text(replaced((copy / "nginx" / "keyturn.conf").read_text(), site))
    main = {
        "/run/nginx.pid": f"{folder}/nginx.pid", "/var/log/nginx": f"{folder}", "include /etc/nginx/sites-enabled/*;": "",
        "include /etc/nginx/conf.d/*.conf;": f"include {folder}/keyturn.conf; {further} {_temporary(folder)}",
        **({} if os.geteuid() == 0 else {"user www-data;": ""}),
    }  # fmt: skip
    path = folder / "nginx.conf"
    path.write_text(replaced(DEBIAN.read_text(), main))
    return path


def _temporary(folder: Path) -> str:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)


@contextlib.contextmanager
def nginx(copy: Path, live: Live, name: str, further: str = "", upstream: str = "") -> Iterator[Front]:
    folder, port = copy.parent / name, free_port()
    folder.mkdir(mode=0o755)
    path = configured(copy, folder, port, upstream or live.url.removeprefix("http://"), further)
    command = ["nginx", "-e", folder / "error.log", "-c", path]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert (checked.returncode, "[warn]" in checked.stderr) == (0, False), checked.stderr
    with running([*command, "-g", "daemon off;"], port, folder / "output"):
        yield Front(live, port, folder)


@pytest.fixture(scope="module")
def proxied(copy: Path) -> Iterator[Live]:
    """A Keyturn that trusts the proxy on its host, as the shipped settings of the service say."""
    settings = (copy / "systemd" / "keyturn.env").read_text()
    (trusted,) = re.findall(r"^KEYTURN_TRUSTED_PROXIES=(.*)$", settings, re.MULTILINE)
    server = start(copy.parent / "data", KEYTURN_TRUSTED_PROXIES=trusted)
    yield server
    assert stop(server) == 0


@pytest.fixture(scope="module")
def front(copy: Path, proxied: Live) -> Iterator[Front]:
    with nginx(copy, proxied, "front") as one:
        yield one


def known_of(live: Live, machine: str) -> list[str]:
    """The addresses in the Web API log of a machine's calls."""
    logs = live.call("ai/GetWebAPILog", Limit=1000)["logs"]
    return [each["ip"] for each in logs if each["machineCode"] == machine]


# ---- who calls


def test_the_python_sdk_activates_over_tls_and_the_log_has_the_clients_masked_address(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = socket.create_connection
    monkeypatch.setattr(socket, "create_connection", lambda at, timeout, _source: connect(at, timeout, (CLIENT, 0)))
    monkeypatch.setenv("SSL_CERT_FILE", str(front.folder / "cert.pem"))
    monkeypatch.setattr(HelperMethods, "server_address", f"https://localhost:{front.port}/api/")
    demo, key = front.live.demo, front.live.new_key(3)
    license, message = Key.activate(demo["token"], demo["public_key_xml"], demo["product_id"], key, "of-the-sdk")[:2]
    assert (license is not None, message) == (True, "")
    assert [each.IP for each in license.activated_machines] == [CLIENT]
    assert known_of(front.live, "of-the-sdk") == [MASKED]


def test_a_forged_header_does_not_get_through(front: Front) -> None:
    key = front.live.new_key(3)
    (machine,) = front.activate(key, "forger", **FORGED)["licenseKey"]["activatedMachines"]
    assert machine["ip"] == CLIENT
    assert known_of(front.live, "forger") == [MASKED]


def test_paths_reach_keyturn_as_clients_write_them(front: Front) -> None:
    key = front.live.new_key(3)
    for path in ("/api//key/activate/", "//api//key/Activate", "/api/key/activate?v=1"):
        assert front.activate(key, "m", path)["result"] == 0
    assert front.ask("GET", "/api/key/Activate?token=x")[2] == b'{"result":1,"message":"Unable to authenticate."}'
    status, headers, _ = front.ask("PUT", "/api/key/Activate")
    assert (status, headers["allow"]) == (405, "GET, POST")


# ---- what it writes down


def test_nginx_writes_neither_a_query_string_nor_a_full_address_nor_what_is_in_a_path(front: Front, copy: Path) -> None:
    key, before = front.live.new_key(3), len(front.lines(0))
    front.activate(key, "planted-machine")
    for path in ("/api/key/Activate?token=planted-token", "/planted-path?x=planted", "/api/key/GetKey/planted?planted"):
        front.ask("GET", path, **{"User-Agent": "planted-agent", "Referer": "planted-page", **FORGED})
    front.ask("POST", "/api/ai/RegisterEvents?planted", b"x" * (MIB + 1))
    for raw in (b"GET /api/planted HTTP/1.1\r\nno header\r\n\r\n", b"PLANTED\r\n\r\n", b"GET /?planted HTTP/1.1\r\n\r\n"):
        with front.trust.wrap_socket(socket.create_connection(("localhost", front.port), 30, (CLIENT, 0)),
                                     server_hostname="localhost") as line:  # fmt: skip
            line.sendall(raw)
            while line.recv(4096):
                pass
    with socket.create_connection(("localhost", front.port), 30, (CLIENT, 0)) as line:
        line.sendall(b"\x16\x03\x01\x00\x08planted!")  # no handshake that anybody would finish
        while line.recv(4096):
            pass
    lines = front.lines(before + 8)
    with nginx(copy, front.live, "gone", upstream=f"127.0.0.1:{free_port()}") as gone:
        assert gone.ask("GET", "/api/key/Activate?token=planted")[0] == 503
        (line,) = gone.lines(1)
        assert f" {MASKED} GET key/Activate 503 " in line
        assert "upstream=502" in line
    files = [path for one in (front, gone) for path in one.folder.iterdir() if path.is_file()]
    written = [path for path in files if path.suffix in ("", ".log")]
    assert {path.name for path in written} >= {"keyturn.log", "keyturn.error.log", "error.log", "output"}
    for path in written:
        text = path.read_text()
        assert "planted" not in text.lower()
        assert CLIENT not in text
        assert "203.0.113" not in text
    assert any(f" {MASKED} POST key/Activate 200 " in line for line in lines)
    assert {line.split()[1] for line in lines} == {MASKED}


ADDRESSES = {
    "203.0.113.77": "203.0.113.0",
    "2001:db8:77:1::5": "2001:db8:77::",
    "2001:db8::5": "2001:db8::",
    "2001:db8:0:77::5": "2001:db8:0::",
    "2001::5": "2001::",
    "2001:0:0:77::1": "2001:0:0::",
    "::1": "::",
    "::ffff:203.0.113.77": "203.0.113.0",
    "fe80::1:2:3:4": "fe80::",
    "2001:db8:77:1:2:3:4:5": "2001:db8:77::",
}


def test_any_address_is_masked_in_its_log(copy: Path, proxied: Live) -> None:
    told = f"set_real_ip_from {CLIENT}; real_ip_header X-Told;"
    with nginx(copy, proxied, "addresses", told) as one:
        for address in ADDRESSES:
            assert one.ask("GET", "/", **{"X-Told": address})[0] == 404
        assert [line.split()[1] for line in one.lines(len(ADDRESSES))] == list(ADDRESSES.values())


# ---- bounds


def test_what_nginx_itself_refuses_has_the_envelope_and_the_messages_of_keyturn(front: Front) -> None:
    status, headers, body = front.ask("POST", "/api/ai/RegisterEvents", b"x" * (MIB + 1))
    assert (status, body) == (413, b'{"result":1,"message":"The request is too large."}')
    assert headers["content-type"] == "application/json; charset=utf-8"
    status, _, body = front.ask("GET", "/" + "x" * 9000)
    assert (status, body) == (400, b'{"result":1,"message":"The input parameters were incorrect."}')
    with socket.create_connection(("localhost", front.port), 30, (CLIENT, 0)) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b'\r\n\r\n{"result":1,"message":"The input parameters were incorrect."}' in plain.recv(4096)


def test_without_keyturn_clients_get_its_503(copy: Path, proxied: Live) -> None:
    with nginx(copy, proxied, "nobody", upstream=f"127.0.0.1:{free_port()}") as one:
        status, headers, body = one.ask("POST", "/api/key/Activate", b"x")
        assert (status, headers["retry-after"], headers["content-type"]) == (503, "5", "application/json; charset=utf-8")
        assert json.loads(body)["message"] == "The service is temporarily unavailable. Please try again later."


def test_a_call_that_may_have_been_done_is_not_sent_again(copy: Path, proxied: Live) -> None:
    heard: list[bytes] = []

    class Dying(socketserver.StreamRequestHandler):
        """Answers the first request of a connection, and ends with the second: the first one may be kept, so it dies old."""

        def handle(self) -> None:
            for answer in (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", b""):
                while (line := self.rfile.readline()).strip():
                    heard.extend([line] if line.startswith(b"GET") else [])
                self.wfile.write(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dying) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever).start()
        try:
            with nginx(copy, proxied, "dying", upstream=f"127.0.0.1:{server.server_address[1]}") as one:
                asked = [one.ask("GET", f"/api/data/IncrementIntValueToKey?n={number}")[0] for number in range(8)]
        finally:
            server.shutdown()
    assert 503 in asked  # one was sent on an old connection
    assert len(heard) == len(set(heard)) == 8


def test_the_largest_body_reaches_keyturn_and_no_body_is_written_to_disk(front: Front) -> None:
    (front.folder / "client_body").chmod(0o000)
    os.chown(front.folder / "client_body", os.geteuid(), os.getegid())
    status, _, body = front.ask("POST", "/api/ai/RegisterEvents", b"token=" + b"x" * (MIB - 6))
    assert (status, json.loads(body)["message"]) == (200, "Unable to authenticate.")


def test_calls_of_many_clients_share_few_connections_to_keyturn(front: Front) -> None:
    def made() -> int:
        """How often nginx has connected: each end of a connection, open or just closed, that names Keyturn's port."""
        port = int(front.live.url.rpartition(":")[2])
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(int(row[2].partition(":")[2], 16) == port for row in rows)

    before = made()
    assert [front.ask("GET", "/api/key/Activate")[0] for _ in range(40)] == [200] * 40
    assert made() - before <= 2 * (os.cpu_count() or 1)


# ---- TLS


def test_the_certificate_that_is_made_to_try_out_is_p_256(copy: Path) -> None:
    command = ["openssl", "x509", "-in", copy / "secrets" / "cert.pem", "-noout", "-text"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "prime256v1" in text
    assert "DNS:localhost" in text


@pytest.mark.parametrize(("version", "spoken"), [
    (ssl.TLSVersion.TLSv1_1, None), (ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_tls_is_1_2_or_newer(front: Front, version: ssl.TLSVersion, spoken: str | None) -> None:
    context = front.trust
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # the client's own refusal shall not be taken for the server's
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(("localhost", front.port), 30) as line:
        if spoken is None:
            with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
                context.wrap_socket(line, server_hostname="localhost")
        else:
            with context.wrap_socket(line, server_hostname="localhost") as secured:
                assert secured.version() == spoken


def test_a_client_that_comes_again_resumes_its_session(front: Front) -> None:
    context = front.trust
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    session, resumed = None, []
    for _ in range(2):
        with socket.create_connection(("localhost", front.port), 30) as line, context.wrap_socket(
            line, server_hostname="localhost", session=session
        ) as secured:
            session = secured.session
            resumed.append(secured.session_reused)
    assert resumed == [False, True]
