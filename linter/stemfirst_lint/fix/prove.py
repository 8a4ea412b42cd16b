"""Proof that a rewritten literal, and the file around it, say what they said before.

Knows how to read both versions again from their source; trusts nothing that planning or spelling
computed on the way. A proof that fails leaves the file as it was.
"""

from __future__ import annotations

import ast
import io
import itertools
import tokenize
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stemfirst_lint.errors import LintError
from stemfirst_lint.fix.layout import Span
from stemfirst_lint.fix.literal import Literal
from stemfirst_lint.fix.plan import Plan
from stemfirst_lint.fix.words import HOLE
from stemfirst_lint.model import Hole, Piece, Template, Text


class ProofError(LintError):
    """A rewrite that is not provably harmless; the message says which law it breaks."""


@dataclass(frozen=True, slots=True)
class Edit:
    """`text[start:end]` of a file's decoded text is replaced by `new`."""

    start: int
    end: int
    new: str


def prove_literal(old: Literal, new: Literal, plan: Plan) -> None:
    """Check that `new` holds the blocks and fields of `old`, in the order of `plan`.

    Args:
        old: the literal as it was read from the file.
        new: the literal as it is read from the new source.
        plan: what was intended.

    Raises:
        ProofError: text or a field is lost, doubled, changed or in the wrong place.
    """
    if old.text != plan.flat.text:
        raise ProofError("the source does not read as the template that was checked")
    if new.text != plan.new_text:
        raise ProofError("the new source does not read as planned")
    if new.holes != tuple(old.holes[hole] for hole in plan.hole_order):
        raise ProofError("a field is lost or changed")
    if Counter(_blocks(old, plan, plan.order)) != Counter(_blocks_read(new, plan)):
        raise ProofError("a block is lost or doubled")
    if sum(map(len, plan.new_text.split())) != sum(map(len, plan.flat.text.split())):
        raise ProofError("text is lost or doubled")
    if _comments(old) != _comments(new):
        raise ProofError("a comment is lost or doubled")


def _comments(literal: Literal) -> Counter[str]:
    above = (comment for lines in literal.above for comment in lines)
    return Counter(comment.strip() for comment in (*literal.comments, *above) if comment)


def _blocks(literal: Literal, plan: Plan, order: tuple[int, ...]) -> list[str]:
    shown = _shown(literal)
    return [shown(plan.blocks[index].start, plan.blocks[index].end) for index in order]


def _blocks_read(literal: Literal, plan: Plan) -> list[str]:
    """Return the new text's kept runs that are blocks, read where the plan puts them."""
    shown = _shown(literal)
    wanted = {(block.start, block.end) for block in plan.blocks}
    found: list[str] = []
    at = 0
    for run in plan.runs:
        length = len(run) if isinstance(run, str) else run.end - run.start
        if isinstance(run, Span) and (run.start, run.end) in wanted:
            found.append(shown(at, at + length))
        at += length
    return found


def _shown(literal: Literal) -> Callable[[int, int], str]:
    text, holes = literal.text, literal.holes

    def shown(start: int, end: int) -> str:
        first = text.count(HOLE, 0, start)
        parts = text[start:end].split(HOLE)
        return parts[0] + "".join(
            holes[first + number] + part for number, part in enumerate(parts[1:])
        )

    return shown


def prove_words(new_text: str, plan: Plan) -> None:
    """Check that a text whose layout is its own reads as planned.

    Raises:
        ProofError: it does not.
    """
    if new_text.split() != plan.new_text.split():
        raise ProofError("the parts in their new places do not read as planned")


def reordered(template: Template, plan: Plan) -> Template:
    """Return the template as it reads after `plan`: the same holes with the same verdicts.

    Its places are those of the old text and good for nothing but a second planning.
    """
    return rebuilt(template, plan.new_text, [plan.flat.holes[hole] for hole in plan.hole_order])


def rebuilt(template: Template, text: str, holes: Sequence[Hole]) -> Template:
    """Return the template with another flat text and its holes in another order."""
    waiting = iter(holes)
    pieces: list[Piece] = []
    for number, part in enumerate(text.split(HOLE)):
        if number:
            pieces.append(next(waiting))
        if part:
            pieces.append(Text(part, template.location))
    return Template(
        template.form,
        template.location,
        tuple(pieces),
        template.name,
        template.calls,
        template.is_shared,
    )


