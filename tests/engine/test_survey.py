"""What a prompt would find is what it finds."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stemfirst_server.engine.config import EngineConfig
from stemfirst_server.engine.engine import Engine
from stemfirst_server.engine.request import GenerationRequest, SamplingParams, token_array
from stemfirst_server.memory.cache import PageCache
from stemfirst_server.memory.node import TOKEN_BYTES
from stemfirst_server.model.loading import LoadedModel
from stemfirst_server.savings.report import missed_tokens
from stemfirst_server.steering.history import Cause, History
from stemfirst_server.tiers.settings import TierSettings

MIB = 2**20


def request(name: str, tokens: list[int], namespace: str = "a") -> GenerationRequest:
    params = SamplingParams(max_tokens=1, temperature=0.0, ignore_eos=True)
    return GenerationRequest(name, token_array(tokens), params, namespace)


@pytest.mark.parametrize("is_deterministic", [False, True])
def test_a_survey_foretells_every_hit_and_changes_nothing(
    load_small: Callable[[str], LoadedModel], tmp_path: Path, is_deterministic: bool
) -> None:
    config = EngineConfig(
        pool_tokens=512, is_checked=True, is_deterministic=is_deterministic, chunk_tokens=32
    )
    engine = Engine(load_small("llama"), config, TierSettings(MIB // 2, tmp_path, MIB))
    engine.start()
    assert engine.tiers is not None
    rng = random.Random(1)
    stems = [[rng.randrange(3, 60) for _ in range(120)] for _ in range(8)]
    hits = told = 0
    for turn in range(80):
        stem = rng.choice(stems)
        tokens = stem[: rng.randrange(20, 120)] + [rng.randrange(3, 6) for _ in range(9)]
        namespace = rng.choice("ab")
        asked = request(str(turn), tokens, namespace)
        found = engine.survey(asked)
        # Another survey says the same, so the first one moved nothing.
        assert engine.survey(asked).cached_tokens == found.cached_tokens
        engine.tiers.prefetch(namespace, asked.token_ids.tobytes())
        report = engine.submit(asked).result(timeout=60).finish.report
        assert report.cached_tokens <= found.cached_tokens
        # Memory this small may have no room for all that is read at once.
        assert report.cached_tokens == found.cached_tokens or found.disk_tokens
        told += found.cached_tokens
        if found.host_tokens == found.disk_tokens == 0 and not is_deterministic:
            assert report.divergence_token == found.divergence_token
            assert report.is_diverged == found.is_changed
        hits += report.cached_tokens
        engine.tiers.settle(20)
    assert hits > 1000
    assert hits > 0.9 * told
    assert engine.stop(timeout=20)
    engine.save(most_s=1)


def test_what_was_evicted_or_flushed_is_told_with_its_time(
    load_small: Callable[[str], LoadedModel],
) -> None:
    engine = Engine(load_small("llama"), EngineConfig(pool_tokens=512))
    engine.start()
    mine = [5] * 20 + list(range(3, 103))
    assert engine.survey(request("0", mine)).gone is None
    engine.submit(request("1", mine)).result(timeout=60)
    assert engine.survey(request("2", mine)).cached_tokens == 112
    for seed in range(6):
        other = [seed + 7] * 120
        engine.submit(request(f"other {seed}", other)).result(timeout=60)
    gone = engine.survey(request("3", mine)).gone
    assert gone is not None
    assert gone.cause is Cause.EVICTED
    assert engine.survey(request("4", mine, "b")).gone is None, "another namespace's"
    counted = engine.submit(request("5", mine)).result(timeout=60).finish.report
    assert counted.gone == gone
    assert gone.pages * 16 == missed_tokens(counted, 16)[1] == 112 - counted.cached_tokens
    assert engine.submit(request("again", mine)).result(timeout=60).finish.report.gone is None
    engine.flush()
    gone = engine.survey(request("6", mine)).gone
    assert gone is not None
    assert gone.cause is Cause.FLUSHED
    assert engine.stop(timeout=20)


def test_the_neighbour_is_the_run_that_shares_the_most() -> None:
    cache = PageCache(pages=64, page=4)

    def keep(tokens: list[int]) -> None:
        data = token_array(tokens).tobytes()
        found = cache.match("a", data, limit_tokens=len(tokens))
        pages = cache.take(len(tokens) // 4 - len(found.pages))
        assert pages is not None
        row = [*found.pages, *pages]
        done = cache.store(
            "a", data, np.array(row, dtype=np.int32), node=found.node, held_from=len(found.pages)
        )
        cache.release(done.node)

    keep([1, 2, 3, 4, 5, 6, 7, 8])
    keep([1, 2, 3, 4, 5, 9, 9, 9])
    keep([7, 7, 7, 7])
    asked = token_array([1, 2, 3, 4, 5, 6, 1, 1]).tobytes()
    shared, neighbour = cache.tree.neighbour("a", asked)
    assert shared == 6
    assert neighbour == token_array([1, 2, 3, 4, 5, 6, 7, 8]).tobytes()
    assert cache.tree.neighbour("b", asked) == (0, b"")


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6)), max_size=20))
def test_history_is_bounded_and_never_crosses_namespaces(notes: list[tuple[int, int]]) -> None:
    history = History(1, most_pages=10, clock=lambda: 5.0)
    for kind, pages in notes:
        data = bytes([kind]) * TOKEN_BYTES * pages
        history.note("a", data, pages, Cause.EVICTED)
        history.check()
        assert history.find("a", data, pages - 1) is not None
        assert history.find("b", data, pages - 1) is None
