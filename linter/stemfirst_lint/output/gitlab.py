"""GitLab's code quality report.

Source: GitLab documentation, "Code Quality report format", November 2026.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stemfirst_lint.fingerprint import fingerprints
from stemfirst_lint.output.full import message
from stemfirst_lint.output.words import in_cell

if TYPE_CHECKING:
    from stemfirst_lint.check import Report
    from stemfirst_lint.model import Location


def gitlab_issues(report: Report) -> list[dict[str, Any]]:
    """Return the findings as GitLab's issues; fingerprints survive moved lines."""
    marked = zip(report.findings, fingerprints(report.findings), strict=True)
    return [
        {
            "description": in_cell(finding.location) + message(finding),
            "check_name": f"{finding.code} {finding.name}",
            "fingerprint": fingerprint,
            "severity": "info" if finding.severity.value == "info" else "minor",
            "location": {
                "path": _posix(finding.location.path),
                "positions": _positions(finding.location),
            },
        }
        for finding, fingerprint in marked
    ]


def _positions(place: Location) -> dict[str, dict[str, int]]:
    if place.cell is not None:  # a notebook's own lines are JSON
        start = {"line": place.file_line, "column": 1}
        return {"begin": start, "end": start}
    return {
        "begin": {"line": place.line, "column": place.column},
        "end": {"line": place.end_line, "column": place.end_column},
    }


def _posix(path: str) -> str:
    path = path.replace("\\", "/")
    return path.removeprefix("./")
