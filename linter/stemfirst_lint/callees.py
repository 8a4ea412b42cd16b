"""What calls give back: library calls, functions of the project, methods, and telling names.

Knows the tables of `known`. Asks `Flow` about arguments and receivers. A call of which neither
the code nor the callee's name says anything is UNKNOWN.
"""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import TYPE_CHECKING

from stemfirst.tiers import Tier

from stemfirst_lint import known
from stemfirst_lint.arguments import Call
from stemfirst_lint.constants import constant_text
from stemfirst_lint.containers import ORDERLESS, SetFound
from stemfirst_lint.model import UNKNOWN, Evidence, Kind, Location, Resolution, Verdict
from stemfirst_lint.project import Defined, External
from stemfirst_lint.scopes import Scope, ScopeKind, Use, last_name
from stemfirst_lint.syntax import called, is_seeded, place_of, runs_git, shown
from stemfirst_lint.verdicts import (
    CONFIG,
    CONSTANT,
    alternatives,
    because,
    coarser,
    frozen_value,
    join,
    pure,
)

if TYPE_CHECKING:
    from stemfirst_lint.flow import Flow


_BY_NAME = (Kind.PARAMETER, Kind.NAMED)


class Callees:
    """Judges what calls return; keeps nothing."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.project = flow.project

    def verdict(self, node: ast.Call, use: Use, call: Call | None) -> Verdict:
        """Return how often a call's result changes; `call` is the one that is looked into."""
        meaning = self.project.meaning(node.func, use)
        arguments = [*node.args, *(k.value for k in node.keywords)]
        place = place_of(node, use)
        if isinstance(meaning, External):
            found = self._external(meaning.dotted, node, use, call, arguments, place)
            if found is not None:
                return found
        if isinstance(meaning, Defined):
            if meaning.scope.kind is ScopeKind.FUNCTION:
                found = self._defined(node, meaning, use, call)
                return found if found.tier is not None else self._told(node, use, call, arguments)
            return UNKNOWN
        if isinstance(node.func, ast.Attribute):
            found = self._method(node.func, node, use, call, arguments)
            receiver = node.func.value
            if found.tier is not None or self.flow.verdict(receiver, use, call).kind in ORDERLESS:
                return found
        return self._told(node, use, call, arguments)

    def _told(
        self, node: ast.Call, use: Use, call: Call | None, arguments: list[ast.expr]
    ) -> Verdict:
        """What the callee's name says of a result of which the code says nothing."""
        name = last_name(node.func) or ""
        place = place_of(node, use)
        if known.MODEL_CALLS.match(name) or (
            name in ("create", "acreate")
            and isinstance(node.func, ast.Attribute)
            and last_name(node.func.value)
            in ("completions", "messages", "responses", "ChatCompletion", "Completion")
        ):
            answered = Evidence(f"`{name}()` returns what a model answered", place)
            return Verdict(Tier.REQUEST, Kind.NAMED, (answered,))
        if known.TRANSFORMS.match(name):
            made = join(self.flow.verdict(a, use, call) for a in arguments)
            if made.tier is Tier.REQUEST and made.kind not in ORDERLESS:
                return because(made, f"`{name}()` is made of it", place)
        return UNKNOWN

    def _defined(self, node: ast.Call, meaning: Defined, use: Use, call: Call | None) -> Verdict:
        """What a function of the project returns."""
        again = call.within(meaning.scope) if call is not None else None
        if again is not None:  # it calls itself: what it returns stays unknown
            self.flow.leans_on(again)
            return UNKNOWN
        scope = meaning.scope
        lines = [getattr(scope.node, "lineno", 0)]
        told = self.flow.commented_on(f"{scope.name}()", lines, scope.node, Use(scope, 0, ()))
        if told is not None:
            return told
        inner = self.flow.inside(call, node, meaning, use)
        around = self.flow.locals
        self.flow.locals = []  # the function stands outside the comprehensions around its call
        try:
            found = self.returns(meaning.scope, inner)
        finally:
            self.flow.locals = around
        if found.tier is not None and found.tier > Tier.STATIC:
            found = because(found, f"`{meaning.scope.name}()` returns it", place_of(node, use))
        return found

    def _external(
        self,
        dotted: str,
        node: ast.Call,
        use: Use,
        call: Call | None,
        arguments: list[ast.expr],
        place: Location | None,
    ) -> Verdict | None:
        if dotted in known.CLOCKS:
            if dotted in ("time.ctime", "time.localtime", "time.gmtime", "time.asctime") and any(
                self.flow.verdict(a, use, call).kind is not Kind.CLOCK for a in node.args
            ):
                return UNKNOWN  # the time that was given, not the time that it is
            reads = Evidence(f"`{shown(node)}` reads the clock", place)
            return Verdict(Tier.VOLATILE, Kind.CLOCK, (reads,), known.CLOCKS[dotted])
        if dotted == "time.strftime":
            inner = self.flow.verdict(node.args[1], use, call) if len(node.args) > 1 else None
            if inner is not None and inner.kind is not Kind.CLOCK:
                return inner
            reads = Evidence(f"`{shown(node)}` reads the clock", place)
            resolution = self._layout_resolution(node, use)
            return Verdict(Tier.VOLATILE, Kind.CLOCK, (reads,), resolution)
        if dotted in known.RANDOM_CALLS:
            root = dotted.partition(".")[0]
            if root in ("random", "numpy") and is_seeded(use):
                return UNKNOWN
            draws = Evidence(f"`{shown(node)}` differs on every call", place)
            return Verdict(Tier.VOLATILE, Kind.RANDOM, (draws,))
        if dotted in known.SAMPLES:
            if is_seeded(use):
                return UNKNOWN
            mixed = Evidence(f"`{shown(node)}` draws anew in every call", place)
            return Verdict(Tier.VOLATILE, Kind.SHUFFLED, (mixed,))
        if dotted in known.COMPLETIONS:
            return self.flow.containers.completion(node, use)
        if dotted in known.LISTINGS:
            return self.flow.containers.listing(node, use)
        around = known.ENVIRONMENT_CALLS.get(dotted)
        if around is None and dotted in known.PROCESS_CALLS and runs_git(node):
            around = Tier.REQUEST
        if around is not None:
            told = Evidence(f"`{shown(node)}` tells of the process's surroundings", place)
            return Verdict(around, Kind.ENVIRONMENT, (told,))
        if dotted in known.CONFIG_CALLS or dotted.startswith(known.CONFIG_PREFIXES):
            return CONFIG
        if known.TYPED_CALLS.match(dotted):
            return _typed(dotted.rpartition(".")[2], place)
        if dotted in ("set", "frozenset"):
            if not node.args:
                return CONSTANT
            if isinstance(node.args[0], ast.List | ast.Tuple):
                return self.flow.containers.of_elements(node, node.args[0].elts, use, call)
            return self.flow.containers.set_found(node, use, f"`{shown(node)}` has no order")
        if dotted in known.ORDER_FREE_CALLS:
            found = join(self.flow.verdict(a, use, call) for a in node.args)
            if found.kind in ORDERLESS:
                return self.flow.containers.members(node.args[0], use, call)
            if dotted == "len" and found.tier is Tier.SESSION and found.kind in _BY_NAME:
                grows = Evidence(f"`{shown(node)}` grows with every turn", place)
                return Verdict(Tier.REQUEST, Kind.COUNTER, (*found.evidence, grows))
            return found
        if dotted in known.ORDER_KEEPING_CALLS or dotted in known.PURE_CALLS:
            found = join(self.flow.verdict(a, use, call) for a in arguments)
            if found.kind in ORDERLESS:
                if dotted not in known.ORDER_KEEPING_CALLS:
                    return UNKNOWN
                for argument in arguments:
                    self.flow.containers.carry(node, argument, found)
            return pure(found)
        return None

    def _method(
        self,
        function: ast.Attribute,
        node: ast.Call,
        use: Use,
        call: Call | None,
        arguments: list[ast.expr],
    ) -> Verdict:
        name = function.attr
        receiver = self.flow.verdict(function.value, use, call)
        if receiver.kind is Kind.CLOCK:
            return self._clock_method(name, node, receiver, use)
        if receiver.kind in ORDERLESS:
            if name in known.SET_METHODS:
                self.flow.containers.places[id(node)] = SetFound(node, use)
                return receiver
            if name != "join":
                return UNKNOWN
        if name in known.PURE_METHODS and not _is_body(function):
            parts = [self.flow.verdict(a, use, call) for a in arguments]
            found = join((receiver, *parts))
            if name == "get" and receiver.tier is None and arguments:
                return self.flow.attributes.item(arguments[0], function.value, use)
            if found.kind in ORDERLESS:
                if name != "join":
                    return UNKNOWN
                for argument in arguments:
                    self.flow.containers.carry(node, argument, found)
            return pure(found)
        if name in known.COMPLETION_METHODS:
            return self.flow.containers.completion(node, use)
        if name in known.LISTING_METHODS and receiver.kind not in ORDERLESS:
            return self.flow.containers.listing(node, use)
        if name in known.TYPED_METHODS or _is_body(function):
            return _typed(name, place_of(node, use))
        if known.REQUEST_CALLS.match(name) or (
            known.SEARCHES.match(name)
            and arguments
            and known.STORES.search(last_name(function.value) or "")
        ):
            looked_up = Evidence(f"`{name}()` looks it up for this request", place_of(node, use))
            return Verdict(Tier.REQUEST, Kind.RETRIEVAL, (looked_up,))
        if known.LOOKUP_CALLS.match(name):
            asked = join(self.flow.verdict(a, use, call) for a in arguments)
            if asked.tier is Tier.REQUEST:
                return because(asked, f"`{name}()` looks it up", place_of(node, use))
        return UNKNOWN

    def _clock_method(self, name: str, node: ast.Call, receiver: Verdict, use: Use) -> Verdict:
        match name:
            case "strftime" | "format" | "__format__":
                return coarser(receiver, self._layout_resolution(node, use))
            case "date" | "to_date_string" | "toordinal" | "weekday" | "isoweekday":
                return replace(receiver, resolution=Resolution.DAY)
            case "tzname" | "utcoffset":
                return UNKNOWN  # the machine's zone, whatever the time
            case "isoformat" if any(
                k.arg == "timespec"
                and isinstance(k.value, ast.Constant)
                and k.value.value in ("minutes", "hours")
                for k in node.keywords
            ):
                return coarser(receiver, Resolution.MINUTE)
            case "replace":
                zeroed = {k.arg for k in node.keywords if isinstance(k.value, ast.Constant)}
                if {"hour", "minute"} <= zeroed:
                    return replace(receiver, resolution=Resolution.DAY)
                return receiver
        return receiver

    def _layout_resolution(self, node: ast.Call, use: Use) -> Resolution:
        """How finely the text of `strftime(layout)` moves; a minute where nothing says more."""
        layout = constant_text(self.project, node.args[0], use) if node.args else None
        if layout is not None:
            return known.strftime_resolution(layout)
        name = (last_name(node.args[0]) or "").lower() if node.args else ""
        return Resolution.DAY if "date" in name and "time" not in name else Resolution.MINUTE

    def returns(self, function: Scope, call: Call | None) -> Verdict:
        """Return how often the result of a function of the project changes."""
        if isinstance(function.node, ast.Lambda) or not function.returns:
            return UNKNOWN
        decorators = getattr(function.node, "decorator_list", ())
        if any(last_name(called(d)) in ("cache", "lru_cache") for d in decorators):
            found = self._returned(function, call)
            if found.tier is Tier.VOLATILE:
                return frozen_value(found, "once by a cache", Tier.STATIC)
            return found
        return self._returned(function, call)

    def _returned(self, function: Scope, call: Call | None) -> Verdict:
        verdicts = [
            self.flow.verdict(node, use, call)
            for node, use in function.returns
            if not (isinstance(node, ast.Constant) and node.value in (None, ""))
        ]
        found = alternatives(verdicts) if verdicts else CONSTANT
        return UNKNOWN if found.kind is Kind.ELEMENT else found  # what it looked for and found


def _typed(name: str, place: Location | None) -> Verdict:
    """The verdict of what a person typed or a client sent."""
    kind = Kind.CALL_ARGUMENT if name == "input" else Kind.NAMED
    return Verdict(Tier.REQUEST, kind, (Evidence(f"`{name}()` asks a person", place),))


def _is_body(function: ast.Attribute) -> bool:
    """True for `request.json()` and its like."""
    return function.attr in ("json", "body", "form") and last_name(function.value) in (
        "request",
        "req",
    )
