"""A dictionary of bounded weight that forgets what was used least recently. No I/O, no locks: one event loop uses it."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


def _one(_value: object) -> int:
    return 1


class Lru(Generic[K, V]):
    """Keeps values that weigh at most `most` together, and always the last one put, whatever it weighs.

    Without `weigh` it is a number of values. What a value weighs must not change while it is here. `get` makes a value the
    most recently used one.
    """

    def __init__(self, most: int, weigh: Callable[[V], int] = _one) -> None:
        self._most = most
        self._weigh = weigh
        self._values: OrderedDict[K, V] = OrderedDict()
        self.weight = 0

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K) -> V | None:
        """Return the value, or None if it is not here (any more)."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> list[tuple[K, V]]:
        """Keep the value; let those used least recently go, and return them, if all together have become too heavy."""
        self.pop(key)
        self._values[key] = value
        self.weight += self._weigh(value)
        gone = []
        while self.weight > self._most and len(self._values) > 1:
            least = self._values.popitem(last=False)
            self.weight -= self._weigh(least[1])
            gone.append(least)
        return gone

    def pop(self, key: K) -> V | None:
        """Forget the value, and return it, if it is here."""
        value = self._values.pop(key, None)
        if value is not None:
            self.weight -= self._weigh(value)
        return value

    def items(self) -> list[tuple[K, V]]:
        """Return all that is here, the most recently used last."""
        return list(self._values.items())

    def drop(self, key: K) -> None:
        """Forget the value, if it is here."""
        self.pop(key)

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()
        self.weight = 0
