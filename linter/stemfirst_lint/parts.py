"""The parts that unpacking takes out of a value: `system, user = build(question)`.

Knows tuples that the project's own functions return. Judges nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from stemfirst_lint.arguments import Call
from stemfirst_lint.project import Defined, Project
from stemfirst_lint.scopes import Binding, ScopeKind, Use


def unpacked(
    project: Project, name: str, binding: Binding, call: Call | None
) -> Iterator[tuple[ast.expr, Use, Call | None]]:
    """Yield the expressions that a name may get by unpacking, with where they are evaluated.

    Nothing is yielded where the value is no call of a function that returns tuples as written.
    """
    index = _index_of(name, binding.node)
    value = binding.value.value if isinstance(binding.value, ast.Await) else binding.value
    if index is None or not isinstance(value, ast.Call):
        return
    meaning = project.meaning(value.func, binding.use)
    if not isinstance(meaning, Defined) or meaning.scope.kind is not ScopeKind.FUNCTION:
        return
    if call is not None and call.within(meaning.scope) is not None:
        return  # it calls itself
    inner = Call.inside(call, value, meaning.scope, binding.use, is_bound=meaning.is_bound)
    returns = meaning.scope.returns
    if any(not isinstance(r, ast.Tuple) or len(r.elts) <= index for r, _ in returns):
        return
    for returned, use in returns:
        assert isinstance(returned, ast.Tuple)
        if not isinstance(returned.elts[index], ast.Constant):
            yield returned.elts[index], use, inner


def _index_of(name: str, node: ast.AST) -> int | None:
    """The place of a name among an assignment's targets, if it has one that is sure."""
    if not isinstance(node, ast.Assign) or len(node.targets) != 1:
        return None
    target = node.targets[0]
    if not isinstance(target, ast.Tuple | ast.List):
        return None
    if any(isinstance(element, ast.Starred) for element in target.elts):
        return None
    for index, element in enumerate(target.elts):
        if isinstance(element, ast.Name) and element.id == name:
            return index
    return None
