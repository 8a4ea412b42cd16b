"""The radix tree against a slow dictionary, and its rules one by one."""

from __future__ import annotations

from itertools import count, takewhile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from stemfirst_server.memory.cache import PageCache
from stemfirst_server.memory.divergence import Divergence, divergence
from stemfirst_server.memory.node import EvictedRun, Node
from stemfirst_server.memory.radix import RadixTree


def data(tokens: list[int]) -> bytes:
    return np.array(tokens, dtype=np.int32).tobytes()


def pages(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int32)


@pytest.fixture
def tree() -> RadixTree:
    return RadixTree(page=2)


def test_only_whole_pages_are_shared(tree: RadixTree) -> None:
    tree.insert("", data([1, 2, 3, 4, 5]), pages(7, 8))
    found = tree.match("", data([1, 2, 3, 9]))
    assert found.tokens == 2
    assert found.pages.tolist() == [7]


@pytest.mark.parametrize(
    ("prompt", "limit", "matched", "diverged"),
    [
        pytest.param([1, 2, 3, 9, 9], None, 2, Divergence(3, True), id="changed in a page"),
        pytest.param([1, 2, 3, 4, 5, 6], None, 4, Divergence(4, False), id="grown"),
        pytest.param([5, 5], None, 0, Divergence(0, True), id="new"),
        pytest.param([1, 2, 3, 4], 3, 2, Divergence(4, False), id="limited, all cached"),
    ],
)
def test_the_divergence_is_exact_to_the_token(
    tree: RadixTree, prompt: list[int], limit: int | None, matched: int, diverged: Divergence
) -> None:
    tree.insert("", data([1, 2, 3, 4]), pages(7, 8))
    found = tree.match("", data(prompt), limit_tokens=limit)
    assert found.tokens == matched
    assert divergence(found, data(prompt), tree.page) == diverged


