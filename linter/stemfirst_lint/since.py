"""The lines that changed since a git revision, and the findings that have to do with them.

Knows git's diffs. Runs git; changes nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from dataclasses import dataclass

from stemfirst_lint.errors import RevisionError

TYPE_CHECKING = False  # `typing` costs start-up time
if TYPE_CHECKING:
    from collections.abc import Iterator

    from stemfirst_lint.model import Finding, Location

_HUNK = re.compile(r"^@@ -\S+ \+(\d+)(?:,(\d+))? @@")
_ESCAPE = re.compile(rb'\\([0-7]{3}|[abtnvfr"\\])')
_ESCAPED = {b"a": b"\a", b"b": b"\b", b"t": b"\t", b"n": b"\n", b"v": b"\v", b"f": b"\f",
            b"r": b"\r", b'"': b'"', b"\\": b"\\"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Changes:
    """Changed lines by real path, as half-open ranges; None: the whole file is new."""

    lines: dict[str, tuple[tuple[int, int], ...] | None]

    def touch(self, finding: Finding) -> bool:
        """Return True if a finding, its template, its sink or its evidence was changed."""
        places = [finding.location, *(evidence.location for evidence in finding.evidence)]
        if finding.template is not None:
            places.append(finding.template.location)
        if finding.site is not None:
            places.append(finding.site.location)
        return any(place is not None and self._touch(place) for place in places)

    def _touch(self, place: Location) -> bool:
        path = os.path.realpath(place.path)
        if path not in self.lines:
            return False
        ranges = self.lines[path]
        if place.cell is not None:
            return True  # git's lines are those of the JSON
        return ranges is None or any(
            place.line < end and start <= place.end_line for start, end in ranges
        )


def changes_since(revision: str, folder: str) -> Changes:
    """Return what changed since the work on `revision` was left, committed or not.

    Args:
        revision: anything that names a commit. What others did to it since this branch left it
            is not counted: the merge base is compared.
        folder: a folder in the repository.

    Raises:
        RevisionError: there is no git, no repository, or no such revision.
    """
    root = git(folder, "rev-parse", "--show-toplevel").rstrip("\n")
    try:
        commit = git(folder, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
    except RevisionError:
        raise RevisionError(
            f"--since {revision}: git knows no such revision here; name a branch, a tag or a commit"
        ) from None
    with contextlib.suppress(RevisionError):  # no common ancestor: compare with itself
        commit = git(folder, "merge-base", commit.strip(), "HEAD")
    diff = git(
        root, "-c", "core.quotePath=false", "diff", "--unified=0", "--no-color", "--no-ext-diff",
        "--find-renames", "--src-prefix=a/", "--dst-prefix=b/", commit.strip(), "--",
    )  # fmt: skip
    lines: dict[str, tuple[tuple[int, int], ...] | None] = {}
    for path, ranges in _changed(diff):
        lines[os.path.realpath(os.path.join(root, path))] = ranges
    for path in git(root, "ls-files", "--others", "--exclude-standard", "-z").split("\0"):
        if path:
            lines[os.path.realpath(os.path.join(root, path))] = None
    return Changes(lines)


def git(folder: str, *arguments: str) -> str:
    """Return what a git command writes.

    Raises:
        RevisionError: git is missing or says no.
    """
    try:
        done = subprocess.run(
            ["git", "-C", folder or ".", *arguments], capture_output=True, check=False
        )
    except OSError as error:
        raise RevisionError(f"git cannot be run: {error.strerror}; install it") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().removeprefix("fatal: ")
        raise RevisionError(f"git {arguments[0]}: {said or 'failed'}")
    return done.stdout.decode(errors="surrogateescape")


def _changed(diff: str) -> Iterator[tuple[str, tuple[tuple[int, int], ...]]]:
    path: str | None = None
    ranges: list[tuple[int, int]] = []
    is_head = False
    for line in diff.split("\n"):
        if line.startswith("diff --git "):
            if path is not None:
                yield path, tuple(ranges)
            path, ranges, is_head = None, [], True
        elif is_head and line.startswith("+++ "):
            path = _unquoted(line[4:])
        elif hunk := _HUNK.match(line):
            is_head = False
            start, count = int(hunk[1]), int(hunk[2] or 1)
            # A pure deletion has no lines of its own: both neighbours count as changed.
            ranges.append((start, start + count) if count else (start, start + 2))
    if path is not None:
        yield path, tuple(ranges)


def _unquoted(name: str) -> str | None:
    """The path behind `+++`: without its prefix and git's quotes; None for a deleted file."""
    name = name.removesuffix("\t")  # git ends names with spaces so
    if name.startswith('"'):
        raw = name[1:-1].encode(errors="surrogateescape")
        raw = _ESCAPE.sub(lambda found: _ESCAPED.get(found[1]) or bytes([int(found[1], 8)]), raw)
        name = raw.decode(errors="surrogateescape")
    return None if name == "/dev/null" else name.removeprefix("b/")
