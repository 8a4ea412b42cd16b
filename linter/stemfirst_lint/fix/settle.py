"""The author's choice about clocks, carried out on one file: bytes in, bytes out.

Knows the policies of `[tool.stemfirst.fix] clock`. Does not know how Python shows a time
(`clocks`). Runs before anything moves: what shows the day alone, or is read once, need not move.
"""

from __future__ import annotations

from collections.abc import Sequence

from stemfirst_lint.fix.changes import RANK, Approve, Done, Left, Rewrite
from stemfirst_lint.fix.clocks import ClockError, coarsened, frozen, is_restless
from stemfirst_lint.fix.plan import Forfeit
from stemfirst_lint.fix.prove import Edit
from stemfirst_lint.fix.safety import Refusal
from stemfirst_lint.fix.splice import decoded
from stemfirst_lint.model import Applicability, Finding


def settle(
    path: str,
    data: bytes,
    findings: Sequence[Finding],
    *,
    policy: str,
    allow: Applicability,
    approve: Approve | None = None,
) -> Rewrite:
    """Return one file with its clocks coarsened (`day`) or read once a session (`session`).

    Among what was left are the clocks that only a person may settle, with their applicability, and
    those that cannot be settled, without: they may still move.

    Raises:
        UnreadableFile: the bytes are not in the encoding that they declare.
    """
    text, encoding = decoded(path, data)
    edits: list[Edit] = []
    done: list[Done] = []
    left: list[Left] = []
    for finding in findings:
        hole, template = finding.hole, finding.template
        is_here = hole is not None and hole.value_location is not None
        if hole is None or template is None or not is_here or not is_restless(finding):
            continue
        if any(finding.template == other.findings[0].template for other in done):
            continue  # its places have moved; the next round sees it anew
        try:
            settled = (coarsened if policy == "day" else frozen)(text, template, hole)
        except ClockError as error:
            why = Refusal(f'`clock = "{policy}"` was not followed: {error}', "settle it by hand")
            left.append(Left(hole.location, (finding,), (why,)))
            continue
        except SyntaxError:
            continue
        if any(a.start <= b.end and b.start <= a.end for a in settled.edits for b in edits):
            continue
        if RANK[settled.applicability] > RANK[allow]:
            left.append(Left(hole.location, (finding,), settled.notes, settled.applicability))
            continue
        last = settled.edits[-1]
        change = Done(
            hole.location,
            (finding,),
            settled.applicability,
            Forfeit(0, 0),
            Forfeit(0, 0),
            settled.notes,
            text[last.start : last.end],
            last.new,
            verb=settled.verb,
        )
        reason = approve(change) if approve is not None else None
        if reason is not None:
            left.append(Left(hole.location, (finding,), (reason,), settled.applicability))
            continue
        edits += settled.edits
        done.append(change)
    new = text
    for edit in sorted(edits, key=lambda edit: edit.start, reverse=True):
        new = new[: edit.start] + edit.new + new[edit.end :]
    changed = new.encode(encoding) if edits else data
    return Rewrite(path, data, changed, tuple(done), tuple(left))
