"""Follows an expression backwards to the text that it holds: templates with judged holes.

Knows how a string travels through names, parameters, attributes and functions, and how it is put
together: fields, sums, `+=`, joined lists, chains of `replace`. Knows nothing of sinks or rules.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace

from stemfirst_lint.aliases import alias_of, given_by_partial, is_property, lambda_of, method_of
from stemfirst_lint.arguments import Call, argument_of
from stemfirst_lint.assembly import Assembler, Filling
from stemfirst_lint.constants import constant_text
from stemfirst_lint.data_files import DataFiles
from stemfirst_lint.data_values import DataValues
from stemfirst_lint.fillings import Given, given_in, given_to_percent, replaced_in
from stemfirst_lint.flow import Flow
from stemfirst_lint.growth import Grown, grown_list
from stemfirst_lint.inner_texts import InnerTexts
from stemfirst_lint.model import Form, Hole, Piece, Template, Text
from stemfirst_lint.origins import SAME_TEXT_CALLS, SAME_TEXT_METHODS, Origin, Origins
from stemfirst_lint.parts import unpacked
from stemfirst_lint.pieces import Literal, merged
from stemfirst_lint.project import Defined, External, Values
from stemfirst_lint.scopes import Bind, Binding, Scope, ScopeKind, Use, last_name

_MAX_HOPS = 10
_MAX_STEPS = 1_000
_MAX_VARIANTS = 6
_MAX_CALLERS = 100
_MAX_REFILLS = 3
_MAX_AGAIN = 4
"""Texts filled step by step that one question follows: a loop of them leads to each other."""
_DOLLAR_METHODS = frozenset({"substitute", "safe_substitute"})


class Reader:
    """Reads templates out of expressions of one project."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.project = flow.project
        self.origins = Origins(flow.project)
        self.assembler = Assembler(flow)
        self.files = DataFiles(self.origins)
        self.values = DataValues(self.files)
        self._steps = 0
        self._refills = self._again = 0
        inner = InnerTexts(self)
        self.assembler.inner_texts, self.assembler.tail_texts = inner.of, inner.tail

    def templates(
        self,
        node: ast.expr,
        use: Use,
        call: Call | None = None,
        name: str | None = None,
        hops: int = 0,
    ) -> list[Template]:
        """Return the templates that an expression may hold; empty if that cannot be told."""
        if hops == 0:
            self._steps = self._again = 0
        self._steps += 1
        if hops > _MAX_HOPS or self._steps > _MAX_STEPS:
            return []
        source = use.scope.module.source
        match node:
            case ast.Constant(value=str()):
                found = self.assembler.constant(Literal(node, source, name))
                return [found] if found else []
            case ast.JoinedStr():
                pieces = self.assembler.fstring(node, use, call)
                if not pieces:
                    return []
                return [Template(Form.FSTRING, source.place(node), merged(pieces), name)]
            case ast.BinOp(op=ast.Add()):
                found = self._sum(node, use, call, name)
                return [found] if found else []
            case ast.BinOp(op=ast.Mod()):
                given = given_to_percent(node.right, use, self.origins)
                return self._filled(node.left, use, Filling(Form.PERCENT, given, node, use, call))
            case ast.Await() | ast.NamedExpr():
                return self.templates(node.value, use, call, name, hops + 1)
            case ast.IfExp():
                return [
                    *self.templates(node.body, use, call, name, hops + 1),
                    *self.templates(node.orelse, use, call, name, hops + 1),
                ][:_MAX_VARIANTS]
            case ast.BoolOp(op=ast.Or()):
                variants: list[Template] = []
                for value in node.values:
                    variants.extend(self.templates(value, use, call, name, hops + 1))
                return variants[:_MAX_VARIANTS]
            case ast.Name():
                bindings = self.project.reaching(node.id, use)
                if bindings is None:
                    return []
                return self._bound(node.id, bindings, call, hops)
            case ast.Attribute():
                meaning = self.project.meaning(node, use)
                if isinstance(meaning, Values):
                    return self._bound(node.attr, meaning.bindings, None, hops)
                if isinstance(meaning, Defined) and is_property(meaning.scope):
                    return self._returned(meaning.scope, None, hops)
            case ast.Subscript():
                return self._found(node, use, name, hops)
            case ast.Call():
                return self._called(node, use, call, name, hops)
        return []

    def _found(self, node: ast.expr, use: Use, name: str | None, hops: int) -> list[Template]:
        """The templates of an item of a dict, or of another value that `origins` can follow."""
        found: list[Template] = []
        for origin in self.origins.of(node, use, name):
            if origin.node is not node:
                found.extend(self.templates(origin.node, origin.use, None, origin.name, hops + 1))
        return found[:_MAX_VARIANTS]

    # Names, parameters, functions

    def _bound(
        self, name: str, bindings: tuple[Binding, ...], call: Call | None, hops: int
    ) -> list[Template]:
        found: list[Template] = []
        first = next((b for b in bindings if b.how is not Bind.AUGMENT), None)
        for binding in bindings:
            if binding.how is Bind.AUGMENT:
                is_repeated = first is not None and binding.use.loops > first.use.loops
                found = self._grown(found, binding, call, is_repeated)
                continue
            found.extend(self._of_binding(name, binding, call, hops) or _empty(binding))
        # Each caller of a helper has a prompt of its own; variants of one text are few.
        is_passed = any(binding.how is Bind.PARAMETER for binding in bindings)
        most = _MAX_CALLERS if is_passed else _MAX_VARIANTS
        return [template for template in found if template.pieces][:most]

    def _of_binding(
        self, name: str, binding: Binding, call: Call | None, hops: int
    ) -> list[Template]:
        inner = call if call and binding.use.scope is call.function else None
        match binding.how:
            case Bind.ASSIGN:
                assert binding.value is not None
                return self.templates(binding.value, binding.use, inner, name, hops + 1)
            case Bind.IMPORT:
                meaning = self.project.of_bindings((binding,), 0)
                if isinstance(meaning, Values):
                    return self._bound(name, meaning.bindings, None, hops + 1)
            case Bind.PARAMETER:
                return self._passed(name, binding, inner, hops)
            case Bind.UNPACK:
                return [
                    template
                    for part, use, part_call in unpacked(self.project, name, binding, inner)
                    for template in self.templates(part, use, part_call, name, hops + 1)
                ]
        return []

    def _passed(self, name: str, binding: Binding, call: Call | None, hops: int) -> list[Template]:
        function = binding.use.scope
        if call is not None:
            given = argument_of(function, name, call.node, is_bound=call.is_bound)
            if given is None or not given[1]:
                return []
            return self.templates(given[0], call.use, call.outer, name, hops + 1)
        found: list[Template] = []
        if isinstance(function.node, ast.Lambda):
            return []
        for site, is_bound in self.project.calls_of(function)[:_MAX_CALLERS]:
            given = argument_of(function, name, site.node, is_bound=is_bound)
            if given is not None and given[1]:
                found.extend(self.templates(given[0], site.use, None, name, hops + 2))
        return found[:_MAX_CALLERS]

    def _called(
        self, node: ast.Call, use: Use, call: Call | None, name: str | None, hops: int
    ) -> list[Template]:
        function = node.func
        if isinstance(function, ast.Attribute):
            built = self._built(node, function, use, call, name, hops)
            if built is not None:
                return built
        meaning = self.project.meaning(function, use)
        if isinstance(meaning, External):
            if meaning.dotted in SAME_TEXT_CALLS and node.args:
                found = self.templates(node.args[-1], use, call, name, hops + 1)
                is_dedented = meaning.dotted.endswith((".dedent", ".cleandoc"))
                return [replace(one, is_dedented=True) for one in found] if is_dedented else found
            return self._found(node, use, name, hops)
        if isinstance(meaning, Defined) and meaning.scope.kind is ScopeKind.FUNCTION:
            inner = Call.inside(call, node, meaning.scope, use, is_bound=meaning.is_bound)
            return self._returned(meaning.scope, inner, hops)
        alias = alias_of(node, meaning)
        if alias is not None and isinstance(alias[0], ast.Lambda):
            function_scope = lambda_of(*alias)
            if function_scope is not None:
                inner = Call.inside(call, node, function_scope, use, is_bound=False)
                return self._returned(function_scope, inner, hops)
        elif alias is not None:
            return self._built_by(node, use, call, name, hops, *alias)
        return self._found(node, use, name, hops)

    def _returned(self, function: Scope, call: Call | None, hops: int) -> list[Template]:
        """The templates that a function may return."""
        found: list[Template] = []
        name = function.name if function.name.isidentifier() else None
        for value, value_use in function.returns:
            found.extend(self.templates(value, value_use, call, name, hops + 1))
        return found[:_MAX_VARIANTS]

    def _built_by(
        self,
        node: ast.Call,
        use: Use,
        call: Call | None,
        name: str | None,
        hops: int,
        made: ast.expr,
        made_use: Use,
    ) -> list[Template]:
        """The templates that a name for a text's own method fills: `ask = TEXT.format`."""
        method = method_of(made)
        if method is None:
            return []
        given = given_in(node, use, self.origins)
        for keyword, value in given_by_partial(made, made_use, self.origins).items():
            given.named.setdefault(keyword, value)
        return self._filled(method.value, made_use, Filling(Form.FORMAT, given, node, use, call))

    def _built(
        self,
        node: ast.Call,
        function: ast.Attribute,
        use: Use,
        call: Call | None,
        name: str | None,
        hops: int,
    ) -> list[Template] | None:
        """The templates of a string's method, or None if it is no such call."""
        match function.attr:
            case "format" | "format_map":
                is_map = function.attr == "format_map"
                given = given_in(node, use, self.origins, is_mapping=is_map)
                filling = Filling(Form.FORMAT, given, node, use, call)
                return self._filled(function.value, use, filling)
            case attr if attr in _DOLLAR_METHODS:
                given = given_in(node, use, self.origins, is_mapping=True)
                filling = Filling(Form.DOLLAR, given, node, use, call)
                found: list[Template] = []
                for origin in self.origins.of(function.value, use):
                    made = origin.node
                    if (
                        isinstance(made, ast.Call)
                        and made.args
                        and self._is_dollar(made.func, origin.use)
                    ):
                        found.extend(self._filled(made.args[0], origin.use, filling))
                return found
            case "render" | "render_async":
                rendered = self._rendered(node, function.value, use, call)
                is_own = isinstance(self.project.meaning(function, use), Defined)
                return rendered or (None if is_own else [])  # a project's own method may load it
            case "replace" if len(node.args) >= 2:
                return self._replaced(node, use, call, name, hops)
            case "join" if len(node.args) == 1:
                separator = constant_text(self.flow.project, function.value, use)
                if separator is not None:
                    found_one = self._joined(node, separator, use, call, name)
                    return [found_one] if found_one else []
            case attr if attr in SAME_TEXT_METHODS and not node.args:
                return self.templates(function.value, use, call, name, hops + 1)
        return None

    def _rendered(
        self, node: ast.Call, receiver: ast.expr, use: Use, call: Call | None
    ) -> list[Template]:
        """The templates of `Template(text).render(...)` and `env.get_template(...).render(...)`."""
        given = given_in(node, use, self.origins, is_mapping=True)
        filling = Filling(Form.JINJA, given, node, use, call)
        found: list[Template] = []
        for origin in self.origins.of(receiver, use):
            made = origin.node
            if not isinstance(made, ast.Call) or not made.args:
                continue
            if last_name(made.func) == "get_template":
                is_inside = call is not None and origin.use.scope is call.function
                file = self.files.read_by(origin) or (
                    self.files.passed_to(made, origin, call) if call and is_inside else None
                )
                if file is not None:
                    literal = self.files.jinja(file)
                    template = self.assembler.filled(literal, filling)
                    found += [template] if template is not None else []
            elif self._real_name(made.func, origin.use) in ("Template", "from_string"):
                found += self._filled(made.args[0], origin.use, filling)
        return found[:_MAX_VARIANTS]

    def _is_dollar(self, function: ast.expr, use: Use) -> bool:
        """True for `string.Template` and the project's classes that inherit from it."""
        if last_name(function) == "Template":
            return True
        meaning = self.project.meaning(function, use)
        if not isinstance(meaning, Defined) or meaning.scope.kind is not ScopeKind.CLASS:
            return False
        bases = getattr(meaning.scope.node, "bases", ())
        return any(last_name(base) == "Template" for base in bases)

    def _real_name(self, function: ast.expr, use: Use) -> str | None:
        """The last name of what is called, under which its library knows it."""
        meaning = self.project.meaning(function, use)
        if isinstance(meaning, External):
            return meaning.dotted.rpartition(".")[2]
        return last_name(function)

    def _filled(self, receiver: ast.expr, use: Use, filling: Filling) -> list[Template]:
        found: list[Template] = []
        if self._grows(receiver, use):
            return self._filled_again(receiver, use, filling)
        for literal in self._literals(receiver, use):
            if filling.form is Form.JINJA:
                literal = self.files.with_files(literal)
            template = self.assembler.filled(literal, filling)
            if template is not None:
                found.append(template)
        if filling.form is Form.FORMAT and not found:
            for origin in self.origins.of(receiver, use):
                template = None
                if isinstance(origin.node, ast.JoinedStr):
                    template = self.assembler.refilled(
                        origin.node, origin.use, origin.name, filling
                    )
                elif isinstance(origin.node, ast.BinOp):
                    template = self._filled_sum(origin, filling)
                found += [template] if template is not None else []
        return found[:_MAX_VARIANTS] or self._filled_again(receiver, use, filling)

    def _grows(self, node: ast.expr, use: Use) -> bool:
        """True for a name to whose text `+=` adds more."""
        return isinstance(node, ast.Name) and any(
            binding.how is Bind.AUGMENT for binding in self.project.reaching(node.id, use) or ()
        )

    def _filled_again(self, node: ast.expr, use: Use, filling: Filling) -> list[Template]:
        """The templates of a text that was put together, or filled, before a call fills it."""
        is_put_together = isinstance(node, ast.Name | ast.Call | ast.BinOp)
        if (
            filling.form not in (Form.FORMAT, Form.REPLACE)
            or filling.call is None
            or not is_put_together
            or self._refills >= _MAX_REFILLS
            or self._again >= _MAX_AGAIN
        ):
            return []
        self._refills += 1
        self._again += 1
        try:
            found = self.templates(node, use, filling.outer, hops=2)
        finally:
            self._refills -= 1
        again = [self.assembler.filled_again(template, filling) for template in found]
        return [template for template in again if template is not None][:_MAX_VARIANTS]

    def _filled_sum(self, origin: Origin, filling: Filling) -> Template | None:
        """The template of a sum whose fields are filled as a whole: `(A + "{x}").format(x=x)`."""
        pieces: list[Piece] = []
        source = origin.use.scope.module.source
        for part in summands(origin.node):
            found: Template | None = None
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                literal = Literal(part, source, None)
                found = self.assembler.filled(literal, filling) or self.assembler.constant(literal)
            elif isinstance(part, ast.JoinedStr):
                found = self.assembler.refilled(part, origin.use, None, filling)
            elif isinstance(part, ast.Name | ast.Attribute) and filling.call is not None:
                texts = self._literals(part, origin.use)
                found = self.assembler.filled(texts[0], filling) if len(texts) == 1 else None
            pieces.extend(found.pieces if found else self.assembler.operand(part, origin.use, None))
        if not any(isinstance(piece, Hole) and piece.constant_text is None for piece in pieces):
            return None
        place = source.place(origin.node)
        return Template(Form.CONCAT, place, merged(pieces), origin.name, is_shared=True)

    def _literals(self, node: ast.expr, use: Use) -> list[Literal]:
        """The constant strings that an expression may be."""
        found: list[Literal] = []
        for origin in self.origins.of(node, use):
            if isinstance(origin.node, ast.Constant) and isinstance(origin.node.value, str):
                source = origin.use.scope.module.source
                found.append(Literal(origin.node, source, origin.name))
            elif (file := self.files.read_by(origin)) is not None:
                found.append(Literal(ast.Constant(file.text), file, None, is_file=True))
        return found or [
            Literal(ast.Constant(value.run.text), value.source, value.name, run=value.run)
            for value in self.values.of(node, use)
        ]

    def unfilled(
        self, node: ast.expr, use: Use, given: Given | None = None, form: Form = Form.FORMAT
    ) -> list[Template]:
        """Return the format templates that an expression may hold, judged by their fields' names.

        For constants that are given to a template class, which fills them somewhere else; `given`
        holds the values that it was made with.
        """
        return self._filled(node, use, Filling(form, given or Given(), None, use, None))

    def unfilled_sum(self, node: ast.BinOp, use: Use) -> Template | None:
        """Return the template of a sum of constants whose fields are filled out of sight."""
        filling = Filling(Form.FORMAT, Given(), None, use, None)
        return self._filled_sum(Origin(node, use, None), filling)

    def _replaced(
        self, node: ast.Call, use: Use, call: Call | None, name: str | None, hops: int
    ) -> list[Template]:
        """The templates of `TEXT.replace("{x}", x)`: markers that stand in a constant."""
        receiver, values = replaced_in(node)
        markers = {marker: (value, use) for marker, value in values.items() if len(marker) > 2}
        found: list[Template] = []
        if markers:
            given = Given(named=markers)
            found = self._filled(receiver, use, Filling(Form.REPLACE, given, node, use, call))
        if found or self._refills >= _MAX_REFILLS or self._again >= _MAX_AGAIN:
            return found
        return self.templates(receiver, use, call, name, hops + 1)  # nothing that we know of

    # Sums and lists

    def _grown(
        self, bases: list[Template], binding: Binding, call: Call | None, is_repeated: bool
    ) -> list[Template]:
        """The templates after `prompt += value`."""
        assert binding.value is not None
        inner = call if call and binding.use.scope is call.function else None
        added: list[Piece]
        if is_repeated:
            added = [self.assembler.repeated(binding.value, binding.use, inner)]
        else:
            added = self._operands(binding.value, binding.use, inner)
        return [
            replace(base, form=Form.CONCAT, pieces=merged([*base.pieces, *added])) for base in bases
        ]

    def _operands(self, node: ast.expr, use: Use, call: Call | None) -> list[Piece]:
        pieces: list[Piece] = []
        for part in summands(node):
            pieces.extend(
                self._formatted(part, use, call) or self.assembler.operand(part, use, call)
            )
        return pieces

    def _formatted(self, node: ast.expr, use: Use, call: Call | None) -> tuple[Piece, ...]:
        """The pieces of `"...".format(x)` where it is added to other text."""
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Constant(value=str()), attr="format")):
                found = self.templates(node, use, call, hops=1)
                return found[0].pieces if len(found) == 1 else ()
        return ()

    def _sum(
        self, node: ast.BinOp, use: Use, call: Call | None, name: str | None
    ) -> Template | None:
        pieces = self._operands(node, use, call)
        if not any(isinstance(piece, Text) or piece.constant_text is not None for piece in pieces):
            return None  # a sum of numbers, or of lists
        location = use.scope.module.source.place(node)
        return Template(Form.CONCAT, location, merged(pieces), name)

    def _joined(
        self, node: ast.Call, separator: str, use: Use, call: Call | None, name: str | None
    ) -> Template | None:
        """The template of `separator.join(parts)`, its list followed as it grows."""
        parts = grown_list(self.project, node.args[0], use)
        if not parts or not any(_holds_text(part.node) for part in parts):
            return None
        pieces: list[Piece] = []
        for part in parts:
            inner = call if call and part.use.scope is call.function else None
            added = self._part(part, inner)
            if pieces and separator:
                source = part.use.scope.module.source
                last = added[0].location if added else source.place(part.node)  # an empty line
                place = replace(last, end_line=last.line, end_column=last.column)
                pieces.append(Text(separator, place))
            pieces.extend(added)
        location = use.scope.module.source.place(node)
        found = Template(Form.JOIN, location, merged(pieces), name)
        return found if any(isinstance(piece, Text) for piece in pieces) else None

    def _part(self, part: Grown, call: Call | None) -> list[Piece]:
        if part.is_repeated:
            return [self.assembler.repeated(part.node, part.use, call)]
        if isinstance(part.node, ast.Name):
            whole = self.templates(part.node, part.use, call, hops=3)
            if len(whole) == 1 and whole[0].form in (Form.FSTRING, Form.CONSTANT, Form.FORMAT):
                return list(whole[0].pieces)
        return self._operands(part.node, part.use, call)


def _empty(binding: Binding) -> list[Template]:
    """The template that `prompt = ""` begins; what is added to it gives it pieces."""
    value = binding.value
    if isinstance(value, ast.Constant) and value.value == "" and binding.how is Bind.ASSIGN:
        place = binding.use.scope.module.source.place(value)
        return [Template(Form.CONCAT, place, ())]
    return []


def summands(node: ast.expr) -> Iterator[ast.expr]:
    """Yield the parts of a sum in order."""
    pending: list[ast.expr] = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, ast.BinOp) and isinstance(current.op, ast.Add):
            pending.extend((current.right, current.left))
        else:
            yield current


def _holds_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr | ast.BinOp | ast.Name | ast.Attribute | ast.Call) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
