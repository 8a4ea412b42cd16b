"""How often an expression's value changes: a dataflow over the tiers, with evidence.

Knows syntax trees, scopes and the tables of `known`. What cannot be shown is UNKNOWN; a value
that is at least as lively as one of its known parts is said to be so. Knows nothing of sites,
rules or of the text around a hole.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace

from stemfirst.tiers import Tier

from stemfirst_lint import known
from stemfirst_lint.arguments import Call, argument_of
from stemfirst_lint.fstrings import fields_of
from stemfirst_lint.model import UNKNOWN, Evidence, Kind, Location, Resolution, Verdict
from stemfirst_lint.parts import unpacked
from stemfirst_lint.project import Defined, External, Instance, Module, Project, Values
from stemfirst_lint.scopes import Bind, Binding, Scope, ScopeKind, Use, is_own, last_name
from stemfirst_lint.suppress import tier_comments
from stemfirst_lint.syntax import (
    called,
    is_container,
    is_count,
    is_enum,
    is_number,
    place_of,
    runs_git,
    shown,
)
from stemfirst_lint.verdicts import (
    CONFIG,
    CONSTANT,
    alternatives,
    because,
    clock_named,
    coarser,
    constant_spec,
    declared,
    frozen_value,
    join,
    kept,
    named_verdict,
    pure,
    says,
    with_format_spec,
)

_MAX_DEPTH = 24
_MAX_STEPS = 4_000
"""Expressions looked at for one answer; a computer algebra system has asked for millions."""
_NO_CALL = 1 << 30
ORDERLESS = (Kind.SET, Kind.LISTING)
"""Kinds whose values are in no order that one could rely on."""
_COMPREHENSIONS = (ast.ListComp, ast.GeneratorExp, ast.SetComp, ast.DictComp)


@dataclass(slots=True)
class SetFound:
    """The expression that is the set; `use` is None where it is the judged expression's own."""

    node: ast.expr
    use: Use | None


