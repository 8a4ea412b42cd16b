"""Prefixes that an operator opened to tenants: computed once, and copied to whoever asks.

Knows which pinned runs are open to which namespaces. A run stands in a namespace of the operator's
own, which no tenant's request can name; its pages are read and never given away, so a tenant's
tree holds copies, as it holds what comes back from slower memory. Nothing that a tenant does
changes a run or its place in the order of eviction: it is pinned, or it is not found.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from stemfirst_server.memory.arrival import NOTHING, BroughtBack, continue_match
from stemfirst_server.memory.node import TOKEN_BYTES, common_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from stemfirst_server.memory.cache import PageCache
    from stemfirst_server.memory.node import PageArray
    from stemfirst_server.steering.pins import OpenRun, Pins


class SharedRuns:
    """Pinned runs that are open to others. Not thread-safe: the engine's thread owns it.

    Args:
        pins: those that hold.
        copy: copies the KV of some pages to others.
    """

    def __init__(self, pins: Pins, copy: Callable[[PageArray, PageArray], None]) -> None:
        self._pins = pins
        self._copy = copy

    def reach(self, namespace: str, data: bytes, *, limit_tokens: int, page: int) -> int:
        """Return how many tokens of a prompt are open to its namespace; whole pages."""
        return self._longest(namespace, data[: limit_tokens * TOKEN_BYTES], page)[0] * page

    def bring_back(
        self, cache: PageCache, namespace: str, data: bytes, *, limit_tokens: int
    ) -> BroughtBack:
        """Copy to a namespace's own tree what is open to it and goes beyond what it has."""
        if not self._pins.open_runs:
            return NOTHING
        began = time.perf_counter()
        reach, run = self._longest(namespace, data[: limit_tokens * TOKEN_BYTES], cache.page)
        have = cache.tree.lookup(namespace, data, limit_tokens=limit_tokens) // cache.page
        if run is None or reach <= have:
            return NOTHING
        pages = run.pages

        def fill(count: int, to: PageArray) -> None:
            self._copy(pages[have : have + count], to)

        count = continue_match(cache, namespace, data, have=have, most=reach - have, fill=fill)
        return BroughtBack(ms=(time.perf_counter() - began) * 1e3) if count else NOTHING

    def _longest(self, namespace: str, data: bytes, page: int) -> tuple[int, OpenRun | None]:
        """Return the pages of the run that shares most with a prompt, and the run."""
        most, longest = 0, None
        for run in self._pins.open_runs.values():
            shared = common_bytes(run.data, data, 0, len(data)) // (page * TOKEN_BYTES)
            if shared > most and run.is_open_to(namespace):
                most, longest = shared, run
        return most, longest
