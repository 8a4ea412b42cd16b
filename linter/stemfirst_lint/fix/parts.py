r"""Lists of strings that are joined: which parts may change places, and what the file becomes.

Knows `"\n".join([...])`, and `parts = []` with the run of `parts.append(...)`, `parts += [...]`,
conditions and loops that fills it. A part is an element of the display or a whole statement, with
the comment lines above it and the comment behind it; it is never cut. Knows nothing of blocks or
order.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stemfirst_lint.fix.literal import LiteralError
from stemfirst_lint.fix.purity import Effect, effect_of
from stemfirst_lint.fix.sums import take_apart_sum
from stemfirst_lint.fix.words import HOLE
from stemfirst_lint.source import Source

_GROWS = ("append", "extend")
_BEHIND = re.compile(r"([ \t]*,?)([ \t]*#[^\r\n]*)")
_ABOVE = re.compile(r"\r?\n[ \t]*((?:#[^\r\n]*\r?\n[ \t]*)+)\Z")


@dataclass(frozen=True, slots=True)
class Part:
    """One part that moves whole.

    Attributes:
        start, end: offsets of its source.
        text: its flat text, or None where only running it would tell.
        comment: what stands behind its comma and moves with it.
    """

    start: int
    end: int
    text: str | None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a joined list, in the order in which they are joined.

    `gaps` holds what stands behind each part, up to the next one or to `end`: before its comment
    and behind it.
    """

    separator: str
    parts: tuple[Part, ...]
    gaps: tuple[tuple[str, str], ...]
    end: int

    def moved(self, text: str, order: Sequence[int]) -> str:
        """Return the source from the first part to `end` with the parts in another order.

        Raises:
            LiteralError: a comment would hide what stands behind it.
        """
        out: list[str] = []
        for (before, behind), number in zip(self.gaps, order, strict=True):
            part = self.parts[number]
            if part.comment and not behind.startswith(("\n", "\r")):
                raise LiteralError("a comment in the list would hide what stands behind it")
            out += [text[part.start : part.end], before, part.comment, behind]
        return "".join(out)


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
                        return _parts(source, suite, number, joined, separator)
    raise LiteralError("the list is not joined where it was seen")


def _suites(tree: ast.AST) -> Iterator[list[ast.stmt]]:
    """Yield the innermost suites first, so that a statement is found in its own."""
    for node in reversed(list(ast.walk(tree))):
        for field in ("body", "orelse", "finalbody"):
            suite = getattr(node, field, None)
            if isinstance(suite, list) and suite and isinstance(suite[0], ast.stmt):
                yield suite


def _parts(
    source: Source, suite: Sequence[ast.stmt], number: int, joined: ast.expr, separator: str
) -> Parts:
    if isinstance(joined, ast.List | ast.Tuple):
        return _elements(source, joined, separator)
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
        return _elements(source, base, separator)
    if base.elts:
        raise LiteralError("the list is filled in two ways, by its display and by statements")
    parts = _statements(source, suite[first:number], joined.id)
    gaps = [(source.text[a.end : b.start], "") for a, b in itertools.pairwise(parts)]
    return Parts(separator, tuple(parts), (*gaps, ("", "")), parts[-1].end)


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


def _elements(source: Source, display: ast.List | ast.Tuple, separator: str) -> Parts:
    if any(isinstance(element, ast.Starred) for element in display.elts):
        raise LiteralError("another list is unpacked into it")
    start, end = source.span(display)
    text = source.text
    spans = [source.span(element) for element in display.elts]
    bounds = [start + 1, *(at for span in spans for at in span), end - 1]
    gaps = [text[bounds[at] : bounds[at + 1]] for at in range(0, len(bounds), 2)]
    starts: list[int] = []
    ends: list[int] = []
    for number, gap in enumerate(gaps):  # parentheses belong to what they hold
        bare = re.sub("#[^\r\n]*", lambda comment: " " * len(comment.group()), gap)
        at = bounds[2 * number]
        if number:
            ends.append(at + bare.rfind(")") + 1)
        opening = bare.find("(")
        starts.append(at + (opening if opening >= 0 else len(gap)))
    starts[-1] = end - 1
    first = _ABOVE.search(text[start + 1 : starts[0]])
    if first and any(_ABOVE.search(text[a:b]) for a, b in zip(ends, starts[1:-1], strict=False)):
        starts[0] = start + 1 + first.start(1)  # else it is about the whole list
    found: list[Part] = []
    between: list[tuple[str, str]] = []
    for number, (inner, outer) in enumerate(spans):
        is_last = number == len(spans) - 1
        gap, following = text[ends[number] : starts[number + 1]], starts[number + 1]
        before, comment, behind = _taken_apart(gap)
        if not is_last:
            above = _ABOVE.search(behind)
            if above:
                following -= len(behind) - above.start(1)
                starts[number + 1] = following
                behind = behind[: above.start(1)]
            if "#" in behind:
                raise LiteralError("a comment in the list belongs to none of its parts")
        flat = take_apart_sum(text[inner:outer]).text
        found.append(Part(starts[number], ends[number], flat, comment))
        between.append((before, behind))
    if not any(part.comment for part in found) and "#" not in "".join(between[-1]):
        between[-1] = ("", "")
        return Parts(separator, tuple(found), tuple(between), found[-1].end)
    return Parts(separator, tuple(found), tuple(between), end - 1)


def _taken_apart(gap: str) -> tuple[str, str, str]:
    """Return what stands before the comment behind a part, the comment, and what follows."""
    match = _BEHIND.match(gap)
    if match:
        return match[1], match[2], gap[match.end() :]
    line_end = re.search(r"\r?\n", gap)
    at = line_end.start() if line_end else len(gap)
    return gap[:at], "", gap[at:]


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
