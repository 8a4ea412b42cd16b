"""The label that a value brings with it: `"Time: %s" % now` as an operand of a sum.

Knows how Python writes a text inside a text. Knows nothing of blocks or order.
"""

from __future__ import annotations

import ast

from stemfirst_lint.fix import words


def own_label(source: str) -> str | None:
    """Return the label that the text of an expression begins with, or None if it shows none.

    Args:
        source: the expression of one value, as written.
    """
    try:
        node = ast.parse(source.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError):
        return None
    head = _head(node)
    label = words.label_of(head.lstrip().partition("\n")[0]) if head else None
    return label[0] if label else None


def is_spelled_out(source: str) -> bool:
    """True if an expression is a text of its own rather than a name or a call for a value."""
    return any(quote in source for quote in "\"'")


def _head(node: ast.expr) -> str:
    """Return the constant text that an expression begins with."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=[first, *_]):
            return _head(first)
        case ast.BinOp(left=left, op=ast.Mod() | ast.Add()):
            return _head(left)
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str(text)), attr="format")):
            return text
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str()), attr="join"), args=[of]):
            return _head(of)
        case ast.ListComp(elt=each) | ast.GeneratorExp(elt=each):
            return _head(each)
    return ""
