"""Who runs next, without a model: work is declared done instead of computed."""

from __future__ import annotations

import numpy as np
import pytest
from stemfirst_server.engine.config import EngineConfig
from stemfirst_server.engine.request import GenerationRequest, SamplingParams, token_array
from stemfirst_server.engine.scheduler import Scheduler
from stemfirst_server.engine.sequence import Phase, Sequence, Work
from stemfirst_server.memory.cache import PageCache


class Bench:
    """A scheduler with a clock of its own."""

    def __init__(self, *, pages: int = 64, page: int = 4, **settings: int) -> None:
        self.now = 0.0
        self.order = 0
        self.scheduler = Scheduler(
            PageCache(pages=pages, page=page), EngineConfig(page=page, **settings)
        )

    def add(self, name: str, tokens: list[int], *, output: int = 1) -> Sequence:
        self.order += 1
        sequence = Sequence(
            GenerationRequest(name, token_array(tokens), SamplingParams()),
            lambda _: None,
            order=self.order,
            limit_tokens=len(tokens) + output,
            submitted_at=self.now,
        )
        self.scheduler.add(sequence)
        return sequence

    def step(self, seconds: float = 0.1) -> tuple[Work, ...]:
        """Plan a step and do it: a token for each sequence that has nothing left to compute."""
        work = self.scheduler.plan(self.now)
        for item in work:
            self.scheduler.computed(item)
            sequence = item.sequence
            if sequence.computed == sequence.length:
                sequence.append_token(1)
                if sequence.length >= sequence.limit_tokens:
                    self.scheduler.finish(sequence, is_stored=True)
        self.scheduler.check()
        self.now += seconds
        return work

    def names(self, work: tuple[Work, ...]) -> list[str]:
        return [item.sequence.request_id for item in work]


def run(count: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(2, 99, count).tolist()


def test_the_longest_cached_prefix_goes_first() -> None:
    bench = Bench(chunk_tokens=16)
    stem = run(16, 1)
    bench.add("earlier", stem)
    while bench.step():
        pass
    bench.add("cold", run(16, 2))
    bench.add("warm", stem + run(4, 3))
    assert bench.names(bench.step())[0] == "warm"


def test_nobody_starves_behind_hits() -> None:
    """Warm requests keep coming, enough to fill every step; the cold one runs nevertheless."""
    bench = Bench(pages=2000, chunk_tokens=4, max_running=4)
    stem = run(64, 1)
    bench.add("first", stem)
    while bench.step():
        pass
    cold = bench.add("cold", run(8, 2))
    for n in range(40):
        bench.add(f"warm{n}", stem + run(4, n + 10))
        bench.step()
        if cold.started_at is not None:
            break
    assert cold.started_at is not None
    assert cold.started_at - cold.submitted_at < 1.0
    assert bench.scheduler.waiting, "there was always a warmer one"


def test_a_step_computes_no_more_than_its_budget() -> None:
    bench = Bench(chunk_tokens=10)
    bench.add("a", run(24, 1))
    bench.add("b", run(24, 2))
    sizes = []
    while work := bench.step():
        sizes.append([(item.sequence.request_id, item.new_tokens) for item in work])
    assert sizes == [
        [("a", 10)],
        [("a", 10)],
        [("a", 4), ("b", 6)],
        [("b", 10)],
        [("b", 8)],
    ]


def test_short_prompts_need_not_wait_for_a_long_one_to_be_read() -> None:
    bench = Bench(chunk_tokens=8)
    long = bench.add("long", run(40, 1))
    bench.step()
    bench.add("short", run(3, 2))
    bench.add("too long for half a step", run(12, 3))
    sizes = [(item.sequence.request_id, item.new_tokens) for item in bench.step()]
    assert sizes == [("long", 5), ("short", 3)], "what is left over goes back"
    while long in bench.scheduler.running:
        work = bench.step()
        assert sum(item.new_tokens for item in work) == 8, "every step is full"


def test_a_long_prompt_goes_on_however_many_short_ones_come() -> None:
    bench = Bench(chunk_tokens=8, max_running=8)
    long = bench.add("long", run(80, 1))
    steps = 0
    while long.phase is not Phase.DONE:
        bench.add(f"short{steps}", run(4, steps + 2))
        bench.step()
        steps += 1
        assert steps <= 20


def test_decodes_go_on_while_others_prefill() -> None:
    bench = Bench(chunk_tokens=8)
    bench.add("old", run(4, 1), output=6)
    bench.step()
    bench.add("new", run(24, 2))
    for _ in range(3):
        assert bench.names(bench.step()) == ["old", "new"]


def test_no_more_run_together_than_allowed() -> None:
    bench = Bench(max_running=2)
    for n in range(4):
        bench.add(f"r{n}", run(4, n), output=3)
    assert len(bench.step()) == 2


def test_a_prefill_that_finds_no_room_waits_and_is_not_overtaken() -> None:
    bench = Bench(pages=8, page=4)
    bench.add("running", run(16, 1), output=9)
    bench.step()
    bench.add("big", run(24, 2), output=2)
    bench.now += 1.0
    bench.add("small", run(2, 3), output=2)
    assert bench.names(bench.step()) == ["running"]
    served: list[str] = []
    while work := bench.step():
        served += [name for name in bench.names(work) if name not in served]
    assert served == ["running", "big", "small"]


@pytest.mark.parametrize("seed", range(4))
def test_everything_ends_when_memory_is_scarce(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bench = Bench(pages=12, page=4, chunk_tokens=7, max_running=5)
    stem = run(12, seed)
    sequences = [
        bench.add(
            f"r{n}",
            stem[: int(rng.integers(0, 13))] + run(int(rng.integers(1, 12)), n),
            output=int(rng.integers(1, 20)),
        )
        for n in range(12)
    ]
    for _ in range(2000):
        if not bench.step():
            break
    assert not bench.scheduler.waiting
    assert not bench.scheduler.running
    for sequence in sequences:
        assert sequence.length == sequence.limit_tokens
        assert sequence.accounted_tokens == sequence.prompt_tokens
    assert bench.scheduler.preemptions > 0
    assert bench.scheduler.cache.held_pages == 0
