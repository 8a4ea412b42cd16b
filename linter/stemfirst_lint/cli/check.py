"""The command `stemfirst check`.

Knows options, exit codes and where output goes. Exit codes: 0 clean, 1 findings, 2 something
could not be checked.
"""

from __future__ import annotations

import sys

import click


@click.command()
@click.argument("paths", nargs=-1, type=click.Path())
@click.option("--select", multiple=True, metavar="CODES", help="Only these codes or prefixes.")
@click.option("--ignore", multiple=True, metavar="CODES", help="Not these codes or prefixes.")
@click.option(
    "--output-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="For people or for programs.",
)
@click.option(
    "--model",
    type=click.Path(),
    help="Count with this model's tokenizer: a folder with tokenizer.json.",
)
@click.option("--min-gain", type=int, metavar="TOKENS", help="Report from this gain on [128].")
@click.option("--config", type=click.Path(), help="Read this pyproject.toml.")
def check(
    paths: tuple[str, ...],
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    output_format: str,
    model: str | None,
    min_gain: int | None,
    config: str | None,
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
    except LintError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    for failure in report.failures:
        click.echo(f"error: {failure}", err=True)
    if output_format == "json":
        import json

        from stemfirst_lint.report import json_findings

        click.echo(json.dumps(json_findings(report), indent=2, ensure_ascii=False))
    else:
        from stemfirst_lint.report import text_lines

        for line in text_lines(report):
            click.echo(line)
    sys.exit(2 if report.failures else 1 if report.findings else 0)


def _split(codes: tuple[str, ...]) -> tuple[str, ...]:
    """Both `--select SF101,SF103` and a repeated option."""
    return tuple(code.strip() for given in codes for code in given.split(",") if code.strip())
