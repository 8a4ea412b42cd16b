"""The command `stemfirst audit`: what recorded requests lost, where, and why.

Knows options, progress, exit codes and where output goes. Exit codes: 0 nothing is lost, 1
something is, 2 a line or a file could not be read (all others still were).
"""

from __future__ import annotations

import sys

import click

TYPE_CHECKING = False  # `typing` costs start-up time
if TYPE_CHECKING:
    from collections.abc import Callable

    from stemfirst_lint.audit.records import Problem
    from stemfirst_lint.audit.run import Progress

_SHOWN_PROBLEMS = 20


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path())
@click.option(
    "--output-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="For people or for programs.",
)
@click.option("--html", metavar="FILE", type=click.Path(), help="Write a page with pictures, too.")
@click.option(
    "--source",
    multiple=True,
    type=click.Path(),
    metavar="DIR",
    help="Look up the line in this source that a cause comes from.",
)
@click.option(
    "--model",
    type=click.Path(),
    help="Count with this model's tokenizer: a folder with tokenizer.json.",
)
@click.option(
    "--min-gain",
    type=click.IntRange(min=1),
    default=128,
    show_default=True,
    metavar="TOKENS",
    help="Count a request's loss from here on.",
)
@click.option("--exit-zero", is_flag=True, help="Exit with 0 also when something is lost.")
def audit(
    files: tuple[str, ...],
    output_format: str,
    html: str | None,
    source: tuple[str, ...],
    model: str | None,
    min_gain: int,
    exit_zero: bool,
) -> None:
    """Find what recorded requests lost to the order of their text.

    FILES are JSON Lines, plain or gzipped, one request a line: OpenAI chat and responses,
    Anthropic messages, LiteLLM's logs, the SDK's recordings; - is standard input. They are read
    once, in constant memory.
    """
    from stemfirst_lint.audit.run import audit_files
    from stemfirst_lint.errors import LintError

    wrong = _wrong_page(html, files) if html is not None else None
    if wrong is not None:
        click.echo(f"error: {html}: {wrong}; choose another --html file", err=True)
        sys.exit(2)
    show, clear = _progress()
    told = 0

    def on_problem(problem: Problem) -> None:
        nonlocal told
        told += 1
        if told <= _SHOWN_PROBLEMS:
            clear()
            click.echo(f"error: {_safe(str(problem))}", err=True)

    try:
        report = audit_files(
            files, min_gain=min_gain, model=model, on_problem=on_problem, on_progress=show
        )
        clear()
        if told > _SHOWN_PROBLEMS:
            click.echo(f"error: … and {told - _SHOWN_PROBLEMS:,} lines more", err=True)
        if source:
            from stemfirst_lint.audit.source_lines import find_source_lines

            find_source_lines(report, source)
    except LintError as error:
        clear()
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    if output_format == "json":
        import json

        from stemfirst_lint.audit.as_json import json_report

        click.echo(_encodable(json.dumps(json_report(report), indent=2)))
    else:
        from stemfirst_lint.audit.text import text_lines

        for line in text_lines(report):
            click.echo(_encodable(line))
    has_failed = bool(report.problem_count)
    if html is not None:
        has_failed = not _write_page(html, report) or has_failed
    sys.exit(2 if has_failed else 1 if report.has_faults and not exit_zero else 0)


def _wrong_page(path: str, files: tuple[str, ...]) -> str | None:
    """Return why no page can be written there, before gigabytes are read for it."""
    import os

    real = os.path.realpath(path)
    if real in {os.path.realpath(file) for file in files}:
        return "a recording that is to be read"
    folder = os.path.dirname(real)
    if not os.path.isdir(folder):
        return f"no folder {folder}"
    if os.path.isdir(real):
        return "a folder"
    if os.path.isfile(real) and os.path.getsize(real):
        with open(real, "rb") as file:
            if not file.read(64).lstrip().lower().startswith((b"<!doctype html", b"<html")):
                return "holds something else than a page"
    return None if os.access(real if os.path.exists(real) else folder, os.W_OK) else "not writable"


def _write_page(path: str, report: object) -> bool:
    from stemfirst_lint.audit.page import page
    from stemfirst_lint.audit.report import AuditReport

    assert isinstance(report, AuditReport)
    try:
        with open(path, "w", encoding="utf-8", errors="replace") as file:
            file.write(page(report))
    except OSError as error:
        click.echo(f"error: {path}: {error.strerror}; choose another --html file", err=True)
        return False
    click.echo(f"wrote {path}", err=True)
    return True


def _progress() -> tuple[Callable[[Progress], None], Callable[[], None]]:
    """Return how to show progress on a terminal, in one line, and how to clear it."""
    import time

    is_terminal = sys.stderr.isatty()
    shown_at = 0.0
    is_shown = False

    def show(progress: Progress) -> None:
        nonlocal shown_at, is_shown
        now = time.monotonic()
        if not is_terminal or now - shown_at < 0.1:
            return
        shown_at, is_shown = now, True
        done = f"{progress.read_bytes / 2**20:,.0f} MiB"
        if progress.total_bytes:
            done += f" of {progress.total_bytes / 2**20:,.0f}"
            done += f" ({100 * progress.read_bytes // progress.total_bytes} %)"
        line = f"read {done}, {progress.requests:,} requests"
        click.echo(f"\r\x1b[2K{line[:79]}", err=True, nl=False)

    def clear() -> None:
        nonlocal is_shown
        if is_shown:
            click.echo("\r\x1b[2K", err=True, nl=False)
            is_shown = False

    return show, clear


def _safe(text: str) -> str:
    from stemfirst_lint.audit.divergence import printable

    return printable(text)


def _encodable(text: str) -> str:
    """Return text that standard output can take, whatever its encoding."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
