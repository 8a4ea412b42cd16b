"""The radix tree against SGLang's simulated RadixCache, operation by operation.

Knows: random requests over a two-letter alphabet, so that prefixes repeat. Each operation is done
to both: match with a lock, insert, unlock, eviction of the leaf that ours chose. After each, the
matched tokens, the slots behind them, and the sizes of what is locked and what can be evicted
have to be equal; now and then everything in both is compared, and `check()` called. Runs where
SGLang is installed (`benchmarks/sglang_radix.py`); ours needs numpy alone:

    PYTHONPATH=server PYTHON benchmarks/tree_differential.py --operations 1000000
"""

from __future__ import annotations

import argparse
import random
import time
from array import array
from typing import Any

import numpy as np
import torch
from sglang_radix import EvictParams, InsertParams, MatchPrefixParams, RadixCache, RadixKey
from stemfirst_server.memory.node import Node
from stemfirst_server.memory.radix import RadixTree

MOST_TOKENS = 24
MOST_HELD = 6


class _Allocator:
    """Takes what SGLang frees."""

    device = "cpu"

    def __init__(self) -> None:
        self.freed: list[int] = []

    def free_segment(self, slots: torch.Tensor, start_pos: int = 0) -> None:
        self.freed += slots.tolist()


class _Chosen:
    """An eviction order of SGLang's that takes the leaf that ours took."""

    def __init__(self) -> None:
        self.path: tuple[int, ...] = ()

    def get_priority(self, node: Any) -> int:
        return int(_theirs_path(node) != self.path)


def _theirs_path(node: Any) -> tuple[int, ...]:
    keys = []
    while node.parent is not None:
        keys.append(node.key.token_ids.tolist())
        node = node.parent
    return tuple(token for key in reversed(keys) for token in key)


class Pair:
    """Both trees, and the requests that hold locks in both.

    Invariant: they hold the same runs with the same slots, cut at the same places.
    """

    def __init__(self, page: int, seed: int) -> None:
        self.page = page
        self.random = random.Random(seed)
        self.ours = RadixTree(page)
        self.allocator = _Allocator()
        self.theirs = RadixCache.create_simulated(page_size=page, mock_allocator=self.allocator)
        self.chosen = self.theirs.eviction_strategy = _Chosen()
        self.held: list[tuple[list[int], Node, Any]] = []
        self.next_page = 0

    def step(self) -> None:
        """Do one random operation to both, and compare."""
        kind = self.random.random()
        if kind < 0.35:
            self.match()
        elif kind < 0.75:
            self.insert()
        elif kind < 0.9 and self.held:
            _, node, other = self.held.pop(self.random.randrange(len(self.held)))
            self.ours.unlock(node)
            self.theirs.dec_lock_ref(other)
        else:
            self.evict()
        assert self.ours.evictable_pages * self.page == self.theirs.evictable_size()
        assert self.ours.locked_pages * self.page == self.theirs.protected_size()

    def tokens(self) -> list[int]:
        """Return a prompt; some continue one that is held."""
        continues = self.held and self.random.random() < 0.3
        start = self.random.choice(self.held)[0] if continues else []
        return start + self.random.choices((0, 1), k=self.random.randint(0, MOST_TOKENS))

    def match(self) -> None:
        """Match in both, and hold what was found if there is room."""
        tokens = self.tokens()
        found = self.ours.match("", _bytes(tokens), is_locked=len(self.held) < MOST_HELD)
        other = self.theirs.match_prefix(MatchPrefixParams(key=RadixKey(array("q", tokens))))
        assert found.tokens == other.device_prefix_len, tokens
        node = other.last_device_node
        assert self.slots(found.pages) == self.theirs.path_device_indices(node).tolist()
        assert self.ours.path_data(found.node) == _bytes(list(_theirs_path(node)))
        if len(self.held) < MOST_HELD:
            self.theirs.inc_lock_ref(node)
            self.held.append((tokens, found.node, node))

    def insert(self) -> None:
        """Insert the same run in both."""
        tokens = self.tokens()
        count = len(tokens) // self.page
        pages = np.arange(self.next_page, self.next_page + count, dtype=np.int32)
        self.next_page += count
        done = self.ours.insert("", _bytes(tokens[: count * self.page]), pages)
        other = self.theirs.insert(
            InsertParams(
                key=RadixKey(array("q", tokens)),
                value=torch.tensor(self.slots(pages), dtype=torch.int64),
            )
        )
        assert done.existing_pages * self.page == other.prefix_len, tokens

    def evict(self) -> None:
        """Evict a leaf of ours, and the same of theirs."""
        told: list[tuple[bytes, list[int]]] = []
        leaves = [n for n in self.ours.nodes() if not n.children and not n.locks]
        if not leaves:
            assert self.ours.evict(1).tolist() == []
            assert not self.theirs.evictable_leaves
            return
        # The whole of the least recently used leaf: SGLang evicts no part of one.
        oldest = min(leaves, key=lambda node: node.last_used)
        self.ours.evict(len(oldest.pages), lambda run: told.append((run.data, run.pages.tolist())))
        assert len(told) == 1, "a leaf at a time"
        data, pages = told[0]
        self.chosen.path = tuple(np.frombuffer(data, np.int32).tolist())
        self.allocator.freed.clear()
        self.theirs.evict(EvictParams(num_tokens=1))
        assert self.allocator.freed == self.slots(np.array(pages, dtype=np.int32))

    def compare(self) -> None:
        """Compare everything in both."""
        self.ours.check()
        ours = {
            (self.ours.path_data(node), tuple(self.slots(node.pages)), node.locks)
            for node in self.ours.nodes()
        }
        theirs, stack = set(), list(self.theirs.root_node.children.values())
        while stack:
            node = stack.pop()
            stack += node.children.values()
            path = _bytes(list(_theirs_path(node)))
            theirs.add((path, tuple(node.value.tolist()), node.lock_ref))
        assert ours == theirs

    def slots(self, pages: np.ndarray) -> list[int]:
        """Return the token slots of pages, which is what SGLang holds."""
        page = self.page
        return [int(at) * page + offset for at in pages for offset in range(page)]


def _bytes(tokens: list[int]) -> bytes:
    return np.array(tokens, dtype=np.int32).tobytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--operations", type=int, default=1_000_000)
    parser.add_argument("--each", type=int, default=2000, help="operations on one pair of trees")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    done = 0
    while done < given.operations:
        seed = given.seed * 1_000_003 + done
        pair = Pair((1, 2, 4)[done // given.each % 3], seed)
        try:
            for number in range(given.each):
                pair.step()
                if number % 100 == 99:
                    pair.compare()
        except AssertionError as error:
            raise SystemExit(f"they differ: page {pair.page}, seed {seed}: {error!r}") from error
        done += given.each
    seconds = time.perf_counter() - started
    print(f"{done} operations on both, no difference, {seconds:.0f} s")


if __name__ == "__main__":
    main()
