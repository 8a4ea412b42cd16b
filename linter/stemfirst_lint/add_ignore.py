"""Writes `# stemfirst: ignore[CODE] reason` where findings stand.

Knows where a comment can stand without touching a string. A file is written only if it still
means the same and what was to be silenced is silent.
"""

from __future__ import annotations

import ast
import io
import os
import re
import tokenize

from stemfirst_lint.errors import ConfigError, LintError, UnreadableFile
from stemfirst_lint.model import Finding
from stemfirst_lint.source import decode, parse, read_bytes
from stemfirst_lint.suppress import silencing, suppressions

TYPE_CHECKING = False  # `typing` costs start-up time
if TYPE_CHECKING:
    from stemfirst_lint.check import Report

_OURS = re.compile(r"#\s*stemfirst:\s*ignore\[([^\]]*)\]")


def add_ignores(report: Report, reason: str) -> list[str]:
    """Write a comment for each finding and return a note for each that could not get one.

    Raises:
        ConfigError: the reason is empty or has more than one line.
    """
    reason = reason.strip()
    if not reason or "\n" in reason:
        raise ConfigError("--add-ignore takes a reason of one line, for those who read the code")
    by_file: dict[str, list[Finding]] = {}
    for finding in report.findings:
        if not finding.code.startswith("SF9"):
            by_file.setdefault(finding.location.path, []).append(finding)
    notes: list[str] = []
    added = 0
    for path, findings in by_file.items():
        try:
            done, left = _in_file(path, findings, reason)
        except LintError as error:
            notes.append(f"error: {error}")
            continue
        added += done
        notes += [f"{finding.location}: no line here can take a comment" for finding in left]
    return [f"silenced {added:,} finding{'s' * (added != 1)}", *notes]


def _in_file(path: str, findings: list[Finding], reason: str) -> tuple[int, list[Finding]]:
    from stemfirst_lint.fix.apply import replace_file

    if path.endswith(".ipynb"):
        raise UnreadableFile(path, "comments are not written into notebooks; add them in the cells")
    if not path.endswith((".py", ".pyi")):
        raise UnreadableFile(
            path,
            "such comments are written into Python only; see docs/linter.md for other files, or "
            "name the file in per-file-ignores",
        )
    data = read_bytes(path)
    new, left = commented(path, decode(path, data), findings, reason)
    if len(left) < len(findings):
        replace_file(path, data, _encoded(path, new, data))
    return len(findings) - len(left), left


def commented(
    path: str, text: str, findings: list[Finding], reason: str
) -> tuple[str, list[Finding]]:
    """Return a file's text with comments that silence findings, and those that stay loud.

    Args:
        path: the file, which all findings are in.
        text: its text, without a byte order mark.
        findings: of exactly this text.
        reason: one line that follows the codes.

    Raises:
        UnreadableFile: the text has line ends that `ast` and this count differently.
    """
    lines = text.splitlines(keepends=True)
    if len(lines) != len(text.split("\n")) - text.endswith("\n"):
        raise UnreadableFile(path, "has line ends that this cannot keep; add the comments by hand")
    closed = _lines_that_take_a_comment(text)
    for finding in findings:
        place = finding.template.location if finding.template else finding.location
        tried = [finding.location.line]
        if place.path == finding.location.path:
            tried += [place.end_line, place.line]
        line = next((each for each in tried if each in closed), None)
        if line is not None:
            lines[line - 1] = _with_comment(lines[line - 1], finding.code, reason)
    new = "".join(lines)
    if ast.dump(parse(path, new)) != ast.dump(parse(path, text)):
        return text, findings
    comments = suppressions(path, new)
    return new, [finding for finding in findings if not silencing(finding, comments)]


def _with_comment(line: str, code: str, reason: str) -> str:
    body = line.rstrip("\r\n")
    end = line[len(body) :]
    ours = _OURS.search(body)
    if ours is None:
        return f"{body.rstrip()}  # stemfirst: ignore[{code}] {reason}{end}"
    codes = [each.strip() for each in ours[1].split(",") if each.strip()]
    if code not in codes:
        codes.append(code)
    return f"{body[: ours.start(1)]}{', '.join(codes)}{body[ours.end(1) :]}{end}"


def _lines_that_take_a_comment(text: str) -> set[int]:
    """The lines whose end is no part of a string and not behind a backslash."""
    found: set[int] = set()
    depth_of_f_strings = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        name = tokenize.tok_name[token.type]
        if name == "FSTRING_START":
            depth_of_f_strings += 1
        elif name == "FSTRING_END":
            depth_of_f_strings -= 1
        elif name in ("NEWLINE", "NL") and not depth_of_f_strings:
            found.add(token.start[0])
    return found


def _encoded(path: str, text: str, old: bytes) -> bytes:
    """The text in the encoding and with the byte order mark that the file had."""
    bom = b"\xef\xbb\xbf" if old.startswith(b"\xef\xbb\xbf") else b""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(old).readline)
    try:
        return bom + text.encode("utf-8" if bom else encoding)
    except UnicodeEncodeError:
        name = os.path.basename(path)
        raise UnreadableFile(path, f"the reason cannot be written in {name}'s encoding") from None
