"""What is done to a conversation between two requests, so that the second leaves the first.

Knows copies that are changed and sent while the original goes on, ids that are drawn anew when a
history is rebuilt, and contents that change their shape with a message's place. Knows nothing of
rules.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from stemfirst_lint.flow import Flow
from stemfirst_lint.habits import Habit, HabitKind
from stemfirst_lint.index import ModuleIndex
from stemfirst_lint.model import Argument, Kind
from stemfirst_lint.scopes import Bind, CallUse, ScopeKind, last_name

_HISTORY = re.compile(r"(^|_)(messages?|history|conversation|turns|dialog(ue)?|chat_log)$")
_IDS = frozenset({"id", "tool_call_id", "call_id", "tool_use_id"})
_DRAWS = ("uuid4", "uuid1", "uuid7", "token_hex", "token_urlsafe", "randbytes", "urandom")
_PLACE = re.compile(r"\blast\b|_last\b|\blast_|== ?len\(|len\([^)]*\) ?- ?1|\[-1\]")


class Histories:
    """Answers for one project."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.project = flow.project

    def in_request(self, listed: ast.expr, call: CallUse) -> Iterator[Habit]:
        """Yield what a request sends of a conversation and does not keep in it."""
        use = call.use
        if isinstance(listed, ast.List):
            yield from self._replaced(listed, call)
            return
        if not isinstance(listed, ast.Name) or use.scope.kind is not ScopeKind.FUNCTION:
            return
        bindings = self.project.reaching(listed.id, use) or ()
        if len(bindings) != 1 or bindings[0].value is None or bindings[0].how is not Bind.ASSIGN:
            return
        value = bindings[0].value
        if isinstance(value, ast.List):
            yield from self._replaced(value, call)
        original, is_deep = _copied(value)
        if original is None or not self._goes_on(original, call):
            return
        for edit in _edits_of_last(use.scope.node, listed.id, is_deep=is_deep):
            place = use.scope.module.source.place(edit)
            yield Habit(HabitKind.UNSTORED_TEXT, place, ast.unparse(original))

    def _replaced(self, listed: ast.List, call: CallUse) -> Iterator[Habit]:
        """`[*messages[:-1], {...}]`: the last message, sent in other words than it is kept in."""
        if len(listed.elts) != 2:
            return
        first, last = listed.elts
        if not (
            isinstance(first, ast.Starred)
            and isinstance(first.value, ast.Subscript)
            and isinstance(first.value.slice, ast.Slice)
            and first.value.slice.lower is None
            and first.value.slice.upper is not None
            and _is_minus_one(first.value.slice.upper)
        ):
            return
        original = first.value.value
        kept = f"{ast.unparse(original)}[-1]"
        if (
            isinstance(last, ast.Dict)
            and kept in ast.unparse(last)
            and "cache_control" not in ast.unparse(last)
            and self._goes_on(original, call)
        ):
            place = call.use.scope.module.source.place(last)
            yield Habit(HabitKind.UNSTORED_TEXT, place, ast.unparse(original))

    def _goes_on(self, original: ast.expr, call: CallUse) -> bool:
        """True if code here adds to the list after it was sent: the conversation continues."""
        name = last_name(original)
        if name is None or not _HISTORY.search(name.lower()):
            return False
        listed = ast.unparse(original)
        use = call.use
        owner = use.scope.owner
        for method in ("append", "extend"):
            for other in use.scope.module.calls.get(method, ()):
                function = other.node.func
                is_near = other.use.scope is use.scope and (
                    other.use.tick >= use.tick or (use.loops and other.use.loops)
                )
                is_of_object = (
                    isinstance(original, ast.Attribute)
                    and owner is not None
                    and other.use.scope.owner is owner
                )
                if (
                    (is_near or is_of_object)
                    and isinstance(function, ast.Attribute)
                    and ast.unparse(function.value) == listed
                ):
                    return True
        return False

    def in_module(self, module: ModuleIndex) -> Iterator[Habit]:
        """Yield ids that are drawn anew, and contents that change with a message's place."""
        for name in _DRAWS:
            for call in module.calls.get(name, ()):
                yield from self._fresh(call)
        for node, use in module.role_dicts:
            for key, value in zip(node.keys, node.values, strict=True):
                if (
                    isinstance(key, ast.Constant)
                    and key.value == "content"
                    and isinstance(value, ast.IfExp)
                    and _changes_shape(value)
                ):
                    place = use.scope.module.source.place(value)
                    yield Habit(HabitKind.SHAPE_FLIP, place, ast.unparse(value.test))

    def _fresh(self, call: CallUse) -> Iterator[Habit]:
        """An id of a message that is made while a history is gone through."""
        use = call.use
        if use.scope.kind is not ScopeKind.FUNCTION:
            return
        for key, value in _ids_around(use.scope.node, call.node):
            verdict = self.flow.verdict(value, use)
            if verdict.kind is Kind.RANDOM:
                place = use.scope.module.source.place(value)
                yield Habit(HabitKind.FRESH_ID, place, key, Argument(key, place, verdict))


