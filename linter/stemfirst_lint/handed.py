"""What a function is given by those who call it out of sight: pools, data sets, threads, handlers.

Knows calls that take a function and what they pass to it, and the decorators and classes by which
a request's data or a model's arguments reach one. Asks `Flow` about what is passed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemfirst.tiers import Tier

from stemfirst_lint import naming
from stemfirst_lint.arguments import default_of
from stemfirst_lint.model import UNKNOWN, Evidence, Kind, Verdict
from stemfirst_lint.patterns import pattern
from stemfirst_lint.project import Defined
from stemfirst_lint.scopes import CallUse, Scope, ScopeKind, Use, last_name
from stemfirst_lint.syntax import called, place_of

if TYPE_CHECKING:
    from stemfirst_lint.flow import Flow

_OVER = frozenset(
    {"map", "imap", "imap_unordered", "thread_map", "process_map", "map_async", "amap", "apply",
     "progress_apply", "parallel_apply", "progress_map", "flat_map", "starmap"}
)  # fmt: skip
"""Calls that pass each element of what follows, or each row of their receiver, to a function."""
_ONCE = {"submit": 0, "to_thread": 0, "run_in_executor": 1, "create_task": 0, "run_sync": 0}
"""Calls that pass what follows to a function, and where the function stands."""
_THREADS = frozenset({"Thread", "Process", "apply_async"})
_ANSWERS = frozenset({"get", "post", "put", "patch", "websocket", "route", "api_route"})
_TOOLS = frozenset(
    {"tool", "function_tool", "tool_plain", "kernel_function", "ai_function", "mcp_tool",
     "agent_tool"}
)  # fmt: skip
_TASKS = frozenset({"shared_task", "actor"})
_TEXT_TYPES = pattern(
    r"^(typing\.)?(Optional\[|Annotated\[)?\"?'?(str|List|list|Sequence|UploadFile)\b"
)
_OBJECTS = pattern(
    r"^(self|cls|ctx|context|request|req|response|db|session|state|runtime|agent|client|deps|config|"
    r"settings|background_tasks|app|bot|ws|websocket|user|current_user|args|kwargs|_.*)$"
)
"""Parameters of handlers that hold the surroundings, not data."""


@dataclass(frozen=True, slots=True)
class _Hand:
    """One call that hands a function on.

    Attributes:
        call: the call.
        skipped: how many parameters are bound already.
        values: what is passed for the parameters that follow.
        named: what is passed by name.
        is_each: elements of the values are passed; without values, each row of the receiver.
    """

    call: CallUse
    skipped: int
    values: tuple[ast.expr, ...]
    named: dict[str, ast.expr]
    is_each: bool
    is_whole: bool = False


class Handed:
    """Answers for one project; remembers who hands which function on."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self._hands: dict[int, list[_Hand]] | None = None

    def given(self, function: Scope, name: str) -> Iterator[Verdict]:
        """Yield how often the value changes that each such call passes for a parameter."""
        hands = self._all().get(id(function.node), ())
        if not hands:
            return
        arguments = function.function.args
        names = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
        for hand in hands:
            if name in hand.named:
                yield self.flow.verdict(hand.named[name], hand.call.use)
                continue
            at = names.index(name) - hand.skipped if name in names else -1
            if at >= 0:
                yield self._passed(hand, at, function, name)

    def _passed(self, hand: _Hand, at: int, function: Scope, name: str) -> Verdict:
        use = hand.call.use
        if not hand.is_each:
            if at < len(hand.values):
                return self.flow.verdict(hand.values[at], use)
            return UNKNOWN
        looped: ast.expr | None = None
        if hand.is_whole:
            looped = hand.values[0] if hand.values else None
        elif hand.values:
            looped = hand.values[at] if at < len(hand.values) else None
        elif at == 0 and isinstance(hand.call.node.func, ast.Attribute):
            looped = hand.call.node.func.value
        if looped is None:
            return UNKNOWN
        found = self.flow.verdict(looped, use)
        if found.tier is not None and not found.is_stable:
            return UNKNOWN if found.tier is Tier.VOLATILE else found
        if found.is_stable or not naming.is_varied(name, last_name(looped)):
            return UNKNOWN
        told = Evidence(
            f"`{function.name}` gets another `{name}` in each round", place_of(hand.call.node, use)
        )
        return Verdict(Tier.REQUEST, Kind.ELEMENT, (told,))

    def _all(self) -> dict[int, list[_Hand]]:
        """The calls that hand functions of the project on, by id of the function's node."""
        if self._hands is None:
            self._hands = {}
            for callee in sorted(_OVER | set(_ONCE) | _THREADS):
                for call in self.flow.project.called(callee):
                    hand = _hand(callee, call)
                    if hand is not None:
                        self._note(*hand)
        return self._hands

    def _note(self, node: ast.expr, hand: _Hand) -> None:
        assert self._hands is not None
        bound = hand.skipped
        if isinstance(node, ast.Call) and last_name(node.func) == "partial" and node.args:
            bound += len(node.args) - 1
            node = node.args[0]
        if isinstance(node, ast.Lambda):
            key = id(node)
        else:
            meaning = self.flow.project.meaning(node, hand.call.use)
            if not isinstance(meaning, Defined) or meaning.scope.kind is not ScopeKind.FUNCTION:
                return
            key = id(meaning.scope.node)
            bound += meaning.is_bound
        made = _Hand(hand.call, bound, hand.values, hand.named, hand.is_each, hand.is_whole)
        self._hands.setdefault(key, []).append(made)

    # Handlers

    def entry(self, function: Scope, argument: ast.arg) -> Verdict:
        """Return the verdict of a parameter of a route or a tool, by what reaches such a one."""
        what = _what(function)
        if what is None or not _is_data(function, argument):
            return UNKNOWN
        place = place_of(argument, Use(function, 0, ()))
        told = Evidence(f"`{argument.arg}` is a parameter of `{function.name}`, {what}", place)
        return Verdict(Tier.REQUEST, Kind.PARAMETER, (told,))


