"""A pinned run that is open to others is copied to them, and is never theirs."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from stemfirst_server.engine.config import KVDtype
from stemfirst_server.engine.engine import Engine
from stemfirst_server.engine.request import (
    Completion,
    GenerationRequest,
    SamplingParams,
    token_array,
)

OPERATORS, MINE, OTHER = "operators", "mine", "other"


class Asking:
    """An engine and requests with names of their own."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.count = 0

    def ask(self, tokens: list[int], namespace: str, most: int = 2) -> Completion:
        self.count += 1
        params = SamplingParams(max_tokens=most, temperature=0.0, ignore_eos=True, logprobs=0)
        request = GenerationRequest(str(self.count), token_array(tokens), params, namespace)
        return self.engine.submit(request).result(timeout=60)

    def cached(self, tokens: list[int], namespace: str) -> int:
        found = self.ask(tokens, namespace).finish.report.cached_tokens
        self.engine.check()
        return found

    def survey(self, tokens: list[int], namespace: str) -> int:
        request = GenerationRequest("", token_array(tokens), namespace=namespace)
        return self.engine.survey(request).cached_tokens

    def open(self, tokens: list[int], *namespaces: str) -> int:
        self.ask(tokens, OPERATORS, most=0)
        data = token_array(tokens).tobytes()
        return self.engine.pin("p", OPERATORS, data, 60.0, lambda name: name in namespaces)


def prompt(seed: int, length: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(3, 190) for _ in range(length)]


@pytest.mark.parametrize("kv_dtype", [KVDtype.AUTO, KVDtype.INT8], ids=["whole", "eight bits"])
def test_what_is_open_is_hit_at_once_and_answers_as_if_computed(
    start_engine: Callable[..., Engine], kv_dtype: KVDtype
) -> None:
    asking = Asking(start_engine(pool_tokens=1024, kv_dtype=kv_dtype, is_checked=True))
    shared, tail = prompt(1, 96), prompt(2, 9)
    cold = asking.ask([*shared, *tail], OTHER)
    assert asking.open(shared, MINE) == 96
    assert asking.survey([*shared, *tail], MINE) == 96
    warm = asking.ask([*shared, *tail], MINE)
    assert warm.finish.report.cached_tokens == 96
    assert warm.finish.report.load_ms > 0
    assert warm.finish.report.host_tokens == warm.finish.report.disk_tokens == 0
    assert warm.token_ids == cold.token_ids
    for ours, theirs in zip(warm.tokens, cold.tokens, strict=True):
        assert ours.logprob == pytest.approx(theirs.logprob, abs=1e-4)
    asking.engine.check()


def test_only_whole_pages_that_are_alike_are_copied(start_engine: Callable[..., Engine]) -> None:
    asking = Asking(start_engine(pool_tokens=1024, is_checked=True))
    shared = prompt(1, 100)
    asking.open(shared, MINE)
    other_end = [*shared[:70], *prompt(3, 40)]
    assert asking.survey(other_end, MINE) == 64
    assert asking.cached(other_end, MINE) == 64
    assert asking.cached(prompt(4, 100), MINE) == 0
    assert asking.cached(shared, MINE) == 96, "the rest of it, behind what is there already"


def test_nobody_else_finds_it_and_nothing_flows_back(start_engine: Callable[..., Engine]) -> None:
    asking = Asking(start_engine(pool_tokens=1024, is_checked=True))
    shared, tail = prompt(1, 96), prompt(2, 64)
    asking.open(shared, MINE)
    assert asking.survey(shared, OTHER) == 0
    assert asking.cached(shared, OTHER) == 0
    assert asking.cached([*shared, *tail], MINE) == 96
    # What a tenant put behind it stays the tenant's.
    assert asking.cached([*shared, *tail], OPERATORS) == 96
    asking.open(shared, MINE, "third")
    assert asking.cached([*shared, *tail], "third") == 96


def test_copies_stay_and_the_run_is_found_no_more_once_its_pin_ends(
    start_engine: Callable[..., Engine],
) -> None:
    asking = Asking(start_engine(pool_tokens=1024, is_checked=True))
    shared = prompt(1, 96)
    asking.open(shared, MINE, OTHER)
    assert asking.cached([*shared, 5], MINE) == 96
    asking.engine.unpin("p")
    assert asking.cached([*shared, 5], MINE) == 96
    assert asking.cached([*shared, 5], OTHER) == 0
    asking.open(shared, "third")
    asking.engine.flush()
    assert asking.cached([*shared, 5], "third") == 0


def test_where_there_is_no_room_for_a_copy_the_rest_is_computed(
    start_engine: Callable[..., Engine],
) -> None:
    asking = Asking(start_engine(pool_tokens=256, is_checked=True))
    shared = prompt(1, 128)
    asking.open(shared, MINE)
    assert asking.cached([*shared[:100], 5, 6], MINE) == 96
    # As large as the pool: the pin gives way, and the answer is right nevertheless.
    asking.cached([*shared, *prompt(2, 90)], MINE)
    assert asking.engine.pinned() == frozenset()
