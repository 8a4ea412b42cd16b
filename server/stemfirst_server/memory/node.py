"""What the radix tree is made of, and what it answers.

Knows: the fields. Does not know how they change; the tree does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

TOKEN_BYTES = 4
PageArray = npt.NDArray[np.int32]


class Node:
    """One edge of the tree with the pages of its tokens; a handle that requests may keep.

    Attributes:
        key: the edge's tokens as bytes; a whole number of pages.
        pages: `(len(key) / page bytes,)`, owned by this node.
        locks: requests that use this node or one below it.
        last_used: the tree's clock when it was last matched or inserted.
        uses: requests that it served, the one that computed it included.
        rank: the lower, the sooner it goes; as of its last use.
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
        "rank",
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
        self.rank = 0.0
        self.start_page: int = 0 if parent is None else parent.start_page + len(parent.pages)


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """The longest cached prefix of a prompt.

    Attributes:
        tokens: its length; whole pages.
        pages: its pages in order; a copy.
        node: the node at its end; lock it before anything else can evict.
        divergence_token: the first token that is not cached: exact to the token, seen among the
            newest branches there.
        is_diverged: the tree holds other tokens there; False if what is cached just ends.
    """

    tokens: int
    pages: PageArray
    node: Node
    divergence_token: int
    is_diverged: bool


@dataclass(frozen=True, slots=True, eq=False)
class Insertion:
    """The outcome of an insert.

    Attributes:
        node: the node at the end of the inserted run.
        existing_pages: how many leading pages the tree had already. Their duplicates, as far
            as the caller's pages differ from `tree_pages`, remain the caller's to free.
        tree_pages: the tree's own pages for that leading part.
    """

    node: Node
    existing_pages: int
    tree_pages: PageArray


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
