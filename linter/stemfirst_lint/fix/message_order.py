"""A message that varies, put behind the messages of its role that stay: text in, edits out.

Knows lists of messages as they are written down. Messages move whole, inside one list, among
neighbours of one role; whether the texts may change places is judged as if they were one text.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace

from stemfirst_lint.errors import LintError
from stemfirst_lint.fix.calls import CallError, Mended
from stemfirst_lint.fix.flat import flatten
from stemfirst_lint.fix.plan import Plan
from stemfirst_lint.fix.prove import Edit
from stemfirst_lint.fix.turns import in_the_newest_turn
from stemfirst_lint.model import Applicability, Site, Template, Text
from stemfirst_lint.source import Source

_LONGEST_CHARACTERS = 1_000_000
"""`"text" * n` is not worked out beyond this."""


def in_another_place(
    text: str,
    template: Template,
    site: Site,
    plan: Callable[[Template], Plan],
    *,
    has_clock: bool,
) -> Mended | None:
    """Return what puts a message, or else the clock in it, elsewhere; None if nothing can be done.

    Args:
        text: the file that holds the list of messages.
        template: the message's whole text.
        site: where it is sent.
        plan: judges the two texts as one.
        has_clock: the message holds a clock, which may go to the newest user message.
    """
    try:
        return behind_the_messages_that_stay(text, template, site, plan)
    except (LintError, SyntaxError):
        pass  # the clock alone may still go somewhere
    try:
        return in_the_newest_turn(text, template, site) if has_clock else None
    except (LintError, SyntaxError):
        return None


def behind_the_messages_that_stay(
    text: str, template: Template, site: Site, plan: Callable[[Template], Plan]
) -> Mended:
    """Return the edits that put a message behind the constant ones that follow it.

    Args:
        text: the file that holds the list of messages.
        template: the message's whole text.
        site: where it is sent.
        plan: judges the two texts as one.

    Raises:
        CallError: the messages are written in another way, or may not change places.
    """
    source = Source("", text)
    tree = ast.parse(text)
    starts = source.starts
    place = site.location
    span = (
        starts[place.line - 1] + place.column - 1,
        starts[place.end_line - 1] + place.end_column - 1,
    )
    elements, at = _list_of(tree, source, span)
    role = _role_of(elements[at])
    if isinstance(_items(elements[at]).get("content"), ast.List | ast.Tuple | ast.Dict):
        raise CallError("the message has parts of its own")
    kept: list[str] = []
    for element in elements[at + 1 :]:
        constant = _content(tree, element)
        if role is None or _role_of(element) != role or constant is None:
            break
        kept.append(constant)
    if not kept:
        raise CallError("no message of its role that stays stands behind it")
    last = elements[at + len(kept)]
    if "#" in text[source.span(elements[at])[0] : source.span(last)[1]]:
        raise CallError("a comment stands between the messages")
    flat = flatten(template.pieces)
    joined = replace(
        template, pieces=(*template.pieces, Text("\n\n" + "\n\n".join(kept), template.location))
    )
    made = plan(joined)
    if made.applicability is None:
        raise CallError(str(made.refusals[0]) if made.refusals else "nothing would be gained")
    own = [block for block in made.order if made.blocks[block].start < len(flat.text)]
    if list(made.order[-len(own) :]) != sorted(own):
        raise CallError("a part of the message would have to stay")
    moved = [*elements[at + 1 : at + 1 + len(kept)], elements[at]]
    edits = tuple(
        Edit(*source.span(old), text[slice(*source.span(new))])
        for old, new in zip(elements[at : at + 1 + len(kept)], moved, strict=True)
    )
    notes = made.refusals if made.applicability is Applicability.RISKY else ()
    return Mended(edits, made.applicability, notes, "put behind the messages that stay")


def _list_of(tree: ast.Module, source: Source, span: tuple[int, int]) -> tuple[list[ast.expr], int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.List):
            for at, element in enumerate(node.elts):
                if source.span(element) == span:
                    return node.elts, at
    raise CallError("the messages are not written down as one list")


def _items(node: ast.expr) -> dict[object, ast.expr]:
    if not isinstance(node, ast.Dict) or len(node.keys) != 2:
        return {}
    return {
        key.value: value
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant)
    }


def _role_of(node: ast.expr) -> object:
    """Return the role of a message that is a role and a content; None for any but a system's."""
    role = _items(node).get("role")
    is_system = isinstance(role, ast.Constant) and role.value in ("system", "developer")
    return role.value if isinstance(role, ast.Constant) and is_system else None


def _content(tree: ast.Module, node: ast.expr) -> str | None:
    content = _items(node).get("content")
    return None if content is None else _text(tree, content)


def _text(tree: ast.Module, node: ast.expr) -> str | None:
    """Return the text of a constant, or of a name that the module binds once to one."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            parts = _text(tree, left), _text(tree, right)
            return None if None in parts else "".join(part or "" for part in parts)
        case ast.BinOp(left=left, op=ast.Mult(), right=ast.Constant(value=int(times))):
            one = _text(tree, left)
            is_short = one is not None and len(one) * times <= _LONGEST_CHARACTERS
            return one * times if one is not None and is_short else None
        case ast.Name(id=name):
            stores = [
                found
                for found in ast.walk(tree)
                if isinstance(found, ast.Name) and found.id == name and _is_stored(found)
            ]
            values = [
                statement.value
                for statement in tree.body
                if isinstance(statement, ast.Assign)
                and len(statement.targets) == 1
                and isinstance(statement.targets[0], ast.Name)
                and statement.targets[0].id == name
            ]
            arguments = {arg.arg for arg in ast.walk(tree) if isinstance(arg, ast.arg)}
            if len(stores) == len(values) == 1 and name not in arguments:
                value = values[0]
                return None if isinstance(value, ast.Name) else _text(tree, value)
    return None


def _is_stored(name: ast.Name) -> bool:
    return not isinstance(name.ctx, ast.Load)
