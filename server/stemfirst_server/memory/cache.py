"""Who owns each page of KV memory, and how a page changes hands.

Knows: that every page is free, held by a request, or cached in the tree. Does not know tensors
or requests: a request is seen only as the pages that it holds and the node that it has locked.

    from / to   free                    held                   cached
    free        –                       `take`                 never
    held        `give_back`             –                      `store` (was not there yet)
    cached      eviction, `flush`       never: a hit is a lock –

A slower tier behind this one listens to `on_evict`, and brings a run back as a request that
computed it would: `match`, `take`, write the KV to the pages taken, `store`, `release`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from stemfirst_server.memory.ages import Ages
from stemfirst_server.memory.node import Insertion, Match, Node, PageArray
from stemfirst_server.memory.radix import RadixTree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from stemfirst_server.memory.eviction import Eviction
    from stemfirst_server.memory.node import EvictedRun

_FREE, _HELD, _CACHED = 0, 1, 2
_OWNERS = (b"\0", b"\1", b"\2")


class PageCache:
    """Pages and their owners.

    Invariant: every page is free, held by a request, or cached: never two of these, never none.
    Not thread-safe: one thread owns it.

    Attributes:
        free_pages: pages that nobody owns.
        ages: how long evicted pages had not been used; its owner notes the time now and then.
        on_evict: told each run that is evicted for others, while its pages still hold its KV;
            must not call back.
    """

    def __init__(self, *, pages: int, page: int, eviction: Eviction | None = None) -> None:
        self.page = page
        self.pages = pages
        self.tree = RadixTree(page, eviction)
        self.evicted_pages = 0
        self.ages = Ages()
        self.tree.on_age = self._aged
        self.on_evict: Callable[[EvictedRun], None] | None = None
        # A stack: the first `free_pages` entries.
        self._free: PageArray = np.arange(pages - 1, -1, -1, dtype=np.int32)
        self.free_pages = pages
        self._owner = np.zeros(pages, dtype=np.int8)

    @property
    def cached_pages(self) -> int:
        """Pages in the tree, locked or not."""
        return self.tree.pages

    @property
    def held_pages(self) -> int:
        """Pages that belong to requests alone."""
        return self.pages - self.free_pages - self.cached_pages

    @property
    def available_pages(self) -> int:
        """Pages that `take` could give now."""
        return self.free_pages + self.tree.evictable_pages

    def _aged(self, last_used: int, pages: int) -> None:
        self.ages.evicted(last_used, pages, time.perf_counter())

    def match(self, namespace: str, data: bytes, *, limit_tokens: int) -> Match:
        """Return the longest cached prefix of `data`, its end node **locked** for the caller."""
        return self.tree.match(namespace, data, limit_tokens=limit_tokens, is_locked=True)

    def take(self, count: int) -> PageArray | None:
        """Return `count` pages, now held by the caller, evicting if need be; None if too few."""
        if count > self.available_pages:
            return None
        missing = count - self.free_pages
        if missing > 0:
            evicted = self.tree.evict(missing, self.on_evict)
            assert len(evicted) == missing, "evictable pages can be evicted"
            self.evicted_pages += len(evicted)
            self._free_all(evicted, _CACHED)
        left = self.free_pages - count
        taken = self._free[left : self.free_pages][::-1].copy()
        self.free_pages = left
        self._move(taken, _FREE, _HELD)
        return taken

    def give_back(self, pages: PageArray) -> None:
        """Free pages that the caller held."""
        self._free_all(pages, _HELD)

    def store(
        self, namespace: str, data: bytes, pages: PageArray, *, node: Node, held_from: int
    ) -> Insertion:
        """Cache a run of whole pages and move the caller's lock to its end.

        Args:
            namespace: the tree to add to.
            data: the tokens of `pages`.
            pages: the caller's row; **rewritten in place** to the tree's pages where the tree
                had the run already, and the duplicates are freed.
            node: the node that the caller has locked, on the way of `data`.
            held_from: index in `pages` from which they are the caller's own; the earlier ones
                are cached already, under `node`.
        """
        done = self.tree.insert(namespace, data, pages, grown=node)
        self.tree.lock(done.node, below=node)
        had = done.existing_pages
        if had > held_from:
            duplicates = pages[held_from:had].copy()
            pages[:had] = self.tree.path_pages(done.node)[:had]
            self._free_all(duplicates, _HELD)
        self._move(pages[max(had, held_from) :], _HELD, _CACHED)
        return done

    def release(self, node: Node) -> None:
        """Undo the lock of a `match` or `store`."""
        self.tree.unlock(node)

    def flush(self, *, is_told: bool = False) -> int:
        """Free every cached page that no request uses; return their number.

        Args:
            is_told: tell `on_evict`, to keep the runs elsewhere: before the server ends. Without
                it they are gone.
        """
        on_evict = self.on_evict if is_told else None
        evicted = self.tree.evict(self.tree.evictable_pages, on_evict)
        self._free_all(evicted, _CACHED)
        return len(evicted)

    def trim(self, belongs: Callable[[str], bool], most_pages: int) -> int:
        """Free what some namespaces used longest ago until they hold no more; return the pages."""
        evicted = self.tree.trim(belongs, most_pages, self.on_evict)
        self.evicted_pages += len(evicted)
        self._free_all(evicted, _CACHED)
        return len(evicted)

    def check(self, held: Iterable[PageArray]) -> None:
        """Every page is free, held by a request, or cached: never two of these, never none.

        Args:
            held: the pages that each request says it holds alone.
        """
        self.tree.check()
        owners = np.full(self.pages, -1, dtype=np.int8)
        for owner, groups in (
            (_FREE, [self._free[: self.free_pages]]),
            (_HELD, list(held)),
            (_CACHED, [node.pages for node in self.tree.nodes()]),
        ):
            for group in groups:
                assert (owners[group] == -1).all(), "a page has one owner"
                assert len(np.unique(group)) == len(group), "a page is listed once"
                owners[group] = owner
        assert (owners != -1).all(), "no page is lost"
        assert (owners == self._owner).all(), "the ledger agrees"

    def _move(self, pages: PageArray, before: int, after: int) -> None:
        # As bytes: numpy's own comparison and `all` take three times as long for a few pages.
        owners = self._owner.take(pages).tobytes()
        assert owners == _OWNERS[before] * len(pages), "a page changes hands from its owner"
        self._owner[pages] = after

    def _free_all(self, pages: PageArray, before: int) -> None:
        self._move(pages, before, _FREE)
        end = self.free_pages + len(pages)
        self._free[self.free_pages : end] = pages[::-1]
        self.free_pages = end
