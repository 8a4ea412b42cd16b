"""Memory that does not grow: maps and stores that forget what was not used for longest.

Knows sizes and recency. Does not know what is kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class RecentMap(Generic[K, V]):
    """A map of the entries that were used last: at least `capacity`, at most twice as many.

    Two generations: an entry that is used moves to the young one; when that is full, what is
    left in the old one is forgotten. One dict operation a use, and no order to maintain.
    """

    def __init__(self, capacity: int, *, on_forget: Callable[[V], None] | None = None) -> None:
        self._capacity = capacity
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self._on_forget = on_forget
        self.has_forgotten = False

    def get(self, key: K) -> V | None:
        """Return an entry, which counts as a use, or None."""
        value = self._young.get(key)
        if value is None and self._old:
            value = self._old.pop(key, None)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        """Set an entry, which counts as a use."""
        self._old.pop(key, None)
        self._young[key] = value
        if len(self._young) >= self._capacity:
            if self._old:
                self.has_forgotten = True
            if self._on_forget is not None:
                for forgotten in self._old.values():
                    self._on_forget(forgotten)
            self._old, self._young = self._young, {}

    def values(self) -> Iterator[V]:
        """Yield every entry's value."""
        yield from self._young.values()
        yield from self._old.values()

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def check(self) -> None:
        """No entry is in both generations, and neither has outgrown its room."""
        assert not self._young.keys() & self._old.keys()
        assert len(self._young) < self._capacity >= len(self._old)


class RecentStore(Generic[V]):
    """Values by number, up to a total weight; the ones used least recently go first."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._kept: OrderedDict[int, tuple[int, V]] = OrderedDict()
        self.weight = 0

    def put(self, number: int, value: V, weight: int) -> None:
        """Keep a value; one that is heavier than a quarter of the budget is not kept."""
        assert number not in self._kept
        if weight * 4 > self._budget:
            return
        self._kept[number] = (weight, value)
        self.weight += weight
        while self.weight > self._budget:
            _, (freed, _) = self._kept.popitem(last=False)
            self.weight -= freed

    def get(self, number: int) -> V | None:
        """Return a value, which counts as a use, or None where it was forgotten."""
        found = self._kept.get(number)
        if found is None:
            return None
        self._kept.move_to_end(number)
        return found[1]

    def check(self) -> None:
        """The weight is the sum of what is kept, and within the budget."""
        assert self.weight == sum(weight for weight, _ in self._kept.values()) <= self._budget
