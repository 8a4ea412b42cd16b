"""What stays in a value that is put into a text and is a template itself.

Knows a reader of templates. Judges nothing.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from stemfirst_lint.arguments import Call
from stemfirst_lint.scopes import Use
from stemfirst_lint.wording import stable_texts

if TYPE_CHECKING:
    from stemfirst_lint.templates import Reader


class InnerTexts:
    """Reads templates inside templates, one deep: `stable_texts` looks no deeper."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._known: dict[int, tuple[str, ...]] = {}
        """By id of the expression: what was found from no call in particular."""

    def of(self, node: ast.expr, use: Use, call: Call | None) -> tuple[str, ...]:
        """Return what stays in the shortest text that an expression may hold."""
        if call is None and id(node) in self._known:
            return self._known[id(node)]
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
