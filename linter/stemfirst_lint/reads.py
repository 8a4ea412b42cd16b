"""Who reads what a module's name, an attribute or an item of a dict holds, in the whole project.

Knows imports under other names, star imports, classes' attributes and constant keys. Where an
attribute's class cannot be told, a read in a module that knows the class counts. Follows nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from stemfirst_lint.project import Module
from stemfirst_lint.scopes import Bind, Scope, ScopeKind
from stemfirst_lint.uses import Uses

if TYPE_CHECKING:
    from stemfirst_lint.index import ModuleIndex
    from stemfirst_lint.project import Project

Read = tuple[ast.expr, "ModuleIndex"]
"""An expression that reads a value, and the module in which it stands."""

_LONG_NAME = 7
"""Characters of a method's name that is hardly another library's, too."""
_SHARED_NAME = 14
"""Characters of one that several classes of a project have, and no other library's."""
_MAX_SHARED = 12


class Reads:
    """Answers for one project; ask when all modules are added."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._uses: dict[str, Uses] = {}
        self._methods: dict[str, list[Scope]] | None = None

    def uses(self, module: ModuleIndex) -> Uses:
        """Return the surroundings of a module's expressions."""
        if module.path not in self._uses:
            self._uses[module.path] = Uses(module)
        return self._uses[module.path]

    def bound(self, target: ast.expr, statement: ast.AST, own: ModuleIndex) -> Iterator[Read]:
        """Yield the reads of what a statement binds: a name or an attribute."""
        uses = self.uses(own)
        scope = uses.scope(statement)
        match target:
            case ast.Name(id=name):
                owner = own.scope if name in scope.outer else scope
                for read in uses.reads(name, owner):
                    yield read, own
                if owner.kind is ScopeKind.MODULE:
                    yield from self._imported(name, own)
                elif owner.kind is ScopeKind.CLASS:
                    yield from self.attribute(name, owner)
            case ast.Attribute(attr=name):
                yield from self.attribute(name, scope.owner)

    def _imported(self, name: str, own: ModuleIndex) -> Iterator[Read]:
        """The reads of a module's name in the modules that import it, or the module."""
        for module in self._others(own):
            if name in module.attribute_loads:
                for read in self.uses(module).attributes(name):
                    if self._is_module(read.value, own, module):
                        yield read, module
            for bound, bindings in module.scope.bindings.items():
                for binding in bindings:
                    target = binding.target
                    if (
                        binding.how is Bind.IMPORT
                        and target is not None
                        and target[1] in (name, "*")
                        and self.project.imported(module, target[0], target[2]) is own
                    ):
                        alias = name if target[1] == "*" else bound
                        for found in self.uses(module).reads(alias, module.scope):
                            yield found, module

    def _others(self, own: ModuleIndex) -> list[ModuleIndex]:
        return [module for module in self.project.modules.values() if module not in (None, own)]

    def _is_module(self, node: ast.expr, wanted: ModuleIndex, module: ModuleIndex) -> bool:
        if not isinstance(node, ast.Name | ast.Attribute):
            return False
        meaning = self.project.meaning(node, self.uses(module).use(node))
        return isinstance(meaning, Module) and meaning.index is wanted

    def attribute(self, name: str, owner: Scope | None) -> Iterator[Read]:
        """Yield the reads of an attribute, in the modules that know the class that has it."""
        if owner is None:
            return
        for module in [module for module in self.project.modules.values() if module is not None]:
            is_read = name in module.attribute_loads
            if is_read and (module is owner.module or self._knows(module, owner)):
                for read in self.uses(module).attributes(name):
                    yield read, module

    def _knows(self, module: ModuleIndex, owner: Scope) -> bool:
        """True if a module names the class, or one of its classes is of the same family."""
        return (
            owner.name in module.loads
            or owner.name in module.scope.bindings
            or any(
                owner in self.project.lineage(klass) or klass in self.project.lineage(owner)
                for klass in module.classes
            )
        )

    def item(self, key: ast.expr, value: ast.Dict, own: ModuleIndex) -> Iterator[Read]:
        """Yield where an item is taken out of a dict: `TEXTS["key"]`, `TEXTS.get(name)`."""
        statement = self.uses(own).parent(value)
        if not isinstance(statement, ast.Assign | ast.AnnAssign):
            return
        target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
        for read, module in self.bound(target, statement, own):
            uses = self.uses(module)
            around = uses.parent(read)
            taken: ast.expr | None = None
            asked: ast.expr | None = None
            if isinstance(around, ast.Subscript) and around.value is read:
                taken, asked = around, around.slice
            elif isinstance(around, ast.Attribute) and around.attr == "get":
                call = uses.parent(around)
                if isinstance(call, ast.Call) and call.args:
                    taken, asked = call, call.args[0]
            if taken is not None and not _differ(key, asked):
                yield taken, module

    def methods(self, name: str) -> tuple[Scope, ...]:
        """Return the methods of the project that a call by name alone may mean.

        One that no other method has the name of, or those of several classes that stand for one
        another where the name is so long that they are meant.
        """
        if self._methods is None:
            self._methods = {}
            for module in self.project.modules.values():
                for scope in module.functions if module is not None else ():
                    if scope.owner is not None:
                        self._methods.setdefault(scope.name, []).append(scope)
        found = self._methods.get(name, [])
        least = _LONG_NAME if len(found) == 1 else _SHARED_NAME
        return tuple(found) if len(name) >= least and len(found) <= _MAX_SHARED else ()

    def initialiser(self, klass: Scope) -> Scope | None:
        """Return the `__init__` of a class or of the nearest base that has one."""
        for base in self.project.lineage(klass):
            bindings = base.bindings.get("__init__")
            if bindings:
                return bindings[0].scope
        return None


def _differ(one: ast.expr, other: ast.expr | None) -> bool:
    """True for two constant keys that are not the same."""
    return (
        isinstance(one, ast.Constant)
        and isinstance(other, ast.Constant)
        and one.value != other.value
    )
