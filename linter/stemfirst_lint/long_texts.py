"""Collects the long strings of a module that begin a text of their own.

Knows what adds one string to another, and what only shows one to people. Knows nothing of what the
words say.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from stemfirst_lint.scopes import Use

_SHOW = frozenset(
    {"critical", "debug", "error", "exception", "info", "log", "print", "trace", "warn", "warning"}
)
_HELP = frozenset(
    {"ArgumentParser", "add_argument", "add_argument_group", "add_parser", "Option", "option"}
)
_HELP_KEYWORDS = frozenset({"description", "epilog", "help", "usage"})

LONG = 160
"""Characters of a string that may be a prompt by itself."""


class LongTexts:
    """Told of every string after what it is added to; fills `found`."""

    def __init__(self, found: list[tuple[ast.expr, Use]]) -> None:
        self.found = found
        self._parts: set[int] = set()

    def add_parts(self, nodes: Iterable[ast.expr]) -> None:
        """Note strings that are added to other text."""
        self._parts.update(id(node) for node in nodes if _may_be_found(node))

    def add_shown(self, callee: str, node: ast.Call) -> None:
        """Note strings that a call shows to people: a line of a log, a command's help."""
        if callee in _SHOW:
            self.add_parts(node.args)
        elif callee in _HELP:
            self.add_parts(k.value for k in node.keywords if k.arg in _HELP_KEYWORDS)

    def constant(self, node: ast.Constant, use: Use) -> None:
        """Take a long constant, unless it is a part."""
        if id(node) not in self._parts:
            self.found.append((node, use))

    def joined(self, node: ast.JoinedStr, use: Use) -> None:
        """Take an f-string with enough text, unless it is a part; what stands in it is one."""
        length = 0
        self.add_parts(node.values)
        for value in node.values:
            if isinstance(value, ast.FormattedValue):
                self.add_parts([value.value])
            elif isinstance(value, ast.Constant):
                length += len(str(value.value))
        if length >= LONG and id(node) not in self._parts:
            self.found.append((node, use))


def _may_be_found(node: ast.expr) -> bool:
    """True for what stays in the tree; shorter constants are made anew, and their ids with them."""
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and type(node.value) is str and len(node.value) >= LONG
    )
