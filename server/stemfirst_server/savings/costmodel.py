"""The law of prefill time on this machine, fitted to its own measurements.

    T(context, new) = a + b·new + c·new·(context + new/2) + d·context    ms, for one chunk

`a` is the price of a step, `b` of a token through the layers, `c` of a token looking at another,
`d` of reading what is there of one token once. A long prefill is the sum over its chunks. Knows
nothing of requests or clocks; samples are given to it, and what runs without the cache really
saved. What lies outside the range of the samples is not estimated.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from itertools import combinations
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

FEWEST_SAMPLES = 9
"""Samples below which nothing is estimated: four coefficients and something to judge them by."""

FEWEST_SHADOWS = 20
"""Shadow runs below which they change no interval."""

COVERAGE = 0.9
"""Share of the samples that an interval must hold."""

Z_COVERAGE = 1.645
"""Standard deviations on either side of a normal distribution that hold `COVERAGE` of it."""

NEGLIGIBLE = 0.05
"""Share of a prompt's whole prefill below which an interval is narrow whatever it holds."""

_LEAST_DRIFT = 0.02
_STRETCHES = (0.2, 20.0)
_BLOCK = 8
"""Samples that are looked at together for drift: about the chunks of one long prompt."""

_KEPT_SHADOWS = 200
_KEPT_SAMPLES = 512
_REFIT_EVERY = 16

Chunk: TypeAlias = tuple[int, int]
"""Context and new tokens of one chunk."""

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
        d: milliseconds a token that was there.
        error: median of |measured/predicted - 1| over the samples.
        spread: the same at `COVERAGE`: how far a single chunk may be off.
        drift: how far a run of neighbouring samples is off together, one standard deviation:
            a machine that is busy for a while slows all chunks of a prompt.
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
    drift: float
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

    def margin_ms(self, longer: Sequence[Chunk], shorter: Sequence[Chunk]) -> float:
        """Return how far the difference of two prefills may be off, at `COVERAGE`.

        Three errors that do not depend on each other: of the coefficients, of each chunk, and
        of the time at which it would have run.
        """
        chunk_error = self.spread / Z_COVERAGE
        terms = _terms(longer).sum(axis=0) - _terms(shorter).sum(axis=0)
        of_law = chunk_error**2 * float(terms @ np.array(self.covariance) @ terms)
        more, less = ([self.chunk_ms(*chunk) for chunk in chunks] for chunks in (longer, shorter))
        of_chunks = sum((chunk_error * span) ** 2 for span in (*more, *less))
        # The two would run soon after one another: half of what slows one slows the other.
        together = sum(more) ** 2 + sum(less) ** 2 - sum(more) * sum(less)
        of_time = self.drift**2 * together
        return Z_COVERAGE * float(np.sqrt(max(0.0, of_law) + of_chunks + of_time))


@dataclass(frozen=True, slots=True)
class SavedTime:
    """An estimate in milliseconds; `low` to `high` should hold the truth in 90 % of cases.

    `error` is the median relative error of such estimates: as `shadows` runs without the cache
    measured it, where there were enough, else what the law leaves of its own samples.
    """

    ms: float
    low: float
    high: float
    samples: int
    error: float
    shadows: int = 0
    stretch: float = 1.0
    """What the law's own interval was multiplied by."""


@dataclass(frozen=True, slots=True)
class Shadow:
    """What a run without the cache really took more than the run with it, and what was said."""

    truth_ms: float
    said: SavedTime

    @property
    def error(self) -> float:
        """The estimate's distance from the truth, as a share of the estimate."""
        return abs(self.truth_ms - self.said.ms) / max(abs(self.said.ms), 1e-9)

    @property
    def reach(self) -> float:
        """The estimate's distance from the truth, in half widths of its interval."""
        half = (self.said.high - self.said.low) / 2
        return abs(self.truth_ms - self.said.ms) / max(half, 1e-9)


