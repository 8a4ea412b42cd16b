"""Words that several formats share: numbers with nouns, and the line that sums a run up."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stemfirst_lint.check import Report
    from stemfirst_lint.model import Finding, Location


def plural(number: int, noun: str) -> str:
    """Return `1 file`, `1,200 files`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def in_cell(place: Location) -> str:
    """Return `cell 3, line 2: ` for formats that have no place for a cell; else nothing."""
    return f"cell {place.cell.number}, line {place.shown_line}: " if place.cell else ""


def is_fixable(finding: Finding) -> bool:
    """Return True if `stemfirst fix` would mend a finding without `--risky`."""
    return finding.applicability is not None and finding.applicability.value != "risky"


def summary(report: Report, *, fixed: int = 0) -> str:
    """Return one line: how much was found, and what `stemfirst fix` could do about it.

    Args:
        report: what is left.
        fixed: findings that `--fix` has mended; they are not in the report any more.
    """
    failed = f"; {plural(len(report.failures), 'file')} could not be checked" * bool(
        report.failures
    )
    mended = f"Fixed {plural(fixed, 'finding')}. " if fixed else ""
    if not report.findings:
        return (
            f"{mended}No findings in {plural(report.files, 'file')} with "
            f"{plural(report.prompts, 'prompt')}{failed}."
        )
    places = len({finding.location.path for finding in report.findings})
    safe = sum(is_fixable(finding) for finding in report.findings)
    fixable = f"; {safe} fixable with `stemfirst fix`" if safe else ""
    return (
        f"{mended}Found {plural(len(report.findings), 'finding')} in {plural(places, 'file')}"
        f"{fixable}{failed}."
    )
