"""Reads `# stemfirst: ignore[SF301] reason` comments and says which findings they silence.

A comment silences findings on its line and on the lines of the statement's text that begins or
ends there: a finding counts as silenced if a comment stands on the finding's own line, on the
first or last line of the template, or on a line of its own directly above either.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from stemfirst_lint.model import Finding, Location

_MARK = "stemfirst:"
_COMMENT = re.compile(r"#\s*stemfirst:\s*ignore(?:\[([^\]]*)\])?")


@dataclass(frozen=True, slots=True)
class Suppression:
    """One comment: the codes it names (none: all), and where it stands."""

    codes: tuple[str, ...]
    location: Location
    is_own_line: bool


def suppressions(path: str, text: str) -> tuple[Suppression, ...]:
    """Return the suppressing comments of a file; strings that look like one are none."""
    if _MARK not in text:
        return ()
    import io
    import tokenize

    found: list[Suppression] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type != tokenize.COMMENT:
                continue
            match = _COMMENT.search(token.string)
            if match is None:
                continue
            codes = tuple(c.strip() for c in (match.group(1) or "").split(",") if c.strip())
            line, column = token.start
            place = Location(path, line, column + 1, line, column + 1 + len(token.string))
            found.append(Suppression(codes, place, not token.line[:column].strip()))
    except (tokenize.TokenError, IndentationError, SyntaxError):
        return tuple(found)  # the parser has said what is wrong with the file
    return tuple(found)


def is_suppressed(finding: Finding, comments: tuple[Suppression, ...]) -> bool:
    """Return True if a comment of the finding's own file silences it."""
    if not comments:
        return False
    lines = {finding.location.line}
    if finding.template is not None and finding.template.location.path == finding.location.path:
        lines |= {finding.template.location.line, finding.template.location.end_line}
    return any(
        (comment.location.line + comment.is_own_line in lines or comment.location.line in lines)
        and (not comment.codes or any(finding.code.startswith(c) for c in comment.codes))
        for comment in comments
    )
