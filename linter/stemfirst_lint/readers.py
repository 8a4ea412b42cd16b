"""Finds who else reads a prompt's text: a constant in any module, rendered text where it is made.

Knows aliases, re-exports, star imports and the methods that take text apart by its order. Where a
read cannot be told from one of this text it counts: what has an unknown second reader is not
rewritten.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from stemfirst_lint.model import Form
from stemfirst_lint.project import Defined, Module, Values
from stemfirst_lint.scopes import Bind, Binding, Scope, ScopeKind, last_name

if TYPE_CHECKING:
    from stemfirst_lint.index import ModuleIndex
    from stemfirst_lint.model import Location, Template
    from stemfirst_lint.project import Project


_TAKES_APART = frozenset(
    {
        "find", "index", "partition", "removeprefix", "removesuffix", "replace", "rfind", "rindex",
        "rpartition", "rsplit", "split", "splitlines", "startswith",
    }
)  # fmt: skip
_SHOWS = frozenset(
    {"critical", "debug", "error", "exception", "info", "log", "print", "trace", "warn", "warning"}
)


class Readers:
    """The readers of one project's constants; ask when all modules are added."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._scopes: dict[str, list[Scope]] = {}
        self._imports: dict[str, list[tuple[str, Binding]]] = {}
        self._by_attribute: dict[str, list[tuple[str, Binding]]] = {}

    def reads(self, template: Template) -> int:
        """Return how often a template's constant may be read, calls of its methods included."""
        own = self.project.modules.get(os.path.abspath(template.location.path))
        if own is None or template.name is None:
            return 0
        is_of_class, names = self._names(own, template.location)
        names.add(template.name)
        modules = [module for module in self.project.modules.values() if module is not None]
        spelled = {(own.path, name) for name in names}
        if not is_of_class:
            self._follow(own, names, spelled)
        reads = 0
        for module in modules:
            for name in names | {name for _, name in spelled}:
                if (module.path, name) in spelled:
                    reads += module.loads.get(name, 0)
                attributes = module.attribute_loads.get(name, 0)
                if attributes and (
                    module is own or not self._has(module, name) or self._reaches(module, own)
                ):
                    reads += attributes
        return reads

    def is_taken_apart(self, template: Template) -> bool:
        """Return True if the rendered text is cut or searched where it was given a name.

        What is only printed or logged does not count, nor does counting its words.
        """
        if template.form is Form.REPLACE:
            return False  # its markers are replaced: that is how it is filled
        places = template.calls if template.form is Form.FORMAT else (template.location,)
        for place in places:
            module = self.project.modules.get(os.path.abspath(place.path))
            for scope in self._scopes_of(module) if module is not None else ():
                for name, bindings in scope.bindings.items():
                    if any(_holds(binding, place) for binding in bindings) and _is_cut(
                        scope.node, name
                    ):
                        return True
        return False

    def _names(self, own: ModuleIndex, place: Location) -> tuple[bool, set[str]]:
        """Whether a class holds the constant, and the names that its own module gives it."""
        found: set[str] = set()
        is_of_class = False
        for scope in self._scopes_of(own):
            for name, bindings in (*scope.bindings.items(), *scope.attributes.items()):
                if any(_holds(binding, place) for binding in bindings):
                    found.add(name)
                    is_of_class = is_of_class or scope.kind is ScopeKind.CLASS
        return is_of_class, found

    def _follow(
        self,
        own: ModuleIndex,
        names: set[str],
        spelled: set[tuple[str, str]],
    ) -> None:
        """Add the names under which other modules import a constant, directly or handed on."""
        pending = [(own, name) for name in names]
        while pending:
            source, exported = pending.pop()
            importing = self._importing()
            for alias, binding in (*importing.get(exported, ()), *importing.get("*", ())):
                assert binding.target is not None
                dotted, attribute, level = binding.target
                module = binding.use.scope.module
                name = exported if attribute == "*" else alias
                if (module.path, name) in spelled:
                    continue
                if self.project.imported(module, dotted, level) is source:
                    spelled.add((module.path, name))
                    pending.append((module, name))

    def _has(self, module: ModuleIndex, name: str) -> bool:
        """Return True if a class of the module has an attribute of its own by this name."""
        return any(
            scope.kind is ScopeKind.CLASS and (name in scope.bindings or name in scope.attributes)
            for scope in self._scopes_of(module)
        )

    def _reaches(self, module: ModuleIndex, own: ModuleIndex) -> bool:
        """Return True if something that a module imports is, or comes from, another module."""
        for _, binding in self._imports_of(module):
            match self.project.of_bindings((binding,), 0):
                case Module() as found:
                    if found.index is own:
                        return True
                case Defined() as found:
                    if any(scope.module is own for scope in self.project.lineage(found.scope)):
                        return True
                case Values() as found:
                    if any(one.use.scope.module is own for one in found.bindings):
                        return True
        return False

    def _importing(self) -> dict[str, list[tuple[str, Binding]]]:
        """Every `from ... import`, by what it imports, with the name that it binds."""
        if not self._by_attribute:
            for module in [module for module in self.project.modules.values() if module]:
                for alias, binding in self._imports_of(module):
                    assert binding.target is not None
                    if binding.target[1] is not None:
                        self._by_attribute.setdefault(binding.target[1], []).append(
                            (alias, binding)
                        )
        return self._by_attribute

    def _imports_of(self, module: ModuleIndex) -> list[tuple[str, Binding]]:
        if module.path not in self._imports:
            self._imports[module.path] = [
                (name, binding)
                for scope in self._scopes_of(module)
                for name, bindings in scope.bindings.items()
                for binding in bindings
                if binding.how is Bind.IMPORT
            ]
        return self._imports[module.path]

    def _scopes_of(self, module: ModuleIndex) -> list[Scope]:
        if module.path not in self._scopes:
            self._scopes[module.path] = list(below(module.scope))
        return self._scopes[module.path]


def below(scope: Scope) -> Iterator[Scope]:
    """Yield a scope and all that are defined in it; lambdas import and name nothing."""
    yield scope
    for bindings in scope.bindings.values():
        for binding in bindings:
            if binding.how is Bind.DEFINITION and binding.scope is not None:
                yield from below(binding.scope)


def _is_cut(root: ast.AST, name: str) -> bool:
    """Return True if code cuts or searches the text that a name stands for."""
    pending = [root]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Call):
            if last_name(node.func) in _SHOWS:
                continue
            if (
                isinstance(node.func, ast.Attribute)
                and node.func.attr in _TAKES_APART
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == name
                and (node.args or node.func.attr == "splitlines")
            ):
                return True
        elif (
            isinstance(node, ast.Subscript)
            and isinstance(node.value, ast.Name)
            and node.value.id == name
        ):
            return True
        pending.extend(ast.iter_child_nodes(node))
    return False


def _holds(binding: Binding, place: Location) -> bool:
    """Return True if the lines of a binding's value contain the text at a place."""
    value = binding.value
    if binding.how not in (Bind.ASSIGN, Bind.AUGMENT) or value is None:
        return False
    return value.lineno <= place.line and place.end_line <= (value.end_lineno or value.lineno)
