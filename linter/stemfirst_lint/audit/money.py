"""What a request's prompt costs, by the price table.

Knows how to ask `stemfirst.prices` for many requests. Output tokens are left out: no order of
the prompt changes them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from stemfirst.prices import Price, Unpriced, cost, price

from stemfirst_lint.audit.records import Request
from stemfirst_lint.audit.sharing import Expected


def price_for(request: Request, prompt_tokens: float) -> Price | Unpriced:
    """Return the price of a request's model at its time, or why it is not known."""
    hour = None if request.at_s is None else int(request.at_s // 3600)
    # Prices change at full hours and above whole thousands of tokens.
    return _price(request.model, request.provider, hour, int(max(0, prompt_tokens - 1) // 1000))


def prompt_cost(
    charged: Price,
    prompt_tokens: int,
    cached_tokens: int,
    written_tokens: int = 0,
    written_1h_tokens: int = 0,
) -> float | None:
    """Return US dollars for a prompt; None where the price table cannot say."""
    if charged.cached is None:
        cached_tokens = 0  # the provider sells no cached tokens of this model
    paid = cost(
        charged,
        prompt_tokens=prompt_tokens,
        cached_tokens=min(cached_tokens, prompt_tokens),
        write_tokens=max(0, min(written_tokens, prompt_tokens - cached_tokens)),
        write_1h_tokens=max(0, min(written_1h_tokens, written_tokens)),
    )
    return None if isinstance(paid, Unpriced) else paid.actual


def expected_cost(charged: Price, prompt_tokens: int, expected: Expected) -> float | None:
    """Return US dollars for a prompt under the provider's rules."""
    return prompt_cost(
        charged,
        prompt_tokens,
        expected.cached_tokens,
        expected.written_tokens,
        expected.written_1h_tokens,
    )


@lru_cache(maxsize=4096)
def _price(model: str, provider: str | None, hour: int | None, thousands: int) -> Price | Unpriced:
    at = None if hour is None else datetime.fromtimestamp(hour * 3600, UTC)
    found = price(model, at=at, provider=provider, prompt_tokens=thousands * 1000 + 1)
    if not found and provider is not None:  # a gateway's name, or an address of one's own
        found = price(model, at=at, prompt_tokens=thousands * 1000 + 1)
    return found
