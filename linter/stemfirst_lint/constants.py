"""Works out values that constants and the project's own small functions give, without running it.

Knows literals, names bound once, displays, comprehensions, and calls of functions that return one
expression. Everything else is no constant: nothing of the project is ever executed.
"""

from __future__ import annotations

import ast
from typing import Any

from stemfirst_lint.arguments import argument_of
from stemfirst_lint.project import Defined, External, Project, Values
from stemfirst_lint.scopes import Bind, Scope, ScopeKind, Use

_MAX_STEPS = 20_000
_MAX_DEPTH = 40
_MAX_TEXT = 1_000_000
_MAX_HOPS = 24
"""Names and sums followed for the text of one string."""


class NotConstant(Exception):  # noqa: N818  an answer, not an error
    """The expression has no value that source alone gives."""


class Constants:
    """Evaluates expressions of one project; each `value` call may take a bounded time."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._steps = 0

    def value(self, node: ast.expr, use: Use) -> Any:
        """Return the value of an expression.

        Raises:
            NotConstant: source alone does not give it.
        """
        self._steps = 0
        try:
            return self._value(node, use, {}, 0)
        except (TypeError, KeyError, IndexError, ValueError, AttributeError) as error:
            raise NotConstant(str(error)) from None  # the project's own bug, or too clever for us

    def _value(self, node: ast.expr, use: Use, names: dict[str, Any], depth: int) -> Any:
        self._steps += 1
        if self._steps > _MAX_STEPS or depth > _MAX_DEPTH:
            raise NotConstant

        def inner(part: ast.expr) -> Any:
            return self._value(part, use, names, depth + 1)

        match node:
            case ast.Constant():
                return node.value
            case ast.Name():
                if node.id in names:
                    return names[node.id]
                return self._named(node, use, depth)
            case ast.Attribute():
                return self._named(node, use, depth)
            case ast.List() | ast.Tuple() | ast.Set():
                found: list[Any] = []
                for element in node.elts:
                    if isinstance(element, ast.Starred):
                        found.extend(inner(element.value))
                    else:
                        found.append(inner(element))
                return {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(node)](found)
            case ast.Dict():
                made: dict[Any, Any] = {}
                for key, value in zip(node.keys, node.values, strict=True):
                    if key is None:
                        made.update(inner(value))
                    else:
                        made[inner(key)] = inner(value)
                return made
            case ast.BinOp(op=ast.Add() | ast.BitOr()):
                left, right = inner(node.left), inner(node.right)
                return left + right if isinstance(node.op, ast.Add) else left | right
            case ast.JoinedStr():
                return self._joined(node, use, names, depth)
            case ast.Subscript():
                return inner(node.value)[inner(node.slice)]
            case ast.UnaryOp(op=ast.USub()):
                return -inner(node.operand)
            case ast.ListComp() | ast.SetComp() if len(node.generators) == 1:
                return self._comprehension(node, use, names, depth)
            case ast.Call():
                return self._call(node, use, names, depth)
        raise NotConstant

    def _named(self, node: ast.expr, use: Use, depth: int) -> Any:
        meaning = self.project.meaning(node, use)
        if isinstance(meaning, Values) and len(meaning.bindings) == 1:
            only = meaning.bindings[0]
            is_shared = only.use.scope.kind is not ScopeKind.FUNCTION
            if only.how is Bind.ASSIGN and only.value is not None and is_shared:
                return self._value(only.value, only.use, {}, depth + 1)
        raise NotConstant

    def _joined(self, node: ast.JoinedStr, use: Use, names: dict[str, Any], depth: int) -> str:
        parts: list[str] = []
        for value in node.values:
            if isinstance(value, ast.FormattedValue):
                if value.format_spec is not None or value.conversion != -1:
                    raise NotConstant
                parts.append(str(self._value(value.value, use, names, depth + 1)))
            elif isinstance(value, ast.Constant):
                parts.append(str(value.value))
        return "".join(parts)

    def _comprehension(
        self, node: ast.ListComp | ast.SetComp, use: Use, names: dict[str, Any], depth: int
    ) -> Any:
        generator = node.generators[0]
        if generator.ifs or not isinstance(generator.target, ast.Name):
            raise NotConstant
        found = [
            self._value(node.elt, use, {**names, generator.target.id: element}, depth + 1)
            for element in self._value(generator.iter, use, names, depth + 1)
        ]
        return found if isinstance(node, ast.ListComp) else set(found)

    def _call(self, node: ast.Call, use: Use, names: dict[str, Any], depth: int) -> Any:
        meaning = self.project.meaning(node.func, use)
        if isinstance(meaning, External) and len(node.args) == 1 and not node.keywords:
            kinds: dict[str, Any] = {"list": list, "tuple": tuple, "dict": dict, "sorted": sorted}
            if meaning.dotted in kinds:
                return kinds[meaning.dotted](self._value(node.args[0], use, names, depth + 1))
        if not isinstance(meaning, Defined) or meaning.scope.kind is not ScopeKind.FUNCTION:
            raise NotConstant
        function = meaning.scope
        if len(function.returns) != 1 or meaning.is_bound:
            raise NotConstant
        value, value_use = function.returns[0]
        bound = self._bound(function, node, use, names, depth)
        return self._value(value, value_use, bound, depth + 1)

    def _bound(
        self, function: Scope, node: ast.Call, use: Use, names: dict[str, Any], depth: int
    ) -> dict[str, Any]:
        """The parameters' values in a call."""
        if any(k.arg is None for k in node.keywords):
            raise NotConstant
        arguments = function.function.args
        if arguments.vararg is not None:
            raise NotConstant
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        bound: dict[str, Any] = {}
        for argument in every:
            given = argument_of(function, argument.arg, node, is_bound=False)
            if given is None:
                raise NotConstant
            at = (use, names) if given[1] else (Use(function, 0, ()), {})
            bound[argument.arg] = self._value(given[0], *at, depth + 1)
        if arguments.kwarg is not None:
            known = {argument.arg for argument in every}
            bound[arguments.kwarg.arg] = {
                k.arg: self._value(k.value, use, names, depth + 1)
                for k in node.keywords
                if k.arg is not None and k.arg not in known
            }
        return bound


