"""How many rounds the loops around a call have, where the source says so.

Knows loops over constants and `range`. A loop that may end early, and one that waits for
something, has no number that can be told.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator

from stemfirst_lint.constants import Constants, NotConstant
from stemfirst_lint.scopes import CallUse, ScopeKind, last_name

_Loop = ast.For | ast.AsyncFor | ast.While


def rounds_of(call: CallUse, constants: Constants) -> int | None:
    """Return how often the loops around a call run it, or None if that cannot be told."""
    if not call.use.loops:
        return None
    found: list[int] = []
    for loop in _around(call):
        length = _length(loop, call, constants) if not _may_end_early(loop) else None
        if length is None:
            return None
        found.append(length)
    return math.prod(found) if len(found) == call.use.loops else None


def _around(call: CallUse) -> Iterator[_Loop]:
    scope = call.use.scope
    pending: list[ast.AST] = list(getattr(scope.node, "body", ()))
    while pending:
        node = pending.pop()
        first = getattr(node, "lineno", 0)
        if not first <= call.node.lineno <= (getattr(node, "end_lineno", 0) or first):
            continue
        if isinstance(node, _Loop) and node.body[0].lineno <= call.node.lineno:
            yield node
        if isinstance(node, ast.stmt) and not (
            scope.kind is not ScopeKind.CLASS
            and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        ):
            pending.extend(ast.iter_child_nodes(node))


def _length(loop: _Loop, call: CallUse, constants: Constants) -> int | None:
    if isinstance(loop, ast.While):
        return None
    try:
        if isinstance(loop.iter, ast.Call) and last_name(loop.iter.func) == "range":
            return len(range(*(constants.value(one, call.use) for one in loop.iter.args)))
        return len(constants.value(loop.iter, call.use))
    except (NotConstant, TypeError, ValueError, OverflowError):
        return None  # only running it would tell


def _may_end_early(loop: _Loop) -> bool:
    return any(
        isinstance(node, ast.Break | ast.Return | ast.Raise)
        for statement in loop.body
        for node in ast.walk(statement)
    )
