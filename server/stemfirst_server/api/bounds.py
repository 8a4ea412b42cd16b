"""What a request may hold at most: tokens of the vocabulary, and a prompt that fits the context.

Knows one model's sizes and the words that clients look for when something is too long. Knows no
prompt's text: it is told counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stemfirst_server.errors import ContextLengthError, InvalidRequestError

if TYPE_CHECKING:
    from stemfirst_server.engine.request import SamplingParams

CHARACTERS_PER_TOKEN = 16
"""More than texts have on average, in any language; what exceeds it is no text for the context."""

LEAST_MOST_CHARACTERS = 2**20
"""Texts up to here are tokenised whatever the context is: a second or two beside all else."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The sizes of one served model.

    Attributes:
        context_tokens: of a prompt and its answer together.
        vocab_size: token ids are below it.
        most_output_tokens: of an answer; None: up to the end of the context.
        is_pool_short: the model has a longer context, and the KV memory does not.
    """

    context_tokens: int
    vocab_size: int
    most_output_tokens: int | None = None
    is_pool_short: bool = False

    def check_tokens(self, token_ids: Sequence[int], parameter: str) -> None:
        """Refuse tokens that the model does not have.

        Raises:
            InvalidRequestError: an id is outside the vocabulary.
        """
        for token_id in token_ids:
            if not 0 <= token_id < self.vocab_size:
                raise InvalidRequestError(
                    f"token ids must be between 0 and {self.vocab_size - 1}, "
                    f"got {str(token_id)[:20]}",
                    parameter=parameter,
                )

    def check_biases(self, sampling: SamplingParams) -> None:
        """Refuse a bias on a token that the model does not have.

        Raises:
            InvalidRequestError: an id is outside the vocabulary.
        """
        for token_id, _ in sampling.logit_bias:
            if token_id >= self.vocab_size:
                raise InvalidRequestError(
                    f"logit_bias must name token ids below {self.vocab_size}, got {token_id}",
                    parameter="logit_bias",
                )

    def check_length(self, prompt_tokens: int, max_tokens: int | None, parameter: str) -> None:
        """Refuse what cannot fit, in the words that clients look for.

        Raises:
            ContextLengthError: the prompt alone, or with its output, exceeds the context.
            InvalidRequestError: there are no tokens at all.
        """
        if prompt_tokens == 0:
            raise InvalidRequestError("the prompt is empty: send some text", parameter=parameter)
        least_output = 1 if max_tokens is None else max_tokens
        if prompt_tokens + least_output > self.context_tokens:
            asked = f" and {max_tokens} for the answer" if max_tokens else ""
            raise ContextLengthError(
                f"{self._limit()}, but {prompt_tokens} tokens in the prompt{asked} were asked for: "
                "shorten the prompt or max_tokens",
                parameter=parameter,
            )

    def refuse_hopeless(self, characters: int, parameter: str | None) -> None:
        """Refuse a text before it costs minutes to find out that it cannot fit.

        Raises:
            ContextLengthError: it is beyond what tokens of many characters each would hold.
        """
        most = max(LEAST_MOST_CHARACTERS, self.context_tokens * CHARACTERS_PER_TOKEN)
        if characters > most:
            raise ContextLengthError(
                f"{self._limit()}, and {characters} characters or tokens are more than the {most} "
                "that are read for it: shorten the prompt",
                parameter=parameter,
            )

    def _limit(self) -> str:
        said = f"This model's maximum context length is {self.context_tokens} tokens"
        if self.is_pool_short:
            said += " here (the server's KV memory holds no more; --pool-tokens sets it)"
        return said

    def fitted(
        self, sampling: SamplingParams, prompt_tokens: int, parameter: str
    ) -> SamplingParams:
        """Return the parameters, with no more output than an operator allows.

        Raises:
            ContextLengthError: the prompt alone, or with its output, exceeds the context.
            InvalidRequestError: there are no tokens at all.
        """
        most, asked = self.most_output_tokens, sampling.max_tokens
        if most is None:
            self.check_length(prompt_tokens, asked, parameter)
            return sampling
        limited = None if asked is None else min(asked, most)
        self.check_length(prompt_tokens, limited, parameter)
        if limited is None:
            limited = min(most, self.context_tokens - prompt_tokens)
        return replace(sampling, max_tokens=limited)
