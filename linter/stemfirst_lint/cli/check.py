"""The command `stemfirst check`.

Knows options, exit codes and where output goes. Exit codes: 0 clean, 1 findings, 2 something
could not be checked.
"""

from __future__ import annotations

import sys

import click

from stemfirst_lint.output.formats import FORMATS
from stemfirst_lint.output.terminal import wants_colour, write

TYPE_CHECKING = False  # `typing` costs start-up time
if TYPE_CHECKING:
    from stemfirst_lint.check import Report
    from stemfirst_lint.config import Config


@click.command()
@click.argument("paths", nargs=-1, type=click.Path())
@click.option("--select", multiple=True, metavar="CODES", help="Only these codes or prefixes.")
@click.option("--ignore", multiple=True, metavar="CODES", help="Not these codes or prefixes.")
@click.option(
    "--output-format",
    type=click.Choice(FORMATS),
    default="full",
    show_default=True,
    help="For people, or for programs.",
)
@click.option("-o", "--output-file", type=click.Path(), metavar="FILE", help="Write there.")
@click.option(
    "--model",
    type=click.Path(),
    help="Count with this model's tokenizer: a folder with tokenizer.json.",
)
@click.option("--min-gain", type=int, metavar="TOKENS", help="Report from this gain on [128].")
@click.option("--config", type=click.Path(), help="Read this pyproject.toml.")
@click.option(
    "--fix", "is_fix", is_flag=True, help="Make fixes that leave the text that is read as it is."
)
@click.option("--statistics", is_flag=True, help="Count findings by rule, and prompts.")
@click.option("--exit-zero", is_flag=True, help="Exit with 0 also when something is found.")
def check(
    paths: tuple[str, ...],
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    output_format: str,
    output_file: str | None,
    model: str | None,
    min_gain: int | None,
    config: str | None,
    is_fix: bool,
    statistics: bool,
    exit_zero: bool,
) -> None:
    """Find varying text that stands before stable text.

    PATHS are files and folders; the current folder if none is given.
    """
    from stemfirst_lint.check import check_paths
    from stemfirst_lint.config import load_config, read_config
    from stemfirst_lint.errors import LintError

    paths = paths or (".",)
    try:
        settings = read_config(config) if config else load_config(paths[0])
        settings = settings.with_options(
            select=_split(select), ignore=_split(ignore), min_gain=min_gain, model=model
        )
        report = check_paths(paths, settings)
        fixed = 0
        if is_fix:
            report, fixed = _fixed(report, paths, settings)
    except LintError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    for failure in report.failures:
        click.echo(f"error: {failure}", err=True)
    from stemfirst_lint.output.formats import rendered, rendered_statistics

    if statistics:
        text = rendered_statistics(report, is_json=output_format == "json")
    else:
        is_coloured = output_file is None and wants_colour(sys.stdout)
        text = rendered(report, output_format, fixed=fixed, is_coloured=is_coloured)
    if not write(text, output_file):
        sys.exit(2)
    sys.exit(2 if report.failures else 1 if report.findings and not exit_zero else 0)


def _split(codes: tuple[str, ...]) -> tuple[str, ...]:
    """Both `--select SF101,SF103` and a repeated option."""
    return tuple(code.strip() for given in codes for code in given.split(",") if code.strip())


def _fixed(report: Report, paths: tuple[str, ...], config: Config) -> tuple[Report, int]:
    """Mend what leaves the text as it is; return what is left, and how much was mended."""
    from dataclasses import replace

    from stemfirst_lint.check import check_paths
    from stemfirst_lint.model import Applicability

    if not any(finding.applicability is Applicability.IDENTICAL for finding in report.findings):
        return report, 0
    from stemfirst_lint.fix.apply import fix_paths

    outcome = fix_paths(paths, config, allow=Applicability.IDENTICAL)
    mended = sum(len(done.findings) for rewrite in outcome.rewrites for done in rewrite.done)
    left = check_paths(paths, config)
    told = {str(failure) for failure in left.failures}
    unwritten = tuple(f for f in outcome.failures if str(f) not in told)
    return replace(left, failures=(*left.failures, *unwritten)), mended
