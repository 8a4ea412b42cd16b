"""The format for people: each finding with its source line, carets and the evidence.

Knows 80 columns, wide characters and colour. Reads the source lines that it shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from stemfirst_lint.output.words import is_fixable, summary

if TYPE_CHECKING:
    from stemfirst_lint.check import Report
    from stemfirst_lint.model import Evidence, Finding, Location, Money

_WIDTH = 80
_BOLD, _RED, _BLUE, _DIM = "1", "1;31", "1;34", "2"


def full_lines(report: Report, *, fixed: int = 0, is_coloured: bool = False) -> Iterator[str]:
    """Yield the lines of the full format: findings with source and evidence, then a summary."""
    excerpts = Excerpts()
    for finding in report.findings:
        first, *rest = _wrapped(
            f"{finding.location}: {finding.code} {mark(finding)}{message(finding)}"
        )
        yield _coloured_head(first, finding) if is_coloured else first
        yield from rest
        for line in excerpts.lines(finding.location):
            yield _coloured_excerpt(line) if is_coloured else line
        yield from explained(finding)
    line = summary(report, fixed=fixed)
    yield paint(line, _BOLD) if is_coloured else line


def explained(finding: Finding) -> Iterator[str]:
    """Yield the steps of a finding's evidence, what it costs, and what a person can do."""
    for evidence in finding.evidence:
        yield from _indented("- " + _evidence(evidence, finding))
    if finding.money is not None:
        yield from _indented("- " + money_line(finding.money))
    if finding.applicability is None and finding.remedy:
        yield from _indented(f"- not fixable: {finding.remedy}")


def money_line(money: Money) -> str:
    """Return what a fault costs, with the date of the prices."""
    priced = f"{money.model}, prices of {money.as_of}"
    if money.why_none is not None:
        return f"the tokens counted here cost nothing with {priced}: {money.why_none}"
    return f"the tokens counted here cost ${money.usd:,.2f} in 1,000 calls with {priced}"


def mark(finding: Finding) -> str:
    """Return `[fixable] `, `[info] `, `[risky fix] ` or nothing."""
    if is_fixable(finding):
        return "[fixable] "
    if finding.severity.value == "info":
        return "[info] "
    return "[risky fix] " if finding.applicability is not None else ""


def message(finding: Finding) -> str:
    """Return a finding's sentence in one line."""
    return " ".join(finding.message.split())


def paint(text: str, style: str) -> str:
    """Return text in an ANSI style."""
    return f"\x1b[{style}m{text}\x1b[0m" if text else text


class Excerpts:
    """Source lines with carets below; invariant: a file is read at most once."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}

    def lines(self, place: Location) -> list[str]:
        """Return the first line of a place and its carets; nothing if the file cannot be read."""
        lines = self._of(place.path)
        if not 1 <= place.line <= len(lines):
            return []
        line = lines[place.line - 1]
        start = min(place.column - 1, len(line))
        end = place.end_column - 1 if place.end_line == place.line else len(line.rstrip())
        gutter = str(place.shown_line)
        room = _WIDTH - len(gutter) - 4
        before, marked, after = (
            _shown(part) for part in (line[:start], line[start:end], line[end:])
        )
        stripped = before.lstrip()
        before = stripped if len(before) == _columns(before) else before
        before = _last(before, max(room - max(_columns(marked), 12) - 12, 12))
        marked = _first(marked, room - _columns(before))
        after = _first(after.rstrip(), room - _columns(before) - _columns(marked))
        blank = " " * len(gutter)
        carets = " " * _columns(before) + "^" * max(_columns(marked), 1)
        return [f" {gutter} | {before}{marked}{after}".rstrip(), f" {blank} | {carets}"]

    def _of(self, path: str) -> list[str]:
        if path not in self._lines:
            from stemfirst_lint.errors import UnreadableFile
            from stemfirst_lint.source import decode, read_bytes

            try:
                text = decode(path, read_bytes(path))
            except UnreadableFile:  # it was there a moment ago; the finding still stands
                text = ""
            self._lines[path] = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        return self._lines[path]


def _shown(text: str) -> str:
    """Text as a terminal may show it: tabs as spaces, other control characters as a dot."""
    return "".join(
        "    " if character == "\t" else character if character.isprintable() else "·"
        for character in text
    )


def _columns(text: str) -> int:
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(
        0 if combining(character) else 2 if east_asian_width(character) in "WF" else 1
        for character in text
    )


def _first(text: str, columns: int) -> str:
    """The beginning of a text, cut to fit, with `…` where something is missing."""
    if _columns(text) <= columns:
        return text
    while text and _columns(text) > columns - 1:
        text = text[: -max(1, (_columns(text) - columns) // 2)]
    return f"{text}…" if columns >= 1 else ""


def _last(text: str, columns: int) -> str:
    """The end of a text, cut to fit, with `…` where something is missing."""
    if _columns(text) <= columns:
        return text
    while text and _columns(text) > columns - 1:
        text = text[max(1, (_columns(text) - columns) // 2) :]
    return f"…{text}"


def _coloured_head(line: str, finding: Finding) -> str:
    place = str(finding.location)
    if not line.startswith(place):
        return line
    rest = line[len(place) :].replace(finding.code, paint(finding.code, _RED), 1)
    return paint(place, _BOLD) + rest


def _coloured_excerpt(line: str) -> str:
    gutter, bar, text = line.partition(" | ")
    if text.strip("^ ") == "" and text.strip():
        text = paint(text, _RED)
    return paint(gutter + bar, _BLUE) + text


def _evidence(evidence: Evidence, finding: Finding) -> str:
    if evidence.location is None:
        return evidence.text
    place = evidence.location
    where = f"line {place.shown_line}"
    if place.cell is not None:
        where = f"cell {place.cell.number}, {where}"
    if place.path != finding.location.path:
        where = f"{place.path}:{place.line}" if place.cell is None else f"{place.path}, {where}"
    return f"{evidence.text} ({where})"


def _wrapped(text: str) -> list[str]:
    from textwrap import wrap

    return wrap(
        text, _WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )


def _indented(text: str) -> list[str]:
    from textwrap import wrap

    return wrap(
        text,
        _WIDTH,
        initial_indent="    ",
        subsequent_indent="      ",
        break_long_words=False,
        break_on_hyphens=False,
    )
