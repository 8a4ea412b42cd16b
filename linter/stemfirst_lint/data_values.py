"""Finds the strings that code takes out of YAML, JSON and TOML files by their keys.

Knows the loaders of these formats, and how a value is taken out of what they return: items, `get`,
attributes of the object, functions of the project that return it. Knows nothing of templates.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from stemfirst_lint.arguments import argument_of
from stemfirst_lint.data_files import DataFiles
from stemfirst_lint.index import ModuleIndex
from stemfirst_lint.literals import Run
from stemfirst_lint.project import Defined, External, Values
from stemfirst_lint.scopes import Bind, ScopeKind, Use, all_arguments, last_name
from stemfirst_lint.source import Source
from stemfirst_lint.value_files import VALUE_SUFFIXES, Keys, values_in

_LOADERS = frozenset({"safe_load", "load", "loads", "full_load", "unsafe_load", "parse"})
_FORMATS = ("yaml", "json", "tomllib", "tomli", "toml", "ruamel", "orjson", "ujson", "rtoml")
_Wanted = tuple[str | int | None, ...]
"""Keys, outermost first; None for one that is not known."""
_Asked = _Wanted | None
"""None for everything."""
_MAX_HOPS = 12
_MAX_STEPS = 200
_MAX_FOUND = 12


@dataclass(frozen=True, slots=True)
class FileValue:
    """A string of a file, the file, and the last of its keys."""

    source: Source
    run: Run
    name: str | None


class DataValues:
    """The values that code of one project takes out of files; each file is read once."""

    def __init__(self, files: DataFiles) -> None:
        self.files = files
        self.project = files.project
        self._values: dict[str, dict[Keys, Run]] = {}
        self._steps = 0

    def of(self, node: ast.expr, use: Use) -> list[FileValue]:
        """Return the strings that an expression may take out of files."""
        self._steps = 0
        found: list[FileValue] = []
        for value in self._follow(node, use, (), 0):
            if value not in found:
                found.append(value)
            if len(found) == _MAX_FOUND:
                break
        return found

    def all_of(self, node: ast.expr, use: Use) -> list[FileValue]:
        """Return every string of a file that an expression loads as a whole."""
        self._steps = 0
        return list(self._follow(node, use, None, 0))

    def in_file(self, module: ModuleIndex, path: str) -> list[FileValue]:
        """Return every string of a file that lies at a path near a module."""
        source = self.files.near(module, path, VALUE_SUFFIXES)
        return list(self._values_of(source, None)) if source is not None else []

    def _follow(self, node: ast.expr, use: Use, keys: _Asked, hops: int) -> Iterator[FileValue]:
        self._steps += 1
        if hops > _MAX_HOPS or self._steps > _MAX_STEPS:
            return
        match node:
            case ast.Subscript(slice=ast.Constant(value=str() | int() as key)):
                yield from self._follow(node.value, use, _below(key, keys), hops + 1)
            case ast.Subscript(slice=ast.Slice()):
                return
            case ast.Subscript(slice=ast.Name(id=name)) if self._passed(name) is not None:
                passed = _below(self._passed(name), keys)
                yield from self._follow(node.value, use, passed, hops + 1)
            case ast.Subscript():
                yield from self._follow(node.value, use, _below(None, keys), hops + 1)
            case ast.Await() | ast.NamedExpr():
                yield from self._follow(node.value, use, keys, hops + 1)
            case ast.BoolOp(op=ast.Or()):
                for value in node.values:
                    yield from self._follow(value, use, keys, hops + 1)
            case ast.Name() | ast.Attribute():
                yield from self._bound(node, use, keys, hops)
            case ast.Call(func=ast.Attribute(attr="get", value=base), args=[key, *_]):
                at = key.value if isinstance(key, ast.Constant) else None
                if isinstance(key, ast.Name):
                    at = self._passed(key.id)
                known = at if isinstance(at, str | int) else None
                yield from self._follow(base, use, _below(known, keys), hops + 1)
            case ast.Call(
                func=ast.Attribute(attr="strip" | "rstrip" | "lstrip", value=base), args=[]
            ):
                yield from self._follow(base, use, keys, hops + 1)
            case ast.Call():
                yield from self._called(node, use, keys, hops)

    def _passed(self, name: str) -> str | None:
        """The string that the call that is looked into passes for a parameter."""
        return self.files.passed[-1].get(name) if self.files.passed else None

    def _bound(
        self,
        node: ast.Name | ast.Attribute,
        use: Use,
        keys: _Asked,
        hops: int,
    ) -> Iterator[FileValue]:
        if isinstance(node, ast.Name):
            bindings = self.project.reaching(node.id, use) or ()
        else:
            meaning = self.project.meaning(node, use)
            bindings = meaning.bindings if isinstance(meaning, Values) else ()
        for binding in bindings:
            if binding.how is Bind.IMPORT:
                imported = self.project.of_bindings((binding,), 0)
                for inner in imported.bindings if isinstance(imported, Values) else ():
                    if inner.how is Bind.ASSIGN and inner.value is not None:
                        yield from self._follow(inner.value, inner.use, keys, hops + 1)
            elif binding.how is Bind.ASSIGN and binding.value is not None:
                yield from self._follow(binding.value, binding.use, keys, hops + 1)
            elif binding.how is Bind.PARAMETER and isinstance(node, ast.Name):
                for origin in self.files.origins.of(node, use):
                    if origin.node is not node:
                        yield from self._follow(origin.node, origin.use, keys, hops + 2)

    def _called(self, node: ast.Call, use: Use, keys: _Asked, hops: int) -> Iterator[FileValue]:
        meaning = self.project.meaning(node.func, use)
        if isinstance(meaning, Defined) and meaning.scope.kind is ScopeKind.FUNCTION:
            self.files.passed.append(_strings_to(meaning, node))
            try:
                found = [
                    one
                    for value, value_use in meaning.scope.returns
                    for one in self._follow(value, value_use, keys, hops + 1)
                ]
            finally:
                self.files.passed.pop()
            yield from found
            return
        name = last_name(node.func)
        is_loader = name in _LOADERS and (
            (isinstance(meaning, External) and meaning.dotted.startswith(_FORMATS))
            or (isinstance(node.func, ast.Attribute) and _is_format(node.func.value))
        )
        if is_loader and node.args:
            for source in self._sources(node.args[0], use):
                yield from self._values_of(source, keys)

    def _sources(self, node: ast.expr, use: Use) -> Iterator[Source]:
        """The files that a loader's argument is, or is the text of."""
        for origin in self.files.origins.of(node, use):
            source = self.files.read_by(origin, VALUE_SUFFIXES)
            if source is not None:
                yield source

    def _values_of(self, source: Source, keys: _Asked) -> Iterator[FileValue]:
        if source.path not in self._values:
            self._values[source.path] = values_in(source.path, source.text)
        for found, run in self._values[source.path].items():
            if keys is None or (
                len(found) == len(keys)
                and all(
                    wanted is None or wanted == given
                    for wanted, given in zip(keys, found, strict=True)
                )
            ):
                name = next((str(key) for key in reversed(found) if isinstance(key, str)), None)
                yield FileValue(source, run, name)


def _strings_to(function: Defined, node: ast.Call) -> dict[str, str]:
    """The strings that a call passes to a function, by parameter."""
    found: dict[str, str] = {}
    for argument in all_arguments(function.scope.function.args):
        given = argument_of(function.scope, argument.arg, node, is_bound=function.is_bound)
        value = given[0] if given is not None else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            found[argument.arg] = value.value
    return found


def _below(key: str | int | None, keys: _Asked) -> _Asked:
    """The keys of a part; None, for everything, stays everything."""
    return (key, *keys) if keys is not None else None


def _is_format(node: ast.expr) -> bool:
    """True for `yaml`, and for `YAML()` of ruamel."""
    if isinstance(node, ast.Call):
        node = node.func
    name = last_name(node)
    return name is not None and name.lower() in _FORMATS
