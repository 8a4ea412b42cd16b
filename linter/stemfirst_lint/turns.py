"""What stands before a text in the request that sends it: earlier turns, or text that varies.

Knows how calls are given the conversation so far, what adds a turn to one, and lists of messages.
Says so only where something before the text is seen. Follows no text.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from stemfirst.tiers import Tier

from stemfirst_lint.growth import grown_list
from stemfirst_lint.messages import History, contents, items_of
from stemfirst_lint.patterns import pattern
from stemfirst_lint.scopes import Bind, Binding, Scope, ScopeKind, Use, last_name
from stemfirst_lint.syntax import called

if TYPE_CHECKING:
    from stemfirst_lint.arguments import Call
    from stemfirst_lint.flow import Flow
    from stemfirst_lint.uses import Uses

Calls = tuple["Call", ...]
"""The calls whose functions a text is inside of, outermost first."""

_KEPT = pattern(
    r"(^|_)(messages?|history|conversation|turns|dialog(ue)?|chat|chat_log|memory|thread|"
    r"transcript|scratchpad)$"
)
"""Names of what keeps the turns of a conversation."""
_ADDS = pattern(
    r"^_?(append|extend|insert|push|add)(_(user|human|turn|message|msg|observation|feedback)\w*)?$"
)
_SENDS_TURN = pattern(r"^send_?message(_async|_stream|_streaming)?$|^predict$")
_SESSION = pattern(r"(^|_)(chat|chat_session|session|convo|conversation|thread)$")
"""Methods that send a turn of the object that keeps the conversation, and names of such."""
_WITH_TURNS = frozenset(
    {"use_history", "with_history", "keep_history", "include_history", "use_memory"}
)
_TURNS = pattern(
    r"^(messages|((chat|message|msg|conversation|dialog(ue)?)_)?history|history_messages)$"
)
_ADDS_PART = pattern(r"^_?(add|append|with|include|insert)_\w+$")
_ADDS_TURNS = pattern(
    r"^_?(add|append|with|include|insert)_\w*(history|conversation|dialog(ue)?|transcript|chat_log)"
)
"""Methods of what builds a prompt part by part, and those of them that put in the turns so far."""
_MAKES_TOOL = frozenset({"tool", "function_tool", "ai_function", "kernel_function", "tool_plain"})
_TOOL_CLASSES = frozenset({"FunctionTool", "StructuredTool", "Tool", "from_function"})


class Turns:
    """Answers for one project."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.project = flow.project

    def varies(self, node: ast.expr, use: Use, calls: Calls) -> bool:
        """Return True if a value is known to differ in every request."""
        inside = calls[-1] if calls and use.scope is calls[-1].function else None
        tier = self.flow.verdict(node, use, inside).tier
        return tier is not None and tier >= Tier.REQUEST

    def are_given(self, call: ast.Call, use: Use) -> bool:
        """Return True if a call tells that it sends the conversation so far, too."""
        for inner in (call, *(keyword.value for keyword in call.keywords)):
            for keyword in inner.keywords if isinstance(inner, ast.Call) else ():
                if keyword.arg in _WITH_TURNS:
                    return isinstance(keyword.value, ast.Constant) and keyword.value.value is True
        return any(
            keyword.arg is not None
            and _TURNS.match(keyword.arg)
            and not isinstance(keyword.value, ast.Constant)
            and any(
                isinstance(item, History) and item.is_conversation
                for item in items_of(self.project, keyword.value, use)
            )
            for keyword in call.keywords
        )

    def is_one(self, call: ast.Call, uses: Uses) -> bool:
        """Return True for a call that adds a turn to a kept conversation: `thread.add_user(x)`."""
        function = call.func
        if not isinstance(function, ast.Attribute):
            return False
        receiver = (last_name(function.value) or "").lower()
        if function.attr == "create" and receiver == "messages":
            thread = next((k.value for k in call.keywords if k.arg == "thread_id"), None)
            kept = thread.value if isinstance(thread, ast.Attribute) else thread
            return kept is not None and not self.is_made_here(kept, call, uses)
        is_turn = (_ADDS.match(function.attr) and _KEPT.search(receiver)) or (
            _SENDS_TURN.match(function.attr) and _SESSION.search(receiver)
        )
        return bool(is_turn) and not self.is_made_here(function.value, call, uses)

    def is_built_behind(self, call: ast.Call, uses: Uses) -> bool:
        """Return True for `builder.add_rules(x)` behind `builder.add_history(turns)`."""
        function = call.func
        if not isinstance(function, ast.Attribute) or not _ADDS_PART.match(function.attr):
            return False
        scope, tick = uses.scope(call), uses.use(call).tick
        built = ast.unparse(function.value)
        return any(
            other.use.scope is scope
            and other.use.tick < tick
            and isinstance(other.node.func, ast.Attribute)
            and ast.unparse(other.node.func.value) == built
            for name, others in uses.module.calls.items()
            if _ADDS_TURNS.match(name)
            for other in others
        )

    def is_tool(self, function: Scope, uses: Uses) -> bool:
        """Return True for a function that a model calls: it reads what is returned as a turn."""
        decorators = getattr(function.node, "decorator_list", ())
        if any(last_name(called(decorator)) in _MAKES_TOOL for decorator in decorators):
            return True
        reads = (
            uses.names(function.name) if function.owner is None else uses.attributes(function.name)
        )
        return any(_is_listed_as_tool(read, uses) for read in reads)

    def is_added(self, call: ast.Call) -> bool:
        """Return True for a call that adds to something."""
        return isinstance(call.func, ast.Attribute) and _ADDS.match(call.func.attr) is not None

    def is_made_here(self, kept: ast.expr, call: ast.Call, uses: Uses) -> bool:
        """Return True if the function that adds a turn made or emptied what it is added to."""
        scope = uses.scope(call)
        shown = ast.unparse(kept)
        if scope.kind is not ScopeKind.FUNCTION:
            return True
        made: list[Binding] = list(scope.bindings.get(shown, ()))
        if scope.owner is not None and isinstance(kept, ast.Attribute):
            bindings = scope.owner.attributes.get(kept.attr, ())
            made += [binding for binding in bindings if binding.use.scope is scope]
        emptied = (
            other
            for name in ("clear", "reset")
            for other in uses.module.calls.get(name, ())
            if other.use.scope is scope and isinstance(other.node.func, ast.Attribute)
        )
        return any(
            ast.unparse(other.node.func.value) == shown  # type: ignore[attr-defined]
            for other in emptied
        ) or any(
            binding.how is Bind.ASSIGN and binding.use.loops >= uses.use(call).loops
            for binding in made
        )

    def stand_before(self, listed: ast.expr, use: Use, calls: Calls) -> bool:
        """Return True if a list holds earlier turns, or a message that varies."""
        for item in items_of(self.project, listed, use):
            if isinstance(item, History):
                return True
            inside = (item.call,) if item.call is not None else calls
            if any(self.varies(part, item.use, inside) for part in contents(item.content)):
                return True
        return False

    def parts_vary(self, listed: ast.expr, use: Use, calls: Calls) -> bool:
        """Return True if a list of texts holds one that varies at a point."""
        grown = grown_list(self.project, listed, use) or ()
        return any(self.varies(part.node, part.use, calls) for part in grown)


def _is_listed_as_tool(read: ast.expr, uses: Uses) -> bool:
    """True for a function's name in `tools=[name]`, and in `FunctionTool(name)`."""
    outer = uses.parent(read)
    if isinstance(outer, ast.keyword) and outer.arg in ("func", "fn", "function", "coroutine"):
        outer = uses.parent(outer)
    if isinstance(outer, ast.Call) and outer.func is not read:
        return last_name(outer.func) in _TOOL_CLASSES
    if not isinstance(outer, ast.List):
        return False
    around = uses.parent(outer)
    return isinstance(around, ast.keyword) and around.arg == "tools"
