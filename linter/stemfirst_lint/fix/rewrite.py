"""One file's bytes with its templates in a better order: bytes in, bytes out.

Knows which edits a finding asks for, how they combine in one file, and the proofs that they must
pass. Only the literals named by a finding change; all other bytes are copied. Does not read or
write files, and decides nothing about order (`plan`) or spelling (`literal`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from stemfirst_lint.errors import LintError
from stemfirst_lint.fix.calls import Mended, mended
from stemfirst_lint.fix.changes import RANK, Approve, Done, Left, Rewrite
from stemfirst_lint.fix.clocks import is_restless
from stemfirst_lint.fix.edges import above_statement, check_edges, comments_above, with_comments
from stemfirst_lint.fix.listings import listings_in
from stemfirst_lint.fix.message_order import in_another_place
from stemfirst_lint.fix.plan import MIN_GAIN, Forfeit, Plan, plan_for
from stemfirst_lint.fix.prove import (
    Edit,
    ProofError,
    prove_file,
    reordered,
)
from stemfirst_lint.fix.readings import Reading
from stemfirst_lint.fix.respell import respelled
from stemfirst_lint.fix.safety import Refusal
from stemfirst_lint.fix.sorting import (
    BRACES_CHANGE,
    BUILT_ELSEWHERE,
    LISTED_ELSEWHERE,
    OTHER_SORTED,
    listing_sorted,
    means_other,
    set_sorted,
)
from stemfirst_lint.fix.splice import applied, decoded, shifted
from stemfirst_lint.fix.sums import Growth, growth_at
from stemfirst_lint.fix.surroundings import doubts_of_surroundings
from stemfirst_lint.fix.swap import swapped
from stemfirst_lint.fix.tags import white_space_control
from stemfirst_lint.fix.text_files import is_text_file
from stemfirst_lint.gain import Counter
from stemfirst_lint.model import Applicability, Finding, Form, Location, Template
from stemfirst_lint.source import Source

_MOVED = frozenset(
    {"SF101", "SF102", "SF103", "SF104", "SF105", "SF106", "SF107", "SF205", "SF301", "SF302"}
)
"""Rules whose fault a better order of the text mends."""
_CALLS = frozenset({"SF203", "SF401", "SF503"})
"""Rules whose fault is one of the call, not of a text."""
_OF_DATA = (".ipynb", ".jsonl", ".toml")


def rewrite(
    path: str,
    data: bytes,
    findings: Sequence[Finding],
    *,
    allow: Applicability,
    min_gain: int = MIN_GAIN,
    counter: Counter | None = None,
    approve: Approve | None = None,
) -> Rewrite:
    """Return one file's new bytes, and what was done and left, for findings in that file.

    Args:
        path: the file that holds the findings' templates; findings elsewhere are ignored.
        data: its bytes.
        findings: from a check of exactly these bytes.
        allow: the most that a change may do to the text that the model reads.
        min_gain: tokens that a move must win.
        counter: counts them; None for the default target's.
        approve: is asked about every change that passed its proof.

    Raises:
        UnreadableFile: the bytes are not in the encoding that they declare.
    """
    if path.endswith(_OF_DATA):
        what = "no notebook" if path.endswith(".ipynb") else "no value inside such a file"
        reason = Refusal(f"`fix` rewrites {what}", "reorder it by hand")
        left = tuple(Left(finding.location, (finding,), (reason,)) for finding in findings)
        return Rewrite(path, data, data, (), left)
    text, encoding = decoded(path, data)
    if "\r" in text and "\n" not in text:
        old = Refusal("its lines end in CR alone, as nobody writes them today", "end them in LF")
        left = tuple(Left(finding.location, (finding,), (old,)) for finding in findings)
        return Rewrite(path, data, data, (), left)
    rewriter = _FileRewriter(path, data, text, encoding, allow, min_gain, counter, approve)
    return rewriter.run(findings)


class _FileRewriter:
    """Collects the edits of one file; each is proven alone, and all of them together."""

    def __init__(
        self,
        path: str,
        data: bytes,
        text: str,
        encoding: str,
        allow: Applicability,
        min_gain: int,
        counter: Counter | None,
        approve: Approve | None,
    ) -> None:
        self._plan = partial(
            plan_for,
            risky=allow is Applicability.RISKY,
            min_gain=min_gain,
            counter=counter,
        )
        self._replan = partial(plan_for, min_gain=min_gain, counter=counter)
        self._approve = approve
        self._path = path
        self._data = data
        self._text = text
        self._encoding = encoding
        self._source = Source(path, text)
        self._allow = allow
        self._edits: list[Edit] = []
        self._call_edits: list[Edit] = []  # proven alone; the others on top of them
        self._done: list[Done] = []
        self._left: list[Left] = []

    def run(self, findings: Sequence[Finding]) -> Rewrite:
        """Return the rewritten file."""
        sets: dict[Location, list[Finding]] = {}
        orders: dict[Location, list[Finding]] = {}
        for finding in findings:
            place = finding.hole.set_location if finding.hole else None
            if finding.code == "SF201":
                if place is None:
                    self._refuse(finding.location, [finding], BUILT_ELSEWHERE)
                elif place.path == self._path:
                    sets.setdefault(place, []).append(finding)
            elif finding.code == "SF202":
                self._sort_listings(finding)
            elif finding.code in _CALLS and finding.location.path == self._path:
                self._mend(finding, findings)
            elif finding.code not in _MOVED:
                reason = Refusal("no rewriting of text mends it", finding.remedy or "see the rule")
                self._refuse(finding.location, [finding], reason)
            elif finding.template is not None and finding.template.location.path == self._path:
                orders.setdefault(finding.template.location, []).append(finding)
        if self._call_edits:
            return self._finish(findings)  # what else there is is judged on the new text
        for place, group in sets.items():
            self._sort(place, group)
        for place, group in orders.items():
            self._reorder(place, group)
        return self._finish(findings)

    def _refuse(
        self,
        location: Location,
        findings: Sequence[Finding],
        *reasons: Refusal,
        applicability: Applicability | None = None,
        suggested: Template | None = None,
    ) -> None:
        left = Left(location, tuple(findings), reasons, applicability, suggested)
        self._left.append(left)

    def _range(self, place: Location) -> tuple[int, int]:
        starts = self._source.starts
        return (
            starts[place.line - 1] + place.column - 1,
            starts[place.end_line - 1] + place.end_column - 1,
        )

    def _sort(self, place: Location, findings: list[Finding]) -> None:
        start, end = self._range(place)
        applicability, made = set_sorted(self._text, start, end)
        if RANK[applicability] > RANK[self._allow]:
            self._refuse(place, findings, BRACES_CHANGE, applicability=applicability)
        elif means_other(self._text):
            self._refuse(place, findings, OTHER_SORTED)
        else:
            self._put_sorted(place, findings, applicability, made)

    def _sort_listings(self, finding: Finding) -> None:
        hole = finding.hole
        place = hole.value_location if hole is not None else None
        found = listings_in(hole.source) if hole is not None else ()
        if hole is None or place is None or not found or means_other(self._text):
            self._refuse(finding.location, [finding], LISTED_ELSEWHERE)
            return
        if place.path != self._path:
            return
        start, _ = self._range(place)
        for first, last in found:
            made = listing_sorted(self._text, start + first, start + last)
            if made not in self._edits:
                self._put_sorted(place, [finding], Applicability.IDENTICAL, made)

    def _put_sorted(
        self, place: Location, findings: list[Finding], applicability: Applicability, made: Edit
    ) -> None:
        none = Forfeit(0, 0)
        old = self._text[made.start : made.end]
        done = Done(place, tuple(findings), applicability, none, none, (), old, made.new)
        if self._is_approved(done):
            self._edits.append(made)
            self._done.append(done)

    def _mend(self, finding: Finding, findings: Sequence[Finding]) -> None:
        """Mend what is wrong with a call; texts that move first are seen anew in the next round."""
        place = finding.location
        known = (f.template for f in findings if f.template and f.template.location == place)
        try:
            made = mended(self._text, finding, next(known, None))
        except LintError as error:
            self._refuse(place, [finding], Refusal(str(error), finding.remedy or "see the rule"))
        else:
            self._take(finding, made)

    def _take(self, finding: Finding, made: Mended) -> None:
        """Make a call's change, if it is allowed and wanted."""
        if RANK[made.applicability] > RANK[self._allow]:
            self._refuse(finding.location, [finding], *made.notes, applicability=made.applicability)
            return
        first, last = made.edits[0], made.edits[-1]
        none = Forfeit(0, 0)
        done = Done(
            finding.location,
            (finding,),
            made.applicability,
            none,
            none,
            made.notes,
            self._text[first.start : last.end],
            applied(self._text[first.start : last.end], made.edits, first.start),
            verb=made.verb,
        )
        if any(edit in self._edits or edit in self._call_edits for edit in made.edits):
            return  # one set of tools, two calls
        if self._is_approved(done):
            (self._edits if made.only_sorts else self._call_edits).extend(made.edits)
            self._done.append(done)

    def _is_approved(self, done: Done) -> bool:
        reason = self._approve(done) if self._approve is not None else None
        if reason is None:
            return True
        self._refuse(done.location, done.findings, reason, applicability=done.applicability)
        return False

    def _reorder(self, place: Location, findings: list[Finding]) -> None:
        template = findings[0].template
        assert template is not None
        role = findings[0].site.role if findings[0].site else None
        start, end = self._range(place)
        growth: Growth | None = None
        if template.is_scattered and template.form is not Form.JOIN:
            growth = growth_at(self._text, start, end)
            if growth is not None:
                start, end = growth.start, growth.end
        try:
            reading = Reading.of(template, self._text, start, end, growth)
            told = reading.told(template, self._text[start:end])
        except LintError as error:
            self._refuse(place, findings, Refusal(str(error), "reorder it by hand"))
            return
        doubts = tuple(doubts_of_surroundings(template, self._text))
        plan = found = self._plan(told, role=role, doubts=doubts)
        control = white_space_control(self._text[start:end])
        if template.form is Form.JINJA and control is not None and plan.applicability is not None:
            refusals = (control, *plan.refusals)
            plan = replace(plan, applicability=Applicability.RISKY, refusals=refusals)
        by_hand = None
        if plan.applicability is not None and template.form is not Form.JINJA:
            by_hand = reordered(told, plan)
        if plan.applicability is None and self._leaves(findings, told, role):
            return
        if plan.applicability is None or RANK[plan.applicability] > RANK[self._allow]:
            self._refuse(
                place,
                findings,
                *plan.refusals,
                applicability=plan.applicability,
                suggested=by_hand,
            )
            return
        if template.form is Form.JOIN:
            self._swap(place, findings, plan, partial(self._plan, role=role))
            return
        if template.is_scattered and growth is None:
            self._refuse(place, findings, _scattered(), suggested=by_hand)
            return
        start, end = with_comments(self._text, start, end, reading)
        inside = [edit for edit in self._edits if start <= edit.start and edit.end <= end]
        if any(edit.start < end and start < edit.end for edit in self._edits if edit not in inside):
            self._refuse(place, findings, Refusal("another change overlaps it", "run fix again"))
            return
        old = comments_above(self._text, reading) + applied(self._text[start:end], inside, start)
        try:
            new, after = respelled(old, told, found, reading, partial(self._replan, role=role))
            check_edges(self._text, start, end, reading.read(new), growth)
            start, new = above_statement(self._text, start, reading, new)
        except LintError as error:
            reason = Refusal(str(error), "reorder it by hand")
            self._refuse(place, findings, reason, suggested=by_hand)
            return
        notes = plan.refusals if plan.applicability is Applicability.RISKY else ()
        done = Done(
            place,
            tuple(findings),
            plan.applicability,
            plan.before,
            after.plan.before,
            notes,
            self._text[start:end],
            new,
            told if by_hand is not None else None,
            replace(told, pieces=after.pieces) if by_hand is not None else None,
        )
        if self._is_approved(done):
            self._edits = [edit for edit in self._edits if edit not in inside]
            self._edits.append(Edit(start, end, new))
            self._done.append(done)

    def _leaves(self, findings: list[Finding], template: Template, role: str | None) -> bool:
        """Move a message behind those that stay, or its clock to the newest user message."""
        site = findings[0].site
        if site is None or site.location.path != self._path:
            return False
        clock = next((f for f in findings if is_restless(f)), None)
        plan, has_clock = partial(self._plan, role=role), clock is not None
        made = in_another_place(self._text, template, site, plan, has_clock=has_clock)
        if made is None:
            return False
        edits = (*self._edits, *self._call_edits)
        if any(a.start < b.end and b.start < a.end for a in made.edits for b in edits):
            return False
        self._take(clock or findings[0], made)
        return True

    def _swap(
        self, place: Location, findings: list[Finding], plan: Plan, replan: Callable[..., Plan]
    ) -> None:
        """Give the parts of a joined list their new places; they are not cut."""
        old = findings[0].template
        assert old is not None
        assert plan.applicability is not None
        try:
            swap = swapped(self._text, self._range(place), old, plan, replan)
        except LintError as error:
            reason = Refusal(str(error), "reorder it by hand")
            self._refuse(place, findings, reason, suggested=reordered(old, plan))
            return
        start, end = swap.start, swap.end
        if any(edit.start < end and start < edit.end for edit in self._edits):
            self._refuse(place, findings, Refusal("another change overlaps it", "run fix again"))
            return
        done = Done(
            place,
            tuple(findings),
            plan.applicability,
            plan.before,
            swap.after,
            plan.refusals if plan.applicability is Applicability.RISKY else (),
            self._text[start:end],
            swap.source,
            old,
            swap.template,
        )
        if self._is_approved(done):
            self._edits.append(Edit(start, end, swap.source))
            self._done.append(done)

    def _finish(self, findings: Sequence[Finding]) -> Rewrite:
        base = applied(self._text, self._call_edits)
        edits = [shifted(edit, self._call_edits) for edit in self._edits]
        new_text = applied(base, edits)
        new = new_text.encode(self._encoding)
        try:
            prove_file(base, new_text, edits, is_python=not is_text_file(self._path))
        except ProofError as error:
            reason = Refusal(str(error), "change it by hand")
            everything = [
                *self._left,
                *(Left(d.location, d.findings, (reason,)) for d in self._done),
            ]
            return Rewrite(self._path, self._data, self._data, (), tuple(everything))
        if not self._edits and not self._call_edits:
            new = self._data
        return Rewrite(self._path, self._data, new, tuple(self._done), tuple(self._left))


def _scattered() -> Refusal:
    return Refusal(
        "its text is put together in several places",
        "build it in one expression, or by `+=` on neighbouring lines",
    )
