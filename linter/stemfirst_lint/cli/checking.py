"""What `stemfirst check` does, in which order, and what it ends with.

Exit codes: 0 clean, 1 findings, 2 something could not be checked. Knows no parser of options: a
command line that has none starts without it.
"""

from __future__ import annotations

import gc
import sys

from stemfirst_lint.again import Tracing
from stemfirst_lint.cli.run import Options, Request
from stemfirst_lint.errors import LintError, UnreadableFile
from stemfirst_lint.output.terminal import say, wants_colour, write

TYPE_CHECKING = False  # `typing` costs start-up time
if TYPE_CHECKING:
    from stemfirst_lint.cli.run import Outcome


def check_plainly(arguments: list[str]) -> int | None:
    """Run a command line of paths alone and return its exit code; None if it has options."""
    if any(argument.startswith("-") for argument in arguments):
        return None
    return run_check(Options(paths=tuple(arguments)))


def run_check(asked: Options) -> int:
    """Do what was asked for, and return the exit code."""
    was_enabled = gc.isenabled()
    if not asked.is_watch:
        gc.disable()  # what was made lives until the end: there is nothing to collect
    try:
        with Tracing() as trace:
            request = Request.of(asked)
            if asked.show_settings or asked.show_files:
                lines = request.settings_lines() if asked.show_settings else request.files()
                return 0 if write("\n".join(lines), asked.output_file) else 2
            if asked.is_watch:
                from stemfirst_lint.cli.watch import watch_files

                watch_files(asked, request, lambda request: _show(request.run(), asked))
            outcome = request.run()
            shown: list[str] = []
            code = _show(outcome, asked, shown)
            if (
                trace is not None
                and request.is_repeatable(trace.asked.folder)
                and all(
                    isinstance(failure, UnreadableFile) and trace.has_read(failure.path)
                    for failure in outcome.report.failures
                )
            ):
                notes = "".join(f"{line}\n" for line in _notes(outcome))
                trace.shown("".join(shown), notes, code, request.program())
        gc.freeze()  # Python would look through every syntax tree for cycles before it ends
        return code
    except LintError as error:
        say(f"error: {error}")
        return 2
    finally:
        if was_enabled:
            gc.enable()


def _notes(outcome: Outcome) -> list[str]:
    """What goes to standard error, line by line."""
    return [*(f"error: {failure}" for failure in outcome.report.failures), *outcome.notes]


def _show(outcome: Outcome, options: Options, shown: list[str] | None = None) -> int:
    """Write an outcome where it goes, and return the exit code.

    What went to standard output is appended to `shown`.
    """
    from stemfirst_lint.output.formats import rendered, rendered_statistics

    report = outcome.report
    for line in _notes(outcome):
        say(line)
    if options.statistics:
        text = rendered_statistics(report, is_json=options.output_format == "json")
    else:
        text = rendered(
            report,
            options.output_format,
            fixed=outcome.fixed,
            is_explained=options.is_explained,
            is_coloured=options.output_file is None and wants_colour(sys.stdout),
        )
    if outcome.rewritten is not None:  # standard output is for the source
        say(text)
        sys.stdout.buffer.write(outcome.rewritten)
    elif not write(text, options.output_file):
        return 2
    elif shown is not None and text:
        shown.append(text + "\n")
    if report.failures:
        return 2
    is_clean = all(finding.severity.value == "info" for finding in report.findings)
    return 0 if is_clean or options.exit_zero else 1
