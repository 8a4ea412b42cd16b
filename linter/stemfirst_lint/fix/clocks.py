"""Clocks that the author of a project does not want to move: coarser, or read once.

Knows how Python shows a time, and what lives as long as a session: an object. Text in, edits out.
Does not decide what the author wants (`config`) and moves nothing (`plan`).
"""

from __future__ import annotations

import ast
import builtins
import re
from dataclasses import dataclass

from stemfirst_lint.errors import LintError
from stemfirst_lint.fix.prove import Edit
from stemfirst_lint.fix.safety import Refusal
from stemfirst_lint.model import (
    Applicability,
    Finding,
    Form,
    Hole,
    Kind,
    Resolution,
    Template,
    Text,
)
from stemfirst_lint.source import Source

_MOMENTS = frozenset({"now", "utcnow", "today", "localtime"})
"""Calls that give what has `date()`, `strftime()` and `isoformat()`."""
_SECONDS = frozenset({"time", "time_ns", "ctime", "asctime"})
_TIME = r"%[-#]?[HIMSfpXzZsTRr]"
_TIMES = re.compile(
    rf"(?:\s*,\s*|\s+at\s+|[\sT@_-]+)?{_TIME}(?:[:.,\s]*{_TIME})*(?:\s*(?:Z|UTC|GMT)\b)?"
)
_DATES = re.compile(r"%[-#]?[YymdbBaAjxDFGuVU]")
_SPEAKS_OF_TIME = re.compile(
    r"\b(?:time|timestamp|clock|hour|minute|second|moment|now)s?\b", re.IGNORECASE
)
_DAY = "%Y-%m-%d"
_ATTRIBUTE = "_session_time"


class ClockError(LintError):
    """A clock that stays as it is; the message says why."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A clock that moves less often.

    Attributes:
        edits: what changes in the file; the last one is that of the prompt's own value.
        applicability: `REORDER` if what stands around it still holds, else `RISKY`.
        notes: what to look at.
        verb: what became of it, in words.
    """

    edits: tuple[Edit, ...]
    applicability: Applicability
    notes: tuple[Refusal, ...]
    verb: str


def is_restless(finding: Finding) -> bool:
    """Return True if a finding is about a clock that moves more than once a day."""
    verdict = finding.hole.verdict if finding.hole is not None else None
    return (
        verdict is not None
        and verdict.kind is Kind.CLOCK
        and verdict.resolution is not Resolution.DAY
    )


def coarsened(text: str, template: Template, hole: Hole) -> Settled:
    """Return the edit that makes a clock show the day alone.

    Args:
        text: the file, which holds the template and the value.
        template: whose hole it is.
        hole: the clock.

    Raises:
        ClockError: how the time is shown cannot be told.
    """
    source, (start, end) = _value(text, hole)
    if hole.conversion == "r" or hole.is_debug:
        raise ClockError("it is shown by its `repr`")
    if template.form is Form.JINJA or (template.calls and _is_taken_apart(template, hole)):
        raise ClockError("the template shows a part of it, or shows it twice")
    spec = hole.format_spec
    function = _function_at(ast.parse(text), Source("", text), start)
    if spec:
        place = hole.value_location
        is_apart = place is None or place.path != hole.location.path
        is_shared = template.is_shared or len(template.calls) > 1
        if is_apart or is_shared or "{" in spec or not _is_moment(_parsed(source), function):
            raise ClockError("who shows it, and how, cannot be told")
        inner = _range(Source("", text), hole)
        at = text.rindex(f":{spec}", *inner) + 1
        edits = [Edit(at, at + len(spec), _coarser_format(spec))]
    else:
        edits = [Edit(start, end, new) for new in _coarser(source, function)]
    for edit in edits:
        if _parses(text, [edit]):
            return _judged(template, hole, (edit,), "shown by its day")
    raise ClockError("the quotes around it leave no room for a format")


