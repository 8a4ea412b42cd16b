"""Prompt tokens that were read again: how many, why, and where the prompt left the cache.

Knows how to say it in a sentence, and which misses no other code would have avoided. Does not
know how a response is read, or what became of the tokens that were cached.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from stemfirst.causes import Cause
from stemfirst.divergence import Divergence
from stemfirst.earlier import Parted
from stemfirst.segments import Origin
from stemfirst.tiers import Tier
from stemfirst.wire import Estimate, MissPlace

EXPECTED = {
    "first_seen": "were read for the first time",
    "prompt_grew": "were new behind what was cached",
}
"""Reasons that nothing would have avoided, and how a sentence says them."""

GONE = {
    "evicted": "they had been evicted: more is asked for than the cache holds",
    "flushed": "the cache had been flushed",
    "weights_changed": "the model's weights had been changed",
}
"""Why text that was cached once is not any more, as a clause; the prompt itself is the same."""

REASONS = {
    "prompt_changed": "the prompt changed",
    "below_page": "what is cached does not fill a page",
    "cache_disabled": "the server's cache is off",
}
"""Other reasons, as a clause behind "because"."""


THE_SERVERS_OWN = frozenset({*GONE, "cache_disabled"})
"""Reasons that no text explains, so that none is blamed."""


class News(Enum):
    """What a miss turned out to be where the prompt holds nothing that was sent before."""

    PROMPT = "were read for the first time"
    """Nothing of the prompt was cached, and nothing shows that it was ever sent."""
    TURN = "were new behind what was cached"
    """The prompt goes on behind all of what was sent before."""
    CONVERSATION = "were new with this conversation"
    """It left another conversation where its own begins."""
    TENANT = "were new with this tenant"
    """It left another tenant's prompt, and nothing behind is the same in both."""


@dataclass(frozen=True, slots=True)
class Missed:
    """Prompt tokens that had to be read again, why, and where the prompt diverged.

    `segment`, `tier` and `origin` are known for prompts that this process rendered.
    """

    tokens: int
    reason: str
    at: MissPlace | None = None
    segment: str | None = None
    tier: Tier | None = None
    origin: Origin | None = None
    difference: Divergence | None = None
    """Where the prompt left the one that this process sent before under the same title."""
    ms: Estimate | None = None
    """The prefill that they took although they might have been cached; from our server."""
    unestimated: str | None = None
    """Why `ms` is None, where our server could not estimate it."""
    cost: float | None = None
    """Its price, in the currency of the call's `cost`."""
    why: Cause | None = None
    """What changed, and the rule that finds it; known where `difference` or `parted` is."""
    is_mended: bool = False
    """Whether the linter was asked and has a proven change for it (`Savings.explain`)."""
    parted: Parted | None = None
    """Where the prompt left one that another process sent before, as their memory has it."""
    news: News | None = None
    """What the texts show where they show that nothing was read again."""

    @property
    def is_avoidable(self) -> bool:
        """Whether other code, or a larger cache, could have had some of these tokens from it.

        A prompt that was built by tiers has nothing stable behind its request's own text.
        """
        if self.reason in THE_SERVERS_OWN:
            return True
        is_own_text = self.tier is not None and self.tier >= Tier.REQUEST
        is_news = self.news is not None or self.reason in EXPECTED
        return not is_news and not is_own_text and not self._is_other_tenants

    @property
    def _is_other_tenants(self) -> bool:
        """Whether it left another tenant's prompt at a tenant's value, with nothing behind."""
        why = self.why
        return self.tier is Tier.TENANT and bool(why and why.hole and why.behind is None)

    def __str__(self) -> str:
        """Say what became of the tokens: "464 were read again, 61 ms [55 to 68], because …"."""
        if not self.is_avoidable:
            new = f"were new with this {'tenant' if self._is_other_tenants else 'request'}"
            told = self.news.value if self.news else EXPECTED.get(self.reason, new)
            if self.reason == "prompt_grew" and self.tier is Tier.TENANT:
                told = News.TENANT.value  # as where the text before is known
            return f"{self.tokens:,} {told}"
        parts = [f"{self.tokens:,} were read again"]
        if self.ms is not None:
            parts.append(f"{self.ms.est:,.0f} ms [{self.ms.lo:,.0f} to {self.ms.hi:,.0f}]")
        if self.cost:
            parts.append(money(self.cost))
        return f"{', '.join(parts)}, because {self.because}"

    @property
    def because(self) -> str:
        """Why: what changed, where it was built, the lint rule, and what mends it."""
        place = f"`{shown(self.origin)}`" if self.origin else self._place
        token = f" at token {self.at.token:,}" if self.at else ""
        if self.reason in GONE:
            return GONE[self.reason]
        if self.why is None:
            reason = REASONS.get(self.reason, self.reason.replace("_", " "))
            of = f" in {self.segment}" if self.segment else ""
            where = f" ({place})" if place else ""
            return f"{reason}{token}{of}{where}"
        text = f"{self.why.clause(place or self.segment or 'the prompt')} ({self.why.rule})"
        if self.why.rule.is_fixed and self.origin:
            remedy = self.why.rule.remedy(self.origin.short_path, is_mended=self.is_mended)
            text += f"; {remedy}"
        return text

    @property
    def _place(self) -> str | None:
        return ".".join(map(str, self.at.path)) if self.at and self.at.path else None

    @property
    def cause(self) -> str:
        """The rule or the reason, and where: what calls of the same cause have in common."""
        if self.reason in GONE:
            return self.reason.replace("_", " ")
        what = str(self.why.rule) if self.why else self.reason.replace("_", " ")
        place = shown(self.origin) if self.origin else self._place
        return f"{what} at {place}" if place else what


def money(dollars: float) -> str:
    """Return an amount of US dollars with two significant digits behind small zeros."""
    if dollars == 0 or abs(dollars) >= 0.1:
        return f"${dollars:,.2f}" if dollars >= 0 else f"-${-dollars:,.2f}"
    digits = f"{abs(dollars):.{max(2, 1 - _exponent(abs(dollars)))}f}"
    return f"{'-' if dollars < 0 else ''}${digits}"


def _exponent(value: float) -> int:
    """Return the decimal exponent of a positive number below 1: -4 for 0.0003."""
    return int(f"{value:e}".partition("e")[2])


def shown(origin: Origin) -> str:
    """Return an origin as a user wants to read it: relative where it lies below the folder."""
    return origin.short
