"""Other weights under a running engine: nothing of the old ones is left to be found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from stemfirst_server.engine.config import EngineConfig
from stemfirst_server.engine.engine import Engine
from stemfirst_server.engine.request import (
    Completion,
    GenerationRequest,
    SamplingParams,
    token_array,
)
from stemfirst_server.errors import ConfigError
from stemfirst_server.model.loading import LoadedModel, load_model
from stemfirst_server.steering.history import Cause
from stemfirst_server.tiers.settings import TierSettings

MIB = 2**20
PROMPT = list(range(3, 123))


def request(name: str, most: int = 4) -> GenerationRequest:
    params = SamplingParams(max_tokens=most, temperature=0.0, ignore_eos=True, logprobs=0)
    return GenerationRequest(name, token_array(PROMPT), params)


def ask(engine: Engine, name: str) -> Completion:
    asked = request(name)
    if engine.tiers is not None:
        engine.tiers.prefetch(asked.namespace, asked.token_ids.tobytes())
    return engine.submit(asked).result(timeout=60)


def logprobs(answer: Completion) -> list[float | None]:
    return [event.logprob for event in answer.tokens]


@pytest.fixture
def others(small_folder: Callable[[str], Path]) -> LoadedModel:
    """The same model with other weights."""
    loaded = load_model(str(small_folder("llama")), device="cpu")
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter.mul_(1.1)
    return loaded


def test_after_a_reload_answers_are_the_new_weights_and_no_tier_has_the_old(
    load_small: Callable[[str], LoadedModel], others: LoadedModel, tmp_path: Path
) -> None:
    fresh = Engine(others, EngineConfig(pool_tokens=512))
    fresh.start()
    expected = logprobs(ask(fresh, "fresh"))
    assert fresh.stop(timeout=20)

    settings = TierSettings(MIB, tmp_path, 64 * MIB)
    engine = Engine(load_small("llama"), EngineConfig(pool_tokens=512, is_checked=True), settings)
    engine.start()
    before = logprobs(ask(engine, "old"))
    assert before != pytest.approx(expected, abs=1e-3)
    engine.pin("p", "", token_array(PROMPT).tobytes(), 60.0)
    assert engine.reload(others) > 0
    found = engine.survey(request("look"))
    assert found.cached_tokens == 0
    assert found.gone is not None
    assert found.gone.cause is Cause.WEIGHTS_CHANGED
    after = ask(engine, "new")
    assert after.finish.report.cached_tokens == 0
    assert logprobs(after) == pytest.approx(expected, abs=1e-5)
    engine.check()
    assert engine.stop(timeout=20)
    assert engine.save(most_s=10) > 0
    assert engine.tiers is not None
    assert engine.tiers._disk is not None
    engine.tiers._disk.close()

    # What was written since is found by the new weights, and by none else.
    for loaded, tokens in ((load_small("llama"), 0), (others, 112)):
        later = Engine(loaded, EngineConfig(pool_tokens=512), settings)
        later.start()
        assert ask(later, "later").finish.report.disk_tokens == tokens
        assert later.stop(timeout=20)
        assert later.tiers is not None
        assert later.tiers._disk is not None
        later.tiers._disk.close()


def test_weights_of_another_model_are_refused_and_the_old_ones_stay(
    load_small: Callable[[str], LoadedModel], start_engine: Callable[..., Engine]
) -> None:
    engine = start_engine()
    before = logprobs(ask(engine, "1"))
    with pytest.raises(ConfigError, match="another model"):
        engine.reload(load_small("gemma3_text"))
    again = ask(engine, "2")
    assert again.finish.report.cached_tokens > 0
    assert logprobs(again) == pytest.approx(before, abs=1e-5)


def test_weights_do_not_change_under_a_running_request(
    start_engine: Callable[..., Engine], others: LoadedModel
) -> None:
    engine = start_engine()
    running = engine.submit(request("long", most=300))
    next(running.events(timeout=30))
    with pytest.raises(ConfigError, match="drain the server first"):
        engine.reload(others)
    running.abort()
