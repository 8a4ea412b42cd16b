"""Reads string literals from source text: runs of text and replacement fields, with offsets.

Needed because `ast` gives no position for the text inside a literal, and before Python 3.12 a
wrong one for expressions inside f-strings. Knows the grammar of string literals and of
`str.format`; knows nothing of syntax trees and prompts.

Source: Python language reference, "String and Bytes literals" and "f-strings"; library
reference, "Format String Syntax".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PREFIX = re.compile(r"([A-Za-z]{0,2})('''|\"\"\"|'|\")")
_SKIP = re.compile(r"(?:[ \t\f\r\n()]|\\\r?\n|#[^\r\n]*)+")
_ESCAPE = re.compile(
    r"\\(\r\n|\n|\r|[0-7]{1,3}|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|N\{[^}]*\}|.)",
    re.DOTALL,
)
_PLAIN = re.compile(r"[^\\'\"{}\r]+")
"""Characters that stand for themselves in every literal."""
_SIMPLE = {
    "\\": "\\",
    "'": "'",
    '"': '"',
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
}
_OPEN = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True, slots=True)
class Run:
    """Decoded text that stands in the source from `start` to `end`.

    `marks` maps decoded characters to source: pairs (index in `text`, offset), ascending;
    between two marks characters correspond one to one from the first mark on.
    """

    text: str
    start: int
    end: int
    marks: tuple[tuple[int, int], ...]

    def offset(self, index: int) -> int:
        """Return the source offset of the character at `index` in `text`, or of the end."""
        if index >= len(self.text):
            return self.end
        found_index, found_offset = self.marks[0]
        for mark_index, mark_offset in self.marks:
            if mark_index > index:
                break
            found_index, found_offset = mark_index, mark_offset
        return found_offset + index - found_index


@dataclass(frozen=True, slots=True)
class Field:
    """A replacement field from brace to brace, with the offsets of the expression in it."""

    start: int
    end: int
    expression_start: int
    expression_end: int
    conversion: str | None
    format_spec: str | None
    is_debug: bool


def read_literal(text: str, start: int, end: int) -> tuple[Run | Field, ...] | None:
    """Return the runs and fields of the (implicitly joined) string literal in a range.

    Returns:
        Neighbouring runs are not merged: each literal and each stretch between fields is one.
        A t-string is read as an f-string. None if the range holds something else than string
        literals, or bytes.
    """
    pieces: list[Run | Field] = []
    at = start
    while at < end:
        skipped = _SKIP.match(text, at, end)
        if skipped:
            at = skipped.end()
            continue
        opening = _PREFIX.match(text, at, end)
        if opening is None:
            return None
        prefix, quote = opening.group(1).lower(), opening.group(2)
        if "b" in prefix:
            return None
        closed = read_one(text, opening.end(), end, quote, prefix, pieces)
        if closed is None:
            return None
        at = closed
    return tuple(pieces)


def read_one(
    text: str, at: int, end: int, quote: str, prefix: str, pieces: list[Run | Field]
) -> int | None:
    """Append one literal's pieces and return the offset behind its closing quote."""
    is_raw, is_formatted = "r" in prefix, "f" in prefix or "t" in prefix
    run = _RunBuilder(at)
    while at < end:
        if text.startswith(quote, at):
            run.flush(at, pieces)
            return at + len(quote)
        char = text[at]
        if char == "\\":
            if is_raw:
                # The backslash is text; it also keeps a quote behind it from closing, but a
                # brace behind it still opens a field.
                if is_formatted and text[at + 1] in "{}":
                    run.add("\\", at)
                    at += 1
                else:
                    run.add(text[at : at + 2], at)
                    at += 2
                continue
            if is_formatted and text[at + 1] in "{}":
                run.add("\\", at)
                at += 1
                continue
            match = _ESCAPE.match(text, at)
            if match is None:
                return None
            run.add(_unescape(match.group(1), match.group(0)), at)
            at = match.end()
            run.resume(at)
            continue
        if is_formatted and char in "{}":
            if text.startswith(char, at + 1) and (char == "{" or text[at + 1] == "}"):
                run.add(char, at)
                at += 2
                run.resume(at)
                continue
            if char == "}":
                return None
            run.flush(at, pieces)
            field = _read_field(text, at, end)
            if field is None:
                return None
            pieces.append(field)
            at = field.end
            run = _RunBuilder(at)
            continue
        if char == "\r":  # the tokenizer reads every line end as \n
            run.add("\n", at)
            at += 2 if text.startswith("\n", at + 1) else 1
            run.resume(at)
            continue
        plain = _PLAIN.match(text, at, end)
        stop = plain.end() if plain is not None else at + 1
        run.add(text[at:stop], at)
        at = stop
    return None


