"""Follows an expression backwards to the text that it holds: templates with judged holes.

Knows f-strings, `str.format`, sums, and how a string travels through names, parameters,
attributes and functions. Knows nothing of sinks or rules.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace

from stemfirst_lint.arguments import Call, argument_of
from stemfirst_lint.flow import Flow
from stemfirst_lint.fstrings import fields_of
from stemfirst_lint.literals import Field, FormatField, Run, read_format, read_literal
from stemfirst_lint.model import UNKNOWN, Form, Hole, Kind, Location, Piece, Template, Text
from stemfirst_lint.project import Defined, External, Values
from stemfirst_lint.scopes import Bind, Binding, ScopeKind, Use, last_name
from stemfirst_lint.source import Source
from stemfirst_lint.verdicts import join, of_field, with_format_spec

_MAX_HOPS = 10
_MAX_STEPS = 1_000
_MAX_VARIANTS = 6
_MAX_CALLERS = 24
_PASS_THROUGH_METHODS = frozenset({"strip", "lstrip", "rstrip"})
_PASS_THROUGH_CALLS = frozenset({"textwrap.dedent", "inspect.cleandoc", "str", "typing.cast"})


@dataclass(frozen=True, slots=True)
class _Literal:
    """A constant string where it stands, and the name that it is bound to."""

    node: ast.Constant
    source: Source
    name: str | None


class Reader:
    """Reads templates out of expressions of one project."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.project = flow.project
        self._steps = 0

    def templates(
        self,
        node: ast.expr,
        use: Use,
        call: Call | None = None,
        name: str | None = None,
        hops: int = 0,
    ) -> list[Template]:
        """Return the templates that an expression may hold; empty if that cannot be told."""
        if hops == 0:
            self._steps = 0
        self._steps += 1
        if hops > _MAX_HOPS or self._steps > _MAX_STEPS:
            return []
        source = use.scope.module.source
        match node:
            case ast.Constant(value=str()):
                found = self._constant(_Literal(node, source, name))
                return [found] if found else []
            case ast.JoinedStr():
                pieces = self._fstring(node, use, call)
                if not pieces:
                    return []
                return [Template(Form.FSTRING, source.place(node), _merged(pieces), name)]
            case ast.BinOp(op=ast.Add()):
                found = self._sum(node, use, call, name)
                return [found] if found else []
            case ast.Await() | ast.NamedExpr():
                return self.templates(node.value, use, call, name, hops + 1)
            case ast.IfExp():
                return [
                    *self.templates(node.body, use, call, name, hops + 1),
                    *self.templates(node.orelse, use, call, name, hops + 1),
                ][:_MAX_VARIANTS]
            case ast.BoolOp(op=ast.Or()):
                variants: list[Template] = []
                for value in node.values:
                    variants.extend(self.templates(value, use, call, name, hops + 1))
                return variants[:_MAX_VARIANTS]
            case ast.Name():
                bindings = self.project.reaching(node.id, use)
                if bindings is None:
                    return []
                return self._bound(node.id, bindings, call, hops)
            case ast.Attribute():
                meaning = self.project.meaning(node, use)
                if isinstance(meaning, Values):
                    return self._bound(node.attr, meaning.bindings, None, hops)
            case ast.Call():
                return self._called(node, use, call, name, hops)
        return []

    # Names, parameters, functions

    def _bound(
        self, name: str, bindings: tuple[Binding, ...], call: Call | None, hops: int
    ) -> list[Template]:
        found: list[Template] = []
        for binding in bindings:
            if binding.how is Bind.AUGMENT:
                found = self._grown(found, binding, call)
                continue
            found.extend(self._of_binding(name, binding, call, hops))
        return found[:_MAX_VARIANTS]

    def _of_binding(
        self, name: str, binding: Binding, call: Call | None, hops: int
    ) -> list[Template]:
        inner = call if call and binding.use.scope is call.function else None
        match binding.how:
            case Bind.ASSIGN:
                assert binding.value is not None
                return self.templates(binding.value, binding.use, inner, name, hops + 1)
            case Bind.IMPORT:
                meaning = self.project.of_bindings((binding,), 0)
                if isinstance(meaning, Values):
                    return self._bound(name, meaning.bindings, None, hops + 1)
            case Bind.PARAMETER:
                return self._passed(name, binding, inner, hops)
        return []

    def _passed(self, name: str, binding: Binding, call: Call | None, hops: int) -> list[Template]:
        function = binding.use.scope
        if call is not None:
            given = argument_of(function, name, call.node, is_bound=call.is_bound)
            if given is None or not given[1]:
                return []
            return self.templates(given[0], call.use, call.outer, name, hops + 1)
        found: list[Template] = []
        if isinstance(function.node, ast.Lambda):
            return []
        for site, is_bound in self.project.calls_of(function)[:_MAX_CALLERS]:
            given = argument_of(function, name, site.node, is_bound=is_bound)
            if given is not None and given[1]:
                found.extend(self.templates(given[0], site.use, None, name, hops + 2))
        return found[:_MAX_CALLERS]

    def _called(
        self, node: ast.Call, use: Use, call: Call | None, name: str | None, hops: int
    ) -> list[Template]:
        function = node.func
        if isinstance(function, ast.Attribute):
            if function.attr == "format":
                return self._formatted(node, function.value, use, call, hops)
            if function.attr in _PASS_THROUGH_METHODS and not node.args:
                return self.templates(function.value, use, call, name, hops + 1)
        meaning = self.project.meaning(function, use)
        if isinstance(meaning, External):
            if meaning.dotted in _PASS_THROUGH_CALLS and node.args:
                return self.templates(node.args[-1], use, call, name, hops + 1)
            return []
        if isinstance(meaning, Defined) and meaning.scope.kind is ScopeKind.FUNCTION:
            inner = Call(node, meaning.scope, meaning.is_bound, use, call)
            found: list[Template] = []
            for value, value_use in meaning.scope.returns:
                found.extend(self.templates(value, value_use, inner, meaning.scope.name, hops + 1))
            return found[:_MAX_VARIANTS]
        return []

    def _grown(self, bases: list[Template], binding: Binding, call: Call | None) -> list[Template]:
        """The templates after `prompt += value`."""
        assert binding.value is not None
        inner = call if call and binding.use.scope is call.function else None
        added = self._operand(binding.value, binding.use, inner)
        return [
            replace(base, form=Form.CONCAT, pieces=_merged([*base.pieces, *added]))
            for base in bases
        ]

    # Texts

    def _constant(self, literal: _Literal) -> Template | None:
        runs = _runs(literal)
        if runs is None or not literal.node.value:
            return None
        start, end = literal.source.span(literal.node)
        location = literal.source.location(start, end)
        pieces: list[Piece] = [_text(run, literal.source) for run in runs]
        return Template(Form.CONSTANT, location, _merged(pieces), literal.name)

    def _fstring(self, node: ast.JoinedStr, use: Use, call: Call | None) -> list[Piece]:
        source = use.scope.module.source
        found = fields_of(node, source)
        if found is None:
            return []
        pieces: list[Piece] = []
        for item in found:
            if isinstance(item, Run):
                pieces.append(_text(item, source))
                continue
            field, value = item
            hole = self._hole(value.value, use, call, source.location(field.start, field.end))
            pieces.append(
                replace(
                    hole,
                    source=source.text[field.expression_start : field.expression_end],
                    verdict=with_format_spec(hole.verdict, field.format_spec),
                    conversion=field.conversion,
                    format_spec=field.format_spec,
                    is_debug=field.is_debug,
                    value_location=source.location(field.expression_start, field.expression_end),
                )
            )
        return pieces

    def _hole(self, node: ast.expr, use: Use, call: Call | None, location: Location) -> Hole:
        verdict = self.flow.verdict(node, use, call)
        set_location: Location | None = None
        if verdict.kind is Kind.SET and id(node) in self.flow.sets:
            found = self.flow.sets[id(node)]
            where = found.use or use
            set_location = where.scope.module.source.place(found.node)
        constant = self.flow.constant(node, use) if verdict.is_stable else None
        if constant is not None:
            verdict = replace(verdict, kind=Kind.CONSTANT)
        return Hole(
            source=ast.unparse(node),
            name=_hole_name(node),
            location=location,
            verdict=verdict,
            value_location=location,
            set_location=set_location,
            constant_text=constant,
        )

    def _sum(
        self, node: ast.BinOp, use: Use, call: Call | None, name: str | None
    ) -> Template | None:
        operands: list[ast.expr] = []
        pending: list[ast.expr] = [node]
        while pending:
            current = pending.pop()
            if isinstance(current, ast.BinOp) and isinstance(current.op, ast.Add):
                pending.extend((current.right, current.left))
            else:
                operands.append(current)
        if not any(
            isinstance(o, ast.JoinedStr)
            or (isinstance(o, ast.Constant) and isinstance(o.value, str))
            or self.flow.constant(o, use) is not None
            for o in operands
        ):
            return None  # a sum of numbers, or of lists
        pieces: list[Piece] = []
        for operand in operands:
            pieces.extend(self._operand(operand, use, call))
        location = use.scope.module.source.place(node)
        return Template(Form.CONCAT, location, _merged(pieces), name)

    def _operand(self, node: ast.expr, use: Use, call: Call | None) -> list[Piece]:
        source = use.scope.module.source
        if isinstance(node, ast.JoinedStr):
            pieces = self._fstring(node, use, call)
            if pieces:
                return pieces
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            runs = _runs(_Literal(node, source, None))
            if runs is not None:
                return [_text(run, source) for run in runs]
        place = source.place(node)
        hole = self._hole(node, use, call, place)
        start, end = source.span(node)
        return [replace(hole, source=source.text[start:end])]

    # str.format

    def _formatted(
        self, node: ast.Call, receiver: ast.expr, use: Use, call: Call | None, hops: int
    ) -> list[Template]:
        found: list[Template] = []
        for literal in self._literals(receiver, use, None, hops):
            template = self._format(literal, node, use, call)
            if template is not None:
                found.append(template)
        return found[:_MAX_VARIANTS]

    def _literals(self, node: ast.expr, use: Use, name: str | None, hops: int) -> list[_Literal]:
        """The constant strings that an expression may be."""
        if hops > _MAX_HOPS:
            return []
        match node:
            case ast.Constant(value=str()):
                return [_Literal(node, use.scope.module.source, name)]
            case ast.IfExp():
                return [
                    *self._literals(node.body, use, name, hops + 1),
                    *self._literals(node.orelse, use, name, hops + 1),
                ]
            case ast.Call(func=ast.Attribute(attr=method, value=inner), args=[]) if (
                method in _PASS_THROUGH_METHODS
            ):
                return self._literals(inner, use, name, hops + 1)
            case ast.Call(args=[inner]):
                meaning = self.project.meaning(node.func, use)
                if isinstance(meaning, External) and meaning.dotted in _PASS_THROUGH_CALLS:
                    return self._literals(inner, use, name, hops + 1)
            case ast.Name() | ast.Attribute():
                shown = last_name(node)
                if isinstance(node, ast.Name):
                    reaching = self.project.reaching(node.id, use)
                    meaning = self.project.of_bindings(reaching, 0) if reaching else None
                else:
                    meaning = self.project.meaning(node, use)
                if isinstance(meaning, Values):
                    found: list[_Literal] = []
                    for binding in meaning.bindings:
                        if binding.how is Bind.ASSIGN and binding.value is not None:
                            found.extend(
                                self._literals(binding.value, binding.use, shown, hops + 1)
                            )
                    return found
        return []

    def unfilled(self, node: ast.expr, use: Use) -> list[Template]:
        """Return the format templates that an expression may hold, judged by their fields' names.

        For constants that are given to a template class, which fills them somewhere else.
        """
        found: list[Template] = []
        for literal in self._literals(node, use, None, 0):
            template = self._format(literal, None, use, None)
            if template is not None:
                found.append(template)
        return found[:_MAX_VARIANTS]

    def _format(
        self, literal: _Literal, node: ast.Call | None, use: Use, call: Call | None
    ) -> Template | None:
        runs = _runs(literal)
        if runs is None:
            return None
        parts = read_format("".join(run.text for run in runs))
        if parts is None or not any(isinstance(part, FormatField) for part in parts):
            return None
        keywords = {k.arg: k.value for k in node.keywords if k.arg} if node else {}
        given = node.args if node else []
        has_star = any(isinstance(a, ast.Starred) for a in given)
        pieces: list[Piece] = []
        automatic = 0
        for part in parts:
            start, end = _offset(runs, part.start), _end_offset(runs, part.end)
            place = literal.source.location(start, end)
            if not isinstance(part, FormatField):
                pieces.append(Text(part.text, place))
                continue
            base = part.name.partition(".")[0].partition("[")[0]
            value: ast.expr | None
            is_positional = not base or base.isdigit()
            if is_positional:
                index = int(base) if base else automatic
                automatic += not base
                value = given[index] if index < len(given) and not has_star else None
            else:
                value = keywords.get(base)
            hole = self._format_hole(part, place, value, use, call, is_positional)
            if node is None and not is_positional:
                hole = replace(hole, verdict=of_field(part.name, place))
            pieces.append(hole)
        start, end = literal.source.span(literal.node)
        return Template(
            Form.FORMAT,
            literal.source.location(start, end),
            _merged(pieces),
            literal.name,
            calls=(use.scope.module.source.place(node),) if node else (),
        )

    def _format_hole(
        self,
        part: FormatField,
        place: Location,
        value: ast.expr | None,
        use: Use,
        call: Call | None,
        is_positional: bool,
    ) -> Hole:
        if value is None:
            return Hole(part.name, part.name or "{}", place, UNKNOWN, is_positional=is_positional)
        source = use.scope.module.source
        start, end = source.span(value)
        hole = self._hole(value, use, call, place)
        return replace(
            hole,
            source=source.text[start:end],
            name=part.name if not is_positional else hole.name,
            verdict=with_format_spec(hole.verdict, part.format_spec),
            conversion=part.conversion,
            format_spec=part.format_spec,
            is_positional=is_positional,
            value_location=source.place(value),
        )


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


