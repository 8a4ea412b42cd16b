"""What is evicted first: the least recently used, or what saves least."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stemfirst_server.engine.config import EngineConfig
from stemfirst_server.engine.engine import Engine
from stemfirst_server.memory.cache import PageCache
from stemfirst_server.memory.eviction import Eviction, Recency, Worth
from stemfirst_server.model.loading import LoadedModel


class Cache:
    """A page ledger that answers prompts one after the other."""

    def __init__(self, pages: int, eviction: Eviction) -> None:
        self.ledger = PageCache(pages=pages, page=1, eviction=eviction)

    def ask(self, prompt: list[int]) -> int:
        """Return the cached tokens of a prompt, and cache all of it."""
        data = np.array(prompt, dtype=np.int32).tobytes()
        found = self.ledger.match("", data, limit_tokens=len(prompt))
        self.ledger.tree.count_use(found.node)
        own = self.ledger.take(len(prompt) - found.tokens)
        assert own is not None
        row = np.concatenate([found.pages, own])
        done = self.ledger.store("", data, row, node=found.node, held_from=found.tokens)
        self.ledger.release(done.node)
        self.ledger.check([])
        return found.tokens


def filled(eviction: Eviction) -> Cache:
    """Return a full cache that has evicted for a while, so that a policy knows its pace."""
    cache = Cache(40, eviction)
    for n in range(400):
        cache.ask([1000 + n] * 4)
    return cache


@pytest.mark.parametrize(("eviction", "is_kept"), [(Recency(), False), (Worth(), True)])
def test_what_many_used_outlives_what_one_used_later(eviction: Eviction, is_kept: bool) -> None:
    cache = filled(eviction)
    popular = [7] * 4
    for _ in range(30):
        cache.ask(popular)
    for n in range(10):  # one more than there is room for
        cache.ask([5000 + n] * 4)
    assert (cache.ask(popular) == 4) is is_kept


def test_what_was_once_popular_goes_in_the_end() -> None:
    cache = filled(Worth())
    popular = [7] * 4
    for _ in range(30):
        cache.ask(popular)
    for n in range(100):
        cache.ask([5000 + n] * 4)
    assert cache.ask(popular) == 0


def test_a_page_deep_in_a_prompt_outlives_one_at_its_start() -> None:
    """It is dearer to compute: attention looks at everything before it."""
    worth = Worth(even_tokens=4.0)
    for tick in range(1, 500):
        worth.rank(last_used=tick, uses=1, end_tokens=4)
        worth.evicted(max(0, tick - 20))
    shallow = worth.rank(last_used=500, uses=1, end_tokens=4)
    deep = worth.rank(last_used=500, uses=1, end_tokens=40)
    assert deep > shallow


def test_where_depth_was_measured_to_cost_nothing_it_counts_for_nothing() -> None:
    worth = Worth(even_tokens=4.0)
    for tick in range(1, 500):
        worth.evicted(worth.rank(last_used=tick, uses=1, end_tokens=4) - 20)
    worth.even_tokens = math.inf
    shallow = worth.rank(last_used=500, uses=1, end_tokens=4)
    assert worth.rank(last_used=500, uses=1, end_tokens=40) == shallow


def test_the_engine_evicts_by_what_was_measured(load_small: Callable[[str], LoadedModel]) -> None:
    engine = Engine(load_small("llama"), EngineConfig(pool_tokens=256))
    engine.weigh_depth(123.0)
    eviction = engine._eviction
    assert isinstance(eviction, Worth)
    assert eviction.even_tokens == 123.0
    recency = EngineConfig(pool_tokens=256, has_worth_eviction=False)
    Engine(load_small("llama"), recency).weigh_depth(123.0)  # nothing to weigh, and no error


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=9), max_size=30), st.booleans())
def test_no_policy_loses_a_page_or_a_token(prompts: list[list[int]], has_worth: bool) -> None:
    cache = Cache(9, Worth() if has_worth else Recency())
    for prompt in prompts:
        cache.ask(prompt)
        assert cache.ask(prompt) == len(prompt), "what was just used is still there"
