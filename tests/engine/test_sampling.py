"""The choice of a token: each knob does what its docstring says."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stemfirst_server.engine.request import SamplingParams
from stemfirst_server.engine.sampling import Sampler
from stemfirst_server.errors import InvalidRequestError, RequestFailedError

NO_PROMPT = np.empty(0, dtype=np.int32)
LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0, -2.0])


def draws(count: int = 400, logits: torch.Tensor = LOGITS, **params: Any) -> Counter[int]:
    sampler = Sampler(SamplingParams(seed=1, **params))
    return Counter(
        sampler.choose(logits, prompt=NO_PROMPT, output=[]).token_id for _ in range(count)
    )


def test_draws_follow_the_distribution() -> None:
    counts = draws(4000)
    for token, share in enumerate(LOGITS.softmax(-1).tolist()):
        assert counts[token] / 4000 == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize(
    ("params", "kept"),
    [
        ({"temperature": 0.0}, {0}),
        ({"top_k": 1}, {0}),
        ({"top_k": 2}, {0, 1}),
        ({"top_k": 99}, {0, 1, 2, 3, 4}),
        ({"top_p": 0.6}, {0}),
        ({"top_p": 0.7}, {0, 1}),
        ({"top_p": 1e-9}, {0}),
        ({"min_p": 0.3}, {0, 1}),
        ({"min_p": 1.0}, {0}),
        ({"temperature": 0.01}, {0}),
        ({"temperature": 1e-37}, {0}),
        ({"temperature": 1e-45}, {0}),
        ({"temperature": 5e-324}, {0}),
        ({"temperature": 5e-324, "top_p": 0.5}, {0}),
        ({"temperature": 1e-300, "top_k": 2}, {0}),
        # top_k leaves 0.73 and 0.27, of which top_p needs only the first.
        ({"top_k": 2, "top_p": 0.7}, {0}),
    ],
)
def test_filters_keep_exactly_the_right_candidates(params: dict[str, Any], kept: set[int]) -> None:
    assert set(draws(**params)) == kept


@settings(deadline=None)
@given(
    logits=st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=9),
    top_p=st.floats(0.01, 1.0),
    top_k=st.integers(0, 10),
    min_p=st.floats(0, 1),
    temperature=st.floats(0.01, 5),
)
def test_a_token_with_no_weight_is_never_drawn(
    logits: list[float], top_p: float, top_k: int, min_p: float, temperature: float
) -> None:
    params = SamplingParams(top_p=top_p, top_k=top_k, min_p=min_p, temperature=temperature, seed=2)
    sampler = Sampler(params)
    values = torch.tensor([*logits, float("-inf")])
    for _ in range(5):
        token = sampler.choose(values, prompt=NO_PROMPT, output=[]).token_id
        assert 0 <= token < len(logits)
        if top_k:
            assert sum(x > logits[token] for x in logits) < top_k


@pytest.mark.parametrize("params", [{"top_p": 0.95}, {"top_k": 500}, {"top_k": 500, "top_p": 0.9}])
def test_rounding_moves_a_draw_no_further_than_to_a_neighbour(params: dict[str, Any]) -> None:
    # Two logits so close that rounding may change their order, in the middle of many others.
    logits = torch.randn(2000, generator=torch.Generator().manual_seed(3))
    logits[1500] = logits[30] + 1e-6
    swapped = logits.clone()
    swapped[[30, 1500]] = logits[[1500, 30]]
    for seed in range(300):
        drawn = [
            Sampler(SamplingParams(seed=seed, **params))
            .choose(values, prompt=NO_PROMPT, output=[])
            .token_id
            for values in (logits, swapped)
        ]
        assert drawn[0] == drawn[1]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_penalty_beyond_all_numbers_fails_its_request(temperature: float) -> None:
    sampler = Sampler(SamplingParams(temperature=temperature, repetition_penalty=1e-300))
    with pytest.raises(RequestFailedError, match="milder repetition_penalty than 1e-300"):
        sampler.choose(LOGITS, prompt=np.array([0], dtype=np.int32), output=[])


def test_penalties_move_what_was_said() -> None:
    sampler = Sampler(
        SamplingParams(
            presence_penalty=0.5, frequency_penalty=0.25, repetition_penalty=2.0, temperature=0
        )
    )
    prompt = np.array([1], dtype=np.int32)
    moved = sampler._moved(LOGITS, prompt, [0, 0, 4])
    # repetition: 0, 1 halved and 4 doubled; then -0.5 once and -0.25 for each in the output.
    assert moved.tolist() == [1.0 - 1.0, 0.5, 0.0, -1.0, -4.0 - 0.75]
    assert LOGITS.tolist() == [2.0, 1.0, 0.0, -1.0, -2.0], "the logits are not changed"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", -1),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_k", -1),
        ("min_p", 2.0),
        ("presence_penalty", 3.0),
        ("frequency_penalty", -3.0),
        ("repetition_penalty", 0.0),
        ("logit_bias", ((1, 101.0),)),
        ("logprobs", -1),
    ],
)
def test_a_value_out_of_range_is_named(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequestError, match=name) as refusal:
        SamplingParams(**{name: value})
    assert refusal.value.parameter == name
