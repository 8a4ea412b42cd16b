"""Fills the markers of a constant that code replaces where the constant itself cannot be followed.

Knows every `x.replace("{{now}}", value)` of a project whose first argument looks like a marker and
nothing else. A text that holds such a marker is filled by that value. Follows no text.
"""

from __future__ import annotations

import ast
import re

from stemfirst_lint.assembly import Assembler, Filling
from stemfirst_lint.fillings import Given
from stemfirst_lint.model import Form, Template, Text
from stemfirst_lint.project import Project
from stemfirst_lint.scopes import CallUse

_MARKER = re.compile(
    r"(\{\{\s*\w{3,}\s*\}\}|\{\w{3,}\}|<{1,3}[A-Za-z]\w{2,}>{1,3}|__\w{3,}__|\$\{\w{3,}\}|"
    r"\[{1,2}[A-Z][A-Z0-9_ ]{2,}\]{1,2}|%%?[A-Z]\w{2,}%%?|@@?\w{3,}@@?|#{1,3}[A-Z]\w{2,}#{1,3})$"
)
_LEAST_CHARACTERS = 300


class FarMarkers:
    """The markers of one project; ask when all modules are added."""

    def __init__(self, project: Project, assembler: Assembler) -> None:
        self.project = project
        self.assembler = assembler
        self._calls: dict[str, CallUse] | None = None

    def filled(self, template: Template) -> Template | None:
        """Return a constant with its markers filled, or None if code replaces none of them."""
        if template.form is not Form.CONSTANT:
            return None
        text = "".join(piece.text for piece in template.pieces if isinstance(piece, Text))
        if len(text) < _LEAST_CHARACTERS:
            return None
        found = _outermost(
            {marker: call for marker, call in self._markers().items() if marker in text}
        )
        if not found:
            return None
        given = Given(named={m: (call.node.args[1], call.use) for m, call in found.items()})
        first = next(iter(found.values()))
        filling = Filling(Form.REPLACE, given, first.node, first.use, None)
        return self.assembler.filled_again(template, filling)

    def _markers(self) -> dict[str, CallUse]:
        if self._calls is None:
            self._calls = {}
            for call in self.project.called("replace"):
                arguments = call.node.args
                if (
                    len(arguments) == 2
                    and isinstance(arguments[0], ast.Constant)
                    and isinstance(arguments[0].value, str)
                    and _MARKER.match(arguments[0].value)
                    and not isinstance(arguments[1], ast.Constant)
                ):
                    self._calls.setdefault(arguments[0].value, call)
        return self._calls


def _outermost(found: dict[str, CallUse]) -> dict[str, CallUse]:
    """Leave out what is part of another marker: beside `[[QUERY]]` a `[QUERY]` is a heading."""
    return {
        marker: call
        for marker, call in found.items()
        if not any(marker != other and marker in other for other in found)
    }
