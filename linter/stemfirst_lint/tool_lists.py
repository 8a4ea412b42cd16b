"""Lists of tools in which what is found at run time stands before what the source spells out.

Knows sums and displays of lists, calls that ask somebody else for tools, and where in a definition
a set's order shows. Knows nothing of rules. What is neither surely spelled out nor surely asked for
says nothing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from stemfirst.tiers import Tier

from stemfirst_lint.flow import Flow
from stemfirst_lint.habits import Habit, HabitKind
from stemfirst_lint.model import Argument, Evidence, Kind, Verdict
from stemfirst_lint.origins import Origin, Origins
from stemfirst_lint.pieces import name_of
from stemfirst_lint.scopes import Use, last_name

_ASKS = re.compile(
    r"(?:^|_)(?:list|get|load|fetch|discover|search|retrieve|select|find|query)_(?:\w+_)?tools?$"
)


def tools_found_first(node: ast.expr, use: Use, origins: Origins) -> Iterator[Habit]:
    """Yield a habit for each list of tools that begins with tools found at run time.

    Args:
        node: what a call is given as its tools.
        use: where.
        origins: follows names.
    """
    for origin in origins.of(node, use):
        parts = parts_of(origin.node)
        kinds = [_kind(part, origin, origins) for part in parts]
        if "stays" not in kinds or "asked" not in kinds:
            continue
        last = max(at for at, kind in enumerate(kinds) if kind == "stays")
        place = origin.use.scope.module.source.place
        found = [
            Evidence(f"`{ast.unparse(part)}` is found at run time", place(part))
            for at, (part, kind) in enumerate(zip(parts, kinds, strict=True))
            if kind == "asked" and at < last
        ]
        if found:
            verdict = Verdict(Tier.SESSION, Kind.RETRIEVAL, tuple(found))
            where = place(origin.node)
            yield Habit(
                HabitKind.FOUND_TOOLS_FIRST,
                where,
                found[0].text.split("`")[1],
                Argument("tools", where, verdict),
            )


def set_in_a_tool(node: ast.expr, use: Use, origins: Origins, flow: Flow) -> Habit | None:
    """Return a habit for the first text or list in a tool's definition that is made of a set."""
    for origin in origins.of(node, use):
        tools = origin.node.elts if isinstance(origin.node, ast.List) else ()
        for tool in tools:
            inner: ast.expr | None = tool if isinstance(tool, ast.Dict) else None
            while isinstance(inner, ast.Dict | ast.List | ast.Tuple):
                parts = inner.values if isinstance(inner, ast.Dict) else inner.elts
                inner = next(
                    (p for p in parts if flow.verdict(p, origin.use).kind is Kind.SET), None
                )
            if inner is not None and flow.verdict(inner, origin.use).kind is Kind.SET:
                where = origin.use.scope.module.source.place(inner)
                name = name_of(inner)
                about = Argument(name, where, flow.verdict(inner, origin.use))
                return Habit(HabitKind.SET_IN_TOOL, where, name, about)
    return None


def parts_of(node: ast.expr) -> list[ast.expr]:
    """Return the operands of a sum, or the elements of a display; nothing of anything else."""
    match node:
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return [*(parts_of(left) if isinstance(left, ast.BinOp) else [left]), right]
        case ast.List(elts=elements):
            return elements
    return []


def _kind(part: ast.expr, origin: Origin, origins: Origins) -> str:
    """Return `stays` for what is spelled out, `asked` for what a call gives, else nothing."""
    node = part.value if isinstance(part, ast.Starred) else part
    found = origins.of(node, origin.use)
    if found and all(_is_spelled_out(each.node) for each in found):
        return "stays"
    return "asked" if any(_asks(each.node) for each in found) or _asks(node) else ""


def _is_spelled_out(node: ast.expr) -> bool:
    return isinstance(node, ast.List | ast.Tuple | ast.Dict) and not any(
        isinstance(
            inner, ast.Call | ast.Await | ast.ListComp | ast.IfExp | ast.Starred | ast.JoinedStr
        )
        for inner in ast.walk(node)
    )


def _asks(node: ast.expr) -> bool:
    """True for `await session.list_tools()`, `get_tools(user)` and what is made of them."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    match node:
        case ast.Await(value=ast.Call(func=called)):
            return _ASKS.search(last_name(called) or "") is not None
        case ast.Call(func=called, args=arguments, keywords=keywords):
            is_named = _ASKS.search(last_name(called) or "") is not None
            return is_named and bool(arguments or keywords)
        case ast.ListComp(generators=[ast.comprehension(iter=listed)]):
            return _asks(listed)
    return False
