"""Every knob, in one frozen dataclass; nothing else reads the environment. An unknown KEYTURN_* variable is an error."""

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, urlsplit

from server.rules.limits import Rates

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ConfigError(Exception):
    """A setting that cannot be used; the text says which, why, and what would do."""


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of one installation. `workers` 0 means one per core; without URLs the engines are embedded."""

    data: Path = Path("var")
    host: str = "127.0.0.1"
    port: int = 8080
    ops_host: str = "127.0.0.1"
    ops_port: int = 0
    ops_names: tuple[str, ...] = ()
    workers: int = 0
    database_url: str = field(default="", repr=False)
    redis_url: str = field(default="", repr=False)
    trusted_proxies: tuple[Network, ...] = ()
    log_addresses: bool = True
    queue: int = 1_000
    batch: int = 128
    cache_bytes: int = 2**28
    max_overdraft: int = 1_000
    usage_without_stripe: bool = False
    token_rate: int = 500
    key_rate: int = 20
    failures_per_minute: int = 60
    trials_per_hour: int = 100
    unlimited: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1"))
    portal_url: str = ""
    anonymise_months: int = 24
    event_days: int = 30
    log_months: int = 0
    signing_passphrase_file: Path | None = None
    signer: str = "auto"
    log_level: str = "info"

    @property
    def rates(self) -> Rates:
        """How often clients may call."""
        return Rates(self.token_rate, self.key_rate, self.failures_per_minute, self.trials_per_hour)

    @property
    def embedded(self) -> bool:
        """Whether PostgreSQL is a child of ours."""
        return not self.database_url


# Environment variable -> field. What a user must know of each stands in the README's table of settings.
VARIABLES = {
    "DATA": "data",
    "PORT": "port",
    "WORKERS": "workers",
    "DATABASE_URL": "database_url",
    "REDIS_URL": "redis_url",
    "KEYTURN_HOST": "host",
    "KEYTURN_OPS_HOST": "ops_host",
    "KEYTURN_OPS_PORT": "ops_port",
    "KEYTURN_OPS_NAMES": "ops_names",
    "KEYTURN_TRUSTED_PROXIES": "trusted_proxies",
    "KEYTURN_LOG_ADDRESSES": "log_addresses",
    "KEYTURN_QUEUE": "queue",
    "KEYTURN_BATCH": "batch",
    "KEYTURN_CACHE_BYTES": "cache_bytes",
    "KEYTURN_MAX_OVERDRAFT": "max_overdraft",
    "KEYTURN_USAGE_WITHOUT_STRIPE": "usage_without_stripe",
    "KEYTURN_TOKEN_RATE": "token_rate",
    "KEYTURN_KEY_RATE": "key_rate",
    "KEYTURN_FAILURES_PER_MINUTE": "failures_per_minute",
    "KEYTURN_TRIALS_PER_HOUR": "trials_per_hour",
    "KEYTURN_UNLIMITED": "unlimited",
    "KEYTURN_PORTAL_URL": "portal_url",
    "KEYTURN_ANONYMISE_MONTHS": "anonymise_months",
    "KEYTURN_EVENT_DAYS": "event_days",
    "KEYTURN_LOG_MONTHS": "log_months",
    "KEYTURN_SIGNING_PASSPHRASE_FILE": "signing_passphrase_file",
    "KEYTURN_SIGNER": "signer",
    "KEYTURN_LOG_LEVEL": "log_level",
}

RANGES = {
    "port": (0, 65_535),
    "ops_port": (0, 65_535),
    "workers": (0, 256),
    "queue": (1, 1_000_000),
    "batch": (1, 1_000),
    "cache_bytes": (2**24, 2**40),
    "max_overdraft": (0, 1_000_000),
    "token_rate": (0, 1_000_000),
    "key_rate": (0, 1_000_000),
    "failures_per_minute": (0, 1_000_000),
    "trials_per_hour": (0, 1_000_000),
    "anonymise_months": (0, 1_200),
    "event_days": (0, 36_500),
    "log_months": (0, 1_200),
}


def _number(name: str, text: str) -> int:
    low, high = RANGES[VARIABLES[name]]
    if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise ConfigError(f"{name} must be a whole number from {low} to {high}.")
    return int(text)


def _flag(name: str, text: str) -> bool:
    if text.lower() not in ("0", "1", "true", "false"):
        raise ConfigError(f"{name} must be 1 or 0.")
    return text.lower() in ("1", "true")


def _networks(name: str, text: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ConfigError(f"{name} must be networks such as 10.0.0.0/8,fd00::/8: {error}.") from error


def _networks_or_none(name: str, text: str) -> tuple[Network, ...]:
    return () if text.strip().lower() == "none" else _networks(name, text)


def _words(_name: str, text: str) -> tuple[str, ...]:
    return tuple(part.strip().lower() for part in text.split(",") if part.strip())


def _signer(name: str, text: str) -> str:
    if text.lower() not in ("auto", "openssl"):
        raise ConfigError(f"{name} must be auto or openssl.")
    return text.lower()


def _level(name: str, text: str) -> str:
    if text.lower() not in ("debug", "info", "warning", "error"):
        raise ConfigError(f"{name} must be debug, info, warning or error.")
    return text.lower()


# A host of a PostgreSQL address, with its port or without, or the folder of a socket.
_POSTGRES_HOST = re.compile(r"/.*|(\[[^\]]+\]|[^:@\[]*)(:[0-9]+)?")


def _is_postgres(parts: SplitResult) -> bool:
    """Whether asyncpg can read it. There, unlike in urllib, the first @ ends the password."""
    query = {name: values[-1] for name, values in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()}
    hosts = parts.netloc.partition("@")[2] if "@" in parts.netloc else parts.netloc
    return (
        parts.scheme in ("postgresql", "postgres")
        and all(_POSTGRES_HOST.fullmatch(host) for host in (*hosts.split(","), *query.get("host", "").split(",")))
        and _are_numbers(query.get("port", "0").split(","))
    )


def _is_redis(parts: SplitResult) -> bool:
    """Whether redis-py can read it, and all of it: database 0 is not taken for one that is no number."""
    database = parse_qs(parts.query).get("db", ["0"])
    if parts.scheme == "unix":
        return bool(parts.path) and not parts.netloc.rpartition("@")[2] and _are_numbers(database)
    _ = parts.port  # raises ValueError
    return (
        parts.scheme in ("redis", "rediss")
        and not parts.fragment
        and _are_numbers([parts.path.removeprefix("/") or "0", *database])
    )


def _are_numbers(texts: list[str]) -> bool:
    return all(text.isascii() and text.isdigit() for text in texts)


ADDRESSES: Mapping[str, tuple[Callable[[SplitResult], bool], str]] = {
    "DATABASE_URL": (_is_postgres, "postgresql://user:password@host:5432/name"),
    "REDIS_URL": (_is_redis, "redis://user:password@host:6379/0"),
}


def _address(name: str, text: str) -> str:
    """Refuse what the driver cannot read either: its own error would be a traceback with parts of the password."""
    is_one, sample = ADDRESSES[name]
    try:
        known = is_one(urlsplit(text))
    except ValueError:  # it is not the cause of what is raised: it may quote the password
        known = False
    if not known:
        raise ConfigError(
            f"{name} is no address such as {sample}. In a password, characters such as / ? # @ are written as %2F %3F %23 "
            "%40."
        )
    return text


def _portal(name: str, text: str) -> str:
    try:
        parts = urlsplit(text)
        known = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        known = False
    if not known or "{id}" not in text or "{auth}" not in text:
        raise ConfigError(
            f"{name} must be an address with the words {{id}} and {{auth}} in it, such as "
            "https://portal.example.org/associate?id={id}&auth={auth}."
        )
    return text


PARSERS: Mapping[str, Callable[[str, str], object]] = {
    "data": lambda _name, text: Path(text),
    "signing_passphrase_file": lambda _name, text: Path(text),
    "trusted_proxies": _networks,
    "unlimited": _networks_or_none,
    "ops_names": _words,
    "log_addresses": _flag,
    "usage_without_stripe": _flag,
    "log_level": _level,
    "signer": _signer,
    "database_url": _address,
    "redis_url": _address,
    "portal_url": _portal,
    **dict.fromkeys(RANGES, _number),
}


def given(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables of ours that the environment sets to something, as they stand there."""
    environment = os.environ if environment is None else environment
    return {name: environment[name] for name in VARIABLES if environment.get(name)}


