"""What stays in a value that is put into a text and is a template itself.

Knows a reader of templates. Judges nothing.
"""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import TYPE_CHECKING

from stemfirst_lint.arguments import Call
from stemfirst_lint.model import Hole, Template
from stemfirst_lint.scopes import Bind, Use
from stemfirst_lint.wording import is_named, stable_texts

if TYPE_CHECKING:
    from stemfirst_lint.templates import Reader


class InnerTexts:
    """Reads templates inside templates, one deep: `stable_texts` looks no deeper."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._known: dict[int, tuple[str, ...]] = {}
        """By id of the expression: what was found from no call in particular."""
        self._tails: dict[int, tuple[str, ...]] = {}
        self._is_inside = False

    def _may_be_empty(self, node: ast.expr, use: Use) -> bool:
        """True for a name that begins as the empty string: then nothing of it stays."""
        if not isinstance(node, ast.Name):
            return False
        bindings = self.reader.flow.project.reaching(node.id, use) or ()
        return any(
            binding.how is Bind.ASSIGN
            and isinstance(binding.value, ast.Constant)
            and not binding.value.value
            for binding in bindings
        )

    def of(self, node: ast.expr, use: Use, call: Call | None) -> tuple[str, ...]:
        """Return what stays in the shortest text that an expression may hold."""
        if call is None and id(node) in self._known:
            return self._known[id(node)]
        if self._may_be_empty(node, use):
            return ()
        self.reader.assembler.reads_only = True
        try:
            found = self.reader.templates(node, use, call, hops=1)
        finally:
            self.reader.assembler.reads_only = False
        texts = [stable_texts(template) for template in found]
        shortest = tuple(min(texts, key=lambda one: sum(map(len, one)), default=[]))
        if call is None:
            self._known[id(node)] = shortest
        return shortest

    def tail(self, node: ast.expr, use: Use, call: Call | None) -> tuple[str, ...]:
        """Return what stays behind the last thing that varies in a value, where it is least.

        Nothing for a prompt that has a name: what it forfeits is told of itself.
        """
        if self._is_inside:
            return ()
        if call is None and id(node) in self._tails:
            return self._tails[id(node)]
        self._is_inside = True
        try:
            found = self.reader.templates(node, use, call, hops=1)
        finally:
            self._is_inside = False
        tails = [() if is_named(template) else _behind(template) for template in found]
        least = min(tails, key=lambda one: sum(map(len, one)), default=())
        if call is None:
            self._tails[id(node)] = least
        return least


def _behind(template: Template) -> tuple[str, ...]:
    """The texts behind the last hole that may vary; the labels between such holes are little."""
    open_holes = [
        index
        for index, piece in enumerate(template.pieces)
        if isinstance(piece, Hole) and not piece.verdict.is_stable
    ]
    if not open_holes:
        return ()
    return tuple(stable_texts(replace(template, pieces=template.pieces[open_holes[-1] + 1 :])))