@given(
    st.sampled_from([1, 2, 4]),
    st.lists(st.lists(st.integers(0, 1), max_size=9), max_size=6),
    st.lists(st.integers(0, 1), min_size=1, max_size=10),
)
def test_the_divergence_is_where_the_longest_common_prefix_ends(
    page: int, stored: list[list[int]], prompt: list[int]
) -> None:
    tree = RadixTree(page=page)
    numbers = count()
    longest = 0
    for tokens in stored:
        whole = tokens[: len(tokens) // page * page]
        tree.insert("", data(whole), pages(*(next(numbers) for _ in whole[::page])))
        same = takewhile(lambda pair: pair[0] == pair[1], zip(whole, prompt, strict=False))
        longest = max(longest, len(list(same)))
    found = tree.match("", data(prompt), limit_tokens=len(prompt) - 1)
    assert found.tokens <= len(prompt) - 1
    assert divergence(found, data(prompt), page).token == longest


def test_a_namespace_hits_only_itself(tree: RadixTree) -> None:
    tree.insert("a", data([1, 2]), pages(7))
    assert tree.match("b", data([1, 2])).tokens == 0
    assert tree.lookup("b", data([1, 2])) == 0
    assert tree.match("a", data([1, 2])).tokens == 2


def test_a_lookup_changes_nothing(tree: RadixTree) -> None:
    tree.insert("", data([1, 2, 3, 4]), pages(7, 8))
    before = [(node.key, node.last_used) for node in tree.nodes()]
    assert tree.lookup("", data([1, 2, 9, 9])) == 2
    assert [(node.key, node.last_used) for node in tree.nodes()] == before


def test_a_handle_stays_good_when_its_node_is_split(tree: RadixTree) -> None:
    node = tree.insert("", data([1, 2, 3, 4]), pages(7, 8)).node
    tree.lock(node)
    tree.insert("", data([1, 2, 5, 6]), pages(7, 9))
    assert node.pages.tolist() == [8]
    assert node.parent is not None
    assert node.parent.pages.tolist() == [7]
    assert node.parent.locks == 1
    tree.check()
    tree.unlock(node)
    tree.check()
    assert tree.locked_pages == 0


def test_what_a_request_computes_in_chunks_is_one_node_until_others_use_it() -> None:
    cache = PageCache(pages=8, page=1)
    run = data([1, 2, 3, 4])
    row = cache.take(4)
    assert row is not None
    node = cache.match("", run, limit_tokens=0).node
    for held_from in range(3):
        end = held_from + 1
        node = cache.store("", run[: end * 4], row[:end], node=node, held_from=held_from).node
        cache.check([row[end:]])
    assert [found.key for found in cache.tree.nodes()] == [run[:12]]
    other = cache.match("", run[:8], limit_tokens=2)
    node = cache.store("", run, row, node=node, held_from=3).node
    cache.check([])
    # Another holds the front: nothing that it does not use is locked for it.
    assert sorted(found.key for found in cache.tree.nodes()) == [run[:8], run[8:]]
    cache.release(node)
    assert cache.available_pages == 6
    cache.release(other.node)
    assert cache.available_pages == 8
    again = cache.match("", run, limit_tokens=4)
    cache.tree.count_use(again.node)
    longer = cache.store(
        "", run + data([5]), np.append(again.pages, cache.take(1)), node=again.node, held_from=4
    )
    assert longer.node is not again.node
    cache.check([])


def test_pages_of_a_node_are_its_own_copy(tree: RadixTree) -> None:
    mine = pages(7, 8)
    node = tree.insert("", data([1, 2, 3, 4]), mine).node
    mine[:] = 0
    assert node.pages.tolist() == [7, 8]


def test_locked_runs_stay_and_the_least_recently_used_goes(tree: RadixTree) -> None:
    held = tree.insert("", data([1, 1]), pages(1)).node
    tree.insert("", data([2, 2]), pages(2))
    tree.insert("", data([3, 3]), pages(3))
    tree.lock(held)
    tree.match("", data([2, 2]))
    assert tree.evict(1).tolist() == [3]
    assert tree.evict(9).tolist() == [2]
    assert tree.evict(9).tolist() == []
    tree.unlock(held)
    assert tree.evict(9).tolist() == [1]
    assert tree.namespaces() == ()


def test_a_leaf_gives_its_end_first_and_its_parent_becomes_a_leaf(tree: RadixTree) -> None:
    tree.insert("", data([1, 1, 2, 2, 3, 3]), pages(1, 2, 3))
    tree.insert("", data([1, 1, 4, 4]), pages(1, 4))
    assert tree.evict(1).tolist() == [3]
    assert tree.lookup("", data([1, 1, 2, 2, 3, 3])) == 4
    assert sorted(tree.evict(9).tolist()) == [1, 2, 4]
    tree.check()


def test_an_empty_key_is_no_match_and_no_node(tree: RadixTree) -> None:
    assert tree.match("", b"").tokens == 0
    tree.insert("", data([1]), pages())
    assert tree.pages == 0
    tree.check()


def test_duplicates_are_freed_and_the_row_is_rewritten() -> None:
    cache = PageCache(pages=8, page=2)
    run = data([1, 2, 3, 4])
    rows, nodes = [], []
    for _ in range(2):
        nodes.append(cache.match("", run, limit_tokens=0).node)
        row = cache.take(2)
        assert row is not None
        rows.append(row)
    first = cache.store("", run, rows[0], node=nodes[0], held_from=0)
    mine = rows[0].copy()
    second = cache.store("", run, rows[1], node=nodes[1], held_from=0)
    assert rows[1].tolist() == mine.tolist()
    assert (cache.free_pages, cache.cached_pages, cache.held_pages) == (6, 2, 0)
    cache.check([])
    cache.release(first.node)
    cache.release(second.node)
    assert cache.flush() == 2
    cache.check([])
    assert cache.free_pages == 8


def test_pages_in_use_are_not_taken() -> None:
    cache = PageCache(pages=2, page=1)
    found = cache.match("", data([1]), limit_tokens=0)
    row = cache.take(1)
    assert row is not None
    done = cache.store("", data([1]), row, node=found.node, held_from=0)
    assert cache.take(2) is None
    assert cache.flush() == 0
    cache.release(done.node)
    assert cache.take(2) is not None


def cached(cache: PageCache, tokens: list[int]) -> None:
    """Do what a request does that computes `tokens` and ends."""
    run = data(tokens)
    found = cache.match("", run, limit_tokens=len(tokens))
    cache.tree.count_use(found.node)
    taken = cache.take(len(tokens) // cache.page - len(found.pages))
    assert taken is not None
    row = np.concatenate([found.pages, taken])
    done = cache.store("", run, row, node=found.node, held_from=len(found.pages))
    cache.release(done.node)


def test_a_slower_tier_is_told_what_goes_and_can_bring_it_back() -> None:
    cache = PageCache(pages=4, page=1)
    told: list[EvictedRun] = []
    cache.on_evict = told.append
    cached(cache, [1, 2, 3])
    cached(cache, [1, 2, 4])
    kept = {page: node.key for node in cache.tree.nodes() for page in node.pages.tolist()}
    cached(cache, [5, 6])
    assert [(run.namespace, run.data) for run in told] == [
        ("", data([1, 2, 3])),
        ("", data([1, 2, 4])),
    ]
    for run in told:
        assert [run.data[-4:]] == [kept[page] for page in run.pages.tolist()]
    told.clear()
    cached(cache, [1, 2, 3])
    assert cache.tree.lookup("", data([1, 2, 3])) == 3
    # The older leaf lost its end only, and what stood before it was not told again.
    assert [(run.data, len(run.pages)) for run in told] == [(data([5, 6]), 1)]
    told.clear()
    cache.flush(is_told=True)
    assert {run.data for run in told} == {data([1, 2, 3]), data([1, 2]), data([5])}
    cached(cache, [7])
    told.clear()
    cache.flush()
    assert not told
    cache.check([])


TOKENS = st.lists(st.integers(0, 1), max_size=12)  # two ids: prefixes must repeat


class AgainstDictionary(RuleBasedStateMachine):
    """The cache as requests use it, against a dictionary of whole-page prefixes to pages."""

    @initialize(page=st.sampled_from([1, 2, 4]), total=st.integers(3, 24))
    def begin(self, page: int, total: int) -> None:
        self.page = page
        self.cache = PageCache(pages=total, page=page)
        self.known: dict[tuple[str, bytes], int] = {}
        self.held: dict[int, tuple[str, bytes, np.ndarray, int, Node]] = {}
        self.next_id = 0

    def cached_tokens(self, namespace: str, key: bytes) -> int:
        count = 0
        while (count + 1) * self.page * 4 <= len(key) and (
            (namespace, key[: (count + 1) * self.page * 4]) in self.known
        ):
            count += 1
        return count * self.page

    def forget_evicted(self) -> None:
        alive = {page for node in self.cache.tree.nodes() for page in node.pages.tolist()}
        self.known = {key: page for key, page in self.known.items() if page in alive}

    @rule(tokens=TOKENS, namespace=st.sampled_from(["", "b"]))
    def admit(self, tokens: list[int], namespace: str) -> None:
        key = data(tokens)
        expected = self.cached_tokens(namespace, key)
        assert self.cache.tree.lookup(namespace, key) == expected
        found = self.cache.match(namespace, key, limit_tokens=len(tokens))
        assert found.tokens == expected
        for index, page in enumerate(found.pages.tolist()):
            assert self.known[namespace, key[: (index + 1) * self.page * 4]] == page
        need = len(tokens) // self.page - len(found.pages)
        taken = self.cache.take(need)
        if taken is None:
            self.cache.release(found.node)
            return
        self.forget_evicted()
        row = np.concatenate([found.pages, taken])
        self.held[self.next_id] = (namespace, key, row, len(found.pages), found.node)
        self.next_id += 1

    @precondition(lambda self: self.held)
    @rule(pick=st.randoms(use_true_random=False), share=st.floats(0, 1))
    def store(self, pick: object, share: float) -> None:
        key_id = pick.choice(sorted(self.held))  # type: ignore[attr-defined]
        namespace, key, row, shared, node = self.held[key_id]
        count = max(shared, round(len(row) * share))
        done = self.cache.store(
            namespace, key[: count * self.page * 4], row[:count], node=node, held_from=shared
        )
        for index, page in enumerate(row[:count].tolist()):
            at = (namespace, key[: (index + 1) * self.page * 4])
            assert self.known.setdefault(at, page) == page
        self.held[key_id] = (namespace, key, row, count, done.node)

    @precondition(lambda self: self.held)
    @rule(pick=st.randoms(use_true_random=False))
    def leave(self, pick: object) -> None:
        key_id = pick.choice(sorted(self.held))  # type: ignore[attr-defined]
        _, _, row, shared, node = self.held.pop(key_id)
        self.cache.give_back(row[shared:])
        self.cache.release(node)

    @rule()
    def flush(self) -> None:
        self.cache.flush()
        self.forget_evicted()

    @invariant()
    def every_page_has_one_owner(self) -> None:
        if not hasattr(self, "cache"):
            return
        self.cache.check([row[shared:] for _, _, row, shared, _ in self.held.values()])
        tree = self.cache.tree
        assert tree.evictable_pages + tree.locked_pages == tree.pages == len(self.known)
        assert sum(tree.root_locks()) == len(self.held)
        for _, _, row, shared, _ in self.held.values():
            in_tree = set(self.known.values())
            assert in_tree.issuperset(row[:shared].tolist()), "what is in use is not evicted"


TestAgainstDictionary = AgainstDictionary.TestCase
TestAgainstDictionary.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_dictionary_agrees_over_many_more_operations() -> None:
    run_state_machine_as_test(
        AgainstDictionary,
        settings=settings(max_examples=2000, stateful_step_count=60, deadline=None),
    )
