"""Where a text goes before it is sent: behind earlier turns, behind what varies anyway, or first.

Follows a text forwards: names, attributes, items of dicts, what functions return, arguments of the
project's own functions, templates that embed it, messages and the lists that they are added to.
A way that cannot be followed says nothing. Knows nothing of rules.
"""

from __future__ import annotations

import ast
import os
from enum import Enum
from typing import TYPE_CHECKING

from stemfirst.tiers import Tier

from stemfirst_lint import known
from stemfirst_lint.arguments import Call, is_static, parameter_of
from stemfirst_lint.messages import MESSAGE_CLASSES, contents_placed, message_of
from stemfirst_lint.model import Sink
from stemfirst_lint.project import Defined
from stemfirst_lint.reads import Reads
from stemfirst_lint.scopes import Scope, ScopeKind, last_name
from stemfirst_lint.turns import Calls, Turns
from stemfirst_lint.wording import is_behind_turns

if TYPE_CHECKING:
    from stemfirst_lint.flow import Flow
    from stemfirst_lint.index import ModuleIndex
    from stemfirst_lint.model import Site

_MAX_STEPS = 400
_MAX_READS = 24
_MAX_CALLS = 5
_SAME_TEXT = frozenset(
    {"format", "format_map", "strip", "lstrip", "rstrip", "replace", "substitute",
     "safe_substitute", "render", "dedent", "cleandoc", "str", "partial", "format_prompt",
     "format_messages", "Template", "from_string", "from_template", "PromptTemplate"}
)  # fmt: skip
_SENDS = frozenset(
    {"ask", "llm", "generate", "run", "arun", "run_sync", "stream", "query", "send", "text",
     "model", "lm", "chat_model", "gpt", "claude", "judge", "get_response", "call"}
)  # fmt: skip
"""Callees beside those of `known` that send what they are given."""
_SHOWS = frozenset({"print", "debug", "info", "warning", "error", "log", "critical", "exception"})
_WRITES = frozenset({"write", "write_text", "writelines", "sendmail"})


class Way(Enum):
    """How a text reaches a model, so far as it was followed."""

    FIRST = "nothing that varies is known to stand before it"
    BEHIND = "behind earlier turns or text that differs in every request"
    FILE = "to a file or into a mail"


class Destinations:
    """Answers for one project; ask when all modules are added."""

    def __init__(self, flow: Flow) -> None:
        self.project = flow.project
        self.reads = Reads(flow.project)
        self.turns = Turns(flow)

    def is_behind(self, site: Site) -> bool:
        """Return True if every way of a text that could be followed leads behind what varies.

        Or into a file, where no call says that it is a prompt.
        """
        holes = site.template.holes
        varies = any((hole.verdict.tier or Tier.STATIC) > Tier.STATIC for hole in holes)
        if site.follows_history or site.role == "system" or not varies:
            return False
        if site.index is None and is_behind_turns(site.template):
            return True
        place, message = site.template.location, site.location
        is_in_it = place.path == message.path and message.line <= place.line <= message.end_line
        if site.index is not None and is_in_it:
            return False
        module = self.project.modules.get(os.path.abspath(place.path))
        node = self.reads.uses(module).at(place) if module is not None else None
        if module is None or node is None:
            return False
        walk = _Walk(self)
        walk.follow(node, module, ())
        if site.sink is Sink.NAME and walk.ways == {Way.FILE}:
            return True  # it is text of another kind
        return walk.ways == {Way.BEHIND}


