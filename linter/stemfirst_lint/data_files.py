"""Finds the text files that code reads as prompts.

Knows `open`, `read_text`, `get_template`, package resources and the project's own loaders. A file
must lie where the code says, or below a folder of prompts near it. Knows nothing of templates.
"""

from __future__ import annotations

import ast
import os
from dataclasses import replace

from stemfirst_lint.arguments import Call, argument_of
from stemfirst_lint.errors import UnreadableFile
from stemfirst_lint.index import ModuleIndex
from stemfirst_lint.jinja import composed
from stemfirst_lint.origins import Origin, Origins
from stemfirst_lint.pieces import Literal
from stemfirst_lint.project import Defined
from stemfirst_lint.scopes import Scope, ScopeKind, Use, all_arguments, last_name
from stemfirst_lint.source import Source, is_file, is_there, read_bytes

TEXT_SUFFIXES = (".txt", ".md", ".j2", ".jinja", ".jinja2", ".prompt", ".tmpl", ".mustache", ".xml")
_FOLDERS = ("", "prompts", "templates", "prompt", "prompt_templates", "resources", "config")
_READS = frozenset({"read_text", "read", "open", "read_file"})
_LOADS = ("prompt", "template", "load", "read", "render")
_ANCESTORS = 5
_MAX_HOPS = 6
_MAX_CHARACTERS = 200_000


