"""Follows an expression back to the expressions that may give its value.

Knows names, parameters with callers and defaults, attributes through inheritance, dicts of
constants, `a or b`, and the wrappers that leave a string as it is. Judges nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from stemfirst_lint.arguments import argument_of
from stemfirst_lint.project import Defined, External, Instance, Project, Values
from stemfirst_lint.scopes import Bind, Binding, ScopeKind, Use, last_name

_MAX_HOPS = 12
_MAX_STEPS = 400
_MAX_CALLERS = 24
MAX_VARIANTS = 12
SAME_TEXT_METHODS = frozenset({"strip", "lstrip", "rstrip", "rstrip_newlines"})
SAME_TEXT_CALLS = frozenset({"textwrap.dedent", "inspect.cleandoc", "str", "typing.cast"})
_FIELD_CALLS = frozenset({"Field", "field", "attrib", "ib"})
_TEXT_CLASSES = frozenset({"TextPrompt", "CodePrompt"})


@dataclass(frozen=True, slots=True)
class Origin:
    """An expression that may give a value, where it is evaluated, and the name that it has."""

    node: ast.expr
    use: Use
    name: str | None


class Origins:
    """Answers for one project; each question takes a bounded number of steps."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._steps = 0
        self._known: dict[tuple[int, str | None], tuple[ast.expr, Use, tuple[Origin, ...]]] = {}

    def of(self, node: ast.expr, use: Use, name: str | None = None) -> tuple[Origin, ...]:
        """Return the expressions that may give the value, at most `MAX_VARIANTS`."""
        key = (id(node), name)
        known = self._known.get(key)
        if known is not None and known[0] is node and known[1] is use:
            return known[2]
        found = tuple(self._of(node, use, name))
        self._known[key] = (node, use, found)
        return found

    def _of(self, node: ast.expr, use: Use, name: str | None) -> list[Origin]:
        self._steps = 0
        found: list[Origin] = []
        for origin in self._follow(node, use, name, 0):
            if all(origin.node is not known.node for known in found):
                found.append(origin)
            if len(found) == MAX_VARIANTS:
                break
        return found

    def _follow(self, node: ast.expr, use: Use, name: str | None, hops: int) -> Iterator[Origin]:
        self._steps += 1
        if hops > _MAX_HOPS or self._steps > _MAX_STEPS:
            return
        match node:
            case ast.Constant(value=None):
                return
            case ast.IfExp():
                yield from self._follow(node.body, use, name, hops + 1)
                yield from self._follow(node.orelse, use, name, hops + 1)
            case ast.BoolOp(op=ast.Or()):
                for value in node.values:
                    yield from self._follow(value, use, name, hops + 1)
            case ast.NamedExpr():
                yield from self._follow(node.value, use, name, hops + 1)
            case ast.Name():
                bindings = self.project.reaching(node.id, use)
                if bindings:
                    yield from self._bound(bindings, node.id, hops + 1)
            case ast.Attribute():
                meaning = self.project.meaning(node, use)
                if isinstance(meaning, Values):
                    yield from self._bound(meaning.bindings, node.attr, hops + 1)
                elif meaning is None and node.attr == "value":
                    yield from self._follow(node.value, use, name, hops + 1)  # an enum's member
                elif meaning is None:
                    yield from self._inherited(node, use, hops + 1)
            case ast.Subscript():
                yield from self.items(node.value, node.slice, use, hops + 1)
            case ast.Call():
                yield from self._called(node, use, name, hops + 1)
            case _:
                yield Origin(node, use, name)

    def _bound(self, bindings: tuple[Binding, ...], name: str, hops: int) -> Iterator[Origin]:
        for binding in bindings:
            if binding.how is Bind.ASSIGN and binding.value is not None:
                yield from self._follow(binding.value, binding.use, name, hops + 1)
            elif binding.how is Bind.PARAMETER:
                yield from self._passed(name, binding, hops + 1)
            elif binding.how is Bind.IMPORT:
                meaning = self.project.of_bindings((binding,), 0)
                if isinstance(meaning, Values):
                    yield from self._bound(meaning.bindings, name, hops + 1)

    def _passed(self, name: str, binding: Binding, hops: int) -> Iterator[Origin]:
        function = binding.use.scope
        if isinstance(function.node, ast.Lambda):
            return
        default = argument_of(function, name, ast.Call(ast.Name("f"), [], []), is_bound=False)
        if default is not None:
            outer = function.parent or function
            yield from self._follow(default[0], Use(outer, 1 << 60, ()), name, hops + 1)
        for site, is_bound in self.project.calls_of(function)[:_MAX_CALLERS]:
            given = argument_of(function, name, site.node, is_bound=is_bound)
            if given is not None and given[1]:
                yield from self._follow(given[0], site.use, name, hops + 1)

    def _inherited(self, node: ast.Attribute, use: Use, hops: int) -> Iterator[Origin]:
        """What subclasses give for `self.x` that the class itself does not set."""
        owner = self.project.meaning(node.value, use)
        if isinstance(owner, Instance):
            for klass in self.project.subclasses(owner.scope):
                bindings = klass.bindings.get(node.attr)
                if bindings:
                    yield from self._bound(tuple(bindings), node.attr, hops + 1)

    def items(self, base: ast.expr, key: ast.expr, use: Use, hops: int = 0) -> Iterator[Origin]:
        """Yield what `base[key]` may be: the item of that key, or any where it is not known."""
        wanted = _key(key)
        is_found = False
        for name, binding in self._dicts(base, use):
            for item_key, value, item_use in self._entries(name, binding):
                is_found = True
                given = _key(item_key)
                if wanted is None or given is None or wanted == given:
                    yield from self._follow(value, item_use, name, hops + 1)
        if not is_found and not isinstance(base, ast.Call):
            yield from self._nested(base, wanted, use, hops + 1)

    def _nested(
        self, base: ast.expr, wanted: object | None, use: Use, hops: int
    ) -> Iterator[Origin]:
        """Yield the items of a dict in a dict, or of one that was passed on."""
        for origin in self._follow(base, use, last_name(base), hops):
            pairs: list[tuple[ast.expr | None, ast.expr]] = []
            if isinstance(origin.node, ast.Dict):
                pairs = list(zip(origin.node.keys, origin.node.values, strict=True))
            elif isinstance(origin.node, ast.List | ast.Tuple):
                pairs = [(ast.Constant(at), item) for at, item in enumerate(origin.node.elts)]
            for item_key, value in pairs:
                given = _key(item_key) if item_key is not None else None
                if item_key is not None and (wanted is None or given is None or wanted == given):
                    said = given if isinstance(given, str) else origin.name
                    yield from self._follow(value, origin.use, said, hops + 1)

    def _dicts(self, base: ast.expr, use: Use) -> Iterator[tuple[str, Binding]]:
        meaning = self.project.meaning(base, use)
        name = last_name(base)
        if isinstance(meaning, Values) and name is not None:
            for binding in meaning.bindings:
                if binding.how is Bind.ASSIGN and binding.value is not None:
                    target = getattr(binding.node, "targets", [getattr(binding.node, "target", 0)])
                    own = last_name(target[0]) if isinstance(target[0], ast.expr) else None
                    yield own or name, binding

    def _entries(self, name: str, binding: Binding) -> Iterator[tuple[ast.expr, ast.expr, Use]]:
        value = binding.value
        if isinstance(value, ast.Dict):
            for key, item in zip(value.keys, value.values, strict=True):
                if key is not None:
                    yield key, item, binding.use
        elif isinstance(value, ast.Call) and last_name(value.func) == "dict":
            for keyword in value.keywords:
                if keyword.arg is not None:
                    yield ast.Constant(keyword.arg), keyword.value, binding.use
        for key, item_binding in binding.use.scope.items.get(name, ()):
            if item_binding.value is not None:
                yield key, item_binding.value, item_binding.use

    def _called(self, node: ast.Call, use: Use, name: str | None, hops: int) -> Iterator[Origin]:
        function = node.func
        if isinstance(function, ast.Attribute) and not (
            isinstance(function.value, ast.Name) and function.value.id in ("textwrap", "inspect")
        ):
            if function.attr in SAME_TEXT_METHODS:
                yield from self._follow(function.value, use, name, hops + 1)
                return
            if function.attr == "get" and node.args:
                if isinstance(self.project.meaning(function, use), Defined):
                    yield Origin(node, use, name)
                    return
                yield from self.items(function.value, node.args[0], use, hops + 1)
                if len(node.args) > 1:
                    yield from self._follow(node.args[1], use, name, hops + 1)
                return
        meaning = self.project.meaning(function, use)
        callee = last_name(function) or ""
        if isinstance(meaning, External):
            if meaning.dotted in SAME_TEXT_CALLS and node.args:
                yield from self._follow(node.args[-1], use, name, hops + 1)
                return
            if callee in _FIELD_CALLS:
                yield from self._default(node, use, name, hops + 1)
                return
            if meaning.dotted == "getattr" and len(node.args) >= 2:
                attribute = node.args[1]
                if isinstance(attribute, ast.Constant) and isinstance(attribute.value, str):
                    read = ast.copy_location(ast.Attribute(node.args[0], attribute.value), node)
                    yield from self._follow(read, use, name, hops + 1)
                return
        if node.args and (callee in _TEXT_CLASSES or self._is_text_class(meaning)):
            yield from self._follow(node.args[0], use, name, hops + 1)
            return
        yield Origin(node, use, name)

    def _default(self, node: ast.Call, use: Use, name: str | None, hops: int) -> Iterator[Origin]:
        """The default of a pydantic, dataclass or attrs field."""
        for keyword in node.keywords:
            if keyword.arg == "default":
                yield from self._follow(keyword.value, use, name, hops)
            elif keyword.arg in ("default_factory", "factory") and isinstance(
                keyword.value, ast.Lambda
            ):
                yield from self._follow(keyword.value.body, use, name, hops)
        if node.args and last_name(node.func) == "Field":
            yield from self._follow(node.args[0], use, name, hops)

    def _is_text_class(self, meaning: object) -> bool:
        """True for a class of the project that is a `str`."""
        if not isinstance(meaning, Defined) or meaning.scope.kind is not ScopeKind.CLASS:
            return False
        return any(
            isinstance(klass.node, ast.ClassDef)
            and any(last_name(base) == "str" for base in klass.node.bases)
            for klass in self.project.lineage(meaning.scope)
        )


def _key(node: ast.expr) -> object | None:
    """What a key is if two keys can be compared by it, else None."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Attribute):
        return ast.unparse(node)  # an enum's member
    return None
