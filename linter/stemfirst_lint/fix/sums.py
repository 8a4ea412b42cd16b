"""Sums of literals and values, and names that grow by `+=`, read as one literal.

Knows `"a" + b + f"c{d}"` and the run of statements `text = "a"`, `text += b`. An operand that is
no literal is one field; it moves whole. Knows nothing of blocks or order.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import libcst as cst

from stemfirst_lint.fix.literal import (
    Atom,
    Comments,
    Joints,
    Literal,
    LiteralError,
    Part,
    around,
    collect,
    joint_of,
)
from stemfirst_lint.fix.words import HOLE
from stemfirst_lint.source import Source

COMMENTS_FIRST = re.compile(r"(?:[ \t]*#[^\r\n]*\r?\n[ \t]*)+")
"""Comments on lines of their own, in front of what they are about."""
_STRINGS = (cst.SimpleString, cst.FormattedString, cst.ConcatenatedString)


@dataclass(frozen=True, slots=True)
class Growth:
    """A run of statements that builds a text: `name = ...`, then `name += ...`.

    `start` and `end` are offsets: from behind the first `=` to the end of the last statement;
    `statement` is where the first statement begins.
    """

    name: str
    indent: str
    start: int
    end: int
    statement: int


def take_apart_sum(source: str) -> Literal:
    """Return the atoms of a sum.

    Raises:
        LiteralError: libcst cannot read it, or a comment belongs to no operand.
    """
    return _read(source, [(0, len(source))])


def take_apart_growth(source: str, growth: Growth) -> Literal:
    """Return the atoms of all that a run of statements adds up.

    Args:
        source: from behind the first `=` to the end of the last statement; the comments above the
            first statement may stand in front of it.
        growth: whose name and indent it has; its offsets are not used.

    Raises:
        LiteralError: it is no such run.
    """
    above = COMMENTS_FIRST.match(source)
    shift = len(above.group().rstrip(" \t") + growth.indent) if above else 0
    head = ("if 1:\n" + growth.indent if growth.indent else "") + f"{growth.name} ="
    try:
        tree = ast.parse(head + source[shift:])
    except (SyntaxError, ValueError):
        raise LiteralError("its statements do not parse by themselves") from None
    body = tree.body
    if growth.indent:
        assert isinstance(body[0], ast.If)
        body = body[0].body
    whole = Source("", head + source[shift:])
    regions: list[tuple[int, int]] = []
    for number, statement in enumerate(body):
        value = _value_of(statement, growth.name, is_first=number == 0)
        if value is None:
            raise LiteralError(f"something else stands between the lines that build {growth.name}")
        if any(isinstance(n, ast.Name) and n.id == growth.name for n in ast.walk(value)):
            raise LiteralError(f"a part reads {growth.name} while it grows")
        start = _behind_operator(whole, statement)
        back = shift - len(head)
        regions.append((start + back, whole.span(statement)[1] + back))
    regions[-1] = (regions[-1][0], len(source))  # with the comment behind it
    literal = _read(source, regions)
    if above is None:
        return literal
    lines = tuple(line.strip() for line in above.group().splitlines() if line.strip())
    return replace(literal, above=(lines + literal.above[0], *literal.above[1:]))


def growth_at(text: str, start: int, end: int) -> Growth | None:
    """Return the run of statements that begins with the assignment of `text[start:end]`."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return None
    source = Source("", text)
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            suite = getattr(node, field, None)
            if not isinstance(suite, list):
                continue
            for number, statement in enumerate(suite):
                name = _assigned(statement)
                if name is None:
                    continue
                value = statement.value
                assert value is not None
                if source.span(value) != (start, end):
                    continue
                stop = number + 1
                while stop < len(suite) and _value_of(suite[stop], name, is_first=False):
                    stop += 1
                if stop == number + 1:
                    return None
                at = source.span(statement)[0]
                line = text.rfind("\n", 0, at) + 1
                indent = text[line:at]
                if indent.strip():
                    return None
                return Growth(
                    name,
                    indent,
                    _behind_operator(source, statement),
                    source.span(suite[stop - 1])[1],
                    at,
                )
    return None


