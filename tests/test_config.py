"""What the environment may say: addresses that the drivers can read, and refusals that give no password away."""

import traceback

import pytest

from server.config import ConfigError, load


@pytest.mark.parametrize(
    "address",
    [
        "nonsense",
        "http://h",
        "postgresql://u:s3c/r3t@h/d",
        "postgresql://u:s3c?r3t@h/d",
        "postgresql://[s3c/d",
        "postgresql://u:p@s3c:r3t@h/d",  # asyncpg takes the first @ for the password's end
        "postgresql://h:5:s3c/d",
        "postgresql:///d?host=h&port=s3c",
        "postgresql:///d?host=h:s3c",
    ],
)
def test_a_database_address_that_asyncpg_cannot_read_is_refused_without_its_password(address: str) -> None:
    assert "postgresql://user:password@host:5432/name" in refusal("DATABASE_URL", address)


@pytest.mark.parametrize(
    "address",
    [
        "nonsense",
        "http://h",
        "redis://u:s3c/r3t@h/0",
        "redis://:6379/s3c@h/0",
        "redis://u:1#s3c@h",
        "redis://u:s3c?r3t@h",
        "redis://[s3c",
        "redis://h:65536",
        "redis://h/s3c",
        "redis://h?db=s3c",
        "unix://:s3c/r3t@/run/valkey.sock",
        "unix://run/valkey.sock",
        "unix://",
    ],
)
def test_a_redis_address_that_redis_py_cannot_read_whole_is_refused_without_its_password(address: str) -> None:
    assert "redis://user:password@host:6379/0" in refusal("REDIS_URL", address)


@pytest.mark.parametrize(
    ("variable", "address"),
    [
        ("DATABASE_URL", "postgres://h"),
        ("DATABASE_URL", "postgresql://u:p%40q@h1:1,h2/d?sslmode=disable"),
        ("DATABASE_URL", "postgresql://u:p@[::1]:5432/d"),
        ("DATABASE_URL", "postgresql://u:p@%2Frun%2Fpg/d"),
        ("DATABASE_URL", "postgresql://u:p@/d?host=/run/pg&port=5432"),
        ("REDIS_URL", "redis://h"),
        ("REDIS_URL", "redis://u:p%40q@h:6379/1"),
        ("REDIS_URL", "rediss://:p@[::1]:6379/?db=1"),
        ("REDIS_URL", "unix://:p@/run/valkey.sock?db=0"),
    ],
)
def test_an_address_that_the_driver_reads_is_taken_as_it_is(variable: str, address: str) -> None:
    config = load({variable: address})
    assert address in (config.database_url, config.redis_url)


@pytest.mark.parametrize(
    "address",
    [
        "nonsense",
        "ftp://portal.example.org/{id}/{auth}",
        "https:///associate?id={id}&auth={auth}",
        "https://[portal/{id}/{auth}",
        "https://portal.example.org/associate?id={id}",
        "https://portal.example.org/associate?auth={auth}",
    ],
)
def test_an_address_of_a_portal_has_a_host_and_room_for_the_customer_and_the_code(address: str) -> None:
    with pytest.raises(ConfigError, match=r"^KEYTURN_PORTAL_URL must be an address with .*\{id\}&auth=\{auth\}"):
        load({"KEYTURN_PORTAL_URL": address})
    good = "http://portal.example.org:8443/associate?id={id}&auth={auth}"
    assert load({"KEYTURN_PORTAL_URL": good}).portal_url == good
    assert load({}).portal_url == ""


def test_how_long_things_are_kept_is_two_years_thirty_days_and_for_ever_unless_said() -> None:
    names = ("KEYTURN_ANONYMISE_MONTHS", "KEYTURN_EVENT_DAYS", "KEYTURN_LOG_MONTHS")
    for said, kept in (("", (24, 30, 0)), ("0", (0, 0, 0)), ("7", (7, 7, 7))):
        config = load(dict.fromkeys(names, said))
        assert (config.anonymise_months, config.event_days, config.log_months) == kept
    for name in names:
        with pytest.raises(ConfigError, match=f"^{name} must be a whole number from 0 to "):
            load({name: "-1"})


def refusal(variable: str, address: str) -> str:
    """What is said of a setting, by its error and by the traceback of one that nobody expected."""
    with pytest.raises(ConfigError, match=f"^{variable} is no address") as caught:
        load({variable: address})
    shown = [caught.value, *filter(None, (caught.value.__cause__, caught.value.__context__))]
    assert "s3c" not in "".join(line for error in shown for line in traceback.format_exception_only(error))
    return str(caught.value)
