"""What rewriting did to a file and what it left, as values for those who show or apply it.

Knows places, sources and templates. Does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stemfirst_lint.fix.plan import Forfeit
from stemfirst_lint.fix.safety import Refusal
from stemfirst_lint.model import Applicability, Finding, Location, Template, Text

RANK = {Applicability.IDENTICAL: 0, Applicability.REORDER: 1, Applicability.RISKY: 2}
"""How much a change may do to the text that the model reads."""


@dataclass(frozen=True, slots=True)
class Done:
    """A change that passed every proof.

    Attributes:
        location: the literal, or the set, that changed; a place in the old text.
        findings: what it mends.
        applicability: what it does to the text that the model reads.
        before, after: forfeited text, both zero for a set.
        notes: for a risky change, what to look at.
        old_source, new_source: the expression that changes, as it stood and as it will stand.
        old_template, new_template: what it renders; None for a set and for a clock.
        verb: what became of it, where nothing moved.
    """

    location: Location
    findings: tuple[Finding, ...]
    applicability: Applicability
    before: Forfeit
    after: Forfeit
    notes: tuple[Refusal, ...] = ()
    old_source: str = ""
    new_source: str = ""
    old_template: Template | None = None
    new_template: Template | None = None
    verb: str = "sorted"

    @property
    def old_text(self) -> str:
        """What it renders now, with `{name}` for each hole; empty for a set."""
        return shown(self.old_template) if self.old_template else ""

    @property
    def new_text(self) -> str:
        """What it will render; empty for a set."""
        return shown(self.new_template) if self.new_template else ""


@dataclass(frozen=True, slots=True)
class Left:
    """A place that stays as it is, and why, in one line each.

    `suggested` is the text that a person could write instead: the order that only a person may
    choose, or None where no order is better.
    """

    location: Location
    findings: tuple[Finding, ...]
    reasons: tuple[Refusal, ...]
    applicability: Applicability | None = None
    suggested: Template | None = None


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What became of one file; `new` equals `old` if nothing changed."""

    path: str
    old: bytes
    new: bytes
    done: tuple[Done, ...]
    left: tuple[Left, ...]


Approve = Callable[[Done], Refusal | None]
"""Says why a change is not made, or None if it may be."""


def shown(template: Template) -> str:
    """Return a template's text with the name of each hole between braces."""
    return "".join(
        piece.text if isinstance(piece, Text) else f"{{{piece.name}}}" for piece in template.pieces
    )
