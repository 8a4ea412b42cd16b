"""Linear layers on the CPU through oneDNN, where that is measured to be faster than torch's BLAS.

Knows: torch gives products in float32 to the BLAS that it was built with, which on some processors
reaches half of what oneDNN does that torch carries too: 95 against 210 GFLOP/s a core on a Zen 5
with MKL, which also reads the weights for a single row with one thread. So it is measured from how
many rows on it is faster. The same weights are used where they lie. Does not know the model.

In half precision torch calls oneDNN itself.
"""

from __future__ import annotations

import logging
import math
import time
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_log = logging.getLogger("stemfirst.model")

_ROWS = (256, 64, 16, 4, 1)
# Few rows are a matter of reading the weights, and a step finds none of them in a cache: measured
# on one weight again and again, single rows seemed slower through oneDNN, and were twice as fast.
_MOST_COLD_ROWS = 16
_COLD_BYTES = 256 * 2**20
_MOST_EXACT_ROWS = 4
_ROUNDS = 5
_LEAST_GAIN = 1.05
# Sums in another order differ by this share of the numbers' size, at most.
_TOLERANCE = 1e-5

# torch's compiler calls it for frozen models; eager code has no public name for it.
_one_dnn: Callable[..., torch.Tensor] | None = getattr(
    getattr(torch.ops, "mkldnn", None), "_linear_pointwise", None
)


class OneDnnLinear(nn.Linear):
    """A linear layer whose larger products go to oneDNN; `take_over` makes it of a plain one."""

    least_rows: int

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002
        """Return `input @ weight.T + bias`."""
        if input.numel() < self.least_rows * self.in_features:
            return F.linear(input, self.weight, self.bias)
        return product(input, self.weight, self.bias)


def take_over(model: nn.Module) -> int | None:
    """Let oneDNN compute a model's linear layers where it is faster; return from how many rows.

    None, and the model as it was: not on a CPU, not in float32, or oneDNN is not faster. Only plain
    layers are taken: those of quantising libraries have a forward pass of their own.
    """
    layers = [
        module
        for module in model.modules()
        if type(module) is nn.Linear
        and module.weight.dtype == torch.float32
        and module.weight.device.type == "cpu"
    ]
    if _one_dnn is None or not layers:
        return None
    least_rows = faster_from([layer.weight for layer in layers])
    if least_rows is None:
        return None
    for layer in layers:
        layer.__class__ = OneDnnLinear
        layer.least_rows = least_rows  # type: ignore[assignment]
    _log.info("oneDNN computes products of %d rows and more", least_rows)
    return least_rows


def faster_from(weights: Sequence[torch.Tensor]) -> int | None:
    """Return the number of rows from which oneDNN is faster with these weights; None if never.

    None too if it cannot do it, or gives other numbers.
    """
    # The middle one in size: neither a router of a few rows nor the vocabulary.
    middle = sorted(weights, key=torch.numel)[len(weights) // 2]
    least: int | None = None
    with torch.inference_mode():
        for rows in _ROWS:
            measured = [middle] if rows > _MOST_COLD_ROWS else _that_fill(weights, _COLD_BYTES)
            inputs = {width: _random(rows, width) for width in {w.shape[1] for w in measured}}
            pairs = [(inputs[weight.shape[1]], weight) for weight in measured]
            hidden = _random(rows, middle.shape[1])
            try:
                got = product(hidden, middle, None)
            except (RuntimeError, NotImplementedError, TypeError):
                return None
            expected = F.linear(hidden, middle)
            if (got - expected).abs().max() > _TOLERANCE * middle.shape[1] * middle.abs().max():
                return None
            plain, one_dnn = _seconds(
                lambda pairs=pairs: [F.linear(x, weight) for x, weight in pairs],  # type: ignore[misc]
                lambda pairs=pairs: [product(x, weight, None) for x, weight in pairs],  # type: ignore[misc]
            )
            if plain < one_dnn * _LEAST_GAIN:
                break
            least = rows
    return least


def _that_fill(weights: Sequence[torch.Tensor], most_bytes: int) -> list[torch.Tensor]:
    """Return the first weights that are not more than so many bytes together; at least one."""
    sizes = list(accumulate(weight.nbytes for weight in weights))
    return list(weights[: max(1, bisect_right(sizes, most_bytes))])


def _random(rows: int, width: int) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(rows))


def ways(
    dtype: torch.dtype,
) -> tuple[Callable[[torch.Tensor, torch.Tensor], torch.Tensor], ...]:
    """Return the ways to multiply by a weight on this CPU: torch's own, and oneDNN's if apart."""
    if _one_dnn is None or dtype != torch.float32:
        return (F.linear,)
    return (F.linear, lambda hidden, weight: product(hidden, weight, None))


def padded_rows(rows: int) -> int:
    """Return the number of rows that a product of `rows` rows is computed with.

    oneDNN keeps compiled code for every shape that it has seen (1,024 of them, hundreds of MB where
    each step has another number of rows). Eight numbers to an octave are few, and soon all seen.
    Up to four rows nothing is added: a lone request decodes in one.
    """
    if rows <= _MOST_EXACT_ROWS:
        return rows
    step = max(4, 1 << max(rows.bit_length() - 4, 0))
    return -(-rows // step) * step


def product(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return `hidden @ weight.T + bias` by oneDNN."""
    assert _one_dnn is not None
    rows = hidden.numel() // hidden.shape[-1]
    padded = padded_rows(rows)
    if padded == rows:
        return _one_dnn(hidden, weight, bias, "none", [], "")
    room = hidden.new_zeros(padded, hidden.shape[-1])
    room[:rows] = hidden.reshape(rows, -1)
    product = _one_dnn(room, weight, bias, "none", [], "")[:rows]
    return product.view(*hidden.shape[:-1], -1)


def _seconds(*runs: Callable[[], Any]) -> list[float]:
    """Return the best time of each; rounds go through all, so that busy moments fall on all."""
    best = [math.inf] * len(runs)
    for _ in range(_ROUNDS):
        for index, run in enumerate(runs):
            started = time.perf_counter()
            run()
            best[index] = min(best[index], time.perf_counter() - started)
    return best
