"""What a request must fulfil before the engine takes it.

Knows: the model's vocabulary and context. Does not know what else runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stemfirst_server.errors import ContextLengthError, InvalidRequestError

if TYPE_CHECKING:
    from stemfirst_server.engine.request import GenerationRequest, ModelInfo


def end_of(request: GenerationRequest, info: ModelInfo) -> int:
    """Return how many tokens prompt and output may have together.

    Raises:
        InvalidRequestError: the prompt is empty or names tokens that the model does not have.
        ContextLengthError: prompt and output do not fit the context.
    """
    ids = request.token_ids
    if not len(ids):
        raise InvalidRequestError("the prompt is empty; send at least one token")
    highest = int(ids.max())
    if highest >= info.vocab_size:
        raise InvalidRequestError(f"token {highest} is not in the vocabulary of {info.vocab_size}")
    context = info.context_tokens
    asked = request.sampling.max_tokens
    least_output = 1 if asked is None else asked
    if len(ids) + least_output > context:
        raise ContextLengthError(
            f"the prompt has {len(ids)} tokens and at least {least_output} are to be "
            f"generated, which is more than the context of {context} tokens; shorten the "
            "prompt or lower max_tokens",
            parameter="max_tokens" if len(ids) < context else "messages",
        )
    return context if asked is None else len(ids) + asked
