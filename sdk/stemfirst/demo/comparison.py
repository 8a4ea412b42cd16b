"""Two replays side by side: sums, percentiles, and the linter's prediction against them.

Knows arithmetic over records of calls. Does not know how they were made or how they are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Any


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
    """Estimate and interval of the calls together; None if the server gave none."""

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
