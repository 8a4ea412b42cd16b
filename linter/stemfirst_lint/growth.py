"""The parts of a list of strings at the point where it is joined, in order.

Knows displays, `append`, `extend`, `insert(0, ...)` and `+=`, branches that exclude one another,
and loops, whose parts come any number of times. Knows nothing of text.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from stemfirst_lint.project import Project
from stemfirst_lint.reaching import excludes
from stemfirst_lint.scopes import Bind, Path, Use

_MAX_PARTS = 4_000
"""Of a longer list its head is read: what stands behind it only adds to what a hole forfeits."""


@dataclass(frozen=True, slots=True)
class Grown:
    """One part, where it is evaluated, and whether a loop may add it more than once."""

    node: ast.expr
    use: Use
    is_repeated: bool = False


def grown_list(project: Project, node: ast.expr, use: Use, hops: int = 0) -> list[Grown] | None:
    """Return the parts of a list at a point of execution, or None if that cannot be told.

    Of branches that exclude one another the first counts.
    """
    if hops > 3:
        return None
    match node:
        case ast.List() | ast.Tuple():
            return [
                Grown(element.value, use, is_repeated=True)
                if isinstance(element, ast.Starred)
                else Grown(element, use)
                for element in node.elts
            ]
        case (
            ast.ListComp(elt=ast.Name(), generators=[ast.comprehension(iter=inner, ifs=[_])])
            | ast.GeneratorExp(elt=ast.Name(), generators=[ast.comprehension(iter=inner, ifs=[_])])
        ):
            return grown_list(project, inner, use, hops + 1)  # [p for p in parts if p]
        case ast.ListComp() | ast.GeneratorExp():
            return [Grown(node, use, is_repeated=True)]
        case ast.Call(func=ast.Name(id="filter"), args=[_, inner]):
            return grown_list(project, inner, use, hops + 1)
        case ast.Name():
            return _named(project, node.id, use, hops)
    return None


def _named(project: Project, name: str, use: Use, hops: int) -> list[Grown] | None:
    bindings = project.reaching(name, use)
    if not bindings:
        return None
    bases = [b for b in bindings if b.how is not Bind.AUGMENT]
    if len(bases) != 1 or bases[0].how is not Bind.ASSIGN or bases[0].value is None:
        return None
    base = bases[0]
    assert base.value is not None
    found = grown_list(project, base.value, base.use, hops + 1)
    if found is None or base.use.scope is not use.scope:
        return found
    steps: list[tuple[int, list[Grown], bool, Path]] = []
    for binding in bindings:
        if binding.how is Bind.AUGMENT and binding.value is not None:
            added = _added(project, binding.value, binding.use, base.use, "extend", hops)
            steps.append((binding.use.tick, added, False, binding.use.path))
    for method in ("append", "extend", "insert"):
        for call in use.scope.module.calls.get(method, ()):
            function = call.node.func
            if (
                call.use.scope is not use.scope
                or not isinstance(function, ast.Attribute)
                or not isinstance(function.value, ast.Name)
                or function.value.id != name
                or not call.node.args
                or not base.use.tick <= call.use.tick < use.tick
                or excludes(call.use.path, use.path)
            ):
                continue
            added = _added(project, call.node.args[-1], call.use, base.use, method, hops)
            steps.append((call.use.tick, added, method == "insert", call.use.path))
    taken: set[Path] = set()
    for _, added, is_first, path in sorted(steps, key=lambda step: step[0]):
        if any(excludes(path, other) for other in taken):
            continue
        if path:
            taken.add(path)
        if is_first:
            found = [*added, *found]
        else:
            found.extend(added)
        if len(found) > _MAX_PARTS:
            break
    return found


def _added(
    project: Project, node: ast.expr, use: Use, base: Use, method: str, hops: int
) -> list[Grown]:
    is_repeated = use.loops > base.loops
    if method == "extend":
        parts = grown_list(project, node, use, hops + 1)
        if parts is None or is_repeated:
            return [Grown(node, use, is_repeated=True)]
        return parts
    return [Grown(node, use, is_repeated)]