class _RunBuilder:
    """Collects decoded characters; invariant: the marks cover every character."""

    __slots__ = ("chars", "length", "marks", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.chars: list[str] = []
        self.length = 0
        self.marks: list[tuple[int, int]] = [(0, start)]

    def add(self, decoded: str, offset: int) -> None:
        last_index, last_offset = self.marks[-1]
        if offset - last_offset != self.length - last_index:
            self.marks.append((self.length, offset))
        self.chars.append(decoded)
        self.length += len(decoded)

    def resume(self, offset: int) -> None:
        last_index, last_offset = self.marks[-1]
        if offset - last_offset != self.length - last_index:
            self.marks.append((self.length, offset))

    def flush(self, end: int, pieces: list[Run | Field]) -> None:
        if self.chars:
            pieces.append(Run("".join(self.chars), self.start, end, tuple(self.marks)))


def _unescape(body: str, whole: str) -> str:
    if body in _SIMPLE:
        return _SIMPLE[body]
    if body in ("\n", "\r", "\r\n"):
        return ""
    if body[0] in "xuU" and len(body) > 1:
        return chr(int(body[1:], 16))
    if body[0] == "N" and len(body) > 1:
        import unicodedata

        try:
            return unicodedata.lookup(body[2:-1])
        except KeyError:
            return whole
    if body[0] in "01234567":
        return chr(int(body, 8))
    return whole


def _read_field(text: str, start: int, end: int) -> Field | None:
    """Return the f-string field whose brace stands at `start`."""
    at = start + 1
    stack: list[str] = []
    while at < end:
        char = text[at]
        if char in "'\"":
            closed = _skip_string(text, at, end)
            if closed is None:
                return None
            at = closed
            continue
        if char == "#":
            line_end = text.find("\n", at, end)
            if line_end < 0:
                return None
            at = line_end
            continue
        if char in _OPEN:
            stack.append(_OPEN[char])
        elif stack and char == stack[-1]:
            stack.pop()
        elif not stack:
            if char == "}" or char == ":":
                return _close_field(text, start, at, end)
            if char == "!" and text[at + 1] != "=":
                return _close_field(text, start, at, end)
        at += 1
    return None


def _skip_string(text: str, at: int, end: int) -> int | None:
    """Return the offset behind the (possibly prefixed) literal whose quote stands at `at`."""
    quote = text[at : at + 3] if text[at : at + 3] in ("'''", '"""') else text[at]
    prefix_start = at
    while prefix_start > 0 and text[prefix_start - 1].isalpha():
        prefix_start -= 1
    prefix = text[prefix_start:at].lower()
    if len(prefix) <= 2 and ("f" in prefix or prefix in ("t", "rt", "tr")):
        return read_one(text, at + len(quote), end, quote, prefix, [])
    at += len(quote)
    while at < end:
        if text[at] == "\\":
            at += 2
        elif text.startswith(quote, at):
            return at + len(quote)
        else:
            at += 1
    return None


def _close_field(text: str, start: int, stop: int, end: int) -> Field | None:
    """Return the field whose expression ends at `stop`, where `}`, `!` or `:` stands."""
    expression = text[start + 1 : stop]
    stripped = expression.rstrip()
    is_debug = stripped.endswith("=") and not stripped.endswith(("==", "!=", "<=", ">="))
    if is_debug:
        stripped = stripped[:-1].rstrip()
    expression_start = start + 1 + len(expression) - len(expression.lstrip())
    expression_end = start + 1 + len(stripped)
    conversion: str | None = None
    format_spec: str | None = None
    at = stop
    if text[at] == "!":
        match = re.compile(r"!\s*([A-Za-z])\s*").match(text, at, end)
        if match is None:
            return None
        conversion = match.group(1)
        at = match.end()
    if text.startswith(":", at):
        spec_start = at + 1
        depth = 0
        at = spec_start
        while at < end:
            if text[at] == "{":
                depth += 1
            elif text[at] == "}":
                if depth == 0:
                    break
                depth -= 1
            at += 1
        format_spec = text[spec_start:at]
    if at >= end or text[at] != "}":
        return None
    return Field(start, at + 1, expression_start, expression_end, conversion, format_spec, is_debug)


@dataclass(frozen=True, slots=True)
class FormatField:
    """A `{field}` of a `str.format` string; `start` and `end` index the decoded string."""

    name: str
    start: int
    end: int
    conversion: str | None
    format_spec: str | None


@dataclass(frozen=True, slots=True)
class FormatText:
    """Text of a `str.format` string, doubled braces single; `start`, `end` as in FormatField."""

    text: str
    start: int
    end: int


def read_format(template: str) -> tuple[FormatText | FormatField, ...] | None:
    """Return the parts of a `str.format` string, or None if `str.format` would refuse it."""
    parts: list[FormatText | FormatField] = []
    chars: list[str] = []
    text_start = at = 0

    def flush() -> None:
        if chars:
            parts.append(FormatText("".join(chars), text_start, at))
            chars.clear()

    while at < len(template):
        char = template[at]
        if char not in "{}":
            stop = at
            while stop < len(template) and template[stop] not in "{}":
                stop += 1
            chars.append(template[at:stop])
            at = stop
        elif template.startswith(char, at + 1):
            chars.append(char)
            at += 2
        elif char == "}":
            return None
        else:
            flush()
            depth, stop = 1, at + 1
            while stop < len(template) and depth:
                depth += {"{": 1, "}": -1}.get(template[stop], 0)
                stop += 1
            if depth:
                return None
            body = template[at + 1 : stop - 1]
            head, colon, spec = body.partition(":")
            name, bang, conversion = head.partition("!")
            if "{" in name or (bang and conversion not in ("r", "s", "a")):
                return None
            parts.append(FormatField(name, at, stop, conversion or None, spec if colon else None))
            at = text_start = stop
    flush()
    return tuple(parts)
