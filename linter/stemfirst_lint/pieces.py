"""The stuff of templates: runs of literal text and holes, brought together in one order.

Knows literals, their offsets, and how pieces merge. Follows nothing and judges nothing.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace

from stemfirst_lint.literals import Field, Run, read_literal
from stemfirst_lint.model import Hole, Piece, Template, Text
from stemfirst_lint.scopes import last_name
from stemfirst_lint.source import Source
from stemfirst_lint.verdicts import join


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant string where it stands, and the name that it is bound to.

    `is_file` tells that it is the whole text of a file that is no source.
    """

    node: ast.Constant
    source: Source
    name: str | None
    is_file: bool = False

    @property
    def span(self) -> tuple[int, int]:
        """The offsets of its beginning and end."""
        return (0, len(self.source.text)) if self.is_file else self.source.span(self.node)


def runs_of(literal: Literal) -> list[Run] | None:
    """Return the text of a literal with its offsets, or None if the source does not show it."""
    if literal.is_file:
        text = literal.source.text
        return [Run(text, 0, len(text), ((0, 0),))] if text else None
    try:
        pieces = read_literal(literal.source.text, *literal.span)
    except IndexError:
        return None
    if pieces is None or any(isinstance(piece, Field) for piece in pieces):
        return None
    runs = [piece for piece in pieces if isinstance(piece, Run)]
    if "".join(run.text for run in runs) != literal.node.value:
        return None  # inside an f-string of an old Python: the position is wrong
    return runs


def text_of(run: Run, source: Source) -> Text:
    """Return a run as a piece."""
    return Text(run.text, source.location(run.start, run.end))


def offset_in(runs: list[Run], index: int) -> int:
    """Return the source offset of the character at `index` of the joined runs."""
    for run in runs:
        if index < len(run.text):
            return run.offset(index)
        index -= len(run.text)
    return runs[-1].end


def end_offset_in(runs: list[Run], index: int) -> int:
    """Return the source offset behind the character before `index` of the joined runs."""
    for run in runs:
        if index <= len(run.text):
            return run.offset(index)
        index -= len(run.text)
    return runs[-1].end


def merged(pieces: list[Piece]) -> tuple[Piece, ...]:
    """Return the pieces with neighbouring texts of one file joined and empty texts left out."""
    found: list[Piece] = []
    for piece in pieces:
        last = found[-1] if found else None
        if (
            isinstance(piece, Text)
            and isinstance(last, Text)
            and (piece.location.path == last.location.path)
        ):
            place = replace(
                last.location,
                end_line=piece.location.end_line,
                end_column=piece.location.end_column,
            )
            found[-1] = Text(last.text + piece.text, place)
        elif not isinstance(piece, Text) or piece.text:
            found.append(piece)
    return tuple(found)


def merge(templates: list[Template]) -> Template:
    """Return one template for several readings of the same text, each hole at its liveliest."""
    first = templates[0]
    if len(templates) == 1:
        return first
    columns = list(zip(*(t.pieces for t in templates), strict=False))
    if any(len(t.pieces) != len(first.pieces) for t in templates):
        return first
    pieces: list[Piece] = []
    for column in columns:
        head = column[0]
        if isinstance(head, Text):
            pieces.append(head)
            continue
        holes = [piece for piece in column if isinstance(piece, Hole)]
        liveliest = join(hole.verdict for hole in holes)
        chosen = next((h for h in holes if h.verdict == liveliest), holes[0])
        if liveliest.is_stable and any(h.constant_text != chosen.constant_text for h in holes):
            chosen = replace(chosen, constant_text=None)
        pieces.append(replace(chosen, verdict=liveliest))
    calls = sorted({place for template in templates for place in template.calls})
    return replace(first, pieces=tuple(pieces), calls=tuple(calls))


def name_of(node: ast.expr) -> str:
    """Return a short name for a value: the last name in its expression."""
    name = last_name(node)
    if name is not None:
        return name
    if isinstance(node, ast.Call):
        return name_of(node.func) + "()"
    if isinstance(node, ast.Subscript | ast.Await | ast.Starred):
        return name_of(node.value)
    return "value"
