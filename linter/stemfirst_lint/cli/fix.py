"""The command `stemfirst fix`: rewrites prompts, or shows how it would.

Knows options, output and exit codes. Everything else is `fix_paths`.
"""

from __future__ import annotations

import sys

import click

from stemfirst_lint.errors import LintError

TYPE_CHECKING = False  # `typing` costs start-up time
if TYPE_CHECKING:
    from stemfirst_lint.fix.apply import Outcome
    from stemfirst_lint.fix.changes import Done, Left
    from stemfirst_lint.model import Finding, Location


@click.command()
@click.argument("paths", nargs=-1, type=click.Path())
@click.option("--diff", "is_diff", is_flag=True, help="Show the changes, write nothing.")
@click.option("--risky", "is_risky", is_flag=True, help="Make changes that you must look at, too.")
@click.option("--interactive", "-i", "is_interactive", is_flag=True, help="Ask for each change.")
@click.option("--suggest", "is_suggesting", is_flag=True, help="Show what you could write instead.")
@click.option("--select", multiple=True, metavar="CODES", help="Only these codes or prefixes.")
@click.option("--ignore", multiple=True, metavar="CODES", help="Not these codes or prefixes.")
@click.option(
    "--model",
    type=click.Path(),
    help="Count with this model's tokenizer: a folder with tokenizer.json.",
)
@click.option("--min-gain", type=int, metavar="TOKENS", help="Change from this gain on [128].")
@click.option("--config", "config_path", type=click.Path(), help="Read this pyproject.toml.")
@click.option(
    "--force-exclude/--no-force-exclude",
    default=None,
    help="Leave out what is excluded, even if it is named [off].",
)
def fix(
    paths: tuple[str, ...],
    is_diff: bool,
    is_risky: bool,
    is_interactive: bool,
    is_suggesting: bool,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    model: str | None,
    min_gain: int | None,
    config_path: str | None,
    force_exclude: bool | None,
) -> None:
    """Rewrite the prompts in PATHS so that stable content comes first.

    Every change is proven before a file is written: nothing is lost, fields keep their values,
    less is forfeited, and a second run changes nothing. What stays as it is gets one line that
    says why and what you could write instead; with --suggest the whole text in its better order
    follows, where there is one. With --interactive every change is shown as the
    prompt renders, before and after, and made if you say so. PATHS are files and folders; the
    current folder if none is given. A template in another file is changed where it stands.

    Exit status: 0 nothing is left, 1 findings remain (with --diff: something would change; those of
    level `info` do not count), 2 a file could not be read, checked or written.
    """
    from stemfirst_lint.config import config_for, read_config
    from stemfirst_lint.fix.apply import fix_paths
    from stemfirst_lint.model import Applicability, Severity

    def counts(finding: Finding) -> bool:
        return finding.severity is not Severity.INFO

    if is_diff and is_interactive:
        raise click.UsageError("--diff writes nothing, so there is nothing to ask; drop one")
    paths = paths or (".",)
    approve = None
    if is_interactive:
        from stemfirst_lint.cli.interactive import Questions

        approve = Questions()
    try:
        config = read_config(config_path) if config_path else config_for(paths)
        config = config.with_options(
            select=_split(select),
            ignore=_split(ignore),
            min_gain=min_gain,
            model=model,
            forces_exclude=force_exclude,
        )
        allow = Applicability.RISKY if is_risky else Applicability.REORDER
        outcome = fix_paths(paths, config, allow=allow, write=not is_diff, approve=approve)
    except LintError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    for failure in outcome.failures:
        click.echo(f"error: {failure}", err=True)
    if is_diff:
        from stemfirst_lint.fix.apply import diff_of

        diff = diff_of(outcome.rewrites)
        click.echo(diff.encode("utf-8", "surrogateescape"), nl=False)
    _report(outcome, is_diff=is_diff, is_suggesting=is_suggesting)
    is_open = bool(outcome.changed) if is_diff else any(map(counts, outcome.remaining))
    sys.exit(2 if outcome.failures else 1 if is_open else 0)


