"""Reads source in newer syntax than the running interpreter's, by standing in for what it lacks.

Everything that stands in is exactly as long as what it stands for, so that every position stays
true; the fields of f-strings get their own trees afterwards. Knows f-strings of Python 3.12
(quotes and backslashes in fields), t-strings, type parameters, `type` statements, and `except`
without parentheses. What it cannot make readable fails as before.

Source: PEP 695, 701, 750 and 758.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from stemfirst_lint.literals import Field, Run, read_one

_TOKEN = re.compile(r"#[^\n]*|(?<![A-Za-z0-9_])([A-Za-z]{0,2})('''|\"\"\"|'|\")")
_TYPE = re.compile(r"^[ \t]*type([ \t])[ \t]*[A-Za-z_]\w*\s*(\[|=[^=])", re.MULTILINE)
_PARAMETERS = re.compile(r"^[ \t]*(?:async[ \t]+def|def|class|type_?)[ \t]*\w+[ \t]*(\[)", re.M)
_EXCEPT = re.compile(r"^[ \t]*except\*?[ \t]+[\w.]+((?:[ \t]*,[ \t]*[\w.]+)+)[ \t]*:", re.MULTILINE)
_LEAST_NAME = 4
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_MAX_NESTING = 4


@dataclass(frozen=True, slots=True)
class _Edit:
    """Characters that stand in for as many others."""

    start: int
    text: str


def parse_newer(text: str, nesting: int = 0) -> ast.Module | None:
    """Return the tree of source that the running interpreter's grammar refuses, or None.

    A t-string is an `ast.JoinedStr`, with the fields that it has.
    """
    fields: dict[str, str] = {}
    readable = _edited(text, list(_in_strings(text, fields)))
    bare = _without_strings(readable)
    readable = _edited(readable, list(_in_statements(bare)))
    if readable == text or nesting > _MAX_NESTING:
        return None
    try:
        tree = ast.parse(readable)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    _Restore(fields, nesting).visit(tree)
    return tree


def t_strings_joined(tree: ast.Module) -> ast.Module:
    """Return a tree in which t-strings are `ast.JoinedStr`, as if they were f-strings."""
    return _Join().visit(tree) if hasattr(ast, "TemplateStr") else tree


def _edited(text: str, edits: list[_Edit]) -> str:
    parts: list[str] = []
    at = 0
    for edit in sorted(edits, key=lambda edit: edit.start):
        parts += [text[at : edit.start], edit.text]
        at = edit.start + len(edit.text)
    return "".join((*parts, text[at:]))


def _strings(text: str) -> Iterator[tuple[int, int, str, list[Run | Field]]]:
    """Yield the string literals: start, end, prefix, and what a formatted one holds."""
    at = 0
    while (token := _TOKEN.search(text, at)) is not None:
        at = token.end()
        if token.group(2) is None:
            continue
        prefix, quote = token.group(1).lower(), token.group(2)
        pieces: list[Run | Field] = []
        try:
            end = read_one(text, at, len(text), quote, prefix, pieces)
        except IndexError:
            return
        if end is None:
            return  # from here on nothing is certain
        yield token.start(), end, prefix, pieces
        at = end


def _in_strings(text: str, fields: dict[str, str]) -> Iterator[_Edit]:
    for start, _, prefix, pieces in _strings(text):
        if "t" in prefix:
            yield _Edit(start + prefix.index("t"), "f")
        for piece in pieces:
            if not isinstance(piece, Field):
                continue
            source = text[piece.expression_start : piece.expression_end]
            if len(source) < _LEAST_NAME or not any(char in source for char in "'\"\\#"):
                continue
            name = _name(len(fields))
            if len(name) > len(source):
                continue
            fields[name] = source
            blank = "".join(c if c == "\n" else " " for c in source[len(name) :])
            yield _Edit(piece.expression_start, name + blank)


def _name(number: int) -> str:
    digits = ""
    while number or not digits:
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return "_x" + digits.rjust(2, "0")


def _without_strings(text: str) -> str:
    """The text with its string literals blank, so that statements can be told by their words."""
    edits = [
        _Edit(start, "".join(c if c == "\n" else "_" for c in text[start:end]))
        for start, end, _, _ in _strings(text)
    ]
    return _edited(text, edits)


def _in_statements(bare: str) -> Iterator[_Edit]:
    for match in _TYPE.finditer(bare):
        yield _Edit(match.start(1), "_")
    for match in _EXCEPT.finditer(bare):
        yield _Edit(match.start(1), " " * len(match.group(1)))
    for match in _PARAMETERS.finditer(bare):
        depth = 0
        for at in range(match.start(1), len(bare)):
            depth += {"[": 1, "]": -1}.get(bare[at], 0)
            if not depth:
                inside = bare[match.start(1) : at + 1]
                yield _Edit(match.start(1), "".join(c if c == "\n" else " " for c in inside))
                break


class _Restore(ast.NodeTransformer):
    """Puts the fields' own trees back where names stand for them."""

    def __init__(self, fields: dict[str, str], nesting: int) -> None:
        self.fields = fields
        self.nesting = nesting

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.JoinedStr:
        """Give each field its tree; its positions are those of the whole string."""
        for value in node.values:
            if not isinstance(value, ast.FormattedValue):
                continue
            if isinstance(value.value, ast.Name) and value.value.id in self.fields:
                inner = self._tree(self.fields[value.value.id])
                if inner is not None:
                    for part in ast.walk(inner):
                        if isinstance(part, ast.expr):
                            ast.copy_location(part, node)
                    value.value = inner
            else:
                self.visit(value)
        return node

    def _tree(self, source: str) -> ast.expr | None:
        text = f"({source}\n)"
        try:
            tree: ast.Module | None = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            tree = parse_newer(text, self.nesting + 1)
        statement = tree.body[0] if tree is not None and tree.body else None
        return statement.value if isinstance(statement, ast.Expr) else None


class _Join(ast.NodeTransformer):
    """Makes f-strings of t-strings, on interpreters that know them."""

    def visit_TemplateStr(self, node: ast.AST) -> ast.AST:
        """Return the f-string with the same text and fields."""
        self.generic_visit(node)
        values = [
            ast.copy_location(
                ast.FormattedValue(
                    value=getattr(value, "value"),  # noqa: B009  a node that mypy's ast lacks
                    conversion=getattr(value, "conversion", -1),
                    format_spec=getattr(value, "format_spec", None),
                ),
                value,
            )
            if type(value).__name__ == "Interpolation"
            else value
            for value in getattr(node, "values", [])
        ]
        return ast.copy_location(ast.JoinedStr(values), node)
