"""Sets, listings and comprehensions: values in no order, what goes into them, where they are.

Knows which expression is the set behind a judged one, so that `sorted` can go around it. Asks
`Flow` about every part; knows nothing of what the text around a hole says.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemfirst.tiers import Tier

from stemfirst_lint import known, naming
from stemfirst_lint.arguments import Call
from stemfirst_lint.model import UNKNOWN, Evidence, Kind, Verdict
from stemfirst_lint.project import External, Values
from stemfirst_lint.scopes import Bind, Binding, CallUse, ScopeKind, Use, last_name
from stemfirst_lint.syntax import is_container, is_seeded, place_of, shown
from stemfirst_lint.verdicts import CONSTANT, join, named_verdict

if TYPE_CHECKING:
    from stemfirst_lint.flow import Flow

ORDERLESS = (Kind.SET, Kind.LISTING, Kind.COMPLETION)
"""Kinds whose values are in no order that one could rely on."""
_COMPREHENSIONS = (ast.ListComp, ast.GeneratorExp, ast.SetComp, ast.DictComp)
_MAX_HOPS = 24


@dataclass(frozen=True, slots=True)
class SetFound:
    """The expression that is the set; `use` is None where it is the judged expression's own."""

    node: ast.expr
    use: Use | None


class Containers:
    """Judges what holds several values, and remembers where sets and listings were found."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.project = flow.project
        self._handed_on: dict[int, set[str]] = {}
        """By id of a scope: the names that it gives to calls that may write into them."""
        self.places: dict[int, SetFound] = {}
        """By id of the expression judged: where its set is."""

    def mutated(self, name: str, binding: Binding, made: Verdict, call: Call | None) -> Verdict:
        """Return a container's verdict with what its function puts into it later."""
        value = binding.value
        scope = binding.use.scope
        if made.is_stable and scope.kind is ScopeKind.MODULE and is_container(value):
            return self._filled_later(name, binding) or made
        if not made.is_stable or scope.kind is not ScopeKind.FUNCTION or not is_container(value):
            shuffled = self._shuffle(name, binding) if made.kind is not Kind.SET else None
            return shuffled or made
        assert value is not None
        added: list[Verdict] = [made]
        for site in scope.mutations.get(name, ()):
            method = last_name(site.node.func)
            arguments = [*site.node.args, *(k.value for k in site.node.keywords)]
            if method == "add":
                return self.set_found(value, binding.use, f"`{name}` is a set")
            if method == "shuffle":
                continue
            if method in ("insert", "setdefault"):
                arguments = arguments[1:]
            elif method in ("append", "extend") and not _is_sorted(name, site):
                for argument in arguments:
                    ready = self._ready(argument, site.use, call, 0)
                    if ready is not None:
                        return ready
            found = [self.flow.verdict(argument, site.use, call) for argument in arguments]
            # All rounds of a loop hold every count; a set inside a list need not show its order.
            added.extend(
                UNKNOWN if one.kind in (Kind.COUNTER, Kind.ELEMENT, *ORDERLESS) else one
                for one in found
            )
        for _, item in scope.items.get(name, ()):
            if item.value is not None:
                one = self.flow.verdict(item.value, item.use, call)
                added.append(UNKNOWN if one.kind is Kind.ELEMENT else one)
        found_all = join(added)
        if found_all.is_stable and _is_empty(value) and self._is_handed_on(name, binding):
            found_all = UNKNOWN  # what it is handed to may fill it
        return self._shuffle(name, binding) or found_all

    def _is_handed_on(self, name: str, binding: Binding) -> bool:
        """True if the function that makes a container gives it to a function of the project."""
        scope = binding.use.scope
        if id(scope) not in self._handed_on:
            self._handed_on[id(scope)] = {
                argument.id
                for node in ast.walk(scope.node)
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute)
                for argument in (*node.args, *(k.value for k in node.keywords))
                if isinstance(argument, ast.Name) and not _only_reads(node.func)
            }
        return name in self._handed_on[id(scope)]

    def _filled_later(self, name: str, binding: Binding) -> Verdict | None:
        """The verdict of a module's container that functions fill while the process runs."""
        for function in binding.use.scope.module.functions:
            if name in function.bindings and name not in function.outer:
                continue
            if name in function.mutations or name in function.items:
                tier = naming.parameter_tier(name, None)
                if tier is None:
                    return UNKNOWN  # a register, maybe
                what = f"`{name}`, which `{function.name}()` fills,"
                return named_verdict(what, tier, place_of(function.node, binding.use))
        return None

    def _shuffle(self, name: str, binding: Binding) -> Verdict | None:
        for site in binding.use.scope.mutations.get(name, ()):
            meaning = self.project.meaning(site.node.func, site.use)
            if isinstance(meaning, External) and meaning.dotted in known.SHUFFLES:
                if is_seeded(site.use):
                    return None
                place = place_of(site.node, site.use)
                mixed = Evidence(f"`{shown(site.node)}` mixes it anew in every call", place)
                return Verdict(Tier.VOLATILE, Kind.SHUFFLED, (mixed,))
        return None

    def of_elements(
        self, node: ast.expr, elements: list[ast.expr], use: Use, call: Call | None
    ) -> Verdict:
        """Return the verdict of a set of these elements; one with a single element has an order."""
        verdicts = [self.flow.verdict(element, use, call) for element in elements]
        if len(elements) < 2 and not any(isinstance(e, ast.Starred) for e in elements):
            return join(verdicts)
        if all(isinstance(e, ast.Constant) and isinstance(e.value, int) for e in elements):
            return CONSTANT  # integers hash to themselves: this order is the same everywhere
        return self.set_found(node, use, "a set display has no order")

    def listing(self, node: ast.expr, use: Use) -> Verdict:
        """Return the verdict of a call that lists files, and remember its place."""
        self.places[id(node)] = SetFound(node, use)
        told = Evidence(
            f"`{shown(node)}` lists in the order of the file system", place_of(node, use)
        )
        return Verdict(Tier.VOLATILE, Kind.LISTING, (told,))

    def is_of_files(self, node: ast.expr, use: Use, hops: int = 0) -> bool:
        """True for a listing of files, sorted or not: each of its elements is another file."""
        match node:
            case ast.Call(func=ast.Name(id=name), args=[listed, *_]) if (
                name in _SAME_MEMBERS or name == "enumerate"
            ):
                return self.is_of_files(listed, use, hops + 1)
            case ast.Name() if hops < _MAX_HOPS:
                bindings = self.project.reaching(node.id, use) or ()
                if len(bindings) == 1 and bindings[0].how is Bind.ASSIGN and bindings[0].value:
                    return self.is_of_files(bindings[0].value, bindings[0].use, hops + 1)
            case ast.Call():
                return self.flow.verdict(node, use).kind is Kind.LISTING
        return False

    def completion(self, node: ast.expr, use: Use) -> Verdict:
        """Return the verdict of a call that gives results in the order in which they get ready."""
        told = Evidence(f"`{shown(node)}` gives what is ready first, first", place_of(node, use))
        return Verdict(Tier.VOLATILE, Kind.COMPLETION, (told,))

    def _ready(self, node: ast.expr, use: Use, call: Call | None, hops: int) -> Verdict | None:
        """The verdict of a loop over such a call, if a value is one of its elements."""
        for inner in ast.walk(node):
            if not isinstance(inner, ast.Name):
                continue
            for binding in self.project.reaching(inner.id, use) or ():
                if binding.value is None or binding.use.scope is not use.scope:
                    continue
                if binding.how is Bind.ELEMENT:
                    found = self.flow.verdict(binding.value, binding.use, call)
                    if found.kind is Kind.COMPLETION:
                        return found
                elif binding.how is Bind.ASSIGN and hops < 2 and binding.use.loops:
                    ready = self._ready(binding.value, binding.use, call, hops + 1)
                    if ready is not None:
                        return ready
        return None

    def set_found(self, node: ast.expr, use: Use, text: str) -> Verdict:
        """Return the verdict of a set, and remember its place; `text` is the evidence."""
        self.places[id(node)] = SetFound(node, use)
        evidence = Evidence(f"{text}: hash randomisation", place_of(node, use))
        return Verdict(Tier.VOLATILE, Kind.SET, (evidence,))

    def carry(self, outer: ast.expr, inner: ast.expr, verdict: Verdict) -> Verdict:
        """Return the verdict, and remember that the inner expression's set is the outer one's."""
        if verdict.kind in ORDERLESS and id(inner) in self.places:
            self.places[id(outer)] = self.places[id(inner)]
        return verdict

    def carry_from_bindings(
        self, node: ast.expr, bindings: tuple[Binding, ...], verdict: Verdict, use: Use
    ) -> Verdict:
        """Remember where `sorted` goes: around the name of a set, or where text was made of one."""
        if verdict.kind in ORDERLESS and _was_sorted(node, use):
            return self.members(node, use, None) if verdict.kind is Kind.LISTING else UNKNOWN
        if len(bindings) == 1 and bindings[0].how is Bind.IMPORT:
            meaning = self.project.of_bindings(bindings, 0)
            bindings = meaning.bindings if isinstance(meaning, Values) else bindings
        values = [b.value for b in bindings if b.how is Bind.ASSIGN and b.value is not None]
        if verdict.kind in ORDERLESS and len(values) == len(bindings) == 1:
            found = self.places.get(id(values[0]))
            if found is not None:
                is_set = found.node is values[0]
                self.places[id(node)] = SetFound(node, None) if is_set else found
        return verdict

    def _made(
        self, node: ast.expr, use: Use, call: Call | None
    ) -> tuple[Verdict, dict[ast.expr, Verdict]]:
        """The verdicts of a comprehension's elements, and of what it iterates over."""
        assert isinstance(node, _COMPREHENSIONS)
        names: dict[str, Verdict] = {}
        iterated: dict[ast.expr, Verdict] = {}
        around = self.flow.locals
        self.flow.locals = [*around, names]
        try:
            for generator in node.generators:
                found = self.flow.verdict(generator.iter, use, call)
                iterated[generator.iter] = found
                element = found
                if found.kind in ORDERLESS:
                    element = self.members(generator.iter, use, call)
                for target in ast.walk(generator.target):
                    if isinstance(target, ast.Name):
                        names[target.id] = element
            parts = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
            return join(self.flow.verdict(part, use, call) for part in parts), iterated
        finally:
            self.flow.locals = around

    def comprehension(self, node: ast.expr, use: Use, call: Call | None) -> Verdict:
        """Return how often a comprehension's value changes, its order included."""
        made, iterated = self._made(node, use, call)
        if isinstance(node, ast.SetComp):
            return self.set_found(node, use, "a set comprehension has no order")
        for iterable, verdict in iterated.items():
            if verdict.kind is Kind.COMPLETION and isinstance(node, ast.DictComp):
                return UNKNOWN  # it is read by its keys
            if verdict.kind in ORDERLESS:
                return self.carry(node, iterable, verdict)
        return join((*iterated.values(), made))

    def members(self, node: ast.expr, use: Use, call: Call | None, hops: int = 0) -> Verdict:
        """Return the verdict of a set's members, order aside: what `sorted` leaves."""
        match node:
            case ast.Set():
                return join(self.flow.verdict(element, use, call) for element in node.elts)
            case ast.SetComp():
                made, iterated = self._made(node, use, call)
                return join((*iterated.values(), made))
            case ast.Call(args=[inner]) if last_name(node.func) in _SAME_MEMBERS:
                return self.members(inner, use, call, hops + 1)
            case ast.Call():
                return join(self.flow.verdict(argument, use, call) for argument in node.args)
            case ast.Name() | ast.Attribute() if hops < _MAX_HOPS:
                meaning = self.project.meaning(node, use)
                if isinstance(meaning, Values) and len(meaning.bindings) == 1:
                    only = meaning.bindings[0]
                    if only.how is Bind.ASSIGN and only.value is not None:
                        return self.members(only.value, only.use, None, hops + 1)
        return UNKNOWN


