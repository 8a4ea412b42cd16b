"""How KV from elsewhere comes into the device's cache: as if a request had computed it.

Knows what a match may gain, and in which order pages change hands for it. Does not know where
the KV comes from: slower memory, or pages that are open to others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from stemfirst_server.memory.node import TOKEN_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from stemfirst_server.memory.cache import PageCache
    from stemfirst_server.memory.node import PageArray


@dataclass(frozen=True, slots=True)
class BroughtBack:
    """What a match got from elsewhere.

    Attributes:
        host_tokens: whose KV lay in the host's memory.
        disk_tokens: whose KV was read from disk for it.
        ms: time to copy it.
    """

    host_tokens: int = 0
    disk_tokens: int = 0
    ms: float = 0.0


NOTHING = BroughtBack()


class Source(Protocol):
    """Where KV comes from. In the engine's thread, before a request is matched."""

    def bring_back(
        self, cache: PageCache, namespace: str, data: bytes, *, limit_tokens: int
    ) -> BroughtBack:
        """Copy to the device what continues its longest match.

        Args:
            cache: the device's; gets what is found, unlocked.
            namespace: the tree to continue.
            data: the prompt.
            limit_tokens: bring no more than this.
        """


def continue_match(
    cache: PageCache,
    namespace: str,
    data: bytes,
    *,
    have: int,
    most: int,
    fill: Callable[[int, PageArray], None],
) -> int:
    """Cache more pages behind the first `have` of a prompt, which are cached; return how many.

    Args:
        cache: gives the pages, for which others may be evicted.
        namespace: the tree to continue.
        data: the prompt.
        have: pages.
        most: no more pages than this are added.
        fill: writes the KV of that many pages behind the first ones to those given.
    """
    found = cache.match(namespace, data, limit_tokens=have * cache.page)
    count = min(most, cache.available_pages)
    pages = cache.take(count) if count and len(found.pages) == have else None
    if pages is None:
        cache.release(found.node)
        return 0
    fill(count, pages)
    done = cache.store(
        namespace,
        data[: (have + count) * cache.page * TOKEN_BYTES],
        np.concatenate([found.pages, pages]),
        node=found.node,
        held_from=have,
    )
    cache.release(done.node)
    return count
