"""GitLab's code quality report.

Source: GitLab documentation, "Code Quality report format", November 2026.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stemfirst_lint.fingerprint import fingerprints
from stemfirst_lint.output.full import message

if TYPE_CHECKING:
    from stemfirst_lint.check import Report


def gitlab_issues(report: Report) -> list[dict[str, Any]]:
    """Return the findings as GitLab's issues; fingerprints survive moved lines."""
    marked = zip(report.findings, fingerprints(report.findings), strict=True)
    return [
        {
            "description": message(finding),
            "check_name": f"{finding.code} {finding.name}",
            "fingerprint": fingerprint,
            "severity": "info" if finding.severity.value == "info" else "minor",
            "location": {
                "path": _posix(finding.location.path),
                "positions": {
                    "begin": {
                        "line": finding.location.line, "column": finding.location.column,
                    },
                    "end": {
                        "line": finding.location.end_line, "column": finding.location.end_column,
                    },
                },
            },
        }
        for finding, fingerprint in marked
    ]  # fmt: skip


def _posix(path: str) -> str:
    path = path.replace("\\", "/")
    return path.removeprefix("./")
