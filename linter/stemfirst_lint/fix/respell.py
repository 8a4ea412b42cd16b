"""One literal in a better order: spelled, read again, proven, until nothing moves any more.

Knows plans and readings. Knows nothing of files: source in, source out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stemfirst_lint.fix.changes import RANK
from stemfirst_lint.fix.literal import number_fields
from stemfirst_lint.fix.plan import Plan
from stemfirst_lint.fix.prove import ProofError, prove_literal, reordered
from stemfirst_lint.fix.readings import Reading
from stemfirst_lint.fix.swap import MAX_ROUNDS
from stemfirst_lint.model import Applicability, Form, Piece, Template


@dataclass(frozen=True, slots=True)
class Settled:
    """A template in which nothing moves any more, and the plan that says so."""

    plan: Plan
    pieces: tuple[Piece, ...]


def respelled(
    source: str, template: Template, plan: Plan, reading: Reading, replan: Callable[..., Plan]
) -> tuple[str, Settled]:
    """Return the new source of one literal and what became of its template, proven.

    A new order can show a better one (a line that stood alone is now a paragraph's last), so it is
    planned again until nothing moves: a second run changes nothing.

    Args:
        source: the literal as it stands.
        template: what it renders.
        plan: its new order.
        reading: how it is read.
        replan: plans again; takes a template and `risky`.

    Raises:
        LintError: it cannot be spelled so, or a proof fails; the message says which.
    """
    before = plan.before.characters
    applicability = plan.applicability
    assert applicability is not None
    for _ in range(MAX_ROUNDS):
        literal = reading.read(source)
        if template.form is Form.FORMAT and applicability is Applicability.RISKY:
            literal = number_fields(literal)
        source = reading.spell(literal, plan.runs)
        prove_literal(literal, reading.read(source), plan)
        template = reordered(template, plan)
        plan = replan(template, risky=applicability is Applicability.RISKY)
        if plan.applicability is None or RANK[plan.applicability] > RANK[applicability]:
            if plan.before.characters >= before:
                raise ProofError("the new order forfeits as much as the old one")
            return source, Settled(plan, template.pieces)
    raise ProofError("the order does not settle")
