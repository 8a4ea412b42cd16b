"""Syntax nodes that take little memory, for those that most of a tree consists of.

The interpreter gives each node a table with room for more attributes than any has, and each line
number an object of its own; a node of these classes has a slot for each of its own attributes, and
takes a quarter. They are what `ast` calls them for whoever asks by `isinstance` or `match`. Knows
nodes alone; says nothing about them.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from stemfirst_lint.long_texts import LONG


class Name(ast.Name):
    """A name, as `ast` has it."""

    __slots__ = ("col_offset", "ctx", "end_col_offset", "end_lineno", "id", "lineno")


class Constant(ast.Constant):
    """A constant, as `ast` has it; its `kind` is None by its class."""

    __slots__ = ("col_offset", "end_col_offset", "end_lineno", "lineno", "value")


class Attribute(ast.Attribute):
    """An attribute, as `ast` has it."""

    __slots__ = ("attr", "col_offset", "ctx", "end_col_offset", "end_lineno", "lineno", "value")


class Subscript(ast.Subscript):
    """A subscript, as `ast` has it."""

    __slots__ = ("col_offset", "ctx", "end_col_offset", "end_lineno", "lineno", "slice", "value")


class Call(ast.Call):
    """A call, as `ast` has it."""

    __slots__ = ("args", "col_offset", "end_col_offset", "end_lineno", "func", "keywords", "lineno")


class keyword(ast.keyword):  # noqa: N801 `ast` calls it so, and visitors go by the name
    """A keyword of a call, as `ast` has it."""

    __slots__ = ("arg", "col_offset", "end_col_offset", "end_lineno", "lineno", "value")


class arg(ast.arg):  # noqa: N801 as above
    """A parameter without a type, as `ast` has it."""

    __slots__ = ("arg", "col_offset", "end_col_offset", "end_lineno", "lineno")


class TypedArg(ast.arg):
    """A parameter with a type; no comment tells it."""

    __slots__ = ("annotation", "arg", "col_offset", "end_col_offset", "end_lineno", "lineno")


TypedArg.__name__ = "arg"  # visitors go by the name


class Assign(ast.Assign):
    """An assignment, as `ast` has it; it has no comment that tells its type."""

    __slots__ = ("col_offset", "end_col_offset", "end_lineno", "lineno", "targets", "value")


class Expr(ast.Expr):
    """An expression that is a statement, as `ast` has it."""

    __slots__ = ("col_offset", "end_col_offset", "end_lineno", "lineno", "value")


class Return(ast.Return):
    """A `return`, as `ast` has it."""

    __slots__ = ("col_offset", "end_col_offset", "end_lineno", "lineno", "value")


class If(ast.If):
    """An `if`, as `ast` has it."""

    __slots__ = ("body", "col_offset", "end_col_offset", "end_lineno", "lineno", "orelse", "test")


_new = ast.AST.__new__
_NONE: list[Any] = []
"""Stands for every empty list of a compact node; nothing is ever put into it."""


def compact_name(node: ast.Name, line: int) -> Name:
    """Return a name that takes less memory; one on the line given shares its number."""
    small = _new(Name)
    small.id = node.id
    small.ctx = node.ctx
    own = node.lineno
    small.lineno = small.end_lineno = line if own == line else own
    small.col_offset = node.col_offset
    small.end_col_offset = node.end_col_offset
    return small


def compact_constant(node: ast.Constant, line: int) -> Constant:
    """Return a constant that takes less memory, as `compact_name` does."""
    small = _new(Constant)
    small.value = node.value
    own, end = node.lineno, node.end_lineno
    small.lineno = own = line if own == line else own
    small.end_lineno = own if end == own else end
    small.col_offset = node.col_offset
    small.end_col_offset = node.end_col_offset
    return small


def compact_attribute(node: ast.Attribute, line: int) -> Attribute:
    """Return an attribute that takes less memory, as `compact_name` does."""
    small = _new(Attribute)
    small.value = node.value
    small.attr = node.attr
    small.ctx = node.ctx
    own, end = node.lineno, node.end_lineno
    small.lineno = own = line if own == line else own
    small.end_lineno = own if end == own else end
    small.col_offset = node.col_offset
    small.end_col_offset = node.end_col_offset
    return small


def compact_subscript(node: ast.Subscript, line: int) -> Subscript:
    """Return a subscript that takes less memory, as `compact_name` does."""
    small = _new(Subscript)
    small.value = node.value
    small.slice = node.slice
    small.ctx = node.ctx
    own, end = node.lineno, node.end_lineno
    small.lineno = own = line if own == line else own
    small.end_lineno = own if end == own else end
    small.col_offset = node.col_offset
    small.end_col_offset = node.end_col_offset
    return small


def compact_call(node: ast.Call, line: int) -> Call:
    """Return a call that takes less memory, as `compact_name` does."""
    small = _new(Call)
    small.func = node.func
    small.args = node.args or _NONE
    small.keywords = node.keywords or _NONE
    own, end = node.lineno, node.end_lineno
    small.lineno = own = line if own == line else own
    small.end_lineno = own if end == own else end
    small.col_offset = node.col_offset
    small.end_col_offset = node.end_col_offset
    return small


def compact_keyword(node: ast.keyword, line: int) -> keyword:
    """Return a keyword that takes less memory, as `compact_name` does."""
    small = _new(keyword)
    small.arg = node.arg
    small.value = node.value
    own, end = node.lineno, node.end_lineno
    small.lineno = own = line if own == line else own
    small.end_lineno = own if end == own else end
    small.col_offset = node.col_offset
    small.end_col_offset = node.end_col_offset
    return small


def compact_arg(node: ast.arg) -> ast.arg:
    """Return a parameter that takes less memory, and its annotation."""
    small: ast.arg = _new(arg if node.annotation is None else TypedArg)
    small.arg = node.arg
    small.lineno = own = node.lineno
    end = node.end_lineno
    small.end_lineno = own if end == own else end
    small.col_offset = node.col_offset
    small.end_col_offset = node.end_col_offset
    if node.annotation is not None:
        small.annotation = node.annotation
        replace_all(small, "annotation", own)
    return small


def compact_arguments(arguments: ast.arguments) -> None:
    """Put parameters that take less memory in the place of a function's."""
    for listed in (arguments.posonlyargs, arguments.args, arguments.kwonlyargs):
        listed[:] = map(compact_arg, listed)
    if arguments.vararg is not None:
        arguments.vararg = compact_arg(arguments.vararg)
    if arguments.kwarg is not None:
        arguments.kwarg = compact_arg(arguments.kwarg)