class DataFiles:
    """The text files of one project, each read once."""

    def __init__(self, origins: Origins) -> None:
        self.origins = origins
        self.project = origins.project
        self._sources: dict[str, Source | None] = {}
        self.passed: list[dict[str, str]] = []
        """While a function is looked into: the strings that its call passes, by parameter."""

    def read_by(self, origin: Origin, wanted: tuple[str, ...] = TEXT_SUFFIXES) -> Source | None:
        """Return the file of certain suffixes whose contents a call returns, or None."""
        node, use = origin.node, origin.use
        if not isinstance(node, ast.Call):
            return None
        callee = last_name(node.func) or ""
        module = use.scope.module
        if callee in _READS:
            parts = self._parts(node, use, 0)
            return self._source(module, parts, ("",), wanted) if parts else None
        if wanted is not TEXT_SUFFIXES:
            return None
        if callee in ("get_template", "select_template"):
            return self._named(module, node, ("",)) or self._loaded(module, node)
        meaning = self.project.meaning(node.func, use)
        if (
            isinstance(meaning, Defined)
            and meaning.scope.kind is ScopeKind.FUNCTION
            and any(word in _told_by(meaning.scope) for word in _LOADS)
        ):
            found = self._named(module, node, ("", *TEXT_SUFFIXES))
            return found or self._named(meaning.scope.module, node, ("", *TEXT_SUFFIXES))
        return None

    def passed_to(self, node: ast.Call, origin: Origin, call: Call) -> Source | None:
        """Return the file that a loader in a function names by what a call passes to it."""
        strings: dict[str, str] = {}
        for argument in all_arguments(call.function.function.args):
            given = argument_of(call.function, argument.arg, call.node, is_bound=call.is_bound)
            if given is not None and isinstance(given[0], ast.Constant):
                strings[argument.arg] = str(given[0].value)
        self.passed.append(strings)
        try:
            parts = self._parts(node.args[0], origin.use, 0)
        finally:
            self.passed.pop()
        if not parts:
            return None
        told = ast.Call(node.func, [ast.Constant("/".join(parts))], [])
        return self.read_by(replace(origin, node=told))

    def near(self, module: ModuleIndex, path: str, wanted: tuple[str, ...]) -> Source | None:
        """Return the file of certain suffixes that lies at a path near a module."""
        return self._source(module, path.split("/"), ("",), wanted)

    def jinja(self, file: Source) -> Literal:
        """Return a file as the Jinja template that it is, with the files that belong to it."""
        parts = composed(file, self._beside) if "{%" in file.text else None
        return Literal(
            ast.Constant(file.text), file, None, is_file=True,
            parts=tuple(parts) if parts is not None else None,
        )  # fmt: skip

    def with_files(self, literal: Literal) -> Literal:
        """Return a Jinja template that is a value of a file, with the files that it includes."""
        if literal.run is None or "include" not in literal.run.text:
            return literal
        parts = composed(literal.source, self._beside, literal.run.text)
        return replace(literal, parts=tuple(parts) if parts is not None else None)

    def _beside(self, file: Source, name: str) -> Source | None:
        """The template that another names: from its own folder on upwards."""
        folder = os.path.dirname(os.path.abspath(file.path))
        for _ in range(_ANCESTORS):
            path = os.path.join(folder, name)
            if path.endswith(TEXT_SUFFIXES) and is_file(path):
                return self._at(file.path, path)
            folder = os.path.dirname(folder)
        return None

    def _named(
        self, module: ModuleIndex, node: ast.Call, suffixes: tuple[str, ...]
    ) -> Source | None:
        """The file that the constant arguments of a loader name."""
        values = [*node.args, *(k.value for k in node.keywords)]
        constants = [value.value for value in values if isinstance(value, ast.Constant)]
        parts = [text for text in constants if isinstance(text, str)]
        for count in range(len(parts), 0, -1):
            found = self._source(module, parts[:count], suffixes)
            if found is not None:
                return found
        return None

    def _loaded(self, module: ModuleIndex, node: ast.Call) -> Source | None:
        """The file of a template in a folder that a loader of Jinja was made with."""
        if not node.args or not isinstance(node.args[0], ast.Constant):
            return None
        for loader in self.project.called("FileSystemLoader"):
            folder = self._parts(loader.node.args[0], loader.use, 0) if loader.node.args else None
            if folder:
                parts = [*folder, str(node.args[0].value)]
                found = self._source(loader.use.scope.module, parts, ("",))
                if found is not None:
                    return found
        for loader in self.project.called("PackageLoader"):
            values = [a.value for a in loader.node.args if isinstance(a, ast.Constant)]
            package = [str(value) for value in values] or [""]
            below = package[1:2] or ["templates"]
            parts = [*package[0].split("."), *below, str(node.args[0].value)]
            found = self._source(loader.use.scope.module, parts, ("",))
            if found is not None:
                return found
        return None

    def _parts(self, node: ast.expr, use: Use, hops: int) -> list[str] | None:
        """The constant parts of a path; None where something unknown is a part of it."""
        if hops > _MAX_HOPS:
            return None
        match node:
            case ast.Constant(value=str(text)):
                return [text]
            case ast.Name(id="__file__"):
                return []
            case ast.Name() if self.passed and node.id in self.passed[-1]:
                return [self.passed[-1][node.id]]
            case ast.BinOp(op=ast.Add()):
                return self._glued([node.left, node.right], use, hops)
            case ast.JoinedStr():
                values = [
                    part.value if isinstance(part, ast.FormattedValue) else part
                    for part in node.values
                ]
                return self._glued(values, use, hops)
            case ast.Name():
                found = self.origins.of(node, use)
                if len(found) == 1:
                    return self._parts(found[0].node, found[0].use, hops + 1)
                return None
            case ast.BinOp(op=ast.Div()):
                return self._joined([node.left, node.right], use, hops)
            case ast.Attribute():
                if node.attr in ("parent", "parents"):
                    return []
                found = self.origins.of(node, use)
                if len(found) == 1 and found[0].node is not node:
                    return self._parts(found[0].node, found[0].use, hops + 1)
                return None
            case ast.Subscript():
                return []  # parents[1]
            case ast.Call():
                name = last_name(node.func) or ""
                if name in ("dirname", "abspath", "realpath", "resolve", "absolute"):
                    return []
                if name in ("Path", "join", "str", "open", "PurePath", "joinpath", *_READS):
                    receiver: list[ast.expr] = []
                    if isinstance(node.func, ast.Attribute) and name not in ("join", "Path"):
                        receiver = [node.func.value]
                    arguments = node.args[:1] if name == "open" else node.args
                    return self._joined([*receiver, *arguments], use, hops)
                if name == "files" and node.args:
                    package = self._parts(node.args[0], use, hops + 1)
                    return package[0].split(".") if package else []
        return None

    def _glued(self, nodes: list[ast.expr], use: Use, hops: int) -> list[str] | None:
        """The parts of a path that is put together as text; of a folder its slash stands in it."""
        found: list[str] = []
        is_open = False
        for node in nodes:
            parts = self._parts(node, use, hops + 1)
            if parts is None:
                return None
            if parts and found and is_open and not parts[0].startswith("/"):
                found[-1] += parts[0]
                parts = parts[1:]
            found += parts
            is_open = bool(found) and not found[-1].endswith("/")
        return found

    def _joined(self, nodes: list[ast.expr], use: Use, hops: int) -> list[str] | None:
        parts: list[str] = []
        for node in nodes:
            if isinstance(node, ast.Name) and node.id in ("os", "io", "pathlib", "codecs"):
                continue
            found = self._parts(node, use, hops + 1)
            if found is None:
                return None
            parts += found
        return parts

    def _source(
        self,
        module: ModuleIndex,
        parts: list[str],
        suffixes: tuple[str, ...],
        wanted: tuple[str, ...] = TEXT_SUFFIXES,
    ) -> Source | None:
        """The file of these parts, or of the last of them, near a module."""
        folder = os.path.dirname(os.path.abspath(module.path))
        for _ in range(_ANCESTORS):
            for start in range(len(parts)):
                tail = os.path.join(*parts[start:]).lstrip("./")
                for below in _FOLDERS:
                    for suffix in suffixes:
                        path = os.path.join(folder, below, tail + suffix)
                        if path.endswith(wanted) and is_file(path):
                            return self._at(module.path, path)
            if is_there(os.path.join(folder, ".git")):
                break
            folder = os.path.dirname(folder)
        return None

    def _at(self, near: str, path: str) -> Source | None:
        is_absolute = os.path.isabs(near)
        shown = path if is_absolute else self.project.spelled(os.path.relpath(path))
        if shown not in self._sources:
            self._sources[shown] = None
            try:
                text = read_bytes(path).decode("utf-8")
            except (UnreadableFile, UnicodeDecodeError):
                return None  # a path that we misread: no prompt is better than a crash
            if len(text) <= _MAX_CHARACTERS:
                self._sources[shown] = Source(shown, text)
        return self._sources[shown]


def _told_by(function: Scope) -> str:
    """The words of a method's name and of its class's."""
    owner = function.owner
    return f"{owner.name if owner is not None else ''}.{function.name}".lower()
