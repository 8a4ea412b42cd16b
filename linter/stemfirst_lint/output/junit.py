"""JUnit's XML, which continuous integration servers show as failed tests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

from stemfirst_lint.output.full import message

if TYPE_CHECKING:
    from stemfirst_lint.check import Report
    from stemfirst_lint.model import Finding

_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_text(report: Report) -> str:
    """Return one suite a file with findings; a passing case where nothing was found."""
    by_file: dict[str, list[Finding]] = {}
    for finding in report.findings:
        by_file.setdefault(finding.location.path, []).append(finding)
    lines = ['<?xml version="1.0" encoding="utf-8"?>']
    count, errors = len(report.findings), len(report.failures)
    lines.append(
        f'<testsuites name="stemfirst" tests="{max(count + errors, 1)}" failures="{count}" '
        f'errors="{errors}">'
    )
    for path, findings in by_file.items():
        size = len(findings)
        lines.append(f'  <testsuite name={_attribute(path)} tests="{size}" failures="{size}">')
        lines += [line for finding in findings for line in _case(finding)]
        lines.append("  </testsuite>")
    if errors:
        lines.append(f'  <testsuite name="stemfirst" tests="{errors}" errors="{errors}">')
        for failure in report.failures:
            lines.append('    <testcase name="read" classname="stemfirst">')
            lines.append(f"      <error message={_attribute(str(failure))}/>")
            lines.append("    </testcase>")
        lines.append("  </testsuite>")
    if not count and not errors:
        lines.append('  <testsuite name="stemfirst" tests="1" failures="0">')
        lines.append('    <testcase name="no findings" classname="stemfirst"/>')
        lines.append("  </testsuite>")
    lines.append("</testsuites>")
    return "\n".join(lines)


def _case(finding: Finding) -> list[str]:
    place = finding.location
    told = [message(finding), *(evidence.text for evidence in finding.evidence)]
    return [
        f"    <testcase name={_attribute(f'{finding.code} {finding.name}')} "
        f"classname={_attribute(place.path)} file={_attribute(place.path)} "
        f'line="{place.file_line}">',
        f"      <failure type={_attribute(finding.code)} "
        f"message={_attribute(f'{place}: {message(finding)}')}>"
        f"{_attribute(chr(10).join(told))[1:-1]}</failure>",
        "    </testcase>",
    ]


def _attribute(text: str) -> str:
    """Text in quotes; characters that XML 1.0 has no place for become `?`."""
    quoted = quoteattr(_NOT_XML.sub("?", text))
    if quoted.startswith("'"):
        quoted = f'"{quoted[1:-1].replace(chr(34), "&quot;")}"'
    return quoted
