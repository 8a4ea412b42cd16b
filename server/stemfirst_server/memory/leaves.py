"""Leaves of the tree in the order in which they would be evicted.

Knows which nodes may go and when a rank is out of date. Does not know what a leaf is worth, which
`eviction` says, or the tree.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stemfirst_server.memory.eviction import Eviction
    from stemfirst_server.memory.node import Node


def is_evictable_leaf(node: Node) -> bool:
    """Whether a node has nothing below it, is no root, and is not locked."""
    return node.parent is not None and node.locks == 0 and not node.children


class LeafQueue:
    """Evictable leaves by rank.

    Invariant: at most one entry a node, and one for every evictable leaf. Entries go stale when a
    node is used, locked or gets children; `pop` sorts that out, so that a use costs no more than
    a number written.

    Args:
        eviction: ranks.
        page: tokens of a page.
    """

    def __init__(self, eviction: Eviction, page: int) -> None:
        self._eviction = eviction
        self._page = page
        self._ties = 0
        # (rank when queued, tie-break, node)
        self._queue: list[tuple[float, int, Node]] = []

    def add(self, node: Node) -> None:
        """Queue a node that has become an evictable leaf; any other is ignored."""
        if is_evictable_leaf(node) and not node.is_queued:
            node.ranked_at = node.last_used
            rank = self._eviction.rank(
                last_used=node.last_used,
                uses=node.uses,
                end_tokens=(node.start_page + len(node.pages)) * self._page,
            )
            self._ties += 1
            heapq.heappush(self._queue, (rank, self._ties, node))
            node.is_queued = True

    def pop(self) -> tuple[float, Node] | None:
        """Remove and return the leaf of the lowest rank, with that; None if there is none."""
        while self._queue:
            rank, _, node = heapq.heappop(self._queue)
            node.is_queued = False
            if not is_evictable_leaf(node):
                continue
            if node.ranked_at == node.last_used:
                return rank, node
            self.add(node)
        return None
