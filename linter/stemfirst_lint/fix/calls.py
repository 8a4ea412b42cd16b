"""Faults of a whole call, mended: windows, markers on text that varies, the order of tools.

Knows how a history is cut, how Anthropic's text blocks look, how tools are listed. Text in, edits
out; moves no word of a prompt.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from stemfirst.tiers import Tier

from stemfirst_lint.errors import LintError
from stemfirst_lint.fix.blocks import Shape, blocks_of
from stemfirst_lint.fix.flat import Flat, flatten
from stemfirst_lint.fix.layout import Span
from stemfirst_lint.fix.listings import listings_in
from stemfirst_lint.fix.literal import take_apart
from stemfirst_lint.fix.prove import Edit
from stemfirst_lint.fix.purity import Effect, effect_of
from stemfirst_lint.fix.safety import Refusal
from stemfirst_lint.fix.spelling import spell
from stemfirst_lint.fix.splice import decoded
from stemfirst_lint.fix.windows import in_steps
from stemfirst_lint.fix.words import HOLE
from stemfirst_lint.model import Applicability, Finding, Location, Template
from stemfirst_lint.source import Source, read_bytes
from stemfirst_lint.tool_lists import parts_of


class CallError(LintError):
    """A call that stays as it is; the message says why."""


@dataclass(frozen=True, slots=True)
class Mended:
    """A call's new source.

    Attributes:
        edits: what changes, in order of place.
        applicability: what it does to the text that the model reads.
        notes: what to look at.
        verb: what became of it, in words.
        only_sorts: True if nothing but `sorted(...)` was added.
    """

    edits: tuple[Edit, ...]
    applicability: Applicability
    notes: tuple[Refusal, ...]
    verb: str
    only_sorts: bool = False


def mended(text: str, finding: Finding, template: Template | None) -> Mended:
    """Return what mends a finding about a call.

    Args:
        text: the file that holds it.
        finding: SF203, SF401 or SF503.
        template: the text that stands where the finding does, if it was read.

    Raises:
        CallError: it is written in a way that we do not rewrite.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        raise CallError("the file does not parse") from None
    source = Source("", text)
    span = _span(source, finding.location)
    match finding.code:
        case "SF401":
            return _windowed(tree, source, span)
        case "SF503":
            return _split(tree, source, span, template)
        case "SF203":
            if len(finding.evidence) and any(parts_of(node) for node in _at(tree, source, span)):
                return _those_that_stay_first(tree, source, span, finding)
            return _sorted_tools(tree, source, span)
    raise CallError("no rewriting mends it")


def applicability_of(finding: Finding) -> Applicability | None:
    """Return what `fix` would do about a finding about a call, or None if nothing."""
    path = finding.location.path
    try:
        text, _ = decoded(path, read_bytes(path))
        return mended(text, finding, finding.template).applicability
    except LintError:
        return None


def _span(source: Source, place: Location) -> tuple[int, int]:
    starts = source.starts
    return (
        starts[place.line - 1] + place.column - 1,
        starts[place.end_line - 1] + place.end_column - 1,
    )


def _at(tree: ast.AST, source: Source, span: tuple[int, int]) -> Iterator[ast.expr]:
    """Yield the expressions that stand exactly in a range."""
    for node in ast.walk(tree):
        if isinstance(node, ast.expr) and source.span(node) == span:
            yield node


def _windowed(tree: ast.AST, source: Source, span: tuple[int, int]) -> Mended:
    """A history that loses a message a turn loses many, rarely, instead."""
    note = Refusal(
        "between two cuts fewer messages are sent, by up to half",
        "summarise what is dropped, or raise the limit",
    )
    return Mended(in_steps(tree, source, span), Applicability.RISKY, (note,), "cut in steps")


# Markers

_MARKERS = frozenset({"cache_control", "prompt_cache_breakpoint"})
"""Anthropic's, and OpenAI's."""


