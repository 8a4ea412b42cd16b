"""`/v1/savings`: what hits saved, by day, as tenants and operators ask for it.

Knows the response's shape. A tenant sees its own sums, an operator everybody's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stemfirst_server.errors import InvalidRequestError
from stemfirst_server.sums import KEEP_DAYS, Sum

if TYPE_CHECKING:
    from stemfirst_server.api.service import Service
    from stemfirst_server.savings.report import Price


def savings(service: Service, *, days: int, tenant: str | None) -> dict[str, Any]:
    """Return the sums of the last days, newest first, and their total.

    Args:
        service: whose requests.
        days: today included.
        tenant: whose sums; None: everybody's, each with its name.

    Raises:
        InvalidRequestError: the days are out of range.
    """
    if not 1 <= days <= KEEP_DAYS:
        raise InvalidRequestError(
            f"days must be between 1 and {KEEP_DAYS}, got {str(days)[:20]}", parameter="days"
        )
    price = service.served.price
    found = service.sums.read(days=days, tenant=tenant)
    total = Sum()
    for each in found:
        total += each.sum
    return {
        "object": "list",
        "data": [
            {"day": each.day.isoformat(), "tenant": each.tenant} | _shown(each.sum, price)
            for each in found
        ],
        "total": _shown(total, price),
        "price": {"per_hour": price.per_hour, "currency": price.currency} if price else None,
    }


def _shown(counts: Sum, price: Price | None) -> dict[str, Any]:
    return {
        "requests": counts.requests,
        "prompt_tokens": counts.prompt_tokens,
        "cached_tokens": counts.cached_tokens,
        "computed_tokens": counts.computed_tokens,
        "output_tokens": counts.output_tokens,
        "prefill_ms_saved": round(counts.prefill_ms_saved, 3)
        if counts.estimated_requests
        else None,
        "prefill_ms_saved_interval": [
            round(counts.prefill_ms_saved_low, 3),
            round(counts.prefill_ms_saved_high, 3),
        ]
        if counts.estimated_requests
        else None,
        "estimated_requests": counts.estimated_requests,
        "estimated_cached_tokens": counts.estimated_cached_tokens,
        "saved": price.of(counts.prefill_ms_saved) if price and counts.estimated_requests else None,
    }
