"""Histories that lose a message a turn, cut in steps: many messages, rarely.

Knows two ways to write such a window: `history[-n:]`, and `history.pop(0)` while it is too long.
Knows nothing of prompts.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from stemfirst_lint.errors import LintError
from stemfirst_lint.fix.prove import Edit
from stemfirst_lint.source import Source

_LEAST = 4
"""A smaller window has no two halves that each hold a question with its answer."""


class WindowError(LintError):
    """A window that stays as it is; the message says why."""


def in_steps(tree: ast.AST, source: Source, span: tuple[int, int]) -> tuple[Edit, ...]:
    """Return the edits that cut a history in steps of half a window.

    Args:
        tree: the file.
        source: its text.
        span: where the slice, or the call of `pop`, stands.

    Raises:
        WindowError: it is written in another way.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.expr) and source.span(node) == span:
            match node:
                case ast.Subscript(
                    value=ast.Name() | ast.Attribute() as history,
                    slice=ast.Slice(
                        lower=ast.UnaryOp(op=ast.USub(), operand=size) as lower,
                        upper=None,
                        step=None,
                    ),
                ):
                    return (_sliced(source, history, lower, size),)
                case ast.Call(
                    func=ast.Attribute(attr="pop", value=history), args=[ast.Constant(value=int())]
                ):
                    return _popped(tree, source, node, history)
    raise WindowError("the window is no slice like `history[-n:]`, and no `pop` under a condition")


def _step(size: ast.expr) -> str:
    """Return half a window as source; even, so that a question goes with its answer."""
    match size:
        case ast.Constant(value=int(count)) if count >= _LEAST:
            return str(count // 2 - count // 2 % 2)
        case ast.Name() | ast.Attribute():
            return f"max(1, {ast.unparse(size)} // 2)"
    raise WindowError("the size of the window is too small, or an expression")


def _sliced(source: Source, history: ast.expr, lower: ast.expr, size: ast.expr) -> Edit:
    shown, limit, step = ast.unparse(history), ast.unparse(size), _step(size)
    # rounded up, so that the window never grows beyond its limit
    rounded = f"{int(step) - 1}" if step.isdigit() else f"{step} - 1"
    new = f"(max(0, len({shown}) - {limit}) + {rounded}) // {step} * {step}"
    start, end = source.span(lower)
    space = " " if source.text[end : end + 1] == ":" else ""
    return Edit(start, end, new + space)


def _popped(tree: ast.AST, source: Source, call: ast.Call, history: ast.expr) -> tuple[Edit, ...]:
    """`while len(h) > n: h.pop(0)` becomes `if len(h) > n: del h[: len(h) - n + step]`."""
    shown = ast.unparse(history)
    for statement in _conditions(tree):
        if any(_pop_of(each) is call for each in statement.body):
            break
    else:
        raise WindowError("`pop` stands under no condition of its own")
    pops = [_pop_of(each) for each in statement.body]
    if not all(pop is not None and ast.unparse(pop) == ast.unparse(call) for pop in pops):
        raise WindowError("something else stands beside `pop`")
    if statement.orelse or "#" in source.text[slice(*source.span(statement))]:
        raise WindowError("a comment or an `else` stands beside `pop`")
    match statement.test:
        case ast.Compare(
            left=ast.Call(func=ast.Name(id="len"), args=[counted]),
            ops=[ast.Gt() | ast.GtE() as operator],
            comparators=[size],
        ) if ast.unparse(counted) == shown:
            more = " + 1" if isinstance(operator, ast.GtE) else ""
        case _:
            raise WindowError(f"the condition is not `len({shown}) > …`")
    first = call.args[0]
    assert isinstance(first, ast.Constant)
    assert isinstance(first.value, int)
    kept = f"{first.value} " if first.value else ""
    behind = f" + {first.value}" if first.value else ""
    new = f"del {shown}[{kept}: len({shown}) - {ast.unparse(size)} + {_step(size)}{more}{behind}]"
    body = Edit(source.span(statement.body[0])[0], source.span(statement.body[-1])[1], new)
    if isinstance(statement, ast.If):
        return (body,)
    start = source.span(statement)[0]
    return (Edit(start, start + len("while"), "if"), body)


def _conditions(tree: ast.AST) -> Iterator[ast.While | ast.If]:
    for node in ast.walk(tree):
        if isinstance(node, ast.While | ast.If):
            yield node


def _pop_of(statement: ast.stmt) -> ast.Call | None:
    match statement:
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr="pop")) as call):
            return call
    return None
