"""Two replays side by side: sums, percentiles, and the linter's prediction against them.

Knows arithmetic over records of calls. Does not know how they were made or how they are shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

_FEW = 0.05
"""A larger share of a prompt is no few tokens of it, and needs an estimate of its own."""


@dataclass(frozen=True, slots=True)
class Call:
    """One recorded call: `kind` says which of the app's prompts it sent."""

    kind: str
    prompt_tokens: int
    cached_tokens: int
    ttft_ms: float
    tpot_ms: float | None
    prefill_ms: float
    saved_ms: tuple[float, float, float] | None
    """Estimate, lower and upper bound of the prefill that the cache saved."""
    unestimated: str | None = None
    """Why there is none."""

    @property
    def bounded_ms(self) -> tuple[float, float, float] | None:
        """The estimate; or, for few cached tokens that have none, what they saved at most.

        A token costs no less the more stand before it, so the first ones of a prompt cost at most
        what as many of the rest did.
        """
        if self.saved_ms is not None or self.cached_tokens > _FEW * self.prompt_tokens:
            return self.saved_ms
        computed = self.prompt_tokens - self.cached_tokens
        most = self.prefill_ms * self.cached_tokens / computed if computed else 0.0
        return most / 2, 0.0, most

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Call:
        """Return the call that a line of the replay describes."""
        saved = record["saved_ms"]
        return cls(
            record["kind"],
            record["prompt_tokens"],
            record["cached_tokens"],
            record["ttft_ms"],
            record["tpot_ms"],
            record["prefill_ms"],
            (saved[0], saved[1], saved[2]) if saved else None,
            record.get("unestimated"),
        )


@dataclass(frozen=True, slots=True)
class Totals:
    """What one version's traffic cost; times in milliseconds."""

    calls: int
    prompt_tokens: int
    cached_tokens: int
    ttft_p50_ms: float
    ttft_p95_ms: float
    tpot_ms: float | None
    prefill_ms: float
    saved_ms: tuple[float, float, float] | None
    """Estimate and interval of the estimated calls together; None if the server gave none."""
    estimated: int
    """Calls with an estimate."""

    @property
    def hit_ratio(self) -> float:
        """Share of the prompt tokens that came from the cache."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else 0.0


def totals(calls: Sequence[Call]) -> Totals:
    """Return the sums of a replay; `calls` has at least one."""
    ttft = [call.ttft_ms for call in calls]
    tpot = [call.tpot_ms for call in calls if call.tpot_ms is not None]
    estimates = [call.saved_ms for call in calls if call.saved_ms is not None]
    return Totals(
        calls=len(calls),
        prompt_tokens=sum(call.prompt_tokens for call in calls),
        cached_tokens=sum(call.cached_tokens for call in calls),
        ttft_p50_ms=percentile(ttft, 50),
        ttft_p95_ms=percentile(ttft, 95),
        tpot_ms=percentile(tpot, 50) if tpot else None,
        prefill_ms=sum(call.prefill_ms for call in calls),
        # Errors of one fitted model go the same way in all calls, so intervals add up.
        saved_ms=(
            sum(low for low, _, _ in estimates),
            sum(low for _, low, _ in estimates),
            sum(high for _, _, high in estimates),
        )
        if estimates
        else None,
        estimated=len(estimates),
    )


@dataclass(frozen=True, slots=True)
class Gain:
    """What a rewrite saved in prefill, estimated and measured over the same calls.

    Attributes:
        pairs: calls that both versions made, and whose saving was estimated or bounded in both.
        of: calls that both made.
        estimated_ms: the estimates' difference.
        low_ms: its interval, at one end with all errors against it.
        high_ms: and at the other.
        measured_ms: the difference of these calls' prefill.
        unestimated: why the others have no estimate, the most frequent reason first.
    """

    pairs: int
    of: int
    estimated_ms: float
    low_ms: float
    high_ms: float
    measured_ms: float
    unestimated: tuple[str, ...]


def gain(before: Sequence[Call], after: Sequence[Call]) -> Gain:
    """Return what the rewrite saved; both versions replayed the same recording in its order.

    A call that was not estimated in one version is left out of every sum, so that what was
    estimated and what was measured speak of the same calls. Few cached tokens need no estimate:
    they are bounded.
    """
    pairs = list(zip(before, after, strict=False))
    estimates: list[tuple[float, float, float]] = []
    measured = 0.0
    reasons: Counter[str] = Counter()
    for old, new in pairs:
        earlier, later = old.bounded_ms, new.bounded_ms
        if earlier is None or later is None:
            reasons[new.unestimated or old.unestimated or "not reported"] += 1
            continue
        (was, was_low, was_high), (now, low, high) = earlier, later
        estimates.append((now - was, low - was_high, high - was_low))
        measured += old.prefill_ms - new.prefill_ms
    return Gain(
        pairs=len(estimates),
        of=len(pairs),
        estimated_ms=sum(each[0] for each in estimates),
        low_ms=sum(each[1] for each in estimates),
        high_ms=sum(each[2] for each in estimates),
        measured_ms=measured,
        unestimated=tuple(reason for reason, _ in reasons.most_common()),
    )


def percentile(values: Sequence[float], percent: int) -> float:
    """Return a percentile of at least one value, interpolated within the values."""
    if len(values) == 1:
        return values[0]
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def predicted_tokens(
    calls: Sequence[Call], before: Mapping[str, int], after: Mapping[str, int]
) -> int:
    """Return the tokens that the rewrite stops forfeiting, from source alone.

    Args:
        calls: the calls of one version; only their kinds are used.
        before: forfeited tokens a call by kind of prompt, as the linter found them.
        after: the same for the rewritten source.

    The first call of each kind finds nothing cached in either version, so it forfeits nothing.
    """
    total = 0
    for kind in before:
        repeats = max(0, sum(call.kind == kind for call in calls) - 1)
        total += repeats * (before[kind] - after.get(kind, 0))
    return total
