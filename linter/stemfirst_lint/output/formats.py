"""The table of formats: a name, and how a report becomes text in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stemfirst_lint.check import Report

FORMATS = ("full", "concise", "json", "sarif", "github", "gitlab", "junit")


def rendered(
    report: Report,
    format_name: str,
    *,
    fixed: int = 0,
    is_coloured: bool = False,
    is_explained: bool = False,
) -> str:
    """Return a report in one of `FORMATS`, without a line end at the end.

    Args:
        report: what was found.
        format_name: one of `FORMATS`.
        fixed: findings that were mended and are not in the report.
        is_coloured: use ANSI colours, where the format is for people.
        is_explained: print the evidence also where the format prints one line a finding.
    """
    match format_name:
        case "full":
            from stemfirst_lint.output.full import full_lines

            return "\n".join(full_lines(report, fixed=fixed, is_coloured=is_coloured))
        case "concise":
            from stemfirst_lint.output.concise import concise_lines

            return "\n".join(concise_lines(report, fixed=fixed, is_explained=is_explained))
        case "github":
            from stemfirst_lint.output.github import github_lines

            return "\n".join(github_lines(report))
        case "junit":
            from stemfirst_lint.output.junit import junit_text

            return junit_text(report)
    return _json(_value(report, format_name))


def rendered_statistics(report: Report, *, is_json: bool) -> str:
    """Return how much was found by each rule, as text or JSON."""
    from stemfirst_lint.output.statistics import counts, statistics_lines

    return _json(counts(report)) if is_json else "\n".join(statistics_lines(report))


def _value(report: Report, format_name: str) -> object:
    if format_name == "sarif":
        from importlib.metadata import version

        from stemfirst_lint.output.sarif import sarif_log

        return sarif_log(report, version("stemfirst"))
    if format_name == "gitlab":
        from stemfirst_lint.output.gitlab import gitlab_issues

        return gitlab_issues(report)
    assert format_name == "json"
    from stemfirst_lint.output.as_json import json_findings

    return json_findings(report)


def _json(value: object) -> str:
    import json

    return json.dumps(value, indent=2, ensure_ascii=False)
