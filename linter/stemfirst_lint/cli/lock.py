"""The command `stemfirst lock`: pins the stable prefixes of prompts, or checks that they stand.

Knows options, output and exit codes. Exit codes: 0 the lock holds or was written, 1 a prefix moved
and the lock did not, 2 something could not be read or written.
"""

from __future__ import annotations

import os
import sys

import click

TYPE_CHECKING = False  # `typing` costs start-up time
if TYPE_CHECKING:
    from stemfirst_lint.lock.compare import Move


@click.command()
@click.argument("paths", nargs=-1, type=click.Path())
@click.option("--check", "is_check", is_flag=True, help="Compare; write nothing.")
@click.option("--file", "lock_path", type=click.Path(), help="The lock [stemfirst.lock].")
@click.option("--config", "config_path", type=click.Path(), help="Read this pyproject.toml.")
@click.option(
    "--output-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="For people or for programs.",
)
def lock(
    paths: tuple[str, ...],
    is_check: bool,
    lock_path: str | None,
    config_path: str | None,
    output_format: str,
) -> None:
    """Pin the stable prefixes of the prompts in PATHS, or check that they stand.

    The lock lies beside pyproject.toml and holds a digest a block, no text. PATHS are remembered
    in it; without them, those that it names are used, or its folder. Put it into the repository,
    and `stemfirst lock --check` into continuous integration: a prefix that moves costs every cached
    prompt, once, and then somebody meant it.
    """
    from stemfirst_lint.config import config_for, read_config
    from stemfirst_lint.errors import LintError, UnreadableFile
    from stemfirst_lint.lock.compare import moves, with_windows
    from stemfirst_lint.lock.file import NAME, read_lock, write_lock
    from stemfirst_lint.lock.prefixes import stable_prefixes

    failures: list[UnreadableFile] = []
    try:
        config = read_config(config_path) if config_path else config_for(paths or (".",))
        path = lock_path or os.path.join(config.root, NAME)
        root = os.path.dirname(os.path.abspath(path))
        known = read_lock(path) if is_check or (not paths and os.path.exists(path)) else None
        if not paths:
            given = known.paths if known is not None and known.paths else (".",)
            paths = tuple(os.path.relpath(os.path.join(root, each)) for each in given)
        found = stable_prefixes(paths, config, root, failures)
        if known is None or not is_check:
            if failures:  # half a lock would say that the other half is gone
                raise LintError(f"{failures[0]}; the lock is left as it was")
            names = [os.path.relpath(each, root).replace(os.sep, "/") for each in paths]
            wrote = write_lock(path, names, found)
            click.echo(f"{'Locked' if wrote else 'Unchanged:'} {_count(len(found))} in {path}.")
            return
        result = with_windows(moves(known, found), known, found, path, paths, config)
    except LintError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    for failure in failures:
        click.echo(f"error: {failure}", err=True)
    if output_format == "json":
        _echo_json(result)
    else:
        for move in result:
            _echo(move, path)
        if result:
            differ = "differs" if len(result) == 1 else "differ"
            click.echo(f"{_count(len(result))} {differ} from {path}, of {len(found):,} found; run "
                       "`stemfirst lock` if that is meant.")  # fmt: skip
        else:
            click.echo(f"{_count(len(found))} as locked.")
    sys.exit(2 if failures else 1 if result else 0)


def _count(number: int) -> str:
    return f"{number:,} stable prefix{'es' * (number != 1)}"


def _echo(move: Move, lock_path: str) -> None:
    path, _, name = move.key.partition("::")
    where = str(move.location) if move.location is not None else lock_path
    click.echo(f"{where}: SF602 the stable prefix of `{name}` {move.what}"
               + (f" ({path})" if move.location is None else ""))  # fmt: skip
    if move.window is not None:
        before = _shown(move.window.before)
        click.echo(f"    was: {before}{_shown(move.window.was)}")
        click.echo(f"    now: {before}{_shown(move.window.now)}")
        click.echo(f"         {' ' * len(before)}^ byte {move.window.byte:,}")


def _shown(text: str) -> str:
    return "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in text
    )


def _echo_json(result: list[Move]) -> None:
    import json
    from dataclasses import asdict

    rows = [{"code": "SF602", **asdict(move)} for move in result]
    click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
