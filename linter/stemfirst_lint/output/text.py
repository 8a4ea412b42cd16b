"""Writes findings for people and for programs.

Knows the text format (80 columns where paths allow it) and the JSON format. Prints nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from stemfirst_lint.output.words import summary

if TYPE_CHECKING:
    from stemfirst_lint.check import Report
    from stemfirst_lint.model import Evidence, Finding

_WIDTH = 80
_MARKS = {
    "identical": "[fixable] ",
    "reorder": "[fixable] ",
    "risky": "[risky fix] ",
    None: "",
}


def text_lines(report: Report, *, fixed: int = 0) -> Iterator[str]:
    """Yield the lines of the text format: findings with evidence, then a summary."""
    from textwrap import wrap

    for finding in report.findings:
        mark = _MARKS[finding.applicability and finding.applicability.value]
        yield from wrap(
            f"{finding.location}: {finding.code} {mark}{finding.message}",
            _WIDTH,
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for evidence in finding.evidence:
            yield from _indented("- " + _evidence(evidence, finding))
        if finding.applicability is None and finding.remedy:
            yield from _indented(f"- not fixable: {finding.remedy}")
    yield summary(report, fixed=fixed)


def json_findings(report: Report) -> list[dict[str, Any]]:
    """Return the findings as JSON-ready objects, in order of place."""
    return [
        {
            "path": finding.location.path,
            "line": finding.location.line,
            "column": finding.location.column,
            "end_line": finding.location.end_line,
            "end_column": finding.location.end_column,
            "code": finding.code,
            "name": finding.name,
            "message": finding.message,
            "forfeited_tokens": finding.forfeited_tokens,
            "forfeited_is_estimate": finding.forfeited_is_estimate,
            "applicability": finding.applicability.value if finding.applicability else None,
            "remedy": finding.remedy,
            "template": _template(finding),
            "evidence": [
                {
                    "text": evidence.text,
                    "path": evidence.location.path if evidence.location else None,
                    "line": evidence.location.line if evidence.location else None,
                    "column": evidence.location.column if evidence.location else None,
                }
                for evidence in finding.evidence
            ],
        }
        for finding in report.findings
    ]


def _template(finding: Finding) -> dict[str, Any] | None:
    if finding.template is None:
        return None
    return {
        "name": finding.template.name,
        "form": finding.template.form.value,
        "path": finding.template.location.path,
        "line": finding.template.location.line,
        "role": finding.site.role if finding.site else None,
    }


def _evidence(evidence: Evidence, finding: Finding) -> str:
    if evidence.location is None:
        return evidence.text
    where = f"line {evidence.location.line}"
    if evidence.location.path != finding.location.path:
        where = f"{evidence.location.path}:{evidence.location.line}"
    return f"{evidence.text} ({where})"


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
