"""The first measurements of prefill time, taken before the first request.

A well-hit server never sees a long cold prefill, so the cost of what it saves must be measured on
purpose. Knows which points tell most and how long that may take; the engine does the measuring.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeAlias

from stemfirst_server.savings.law import FEWEST_SAMPLES, Sample

Measure: TypeAlias = Callable[[int, int], float]
"""Takes context and new tokens, computes such a chunk, returns milliseconds."""


def points(context_tokens: int, chunk_tokens: int) -> list[tuple[int, int]]:
    """Return (context, new) pairs to measure, those that tell most first.

    Full chunks at growing contexts give `b` and `c`; a small chunk at each context gives `a`,
    and what the tail of a warm request costs. The last context is one chunk short of the
    model's (or the pool's) limit, at most 16,384, so that every prompt up to there is in range.

    Args:
        context_tokens: most tokens that a prompt can have here.
        chunk_tokens: most tokens that the engine computes in one step.
    """
    longest = max(0, min(context_tokens, 16_384) - chunk_tokens)
    contexts = [0]
    context = max(chunk_tokens, 1)
    while context < longest:
        contexts.append(context)
        context *= 2
    if longest:
        contexts.append(longest)
    small = [size for size in (16, 64, 256) if size < chunk_tokens]
    wanted = [(0, chunk_tokens)]
    wanted += [(context, size) for size in small[:2] for context in contexts[:3]]
    wanted += [(context, chunk_tokens) for context in contexts[1:]]
    wanted += [(context, size) for size in small[2:] for context in contexts]
    wanted += [(context, small[0]) for context in contexts[3:] if small]
    return [point for point in wanted if sum(point) <= context_tokens]


def calibrate(
    measure: Measure,
    *,
    context_tokens: int,
    chunk_tokens: int,
    budget_s: float,
) -> Iterator[Sample]:
    """Yield samples until the grid is measured twice or the time is used up.

    Args:
        measure: takes (context, new) tokens, computes such a chunk, returns milliseconds.
        context_tokens: most tokens that a prompt can have here.
        chunk_tokens: most tokens that the engine computes in one step.
        budget_s: seconds after which no further point is started, once there are enough of
            them to fit; 0 measures nothing.
    """
    grid = points(context_tokens, chunk_tokens)
    if not grid or budget_s <= 0:
        return
    began = time.monotonic()
    measure(*grid[0])  # the first call of a shape pays for allocations and is no sample
    for count, (context, new) in enumerate(grid * 2):
        if count >= FEWEST_SAMPLES and time.monotonic() - began > budget_s:
            return
        yield Sample(context, new, measure(context, new))
