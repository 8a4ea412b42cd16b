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

_MAX_DEPTH = 3


class InnerTexts:
    """Reads templates inside templates, a few deep."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._depth = 0

    def of(self, node: ast.expr, use: Use, call: Call | None) -> tuple[str, ...]:
        """Return what stays in the shortest text that an expression may hold."""
        if self._depth >= _MAX_DEPTH:
            return ()
        self._depth += 1
        try:
            found = self.reader.templates(node, use, call, hops=1)
        finally:
            self._depth -= 1
        texts = [stable_texts(template) for template in found]
        return tuple(min(texts, key=lambda one: sum(map(len, one)), default=[]))
