"""Jinja templates for rewriting: conditions, loops and comments as units that may not be cut.

Knows tags, and which of them make other text depend on its place. Renders nothing. The tags stand
in the flat text as one character each (`words.OPEN` and its kin), so that a condition or a loop
moves whole, with the label that stands inside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from stemfirst_lint.fix import words
from stemfirst_lint.fix.literal import LiteralError
from stemfirst_lint.fix.safety import Refusal
from stemfirst_lint.fix.words import HOLE
from stemfirst_lint.literals import FormatField, FormatText
from stemfirst_lint.model import Piece, Template, Text

_TAG = re.compile(
    r"\{\{(?P<value>.*?)\}\}|\{%[-+]?\s*(?P<word>\w*)(?P<rest>.*?)[-+]?%\}|\{#.*?#\}", re.DOTALL
)
_STRIPS = re.compile(r"\{[{%#]-|-[}%#]\}")


def read_tags(text: str) -> tuple[FormatText | FormatField, ...]:
    """Return the parts of a template's text; a tag is a text of one character, a loop's of two.

    The second character of a loop is a `HOLE`: how often it runs varies like what it runs over.

    Raises:
        LiteralError: a tag makes what stands behind it depend on its place, or is none of Jinja's.
    """
    return tuple(part for part, _ in _read(text))


def retold(template: Template, text: str) -> Template:
    """Return the template with its tags in the text, each field judged as it was.

    Args:
        template: as it was found: without tags, a loop as one hole.
        text: what stands in the literal, or in the file.

    Raises:
        LiteralError: it cannot be read, or its holes are not those that were found.
    """
    known = template.holes
    pieces: list[Piece] = []
    last = -1
    for part, owner in _read(text):
        if owner is not None:
            if owner >= len(known):
                raise LiteralError("its fields are not those that were found")
            is_other = known[owner].location.path != template.location.path
            is_new, last = owner > last, max(last, owner)
            if is_other or (is_new and known[owner].name not in text[part.start : part.end]):
                raise LiteralError("a part of it stands in another file")
        if isinstance(part, FormatText):
            shown = part.text.replace(HOLE, "")
            if pieces and isinstance(pieces[-1], Text):
                pieces[-1] = replace(pieces[-1], text=pieces[-1].text + shown)
            else:
                pieces.append(Text(shown, template.location))
        if owner is not None:
            pieces.append(known[owner])
    if last + 1 != len(known):
        raise LiteralError("its fields are not those that were found")
    return replace(template, pieces=tuple(pieces))


def white_space_control(text: str) -> Refusal | None:
    """Return why a person should look at any move among tags that strip white space, or None."""
    match = _STRIPS.search(text)
    if match is None:
        return None
    return Refusal(
        f"`{match.group()}` strips white space, and would strip other white space",
        "look at the line ends around it",
    )


def _read(text: str) -> Iterator[tuple[FormatText | FormatField, int | None]]:
    """Yield the parts, each with the number of the hole that it was found as, if it is one."""
    if re.search("[\ue000-\ue004]", text):
        raise LiteralError("the text holds a character of the private area that tags stand for")
    opened: list[str] = []
    holes = loops = at = 0
    for match in _TAG.finditer(text):
        if match.start() > at:
            yield FormatText(text[at : match.start()], at, match.start()), None
        start, at = match.span()
        value, word = match["value"], match["word"]
        if value is not None or word == "include":
            if value is not None and value[:1] in tuple("#/^>!&{"):
                raise LiteralError("it has sections as Mustache writes them")
            holes += not loops
            yield FormatField((value or word).strip(" -+\t\n"), start, at, None, None), holes - 1
        elif word is None:
            yield FormatText(words.NOTE, start, at), None
        elif word == "for":
            holes += not loops
            loops += 1
            opened.append(word)
            yield FormatText(words.OPEN + HOLE, start, at), holes - 1
        elif word == "if":
            opened.append(word)
            yield FormatText(words.OPEN, start, at), None
        elif opened and word == f"end{opened[-1]}":
            loops -= opened.pop() == "for"
            yield FormatText(words.CLOSE, start, at), None
        elif opened and word in ("elif", "else"):
            yield FormatText(words.TURN, start, at), None
        else:
            raise LiteralError(f"what stands behind `{{% {word} %}}` depends on it")
    if opened:
        raise LiteralError(f"`{{% {opened[-1]} %}}` is not closed")
    if at < len(text):
        yield FormatText(text[at:], at, len(text)), None
