"""The law of prefill time on this machine, fitted to its own measurements.

    T(context, new) = a + b·new + c·new·(context + new/2)    milliseconds, for one chunk

`a` is the price of a step, `b` of a token through the layers, `c` of a token looking at another.
A long prefill is the sum over its chunks. Knows nothing of requests or clocks; samples are given
to it. What lies outside the range of the samples is not estimated.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import combinations
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterable

FEWEST_SAMPLES = 8
"""Samples below which nothing is estimated: three coefficients and something to judge them by."""

COVERAGE = 0.9
"""Share of the samples that an interval must hold."""

_KEPT_SAMPLES = 512
_REFIT_EVERY = 16

FloatArray = npt.NDArray[np.float64]


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
        error: median of |measured/predicted - 1| over the samples.
        spread: the same at `COVERAGE`.
        most_prompt: furthest token that a sample reached: its context and new tokens together.
        fewest_new: smallest chunk among the samples.
        most_new: largest chunk among the samples.
        samples: their number.
    """

    a: float
    b: float
    c: float
    error: float
    spread: float
    most_prompt: int
    fewest_new: int
    most_new: int
    samples: int

    def chunk_ms(self, context_tokens: int, new_tokens: int) -> float:
        """Return the predicted milliseconds of one chunk, inside the range or not."""
        reached = context_tokens + new_tokens / 2
        return self.a + self.b * new_tokens + self.c * new_tokens * reached

    def covers(self, context_tokens: int, new_tokens: int) -> bool:
        """Whether prompts as long and chunks as large as this were measured."""
        reaches = context_tokens + new_tokens
        return reaches <= self.most_prompt and new_tokens <= self.most_new


@dataclass(frozen=True, slots=True)
class SavedTime:
    """An estimate in milliseconds; `low` to `high` should hold the truth in 90 % of cases."""

    ms: float
    low: float
    high: float
    samples: int
    error: float


class CostModel:
    """Keeps samples, fits the law to them, and answers what a hit saved. Thread-safe.

    Calibration samples stay; of the online ones the newest `_KEPT_SAMPLES` count, so that the
    law follows a machine that changes.
    """

    def __init__(self, chunk_tokens: int) -> None:
        self._chunk_tokens = chunk_tokens
        self._calibrated: list[Sample] = []
        self._online: deque[Sample] = deque(maxlen=_KEPT_SAMPLES)
        self._since_fit = 0
        self._fit: Fit | None = None
        self._lock = Lock()

    @property
    def fit(self) -> Fit | None:
        """The present coefficients; None before there are enough samples."""
        return self._fit

    def calibrate(self, samples: Iterable[Sample]) -> None:
        """Add measurements that were taken on purpose, and fit."""
        with self._lock:
            self._calibrated.extend(sample for sample in samples if sample.ms > 0)
            self._refit()

    def observe(self, sample: Sample) -> None:
        """Add a measurement from live traffic; the fit follows every few of them."""
        if sample.ms <= 0 or sample.new_tokens < 1:
            return
        with self._lock:
            self._online.append(sample)
            self._since_fit += 1
            if self._since_fit >= _REFIT_EVERY:
                self._refit()

    def prefill_ms(self, context_tokens: int, new_tokens: int) -> float | None:
        """Return the predicted prefill of `new_tokens` behind a cached context, over its chunks.

        None where a chunk of it lies outside what was measured.
        """
        fit = self._fit
        if fit is None:
            return None
        total = 0.0
        for context, new in self._chunks(context_tokens, new_tokens):
            if not fit.covers(context, new):
                return None
            total += fit.chunk_ms(context, new)
        return total

    def saved(self, cached_tokens: int, computed_tokens: int) -> SavedTime | None:
        """Return what it saved that `cached_tokens` of a prompt were not computed.

        An estimate of device time: queueing is not counted. May be negative. None outside the
        measured range or before enough samples.
        """
        fit = self._fit
        if fit is None:
            return None
        if cached_tokens == 0:
            return SavedTime(0.0, 0.0, 0.0, fit.samples, fit.error)
        cold = self.prefill_ms(0, cached_tokens + computed_tokens)
        warm = self.prefill_ms(cached_tokens, computed_tokens)
        if cold is None or warm is None:
            return None
        # Both figures come from one fit; taking their errors as independent is the wider choice.
        margin = fit.spread * float(np.hypot(cold, warm))
        saved = cold - warm
        return SavedTime(saved, saved - margin, saved + margin, fit.samples, fit.error)

    def _chunks(self, context_tokens: int, new_tokens: int) -> Iterable[tuple[int, int]]:
        done = 0
        while done < new_tokens:
            new = min(self._chunk_tokens, new_tokens - done)
            yield context_tokens + done, new
            done += new

    def _refit(self) -> None:
        self._since_fit = 0
        self._fit = fit_law([*self._calibrated, *self._online])


def fit_law(samples: list[Sample]) -> Fit | None:
    """Return the law that fits the samples best in relative error, or None with too few.

    Coefficients are not negative: where least squares would make one so, it is left out. Half
    of a machine's measurements that are far off (another process took the device) would drag a
    plain fit, so samples are weighed down by how far off they are, in a few rounds.

    Source: iteratively reweighted least squares with Huber's weights (1964).
    """
    if len(samples) < FEWEST_SAMPLES:
        return None
    context = np.array([sample.context_tokens for sample in samples], dtype=np.float64)
    new = np.array([sample.new_tokens for sample in samples], dtype=np.float64)
    measured = np.array([sample.ms for sample in samples], dtype=np.float64)
    if len(np.unique(np.stack([context, new]), axis=1).T) < 3:
        return None  # three coefficients need three different points
    terms = np.stack([np.ones_like(new), new, new * (context + new / 2)], axis=1)
    weights = np.ones_like(measured)
    coefficients = np.zeros(3)
    for _ in range(8):
        coefficients = _non_negative(terms, measured, weights / measured)
        predicted = np.maximum(terms @ coefficients, 1e-9)
        off = np.abs(measured - predicted) / measured
        scale = max(1.5 * float(np.median(off)), 1e-6)
        weights = np.sqrt(np.minimum(1.0, scale / np.maximum(off, 1e-12)))
    predicted = np.maximum(terms @ coefficients, 1e-9)
    off = np.abs(measured / predicted - 1)
    a, b, c = (float(value) for value in coefficients)
    return Fit(
        a,
        b,
        c,
        error=float(np.median(off)),
        spread=float(np.quantile(off, COVERAGE)),
        most_prompt=int((context + new).max()),
        fewest_new=int(new.min()),
        most_new=int(new.max()),
        samples=len(samples),
    )


def _non_negative(terms: FloatArray, measured: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the best coefficients that are not negative; three terms, so all subsets are tried."""
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
