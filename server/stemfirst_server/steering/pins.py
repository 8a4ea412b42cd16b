"""Prefixes that stay on the device for a while, whoever else wants the room.

Knows which nodes of the tree are kept and until when. Does not know requests: where one needs
pages that only pins hold, `give_way` ends a pin, so that pinning never stops the server.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemfirst_server.memory.node import TOKEN_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from stemfirst_server.memory.cache import PageCache
    from stemfirst_server.memory.node import Node, PageArray


@dataclass(frozen=True, slots=True, eq=False)
class Pin:
    """A locked path.

    Attributes:
        node: its end, locked once for this pin.
        pages: from the root to there.
        until: seconds, of the clock that `expire` is called with.
    """

    node: Node
    pages: int
    until: float


@dataclass(frozen=True, slots=True, eq=False)
class OpenRun:
    """What a pin keeps, where other namespaces may copy it.

    Attributes:
        is_open_to: whether a namespace may.
        data: its tokens, as bytes; whole pages.
        pages: their pages, which stay these as long as the pin holds.
    """

    is_open_to: Callable[[str], bool]
    data: bytes
    pages: PageArray


class Pins:
    """Pins by name. Not thread-safe: the engine's thread owns it.

    Invariant: each pin holds one lock of its node, and what is open is pinned.

    Attributes:
        open_runs: by the pin's name, what other namespaces may copy.

    Args:
        cache: whose pages are kept.
    """

    def __init__(self, cache: PageCache) -> None:
        self._cache = cache
        self._pins: dict[str, Pin] = {}
        self.open_runs: dict[str, OpenRun] = {}

    def __len__(self) -> int:
        return len(self._pins)

    def set(
        self,
        name: str,
        namespace: str,
        data: bytes,
        until: float,
        is_open_to: Callable[[str], bool] | None = None,
    ) -> int:
        """Keep what is cached of a prompt until then, instead of what the name kept before.

        Args:
            name: of the pin.
            namespace: the tree that the prompt stands in.
            data: the prompt.
            until: seconds, of the clock that `expire` is called with.
            is_open_to: which other namespaces may copy it; None: no other.

        Returns:
            Tokens that are kept now, in whole pages; 0 if none were cached.
        """
        found = self._cache.match(namespace, data, limit_tokens=len(data) // TOKEN_BYTES)
        self.drop(name)
        if not found.tokens:
            self._cache.release(found.node)
            return 0
        self._pins[name] = Pin(found.node, len(found.pages), until)
        if is_open_to is not None:
            run = data[: found.tokens * TOKEN_BYTES]
            self.open_runs[name] = OpenRun(is_open_to, run, found.pages)
        return found.tokens

    def drop(self, name: str) -> bool:
        """End a pin; return whether there was one."""
        self.open_runs.pop(name, None)
        pin = self._pins.pop(name, None)
        if pin is not None:
            self._cache.release(pin.node)
        return pin is not None

    def expire(self, now: float) -> None:
        """End the pins whose time is over."""
        for name in [name for name, pin in self._pins.items() if pin.until <= now]:
            self.drop(name)

    def give_way(self) -> bool:
        """End the pin that would end first; return whether there was one."""
        if not self._pins:
            return False
        self.drop(min(self._pins, key=lambda name: self._pins[name].until))
        return True

    def clear(self) -> None:
        """End every pin."""
        for name in list(self._pins):
            self.drop(name)

    def names(self) -> frozenset[str]:
        """Return the names of the pins."""
        return frozenset(self._pins)
