"""Reads recordings into an auditor, with progress and problems.

Knows files and their order. Does not know options or output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stemfirst_lint.audit.auditor import MIN_GAIN, Auditor
from stemfirst_lint.audit.bodies import ShapeError
from stemfirst_lint.audit.lines import lines_of, size_bytes
from stemfirst_lint.audit.records import Problem
from stemfirst_lint.audit.report import MAX_PROBLEMS, AuditReport, report_of
from stemfirst_lint.audit.shapes import request_of


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the reading has come; `total_bytes` is None where files have no size."""

    path: str
    read_bytes: int
    total_bytes: int | None
    requests: int


def audit_files(
    paths: tuple[str, ...],
    *,
    min_gain: int = MIN_GAIN,
    model: str | None = None,
    on_problem: Callable[[Problem], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> AuditReport:
    """Return the report on all requests in these files, in the order given.

    What cannot be read becomes a problem, and everything else is audited.

    Args:
        paths: JSON Lines, plain or gzipped; `-` is standard input.
        min_gain: tokens from which a request's loss is counted.
        model: folder of a tokenizer to count with.
        on_problem: told each problem when it is met.
        on_progress: told now and then how far the reading has come.

    Raises:
        TokenizerError: `model` names no tokenizer that can be loaded.
    """
    auditor = Auditor(min_gain=min_gain, model=model)
    problems: list[Problem] = []
    problem_count = 0
    sizes = [size_bytes(path) for path in paths]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    read = 0
    for path, size in zip(paths, sizes, strict=True):
        before = read

        def advance(position: int, path: str = path, before: int = before) -> None:
            if on_progress is not None:
                on_progress(Progress(path, before + position, total, auditor.requests))

        for number, item in enumerate(lines_of(path, advance=advance)):
            is_no_recording = False
            if isinstance(item, Problem):
                problem = item
            else:
                place, line = item
                try:
                    auditor.add(request_of(line, place))
                    continue
                except ShapeError as error:
                    other = _other_format(line) if not number else None
                    problem = Problem(place, other or str(error))
                    is_no_recording = other is not None
            problem_count += 1
            if len(problems) < MAX_PROBLEMS:
                problems.append(problem)
            if on_problem is not None:
                on_problem(problem)
            if is_no_recording:
                break  # every line would say the same
        read += size or 0
    return report_of(auditor, paths, tuple(problems), problem_count)


def _other_format(line: bytes) -> str | None:
    """Return what a whole file is whose first line holds no request, or None."""
    if line[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "the file is UTF-16; write it as UTF-8"
    if line.lstrip(b"\xef\xbb\xbf \t")[:1] == b"[":
        return "the file is a JSON array; write one request a line (jq -c '.[]' does)"
    if line.lstrip(b"\xef\xbb\xbf \t").strip() == b"{":
        return "the file is one indented JSON object; write one request a line (jq -c . does)"
    return None
