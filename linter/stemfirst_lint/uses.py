"""Where each expression of a module stands: what is around it, who reads a name, at which point.

Made of a module's tree when it is first asked for. Knows one module; follows nothing.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from stemfirst_lint.readers import below
from stemfirst_lint.scopes import Scope, ScopeKind, Use

if TYPE_CHECKING:
    from stemfirst_lint.index import ModuleIndex
    from stemfirst_lint.model import Location

_END = 1 << 60


class Uses:
    """The surroundings of one module's expressions.

    Attributes:
        names, attributes: the reads of each name, and of each attribute's name.
    """

    __slots__ = ("_points", "_scopes", "_starts", "attributes", "module", "names", "parents")

    def __init__(self, module: ModuleIndex) -> None:
        self.module = module
        self.parents: dict[int, ast.AST] = {}
        self.names: dict[str, list[ast.Name]] = {}
        self.attributes: dict[str, list[ast.Attribute]] = {}
        self._starts: dict[int, list[ast.expr]] = {}
        pending: list[ast.AST] = [module.tree]
        while pending:
            node = pending.pop()
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                self.names.setdefault(node.id, []).append(node)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                self.attributes.setdefault(node.attr, []).append(node)
            elif isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp | ast.Call):
                self._starts.setdefault(node.lineno, []).append(node)
            # As `ast.iter_child_nodes`, which takes twice as long; a context stands nowhere.
            for name in node._fields:
                value = getattr(node, name, None)
                if value.__class__ is list:
                    for child in value:
                        if isinstance(child, ast.AST):
                            self.parents[id(child)] = node
                            pending.append(child)
                elif isinstance(value, ast.AST) and name != "ctx":
                    self.parents[id(value)] = node
                    pending.append(value)
        self._scopes: dict[int, Scope] = {}
        self._points: dict[int, Use] = {}
        for scope in (*below(module.scope), *module.functions):
            self._scopes[id(scope.node)] = scope
            for bindings in (*scope.bindings.values(), *scope.attributes.values()):
                for binding in bindings:
                    self._points.setdefault(id(binding.node), binding.use)
            for value, use in scope.returns:
                self._points[id(value)] = use
        for calls in (*module.calls.values(), module.format_calls):
            for call in calls:
                self._points[id(call.node)] = call.use

    def at(self, place: Location) -> ast.expr | None:
        """Return the expression that stands at a place, the outermost if there are several."""
        found = [
            node
            for node in self._starts.get(place.line, ())
            if node.end_lineno == place.end_line and self.module.source.place(node) == place
        ]
        return found[0] if found else None

    def parent(self, node: ast.AST) -> ast.AST | None:
        """Return what a node stands in; None for the module."""
        return self.parents.get(id(node))

    def scope(self, node: ast.AST) -> Scope:
        """Return the innermost scope whose body a node stands in."""
        inner: ast.AST = node
        while (outer := self.parents.get(id(inner))) is not None:
            scope = self._scopes.get(id(outer))
            if scope is not None and _is_in_body(outer, inner):
                return scope
            inner = outer
        return self.module.scope

    def use(self, node: ast.AST) -> Use:
        """Return the point of execution of a node, or the end of its scope."""
        inner: ast.AST | None = node
        while inner is not None:
            found = self._points.get(id(inner))
            if found is not None:
                return found
            if isinstance(inner, ast.stmt):
                break
            inner = self.parents.get(id(inner))
        return Use(self.scope(node), _END, ())

    def reads(self, name: str, scope: Scope) -> list[ast.Name]:
        """Return the reads of a name that a scope binds, there and in what is nested in it."""
        return [node for node in self.names.get(name, ()) if self._sees(node, name, scope)]

    def _sees(self, node: ast.AST, name: str, wanted: Scope) -> bool:
        scope: Scope | None = self.scope(node)
        is_own = True
        while scope is not None:
            if scope is wanted:
                return is_own or scope.kind is not ScopeKind.CLASS
            if name in scope.bindings and (is_own or scope.kind is not ScopeKind.CLASS):
                return name in scope.outer
            is_own = False
            scope = scope.parent
        return False


def _is_in_body(scope: ast.AST, node: ast.AST) -> bool:
    return scope.body is node if isinstance(scope, ast.Lambda) else isinstance(node, ast.stmt)
