"""A new order of a template's blocks: who comes to stand where, and what overtakes what.

Knows blocks by their old index. Judges nothing: those who derive from it do.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from stemfirst_lint.fix.blocks import Block
from stemfirst_lint.fix.flat import Flat
from stemfirst_lint.fix.safety import Refusal, Safety


class NewOrder(ABC):
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

    @abstractmethod
    def doubts(self) -> Iterator[Refusal]:
        """Yield why a person should look at the order, or nothing if it is clearly as good."""

    def _moves(self, block: int) -> bool:
        """True if a varying block goes behind text that it stood before."""
        return self._varies[block] and self._is_overtaken(block)

    def _moves_data(self) -> bool:
        """True if a block that holds data goes behind text that it stood before."""
        blocks = range(len(self._blocks))
        return any(self._moves(block) and self._safety.is_data(block) for block in blocks)

    def _overtakes(self, block: int) -> bool:
        """True if a block comes before one that it stood behind."""
        return any(self._place[other] > self._place[block] for other in range(block))

    def _is_overtaken(self, block: int) -> bool:
        """True if a block that stood behind it comes before it."""
        behind = range(block + 1, len(self._blocks))
        return any(self._place[other] < self._place[block] for other in behind)
