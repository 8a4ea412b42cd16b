"""Finds messages of a history that are written in place after they were sent.

Knows how a message is taken out of a list, by index or by a loop. Lists that the same function
makes are no history yet, and copies for logs are not sent. Knows nothing of rules.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from stemfirst_lint.constants import constant_text
from stemfirst_lint.flow import Flow
from stemfirst_lint.index import ModuleIndex
from stemfirst_lint.messages import message_of
from stemfirst_lint.model import Argument, Edit
from stemfirst_lint.patterns import pattern
from stemfirst_lint.pieces import name_of
from stemfirst_lint.reaching import shared_loop
from stemfirst_lint.scopes import Bind, ScopeKind, Use, last_name
from stemfirst_lint.syntax import is_first_message

_HISTORY = pattern(r"(^|_)(messages?|history|conversation|turns|dialog(ue)?|chat_log)$")
_ELIDED = pattern(
    r"\b(removed|omitted|truncated|elided|cleared|pruned|stripped|trimmed|dropped|compacted|"
    r"no longer (shown|available))\b",
    re.IGNORECASE,
)
_NOT_SENT = pattern(
    r"log|redact|trace|span|telemetry|export|serial|print|display|save|show|dump|record|mask|"
    r"anonym|test|debug",
    re.IGNORECASE,
)


class Edits:
    """Answers for one project."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.project = flow.project

    def of(self, module: ModuleIndex) -> Iterator[Edit]:
        """Yield the edits of a module, in order of place."""
        for target, value, how, use in module.content_edits:
            if use.scope.kind is not ScopeKind.FUNCTION or _NOT_SENT.search(use.scope.name):
                continue
            assert isinstance(target, ast.Subscript | ast.Attribute)
            taken = self._taken(target.value, use)
            is_whole = is_first_message(target)
            if is_whole:
                message = message_of(value, use)
                if message is None or how is Bind.AUGMENT:
                    continue
                taken, value = (target.value, True), message.content
            if taken is None or not self._is_history(taken[0], use):
                continue
            listed, is_first = taken
            source = module.source
            text = Argument(name_of(value), source.place(value), self.flow.verdict(value, use))
            yield Edit(
                source.place(target),
                ast.unparse(listed),
                text,
                is_first=is_first,
                is_elided=how is Bind.ASSIGN
                and not is_whole
                and (_tells_of_elision(value) or self._is_elided(value, use)),
            )

    def _taken(self, message: ast.expr, use: Use) -> tuple[ast.expr, bool] | None:
        """The list that a message is taken from, and whether it is the first one."""
        match message:
            case ast.Subscript(slice=ast.Constant(value=int(index))):
                return message.value, index == 0
            case ast.Subscript(slice=ast.UnaryOp() | ast.Slice() | ast.Constant()):
                return None  # the last ones; or a dict
            case ast.Subscript(slice=ast.Name()):
                return message.value, False
            case ast.Name():
                bindings = self.project.reaching(message.id, use) or ()
                if len(bindings) == 1 and bindings[0].how is Bind.ELEMENT:
                    listed = bindings[0].value
                    if isinstance(listed, ast.Call) and last_name(listed.func) in (
                        "enumerate",
                        "reversed",
                    ):
                        listed = listed.args[0] if listed.args else None
                    if isinstance(listed, ast.Subscript) and isinstance(listed.slice, ast.Slice):
                        listed = listed.value
                    return (listed, False) if listed is not None else None
        return None

    def _is_history(self, listed: ast.expr, use: Use) -> bool:
        """True for a list that is named for a conversation and was not made here.

        Or that was made before the loop which sends it in every round, longer each time.
        """
        name = last_name(listed)
        if name is None or not _HISTORY.search(name.lower()) or _NOT_SENT.search(name):
            return False
        if isinstance(listed, ast.Name):
            for binding in self.project.reaching(listed.id, use) or ():
                if binding.how is Bind.ASSIGN and binding.use.scope is use.scope:
                    return binding.use.loops < use.loops and _goes_on(listed.id, use)
        return isinstance(listed, ast.Name | ast.Attribute)

    def _is_elided(self, value: ast.expr, use: Use) -> bool:
        text = constant_text(self.flow.project, value, use)
        return text is not None and _ELIDED.search(text) is not None


def _goes_on(name: str, use: Use) -> bool:
    """True if a loop around a point adds to a list and sends it."""

    def is_in_it(other: Use) -> bool:
        return other.scope is use.scope and shared_loop(other.path, use.path) is not None

    return any(is_in_it(call.use) for call in use.scope.mutations.get(name, ())) and any(
        is_in_it(call.use)
        and any(
            isinstance(given, ast.Name) and given.id == name
            for given in (*call.node.args, *(k.value for k in call.node.keywords))
        )
        for calls in use.scope.module.calls.values()
        for call in calls
        if call.use.loops
    )


def _tells_of_elision(value: ast.expr) -> bool:
    return isinstance(value, ast.JoinedStr) and any(
        isinstance(part, ast.Constant) and _ELIDED.search(str(part.value)) for part in value.values
    )
