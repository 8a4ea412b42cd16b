"""A new order of a template's blocks: who comes to stand where, and what overtakes what.

Knows blocks by their old index. Judges nothing: `care` and `bonds` do.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from stemfirst_lint.fix.blocks import Block
from stemfirst_lint.fix.flat import Flat
from stemfirst_lint.fix.safety import Safety


class NewOrder:
    """A template's blocks, and the order that they would have.

    Args:
        flat: the template's text.
        blocks: its blocks in their old order.
        safety: what is known about them.
        order: the old indices in the new order; something moves.
    """

    def __init__(
        self, flat: Flat, blocks: Sequence[Block], safety: Safety, order: Sequence[int]
    ) -> None:
        self._flat = flat
        self._blocks = blocks
        self._safety = safety
        self._order = order
        self._texts = safety.texts
        self._varies = [safety.tier(block) > 0 for block in range(len(blocks))]
        self._place = {block: place for place, block in enumerate(order)}
        self._below = dict(itertools.pairwise(order))
        self._above = {below: above for above, below in self._below.items()}

    def _overtakes(self, block: int) -> bool:
        """True if a block comes before one that it stood behind."""
        return any(self._place[other] > self._place[block] for other in range(block))

    def _is_overtaken(self, block: int) -> bool:
        """True if a block that stood behind it comes before it."""
        behind = range(block + 1, len(self._blocks))
        return any(self._place[other] < self._place[block] for other in behind)
