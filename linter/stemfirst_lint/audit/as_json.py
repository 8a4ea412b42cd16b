"""An audit's report for programs: one JSON object.

Knows the fields' names, which are stable: new ones may come, none changes its meaning.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from stemfirst.prompt import Origin

from stemfirst_lint.audit.report import AuditReport, code_of, is_rare
from stemfirst_lint.audit.tallies import CauseSum, Example, Sums, TemplateSum

VERSION = 1


def json_report(report: AuditReport) -> dict[str, Any]:
    """Return the report as JSON values."""
    return {
        "version": VERSION,
        "files": list(report.paths),
        "requests": report.sums.requests,
        "tokens_are_estimated": report.is_estimate,
        "min_gain": report.min_gain,
        "totals": _sums(report.sums),
        "unread_written_tokens": report.unread_tokens,
        "templates": [_template(template) for template in report.templates],
        "timeline": {
            "unit": "seconds since 1970" if report.is_timed else "requests",
            "slices": [{"at": at, **asdict(part)} for at, part in report.timeline],
        },
        "notes": list(report.notes),
        "problem_count": report.problem_count,
        "problems": [
            {"where": str(problem.place), "reason": problem.reason} for problem in report.problems
        ],
    }


def _sums(sums: Sums) -> dict[str, Any]:
    """Return sums; money is null where nothing had a price, reports where nothing reported."""
    found = asdict(sums)
    if not sums.priced:
        for name in ("uncached_cost", "expected_cost", "best_cost"):
            found[name] = None
    if not sums.reported_priced:
        found["reported_cost"] = found["expected_cost_of_reported"] = None
    if not sums.reported:
        for name in ("prompt", "cached", "written"):
            found[f"reported_{name}_tokens"] = None
        found["expected_of_reported_tokens"] = None
    return {
        name: round(value) if isinstance(value, float) and name.endswith("_tokens") else value
        for name, value in found.items()
    }


def _template(template: TemplateSum) -> dict[str, Any]:
    return {
        "id": f"T{template.number + 1}",
        "title": template.title,
        "models": dict(template.models),
        "apis": dict(template.apis),
        "rules": dict(template.rules),
        "reported_reasons": dict(template.reasons),
        "totals": _sums(template.sums),
        "divergence_positions": {
            "requests": list(template.positions),
            "forfeiting": list(template.lossy_positions),
        },
        "findings": [_cause(template, one) for one in template.by_loss],
    }


def _cause(template: TemplateSum, one: CauseSum) -> dict[str, Any]:
    return {
        "code": code_of(one),
        "cause": one.cause.code,
        "name": one.cause.name,
        "message": one.cause.what,
        "remedy": one.cause.remedy,
        "is_fault": one.cause.is_fault and not is_rare(template, one),
        "at": one.at or None,
        "label": one.label or None,
        "segment": one.segment,
        "origin": _origin(one.origin),
        "requests": one.requests,
        "lost_tokens": round(one.lost_tokens),
        "lost_money": one.lost_money if one.priced else None,
        "further_labels": list(one.further),
        "example": _example(one.example),
    }


def _origin(origin: Origin | None) -> dict[str, Any] | None:
    if origin is None:
        return None
    return {"path": origin.path, "line": origin.line, "column": origin.column}


def _example(example: Example | None) -> dict[str, Any] | None:
    if example is None:
        return None
    window = example.window
    return {
        "path": example.place.path,
        "line": example.place.line,
        "earlier": asdict(example.earlier) if example.earlier else None,
        "model": example.model,
        "token": example.token,
        "byte": example.byte,
        "lost_tokens": example.lost_tokens,
        "was": window.was if window else None,
        "now": window.now if window else None,
        "caret": window.caret if window else None,
    }
