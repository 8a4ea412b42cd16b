"""Which string of the request each character of the rendered prompt came from.

A chat template is a program, so nobody can ask it. Instead the conversation is rendered a second
time with a short marker in place of every string; what stands between the markers is the
template's own text, and the first rendering must be that text with the strings put back. Where
it is not (the template looked inside a string), nothing is claimed. Knows no tokens.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from stemfirst_server.errors import InvalidRequestError
from stemfirst_server.tokens.template import content_texts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stemfirst_server.tokens.template import ChatTemplate, Conversation

Path: TypeAlias = tuple[str | int, ...]

_MARKER = re.compile("\ue000(\\d+)\ue001")
"""Characters of the private use area; a prompt that holds them is not placed."""


@dataclass(frozen=True, slots=True)
class Place:
    """A run of the rendered text that is (a part of) one string of the request.

    Attributes:
        start: first character in the rendered text.
        end: one past the last.
        path: where the string stands in the request's body.
        text: the string itself.
        skipped: characters of the string that the template left out before the run.
        is_json: the run is a serialised object; its characters map to no byte of the request's.
    """

    start: int
    end: int
    path: Path
    text: str
    skipped: int = 0
    is_json: bool = False

    def byte_at(self, character: int) -> int | None:
        """Return the byte of the string at a character of the rendered text."""
        if self.is_json:
            return None
        within = max(character - self.start, 0) + self.skipped
        return len(self.text[:within].encode("utf-8", "surrogatepass"))


@dataclass(frozen=True, slots=True)
class Placement:
    """All runs of a rendered prompt that are the client's own, in the order of the text."""

    places: tuple[Place, ...]

    def at(self, start: int, end: int) -> Place | None:
        """Return the place that the characters from `start` to `end` begin in, or touch."""
        index = bisect_right(self.places, start, key=lambda place: place.start)
        if index and start < self.places[index - 1].end:
            return self.places[index - 1]
        if index < len(self.places) and self.places[index].start < end:
            return self.places[index]
        return None

    def renamed(self, paths: Mapping[Path, Path]) -> Placement:
        """Return the same places with paths of another body; those not in `paths` stay."""
        return Placement(
            tuple(replace(place, path=paths.get(place.path, place.path)) for place in self.places)
        )


NOWHERE = Placement(())


def place_text(text: str, path: Path) -> Placement:
    """Return the placement of a prompt that is one string of the request as it stands."""
    return Placement((Place(0, len(text), path, text),))


def place_conversation(asked: Conversation, rendered: str, template: ChatTemplate) -> Placement:
    """Return where each string of a conversation stands in `rendered`; empty if that is unsure."""
    if "\ue000" in rendered:
        return NOWHERE
    strings: list[tuple[Path, str]] = []
    messages: list[Mapping[str, Any]] = []
    for index, message in enumerate(asked.messages):
        texts = content_texts(message)
        marked = "".join(
            f"\ue000{len(strings) + position}\ue001" if text else ""
            for position, (_, text) in enumerate(texts)
        )
        strings.extend((("messages", index, *path), text) for path, text in texts)
        messages.append({**message, "content": marked})
    try:
        pattern = template.render(replace(asked, messages=tuple(messages)))
        return _align(pattern, rendered, strings, asked)
    except InvalidRequestError:
        return NOWHERE  # the template demands something of the text itself
    except RecursionError:
        return NOWHERE  # a tool nested deeper than its indented text can be made


def _align(
    pattern: str, rendered: str, strings: list[tuple[Path, str]], asked: Conversation
) -> Placement:
    """Return places where `pattern`, its markers replaced, is exactly `rendered`."""
    pieces = _MARKER.split(pattern)
    places: list[Place] = []
    tools_left = list(enumerate(asked.tools))
    cursor = 0
    for turn in range(0, len(pieces), 2):
        own = pieces[turn]
        if not rendered.startswith(own, cursor):
            return NOWHERE
        _place_tools(own, cursor, tools_left, places)
        cursor += len(own)
        if turn + 1 == len(pieces):
            break
        path, text = strings[int(pieces[turn + 1])]
        found = _as_sent(text, rendered, cursor, pieces[turn + 2])
        if found is None:
            return NOWHERE
        shown, skipped = found
        places.append(Place(cursor, cursor + len(shown), path, text, skipped))
        cursor += len(shown)
    return Placement(tuple(places)) if cursor == len(rendered) else NOWHERE


def _as_sent(text: str, rendered: str, cursor: int, then: str) -> tuple[str, int] | None:
    """Return the form in which the template shows `text`, and the characters it cut before it."""
    cut = len(text) - len(text.lstrip())
    for shown, skipped in ((text, 0), (text.strip(), cut), (text.rstrip(), 0), (text[cut:], cut)):
        if rendered.startswith(shown, cursor) and rendered.startswith(then, cursor + len(shown)):
            return shown, skipped
    return None


def _place_tools(
    own: str, cursor: int, left: list[tuple[int, Mapping[str, Any]]], places: list[Place]
) -> None:
    """Add the tools that the template serialised into this run of its own text."""
    search = 0
    while left:
        index, tool = left[0]
        for form in _serialisations(tool):
            at = own.find(form, search)
            if at >= 0:
                start = cursor + at
                places.append(Place(start, start + len(form), ("tools", index), form, is_json=True))
                search = at + len(form)
                left.pop(0)
                break
        else:
            return


def _serialisations(tool: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the JSON texts that templates make of a tool, longest first."""
    forms = [
        json.dumps(value, ensure_ascii=False, indent=indent)
        for value in (tool, tool.get("function", {}))
        for indent in (None, 2, 4)
    ]
    return tuple(sorted(forms, key=len, reverse=True))
