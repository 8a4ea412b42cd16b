"""Reads lists of messages: which messages a request holds, in order, and what follows each.

Knows message dicts, message classes, and how a list grows before it is sent. Knows nothing of
templates or rules.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, replace

from stemfirst_lint.arguments import Call
from stemfirst_lint.patterns import pattern
from stemfirst_lint.project import Defined, Project, Values
from stemfirst_lint.scopes import Bind, CallUse, ScopeKind, Use, last_name

_MAX_HOPS = 6

MESSAGE_CLASSES: dict[str, str | None] = {
    "SystemMessage": "system",
    "SystemPromptPart": "system",
    "ChatCompletionSystemMessageParam": "system",
    "DeveloperMessage": "system",
    "HumanMessage": "user",
    "UserMessage": "user",
    "UserPromptPart": "user",
    "ChatCompletionUserMessageParam": "user",
    "AIMessage": "assistant",
    "AssistantMessage": "assistant",
    "ChatCompletionAssistantMessageParam": "assistant",
    "StringPromptValue": "user",
    "ChatMessage": None,
    "ChatMessageContent": None,
    "Message": None,
    "LLMMessage": None,
    "Msg": None,
    "from_system": "system",
    "from_user": "user",
    "from_assistant": "assistant",
}
"""Message classes of common libraries, with the role that they stand for."""

TEMPLATE_CLASSES: dict[str, str | None] = {
    "PromptTemplate": None,
    "ChatPromptTemplate": None,
    "SystemMessagePromptTemplate": "system",
    "HumanMessagePromptTemplate": "user",
    "AIMessagePromptTemplate": "assistant",
    "QuestionAnswerPrompt": None,
    "RefinePrompt": None,
    "SummaryPrompt": None,
    "PromptBuilder": None,
    "RichPromptTemplate": None,
    "JinjaPrompt": None,
}
"""Classes that hold a template, with the role that they stand for."""

JINJA_CLASSES = frozenset({"PromptBuilder", "RichPromptTemplate", "JinjaPrompt"})
"""Those of them whose template is Jinja."""

_CONVERSATION = pattern(
    r"^(?!(extra|additional|optional|few_?shot|example|initial)_)(.*_)?"
    r"(history|messages|conversation|turns|dialog(ue)?|chat(_log)?|thread)(_|$)",
    re.IGNORECASE,
)
_COMMON_NAMES = frozenset({"Message", "Msg"})
"""Names that other things have, too: a message only with `role=` and `content=`."""

_ROLE = pattern(
    r"(system|developer|user|human|assistant|ai|tool)(?:_message)?(?:_role)?$", re.IGNORECASE
)
_ROLES = {"developer": "system", "human": "user", "ai": "assistant"}


@dataclass(frozen=True, slots=True)
class Message:
    """One message as written: its role, if the source says, and the expression of its text.

    `call` holds the arguments of the function that made the message, if one did.
    """

    node: ast.expr
    role: str | None
    content: ast.expr
    use: Use
    call: Call | None = None


@dataclass(frozen=True, slots=True)
class History:
    """Earlier turns, or messages that cannot be read.

    `is_conversation` tells that the code names them so. Rounds that a loop adds are none: what was
    sent before its first round stays through all of them. `is_own` tells that the loop that sends
    the list added them to what was made before it.
    """

    is_conversation: bool = False
    is_own: bool = False


Item = Message | History


def message_of(node: ast.expr, use: Use) -> Message | None:
    """Return the message that a dict or a call of a message class is, else None."""
    if isinstance(node, ast.Dict):
        found: dict[object, ast.expr] = {
            key.value: value
            for key, value in zip(node.keys, node.values, strict=True)
            if isinstance(key, ast.Constant)
        }
        if "role" in found and "content" in found:
            return Message(node, role_of(found["role"]), found["content"], use)
    if isinstance(node, ast.Tuple) and len(node.elts) == 2:
        first, second = node.elts
        told = role_of(first) if isinstance(first, ast.Constant) else None
        return Message(node, told, second, use) if told is not None else None
    if isinstance(node, ast.Call):
        name = last_name(node.func)
        keywords = {k.arg: k.value for k in node.keywords if k.arg}
        if name == "dict" and {"role", "content"} <= set(keywords):
            return Message(node, role_of(keywords["role"]), keywords["content"], use)
        if name is None or name not in MESSAGE_CLASSES:
            return None
        if name in _COMMON_NAMES and not {"role", "content"} <= set(keywords):
            return None
        if name.startswith("from_") and (
            not isinstance(node.func, ast.Attribute)
            or not (last_name(node.func.value) or "").endswith("Message")
        ):
            return None
        role = MESSAGE_CLASSES[name]
        positional = list(node.args)
        if role is None:
            said = keywords.get("role") or (positional.pop(0) if len(positional) > 1 else None)
            role = role_of(said) if said is not None else None
        content = keywords.get("content") or keywords.get("text")
        if content is None and positional:
            content = positional[0]
        if content is not None:
            return Message(node, role, content, use)
    return None


def role_of(node: ast.expr) -> str | None:
    """Return the role that `"system"` or `MessageRole.SYSTEM` names, else None."""
    text = node.value if isinstance(node, ast.Constant) else last_name(node)
    match = _ROLE.match(text) if isinstance(text, str) else None
    if match is None:
        return None
    role = match.group(1).lower()
    return _ROLES.get(role, role)


def contents(node: ast.expr) -> list[ast.expr]:
    """Return the texts of a message's content: itself, or the text parts of a list."""
    return [text for text, _ in contents_placed(node)]


