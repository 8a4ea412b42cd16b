"""The time since an evicted page's last use."""

from __future__ import annotations

import numpy as np
import pytest
from stemfirst_server.memory.ages import Ages
from stemfirst_server.memory.cache import PageCache


def test_an_age_is_the_time_since_the_tick_of_the_last_use() -> None:
    ages = Ages()
    for tick in range(100):
        ages.note(tick, float(tick))
    ages.evicted(40, 3, 100.0)
    ages.evicted(90, 1, 100.0)
    assert (ages.pages, ages.seconds) == (4, 3 * 60.0 + 10.0)


def test_an_idle_tree_keeps_the_time_of_its_last_tick() -> None:
    ages = Ages()
    for now in range(1000):
        ages.note(7, float(now))
    ages.evicted(7, 1, 1000.0)
    assert ages.seconds == 1000.0


def test_notes_are_bounded_and_old_ones_coarser() -> None:
    ages = Ages()
    for tick in range(50_000):
        ages.note(tick, float(tick))
    assert len(ages._ticks) <= 4096
    ages.evicted(49_990, 1, 50_000.0)
    assert ages.seconds == 10.0
    ages.evicted(47_000, 1, 50_000.0)
    assert ages.seconds == pytest.approx(10.0 + 3000.0, rel=0.05)


def test_a_cache_counts_each_page_that_it_evicts() -> None:
    cache = PageCache(pages=4, page=1)
    for token in (1, 2):
        pages = cache.take(2)
        assert pages is not None
        data = np.full(2, token, np.int32).tobytes()
        begin = cache.match("n", data, limit_tokens=2).node
        cache.release(cache.store("n", data, pages, node=begin, held_from=0).node)
        cache.ages.note(cache.tree.clock, 0.0)
    assert cache.take(3) is not None
    assert cache.ages.pages == cache.evicted_pages == 3
    assert cache.ages.seconds > 0
