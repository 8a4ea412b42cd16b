"""One request's account as the client reads it: tokens, times, money, and the miss.

Knows the wire's `Report` and how to fill it from what the engine counted and the cost model
estimates. Does not know HTTP, and measures nothing itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemfirst.wire import Cost, Estimate, Miss, MissPlace, Report, Times

from stemfirst_server.savings.costmodel import SavedTime, Unestimated
from stemfirst_server.sums import Sum

if TYPE_CHECKING:
    from stemfirst_server.engine.request import RequestReport
    from stemfirst_server.tokens.hints import Uses

MS_PER_HOUR = 3_600_000

NO_PRICE = "the server was started without --gpu-price-per-hour"
"""Why there is no money in a report."""


@dataclass(frozen=True, slots=True)
class Price:
    """What the device costs, in `currency` an hour of its time."""

    per_hour: float
    currency: str = "USD"

    def of(self, ms: float) -> float:
        """Return the price of this many milliseconds."""
        return self.per_hour * ms / MS_PER_HOUR


def reason_of(counted: RequestReport, *, page: int, has_prefix_cache: bool) -> str | None:
    """Return why prompt tokens were computed, or None where no cache could have saved them.

    `cache_disabled`; `evicted`, `flushed`, `weights_changed`: the prompt goes on with what was
    cached once; `first_seen`: not even the first token was cached; `prompt_changed`:
    something else was cached at the place of divergence; `below_page`: what was cached does not
    fill a page; `prompt_grew`: all that was cached was used, and the prompt goes on. None: only
    the rest of the last page was computed, which always is.
    """
    if not has_prefix_cache:
        return "cache_disabled"
    # The last token is always computed, and only whole pages are kept.
    if counted.cached_tokens >= (counted.prompt_tokens - 1) // page * page:
        return None
    if counted.gone is not None:
        return counted.gone.cause.value
    if counted.divergence_token == 0:
        return "first_seen"
    if counted.is_diverged:
        return "prompt_changed"
    if counted.cached_tokens == 0 and counted.divergence_token < page:
        return "below_page"
    return "prompt_grew"


def missed_tokens(counted: RequestReport, page: int) -> tuple[int, int, int]:
    """Return a prompt's tokens as (cached, computed though they might have been cached, rest).

    The last token is always computed, and only whole pages are cached. Where pages are gone, it is
    they that might have been.
    """
    cacheable = max(counted.cached_tokens, (counted.prompt_tokens - 1) // page * page)
    if counted.gone is not None:
        cacheable = min(cacheable, counted.cached_tokens + counted.gone.pages * page)
    return (
        counted.cached_tokens,
        cacheable - counted.cached_tokens,
        counted.prompt_tokens - cacheable,
    )


def build_report(
    counted: RequestReport,
    saved: SavedTime | Unestimated,
    lost: SavedTime | Unestimated = Unestimated.TOO_FEW,
    *,
    lost_tokens: int = 0,
    reason: str | None,
    place: MissPlace | None,
    uses: Uses | None,
    price: Price | None,
    notice: str | None,
) -> Report:
    """Return the report of a finished request.

    Args:
        counted: the engine's account.
        saved: the cost model's estimate, or why it has none to give.
        lost: its estimate of what the missed tokens took, or why it has none.
        lost_tokens: how many of them were cached once, where the reason is that they are gone.
        reason: why tokens were computed; None if nothing was missed.
        place: where the prompt left everything cached.
        uses: tokens by tier and segment; None without valid hints.
        price: of the device; None if nobody gave one.
        notice: what every reader of this server's figures must know.
    """
    decoded = counted.output_tokens - 1
    return Report(
        prompt_tokens=counted.prompt_tokens,
        cached_tokens=counted.cached_tokens,
        computed_tokens=counted.computed_tokens,
        time=Times(
            queue=round(counted.queue_ms, 3),
            prefill=round(counted.prefill_ms, 3),
            load=round(counted.load_ms, 3),
            ttft=round(counted.ttft_ms, 3) if counted.ttft_ms is not None else None,
            decode=round(counted.decode_ms, 3),
            tpot=round(counted.decode_ms / decoded, 3) if decoded > 0 else None,
            prefill_ms_saved=_estimate(saved, counted.load_ms),
            unestimated=_why_not(saved),
        ),
        missed=_miss(
            counted.computed_tokens if counted.gone is None else lost_tokens,
            lost,
            reason,
            place,
            price,
        )
        if reason is not None
        else None,
        cost=_cost(counted, saved, price),
        unpriced=NO_PRICE if price is None else _why_not(saved),
        tiers=uses.tiers if uses else None,
        segments=uses.segments if uses else None,
        source={
            "gpu": counted.cached_tokens - counted.host_tokens - counted.disk_tokens,
            "host": counted.host_tokens,
            "disk": counted.disk_tokens,
        },
        notice=notice,
    )


def sum_of(counted: RequestReport, saved: SavedTime | Unestimated) -> Sum:
    """Return what one request adds to its day's sums."""
    sums = Sum(
        requests=1,
        prompt_tokens=counted.prompt_tokens,
        cached_tokens=counted.cached_tokens,
        computed_tokens=counted.computed_tokens,
        output_tokens=counted.output_tokens,
    )
    estimate = _estimate(saved, counted.load_ms)
    if estimate is None:
        return sums
    return sums + Sum(
        estimated_requests=1,
        estimated_cached_tokens=counted.cached_tokens,
        prefill_ms_saved=estimate.est,
        prefill_ms_saved_low=estimate.lo,
        prefill_ms_saved_high=estimate.hi,
    )


def _miss(
    tokens: int,
    lost: SavedTime | Unestimated,
    reason: str,
    place: MissPlace | None,
    price: Price | None,
) -> Miss:
    cost = price.of(lost.ms) if isinstance(lost, SavedTime) and price is not None else None
    estimate = _estimate(lost, 0.0)
    return Miss(tokens, reason, place, estimate, cost, _why_not(lost))


def _why_not(saved: SavedTime | Unestimated) -> str | None:
    return saved.value if isinstance(saved, Unestimated) else None


def _estimate(saved: SavedTime | Unestimated, load_ms: float) -> Estimate | None:
    if isinstance(saved, Unestimated):
        return None
    return Estimate(
        est=round(saved.ms - load_ms, 3),
        lo=round(saved.low - load_ms, 3),
        hi=round(saved.high - load_ms, 3),
        n=saved.samples,
        error=round(saved.error, 4),
        shadows=saved.shadows,
    )


def _cost(
    counted: RequestReport, saved: SavedTime | Unestimated, price: Price | None
) -> Cost | None:
    if isinstance(saved, Unestimated) or price is None:
        return None
    actual = price.of(counted.prefill_ms + counted.load_ms)
    gained = price.of(saved.ms - counted.load_ms)
    return Cost(
        actual=actual,
        without_cache=actual + gained,
        saved=gained,
        basis=f"prefill time at {price.per_hour:g} {price.currency} per device hour",
        currency=price.currency,
    )
