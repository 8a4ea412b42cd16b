"""The command `stemfirst fix`: rewrites prompts, or shows how it would.

Knows options, output and exit codes. Everything else is `check_paths` and `apply_fixes`.
"""

from __future__ import annotations

import sys

import click

from stemfirst_lint.errors import LintError

TYPE_CHECKING = False  # `typing` costs start-up time
if TYPE_CHECKING:
    from stemfirst_lint.check import Report
    from stemfirst_lint.config import Config
    from stemfirst_lint.fix.apply import Outcome
    from stemfirst_lint.fix.rewrite import Done, Left


@click.command()
@click.argument("paths", nargs=-1, type=click.Path())
@click.option("--diff", "is_diff", is_flag=True, help="Show the changes, write nothing.")
@click.option("--risky", "is_risky", is_flag=True, help="Make changes that you must look at, too.")
@click.option("--select", multiple=True, metavar="CODES", help="Fix only these rules.")
@click.option("--ignore", multiple=True, metavar="CODES", help="Leave these rules alone.")
@click.option("--min-gain", type=int, metavar="TOKENS", help="The least gain worth a change.")
@click.option("--model", metavar="DIR", help="Count with this model's tokenizer.json.")
def fix(
    paths: tuple[str, ...],
    is_diff: bool,
    is_risky: bool,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    min_gain: int | None,
    model: str | None,
) -> None:
    """Rewrite the prompts in PATHS so that stable content comes first.

    Every change is proven before a file is written: nothing is lost, fields keep their values,
    less is forfeited, and a second run changes nothing. What stays as it is gets one line that
    says why and what you could write instead.

    Exit status: 0 nothing is left to fix, 1 findings remain (with --diff: something would
    change), 2 a file could not be read, checked or written.
    """
    from stemfirst_lint.check import check_paths
    from stemfirst_lint.config import load_config
    from stemfirst_lint.fix.apply import apply_fixes
    from stemfirst_lint.model import Applicability

    paths = paths or (".",)
    try:
        config = load_config(paths[0]).with_options(
            select=select, ignore=ignore, min_gain=min_gain, model=model
        )
        report = check_paths(paths, config)
    except LintError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    outcome = apply_fixes(
        report.findings,
        allow=Applicability.RISKY if is_risky else Applicability.REORDER,
        min_gain=config.min_gain,
        write=not is_diff,
    )
    failures = [*report.failures, *outcome.failures]
    for failure in failures:
        click.echo(f"error: {failure}", err=True)
    if is_diff:
        _show_diff(outcome, report)
        sys.exit(2 if failures else 1 if outcome.changed else 0)
    is_left = _report(outcome, report, paths, config)
    sys.exit(2 if failures else 1 if is_left else 0)


def _show_diff(outcome: Outcome, report: Report) -> None:
    from stemfirst_lint.fix.apply import diff_of

    diff = diff_of(outcome.rewrites)
    click.echo(diff.encode("utf-8", "surrogateescape"), nl=False)
    for rewrite in outcome.rewrites:
        for left in rewrite.left:
            click.echo(_line_of(left), err=True)
    fixed = sum(len(done.findings) for rewrite in outcome.rewrites for done in rewrite.done)
    files = len(outcome.changed)
    found = _count(len(report.findings), "finding")
    click.echo(f"Would fix {fixed} of {found} in {_count(files, 'file')}.", err=True)


def _report(outcome: Outcome, report: Report, paths: tuple[str, ...], config: Config) -> bool:
    """Write what was done and what is left, and return whether anything is left."""
    for rewrite in outcome.rewrites:
        places: list[Done | Left] = [*rewrite.done, *rewrite.left]
        for place in sorted(places, key=lambda place: place.location):
            click.echo(_line_of(place))
    fixed = sum(len(done.findings) for rewrite in outcome.rewrites for done in rewrite.done)
    remaining = report.findings
    if outcome.changed:
        from stemfirst_lint.check import check_paths

        remaining = check_paths(paths, config).findings
    said = {left.location for rewrite in outcome.rewrites for left in rewrite.left}
    for finding in remaining:
        where = finding.template.location if finding.template else finding.location
        if outcome.changed and where not in said and not _was_left(finding.code, outcome):
            click.echo(f"{finding.location}: {finding.code} still: {finding.message}")
    files = len(outcome.changed)
    if fixed or remaining:
        click.echo(
            f"Fixed {_count(fixed, 'finding')} in {_count(files, 'file')}; {len(remaining)} left."
        )
    else:
        click.echo("Nothing to fix.")
    return bool(remaining)


def _was_left(code: str, outcome: Outcome) -> bool:
    return any(
        finding.code == code
        for rewrite in outcome.rewrites
        for left in rewrite.left
        for finding in left.findings
    )


def _line_of(place: Done | Left) -> str:
    from stemfirst_lint.fix.rewrite import Left
    from stemfirst_lint.model import Applicability

    codes = ", ".join(dict.fromkeys(finding.code for finding in place.findings))
    head = f"{place.location}: {codes}"
    if isinstance(place, Left):
        why = "; ".join(str(reason) for reason in place.reasons[:1]) or "no fix is known"
        how = " (`--risky` would)" if place.applicability is Applicability.RISKY else ""
        return f"{head} left{how}: {why}"
    if place.applicability is Applicability.IDENTICAL or not place.before.characters:
        return f"{head} sorted"
    moved = (
        f"{head} reordered: {place.before.characters:,} -> {place.after.characters:,} "
        "constant characters behind the first hole"
    )
    if place.applicability is Applicability.RISKY:
        notes = "; ".join(note.reason for note in place.notes)
        return f"{moved}; look at it: {notes}"
    return moved


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
