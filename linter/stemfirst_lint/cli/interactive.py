"""Asks about each change of `fix --interactive`: the prompt before, the prompt after, yes or no.

Knows the terminal. Knows nothing of how a change is made or proven.
"""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterator
from itertools import compress

import click

from stemfirst_lint.fix.changes import Done
from stemfirst_lint.fix.safety import Refusal
from stemfirst_lint.model import Applicability

_KEYS = (
    "y - make it, n - leave it, a - make it and all others, q - leave it and all others, "
    "w - show the whole prompt"
)
_AROUND = 2
"""Lines shown around those that move."""
_SAID_NO = Refusal("you said no", "run fix again to be asked again")
_NO_ANSWER = Refusal("nobody answered", "run fix again to be asked again")

_Line = tuple[bool, str]
"""Whether a line moves, and its text."""


class Questions:
    """Remembers the answers, so that nothing is asked twice; an end of input means `q`."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str, str], Refusal | None] = {}
        self._is_over = False
        self._rest: Refusal | None = None

    def __call__(self, done: Done) -> Refusal | None:
        """Return None if the change shall be made, else why not."""
        key = (done.location.path, done.old_source, done.new_source)
        if key not in self._answers:
            self._answers[key] = self._rest if self._is_over else self._ask(done)
        return self._answers[key]

    def _ask(self, done: Done) -> Refusal | None:
        _head(done)
        _both(done, is_whole=False)
        while True:
            try:
                answer = click.prompt(
                    "Make this change? [y,n,a,q,?]", prompt_suffix=" ", type=str, default="n",
                    show_default=False,
                )  # fmt: skip
            except click.Abort:
                click.echo("\nno answer: this and all others are left")
                self._is_over, self._rest = True, _NO_ANSWER
                return _NO_ANSWER
            letter = answer.strip().lower()[:1]
            if letter in ("a", "q"):
                self._is_over, self._rest = True, None if letter == "a" else _SAID_NO
            if letter in ("y", "a"):
                return None
            if letter in ("n", "q"):
                return _SAID_NO
            if letter == "w":
                _both(done, is_whole=True)
            else:
                click.echo(_KEYS)


def _head(done: Done) -> None:
    codes = ", ".join(dict.fromkeys(finding.code for finding in done.findings))
    click.secho(f"{done.location}: {codes} [{done.applicability.value}]", bold=True)
    for finding in done.findings:
        click.echo(_wrapped(finding.message))
    for note in done.notes:
        is_risky = done.applicability is Applicability.RISKY
        click.secho(_wrapped(f"look at it: {note}" if is_risky else str(note)), fg="yellow")


def _wrapped(text: str) -> str:
    """Return a sentence in lines of at most 80 columns, as `check` and `fix` write them."""
    return textwrap.fill(
        text, 80, initial_indent="  ", subsequent_indent="    ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _both(done: Done, *, is_whole: bool) -> None:
    """Show the prompt as it renders, before and after; what moves is marked."""
    before, after = done.old_text, done.new_text
    if not before:  # a set: what it renders is what varies
        before, after = done.old_source, done.new_source
    old, new = before.split("\n"), after.split("\n")
    forwards = _moved(old, new)
    backwards = [list(reversed(each)) for each in _moved(old[::-1], new[::-1])]
    moved = min(forwards, backwards, key=lambda each: sum(map(len, compress(old, each[0]))))
    _text("before", "-", "red", list(zip(moved[0], old, strict=True)), is_whole)
    _text("after", "+", "green", list(zip(moved[1], new, strict=True)), is_whole)


def _moved(old: list[str], new: list[str]) -> list[list[bool]]:
    """Return for each old line, and for each new one, whether it moves."""
    blocks = difflib.SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    kept = {block.a + at for block in blocks for at in range(block.size)}
    there = {block.b + at for block in blocks for at in range(block.size)}
    return [[at not in kept for at in range(len(old))], [at not in there for at in range(len(new))]]


def _text(name: str, mark: str, color: str, lines: list[_Line], is_whole: bool) -> None:
    click.secho(f"--- {name}", fg=color)
    for is_moved, line in lines if is_whole else _folded(lines):
        shown = "".join(each if each.isprintable() or each == "\t" else "·" for each in line)
        if is_moved:
            click.secho(f"{mark} {shown}", fg=color)
        else:
            click.echo(click.style("| ", fg=color) + shown)


def _folded(lines: list[_Line]) -> Iterator[_Line]:
    """Yield the lines that move and those around them; one line stands for many that stay."""
    near = {
        other
        for at, (is_moved, _) in enumerate(lines)
        if is_moved
        for other in range(at - _AROUND, at + _AROUND + 1)
    }
    far = 0
    for at, line in enumerate(lines):
        if at not in near:
            far += 1
        is_last = at + 1 == len(lines) or at + 1 in near
        if at in near:
            yield line
        elif is_last:
            if far <= _AROUND or not near:
                yield from lines[at + 1 - far : at + 1]
            else:
                yield False, f"… {far} lines that stay (`w` shows them)"
            far = 0
