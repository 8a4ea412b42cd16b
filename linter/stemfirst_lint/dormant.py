"""Finds prompts that only code reads which nothing calls, and items of dicts that nobody asks for.

Knows reads by name alone: any read of the name counts, and so does one in quotes. A function that
is decorated, overrides, runs by itself or is handed on by a package is called. Does not know who
else reads a module that no other module imports.
"""

from __future__ import annotations

import ast
import os
import re
from typing import TYPE_CHECKING

from stemfirst.tiers import Tier

from stemfirst_lint.errors import UnreadableFile
from stemfirst_lint.files import SKIPPED_FOLDERS, is_test
from stemfirst_lint.project import Defined
from stemfirst_lint.scopes import Bind, Scope, ScopeKind, last_name
from stemfirst_lint.source import is_file, read_bytes
from stemfirst_lint.unreached import is_script

if TYPE_CHECKING:
    from stemfirst_lint.index import ModuleIndex
    from stemfirst_lint.model import Location, Site
    from stemfirst_lint.project import Project
    from stemfirst_lint.reads import Reads
    from stemfirst_lint.uses import Uses

_PLAIN_BASES = frozenset({"ABC", "object", "BaseModel", "BaseSettings"})
"""Bases that call no method of a class by a name of its own."""
_MAX_DEPTH = 4
_MAX_READS = 12
_NAME = re.compile(rb"[A-Za-z_]\w*")