def constant_text(project: Project, node: ast.expr, use: Use, hops: int = 0) -> str | None:
    """Return the text of an expression that is one constant string, else None."""
    if hops > _MAX_HOPS:
        return None
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name() | ast.Attribute():
            meaning = project.meaning(node, use)
            if isinstance(meaning, Values) and len(meaning.bindings) == 1:
                only = meaning.bindings[0]
                if only.how is Bind.ASSIGN and only.value is not None:
                    return constant_text(project, only.value, only.use, hops + 1)
        case ast.BinOp(op=ast.Add()):
            left = constant_text(project, node.left, use, hops + 1)
            right = constant_text(project, node.right, use, hops + 1) if left is not None else None
            return None if left is None or right is None else left + right
        case ast.BinOp(op=ast.Mult(), left=repeated, right=ast.Constant(value=int(times))):
            once = constant_text(project, repeated, use, hops + 1)
            return None if once is None or len(once) * times > _MAX_TEXT else once * times
        case ast.JoinedStr():
            parts: list[str] = []
            for value in node.values:
                piece = value.value if isinstance(value, ast.FormattedValue) else value
                part = constant_text(project, piece, use, hops + 1)
                if part is None:
                    return None
                parts.append(part)
            return "".join(parts)
        case ast.Call(
            func=ast.Attribute(attr="strip" | "lstrip" | "rstrip" as name, value=inner),
            args=[],
        ):
            stripped = constant_text(project, inner, use, hops + 1)
            return None if stripped is None else str(getattr(stripped, name)())
    return None
