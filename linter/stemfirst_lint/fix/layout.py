"""New text from blocks in a new order: what stands between them, and how far they are indented.

White space belongs to the layout, not to the blocks: neighbours that stay neighbours keep what
stood between them, new neighbours get what this template puts between such blocks.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from stemfirst_lint.fix.blocks import Block, is_listed


@dataclass(frozen=True, slots=True)
class Span:
    """A range of the old flat text that is kept as it stands in the source."""

    start: int
    end: int


Run = Span | str
"""A kept range, or new white space."""


def arrange(text: str, blocks: Sequence[Block], order: Sequence[int]) -> tuple[Run, ...]:
    """Return the runs of the new text: every block once, in the given order.

    Args:
        text: the old flat text.
        blocks: its blocks in order; at least one.
        order: a permutation of the blocks' indices.
    """
    indents = _Indents(text, blocks)
    first = order[0]
    runs: list[Run] = []
    head = text[: blocks[0].start]
    if first == 0:
        runs.append(Span(0, blocks[0].start))
    elif "\n" not in head:
        runs += (Span(0, blocks[0].start), indents.beyond(first))
    else:
        runs.append(Span(0, head.rindex("\n") + 1))
        runs.append(indents.of(first))
    runs.append(Span(blocks[first].start, blocks[first].end))
    between = _paragraph_gap(text, blocks)
    for left, right in itertools.pairwise(order):
        if right == left + 1:
            runs.append(Span(blocks[left].end, blocks[right].start))
        elif blocks[left].paragraph != blocks[right].paragraph:
            runs.append(between + indents.of(right))
        elif _run_together(text, blocks[left], blocks[right]):
            runs.append("\n\n" + indents.of(right))
        elif blocks[left].line != blocks[right].line:
            runs.append("\n" + indents.of(right))
        else:
            runs.append(" ")
        runs.append(Span(blocks[right].start, blocks[right].end))
    runs.append(Span(blocks[-1].end, len(text)))
    return tuple(run for run in runs if run and run != Span(0, 0))


def text_of(text: str, runs: Sequence[Run]) -> str:
    """Return the new flat text that `runs` of `text` spell."""
    return "".join(run if isinstance(run, str) else text[run.start : run.end] for run in runs)


def _run_together(text: str, left: Block, right: Block) -> bool:
    """Return True if two blocks, one line below the other, would read as one list or paragraph."""
    above, below = text[left.start : left.end], text[right.start : right.end]
    if left.line == right.line:
        return False
    if "\n\n" in above.replace(" ", "") or "\n\n" in below.replace(" ", ""):
        return True
    return is_listed(above.rsplit("\n", 1)[-1]) and not is_listed(below.split("\n", 1)[0])


def _paragraph_gap(text: str, blocks: Sequence[Block]) -> str:
    """Return the newlines that this template most often puts between two paragraphs."""
    counts = Counter(
        text.count("\n", left.end, right.start)
        for left, right in itertools.pairwise(blocks)
        if left.paragraph != right.paragraph
    )
    return "\n" * (max(counts, key=lambda count: (counts[count], count)) if counts else 2)


class _Indents:
    """How far each block is indented; a block behind an opening quote as far as the others."""

    def __init__(self, text: str, blocks: Sequence[Block]) -> None:
        self._own: list[str | None] = []
        for block in blocks:
            line_start = text.rfind("\n", 0, block.start) + 1
            lead = text[line_start : block.start]
            is_first_line = line_start == 0
            self._own.append(None if is_first_line or lead.strip() else lead)
        known = [indent for indent in self._own if indent is not None]
        tail = re.findall(r"\n([ \t]*)(?=\S)", text)
        self._common = min(known or tail, key=len, default="")

    def beyond(self, index: int) -> str:
        """What a block is indented more than the others: code keeps that behind a quote, too."""
        return self.of(index).removeprefix(self._common)

    def of(self, index: int) -> str:
        own = self._own[index]
        return self._common if own is None else own
