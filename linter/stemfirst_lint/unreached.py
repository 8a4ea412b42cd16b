"""Finds prompts that nothing can send: constants that nobody reads, private code that nobody calls.

Knows reads by name alone, in every module that was read: a name that is read or imported anywhere
counts as read, and so does one that is spelled in quotes. Two functions that call each other count
as called. Does not know who else reads a module that no other module imports: a file that was
checked by itself keeps its prompts.
"""

from __future__ import annotations

import ast
import os
import sys
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from stemfirst.tiers import Tier

from stemfirst_lint.model import Form, Hole, Sink, Template, Text
from stemfirst_lint.patterns import pattern
from stemfirst_lint.readers import below
from stemfirst_lint.scopes import Bind, Scope, ScopeKind
from stemfirst_lint.syntax import is_main_guard

if TYPE_CHECKING:
    from stemfirst_lint.index import ModuleIndex
    from stemfirst_lint.model import Location, Site
    from stemfirst_lint.project import Project


_IS_JSON = pattern(r"\s*[\"'][^\"']*[\"']\s*:")
"""The beginning of an object: `"name": ...`. Braces around it are no field."""
_ADDRESS = pattern(r"[\w.}]/$|[?&/]\w+=$|\s/$")


class Unreached:
    """What cannot be reached in one project; ask when all modules are added."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._modules = [module for module in project.modules.values() if module is not None]
        self._scopes = {module.path: list(below(module.scope)) for module in self._modules}
        self._reads: Counter[str] = Counter()
        self._importers: dict[str, set[str]] = {}
        """By the last name of what is imported: the modules that import it."""
        self._picked: dict[str, set[str]] = {}
        """By the last name of a module: what packages import of it."""
        for module in self._modules:
            self._reads.update(module.loads)
            self._reads.update(module.attribute_loads)
            for dotted, name in _imports(self._scopes[module.path]):
                for last in filter(None, (dotted.rpartition(".")[2], name)):
                    self._importers.setdefault(last, set()).add(module.path)
                    if os.path.basename(module.path) == "__init__.py":
                        self._picked.setdefault(last, set()).add(name)
        self._dead = self._dead_functions()

    def holds(self, site: Site) -> bool:
        """Return True if nothing in the project can send a site's text."""
        place = site.template.location
        own = self.project.modules.get(os.path.abspath(place.path))
        if own is None:
            return False
        if any(module is own and _contains(node, place) for module, node in self._dead):
            return True
        return site.sink in (Sink.NAME, Sink.TEMPLATE_CLASS) and self._is_unread(own, place)

    def is_never_filled(self, site: Site) -> bool:
        """Return True for a constant with fields that no code of the project can fill.

        A marker to replace is spelled in quotes where it is replaced. What a field of a format
        string is given has its name: a keyword, a key, a parameter or a variable.
        """
        template = site.template
        if template.calls or template.form not in (Form.FORMAT, Form.REPLACE, Form.JINJA):
            return False
        if any(_IS_JSON.match(hole.source.lstrip("{")) for hole in template.holes):
            return True
        holes = [
            hole for hole in template.holes if (hole.verdict.tier or Tier.STATIC) > Tier.STATIC
        ]
        own = self.project.modules.get(os.path.abspath(template.location.path))
        if own is None or not holes:
            return False
        if all(_is_in_address(template, hole) for hole in holes):
            return True  # `/molecule/{id}.json`: it tells of an interface
        if template.form is Form.REPLACE:
            return not any(self._is_replaced(hole.source) for hole in holes)
        return False

    def _is_replaced(self, marker: str) -> bool:
        inner = marker.strip("{}")
        quoted = (f'"{marker}"', f"'{marker}'", f'"{{{inner}}}"', f"'{{{inner}}}'")
        spelled = ('"{" +', "'{' +", '"{{" +', 'f"{{{', "f'{{{", '"{{%s', '"{%s', "'{%s")
        return any(
            any(one in module.source.text for one in (*quoted, *spelled))
            for module in self._modules
        )

    def _is_unread(self, own: ModuleIndex, place: Location) -> bool:
        """True for a constant or function that nobody names in a module that others import."""
        stem = os.path.splitext(os.path.basename(own.path))[0]
        is_imported = bool(self._importers.get(stem, set()) - {own.path})
        names = [
            scope.name
            for scope in self._scopes[own.path]
            if scope.kind is ScopeKind.FUNCTION
            and scope.name.isidentifier()
            and not scope.name.startswith("__")
            and _contains(scope.node, place)
        ] or [
            name
            for name, bindings in own.scope.bindings.items()
            if any(
                binding.how is Bind.ASSIGN
                and binding.value is not None
                and _contains(binding.value, place)
                for binding in bindings
            )
        ]
        if not is_imported and not is_script(own):
            names = [name for name in names if name.startswith("_")] and names
            if not all(name.startswith("_") for name in names):
                return False
        return bool(names) and all(self._is_never_named(name, own) for name in names)

    def _is_never_named(self, name: str, own: ModuleIndex) -> bool:
        text = own.source.text
        is_quoted = f'"{name}"' in text or f"'{name}'" in text
        if is_quoted and self._is_only_offered(name, own):
            is_quoted = False
        return not self._reads[name] and name not in self._importers and not is_quoted

    def _is_only_offered(self, name: str, own: ModuleIndex) -> bool:
        """True for a name in `__all__` alone, if the package picks others of that list."""
        stem = os.path.splitext(os.path.basename(own.path))[0]
        picked = self._picked.get(stem, set())
        offered = _offered_by(own)
        text = own.source.text
        return (
            "*" not in picked
            and name in offered
            and bool(picked & offered)
            and text.count(f'"{name}"') + text.count(f"'{name}'") == 1
        )

    def _dead_functions(self) -> list[tuple[ModuleIndex, ast.AST]]:
        """The private functions that nobody names but themselves and others of this list."""
        reads = Counter(self._reads)
        waiting = [
            (module, scope)
            for module in self._modules
            for scope in self._scopes[module.path]
            if _is_private(scope) and not _may_be_mixed_in(scope) and self._reads[scope.name] < 4
        ]
        dead: list[tuple[ModuleIndex, ast.AST]] = []
        named: dict[int, Counter[str]] = {}
        quoted: dict[str, bool] = {}

        def named_in(scope: Scope) -> Counter[str]:
            if id(scope) not in named:
                named[id(scope)] = _named_in(scope.node)
            return named[id(scope)]

        def is_unread(module: ModuleIndex, scope: Scope) -> bool:
            count = reads[scope.name]
            spelled = _spelled_in(scope, module)  # once of it where it is defined
            if spelled == 1 or spelled <= count:
                return spelled == 1 and not count
            return count == named_in(scope)[scope.name]

        def is_quoted(name: str) -> bool:
            if name not in quoted:
                quoted[name] = not self._is_quoted_nowhere(name)
            return quoted[name]

        while True:
            found = [
                (module, scope)
                for module, scope in waiting
                if is_unread(module, scope)
                and scope.name not in self._importers
                and not is_quoted(scope.name)
            ]
            if not found:
                return dead
            for module, scope in found:
                reads.subtract(named_in(scope))
                dead.append((module, scope.node))
            waiting = [one for one in waiting if one not in found]

    def _is_quoted_nowhere(self, name: str) -> bool:
        double, single = f'"{name}"', f"'{name}'"
        return not any(
            double in module.source.text or single in module.source.text for module in self._modules
        )


