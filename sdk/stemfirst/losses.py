"""What a change cost: text behind it that was sent before, too, and had to be read again.

Knows two renderings of a prompt, whole or by digests, and what of the newer one stands unchanged
behind the place where they part. What is new because it is new (another question, another tenant,
another conversation) is no loss. Does not know why the texts differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemfirst.segments import Path
from stemfirst.tiers import Tier

if TYPE_CHECKING:
    from stemfirst.divergence import Divergence, Run

LEAST_LOST_BYTES = 64
"""About a page of 16 tokens: less is never found in a cache on its own."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of a prompt: `key` is equal for equal texts."""

    key: str
    size_bytes: int
    tier: Tier | None
    at: Path

    @property
    def is_stable(self) -> bool:
        """Whether it is text that should stay the same, as far as that is known."""
        return (self.tier is None or self.tier <= Tier.TENANT) and self.at[-1] != "role"

    @property
    def is_history(self) -> bool:
        """Whether it is of a conversation: a request's text belongs to it in the next turn."""
        return self.tier is not None and self.tier >= Tier.SESSION and self.at[-1] != "role"


def pieces_of(runs: Sequence[Run]) -> list[Piece]:
    """Return runs as pieces; their keys are their texts."""
    return [Piece(run.text, _bytes(run.text), run.tier, run.at) for run in runs]


def is_lossy(found: Divergence, before: Sequence[Run], after: Sequence[Run]) -> bool:
    """Return whether text was read again that both prompts have, because they part before it.

    Args:
        found: where they part.
        before: the older prompt's runs.
        after: the newer prompt's runs.
    """
    index = next((i for i, run in enumerate(after) if run is found.run), None)
    if index is None:
        return False
    if is_lossy_behind(pieces_of(before), pieces_of(after), index):
        return True
    return found.rest_bytes + found.lost_bytes >= LEAST_LOST_BYTES


def is_lossy_behind(before: Sequence[Piece], after: Sequence[Piece], index: int) -> bool:
    """Return the same of pieces, where `after[index]` is the first that differs.

    Tools should never change. A history is lost where its own messages come again: after it slid,
    or behind one that was edited; another conversation's have nothing in common.
    """
    parting = after[index]
    if parting.at[0] == "tools":
        return True
    if parting.tier is Tier.SESSION:
        return _is_same_history(before, after, index)
    had = {piece.key for piece in before if piece.is_stable}
    behind = [piece for piece in after[index + 1 :] if piece.is_stable and piece.key in had]
    return sum(piece.size_bytes for piece in behind) >= LEAST_LOST_BYTES


def _is_same_history(before: Sequence[Piece], after: Sequence[Piece], index: int) -> bool:
    olds = [piece.key for piece in before if piece.is_history]
    news = [piece for piece in after if piece.is_history]
    start = next(i for i, piece in enumerate(news) if piece is after[index])
    keys = [piece.key for piece in news[start:]]
    for shift in range(1, len(olds) - start):
        rest = olds[start + shift :]
        if keys[: len(rest)] == rest:
            return True
    same = [
        piece for piece, old in zip(news[start:], olds[start:], strict=False) if piece.key == old
    ]
    return len(same) > 1 or sum(piece.size_bytes for piece in same) >= LEAST_LOST_BYTES


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