def _copied(value: ast.expr) -> tuple[ast.expr | None, bool]:
    """What an expression copies, and whether the messages themselves are copied, too."""
    match value:
        case ast.Call(args=[inner]) if last_name(value.func) in ("deepcopy", "copy", "list"):
            return inner, last_name(value.func) == "deepcopy"
        case ast.Call(func=ast.Attribute(value=inner, attr="copy"), args=[]):
            return inner, False
        case ast.Subscript(value=inner, slice=ast.Slice(lower=None, upper=None, step=None)):
            return inner, False
        case ast.List(elts=[ast.Starred(value=inner)]):
            return inner, False
        case ast.ListComp(
            elt=ast.Call(func=func, args=[ast.Name(id=made)]),
            generators=[ast.comprehension(target=ast.Name(id=target), iter=inner, ifs=[])],
        ) if last_name(func) in ("dict", "deepcopy", "copy") and made == target:
            return inner, True
    return None, False


def _edits_of_last(root: ast.AST, name: str, *, is_deep: bool) -> Iterator[ast.expr]:
    """Where the last message of a copy is written: itself, or in a deep copy its content."""
    for node in ast.walk(root):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AugAssign):
            targets = [node.target]
        for target in targets:
            inner = target
            if is_deep and isinstance(target, ast.Subscript | ast.Attribute):
                is_content = (
                    isinstance(target.slice, ast.Constant) and target.slice.value == "content"
                    if isinstance(target, ast.Subscript)
                    else target.attr == "content"
                )
                inner = target.value if is_content else target
            if (
                isinstance(inner, ast.Subscript)
                and isinstance(inner.value, ast.Name)
                and inner.value.id == name
                and _is_minus_one(inner.slice)
                and not _is_marked(node)
            ):
                yield target


def _is_marked(node: ast.AST) -> bool:
    """True where the text stays and only a marker is set on it: that is how a tail is cached."""
    return isinstance(node, ast.Assign) and "cache_control" in ast.unparse(node.value)


def _is_minus_one(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.UnaryOp)
        and isinstance(node.op, ast.USub)
        and isinstance(node.operand, ast.Constant)
        and node.operand.value == 1
    )


def _ids_around(root: ast.AST, draw: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    """Ids of messages that hold a draw, inside a loop over a history."""
    pending: list[tuple[ast.AST, bool, bool]] = [(root, False, False)]
    while pending:
        node, is_over_history, is_message = pending.pop()
        if isinstance(node, ast.For | ast.AsyncFor):
            is_over_history = is_over_history or _is_history(node.iter)
        elif isinstance(node, ast.ListComp | ast.GeneratorExp):
            is_over_history = is_over_history or any(_is_history(g.iter) for g in node.generators)
        elif isinstance(node, ast.Dict):
            keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
            is_message = is_message or "role" in keys or "type" in keys
            if is_over_history and is_message:
                for key, value in zip(keys, node.values, strict=True):
                    if key in _IDS and any(inner is draw for inner in ast.walk(value)):
                        yield str(key), value
        pending += [(child, is_over_history, is_message) for child in ast.iter_child_nodes(node)]


def _is_history(node: ast.expr) -> bool:
    while isinstance(node, ast.Call) and node.args and last_name(node.func) in (
        "enumerate", "reversed", "list",
    ):  # fmt: skip
        node = node.args[0]
    if isinstance(node, ast.Subscript):
        node = node.value
    name = last_name(node)
    return name is not None and _HISTORY.search(name.lower()) is not None


def _changes_shape(value: ast.IfExp) -> bool:
    """True if the content is a list for the last message and a string for the others."""
    lists = [arm for arm in (value.body, value.orelse) if isinstance(arm, ast.List)]
    return (
        len(lists) == 1
        and _PLACE.search(ast.unparse(value.test)) is not None
        and "cache_control" not in ast.unparse(lists[0])
    )
