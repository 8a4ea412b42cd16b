"""Names that stand for a way to fill a text: lambdas, `ask = TEXT.format`, `partial(TEXT.format)`.

Knows what such a name was bound to, and properties, which are read like values. Follows no text.
"""

from __future__ import annotations

import ast

from stemfirst_lint.fillings import given_in
from stemfirst_lint.origins import Origins
from stemfirst_lint.project import Values
from stemfirst_lint.scopes import Bind, Scope, ScopeKind, Use, last_name


def is_property(scope: Scope) -> bool:
    """Return True for a method that is read like an attribute."""
    return scope.kind is ScopeKind.FUNCTION and any(
        last_name(decorator) in ("property", "cached_property")
        for decorator in getattr(scope.node, "decorator_list", ())
    )


def alias_of(node: ast.Call, meaning: object) -> tuple[ast.expr, Use] | None:
    """Return the lambda, method or `partial` that the called name was bound to once, if one."""
    if isinstance(node.func, ast.Lambda | ast.Call) or not isinstance(meaning, Values):
        return None
    if len(meaning.bindings) != 1:
        return None
    only = meaning.bindings[0]
    if only.how is not Bind.ASSIGN or only.value is None:
        return None
    if isinstance(only.value, ast.Lambda) or method_of(only.value) is not None:
        return only.value, only.use
    return None


def lambda_of(node: ast.expr, use: Use) -> Scope | None:
    """Return the scope of a lambda."""
    return next((scope for scope in use.scope.module.functions if scope.node is node), None)


def method_of(node: ast.expr) -> ast.Attribute | None:
    """Return `TEXT.format` where an expression is that, bare or inside `partial(...)`."""
    if isinstance(node, ast.Call) and last_name(node.func) == "partial" and node.args:
        node = node.args[0]
    return node if isinstance(node, ast.Attribute) and node.attr == "format" else None


def given_by_partial(node: ast.expr, use: Use, origins: Origins) -> dict[str, tuple[ast.expr, Use]]:
    """Return the values that `partial(TEXT.format, now=...)` puts in by name."""
    if not isinstance(node, ast.Call):
        return {}
    rest = ast.Call(node.func, [], node.keywords)
    return given_in(rest, use, origins).named