_SAME_MEMBERS = frozenset({"list", "tuple", "iter", "reversed", "sorted"})
"""Calls that give what they are given, in whatever order."""


def _is_sorted(name: str, site: CallUse) -> bool:
    """True if the function that fills a list sorts it."""
    return any(
        other.use.scope is site.use.scope
        and isinstance(other.node.func, ast.Attribute)
        and last_name(other.node.func.value) == name
        for other in site.use.scope.module.calls.get("sort", ())
    )


def _is_empty(node: ast.expr) -> bool:
    """True for `[]`, `{}`, `list()` and their like."""
    match node:
        case ast.List(elts=[]) | ast.Dict(keys=[]) | ast.Call(args=[], keywords=[]):
            return True
    return False


def _only_reads(function: ast.expr) -> bool:
    """True for a call that puts nothing into what it is given."""
    name = last_name(function) or ""
    if isinstance(function, ast.Name):
        return name in known.PURE_CALLS or name in known.ORDER_FREE_CALLS or name in _READERS
    return name in known.PURE_METHODS or name in _READERS


_READERS = frozenset(
    {"print", "list", "tuple", "set", "isinstance", "append", "extend", "update", "info", "debug",
     "warning", "error", "dumps", "dump", "chain"}
)  # fmt: skip
"""Calls, besides the pure ones, that leave a container as it is."""


def _was_sorted(node: ast.expr, use: Use) -> bool:
    """True for a list that `node.sort()` put in order before."""
    return isinstance(node, ast.Name) and any(
        call.use.scope is use.scope
        and call.use.tick < use.tick
        and isinstance(call.node.func, ast.Attribute)
        and isinstance(call.node.func.value, ast.Name)
        and call.node.func.value.id == node.id
        for call in use.scope.module.calls.get("sort", ())
    )
