"""Findings in, files rewritten: groups fixes by file, shows diffs, writes atomically.

Knows files. Knows nothing of text and order: `rewrite` decides what each file becomes.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from stemfirst_lint.check import check_paths
from stemfirst_lint.errors import LintError, UnreadableFile
from stemfirst_lint.model import Applicability, Finding
from stemfirst_lint.source import OVERLAY, read_bytes
from stemfirst_lint.writing import write_whole

TYPE_CHECKING = False  # `typing` costs more than the whole module
if TYPE_CHECKING:
    from stemfirst_lint.config import Config
    from stemfirst_lint.fix.changes import Approve, Left, Rewrite
    from stemfirst_lint.fix.safety import Refusal

    Step = Callable[[str, bytes, Sequence[Finding]], Rewrite]

_MAX_ROUNDS = 8


class WriteError(LintError):
    """A file whose fix was proven but could not be written; it is as it was."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Outcome:
    """What fixing did, or would do.

    Attributes:
        found: what was found before.
        remaining: what is found afterwards, in the files as they are or would be.
        rewrites: one for each file that changes or holds something that was left, by path.
        failures: files that could not be read, checked or written.
    """

    found: tuple[Finding, ...]
    remaining: tuple[Finding, ...]
    rewrites: tuple[Rewrite, ...]
    failures: tuple[LintError, ...] = ()

    @property
    def changed(self) -> tuple[Rewrite, ...]:
        """The rewrites whose file changes."""
        return tuple(rewrite for rewrite in self.rewrites if rewrite.new != rewrite.old)


def fix_paths(
    paths: tuple[str, ...],
    config: Config,
    *,
    allow: Applicability,
    write: bool = True,
    approve: Approve | None = None,
) -> Outcome:
    """Fix what `allow` permits and every proof allows, and say what became of the rest.

    The files are checked again as they would be, until nothing changes any more: sorting a set
    can make a hole stable, which then moves to the front. So a second run changes nothing.

    Args:
        paths: files and folders.
        config: what to look for and the least gain worth a change.
        allow: `IDENTICAL` for `check --fix`, `REORDER` for `fix`, `RISKY` for `fix --risky`.
        write: False leaves all files as they are.
        approve: is asked about every change that passed its proof.

    Raises:
        LintError: the configuration cannot be obeyed.
    """
    report = check_paths(paths, config)
    found = report.findings
    failures: list[LintError] = list(report.failures)
    failed = {f.path for f in report.failures if isinstance(f, UnreadableFile)}
    drafts: dict[str, Rewrite] = {}
    try:
        for _ in range(_MAX_ROUNDS):
            if not _round(report.findings, drafts, allow, config, failures, failed, approve):
                break
            report = check_paths(paths, config)
        else:
            # Never seen; a change that asks for another one for ever is not written.
            return Outcome(found, found, (), (*failures, LintError("the fixes do not settle")))
        if write:
            _write(drafts, failures)
    finally:
        OVERLAY.clear()
    rewrites = tuple(drafts[path] for path in sorted(drafts))
    return Outcome(found, report.findings, rewrites, tuple(failures))


