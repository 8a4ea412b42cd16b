"""Finds objects that came from outside and are written as JSON in the order in which they came.

Knows `json.dumps` and what reads an answer of another service. Knows nothing of rules.
"""

from __future__ import annotations

import ast

from stemfirst_lint.model import Location
from stemfirst_lint.origins import Origins
from stemfirst_lint.scopes import Use, last_name


def unsorted_json(origins: Origins, node: ast.expr, use: Use) -> Location | None:
    """Return the place of `json.dumps(answer.json())`, if that is where a value comes from.

    Dicts that the source writes out keep their order; so does what reads a file.
    """
    for origin in origins.of(node, use):
        made = origin.node
        if (
            isinstance(made, ast.Call)
            and last_name(made.func) == "dumps"
            and made.args
            and not any(keyword.arg == "sort_keys" for keyword in made.keywords)
            and any(_is_answer(inner.node) for inner in origins.of(made.args[0], origin.use))
        ):
            return origin.use.scope.module.source.place(made)
    return None


def _is_answer(node: ast.expr) -> bool:
    """True for `response.json()` and `json.loads(response.text)`."""
    if isinstance(node, ast.Await):
        node = node.value
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    if node.func.attr == "json" and not node.args:
        return True
    argument = node.args[0] if node.args else None
    return (
        node.func.attr == "loads"
        and isinstance(argument, ast.Attribute)
        and argument.attr in ("text", "content", "body")
    )
