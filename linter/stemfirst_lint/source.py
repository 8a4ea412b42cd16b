"""One file's text, its syntax tree, and the way from tree positions to places.

Knows encodings, line ends and the byte columns of `ast`. Knows nothing of prompts.
"""

from __future__ import annotations

import ast
import os
import re
import warnings
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

from stemfirst_lint.errors import UnreadableFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from stemfirst_lint.places import Cell, Location

MAX_FILE_BYTES = 10_000_000
"""Larger files are data, not source; reading them would cost gigabytes of syntax tree."""

_LINE_END = re.compile(r"\r\n|\r|\n")
_COOKIE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_BOM = b"\xef\xbb\xbf"


OVERLAY: dict[str, bytes] = {}
"""Real path -> contents that stand in for the file: what `fix` is about to write is checked
before it is written. Empty otherwise."""


OBSERVERS: list[Callable[[str, bytes | None], None]] = []
"""Told of every file that is read, with its bytes, or None if it cannot be; the cache listens."""


PROBES: list[dict[str, bool]] = []
"""Where to note, by absolute path, whether a file was there when it was looked for."""


def is_there(path: str) -> bool:
    """Return True if an absolute path is a file or a folder, and note that it was asked."""
    found = os.path.exists(path)
    for noted in PROBES:
        noted[path] = found
    return found


def is_file(path: str) -> bool:
    """Return True if an absolute path is a file, and note that it was asked."""
    found = os.path.isfile(path)
    for noted in PROBES:
        noted[path] = found
    return found


def read_bytes(path: str) -> bytes:
    """Return a file's bytes, or those that stand in for it; observers are told.

    Raises:
        UnreadableFile: it cannot be opened, or is larger than `MAX_FILE_BYTES`.
    """
    try:
        data = _read(path)
    except UnreadableFile:
        for observe in OBSERVERS:
            observe(path, None)
        raise
    for observe in OBSERVERS:
        observe(path, data)
    return data


