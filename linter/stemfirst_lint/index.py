"""The facts of one module, gathered in one pass over its syntax tree.

Knows scopes, what binds a name and in which order, calls and dicts that could matter. Knows no
other module and decides nothing: resolution across modules is `project`'s, meaning is `flow`'s.
"""

from __future__ import annotations

import ast

from stemfirst_lint.compact import (
    Attribute,
    Call,
    Expr,
    Subscript,
    compact_arguments,
    compact_statement,
    keyword,
    part,
    replace_all,
    replace_names,
    replace_whole,
)
from stemfirst_lint.long_texts import LONG, LongTexts
from stemfirst_lint.scopes import (
    LOOP,
    Bind,
    Binding,
    CallUse,
    FunctionNode,
    Path,
    Scope,
    ScopeKind,
    Use,
    all_arguments,
    last_name,
)
from stemfirst_lint.source import Source
from stemfirst_lint.syntax import (
    is_body,
    is_content,
    is_first_message,
    is_main_guard,
    is_message,
)

_MUTATORS = frozenset({"append", "extend", "insert", "add", "update", "setdefault", "shuffle"})
"""Methods that put something into a container, and the function that reorders one."""

_PARTS: dict[type[ast.AST], tuple[str, ...]] = {
    kind: tuple(field for field in kind._fields if field not in ("ctx", "op", "ops", "conversion"))
    for kind in (
        ast.Call, ast.keyword, ast.Subscript, ast.List, ast.Tuple, ast.Starred, ast.BinOp,
        ast.BoolOp, ast.UnaryOp, ast.Compare, ast.FormattedValue, Call, Subscript,
        keyword,
    )
}  # fmt: skip
"""The fields of frequent nodes in which expressions stand; of other nodes, all are looked at."""


_VALUE = ("value",)


class ModuleIndex:
    """Everything that later stages ask about a module.

    Attributes:
        calls: by the last name of the callee.
        role_dicts: dicts with the keys `role` and `content`.
        text_dicts: other dicts with a key that a request's text has: `prompt`, `inputs`, `system`.
        texts: long strings that begin a text of their own: nothing adds them to another.
        content_edits: `x["content"] = value`, `x.content = value` and `x[0] = value`, with their
            value and whether it replaces what was there.
        loads, attribute_loads: how often each bare name, and each attribute name, is read.
    """

    __slots__ = (
        "attribute_loads", "calls", "classes", "content_edits", "format_calls", "functions",
        "imports", "loads", "path", "role_dicts", "scope", "source", "text_dicts", "texts", "tree",
    )  # fmt: skip

    def __init__(self, path: str, source: Source, tree: ast.Module) -> None:
        self.path = path
        self.source = source
        self.tree = tree
        self.calls: dict[str, list[CallUse]] = {}
        self.format_calls: list[CallUse] = []
        self.content_edits: list[tuple[ast.expr, ast.expr, Bind, Use]] = []
        self.role_dicts: list[tuple[ast.Dict, Use]] = []
        self.text_dicts: list[tuple[ast.Dict, Use]] = []
        self.texts: list[tuple[ast.expr, Use]] = []
        self.functions: list[Scope] = []
        self.classes: list[Scope] = []
        self.imports: list[tuple[str, int]] = []
        self.loads: dict[str, int] = {}
        self.attribute_loads: dict[str, int] = {}
        self.scope = Scope(ScopeKind.MODULE, tree, None, "<module>", self)
        _Builder(self).module(tree)