def _round(
    findings: Sequence[Finding],
    drafts: dict[str, Rewrite],
    allow: Applicability,
    config: Config,
    failures: list[LintError],
    failed: set[str],
    approve: Approve | None,
) -> bool:
    """Rewrite every file once, sets first, and return whether anything changed.

    Files in `failed` are left alone; those that fail now are added.
    """
    from stemfirst_lint.fix.changes import Rewrite
    from stemfirst_lint.fix.clocks import is_restless
    from stemfirst_lint.fix.rewrite import rewrite  # loads libcst
    from stemfirst_lint.fix.settle import settle
    from stemfirst_lint.gain import Counter

    counter = Counter(config.model)
    clock = config.clock
    changed = False
    waiting: dict[str, list[Left]] = {}
    unsettled: dict[Finding, tuple[Refusal, ...]] = {}

    def make(path: str, wanted: Sequence[Finding], step: Step) -> bool:
        """Take one step on a file; False if it cannot be read or taken."""
        if path in failed:
            return False
        try:
            data = read_bytes(path)
            made = step(path, data, wanted)
        except LintError as error:
            failures.append(error)
            failed.add(path)
            return False
        draft = drafts.get(path)
        old, done = (draft.old, draft.done) if draft else (data, ())
        left = (*waiting.get(path, ()), *made.left)
        drafts[path] = Rewrite(path, old, made.new, (*done, *made.done), left)
        if made.new != data:
            OVERLAY[os.path.realpath(path)] = made.new
        return made.new != data

    def settled(path: str, data: bytes, wanted: Sequence[Finding]) -> Rewrite:
        made = settle(path, data, wanted, policy=clock, allow=allow, approve=approve)
        waiting[path] = [left for left in made.left if left.applicability is not None]
        unsettled.update(
            {left.findings[0]: left.reasons for left in made.left if left.applicability is None}
        )
        return replace(made, left=())

    def moved(path: str, data: bytes, wanted: Sequence[Finding]) -> Rewrite:
        kept = {finding for left in waiting.get(path, ()) for finding in left.findings}
        made = rewrite(
            path,
            data,
            [finding for finding in wanted if finding not in kept],
            allow=allow,
            min_gain=config.min_gain,
            counter=counter,
            approve=approve,
        )
        told = [
            [note for each in done.findings for note in unsettled.get(each, ())]
            for done in made.done
        ]
        done = tuple(
            replace(each, notes=(*each.notes, *notes))
            for each, notes in zip(made.done, told, strict=True)
        )
        return replace(made, done=done)

    sets = [finding for finding in findings if finding.code in ("SF201", "SF202")]
    clocks = [finding for finding in findings if clock != "move" and is_restless(finding)]
    steps: list[tuple[Sequence[Finding], Step, Callable[[Finding], str]]] = [
        (clocks, settled, value_file_of),
        (sets, moved, file_of),
        (findings, moved, file_of),
    ]
    for group, step, place in steps:
        by_file: dict[str, list[Finding]] = {}
        for finding in group:
            by_file.setdefault(place(finding), []).append(finding)
        for path, wanted in by_file.items():
            changed = make(path, wanted, step) or changed
        if changed:
            return True  # what is left is judged on the new text
    return False


def _write(drafts: dict[str, Rewrite], failures: list[LintError]) -> None:
    for path in sorted(drafts):
        draft = drafts[path]
        if draft.new == draft.old:
            continue
        try:
            replace_file(path, draft.old, draft.new)
        except LintError as error:
            failures.append(error)
            del drafts[path]


def file_of(finding: Finding) -> str:
    """Return the file that a fix of `finding` changes: the template's, or the set's."""
    if finding.code == "SF201":
        place = finding.hole.set_location if finding.hole else None
        return place.path if place else finding.location.path
    if finding.code == "SF202" and finding.hole and finding.hole.value_location:
        return finding.hole.value_location.path
    return finding.template.location.path if finding.template else finding.location.path


def value_file_of(finding: Finding) -> str:
    """Return the file that holds the value of a finding's hole."""
    place = finding.hole.value_location if finding.hole is not None else None
    return place.path if place is not None else finding.location.path


def replace_file(path: str, old: bytes, new: bytes) -> None:
    """Put `new` in the place of `old`, whole or not at all; links and permissions stay.

    Raises:
        WriteError: the file changed since it was read, or its folder does not let us.
    """
    target = os.path.realpath(path)
    try:
        with open(target, "rb") as file:
            if file.read() != old:
                raise WriteError(path, "changed while it was checked; run fix again")
        if not os.access(target, os.W_OK):
            raise WriteError(path, "is not writable; change its permissions")
        write_whole(target, new)
    except OSError as error:
        raise WriteError(path, (error.strerror or str(error)).lower()) from None


def diff_of(rewrites: Sequence[Rewrite]) -> str:
    """Return a unified diff of all changed files, which `patch -p1` and `git apply` accept."""
    parts: list[str] = []
    for rewrite in rewrites:
        if rewrite.new == rewrite.old:
            continue
        name = os.path.relpath(rewrite.path)
        if name.startswith(os.pardir):  # outside this folder
            name = os.path.abspath(rewrite.path).lstrip(os.sep)
        name = name.replace(os.sep, "/")
        lines = difflib.unified_diff(
            _lines(rewrite.old), _lines(rewrite.new), f"a/{name}", f"b/{name}"
        )
        parts.extend(
            line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
            for line in lines
        )
    return "".join(parts)


def _lines(data: bytes) -> list[str]:
    # surrogateescape: a diff must show any file, whatever its encoding
    return re.findall(r"[^\n]*\n|[^\n]+", data.decode("utf-8", "surrogateescape"))