def _read(path: str) -> bytes:
    if OVERLAY and os.path.realpath(path) in OVERLAY:
        return OVERLAY[os.path.realpath(path)]
    try:
        size_bytes = os.stat(path).st_size
        if size_bytes <= MAX_FILE_BYTES:
            with open(path, "rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)  # devices and pipes have no size to ask for
            if len(data) <= MAX_FILE_BYTES:
                return data
    except OSError as error:
        raise UnreadableFile(path, (error.strerror or str(error)).lower()) from None
    size = f"{size_bytes / 1e6:.0f} MB is" if size_bytes > MAX_FILE_BYTES else "it holds"
    raise UnreadableFile(
        path,
        f"{size} more than the {MAX_FILE_BYTES / 1e6:.0f} MB that are read; "
        "exclude it in [tool.stemfirst]",
    )


def decode(path: str, data: bytes) -> str:
    """Return the text of Python source, without a byte order mark, or of a notebook's code.

    Raises:
        UnreadableFile: the bytes are not in the encoding that the file declares.
    """
    if path.endswith(".ipynb"):
        from stemfirst_lint.notebooks import read_notebook

        return read_notebook(path, data).text
    if data.startswith(_BOM):
        data = data[3:]
    encoding = declared_encoding(data)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnreadableFile(
            path, f"not {encoding}: byte {error.start} is 0x{data[error.start]:02x}"
        ) from None
    except LookupError:
        raise UnreadableFile(path, f"unknown encoding {encoding!r}") from None
    except UnicodeError as error:  # idna, punycode and undefined raise the base class
        raise UnreadableFile(path, f"not {encoding}: {error}") from None


def declared_encoding(data: bytes) -> str:
    """Return the encoding that Python source without a byte order mark says it is in."""
    for line in data.split(b"\n", 2)[:2]:
        cookie = _COOKIE.match(line)
        if cookie:
            return cookie.group(1).decode("ascii")
        if line.strip() and not line.lstrip().startswith(b"#"):
            break
    return "utf-8"


def lines_of(text: str) -> list[str]:
    """Return the lines of a text with their ends, as Python and editors count them.

    `str.splitlines` splits at form feeds and at U+2028, too.
    """
    lines: list[str] = []
    start = 0
    for end in _LINE_END.finditer(text):
        lines.append(text[start : end.end()])
        start = end.end()
    return [*lines, text[start:]] if start < len(text) else lines


def read_source(path: str, data: bytes) -> Source:
    """Return a module's text with its offsets, and the cells of a notebook.

    Raises:
        UnreadableFile: as `decode` does.
    """
    if not path.endswith(".ipynb"):
        return Source(path, decode(path, data))
    from stemfirst_lint.notebooks import read_notebook

    notebook = read_notebook(path, data)
    return Source(path, notebook.text, notebook.cells)


def parse(path: str, text: str) -> ast.Module:
    """Return the syntax tree of Python source.

    Raises:
        UnreadableFile: it is not valid for the running interpreter, nor in newer syntax that we
            can read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            return _parsed(text)
    except SyntaxError as error:
        where = f"line {error.lineno}: " if error.lineno else ""
        raise UnreadableFile(path, f"does not parse: {where}{error.msg}") from None
    except ValueError as error:  # null bytes, on Python before 3.11.4
        raise UnreadableFile(path, f"does not parse: {error}") from None
    except (RecursionError, MemoryError):
        raise UnreadableFile(path, "does not parse: nested too deeply") from None


def check_syntax(path: str, text: str) -> None:
    """Do nothing if `parse` would return a tree; takes half of its time.

    Raises:
        UnreadableFile: as `parse` does.
    """
    from symtable import symtable

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            symtable(text, path, "exec")  # parses, and makes no objects of what it parsed
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        parse(path, text)  # it is stricter: it knows scopes


def _parsed(text: str) -> ast.Module:
    try:
        tree = ast.parse(text)
    except SyntaxError:
        from stemfirst_lint.newer import parse_newer

        newer = parse_newer(text)
        if newer is None:
            raise
        return newer
    if hasattr(ast, "TemplateStr"):
        from stemfirst_lint.newer import t_strings_joined

        return t_strings_joined(tree)
    return tree


class Source:
    """A file's text with the offsets of its lines; offsets count characters from 0.

    Invariant: `starts[i]` is the offset of line `i + 1`. `cells` are a notebook's, in order.
    """

    __slots__ = ("_starts", "cells", "is_ascii", "path", "text")

    def __init__(self, path: str, text: str, cells: tuple[Cell, ...] = ()) -> None:
        self.path = path
        self.cells = cells
        self.text = text
        self.is_ascii = text.isascii()
        self._starts: list[int] | None = None

    @property
    def starts(self) -> list[int]:
        """The offset of each line, counted when it is first asked for: most files never are."""
        if self._starts is None:
            if "\r" in self.text:
                self._starts = [0, *(match.end() for match in _LINE_END.finditer(self.text))]
            else:
                ends = accumulate(map((1).__add__, map(len, self.text.split("\n"))))
                self._starts = [0, *ends][:-1]
        return self._starts

    def offset(self, line: int, column_bytes: int) -> int:
        """Return the offset of a position as `ast` gives it: 1-based line, 0-based UTF-8 bytes."""
        start = self.starts[line - 1]
        if self.is_ascii:
            return start + column_bytes
        end = self.starts[line] if line < len(self.starts) else len(self.text)
        return start + len(self.text[start:end].encode()[:column_bytes].decode(errors="ignore"))

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """Return the start and end offsets of a node.

        Nodes inside an f-string have no trustworthy position before Python 3.12; use the
        offsets from `literals` for them.
        """
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return (
            self.offset(node.lineno, node.col_offset),
            self.offset(node.end_lineno, node.end_col_offset),
        )

    def location(self, start: int, end: int) -> Location:
        """Return the place of the characters from offset `start` up to `end`."""
        from stemfirst_lint.places import Location, cell_at  # here: most files hold no prompt

        line = bisect_right(self.starts, start)
        end_line = bisect_right(self.starts, end)
        return Location(
            self.path,
            line,
            start - self.starts[line - 1] + 1,
            end_line,
            end - self.starts[end_line - 1] + 1,
            cell_at(self.cells, line) if self.cells else None,
        )

    def place(self, node: ast.expr | ast.stmt) -> Location:
        """Return the place of a node that stands outside f-strings."""
        if self.is_ascii and not self.cells:
            from stemfirst_lint.places import Location

            starts = self._starts or self.starts
            line, end_line = node.lineno, node.end_lineno
            column, end_column = node.col_offset, node.end_col_offset
            assert end_line is not None
            assert end_column is not None
            # Inside f-strings, old interpreters give columns beyond the line.
            if (line == len(starts) or starts[line - 1] + column < starts[line]) and (
                end_line == len(starts) or starts[end_line - 1] + end_column < starts[end_line]
            ):
                return Location(self.path, line, column + 1, end_line, end_column + 1)
        return self.location(*self.span(node))
