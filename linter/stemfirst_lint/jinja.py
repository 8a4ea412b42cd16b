"""Reads Jinja templates: text, and fields with their places. Renders nothing.

Knows expressions, comments, conditions, loops, raw text, macros, and templates of other files that
are included or inherited from. A loop is one field, because its text comes any number of times; so
is a macro where it is called. The arms of a condition are read as if each came. What changes text
as a whole (`filter`, `call`) is not read: the whole template is left alone then.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from stemfirst_lint.literals import FormatField, FormatText
from stemfirst_lint.patterns import pattern

if TYPE_CHECKING:
    from stemfirst_lint.source import Source

    Placed = tuple[Source, "FormatText | FormatField"]

_TAG = pattern(r"\{\{(.*?)\}\}|\{%[-+]?(.*?)[-+]?%\}|\{#.*?#\}", re.DOTALL)
_NAME = pattern(r"[-+\s]*\$?([A-Za-z_][\w.]*)")
_LOOP = pattern(r"\s*for\s+.+?\s+in\s+\$?([A-Za-z_][\w.]*)", re.DOTALL)
_UNREAD = frozenset({"call", "filter", "autoescape"})
_RAW = pattern(r"\{%[-+]?\s*raw\s*[-+]?%\}(.*?)\{%[-+]?\s*endraw\s*[-+]?%\}", re.DOTALL)
_EXTENDS = pattern(r"\s*\{%[-+]?\s*extends\s+[\"']([^\"']+)[\"']\s*[-+]?%\}")
_BLOCK = pattern(r"\{%[-+]?\s*(?:block\s+(\w+)[^%]*|(endblock)[^%]*)%\}")
_QUOTED = pattern(r"\s*[\"']([^\"']+)[\"']\s*$")
_SPANNING = {"for": "endfor", "macro": "endmacro"}
_MAX_FILES = 12

Part = FormatText | FormatField


def read_jinja(template: str) -> tuple[Part, ...] | None:
    """Return the parts of a Jinja template, or None where its text cannot be told.

    Of a template that inherits from another the blocks are left out: see `composed`.
    """
    if _EXTENDS.match(template):
        return None
    parts: list[Part] = []
    at = 0
    open_words: list[str] = []
    """Loops and macros that are open; only the outermost counts."""
    start, name = 0, ""
    raw = {match.start(): match for match in _RAW.finditer(template)}
    position = 0
    while (match := _TAG.search(template, position)) is not None:
        position = match.end()
        if not open_words and match.start() > at:
            parts.append(FormatText(template[at : match.start()], at, match.start()))
        at = match.end()
        if match.start() in raw:
            found = raw[match.start()]
            at = position = found.end()
            if not open_words and found.group(1):
                parts.append(FormatText(found.group(1), found.start(1), found.end(1)))
            continue
        expression, statement = match.group(1), match.group(2)
        if statement is not None:
            words = statement.split(None, 1)
            word = words[0] if words else ""
            if word in _UNREAD or word == "extends":
                return None
            if word in _SPANNING:
                if not open_words:
                    start = match.start()
                    loop = _LOOP.match(statement)
                    name = loop.group(1) if loop else word
                open_words.append(word)
            elif word in _SPANNING.values():
                if not open_words or _SPANNING[open_words.pop()] != word:
                    return None
                if not open_words and word == "endfor":
                    parts.append(FormatField(name, start, match.end(), None, None))
            elif word == "include" and not open_words:
                parts.append(FormatField("include", match.start(), match.end(), None, None))
        elif expression is not None and not open_words:
            found_name = _NAME.match(expression)
            shown = found_name.group(1) if found_name else expression.strip()
            parts.append(FormatField(shown, match.start(), match.end(), None, None))
    if open_words:
        return None
    if at < len(template):
        parts.append(FormatText(template[at:], at, len(template)))
    return tuple(parts)


def composed(
    source: Source, find: Callable[[Source, str], Source | None], text: str | None = None
) -> list[Placed] | None:
    """Return the parts of a template with those of the files that it includes or inherits from.

    Args:
        source: the template, or the file that it is a value of.
        find: finds the file that a template names.
        text: the template where it is a value of a file; places in it count from its beginning.

    Returns:
        Each part with its file, or None where the text cannot be told.
    """
    return _composed(source, find, [], text)


def _composed(
    source: Source,
    find: Callable[[Source, str], Source | None],
    seen: list[str],
    text: str | None = None,
) -> list[Placed] | None:
    if source.path in seen or len(seen) > _MAX_FILES:
        return None
    seen.append(source.path)
    if text is None and _EXTENDS.match(source.text) is not None:
        return _inherited(source, find, seen)
    own = text if text is not None else source.text
    parts = read_jinja(own)
    if parts is None:
        return None
    found: list[Placed] = []
    for part in parts:
        inner = None
        if isinstance(part, FormatField) and part.name == "include":
            inner = _included(source, part, find, seen, own)
        found += inner if inner is not None else [(source, part)]
    return found


def _included(
    source: Source,
    part: FormatField,
    find: Callable[[Source, str], Source | None],
    seen: list[str],
    text: str,
) -> list[Placed] | None:
    """The parts of an included file; None where it cannot be found or told."""
    statement = _TAG.match(text, part.start)
    quoted = _QUOTED.match((statement.group(2) or "").split("include", 1)[1]) if statement else None
    file = find(source, quoted.group(1)) if quoted is not None else None
    return _composed(file, find, [*seen]) if file is not None else None


def _inherited(
    source: Source, find: Callable[[Source, str], Source | None], seen: list[str]
) -> list[Placed] | None:
    """The parts of the file that a template extends in the end; the nearest heir has each block."""
    heirs: list[Source] = []
    parent = source
    while (extends := _EXTENDS.match(parent.text)) is not None:
        heirs.append(parent)
        found_file = find(parent, extends.group(1))
        if found_file is None or found_file.path in seen or len(seen) > _MAX_FILES:
            return None
        parent = found_file
        seen.append(parent.path)
    seen.remove(parent.path)  # it is composed now
    own: dict[str, tuple[Source, int, int]] = {}
    for heir in reversed(heirs):
        blocks = _blocks(heir.text)
        if blocks is None or "super()" in heir.text:
            return None
        own.update({key: (heir, *span) for key, span in blocks.items()})
    theirs = _blocks(parent.text)
    parts = _composed(parent, find, seen)
    if theirs is None or parts is None:
        return None
    found: list[Placed] = []
    placed: set[str] = set()
    for file, part in parts:
        block = None
        if file is parent:
            block = next(
                (key for key, (first, last) in theirs.items() if first <= part.start < last), None
            )
        if block is None or block not in own:
            found.append((file, part))
        elif block not in placed:
            placed.add(block)
            found += _slice(*own[block])
    for key, (first, _) in theirs.items():  # blocks that are empty in the parent
        if key in own and key not in placed:
            behind = (
                number
                for number, (file, part) in enumerate(found)
                if file is parent and part.start >= first
            )
            at = next(behind, len(found))
            found[at:at] = _slice(*own[key])
    return found


def _slice(source: Source, first: int, last: int) -> list[Placed]:
    """The parts of a range of a template."""
    parts = read_jinja(source.text[first:last])
    return [
        (source, replace(part, start=part.start + first, end=part.end + first))
        for part in parts or ()
    ]


def _blocks(template: str) -> dict[str, tuple[int, int]] | None:
    """The ranges of a template's blocks; None where one stands in another."""
    found: dict[str, tuple[int, int]] = {}
    name, start = None, 0
    for match in _BLOCK.finditer(template):
        if match.group(1) is not None:
            if name is not None:
                return None
            name, start = match.group(1), match.end()
        elif name is not None:
            found[name] = (start, match.start())
            name = None
    return found if name is None else None