def is_script(module: ModuleIndex) -> bool:
    """Return True for a module that runs by itself: it asks whether it is the main one."""
    return any(isinstance(node, ast.If) and is_main_guard(node.test) for node in module.tree.body)


def _offered_by(module: ModuleIndex) -> set[str]:
    """The names in a module's `__all__`."""
    for node in module.tree.body:
        match node:
            case ast.Assign(
                targets=[ast.Name(id="__all__")], value=ast.List(elts=names) | ast.Tuple(elts=names)
            ):
                return {str(one.value) for one in names if isinstance(one, ast.Constant)}
    return set()


def _is_in_address(template: Template, hole: Hole) -> bool:
    """True for a field that an address is written with: `/molecule/{id}`, `?query={term}`."""
    at = next(index for index, piece in enumerate(template.pieces) if piece is hole)
    before = template.pieces[at - 1] if at else None
    return isinstance(before, Text) and _ADDRESS.search(before.text) is not None


def _imports(scopes: Iterable[Scope]) -> Iterable[tuple[str, str]]:
    """Yield the module and the attribute of each import."""
    for scope in scopes:
        for bindings in scope.bindings.values():
            for binding in bindings:
                if binding.how is Bind.IMPORT and binding.target is not None:
                    yield binding.target[0], binding.target[1] or ""


def _is_private(scope: Scope) -> bool:
    name = scope.name
    return (
        scope.kind is ScopeKind.FUNCTION
        and name.startswith("_")
        and not name.startswith("__")
        and not getattr(scope.node, "decorator_list", ())
    )


def _may_be_mixed_in(scope: Scope) -> bool:
    """True for a method of a class that has bases or may be one: another class may call it."""
    owner = scope.owner
    if owner is None:
        return False
    bases = getattr(owner.node, "bases", ())
    return bool(bases) or "Mixin" in owner.name or "Base" in owner.name


def _spelled_in(scope: Scope, module: ModuleIndex) -> int:
    """How often a function's lines spell its name, at least as often as it is read there."""
    name, node = scope.name, scope.node
    if not name.isascii():
        return sys.maxsize  # an identifier may be spelled in several ways
    source = module.source
    end = getattr(node, "end_lineno", 0)
    last = source.starts[end] if end < len(source.starts) else len(source.text)
    return source.text.count(name, source.starts[getattr(node, "lineno", 1) - 1], last)


def _named_in(node: ast.AST) -> Counter[str]:
    """How often each name is read inside a function."""
    found: Counter[str] = Counter()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            found[inner.id] += 1
        elif isinstance(inner, ast.Attribute):
            found[inner.attr] += 1
    return found


def _contains(node: ast.AST, place: Location) -> bool:
    first = getattr(node, "lineno", 0)
    return first <= place.line and place.end_line <= (getattr(node, "end_lineno", 0) or first)
