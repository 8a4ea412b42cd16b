"""The command `stemfirst check`: its options, and what it does with them in which order.

Knows options and exit codes. Exit codes: 0 clean, 1 findings, 2 something could not be checked.
"""

from __future__ import annotations

import gc
import sys

import click

from stemfirst_lint.output.formats import FORMATS
from stemfirst_lint.output.terminal import wants_colour, write

TYPE_CHECKING = False  # `typing` costs start-up time
if TYPE_CHECKING:
    from typing import Any

    from stemfirst_lint.cli.run import Options, Outcome

CODES = "CODES"


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(allow_dash=True))
@click.option("--fix", "is_fix", is_flag=True, help="Fix what leaves the model's text as it is.")
@click.option("--add-ignore", metavar="REASON", help="Silence what is found, with a comment.")
@click.option("--select", multiple=True, metavar=CODES, help="Only these codes or prefixes.")
@click.option("--extend-select", multiple=True, metavar=CODES, help="These codes, too.")
@click.option("--ignore", multiple=True, metavar=CODES, help="Not these codes or prefixes.")
@click.option(
    "--per-file-ignores", multiple=True, metavar="PATTERN:CODES", help="Not these codes there."
)
@click.option("--min-gain", type=int, metavar="TOKENS", help="Report from this gain on [128].")
@click.option(
    "--model",
    type=click.Path(),
    help="Count for this model: a folder with tokenizer.json, or a hosted model's name.",
)
@click.option("--config", "config_path", type=click.Path(), help="Read this pyproject.toml.")
@click.option(
    "--respect-gitignore/--no-respect-gitignore",
    default=None,
    help="Leave out what git ignores [on].",
)
@click.option(
    "--force-exclude/--no-force-exclude",
    default=None,
    help="Leave out what is excluded, even if it is named [off].",
)
@click.option("--stdin-filename", metavar="FILE", help="The name of what PATH - gives.")
@click.option("--since", metavar="REV", help="Only what changed since a git revision.")
@click.option("--baseline", type=click.Path(), metavar="FILE", help="Not what this file knows.")
@click.option(
    "--write-baseline", type=click.Path(), metavar="FILE", help="Note what is found as known."
)
@click.option(
    "--output-format",
    type=click.Choice(FORMATS),
    default="full",
    show_default=True,
    help="For people, or for programs.",
)
@click.option("-o", "--output-file", type=click.Path(), metavar="FILE", help="Write there.")
@click.option("--statistics", is_flag=True, help="Count findings by rule, and prompts.")
@click.option("--exit-zero", is_flag=True, help="Exit with 0 also when something is found.")
@click.option("--show-files", is_flag=True, help="List the files that would be checked.")
@click.option("--show-settings", is_flag=True, help="Show the settings that would hold.")
@click.option("--no-cache", is_flag=True, help="Neither read nor write results of before.")
@click.option(
    "--cache-dir", type=click.Path(), metavar="DIR", help="Keep them there [.stemfirst_cache]."
)
@click.option("--watch", "is_watch", is_flag=True, help="Check again whenever a file changes.")
def check(**options: Any) -> None:
    """Find varying text that stands before stable text.

    PATHS are files and folders; the current folder if none is given; - is standard input.
    """
    from stemfirst_lint.again import Tracing
    from stemfirst_lint.cli.run import Options, Request
    from stemfirst_lint.errors import LintError, UnreadableFile

    asked = Options(**options)
    try:
        with Tracing() as trace:
            request = Request.of(asked)
            if asked.show_settings or asked.show_files:
                lines = request.settings_lines() if asked.show_settings else request.files()
                sys.exit(0 if write("\n".join(lines), asked.output_file) else 2)
            if asked.is_watch:
                from stemfirst_lint.cli.watch import watch_files

                watch_files(request, lambda: _show(request.run(), asked))
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
        sys.exit(code)
    except LintError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)


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
        click.echo(line, err=True)
    if options.statistics:
        text = rendered_statistics(report, is_json=options.output_format == "json")
    else:
        text = rendered(
            report,
            options.output_format,
            fixed=outcome.fixed,
            is_coloured=options.output_file is None and wants_colour(sys.stdout),
        )
    if outcome.rewritten is not None:  # standard output is for the source
        click.echo(text, err=True)
        sys.stdout.buffer.write(outcome.rewritten)
    elif not write(text, options.output_file):
        return 2
    elif shown is not None and text:
        shown.append(text + "\n")
    if report.failures:
        return 2
    is_clean = all(finding.severity.value == "info" for finding in report.findings)
    return 0 if is_clean or options.exit_zero else 1
