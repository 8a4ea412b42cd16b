"""Findings in, files rewritten: groups fixes by file, shows diffs, writes atomically.

Knows files. Knows nothing of text and order: `rewrite` decides what each file becomes.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stemfirst_lint.errors import LintError
from stemfirst_lint.fix.plan import MIN_GAIN
from stemfirst_lint.model import Applicability, Finding
from stemfirst_lint.source import read_bytes

TYPE_CHECKING = False  # `typing` costs more than the whole module
if TYPE_CHECKING:
    from stemfirst_lint.fix.rewrite import Rewrite


class WriteError(LintError):
    """A file whose fix was proven but could not be written; it is as it was."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Outcome:
    """What fixing did.

    Attributes:
        rewrites: one for each file that holds a template of a finding, in order of path.
        failures: files that could not be read or written; they are as they were.
    """

    rewrites: tuple[Rewrite, ...]
    failures: tuple[LintError, ...] = ()

    @property
    def changed(self) -> tuple[Rewrite, ...]:
        """The rewrites whose file changes."""
        return tuple(rewrite for rewrite in self.rewrites if rewrite.new != rewrite.old)


def apply_fixes(
    findings: Iterable[Finding],
    *,
    allow: Applicability,
    min_gain: int = MIN_GAIN,
    write: bool = True,
) -> Outcome:
    """Fix what `allow` permits and every proof allows, and say what became of each finding.

    Args:
        findings: from a check of the files as they are now.
        allow: `IDENTICAL` for `check --fix`, `REORDER` for `fix`, `RISKY` for `fix --risky`.
        min_gain: tokens that a move must win.
        write: False leaves all files as they are and only returns what would be written.
    """
    by_file: dict[str, list[Finding]] = {}
    for finding in findings:
        by_file.setdefault(_file_of(finding), []).append(finding)
    if not by_file:
        return Outcome(())
    from stemfirst_lint.fix.rewrite import rewrite  # loads libcst

    rewrites: list[Rewrite] = []
    failures: list[LintError] = []
    for path, group in sorted(by_file.items()):
        try:
            data = read_bytes(path)
            made = rewrite(path, data, group, allow=allow, min_gain=min_gain)
            if write and made.new != data:
                replace_file(path, data, made.new)
        except LintError as error:
            failures.append(error)
        else:
            rewrites.append(made)
    return Outcome(tuple(rewrites), tuple(failures))


def _file_of(finding: Finding) -> str:
    """Return the file that a fix of `finding` changes: the template's, or the set's."""
    if finding.code == "SF201":
        place = finding.hole.set_location if finding.hole else None
        return place.path if place else finding.location.path
    return finding.template.location.path if finding.template else finding.location.path


def replace_file(path: str, old: bytes, new: bytes) -> None:
    """Put `new` in the place of `old`, whole or not at all; links and permissions stay.

    Raises:
        WriteError: the file changed since it was read, or its folder does not let us.
    """
    target = os.path.realpath(path)
    temporary: str | None = None
    try:
        with open(target, "rb") as file:
            if file.read() != old:
                raise WriteError(path, "changed while it was checked; run fix again")
        mode = os.stat(target).st_mode & 0o7777
        if not os.access(target, os.W_OK):
            raise WriteError(path, "is not writable; change its permissions")
        handle, temporary = tempfile.mkstemp(dir=os.path.dirname(target), prefix=".stemfirst-")
        with os.fdopen(handle, "wb") as file:
            file.write(new)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, target)
    except OSError as error:
        raise WriteError(path, (error.strerror or str(error)).lower()) from None
    finally:
        if temporary is not None:
            with contextlib.suppress(FileNotFoundError):  # it has become the target
                os.unlink(temporary)


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
