"""The command `stemfirst check`: its options. What it does with them is `checking`'s."""

from __future__ import annotations

import sys

import click

from stemfirst_lint.output.formats import FORMATS

TYPE_CHECKING = False  # `typing` costs start-up time
if TYPE_CHECKING:
    from typing import Any

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
@click.option(
    "--explain", "is_explained", is_flag=True, help="Print all evidence; `full` always does."
)
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
    from stemfirst_lint.cli.checking import run_check
    from stemfirst_lint.cli.run import Options

    sys.exit(run_check(Options(**options)))
