"""A clock's move from the system message to the newest user message: text in, edits out.

Knows lists of messages as they are written down. What moves is a whole block that holds nothing but
the clock; it stands before what the user says. Always `risky`: whoever stores the turn must store
it with that block, or the history changes afterwards.
"""

from __future__ import annotations

import ast

from stemfirst.tiers import Tier

from stemfirst_lint.fix.blocks import Shape, blocks_of
from stemfirst_lint.fix.calls import CallError, Mended
from stemfirst_lint.fix.flat import flatten
from stemfirst_lint.fix.layout import Span
from stemfirst_lint.fix.literal import Literal, take_apart
from stemfirst_lint.fix.prove import Edit
from stemfirst_lint.fix.purity import Effect, effect_of
from stemfirst_lint.fix.safety import Refusal
from stemfirst_lint.fix.spelling import spell
from stemfirst_lint.model import Applicability, Form, Kind, Location, Site, Template
from stemfirst_lint.source import Source

_WHOLE = (Shape.LABELLED, Shape.SENTENCE, Shape.TAGGED, Shape.HEADED)
_ATOMS = (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.Constant, ast.JoinedStr)


def in_the_newest_turn(text: str, template: Template, site: Site) -> Mended:
    """Return the edits that take a clock out of a system message into the last user message.

    Args:
        text: the file that holds both messages.
        template: the system message's text, in which nothing else can move.
        site: where it is sent.

    Raises:
        CallError: the messages are written in a way that we do not rewrite.
    """
    if template.form is not Form.FSTRING or site.role != "system":
        raise CallError("the system message is no f-string")
    source = Source("", text)
    tree = ast.parse(text)
    start, end = _span(source, template.location)
    system, turn = _messages(tree, source, _span(source, site.location))
    content = _content(turn)
    if not source.span(system)[0] <= start < source.span(system)[1]:
        _check_name(tree, source, system, (start, end))
    literal = take_apart(text[start:end], is_format=False)
    flat = flatten(template.pieces)
    if literal.text != flat.text:
        raise CallError("the source does not read as the template that was checked")
    clocks = [hole.verdict.kind is Kind.CLOCK for hole in flat.holes]
    tiers = [hole.verdict.tier or Tier.STATIC for hole in flat.holes]
    blocks = blocks_of(flat, lambda hole: tiers[hole] > Tier.STATIC)
    moving = [
        (number, block)
        for number, block in enumerate(blocks)
        if any(clocks[hole] for hole in flat.holes_in(block.start, block.end))
    ]
    if len(moving) != 1 or len(blocks) < 2:
        raise CallError("the clock has no block of its own")
    number, block = moving[0]
    inside = flat.holes_in(block.start, block.end)
    if block.shape not in _WHOLE or not all(clocks[hole] for hole in inside):
        raise CallError("the clock is woven into its sentence")
    if any(effect_of(flat.holes[hole].source) is not Effect.NONE for hole in inside):
        raise CallError("reading the clock may do something else, too")
    if number == len(blocks) - 1:
        runs = (Span(0, blocks[number - 1].end), Span(block.end, len(flat.text)))
    else:
        runs = (Span(0, block.start), Span(blocks[number + 1].start, len(flat.text)))
    left = spell(literal, [run for run in runs if run.start < run.end])
    moved = spell(literal, (Span(block.start, block.end),))
    _prove(literal, left, moved)
    at = source.span(content)
    said = text[slice(*at)] if isinstance(content, _ATOMS) else f"({text[slice(*at)]})"
    edits = (Edit(start, end, left), Edit(*at, f"{_with_gap(moved)} + {said}"))
    note = Refusal(
        "the time would stand in the newest user message",
        "store that turn with it, or the history changes afterwards",
    )
    ordered = sorted(edits, key=lambda edit: edit.start)
    return Mended(tuple(ordered), Applicability.RISKY, (note,), "moved to the newest user message")


def _span(source: Source, place: Location) -> tuple[int, int]:
    starts = source.starts
    return (
        starts[place.line - 1] + place.column - 1,
        starts[place.end_line - 1] + place.end_column - 1,
    )


def _messages(tree: ast.Module, source: Source, span: tuple[int, int]) -> tuple[ast.expr, ast.Dict]:
    """Return the system message and the last message, of one list that is written down."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.List):
            continue
        for element in node.elts:
            if source.span(element) == span:
                last = node.elts[-1]
                if last is element or not isinstance(last, ast.Dict):
                    raise CallError("no user message is written down behind it")
                return element, last
    raise CallError("the messages are not written down as one list")


def _content(turn: ast.Dict) -> ast.expr:
    items = {
        key.value: value
        for key, value in zip(turn.keys, turn.values, strict=True)
        if isinstance(key, ast.Constant)
    }
    role, content = items.get("role"), items.get("content")
    if not isinstance(role, ast.Constant) or role.value != "user" or content is None:
        raise CallError("the last message is none of the user")
    if isinstance(content, ast.List | ast.Tuple | ast.ListComp | ast.Dict):
        raise CallError("the user's message has parts of its own")
    return content


def _check_name(tree: ast.Module, source: Source, system: ast.expr, span: tuple[int, int]) -> None:
    """Check that a text with a name is used for this message alone, in one function."""
    names = [
        statement.targets[0].id
        for statement in ast.walk(tree)
        if isinstance(statement, ast.Assign)
        and len(statement.targets) == 1
        and isinstance(statement.targets[0], ast.Name)
        and source.span(statement.value) == span
    ]
    if not names:
        raise CallError("the system message is made somewhere else")
    functions = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and source.span(node)[0] <= span[0] < source.span(node)[1]
    ]
    own = functions[-1] if functions else tree
    uses = [n for n in ast.walk(own) if isinstance(n, ast.Name) and n.id == names[0]]
    inside = [n for n in ast.walk(system) if isinstance(n, ast.Name) and n.id == names[0]]
    if len(inside) != 1 or len(uses) != 2:
        raise CallError("the system message is used in another way, too")


def _prove(old: Literal, left: str, moved: str) -> None:
    """Check that both texts together hold the words and the fields of the old one."""
    new = [take_apart(source, is_format=False) for source in (left, moved)]
    words = sorted(word for literal in new for word in literal.text.split())
    fields = sorted(hole for literal in new for hole in literal.holes)
    if words != sorted(old.text.split()) or fields != sorted(old.holes):
        raise CallError("text would be lost on the way")


def _with_gap(literal: str) -> str:
    """Return a literal that ends in an empty line."""
    read = take_apart(literal, is_format=False)
    last = read.parts[-1]
    if last.is_raw or len(read.parts) > 1:
        return f'{literal} + "\\n\\n"'
    return f"{literal[: -len(last.quote)]}\\n\\n{last.quote}"
