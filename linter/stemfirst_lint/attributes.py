"""What attributes and items of a value hold: `request.question`, `row["text"]`, `self.tools`.

Knows objects of the project's classes, settings, and what a member's name says. Asks `Flow` about
the value itself; knows nothing of calls.
"""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import TYPE_CHECKING

from stemfirst.tiers import Tier

from stemfirst_lint import known, members, naming, subjects
from stemfirst_lint.arguments import Call
from stemfirst_lint.containers import ORDERLESS
from stemfirst_lint.model import UNKNOWN, Evidence, Kind, Resolution, Verdict
from stemfirst_lint.project import Defined, External, Instance, Module, Values
from stemfirst_lint.records import Records
from stemfirst_lint.scopes import Binding, ScopeKind, Use, is_own, last_name
from stemfirst_lint.syntax import is_enum, place_of
from stemfirst_lint.verdicts import (
    CONFIG,
    CONSTANT,
    alternatives,
    coarser,
    named_verdict,
    was_passed,
)

if TYPE_CHECKING:
    from stemfirst_lint.flow import Flow


_SENT = Verdict(
    Tier.REQUEST, Kind.NAMED, (Evidence("a request's own data, as its framework hands it on"),)
)


_DAY_WIDTH, _MINUTE_WIDTH = len("2026-11-24"), len("2026-11-24T08:30")


class Attributes:
    """Judges members of values; keeps nothing."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.project = flow.project
        self.records = Records(flow.project)

    def attribute(self, node: ast.Attribute, use: Use, call: Call | None) -> Verdict:
        """Return how often an attribute's value changes."""
        told = self.flow.declared_here(node.attr, use) or (
            self.flow.declared_here(ast.unparse(node), use) if self.flow.declared else None
        )
        if told is not None:
            return told
        owner = use.scope.owner if isinstance(node.value, ast.Name) and is_own(node) else None
        for binding in owner.attributes.get(node.attr, ()) if owner is not None else ():
            told = self.flow.commented(node.attr, binding)
            if told is not None:
                return told  # before it is found to be another name for a parameter
        field = self.records.field(node, use)
        if field is not None:
            return field
        meaning = self.project.meaning(node, use)
        if meaning is not None:
            found = self.of_meaning(meaning, node.attr, base=node.value, use=use)
            if isinstance(meaning, Values):
                found = self.flow.containers.carry_from_bindings(node, meaning.bindings, found, use)
            if found.tier is not None or not isinstance(meaning, External):
                return found
        root = node.value
        while isinstance(root, ast.Attribute) and not naming.is_config_object(root.attr):
            root = root.value
        if naming.is_config_object(last_name(root) or ""):
            return CONFIG
        base = self.flow.verdict(node.value, use, call)
        if base.kind is Kind.CLOCK:
            if node.attr in ("hour", "minute"):
                return replace(base, resolution=Resolution.MINUTE)
            if node.attr in ("year", "month", "day"):
                return replace(base, resolution=Resolution.DAY)
        if base.kind in ORDERLESS or base.is_stable:
            return UNKNOWN  # an attribute of a set or constant is a method or an object's state
        is_named = base.kind in (Kind.PARAMETER, Kind.NAMED)
        if base.tier is None or (is_named and last_name(node.value) in naming.CARRIER_NAMES):
            identity = naming.identity_tier(node.attr) if _is_of_agent(node.value) else None
            if identity is not None:
                named = named_verdict(f"`{ast.unparse(node)}`", identity, place_of(node, use))
                return replace(named, kind=Kind.IDENTITY)
            if naming.data_tier(node.attr) is None and self._is_command_line(node.value, use):
                return UNKNOWN  # a setting, but what is read from a file that it names is data
            holder = None if is_named else last_name(node.value)
            tier = members.member_tier(holder, node.attr)
            if tier is None and is_named:
                tier = naming.field_tier(node.attr)
            if tier is None and isinstance(node.value, ast.Name):
                tier = members.record_tier(last_name(node.value), node.attr)
            if tier is None or (is_own(node) and not subjects.is_own_data(node.attr)):
                return UNKNOWN
            return named_verdict(f"the attribute `{node.attr}`", tier, place_of(node, use))
        return base

    def of_meaning(
        self,
        meaning: object,
        name: str,
        base: ast.expr | None = None,
        use: Use | None = None,
    ) -> Verdict:
        """Return the verdict of what a name stands for, as a member of `base` if one is given."""
        match meaning:
            case External():
                if meaning.dotted.startswith(known.CONFIG_PREFIXES):
                    return CONFIG
                return _SENT if meaning.dotted.startswith(known.REQUEST_PREFIXES) else UNKNOWN
            case Defined():
                if meaning.is_bound and any(
                    last_name(d) == "cached_property"
                    for d in getattr(meaning.scope.node, "decorator_list", ())
                ):
                    return UNKNOWN  # read once an object
                if meaning.is_bound and any(
                    last_name(d) == "property"
                    for d in getattr(meaning.scope.node, "decorator_list", ())
                ):
                    found = self.flow.callees.returns(meaning.scope, None)
                    return found if found.kind is Kind.CLOCK else UNKNOWN
                return CONSTANT
            case Module():
                return CONSTANT
            case Values():
                if base is not None and use is not None:
                    owner = self.project.meaning(base, use)
                    if isinstance(owner, Instance):
                        return self._instance_attribute(name, meaning.bindings)
                    if isinstance(owner, Defined) and is_enum(owner.scope):
                        return CONSTANT
                return self.flow.of_bindings(name, meaning.bindings, None)
        return UNKNOWN

    def _instance_attribute(self, name: str, bindings: tuple[Binding, ...]) -> Verdict:
        """What an object keeps: frozen when `__init__` sets it, else as lively as its values."""
        found: list[Verdict] = []
        is_data = naming.data_tier(name) is Tier.REQUEST
        for binding in bindings:
            verdict = self.flow.of_binding(name, binding, None)
            is_frozen = binding.use.scope.name in ("__init__", "__post_init__")
            if is_frozen and verdict.tier is Tier.REQUEST and _is_made_for(name, verdict):
                is_data = True
            if is_frozen and verdict.tier not in (Tier.STATIC, Tier.TENANT) and not is_data:
                verdict = UNKNOWN
            if not is_frozen and verdict.tier is Tier.REQUEST and naming.may_be_data(name):
                is_data = True
            found.append(verdict)
        joined = alternatives(found)
        if joined.is_stable or joined.tier is Tier.TENANT or joined.kind in ORDERLESS:
            return joined
        return joined if is_data and joined.tier is Tier.REQUEST else UNKNOWN

    def _is_command_line(self, node: ast.expr, use: Use) -> bool:
        """True for what a module reads of its command line: one for all that the process sends."""
        found = self.project.reaching(node.id, use) if isinstance(node, ast.Name) else None
        return bool(found) and all(
            binding.use.scope.kind is ScopeKind.MODULE
            and isinstance(binding.value, ast.Call)
            and last_name(binding.value.func) in known.COMMAND_LINES
            for binding in found or ()
        )

    def subscript(self, node: ast.Subscript, use: Use, call: Call | None) -> Verdict:
        """Return how often an item or a slice changes."""
        meaning = self.project.meaning(node.value, use)
        if isinstance(meaning, External) and meaning.dotted.startswith(known.CONFIG_PREFIXES):
            return CONFIG
        base = self.flow.verdict(node.value, use, call)
        if base.kind is Kind.CLOCK:
            resolution = _cut_to(node) if base.resolution is not None else None
            return coarser(base, resolution) if resolution is not None else base
        if base.kind in ORDERLESS:
            if isinstance(node.slice, ast.Slice):
                return self.flow.containers.carry(node, node.value, base)  # list(a_set)[:n]
            return UNKNOWN
        return base if base.tier is not None else self.item(node.slice, node.value, use)

    def item(self, key: ast.expr, node: ast.expr, use: Use) -> Verdict:
        """Return what the key says of an item of something unknown: `row["question"]`."""
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            tier = members.member_tier(last_name(node), key.value)
            if tier is None:
                tier = members.record_tier(last_name(node), key.value)
            if tier is not None and not is_own(node):
                return named_verdict(f"the item `{key.value}`", tier, place_of(key, use))
        return UNKNOWN