def _compact_assign(node: ast.Assign) -> Assign:
    small = _new(Assign)
    small.targets = node.targets
    small.value = node.value
    return small


def _compact_expr(node: ast.Expr) -> Expr:
    small = _new(Expr)
    small.value = node.value
    return small


def _compact_return(node: ast.Return) -> Return:
    small = _new(Return)
    small.value = node.value
    return small


def _compact_if(node: ast.If) -> If:
    small = _new(If)
    small.test = node.test
    small.body = node.body
    small.orelse = node.orelse or _NONE
    return small


_STATEMENTS: dict[type[ast.stmt], Callable[[Any], ast.stmt]] = {
    ast.Assign: _compact_assign,
    ast.Expr: _compact_expr,
    ast.Return: _compact_return,
    ast.If: _compact_if,
}


def compact_statement(node: ast.stmt) -> ast.stmt:
    """Return a statement that takes less memory; one of a rare kind is returned as it is."""
    made = _STATEMENTS.get(type(node))
    if made is None or (type(node) is ast.Return and node.value is None):
        return node
    small = made(node)
    small.lineno = own = node.lineno
    end = node.end_lineno
    small.end_lineno = own if end == own else end
    small.col_offset = node.col_offset
    small.end_col_offset = node.end_col_offset
    return small


_INNER: dict[type[ast.AST], Callable[[Any, int], ast.AST]] = {
    ast.Attribute: compact_attribute,
    ast.Call: compact_call,
    ast.Subscript: compact_subscript,
    ast.keyword: compact_keyword,
}


def replace_names(nodes: list[ast.expr], line: int) -> None:
    """Put names that take less memory in the place of those in a list."""
    for at, node in enumerate(nodes):
        if type(node) is ast.Name:
            nodes[at] = compact_name(node, line)


def replace_whole(node: ast.AST, field: str, line: int) -> ast.expr:
    """Put an expression that takes less memory in the place of one in a field, and return it."""
    whole: ast.expr = getattr(node, field)
    made = compact_name if type(whole) is ast.Name else _INNER.get(type(whole))
    if made is None:
        return whole
    small = made(whole, line)  # type: ignore[arg-type]
    setattr(node, field, small)
    return small  # type: ignore[return-value]


def replace_all(node: ast.AST, field: str, line: int) -> None:
    """Put an expression that takes less memory in a field, down to its last name: a type."""
    uncounted: dict[str, int] = {}
    stack: list[ast.AST] = [replace_whole(node, field, line)]
    while stack:
        inner = stack.pop()
        for name in inner._fields:
            value = getattr(inner, name, None)
            if value.__class__ is list:
                for at, item in enumerate(value):
                    if isinstance(item, ast.AST):
                        value[at] = part(item, line, uncounted, stack)
            elif isinstance(value, ast.expr):
                setattr(inner, name, part(value, line, uncounted, stack))


def part(node: ast.AST, line: int, loads: dict[str, int], stack: list[ast.AST]) -> ast.AST:
    """Return what stands for a part of an expression from now on.

    Args:
        node: the part. A long string stays what it is: others go by its id.
        line: the number of the line around it.
        loads: how often each name is read; counted here.
        stack: what is to be looked into is put on it.
    """
    kind = type(node)
    if kind is ast.Name:
        name = node.id  # type: ignore[attr-defined]
        loads[name] = loads.get(name, 0) + 1
        return compact_name(node, line)  # type: ignore[arg-type]
    if kind is ast.Constant:
        if type(node.value) is str and len(node.value) >= LONG:  # type: ignore[attr-defined]
            stack.append(node)
            return node
        if node.kind is not None:  # type: ignore[attr-defined]
            return node
        return compact_constant(node, line)  # type: ignore[arg-type]
    made = _INNER.get(kind)
    if made is not None:
        node = made(node, line)
    stack.append(node)
    return node