def frozen(text: str, template: Template, hole: Hole) -> Settled:
    """Return the edits that read a clock once, when the object that asks is made.

    Raises:
        ClockError: no object here lives as long as a session, or the value needs more than it has.
    """
    source, (start, end) = _value(text, hole)
    whole = Source("", text)
    tree = ast.parse(text)
    function = _function_at(tree, whole, start)
    owner = next(
        (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and function in n.body), None
    )
    init = next(
        (
            n
            for n in (owner.body if owner is not None else ())
            if isinstance(n, ast.FunctionDef) and n.name == "__init__" and n.args.args
        ),
        None,
    )
    if owner is None or function is None or init is None or init is function:
        raise ClockError("no object here lives as long as a session")
    me = init.args.args[0].arg
    if not function.args.args or function.args.args[0].arg != me or _is_strict(owner):
        raise ClockError("the object takes no new attribute")
    value = _without_locals(source, function, whole, tree)
    name = _ATTRIBUTE
    number = 1
    while re.search(rf"\b{name}\b", text):
        number += 1
        name = f"{_ATTRIBUTE}_{number}"
    body = [n for n in init.body if not _is_docstring(n)] or init.body
    at = whole.span(body[0])[0]
    line = text.rfind("\n", 0, at) + 1
    indent = text[line:at]
    if indent.strip() or _is_docstring(body[0]):
        raise ClockError("its `__init__` has no line to read the clock on")
    newline = "\r\n" if "\r\n" in text else "\n"
    edits = (
        Edit(line, line, f"{indent}{me}.{name} = {value}{newline}"),
        Edit(start, end, f"{me}.{name}"),
    )
    if not _parses(text, list(edits)):
        raise ClockError("the new source does not parse")
    note = Refusal(
        f"a session is taken to live as long as one `{owner.name}`", "look where it is made"
    )
    return Settled(edits, Applicability.RISKY, (note,), f"read once, when a `{owner.name}` is made")


def _is_taken_apart(template: Template, hole: Hole) -> bool:
    """True if a template that is filled by a call does more with a value than show it once."""
    roots = [re.split(r"[.\[]", other.name)[0] for other in template.holes]
    root = re.split(r"[.\[]", hole.name)[0]
    return root != hole.name or roots.count(root) > 1


def _is_strict(owner: ast.ClassDef) -> bool:
    """True if a class may refuse attributes that it does not declare."""
    has_slots = any("__slots__" in _stored(statement) for statement in owner.body)
    return (
        has_slots
        or bool(owner.decorator_list)
        or any(
            "Model" in ast.unparse(base) or "Schema" in ast.unparse(base) for base in owner.bases
        )
    )


def _judged(template: Template, hole: Hole, edits: tuple[Edit, ...], verb: str) -> Settled:
    """Say what a person must look at: a line that promises more than a day."""
    flat = "".join(
        piece.text if isinstance(piece, Text) else ("\0" if piece is hole else "…")
        for piece in template.pieces
    )
    line = next((line for line in flat.split("\n") if "\0" in line), "")
    if not _SPEAKS_OF_TIME.search(line):
        return Settled(edits, Applicability.REORDER, (), verb)
    shown = line.strip().replace("\0", "{…}")
    note = Refusal(f"“{shown[:60]}” speaks of more than a day", "say “date” instead")
    return Settled(edits, Applicability.RISKY, (note,), verb)


def _range(source: Source, hole: Hole) -> tuple[int, int]:
    place = hole.location
    starts = source.starts
    return (
        starts[place.line - 1] + place.column - 1,
        starts[place.end_line - 1] + place.end_column - 1,
    )


def _value(text: str, hole: Hole) -> tuple[str, tuple[int, int]]:
    """Return the source of a hole's value and its offsets."""
    place = hole.value_location
    if place is None:
        raise ClockError("its value is not seen")
    starts = Source("", text).starts
    start = starts[place.line - 1] + place.column - 1
    end = starts[place.end_line - 1] + place.end_column - 1
    if text[start:end] != hole.source:
        raise ClockError("its value stands elsewhere")
    return hole.source, (start, end)


def _parsed(source: str) -> ast.expr:
    try:
        return ast.parse(f"({source}\n)", mode="eval").body
    except (SyntaxError, ValueError, RecursionError):
        raise ClockError("its value cannot be read") from None


_Function = ast.FunctionDef | ast.AsyncFunctionDef


def _function_at(tree: ast.Module, source: Source, at: int) -> _Function | None:
    """Return the innermost function around an offset."""
    found: _Function | None = None
    for node in ast.walk(tree):
        if isinstance(node, _Function):
            start, end = source.span(node)
            if start <= at < end:
                found = node  # `walk` comes to inner ones later
    return found


