"""How one template's source is read as a literal, and how a new order of it is spelled.

Knows which reader each form wants: literals, sums, growing text, Jinja, prompt files. Knows nothing
of blocks, order or proofs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from stemfirst_lint.fillings import read_dollar, read_markers, read_percent
from stemfirst_lint.fix.layout import Run
from stemfirst_lint.fix.literal import Literal, LiteralError, Marks, take_apart
from stemfirst_lint.fix.spelling import spell
from stemfirst_lint.fix.sums import Growth, take_apart_growth, take_apart_sum
from stemfirst_lint.fix.tags import read_tags, retold
from stemfirst_lint.fix.text_files import (
    indent_of,
    is_text_file,
    is_yaml,
    take_apart_text,
    unquoted,
)
from stemfirst_lint.model import Form, Template, Text


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read one template, before and after it changes.

    Attributes:
        form: how it is written.
        markers: for `REPLACE`, what is replaced.
        growth: the statements that add it up, if there are several.
        is_text: the source is text itself, no literal.
        indent: what every line of it begins with, in YAML.
        is_json: the source stands between the quotes of a string in JSON.
    """

    form: Form
    markers: tuple[str, ...] = ()
    growth: Growth | None = None
    is_text: bool = False
    indent: str = ""
    is_json: bool = False

    @classmethod
    def of(
        cls, template: Template, text: str, start: int, end: int, growth: Growth | None
    ) -> Reading:
        """Return how to read `text[start:end]`.

        Raises:
            LiteralError: nobody can rewrite a value in such a file.
        """
        path = template.location.path
        indent = ""
        by_place = sum(hole.is_positional for hole in template.holes)
        if template.form is Form.PERCENT and by_place > 1:
            raise LiteralError("its fields are filled by their place")
        later = _filled_later(template, text[start:end])
        if later is not None:
            raise LiteralError(f"it is filled in two steps, `{later}` in the second")
        if is_yaml(path):
            indent = indent_of(text, start)
        elif path.endswith(".json"):
            if (text[start - 1 : start], text[end : end + 1]) != ('"', '"'):
                raise LiteralError("the value is no string")
            return cls(template.form, _markers_of(template), is_json=True)
        elif is_text_file(path) and (start, end) != (0, len(text)):
            raise LiteralError("it is a value inside a file of data")
        return cls(template.form, _markers_of(template), growth, is_text_file(path), indent)

    def read(self, source: str) -> Literal:
        """Return the literal that a source is.

        Raises:
            LiteralError: it cannot be read so.
        """
        if self.growth is not None:
            return take_apart_growth(source, self.growth)
        if self.form is Form.CONCAT:
            return take_apart_sum(source)
        return self._taken_apart(source, self._marks(), is_format=self.form is Form.FORMAT)

    def told(self, template: Template, source: str) -> Template:
        """Return the template as the source spells it: with its tags, and every line end alike.

        Raises:
            LiteralError: it does not spell the template that was found.
        """
        if self.form is Form.JINJA:
            return retold(template, self._taken_apart(source, None, is_format=False).text)
        if not self.is_text:
            return template
        pieces = [
            replace(piece, text=re.sub("\r\n?", "\n", piece.text).removeprefix("\ufeff"))
            if isinstance(piece, Text)
            else piece
            for piece in template.pieces
        ]
        return replace(template, pieces=tuple(pieces))

    def spell(self, literal: Literal, runs: Sequence[Run]) -> str:
        """Return the source of a literal with its text in the order of `runs`.

        Raises:
            LiteralError: it cannot be spelled so.
        """
        spelled = spell(literal, runs)
        if self.is_json:
            try:
                json.loads(spelled)
            except ValueError:
                raise LiteralError("it cannot be spelled in JSON") from None
            return spelled[1:-1]
        return unquoted(spelled, self.indent) if self.is_text else spelled

    def _marks(self) -> Marks | None:
        match self.form:
            case Form.DOLLAR:
                return read_dollar
            case Form.PERCENT:
                return lambda text: read_percent(text) or ()
            case Form.REPLACE:
                return lambda text: read_markers(text, self.markers)
            case Form.JINJA:
                return read_tags
        return None

    def _taken_apart(self, source: str, marks: Marks | None, *, is_format: bool) -> Literal:
        if self.is_json:  # what both languages spell alike; the rest is refused by the proof
            return take_apart(f'"{source}"', is_format=is_format, marks=marks)
        if self.is_text:
            return take_apart_text(source, is_format=is_format, marks=marks, indent=self.indent)
        return take_apart(source, is_format=is_format, marks=marks)


def _filled_later(template: Template, source: str) -> str | None:
    """Return the first field as it is written that another `.format` than the first one fills."""
    if template.form is not Form.FORMAT:
        return None
    for hole in template.holes:
        field = rf"\{{{re.escape(hole.name)}[^{{}}]*\}}"
        later = re.search(rf"(?<!\{{)\{{{field}\}}(?!\}})", source)
        if later is not None and not re.search(rf"(?<!\{{){field}(?!\}})", source):
            return later.group()
    return None


def _markers_of(template: Template) -> tuple[str, ...]:
    return tuple(dict.fromkeys(hole.name for hole in template.holes))
