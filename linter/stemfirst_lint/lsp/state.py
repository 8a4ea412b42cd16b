"""What a language server knows between two messages: open documents, and what was found.

Knows files and findings; nothing of the protocol. Documents stand in for their files, so that
findings are those of the text in the editor.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from stemfirst_lint.add_ignore import commented
from stemfirst_lint.check import check_paths
from stemfirst_lint.config import Config, load_config
from stemfirst_lint.errors import LintError, UnreadableFile
from stemfirst_lint.files import python_files
from stemfirst_lint.gain import Counter
from stemfirst_lint.model import Applicability, Finding
from stemfirst_lint.source import OVERLAY, declared_encoding, decode, read_bytes

MAX_PROJECT_FILES = 400
"""Larger folders are not checked as a whole on every change, only the open documents are."""

_REASON = "reason"
_CALLS = {
    "SF203": "Give the tools one order",
    "SF401": "Drop the oldest turns in steps",
    "SF503": "Split the block behind the text that stays",
}


@dataclass(frozen=True, slots=True)
class Change:
    """A file's new text that mends or silences one finding."""

    title: str
    path: str
    text: str
    is_safe: bool


class State:
    """Open documents and their findings.

    Documents may change while a check runs on another thread; one check or one question about
    changes at a time. Invariant: `findings` is what the last whole check gave.
    """

    def __init__(self, folders: tuple[str, ...]) -> None:
        self.folders = folders
        self.documents: dict[str, str] = {}
        self.findings: dict[str, tuple[Finding, ...]] = {}
        self.failures: dict[str, str] = {}

    def check(self) -> set[str]:
        """Check anew and return the paths whose findings are to be shown again.

        Raises:
            LintError: the settings cannot be obeyed.
        """
        before = {*self.findings, *self.failures}
        findings: dict[str, tuple[Finding, ...]] = {}
        failures: dict[str, str] = {}
        documents = dict(self.documents)
        if documents:
            unsaved = self._stand_in(documents)
            try:
                report = check_paths(self._paths(documents), self._config())
            finally:
                OVERLAY.clear()
            for finding in report.findings:
                path = os.path.realpath(finding.location.path)
                findings[path] = (*findings.get(path, ()), finding)
            for failure in report.failures:
                if isinstance(failure, UnreadableFile):
                    failures[os.path.realpath(failure.path)] = failure.reason
            for path, reason in unsaved.items():  # what was found is of another text
                findings.pop(path, None)
                failures[path] = reason
        self.findings, self.failures = findings, failures
        return {*before, *findings, *failures, *documents}

    def changes(self, finding: Finding) -> list[Change]:
        """Return what could be done about a finding, the best first."""
        unsaved = self._stand_in(dict(self.documents))
        try:
            found = [*self._fixes(finding), *self._silence(finding)]
        finally:
            OVERLAY.clear()
        return [change for change in found if os.path.realpath(change.path) not in unsaved]

    def text(self, path: str) -> str:
        """Return a file's text as the editor has or would show it; nothing if it has none."""
        document = self.documents.get(path)
        if document is not None:
            return document
        try:
            with open(path, "rb") as file:  # the file itself: a check may run beside us
                return decode(path, file.read())
        except (OSError, UnreadableFile):
            return ""

    def _fixes(self, finding: Finding) -> list[Change]:
        if finding.applicability is None:
            return []
        from stemfirst_lint.fix.apply import file_of
        from stemfirst_lint.fix.rewrite import rewrite

        path, config = file_of(finding), self._config()
        try:
            made = rewrite(
                path,
                read_bytes(path),
                [finding],
                allow=finding.applicability,
                min_gain=config.min_gain,
                counter=Counter(config.model),
            )
            if not made.done:
                return []
            text = decode(path, made.new)
        except LintError:  # a proof failed: there is nothing to offer
            return []
        is_safe = finding.applicability is not Applicability.RISKY
        title = {
            Applicability.IDENTICAL: "Sort what has no order",
            Applicability.REORDER: "Move stable text to the front",
            Applicability.RISKY: "Move stable text to the front (read the result)",
        }[finding.applicability]
        if finding.code in _CALLS:
            title = _CALLS[finding.code] + ("" if is_safe else " (read the result)")
        return [Change(f"{title} ({finding.code})", path, text, is_safe)]

    def _silence(self, finding: Finding) -> list[Change]:
        path = finding.location.path
        try:
            text = decode(path, read_bytes(path))
            new, left = commented(path, text, [finding], _REASON)
        except LintError:
            return []
        if left:
            return []
        return [Change(f"Silence {finding.code} here", path, new, is_safe=False)]

    def _stand_in(self, documents: dict[str, str]) -> dict[str, str]:
        """Let documents stand in for their files, in the encoding that they declare.

        Returns:
            By path, why a document cannot: it could not be saved either.
        """
        OVERLAY.clear()
        unsaved: dict[str, str] = {}
        for path, text in documents.items():
            real = os.path.realpath(path)
            data = text.encode("utf-8", "surrogatepass")
            encoding = "utf-8" if path.endswith(".ipynb") else declared_encoding(data)
            try:
                OVERLAY[real] = data if _is_utf_8(encoding) else text.encode(encoding)
            except UnicodeEncodeError as error:
                line = text.count("\n", 0, error.start) + 1
                unsaved[real] = (
                    f"line {line}: {text[error.start]!r} is not in {encoding}, which the file "
                    "declares"
                )
            except (LookupError, UnicodeError):
                OVERLAY[real] = data  # a check says what is wrong with the declaration
        return unsaved

    def _config(self) -> Config:
        start = self.folders[0] if self.folders else next(iter(self.documents), ".")
        return load_config(start)

    def _paths(self, documents: dict[str, str]) -> tuple[str, ...]:
        """The folders of the workspace, if they are small, and the open documents."""
        config = self._config()
        for count, _ in enumerate(python_files(self.folders, config, [])):
            if count >= MAX_PROJECT_FILES:
                return tuple(documents)
        return (*self.folders, *documents)


def _is_utf_8(encoding: str) -> bool:
    return encoding.lower().replace("_", "-") in ("utf-8", "utf8")