def contents_placed(node: ast.expr) -> list[tuple[ast.expr, bool]]:
    """Return the texts of a message's content, each with whether an image stands before it.

    An image, a file or a part that cannot be read differs from request to request.
    """
    if not isinstance(node, ast.List):
        return [(node, False)]
    found: list[tuple[ast.expr, bool]] = []
    is_behind = False
    for element in node.elts:
        texts = (
            [
                value
                for key, value in zip(element.keys, element.values, strict=True)
                if isinstance(key, ast.Constant) and key.value == "text"
            ]
            if isinstance(element, ast.Dict)
            else []
        )
        found += [(text, is_behind) for text in texts]
        is_behind = is_behind or not texts
    return found


def items_of(project: Project, node: ast.expr, use: Use, hops: int = 0) -> list[Item]:
    """Return what a list of messages holds at a point of execution, in order."""
    if hops > _MAX_HOPS:
        return [History()]
    message = message_of(node, use)
    if message is not None:
        return [message]
    match node:
        case ast.List() | ast.Tuple():
            found: list[Item] = []
            for element in node.elts:
                if isinstance(element, ast.Starred):
                    found.extend(items_of(project, element.value, use, hops + 1))
                else:
                    found.extend(_element(project, element, use))
            return found
        case ast.BinOp(op=ast.Add()):
            return [
                *items_of(project, node.left, use, hops + 1),
                *items_of(project, node.right, use, hops + 1),
            ]
        case ast.Name():
            return _named(project, node.id, use, hops)
        case ast.Call(func=ast.Name(id="list"), args=[inner]):
            return items_of(project, inner, use, hops + 1)
        case ast.Call():
            return _made(project, node, use, hops)
    return [_unread(node)]


def _made(project: Project, node: ast.Call, use: Use, hops: int) -> list[Item]:
    """The items of a list that a function of the project makes."""
    meaning = project.meaning(node.func, use)
    if isinstance(meaning, Defined) and meaning.scope.kind is ScopeKind.FUNCTION:
        lists = [
            (value, value_use)
            for value, value_use in meaning.scope.returns
            if not (isinstance(value, ast.Constant) and value.value is None)
        ]
        if len(lists) == 1:
            call = Call(node, meaning.scope, meaning.is_bound, use, None)
            return [
                replace(item, call=call)
                if isinstance(item, Message) and item.call is None
                else item
                for item in items_of(project, *lists[0], hops + 2)
            ]
    return [_unread(node)]


