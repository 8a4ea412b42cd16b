"""The choice of the next token, row by row, so that one request's fault stays its own.

Knows: logits, sampling parameters and what a request has written so far. Does not know batches,
pages or text. Randomness comes from a generator per request, one number a token: the draw does
not depend on what else runs in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from stemfirst_server.engine.request import SamplingParams, TokenLogprob
from stemfirst_server.errors import RequestFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from stemfirst_server.engine.constraint import Constraint


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen token, with logprobs if they were asked for."""

    token_id: int
    logprob: float | None = None
    top_logprobs: tuple[TokenLogprob, ...] = ()


class Sampler:
    """One request's way to choose, with its random state."""

    def __init__(self, params: SamplingParams, constraint: Constraint | None = None) -> None:
        self.params = params
        self._state = None if constraint is None else constraint.begin()
        self._random = np.random.Generator(np.random.Philox(params.seed))

    @property
    def takes_likeliest(self) -> bool:
        """Whether the choice is the model's likeliest token, and nothing else is asked for."""
        params = self.params
        return (
            self._state is None
            and params.is_greedy
            and params.logprobs is None
            and not params.changes_logits
        )

    @property
    def is_complete(self) -> bool:
        """Whether the constraint allows nothing more."""
        return self._state is not None and self._state.is_complete

    def choose(
        self, logits: torch.Tensor, *, prompt: npt.NDArray[np.int32], output: Sequence[int]
    ) -> Choice:
        """Return the next token.

        Args:
            logits: `(vocab,)` float32; not changed.
            prompt: the prompt's tokens, for the repetition penalty.
            output: the tokens generated so far.

        Raises:
            RequestFailedError: the parameters leave nothing to choose from.
        """
        params = self.params
        if params.logprobs is not None and params.logprobs > len(logits):
            raise RequestFailedError(
                f"logprobs must be at most the vocabulary of {len(logits)} tokens, "
                f"got {params.logprobs}"
            )
        moved = logits
        if params.changes_logits:
            moved = self._moved(logits, prompt, output)
            if not moved.max().isfinite():
                raise RequestFailedError(
                    "the penalties leave numbers that are not finite; use a milder "
                    f"repetition_penalty than {params.repetition_penalty:g}"
                )
        if self._state is not None:
            moved = _masked(moved, self._state.allowed())
        token_id = int(moved.argmax()) if params.is_greedy else self._draw(moved)
        if self._state is not None:
            self._state.accept(token_id)
        if params.logprobs is None:
            return Choice(token_id)
        logprobs = logits.log_softmax(-1)
        best = logprobs.topk(params.logprobs)
        return Choice(
            token_id,
            float(logprobs[token_id]),
            tuple(map(TokenLogprob, best.indices.tolist(), best.values.tolist())),
        )

    def _moved(
        self, logits: torch.Tensor, prompt: npt.NDArray[np.int32], output: Sequence[int]
    ) -> torch.Tensor:
        params = self.params
        moved = logits.clone()
        if params.repetition_penalty != 1.0:
            seen = torch.from_numpy(np.union1d(prompt, np.array(output, dtype=np.int64)))
            seen = seen.to(device=moved.device, dtype=torch.int64)
            at = moved[seen]
            penalty = params.repetition_penalty
            moved[seen] = torch.where(at > 0, at / penalty, at * penalty)
        if output and (params.presence_penalty or params.frequency_penalty):
            ids, counts = np.unique(np.array(output, dtype=np.int64), return_counts=True)
            penalties = params.presence_penalty + params.frequency_penalty * counts
            moved[torch.from_numpy(ids).to(moved.device)] -= torch.from_numpy(penalties).to(moved)
        for token_id, bias in params.logit_bias:
            if token_id >= len(moved):
                raise RequestFailedError(
                    f"logit_bias names token {token_id}, and the vocabulary ends at "
                    f"{len(moved) - 1}"
                )
            moved[token_id] += bias
        return moved

    def _draw(self, logits: torch.Tensor) -> int:
        """Return a token drawn by inverting the cumulative distribution at one uniform number.

        Candidates stand in the order of their ids, not of their logits: two that are nearly as
        likely would change places by rounding, and another one would be drawn.
        """
        params = self.params
        # The best at 0: divided by the smallest temperatures, others would be infinite, and it too.
        below = logits - logits.max()
        candidates: torch.Tensor | None = None
        if 0 < params.top_k < len(below):
            below, candidates = below.topk(params.top_k)
        elif params.top_p < 1.0:
            below, candidates = below.sort(descending=True, stable=True)
        weights = (below.double() / params.temperature).softmax(-1)
        if params.top_p < 1.0:
            # A candidate stays if what stands before it is still below top_p: the best always.
            before = weights.cumsum(-1) - weights
            weights = weights.masked_fill(before >= params.top_p, 0.0)
        if params.min_p > 0.0:
            weights = weights.masked_fill(weights < params.min_p * weights.max(), 0.0)
        if candidates is not None:
            kept = int(weights.count_nonzero())  # the likeliest stand in front
            candidates, order = candidates[:kept].sort()
            weights = weights[:kept][order]
        cumulative = weights.cumsum(-1)
        total = float(cumulative[-1])
        target = self._random.random() * total
        place = int(torch.searchsorted(cumulative, target, right=True))
        # A target that rounds up to the total would fall behind the last candidate with weight.
        if place >= len(weights) or float(weights[place]) == 0.0:
            place = int(weights.nonzero()[-1])
        return place if candidates is None else int(candidates[place])


def _masked(logits: torch.Tensor, allowed: npt.NDArray[np.bool_]) -> torch.Tensor:
    """Return the logits with those that are not allowed at minus infinity."""
    if not allowed.any():
        raise RequestFailedError("the asked format leaves no token to choose from")
    masked = torch.full_like(logits, float("-inf"))
    ids = torch.from_numpy(np.flatnonzero(allowed[: len(logits)])).to(logits.device)
    masked[ids] = logits[ids]
    return masked