class Dormant:
    """Answers for one project; ask when all modules are added."""

    def __init__(self, project: Project, reads: Reads) -> None:
        self.project = project
        self.reads = reads
        self._modules = [module for module in project.modules.values() if module is not None]
        self._imported: set[str] = set()
        self._handed_on: set[str] = set()
        self._aliases: dict[str, set[str]] = {}
        for module in self._modules:
            is_package = os.path.basename(module.path) == "__init__.py"
            for dotted, _ in module.imports:
                self._imported.add(dotted.rpartition(".")[2])
            for scope in (module.scope, *module.functions):
                for bound, bindings in scope.bindings.items():
                    for binding in bindings:
                        if binding.how is Bind.IMPORT and binding.target is not None:
                            self._aliases.setdefault(binding.target[1] or "", set()).add(bound)
                            names = (binding.target[0].rpartition(".")[2], binding.target[1] or "")
                            self._imported.update(names)
                            if is_package:
                                self._handed_on.update(names)
        self._known: dict[Scope, bool] = {}
        self._spelled: set[bytes] | None = None

    def holds(self, site: Site) -> bool:
        """Return True if all that reads a site's text is code that nothing calls."""
        if not any(
            (hole.verdict.tier or Tier.STATIC) > Tier.STATIC for hole in site.template.holes
        ):
            return False
        place = site.template.location
        own = self.project.modules.get(os.path.abspath(place.path))
        if own is None:
            return False
        if not self._is_only_imported(own):
            return self._is_spare(own, place)
        inside = _function_at(own, place)
        if inside is not None:
            return self._is_idle(inside, 0)
        statement = _statement_at(own.tree, place)
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=value)
            ):
                if isinstance(value, ast.Dict):
                    return self._is_unasked(own, value, place)
                return self._is_idle_name(name, 0)
            case ast.ClassDef():
                return self._is_idle_field(own, statement, place)
            case ast.Assign(targets=[ast.Subscript(value=ast.Name(), slice=ast.Constant())]):
                target = statement.targets[0]
                assert isinstance(target, ast.Subscript)
                return self._is_no_key(own, target.value, target.slice, statement)
        return False

    def _is_only_imported(self, module: ModuleIndex) -> bool:
        """True for a module that others import, and that no package hands on, and for a script."""
        stem = _stem_of(module)
        runs = is_script(module) and "Fire" not in module.calls
        return (stem in self._imported or runs) and stem not in self._handed_on

    def _is_spare(self, own: ModuleIndex, place: Location) -> bool:
        """True for a constant that nothing names, in a module that is passed over.

        Others of its folder are imported, it is not, and it does not run by itself.
        """
        statement = _statement_at(own.tree, place)
        stem, folder = _stem_of(own), os.path.dirname(os.path.abspath(own.path))
        if stem in ("__init__", "__main__") or stem in self._imported or is_script(own):
            return False
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant()):
                return (
                    name not in self._imported
                    and not any(
                        name in one.loads or name in one.attribute_loads for one in self._modules
                    )
                    and any(
                        _stem_of(one) in self._imported
                        and os.path.dirname(os.path.abspath(one.path)) == folder
                        for one in self._modules
                    )
                    and not self._is_quoted(name)
                    and not self._is_spelled_elsewhere(name)
                )
        return False

    # Names

    def _is_idle_name(self, name: str, depth: int, inside: Scope | None = None) -> bool:
        """True if every read of a name, those inside a function aside, is in idle code."""
        if depth > _MAX_DEPTH or name in self._handed_on or self._is_quoted(name):
            return False
        found = 0
        for module in self._modules:
            for spelled in {name, *self._aliases.get(name, ())}:
                if spelled not in module.loads and spelled not in module.attribute_loads:
                    continue
                uses = self.reads.uses(module)
                for read in (*uses.names(spelled), *uses.attributes(spelled)):
                    if inside is not None and (
                        _is_inside(read, module, inside) or self._is_of_another(read, uses, inside)
                    ):
                        continue
                    found += 1
                    if found > _MAX_READS or not self._is_idle_at(read, module, depth):
                        return False
        return True

    def _is_idle_field(self, own: ModuleIndex, node: ast.ClassDef, place: Location) -> bool:
        """True for an attribute of a class that only idle code reads, and some does."""
        owner = next((klass for klass in own.classes if klass.node is node), None)
        statement = _statement_at(node, place)
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant())
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant())
            ):
                return (
                    owner is not None
                    and self._is_its_own(name, owner)
                    and any(name in module.attribute_loads for module in self._modules)
                    and self._is_idle_name(name, 0)
                    and not self._is_spelled_elsewhere(name)
                )
        return False

    def _is_idle_at(self, read: ast.AST, module: ModuleIndex, depth: int) -> bool:
        """True if the code around a read is not called, or makes a constant that nobody reads."""
        uses = self.reads.uses(module)
        scope = uses.scope(read)
        while scope.kind is ScopeKind.FUNCTION:
            if self._is_idle(scope, depth + 1):
                return True
            if scope.parent is None:
                break
            scope = scope.parent
        node: ast.AST | None = read
        around = uses.parent(read)
        if isinstance(around, ast.keyword) and around.arg is not None:
            record = uses.parent(around)  # `Texts(greeting=TEXT)`: who reads `texts.greeting`?
            if (
                isinstance(record, ast.Call)
                and isinstance(self.project.meaning(record.func, uses.use(record)), Defined)
                and any(around.arg in module.attribute_loads for module in self._modules)
            ):
                return self._is_idle_name(around.arg, depth + 1)
        while node is not None and not isinstance(node, ast.stmt):
            node = uses.parent(node)
        return (
            isinstance(node, ast.Assign)
            and uses.scope(read) is module.scope
            and len(node.targets) == 1
            and isinstance(node.targets[0], ast.Name)
            and self._is_idle_alias(node.targets[0].id, module, depth + 1)
        )

    def _is_idle_alias(self, name: str, module: ModuleIndex, depth: int) -> bool:
        """True for another name of a constant that only idle code reads; a small one nothing."""
        if name.isupper():
            return self._is_only_imported(module) and self._is_idle_name(name, depth)
        is_read = any(name in one.loads or name in one.attribute_loads for one in self._modules)
        return (
            not is_read
            and _stem_of(module) in self._imported
            and self._is_idle_name(name, depth)
            and not self._is_spelled_elsewhere(name)
        )

    def _is_idle(self, function: Scope, depth: int) -> bool:
        """True for a function that nothing names outside itself, but what is idle too."""
        name = function.name
        owner = function.owner
        if (
            not name.isidentifier()
            or name.startswith(("__", "model_"))
            or name == "main"
            or not _is_plain(function)
            or (owner is not None and not self._is_its_own(name, owner))
            or (owner is None and function.parent is not function.module.scope)
            or name in self._imported
            or not self._is_only_imported(function.module)
        ):
            return False
        if owner is not None and ("Mixin" in owner.name or "Base" in owner.name):
            return False
        if function not in self._known:
            self._known[function] = False  # two that call each other count as called
            self._known[function] = self._is_idle_name(
                name, depth, function
            ) and not self._is_spelled_elsewhere(name)
        return self._known[function]

    def _is_its_own(self, name: str, owner: Scope) -> bool:
        """True for a method that no base of its class has, so far as all of them are known."""
        if not isinstance(owner.node, ast.ClassDef) or owner.node.keywords:
            return False
        for klass in self.project.lineage(owner):
            if klass is not owner and name in klass.bindings:
                return False
            for base in klass.node.bases if isinstance(klass.node, ast.ClassDef) else ():
                use = self.reads.uses(klass.module).use(klass.node)
                is_known = isinstance(self.project.meaning(base, use), Defined)
                if not is_known and last_name(base) not in _PLAIN_BASES:
                    return False
        return True

    def _is_of_another(self, read: ast.expr, uses: Uses, method: Scope) -> bool:
        """True for `self.name` in a class that is no kin of the one whose method is asked for."""
        if not (
            isinstance(read, ast.Attribute)
            and isinstance(read.value, ast.Name)
            and read.value.id == "self"
            and method.owner is not None
        ):
            return False
        scope = uses.scope(read)
        while scope.owner is None and scope.parent is not None:
            scope = scope.parent
        other = scope.owner
        return other is not None and not (
            other in self.project.lineage(method.owner)
            or method.owner in self.project.lineage(other)
        )

    def _is_quoted(self, name: str) -> bool:
        double, single, dotted = f'"{name}"', f"'{name}'", f":{name}"
        return any(
            double in module.source.text
            or single in module.source.text
            or dotted in module.source.text
            for module in self._modules
        )

    def _is_spelled_elsewhere(self, name: str) -> bool:
        """True if a file that holds no prompt, and was not indexed, spells a name."""
        if self._spelled is None:
            self._spelled = set()
            folders = {os.path.dirname(os.path.abspath(m.path)) for m in self.project.callers}
            root = os.path.commonpath(folders) if folders else ""
            while is_file(os.path.join(root, "__init__.py")):
                root = os.path.dirname(root)  # a package is used by what lies beside it
            for folder, below, files in os.walk(root) if root else ():
                below[:] = sorted(set(below) - SKIPPED_FOLDERS)
                for path in (os.path.join(folder, file) for file in sorted(files)):
                    is_known = self.project.modules.get(path) is not None
                    if path.endswith(".py") and not is_known and not is_test(path[len(root) + 1 :]):
                        self._spelled.update(_NAME.findall(_bytes_of(path)))
        return name.encode() in self._spelled

    # Items

    def _is_unasked(self, own: ModuleIndex, value: ast.Dict, place: Location) -> bool:
        """True for an item of a dict of prompts whose key nobody asks for."""
        for key, item in zip(value.keys, value.values, strict=True):
            if isinstance(key, ast.Constant) and item.lineno <= place.line <= (
                item.end_lineno or 0
            ):
                statement = self.reads.uses(own).parent(value)
                if isinstance(statement, ast.Assign | ast.AnnAssign):
                    target = (
                        statement.targets[0]
                        if isinstance(statement, ast.Assign)
                        else statement.target
                    )
                    return self._is_no_key(own, target, key, statement)
        return False

    def _is_no_key(
        self, own: ModuleIndex, target: ast.expr, key: ast.expr, statement: ast.stmt
    ) -> bool:
        """True if a dict is only read by keys that are written out, and never by this one."""
        reads = list(self.reads.bound(target, statement, own))
        for read, module in reads:
            uses = self.reads.uses(module)
            around = uses.parent(read)
            asked: ast.expr | None = None
            if isinstance(around, ast.Subscript) and around.value is read:
                asked = around.slice
            elif isinstance(around, ast.Attribute) and around.attr == "get":
                call = uses.parent(around)
                asked = call.args[0] if isinstance(call, ast.Call) and call.args else None
            if not isinstance(asked, ast.Constant) or not isinstance(key, ast.Constant):
                return False
            is_written = isinstance(around, ast.Subscript) and isinstance(around.ctx, ast.Store)
            if asked.value == key.value and not is_written:
                return False
        return bool(reads)