def _element(project: Project, node: ast.expr, use: Use) -> list[Item]:
    message = message_of(node, use)
    if message is not None:
        return [message]
    if isinstance(node, ast.Name | ast.Attribute):
        meaning = project.meaning(node, use)
        if isinstance(meaning, Values) and len(meaning.bindings) == 1:
            only = meaning.bindings[0]
            if only.how is Bind.ASSIGN and only.value is not None:
                message = message_of(only.value, only.use)
                if message is not None:
                    return [message]
    if isinstance(node, ast.Call):
        meaning = project.meaning(node.func, use)
        if isinstance(meaning, Defined) and meaning.scope.kind is ScopeKind.FUNCTION:
            call = Call(node, meaning.scope, meaning.is_bound, use, None)
            for value, value_use in meaning.scope.returns:
                message = message_of(value, value_use)
                if message is not None:
                    return [replace(message, call=call)]
    return [_unread(node)]


def _named(project: Project, name: str, use: Use, hops: int) -> list[Item]:
    """The items of a local list: what it starts with, and what is appended before it is sent."""
    bindings = project.reaching(name, use)
    unread = History(_CONVERSATION.search(name) is not None)
    if bindings is None:
        return [unread]
    assigned = [b for b in bindings if b.how is Bind.ASSIGN]
    before = [b for b in assigned if b.use.scope is not use.scope or b.use.tick < use.tick]
    base = next(reversed(before or assigned), None)
    if base is None or base.value is None:
        return [unread]
    found = items_of(project, base.value, base.use, hops + 1)
    if any(binding.how is Bind.UNPACK for binding in bindings):
        found.append(unread)  # what a round of a loop got back is sent by the next
    is_local = base.use.scope is use.scope
    if not is_local:
        return found
    grows: list[tuple[int, int, list[Item], bool]] = []
    for binding in bindings:
        if binding.how is Bind.AUGMENT and binding.value is not None:
            if binding.use.tick < base.use.tick:
                continue  # it grew what the name held before
            added = items_of(project, binding.value, binding.use, hops + 1)
            grows.append((binding.use.tick, binding.use.loops, added, False))
    for method in ("append", "extend", "insert"):
        for call in use.scope.module.calls.get(method, ()):
            function = call.node.func
            if (
                call.use.scope is not use.scope
                or not isinstance(function, ast.Attribute)
                or not isinstance(function.value, ast.Name)
                or function.value.id != name
                or not call.node.args
                or call.use.tick < base.use.tick
            ):
                continue
            argument = call.node.args[-1]
            if method == "extend":
                added = items_of(project, argument, call.use, hops + 1)
            else:
                added = _element(project, argument, call.use)
            is_first = method == "insert" and _is_zero(call.node.args[0])
            grows.append((call.use.tick, call.use.loops, added, is_first))
    for tick, loops, added, is_first in sorted(grows, key=lambda grow: grow[0]):
        if tick >= use.tick:
            if use.loops > base.use.loops and loops > base.use.loops:
                found.append(History(is_own=True))  # the next round of the loop sends it again
                break
            continue
        if loops > base.use.loops:
            added = [History() if isinstance(item, History) else item for item in added]
            rounds = History(is_own=use.loops > base.use.loops)
            added = [rounds, *added] if use.loops <= base.use.loops else [*added, rounds]
        found = [*added, *found] if is_first else [*found, *added]
    return found


def is_made_before(project: Project, node: ast.expr, use: Use, call: CallUse) -> bool:
    """Return True for a text that is made before the loop in which a call sends it.

    Its rounds all send the same text, and what they add behind it loses nothing by it.
    """
    if use.scope is not call.use.scope or not call.use.loops:
        return False
    if use.loops < call.use.loops:
        return True
    bindings = project.reaching(node.id, use) if isinstance(node, ast.Name) else None
    return bool(bindings) and all(
        binding.use.scope is use.scope and binding.use.loops < call.use.loops
        for binding in bindings or ()
    )


def _unread(node: ast.expr) -> History:
    """What stands for messages that cannot be read."""
    while isinstance(node, ast.Call | ast.Subscript | ast.Await | ast.Starred):
        node = node.func if isinstance(node, ast.Call) else node.value
    return History(_CONVERSATION.search(last_name(node) or "") is not None)


def _is_zero(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value == 0
