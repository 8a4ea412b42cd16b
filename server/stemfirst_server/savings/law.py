"""The law of prefill time on this machine, fitted to its own measurements.

    T(context, new) = a + b·new + c·new·(context + new/2) + d·context    ms, for one chunk

`a` is the price of a step, `b` of a token through the layers, `c` of a token looking at another,
`d` of reading what is there of one token once. A long prefill is the sum over its chunks. Knows
nothing of requests, clocks or a machine that is busy now and idle later (`pace`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

FEWEST_SAMPLES = 9
"""Samples below which nothing is estimated: four coefficients and something to judge them by."""

COVERAGE = 0.9
"""Share of the samples that an interval must hold."""

Z_COVERAGE = 1.645
"""Standard deviations on either side of a normal distribution that hold `COVERAGE` of it."""

Chunk: TypeAlias = tuple[int, int]
"""Context and new tokens of one chunk."""

FloatArray = npt.NDArray[np.float64]


_NEIGHBOURS = 8
"""Chunks that ran soon after one another: what slows all of them is the machine's pace."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured prefill chunk that had the device for itself."""

    context_tokens: int
    new_tokens: int
    ms: float


@dataclass(frozen=True, slots=True)
class Fit:
    """Coefficients, and what the samples say about them.

    Attributes:
        a: milliseconds a step.
        b: milliseconds a new token.
        c: milliseconds a pair of a new token and a token before it.
        d: milliseconds a token that was there.
        error: median of |measured/predicted - 1| over the samples.
        spread: how far a single long chunk may be off at `COVERAGE`, as a share of it, at the
            pace of its neighbours.
        jitter_ms: how far any chunk may be off besides, however short it is.
        mean_ms: what a sample takes by the law, on average.
        covariance: of the coefficients, for relative errors of size 1; 4 rows of 4.
        most_prompt: furthest token that a sample reached: its context and new tokens together.
        fewest_new: smallest chunk among the samples.
        most_new: largest chunk among the samples.
        samples: their number.
    """

    a: float
    b: float
    c: float
    d: float
    error: float
    spread: float
    jitter_ms: float
    mean_ms: float
    covariance: tuple[tuple[float, ...], ...]
    most_prompt: int
    fewest_new: int
    most_new: int
    samples: int

    @property
    def even_tokens(self) -> float:
        """Context at which attention doubles what a token costs; infinite if it costs nothing."""
        return max(1.0, self.b / self.c) if self.c > 0 else math.inf

    def chunk_ms(self, context_tokens: int, new_tokens: int) -> float:
        """Return the predicted milliseconds of one chunk, inside the range or not."""
        reached = context_tokens + new_tokens / 2
        return (
            self.a + self.b * new_tokens + self.c * new_tokens * reached + self.d * context_tokens
        )

    def covers(self, context_tokens: int, new_tokens: int) -> bool:
        """Whether prompts as long and chunks as large as this were measured."""
        reaches = context_tokens + new_tokens
        return reaches <= self.most_prompt and new_tokens <= self.most_new

    def margin_ms(
        self, longer: Sequence[Chunk], shorter: Sequence[Chunk], *, drift: float
    ) -> float:
        """Return how far the difference of two prefills may be off, at `COVERAGE`.

        Three errors that do not depend on each other: of the coefficients, of each chunk, and
        of the machine's pace when it would have run.

        Args:
            longer: the chunks of the one.
            shorter: the chunks of the other.
            drift: how far a run of chunks may be off together; one standard deviation.
        """
        relative, jitter_ms = self.spread / Z_COVERAGE, self.jitter_ms / Z_COVERAGE
        terms = _terms(longer).sum(axis=0) - _terms(shorter).sum(axis=0)
        of_law = relative**2 * float(terms @ np.array(self.covariance) @ terms)
        more, less = ([self.chunk_ms(*chunk) for chunk in chunks] for chunks in (longer, shorter))
        of_chunks = sum((relative * span) ** 2 + jitter_ms**2 for span in (*more, *less))
        # The two would run soon after one another: half of what slows one slows the other.
        together = sum(more) ** 2 + sum(less) ** 2 - sum(more) * sum(less)
        of_time = drift**2 * together
        return Z_COVERAGE * float(np.sqrt(max(0.0, of_law) + of_chunks + of_time))