def _hand(callee: str, call: CallUse) -> tuple[ast.expr, _Hand] | None:
    """What a call hands on, and how."""
    node = call.node
    arguments = [a for a in node.args if not isinstance(a, ast.Starred)]
    if len(arguments) != len(node.args):
        return None
    named = {k.arg: k.value for k in node.keywords if k.arg is not None}
    if callee in _THREADS:
        target = named.get("target") or (arguments[0] if arguments else None)
        given = named.get("args")
        values = tuple(given.elts) if isinstance(given, ast.Tuple | ast.List) else ()
        if target is None or not _is_function(target):
            return None
        return target, _Hand(call, 0, values, {}, is_each=False)
    at = _ONCE.get(callee, 0)
    if len(arguments) <= at or not _is_function(arguments[at]):
        return None
    values = tuple(arguments[at + 1 :])
    if callee in _ONCE:
        return arguments[at], _Hand(call, 0, values, named, is_each=False)
    return arguments[at], _Hand(call, 0, values, {}, is_each=True, is_whole=callee == "starmap")


def _is_function(node: ast.expr) -> bool:
    return isinstance(node, ast.Name | ast.Attribute | ast.Lambda) or (
        isinstance(node, ast.Call) and last_name(node.func) == "partial"
    )


def _what(function: Scope) -> str | None:
    """What reaches a function by its decorators or its class, as a step of evidence."""
    for decorator in getattr(function.node, "decorator_list", ()):
        node = called(decorator)
        name = last_name(node)
        if name in _TOOLS:
            return "which a model calls as a tool"
        if name in _ANSWERS and isinstance(node, ast.Attribute) and node is not decorator:
            return "which answers a request"
        if name in _TASKS:
            return "which does one task of a queue"
    owner = function.owner
    bases = getattr(owner.node, "bases", ()) if owner is not None else ()
    if function.name in ("_run", "_arun") and any(
        (last_name(base) or "").endswith("Tool") for base in bases
    ):
        return "which a model calls as a tool"
    return None


def is_option(function: Scope, argument: ast.arg) -> bool:
    """Return True for a parameter that an option of a command fills, by typer or click."""
    default = default_of(function.function.args, argument.arg)
    if isinstance(default, ast.Call) and _is_typers(default):
        return True
    if argument.annotation is not None and any(
        isinstance(inner, ast.Call) and _is_typers(inner) for inner in ast.walk(argument.annotation)
    ):
        return True
    for decorator in getattr(function.node, "decorator_list", ()):
        if isinstance(decorator, ast.Call) and last_name(decorator.func) == "option":
            names = [one.value for one in decorator.args if isinstance(one, ast.Constant)]
            if any(str(name).lstrip("-").replace("-", "_") == argument.arg for name in names):
                return True
    return False


def _is_typers(node: ast.Call) -> bool:
    return ast.unparse(node.func) in ("typer.Option", "Option")


def _is_data(function: Scope, argument: ast.arg) -> bool:
    """True for a parameter that may hold text of a request, by its type and its default."""
    name = argument.arg
    if _OBJECTS.match(name) or not naming.may_be_data(name) or naming.identity_tier(name):
        return False
    arguments = function.function.args
    if argument in (arguments.vararg, arguments.kwarg):
        return False
    if argument.annotation is not None and not _TEXT_TYPES.match(ast.unparse(argument.annotation)):
        return False
    default = default_of(arguments, argument.arg)
    return not isinstance(default, ast.Call) or last_name(default.func) in (
        "Form", "Query", "Body", "File", "Field", "Path",
    )  # fmt: skip