class _Walk:
    """One text on its way; invariant: no place is looked at twice, but inside of another call."""

    def __init__(self, all_: Destinations) -> None:
        self.project = all_.project
        self.reads = all_.reads
        self.turns = all_.turns
        self.ways: set[Way] = set()
        self._seen: set[int] = set()
        self._steps = 0

    def _end(self, *, is_behind: bool) -> None:
        self.ways.add(Way.BEHIND if is_behind else Way.FIRST)

    # Expressions

    def follow(self, node: ast.AST, module: ModuleIndex, calls: Calls) -> None:
        """Go one step outwards from an expression whose text is the one that is followed."""
        self._steps += 1
        if id(node) in self._seen or self._steps > _MAX_STEPS:
            return
        self._seen.add(id(node))
        uses = self.reads.uses(module)
        outer = uses.parent(node)
        match outer:
            case ast.IfExp() if node is outer.test:
                return
            case ast.Await() | ast.IfExp() | ast.BoolOp():
                self.follow(outer, module, calls)
            case ast.NamedExpr():
                self._bound(outer.target, outer, module, calls)
                self.follow(outer, module, calls)
            case ast.FormattedValue():
                self._embedded(outer, module, calls)
            case ast.BinOp(op=ast.Add()):
                use = uses.use(outer)
                if node is outer.right and self.turns.varies(outer.left, use, calls):
                    self._end(is_behind=True)
                else:
                    self.follow(outer, module, calls)
            case ast.BinOp(op=ast.Mod()) if node is outer.left:
                self.follow(outer, module, calls)
            case ast.Attribute():
                around = uses.parent(outer)
                if isinstance(around, ast.Call) and outer.attr in _SAME_TEXT:
                    self.follow(around, module, calls)
            case ast.Assign():
                for target in outer.targets:
                    self._bound(target, outer, module, calls)
            case ast.AnnAssign():
                self._bound(outer.target, outer, module, calls)
            case ast.AugAssign(op=ast.Add(), target=ast.Name()):
                self._added(outer, module, calls)
            case ast.Return():
                self._returned(uses.scope(outer), calls)
            case ast.keyword():
                call = uses.parent(outer)
                if isinstance(call, ast.Call):
                    self._argument(node, outer.arg, call, module, calls)
            case ast.Call() if node is not outer.func:
                self._argument(node, None, outer, module, calls)
            case ast.arguments():
                self._default(node, outer, module, calls)
            case ast.Dict():
                self._item(node, outer, module, calls)

    def _embedded(self, value: ast.FormattedValue, module: ModuleIndex, calls: Calls) -> None:
        """A hole of an f-string: behind the holes before it."""
        uses = self.reads.uses(module)
        joined = uses.parent(value)
        assert isinstance(joined, ast.JoinedStr)
        use = uses.use(joined)
        for part in joined.values:
            if part is value:
                break
            if isinstance(part, ast.FormattedValue) and self.turns.varies(part.value, use, calls):
                self._end(is_behind=True)
                return
        self.follow(joined, module, calls)

    def _added(self, outer: ast.AugAssign, module: ModuleIndex, calls: Calls) -> None:
        """`text += more`: behind what the text holds already."""
        use = self.reads.uses(module).use(outer)
        assert isinstance(outer.target, ast.Name)
        for binding in self.project.reaching(outer.target.id, use) or ():
            if binding.value is not None and self.turns.varies(binding.value, binding.use, calls):
                self._end(is_behind=True)
                return
        self._bound(outer.target, outer, module, calls)

    def _bound(
        self, target: ast.expr, statement: ast.AST, module: ModuleIndex, calls: Calls
    ) -> None:
        for number, (read, inside) in enumerate(self.reads.bound(target, statement, module)):
            if number == _MAX_READS:
                break
            self.follow(read, inside, calls)

    # Functions

    def _argument(
        self,
        node: ast.AST,
        keyword: str | None,
        call: ast.Call,
        module: ModuleIndex,
        calls: Calls,
    ) -> None:
        uses = self.reads.uses(module)
        use = uses.use(call)
        callee = last_name(call.func) or ""
        message = message_of(call, use)
        if message is not None and message.content is node:
            self._message(call, message.role, module, calls)
        elif (
            self.turns.are_given(call, use)
            or self.turns.is_one(call, uses)
            or self.turns.is_built_behind(call, uses)
        ):
            self._end(is_behind=True)
        elif callee in MESSAGE_CLASSES or (
            keyword == "content" and any(other.arg == "role" for other in call.keywords)
        ):
            self._message(call, None, module, calls)
        elif scopes := self._called(call, module):
            for scope in scopes:
                self._into(node, keyword, call, module, scope, calls)
        elif callee in _SAME_TEXT:
            self.follow(call, module, calls)
        elif callee == "append" and isinstance(call.func, ast.Attribute):
            if self.turns.parts_vary(call.func.value, use, calls):
                self._end(is_behind=True)
        elif callee in _WRITES:
            self.ways.add(Way.FILE)
        elif callee not in _SHOWS and (
            known.MODEL_CALLS.match(callee) or callee in _SENDS or keyword in ("content", "prompt")
        ):
            self._end(is_behind=False)

    def _called(self, call: ast.Call, module: ModuleIndex) -> tuple[Scope, ...]:
        """The functions or the class of the project that may be called, if that can be told."""
        meaning = self.project.meaning(call.func, self.reads.uses(module).use(call))
        if isinstance(meaning, Defined):
            return (meaning.scope,)
        return self.reads.methods(call.func.attr) if isinstance(call.func, ast.Attribute) else ()

    def _into(
        self,
        node: ast.AST,
        keyword: str | None,
        call: ast.Call,
        module: ModuleIndex,
        scope: Scope,
        calls: Calls,
    ) -> None:
        """Follow an argument into a function of the project, or into the fields of a class."""
        function: Scope | None = scope
        if scope.kind is ScopeKind.CLASS:
            function = self.reads.initialiser(scope)
            if function is None and keyword is not None:
                for read, inside in self.reads.attribute(keyword, scope):
                    self.follow(read, inside, calls)
        if function is None or not isinstance(
            function.node, ast.FunctionDef | ast.AsyncFunctionDef
        ):
            return
        name = keyword or parameter_of(function, call, node)
        if name is None or any(function is one.function for one in calls):
            return
        if len(calls) == _MAX_CALLS:
            return
        use = self.reads.uses(module).use(call)
        is_bound = function.owner is not None and not is_static(function)
        outer = calls[-1] if calls and use.scope is calls[-1].function else None
        inner = (*calls, Call.inside(outer, call, function, use, is_bound=is_bound))
        for read in self.reads.uses(function.module).reads(name, function)[:_MAX_READS]:
            self._seen.discard(id(read))
            self.follow(read, function.module, inner)

    def _returned(self, scope: Scope, calls: Calls) -> None:
        if calls and calls[-1].function is scope:
            self.follow(calls[-1].node, calls[-1].use.scope.module, calls[:-1])
            return
        if self.turns.is_tool(scope, self.reads.uses(scope.module)):
            self._end(is_behind=True)
        decorators = getattr(scope.node, "decorator_list", ())
        if any(last_name(d) in ("property", "cached_property") for d in decorators):
            for read, inside in self.reads.attribute(scope.name, scope.owner):
                self.follow(read, inside, calls)
            return
        found = [call for call, _ in self.project.calls_of(scope)]
        if not found and scope in self.reads.methods(scope.name):
            found = self.project.called(scope.name)
        for each in found[:_MAX_READS]:
            self.follow(each.node, each.use.scope.module, calls)

    def _default(
        self, node: ast.AST, arguments: ast.arguments, module: ModuleIndex, calls: Calls
    ) -> None:
        """A text that is a parameter's default."""
        uses = self.reads.uses(module)
        function = uses.parent(arguments)
        scope = next((s for s in module.functions if s.node is function), None)
        every = [*arguments.posonlyargs, *arguments.args]
        pairs = [
            *zip(every[len(every) - len(arguments.defaults) :], arguments.defaults, strict=True),
            *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
        ]
        for argument, default in pairs:
            if default is node and scope is not None:
                for read in uses.reads(argument.arg, scope)[:_MAX_READS]:
                    self.follow(read, module, calls)

    # Messages

    def _item(self, node: ast.AST, outer: ast.Dict, module: ModuleIndex, calls: Calls) -> None:
        """A dict that is a message, a part of one's content, or holds texts by their names."""
        uses = self.reads.uses(module)
        message = message_of(outer, uses.use(outer))
        if message is not None:
            if node is message.content:
                self._message(outer, message.role, module, calls)
            return
        pairs = zip(outer.keys, outer.values, strict=True)
        key = next((key for key, value in pairs if value is node and key is not None), None)
        if key is None:
            return
        listed = uses.parent(outer)
        if isinstance(key, ast.Constant) and key.value == "text" and isinstance(listed, ast.List):
            placed = {id(text): is_behind for text, is_behind in contents_placed(listed)}
            around = uses.parent(listed)
            if placed.get(id(node), False):
                self._end(is_behind=True)
            elif isinstance(around, ast.Dict):
                self._item(listed, around, module, calls)
            return
        for read, inside in self.reads.item(key, outer, module):
            self.follow(read, inside, calls)

    def _message(self, node: ast.expr, role: str | None, module: ModuleIndex, calls: Calls) -> None:
        """A message, on its way into a list."""
        if role == "system":
            self._end(is_behind=False)
            return
        uses = self.reads.uses(module)
        outer = uses.parent(node)
        match outer:
            case ast.List():
                at = next(i for i, element in enumerate(outer.elts) if element is node)
                before = ast.copy_location(ast.List(outer.elts[:at], ast.Load()), outer)
                if self.turns.stand_before(before, uses.use(outer), calls):
                    self._end(is_behind=True)
                else:
                    self._list(outer, module, calls)
            case ast.Call() if self.turns.is_added(outer):
                assert isinstance(outer.func, ast.Attribute)
                self._turn(outer.func.value, outer, module, calls)
            case ast.Assign(targets=[ast.Name(id=name)]):
                for read in uses.reads(name, uses.scope(outer))[:_MAX_READS]:
                    self._message_once(read, role, module, calls)
            case ast.Return():
                scope = uses.scope(outer)
                if calls and calls[-1].function is scope:
                    last = calls[-1]
                    self._message(last.node, role, last.use.scope.module, calls[:-1])
                    return
                for each, _ in self.project.calls_of(scope)[:_MAX_READS]:
                    self._message_once(each.node, role, each.use.scope.module, calls)
            case ast.Await():
                self._message(outer, role, module, calls)

    def _message_once(
        self, node: ast.expr, role: str | None, module: ModuleIndex, calls: Calls
    ) -> None:
        if id(node) not in self._seen:
            self._seen.add(id(node))
            self._message(node, role, module, calls)

    def _list(self, listed: ast.List, module: ModuleIndex, calls: Calls) -> None:
        """A list of messages that begins with what is followed: where is it added to?"""
        uses = self.reads.uses(module)
        outer = uses.parent(listed)
        match outer:
            case ast.BinOp(op=ast.Add(), right=right) if listed is right:
                use = uses.use(outer)
                self._end(is_behind=self.turns.stand_before(outer.left, use, calls))
            case ast.AugAssign(op=ast.Add()):
                self._turn(outer.target, outer, module, calls)
            case ast.Call(func=ast.Attribute(attr="extend", value=extended)):
                self._turn(extended, outer, module, calls)
            case _:
                self._end(is_behind=False)

    def _turn(self, listed: ast.expr, node: ast.AST, module: ModuleIndex, calls: Calls) -> None:
        """A message is added to a list of messages."""
        uses = self.reads.uses(module)
        if isinstance(listed, ast.Name):
            is_behind = self.turns.stand_before(listed, uses.use(node), calls)
        else:
            is_behind = not (
                isinstance(node, ast.Call) and self.turns.is_made_here(listed, node, uses)
            )
        self._end(is_behind=is_behind)
