"""An engine killed at any moment leaves a disk that can only help."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from stemfirst_server.engine.config import EngineConfig
from stemfirst_server.engine.engine import Engine
from stemfirst_server.engine.request import GenerationRequest, SamplingParams, token_array
from stemfirst_server.model.loading import LoadedModel
from stemfirst_server.tiers.settings import TierSettings

STEMS = [[random.Random(seed).randrange(3, 190) for _ in range(150)] for seed in range(8)]
ENDS = [[random.Random(seed).randrange(3, 190) for _ in range(9)] for seed in range(100, 104)]
PAIRS = [(stem, end) for stem in range(len(STEMS)) for end in range(len(ENDS))]


def answer(engine: Engine, stem: int, end: int, name: str) -> tuple[float, int, int]:
    """Return the first token's log-probability, and the tokens that came from host and disk."""
    ids = token_array(STEMS[stem] + ENDS[end])
    spent_ms = engine.tiers.prefetch("", ids.tobytes()) if engine.tiers else 0.0
    params = SamplingParams(max_tokens=1, temperature=0.0, ignore_eos=True, logprobs=0)
    request = GenerationRequest(name, ids, params, "", prefetch_ms=spent_ms)
    done = engine.submit(request).result(timeout=60)
    logprob = done.tokens[0].logprob
    assert logprob is not None
    return logprob, done.finish.report.host_tokens, done.finish.report.disk_tokens


def work(loaded: LoadedModel, folder: Path, out: int, *, seed: int) -> None:
    """Answer random prompts and write down what came, until somebody ends it."""
    settings = TierSettings(host_bytes=2**19, disk_folder=folder, disk_bytes=2**22)
    engine = Engine(loaded, EngineConfig(pool_tokens=512), settings)
    engine.start()
    order = random.Random(seed)
    for turn in range(10**6):
        stem, end = order.choice(PAIRS)
        line = json.dumps([stem, end, *answer(engine, stem, end, str(turn))])
        os.write(out, f"{line}\n".encode())


@pytest.fixture
def forked() -> Iterator[Callable[[Callable[[int], None]], tuple[int, int]]]:
    """Return a function that runs another in a process of its own: its id, and what it writes."""
    opened: list[int] = []

    def fork(run: Callable[[int], None]) -> tuple[int, int]:
        reading, writing = os.pipe()
        opened.append(reading)
        child = os.fork()
        if child == 0:
            try:
                torch.set_num_threads(1)
                run(writing)
            finally:
                os._exit(1)
        os.close(writing)
        return child, reading

    yield fork
    for descriptor in opened:
        os.close(descriptor)


def lines_until(reading: int, deadline: float) -> bytes:
    """Return what is written until the deadline, or the end."""
    data = b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([reading], [], [], left)[0]:
            break
        more = os.read(reading, 2**16)
        if not more:
            break
        data += more
    return data


@pytest.mark.parametrize(
    "kills", [3, pytest.param(100, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
def test_after_a_kill_nine_under_load_no_answer_comes_from_a_wrong_kv(
    load_small: Callable[[str], LoadedModel],
    tmp_path: Path,
    forked: Callable[[Callable[[int], None]], tuple[int, int]],
    kills: int,
) -> None:
    loaded = load_small("llama")
    cold = Engine(loaded, EngineConfig(pool_tokens=512, has_prefix_cache=False))
    cold.start()
    expected = {pair: answer(cold, *pair, f"{pair}")[0] for pair in PAIRS}
    assert cold.stop(timeout=20)
    rng = random.Random(kills)
    counted: Counter[str] = Counter()
    for kill in range(kills + 1):
        child, reading = forked(partial(work, loaded, tmp_path, seed=kill))
        assert select.select([reading], [], [], 60.0)[0], "it works"
        data = lines_until(reading, time.monotonic() + rng.uniform(0.0, 0.6))
        os.kill(child, signal.SIGKILL)
        data += lines_until(reading, time.monotonic() + 20.0)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        for line in data.splitlines():
            stem, end, logprob, host_tokens, disk_tokens = json.loads(line)
            assert logprob == pytest.approx(expected[stem, end], abs=1e-4), (kill, stem, end)
            counted.update(answers=1, host_tokens=host_tokens, disk_tokens=disk_tokens)
    print(f"{kills} kills: {dict(counted)}")
    assert counted["answers"] > kills
    assert counted["disk_tokens"] > 0