def _assigned(statement: ast.stmt) -> str | None:
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)]):
            return name
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()):
            return name
    return None


def _value_of(statement: ast.stmt, name: str, *, is_first: bool) -> ast.expr | None:
    if is_first:
        return statement.value if isinstance(statement, ast.Assign) else None
    match statement:
        case ast.AugAssign(target=ast.Name(id=found), op=ast.Add(), value=value) if found == name:
            return value
    return None


def _behind_operator(source: Source, statement: ast.stmt) -> int:
    assert isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign)
    if isinstance(statement, ast.Assign):
        left: ast.expr = statement.targets[-1]
    elif isinstance(statement, ast.AnnAssign):
        left = statement.annotation
    else:
        left = statement.target
    at = source.span(left)[1]
    found = re.compile(r"[)\s]*\+?=").match(source.text, at)
    assert found is not None
    return found.end()


def _read(source: str, regions: Sequence[tuple[int, int]]) -> Literal:
    reader = _Reader()
    outer: list[tuple[str, str]] = []
    edges: list[tuple[str, str]] = []
    for number, (start, end) in enumerate(regions):
        if number:
            reader.gap(source[regions[number - 1][1] : start])
        region = source[start:end]
        body = region.lstrip(" \t")
        lead = region[: len(region) - len(body)]
        try:
            node = cst.parse_expression(f"({body}\n)")
        except cst.ParserSyntaxError as error:
            raise LiteralError(f"libcst cannot read it: {error.message}") from None
        before, behind = around(node)
        left, right = _parens(node)
        outer.append((lead + left[1 + len(before) :], right[: -1 - len(behind)]))
        edges.append((before, behind))
        reader.operand(node, number, is_whole=True)
    comments = Comments(len(reader.parts))
    comments.around(edges[0][0], edges[-1][1])
    spaces = [comments.between(part, gap) for part, gap in reader.spaces.items()]
    joints = Joints(
        tuple(reader.statements),
        tuple(comments.between(part, gap) for part, gap in reader.between.items()),
        tuple(reader.parens),
        tuple(outer),
    )
    return Literal(
        tuple(reader.parts),
        tuple(reader.atoms),
        joint_of(spaces),
        tuple(comments.behind),
        tuple(comments.above),
        joints,
    )


class _Reader:
    """Collects the operands of sums from left to right."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.atoms: list[Atom] = []
        self.spaces: dict[int, str] = {}
        self.statements: list[int] = []
        self.between: dict[int, str] = {}
        self.parens: list[tuple[str, str]] = []

    def gap(self, text: str) -> None:
        """Note what stands behind the operand that was read last."""
        self.between[len(self.parts) - 1] = text

    def operand(self, node: cst.BaseExpression, statement: int, *, is_whole: bool = False) -> None:
        """Append one operand, or those of a sum inside it."""
        is_sum = isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.Add)
        # `"a" + ("b" + c)` is the same text without its parentheses
        is_open = is_whole or not node.lpar or "\n" not in cst.Module([]).code_for_node(node)
        if is_sum and is_open:
            assert isinstance(node, cst.BinaryOperation)
            self.operand(node.left, statement)
            self.gap(cst.Module([]).code_for_node(node.operator))
            self.operand(node.right, statement)
            return
        number = len(self.statements)
        self.statements.append(statement)
        is_bytes = isinstance(node, cst.SimpleString) and "b" in node.prefix.lower()
        if isinstance(node, _STRINGS) and not is_bytes:
            self.parens.append(("", "") if is_whole else _parens(node))
            collect(node, self.parts, self.atoms, self.spaces, number)
            return
        self.parens.append(("", ""))
        shown = node.with_changes(lpar=(), rpar=()) if is_whole else node
        raw = cst.Module([]).code_for_node(shown)
        self.atoms.append(Atom(HOLE, raw, len(self.parts)))
        self.parts.append(Part("", "", number))


def _parens(node: cst.BaseExpression) -> tuple[str, str]:
    code = cst.Module([]).code_for_node
    return "".join(map(code, node.lpar)), "".join(map(code, node.rpar))
