"""What a hit saved, from the law of prefill time and the machine's present pace.

Keeps samples, fits the law to them, follows how much slower than it the machine is just now, and
adjusts its intervals by what runs without the cache really saved. Knows nothing of requests or
clocks; what lies outside the range of the samples is not estimated, and says so.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from enum import Enum
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from stemfirst_server.savings.law import COVERAGE, Z_COVERAGE, Chunk, Fit, Sample, fit_law
from stemfirst_server.savings.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

FEWEST_SHADOWS = 20
"""Shadow runs below which they change no interval."""

NEGLIGIBLE = 0.05
"""Share of a prompt's whole prefill below which an interval is narrow whatever it holds."""

_STRETCHES = (0.2, 20.0)
_KEPT_SHADOWS = 200
_KEPT_SAMPLES = 512
_REFIT_EVERY = 16
_PACED = 128
"""Newest samples from which the pace is reckoned anew for a new law; older ones do not show."""


class Unestimated(Enum):
    """Why there is no estimate; the value is what a client reads."""

    TOO_FEW = "not enough samples"
    OUTSIDE = "outside the measured range"
    TOO_UNCERTAIN = "the samples scatter too much to tell a gain from a loss"


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
        self._pace = Pace.at_start(0.0, 1.0)
        self._shadows: deque[Shadow] = deque(maxlen=_KEPT_SHADOWS)
        self._verdict = Verdict()
        self._lock = Lock()

    @property
    def fit(self) -> Fit | None:
        """The present coefficients; None before there are enough samples."""
        return self._fit

    @property
    def pace(self) -> float:
        """Times the law's prediction that prefill takes now; 1 before anything was measured."""
        return self._pace.factor

    @property
    def drift(self) -> float:
        """How far a run of chunks is off together, one standard deviation of the ratio."""
        return self._pace.drift

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
            self._follow(sample)
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
        return self._pace.factor * sum(fit.chunk_ms(*chunk) for chunk in chunks)

    def saved(self, cached_tokens: int, computed_tokens: int) -> SavedTime | Unestimated:
        """Return what it saved that `cached_tokens` of a prompt were not computed, or why not.

        An estimate of device time: queueing is not counted. May be negative.
        """
        return self.avoided(0, cached_tokens, computed_tokens)

    def avoided(
        self, context_tokens: int, more_tokens: int, rest_tokens: int
    ) -> SavedTime | Unestimated:
        """Return what it saves that `more_tokens` behind a context need not be computed.

        No estimate outside the measured range, before enough samples, and where the
        measurements scatter so much that the interval holds zero and more than `NEGLIGIBLE` of
        the whole prefill: it would not tell a gain from a loss.

        Args:
            context_tokens: cached in either case.
            more_tokens: cached in one case, computed in the other.
            rest_tokens: computed in either case.
        """
        with self._lock:
            fit, verdict, pace = self._fit, self._verdict, self._pace
            if fit is None:
                return Unestimated.TOO_FEW
            factor = pace.factor
            # The pace itself is known from the newest chunks, which jitter.
            drift = math.hypot(pace.drift, pace.doubt(fit.jitter_ms / Z_COVERAGE))
        error = fit.error if verdict.error is None else verdict.error
        if more_tokens == 0:
            return SavedTime(0.0, 0.0, 0.0, fit.samples, error, verdict.runs)
        longer = self._chunks(context_tokens, more_tokens + rest_tokens)
        shorter = self._chunks(context_tokens + more_tokens, rest_tokens)
        if not all(fit.covers(*chunk) for chunk in (*longer, *shorter)):
            return Unestimated.OUTSIDE
        whole = factor * sum(fit.chunk_ms(*chunk) for chunk in longer)
        saved = whole - factor * sum(fit.chunk_ms(*chunk) for chunk in shorter)
        margin = factor * fit.margin_ms(longer, shorter, drift=drift) * verdict.stretch
        if margin > max(abs(saved), NEGLIGIBLE * whole):
            return Unestimated.TOO_UNCERTAIN
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

    def _follow(self, sample: Sample) -> None:
        if self._fit is not None:
            predicted_ms = self._fit.chunk_ms(sample.context_tokens, sample.new_tokens)
            self._pace.observe(max(predicted_ms, 1e-6), sample.ms)

    def _refit(self) -> None:
        self._since_fit = 0
        samples = [*self._calibrated, *self._online]
        self._fit = fit_law(samples)
        if self._fit is None:
            return
        self._pace = Pace.at_start(self._fit.spread / Z_COVERAGE, self._fit.mean_ms)
        # Calibration is over, and so is what disturbed it.
        for sample in list(self._online)[-_PACED:]:
            self._follow(sample)
        if self._on_fit is not None:
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
