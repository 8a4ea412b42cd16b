"""Where each expression of a module stands: what is around it, who reads a name, at which point.

Made of a module's tree as far as it is asked for. Knows one module; follows nothing.
"""

from __future__ import annotations

import ast
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from stemfirst_lint.compact import Name
from stemfirst_lint.readers import below
from stemfirst_lint.scopes import Scope, ScopeKind, Use

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stemfirst_lint.index import ModuleIndex
    from stemfirst_lint.model import Location

_END = 1 << 60


class _Unit:
    """A statement, or the head of a class: its lines, what it stands in, and who reads what."""

    __slots__ = ("around", "attributes", "first", "is_walked", "last", "names", "roots")

    def __init__(self, first: int, last: int, around: ast.AST, roots: list[ast.AST]) -> None:
        self.first = first
        self.last = last
        self.around = around
        self.roots = roots
        self.is_walked = False
        self.names: dict[str, list[ast.Name]] = {}
        self.attributes: dict[str, list[ast.Attribute]] = {}


class Uses:
    """The surroundings of one module's expressions.

    Statements of the module and of its classes are walked one by one, when something in them is
    asked for: a name can be read only where the text spells it.

    Invariant: of a statement that was walked, all expressions are known, and of others none.
    """

    __slots__ = ("_parents", "_points", "_scopes", "_starts", "_units", "module")

    def __init__(self, module: ModuleIndex) -> None:
        self.module = module
        self._parents: dict[int, ast.AST] = {}
        self._starts: dict[int, list[ast.expr]] = {}
        self._units: list[_Unit] = []
        self._divide(module.tree)
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

    def _divide(self, around: ast.Module | ast.ClassDef) -> None:
        """Note the statements of a module or a class, the last first."""
        for statement in reversed(around.body):
            first = statement.lineno
            if isinstance(statement, ast.ClassDef):
                self._parents[id(statement)] = around
                decorators, bases = statement.decorator_list, statement.bases
                first = min([first, *(decorator.lineno for decorator in decorators)])
                last = statement.body[0].lineno
                added = getattr(statement, "type_params", [])
                self._units.append(_Unit(first, last, statement, [*decorators, *added]))
                self._divide(statement)
                self._units.append(_Unit(first, last, statement, [*bases, *statement.keywords]))
                continue
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([first, *(d.lineno for d in statement.decorator_list)])
            self._units.append(_Unit(first, statement.end_lineno or first, around, [statement]))

    def _walk(self, unit: _Unit) -> None:
        unit.is_walked = True
        parents = self._parents
        for root in unit.roots:
            parents[id(root)] = unit.around
        pending = list(unit.roots)
        while pending:
            node = pending.pop()
            kind = type(node)
            if kind is Name or kind is ast.Name:
                if isinstance(node.ctx, ast.Load):  # type: ignore[attr-defined]
                    unit.names.setdefault(node.id, []).append(node)  # type: ignore[attr-defined, arg-type]
                continue
            if isinstance(node, ast.Attribute):
                if isinstance(node.ctx, ast.Load):
                    unit.attributes.setdefault(node.attr, []).append(node)
            elif isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp | ast.Call):
                self._starts.setdefault(node.lineno, []).append(node)
                if isinstance(node, ast.Constant):
                    continue
            # As `ast.iter_child_nodes`, which takes twice as long; a context stands nowhere.
            for name in node._fields:
                value = getattr(node, name, None)
                if value.__class__ is list:
                    for child in value:
                        if isinstance(child, ast.AST):
                            parents[id(child)] = node
                            pending.append(child)
                elif isinstance(value, ast.AST) and name != "ctx":
                    parents[id(value)] = node
                    pending.append(value)

    def _reach(self, line: int) -> None:
        """Walk what stands on a line."""
        for unit in self._units:
            if unit.first <= line <= unit.last and not unit.is_walked:
                self._walk(unit)

    def _spelling(self, name: str) -> Iterator[_Unit]:
        """Yield the statements in which a name may be read, the last first."""
        text, starts = self.module.source.text, self.module.source.starts
        lines: list[int] = []
        if name.isascii():
            at = text.find(name)
            while at >= 0:
                lines.append(bisect_right(starts, at))
                at = text.find(name, starts[lines[-1]] if lines[-1] < len(starts) else len(text))
        for unit in self._units:
            at = bisect_left(lines, unit.first)
            if not name.isascii() or (at < len(lines) and lines[at] <= unit.last):
                if not unit.is_walked:
                    self._walk(unit)
                yield unit

    def names(self, name: str) -> list[ast.Name]:
        """Return the reads of a name, the last first."""
        return [read for unit in self._spelling(name) for read in unit.names.get(name, ())]

    def attributes(self, name: str) -> list[ast.Attribute]:
        """Return the reads of an attribute by its name, the last first."""
        return [read for unit in self._spelling(name) for read in unit.attributes.get(name, ())]

    def at(self, place: Location) -> ast.expr | None:
        """Return the expression that stands at a place, the outermost if there are several."""
        self._reach(place.line)
        found = [
            node
            for node in self._starts.get(place.line, ())
            if node.end_lineno == place.end_line and self.module.source.place(node) == place
        ]
        return found[0] if found else None

    def parent(self, node: ast.AST) -> ast.AST | None:
        """Return what a node stands in; None for the module."""
        found = self._parents.get(id(node))
        if found is None and node is not self.module.tree:
            self._reach(getattr(node, "lineno", 0))
            found = self._parents.get(id(node))
            if found is None:  # older interpreters give wrong lines inside f-strings
                for unit in self._units:
                    if not unit.is_walked:
                        self._walk(unit)
                found = self._parents.get(id(node))
        return found

    def scope(self, node: ast.AST) -> Scope:
        """Return the innermost scope whose body a node stands in."""
        inner: ast.AST = node
        while (outer := self.parent(inner)) is not None:
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
            inner = self.parent(inner)
        return Use(self.scope(node), _END, ())

    def reads(self, name: str, scope: Scope) -> list[ast.Name]:
        """Return the reads of a name that a scope binds, there and in what is nested in it."""
        return [node for node in self.names(name) if self._sees(node, name, scope)]

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
