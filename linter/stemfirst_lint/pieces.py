"""The stuff of templates: runs of literal text and holes, brought together in one order.

Knows literals, their offsets, and how pieces merge. Follows nothing and judges nothing.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace

from stemfirst_lint.known import PURE_CALLS, PURE_METHODS
from stemfirst_lint.literals import Field, FormatField, FormatText, Run, read_literal
from stemfirst_lint.model import Hole, Piece, Template, Text
from stemfirst_lint.scopes import last_name
from stemfirst_lint.source import Source
from stemfirst_lint.verdicts import join


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant string where it stands, and the name that it is bound to.

    `is_file` tells that it is the whole text of a file that is no source; `run` is the place of one
    value in such a file.
    """

    node: ast.Constant
    source: Source
    name: str | None
    is_file: bool = False
    run: Run | None = None
    parts: tuple[tuple[Source, FormatText | FormatField], ...] | None = None

    @property
    def span(self) -> tuple[int, int]:
        """The offsets of its beginning and end."""
        if self.run is not None:
            return self.run.start, self.run.end
        return (0, len(self.source.text)) if self.is_file else self.source.span(self.node)


def runs_of(literal: Literal) -> list[Run] | None:
    """Return the text of a literal with its offsets, or None if the source does not show it."""
    if literal.run is not None:
        return [literal.run] if literal.run.text else None
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
    """Return a short name for a value: the name in its expression that says most of it.

    `docs` for `", ".join(d.text for d in docs)`, `question` for `question.strip()`.
    """
    return _name_in(node) or "value"


def owner_of(node: ast.expr) -> str:
    """Return the name that says what kind of thing a value is: `doc` for `doc.name`, else its own.

    Whatever has a name or a description is what its owner is, a document or a setting.
    """
    match node:
        case (
            ast.Attribute(attr="name" | "stem" | "description", value=value)
            | ast.Subscript(slice=ast.Constant(value="name" | "description"), value=value)
        ):
            return last_name(value) or name_of(node)
    return name_of(node)


def _name_in(node: ast.expr) -> str | None:
    match node:
        case ast.Name() | ast.Attribute():
            return last_name(node)
        case ast.Call(func=ast.Attribute(attr="join", value=ast.Constant()), args=[inner]):
            return _name_in(inner)
        case ast.Call(func=ast.Attribute(attr=attr, value=inner)) if attr in PURE_METHODS:
            return _name_in(inner) or f"{attr}()"
        case ast.Call(func=ast.Name(id=called), args=[inner, *_]) if called in PURE_CALLS:
            return _name_in(inner) or f"{called}()"
        case ast.Call():
            name = _name_in(node.func)
            return f"{name}()" if name else None
        case ast.ListComp() | ast.GeneratorExp() | ast.SetComp() | ast.DictComp():
            return _name_in(node.generators[0].iter)
        case ast.Subscript(slice=ast.Constant(value=str(key))):
            return key if key.isidentifier() else _name_in(node.value)
        case ast.Subscript() | ast.Await() | ast.Starred() | ast.FormattedValue():
            return _name_in(node.value)
        case ast.IfExp():
            return _name_in(node.body) or _name_in(node.orelse)
        case ast.BoolOp() | ast.JoinedStr():
            return _first_name(node.values)
        case ast.BinOp():
            return _first_name([node.left, node.right])
        case ast.List() | ast.Tuple() | ast.Set():
            return _first_name(node.elts)
    return None


def _first_name(nodes: list[ast.expr]) -> str | None:
    return next((name for node in nodes if (name := _name_in(node)) is not None), None)