class Flow:
    """Answers for one project; remembers what it has shown.

    Invariant: `_memory` holds only answers that no parameter had a part in, or only those of
    calls that were looked into and left again; `_of_callers` also those that stand for all known
    calls. An answer that was cut short is kept only if it was the whole question.
    """

    def __init__(self, project: Project, declared: dict[str, Tier] | None = None) -> None:
        self.project = project
        self.declared = declared or {}
        self._memory: dict[int, Verdict] = {}
        self._of_callers: dict[int, Verdict] = {}
        self._active: set[tuple[int, int]] = set()
        self._cuts = 0
        self._steps = 0
        self._parameters: dict[int, Verdict] = {}
        self._comments: dict[str, dict[int, Tier]] = {}
        self._asked: set[int] = set()
        self._lowest = _NO_CALL
        """Depth of the outermost call whose arguments were just asked for; 0: every known call."""
        self._locals: list[dict[str, Verdict]] = []
        self.sets: dict[int, SetFound] = {}
        """By id of the expression judged: where its set is."""

    def verdict(self, node: ast.expr, use: Use, call: Call | None = None) -> Verdict:
        """Return how often an expression's value changes at a point of execution."""
        if isinstance(node, ast.Constant):
            return CONSTANT
        has_locals = bool(self._locals)
        if not has_locals:
            if id(node) in self._memory:
                return self._memory[id(node)]
            if call is None and id(node) in self._of_callers:
                self._lowest = 0
                return self._of_callers[id(node)]
        key = (id(node), id(call) if call else 0)
        if not self._active:
            self._steps = 0
        self._steps += 1
        if key in self._active or len(self._active) > _MAX_DEPTH or self._steps > _MAX_STEPS:
            self._cuts += 1
            return UNKNOWN
        cuts_before, lowest_before = self._cuts, self._lowest
        self._lowest = _NO_CALL
        self._active.add(key)
        try:
            found = self._expression(node, use, call)
        finally:
            self._active.discard(key)
            is_free = self._lowest > (call.depth if call is not None else 0)
            self._lowest = min(self._lowest, lowest_before)
        if not has_locals:
            if is_free and self._cuts == cuts_before:
                self._memory[id(node)] = found
            elif call is None and (self._cuts == cuts_before or not self._active):
                self._of_callers[id(node)] = found
        return found

    def _expression(self, node: ast.expr, use: Use, call: Call | None) -> Verdict:
        match node:
            case ast.Name():
                return self._name(node, use, call)
            case ast.Attribute():
                return self._attribute(node, use, call)
            case ast.Call():
                return self._call(node, use, call)
            case ast.Await() | ast.Starred() | ast.FormattedValue() | ast.NamedExpr():
                inner = self.verdict(node.value, use, call)
                if isinstance(node, ast.FormattedValue):
                    return with_format_spec(inner, constant_spec(node))
                return self._carry_set(node, node.value, inner)
            case ast.JoinedStr():
                fields_of(node, use.scope.module.source)  # mends positions inside
                holes = [v for v in node.values if isinstance(v, ast.FormattedValue)]
                return join(self.verdict(hole, use, call) for hole in holes)
            case ast.BinOp():
                left = self.verdict(node.left, use, call)
                right = self.verdict(node.right, use, call)
                if isinstance(node.op, ast.BitOr | ast.BitAnd | ast.Sub | ast.BitXor):
                    for found in (left, right):
                        if found.kind in ORDERLESS:
                            self.sets[id(node)] = SetFound(node, use)
                            return found
                if left.kind is Kind.CLOCK and isinstance(node.op, ast.Add | ast.Sub):
                    return left  # a clock with an offset
                found = join((left, right))
                is_text = isinstance(node.op, ast.Add | ast.Mod)
                return found if is_text or found.kind not in ORDERLESS else UNKNOWN
            case ast.UnaryOp():
                return self.verdict(node.operand, use, call)
            case ast.BoolOp():
                return alternatives(self.verdict(value, use, call) for value in node.values)
            case ast.IfExp():
                return alternatives(
                    (self.verdict(node.body, use, call), self.verdict(node.orelse, use, call))
                )
            case ast.Compare():
                return join(self.verdict(n, use, call) for n in (node.left, *node.comparators))
            case ast.Subscript():
                return self._subscript(node, use, call)
            case ast.Set():
                return self._set(node, node.elts, use, call)
            case ast.List() | ast.Tuple():
                return join(self.verdict(element, use, call) for element in node.elts)
            case ast.Dict():
                parts = [*(k for k in node.keys if k is not None), *node.values]
                return join(self.verdict(part, use, call) for part in parts)
            case ast.ListComp() | ast.GeneratorExp() | ast.SetComp() | ast.DictComp():
                return self._comprehension(node, use, call)
            case ast.Slice():
                return CONSTANT
        return UNKNOWN

    # Names

    def declared_at(self, name: str, path: str) -> Verdict | None:
        """Return what the user declared for a name, best for the name in one file, or None.

        Keys are names, dotted names, or a file and a name: `app/ask.py:name`.
        """
        if not self.declared:
            return None
        path = path.replace("\\", "/")
        for key, tier in self.declared.items():
            file, colon, own = key.rpartition(":")
            if colon and own == name and (path == file or path.endswith("/" + file)):
                return declared(key, tier)
        return declared(name, self.declared[name]) if name in self.declared else None

    def _declared(self, name: str, use: Use) -> Verdict | None:
        return self.declared_at(name, use.scope.module.path) if self.declared else None

    def _commented(self, name: str, binding: Binding) -> Verdict | None:
        """What a comment on the binding's line declares: `# stemfirst: tier[static]`."""
        module = binding.use.scope.module
        if module.path not in self._comments:
            self._comments[module.path] = tier_comments(module.source.text)
        comments = self._comments[module.path]
        line = getattr(binding.node, "lineno", 0)
        if not comments or line not in comments:
            return None
        return declared(name, comments[line], place_of(binding.node, binding.use))

    def _name(self, node: ast.Name, use: Use, call: Call | None) -> Verdict:
        for names in reversed(self._locals):
            if node.id in names:
                return names[node.id]
        told = self._declared(node.id, use)
        if told is not None:
            return told
        found = self.project.reaching(node.id, use)
        if found is None:
            return UNKNOWN
        return self._carry_binding_set(node, found, self._bindings(node.id, found, call))

    def _bindings(self, name: str, bindings: tuple[Binding, ...], call: Call | None) -> Verdict:
        verdicts: list[Verdict] = []
        grown: list[Verdict] = []
        for binding in bindings:
            if binding.how is Bind.AUGMENT:
                grown.append(_whole(self._binding(name, binding, call), binding))
            else:
                verdicts.append(self._binding(name, binding, call))
        return join((alternatives(verdicts), *grown)) if grown else alternatives(verdicts)

    def _binding(self, name: str, binding: Binding, call: Call | None) -> Verdict:
        inner_call = call if call and binding.use.scope is call.function else None
        told = self._commented(name, binding)
        if told is not None:
            return told
        match binding.how:
            case Bind.ASSIGN | Bind.AUGMENT:
                assert binding.value is not None
                found = self.verdict(binding.value, binding.use, inner_call)
                if binding.how is Bind.AUGMENT and is_number(binding.value):
                    return _counter(name, "is counted up", place_of(binding.node, binding.use))
                if binding.how is Bind.ASSIGN:
                    found = self._mutated(name, binding, found, inner_call)
                found = kept(found, name)
                if found.tier is None and binding.how is Bind.ASSIGN:
                    found = self._local(name, binding)
                if binding.use.scope.kind is not ScopeKind.FUNCTION:
                    found = frozen_value(found, "at import", Tier.STATIC)
                if found.tier is not None and found.tier > Tier.STATIC:
                    place = place_of(binding.node, binding.use)
                    found = because(found, f"`{name}` is set here", place)
                return found
            case Bind.ELEMENT:
                assert binding.value is not None
                if is_count(name, binding):
                    return _counter(
                        name, "counts the rounds of a loop", place_of(binding.node, binding.use)
                    )
                found = self.verdict(binding.value, binding.use, inner_call)
                if found.tier is None:
                    return self._local(name, binding)
                return UNKNOWN if found.kind in ORDERLESS else found
            case Bind.UNPACK:
                assert binding.value is not None
                found = self._unpacked(name, binding, inner_call)
                return found if found.tier is not None else self._local(name, binding)
            case Bind.PARAMETER:
                return self._parameter(name, binding, inner_call)
            case Bind.DEFINITION:
                return CONSTANT
            case Bind.IMPORT:
                return self._meaning(self.project.of_bindings((binding,), 0), name)
        return UNKNOWN

    def _unpacked(self, name: str, binding: Binding, call: Call | None) -> Verdict:
        """What `a, b = value` gives to one of its names."""
        assert binding.value is not None
        parts = list(unpacked(self.project, name, binding, call))
        if parts:
            return alternatives(self.verdict(part, use, inner) for part, use, inner in parts)
        found = self.verdict(binding.value, binding.use, call)
        # A clock or a set in one part says nothing of the others.
        return UNKNOWN if found.tier is Tier.VOLATILE else found

    def _mutated(self, name: str, binding: Binding, made: Verdict, call: Call | None) -> Verdict:
        """A container's verdict with what its function puts into it later."""
        value = binding.value
        scope = binding.use.scope
        if not made.is_stable or scope.kind is not ScopeKind.FUNCTION or not is_container(value):
            shuffled = self._shuffle(name, binding) if made.kind is not Kind.SET else None
            return shuffled or made
        assert value is not None
        added: list[Verdict] = [made]
        for site in scope.mutations.get(name, ()):
            method = last_name(site.node.func)
            arguments = [*site.node.args, *(k.value for k in site.node.keywords)]
            if method == "add":
                return self._set_found(value, binding.use, f"`{name}` is a set")
            if method == "shuffle":
                continue
            if method in ("insert", "setdefault"):
                arguments = arguments[1:]
            found = [self.verdict(argument, site.use, call) for argument in arguments]
            # All rounds of a loop hold every count; a set inside a list need not show its order.
            added.extend(
                UNKNOWN if one.kind in (Kind.COUNTER, *ORDERLESS) else one for one in found
            )
        for _, item in scope.items.get(name, ()):
            if item.value is not None:
                added.append(self.verdict(item.value, item.use, call))
        return self._shuffle(name, binding) or join(added)

    def _shuffle(self, name: str, binding: Binding) -> Verdict | None:
        for site in binding.use.scope.mutations.get(name, ()):
            meaning = self.project.meaning(site.node.func, site.use)
            if isinstance(meaning, External) and meaning.dotted in known.SHUFFLES:
                if self._is_seeded(site.use):
                    return None
                place = place_of(site.node, site.use)
                mixed = Evidence(f"`{shown(site.node)}` mixes it anew in every call", place)
                return Verdict(Tier.VOLATILE, Kind.SHUFFLED, (mixed,))
        return None

    def _local(self, name: str, binding: Binding) -> Verdict:
        """What a local variable's name says where its value says nothing."""
        if binding.use.scope.kind is not ScopeKind.FUNCTION:
            return UNKNOWN
        if name in known.CLOCK_PARAMETERS:
            return clock_named(name, place_of(binding.node, binding.use))
        tier = known.local_tier(name, _source_of(binding.value))
        if tier is None:
            return UNKNOWN
        return named_verdict(f"`{name}`", tier, place_of(binding.node, binding.use))

    def _item(self, key: ast.expr, node: ast.expr, use: Use) -> Verdict:
        """What the key says of an item of something unknown: `row["question"]`."""
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            tier = known.member_tier(last_name(node), key.value)
            if tier is None and known.is_record(last_name(node)):
                tier = known.parameter_tier(key.value, None)
            if tier is not None and not is_own(node):
                return named_verdict(f"the item `{key.value}`", tier, place_of(key, use))
        return UNKNOWN

    def _parameter(self, name: str, binding: Binding, call: Call | None) -> Verdict:
        function = binding.use.scope
        if name in ("self", "cls") and function.owner is not None:
            return UNKNOWN
        assert isinstance(binding.node, ast.arg)
        if call is not None:
            self._lowest = min(self._lowest, call.depth)
            given = argument_of(function, name, call.node, is_bound=call.is_bound)
            if given is None:
                return self._parameter_by_name(function, name, binding.node)
            where = call.use if given[1] else Use(function, 0, ())
            found = self.verdict(given[0], where, call.outer if given[1] else None)
            if given[1] and found.tier is not None and found.tier > Tier.STATIC:
                passed = place_of(call.node, call.use)
                found = because(found, f"`{name}` is passed here", passed)
            if found.tier is None:
                return self._parameter_by_name(function, name, binding.node)
            return found
        self._lowest = 0
        argument = id(binding.node)
        if argument in self._parameters:
            return self._parameters[argument]
        if argument in self._asked:  # recursion through call sites ends here
            self._cuts += 1
            return UNKNOWN
        cuts_before = self._cuts
        self._asked.add(argument)
        try:
            found = self._parameter_of_callers(function, name, binding.node)
        finally:
            self._asked.discard(argument)
        if self._cuts == cuts_before or not self._asked:
            self._parameters[argument] = found
        return found

    def _parameter_of_callers(self, function: Scope, name: str, argument: ast.arg) -> Verdict:
        given: list[Verdict] = []
        if isinstance(function.node, ast.Lambda):
            return UNKNOWN
        for call, is_bound in self.project.calls_of(function):
            if call.is_guarded:
                continue  # an example at the end of a file shows one call, not all
            passed = argument_of(function, name, call.node, is_bound=is_bound)
            if passed is None:
                given.append(UNKNOWN)
                continue
            verdict = self.verdict(passed[0], call.use if passed[1] else Use(function, 0, ()))
            if passed[1] and verdict.tier is not None and verdict.tier > Tier.STATIC:
                verdict = because(
                    verdict, f"`{name}` is passed here", place_of(call.node, call.use)
                )
            given.append(verdict)
        joined = kept(alternatives(given), name) if given else UNKNOWN
        if joined.tier is not None:
            if joined.tier is Tier.STATIC:
                return Verdict(Tier.STATIC, Kind.CALL_ARGUMENT)
            return joined
        return self._parameter_by_name(function, name, argument)

    def _parameter_by_name(self, function: Scope, name: str, argument: ast.arg) -> Verdict:
        """What a parameter's name and type say where no caller does."""
        place = place_of(argument, Use(function, 0, ()))
        annotation = ast.unparse(argument.annotation) if argument.annotation else None
        told = known.identity_tier(name)
        if told is not None:
            reason = f"`{name}` is a parameter of `{function.name}`, and its name says {says(told)}"
            return Verdict(told, Kind.IDENTITY, (Evidence(reason, place),))
        if name in known.CLOCK_PARAMETERS:
            return clock_named(name, place)
        tier = known.parameter_tier(name, annotation)
        if tier is None:
            return UNKNOWN
        reason = f"`{name}` is a parameter of `{function.name}`, and its name says {says(tier)}"
        return Verdict(tier, Kind.PARAMETER, (Evidence(reason, place),))

    # Attributes, items

    def _attribute(self, node: ast.Attribute, use: Use, call: Call | None) -> Verdict:
        told = self._declared(node.attr, use) or self._declared(ast.unparse(node), use)
        if told is not None:
            return told
        meaning = self.project.meaning(node, use)
        if meaning is not None:
            found = self._meaning(meaning, node.attr, base=node.value, use=use)
            if isinstance(meaning, Values):
                found = self._carry_binding_set(node, meaning.bindings, found)
            if found.tier is not None or not isinstance(meaning, External):
                return found
        root = node.value
        while isinstance(root, ast.Attribute) and root.attr not in known.CONFIG_OBJECTS:
            root = root.value
        if (last_name(root) or "").lower() in known.CONFIG_OBJECTS:
            return CONFIG
        base = self.verdict(node.value, use, call)
        if base.kind is Kind.CLOCK:
            if node.attr in ("hour", "minute"):
                return replace(base, resolution=Resolution.MINUTE)
            if node.attr in ("year", "month", "day"):
                return replace(base, resolution=Resolution.DAY)
        if base.kind in ORDERLESS or base.is_stable:
            return UNKNOWN  # an attribute of a set or constant is a method or an object's state
        is_named = base.kind in (Kind.PARAMETER, Kind.NAMED)
        if base.tier is None or (is_named and last_name(node.value) in known.CARRIER_NAMES):
            owner = None if is_named else last_name(node.value)
            tier = known.member_tier(owner, node.attr)
            if tier is None and is_named:
                tier = known.field_tier(node.attr)
            if tier is None or is_own(node):
                return UNKNOWN
            return named_verdict(f"the attribute `{node.attr}`", tier, place_of(node, use))
        return base

    def _meaning(
        self,
        meaning: object,
        name: str,
        base: ast.expr | None = None,
        use: Use | None = None,
    ) -> Verdict:
        match meaning:
            case External():
                if meaning.dotted.startswith(known.CONFIG_PREFIXES):
                    return CONFIG
                return UNKNOWN
            case Defined():
                if meaning.is_bound and any(
                    last_name(d) in ("property", "cached_property")
                    for d in getattr(meaning.scope.node, "decorator_list", ())
                ):
                    found = self._returns(meaning.scope, None)
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
                return self._bindings(name, meaning.bindings, None)
        return UNKNOWN

    def _instance_attribute(self, name: str, bindings: tuple[Binding, ...]) -> Verdict:
        """What an object keeps: frozen when `__init__` sets it, else as lively as its values."""
        found: list[Verdict] = []
        is_data = known.data_tier(name) is Tier.REQUEST
        for binding in bindings:
            verdict = self._binding(name, binding, None)
            is_frozen = binding.use.scope.name in ("__init__", "__post_init__")
            if is_frozen and verdict.tier not in (Tier.STATIC, Tier.TENANT) and not is_data:
                verdict = UNKNOWN
            found.append(verdict)
        joined = alternatives(found)
        if joined.is_stable or joined.tier is Tier.TENANT or joined.kind in ORDERLESS:
            return joined
        return joined if is_data and joined.tier is Tier.REQUEST else UNKNOWN

    def _subscript(self, node: ast.Subscript, use: Use, call: Call | None) -> Verdict:
        meaning = self.project.meaning(node.value, use)
        if isinstance(meaning, External) and meaning.dotted.startswith(known.CONFIG_PREFIXES):
            return CONFIG
        base = self.verdict(node.value, use, call)
        if base.kind in ORDERLESS:
            if isinstance(node.slice, ast.Slice):
                return self._carry_set(node, node.value, base)  # list(a_set)[:n]
            return UNKNOWN
        return base if base.tier is not None else self._item(node.slice, node.value, use)

    # Sets

    def _set(
        self, node: ast.expr, elements: list[ast.expr], use: Use, call: Call | None
    ) -> Verdict:
        verdicts = [self.verdict(element, use, call) for element in elements]
        if len(elements) < 2 and not any(isinstance(e, ast.Starred) for e in elements):
            return join(verdicts)
        if all(isinstance(e, ast.Constant) and isinstance(e.value, int) for e in elements):
            return CONSTANT  # integers hash to themselves: this order is the same everywhere
        return self._set_found(node, use, "a set display has no order")

    def _listing(self, node: ast.expr, use: Use) -> Verdict:
        self.sets[id(node)] = SetFound(node, use)
        told = Evidence(
            f"`{shown(node)}` lists in the order of the file system", place_of(node, use)
        )
        return Verdict(Tier.VOLATILE, Kind.LISTING, (told,))

    def _set_found(self, node: ast.expr, use: Use, text: str) -> Verdict:
        self.sets[id(node)] = SetFound(node, use)
        evidence = Evidence(f"{text}: hash randomisation", place_of(node, use))
        return Verdict(Tier.VOLATILE, Kind.SET, (evidence,))

    def _carry_set(self, outer: ast.expr, inner: ast.expr, verdict: Verdict) -> Verdict:
        if verdict.kind in ORDERLESS and id(inner) in self.sets:
            self.sets[id(outer)] = self.sets[id(inner)]
        return verdict

    def _carry_binding_set(
        self, node: ast.expr, bindings: tuple[Binding, ...], verdict: Verdict
    ) -> Verdict:
        """Remember where `sorted` goes: around the name of a set, or where text was made of one."""
        if len(bindings) == 1 and bindings[0].how is Bind.IMPORT:
            meaning = self.project.of_bindings(bindings, 0)
            bindings = meaning.bindings if isinstance(meaning, Values) else bindings
        values = [b.value for b in bindings if b.how is Bind.ASSIGN and b.value is not None]
        if verdict.kind in ORDERLESS and len(values) == len(bindings) == 1:
            found = self.sets.get(id(values[0]))
            if found is not None:
                is_set = found.node is values[0]
                self.sets[id(node)] = SetFound(node, None) if is_set else found
        return verdict

    def _made(
        self, node: ast.expr, use: Use, call: Call | None
    ) -> tuple[Verdict, dict[ast.expr, Verdict]]:
        """The verdicts of a comprehension's elements, and of what it iterates over."""
        assert isinstance(node, _COMPREHENSIONS)
        names: dict[str, Verdict] = {}
        iterated: dict[ast.expr, Verdict] = {}
        self._locals.append(names)
        try:
            for generator in node.generators:
                found = self.verdict(generator.iter, use, call)
                iterated[generator.iter] = found
                element = found
                if found.kind in ORDERLESS:
                    element = self._members(generator.iter, use, call)
                for target in ast.walk(generator.target):
                    if isinstance(target, ast.Name):
                        names[target.id] = element
            parts = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
            return join(self.verdict(part, use, call) for part in parts), iterated
        finally:
            self._locals.pop()

    def _comprehension(self, node: ast.expr, use: Use, call: Call | None) -> Verdict:
        made, iterated = self._made(node, use, call)
        if isinstance(node, ast.SetComp):
            return self._set_found(node, use, "a set comprehension has no order")
        for iterable, verdict in iterated.items():
            if verdict.kind in ORDERLESS:
                return self._carry_set(node, iterable, verdict)
        return join((*iterated.values(), made))

    # Calls

    def _call(self, node: ast.Call, use: Use, call: Call | None) -> Verdict:
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
            if found.tier is not None or self.verdict(node.func.value, use, call).kind in ORDERLESS:
                return found
        return self._told(node, use, call, arguments)

    def _told(
        self, node: ast.Call, use: Use, call: Call | None, arguments: list[ast.expr]
    ) -> Verdict:
        """What the callee's name says of a result of which the code says nothing."""
        name = last_name(node.func) or ""
        place = place_of(node, use)
        if known.MODEL_CALLS.match(name) or (
            name == "create"
            and isinstance(node.func, ast.Attribute)
            and last_name(node.func.value) in ("completions", "messages", "responses")
        ):
            answered = Evidence(f"`{name}()` returns what a model answered", place)
            return Verdict(Tier.REQUEST, Kind.NAMED, (answered,))
        if known.TRANSFORMS.match(name):
            made = join(self.verdict(a, use, call) for a in arguments)
            if made.tier is Tier.REQUEST and made.kind not in ORDERLESS:
                return because(made, f"`{name}()` is made of it", place)
        return UNKNOWN

    def _defined(self, node: ast.Call, meaning: Defined, use: Use, call: Call | None) -> Verdict:
        """What a function of the project returns."""
        again = call.within(meaning.scope) if call is not None else None
        if again is not None:  # it calls itself: what it returns stays unknown
            self._lowest = min(self._lowest, again.depth)
            return UNKNOWN
        inner = Call.inside(call, node, meaning.scope, use, is_bound=meaning.is_bound)
        found = self._returns(meaning.scope, inner)
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
                self.verdict(a, use, call).kind is not Kind.CLOCK for a in node.args
            ):
                return UNKNOWN  # the time that was given, not the time that it is
            reads = Evidence(f"`{shown(node)}` reads the clock", place)
            return Verdict(Tier.VOLATILE, Kind.CLOCK, (reads,), known.CLOCKS[dotted])
        if dotted == "time.strftime":
            inner = self.verdict(node.args[1], use, call) if len(node.args) > 1 else None
            if inner is not None and inner.kind is not Kind.CLOCK:
                return inner
            reads = Evidence(f"`{shown(node)}` reads the clock", place)
            resolution = self._layout_resolution(node, use)
            return Verdict(Tier.VOLATILE, Kind.CLOCK, (reads,), resolution)
        if dotted in known.RANDOM_CALLS:
            root = dotted.partition(".")[0]
            if root in ("random", "numpy") and self._is_seeded(use):
                return UNKNOWN
            draws = Evidence(f"`{shown(node)}` differs on every call", place)
            return Verdict(Tier.VOLATILE, Kind.RANDOM, (draws,))
        if dotted in known.SAMPLES:
            if self._is_seeded(use):
                return UNKNOWN
            mixed = Evidence(f"`{shown(node)}` draws anew in every call", place)
            return Verdict(Tier.VOLATILE, Kind.SHUFFLED, (mixed,))
        if dotted in known.LISTINGS:
            return self._listing(node, use)
        around = known.ENVIRONMENT_CALLS.get(dotted)
        if around is None and dotted in known.PROCESS_CALLS and runs_git(node):
            around = Tier.REQUEST
        if around is not None:
            told = Evidence(f"`{shown(node)}` tells of the process's surroundings", place)
            return Verdict(around, Kind.ENVIRONMENT, (told,))
        if dotted in known.CONFIG_CALLS or dotted.startswith(known.CONFIG_PREFIXES):
            return CONFIG
        if dotted == "input":
            return Verdict(
                Tier.REQUEST, Kind.CALL_ARGUMENT, (Evidence("`input()` asks a person", place),)
            )
        if dotted in ("set", "frozenset"):
            if not node.args:
                return CONSTANT
            if isinstance(node.args[0], ast.List | ast.Tuple):
                return self._set(node, node.args[0].elts, use, call)
            return self._set_found(node, use, f"`{shown(node)}` has no order")
        if dotted in known.ORDER_FREE_CALLS:
            found = join(self.verdict(a, use, call) for a in node.args)
            if found.kind in ORDERLESS:
                return self._members(node.args[0], use, call)
            return found
        if dotted in known.ORDER_KEEPING_CALLS or dotted in known.PURE_CALLS:
            found = join(self.verdict(a, use, call) for a in arguments)
            if found.kind in ORDERLESS:
                if dotted not in known.ORDER_KEEPING_CALLS:
                    return UNKNOWN
                for argument in arguments:
                    self._carry_set(node, argument, found)
            return pure(found)
        return None

    def _members(self, node: ast.expr, use: Use, call: Call | None, hops: int = 0) -> Verdict:
        """The verdict of a set's members, order aside: what `sorted` leaves."""
        match node:
            case ast.Set():
                return join(self.verdict(element, use, call) for element in node.elts)
            case ast.SetComp():
                made, iterated = self._made(node, use, call)
                return join((*iterated.values(), made))
            case ast.Call():
                return join(self.verdict(argument, use, call) for argument in node.args)
            case ast.Name() | ast.Attribute() if hops < _MAX_DEPTH:
                meaning = self.project.meaning(node, use)
                if isinstance(meaning, Values) and len(meaning.bindings) == 1:
                    only = meaning.bindings[0]
                    if only.how is Bind.ASSIGN and only.value is not None:
                        return self._members(only.value, only.use, None, hops + 1)
        return UNKNOWN

    def _method(
        self,
        function: ast.Attribute,
        node: ast.Call,
        use: Use,
        call: Call | None,
        arguments: list[ast.expr],
    ) -> Verdict:
        name = function.attr
        receiver = self.verdict(function.value, use, call)
        if receiver.kind is Kind.CLOCK:
            return self._clock_method(name, node, receiver, use)
        if receiver.kind in ORDERLESS:
            if name in known.SET_METHODS:
                self.sets[id(node)] = SetFound(node, use)
                return receiver
            if name != "join":
                return UNKNOWN
        if name in known.PURE_METHODS:
            parts = [self.verdict(a, use, call) for a in arguments]
            found = join((receiver, *parts))
            if name == "get" and receiver.tier is None and arguments:
                return self._item(arguments[0], function.value, use)
            if found.kind in ORDERLESS:
                if name != "join":
                    return UNKNOWN
                for argument in arguments:
                    self._carry_set(node, argument, found)
            return pure(found)
        if name in known.LISTING_METHODS and receiver.kind not in ORDERLESS:
            return self._listing(node, use)
        if known.REQUEST_CALLS.match(name):
            looked_up = Evidence(f"`{name}()` looks it up for this request", place_of(node, use))
            return Verdict(Tier.REQUEST, Kind.RETRIEVAL, (looked_up,))
        if known.LOOKUP_CALLS.match(name):
            asked = join(self.verdict(a, use, call) for a in arguments)
            if asked.tier is Tier.REQUEST:
                return because(asked, f"`{name}()` looks it up", place_of(node, use))
        return UNKNOWN

    def _clock_method(self, name: str, node: ast.Call, receiver: Verdict, use: Use) -> Verdict:
        match name:
            case "strftime" | "format" | "__format__":
                return coarser(receiver, self._layout_resolution(node, use))
            case "date" | "to_date_string" | "toordinal" | "weekday" | "isoweekday":
                return replace(receiver, resolution=Resolution.DAY)
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
        layout = self.constant(node.args[0], use) if node.args else None
        if layout is not None:
            return known.strftime_resolution(layout)
        name = (last_name(node.args[0]) or "").lower() if node.args else ""
        return Resolution.DAY if "date" in name and "time" not in name else Resolution.MINUTE

    def _returns(self, function: Scope, call: Call | None) -> Verdict:
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
            self.verdict(node, use, call)
            for node, use in function.returns
            if not (isinstance(node, ast.Constant) and node.value in (None, ""))
        ]
        return alternatives(verdicts) if verdicts else CONSTANT

    def _is_seeded(self, use: Use) -> bool:
        return "seed" in use.scope.module.calls

    def constant(self, node: ast.expr, use: Use, hops: int = 0) -> str | None:
        """Return the text of an expression that is one constant string, else None."""
        if hops > _MAX_DEPTH:
            return None
        match node:
            case ast.Constant(value=str(text)):
                return text
            case ast.Name() | ast.Attribute():
                meaning = self.project.meaning(node, use)
                if isinstance(meaning, Values) and len(meaning.bindings) == 1:
                    only = meaning.bindings[0]
                    if only.how is Bind.ASSIGN and only.value is not None:
                        return self.constant(only.value, only.use, hops + 1)
            case ast.BinOp(op=ast.Add()):
                left = self.constant(node.left, use, hops + 1)
                right = self.constant(node.right, use, hops + 1) if left is not None else None
                return None if left is None or right is None else left + right
            case ast.JoinedStr():
                parts: list[str] = []
                for value in node.values:
                    piece = value.value if isinstance(value, ast.FormattedValue) else value
                    part = self.constant(piece, use, hops + 1)
                    if part is None:
                        return None
                    parts.append(part)
                return "".join(parts)
            case ast.Call(
                func=ast.Attribute(attr="strip" | "lstrip" | "rstrip" as name, value=inner),
                args=[],
            ):
                stripped = self.constant(inner, use, hops + 1)
                return None if stripped is None else str(getattr(stripped, name)())
        return None


def _whole(verdict: Verdict, binding: Binding) -> Verdict:
    """What a loop adds up: all its rounds together hold every value of its counter."""
    is_text = binding.value is not None and not is_number(binding.value)
    return UNKNOWN if verdict.kind is Kind.COUNTER and is_text else verdict


def _counter(name: str, what: str, place: Location | None) -> Verdict:
    return Verdict(Tier.REQUEST, Kind.COUNTER, (Evidence(f"`{name}` {what}", place),))


def _source_of(node: ast.expr | None) -> str | None:
    """The name of what is called or asked for a value, or None if the value is put together."""
    while isinstance(node, ast.Await | ast.Subscript):
        node = node.value
    if isinstance(node, ast.Call):
        name = last_name(node.func)
        return None if name in known.PURE_METHODS or name in known.PURE_CALLS else name
    return last_name(node) if isinstance(node, ast.Attribute) and not is_own(node) else None