def _is_made_for(name: str, verdict: Verdict) -> bool:
    """True for an attribute of objects that are made for one request each: callers say so."""
    return was_passed(verdict) and naming.may_be_data(name)


def _is_of_agent(node: ast.expr) -> bool:
    """True for `ctx.deps`, which an agent is given for one run."""
    is_deps = isinstance(node, ast.Attribute) and node.attr == "deps"
    return is_deps and isinstance(getattr(node, "value", None), ast.Name)


def _cut_to(node: ast.Subscript) -> Resolution | None:
    """How finely `now.isoformat()[:10]` and `str(now).split(" ")[0]` move, else None."""
    match node:
        case ast.Subscript(
            value=ast.Call(func=func),
            slice=ast.Slice(lower=None, upper=ast.Constant(value=int(width))),
        ) if last_name(func) in ("isoformat", "str"):
            if width <= _DAY_WIDTH:
                return Resolution.DAY
            return Resolution.MINUTE if width <= _MINUTE_WIDTH else None
        case ast.Subscript(
            value=ast.Call(
                func=ast.Attribute(value=ast.Call(func=func), attr="split" | "partition"),
                args=[ast.Constant(value="T" | " "), *_],
            ),
            slice=ast.Constant(value=0),
        ) if last_name(func) in ("isoformat", "str"):
            return Resolution.DAY
    return None