def _split(
    tree: ast.Module, source: Source, span: tuple[int, int], template: Template | None
) -> Mended:
    """Give the text that stays a block of its own, which keeps the marker."""
    block = next(
        (
            element
            for node in ast.walk(tree)
            if isinstance(node, ast.List)
            for element in node.elts
            if isinstance(element, ast.Dict)
            and any(source.span(value) == span for value in element.values)
        ),
        None,
    )
    if block is None or None in block.keys:
        raise CallError("the marked block does not stand in a list")
    names = {key.value for key in block.keys if isinstance(key, ast.Constant)}
    if len(names) != 3 or not {"type", "text"} < names or not names & _MARKERS:
        raise CallError("the marked block has more than a text and a marker")
    literal = take_apart(source.text[span[0] : span[1]], is_format=False)
    offsets = tuple(match.start() for match in re.finditer(HOLE, literal.text))
    flat = Flat(literal.text, (), offsets)
    if template is not None and flatten(template.pieces).text == literal.text:
        varies = [(hole.verdict.tier or Tier.STATIC) > Tier.STATIC for hole in template.holes]
    else:
        kept = _constants_in(tree, source, span)
        varies = [number not in kept for number in range(len(offsets))]
    for unit in blocks_of(flat, varies.__getitem__):
        inside = [hole for hole in flat.holes_in(unit.start, unit.end) if varies[hole]]
        if inside:
            cut = unit.start
            if unit.shape is Shape.HEADED:  # the words stay in their order, wherever it is cut
                cut = max(cut, flat.text.rfind("\n\n", 0, offsets[inside[0]]) + 2)
            break
    else:
        raise CallError("nothing in the marked text varies")
    if not flat.text[:cut].strip():
        raise CallError("no text that stays leads it; put such text first")
    first = spell(literal, (Span(0, cut),))
    second = spell(literal, (Span(cut, len(flat.text)),))
    whole = take_apart(first, is_format=False), take_apart(second, is_format=False)
    if whole[0].text + whole[1].text != literal.text or (
        whole[0].holes + whole[1].holes != literal.holes
    ):
        raise CallError("the two blocks do not read as the one did")
    end = source.span(block)[1]
    behind = re.compile(r",[ \t]*#[^\n]*\n").match(source.text, end)
    line = source.text.rfind("\n", 0, source.span(block)[0]) + 1
    lead = source.text[line : source.span(block)[0]]
    joint = f",\n{lead}" if not lead.strip() else ", "
    kind = next(
        source.text[slice(*source.span(value))].replace("'", '"')
        for key, value in zip(block.keys, block.values, strict=True)
        if isinstance(key, ast.Constant) and key.value == "type"
    )
    new = f'{{"type": {kind}, "text": {second}}}'
    made = Edit(end, end, f"{joint}{new}")
    if behind and not lead.strip():  # the comment is about the block that keeps the marker
        made = Edit(behind.end(), behind.end(), f"{lead}{new},\n")
    edits = (Edit(*span, first), made)
    return Mended(edits, Applicability.REORDER, (), "split behind the text that stays")


def _constants_in(tree: ast.Module, source: Source, span: tuple[int, int]) -> set[int]:
    """Return the numbers of the holes that are named constants: of a text that was not read."""
    found: set[int] = set()
    node = next((node for node in _at(tree, source, span) if isinstance(node, ast.JoinedStr)), None)
    values = node.values if node is not None else []
    holes = [value.value for value in values if isinstance(value, ast.FormattedValue)]
    for number, hole in enumerate(holes):
        scope = _scope_of(tree, hole)
        if any(isinstance(arg, ast.arg) and arg.arg == _name(hole) for arg in ast.walk(scope)):
            continue
        made = _value_of(tree, hole)
        if made is not hole and isinstance(made, ast.Constant) and isinstance(made.value, str):
            found.add(number)
    return found


def _name(node: ast.expr) -> str | None:
    return node.id if isinstance(node, ast.Name) else None


# Tools


