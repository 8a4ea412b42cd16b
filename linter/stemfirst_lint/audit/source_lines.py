"""The line of source that a cause comes from, found by the fixed words around what varies.

Knows how to search a folder's text files for words. Does not parse them: templates live in
Python, in other languages, and in prompt files. Gives a line only where one line fits best.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from stemfirst.prompt import Origin

from stemfirst_lint.audit.report import AuditReport
from stemfirst_lint.audit.tallies import CauseSum
from stemfirst_lint.errors import UnreadableFile

MAX_FILE_BYTES = 2**20
_ENDINGS = (".py", ".md", ".txt", ".j2", ".jinja", ".jinja2", ".yaml", ".yml", ".toml", ".json",
            ".prompt", ".prompty", ".tmpl", ".mustache", ".hbs", ".ts", ".tsx", ".js", ".mjs",
            ".go", ".rs", ".java", ".kt", ".rb", ".cs", ".php")  # fmt: skip
_SKIPPED = frozenset({"node_modules", "__pycache__", "site-packages", "build", "dist", "venv"})
_LEAST_LABEL = 4


def find_source_lines(report: AuditReport, folders: tuple[str, ...]) -> None:
    """Set the origin of each cause that has none, where one line of source fits it best.

    Raises:
        UnreadableFile: a folder does not exist.
    """
    wanted = [
        one
        for _, one in report.causes
        if one.origin is None and one.example is not None and len(one.label) >= _LEAST_LABEL
    ]
    best: dict[int, list[tuple[int, Origin]]] = {}
    for path in _files(folders):
        text = _text(path)
        for number, one in enumerate(wanted):
            if one.label in text:
                best.setdefault(number, []).extend(_lines(path, text, one))
    for number, found in best.items():
        found.sort(key=lambda pair: -pair[0])
        if len(found) == 1 or found[0][0] > found[1][0]:
            wanted[number].origin = found[0][1]


def _lines(path: str, text: str, one: CauseSum) -> Iterator[tuple[int, Origin]]:
    """Yield how well each line that holds the label fits, and the line."""
    lines = text.splitlines()
    near = _neighbours(one)
    for index, line in enumerate(lines):
        column = line.find(one.label)
        if column < 0:
            continue
        behind = line[column + len(one.label) :].lstrip()
        around = "\n".join(lines[max(0, index - 3) : index + 4])
        fit = 2 * bool(behind[:1] in ("{", "%", "$", "<", '"', "'")) + 2 * sum(
            words in around for words in near
        )
        yield fit, Origin(path, index + 1, column + 1)


def _neighbours(one: CauseSum) -> list[str]:
    """Return the fixed words at the start of the lines around what varies."""
    assert one.example is not None
    window = one.example.window
    if window is None:
        return []
    before, _, behind = window.now.partition(window.now[window.caret :])
    parts = [*before.split("⏎")[:-1], *window.now[window.caret :].split("⏎")[1:], behind]
    words = [part.strip("… ").partition(":")[0] for part in parts]
    return [word for word in words if len(word) >= _LEAST_LABEL]


def _files(folders: tuple[str, ...]) -> Iterator[str]:
    for folder in folders:
        if os.path.isfile(folder):
            yield folder
            continue
        if not os.path.isdir(folder):
            raise UnreadableFile(folder, "no such folder; --source takes the app's source")
        for place, names, files in os.walk(folder):
            names[:] = sorted(n for n in names if n not in _SKIPPED and not n.startswith("."))
            for name in sorted(files):
                if name.endswith(_ENDINGS):
                    yield os.path.join(place, name)


def _text(path: str) -> str:
    """Return a file's text; empty for one that is too large, unreadable or not UTF-8."""
    try:
        if os.path.getsize(path) > MAX_FILE_BYTES:
            return ""
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError):  # a search may pass over what it cannot read
        return ""
