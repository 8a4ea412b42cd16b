"""Counts findings by rule, most frequent first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stemfirst_lint.output.words import is_fixable, plural

if TYPE_CHECKING:
    from stemfirst_lint.check import Report


def counts(report: Report) -> list[dict[str, Any]]:
    """Return a JSON-ready object for each rule that found something, most findings first."""
    found: dict[str, dict[str, Any]] = {}
    for finding in report.findings:
        row = found.setdefault(
            finding.code,
            {"code": finding.code, "name": finding.name, "count": 0, "fixable": 0,
             "forfeited_tokens": 0},
        )  # fmt: skip
        row["count"] += 1
        row["fixable"] += is_fixable(finding)
        row["forfeited_tokens"] += finding.forfeited_tokens
    return sorted(found.values(), key=lambda row: (-row["count"], row["code"]))


def statistics_lines(report: Report) -> list[str]:
    """Return a table of the rules that found something, then how much was looked at."""
    rows = counts(report)
    lines = [
        f"{row['count']:>6,}  {row['code']}  {row['name']:<28}"
        f"{row['fixable']:>6,} fixable  {row['forfeited_tokens']:>10,} tokens forfeited"
        for row in rows
    ]
    seen = f"{plural(report.prompts, 'prompt')} in {plural(report.files, 'file')}"
    return [*lines, seen]
