"""What does not fit is refused with the true reason: the model's context, or a smaller pool."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from stemfirst_server.api.bounds import Bounds
from stemfirst_server.engine.engine import Engine
from stemfirst_server.engine.limits import end_of
from stemfirst_server.engine.request import GenerationRequest, SamplingParams, token_array
from stemfirst_server.errors import ContextLengthError, InvalidRequestError


def test_a_pool_that_is_smaller_than_the_context_is_told(
    start_engine: Callable[..., Engine], caplog: pytest.LogCaptureFixture
) -> None:
    info = start_engine(pool_tokens=128).info
    assert (info.context_tokens, info.is_pool_short) == (128, True)
    assert "at most 128 tokens, of the model's 512" in caplog.text
    assert not start_engine(pool_tokens=512).info.is_pool_short


def test_a_refusal_names_the_pool_only_where_it_is_short() -> None:
    with pytest.raises(ContextLengthError, match=r"128 tokens here .*--pool-tokens sets it"):
        Bounds(128, 199, is_pool_short=True).check_length(129, None, "prompt")
    with pytest.raises(ContextLengthError, match="128 tokens, but 129 tokens in the prompt"):
        Bounds(128, 199).check_length(129, None, "prompt")


@pytest.mark.parametrize("max_tokens", [None, 0, 1, 28, 29])
@pytest.mark.parametrize("prompt_tokens", [0, 1, 99, 100, 127, 128, 129])
def test_the_edge_and_the_engine_draw_the_same_line(
    start_engine: Callable[..., Engine], prompt_tokens: int, max_tokens: int | None
) -> None:
    info = start_engine(pool_tokens=128).info
    request = GenerationRequest(
        "r", token_array([5] * prompt_tokens), SamplingParams(max_tokens=max_tokens)
    )

    def refusal(check: Callable[[], object]) -> type[Exception] | None:
        try:
            check()
        except InvalidRequestError as error:
            return type(error)
        return None

    bounds = Bounds(info.context_tokens, info.vocab_size)
    edge = refusal(lambda: bounds.check_length(prompt_tokens, max_tokens, "prompt"))
    assert edge is refusal(lambda: end_of(request, info))