def prove_file(old: str, new: str, edits: list[Edit], *, is_python: bool = True) -> None:
    """Check that a file's text still parses, and that nothing but the edits changed.

    A file that is no Python has nothing to parse but its templates, which are proven alone.

    Raises:
        ProofError: it does not.
    """
    old_at = new_at = 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        kept = edit.start - old_at
        if old[old_at : edit.start] != new[new_at : new_at + kept]:
            raise ProofError("text outside the literal would change")
        new_at += kept + len(edit.new)
        old_at = edit.end
    if old[old_at:] != new[new_at:]:
        raise ProofError("text outside the literal would change")
    if not is_python:
        return
    try:
        before, after = _skeleton(old), _skeleton(new)
    except RecursionError:  # walking a tree recurses deeper than parsing it
        raise ProofError("code in this file is nested too deeply to be compared") from None
    if after is None:
        raise ProofError("the new source does not parse")
    if before != after:
        raise ProofError("code outside the literal would change")
    if _comments_in(old) != _comments_in(new):
        raise ProofError("a comment would be lost or doubled")


def _comments_in(text: str) -> Counter[str] | None:
    """Return a file's comments, or None where only a newer Python could read them."""
    found: Counter[str] = Counter()
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                found[token.string.rstrip()] += 1
    except (tokenize.TokenError, SyntaxError):
        return None
    return found


def _skeleton(text: str) -> str | None:
    """Return the syntax tree without what strings hold and without `sorted`, or None."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            tree = ast.parse(text)
    except (SyntaxError, ValueError):
        # Newer grammar than the running interpreter's: libcst still reads it.
        import libcst as cst

        try:
            cst.parse_module(text)
        except cst.ParserSyntaxError:
            return None
        return ""
    return ast.dump(_Masked().visit(tree))


class _Masked(ast.NodeTransformer):
    """Replaces every string by one mark, and `sorted(x)` by `x`.

    Elements of a list, and neighbouring statements that add to one, get an order of their own.

    A sum with a string in it becomes one mark and its other operands in an order of their own;
    `text += value` becomes a part of the sum that it adds to.
    """

    def generic_visit(self, node: ast.AST) -> ast.AST:
        for field in ("body", "orelse", "finalbody"):
            suite = getattr(node, field, None)
            if isinstance(suite, list):
                setattr(node, field, _grown(suite))
        visited = super().generic_visit(node)
        for field in ("body", "orelse", "finalbody"):
            suite = getattr(visited, field, None)
            if isinstance(suite, list):
                setattr(visited, field, _settled(suite))
        return visited

    def visit_List(self, node: ast.List) -> ast.AST:
        super().generic_visit(node)
        return ast.List(sorted(node.elts, key=ast.dump), node.ctx)

    def visit_Tuple(self, node: ast.Tuple) -> ast.AST:
        super().generic_visit(node)
        return ast.Tuple(sorted(node.elts, key=ast.dump), node.ctx)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        if not isinstance(node.op, ast.Add):
            return self.generic_visit(node)
        operands: list[ast.expr] = []
        pending: list[ast.expr] = [node]
        while pending:
            current = pending.pop()
            if isinstance(current, ast.BinOp) and isinstance(current.op, ast.Add):
                pending.extend((current.right, current.left))
            else:
                operands.append(current)
        visited: list[ast.expr] = [self.visit(operand) for operand in operands]
        shown = sorted(map(ast.dump, visited))
        mark = ast.dump(ast.Name("string"))
        others = [part for part in shown if part != mark]
        if len(others) == len(shown):
            return ast.Tuple(visited)  # no sum of texts
        return ast.Name(" ".join(["string", *others]))  # of strings alone: as one of them

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return ast.Name("string")

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Name("string") if isinstance(node.value, str) else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        super().generic_visit(node)
        is_sorted = isinstance(node.func, ast.Name) and node.func.id == "sorted"
        return node.args[0] if is_sorted and len(node.args) == 1 else node


def _grown(suite: list[ast.stmt]) -> list[ast.stmt]:
    """Return the statements with each `text += value` added to the one before it."""
    grown: list[ast.stmt] = []
    for statement in suite:
        last = grown[-1] if grown else None
        match last, statement:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
                | ast.AugAssign(target=ast.Name(id=name), op=ast.Add(), value=value),
                ast.AugAssign(target=ast.Name(id=other), op=ast.Add(), value=added),
            ) if name == other:
                last.value = ast.BinOp(value, ast.Add(), added)
            case _:
                grown.append(statement)
    return grown


def _settled(suite: list[ast.stmt]) -> list[ast.stmt]:
    """Return the statements with each run of those that add to one list in order of their text."""
    out: list[ast.stmt] = []
    for name, run in itertools.groupby(suite, key=_list_grown):
        statements = list(run)
        out.extend(sorted(statements, key=ast.dump) if name else statements)
    return out


def _list_grown(statement: ast.stmt) -> str | None:
    """Return the list that a statement adds to and does nothing else, or None."""
    match statement:
        case ast.Expr(
            value=ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="append" | "extend"))
        ):
            return name
        case ast.AugAssign(target=ast.Name(id=name), op=ast.Add()):
            return name
        case ast.If(body=body, orelse=orelse) | ast.For(body=body, orelse=orelse):
            names = {_list_grown(inner) for inner in [*body, *orelse]}
            return names.pop() if len(names) == 1 else None
    return None
