"""The scenarios of the load tests: what each client of a crowd does, and the licenses that the crowd is about.

A life is a generator: it makes its calls and yields for how many seconds the client then does nothing. When how many clients
are there stands in `shapes`. Nothing here knows what runs them.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from loadtests.clients import Client

LICENSES, MACHINES = 500, 5
POOLS, SEATS, USERS = 40, 6, 8  # more users of a pool than seats: some are refused, and some seats are above the limit
COUNTERS = 20
COUNTER = "runs"
PLACES = 5_000  # of the popular license
LEASE, BEAT = 60, 2.0  # seconds
HERD = 10.0  # seconds from one outage's end to the next
AGAIN = 0.05  # seconds: a client that found nobody, or no answer, asks again


class Machine(NamedTuple):
    """A machine code on a license."""

    key: str
    code: str


@dataclass(slots=True)
class Stock:
    """The licenses of a load, made new for it, and the machines that come to them one by one."""

    keys: Sequence[str] = ()
    pools: Sequence[str] = ()
    counters: Sequence[str] = ()
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def machine(self) -> Machine:
        """Return a machine that nobody has used, on the next of the licenses."""
        return _machine(self.keys, next(self.numbers))

    def seat(self) -> Machine:
        """Return a machine that nobody has used, on the next of the floating licenses."""
        return _machine(self.pools, next(self.numbers))


def _machine(keys: Sequence[str], number: int) -> Machine:
    return Machine(keys[number % len(keys)], f"{number:064x}")


Life = Callable[[Client, Stock, Random], Iterator[float]]


@dataclass(frozen=True, slots=True)
class Crowd:
    """A scenario: what it is, how its licenses are made, and what each client does."""

    about: str
    stock: Callable[[Client], Stock]
    life: Life
    keeps: bool = True  # its connection


# Licenses. Each raises OSError if the server does not make them.


def licenses(office: Client) -> Stock:
    """Make licenses of some machines each."""
    return Stock(keys=_made(office, LICENSES, MACHINES))


def pools(office: Client) -> Stock:
    """Make floating licenses, half of them with a seat in overdraft."""
    half = POOLS // 2
    return Stock(pools=[*_made(office, half, SEATS), *_made(office, POOLS - half, SEATS, overdraft=1)])


def both(office: Client) -> Stock:
    """Make licenses for machines and floating ones."""
    return Stock(_made(office, LICENSES, MACHINES), pools(office).pools)


def everything(office: Client) -> Stock:
    """Make licenses of both kinds, some with a counter."""
    stock = both(office)
    stock.counters = stock.keys[:COUNTERS]
    for key in stock.counters:
        office.add_counter(key, COUNTER)
    return stock


def popular(office: Client) -> Stock:
    """Make one license of many places."""
    return Stock(keys=_made(office, 1, PLACES))


def _made(office: Client, count: int, places: int, overdraft: int = 0) -> list[str]:
    keys = office.create(count, places, overdraft)
    if len(keys) != count:
        raise OSError(f"{count} licenses were to be made, and {len(keys)} were")
    return keys


# Lives


def start_up(client: Client, stock: Stock, chance: Random) -> Iterator[float]:
    """Start again and again: Activate, then GetKey; every fifth time it is somebody else who starts."""
    machine = stock.machine()
    while True:
        client.activate(*machine)
        client.get_key(machine.key)
        yield chance.uniform(0.5, 1.5)
        if chance.random() < 0.2:
            machine = stock.machine()


def heartbeat(client: Client, stock: Stock, chance: Random) -> Iterator[float]:
    """Take a seat and renew it; now and then give it back, and come again as another."""
    machine = stock.seat()
    yield chance.uniform(0, BEAT)  # a fleet does not beat in step
    while True:
        client.take(*machine, LEASE, _overdraft(stock, machine))
        yield BEAT * chance.uniform(0.9, 1.1)
        if chance.random() < 0.02:
            client.give(*machine)
            machine = stock.seat()


def day(client: Client, stock: Stock, chance: Random) -> Iterator[float]:
    """Do what clients do on a working day, all of it in a hurry."""
    own = [stock.machine()]
    seat = stock.seat()
    while True:
        machine = chance.choice(own)
        match chance.choices(tuple(DAY), tuple(DAY.values()))[0]:
            case "activate":
                client.activate(*machine)
            case "look":
                client.get_key(machine.key)
            case "beat":
                client.take(*seat, LEASE, _overdraft(stock, seat))
            case "count":
                client.increment(chance.choice(stock.counters), COUNTER)
            case "move":
                client.deactivate(*own.pop(0))
                own.append(stock.machine())
                client.activate(*own[-1])
            case "sell":
                own += [Machine(key, machine.code) for key in client.create(1, MACHINES)]
        yield chance.uniform(0.05, 0.25)


DAY = {"activate": 60, "look": 15, "beat": 15, "count": 5, "move": 3, "sell": 2}  # of a hundred


def rush(client: Client, stock: Stock, _chance: Random) -> Iterator[float]:
    """Activate one new machine after the other, all on one license, also when it is full."""
    while True:
        client.activate(*stock.machine())
        yield 0.0


def herd(client: Client, stock: Stock, _chance: Random) -> Iterator[float]:
    """Wait with all others for the end of an outage, then ask at once, again and again until there is an answer."""
    machine, seat = stock.machine(), stock.seat()
    while True:
        yield HERD - time.time() % HERD  # for everybody the same moment
        while client.activate(*machine) is None:
            yield AGAIN
        while client.take(*seat, LEASE, _overdraft(stock, seat)) is None:
            yield AGAIN


def _overdraft(stock: Stock, seat: Machine) -> int:
    """Return how many seats above the limit clients of a license ask for, as its terms say (`pools`)."""
    return int(stock.pools.index(seat.key) >= len(stock.pools) // 2)


CROWDS: Mapping[str, Crowd] = {
    "start-up": Crowd("Clients start, more and more of them: Activate, then GetKey", licenses, start_up, keeps=False),
    "heartbeats": Crowd("A fleet renews its floating seats", pools, heartbeat),
    "mixed-day": Crowd("All that client software asks, and some new licenses", everything, day),
    "rush": Crowd("New machines, all on one popular license, until it is full and beyond", popular, rush),
    "retry-storm": Crowd("All ask at once after an outage, again and again", both, herd, keeps=False),
}
