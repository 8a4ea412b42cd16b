"""GitHub's workflow commands: an annotation a finding, shown on the changed line.

Source: GitHub documentation, "Workflow commands for GitHub Actions", November 2026.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from stemfirst_lint.output.full import message

if TYPE_CHECKING:
    from stemfirst_lint.check import Report


def github_lines(report: Report) -> Iterator[str]:
    """Yield a workflow command for each finding and each file that could not be checked."""
    for finding in report.findings:
        place = finding.location
        text = "; ".join([message(finding), *(evidence.text for evidence in finding.evidence)])
        at = f"file={_property(place.path)},line={place.file_line}"
        if place.cell is None:
            at += f",endLine={place.end_line}"
            if place.line == place.end_line:  # GitHub allows columns only on one line
                at += f",col={place.column},endColumn={place.end_column}"
        title = _property(f"stemfirst ({finding.code} {finding.name})")
        level = "notice" if finding.severity.value == "info" else "warning"
        yield f"::{level} title={title},{at}::{_data(f'{place}: {finding.code} {text}')}"
    for failure in report.failures:
        yield f"::error title=stemfirst::{_data(str(failure))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
