"""Says whether a call may go on, by the limits of its token, its license and the network that it comes from.

All of it answers at once: counting over all workers goes on behind (`ports.Limits`). The network '' is not limited.
"""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

from server.config import Network
from server.rules.limits import Counted, Rates, TooMany
from server.rules.privacy import mask
from storage.ports import Limits
from storage.records import License, Limit, Token

REMEMBERED = 4096


class Limiter:
    """The limits of one worker; `unlimited` are networks in which nobody is limited."""

    def __init__(self, limits: Limits, rates: Rates, unlimited: Sequence[Network]) -> None:
        self._limits = limits
        self._rates = rates
        self._unlimited = tuple(unlimited)
        self._token, self._failures, self._trials = rates.of_token(), rates.of_failures(), rates.of_trials()
        self.network = lru_cache(maxsize=REMEMBERED)(self._network)

    def _network(self, address: str) -> str:
        """Return the network that an address is in, as it is masked for logs; '' if nobody is limited there."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return ""
        return "" if any(parsed in network for network in self._unlimited) else mask(address)

    def token(self, token: Token, network: str) -> None:
        """Count a call of a token. Raises `TooMany`."""
        self._take(Counted.TOKEN, f"{token.id}:{network}", self._token, network)

    def license(self, license_: License, network: str) -> None:
        """Count a call on a license that is known. Raises `TooMany`."""
        self._take(Counted.KEY, str(license_.id), self._rates.of_key(license_.max_machines), network)

    def failed(self, network: str) -> None:
        """Count a look-up that found nothing: an unknown key, token or secret. Raises `TooMany`."""
        self._take(Counted.FAILURES, network, self._failures, network)

    def look_up(self, network: str) -> None:
        """Let nobody look up what memory does not have who has failed too often. Raises `TooMany`."""
        if network and self._failures is not None:
            _refuse(Counted.FAILURES, self._limits.wait(f"{Counted.FAILURES}:{network}", self._failures))

    def trial(self, network: str) -> None:
        """Count a trial key that is to be made. Raises `TooMany`."""
        self._take(Counted.TRIALS, network, self._trials, network)

    def _take(self, counted: Counted, name: str, limit: Limit | None, network: str) -> None:
        if network and limit is not None:
            _refuse(counted, self._limits.take(f"{counted}:{name}", limit))


def _refuse(counted: Counted, seconds: float) -> None:
    if seconds > 0:
        raise TooMany(counted, seconds)
