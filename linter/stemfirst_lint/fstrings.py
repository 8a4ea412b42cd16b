"""Brings an f-string's syntax tree and its source text together.

Knows that `ast` before Python 3.12 misplaces what stands inside f-strings, and mends it. Knows
nothing of tiers.
"""

from __future__ import annotations

import ast
import sys

from stemfirst_lint.literals import Field, Run, read_literal
from stemfirst_lint.source import Source

_IS_MISPLACED = sys.version_info < (3, 12)


def fields_of(
    node: ast.JoinedStr, source: Source
) -> list[Run | tuple[Field, ast.FormattedValue]] | None:
    """Return the runs of text and the fields of an f-string, fields with their tree.

    The nodes inside get their true positions if they did not have them.

    Returns:
        None if text and tree do not agree: the node stands inside another f-string.
    """
    try:
        pieces = read_literal(source.text, *source.span(node))
    except IndexError:
        return None
    values = [value for value in node.values if isinstance(value, ast.FormattedValue)]
    if pieces is None or sum(isinstance(piece, Field) for piece in pieces) != len(values):
        return None
    found: list[Run | tuple[Field, ast.FormattedValue]] = []
    remaining = iter(values)
    for piece in pieces:
        if isinstance(piece, Field):
            value = next(remaining)
            if _IS_MISPLACED:
                _place(value.value, piece, source)
            found.append((piece, value))
        else:
            found.append(piece)
    return found


def _place(node: ast.expr, field: Field, source: Source) -> None:
    """Give every node of a field's expression the position that it has in the file."""
    text = source.text[field.expression_start : field.expression_end]
    try:
        parsed = ast.parse(f"({text})", mode="eval").body
    except (SyntaxError, ValueError):
        return
    where = source.location(field.expression_start, field.expression_end)
    line_start = source.starts[where.line - 1]
    before_bytes = len(source.text[line_start : field.expression_start].encode())
    for own, fresh in zip(ast.walk(node), ast.walk(parsed), strict=False):
        if not isinstance(own, type(fresh)):
            return
        if isinstance(fresh, ast.expr) and isinstance(own, ast.expr):
            assert fresh.end_lineno is not None
            assert fresh.end_col_offset is not None
            own.lineno = fresh.lineno + where.line - 1
            own.end_lineno = fresh.end_lineno + where.line - 1
            # One column less for the parenthesis that we put before the first line.
            own.col_offset = fresh.col_offset + (before_bytes - 1 if fresh.lineno == 1 else 0)
            own.end_col_offset = fresh.end_col_offset + (
                before_bytes - 1 if fresh.end_lineno == 1 else 0
            )
