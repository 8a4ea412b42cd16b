"""What a name is inside a loop or a comprehension: another value in each round.

Knows loops, comprehensions and the names that say many settings rather than much data. Asks
`Flow` about what is looped over.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from stemfirst.tiers import Tier

from stemfirst_lint import known, naming
from stemfirst_lint.model import UNKNOWN, Evidence, Kind, Location, Verdict
from stemfirst_lint.scopes import LOOP, Bind, Binding, Scope, ScopeKind, Use, is_own, last_name
from stemfirst_lint.syntax import place_of

if TYPE_CHECKING:
    from stemfirst_lint.arguments import Call
    from stemfirst_lint.flow import Flow

_COMPREHENSIONS = (ast.ListComp, ast.GeneratorExp, ast.SetComp, ast.DictComp)
_SENDERS = frozenset({"create", "acreate", "generate", "completion", "completions", "chat", "llm"})
"""Calls that send a prompt, besides those of `known.MODEL_CALLS`."""


_GROW = frozenset({"append", "extend", "insert", "add", "update"})


class Rounds:
    """Judges elements; remembers which comprehension binds which name."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self._bound: dict[int, dict[int, ast.expr]] = {}
        """By id of a scope: for the id of each name what the comprehension around it goes over."""
        self._sending: dict[int, bool] = {}

    def in_loop(self, node: ast.Name, bindings: tuple[Binding, ...], use: Use) -> Verdict:
        """Return what an element is in its own loop if nothing is known of what is looped over."""
        for binding in bindings:
            loop = binding.node
            if (
                binding.how is Bind.ELEMENT
                and binding.use.scope is use.scope
                and isinstance(loop, ast.For | ast.AsyncFor)
                and loop.body[0].lineno <= node.lineno <= (loop.body[-1].end_lineno or 0)
                and naming.is_varied(node.id, source_of(binding.value) or last_name(loop.iter))
                and (use.scope.kind is ScopeKind.FUNCTION or self._sends(loop))
            ):
                return element(node.id, place_of(loop, binding.use))
        return UNKNOWN

    def grown(self, node: ast.Name, bindings: tuple[Binding, ...], use: Use) -> Verdict:
        """Return what a container is that grows in the loop in which it is read."""
        loops = [step for step in use.path if step[1] == LOOP]
        if not loops or any(
            binding.use.scope is not use.scope
            or binding.how is Bind.AUGMENT
            or any(step in binding.use.path for step in loops)
            for binding in bindings
        ):
            return UNKNOWN
        for site in use.scope.mutations.get(node.id, ()):
            if last_name(site.node.func) in _GROW and any(step in site.use.path for step in loops):
                told = f"`{node.id}` grows in each round of a loop"
                evidence = Evidence(told, place_of(site.node, site.use))
                return Verdict(Tier.REQUEST, Kind.ELEMENT, (evidence,))
        return UNKNOWN

    def in_comprehension(self, node: ast.Name, use: Use, call: Call | None) -> Verdict:
        """Return what a name is that only a comprehension around it binds."""
        iterated = self._around(use.scope).get(id(node))
        if iterated is None:
            return UNKNOWN
        found = self.flow.verdict(iterated, use, call)
        if found.tier is not None and not self.flow.containers.is_of_files(iterated, use):
            return UNKNOWN if found.tier is Tier.VOLATILE else found
        if use.scope.kind is ScopeKind.FUNCTION and naming.is_varied(
            node.id, source_of(iterated) or last_name(iterated)
        ):
            return element(node.id, place_of(iterated, use))
        return UNKNOWN

    def _around(self, scope: Scope) -> dict[int, ast.expr]:
        if id(scope) not in self._bound:
            found: dict[int, ast.expr] = {}
            for node in ast.walk(scope.node):
                if isinstance(node, _COMPREHENSIONS):
                    _note(node, found)
            self._bound[id(scope)] = found
        return self._bound[id(scope)]

    def _sends(self, loop: ast.For | ast.AsyncFor) -> bool:
        """True if the rounds of a script's loop call a model: each is a request of its own."""
        if id(loop) not in self._sending:
            names = (last_name(n.func) for n in ast.walk(loop) if isinstance(n, ast.Call))
            self._sending[id(loop)] = any(
                name is not None and (name in _SENDERS or known.MODEL_CALLS.match(name) is not None)
                for name in names
            )
        return self._sending[id(loop)]


def _note(comprehension: ast.expr, found: dict[int, ast.expr]) -> None:
    """Note what each name of a comprehension goes over; an inner one is noted later, and wins."""
    iterables = {
        target.id: generator.iter
        for generator in getattr(comprehension, "generators", ())
        for target in ast.walk(generator.target)
        if isinstance(target, ast.Name)
    }
    for inner in ast.walk(comprehension):
        if isinstance(inner, ast.Name) and inner.id in iterables:
            found[id(inner)] = iterables[inner.id]


def element(name: str, place: Location | None) -> Verdict:
    """Return the verdict of what is another one in each round."""
    told = Evidence(f"`{name}` is another one in each round of a loop", place)
    return Verdict(Tier.REQUEST, Kind.ELEMENT, (told,))


def source_of(node: ast.expr | None) -> str | None:
    """Return the name of what is called or asked for a value, or None if it is put together."""
    while isinstance(node, ast.Await | ast.Subscript):
        node = node.value
    if isinstance(node, ast.Call):
        name = last_name(node.func)
        return None if name in known.PURE_METHODS or name in known.PURE_CALLS else name
    return last_name(node) if isinstance(node, ast.Attribute) and not is_own(node) else None
