"""What `keyturn config` does: every setting with its value, its default and its source; nothing secret is shown."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import typer

from server import config as configuration
from server.cli.session import settings
from server.cli.terminal import as_json, table
from server.config import VARIABLES, Config

MASK = "***"
ADDRESSES = ("DATABASE_URL", "REDIS_URL", "KEYTURN_PORTAL_URL")
# What may be shown of an address after its question mark. All else is masked: drivers take passwords under many names there.
SHOWN = frozenset({
    "host", "port", "db", "dbname", "database", "user", "username", "sslmode", "ssl_cert_reqs", "target_session_attrs",
})  # fmt: skip
PLACES = ("{id}", "{auth}")
HARMLESS = re.compile(r"[\w./:,-]*")
COLUMNS = ("Setting", "Value", "Source", "Default")


class Setting(NamedTuple):
    """A setting as it is shown: its variable, its value and default as JSON has them, and where the value is from."""

    name: str
    value: object
    default: object
    source: str


def show(ctx: typer.Context, data: Path | None, *, json: bool) -> None:
    """Show all settings, as a server would have them that is started here."""
    options = {"data": data or ctx.obj["data"]}
    shown = list_settings(settings(ctx, **options), options)
    if json:
        as_json({"settings": [each._asdict() for each in shown]})
    else:
        rows = [(each.name, _text(each.value), each.source, _text(each.default)) for each in shown]
        table("Settings", COLUMNS, rows, whole=("Setting", "Source"))


def list_settings(config: Config, options: Mapping[str, object]) -> list[Setting]:
    """Return all settings in their order. `options` are those of the command line, by field."""
    default, environment = Config(), configuration.given()
    return [
        Setting(
            name,
            _shown(name, getattr(config, field)),
            _shown(name, getattr(default, field)),
            "command line" if options.get(field) is not None else "environment" if name in environment else "default",
        )
        for name, field in VARIABLES.items()
    ]


def masked(address: str) -> str:
    """Return an address with all masked that may be secret: the password, and after the question mark what is not known."""
    parts = urlsplit(address)
    login, at, host = parts.netloc.rpartition("@")
    user, colon, _password = login.partition(":")
    pairs = [pair.partition("=") for pair in parts.query.split("&") if pair]
    query = "&".join(f"{name}={value if _may_be_shown(name, value) else MASK}" for name, _, value in pairs)
    before = f"{user}{colon}{MASK if colon else ''}{at}"
    fragment = f"#{MASK}" if parts.fragment else ""
    return f"{parts.scheme}://{before}{host}{parts.path}{'?' if query else ''}{query}{fragment}"


def _may_be_shown(name: str, value: str) -> bool:
    return value in PLACES or (name in SHOWN and HARMLESS.fullmatch(value) is not None)


def _shown(name: str, value: object) -> object:
    if name in ADDRESSES:
        return masked(str(value)) if value else ""
    if isinstance(value, tuple):
        return [str(each) for each in value]
    return value if value is None or isinstance(value, bool | int) else str(value)


def _text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(value)
    return "" if value is None else str(int(value)) if isinstance(value, bool) else str(value)
