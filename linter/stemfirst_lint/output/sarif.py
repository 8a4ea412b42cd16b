"""SARIF 2.1.0, which code scanning services read.

Source: OASIS, Static Analysis Results Interchange Format 2.1.0 (27 March 2020).
"""

from __future__ import annotations

import os
from inspect import cleandoc
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from stemfirst_lint.fingerprint import fingerprints
from stemfirst_lint.output.full import message
from stemfirst_lint.output.words import in_cell

if TYPE_CHECKING:
    from stemfirst_lint.check import Report
    from stemfirst_lint.model import Finding, Location

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)


def sarif_log(report: Report, version: str) -> dict[str, Any]:
    """Return a log with one run; columns count Unicode code points.

    Args:
        report: what was found.
        version: stemfirst's.
    """
    rules = _rules(report)
    index = {rule["id"]: at for at, rule in enumerate(rules)}
    marked = zip(report.findings, fingerprints(report.findings), strict=True)
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "stemfirst",
                        "version": version,
                        "informationUri": "https://github.com/stemfirst/stemfirst",
                        "rules": rules,
                    }
                },
                "columnKind": "unicodeCodePoints",
                "originalUriBaseIds": {
                    "SRCROOT": {"description": {"text": "The folder that was checked from."}}
                },
                "results": [
                    _result(finding, fingerprint, index[finding.code])
                    for finding, fingerprint in marked
                ],
                "invocations": [
                    {
                        "executionSuccessful": not report.failures,
                        "toolExecutionNotifications": [
                            {"level": "error", "message": {"text": str(failure)}}
                            for failure in report.failures
                        ],
                    }
                ],
            }
        ],
    }


def _rules(report: Report) -> list[dict[str, Any]]:
    from stemfirst_lint.rules import RULES

    documented = {rule.code: cleandoc(rule.__doc__ or "") for rule in RULES}
    found: dict[str, dict[str, Any]] = {}
    for finding in report.findings:
        if finding.code in found:
            continue
        text = documented.get(finding.code, finding.name)
        found[finding.code] = {
            "id": finding.code,
            "name": "".join(word.title() for word in finding.name.split("-")),
            "shortDescription": {"text": text.partition("\n")[0]},
            "fullDescription": {"text": text},
            "defaultConfiguration": {"level": "warning"},
        }
    return [found[code] for code in sorted(found)]


def _result(finding: Finding, fingerprint: str, index: int) -> dict[str, Any]:
    related = [
        {**_location(place), "id": at, "message": {"text": in_cell(place) + evidence.text}}
        for at, evidence in enumerate(finding.evidence)
        if (place := evidence.location) is not None
    ]
    return {
        "ruleId": finding.code,
        "ruleIndex": index,
        "level": "note" if finding.severity.value == "info" else "warning",
        "message": {"text": in_cell(finding.location) + message(finding)},
        "locations": [_location(finding.location)],
        "relatedLocations": related,
        "partialFingerprints": {"stemfirst/v1": fingerprint},
        "properties": {
            "forfeitedTokens": finding.forfeited_tokens,
            "applicability": finding.applicability.value if finding.applicability else None,
        },
    }


def _location(place: Location) -> dict[str, Any]:
    path = os.path.relpath(place.path).replace(os.sep, "/")
    artifact: dict[str, Any] = {"uri": quote(path), "uriBaseId": "SRCROOT"}
    if path.startswith("../"):  # outside: a relative reference would climb out of the base
        artifact = {"uri": "file://" + quote(os.path.abspath(place.path).replace(os.sep, "/"))}
    physical: dict[str, Any] = {"artifactLocation": artifact}
    if place.cell is None:  # a notebook's own lines are JSON
        physical["region"] = {
            "startLine": place.line,
            "startColumn": place.column,
            "endLine": place.end_line,
            "endColumn": place.end_column,
        }
    return {"physicalLocation": physical}
