"""Which precision and how many threads this processor is fastest with, by measuring.

Knows: two products with the weights of a model's width, one of many tokens as in prefill and one
of few as in decode, where weights stream from memory. Does not know the model.

A processor that computes in bfloat16 is not always faster with it: on one with AVX512-BF16 a model
of 5 million parameters decoded slower than in float32, one of 100 million in 60 % of the time. And
more threads than cores are mostly slower, not always.
"""

from __future__ import annotations

import logging
import math
import os
import time
from typing import TYPE_CHECKING

import torch

from stemfirst_server.model.linear import ways

if TYPE_CHECKING:
    from collections.abc import Sequence

_log = logging.getLogger("stemfirst.model")

_PREFILL_TOKENS = 256
_DECODE_TOKENS = 4
_ROUNDS = 5
# Decode reads weights that are in no cache.
_WEIGHT_BYTES = 48 * 2**20
_MOST_MATRICES = 16
# What was measured has to be worth the precision, or the cores.
_LEAST_GAIN = 1.1


def fastest_dtype(width: int) -> torch.dtype:
    """Return bfloat16 if this processor is clearly faster with it than with float32.

    Args:
        width: numbers in a token's hidden state.
    """
    dtypes = (torch.float32, torch.bfloat16)
    single, half = _times([(dtype, torch.get_num_threads()) for dtype in dtypes], width)
    gain = _gain(single, half)
    _log.info("bfloat16 is %.2f times as fast as float32 here", gain)
    return torch.bfloat16 if gain >= _LEAST_GAIN else torch.float32


def fastest_threads(width: int, dtype: torch.dtype) -> int:
    """Return the number of threads that is fastest, of torch's choice, its half and all cores."""
    chosen = torch.get_num_threads()
    others = {max(1, chosen // 2), _usable_cores()} - {chosen}
    counts = [chosen, *sorted(others)]
    first, *rest = _times([(dtype, count) for count in counts], width)
    best, best_gain = chosen, _LEAST_GAIN
    for count, times in zip(counts[1:], rest, strict=True):
        gain = _gain(first, times)
        _log.info("%d threads are %.2f times as fast as %d", count, gain, chosen)
        if gain >= best_gain:
            best, best_gain = count, gain
    return best


def _gain(slow: tuple[float, float], fast: tuple[float, float]) -> float:
    """Return how many times as fast, prefill and decode counted alike."""
    return math.sqrt(slow[0] / fast[0] * slow[1] / fast[1])


def _times(settings: Sequence[tuple[torch.dtype, int]], width: int) -> list[tuple[float, float]]:
    """Return seconds for prefill and decode with each setting; the threads are left as they were.

    Rounds go through all settings, so that a busy moment falls on all of them.
    """
    before = torch.get_num_threads()
    best = [(math.inf, math.inf)] * len(settings)
    matrices = {dtype: _matrices(dtype, width) for dtype, _ in settings}
    try:
        with torch.inference_mode():
            for _ in range(_ROUNDS):
                for index, (dtype, threads) in enumerate(settings):
                    torch.set_num_threads(threads)
                    took = (
                        _seconds(matrices[dtype][:4], _PREFILL_TOKENS),
                        _seconds(matrices[dtype], _DECODE_TOKENS),
                    )
                    best[index] = (min(best[index][0], took[0]), min(best[index][1], took[1]))
    finally:
        torch.set_num_threads(before)
    return best


def _matrices(dtype: torch.dtype, width: int) -> list[torch.Tensor]:
    one = 4 * width * width
    count = max(4, min(_MOST_MATRICES, _WEIGHT_BYTES // (4 * one)))
    return [torch.ones(4 * width, width, dtype=dtype) for _ in range(count)]


def _seconds(matrices: Sequence[torch.Tensor], tokens: int) -> float:
    """Return the time of the faster of the ways that there are."""
    hidden = torch.ones(tokens, matrices[0].shape[1], dtype=matrices[0].dtype)
    took = []
    for way in ways(hidden.dtype):
        started = time.perf_counter()
        for matrix in matrices:
            way(hidden, matrix)
        took.append(time.perf_counter() - started)
    return min(took)


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
