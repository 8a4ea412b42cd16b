"""What many outcomes come to: percentiles, rates, hit ratio, savings.

Percentiles are interpolated between neighbours, as numpy does by default. Knows no HTTP.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from stemfirst_server.bench.asking import Outcome

PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True, slots=True)
class Spread:
    """A measure over many requests, in milliseconds."""

    count: int
    mean: float
    percentiles: tuple[float, ...]

    def to_json(self) -> dict[str, float]:
        """Return it by name."""
        named = zip(PERCENTILES, self.percentiles, strict=True)
        return {
            "count": self.count,
            "mean": round(self.mean, 3),
            **{f"p{percent}": round(value, 3) for percent, value in named},
        }


@dataclass(frozen=True, slots=True)
class Figures:
    """A whole run.

    Attributes:
        seconds: from the first request's start to the last one's end.
        completed: requests with a whole answer.
        errors: the others, by what went wrong.
        ttft, tpot, e2e: of the completed ones; None where nothing was measured.
        prompt_tokens, cached_tokens, output_tokens: as the server counts them; None where it
            does not.
        saved_ms: prefill that the server says hits avoided; None where it says nothing.
        saved_money: the same in its currency.
        currency: as the server names it.
        hits: requests of whose prompt something was cached.
        estimated_hits: of those, the ones with an estimate of what that saved.
    """

    seconds: float
    completed: int
    errors: dict[str, int]
    ttft: Spread | None
    tpot: Spread | None
    e2e: Spread | None
    prompt_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None
    saved_ms: float | None
    saved_money: float | None
    currency: str | None = None
    hits: int = 0
    estimated_hits: int = 0

    @property
    def hit_ratio(self) -> float | None:
        """Share of prompt tokens that came from a cache."""
        if not self.prompt_tokens or self.cached_tokens is None:
            return None
        return self.cached_tokens / self.prompt_tokens

    def to_json(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        rate = 1 / self.seconds if self.seconds else 0.0
        return {
            "seconds": round(self.seconds, 3),
            "completed": self.completed,
            "errors": self.errors,
            "requests_per_second": round(self.completed * rate, 3),
            "output_tokens_per_second": _rounded(self.output_tokens, rate),
            "prompt_tokens_per_second": _rounded(self.prompt_tokens, rate),
            "ttft_ms": self.ttft.to_json() if self.ttft else None,
            "tpot_ms": self.tpot.to_json() if self.tpot else None,
            "e2e_ms": self.e2e.to_json() if self.e2e else None,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "output_tokens": self.output_tokens,
            "hit_ratio": None if self.hit_ratio is None else round(self.hit_ratio, 4),
            "prefill_ms_saved": self.saved_ms,
            "saved": self.saved_money,
            "currency": self.currency,
            "hits": self.hits,
            "estimated_hits": self.estimated_hits,
        }


def figures(outcomes: Sequence[Outcome], seconds: float) -> Figures:
    """Return what a run came to."""
    done = [outcome for outcome in outcomes if outcome.error is None]
    hits = [outcome for outcome in done if outcome.usage.cached_tokens]
    estimated = [outcome for outcome in hits if outcome.saved_ms is not None]
    # A miss saved nothing, and is known to; where no hit has an estimate, nothing is known.
    known = done if estimated or not hits else []
    return Figures(
        seconds,
        len(done),
        dict(Counter(outcome.error for outcome in outcomes if outcome.error is not None)),
        _spread(outcome.ttft_s for outcome in done),
        _spread(outcome.tpot_s for outcome in done),
        _spread(outcome.e2e_s for outcome in done),
        _sum(outcome.usage.prompt_tokens for outcome in done),
        _sum(outcome.usage.cached_tokens for outcome in done),
        _sum(outcome.usage.output_tokens for outcome in done),
        _total(outcome.saved_ms for outcome in known),
        _total(outcome.saved_money for outcome in known),
        next((outcome.currency for outcome in done if outcome.currency), None),
        len(hits),
        len(estimated),
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return a percentile of values in ascending order, of which there is at least one."""
    place = (len(ordered) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def shown(found: Figures) -> str:
    """Return the figures as a table for people."""
    lines = [
        f"{found.completed} requests in {found.seconds:.1f} s, "
        f"{found.completed / found.seconds:.2f} a second"
    ]
    for error, count in found.errors.items():
        lines.append(f"{count} failed: {error}")
    if found.output_tokens is not None:
        lines.append(f"{found.output_tokens / found.seconds:.1f} output tokens a second")
    if not found.completed:
        return "\n".join(lines)
    lines.append("")
    names = "".join(f"{f'p{percent}':>10}" for percent in PERCENTILES)
    lines.append(f"{'ms':<6}{'mean':>10}{names}")
    for name, spread in (("TTFT", found.ttft), ("TPOT", found.tpot), ("E2E", found.e2e)):
        if spread is not None:
            values = "".join(f"{value:>10.1f}" for value in spread.percentiles)
            lines.append(f"{name:<6}{spread.mean:>10.1f}{values}")
    lines.append("")
    if found.hit_ratio is None:
        lines.append("the server does not say how much of the prompts came from a cache")
    else:
        lines.append(
            f"{found.cached_tokens:,} of {found.prompt_tokens:,} prompt tokens from the cache "
            f"({found.hit_ratio:.1%})"
        )
    if found.saved_ms is not None:
        money = (
            f", {found.saved_money:.6f} {found.currency or 'of its currency'}"
            if found.saved_money is not None
            else ""
        )
        share = f" ({found.estimated_hits} of {found.hits} hits)" if found.hits else ""
        lines.append(
            f"prefill saved, as the server estimates it{share}: {found.saved_ms:,.0f} ms{money}"
        )
    elif found.hits:
        lines.append(f"the server has no estimate of what its {found.hits} hits saved")
    return "\n".join(lines)


def _spread(values: Iterable[float | None]) -> Spread | None:
    ordered = sorted(value * 1000 for value in values if value is not None)
    if not ordered:
        return None
    return Spread(
        len(ordered),
        sum(ordered) / len(ordered),
        tuple(percentile(ordered, percent) for percent in PERCENTILES),
    )


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _total(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known), 6) if known else None


def _rounded(count: int | None, rate: float) -> float | None:
    return None if count is None else round(count * rate, 3)
