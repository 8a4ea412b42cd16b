"""Rows of a table in the order, and with their fields in the order, that share the most text.

Knows rows as mappings and their text as JSON. Does not know tokens: bytes stand for them.

Source: Liu et al., "Optimizing LLM Queries in Relational Data Analytics Workloads"
(arXiv 2403.05821), section on greedy group recursion. Theirs takes the best single value at
each step; here it is the best field, which needs one pass for each level of the tree and so
stays quick on large tables.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any


@dataclass(frozen=True, slots=True)
class OrderedRow:
    """One row in its new place."""

    index: int
    """Where the row stood in the input: answers go back there."""
    text: str
    """The row as JSON, its fields in their new order."""


@dataclass(frozen=True, slots=True)
class Ordering:
    """Rows in an order that shares long prefixes, and what that is worth.

    A prefix is shared with the row before; `shared_bytes_as_given` is the same for the rows and
    fields in the order of the input.
    """

    rows: tuple[OrderedRow, ...]
    total_bytes: int
    shared_bytes: int
    shared_bytes_as_given: int

    @property
    def gain(self) -> float:
        """Share of all bytes that is read from the cache in this order and not as given."""
        more = self.shared_bytes - self.shared_bytes_as_given
        return more / self.total_bytes if self.total_bytes else 0.0


def order_for_sharing(rows: Sequence[Mapping[str, Any]]) -> Ordering:
    """Return the rows so that neighbours begin with as much of the same text as can be.

    Which fields come first may differ from row to row; every field stays named. Where the input's
    own order shares more, it is kept. Send the rows one after the other, or at least start them
    in this order.

    Args:
        rows: values that JSON has.

    Raises:
        TypeError: a row is no mapping, or holds a name or a value that JSON has not.
    """
    cells = [_cells(row, index) for index, row in enumerate(rows)]
    given = [OrderedRow(i, _joined(row.values())) for i, row in enumerate(cells)]
    best = [OrderedRow(i, _joined(cells[i][name] for name in names)) for i, names in _plan(cells)]
    given_bytes, best_bytes = shared_bytes(given), shared_bytes(best)
    if given_bytes >= best_bytes:
        best, best_bytes = given, given_bytes
    total = sum(_size(row.text) for row in given)
    return Ordering(tuple(best), total, best_bytes, given_bytes)


def shared_bytes(rows: Iterable[OrderedRow]) -> int:
    """Return the bytes that each row shares with the row before, in sum."""
    shared, before = 0, ""
    for row in rows:
        shared += _size(commonprefix([before, row.text]))  # noqa: RUF071 text, not a path
        before = row.text
    return shared


def _plan(cells: Sequence[Mapping[str, str]]) -> list[tuple[int, tuple[str, ...]]]:
    """Return each row's index with its fields' order, in the rows' new order."""
    planned: list[tuple[int, tuple[str, ...]]] = []
    # Groups of rows that share their first fields, the next one to place on top.
    groups: list[tuple[list[int], tuple[str, ...]]] = [(list(range(len(cells))), ())]
    while groups:
        members, first = groups.pop()
        field = _best_field(cells, members, first)
        if field is None:
            for i in members:
                rest = (name for name in cells[i] if name not in first)
                planned.append((i, (*first, *rest)))
            continue
        parts: dict[str | None, list[int]] = {}
        for i in members:
            parts.setdefault(cells[i].get(field), []).append(i)
        # Rows without the field have their own way to go on.
        lacking = parts.pop(None, None)
        if lacking is not None:
            groups.append((lacking, first))
        groups += [(part, (*first, field)) for part in reversed(parts.values())]
    return planned


def _best_field(
    cells: Sequence[Mapping[str, str]], members: Sequence[int], first: tuple[str, ...]
) -> str | None:
    """Return the field whose values, put next, repeat the most bytes; None where none does."""
    if len(members) < 2:
        return None
    counts: dict[str, Counter[str]] = {}
    for i in members:
        for name, cell in cells[i].items():
            if name not in first:
                counts.setdefault(name, Counter())[cell] += 1
    gains = {
        name: sum((count - 1) * _size(cell) for cell, count in values.items())
        for name, values in counts.items()
    }
    best = max(gains, key=lambda name: gains[name], default=None)
    return best if best is not None and gains[best] else None


def _cells(row: Mapping[str, Any], index: int) -> dict[str, str]:
    if not isinstance(row, Mapping):
        raise TypeError(f"row {index} is no mapping of names to values: {row!r:.60}")
    for name in row:
        if not isinstance(name, str):
            raise TypeError(f"row {index} calls a field {name!r}: JSON's names are text")
    return {name: _cell(name, value, index) for name, value in row.items()}


def _cell(name: str, value: Any, index: int) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name!r} of row {index} is nothing that JSON has: {error}") from None
    return f"{json.dumps(name, ensure_ascii=False)}: {text}"


def _joined(cells: Iterable[str]) -> str:
    return "{" + ", ".join(cells) + "}"


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
