"""The clients of a chaos run: those of a mixed day and those who jostle for the last places, who all ask again.

What is asked again is noted as a call of its own. A counter is not asked again: it may have moved.
"""

import select
import time
from collections.abc import Iterator, Mapping
from random import Random

from loadtests import crowds
from loadtests.clients import Client
from loadtests.crowds import COUNTER, Life, Stock
from loadtests.journal import Call, Kind

LICENSES, PLACES = 60, 4
POOLS, SEATS = 6, 3
COUNTERS = 10
SHORT = 6  # seconds of a seat that may lapse
PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6)  # seconds before it is asked again
HARMLESS = frozenset({Kind.ACTIVATE, Kind.GET_KEY, Kind.DEACTIVATE, Kind.TAKE, Kind.GIVE})


class Patient(Client):
    """A client that repeats what may be repeated while nobody knows what became of it, a few times.

    It does not send on a connection that the server has closed meanwhile: HTTP libraries look before.
    """

    def _ask(self, call: Call, params: Mapping[str, object]) -> str | None:
        said = super()._ask(call, params)
        for pause in PAUSES if call.kind in HARMLESS else ():
            if said is not None:
                break
            time.sleep(pause)
            said = super()._ask(call, params)
        return said

    def _exchange(self, kind: Kind, params: Mapping[str, object]) -> tuple[int, bytes]:
        kept = self._connection.sock
        if kept is not None and select.select([kept], [], [], 0)[0]:
            self.close()
        return super()._exchange(kind, params)


def stock(office: Client) -> Stock:
    """Make licenses with fewer places than there will be who want them, half of the floating ones with one in overdraft."""
    half = POOLS // 2
    made = [office.create(LICENSES, PLACES), office.create(half, SEATS), office.create(POOLS - half, SEATS, overdraft=1)]
    keys, pools = made[0], [*made[1], *made[2]]
    if (len(keys), len(pools)) != (LICENSES, POOLS):
        raise OSError("the licenses of the load were not made")
    for key in keys[:COUNTERS]:
        office.add_counter(key, COUNTER)
    return Stock(keys, pools, keys[:COUNTERS])


def jostle(client: Client, stock: Stock, chance: Random) -> Iterator[float]:
    """Want a place of the same license as all others, and a seat for a moment; leave, or forget to."""
    key, pool = stock.keys[-1], stock.pools[0]
    code = stock.machine().code
    while True:
        if client.activate(key, code) == "":
            yield chance.uniform(0, 0.1)
            client.deactivate(key, code)
        if client.take(pool, code, SHORT) == "":
            yield chance.uniform(0, 0.3)
            if chance.random() < 0.7:
                client.give(pool, code)
        yield chance.uniform(0.05, 0.25)


LIVES: Mapping[Life, int] = {crowds.day: 10, crowds.heartbeat: 4, jostle: 8}  # so many clients of each
