"""Where an expression lists files: what wants `sorted(...)` around it.

Knows the standard library's ways to list. Knows nothing of files on disk or of rewriting.
"""

from __future__ import annotations

import ast

from stemfirst_lint.source import Source

_METHODS = frozenset({"iterdir", "glob", "rglob", "iglob", "listdir"})
"""What lists in no fixed order and gives strings or paths, which can be compared."""


def listings_in(expression: str) -> tuple[tuple[int, int], ...]:
    """Return the offsets of the calls in an expression that list files and are not sorted."""
    text = f"({expression}\n)"
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError):
        return ()
    source = Source("", text)
    found: list[tuple[int, int]] = []
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else None
            if name == "sorted":
                continue
            if name == "listdir" or (
                isinstance(node.func, ast.Attribute) and node.func.attr in _METHODS
            ):
                start, end = source.span(node)
                found.append((start - 1, end - 1))
                continue
        pending.extend(ast.iter_child_nodes(node))
    return tuple(sorted(found))
