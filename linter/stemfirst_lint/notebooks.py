"""Notebooks: the code cells of a `.ipynb` file, read as one Python module.

Knows the notebook formats 3 and 4, and IPython's magics: a line of one stands in the module as
`pass`. A cell that is no Python even so is left out, because drafts and other languages are usual
in notebooks. Knows nothing of prompts; writes nothing.

Source: the notebook file format, nbformat 5.10; IPython 9, "Built-in magic commands".
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stemfirst_lint.errors import UnreadableFile
from stemfirst_lint.places import Cell

_MAX_MAGICS = 200
"""Lines of one cell that may be none of Python's."""
_PYTHON_CELLS = frozenset({"time", "timeit", "capture", "prun", "python", "python3", "pypy"})
"""Cell magics behind which Python stands."""
_CELL_MAGIC = re.compile(r"\s*%%(\w*)[^\n]*")
_TIMED = re.compile(r"^([ \t]*)%time[ \t](?=[ \t]*[^\s-])")
_MAGIC = re.compile(r"^([ \t]*)(?:[%!?].*|[\w.*%]+\?\??[ \t]*)$", re.DOTALL)
_ASSIGNED = re.compile(r"^([ \t]*[\w.,\[\]'\" \t]+=[ \t]*)[%!].*$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Notebook:
    """The module that a notebook's code makes, and its cells in order."""

    text: str
    cells: tuple[Cell, ...]


def read_notebook(path: str, data: bytes) -> Notebook:
    """Return a notebook's code; a notebook in another language than Python has none.

    Raises:
        UnreadableFile: the bytes are no notebook.
    """
    parts: list[str] = []
    cells: list[Cell] = []
    line = 1
    for number, source in _code_cells(path, _content(path, data)):
        text = _as_python(source)
        if text is None:
            continue
        cells.append(Cell(number, line))
        parts.append(text + "\n")
        line += text.count("\n") + 1
    return Notebook("".join(parts), tuple(cells))


def _content(path: str, data: bytes) -> dict[str, Any]:
    import json

    if not data.strip():
        return {"cells": []}  # Jupyter opens an empty file as an empty notebook
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UnreadableFile(path, f"not utf-8: byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise UnreadableFile(path, f"not a notebook: {error}") from None
    if not isinstance(content, dict):
        raise UnreadableFile(path, "not a notebook: it holds no JSON object")
    return content


def _code_cells(path: str, content: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """Yield number and source of each code cell; all cells are counted, from 1."""
    if not _is_python(content.get("metadata")):
        return
    lists = [content.get("cells")]
    if "worksheets" in content:  # format 3
        sheets = content["worksheets"]
        lists = [
            sheet.get("cells") if isinstance(sheet, dict) else None
            for sheet in (sheets if isinstance(sheets, list) else [None])
        ]
    cells: list[object] = []
    for part in lists:
        if not isinstance(part, list):
            raise UnreadableFile(path, "not a notebook: it has no list of cells")
        cells += part
    for number, cell in enumerate(cells, 1):
        if not isinstance(cell, dict):
            raise UnreadableFile(path, f"not a notebook: cell {number} is no JSON object")
        if cell.get("cell_type") != "code":
            continue
        source = cell.get("source", cell.get("input", ""))
        if isinstance(source, list) and all(isinstance(line, str) for line in source):
            source = "".join(source)
        if not isinstance(source, str):
            raise UnreadableFile(path, f"not a notebook: cell {number} has no text")
        yield number, source.replace("\r\n", "\n").replace("\r", "\n")


def _is_python(metadata: object) -> bool:
    """True if a notebook's metadata say so, or nothing of its language."""
    told = metadata if isinstance(metadata, dict) else {}
    for table, key in (("kernelspec", "language"), ("language_info", "name")):
        inner = told.get(table)
        language = inner.get(key) if isinstance(inner, dict) else None
        if isinstance(language, str):
            return language.lower() in ("python", "ipython", "python3", "ipython3")
    return True


def _as_python(source: str) -> str | None:
    """A cell as Python of as many lines, or None if it is none."""
    cell_magic = _CELL_MAGIC.match(source)
    if cell_magic is not None:
        if cell_magic.group(1) not in _PYTHON_CELLS:
            return None
        lines = cell_magic.group().count("\n")
        source = "\n" * lines + source[cell_magic.end() :]
    lines_of_cell = source.split("\n")
    for _ in range(_MAX_MAGICS):
        text = "\n".join(lines_of_cell)
        try:
            line = _wrong_line(text)
        except (ValueError, RecursionError, MemoryError):
            return None
        if line is None:
            return text
        if not _replace_magic(lines_of_cell, line - 1):
            return text if _is_newer(text) else None
    return None


def _wrong_line(text: str) -> int | None:
    """The line where Python stops reading, or None if it reads all."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            ast.parse(text)
    except SyntaxError as error:
        return error.lineno or 0
    return None


def _is_newer(text: str) -> bool:
    """True for source in newer syntax than the running interpreter's."""
    from stemfirst_lint.newer import parse_newer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return parse_newer(text) is not None


def _replace_magic(lines: list[str], at: int) -> bool:
    """Put Python in the place of a magic; False if there is none."""
    if not 0 <= at < len(lines):
        return False
    line = lines[at]
    if timed := _TIMED.match(line):
        lines[at] = f"{timed.group(1)}pass; {line[timed.end() :]}"  # as long as `%time `
        return True
    if assigned := _ASSIGNED.match(line):
        lines[at] = f"{assigned.group(1)}_"
    elif magic := _MAGIC.match(line):
        lines[at] = f"{magic.group(1)}pass"
    else:
        return False
    while line.endswith("\\") and at + 1 < len(lines):
        at += 1
        line, lines[at] = lines[at], ""
    return True
