"""Finds the templates that are given to template classes: LangChain, llama_index, Haystack.

Knows `PromptTemplate(...)`, `from_template`, `from_messages` with its placeholders, `.partial`.
Fields are judged by their names, because the class fills them somewhere else.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeGuard

from stemfirst_lint.constants import constant_text
from stemfirst_lint.fillings import Given, given_in
from stemfirst_lint.index import ModuleIndex
from stemfirst_lint.known import CLOCKS
from stemfirst_lint.messages import (
    JINJA_CLASSES,
    TEMPLATE_CLASSES,
    History,
    message_of,
    role_of,
)
from stemfirst_lint.model import Following, Form, Sink, Site, Template
from stemfirst_lint.project import Defined, External
from stemfirst_lint.scopes import CallUse, ScopeKind, Use, last_name
from stemfirst_lint.templates import Reader
from stemfirst_lint.wording import stable_texts

_PLACEHOLDERS = frozenset({"placeholder", "messages_placeholder"})
_CONVERSATION = re.compile(r"history|messages|conversation|turns|dialog|chat", re.IGNORECASE)
_LISTS = frozenset({"messages", "message_templates", "template"})


@dataclass(frozen=True, slots=True)
class _Turn:
    """One message of a chat template: its text and role."""

    content: ast.expr
    use: Use
    role: str | None
    given: Given


class TemplateClasses:
    """Reads the template classes of one project's modules."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._read: set[int] = set()
        """Calls that stand inside a chat template and were read with it, by id."""
        self._made: list[ast.Call] = []
        """Calls that no source spells; kept, because verdicts are remembered by id."""

    def sites(self, module: ModuleIndex) -> Iterator[Site]:
        """Yield the sites of a module's template classes."""
        for name in ("from_messages", "ChatPromptTemplate"):
            for call in module.calls.get(name, ()):
                listed = _listed(call.node)
                if listed is not None and (name != "from_messages" or _owner(call.node)):
                    yield from self._chat(listed, call)
        for name, calls in module.calls.items():
            if name in ("from_messages", "ChatPromptTemplate"):
                continue
            for call in calls:
                for keyword in call.node.keywords:
                    if keyword.arg in _LISTS and _is_of_turns(keyword.value):
                        yield from self._chat(keyword.value, call)
        for name, role in TEMPLATE_CLASSES.items():
            for call in module.calls.get(name, ()):
                if id(call.node) not in self._read:
                    yield from self._single(call, role)
        for call in module.calls.get("from_template", ()):
            owner = _owner(call.node)
            if owner is not None and id(call.node) not in self._read:
                yield from self._single(call, TEMPLATE_CLASSES[owner])

    def _chat(self, listed: ast.List, call: CallUse) -> Iterator[Site]:
        """The messages of a chat template, each with what stands before and behind it."""
        turns = [self._turn(element, call) for element in listed.elts]
        read: list[list[Template]] = [
            self.reader.unfilled(turn.content, turn.use, turn.given)
            if isinstance(turn, _Turn)
            else []
            for turn in turns
        ]
        for index, turn in enumerate(turns):
            if not isinstance(turn, _Turn):
                continue
            before = [item for item in turns[:index] if isinstance(item, History)]
            behind = [item for item in turns[index + 1 :] if isinstance(item, History)]
            texts = [
                text
                for later, templates in zip(turns[index + 1 :], read[index + 1 :], strict=True)
                if isinstance(later, _Turn)
                for text in self._texts(later, templates)
            ]
            following = Following(
                texts=tuple(texts),
                has_history=bool(behind),
                has_conversation=any(item.is_conversation for item in behind),
            )
            place = turn.use.scope.module.source.place(turn.content)
            for template in read[index]:
                yield Site(
                    template,
                    Sink.TEMPLATE_CLASS,
                    place,
                    turn.role,
                    index,
                    follows_history=any(item.is_conversation for item in before),
                    following=following,
                )

    def _texts(self, turn: _Turn, templates: list[Template]) -> list[str]:
        """The texts of a turn that stay; a turn without a field is no template, but text."""
        if len(templates) == 1:
            return stable_texts(templates[0])
        constant = (
            constant_text(self.reader.flow.project, turn.content, turn.use)
            if not templates
            else None
        )
        return [constant] if constant is not None else []

    def _turn(self, element: ast.expr, call: CallUse) -> _Turn | History | None:
        given = self._partial(call)
        match element:
            case ast.Tuple(elts=[role, content]):
                said = role.value if isinstance(role, ast.Constant) else None
                if said in _PLACEHOLDERS:
                    return History(_CONVERSATION.search(ast.unparse(content)) is not None)
                return _Turn(content, call.use, role_of(role), given)
            case ast.Constant(value=str()) | ast.JoinedStr():
                return _Turn(element, call.use, "user", given)
            case ast.Starred() | ast.Name() | ast.Attribute():
                return History(_CONVERSATION.search(ast.unparse(element)) is not None)
            case ast.Call():
                if last_name(element.func) == "MessagesPlaceholder":
                    named = [*element.args[:1], *(k.value for k in element.keywords)]
                    return History(any(_CONVERSATION.search(ast.unparse(value)) for value in named))
                owner = _owner(element)
                inner = _template_of(element)
                wrapped = _keyword(element, "prompt")
                if (last_name(element.func) or "") in TEMPLATE_CLASSES and isinstance(
                    wrapped, ast.Call
                ):
                    owner, inner = last_name(element.func), _template_of(wrapped)
                    self._read.add(id(wrapped))
                if owner is not None and inner is not None:
                    self._read.add(id(element))
                    return _Turn(inner, call.use, TEMPLATE_CLASSES[owner], given)
                message = message_of(element, call.use)
                if message is not None and not (last_name(element.func) or "").endswith(
                    ("SystemMessage", "HumanMessage", "AIMessage")
                ):
                    return _Turn(message.content, call.use, message.role, given)
        return None

    def _single(self, call: CallUse, role: str | None) -> Iterator[Site]:
        syntax = _keyword(call.node, "template_format")
        form = Form.FORMAT
        if isinstance(syntax, ast.Constant) and syntax.value in ("jinja2", "mustache"):
            form = Form.JINJA
        elif syntax is not None and not (
            isinstance(syntax, ast.Constant) and syntax.value == "f-string"
        ):
            return  # a syntax that we cannot tell
        if last_name(call.node.func) in JINJA_CLASSES:
            form = Form.JINJA
        node = _template_of(call.node)
        if node is None:
            return
        for template in self.reader.unfilled(node, call.use, self._partial(call), form):
            place = call.use.scope.module.source.place(node)
            yield Site(template, Sink.TEMPLATE_CLASS, place, role)

    def _partial(self, call: CallUse) -> Given:
        """The values that a template class is made with, or gets by `.partial(...)`."""
        given = Given()
        variables = _keyword(call.node, "partial_variables")
        if variables is not None:
            made = ast.Call(ast.Name("dict"), [], [ast.keyword(None, variables)])
            given.named.update(given_in(made, call.use, self.reader.origins).named)
        calls = call.use.scope.module.calls
        for site in (*calls.get("partial", ()), *calls.get("partial_format", ())):
            function = site.node.func
            if isinstance(function, ast.Attribute) and any(
                origin.node is call.node
                for origin in self.reader.origins.of(function.value, site.use)
            ):
                given.named.update(given_in(site.node, site.use, self.reader.origins).named)
        given.named = {name: self._called(*value) for name, value in given.named.items()}
        return given

    def _called(self, value: ast.expr, use: Use) -> tuple[ast.expr, Use]:
        """The value that is put in: a function is called whenever the template is filled."""
        if isinstance(value, ast.Lambda):
            inner = next((f for f in use.scope.module.functions if f.node is value), None)
            return (value.body, Use(inner, 1 << 60, ())) if inner is not None else (value, use)
        if isinstance(value, ast.Name | ast.Attribute):
            meaning = self.reader.project.meaning(value, use)
            is_function = isinstance(meaning, Defined) and meaning.scope.kind is ScopeKind.FUNCTION
            if is_function or (isinstance(meaning, External) and meaning.dotted in CLOCKS):
                made = ast.copy_location(ast.Call(value, [], []), value)
                self._made.append(made)
                return made, replace(use, loops=use.loops + 1)  # again and again, as in a loop
        return value, use


def _owner(node: ast.Call) -> str | None:
    """The template class whose class method a call is, if it is one."""
    function = node.func
    owner = last_name(function.value) if isinstance(function, ast.Attribute) else None
    return owner if owner in TEMPLATE_CLASSES else None


def _listed(node: ast.Call) -> ast.List | None:
    """The list of messages that a chat template is given."""
    values = [*node.args[:1], *(k.value for k in node.keywords if k.arg in _LISTS)]
    return next((value for value in values if isinstance(value, ast.List)), None)


def _is_of_turns(node: ast.expr) -> TypeGuard[ast.List]:
    """True for a list of pairs of a role and a text."""
    return (
        isinstance(node, ast.List)
        and bool(node.elts)
        and all(
            isinstance(turn, ast.Tuple)
            and len(turn.elts) == 2
            and isinstance(turn.elts[0], ast.Constant)
            and role_of(turn.elts[0]) is not None
            for turn in node.elts
        )
    )


def _template_of(node: ast.Call) -> ast.expr | None:
    found = _keyword(node, "template") or _keyword(node, "template_str")
    return node.args[0] if found is None and node.args else found


def _keyword(node: ast.Call, name: str) -> ast.expr | None:
    return next((k.value for k in node.keywords if k.arg == name), None)
