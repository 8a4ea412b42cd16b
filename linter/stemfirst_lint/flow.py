"""How often an expression's value changes: a dataflow over the tiers, with evidence.

Knows operators, names, bindings and parameters; `containers`, `attributes` and `callees` judge
the rest and ask here about their parts. What cannot be shown is UNKNOWN; a value that is at least
as lively as one of its known parts is said to be so. Knows nothing of sites, rules or of the text
around a hole.
"""

from __future__ import annotations

import ast

from stemfirst.tiers import Tier

from stemfirst_lint import naming
from stemfirst_lint.arguments import Call, argument_of
from stemfirst_lint.attributes import Attributes
from stemfirst_lint.callees import Callees
from stemfirst_lint.containers import ORDERLESS, Containers, SetFound
from stemfirst_lint.fstrings import fields_of
from stemfirst_lint.handed import Handed, is_option
from stemfirst_lint.model import UNKNOWN, Evidence, Kind, Location, Verdict
from stemfirst_lint.parts import unpacked
from stemfirst_lint.project import Defined, Project
from stemfirst_lint.rounds import Rounds, source_of
from stemfirst_lint.scopes import Bind, Binding, Scope, ScopeKind, Use
from stemfirst_lint.suppress import tier_comments
from stemfirst_lint.syntax import is_count, is_number, place_of
from stemfirst_lint.verdicts import (
    CONFIG,
    CONSTANT,
    PASSED,
    alternatives,
    because,
    clock_named,
    constant_spec,
    declared,
    frozen_value,
    join,
    kept,
    named_verdict,
    says,
    with_format_spec,
)

_MAX_DEPTH = 24
_MAX_STEPS = 4_000
"""Expressions looked at for one answer; a computer algebra system has asked for millions."""
_NO_CALL = 1 << 30
_NO_CUT = 1 << 30


