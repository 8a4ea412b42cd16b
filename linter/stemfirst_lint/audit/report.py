"""What an audit found, as values that every output reads.

Knows how to gather an auditor's sums. Does not know how anything is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stemfirst_lint.audit.auditor import Auditor
from stemfirst_lint.audit.causes import Cause
from stemfirst_lint.audit.records import Problem
from stemfirst_lint.audit.tallies import CauseSum, Slice, Sums, TemplateSum

DIVERGENCE = "SF601"
_MANY = 40
MAX_PROBLEMS = 200
"""Problems kept to show; all are counted."""


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The findings of one audit.

    Attributes:
        paths: the files that were read.
        sums: over all requests.
        templates: the one that loses the most first.
        timeline: `(position, sums)`; positions are seconds since 1970 where `is_timed`, else
            numbers of requests.
        problems: lines and files that could not be audited, the first of `problem_count`.
        notes: what a reader must know about the figures.
        unread_tokens: tokens written by markers that no later request read.
        is_estimate: tokens were estimated from bytes, for want of a tokenizer.
        is_scaled: counts were scaled to what responses reported, for at least some requests.
    """

    paths: tuple[str, ...]
    sums: Sums
    templates: tuple[TemplateSum, ...]
    timeline: tuple[tuple[float, Slice], ...]
    is_timed: bool
    problems: tuple[Problem, ...]
    problem_count: int
    notes: tuple[str, ...]
    unread_tokens: int
    is_estimate: bool
    is_scaled: bool
    min_gain: int

    @property
    def causes(self) -> Iterator[tuple[TemplateSum, CauseSum]]:
        """Yield each template's causes, in the order of the templates, the costliest first."""
        for template in self.templates:
            for cause in template.by_loss:
                yield template, cause

    @property
    def lost_by_cause(self) -> list[tuple[Cause, float]]:
        """Return tokens lost by each cause over all templates, the costliest first."""
        lost: dict[str, tuple[Cause, float]] = {}
        for _, one in self.causes:
            _, before = lost.get(one.cause.name, (one.cause, 0.0))
            lost[one.cause.name] = (one.cause, before + one.lost_tokens)
        return sorted(lost.values(), key=lambda pair: -pair[1])

    @property
    def is_writing_in_vain(self) -> bool:
        """Whether more than half of the tokens written to caches were never read."""
        return self.unread_tokens >= self.min_gain and (
            2 * self.unread_tokens > self.sums.written_tokens
        )

    @property
    def has_faults(self) -> bool:
        """Whether something is found that should be changed."""
        return any(
            one.cause.is_fault and not is_rare(template, one) for template, one in self.causes
        )


def is_rare(template: TemplateSum, one: CauseSum) -> bool:
    """Whether a divergence was seen once in many requests: a template that was changed is so."""
    return bool(one.at) and one.requests == 1 and template.sums.requests >= _MANY


def code_of(one: CauseSum) -> str:
    """Return the code of a finding: SF601 where two texts part, else the cause's own."""
    return DIVERGENCE if one.at else one.cause.code


def report_of(
    auditor: Auditor, paths: tuple[str, ...], problems: tuple[Problem, ...], problem_count: int
) -> AuditReport:
    """Return what an auditor has found so far."""
    total = Sums()
    for template in auditor.templates.values():
        total.add(template.sums)
    templates = sorted(
        auditor.templates.values(),
        key=lambda one: (-sum(c.lost_tokens for c in one.causes.values()), one.number),
    )
    is_timed = auditor.timed == auditor.requests > 0
    line = auditor.by_time if is_timed else auditor.by_number
    return AuditReport(
        paths=paths,
        sums=total,
        templates=tuple(templates),
        timeline=tuple(line.slices()),
        is_timed=is_timed,
        problems=problems,
        problem_count=problem_count,
        notes=tuple(_notes(auditor, total)),
        # each is rounded in its own way: no more can be unread than was written
        unread_tokens=min(int(auditor.prefixes.unread_tokens), int(total.written_tokens)),
        is_estimate=auditor.counts.is_estimate,
        is_scaled=auditor.scaled > 0,
        min_gain=auditor.min_gain,
    )


def _notes(auditor: Auditor, total: Sums) -> Iterator[str]:
    if auditor.failed:
        calls = "call" if auditor.failed == 1 else "calls"
        yield f"{auditor.failed:,} {calls} failed, read nothing and lost nothing: left out"
    untimed = auditor.requests - auditor.timed
    if untimed:
        yield (
            f"{untimed:,} of {auditor.requests:,} requests have no time: for them every prefix "
            "counts as still cached"
        )
    if auditor.out_of_order:
        yield (
            f"{auditor.out_of_order:,} requests are recorded out of the order of their times: "
            "sort the recording by time for exact figures"
        )
    if auditor.partly_recorded:
        yield (
            f"{auditor.partly_recorded:,} requests report a prompt far from the recorded one in "
            "length (a stored conversation, images, hidden text): theirs are our counts"
        )
    if auditor.misreported:
        yield (
            f"{auditor.misreported:,} responses report more cached tokens than prompt tokens: "
            "their reports are left out"
        )
    if auditor.prefixes.has_forgotten:
        yield (
            "more distinct text than fits the memory bound: what was used longest ago was "
            "forgotten, and sharing may be underestimated"
        )
    for reason, times in sorted(auditor.unpriced.items(), key=lambda pair: -pair[1]):
        yield f"no money for {times:,} requests: {reason}"
    if total.reported and total.reported < total.requests:
        yield f"{total.requests - total.reported:,} responses do not report cached tokens"
