"""The JSON format: an array of findings, described by docs/schemas/findings.schema.json."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stemfirst_lint.fingerprint import fingerprints

if TYPE_CHECKING:
    from stemfirst_lint.check import Report
    from stemfirst_lint.model import Finding, Location


def json_findings(report: Report) -> list[dict[str, Any]]:
    """Return the findings as JSON-ready objects, in order of place."""
    marked = zip(report.findings, fingerprints(report.findings), strict=True)
    return [
        {
            "path": finding.location.path,
            "cell": _cell(finding.location),
            "line": finding.location.shown_line,
            "column": finding.location.column,
            "end_line": finding.location.shown_end_line,
            "end_column": finding.location.end_column,
            "code": finding.code,
            "name": finding.name,
            "message": finding.message,
            "severity": finding.severity.value,
            "forfeited_tokens": finding.forfeited_tokens,
            "forfeited_is_estimate": finding.forfeited_is_estimate,
            "usd_per_1000_calls": finding.money.usd if finding.money else None,
            "price_as_of": finding.money.as_of if finding.money else None,
            "applicability": finding.applicability.value if finding.applicability else None,
            "remedy": finding.remedy,
            "template": _template(finding),
            "evidence": [
                {
                    "text": evidence.text,
                    "path": evidence.location.path if evidence.location else None,
                    "cell": _cell(evidence.location),
                    "line": evidence.location.shown_line if evidence.location else None,
                    "column": evidence.location.column if evidence.location else None,
                }
                for evidence in finding.evidence
            ],
            "fingerprint": fingerprint,
        }
        for finding, fingerprint in marked
    ]


def _cell(place: Location | None) -> int | None:
    return place.cell.number if place is not None and place.cell is not None else None


def _template(finding: Finding) -> dict[str, Any] | None:
    if finding.template is None:
        return None
    return {
        "name": finding.template.name,
        "form": finding.template.form.value,
        "path": finding.template.location.path,
        "cell": _cell(finding.template.location),
        "line": finding.template.location.shown_line,
        "role": finding.site.role if finding.site else None,
    }
