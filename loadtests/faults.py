"""The faults of a chaos run, as a table, and when each comes: drawn from a seed, so that a run can be had again."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import asyncpg
import redis

from loadtests.machine import tree
from loadtests.victim import ORPHANS, Victim, born, wait_until

FROZEN = 3.0  # seconds
GAP = (4.0, 10.0)  # seconds from a server that is well again to the next fault


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to a server. `spares` its own processes: supervisor and workers live on, so their memory can be compared.

    `unnoticed`: every call is answered all the same.
    """

    name: str
    about: str
    do: Callable[[Victim, Random], None]
    spares: bool = True
    unnoticed: bool = False


class Due(NamedTuple):
    """A fault, and the seconds of quiet before it."""

    quiet: float
    fault: Fault


def kill_worker(victim: Victim, chance: Random) -> None:
    """Kill one of several: the others serve."""
    victim.kill_workers([chance.choice(victim.demo["worker_pids"])])


def kill_workers(victim: Victim, _chance: Random) -> None:
    """Kill all: nobody serves until there are others."""
    victim.kill_workers(victim.demo["worker_pids"])


def kill_postgres(victim: Victim, _chance: Random) -> None:
    """Kill the first of its processes: the others end by themselves, what was not on disk is gone."""
    victim.kill_engine("postgres")


def kill_valkey(victim: Victim, _chance: Random) -> None:
    """Kill what keeps nothing on disk."""
    victim.kill_engine("valkey")


def empty_valkey(victim: Victim, _chance: Random) -> None:
    """Have all gone in the same run of it."""
    with redis.Redis.from_url(victim.demo["redis_url"]) as client:
        client.flushall()


def freeze_postgres(victim: Victim, _chance: Random) -> None:
    """Have all its processes take bytes and answer nothing, as if the network swallowed them, until it goes on."""
    _freeze(tree(victim.engine("postgres")))


def freeze_valkey(victim: Victim, _chance: Random) -> None:
    """Have it take bytes and answer nothing until it goes on, and then all of them."""
    _freeze({victim.engine("valkey")})


def cut_valkey(victim: Victim, _chance: Random) -> None:
    """Cut every connection but ours, whatever is under way on it."""
    with redis.Redis.from_url(victim.demo["redis_url"]) as client:
        client.client_kill_filter(_type="normal", skipme=True)


def cut_postgres(victim: Victim, _chance: Random) -> None:
    """Cut every connection of Keyturn's, whatever is under way on it."""
    asyncio.run(_cut(victim.demo["postgres_dsn"]))


async def _cut(dsn: str) -> None:
    connection = await asyncpg.connect(dsn, server_settings={"application_name": "keyturn chaos"})
    try:
        await connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'keyturn'")
    finally:
        await connection.close()


def replace_workers(victim: Victim, _chance: Random) -> None:
    """Replace one after the other."""
    victim.hang_up()


def restart(victim: Victim, _chance: Random) -> None:
    """End it as an operator does, and start it again."""
    victim.stop()
    victim.start()


def kill_supervisor(victim: Victim, _chance: Random) -> None:
    """Kill it alone: all else ends by itself, another start serves, and nothing of the old one stays."""
    family = victim.kill()
    victim.start()
    wait_until(lambda: not (born({*family}).items() & family.items()), "processes of a killed server are left", ORPHANS)


def _freeze(pids: set[int]) -> None:
    try:
        _send(pids, signal.SIGSTOP)
        time.sleep(FROZEN)
    finally:
        _send(pids, signal.SIGCONT)


def _send(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


FAULTS: Sequence[Fault] = (
    Fault("postgres killed", "SIGKILL to PostgreSQL", kill_postgres),
    Fault("postgres cut off", "pg_terminate_backend for each connection of Keyturn's", cut_postgres),
    Fault("postgres frozen", f"SIGSTOP to all of PostgreSQL, after {FROZEN:.0f} s SIGCONT", freeze_postgres),
    Fault("valkey killed", "SIGKILL to Valkey, which comes back empty", kill_valkey, unnoticed=True),
    Fault("valkey emptied", "FLUSHALL", empty_valkey, unnoticed=True),
    Fault("valkey frozen", f"SIGSTOP to Valkey, after {FROZEN:.0f} s SIGCONT", freeze_valkey),
    Fault("valkey cut off", "CLIENT KILL for each connection to Valkey", cut_valkey, unnoticed=True),
    Fault("worker killed", "SIGKILL to one worker", kill_worker, spares=False),
    Fault("workers killed", "SIGKILL to all workers at once", kill_workers, spares=False),
    Fault("workers replaced", "SIGHUP to the supervisor: new workers", replace_workers, spares=False, unnoticed=True),
    Fault("restart", "SIGTERM to the supervisor, and a start", restart, spares=False),
    Fault("supervisor killed", "SIGKILL to the supervisor, and a start at once", kill_supervisor, spares=False),
)


def schedule(seed: int, faults: Sequence[Fault] = FAULTS) -> Iterator[Due]:
    """Give faults for ever: all of them, in an order drawn anew each time."""
    chance = Random(seed)
    while True:
        for fault in chance.sample(faults, len(faults)):
            yield Due(chance.uniform(*GAP), fault)
