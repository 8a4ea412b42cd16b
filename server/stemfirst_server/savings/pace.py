"""How much slower than the law a machine is just now, and how far that may be off.

A law says how a chunk's time grows with its tokens; other work on the machine stretches all of it
for a while. Knows a few sums over the newest chunks. Does not know the law itself: it is told
what the law predicted and what was measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

KEEPS = 15 / 16
"""Of what is remembered, what is left after one more chunk: about 16 chunks count."""

BLOCK = 8
"""Chunks that are judged together: about those of one long prompt."""

LEAST_DRIFT = 0.02
"""Standard deviation below which no machine is believed to be."""

_MOST = 8.0
"""Times the present pace that a single chunk counts for at most: a stall is no pace."""

_KEEPS_BLOCKS = 7 / 8


@dataclass(slots=True)
class Pace:
    """Measured over predicted time, as the newest chunks have it; mutable.

    Sums of milliseconds, not a median of ratios: what a prompt takes is a sum, and chunks that
    are disturbed are part of it. Each block of chunks is predicted from those before it, and how
    far that was off is the error of the next one.

    Args:
        prior_drift: standard deviation to assume while few blocks were seen.
    """

    prior_drift: float
    measured_ms: float
    predicted_ms: float
    _block_ms: float = 0.0
    _block_predicted_ms: float = 0.0
    _block_chunks: int = 0
    _block_pace: float = 1.0
    _squares: float = 0.0
    _blocks: float = 0.0

    @classmethod
    def at_start(cls, prior_drift: float, chunk_ms: float) -> Pace:
        """Return the law's own pace, as sure as a law is that was fitted to such chunks."""
        return cls(prior_drift, chunk_ms / (1 - KEEPS), chunk_ms / (1 - KEEPS))

    @property
    def factor(self) -> float:
        """Times the law's prediction that chunks take now; 1 before any was seen."""
        return self.measured_ms / self.predicted_ms

    @property
    def drift(self) -> float:
        """How far a run of chunks is off together, one standard deviation of the ratio."""
        squares, blocks = self._squares, self._blocks
        if self._block_chunks:  # a jump shows before its block is full
            share = self._block_chunks / BLOCK
            squares, blocks = squares + share * self._off() ** 2, blocks + share
        # The prior counts for two blocks: a few say little of a machine that wanders.
        return max(LEAST_DRIFT, math.sqrt((squares + 2 * self.prior_drift**2) / (blocks + 2)))

    def doubt(self, jitter_ms: float) -> float:
        """Return how far the factor may be off because chunks jitter: one standard deviation.

        Much where they were short: a server whose prompts are all cached sees little of its pace.

        Args:
            jitter_ms: standard deviation of any chunk, however short it is.
        """
        return jitter_ms * math.sqrt(1 / (1 - KEEPS**2)) / self.predicted_ms

    def observe(self, predicted_ms: float, measured_ms: float) -> None:
        """Take what one chunk took, and what the law had said."""
        now = self.factor
        took = min(measured_ms, _MOST * now * predicted_ms)
        if not self._block_chunks:
            self._block_pace = now
        self._block_ms += took
        self._block_predicted_ms += predicted_ms
        self._block_chunks += 1
        if self._block_chunks == BLOCK:
            self._squares = self._squares * _KEEPS_BLOCKS + self._off() ** 2
            self._blocks = self._blocks * _KEEPS_BLOCKS + 1
            self._block_ms = self._block_predicted_ms = 0.0
            self._block_chunks = 0
        self.measured_ms = self.measured_ms * KEEPS + took
        self.predicted_ms = self.predicted_ms * KEEPS + predicted_ms

    def _off(self) -> float:
        return math.log(self._block_ms / (self._block_pace * self._block_predicted_ms))
