"""One line a finding, for editors and `grep`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from stemfirst_lint.output.full import mark, message
from stemfirst_lint.output.words import summary

if TYPE_CHECKING:
    from stemfirst_lint.check import Report


def concise_lines(report: Report, *, fixed: int = 0) -> Iterator[str]:
    """Yield `path:line:column: CODE message` for each finding, then a summary."""
    for finding in report.findings:
        yield f"{finding.location}: {finding.code} {mark(finding)}{message(finding)}"
    yield summary(report, fixed=fixed)