def load(environment: Mapping[str, str] | None = None, **overrides: object) -> Config:
    """Return the settings that the environment gives, `overrides` (of the command line) before them.

    Raises `ConfigError` for a value that cannot be used and for a KEYTURN_* variable that does not exist.
    """
    if unknown := _unknown(environment):
        raise ConfigError(f"Unknown setting {', '.join(unknown)}. Known: {', '.join(sorted(VARIABLES))}.")
    values = {VARIABLES[name]: _parsed(name, text) for name, text in given(environment).items()}
    return _made(values, overrides)


def examine(environment: Mapping[str, str] | None = None, **overrides: object) -> tuple[Config, dict[str, str]]:
    """Return the settings that can be used, and what is wrong with the others by variable, instead of raising it."""
    wrong = dict.fromkeys(_unknown(environment), "there is no such setting")
    values = {}
    for name, text in given(environment).items():
        try:
            values[VARIABLES[name]] = _parsed(name, text)
        except ConfigError as error:
            wrong[name] = str(error)
    return _made(values, overrides), wrong


def _unknown(environment: Mapping[str, str] | None) -> list[str]:
    environment = os.environ if environment is None else environment
    return sorted(name for name in environment if name.startswith("KEYTURN_") and name not in VARIABLES)


def _parsed(variable: str, text: str) -> object:
    parse = PARSERS.get(VARIABLES[variable])
    return parse(variable, text) if parse else text


def _made(values: Mapping[str, object], overrides: Mapping[str, object]) -> Config:
    known = {each.name for each in fields(Config)}
    before = {name: value for name, value in overrides.items() if name in known and value is not None}
    return Config(**{**values, **before})  # type: ignore[arg-type]  # each value was made by the parser of its field