def visible(text: str) -> str:
    """Return text without what would steer the terminal: `·` for each such character."""
    return "".join(each if each.isprintable() or each in "\t\n" else "·" for each in text)


def _split(codes: tuple[str, ...]) -> tuple[str, ...]:
    """Both `--select SF101,SF103` and a repeated option."""
    return tuple(code.strip() for given in codes for code in given.split(",") if code.strip())


def _report(outcome: Outcome, *, is_diff: bool, is_suggesting: bool) -> None:
    """Write a line for each place that changed or was left, and a summary.

    With `--diff` all of it goes to the error stream, so that the output is a patch.
    """
    for rewrite in outcome.rewrites:
        places: list[Done | Left] = [*rewrite.left]
        if not is_diff:
            places += rewrite.done
        for place in sorted(places, key=_place_of):
            _say(_line_of(place), err=is_diff)
            if is_suggesting:
                for line in _suggested(place):
                    click.echo(f"    | {visible(line)}".rstrip(), err=is_diff)
    said = {
        finding.location
        for rewrite in outcome.rewrites
        for left in rewrite.left
        for finding in left.findings
    }
    for finding in outcome.remaining:
        if finding.location not in said:
            _say(f"{finding.location}: {finding.code} left: {finding.message}", err=is_diff)
    fixed = sum(len(done.findings) for rewrite in outcome.rewrites for done in rewrite.done)
    remaining = len(outcome.remaining)
    if not fixed and not remaining:
        click.echo("Nothing to fix.", err=is_diff)
        return
    verb = "Would fix" if is_diff else "Fixed"
    files = _count(len(outcome.changed), "file")
    could = any(_suggested(left) for rewrite in outcome.rewrites for left in rewrite.left)
    hint = " `--suggest` shows the text that you could write." if could else ""
    hint = "" if is_suggesting else hint
    click.echo(
        f"{verb} {_count(fixed, 'finding')} in {files}; {remaining} left.{hint}", err=is_diff
    )


def _say(text: str, *, err: bool) -> None:
    """Write a sentence in lines of at most 80 columns, as `check` does."""
    import textwrap

    lines = textwrap.wrap(
        visible(text), 80, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    click.echo("\n".join(lines), err=err)


def _line_of(place: Done | Left) -> str:
    from stemfirst_lint.fix.changes import Left
    from stemfirst_lint.model import Applicability

    codes = ", ".join(dict.fromkeys(finding.code for finding in place.findings))
    head = f"{_place_of(place)}: {codes}"
    if isinstance(place, Left):
        why = "; ".join(str(reason) for reason in place.reasons[:1]) or "no fix is known"
        how = " (`--risky` would)" if place.applicability is Applicability.RISKY else ""
        return f"{head} left{how}: {why}"
    if place.applicability is Applicability.IDENTICAL or not place.before.characters:
        notes = "".join(f"; look at it: {note.reason}" for note in place.notes)
        return f"{head} {place.verb}{notes}"
    moved = (
        f"{head} reordered: {place.before.characters:,} -> {place.after.characters:,} "
        "constant characters behind the first hole"
    )
    is_risky = place.applicability is Applicability.RISKY
    told = [moved, "look at it: " * is_risky + "; ".join(note.reason for note in place.notes)]
    return "; ".join(part for part in told if part)


def _place_of(place: Done | Left) -> Location:
    """Return where `check` shows it, or the text itself where that stands in another file."""
    told = [finding.location for finding in place.findings]
    return min((one for one in told if one.path == place.location.path), default=place.location)


def _suggested(place: Done | Left) -> list[str]:
    from stemfirst_lint.fix.changes import Left, shown

    if not isinstance(place, Left) or place.suggested is None:
        return []
    return shown(place.suggested).splitlines()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