class _Builder:
    """Walks the tree in order of execution."""

    def __init__(self, index: ModuleIndex) -> None:
        self.index = index
        self.scope = index.scope
        self.tick = 0
        self.path: Path = ()
        self.compounds = 0
        self.loops = 0
        self.is_guarded = False
        self._use: Use | None = None
        self.texts = LongTexts(index.texts)

    def module(self, tree: ast.Module) -> None:
        self.body(tree.body)

    def use(self) -> Use:
        """The present point; the parts of one statement share it."""
        use = self._use
        if (
            use is None
            or use.tick != self.tick
            or use.scope is not self.scope
            or use.path is not self.path
            or use.loops != self.loops
        ):
            use = self._use = Use(self.scope, self.tick, self.path, self.loops)
        return use

    def bind(self, name: str, binding: Binding) -> None:
        scope = self.scope
        if name in scope.outer:
            scope = self.index.scope
        scope.bindings.setdefault(name, []).append(binding)

    # Statements

    def body(self, statements: list[ast.stmt]) -> None:
        for at, statement in enumerate(statements):
            statements[at] = small = compact_statement(statement)
            self.tick += 1
            self.statement(small)

    def arm(self, compound: int, arm: int, statements: list[ast.stmt], *, loop: int = 0) -> None:
        if not statements:
            return
        before = self.path
        self.path = (*before, (compound, arm))
        self.loops += loop
        self.body(statements)
        self.loops -= loop
        self.path = before

    def statement(self, node: ast.stmt) -> None:
        if type(node) is Expr:  # the most frequent, and the last that `match` would try
            if type(node.value) is not ast.Constant:  # a docstring
                self.expression(replace_whole(node, "value", node.lineno))
            return
        match node:
            case ast.Assign():
                replace_names(node.targets, node.lineno)
                self.expression(replace_whole(node, "value", node.lineno))
                for target in node.targets:
                    self.target(target, Bind.ASSIGN, node.value, node)
            case ast.AnnAssign():
                replace_all(node, "annotation", node.lineno)
                replace_whole(node, "target", node.lineno)
                if node.value is not None:
                    self.expression(replace_whole(node, "value", node.lineno))
                    self.target(node.target, Bind.ASSIGN, node.value, node)
            case ast.AugAssign():
                self.texts.add_parts([node.value])
                self.expression(node.value)
                how = Bind.AUGMENT if isinstance(node.op, ast.Add) else Bind.OPAQUE
                self.target(node.target, how, node.value, node)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                for decorator in node.decorator_list:
                    self.expression(decorator)
                self.function(node, node.name)
            case ast.ClassDef():
                self.klass(node)
            case ast.Return():
                if node.value is not None:
                    self.expression(replace_whole(node, "value", node.lineno))
                    if self.scope.kind is ScopeKind.FUNCTION:
                        self.scope.returns.append((node.value, self.use()))
            case ast.If():
                self.expression(replace_whole(node, "test", node.lineno))
                self.compounds += 1
                compound = self.compounds
                was_guarded = self.is_guarded
                self.is_guarded = was_guarded or is_main_guard(node.test)
                self.arm(compound, 0, node.body)
                self.is_guarded = was_guarded
                self.arm(compound, 1, node.orelse)
            case ast.For() | ast.AsyncFor():
                self.expression(node.iter)
                self.compounds += 1
                compound = self.compounds
                self.target(node.target, Bind.ELEMENT, node.iter, node)
                self.arm(compound, LOOP, node.body, loop=1)
                self.arm(compound, 1, node.orelse)
            case ast.While():
                self.expression(node.test)
                self.compounds += 1
                compound = self.compounds
                self.arm(compound, LOOP, node.body, loop=1)
                self.arm(compound, 1, node.orelse)
            case ast.With() | ast.AsyncWith():
                for item in node.items:
                    self.expression(item.context_expr)
                    if item.optional_vars is not None:
                        self.target(item.optional_vars, Bind.ASSIGN, item.context_expr, node)
                self.body(node.body)
            case ast.Try() | ast.TryStar():
                self.compounds += 1
                compound = self.compounds
                # What the try block did holds behind it: its arm is no branch of its own.
                self.body(node.body)
                for number, handler in enumerate(node.handlers):
                    if handler.name:
                        self.bind(handler.name, Binding(Bind.OPAQUE, None, self.use(), handler))
                    self.arm(compound, number + 1, handler.body)
                self.body(node.orelse)
                self.body(node.finalbody)
            case ast.Match():
                self.expression(node.subject)
                self.compounds += 1
                compound = self.compounds
                for number, case in enumerate(node.cases):
                    for inner in ast.walk(case.pattern):
                        name = getattr(inner, "name", None) or getattr(inner, "rest", None)
                        if isinstance(name, str):
                            opaque = Binding(Bind.OPAQUE, None, self.use(), node)
                            self.bind(name, opaque)
                    self.arm(compound, number, case.body)
            case ast.Import():
                for alias in node.names:
                    self.index.imports.append((alias.name, 0))
                    name = alias.asname or alias.name.partition(".")[0]
                    module = alias.name if alias.asname else name
                    self.bind(
                        name,
                        Binding(Bind.IMPORT, None, self.use(), node, target=(module, None, 0)),
                    )
            case ast.ImportFrom():
                self.index.imports.append((node.module or "", node.level))
                for alias in node.names:
                    self.bind(
                        alias.asname or alias.name,
                        Binding(
                            Bind.IMPORT,
                            None,
                            self.use(),
                            node,
                            target=(node.module or "", alias.name, node.level),
                        ),
                    )
            case ast.Global() | ast.Nonlocal():
                self.scope.outer.update(node.names)
            case ast.Delete():
                pass
            case _:
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.expr):
                        self.expression(child)

    def target(self, target: ast.expr, how: Bind, value: ast.expr, node: ast.AST) -> None:
        if how in (Bind.ASSIGN, Bind.AUGMENT) and (is_content(target) or is_first_message(target)):
            self.index.content_edits.append((target, value, how, self.use()))
        match target:
            case ast.Name():
                self.bind(target.id, Binding(how, value, self.use(), node))
            case ast.Tuple() | ast.List():
                replace_names(target.elts, target.lineno)
                pairs: list[ast.expr | None] = [None] * len(target.elts)
                if (
                    how is Bind.ASSIGN
                    and isinstance(value, ast.Tuple | ast.List)
                    and len(value.elts) == len(target.elts)
                    and not any(isinstance(e, ast.Starred) for e in (*value.elts, *target.elts))
                ):
                    pairs = list(value.elts)
                inner_how = Bind.UNPACK if how is Bind.ASSIGN else how
                for element, part in zip(target.elts, pairs, strict=True):
                    if isinstance(element, ast.Starred):
                        element = element.value
                    if part is not None:
                        self.target(element, Bind.ASSIGN, part, node)
                    else:
                        self.target(element, inner_how, value, node)
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                owner = self.scope.owner
                if owner is not None:
                    binding = Binding(how, value, self.use(), node)
                    owner.attributes.setdefault(target.attr, []).append(binding)
            case ast.Subscript(value=ast.Name(id=name)):
                # d[k] = v: the value of d is no longer what it was bound to.
                if how is Bind.ASSIGN:
                    item = (target.slice, Binding(how, value, self.use(), node))
                    self.scope.items.setdefault(name, []).append(item)
                self.expression(target)
            case _:
                self.expression(target)

    def function(self, node: FunctionNode, name: str) -> None:
        arguments = node.args
        for default in (*arguments.defaults, *arguments.kw_defaults):
            if default is not None:
                self.expression(default)
        scope = Scope(ScopeKind.FUNCTION, node, self.scope, name, self.index)
        if name != "<lambda>":
            self.bind(name, Binding(Bind.DEFINITION, None, self.use(), node, scope=scope))
        self.index.functions.append(scope)
        before = (self.scope, self.path, self.loops)
        self.scope, self.path, self.loops = scope, (), 0
        compact_arguments(arguments)
        for argument in all_arguments(arguments):
            self.bind(argument.arg, Binding(Bind.PARAMETER, None, self.use(), argument))
        if not isinstance(node, ast.Lambda) and node.returns is not None:
            replace_all(node, "returns", node.lineno)
        if isinstance(node, ast.Lambda):
            self.expression(node.body)
            scope.returns.append((node.body, self.use()))
        else:
            self.body(node.body)
        self.scope, self.path, self.loops = before

    def klass(self, node: ast.ClassDef) -> None:
        for expression in (*node.decorator_list, *node.bases, *(k.value for k in node.keywords)):
            self.expression(expression)
        scope = Scope(ScopeKind.CLASS, node, self.scope, node.name, self.index)
        self.bind(node.name, Binding(Bind.DEFINITION, None, self.use(), node, scope=scope))
        self.index.classes.append(scope)
        before = (self.scope, self.path, self.loops)
        self.scope, self.path, self.loops = scope, (), 0
        self.body(node.body)
        self.scope, self.path, self.loops = before

    # Expressions

    def mutation(self, call: CallUse) -> None:
        """Remember `name.append(...)` and `shuffle(name)` by the name that changes."""
        function = call.node.func
        changed = function.value if isinstance(function, ast.Attribute) else None
        if last_name(function) == "shuffle":
            changed = call.node.args[0] if call.node.args else None
        if isinstance(changed, ast.Name):
            self.scope.mutations.setdefault(changed.id, []).append(call)

    def expression(self, root: ast.expr) -> None:
        index = self.index
        loads = index.loads
        line = root.lineno
        if isinstance(root, ast.Name):
            loads[root.id] = loads.get(root.id, 0) + 1
            return
        stack: list[ast.AST] = [root]
        while stack:
            node = stack.pop()
            kind = type(node)
            line = getattr(node, "lineno", line)
            if kind is ast.Constant:
                if type(node.value) is str and len(node.value) >= LONG:  # type: ignore[attr-defined]
                    self.texts.constant(node, self.use())  # type: ignore[arg-type]
                continue
            if kind is ast.Lambda:
                self.function(node, "<lambda>")  # type: ignore[arg-type]
                continue
            if kind is Attribute or kind is ast.Attribute:
                attr = node.attr  # type: ignore[attr-defined]
                index.attribute_loads[attr] = index.attribute_loads.get(attr, 0) + 1
                fields: tuple[str, ...] = _VALUE
            else:
                fields = _PARTS.get(kind, node._fields)
                if isinstance(node, ast.Call):
                    self.call(node)
                elif isinstance(node, ast.Dict):
                    if is_message(node):
                        index.role_dicts.append((node, self.use()))
                    elif is_body(node):
                        index.text_dicts.append((node, self.use()))
                elif kind is ast.JoinedStr:
                    self.texts.joined(node, self.use())  # type: ignore[arg-type]
                elif kind is ast.BinOp:
                    self.texts.add_parts([node.right])  # type: ignore[attr-defined]
                elif isinstance(node, ast.NamedExpr):
                    self.target(node.target, Bind.ASSIGN, node.value, node)
                    fields = _VALUE
            for field in fields:
                value = getattr(node, field, None)
                if type(value) is list:
                    for at in range(len(value) - 1, -1, -1):
                        item = value[at]
                        if isinstance(item, ast.AST):
                            value[at] = part(item, line, loads, stack)
                elif isinstance(value, ast.AST):
                    setattr(node, field, part(value, line, loads, stack))

    def call(self, node: ast.Call) -> None:
        """Take a call by the last name of what is called."""
        callee = last_name(node.func)
        if callee is None:
            return
        call = CallUse(node, self.use(), self.is_guarded)
        if callee == "format" and isinstance(node.func, ast.Attribute):
            self.index.format_calls.append(call)
        else:
            self.index.calls.setdefault(callee, []).append(call)
        self.texts.add_shown(callee, node)
        if callee in _MUTATORS:
            self.texts.add_parts(node.args)
            self.mutation(call)
