"""Finds modules, and what a name or attribute stands for across them.

Knows how Python resolves names and imports inside a project. Reads modules on demand and once.
Knows nothing of prompts; never guesses by bare name.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

from stemfirst_lint.errors import UnreadableFile
from stemfirst_lint.index import ModuleIndex
from stemfirst_lint.reaching import reaching_at
from stemfirst_lint.scopes import Bind, Binding, CallUse, Scope, ScopeKind, Use
from stemfirst_lint.source import (
    Source,
    decode,
    is_file,
    is_there,
    parse,
    read_bytes,
    read_source,
)

_MAX_HOPS = 8
_ANCESTORS = 6


@dataclass(frozen=True, slots=True)
class External:
    """A name of a library or a builtin, as its dotted path: `datetime.datetime.now`."""

    dotted: str


@dataclass(frozen=True, slots=True)
class Values:
    """The bindings that may give a name its value."""

    bindings: tuple[Binding, ...]


@dataclass(frozen=True, slots=True)
class Defined:
    """A function or class of the project; `receiver` tells a bound method from a plain one."""

    scope: Scope
    is_bound: bool = False


@dataclass(frozen=True, slots=True)
class Instance:
    """An object of a class of the project."""

    scope: Scope


@dataclass(frozen=True, slots=True)
class Module:
    """A module of the project."""

    index: ModuleIndex


Meaning = External | Values | Defined | Instance | Module


def module_file(folder: str, dotted: str) -> str | None:
    """Return the file of a module or package, looked for from one folder."""
    base = os.path.join(folder, *dotted.split(".")) if dotted else folder
    if dotted and is_file(base + ".py"):
        return base + ".py"
    package = os.path.join(base, "__init__.py")
    return package if is_file(package) else None


class Project:
    """The modules that were asked for and those that they import.

    Invariant: a path is read and indexed at most once; what could not be read is remembered.
    """

    def __init__(self) -> None:
        self.modules: dict[str, ModuleIndex | None] = {}
        self.callers: list[ModuleIndex] = []
        self._caller_paths: set[str] = set()
        self._files: dict[tuple[str, str], str | None] = {}
        self._calls: dict[int, list[tuple[CallUse, bool]]] = {}
        self._calls_named: dict[str, list[CallUse]] | None = None
        self._imported: dict[tuple[str, str, int], ModuleIndex | None] = {}
        self._children: dict[int, list[Scope]] | None = None
        self._meanings: dict[int, tuple[ast.expr, Use, Meaning | None]] = {}
        """By id of an expression: itself, the last point that it was asked for at, the answer."""

    def add(self, path: str, data: bytes) -> ModuleIndex:
        """Index a module from its bytes and return it.

        Raises:
            UnreadableFile: it does not decode or parse.
        """
        key = os.path.abspath(path)
        known = self.modules.get(key)
        if known is None:
            self.modules[key] = None
            source = read_source(path, data)
            tree = parse(path, source.text)
            try:
                known = ModuleIndex(path, source, tree)
            except RecursionError:
                raise UnreadableFile(path, "does not parse: nested too deeply") from None
            self.modules[key] = known
        if key not in self._caller_paths:
            self._caller_paths.add(key)
            self.callers.append(known)
            self._calls_named = None
            self._meanings.clear()
        return known

    def at(self, path: str) -> ModuleIndex | None:
        """Return the module at a path, read now if need be; None if it cannot be read."""
        key = os.path.abspath(path)
        if key not in self.modules:
            self.modules[key] = None
            shown = path if os.path.isabs(path) else self.spelled(os.path.relpath(key))
            try:
                text = decode(shown, read_bytes(key))
                self.modules[key] = ModuleIndex(shown, Source(shown, text), parse(shown, text))
            except (UnreadableFile, RecursionError):
                pass  # an import that we cannot follow leaves its names unknown
        return self.modules[key]

    def spelled(self, path: str) -> str:
        """Return a relative path with the `./` that the asked-for paths have, if they have it."""
        is_dotted = bool(self.callers) and self.callers[0].path.startswith("." + os.sep)
        return os.path.join(".", path) if is_dotted and not path.startswith(".") else path

    # Imports

    def imported(self, importer: ModuleIndex, dotted: str, level: int) -> ModuleIndex | None:
        """Return the project's module for an import, or None for a library's."""
        key = (importer.path, dotted, level)
        if key not in self._imported:
            found = self._find(os.path.abspath(importer.path), dotted, level)
            self._imported[key] = self.at(self._shown(importer, found)) if found else None
        return self._imported[key]

    def _find(self, importer: str, dotted: str, level: int) -> str | None:
        """The file of an import, seen from the importer's."""
        folder = os.path.dirname(importer)
        if level:
            for _ in range(level - 1):
                folder = os.path.dirname(folder)
            return self._file(folder, dotted)
        if not dotted:
            return None
        for _ in range(_ANCESTORS):
            path = self._file(folder, dotted)
            if path is not None and path != importer:
                return path
            if is_there(os.path.join(folder, ".git")):
                break
            source = self._file(os.path.join(folder, "src"), dotted)
            if source is not None:
                return source
            parent = os.path.dirname(folder)
            if parent == folder:
                break
            folder = parent
        return None

    def _shown(self, importer: ModuleIndex, path: str) -> str:
        """Spell a path as the importer's own path was spelled: relative or absolute."""
        return path if os.path.isabs(importer.path) else os.path.relpath(path)

    def _file(self, folder: str, dotted: str) -> str | None:
        key = (folder, dotted)
        if key not in self._files:
            self._files[key] = module_file(folder, dotted)
        return self._files[key]

    # Names

    def reaching(self, name: str, use: Use) -> tuple[Binding, ...] | None:
        """Return the bindings that a name may have at a point, or None if nothing binds it."""
        scope: Scope | None = use.scope
        is_own = True
        while scope is not None:
            if scope.kind is not ScopeKind.CLASS or is_own:
                bindings = scope.bindings.get(name)
                if bindings and name not in scope.outer:
                    return reaching_at(bindings, use) if is_own else tuple(bindings)
            is_own = False
            scope = scope.parent
        starred = self._starred(use.scope.module, name)
        return (starred,) if starred is not None else None

    def meaning(self, node: ast.expr, use: Use, hops: int = 0) -> Meaning | None:
        """Return what a name or attribute stands for, or None if that cannot be told."""
        if hops:
            return self._meaning(node, use, hops) if hops <= _MAX_HOPS else None
        known = self._meanings.get(id(node))
        if known is not None and known[0] is node and known[1] is use:
            return known[2]
        found = self._meaning(node, use, 0)
        self._meanings[id(node)] = (node, use, found)
        return found

    def _meaning(self, node: ast.expr, use: Use, hops: int) -> Meaning | None:
        match node:
            case ast.Name():
                owner = use.scope.owner
                if node.id in ("self", "cls") and owner is not None:
                    return Instance(owner)
                found = self.reaching(node.id, use)
                if found is None:
                    return External(node.id)
                return self.of_bindings(found, hops)
            case ast.Attribute():
                base = self.meaning(node.value, use, hops + 1)
                return self.member(base, node.attr, hops + 1)
            case ast.Call():
                callee = self.meaning(node.func, use, hops + 1)
                if isinstance(callee, Defined) and callee.scope.kind is ScopeKind.CLASS:
                    return Instance(callee.scope)
            case ast.Await():
                return self.meaning(node.value, use, hops + 1)
        return None

    def member(self, base: Meaning | None, name: str, hops: int = 0) -> Meaning | None:
        """Return what an attribute of something stands for."""
        if hops > _MAX_HOPS:
            return None
        match base:
            case External():
                return External(f"{base.dotted}.{name}")
            case Module():
                found = base.index.scope.bindings.get(name)
                if found:
                    return self.of_bindings(tuple(found), hops)
                return self._handed_on(base.index, name, hops)
            case Instance() | Defined():
                return self._class_member(base, name, hops)
            case Values() if len(base.bindings) == 1:
                only = base.bindings[0]
                if only.how is Bind.ASSIGN and isinstance(only.value, ast.Call):
                    inner = self.meaning(only.value, only.use, hops + 1)
                    if isinstance(inner, Instance):
                        return self.member(inner, name, hops + 1)
                if only.how is Bind.PARAMETER and isinstance(only.node, ast.arg):
                    annotation = only.node.annotation
                    if isinstance(annotation, ast.Name | ast.Attribute):
                        outer = only.use.scope.parent
                        if outer is not None:
                            at = Use(outer, only.use.tick, ())
                            klass = self.meaning(annotation, at, hops + 1)
                            if isinstance(klass, Defined):
                                return self.member(Instance(klass.scope), name, hops + 1)
        return None

    def _class_member(self, base: Instance | Defined, name: str, hops: int) -> Meaning | None:
        if base.scope.kind is not ScopeKind.CLASS:
            return None
        for klass in self.lineage(base.scope):
            bindings = (*klass.bindings.get(name, ()), *klass.attributes.get(name, ()))
            if len(bindings) == 1 and bindings[0].how is Bind.DEFINITION:
                assert bindings[0].scope is not None
                return Defined(bindings[0].scope, is_bound=isinstance(base, Instance))
            if bindings:
                return self.of_bindings(bindings, hops)
        return None

    def lineage(self, klass: Scope, hops: int = 0) -> Iterator[Scope]:
        """Yield a class and those of its bases that the project defines, nearest first."""
        yield klass
        if hops > _MAX_HOPS or not isinstance(klass.node, ast.ClassDef) or klass.parent is None:
            return
        for base in klass.node.bases:
            found = self.meaning(base, Use(klass.parent, 1 << 60, ()), hops + 1)
            if isinstance(found, Defined) and found.scope is not klass:
                yield from self.lineage(found.scope, hops + 1)

    def subclasses(self, klass: Scope) -> list[Scope]:
        """Return the classes of the modules asked for that inherit from a class, near or far."""
        if self._children is None:
            self._children = {}
            for module in self.callers:
                for scope in module.classes:
                    for base in self.lineage(scope):
                        if base is not scope:
                            self._children.setdefault(id(base), []).append(scope)
        return self._children.get(id(klass), [])

    def of_bindings(self, bindings: tuple[Binding, ...], hops: int) -> Meaning | None:
        """Return what a name stands for that these bindings may have set."""
        if len(bindings) == 1:
            only = bindings[0]
            if only.how is Bind.DEFINITION:
                assert only.scope is not None
                return Defined(only.scope)
            if only.how is Bind.IMPORT:
                return self._import(only, hops)
            if only.how is Bind.ASSIGN and isinstance(only.value, ast.Name | ast.Attribute):
                alias = self.meaning(only.value, only.use, hops + 1)
                if alias is not None and not (
                    isinstance(alias, External)
                    and isinstance(only.value, ast.Attribute)
                    and alias.dotted.partition(".")[0] == "self"
                ):
                    return alias
        imports = [b for b in bindings if b.how is Bind.IMPORT]
        if imports and len(imports) == len(bindings):
            return self._import(imports[0], hops)  # try: import a / except: import b
        return Values(bindings)

    def _import(self, binding: Binding, hops: int) -> Meaning | None:
        assert binding.target is not None
        dotted, attribute, level = binding.target
        importer = binding.use.scope.module
        module = self.imported(importer, dotted, level)
        if attribute is None:
            return Module(module) if module else External(dotted)
        if module is None:
            return External(f"{dotted}.{attribute}") if not level else None
        bindings = module.scope.bindings.get(attribute)
        if bindings:
            return self.of_bindings(tuple(bindings), hops + 1) if hops < _MAX_HOPS else None
        return self._handed_on(module, attribute, hops)

    def _handed_on(self, module: ModuleIndex, name: str, hops: int) -> Meaning | None:
        """Return what a module offers besides its own names: submodules and star imports."""
        sub = self._submodule(module, name)
        if sub is not None:
            return Module(sub)
        starred = self._starred(module, name)
        if starred is None or hops >= _MAX_HOPS:
            return None
        return self._import(starred, hops + 1)

    def _starred(
        self, module: ModuleIndex, name: str, seen: frozenset[str] = frozenset()
    ) -> Binding | None:
        """Return the `from other import *` that brings a name, as if it named it, or None."""
        stars = module.scope.bindings.get("*")
        if not stars or name.startswith("_") or module.path in seen:
            return None
        seen |= {module.path}
        for star in reversed(stars):
            assert star.target is not None
            dotted, _, level = star.target
            source = self.imported(module, dotted, level)
            if source is not None and (
                name in source.scope.bindings or self._starred(source, name, seen)
            ):
                return replace(star, target=(dotted, name, level))
        return None

    def _submodule(self, package: ModuleIndex, name: str) -> ModuleIndex | None:
        if os.path.basename(package.path) != "__init__.py":
            return None
        path = self._file(os.path.dirname(os.path.abspath(package.path)), name)
        return self.at(self._shown(package, path)) if path else None

    # Calls

    def calls_of(self, function: Scope) -> list[tuple[CallUse, bool]]:
        """Return the calls of a function that were resolved to it; ask when all are added.

        Returns:
            Pairs (call, True if the first parameter is bound by the call's receiver).
        """
        known = self._calls.get(id(function))
        if known is not None:
            return known
        names = [function.name]
        owner = function.owner
        if function.name == "__init__" and owner is not None:
            names = [owner.name]
        found: list[tuple[CallUse, bool]] = []
        for name in names:
            for call in self.called(name):
                meaning = self.meaning(call.node.func, call.use)
                if not isinstance(meaning, Defined):
                    continue
                if meaning.scope is function:
                    found.append((call, meaning.is_bound))
                elif meaning.scope is owner and function.name == "__init__":
                    found.append((call, True))
        self._calls[id(function)] = found
        return found

    def called(self, name: str) -> list[CallUse]:
        """The calls of anything by this name in the modules asked for, in their order."""
        if self._calls_named is None:
            self._calls_named = {}
            for module in self.callers:
                for callee, calls in module.calls.items():
                    self._calls_named.setdefault(callee, []).extend(calls)
        return self._calls_named.get(name, [])
