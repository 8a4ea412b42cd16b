"""Which rows of a batch stand on the same pages, as a tree of groups.

Knows: each row's page ids. Cached pages are the radix tree's own, so rows share a prefix exactly
where their page ids are equal, and the tree need not be asked. Does not know tensors or layers.

    pages of A | 7 8 9 | 2 |              group 7 8 9: A, B, C
    pages of B | 7 8 9 | 4 5 | 6          group 4 5:      B, C
    pages of C | 7 8 9 | 4 5 | 1 3        what is left is each row's own: 2, 6, 1 3
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

PageIds = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class PrefixGroup:
    """A run of pages that some rows have at the same place.

    Attributes:
        rows: their indices, at least one.
        first_page: where in each row the run begins.
        page_ids: `(pages,)` the run; not empty.
    """

    rows: tuple[int, ...]
    first_page: int
    page_ids: PageIds


def prefix_groups(
    contexts: Sequence[PageIds], *, least_saved_pages: int, alone: frozenset[int] = frozenset()
) -> tuple[tuple[PrefixGroup, ...], tuple[int, ...]]:
    """Return the groups of a batch, and where each row's own part begins.

    A row's groups follow each other without gaps from its first page to its own part.

    Args:
        contexts: for each row, the ids of its whole pages that stand before its new tokens.
        least_saved_pages: a group must save at least so many page reads: (rows - 1) · pages.
        alone: rows whose last pages become a group even if nobody shares them.

    Returns:
        Groups, outer ones first; and for each row the index of the first page in no group.
    """
    # In lexical order, whoever shares a prefix stands side by side.
    order = sorted(range(len(contexts)), key=lambda row: contexts[row].astype(">i8").tobytes())
    common = [_common_pages(contexts[a], contexts[b]) for a, b in pairwise(order)]
    groups: list[PrefixGroup] = []
    own_from = [0] * len(contexts)
    stack = [(0, len(order), 0)] if order else []
    while stack:
        low, high, depth = stack.pop()
        rows = order[low:high]
        is_one = high - low == 1
        end = len(contexts[rows[0]]) if is_one else min(common[low : high - 1])
        is_worth = (
            rows[0] in alone if is_one else (high - low - 1) * (end - depth) >= least_saved_pages
        )
        if is_worth and end > depth:
            groups.append(PrefixGroup(tuple(rows), depth, contexts[rows[0]][depth:end]))
            depth = end
        if is_one:
            own_from[rows[0]] = depth
            continue
        # Between neighbours that share no more than all do, the tree forks.
        cuts = [low, *(at + 1 for at in range(low, high - 1) if common[at] == end), high]
        stack.extend((a, b, depth) for a, b in pairwise(cuts))
    return tuple(groups), tuple(own_from)


def _common_pages(a: PageIds, b: PageIds) -> int:
    count = min(len(a), len(b))
    differs = a[:count] != b[:count]
    first = int(differs.argmax()) if count else 0
    return first if count and differs[first] else count
