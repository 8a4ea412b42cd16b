"""A joined list with its parts in other places: planned, done and proven until nothing moves.

Knows parts and plans. Knows nothing of files: text in, text out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stemfirst_lint.fix.flat import Flat
from stemfirst_lint.fix.parts import Parts, order_of, parts_at, spans_of
from stemfirst_lint.fix.plan import Forfeit, Plan
from stemfirst_lint.fix.prove import ProofError, prove_words, rebuilt
from stemfirst_lint.model import Applicability, Template

MAX_ROUNDS = 4
"""How often a new order may show a better one before we give up."""


@dataclass(frozen=True, slots=True)
class Swap:
    """`text[start:end]` of the file becomes `source`; lengths are equal.

    `template` is what is rendered then, `after` what it still forfeits.
    """

    start: int
    end: int
    source: str
    template: Template
    after: Forfeit


def swapped(
    text: str,
    place: tuple[int, int],
    template: Template,
    plan: Plan,
    replan: Callable[[Template], Plan],
) -> Swap:
    """Return the parts in the order of the plan, and of those that follow from it.

    Args:
        text: the file.
        place: offsets of the call of `join`; they hold afterwards too, because the parts only
            change places.
        template: what the list renders.
        plan: its new order.
        replan: plans again.

    Raises:
        LintError: the parts cannot move, or a proof fails; the message says which.
    """
    best, before = plan.applicability, plan.before.characters
    old = text
    for _ in range(MAX_ROUNDS):
        parts = parts_at(text, *place)
        spans = spans_of(parts, plan.flat.text)
        order = order_of(spans, [(b.start, b.end) for b in plan.blocks], plan.order)
        flat, holes = _joined(parts, plan.flat, spans, order)
        prove_words(flat, plan)
        start, end = parts.parts[0].start, parts.end
        text = text[:start] + parts.moved(text, order) + text[end:]
        again = parts_at(text, *place).parts
        kept = [(part.text, part.comment) for part in again]
        if kept != [(parts.parts[number].text, parts.parts[number].comment) for number in order]:
            raise ProofError("a part is lost or changed")
        template = rebuilt(template, flat, [plan.flat.holes[hole] for hole in holes])
        plan = replan(template)
        if plan.applicability is None or (
            best is Applicability.REORDER and plan.applicability is Applicability.RISKY
        ):
            if plan.before.characters >= before:
                raise ProofError("the new order forfeits as much as the old one")
            if len(text) != len(old):
                raise ProofError("a part is lost or doubled")
            return Swap(start, end, text[start:end], template, plan.before)
    raise ProofError("the order does not settle")


def _joined(
    parts: Parts, flat: Flat, spans: Sequence[tuple[int, int]], order: Sequence[int]
) -> tuple[str, tuple[int, ...]]:
    """Return the flat text and the order of the holes that an order of the parts gives."""
    text = parts.separator.join(flat.text[slice(*spans[number])] for number in order)
    holes = tuple(hole for number in order for hole in flat.holes_in(*spans[number]))
    return text, holes