class Flow:
    """Answers for one project; remembers what it has shown.

    Invariant: `_memory` holds only answers that no parameter had a part in, or only those of
    calls that were looked into and left again; `_of_call` those that hold inside one call, and
    `_of_callers` also those that stand for all known calls. An answer that was cut short is kept
    only if it was the whole question, or if what it met again was itself.
    """

    def __init__(self, project: Project, declared: dict[str, Tier] | None = None) -> None:
        self.project = project
        self.declared = declared or {}
        self._memory: dict[int, Verdict] = {}
        self._of_callers: dict[int, Verdict] = {}
        self._of_call: dict[tuple[int, int], tuple[Verdict, int, Call]] = {}
        self._calls: dict[tuple[int, int], Call] = {}
        self._cut_short: dict[tuple[int, int], tuple[Verdict, int, int, Call | None]] = {}
        """Answers within one question that a limit cut short, how deep they were asked, and the
        call, so that its id stays its own."""
        self._active: dict[tuple[int, int], int] = {}
        """What is being judged -> its level on the stack of questions."""
        self._level = 0
        self._cut_at = _NO_CUT
        """The lowest level whose question was asked again since the last one began."""
        self._steps = 0
        self._parameters: dict[int, Verdict] = {}
        self._comments: dict[str, dict[int, Tier]] = {}
        self._asked: dict[int, int] = {}
        """Parameters whose callers are being asked -> their level."""
        self._lowest = _NO_CALL
        """Depth of the outermost call whose arguments were just asked for; 0: every known call."""
        self.locals: list[dict[str, Verdict]] = []
        """What comprehensions around the expression that is being judged call their elements."""
        self._locals_asked: list[dict[str, Verdict]] = []
        """Those around the expression that was asked for."""
        self.containers = Containers(self)
        self.attributes = Attributes(self)
        self.callees = Callees(self)
        self.rounds = Rounds(self)
        self.handed = Handed(self)

    def verdict(self, node: ast.expr, use: Use, call: Call | None = None) -> Verdict:
        """Return how often an expression's value changes at a point of execution."""
        if isinstance(node, ast.Constant):
            return CONSTANT
        has_locals = bool(self.locals)
        if not has_locals:
            if id(node) in self._memory:
                return self._memory[id(node)]
            if call is None and id(node) in self._of_callers:
                self._lowest = 0
                return self._of_callers[id(node)]
        key = (id(node), id(call) if call else 0)
        if call is not None and not has_locals and key in self._of_call:
            found, lowest, _ = self._of_call[key]
            self._lowest = min(self._lowest, lowest)
            return found
        if not self._active:
            self._steps = 0
            self._locals_asked = self.locals
            self._cut_short.clear()
        elif key in self._cut_short and not has_locals:
            found, lowest, depth, _ = self._cut_short[key]
            if len(self._active) >= depth:  # it would be cut short no later
                self._cut_at = -1
                self._lowest = min(self._lowest, lowest)
                return found
        self._steps += 1
        if len(self._active) > _MAX_DEPTH or self._steps > _MAX_STEPS:
            self._cut_at = -1
            return UNKNOWN
        if key in self._active:
            self._cut_at = min(self._cut_at, self._active[key])
            return UNKNOWN
        cut_before, lowest_before = self._cut_at, self._lowest
        self._cut_at, self._lowest = _NO_CUT, _NO_CALL
        level = self._level
        self._level += 1
        self._active[key] = level
        try:
            found = self._expression(node, use, call)
        finally:
            del self._active[key]
            self._level = level
            # What leads back to this question itself, or to one inside it, is answered in full.
            is_whole, is_limited = self._cut_at >= level, self._cut_at < 0
            self._cut_at = cut_before if is_whole else min(self._cut_at, cut_before)
            lowest = self._lowest
            is_free = lowest > (call.depth if call is not None else 0)
            self._lowest = min(lowest, lowest_before)
        if not has_locals:
            if is_limited:
                self._cut_short[key] = (found, lowest, len(self._active), call)
            if is_free and is_whole:
                self._memory[id(node)] = found
            elif call is not None:
                if is_whole:
                    self._of_call[key] = (found, lowest, call)  # it keeps the call, and so its id
            elif is_whole or not self._active:
                self._of_callers[id(node)] = found
        return found

    def _expression(self, node: ast.expr, use: Use, call: Call | None) -> Verdict:
        match node:
            case ast.Name():
                return self._name(node, use, call)
            case ast.Attribute():
                return self.attributes.attribute(node, use, call)
            case ast.Call():
                return self.callees.verdict(node, use, call)
            case ast.Await() | ast.Starred() | ast.FormattedValue() | ast.NamedExpr():
                inner = self.verdict(node.value, use, call)
                if isinstance(node, ast.FormattedValue):
                    return with_format_spec(inner, constant_spec(node))
                return self.containers.carry(node, node.value, inner)
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
                            self.containers.places[id(node)] = SetFound(node, use)
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
                return self.attributes.subscript(node, use, call)
            case ast.Set():
                return self.containers.of_elements(node, node.elts, use, call)
            case ast.List() | ast.Tuple():
                return join(self.verdict(element, use, call) for element in node.elts)
            case ast.Dict():
                parts = [*(k for k in node.keys if k is not None), *node.values]
                return join(self.verdict(part, use, call) for part in parts)
            case ast.ListComp() | ast.GeneratorExp() | ast.SetComp() | ast.DictComp():
                return self.containers.comprehension(node, use, call)
            case ast.Slice():
                return CONSTANT
        return UNKNOWN

    def inside(self, outer: Call | None, node: ast.Call, meaning: Defined, use: Use) -> Call:
        """Return the call that looks into what a function returns: the same one for the same way.

        What is found inside it is then kept for the next one who comes this way.
        """
        key = (id(outer) if outer is not None else 0, id(node))
        known = self._calls.get(key) if not self.locals else None
        if known is not None and known.function is meaning.scope and known.use is use:
            return known
        made = Call.inside(
            outer,
            node,
            meaning.scope,
            use,
            is_bound=meaning.is_bound,
            is_asked=True,
            around=self.locals,
        )
        if not self.locals:
            self._calls[key] = made
        return made

    def leans_on(self, call: Call) -> None:
        """Note that what is being judged holds only for the arguments of one call."""
        self._lowest = min(self._lowest, call.depth)

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

    def declared_here(self, name: str, use: Use) -> Verdict | None:
        """Return what the user declared for a name in the module of a place, or None."""
        return self.declared_at(name, use.scope.module.path) if self.declared else None

    def commented(self, name: str, binding: Binding) -> Verdict | None:
        """What a comment on the first or last line of a binding declares: `tier[static]`."""
        lines = [getattr(binding.node, "lineno", 0)]
        if binding.how in (Bind.ASSIGN, Bind.AUGMENT, Bind.UNPACK) and binding.value is not None:
            lines.append(binding.value.end_lineno or 0)
        return self.commented_on(name, lines, binding.node, binding.use)

    def commented_on(self, name: str, lines: list[int], node: ast.AST, use: Use) -> Verdict | None:
        """What a comment on one of some lines declares of a name that a node binds there."""
        module = use.scope.module
        if module.path not in self._comments:
            self._comments[module.path] = tier_comments(module.source.text)
        comments = self._comments[module.path]
        line = next((line for line in lines if line in comments), None) if comments else None
        return declared(name, comments[line], place_of(node, use)) if line is not None else None

    def _name(self, node: ast.Name, use: Use, call: Call | None) -> Verdict:
        for names in reversed(self.locals):
            if node.id in names:
                return names[node.id]
        told = self.declared_here(node.id, use)
        if told is not None:
            return told
        found = self.project.reaching(node.id, use)
        if found is None:
            return self.rounds.in_comprehension(node, use, call)
        judged = self.of_bindings(node.id, found, call)
        if use.loops and judged.tier in (None, Tier.STATIC):
            grown = self.rounds.grown(node, found, use)
            judged = grown if grown.tier is not None else judged
        if judged.tier is None:
            judged = self.rounds.in_loop(node, found, use)
        elif judged.kind in (Kind.ELEMENT, Kind.COUNTER) and any(
            binding.use.loops > use.loops for binding in found
        ):
            return UNKNOWN  # what a loop looked for, or counted, and left
        return self.containers.carry_from_bindings(node, found, judged, use)

    def of_bindings(self, name: str, bindings: tuple[Binding, ...], call: Call | None) -> Verdict:
        """Return the verdict of a name that any of these bindings may have set."""
        verdicts: list[Verdict] = []
        grown: list[Verdict] = []
        for binding in bindings:
            if binding.how is Bind.AUGMENT:
                grown.append(_whole(self.of_binding(name, binding, call), binding))
            else:
                verdicts.append(self.of_binding(name, binding, call))
        return join((alternatives(verdicts), *grown)) if grown else alternatives(verdicts)

    def of_binding(self, name: str, binding: Binding, call: Call | None) -> Verdict:
        """Return the verdict of what one binding gives to a name."""
        if not self.locals:
            return self._of_binding(name, binding, call)
        # The binding stands outside the comprehensions around the name.
        before, self.locals = self.locals, []
        try:
            return self._of_binding(name, binding, call)
        finally:
            self.locals = before

    def _of_binding(self, name: str, binding: Binding, call: Call | None) -> Verdict:
        inner_call = call if call and binding.use.scope is call.function else None
        told = self.commented(name, binding)
        if told is not None:
            return told
        match binding.how:
            case Bind.ASSIGN | Bind.AUGMENT:
                assert binding.value is not None
                found = self.verdict(binding.value, binding.use, inner_call)
                if binding.how is Bind.AUGMENT and is_number(binding.value):
                    return _counter(name, "is counted up", place_of(binding.node, binding.use))
                if binding.how is Bind.ASSIGN:
                    found = self.containers.mutated(name, binding, found, inner_call)
                found = kept(found, name)
                if found.tier is None and binding.how is Bind.ASSIGN:
                    found = self._local(name, binding, inner_call)
                if binding.use.scope.kind is not ScopeKind.FUNCTION:
                    found = frozen_value(found, "at import", Tier.STATIC)
                if found.tier is not None and found.tier > Tier.STATIC:
                    place = place_of(binding.node, binding.use)
                    found = because(found, f"`{name}` is set here", place)
                return found
            case Bind.OPAQUE if _is_counted_down(binding):
                return _counter(name, "is counted down", place_of(binding.node, binding.use))
            case Bind.ELEMENT:
                assert binding.value is not None
                if is_count(name, binding):
                    return _counter(
                        name, "counts the rounds of a loop", place_of(binding.node, binding.use)
                    )
                found = self.verdict(binding.value, binding.use, inner_call)
                if found.tier is None:
                    return self._local(name, binding, inner_call)
                if found.kind in ORDERLESS or self.containers.is_of_files(
                    binding.value, binding.use
                ):
                    return UNKNOWN
                return found
            case Bind.UNPACK:
                assert binding.value is not None
                found = self._unpacked(name, binding, inner_call)
                return found if found.tier is not None else self._local(name, binding, inner_call)
            case Bind.PARAMETER:
                return self._parameter(name, binding, inner_call)
            case Bind.DEFINITION:
                return CONSTANT
            case Bind.IMPORT:
                return self.attributes.of_meaning(self.project.of_bindings((binding,), 0), name)
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

    def _local(self, name: str, binding: Binding, call: Call | None) -> Verdict:
        """What a local variable's name says where its value says nothing.

        What a helper that is looked into calls `result` says nothing of what it returns.
        """
        if binding.use.scope.kind is not ScopeKind.FUNCTION:
            return UNKNOWN
        if name in naming.CLOCK_PARAMETERS:
            return clock_named(name, place_of(binding.node, binding.use))
        if call is not None and call.is_asked:
            tier = naming.data_tier(name)
        else:
            tier = naming.local_tier(name, source_of(binding.value))
        if tier is None:
            return UNKNOWN
        return named_verdict(f"`{name}`", tier, place_of(binding.node, binding.use))

    def _parameter(self, name: str, binding: Binding, call: Call | None) -> Verdict:
        function = binding.use.scope
        if name in ("self", "cls") and function.owner is not None:
            return UNKNOWN
        assert isinstance(binding.node, ast.arg)
        if call is not None:
            self.leans_on(call)
            given = argument_of(function, name, call.node, is_bound=call.is_bound)
            if given is None:
                return self._parameter_by_name(function, name, binding.node)
            if given[1]:
                before = self.locals
                self.locals = call.around if call.around is not None else self._locals_asked
                try:
                    found = self.verdict(given[0], call.use, call.outer)
                finally:
                    self.locals = before
            else:
                found = self.verdict(given[0], Use(function, 0, ()))
            if given[1] and found.tier is not None and found.tier > Tier.STATIC:
                passed = place_of(call.node, call.use)
                found = because(found, f"`{name}` {PASSED}", passed)
            if found.tier is None:
                return self._parameter_by_name(function, name, binding.node)
            return found
        self._lowest = 0
        argument = id(binding.node)
        if argument in self._parameters:
            return self._parameters[argument]
        if argument in self._asked:  # recursion through call sites ends here
            self._cut_at = min(self._cut_at, self._asked[argument])
            return UNKNOWN
        cut_before, self._cut_at = self._cut_at, _NO_CUT
        level = self._level
        self._level += 1
        self._asked[argument] = level
        try:
            found = self._parameter_of_callers(function, name, binding.node)
        finally:
            del self._asked[argument]
            self._level = level
            is_whole = self._cut_at >= level
            self._cut_at = cut_before if is_whole else min(self._cut_at, cut_before)
        if is_whole or not self._asked:
            self._parameters[argument] = found
        return found

    def _parameter_of_callers(self, function: Scope, name: str, argument: ast.arg) -> Verdict:
        given: list[Verdict] = list(self.handed.given(function, name))
        if isinstance(function.node, ast.Lambda):
            return kept(alternatives(given), name) if given else UNKNOWN
        for call, is_bound in self.project.calls_of(function):
            passed = argument_of(function, name, call.node, is_bound=is_bound)
            if passed is None:
                given.extend([] if call.is_guarded else [UNKNOWN])
                continue
            verdict = self.verdict(passed[0], call.use if passed[1] else Use(function, 0, ()))
            if passed[1] and verdict.tier is not None and verdict.tier > Tier.STATIC:
                verdict = because(verdict, f"`{name}` {PASSED}", place_of(call.node, call.use))
            if call.is_guarded and verdict.tier is not Tier.REQUEST:
                continue  # an example at the end of a file shows one call, not all
            given.append(verdict)
        joined = kept(alternatives(given), name) if given else UNKNOWN
        if joined.tier is not None:
            if joined.tier is Tier.STATIC:
                return Verdict(Tier.STATIC, Kind.CALL_ARGUMENT)
            return joined
        found = self.handed.entry(function, argument)
        return (
            found if found.tier is not None else self._parameter_by_name(function, name, argument)
        )

    def _parameter_by_name(self, function: Scope, name: str, argument: ast.arg) -> Verdict:
        """What a parameter's name and type say where no caller does."""
        place = place_of(argument, Use(function, 0, ()))
        annotation = ast.unparse(argument.annotation) if argument.annotation else None
        if naming.is_choice(annotation):
            return CONFIG
        if naming.data_tier(name) is None and is_option(function, argument):
            return CONFIG  # what a command is run with
        told = naming.identity_tier(name)
        if told is not None:
            reason = f"`{name}` is a parameter of `{function.name}`, and its name says {says(told)}"
            return Verdict(told, Kind.IDENTITY, (Evidence(reason, place),))
        if name in naming.CLOCK_PARAMETERS:
            default = argument_of(function, name, ast.Call(ast.Name(name), [], []), is_bound=False)
            of_default = self.verdict(default[0], Use(function, 0, ())) if default else UNKNOWN
            if of_default.kind is Kind.CLOCK:
                return UNKNOWN  # read once, when the function is defined
            return clock_named(name, place)
        tier = naming.parameter_tier(name, annotation)
        if naming.is_sent_prompt(name, function.name):
            tier = Tier.REQUEST
        if tier is None:
            return UNKNOWN
        reason = f"`{name}` is a parameter of `{function.name}`, and its name says {says(tier)}"
        return Verdict(tier, Kind.PARAMETER, (Evidence(reason, place),))


def _whole(verdict: Verdict, binding: Binding) -> Verdict:
    """What a loop adds up: all its rounds together hold every value of its counter."""
    is_text = binding.value is not None and not is_number(binding.value)
    return UNKNOWN if verdict.kind in (Kind.COUNTER, Kind.ELEMENT) and is_text else verdict


def _is_counted_down(binding: Binding) -> bool:
    """True for `left -= 1` in a loop."""
    node = binding.node
    return (
        isinstance(node, ast.AugAssign)
        and isinstance(node.op, ast.Sub)
        and is_number(node.value)
        and binding.use.loops > 0
    )


def _counter(name: str, what: str, place: Location | None) -> Verdict:
    return Verdict(Tier.REQUEST, Kind.COUNTER, (Evidence(f"`{name}` {what}", place),))