def _assigned(name: str, function: _Function | None) -> list[ast.expr]:
    """Return all values that a function gives to a name; empty if it may have others."""
    if function is None:
        return []
    arguments = function.args
    every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    if any(argument.arg == name for argument in every):
        return []
    found: list[ast.expr] = []
    for node in ast.walk(function):
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                found.append(value)
            case ast.Name(id=target, ctx=ast.Store()) if target == name:
                found.append(node)
    # each assignment is seen twice: as itself and as its target
    stores = [node for node in found if isinstance(node, ast.Name)]
    values = [node for node in found if not isinstance(node, ast.Name)]
    return values if len(stores) == len(values) else []


def _is_moment(node: ast.expr, function: _Function | None) -> bool:
    """True for what is a `datetime`: `datetime.now()`, and a name that is nothing else."""
    match node:
        case ast.Call(func=ast.Attribute(attr=attr)):
            if attr in ("astimezone", "replace"):
                assert isinstance(node.func, ast.Attribute)
                return _is_moment(node.func.value, function)
            owner = node.func.value if isinstance(node.func, ast.Attribute) else None
            is_date = isinstance(owner, ast.Name) and owner.id in ("date", "time")
            return attr in _MOMENTS and not is_date
        case ast.Name(id=name):
            values = _assigned(name, function)
            return bool(values) and all(_is_moment(value, None) for value in values)
    return False


def _coarser(source: str, function: _Function | None) -> list[str]:
    """Return ways to spell a value by its day; the first that fits its quotes is taken."""
    node = _parsed(source)
    whole = f"({source}\n)"
    reader = Source("", whole)

    def shown(inner: ast.expr) -> str:
        start, end = reader.span(inner)
        return whole[start:end]

    if _is_moment(node, function):
        return [f"{source}.date()"]
    match node:
        case ast.Call(func=ast.Attribute(attr="isoformat" | "ctime", value=moment)):
            if _is_moment(moment, function):
                return [f"{shown(moment)}.date().isoformat()"]
        case ast.Call(func=ast.Attribute(attr="strftime", value=owner), args=[form, *_]):
            is_time = isinstance(owner, ast.Name) and owner.id == "time"
            is_text = isinstance(form, ast.Constant) and isinstance(form.value, str)
            if is_text and (is_time or _is_moment(owner, function)):
                assert isinstance(form, ast.Constant)
                start, end = reader.span(form)
                written = whole[start + 1 : end - 1]
                if written == form.value:
                    new = whole[: start + 1] + _coarser_format(written) + whole[end - 1 :]
                    return [new[1:-2]]
        case ast.Call(func=ast.Name(id="str" | "int" | "round" | "float"), args=[inner]):
            if _is_moment(inner, function):
                return [f"str({shown(inner)}.date())"]
            return _coarser(shown(inner), function)
        case ast.Call(func=ast.Attribute(attr=attr, value=ast.Name(id="time")), args=[]):
            if attr in _SECONDS:
                return [f"time.strftime({quote}{_DAY}{quote})" for quote in "'\""]
    raise ClockError("how it is shown cannot be told")


def _coarser_format(form: str) -> str:
    """Return a format without the directives of hours and less; the ISO date if none is left."""
    left = _TIMES.sub("", form).strip(" ,T")
    if not _DATES.search(left) or re.search(_TIME, left) or "%c" in left or "%+" in left:
        return _DAY
    return left


def _without_locals(source: str, function: _Function, whole: Source, tree: ast.Module) -> str:
    """Return a value's source in which every local name is what was assigned to it."""
    node = _parsed(source)
    known = {name for statement in tree.body for name in _bound(statement)} | set(dir(builtins))
    if isinstance(node, ast.Name) and node.id not in known:
        values = _assigned(node.id, function)
        if len(values) == 1:
            start, end = whole.span(values[0])
            source = whole.text[start:end]
            node = values[0]
    own = {name for statement in function.body for name in _stored(statement)}
    own |= {argument.arg for argument in ast.walk(function.args) if isinstance(argument, ast.arg)}
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and (inner.id in own or inner.id not in known):
            raise ClockError(f"it needs `{inner.id}`, which only the call has")
    if "\n" in source:
        raise ClockError("its value stands on several lines")
    return source


def _stored(statement: ast.stmt) -> set[str]:
    nodes = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
    return {node.id for node in nodes if isinstance(node.ctx, ast.Store)}


def _bound(statement: ast.stmt) -> set[str]:
    """Return the names that a statement of a module binds."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).partition(".")[0] for alias in statement.names}
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    return _stored(statement)


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _parses(text: str, edits: list[Edit]) -> bool:
    for edit in sorted(edits, key=lambda edit: edit.start, reverse=True):
        text = text[: edit.start] + edit.new + text[edit.end :]
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True