def _sorted_tools(tree: ast.Module, source: Source, span: tuple[int, int]) -> Mended:
    """Sort what a comprehension over a set, or over a listing of files, makes tools of."""
    for node in _at(tree, source, span):
        value = _value_of(tree, node)
        if isinstance(value, ast.ListComp) and len(value.generators) == 1:
            named = value.generators[0].iter
            break
    else:
        raise CallError("the tools are not listed by a comprehension")
    start, end = source.span(named)
    shown = source.text[start:end]
    made = _value_of(tree, named)
    if listings_in(shown) == ((0, len(shown)),):
        key = ""
    elif isinstance(made, ast.Set):
        texts = [isinstance(e, ast.Constant) and isinstance(e.value, str) for e in made.elts]
        key = "" if all(texts) else ", key=str"
    elif isinstance(made, ast.SetComp) or (
        isinstance(made, ast.Call)
        and isinstance(made.func, ast.Name)
        and made.func.id in ("set", "frozenset")
    ):
        key = ", key=str"
    else:
        raise CallError("what is not in order is made elsewhere")
    edit = Edit(start, end, f"sorted({shown}{key})")
    return Mended((edit,), Applicability.IDENTICAL, (), "sorted", only_sorts=True)


def _those_that_stay_first(
    tree: ast.Module, source: Source, span: tuple[int, int], finding: Finding
) -> Mended:
    """Put the tools that are found at run time, as the finding tells them, behind the others."""
    found = {_span(source, told.location) for told in finding.evidence if told.location}
    whole = next(node for node in _at(tree, source, span) if parts_of(node))
    parts = parts_of(whole)
    if not any(source.span(part) in found for part in parts):
        raise CallError("the tools are listed elsewhere")
    simple = ast.Name | ast.Attribute | ast.Call | ast.Await | ast.List | ast.Subscript
    if not all(isinstance(part, simple | ast.Starred | ast.Dict | ast.ListComp) for part in parts):
        raise CallError("a part of the list is no name, call or display")
    if "#" in source.text[span[0] : span[1]]:
        raise CallError("a comment stands inside the list")
    order = sorted(range(len(parts)), key=lambda at: source.span(parts[at]) in found)
    texts = [source.text[slice(*source.span(part))] for part in parts]
    edits = tuple(
        Edit(*source.span(part), texts[other])
        for part, other in zip(parts, order, strict=True)
        if parts[other] is not part
    )
    notes: list[Refusal] = []
    effects = [effect_of(text.removeprefix("*")) is not Effect.NONE for text in texts]
    if [at for at in order if effects[at]] != [at for at in range(len(parts)) if effects[at]]:
        notes.append(
            Refusal("calls would run in another order", "call them on lines before the list")
        )
    name = next(
        (
            node.targets[0].id
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            and node.value is whole
            and isinstance(node.targets[0], ast.Name)
        ),
        None,
    )
    uses = sum(
        isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load)
        for node in ast.walk(_scope_of(tree, whole))
    )
    if name is not None and uses > 1:
        notes.append(
            Refusal(f"`{name}` is used in another way, too", "see that its order means nothing")
        )
    applicability = Applicability.RISKY if notes else Applicability.REORDER
    return Mended(edits, applicability, tuple(notes), "put behind the tools that stay")


def _scope_of(
    tree: ast.Module, node: ast.AST
) -> ast.Module | ast.FunctionDef | ast.AsyncFunctionDef:
    """Return the outermost function that holds a node, or the module: what is below may use it."""
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    pending: list[ast.AST] = [*tree.body]
    while pending:
        current = pending.pop()
        if isinstance(current, functions):
            if any(inner is node for inner in ast.walk(current)):
                return current
        else:
            pending.extend(ast.iter_child_nodes(current))
    return tree


def _value_of(tree: ast.Module, node: ast.expr) -> ast.expr:
    """Return what a name is bound to, if it is bound once where it is seen, else the node."""
    if not isinstance(node, ast.Name):
        return node
    own = _bound_once(_scope_of(tree, node), node)
    return own or _bound_once(tree, node) or node


def _bound_once(tree: ast.AST, node: ast.Name) -> ast.expr | None:
    """Return a name's only value below `tree`, the name itself if it has more, None if none."""
    stores = [
        found
        for found in ast.walk(tree)
        if isinstance(found, ast.Name)
        and found.id == node.id
        and not isinstance(found.ctx, ast.Load)
    ]
    values = [
        found.value
        for found in ast.walk(tree)
        if isinstance(found, ast.Assign)
        and len(found.targets) == 1
        and isinstance(found.targets[0], ast.Name)
        and found.targets[0].id == node.id
    ]
    if not stores:
        return node if isinstance(tree, ast.Module) else None
    return values[0] if len(values) == len(stores) == 1 else node
