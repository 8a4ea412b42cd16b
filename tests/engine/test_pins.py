"""What is pinned stays on the device, until a request needs its pages or its time is over."""

from __future__ import annotations

import random
from collections.abc import Callable

from stemfirst_server.engine.engine import Engine
from stemfirst_server.engine.request import GenerationRequest, SamplingParams, token_array


def ask(engine: Engine, name: str, tokens: list[int], most: int = 1) -> int:
    """Return how many tokens of a prompt were cached."""
    params = SamplingParams(max_tokens=most, temperature=0.0, ignore_eos=True)
    done = engine.submit(GenerationRequest(name, token_array(tokens), params)).result(timeout=60)
    assert len(done.tokens) == most
    return done.finish.report.cached_tokens


def prompt(seed: int, length: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(3, 190) for _ in range(length)]


def test_a_pin_outlives_what_pushes_others_out(start_engine: Callable[..., Engine]) -> None:
    engine = start_engine(pool_tokens=512)
    pinned, other = prompt(1, 96), prompt(2, 96)
    ask(engine, "pinned", pinned)
    ask(engine, "other", other)
    assert engine.pin("p", "", token_array(pinned).tobytes(), 60.0) == 96
    assert engine.pinned() == {"p"}
    for seed in range(10, 20):
        ask(engine, f"{seed}", prompt(seed, 120))
    assert ask(engine, "again", [*pinned, 5]) == 96
    assert ask(engine, "other again", [*other, 5]) == 0
    engine.unpin("p")
    for seed in range(20, 30):
        ask(engine, f"{seed}", prompt(seed, 120))
    assert ask(engine, "later", [*pinned, 5]) == 0


def test_namespaces_give_up_what_they_used_longest_ago(
    start_engine: Callable[..., Engine],
) -> None:
    engine = start_engine(pool_tokens=4096)
    params = SamplingParams(max_tokens=1, temperature=0.0, ignore_eos=True)

    def cached(seed: int, namespace: str) -> int:
        ids = token_array(prompt(seed, 100))
        request = GenerationRequest(f"{seed} {namespace} {counter.pop()}", ids, params, namespace)
        return engine.submit(request).result(timeout=60).finish.report.cached_tokens

    counter = list(range(100))
    for seed in range(6):
        cached(seed, "mine")
        cached(seed, "mine too")
        cached(seed, "theirs")
    assert cached(0, "mine") == 96  # used last now
    engine.trim(lambda namespace: namespace.startswith("mine"), 256)
    engine.check()
    own = [node for node in engine._cache.tree.nodes() if node.namespace.startswith("mine")]
    assert sum(len(node.pages) for node in own) == 256 // 16
    assert cached(0, "mine") == 96
    assert cached(1, "mine") == 0
    assert [cached(seed, "theirs") for seed in range(6)] == [96] * 6


def test_a_pin_gives_way_to_a_request_that_could_not_run(
    start_engine: Callable[..., Engine],
) -> None:
    engine = start_engine(pool_tokens=256)
    for name in ("a", "b"):
        tokens = prompt(ord(name), 96)
        ask(engine, name, tokens)
        engine.pin(name, "", token_array(tokens).tobytes(), 60.0 if name == "a" else 50.0)
    assert engine.pinned() == {"a", "b"}
    assert ask(engine, "large", prompt(5, 120), most=30) == 0
    assert engine.pinned() == {"a"}, "the one that would have ended first"
    assert ask(engine, "as large as the pool", prompt(6, 200), most=50) == 0
    assert engine.pinned() == frozenset()


def test_a_pin_ends_with_its_time_and_with_a_flush(start_engine: Callable[..., Engine]) -> None:
    engine = start_engine(pool_tokens=512)
    tokens = prompt(1, 96)
    ask(engine, "1", tokens)
    data = token_array(tokens).tobytes()
    assert engine.pin("short", "", data, 0.0) == 96
    assert engine.pinned() == frozenset()
    engine.pin("long", "", data, 60.0)
    engine.pin("long", "", data, 60.0)  # again, instead of a second time
    engine.check()
    engine.flush()
    assert engine.pinned() == frozenset()
    assert engine.pin("nothing", "", data, 60.0) == 0
    assert engine.pinned() == frozenset()
