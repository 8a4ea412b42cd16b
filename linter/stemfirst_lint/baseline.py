"""Findings that are known and accepted for now, in a file that goes into the repository.

Knows the file's format. A finding is known by its fingerprint, so lines may move.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace

from stemfirst_lint.errors import ConfigError
from stemfirst_lint.fingerprint import fingerprints
from stemfirst_lint.writing import write_whole

TYPE_CHECKING = False  # `typing` costs start-up time
if TYPE_CHECKING:
    from collections.abc import Collection

    from stemfirst_lint.check import Report

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Compared:
    """A report without what the baseline knows.

    Attributes:
        report: what is new.
        known: findings that the baseline holds.
        gone: entries of the baseline that no finding matches any more.
    """

    report: Report
    known: int
    gone: int


def write_baseline(path: str, report: Report, checked: Collection[str] | None = None) -> int:
    """Write a report's findings as known; return how many entries of other files stay.

    Args:
        path: the baseline.
        report: what was found.
        checked: the real paths of files and folders that were checked; None for all. What the
            baseline knows of other files stays in it, unless they are gone.

    Raises:
        ConfigError: the file cannot be written.
    """
    root = os.path.dirname(os.path.abspath(path))
    kept: list[dict[str, object]] = []
    if os.path.isfile(path) and os.path.getsize(path):
        try:
            old = _rows(path)
            if checked is not None:
                kept = [row for row in old if not _was_checked(_place(root, row), checked)]
        except ConfigError:
            raise ConfigError(
                f"{path} is no baseline and stays as it is; choose another file, or delete it"
            ) from None
    marks = fingerprints(report.findings, root)
    rows: list[dict[str, object]] = [
        {
            "fingerprint": mark,
            "code": finding.code,
            "path": os.path.relpath(finding.location.path, root).replace(os.sep, "/"),
            "message": " ".join(finding.message.split()),
        }
        for mark, finding in zip(marks, report.findings, strict=True)
    ]
    known = {row["fingerprint"] for row in rows}
    kept = [row for row in kept if row["fingerprint"] not in known]
    rows += kept
    rows.sort(key=lambda row: tuple(str(row.get(key)) for key in ("path", "code", "fingerprint")))
    text = json.dumps({"version": _VERSION, "findings": rows}, indent=2, ensure_ascii=False)
    try:
        write_whole(path, (text + "\n").encode("utf-8", "replace"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; choose another baseline file") from None
    return len(kept)


def without_known(path: str, report: Report, checked: Collection[str] | None = None) -> Compared:
    """Return what a baseline does not know.

    Args:
        path: the baseline.
        report: what was found.
        checked: the real paths of files and folders that were checked; None for all. Of other
            files, unless they are gone, nobody can say that a fault is not found any more.

    Raises:
        ConfigError: the file is not there or is no baseline.
    """
    rows = _rows(path)
    known = {str(row["fingerprint"]) for row in rows}
    marks = fingerprints(report.findings, os.path.dirname(os.path.abspath(path)))
    new = tuple(
        finding for mark, finding in zip(marks, report.findings, strict=True) if mark not in known
    )
    found = set(marks)
    root = os.path.dirname(os.path.abspath(path))
    gone = 0
    for row in rows:
        was_checked = checked is None or _was_checked(_place(root, row), checked)
        gone += str(row["fingerprint"]) not in found and was_checked
    return Compared(replace(report, findings=new), len(report.findings) - len(new), gone)


def _place(root: str, row: dict[str, object]) -> str:
    return os.path.realpath(os.path.join(root, str(row.get("path", ""))))


def _was_checked(place: str, checked: Collection[str]) -> bool:
    """Return True if a run can say what is found in a file: it saw it, or the file is gone."""
    if not os.path.exists(place):
        return True
    while place not in checked:
        above = os.path.dirname(place)
        if above == place:
            return False
        place = above
    return True


def _rows(path: str) -> list[dict[str, object]]:
    remedy = "write it with `stemfirst check --write-baseline`"
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        if found["version"] != _VERSION:
            raise ConfigError(f"{path}: version {found['version']!r} is not known; {remedy}")
        rows = list(found["findings"])
        if not all(isinstance(row["fingerprint"], str) for row in rows):
            raise ConfigError(f"{path} is no baseline; {remedy}")
        return rows
    except OSError as error:
        raise ConfigError(f"{path}: {(error.strerror or '').lower()}; {remedy}") from None
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{path} is no baseline; {remedy}") from None
