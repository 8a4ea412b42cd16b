"""Asks the linter whether `stemfirst fix` has a proven change for a text that parted.

Knows the command's output, a patch, and when a change of it concerns a line or a text. The
linter runs as a process of its own, which takes about a second and is remembered for as long as
the file stays as it is. For those who explain to a person: never on the way of a request.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache

from stemfirst.segments import Origin

PATIENCE_S = 30.0
LEAST_CHARS = 24
"""Characters from which a line is taken to be the same text wherever it stands."""

_HUNK = re.compile(r"@@ -(\d+)")


@dataclass(frozen=True, slots=True)
class Patch:
    """What a patch takes away: lines by their numbers, of the file that was asked about."""

    removed: dict[int, str]
    elsewhere: tuple[str, ...]
    """Lines that it takes out of other files: a template may stand there."""


def is_mended(origin: Origin, text: str) -> bool:
    """Return whether `stemfirst fix` on the file of this place changes what it built.

    True where a line that would change belongs to the statement at the place, or stands in the
    text. False where the linter cannot be asked or has nothing to change.

    Args:
        origin: the line that built the text.
        text: the text as it was sent.
    """
    try:
        changed_ns = os.stat(origin.path).st_mtime_ns
        patch = _patch_of(origin.path, changed_ns)
        first, last = _statement(origin)
    except (OSError, subprocess.SubprocessError, SyntaxError, ValueError):
        return False
    if any(first <= line <= last for line in patch.removed):
        return True
    lines = (line.strip() for line in (*patch.removed.values(), *patch.elsewhere))
    return any(len(line) >= LEAST_CHARS and line in text for line in lines)


@lru_cache(maxsize=64)
def _patch_of(path: str, _changed_ns: int) -> Patch:
    done = subprocess.run(
        [sys.executable, "-m", "stemfirst.cli", "fix", "--diff", "--", path],
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return read_patch(done.stdout.decode("utf-8", "replace"), os.path.basename(path))


def read_patch(diff: str, name: str) -> Patch:
    """Return what a unified diff removes; lines of the file `name` by their numbers."""
    removed: dict[int, str] = {}
    elsewhere: list[str] = []
    is_own, is_inside, line = False, False, 0
    lines = diff.splitlines()
    for text, behind in zip(lines, [*lines[1:], ""], strict=True):
        if found := _HUNK.match(text):
            line, is_inside = int(found[1]), True
        elif text.startswith("--- ") and behind.startswith("+++ "):
            is_own, is_inside = os.path.basename(text[4:].strip()) == name, False
        elif is_inside and text.startswith("-"):
            if is_own:
                removed[line] = text[1:]
            else:
                elsewhere.append(text[1:])
            line += 1
        elif is_inside and text.startswith(" "):
            line += 1
    return Patch(removed, tuple(elsewhere))


def _statement(origin: Origin) -> tuple[int, int]:
    """Return the first and last line of the innermost statement around a place."""
    with open(origin.path, "rb") as file:
        tree = ast.parse(file.read())
    around = [
        (node.lineno, node.end_lineno or node.lineno)
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt)
        and node.lineno <= origin.line <= (node.end_lineno or node.lineno)
    ]
    return max(around, default=(origin.line, origin.line))