class CostModel:
    """Keeps samples, fits the law to them, and answers what a hit saved. Thread-safe.

    Calibration samples stay; of the online ones the newest `_KEPT_SAMPLES` count, so that the
    law follows a machine that changes. Intervals are stretched or shrunk by what shadow runs
    measured, once there are `FEWEST_SHADOWS` of them.

    Args:
        chunk_tokens: most tokens that the engine computes in one step.
        shadow_rate: share of the hits whose estimate is to be compared with a cold run.
        on_fit: told each new fit, in whichever thread gave the sample; must be quick.
    """

    def __init__(
        self,
        chunk_tokens: int,
        *,
        shadow_rate: float = 0.0,
        on_fit: Callable[[Fit], None] | None = None,
    ) -> None:
        self._on_fit = on_fit
        self.shadow_rate = shadow_rate
        self._chunk_tokens = chunk_tokens
        self._calibrated: list[Sample] = []
        self._online: deque[Sample] = deque(maxlen=_KEPT_SAMPLES)
        self._since_fit = 0
        self._fit: Fit | None = None
        self._shadows: deque[Shadow] = deque(maxlen=_KEPT_SHADOWS)
        self._verdict = Verdict()
        self._lock = Lock()

    @property
    def fit(self) -> Fit | None:
        """The present coefficients; None before there are enough samples."""
        return self._fit

    @property
    def verdict(self) -> Verdict:
        """What shadow runs say of the estimates."""
        return self._verdict

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

    def compare(self, truth_ms: float, said: SavedTime) -> None:
        """Take what a run without the cache measured.

        Args:
            truth_ms: its prefill less that of the run with the cache.
            said: what was estimated for it.
        """
        with self._lock:
            self._shadows.append(Shadow(truth_ms, said))
            self._verdict = verdict_of(list(self._shadows))

    def prefill_ms(self, context_tokens: int, new_tokens: int) -> float | None:
        """Return the predicted prefill of `new_tokens` behind a cached context, over its chunks.

        None where a chunk of it lies outside what was measured.
        """
        fit = self._fit
        chunks = self._chunks(context_tokens, new_tokens)
        if fit is None or not all(fit.covers(*chunk) for chunk in chunks):
            return None
        return sum(fit.chunk_ms(*chunk) for chunk in chunks)

    def saved(self, cached_tokens: int, computed_tokens: int) -> SavedTime | None:
        """Return what it saved that `cached_tokens` of a prompt were not computed.

        An estimate of device time: queueing is not counted. May be negative. None outside the
        measured range, before enough samples, and where they scatter too much (`avoided`).
        """
        return self.avoided(0, cached_tokens, computed_tokens)

    def avoided(self, context_tokens: int, more_tokens: int, rest_tokens: int) -> SavedTime | None:
        """Return what it saves that `more_tokens` behind a context need not be computed.

        None, too, where the measurements scatter so much that the interval holds zero and more
        than `NEGLIGIBLE` of the whole prefill: it would not tell a gain from a loss.

        Args:
            context_tokens: cached in either case.
            more_tokens: cached in one case, computed in the other.
            rest_tokens: computed in either case.
        """
        fit, verdict = self._fit, self._verdict
        if fit is None:
            return None
        error = fit.error if verdict.error is None else verdict.error
        if more_tokens == 0:
            return SavedTime(0.0, 0.0, 0.0, fit.samples, error, verdict.runs)
        longer = self._chunks(context_tokens, more_tokens + rest_tokens)
        shorter = self._chunks(context_tokens + more_tokens, rest_tokens)
        if not all(fit.covers(*chunk) for chunk in (*longer, *shorter)):
            return None
        whole = sum(fit.chunk_ms(*chunk) for chunk in longer)
        saved = whole - sum(fit.chunk_ms(*chunk) for chunk in shorter)
        margin = fit.margin_ms(longer, shorter) * verdict.stretch
        if margin > max(abs(saved), NEGLIGIBLE * whole):
            return None
        return SavedTime(
            saved,
            saved - margin,
            saved + margin,
            fit.samples,
            error,
            verdict.runs,
            verdict.stretch,
        )

    def _chunks(self, context_tokens: int, new_tokens: int) -> list[Chunk]:
        made = []
        done = 0
        while done < new_tokens:
            new = min(self._chunk_tokens, new_tokens - done)
            made.append((context_tokens + done, new))
            done += new
        return made

    def _refit(self) -> None:
        self._since_fit = 0
        self._fit = fit_law([*self._calibrated, *self._online])
        if self._fit is not None and self._on_fit is not None:
            self._on_fit(self._fit)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What shadow runs say of the estimates.

    Attributes:
        runs: shadow runs so far, of those that are kept.
        error: median distance from the truth, as a share of the estimate; None with too few.
        inside: share of the truths that lay in their interval; None with too few.
        stretch: what intervals are multiplied by, so that they hold `COVERAGE` of such truths.
    """

    runs: int = 0
    error: float | None = None
    inside: float | None = None
    stretch: float = 1.0


def verdict_of(shadows: Sequence[Shadow]) -> Verdict:
    """Return what shadow runs say of the estimates that were made before them.

    The stretch is the quantile of past distances in half widths of the law's own interval.

    Source: split conformal prediction with normalised residuals (Lei et al. 2018, 1604.04173).
    """
    if len(shadows) < FEWEST_SHADOWS:
        return Verdict(len(shadows))
    # Half widths were stretched when they were said: undone, or the stretch would compound.
    reaches = [shadow.reach * shadow.said.stretch for shadow in shadows]
    rank = min(1.0, COVERAGE * (1 + 1 / len(shadows)))
    return Verdict(
        len(shadows),
        error=float(np.median([shadow.error for shadow in shadows])),
        inside=float(np.mean([shadow.reach <= 1 for shadow in shadows])),
        stretch=float(np.clip(np.quantile(reaches, rank), *_STRETCHES)),
    )


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
        spread=float(np.quantile(off, COVERAGE)),
        drift=_drift(ratio),
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


def _drift(ratio: FloatArray) -> float:
    """Return how far blocks of neighbouring samples are off together: one standard deviation."""
    count = len(ratio) // _BLOCK
    if count < 2:
        return _LEAST_DRIFT
    blocks = np.median(ratio[: count * _BLOCK].reshape(count, _BLOCK), axis=1)
    spread = float(np.std(blocks, ddof=1))
    # A few blocks say little of a machine that wanders: Student's factor, roughly.
    return max(_LEAST_DRIFT, spread * (1 + 1.3 / (count - 1)))


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
