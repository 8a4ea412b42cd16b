"""Which leaf of the tree goes first when pages are needed.

Knows: how often a leaf was used, how recently, and how dear its pages would be to compute again.
Does not know the tree's structure or who wants the pages.

`Recency` is least recently used. `Worth` ranks by the milliseconds that keeping a page is expected
to save: uses · cost of a page at that depth · exp(-age / decay), where the decay is a share of the
age at which leaves have had to go lately. Its logarithm orders leaves the same whenever it is
taken, so a rank is computed at a use and not again.
"""

from __future__ import annotations

import math
from typing import Protocol

# Where a token's attention to what stands before it costs as much as all else does: thousands of
# tokens for small models, tens of thousands for large ones. Until the server has measured it.
_EVEN_TOKENS = 8192.0
# By benchmarks/eviction.py: with 1, chats lose a tenth; with 0.1, nothing is gained.
_DECAY_SHARE = 0.3
_AGE_SMOOTHING = 0.01


class Eviction(Protocol):
    """A way to rank leaves; the lowest rank goes first."""

    def rank(self, *, last_used: int, uses: int, end_tokens: int) -> float:
        """Return a leaf's rank now.

        Args:
            last_used: the tree's clock when it was last matched or inserted.
            uses: requests that it served, the one that computed it included.
            end_tokens: tokens from the root to its end.
        """

    def evicted(self, rank: float) -> None:
        """Note the rank of a leaf that had to go."""


class Recency:
    """Least recently used goes first."""

    def rank(self, *, last_used: int, uses: int, end_tokens: int) -> float:
        """Return the time of the last use."""
        return float(last_used)

    def evicted(self, rank: float) -> None:
        """Nothing to remember."""


class Worth:
    """The least expected saving per page goes first; equals by recency.

    Attributes:
        even_tokens: context at which attention doubles what a token costs; may be set at any
            time, from any thread, as the server measures it. Infinite: depth costs nothing.
    """

    def __init__(self, even_tokens: float = _EVEN_TOKENS) -> None:
        self.even_tokens = even_tokens
        self._clock = 0
        # The mean age of what was evicted lately, in ticks of the tree's clock.
        self._age = 0.0

    def rank(self, *, last_used: int, uses: int, end_tokens: int) -> float:
        """Return the tick at which one use of a page at the root would be worth the same."""
        self._clock = max(self._clock, last_used)
        worth = uses * (1.0 + end_tokens / self.even_tokens)
        return last_used + _DECAY_SHARE * self._age * math.log(worth)

    def evicted(self, rank: float) -> None:
        """Learn how long leaves are kept."""
        age = max(0.0, self._clock - rank)
        self._age += (age - self._age) * _AGE_SMOOTHING
