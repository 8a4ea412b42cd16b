"""What hosted models charge per token, by date; and what a call cost.

Knows the table `prices.json`, which `benchmarks/build_prices.py` compiles from genai-prices
(MIT licence, in the file), and how to read it. Does not know the network: a price that
changed after the table's date is not known here, so every report names that date.

Not in the table: discounts for batches and service tiers, regional surcharges, storage.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from importlib.resources import files
from typing import Any

from stemfirst.errors import UnknownPriceError
from stemfirst.wire import Cost


@dataclass(frozen=True, slots=True)
class Price:
    """What a model charges, in US dollars per million tokens; None where no such price exists.

    `cached` is for tokens read from the provider's cache, `write` for tokens written to it,
    `write_1h` for tokens written with a lifetime of an hour.
    """

    model: str
    provider: str
    input: float
    cached: float | None
    write: float | None
    write_1h: float | None
    output: float
    as_of: str
    """Date of the newest entry in the table, ISO 8601; prices may have changed since."""
    source: str


@dataclass(frozen=True, slots=True)
class Unpriced:
    """Why no price can be given; falsy, so that `if price(...)` reads right."""

    reason: str

    def __bool__(self) -> bool:
        return False


def price(
    model: str,
    *,
    at: date | datetime | None = None,
    provider: str | None = None,
    prompt_tokens: int = 0,
) -> Price | Unpriced:
    """Return what `model` charges, or why that is not known.

    Args:
        model: the name as the provider writes it; `provider/model` works too.
        at: when the call is made; a naive datetime is UTC, now by default. A bare date has
            no time of day: prices that depend on it are then those of the cheaper hours.
        provider: the provider's id in the table ("openai") or the base URL of its API. By
            default the vendor that the model's name belongs to.
        prompt_tokens: size of the prompt; long prompts cost more with some models.
    """
    if provider is None and "/" in model:
        head, _, tail = model.partition("/")
        if _provider(head):
            provider, model = head, tail
    if provider is not None:
        chosen = _provider(provider)
        if chosen is None:
            return Unpriced(f"the price table has no provider {provider!r}")
        candidates = [chosen]
    else:
        candidates = [item for item in _table()["providers"] if _claims(item, model)]
    for candidate in candidates:
        for name, pattern, dated in candidate["models"]:
            if re.search(pattern, model, re.IGNORECASE):
                return _price(name, candidate["id"], dated, at or datetime.now(UTC), prompt_tokens)
    where = f" of {candidates[0]['id']}" if candidates else ""
    return Unpriced(
        f"the price table (as of {_table()['as_of']}) has no price for {model!r}{where}"
    )


def price_of(
    model: str,
    *,
    at: date | datetime | None = None,
    provider: str | None = None,
    prompt_tokens: int = 0,
) -> Price:
    """Return what `price` returns, where a missing price is an error.

    Raises:
        UnknownPriceError: no price is known; the message says why.
    """
    found = price(model, at=at, provider=provider, prompt_tokens=prompt_tokens)
    if isinstance(found, Unpriced):
        raise UnknownPriceError(found.reason)
    return found


def cost(
    charged: Price,
    *,
    prompt_tokens: int,
    cached_tokens: int,
    write_tokens: int = 0,
    write_1h_tokens: int = 0,
    output_tokens: int = 0,
) -> Cost | Unpriced:
    """Return what a call cost; each prompt token is billed once: as plain, read or written.

    `saved` is negative where writing to the cache cost more than reading from it saved.

    Args:
        charged: the model's price.
        prompt_tokens: all tokens of the prompt.
        cached_tokens: those read from the cache.
        write_tokens: those written to it, of whatever lifetime.
        write_1h_tokens: those among `write_tokens` that were written for an hour.
        output_tokens: tokens that the model wrote.
    """
    plain = prompt_tokens - cached_tokens - write_tokens
    short = write_tokens - write_1h_tokens
    if min(plain, short, cached_tokens, write_1h_tokens, output_tokens) < 0:
        return Unpriced(
            f"the token counts contradict one another: {prompt_tokens} in the prompt, "
            f"{cached_tokens} read, {write_tokens} written ({write_1h_tokens} for an hour)"
        )
    if cached_tokens and charged.cached is None:
        return Unpriced(f"{charged.model} has no price for cached tokens")
    if write_1h_tokens and charged.write_1h is None:
        return Unpriced(f"{charged.model} has no price for one-hour cache writes")
    # A provider without a price for writes bills them as plain input.
    write = charged.input if charged.write is None else charged.write
    output = output_tokens * charged.output
    paid = (
        plain * charged.input
        + cached_tokens * (charged.cached or 0.0)
        + short * write
        + write_1h_tokens * (charged.write_1h or 0.0)
        + output
    ) / 1e6
    without_cache = (prompt_tokens * charged.input + output) / 1e6
    return Cost(
        actual=paid,
        without_cache=without_cache,
        saved=without_cache - paid,
        basis=f"{charged.provider} list price for {charged.model}, table of {charged.as_of}",
    )


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    text = files("stemfirst").joinpath("prices.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


def _provider(name: str) -> dict[str, Any] | None:
    """Return the provider with this id, or whose API has this address."""
    providers: list[dict[str, Any]] = _table()["providers"]
    for item in providers:
        if item["id"] == name or ("://" in name and re.match(item["url"], name)):
            return item
    return None


def _claims(provider: dict[str, Any], model: str) -> bool:
    names = provider["names"]
    return names is not None and re.search(names, model, re.IGNORECASE) is not None


def _price(
    model: str, provider: str, dated: list[Any], at: date | datetime, prompt_tokens: int
) -> Price | Unpriced:
    rows = dated[0][1]
    # The last condition that holds wins, as in the source.
    for condition, candidate in dated:
        if _holds(condition, at):
            rows = candidate
    _, plain, read, write, write_1h, output = [
        row for row in rows if row[0] == 0 or prompt_tokens > row[0]
    ][-1]
    if plain is None or output is None:
        return Unpriced(f"{provider} has no price per text token for {model}")
    table = _table()
    return Price(
        model, provider, plain, read, write, write_1h, output, table["as_of"], table["source"]
    )


def _holds(condition: list[str] | None, at: date | datetime) -> bool:
    """Whether a price's condition (from a date on, or between two hours of UTC) holds."""
    if condition is None:
        return True
    if isinstance(at, datetime):
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    if len(condition) == 1:
        return at.isoformat()[:10] >= condition[0]
    if not isinstance(at, datetime):
        return False
    start, end = condition
    now = at.strftime("%H:%M")
    return start <= now < end if start <= end else now >= start or now < end
