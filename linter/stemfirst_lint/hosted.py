"""What is known of a hosted model by its name: tokenizer, order of rendering, minimum and price.

Knows the price table and the providers' rules of `stemfirst`. Knows nothing of files and prompts.
"""

from __future__ import annotations

from dataclasses import dataclass

from stemfirst.prices import Price, price
from stemfirst.providers import cache_rules

from stemfirst_lint.model import Finding, Money, Text

_THOUSAND_CALLS = 1_000
_PER_PRICE_TOKENS = 1_000_000


@dataclass(frozen=True, slots=True)
class Hosted:
    """A hosted model that the price table knows.

    Attributes:
        name: as the table names it.
        is_o200k: True if its own tokenizer is o200k_base; others are not public, and counts are
            estimates.
        renders_tools_first: True if tool definitions stand before the system message.
        min_tokens: shorter prefixes are never cached.
    """

    name: str
    is_o200k: bool
    renders_tools_first: bool
    min_tokens: int
    _price: Price

    @property
    def price_as_of(self) -> str:
        """The date of the price table, ISO 8601."""
        return self._price.as_of

    def money(self, forfeited_tokens: int, stable_tokens: int) -> Money:
        """Return what forfeited tokens cost.

        Args:
            forfeited_tokens: read at the full price in every call, though they stay the same.
            stable_tokens: all that stays the same in the request; if even that is below the
                provider's minimum, no order of the text lets it be cached.
        """
        cached = self._price.cached
        if cached is None:
            return self._none("the provider sells no cached tokens of it")
        if stable_tokens < self.min_tokens:
            return self._none(f"it caches from {self.min_tokens:,} tokens on")
        lost = forfeited_tokens * _THOUSAND_CALLS / _PER_PRICE_TOKENS
        return Money(round(lost * (self._price.input - cached), 6), self.name, self.price_as_of)

    def _none(self, why: str) -> Money:
        return Money(0.0, self.name, self.price_as_of, why)


def stable_texts(finding: Finding) -> tuple[str, ...]:
    """Return all texts that stay the same in the request of a finding, so far as they are known."""
    found: list[str] = []
    for piece in finding.template.pieces if finding.template is not None else ():
        if isinstance(piece, Text):
            found.append(piece.text)
        elif piece.constant_text is not None:
            found.append(piece.constant_text)
    if finding.site is not None:
        found += finding.site.following.texts
        if finding.site.following.tools is not None:
            found.append(finding.site.following.tools)
    return tuple(found)


def hosted(model: str) -> Hosted | None:
    """Return a hosted model by the name that requests use, or None if no price is known."""
    charged = price(model)
    if not isinstance(charged, Price):
        return None
    rules = cache_rules(model)
    return Hosted(
        charged.model,
        _is_o200k(charged.model),
        rules.renders_tools_first if rules is not None else False,
        rules.min_tokens if rules is not None else 1,
        charged,
    )


def _is_o200k(model: str) -> bool:
    """Return True if tiktoken says so."""
    from tiktoken.model import encoding_name_for_model

    try:
        return encoding_name_for_model(model) == "o200k_base"
    except KeyError:
        return False
