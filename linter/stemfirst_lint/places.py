"""Where something stands: a range of a file, or of a notebook's cell.

Knows lines and columns. Reads no file.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Cell:
    """A code cell of a notebook.

    Attributes:
        number: among all cells of the notebook, from 1.
        first_line: where it begins in the module that all code cells make; from 1.
    """

    number: int
    first_line: int


def cell_at(cells: tuple[Cell, ...], line: int) -> Cell | None:
    """Return the cell of a line of the module that cells make, or None if it is in none."""
    at = bisect_right(cells, line, key=lambda cell: cell.first_line)
    return cells[at - 1] if at else None


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A range of source text; lines and columns are 1-based and columns count characters.

    The range is half open: `end_column` is the column behind the last character. A byte order
    mark at the start of a file is no character. In a notebook `line` and `end_line` count in the
    module that its code cells make; people are shown `shown_line` of `cell`.
    """

    path: str
    line: int
    column: int
    end_line: int
    end_column: int
    cell: Cell | None = field(default=None, compare=False)

    def __str__(self) -> str:
        """Return `path:line:column`, which editors can jump to, or `path:cell 3:line:column`."""
        cell = f"cell {self.cell.number}:" if self.cell is not None else ""
        return f"{self.path}:{cell}{self.shown_line}:{self.column}"

    @property
    def shown_line(self) -> int:
        """The line as people count it: in the file, or in the notebook's cell."""
        return self._shown(self.line)

    @property
    def shown_end_line(self) -> int:
        """The last line as people count it."""
        return self._shown(self.end_line)

    @property
    def file_line(self) -> int:
        """The line of the file; 1 in a notebook, whose own lines are JSON."""
        return self.line if self.cell is None else 1

    def _shown(self, line: int) -> int:
        return line if self.cell is None else line - self.cell.first_line + 1
