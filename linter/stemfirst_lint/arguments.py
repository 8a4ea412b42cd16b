"""What a call passes to a function of the project, parameter by parameter.

Knows signatures, defaults and bound methods. Knows nothing of values or tiers.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemfirst_lint.scopes import Scope, Use, all_arguments, last_name

if TYPE_CHECKING:
    from stemfirst_lint.model import Verdict


@dataclass(frozen=True, slots=True)
class Call:
    """The arguments with which a function is looked into, so that its parameters have values.

    `depth` counts the calls on the way here, this one included. `is_asked` tells that only what the
    function returns is asked for: no text that it makes is the one that is judged. `around` is what
    comprehensions around the call name; None for those around what is asked for.
    """

    node: ast.Call
    function: Scope
    is_bound: bool
    use: Use
    outer: Call | None
    depth: int = 1
    is_asked: bool = False
    around: list[dict[str, Verdict]] | None = None

    @classmethod
    def inside(
        cls,
        outer: Call | None,
        node: ast.Call,
        function: Scope,
        use: Use,
        *,
        is_bound: bool,
        is_asked: bool = False,
        around: list[dict[str, Verdict]] | None = None,
    ) -> Call:
        """Return a call that is looked into while another one is, or first of all."""
        depth = outer.depth + 1 if outer else 1
        return cls(node, function, is_bound, use, outer, depth, is_asked, around)

    def within(self, function: Scope) -> Call | None:
        """Return this call, or the one around it, that looks into a function; None if none does."""
        call: Call | None = self
        while call is not None and call.function is not function:
            call = call.outer
        return call


def argument_of(
    function: Scope, name: str, call: ast.Call, *, is_bound: bool
) -> tuple[ast.expr, bool] | None:
    """Return what a call passes for a parameter, and whether the call or a default says so.

    Returns:
        None where `*args` or `**kwargs` may pass it, or nothing does.
    """
    node = function.function
    arguments = node.args
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value, True
    positional = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
    if is_bound and positional and not _is_static_method(node):
        positional = positional[1:]
    has_star = any(isinstance(a, ast.Starred) for a in call.args)
    if name in positional:
        index = positional.index(name)
        if index < len(call.args) and not has_star:
            return call.args[index], True
    if has_star or any(keyword.arg is None for keyword in call.keywords):
        return None
    if name not in {a.arg for a in all_arguments(arguments)}:
        return None
    default = default_of(arguments, name)
    return (default, False) if default is not None else None


def default_of(arguments: ast.arguments, name: str) -> ast.expr | None:
    """Return the default of a parameter, or None if it has none."""
    every = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
    if name in every:
        from_end = len(every) - every.index(name)
        return arguments.defaults[-from_end] if from_end <= len(arguments.defaults) else None
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if argument.arg == name:
            return default
    return None


def _is_static_method(node: ast.AST) -> bool:
    return any(last_name(d) == "staticmethod" for d in getattr(node, "decorator_list", ()))


def parameter_of(function: Scope, call: ast.Call, node: ast.AST) -> str | None:
    """Return the name of the parameter that takes a positional argument, if that can be told."""
    at = next((i for i, argument in enumerate(call.args) if argument is node), None)
    if at is None or any(isinstance(argument, ast.Starred) for argument in call.args[:at]):
        return None
    names = [argument.arg for argument in all_arguments(function.function.args)]
    if function.owner is not None and names[:1] in (["self"], ["cls"]):
        names = names[1:]
    return names[at] if at < len(names) else None


def is_static(function: Scope) -> bool:
    """Return True for a method that takes no object."""
    decorators = getattr(function.node, "decorator_list", ())
    return any(last_name(decorator) == "staticmethod" for decorator in decorators)
