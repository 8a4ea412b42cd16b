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
from stemfirst_server.memory.leaves import LeafQueue, is_evictable_leaf
from stemfirst_server.memory.node import (
    TOKEN_BYTES,
    EvictedRun,
    Insertion,
    Match,
    Node,
    PageArray,
    common_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stemfirst_server.memory.eviction import Eviction

_NO_PAGES: PageArray = np.empty(0, dtype=np.int32)
_NO_PAGES.flags.writeable = False

# A shared system prompt may have thousands of continuations.
_NEIGHBOURS_COMPARED = 64


class RadixTree:
    """Token runs to pages, by namespace.

    Invariant: `evictable_pages + locked_pages == pages`; each page stands in one node only.
    Not thread-safe: one thread owns it.

    Attributes:
        on_age: told the last use, in ticks of `clock`, and the pages of each run evicted.
    """

    def __init__(self, page: int, eviction: Eviction | None = None) -> None:
        self.page = page
        self._eviction = eviction or Recency()
        self._page_bytes = page * TOKEN_BYTES
        self._roots: dict[str, Node] = {}
        self._clock = 0
        self.on_age: Callable[[int, int], None] | None = None
        self._leaves = LeafQueue(self._eviction, page)
        self.pages = 0
        self.locked_pages = 0

    @property
    def evictable_pages(self) -> int:
        """Pages that `evict` could give back now."""
        return self.pages - self.locked_pages

    def lookup(self, namespace: str, data: bytes, *, limit_tokens: int | None = None) -> int:
        """Return how many tokens of `data` are cached, in whole pages; changes nothing."""
        root = self._roots.get(namespace)
        if root is None:
            return 0
        _, offset, _, tail_bytes = self._walk(root, data, self._whole_bytes(data, limit_tokens))
        return (offset + tail_bytes) // TOKEN_BYTES

    def neighbour(self, namespace: str, data: bytes) -> tuple[int, bytes]:
        """Return how many tokens the nearest run shares with `data`, and that run; read-only.

        Seen among the newest branches where the two part; a run ends with its node.
        """
        root = self._roots.get(namespace)
        if root is None:
            return 0, b""
        end, offset, tail, _ = self._walk(root, data, self._whole_bytes(data, None))
        nearest, shared = b"", 0
        newest = islice(reversed(end.children.values()), _NEIGHBOURS_COMPARED)
        for child in (tail,) if tail is not None else newest:
            common = common_bytes(child.key, data, offset, min(len(data), offset + len(child.key)))
            if not nearest or common > shared:
                nearest, shared = child.key, common
        return (offset + shared) // TOKEN_BYTES, data[:offset] + nearest

    def match(
        self,
        namespace: str,
        data: bytes,
        *,
        limit_tokens: int | None = None,
        is_locked: bool = False,
    ) -> Match:
        """Return the longest cached prefix; **splits** a node that matches in part.

        Marks everything on the way as just used.

        Args:
            namespace: the tree to search.
            data: the prompt.
            limit_tokens: match no more than this: a request computes its last token even if it
                is cached.
            is_locked: `lock` the node at the end, on the same way.
        """
        root = self._roots.get(namespace) or self._new_root(namespace)
        end, offset, tail, tail_bytes = self._walk(
            root, data, self._whole_bytes(data, limit_tokens)
        )
        self._clock = clock = self._clock + 1
        if tail is not None and tail_bytes:
            end = self._split(tail, tail_bytes)
            offset += tail_bytes
        runs = []
        step = end
        while (parent := step.parent) is not None:
            step.last_used = clock
            runs.append(step.pages)
            if is_locked:
                if not step.locks:
                    self.locked_pages += len(step.pages)
                step.locks += 1
            step = parent
        root.locks += is_locked
        if len(runs) == 1:
            pages = runs[0]
        else:
            runs.reverse()
            pages = np.concatenate(runs) if runs else _NO_PAGES
        return Match(offset // TOKEN_BYTES, pages, end)

    def insert(
        self, namespace: str, data: bytes, pages: PageArray, *, grown: Node | None = None
    ) -> Insertion:
        """Add a run of whole pages; may split. The tree takes the pages that it did not have.

        Args:
            namespace: the tree to add to.
            data: the tokens; a part of a page at the end is ignored.
            pages: `(whole pages of data,)`; copied.
            grown: a node that the caller has locked. If it ends where the new run begins and
                nobody else ever used it, it is made longer: what a request computes chunk by
                chunk stays one node, which is matched at one go.
        """
        end_bytes = len(data) - len(data) % self._page_bytes
        assert len(pages) * self._page_bytes == end_bytes, "one page index per whole page"
        root = self._roots.get(namespace) or self._new_root(namespace)
        end, offset, tail, tail_bytes = self._walk(root, data, end_bytes)
        self._clock = clock = self._clock + 1
        if tail is not None and tail_bytes:
            end = self._split(tail, tail_bytes)
            offset += tail_bytes
        existing = offset // self._page_bytes
        if offset < end_bytes:
            rest, added = data[offset:end_bytes], pages[existing:]
            self.pages += len(added)
            if end is grown and _is_growable(end):
                self.locked_pages += len(added)
                end.key += rest
                end.pages = _own(np.concatenate([end.pages, added]))
            else:
                leaf = Node(rest, _own(added.copy()), end, namespace, clock)
                end.children[rest[: self._page_bytes]] = leaf
                self._leaves.add(leaf)
                end = leaf
        step: Node | None = end
        while step is not None:
            step.last_used = clock
            step = step.parent
        return Insertion(end, existing)

    def path_pages(self, node: Node) -> PageArray:
        """Return the pages from the root to the end of a node."""
        return np.concatenate([_NO_PAGES, *(step.pages for step in reversed(_path(node)))])

    def path_data(self, node: Node) -> bytes:
        """Return the tokens from the root to the end of a node."""
        return b"".join(step.key for step in reversed(_path(node)))

    def count_use(self, node: Node) -> None:
        """Note that a request is served by a node and all above it; once for each request."""
        for step in _path(node):
            step.uses += 1

    def lock(self, node: Node, *, below: Node | None = None) -> None:
        """Keep a node and all above it from eviction.

        Args:
            node: the node.
            below: a node above it, whose lock the caller has already: it is moved, so that one
                `unlock(node)` undoes both.
        """
        step: Node | None = node
        while step is not below:
            assert step is not None, "a lock moves down its own path"
            if not step.locks:
                self.locked_pages += len(step.pages)
            step.locks += 1
            step = step.parent

    def unlock(self, node: Node) -> None:
        """Undo one `lock` of this node."""
        step = node
        while True:
            assert step.locks > 0, "unlocked more often than locked"
            step.locks -= 1
            parent = step.parent
            if parent is None:
                break
            if not step.locks:
                self.locked_pages -= len(step.pages)
                if not step.children and not step.is_queued:
                    self._leaves.add(step)
            step = parent
        if not step.children and not step.locks:
            del self._roots[step.namespace]

    @property
    def clock(self) -> int:
        """Matches and inserts so far."""
        return self._clock

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
        while missing > 0 and (lowest := self._leaves.pop()) is not None:
            rank, node = lowest
            self._eviction.evicted(rank)
            if self.on_age is not None:
                self.on_age(node.last_used, min(missing, len(node.pages)))
            if on_evict is not None:
                last = node.pages[-missing:].copy()
                on_evict(EvictedRun(node.namespace, self.path_data(node), last, node.uses))
            if len(node.pages) > missing:
                keep = len(node.pages) - missing
                gained.append(node.pages[keep:].copy())
                node.pages = _own(node.pages[:keep].copy())
                node.key = node.key[: keep * self._page_bytes]
                self.pages -= missing
                missing = 0
                self._leaves.add(node)
                continue
            gained.append(node.pages)
            missing -= len(node.pages)
            self._remove_leaf(node)
        return np.concatenate(gained) if gained else _NO_PAGES

    def namespaces(self) -> tuple[str, ...]:
        """Return the namespaces that hold something."""
        return tuple(self._roots)

    def root_locks(self) -> tuple[int, ...]:
        """Return how many locks are held in each namespace."""
        return tuple(root.locks for root in self._roots.values())

    def trim(
        self,
        belongs: Callable[[str], bool],
        most_pages: int,
        on_evict: Callable[[EvictedRun], None] | None = None,
    ) -> PageArray:
        """Remove the least recently used leaves of some namespaces until they hold no more.

        What is locked stays, so they may hold more nevertheless.

        Args:
            belongs: whether a namespace is one of them.
            most_pages: of all of them together.
            on_evict: told each run before it goes; must leave the tree as it is.

        Returns:
            The pages given up.
        """
        own = [node for node in self.nodes() if belongs(node.namespace)]
        surplus = sum(len(node.pages) for node in own) - most_pages
        leaves = [(node.last_used, index, node) for index, node in enumerate(own)]
        heapq.heapify(leaves)
        gained: list[PageArray] = [_NO_PAGES]
        while surplus > 0 and leaves:
            _, index, node = heapq.heappop(leaves)
            if not is_evictable_leaf(node):
                continue  # locked, or it comes again when its last child is gone
            keep = max(0, len(node.pages) - surplus)
            gone, parent = node.pages[keep:].copy(), node.parent
            if on_evict is not None:
                on_evict(EvictedRun(node.namespace, self.path_data(node), gone, node.uses))
            gained.append(gone)
            surplus -= len(gone)
            if keep:
                node.pages = _own(node.pages[:keep].copy())
                node.key = node.key[: keep * self._page_bytes]
                self.pages -= len(gone)
            else:
                self._remove_leaf(node)
                assert parent is not None
                heapq.heappush(leaves, (parent.last_used, -1 - index, parent))
        return np.concatenate(gained)

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
            assert not node.pages.flags.writeable, "a match hands out the node's own pages"
            assert node.pages.base is None, "pages are the node's own copy"
            assert seen.isdisjoint(node.pages.tolist()), "a page stands in one node only"
            seen.update(node.pages.tolist())
            total += len(node.pages)
            locked += len(node.pages) if node.locks else 0
            if is_evictable_leaf(node):
                assert node.is_queued, "every evictable leaf can be found"
        assert len(seen) == total == self.pages
        assert locked == self.locked_pages

    def _new_root(self, namespace: str) -> Node:
        root = self._roots[namespace] = Node(b"", _NO_PAGES, None, namespace, self._clock)
        return root

    def _whole_bytes(self, data: bytes, limit_tokens: int | None) -> int:
        end = len(data)
        if limit_tokens is not None:
            end = min(end, limit_tokens * TOKEN_BYTES)
        return end - end % self._page_bytes

    def _walk(self, root: Node, data: bytes, end: int) -> tuple[Node, int, Node | None, int]:
        """Return how far `data[:end]` is cached, in whole pages.

        Returns:
            The last node that matches whole and the bytes up to its end; then the child that
            matches in part, and the bytes of it that do.
        """
        node, offset, size = root, 0, self._page_bytes
        while offset < end:
            child = node.children.get(data[offset : offset + size])
            if child is None:
                break
            key = child.key
            behind = offset + len(key)
            if behind > end or not data.startswith(key, offset):
                common = common_bytes(key, data, offset, end)
                return node, offset, child, common - common % size
            node, offset = child, behind
        return node, offset, None, 0

    def _split(self, node: Node, front_bytes: int) -> Node:
        # before: parent ─ [ front | tail ]=node        after: parent ─ front(new) ─ tail=node
        parent = node.parent
        assert parent is not None
        front_pages = front_bytes // self._page_bytes
        front = Node(
            node.key[:front_bytes],
            _own(node.pages[:front_pages].copy()),
            parent,
            node.namespace,
            node.last_used,
        )
        front.locks, front.uses = node.locks, node.uses
        node.start_page = front.start_page + front_pages
        parent.children[node.key[: self._page_bytes]] = front
        node.key = node.key[front_bytes:]
        node.pages = _own(node.pages[front_pages:].copy())
        node.parent = front
        front.children[node.key[: self._page_bytes]] = node
        return front

    def _remove_leaf(self, node: Node) -> None:
        parent = node.parent
        assert parent is not None
        del parent.children[node.key[: self._page_bytes]]
        node.parent = None
        self.pages -= len(node.pages)
        self._leaves.add(parent)
        self._drop_empty_root(node.namespace)

    def _drop_empty_root(self, namespace: str) -> None:
        root = self._roots.get(namespace)
        if root is not None and not root.children and root.locks == 0:
            del self._roots[namespace]


def _path(node: Node) -> list[Node]:
    """Return a node and all above it, the root left out."""
    path = []
    step = node
    while step.parent is not None:
        path.append(step)
        step = step.parent
    return path


def _is_growable(node: Node) -> bool:
    is_own = node.locks == 1 and node.uses == 1
    return is_own and not node.children and node.parent is not None


def _own(pages: PageArray) -> PageArray:
    """Return a node's pages as such: a match hands them out, and nobody may write to them."""
    pages.flags.writeable = False
    return pages