def _stem_of(module: ModuleIndex) -> str:
    return os.path.splitext(os.path.basename(module.path))[0]


def _bytes_of(path: str) -> bytes:
    try:
        return read_bytes(path)
    except UnreadableFile:
        return b""  # what cannot be read calls nothing that we know of


def _function_at(module: ModuleIndex, place: Location) -> Scope | None:
    """The innermost named function that a place stands in."""
    best: Scope | None = None
    for scope in module.functions:
        node = scope.node
        if isinstance(node, ast.Lambda):
            continue
        first = getattr(node, "lineno", 0)
        if first <= place.line and place.end_line <= (getattr(node, "end_lineno", 0) or first):
            best = scope if best is None or first > getattr(best.node, "lineno", 0) else best
    return best


def _statement_at(around: ast.Module | ast.ClassDef, place: Location) -> ast.stmt | None:
    """The statement of a module or class itself, not of its branches, that a place stands in."""
    for node in around.body:
        if node.lineno <= place.line and place.end_line <= (node.end_lineno or node.lineno):
            return node
    return None


def _is_plain(function: Scope) -> bool:
    """True for a function without decorators, but those that make a method static."""
    decorators = getattr(function.node, "decorator_list", ())
    return all(
        isinstance(decorator, ast.Name) and decorator.id in ("staticmethod", "classmethod")
        for decorator in decorators
    )


def _is_inside(node: ast.expr, module: ModuleIndex, scope: Scope) -> bool:
    first, last = getattr(scope.node, "lineno", 0), getattr(scope.node, "end_lineno", 0)
    return module is scope.module and first <= node.lineno <= last
