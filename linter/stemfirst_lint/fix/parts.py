r"""Lists of strings that are joined: which parts may change places, and what the file becomes.

Knows `"\n".join([...])`, and `parts = []` with the run of `parts.append(...)`, `parts += [...]`,
conditions and loops that fills it. A part is an element of the display or a whole statement, with
the comment lines above it; it is never cut. Knows nothing of blocks or order.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stemfirst_lint.fix.literal import LiteralError
from stemfirst_lint.fix.purity import Effect, effect_of
from stemfirst_lint.fix.sums import take_apart_sum
from stemfirst_lint.fix.words import HOLE
from stemfirst_lint.source import Source

_GROWS = ("append", "extend")


@dataclass(frozen=True, slots=True)
class Part:
    """One part that moves whole.

    Attributes:
        start, end: offsets of its source.
        text: its flat text, or None where only running it would tell.
    """

    start: int
    end: int
    text: str | None


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a joined list, in the order in which they are joined."""

    separator: str
    parts: tuple[Part, ...]


def parts_at(text: str, start: int, end: int) -> Parts:
    """Return the parts of the call of `join` at `text[start:end]`.

    Raises:
        LiteralError: its parts do not stand side by side, or one must stay where it is.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        raise LiteralError("the file does not parse") from None
    source = Source("", text)
    for suite in _suites(tree):
        for number, statement in enumerate(suite):
            for node in ast.walk(statement):
                match node:
                    case ast.Call(
                        func=ast.Attribute(value=ast.Constant(value=str(separator)), attr="join"),
                        args=[joined],
                    ) if source.span(node) == (start, end):
                        found = _parts(source, suite, number, joined)
                        return Parts(separator, tuple(found))
    raise LiteralError("the list is not joined where it was seen")


def _suites(tree: ast.AST) -> Iterator[list[ast.stmt]]:
    """Yield the innermost suites first, so that a statement is found in its own."""
    for node in reversed(list(ast.walk(tree))):
        for field in ("body", "orelse", "finalbody"):
            suite = getattr(node, field, None)
            if isinstance(suite, list) and suite and isinstance(suite[0], ast.stmt):
                yield suite


def _parts(source: Source, suite: Sequence[ast.stmt], number: int, joined: ast.expr) -> list[Part]:
    if isinstance(joined, ast.List | ast.Tuple):
        return _elements(source, joined)
    if not isinstance(joined, ast.Name):
        raise LiteralError("the list is built by an expression")
    first = number
    while first and _grows(suite[first - 1], joined.id):
        first -= 1
    match suite[first - 1] if first else None:
        case (
            ast.Assign(targets=[ast.Name(id=name)], value=ast.List() as base)
            | ast.AnnAssign(target=ast.Name(id=name), value=ast.List() as base)
        ) if name == joined.id:
            pass
        case _:
            raise LiteralError("other statements stand between those that fill the list")
    if first == number:
        return _elements(source, base)
    if base.elts:
        raise LiteralError("the list is filled in two ways, by its display and by statements")
    return _statements(source, suite[first:number], joined.id)


def _grows(statement: ast.stmt, name: str) -> bool:
    """True if a statement does nothing but add to the end of the list."""
    match statement:
        case ast.Expr(
            value=ast.Call(func=ast.Attribute(value=ast.Name(id=found), attr=method), args=[_])
        ):
            return found == name and method in _GROWS
        case ast.AugAssign(target=ast.Name(id=found), op=ast.Add()):
            return found == name
        case ast.If(body=body, orelse=orelse) | ast.For(body=body, orelse=orelse):
            return all(_grows(inner, name) for inner in [*body, *orelse])
    return False


def _elements(source: Source, display: ast.List | ast.Tuple) -> list[Part]:
    start, end = source.span(display)
    if _has_comment(source.text[start:end]):
        raise LiteralError("a comment stands in the list")
    if any(isinstance(element, ast.Starred) for element in display.elts):
        raise LiteralError("another list is unpacked into it")
    return [_part(source, element, element, source.span(element)[0]) for element in display.elts]


def _has_comment(display: str) -> bool:
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(f"({display})").readline))
    except (tokenize.TokenError, SyntaxError):
        return True
    return any(token.type == tokenize.COMMENT for token in tokens)


def _statements(source: Source, suite: Sequence[ast.stmt], name: str) -> list[Part]:
    text = source.text
    found: list[Part] = []
    bound: set[str] = set()
    for statement in suite:
        start, end = source.span(statement)
        line = text.rfind("\n", 0, start) + 1
        behind = re.compile(r"[ \t]*(?:#[^\n]*)?(?=\n|\Z)").match(text, end)
        if text[line:start].strip() or behind is None:
            raise LiteralError("two statements share a line")
        while True:  # the comment lines above belong to it
            above = text.rfind("\n", 0, line - 1) + 1 if line else 0
            if not line or not text[above:line].lstrip().startswith("#"):
                break
            line = above
        indent = len(text[line:]) - len(text[line:].lstrip(" \t"))
        for node in ast.walk(statement):
            match node:
                case ast.Name(id=used, ctx=ast.Load()) if used == name:
                    pass
                case ast.If(test=condition) if effect_of(ast.unparse(condition)) is not Effect.NONE:
                    raise LiteralError("a condition between its parts has an effect of its own")
                case ast.For(target=target):
                    bound |= {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}
        value = _added(statement)
        if value is not None and any(
            isinstance(n, ast.Name) and n.id in bound | {name} for n in ast.walk(value)
        ):
            raise LiteralError("a part reads what an earlier one leaves behind")
        if value is None:
            found.append(Part(line + indent, behind.end(), None))
        else:
            part = _part(source, statement, value, line + indent)
            found.append(Part(part.start, behind.end(), part.text))
    return found


def _added(statement: ast.stmt) -> ast.expr | None:
    """Return the one string that a statement adds, or None if it adds anything else."""
    match statement:
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr="append"), args=[value])):
            return value
        case ast.AugAssign(value=ast.List(elts=[value])):
            return value
    return None


def _part(source: Source, node: ast.expr | ast.stmt, value: ast.expr, start: int) -> Part:
    """Return the part whose value is an expression; a sum in it is read like any sum."""
    inner, outer = source.span(value)
    end = source.span(node)[1]
    return Part(start, end, take_apart_sum(source.text[inner:outer]).text)


def spans_of(parts: Parts, flat: str) -> list[tuple[int, int]]:
    """Return where each part stands in the template's flat text.

    A hole of a part may be text there: a value that is known is read through.

    Raises:
        LiteralError: the parts do not spell the text.
    """
    unknown = "(?:.*?)"
    patterns = [
        unknown if part.text is None else re.escape(part.text).replace(HOLE, unknown)
        for part in parts.parts
    ]
    whole = re.escape(parts.separator).join(f"({pattern})" for pattern in patterns)
    match = re.fullmatch(whole, flat, re.DOTALL)
    if match is None:
        raise LiteralError("its parts cannot be told apart in the text")
    return [match.span(number + 1) for number in range(len(parts.parts))]


def order_of(
    spans: Sequence[tuple[int, int]], blocks: Sequence[tuple[int, int]], order: Sequence[int]
) -> list[int]:
    """Return the order of the parts that gives the blocks their order.

    Parts that share a block stay together; a part without text stays with the one before it.

    Args:
        spans: where each part stands in the flat text.
        blocks: where each block stands.
        order: the blocks' new order.

    Raises:
        LiteralError: the order would cut a part.
    """
    group = list(range(len(spans)))
    for start, end in blocks:
        touched = [n for n, (a, b) in enumerate(spans) if a < end and start < b]
        for number in touched[1:]:
            group[number] = group[touched[0]]
    holders = [
        next((group[n] for n, (a, b) in enumerate(spans) if a < end and start < b), None)
        for start, end in blocks
    ]
    for number in range(1, len(spans)):
        if not any(a < spans[number][1] and spans[number][0] < b for a, b in blocks):
            group[number] = group[number - 1]
    wanted: list[int] = []
    for block in order:
        holder = holders[block]
        if holder is None:
            raise LiteralError("a block stands in no part")
        if wanted and wanted[-1] == holder:
            continue
        if holder in wanted:
            raise LiteralError("the order would cut one of its parts")
        wanted.append(holder)
    wanted = [number for number in dict.fromkeys(group) if number not in wanted] + wanted
    return [number for holder in wanted for number in range(len(spans)) if group[number] == holder]
