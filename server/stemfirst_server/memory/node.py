"""What the radix tree is made of, and what it answers.

Knows: the fields, and how two runs compare. Does not know how they change; the tree does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

TOKEN_BYTES = 4
PageArray = npt.NDArray[np.int32]


class Node:
    """One edge of the tree with the pages of its tokens; a handle that requests may keep.

    Attributes:
        key: the edge's tokens as bytes; a whole number of pages.
        pages: `(len(key) / page bytes,)`, owned by this node; read-only, replaced as a whole.
        locks: requests that use this node or one below it.
        last_used: the tree's clock when it was last matched or inserted.
        ranked_at: `last_used` when it was last ranked for eviction.
        uses: requests that it served, the one that computed it included.
        start_page: pages between the root and this node.
    """

    __slots__ = (
        "children",
        "is_queued",
        "key",
        "last_used",
        "locks",
        "namespace",
        "pages",
        "parent",
        "ranked_at",
        "start_page",
        "uses",
    )

    def __init__(
        self, key: bytes, pages: PageArray, parent: Node | None, namespace: str, last_used: int
    ) -> None:
        self.key = key
        self.pages = pages
        self.parent = parent
        self.namespace = namespace
        self.last_used = last_used
        self.children: dict[bytes, Node] = {}
        self.locks = 0
        self.is_queued = False
        self.uses = 1
        self.ranked_at = -1
        self.start_page: int = 0 if parent is None else parent.start_page + len(parent.pages)


class Match(NamedTuple):
    """The longest cached prefix of a prompt.

    A tuple, not a dataclass: making a frozen one costs as much as comparing 6,000 tokens.

    Attributes:
        tokens: its length; whole pages.
        pages: its pages in order; read-only.
        node: the node at its end; lock it before anything else can evict.
    """

    tokens: int
    pages: PageArray
    node: Node


class Insertion(NamedTuple):
    """The outcome of an insert.

    Attributes:
        node: the node at the end of the inserted run.
        existing_pages: how many leading pages the tree had already. Their duplicates, as far
            as the caller's pages differ from the tree's, remain the caller's to free.
    """

    node: Node
    existing_pages: int


@dataclass(frozen=True, slots=True, eq=False)
class EvictedRun:
    """A run that is about to leave the tree; its pages hold its KV until the listener returns.

    Attributes:
        namespace: the tree that it stands in.
        data: the tokens from the root to its end.
        pages: `(n,)` the pages of the last `n` pages of `data`; what stands before stays cached.
        uses: requests that it served.
    """

    namespace: str
    data: bytes
    pages: PageArray
    uses: int


def common_bytes(key: bytes, data: bytes, offset: int, end: int) -> int:
    """Return how many leading bytes of `key` stand in `data[offset:end]`, in whole tokens."""
    tokens = min(len(key), end - offset) // TOKEN_BYTES
    if tokens <= 0:
        return 0
    ours = np.frombuffer(key, np.int32, tokens)
    theirs = np.frombuffer(data, np.int32, tokens, offset)
    differs = ours != theirs
    first = int(differs.argmax())
    return (first if differs[first] else tokens) * TOKEN_BYTES
