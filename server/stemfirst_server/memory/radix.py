"""A radix tree from token runs to KV pages: the index of everything cached.

Knows: which pages hold the KV of which token runs, how recently each was used, and which are
locked by requests. Does not know tensors, requests, or who owns a page that is not in the tree.

Keys are raw little-endian int32 bytes and are compared whole with `startswith`, at memory speed;
nothing is hashed but the first page of an edge, to find the child. Identity is always the exact
comparison of token ids inside one namespace, and each namespace is a root of its own.

    root ── "You are a support agent…" (12 pages) ─┬─ "Anna: where is…" (3 pages)
                                                   └─ "Ben: I would…"   (2 pages)

Rules, each with its test:
- Whole pages only. An edge holds at least one page; roots hold none and are never evicted.
- A lock covers the node and every node above it. Unlocked pages are evictable, leaves first.
- On a split the new node takes the *front*, with copies of locks and recency; the old object
  stays the tail, so that handles to it stay good.
- Page arrays are copied on insert and split: a view would keep its whole base alive.
"""

from __future__ import annotations

import heapq
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from stemfirst_server.memory.eviction import Recency
from stemfirst_server.memory.node import (
    TOKEN_BYTES,
    EvictedRun,
    Insertion,
    Match,
    Node,
    PageArray,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stemfirst_server.memory.eviction import Eviction

# A shared system prompt may have thousands of continuations; comparing a first page takes 1 µs.
_SIBLINGS_COMPARED = 64

_NO_PAGES: PageArray = np.empty(0, dtype=np.int32)
_NO_PAGES.flags.writeable = False


class RadixTree:
    """Token runs to pages, by namespace.

    Invariant: `evictable_pages + locked_pages == pages`; each page stands in one node only.
    Not thread-safe: one thread owns it.
    """

    def __init__(self, page: int, eviction: Eviction | None = None) -> None:
        self.page = page
        self._eviction = eviction or Recency()
        self._page_bytes = page * TOKEN_BYTES
        self._roots: dict[str, Node] = {}
        self._clock = 0
        self._ties = 0
        # At most one entry a node: (rank when queued, tie-break, node). Entries go stale
        # when a node is used, locked or gets children; `evict` sorts that out as it pops.
        self._queue: list[tuple[float, int, Node]] = []
        self.pages = 0
        self.locked_pages = 0

    @property
    def evictable_pages(self) -> int:
        """Pages that `evict` could give back now."""
        return self.pages - self.locked_pages

    def lookup(self, namespace: str, data: bytes) -> int:
        """Return how many tokens of `data` are cached, in whole pages; changes nothing."""
        root = self._roots.get(namespace)
        if root is None:
            return 0
        path, tail, tail_bytes = self._walk(root, data)
        matched = sum(len(node.key) for node in path) + (tail_bytes if tail is not None else 0)
        return matched // TOKEN_BYTES

    def match(self, namespace: str, data: bytes, *, limit_tokens: int | None = None) -> Match:
        """Return the longest cached prefix; **splits** a node that matches in part.

        Marks everything on the way as just used.

        Args:
            namespace: the tree to search.
            data: the prompt.
            limit_tokens: match no more than this, though the divergence is sought behind it: a
                request computes its last token even if it is cached.
        """
        root = self._root(namespace)
        limited = data if limit_tokens is None else data[: limit_tokens * TOKEN_BYTES]
        path, tail, tail_bytes = self._walk(root, limited)
        self._clock += 1
        if tail is not None and tail_bytes:
            path.append(self._split(tail, tail_bytes))
        for node in path:
            self._touch(node)
        end = path[-1] if path else root
        pages = np.concatenate([node.pages for node in path]) if path else _NO_PAGES
        tokens = len(pages) * self.page
        offset = tokens * TOKEN_BYTES
        common_bytes = self._common_beyond(end, data, offset)
        return Match(
            tokens=tokens,
            pages=pages,
            node=end,
            divergence_token=tokens + common_bytes // TOKEN_BYTES,
            is_diverged=bool(end.children) and len(data) > offset + common_bytes,
        )

    def insert(self, namespace: str, data: bytes, pages: PageArray) -> Insertion:
        """Add a run of whole pages; may split. The tree takes the pages that it did not have.

        Args:
            namespace: the tree to add to.
            data: the tokens; a part of a page at the end is ignored.
            pages: `(whole pages of data,)`; copied.
        """
        data = data[: len(data) - len(data) % self._page_bytes]
        assert len(pages) * self._page_bytes == len(data), "one page index per whole page"
        root = self._root(namespace)
        path, tail, tail_bytes = self._walk(root, data)
        self._clock += 1
        if tail is not None and tail_bytes:
            path.append(self._split(tail, tail_bytes))
        for node in path:
            self._touch(node)
        end = path[-1] if path else root
        existing = np.concatenate([node.pages for node in path]) if path else _NO_PAGES
        if len(existing) < len(pages):
            rest = data[len(existing) * self._page_bytes :]
            leaf = Node(rest, pages[len(existing) :].copy(), end, namespace, self._clock)
            end.children[rest[: self._page_bytes]] = leaf
            self._touch(leaf)
            self.pages += len(leaf.pages)
            self._enqueue(leaf)
            end = leaf
        return Insertion(node=end, existing_pages=len(existing), tree_pages=existing)

    def count_use(self, node: Node) -> None:
        """Note that a request is served by a node and all above it; once for each request."""
        step: Node | None = node
        while step is not None and step.parent is not None:
            step.uses += 1
            self._rank(step)
            step = step.parent

    def lock(self, node: Node) -> None:
        """Keep a node and all above it from eviction."""
        step: Node | None = node
        while step is not None:
            if step.locks == 0:
                self.locked_pages += len(step.pages)
            step.locks += 1
            step = step.parent

    def unlock(self, node: Node) -> None:
        """Undo one `lock` of this node."""
        step: Node | None = node
        while step is not None:
            assert step.locks > 0, "unlocked more often than locked"
            step.locks -= 1
            if step.locks == 0:
                self.locked_pages -= len(step.pages)
                self._enqueue(step)
            step = step.parent
        self._drop_empty_root(node.namespace)

    def evict(self, pages: int, on_evict: Callable[[EvictedRun], None] | None = None) -> PageArray:
        """Remove the lowest leaves in rank until `pages` are gained or nothing more can go.

        A leaf goes from its end, so what remains of it stays a prefix.

        Args:
            pages: how many are wanted.
            on_evict: told each run before it goes; must leave the tree as it is.

        Returns:
            The pages given up; at most `pages`.
        """
        gained: list[PageArray] = []
        missing = pages
        while missing > 0 and self._queue:
            queued_at, _, node = heapq.heappop(self._queue)
            node.is_queued = False
            if not self._is_evictable_leaf(node):
                continue
            if queued_at != node.rank:
                self._enqueue(node)
                continue
            self._eviction.evicted(node.rank)
            if on_evict is not None:
                last = node.pages[-missing:].copy()
                on_evict(EvictedRun(node.namespace, self.path_data(node), last, node.uses))
            if len(node.pages) > missing:
                keep = len(node.pages) - missing
                gained.append(node.pages[keep:].copy())
                node.pages = node.pages[:keep].copy()
                node.key = node.key[: keep * self._page_bytes]
                self.pages -= missing
                missing = 0
                self._enqueue(node)
                continue
            gained.append(node.pages)
            missing -= len(node.pages)
            self._remove_leaf(node)
        return np.concatenate(gained) if gained else _NO_PAGES

    def path_data(self, node: Node) -> bytes:
        """Return the tokens from the root to the end of a node."""
        keys: list[bytes] = []
        step: Node | None = node
        while step is not None:
            keys.append(step.key)
            step = step.parent
        return b"".join(reversed(keys))

    def namespaces(self) -> tuple[str, ...]:
        """Return the namespaces that hold something."""
        return tuple(self._roots)

    def root_locks(self) -> tuple[int, ...]:
        """Return how many locks are held in each namespace."""
        return tuple(root.locks for root in self._roots.values())

    def nodes(self) -> Iterator[Node]:
        """Yield every node below the roots, parents before children."""
        stack = list(self._roots.values())
        while stack:
            node = stack.pop()
            stack.extend(node.children.values())
            if node.parent is not None:
                yield node

    def check(self) -> None:
        """Assert the rules in the module's docstring; slow, for tests and for an idle server."""
        total = locked = 0
        seen: set[int] = set()
        for root in self._roots.values():
            assert not root.key, "roots hold no tokens"
            assert not len(root.pages), "roots hold no pages"
        for node in self.nodes():
            parent = node.parent
            assert parent is not None
            assert len(node.key) == len(node.pages) * self._page_bytes > 0, "whole pages"
            assert node.start_page == parent.start_page + len(parent.pages), "ends where it begins"
            assert parent.children[node.key[: self._page_bytes]] is node, "found by first page"
            assert parent.locks >= sum(child.locks for child in parent.children.values())
            is_top = parent.parent is None
            assert is_top or parent.last_used >= node.last_used, "a parent is used with its child"
            assert node.pages.base is None, "pages are the node's own copy"
            assert seen.isdisjoint(node.pages.tolist()), "a page stands in one node only"
            seen.update(node.pages.tolist())
            total += len(node.pages)
            locked += len(node.pages) if node.locks else 0
            if self._is_evictable_leaf(node):
                assert node.is_queued, "every evictable leaf can be found"
        assert len(seen) == total == self.pages
        assert locked == self.locked_pages

    def _touch(self, node: Node) -> None:
        node.last_used = self._clock
        self._rank(node)

    def _rank(self, node: Node) -> None:
        node.rank = self._eviction.rank(
            last_used=node.last_used,
            uses=node.uses,
            end_tokens=(node.start_page + len(node.pages)) * self.page,
        )

    def _root(self, namespace: str) -> Node:
        root = self._roots.get(namespace)
        if root is None:
            root = self._roots[namespace] = Node(b"", _NO_PAGES, None, namespace, self._clock)
        return root

    def _walk(self, root: Node, data: bytes) -> tuple[list[Node], Node | None, int]:
        """Return nodes matched whole, the node matched in part, and its matched bytes."""
        path: list[Node] = []
        node, offset, size = root, 0, self._page_bytes
        end = len(data) - len(data) % size
        while offset < end:
            child = node.children.get(data[offset : offset + size])
            if child is None:
                break
            if offset + len(child.key) > end or not data.startswith(child.key, offset):
                common = _common_bytes(child.key, data, offset)
                return path, child, common - common % size
            path.append(child)
            offset += len(child.key)
            node = child
        return path, None, 0

    def _common_beyond(self, node: Node, data: bytes, offset: int) -> int:
        """Return the most bytes, up to a page, that a child shares with `data` there."""
        count = min(self.page, len(data) // TOKEN_BYTES - offset // TOKEN_BYTES)
        if count <= 0 or not node.children:
            return 0
        if self.page == 1:
            return TOKEN_BYTES if data[offset : offset + TOKEN_BYTES] in node.children else 0
        # All at once: one by one, this would cost ten times the rest of a match.
        newest = b"".join(islice(reversed(node.children), _SIBLINGS_COMPARED))
        table = np.frombuffer(newest, np.int32).reshape(-1, self.page)[:, :count]
        differs = table != np.frombuffer(data, np.int32, count, offset)
        return int(np.where(differs.any(1), differs.argmax(1), count).max()) * TOKEN_BYTES

    def _split(self, node: Node, front_bytes: int) -> Node:
        # before: parent ─ [ front | tail ]=node        after: parent ─ front(new) ─ tail=node
        parent = node.parent
        assert parent is not None
        front_pages = front_bytes // self._page_bytes
        front = Node(
            node.key[:front_bytes],
            node.pages[:front_pages].copy(),
            parent,
            node.namespace,
            node.last_used,
        )
        front.locks, front.uses = node.locks, node.uses
        self._rank(front)
        node.start_page = front.start_page + front_pages
        parent.children[node.key[: self._page_bytes]] = front
        node.key = node.key[front_bytes:]
        node.pages = node.pages[front_pages:].copy()
        node.parent = front
        front.children[node.key[: self._page_bytes]] = node
        return front

    def _is_evictable_leaf(self, node: Node) -> bool:
        return node.parent is not None and node.locks == 0 and not node.children

    def _enqueue(self, node: Node) -> None:
        if self._is_evictable_leaf(node) and not node.is_queued:
            self._ties += 1
            heapq.heappush(self._queue, (node.rank, self._ties, node))
            node.is_queued = True

    def _remove_leaf(self, node: Node) -> None:
        parent = node.parent
        assert parent is not None
        del parent.children[node.key[: self._page_bytes]]
        node.parent = None
        self.pages -= len(node.pages)
        self._enqueue(parent)
        self._drop_empty_root(node.namespace)

    def _drop_empty_root(self, namespace: str) -> None:
        root = self._roots.get(namespace)
        if root is not None and not root.children and root.locks == 0:
            del self._roots[namespace]


def _common_bytes(key: bytes, data: bytes, offset: int) -> int:
    """Return how many leading bytes of `key` stand in `data` at `offset`, in whole tokens."""
    tokens = min(len(key), len(data) - offset) // TOKEN_BYTES
    if tokens <= 0:
        return 0
    ours = np.frombuffer(key, np.int32, tokens)
    theirs = np.frombuffer(data, np.int32, tokens, offset)
    differs = ours != theirs
    first = int(differs.argmax())
    return (first if differs[first] else tokens) * TOKEN_BYTES
