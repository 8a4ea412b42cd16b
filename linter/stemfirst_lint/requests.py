"""What calls send beside the texts of their messages: tools, cache keys, markers, windows.

Knows the keywords of common clients and how a list of messages is cut before it is sent. Knows
nothing of rules.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator

from stemfirst_lint.edits import Edits
from stemfirst_lint.flow import Flow
from stemfirst_lint.habits import Habit, HabitKind
from stemfirst_lint.histories import Histories
from stemfirst_lint.index import ModuleIndex
from stemfirst_lint.marking import Marking
from stemfirst_lint.model import (
    UNKNOWN,
    Argument,
    Kind,
    Location,
    Marker,
    Request,
    Verdict,
    Window,
)
from stemfirst_lint.origins import Origins
from stemfirst_lint.patterns import pattern
from stemfirst_lint.pieces import name_of
from stemfirst_lint.project import Values
from stemfirst_lint.scopes import Bind, CallUse, Use, last_name
from stemfirst_lint.tool_lists import set_in_a_tool, tools_found_first

_SENDS = pattern(
    r"create|parse|stream|complet|chat|invoke|generate|llm|predict|respond|converse|query_model",
    re.IGNORECASE,
)
_HISTORY = pattern(
    r"(^|_)(messages?|history|conversation|turns|dialog(ue)?|chat|chat_log|memory)(_|$)"
)
_LIMIT = pattern(r"max|limit|window|last|keep|recent|size|turns|length|history|^[nk]$", re.I)
_CACHE_KEYS = frozenset({"prompt_cache_key", "session_id", "x-session-id", "x-session-affinity"})
_CARRIERS = ("extra_headers", "extra_body", "default_headers")
_ASKED = frozenset({"messages", "input", "prompt_cache_key", *_CARRIERS})
"""Keywords of which a request has at least one."""
_PARTS = ("tools", "system", "messages")
_MAX_HOPS = 6


class RequestFinder:
    """Collects the requests of modules."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.project = flow.project
        self.origins = Origins(flow.project)
        self.edits = Edits(flow)
        self.marking = Marking(self.origins)
        self.histories = Histories(flow)

    def requests(self, modules: list[ModuleIndex]) -> list[Request]:
        """Return the requests of modules that hold something to judge, in order of place."""
        before = sys.getrecursionlimit()
        sys.setrecursionlimit(max(before, 10_000))  # generated code is nested deeply
        try:
            found = [
                request
                for module in modules
                for calls in module.calls.values()
                for call in calls
                if (request := self._request(call)) is not None
            ]
            for module in modules:
                edits = self.edits.of(module)
                found.extend(Request(edit.location, edits=(edit,)) for edit in edits)
                habits = (
                    *self.histories.in_module(module),
                    *self.marking.lost_in_messages(module),
                )
                found.extend(Request(habit.location, habits=(habit,)) for habit in habits)
        finally:
            sys.setrecursionlimit(before)
        return sorted(found, key=lambda request: request.location)

    def _request(self, call: CallUse) -> Request | None:
        if not any(keyword.arg in _ASKED for keyword in call.node.keywords):
            return None  # most calls
        callee = last_name(call.node.func) or ""
        keywords = {k.arg: k.value for k in call.node.keywords if k.arg}
        listed = keywords.get("messages") or keywords.get("input")
        keys = tuple(self._cache_keys(keywords, call.use))
        if (listed is None and not keys) or not _SENDS.search(callee):
            return None
        tools = keywords.get("tools")
        markers = tuple(
            marker
            for part in _PARTS
            for marker in self._markers(keywords.get(part), part, call.use)
        )
        windows = tuple(self._windows(listed, call.use, 0)) if listed is not None else ()
        toggles = tuple(self._toggles(callee, call, keywords))
        explicit = self._explicit(keywords, call)
        sent = self._argument("tools", tools, call.use) if tools is not None else None
        of_set: Habit | None = None
        if tools is not None and sent is not None and sent.verdict.kind is Kind.SET:
            of_set = set_in_a_tool(tools, call.use, self.origins, self.flow)
            sent = sent if of_set is None else None  # the tools themselves keep their order
        habits = (
            *self.marking.of(call, keywords, markers),
            *(self.histories.in_request(listed, call) if listed is not None else ()),
            *(tools_found_first(tools, call.use, self.origins) if tools is not None else ()),
            *(self._breakpoints(listed, call.use) if listed is not None else ()),
            *((of_set,) if of_set is not None else ()),
        )
        if not (tools or keys or markers or windows or toggles or explicit or habits):
            return None
        return Request(
            call.use.scope.module.source.place(call.node),
            sent,
            keys,
            windows,
            markers,
            toggles=toggles,
            explicit=explicit,
            habits=habits,
        )

    def _toggles(
        self, callee: str, call: CallUse, keywords: dict[str, ast.expr]
    ) -> Iterator[Argument]:
        """Parameters of Anthropic's calls in a loop that one round sets otherwise than the next."""
        function = call.node.func
        if (
            not call.use.loops
            or callee not in ("create", "stream")
            or not isinstance(function, ast.Attribute)
            or last_name(function.value) != "messages"
        ):
            return
        for name in ("thinking", "tool_choice"):
            value = keywords.get(name)
            if isinstance(value, ast.IfExp):
                yield Argument(name, call.use.scope.module.source.place(value), UNKNOWN)

    def _explicit(self, keywords: dict[str, ast.expr], call: CallUse) -> Location | None:
        """Where caching is limited to breakpoints in a module that sets none."""
        options = keywords.get("prompt_cache_options")
        source = call.use.scope.module.source
        if options is None or "prompt_cache_breakpoint" in source.text:
            return None
        for origin in self.origins.of(options, call.use):
            if isinstance(origin.node, ast.Dict):
                for key, value in zip(origin.node.keys, origin.node.values, strict=True):
                    if (
                        isinstance(key, ast.Constant)
                        and key.value == "mode"
                        and isinstance(value, ast.Constant)
                        and value.value == "explicit"
                    ):
                        return source.place(options)
        return None

    def _argument(self, name: str, node: ast.expr, use: Use) -> Argument:
        verdict = self.flow.verdict(node, use)
        if verdict.tier is None and name == "tools":
            verdict = self._tools(node, use)
        return Argument(name, use.scope.module.source.place(node), verdict)

    def _tools(self, node: ast.expr, use: Use) -> Verdict:
        """The liveliest text inside tool definitions of which other parts are unknown."""
        for origin in self.origins.of(node, use):
            for inner in ast.walk(origin.node):
                if isinstance(inner, ast.JoinedStr):
                    verdict = self.flow.verdict(inner, origin.use)
                    if verdict.tier is not None and not verdict.is_stable:
                        return verdict
        return UNKNOWN

    def _cache_keys(self, keywords: dict[str, ast.expr], use: Use) -> Iterator[Argument]:
        for name, value in keywords.items():
            if name == "prompt_cache_key":
                yield self._argument(name, value, use)
            elif name in _CARRIERS:
                for origin in self.origins.of(value, use):
                    if isinstance(origin.node, ast.Dict):
                        for key, item in zip(origin.node.keys, origin.node.values, strict=True):
                            if isinstance(key, ast.Constant) and key.value in _CACHE_KEYS:
                                yield self._argument(str(key.value), item, origin.use)

    # Markers

    def _markers(self, node: ast.expr | None, part: str, use: Use) -> Iterator[Marker]:
        if node is None:
            return
        for origin in self.origins.of(node, use)[:1]:
            for inner in _displays(origin.node):
                marker = self._marker(inner, part, origin.use)
                if marker is not None:
                    yield marker

    def _marker(self, node: ast.Dict, part: str, use: Use) -> Marker | None:
        items = _items(node)
        control = self._control(node, use)
        if control is None:
            return None
        ttl = "5m"
        for key, value in zip(control.keys, control.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "ttl":
                ttl = str(value.value) if isinstance(value, ast.Constant) else "?"
        text = items.get("text")
        judged = self._argument(name_of(text), text, use) if text is not None else None
        if judged is not None and (judged.verdict.tier is None or judged.verdict.is_stable):
            judged = None
        return Marker(use.scope.module.source.place(node), part, ttl, judged)

    def _control(self, node: ast.Dict, use: Use) -> ast.Dict | None:
        """The value of `cache_control`, which may have a name or come by `**marked`."""
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                spread = next(iter(self.origins.of(value, use)), None)
                if spread is not None and isinstance(spread.node, ast.Dict):
                    found = _items(spread.node).get("cache_control")
                    if isinstance(found, ast.Dict):
                        return found
            elif isinstance(key, ast.Constant) and key.value == "cache_control":
                made = next(iter(self.origins.of(value, use)), None)
                if made is not None and isinstance(made.node, ast.Dict):
                    return made.node
        return None

    def _breakpoints(self, node: ast.expr, use: Use) -> Iterator[Habit]:
        """OpenAI's breakpoints in messages for the system, on text that varies."""
        if "prompt_cache_breakpoint" not in use.scope.module.source.text:
            return
        for origin in self.origins.of(node, use)[:1]:
            for message in _displays(origin.node):
                items = _items(message)
                role = items.get("role")
                if not isinstance(role, ast.Constant) or role.value not in ("system", "developer"):
                    continue
                for block in _displays(message):
                    text = _items(block).get("text")
                    if text is None or "prompt_cache_breakpoint" not in _items(block):
                        continue
                    about = self._argument(name_of(text), text, origin.use)
                    yield Habit(HabitKind.VARYING_BREAKPOINT, about.location, about.name, about)

    # Windows

    def _windows(self, node: ast.expr, use: Use, hops: int) -> Iterator[Window]:
        if hops > _MAX_HOPS:
            return
        match node:
            case ast.Subscript(slice=ast.Slice(lower=lower, upper=None, step=None)):
                name = last_name(node.value)
                if name is not None and _HISTORY.search(name) and _is_tail(lower):
                    place = use.scope.module.source.place(node)
                    yield Window(place, f"`{ast.unparse(node)}` keeps the newest messages only")
            case ast.List() | ast.Tuple():
                for element in node.elts:
                    if isinstance(element, ast.Starred):
                        yield from self._windows(element.value, use, hops + 1)
            case ast.BinOp(op=ast.Add()):
                yield from self._windows(node.left, use, hops + 1)
                yield from self._windows(node.right, use, hops + 1)
            case ast.Call(func=ast.Name(id="list"), args=[inner]):
                yield from self._windows(inner, use, hops + 1)
            case ast.Call(func=ast.Name(id="deque") | ast.Attribute(attr="deque")):
                limit = next((k.value for k in node.keywords if k.arg == "maxlen"), None)
                if limit is not None and not (
                    isinstance(limit, ast.Constant) and limit.value is None
                ):
                    place = use.scope.module.source.place(node)
                    yield Window(place, "the `deque` drops its oldest message for each new one")
            case ast.Name():
                yield from self._popped(node, use)
                for binding in self.project.reaching(node.id, use) or ():
                    if binding.value is not None and binding.how in (Bind.ASSIGN, Bind.AUGMENT):
                        yield from self._windows(binding.value, binding.use, hops + 1)
                for site in use.scope.mutations.get(node.id, ()):
                    if last_name(site.node.func) == "extend" and site.node.args:
                        yield from self._windows(site.node.args[0], site.use, hops + 1)
            case ast.Attribute():
                yield from self._popped(node, use)
                meaning = self.project.meaning(node, use)
                if isinstance(meaning, Values):
                    for binding in meaning.bindings:
                        if binding.value is not None and binding.how is Bind.ASSIGN:
                            yield from self._windows(binding.value, binding.use, hops + 1)

    def _popped(self, node: ast.Name | ast.Attribute, use: Use) -> Iterator[Window]:
        """`messages.pop(0)` under a condition or in a loop, on the very list that is sent."""
        name = last_name(node) or ""
        if not _HISTORY.search(name):
            return
        listed = ast.unparse(node)
        owner = use.scope.owner
        for call in use.scope.module.calls.get("pop", ()):
            function = call.node.func
            is_near = call.use.scope is use.scope or (
                owner is not None and call.use.scope.owner is owner
            )
            if (
                is_near
                and isinstance(function, ast.Attribute)
                and ast.unparse(function.value) == listed
                and len(call.node.args) == 1
                and isinstance(call.node.args[0], ast.Constant)
                and call.node.args[0].value in (0, 1)
                and call.use.path
                and not _takes_system(call)
            ):
                place = call.use.scope.module.source.place(call.node)
                yield Window(place, f"`{ast.unparse(call.node)}` drops the oldest message")


def _takes_system(call: CallUse) -> bool:
    """True where the first message is taken out because it is the system message."""
    return any(
        isinstance(node, ast.If)
        and "system" in ast.unparse(node.test)
        and any(inner is call.node for inner in ast.walk(node))
        for node in ast.walk(call.use.scope.node)
    )


def _items(node: ast.Dict) -> dict[object, ast.expr]:
    """Return the values of a display by their keys, where those are written out."""
    return {
        key.value: value
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant)
    }


def _displays(node: ast.expr) -> Iterator[ast.Dict]:
    """Yield the dicts written out in an expression, in order; none that a loop repeats."""
    pending: list[ast.AST] = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, ast.ListComp | ast.GeneratorExp | ast.Lambda | ast.Call):
            continue
        if isinstance(current, ast.Dict):
            yield current
        pending.extend(reversed(list(ast.iter_child_nodes(current))))


def _is_tail(lower: ast.expr | None) -> bool:
    """True for `-10` and `-limit`; not for the last message, nor for what a call has counted."""
    if isinstance(lower, ast.BinOp):
        lower = lower.left  # `-limit * 2`: two messages a turn
    if not isinstance(lower, ast.UnaryOp) or not isinstance(lower.op, ast.USub):
        return False
    size = lower.operand.left if isinstance(lower.operand, ast.BinOp) else lower.operand
    if isinstance(size, ast.Constant):
        return isinstance(size.value, int) and size.value > 1
    name = last_name(size)
    return name is not None and _LIMIT.search(name) is not None
