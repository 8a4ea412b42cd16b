"""What calls pass by a field's name, where the call that fills the template is out of sight.

A chain is invoked with a dict, a helper fills a template by keywords: what they call as the field
is called is its value, in the module of the template and in those that import it. Asks `Flow`.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from stemfirst.tiers import Tier

from stemfirst_lint.importers import led_to, stem_of
from stemfirst_lint.model import UNKNOWN, Verdict
from stemfirst_lint.scopes import Use
from stemfirst_lint.syntax import place_of
from stemfirst_lint.verdicts import because, kept

if TYPE_CHECKING:
    from stemfirst_lint.flow import Flow
    from stemfirst_lint.index import ModuleIndex

_MAX_VALUES = 8
_SETUP = frozenset({"dict", "Field", "add_argument", "getLogger", "Settings", "get"})
_LEAST_NAME = 3


class Invoked:
    """Answers for one project; remembers what is passed by which name."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self._passed: dict[str, dict[str, list[tuple[ast.expr, Use]]]] = {}
        """By path of a module: by name, the values that its calls pass."""
        self._importers: dict[str, list[ModuleIndex]] = {}

    def field(self, name: str, use: Use) -> Verdict:
        """Return the verdict of a template's field of which its name says nothing."""
        if len(name) < _LEAST_NAME or not name.isidentifier():
            return UNKNOWN
        for module in self._near(use.scope.module):
            for value, at in self._by_name(module).get(name, ())[:_MAX_VALUES]:
                found = kept(self.flow.verdict(value, at), name)
                if found.tier is Tier.REQUEST:
                    return because(found, f"`{name}` is passed by this name", place_of(value, at))
        return UNKNOWN

    def _near(self, own: ModuleIndex) -> list[ModuleIndex]:
        """A module, and those whose imports lead to it."""
        if own.path not in self._importers:
            project, stem = self.flow.project, stem_of(own)
            self._importers[own.path] = [
                module
                for module in project.callers
                if module is own or any(one is own for one in led_to(project, module, stem))
            ]
        return self._importers[own.path]

    def _by_name(self, module: ModuleIndex) -> dict[str, list[tuple[ast.expr, Use]]]:
        if module.path not in self._passed:
            found: dict[str, list[tuple[ast.expr, Use]]] = {}
            for callee, calls in module.calls.items():
                if callee in _SETUP:
                    continue
                for call in calls:
                    for keyword in call.node.keywords:
                        if keyword.arg is not None:
                            found.setdefault(keyword.arg, []).append((keyword.value, call.use))
                    for argument in call.node.args[:2]:
                        if isinstance(argument, ast.Dict):
                            _note(argument, call.use, found)
            self._passed[module.path] = found
        return self._passed[module.path]


def _note(node: ast.Dict, use: Use, found: dict[str, list[tuple[ast.expr, Use]]]) -> None:
    """Note the items of a dict that is passed."""
    for key, value in zip(node.keys, node.values, strict=True):
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            found.setdefault(key.value, []).append((value, use))
