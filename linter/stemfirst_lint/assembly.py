"""Makes the pieces of one template: judged holes between runs of text.

Knows f-strings, operands, and the fields of format strings, `string.Template` and `replace`.
Follows no string: it is told which literal and which values.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, replace

from stemfirst.tiers import Tier

from stemfirst_lint import naming
from stemfirst_lint.arguments import Call
from stemfirst_lint.constants import constant_text
from stemfirst_lint.fillings import (
    Given,
    markers_in,
    read_dollar,
    read_markers,
    read_percent,
)
from stemfirst_lint.flow import Flow
from stemfirst_lint.frozen import Frozen
from stemfirst_lint.fstrings import fields_of
from stemfirst_lint.invoked import Invoked
from stemfirst_lint.jinja import read_jinja
from stemfirst_lint.literals import Field, FormatField, FormatText, Run, read_format
from stemfirst_lint.model import UNKNOWN, Form, Hole, Kind, Location, Piece, Template
from stemfirst_lint.model import Text as TextPiece
from stemfirst_lint.origins import Origins
from stemfirst_lint.pieces import (
    Literal,
    end_offset_in,
    merged,
    name_of,
    offset_in,
    owner_of,
    runs_of,
    text_of,
)
from stemfirst_lint.scopes import Use, is_own
from stemfirst_lint.serialised import unsorted_json
from stemfirst_lint.syntax import place_of
from stemfirst_lint.verdicts import (
    in_all_rounds,
    kept,
    named_verdict,
    of_field,
    with_format_spec,
)


@dataclass(frozen=True, slots=True)
class Filling:
    """How a literal is filled: the syntax of its fields, the call that fills it, its values.

    `call` is None for a literal that is given to a template class and filled out of sight.
    """

    form: Form
    given: Given
    call: ast.expr | None
    use: Use
    outer: Call | None


class Assembler:
    """Makes pieces; holes are judged by the project's dataflow."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.origins = Origins(flow.project)
        self.invoked = Invoked(flow)
        self.frozen = Frozen(flow.project)
        self.inner_texts: Callable[[ast.expr, Use, Call | None], tuple[str, ...]] = _nothing
        """What stays in a value that is a template itself; the reader tells."""
        self.tail_texts: Callable[[ast.expr, Use, Call | None], tuple[str, ...]] = _nothing
        """What of it stands behind what varies in it."""
        self.reads_only = False
        """True while only texts that stay are asked for: no hole is judged."""

    def constant(self, literal: Literal) -> Template | None:
        """Return the template that a constant alone is, or None if it is empty."""
        runs = runs_of(literal)
        if runs is None or not literal.node.value:
            return None
        location = literal.source.location(*literal.span)
        pieces: list[Piece] = [text_of(run, literal.source) for run in runs]
        return Template(Form.CONSTANT, location, merged(pieces), literal.name)

    def fstring(self, node: ast.JoinedStr, use: Use, call: Call | None) -> list[Piece]:
        """Return the pieces of an f-string; empty if its source cannot be read."""
        source = use.scope.module.source
        found = fields_of(node, source)
        if found is None:
            return []
        pieces: list[Piece] = []
        for item in found:
            if isinstance(item, Run):
                pieces.append(text_of(item, source))
                continue
            pieces.append(self._value(*item, use, call))
        return pieces

    def _value(self, field: Field, value: ast.FormattedValue, use: Use, call: Call | None) -> Hole:
        """The judged hole of an f-string's field."""
        source = use.scope.module.source
        hole = self.hole(value.value, use, call, source.location(field.start, field.end))
        return replace(
            hole,
            source=source.text[field.expression_start : field.expression_end],
            verdict=with_format_spec(hole.verdict, field.format_spec),
            conversion=field.conversion,
            format_spec=field.format_spec,
            is_debug=field.is_debug,
            value_location=source.location(field.expression_start, field.expression_end),
        )

    def hole(self, node: ast.expr, use: Use, call: Call | None, location: Location) -> Hole:
        """Return the judged hole for a value that is put in at a place."""
        if self.reads_only:
            constant = constant_text(self.flow.project, node, use)
            return Hole(ast.unparse(node), "", location, constant_text=constant)
        verdict = kept(self.flow.verdict(node, use, call), owner_of(node))
        verdict = self.frozen.verdict(verdict, use, call)
        set_location: Location | None = None
        if verdict.kind is Kind.SET and id(node) in self.flow.containers.places:
            found = self.flow.containers.places[id(node)]
            where = found.use or use
            set_location = where.scope.module.source.place(found.node)
        constant = constant_text(self.flow.project, node, use) if verdict.is_stable else None
        if constant is not None:
            verdict = replace(verdict, kind=Kind.CONSTANT)
        is_open = verdict.tier is None or (verdict.is_stable and constant is None)
        is_made = (
            isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.IfExp) and constant is None
        )
        varies = verdict.tier is not None and verdict.tier > Tier.STATIC
        return Hole(
            source=ast.unparse(node),
            name=name_of(node),
            location=location,
            verdict=verdict,
            value_location=location,
            set_location=set_location,
            constant_text=constant,
            unsorted_json=unsorted_json(self.origins, node, use) if is_open else None,
            inner_texts=self.inner_texts(node, use, call) if is_made else (),
            tail_texts=self.tail_texts(node, use, call) if is_made and varies else (),
        )

    def operand(self, node: ast.expr, use: Use, call: Call | None) -> list[Piece]:
        """Return the pieces of one part of a sum or of a joined list."""
        source = use.scope.module.source
        if isinstance(node, ast.JoinedStr):
            pieces = self.fstring(node, use, call)
            if pieces:
                return pieces
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            runs = runs_of(Literal(node, source, None))
            if runs is not None:
                return [text_of(run, source) for run in runs]
        place = source.place(node)
        hole = self.hole(node, use, call, place)
        start, end = source.span(node)
        return [replace(hole, source=source.text[start:end])]

    def repeated(self, node: ast.expr, use: Use, call: Call | None) -> Hole:
        """Return one hole for a part that a loop adds any number of times."""
        source = use.scope.module.source
        start, end = source.span(node)
        hole = self.hole(node, use, call, source.place(node))
        if hole.verdict.kind in (Kind.ELEMENT, Kind.COUNTER):
            values = node.values if isinstance(node, ast.JoinedStr) else ()
            parts = [v.value for v in values if isinstance(v, ast.FormattedValue)]
            judged = (self.flow.verdict(part, use, call) for part in parts)
            told = in_all_rounds(judged, place_of(use.scope.node, use))
            varying = (part for part in parts if self.flow.verdict(part, use, call) == told)
            name = next(map(name_of, varying), hole.name)
            hole = replace(hole, verdict=told, name=name)
        return replace(
            hole, source=source.text[start:end], constant_text=None, inner_texts=(), tail_texts=()
        )

    def filled(self, literal: Literal, filling: Filling) -> Template | None:
        """Return the template of a literal whose fields a call fills, or None without fields."""
        runs = runs_of(literal)
        if runs is None:
            return None
        text = "".join(run.text for run in runs)
        parts: tuple[FormatText | FormatField, ...] | None
        if filling.form is Form.DOLLAR:
            parts = read_dollar(text)
        elif filling.form is Form.PERCENT:
            parts = read_percent(text)
        elif filling.form is Form.REPLACE:
            markers = tuple(filling.given.named) or markers_in(text)
            parts = read_markers(text, markers) if markers else None
        elif filling.form is Form.JINJA and literal.parts is not None:
            parts = tuple(part for _, part in literal.parts)
        elif filling.form is Form.JINJA:
            parts = read_jinja(text)
        else:
            parts = read_format(text)
        if parts is None or not any(isinstance(part, FormatField) for part in parts):
            return None
        pieces: list[Piece] = []
        automatic = 0
        placed = (
            literal.parts if literal.parts is not None else [(literal.source, p) for p in parts]
        )
        for file, part in placed:
            if file is literal.source:
                start, end = offset_in(runs, part.start), end_offset_in(runs, part.end)
            else:
                start, end = part.start, part.end
            place = file.location(start, end)
            if not isinstance(part, FormatField):
                pieces.append(TextPiece(part.text, place))
                continue
            base = part.name
            if filling.form in (Form.FORMAT, Form.JINJA):
                base = part.name.partition(".")[0].partition("[")[0]
            value: tuple[ast.expr, Use] | None = None
            is_positional = not base or base.isdigit()
            if is_positional:
                index = int(base) if base else automatic
                automatic += not base
                given = filling.given.positional
                if index < len(given) and not filling.given.is_open:
                    value = (given[index], filling.use)
            else:
                value = filling.given.named.get(base)
            pieces.append(self._field(part, place, value, filling, is_positional))
        call = filling.call
        return Template(
            filling.form,
            literal.source.location(*literal.span),
            merged(pieces),
            literal.name,
            calls=(filling.use.scope.module.source.place(call),) if call is not None else (),
        )

    def refilled(
        self, node: ast.JoinedStr, use: Use, name: str | None, filling: Filling
    ) -> Template | None:
        """Return the template of an f-string whose `{{fields}}` a call of `format` fills later.

        None where it has no such fields, or some that are no names.
        """
        source = use.scope.module.source
        pieces: list[Piece] = []
        is_open = False
        for item in fields_of(node, source) or ():
            if not isinstance(item, Run):
                pieces.append(self._value(*item, use, None))
                continue
            parts = read_format(item.text)
            if parts is None:
                return None
            for part in parts:
                place = source.location(item.offset(part.start), item.offset(part.end))
                if not isinstance(part, FormatField):
                    pieces.append(TextPiece(part.text, place))
                    continue
                base = part.name.partition(".")[0].partition("[")[0]
                if not base.isidentifier():
                    return None
                value = filling.given.named.get(base)
                pieces.append(self._field(part, place, value, filling, is_positional=False))
                is_open = True
        if not is_open:
            return None
        call = filling.call
        return Template(
            Form.FORMAT,
            source.place(node),
            merged(pieces),
            name,
            calls=(filling.use.scope.module.source.place(call),) if call is not None else (),
        )

    def filled_again(self, template: Template, filling: Filling) -> Template | None:
        """Return a template that a call fills once more, or None where no field is left in it.

        For text that grew before it is filled, and for fields that are filled one after the other.
        It is told as shared: a rewrite would have to follow each of these steps.
        """
        pieces: list[Piece] = []
        is_open = False
        for piece in template.pieces:
            parts = _fields_of(piece, filling) if isinstance(piece, TextPiece) else ()
            if parts is None:
                return None
            if not isinstance(piece, TextPiece):
                pieces.append(piece)
                continue
            for part in parts:
                place = _inside(piece, part.start, part.end)
                if isinstance(part, FormatField):
                    base = part.name
                    if filling.form is Form.FORMAT:
                        base = part.name.partition(".")[0].partition("[")[0]
                        if not base.isidentifier():
                            return None
                    value = filling.given.named.get(base)
                    pieces.append(self._field(part, place, value, filling, is_positional=False))
                    is_open = True
                else:
                    pieces.append(TextPiece(part.text, place))
        if not is_open:
            return None
        call = filling.call
        return replace(
            template,
            form=filling.form,
            pieces=merged(pieces),
            calls=(filling.use.scope.module.source.place(call),) if call is not None else (),
            is_shared=True,
        )

    def _field(
        self,
        part: FormatField,
        place: Location,
        value: tuple[ast.expr, Use] | None,
        filling: Filling,
        is_positional: bool,
    ) -> Hole:
        name = part.name.strip("{}<>[]$_% ") or part.name
        told = self.flow.declared_at(name, place.path) if not is_positional else None
        if value is None and told is not None:
            return Hole(part.name, part.name, place, told)
        if value is None:
            verdict = UNKNOWN
            if not is_positional and (filling.call is None or filling.given.is_open):
                verdict = of_field(name, place)
                if verdict.tier is None:
                    verdict = self.invoked.field(name, filling.use)
            return Hole(part.name, part.name or "{}", place, verdict, is_positional=is_positional)
        node, use = value
        source = use.scope.module.source
        start, end = source.span(node)
        inner = filling.outer if use.scope is filling.use.scope else None
        hole = self.hole(node, use, inner, place)
        if told is not None:
            hole = replace(hole, verdict=told)
        elif not is_positional:
            hole = replace(hole, verdict=kept(hole.verdict, name))
        if hole.verdict.tier is None and not is_positional:
            tier = naming.data_tier(name) if is_own(node) else naming.field_tier(name)
            if tier is not None:
                told = named_verdict(f"the field `{part.name}`", tier, place)
                hole = replace(hole, verdict=told)
        return replace(
            hole,
            source=source.text[start:end],
            name=part.name if not is_positional else hole.name,
            verdict=with_format_spec(hole.verdict, part.format_spec),
            conversion=part.conversion,
            format_spec=part.format_spec,
            is_positional=is_positional,
            value_location=source.place(node),
        )


def _fields_of(piece: TextPiece, filling: Filling) -> tuple[FormatText | FormatField, ...] | None:
    """The parts of a text that is filled; None where `format` would refuse it."""
    if filling.form is Form.FORMAT:
        return read_format(piece.text)
    markers = tuple(filling.given.named)
    return read_markers(piece.text, markers) if markers else ()


def _inside(piece: TextPiece, start: int, end: int) -> Location:
    """The place of a part of a text; the whole text's where its lines are not the source's."""
    place, text = piece.location, piece.text
    if place.end_line - place.line != text.count("\n"):
        return place

    def at(index: int) -> tuple[int, int]:
        line = text.count("\n", 0, index)
        behind = index - (text.rfind("\n", 0, index) + 1)
        return place.line + line, behind + 1 + (place.column - 1 if not line else 0)

    (line, column), (end_line, end_column) = at(start), at(end)
    return replace(place, line=line, column=column, end_line=end_line, end_column=end_column)


def _nothing(node: ast.expr, use: Use, call: Call | None) -> tuple[str, ...]:
    return ()
