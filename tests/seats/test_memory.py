"""What a lease costs in Valkey's memory, heads and keys included."""

import time
from hashlib import sha256
from typing import NamedTuple

import pytest
import redis

from server.rules.privacy import mask
from storage.redis.keys import field_of, seats_key
from storage.redis.lua import scripts
from storage.redis.replies import kept

MOST_BYTES = 300
INSTALLATION = "3f0c9a52d1e84b6c"
RUN = b"r" * 16
EPOCH = 2 * 1_800_000_000_000  # as large as they are in use
IPV4, IPV6 = mask("203.0.113.77"), mask("2001:db8:85a3:8d3:1319:8a2e:370:7348")


class Case(NamedTuple):
    licenses: int
    leases: int  # on each of them
    ip: str = IPV4
    code_bytes: int = 64
    name: str = "Workstation1"


def fill(url: str, case: Case) -> float:
    """Seat the machines of all licenses, as claims do; the bytes that each took."""
    texts = scripts()
    with redis.Redis.from_url(url) as valkey:
        seed, claim = (valkey.script_load(texts[each]) for each in ("seed", "claim"))
        before = used(valkey)
        for license_id in range(1_000_000, 1_000_000 + case.licenses):
            key = seats_key(INSTALLATION, license_id)
            with valkey.pipeline(transaction=False) as pipe:
                pipe.evalsha(seed, 1, key, RUN, EPOCH)
                for number in range(case.leases):
                    digits = sha256(b"%d %d" % (license_id, number)).hexdigest() * 2
                    field, code = field_of(digits[: case.code_bytes])
                    pipe.evalsha(claim, 1, key, RUN, field, 600, case.leases, 0, kept(case.ip, case.name, code), 0, b"")
                assert {reply[0] for reply in pipe.execute()[1:]} == {2}
        return (used(valkey) - before) / (case.licenses * case.leases)


def used(valkey: redis.Redis) -> int:
    """The memory in use, once what was emptied before is given back: that happens in the background."""
    while (memory := valkey.info("memory"))["lazyfree_pending_objects"]:
        time.sleep(0.01)
    return memory["used_memory"]


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(Case(2_000, 5), id="five on a license"),
        pytest.param(Case(2_000, 5, ip=IPV6), id="five on a license, IPv6"),
        pytest.param(Case(20, 500), id="500 on a license"),
        pytest.param(Case(5, 2_000), id="2,000 on a license"),
        pytest.param(Case(20, 500, ip=IPV6), id="500 on a license, IPv6"),
        pytest.param(Case(2_000, 5, code_bytes=65), id="five on a license, codes of 65 bytes"),
        # A value over 64 bytes: the hash is no longer kept in the small encoding.
        pytest.param(Case(2_000, 5, name="Workstation in the corner of the large lab"), id="five on a license, long names"),
    ],
)
def test_a_lease_takes_little_memory(redis_url: str, case: Case) -> None:
    taken = fill(redis_url, case)
    print(f"{taken:.0f} bytes a lease")  # noqa: T201 (pytest -s shows it)
    assert case.code_bytes < taken <= MOST_BYTES
