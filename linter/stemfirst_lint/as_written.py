"""Which constants a request spells as its messages, braces and all: nobody fills these.

Knows a provider's own calls and constants that nothing else reads. Knows nothing of fields.
"""

from __future__ import annotations

import ast

from stemfirst_lint.messages import Message
from stemfirst_lint.model import Form, Location, Sink, Site, Template
from stemfirst_lint.patterns import pattern
from stemfirst_lint.readers import Readers
from stemfirst_lint.scopes import Bind, CallUse

_SENDS = pattern(r"((completions|messages|responses)\.a?create|(^|\.)a?completion)$")
"""Calls of providers, which send messages as they are given."""


class AsWritten:
    """Fills while requests are read; ask when all are.

    Invariant: each constant noted is a message of its own in a call's literal list.
    """

    def __init__(self, readers: Readers) -> None:
        self.readers = readers
        self._sent: dict[Location, list[Template]] = {}

    def note(self, message: Message, call: CallUse, templates: list[Template]) -> None:
        """Take in a message of a call if its text is a constant that nothing can fill."""
        listed = next((k.value for k in call.node.keywords if k.arg == "messages"), None)
        if _holds(listed, message):
            self._keep(message, call, templates)

    def note_unpacked(self, message: Message, templates: list[Template]) -> None:
        """Take in a message of a dict that a call of its module takes as `**settings`."""
        module = message.use.scope.module
        for name in ("create", "acreate", "completion", "acompletion"):
            for call in module.calls.get(name, ()):
                if self._holds_unpacked(message, call) and self._keep(message, call, templates):
                    return

    def _keep(self, message: Message, call: CallUse, templates: list[Template]) -> bool:
        is_sent = (
            len(templates) == 1
            and templates[0].form is Form.CONSTANT
            and self._is_constant(message)
            and _SENDS.search(ast.unparse(call.node.func)) is not None
        )
        if is_sent:
            self._sent.setdefault(templates[0].location, []).append(templates[0])
        return is_sent

    def _holds_unpacked(self, message: Message, call: CallUse) -> bool:
        for keyword in call.node.keywords:
            if keyword.arg is not None or not isinstance(keyword.value, ast.Name):
                continue
            found = self.readers.project.reaching(keyword.value.id, call.use) or ()
            for binding in found:
                value = binding.value
                if isinstance(value, ast.Dict) and any(
                    isinstance(key, ast.Constant)
                    and key.value == "messages"
                    and _holds(item, message)
                    for key, item in zip(value.keys, value.values, strict=True)
                ):
                    return True
        return False

    def _is_constant(self, message: Message) -> bool:
        """True for a name that is bound to a constant, once."""
        node, use = message.content, message.use
        if not isinstance(node, ast.Name):
            return isinstance(node, ast.Constant)
        found = self.readers.project.reaching(node.id, use) or ()
        return len(found) == 1 and found[0].how in (Bind.ASSIGN, Bind.IMPORT)

    def holds(self, site: Site) -> bool:
        """Return True for what only its fields' names make a template, though it is sent as is."""
        sent = self._sent.get(site.template.location)
        if sent is None or site.sink is not Sink.NAME or site.template.calls:
            return False
        return sent[0].name is None or self.readers.reads(sent[0]) <= len(sent)


def _holds(listed: ast.expr | None, message: Message) -> bool:
    """True for a literal list of which the message is an element."""
    return isinstance(listed, ast.List) and any(message.node is one for one in listed.elts)
