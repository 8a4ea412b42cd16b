"""Scopes and what binds the names in them: the values that indexing leaves to later stages.

Knows how a name gets its value and in which order. Knows no other module and follows nothing.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stemfirst_lint.index import ModuleIndex

Path = tuple[tuple[int, int], ...]
"""The branches around a statement, outermost first: (number of the compound, number of the arm)."""

LOOP = -1
"""The arm that is a loop's body: its end leads back to its beginning."""

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


class Bind(Enum):
    """What gives a name its value."""

    ASSIGN = "="
    AUGMENT = "+="
    ELEMENT = "an element of"
    UNPACK = "a part of"
    OPAQUE = "something unknown"
    PARAMETER = "a parameter"
    DEFINITION = "def or class"
    IMPORT = "import"


class ScopeKind(Enum):
    """Which construct opened a scope."""

    MODULE = "module"
    CLASS = "class"
    FUNCTION = "function"


class Scope:
    """A module, class or function with the names that it binds.

    Attributes:
        bindings: by name, in order of execution without jumps.
        attributes: of classes: what methods assign to `self.<name>`.
        items: by name of a dict: what statements of this scope put into it, with the keys.
        mutations: by name of a container: the calls of this scope that add to it.
        returns: of functions: every returned expression with its use.
    """

    __slots__ = (
        "attributes",
        "bindings",
        "is_guarded",
        "items",
        "kind",
        "module",
        "mutations",
        "name",
        "node",
        "outer",
        "parent",
        "returns",
    )

    def __init__(
        self, kind: ScopeKind, node: ast.AST, parent: Scope | None, name: str, module: ModuleIndex
    ) -> None:
        self.kind = kind
        self.node = node
        self.parent = parent
        self.name = name
        self.module = module
        self.bindings: dict[str, list[Binding]] = {}
        self.attributes: dict[str, list[Binding]] = {}
        self.items: dict[str, list[tuple[ast.expr, Binding]]] = {}
        self.mutations: dict[str, list[CallUse]] = {}
        self.returns: list[tuple[ast.expr, Use]] = []
        self.outer: set[str] = set()
        self.is_guarded = False

    @property
    def function(self) -> FunctionNode:
        """The function's node; only for scopes of functions."""
        assert isinstance(self.node, FunctionNode)
        return self.node

    @property
    def owner(self) -> Scope | None:
        """The class whose method this is, if it is one."""
        parent = self.parent
        return parent if parent is not None and parent.kind is ScopeKind.CLASS else None

    @property
    def qualified_name(self) -> str:
        """The dotted name inside the module."""
        if self.parent is None or self.parent.kind is ScopeKind.MODULE:
            return self.name
        return f"{self.parent.qualified_name}.{self.name}"


@dataclass(slots=True)
class Use:
    """A point of execution: a scope, and how far into it.

    `tick` counts statements of the module; a binding with a smaller tick in the same scope was
    executed before, unless a loop jumps back.
    """

    scope: Scope
    tick: int
    path: Path
    loops: int = 0


@dataclass(slots=True)
class Binding:
    """One way in which a name gets its value.

    Attributes:
        value: the right side; for ELEMENT the iterable, for UNPACK the whole value.
        use: where it happens.
        target: for IMPORT the dotted module, and the attribute in it, and the level of dots.
        scope: for DEFINITION the scope that was defined.
    """

    how: Bind
    value: ast.expr | None
    use: Use
    node: ast.AST
    target: tuple[str, str | None, int] | None = None
    scope: Scope | None = None


@dataclass(slots=True)
class CallUse:
    """A call and where it stands."""

    node: ast.Call
    use: Use
    is_guarded: bool


def last_name(node: ast.expr) -> str | None:
    """Return the last name of `a`, `a.b` or `a.b.c`, else None."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    return None


def is_own(node: ast.expr) -> bool:
    """Return True for what hangs on `self`: an object may keep it for a session."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def all_arguments(arguments: ast.arguments) -> list[ast.arg]:
    """Return every parameter of a function in the order of its signature."""
    found = [*arguments.posonlyargs, *arguments.args]
    if arguments.vararg:
        found.append(arguments.vararg)
    found.extend(arguments.kwonlyargs)
    if arguments.kwarg:
        found.append(arguments.kwarg)
    return found
