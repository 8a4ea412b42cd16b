"""The comments at both ends of a literal: which belong to its parts, and where one may stand.

Knows lines and comments of the file around a literal. Knows nothing of blocks or order.
"""

from __future__ import annotations

import re

from stemfirst_lint.errors import LintError
from stemfirst_lint.fix.literal import Literal
from stemfirst_lint.fix.prove import ProofError
from stemfirst_lint.fix.readings import Reading
from stemfirst_lint.fix.sums import COMMENTS_FIRST, Growth

_COMMENT_BEHIND = re.compile(r"[ \t]*#(?!\s*(?:noqa|type:|pragma|pylint|fmt))[^\r\n]*")
_COMMENT_LINE = re.compile(r"[ \t]*#")
_LINE_END = re.compile(r"[ \t]*(?:\r?\n|\Z)")


def with_comments(text: str, start: int, end: int, reading: Reading) -> tuple[int, int]:
    """Return the range of a literal with the comments of its first and last part.

    A comment behind a literal of one part, or above one whose other parts have none, is about the
    whole and stays; so does one that speaks to a tool.
    """
    try:
        literal = reading.read(text[start:end])
    except LintError:
        return start, end  # whoever reads it next says why
    if len(literal.parts) < 2 or "\n" not in text[start:end]:
        return start, end
    behind = _COMMENT_BEHIND.match(text, end)
    if behind:
        end = behind.end()
    if reading.growth is None and any(literal.above):
        at = line = _line_of(text, start)
        while line and _COMMENT_LINE.match(text, _line_of(text, line - 1)):
            line = _line_of(text, line - 1)
        if line < at and not text[at:start].strip():
            start = text.index("#", line)
    return start, end


def comments_above(text: str, reading: Reading) -> str:
    """Return the comments above the first of the statements that add up a text, if they move.

    They are about the whole, and stay, unless other statements have comments above them, too.
    """
    growth = reading.growth
    if growth is None:
        return ""
    try:
        literal = reading.read(text[growth.start : growth.end])
    except LintError:
        return ""  # whoever reads it next says why
    if not any(literal.above):
        return ""
    line = _line_of(text, growth.statement)
    while line and _COMMENT_LINE.match(text, _line_of(text, line - 1)):
        line = _line_of(text, line - 1)
    return text[line : growth.statement].lstrip(" \t")


def above_statement(text: str, start: int, reading: Reading, new: str) -> tuple[int, str]:
    """Return where a change begins, and its source with the comments that come first.

    Args:
        text: the file.
        start: where the literal begins, or the first of the values that are added up.
        reading: how it is read.
        new: its new source; the comments above the first statement stand in front of it.
    """
    growth = reading.growth
    if growth is None:
        return start, new
    found = COMMENTS_FIRST.match(new)
    lead = found.group().rstrip(" \t") + growth.indent if found else ""
    head = text[growth.statement : growth.start]
    above = comments_above(text, reading)
    return growth.statement - len(above), lead + head + new[len(lead) :]


def check_edges(text: str, start: int, end: int, new: Literal, growth: Growth | None) -> None:
    """Check that a comment which comes first or last has its line to itself.

    Raises:
        ProofError: it has not.
    """
    is_own_line = not text[_line_of(text, start) : start].strip()
    if new.above[0] and growth is None and not is_own_line:
        raise ProofError("a comment between its parts would come first")
    if new.comments[-1] and not _LINE_END.match(text, end):
        raise ProofError("a comment between its parts would come last")


def _line_of(text: str, at: int) -> int:
    return text.rfind("\n", 0, at) + 1
