"""Markers of a request against what its provider needs: missing, on too little, or not sent on.

Knows the keywords of Anthropic's client, and of clients that take its markers for other models.
Knows nothing of rules.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator

from stemfirst.providers import cache_rules, has_breakpoints

from stemfirst_lint.constants import Constants, NotConstant, constant_text
from stemfirst_lint.habits import Habit, HabitKind
from stemfirst_lint.index import ModuleIndex
from stemfirst_lint.model import Location, Marker
from stemfirst_lint.origins import Origins
from stemfirst_lint.project import External
from stemfirst_lint.scopes import CallUse, Use, last_name

_MARK = "cache_control"
_MESSAGES = ("SystemMessage", "HumanMessage", "AIMessage", "ToolMessage")


class Marking:
    """Answers for one project."""

    def __init__(self, origins: Origins) -> None:
        self.origins = origins
        self.project = origins.project
        self.constants = Constants(origins.project)

    def of(
        self, call: CallUse, keywords: dict[str, ast.expr], markers: tuple[Marker, ...]
    ) -> Iterator[Habit]:
        """Yield what the markers of a call, or their lack, come to."""
        module = call.use.scope.module
        model = self._model(keywords.get("model"), call.use)
        if markers and model is not None and _is_without_markers(model):
            yield Habit(HabitKind.DROPPED_MARKER, markers[0].location, model, model=model)
            return
        if not _is_anthropic(call.node):
            return
        told = module.source.text.count(_MARK)
        if not told and call.use.loops:
            texts = self._stable(keywords, call.use)
            if texts:
                place = module.source.place(keywords["system"])
                yield Habit(HabitKind.NO_MARKER, place, "system", texts=texts, model=model)
        elif markers and told == len(markers) and model is not None:
            yield from self._short(keywords, call.use, markers, model)

    def _short(
        self, keywords: dict[str, ast.expr], use: Use, markers: tuple[Marker, ...], model: str
    ) -> Iterator[Habit]:
        """The last marker, if all in front of it is known: then it holds the longest prefix."""
        if any(marker.part != "system" for marker in markers):
            return
        tools = self._tools(keywords.get("tools"), use)
        if tools is None:
            return
        texts = [tools] if tools else []
        for origin in self.origins.of(keywords["system"], use)[:1]:
            if not isinstance(origin.node, ast.List):
                return
            for block in origin.node.elts:
                text = _item(block, "text")
                constant = (
                    constant_text(self.project, text, origin.use) if text is not None else None
                )
                if constant is None:
                    return
                texts.append(constant)
                place = origin.use.scope.module.source.place(block)
                if place == markers[-1].location:
                    found = tuple(texts)
                    yield Habit(HabitKind.SHORT_PREFIX, place, "system", texts=found, model=model)
                    return

    def _stable(self, keywords: dict[str, ast.expr], use: Use) -> tuple[str, ...]:
        """The constant texts of tools and system message; none where the latter is unknown."""
        system = keywords.get("system")
        if system is None:
            return ()
        text = constant_text(self.project, system, use)
        if text is None:
            return ()
        return tuple(filter(None, (self._tools(keywords.get("tools"), use), text)))

    def _tools(self, node: ast.expr | None, use: Use) -> str | None:
        """The tools' JSON; empty without any, None where it is not known."""
        if node is None:
            return ""
        try:
            return json.dumps(self.constants.value(node, use), ensure_ascii=False)
        except (NotConstant, TypeError, ValueError, RecursionError):
            return None  # only running it would tell

    def _model(self, node: ast.expr | None, use: Use) -> str | None:
        return constant_text(self.project, node, use) if node is not None else None

    def lost_in_messages(self, module: ModuleIndex) -> Iterator[Habit]:
        """Yield markers among the `additional_kwargs` of LangChain's messages, which stay there."""
        if _MARK not in module.source.text:
            return
        for name in _MESSAGES:
            for call in module.calls.get(name, ()):
                given = next((k for k in call.node.keywords if k.arg == "additional_kwargs"), None)
                if given is None or _item(given.value, _MARK) is None:
                    continue
                meaning = self.project.meaning(call.node.func, call.use)
                if isinstance(meaning, External) and meaning.dotted.startswith("langchain"):
                    place: Location = module.source.place(given.value)
                    yield Habit(HabitKind.DROPPED_MARKER, place, f"{name}.additional_kwargs")


def _is_without_markers(model: str) -> bool:
    """True for models whose provider takes no marker, under whatever name."""
    rules = cache_rules(model)
    return rules is not None and rules.name.startswith("OpenAI") and not has_breakpoints(model)


def _is_anthropic(node: ast.Call) -> bool:
    """True for `client.messages.create(...)` and `client.messages.stream(...)`."""
    return (
        isinstance(node.func, ast.Attribute)
        and node.func.attr in ("create", "stream")
        and last_name(node.func.value) == "messages"
    )


def _item(node: ast.expr, name: str) -> ast.expr | None:
    """The value of a key of a dict that is written out."""
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == name:
                return value
    return None
