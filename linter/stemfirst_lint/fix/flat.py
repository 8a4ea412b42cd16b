"""A template as one string in which every hole is one character.

Knows pieces. Knows nothing of what the text means.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

from stemfirst_lint.fix.words import HOLE
from stemfirst_lint.model import Hole, Piece, Text


@dataclass(frozen=True, slots=True)
class Flat:
    """A template's text with one `HOLE` character for each hole.

    Attributes:
        text: what the model reads, holes abbreviated.
        holes: the holes in the order of the text.
        offsets: where each hole's character stands in `text`; as long as `holes`.
    """

    text: str
    holes: tuple[Hole, ...]
    offsets: tuple[int, ...]

    def holes_in(self, start: int, end: int) -> range:
        """Return the indices of the holes inside `text[start:end]`."""
        return range(bisect.bisect_left(self.offsets, start), bisect.bisect_left(self.offsets, end))


def flatten(pieces: Sequence[Piece]) -> Flat:
    """Return the flat text of a template's pieces.

    Raises:
        ValueError: the text holds the character that stands for holes.
    """
    parts: list[str] = []
    holes: list[Hole] = []
    offsets: list[int] = []
    length = 0
    for piece in pieces:
        if isinstance(piece, Text):
            if HOLE in piece.text:
                raise ValueError("the text holds U+FFFC, which stands for holes here")
            part = piece.text
        else:
            part = HOLE
            holes.append(piece)
            offsets.append(length)
        parts.append(part)
        length += len(part)
    return Flat("".join(parts), tuple(holes), tuple(offsets))
