"""Image and compose file, as far as they can be checked without a container: what they name is there, and fits together."""

import ipaddress
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from servers import Live, start, stop
from shipping import SHIPPED, free_port, replaced, running

from server import config
from storage.embedded import postgres
from storage.embedded.programs import installed

pytestmark = pytest.mark.deploy

ROOT = SHIPPED.parent
COMPOSE: dict[str, Any] = yaml.safe_load((SHIPPED / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
KEYTURN = SERVICES["keyturn"]


def instructions() -> list[tuple[str, str]]:
    """The lines of the Dockerfile as instruction and rest."""
    text = re.sub(r"\\\n\s*", "", (SHIPPED / "Dockerfile").read_text())
    found = [line.partition(" ") for line in text.splitlines() if line and line[0] != "#"]
    return [(name, rest) for name, _, rest in found]


def environment() -> dict[str, str]:
    """What Keyturn's container has in its environment: of the image, then of compose."""
    (image,) = [dict(pair.split("=", 1) for pair in rest.split()) for name, rest in instructions() if "KEYTURN_HOST" in rest]
    return {**image, **KEYTURN["environment"]}


# ---- the image


def test_the_image_is_made_of_what_is_there_and_runs_as_nobody_in_particular() -> None:
    copied = [rest.split() for name, rest in instructions() if name == "COPY" and "--from=build" not in rest]
    sources = [each for words in copied for each in words[:-1] if not each.startswith("--")]
    let_in = re.findall(r"^!(.+)$", (SHIPPED / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(source == each or source.startswith(f"{each}/") for each in let_in), source
    (user,) = [rest for name, rest in instructions() if name == "USER"]
    assert int(user) > 1000
    assert [rest for name, rest in instructions() if name == "FROM"] == ["python:3.11-slim AS build", "python:3.11-slim"]
    assert "--require-hashes" in (SHIPPED / "Dockerfile").read_text()


def test_what_the_image_installs_has_every_statement_and_script(tmp_path: Path) -> None:
    """The build's own steps, but for the locked dependencies: those are here already."""
    copied = [rest.split() for name, rest in instructions() if name == "COPY" and rest.split()[-1].startswith("/src/")]
    for source in (each for *sources, _ in copied for each in sources):
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        copy(ROOT / source, tmp_path / source)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-compile"]
    subprocess.run([*command, "--disable-pip-version-check", "--target", tmp_path / "installed", tmp_path], check=True)
    for kind in ("*.py", "*.sql", "*.lua", "static/*"):
        wanted = {path.relative_to(ROOT) for top in ("server", "storage") for path in (ROOT / top).rglob(kind)}
        found = {path.relative_to(tmp_path / "installed") for path in (tmp_path / "installed").rglob(kind)}
        assert wanted
        assert wanted <= found


@pytest.fixture(scope="module")
def live(copy: Path) -> Iterator[Live]:
    server = start(copy.parent / "data", workers=1)
    yield server
    assert stop(server) == 0


def test_the_health_check_of_the_image_succeeds_beside_a_server_that_serves_and_fails_without_one(live: Live) -> None:
    (check,) = [rest for name, rest in instructions() if name == "HEALTHCHECK"]
    program, *arguments = json.loads(check.partition("CMD ")[2])
    assert program == "python"
    for port, code in ((live.demo["ops_url"].rpartition(":")[2], 0), (str(free_port()), 1)):
        command = [sys.executable, *(each.replace(environment()["KEYTURN_OPS_PORT"], port) for each in arguments)]
        assert subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == code


def test_in_the_container_the_addresses_come_from_secrets(copy: Path) -> None:
    place = copy.parent / "place"
    place.mkdir()
    (place / "keyturn").write_text('#!/bin/sh\necho "$DATABASE_URL $REDIS_URL $*"\n')
    (place / "keyturn").chmod(0o755)
    paths = {"/run/secrets": str(copy / "secrets"), "/opt/keyturn/bin": str(place)}
    (place / "wrapper").write_text(replaced((copy / "container" / "keyturn").read_text(), paths))
    run = ["sh", str(place / "wrapper"), "key", "add"]
    without = {"PATH": os.environ["PATH"]}
    said = subprocess.run(run, check=True, capture_output=True, text=True, env=without).stdout.split()
    assert said == [(copy / "secrets" / name).read_text().strip() for name in ("database_url", "redis_url")] + ["key", "add"]


# ---- compose


def test_the_settings_of_the_container_are_what_keyturn_knows() -> None:
    given = environment()
    assert given.keys() - config.VARIABLES.keys() == {"PYTHONUNBUFFERED"}
    loaded = config.load(given)
    assert (loaded.port, loaded.ops_port) == (8080, 8081)
    assert loaded.signing_passphrase_file is not None
    assert loaded.signing_passphrase_file.name in KEYTURN["secrets"]


def test_nginx_and_prometheus_find_keyturn_and_keyturn_trusts_nginx_alone() -> None:
    loaded = config.load(environment())
    (network,) = (each["subnet"] for each in COMPOSE["networks"]["front"]["ipam"]["config"])
    addresses = {name: SERVICES[name]["networks"]["front"]["ipv4_address"] for name in ("keyturn", "nginx")}
    assert all(ipaddress.ip_address(each) in ipaddress.ip_network(network) for each in addresses.values())
    assert [str(each) for each in loaded.trusted_proxies] == [f"{addresses['nginx']}/32"]
    assert f"server keyturn:{loaded.port};" in (SHIPPED / "compose" / "upstream.conf").read_text()
    (targets,) = yaml.safe_load((SHIPPED / "compose" / "targets.yml").read_text())
    (host,) = targets["targets"]
    assert host == f"keyturn:{loaded.ops_port}"
    assert "keyturn" in loaded.ops_names
    for one, other in (("nginx", "keyturn"), ("prometheus", "keyturn"), ("grafana", "prometheus"),
                       ("keyturn", "postgres"), ("keyturn", "valkey")):  # fmt: skip
        assert set(SERVICES[one]["networks"]) & set(SERVICES[other]["networks"])
    assert set(SERVICES["postgres"]["networks"]) == {"back"} == set(SERVICES["valkey"]["networks"])
    assert COMPOSE["networks"]["back"]["internal"]


def test_only_nginx_is_published_beyond_this_host() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published.pop("nginx") == ["443:443"]
    assert published.keys() == {"prometheus", "grafana"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_every_service_has_a_version_a_health_check_an_end_and_a_bounded_log() -> None:
    for name, service in SERVICES.items():
        assert re.fullmatch(r"[a-z/]+:v?[0-9.]+", service["image"]) or name == "keyturn"
        assert service.get("healthcheck", {}).get("test") or name == "keyturn"  # its image has one
        assert service["restart"] == "unless-stopped"
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}
        assert service["security_opt"] == ["no-new-privileges:true"]
    unit = (SHIPPED / "systemd" / "keyturn.service").read_text()
    assert f"TimeoutStopSec={KEYTURN['stop_grace_period'].removesuffix('s')}\n" in unit


def test_everything_that_is_mounted_is_there_and_every_secret_is_made(copy: Path) -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (copy / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], source
        assert set(service.get("secrets", ())) <= COMPOSE["secrets"].keys()
    made = {path.name for path in (copy / "secrets").iterdir()}
    mounted = {"cert.pem", "key.pem"}
    assert made - mounted - {"valkey_password"} == COMPOSE["secrets"].keys()
    assert all(each["file"] == f"./secrets/{name}" for name, each in COMPOSE["secrets"].items())
    for name, service in SERVICES.items():
        paths = re.findall(r"/run/secrets/([\w.]+)", json.dumps(service))
        assert set(paths) <= set(service.get("secrets", ())), name


def test_postgresql_keeps_out_of_its_log_what_the_embedded_one_does() -> None:
    given = dict(pair.split("=") for pair in re.findall(r"-c (\S+)", SERVICES["postgres"]["command"]))
    private = {name for name in postgres.SETTINGS if re.match("log_(min_messages|error|min_error|statement)", name)}
    assert {name: given.get(name) for name in private} == {name: postgres.SETTINGS[name] for name in private}


# ---- what makes the secrets


def test_valkey_takes_its_configuration_and_asks_for_the_password(copy: Path) -> None:
    port, folder = free_port(), copy.parent
    program = installed().valkey
    options = ["--port", port, "--bind", "127.0.0.1", "--dir", folder]
    with running([program, copy / "secrets" / "valkey.conf", *options], port, folder / "valkey.log"):
        made = config.load({"REDIS_URL": (copy / "secrets" / "redis_url").read_text().strip()})
        here = made.redis_url.replace("@valkey:6379", f"@127.0.0.1:{port}")
        with redis.Redis.from_url(here) as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("save") == {"save": ""}
        with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()


def test_secrets_fit_each_other_and_are_nobody_elses(copy: Path) -> None:
    made = {path.name: path.read_text().strip() for path in (copy / "secrets").iterdir()}
    loaded = config.load({"DATABASE_URL": made["database_url"], "REDIS_URL": made["redis_url"]})
    assert loaded.database_url == f"postgresql://keyturn:{made['postgres_password']}@postgres:5432/keyturn"
    assert f":{made['valkey_password']}@valkey:" in loaded.redis_url
    assert shlex.split(made["valkey.conf"])[:2] == ["requirepass", made["valkey_password"]]
    drawn = [made[f"{name}_password"] for name in ("postgres", "valkey", "grafana")] + [made["signing_passphrase"]]
    assert all(re.fullmatch("[0-9a-f]{48}", each) for each in drawn)
    assert len(set(drawn)) == 4
    assert (copy / "secrets").stat().st_mode & 0o777 == 0o700
    assert (copy / "secrets" / "key.pem").stat().st_mode & 0o777 == 0o600


def test_a_second_run_changes_nothing(copy: Path) -> None:
    def known() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (copy / "secrets").iterdir()}

    before = known()
    subprocess.run([copy / "prepare", "another.example.org"], check=True, stdout=subprocess.DEVNULL)
    assert known() == before


def test_nothing_of_them_is_ever_committed() -> None:
    command = ["git", "check-ignore", "--quiet", "deploy/secrets/database_url"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