def _runs(literal: _Literal) -> list[Run] | None:
    try:
        pieces = read_literal(literal.source.text, *literal.source.span(literal.node))
    except IndexError:
        return None
    if pieces is None or any(isinstance(piece, Field) for piece in pieces):
        return None
    runs = [piece for piece in pieces if isinstance(piece, Run)]
    if "".join(run.text for run in runs) != literal.node.value:
        return None  # inside an f-string of an old Python: the position is wrong
    return runs


def _text(run: Run, source: Source) -> Text:
    return Text(run.text, source.location(run.start, run.end))


def _offset(runs: list[Run], index: int) -> int:
    for run in runs:
        if index < len(run.text):
            return run.offset(index)
        index -= len(run.text)
    return runs[-1].end


def _end_offset(runs: list[Run], index: int) -> int:
    for run in runs:
        if index <= len(run.text):
            return run.offset(index)
        index -= len(run.text)
    return runs[-1].end


def _merged(pieces: list[Piece]) -> tuple[Piece, ...]:
    merged: list[Piece] = []
    for piece in pieces:
        last = merged[-1] if merged else None
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
            merged[-1] = Text(last.text + piece.text, place)
        elif not isinstance(piece, Text) or piece.text:
            merged.append(piece)
    return tuple(merged)


def _hole_name(node: ast.expr) -> str:
    name = last_name(node)
    if name is not None:
        return name
    if isinstance(node, ast.Call):
        return _hole_name(node.func) + "()"
    if isinstance(node, ast.Subscript | ast.Await | ast.Starred):
        return _hole_name(node.value)
    return "value"
