"""One line a finding, for editors and `grep`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from stemfirst_lint.output.full import explained, mark, message
from stemfirst_lint.output.words import summary

if TYPE_CHECKING:
    from stemfirst_lint.check import Report


def concise_lines(report: Report, *, fixed: int = 0, is_explained: bool = False) -> Iterator[str]:
    """Yield `path:line:column: CODE message` for each finding, then a summary.

    The evidence follows each, indented, where it is asked for.
    """
    for finding in report.findings:
        yield f"{finding.location}: {finding.code} {mark(finding)}{message(finding)}"
        if is_explained:
            yield from explained(finding)
    yield summary(report, fixed=fixed)