def fit_law(samples: list[Sample]) -> Fit | None:
    """Return the law that fits the samples best in relative error, or None with too few.

    Coefficients are not negative: where least squares would make one so, it is left out. Half
    of a machine's measurements that are far off (another process took the device) would drag a
    plain fit, so samples are weighed down by how far off they are, in a few rounds.

    Source: iteratively reweighted least squares with Huber's weights (1964).
    """
    if len(samples) < FEWEST_SAMPLES:
        return None
    chunks = [(sample.context_tokens, sample.new_tokens) for sample in samples]
    measured = np.array([sample.ms for sample in samples], dtype=np.float64)
    if len(set(chunks)) < 4:
        return None  # four coefficients need four different points
    terms = _terms(chunks)
    weights = np.ones_like(measured)
    coefficients = np.zeros(4)
    for _ in range(8):
        coefficients = _non_negative(terms, measured, weights / measured)
        predicted = np.maximum(terms @ coefficients, 1e-9)
        off = np.abs(measured - predicted) / measured
        scale = max(1.5 * float(np.median(off)), 1e-6)
        weights = np.sqrt(np.minimum(1.0, scale / np.maximum(off, 1e-12)))
    predicted = np.maximum(terms @ coefficients, 1e-9)
    ratio = measured / predicted
    off = np.abs(ratio - 1)
    # Coefficients bend to the few samples that made them.
    freedom = math.sqrt(len(samples) / (len(samples) - np.count_nonzero(coefficients)))
    spread, jitter_ms = (freedom * noise for noise in _noise(measured, predicted))
    used = np.flatnonzero(coefficients)
    scaled = terms[:, used] / measured[:, None] * weights[:, None]
    covariance = np.zeros((4, 4))
    covariance[np.ix_(used, used)] = np.linalg.pinv(scaled.T @ scaled)
    a, b, c, d = (float(value) for value in coefficients)
    return Fit(
        a,
        b,
        c,
        d,
        error=float(np.median(off)),
        spread=spread,
        jitter_ms=jitter_ms,
        mean_ms=float(np.mean(predicted)),
        covariance=tuple(tuple(map(float, row)) for row in covariance),
        most_prompt=max(context + new for context, new in chunks),
        fewest_new=min(new for _, new in chunks),
        most_new=max(new for _, new in chunks),
        samples=len(samples),
    )


def _terms(chunks: Sequence[Chunk]) -> FloatArray:
    """Return what each coefficient is multiplied by: a row of four for each chunk."""
    pairs = np.array(chunks, dtype=np.float64).reshape(-1, 2)
    context, new = pairs[:, 0], pairs[:, 1]
    return np.stack([np.ones_like(new), new, new * (context + new / 2), context], axis=1)


def _noise(measured: FloatArray, predicted: FloatArray) -> tuple[float, float]:
    """Return how far single chunks are off at `COVERAGE`: a share of long ones, and ms of all.

    Each is held against its neighbours' pace. A short chunk that waits for the machine is off
    by much of itself and by little of a prompt: so the two are told apart.
    """
    count = max(1, len(measured) // _NEIGHBOURS)
    pace = np.concatenate(
        [
            np.full(len(part), measured[part].sum() / predicted[part].sum())
            for part in np.array_split(np.arange(len(measured)), count)
        ]
    )
    off_ms = np.abs(measured / pace - predicted)
    is_long = predicted >= np.median(predicted)
    spread = float(np.quantile(off_ms[is_long] / predicted[is_long], COVERAGE))
    if is_long.all():
        return spread, 0.0
    short = float(np.quantile(off_ms[~is_long], COVERAGE))
    explained = spread * float(np.median(predicted[~is_long]))
    return spread, math.sqrt(max(0.0, short**2 - explained**2))


def _non_negative(terms: FloatArray, measured: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the best coefficients that are not negative; four terms, so all subsets are tried."""
    best = np.zeros(terms.shape[1])
    best_error = np.inf
    count = terms.shape[1]
    for size in range(1, count + 1):
        for chosen in combinations(range(count), size):
            columns = list(chosen)
            scaled = terms[:, columns] * weights[:, None]
            solved, *_ = np.linalg.lstsq(scaled, measured * weights, rcond=None)
            if (solved < 0).any():
                continue
            error = float((((scaled @ solved) - measured * weights) ** 2).sum())
            if error < best_error:
                best_error = error
                best = np.zeros(count)
                best[columns] = solved
    return best
