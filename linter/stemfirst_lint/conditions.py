"""Finds constant text that a condition adds in front of other text that stays.

Knows `if` statements that add to a text or to a list of its parts, and fields that are one constant
or another. What decides must be known to vary. Knows nothing of rules.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator

from stemfirst.tiers import Tier

from stemfirst_lint.constants import constant_text
from stemfirst_lint.flow import Flow
from stemfirst_lint.habits import Habit, HabitKind
from stemfirst_lint.model import Argument, Form, Hole, Request, Site, Text
from stemfirst_lint.scopes import Scope, ScopeKind, Use
from stemfirst_lint.syntax import shown

_LEAST_CHARACTERS = 12
_END = 1 << 60


def conditional_requests(flow: Flow, sites: Iterable[Site]) -> Iterator[Request]:
    """Yield for each site with such text a request that tells of it."""
    for site in sites:
        if site.follows_history:
            continue
        habits = tuple(_habits(flow, site))
        if habits:
            yield Request(site.location, habits=habits)


def _habits(flow: Flow, site: Site) -> Iterator[Habit]:
    scope = _function_of(flow, site)
    if scope is None:
        return
    if site.template.form in (Form.CONCAT, Form.JOIN):
        yield from _added(flow, site, scope)
    for at, piece in enumerate(site.template.pieces):
        if (
            isinstance(piece, Hole)
            and piece.verdict.is_stable
            and piece.constant_text is None
            and " if " in piece.source
            and not _varies_before(site, at, Tier.TENANT)
        ):
            try:
                node = ast.parse(piece.source, mode="eval").body
            except (SyntaxError, ValueError):
                continue  # a multi-line field of an f-string
            if isinstance(node, ast.IfExp) and _is_long(node):
                about = _about(flow, node.test, Use(scope, _END, ()), piece)
                if about is not None:
                    texts = _stable(site, at + 1, about.verdict.tier)
                    yield Habit(
                        HabitKind.CONDITIONAL_TEXT, piece.location, about.name, about, texts,
                        site=site,
                    )  # fmt: skip


def _added(flow: Flow, site: Site, scope: Scope) -> Iterator[Habit]:
    """`if flag: prompt += "..."` and `if flag: parts.append("...")`."""
    for node in ast.walk(scope.node):
        if not isinstance(node, ast.If) or node.orelse:
            continue
        for statement in node.body:
            value: ast.expr | None = None
            match statement:
                case ast.AugAssign(target=ast.Name(), op=ast.Add()):
                    value = statement.value
                case ast.Expr(value=ast.Call(func=ast.Attribute(attr="append"), args=[given])):
                    value = given
            if value is None:
                continue
            use = Use(scope, _END, ())
            text = constant_text(flow.project, value, use)
            if text is None or len(text.strip()) < _LEAST_CHARACTERS:
                continue
            for at, piece in enumerate(site.template.pieces):
                if not isinstance(piece, Text) or text not in piece.text:
                    continue
                source = scope.module.source
                about = _about(flow, node.test, use, None)
                if about is not None and not _varies_before(site, at, about.verdict.tier):
                    behind = piece.text.partition(text)[2]
                    texts = (
                        *((behind,) if behind else ()),
                        *_stable(site, at + 1, about.verdict.tier),
                    )
                    yield Habit(
                        HabitKind.CONDITIONAL_TEXT, source.place(value), about.name, about, texts,
                        site=site,
                    )  # fmt: skip
                break


def _about(flow: Flow, test: ast.expr, use: Use, hole: Hole | None) -> Argument | None:
    """What decides, if it is known to differ between requests or users."""
    verdict = flow.verdict(test, use)
    if verdict.tier is None or verdict.tier < Tier.TENANT:
        return None
    place = hole.location if hole is not None else use.scope.module.source.place(test)
    return Argument(shown(test), place, verdict)


def _is_long(node: ast.IfExp) -> bool:
    return any(
        isinstance(arm, ast.Constant) and len(str(arm.value)) >= _LEAST_CHARACTERS
        for arm in (node.body, node.orelse)
    )


def _varies_before(site: Site, at: int, tier: Tier | None) -> bool:
    """True if a hole in front varies as often: then nothing more is lost here."""
    return any(
        isinstance(piece, Hole) and (piece.verdict.tier or Tier.STATIC) >= (tier or Tier.TENANT)
        for piece in site.template.pieces[:at]
    )


def _stable(site: Site, at: int, tier: Tier | None) -> tuple[str, ...]:
    """The texts that stay from a piece on, up to a hole that varies as often as what decides."""
    found: list[str] = []
    for piece in site.template.pieces[at:]:
        if isinstance(piece, Text):
            found.append(piece.text)
        elif piece.constant_text is not None:
            found.append(piece.constant_text)
        elif (piece.verdict.tier or Tier.STATIC) >= (tier or Tier.TENANT):
            return tuple(found)
    return (*found, *site.following.texts)


def _function_of(flow: Flow, site: Site) -> Scope | None:
    """The innermost function that a template's text stands in."""
    place = site.template.location
    module = flow.project.modules.get(os.path.abspath(place.path))
    if module is None:
        return None
    best: Scope | None = None
    for scope in module.functions:
        if scope.kind is not ScopeKind.FUNCTION or isinstance(scope.node, ast.Lambda):
            continue
        first = getattr(scope.node, "lineno", 0)
        last = getattr(scope.node, "end_lineno", 0)
        if first <= place.line <= last and (
            best is None or first >= getattr(best.node, "lineno", 0)
        ):
            best = scope
    return best
