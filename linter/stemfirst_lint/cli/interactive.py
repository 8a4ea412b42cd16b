"""Asks about each change of `fix --interactive`: the prompt before, the prompt after, yes or no.

Knows the terminal. Knows nothing of how a change is made or proven.
"""

from __future__ import annotations

import click

from stemfirst_lint.fix.changes import Done
from stemfirst_lint.model import Applicability

_KEYS = "y - make it, n - leave it, a - make it and all others, q - leave it and all others"


class Questions:
    """Remembers the answers, so that nothing is asked twice; an end of input means `q`."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str, str], bool] = {}
        self._rest: bool | None = None

    def __call__(self, done: Done) -> bool:
        """Return True if the change shall be made."""
        key = (done.location.path, done.old_source, done.new_source)
        if key not in self._answers:
            self._answers[key] = self._rest if self._rest is not None else self._ask(done)
        return self._answers[key]

    def _ask(self, done: Done) -> bool:
        _show(done)
        while True:
            try:
                answer = click.prompt(
                    "Make this change? [y,n,a,q,?]", prompt_suffix=" ", type=str, default="n",
                    show_default=False,
                )  # fmt: skip
            except click.Abort:  # the input ended
                click.echo("\nno answer: this and all others are left")
                answer = "q"
            letter = answer.strip().lower()[:1]
            if letter in ("a", "q"):
                self._rest = letter == "a"
            if letter in ("y", "a"):
                return True
            if letter in ("n", "q"):
                return False
            click.echo(_KEYS)


def _show(done: Done) -> None:
    codes = ", ".join(dict.fromkeys(finding.code for finding in done.findings))
    click.secho(f"{done.location}: {codes} [{done.applicability.value}]", bold=True)
    for finding in done.findings:
        click.echo(f"  {finding.message}")
    if done.applicability is Applicability.RISKY:
        for note in done.notes:
            click.secho(f"  look at it: {note}", fg="yellow")
    before, after = done.old_text, done.new_text
    if not before:  # a set: what it renders is what varies
        before, after = done.old_source, done.new_source
    _text("before", before, "red")
    _text("after", after, "green")


def _text(name: str, text: str, color: str) -> None:
    click.secho(f"--- {name}", fg=color)
    for line in text.split("\n"):
        shown = "".join(each if each.isprintable() or each == "\t" else "·" for each in line)
        click.echo(click.style("| ", fg=color) + shown)
