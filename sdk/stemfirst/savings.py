"""What the cache did for one call: tokens, milliseconds, money, and where a miss began.

Knows how to read a response, our server's or any provider's, and how to say it in a sentence.
Maps the server's segment ids back to the caller's source lines, which never leave the
process. Does not know how requests are sent, or who adds the savings up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from stemfirst.causes import Cause, cause_of
from stemfirst.divergence import Divergence, diverge, runs_of
from stemfirst.earlier import MOST_TOKEN_BYTES, Parted
from stemfirst.memory import Recalled
from stemfirst.rendered import Rendered
from stemfirst.segments import Origin
from stemfirst.tiers import Tier
from stemfirst.usage import Usage, usage_of
from stemfirst.wire import (
    BODY_FIELD,
    Cost,
    Estimate,
    MissPlace,
    Report,
    SegmentUse,
    Times,
    report_from_json,
)

EXPECTED = {
    "first_seen": "were read for the first time",
    "prompt_grew": "were new behind what was cached",
    "evicted": "had been evicted from the cache",
    "flushed": "had been flushed from the cache",
    "weights_changed": "were read anew with the model's new weights",
}
"""Reasons that no change of the prompt would have avoided, and how a sentence says them."""

REASONS = {
    "prompt_changed": "the prompt changed",
    "below_page": "what is cached does not fill a page",
    "cache_disabled": "the server's cache is off",
}
"""Other reasons, as a clause behind "because"."""


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

    @property
    def is_avoidable(self) -> bool:
        """Whether other code could have had some of these tokens from the cache.

        A prompt that was built by tiers has nothing stable behind its request's own text.
        """
        is_own_text = self.tier is not None and self.tier >= Tier.REQUEST
        return self.reason not in EXPECTED and not is_own_text and not self._is_other_tenants

    @property
    def _is_other_tenants(self) -> bool:
        """Whether it left another tenant's prompt at a tenant's value, with nothing behind."""
        why = self.why
        return self.tier is Tier.TENANT and bool(why and why.hole and why.behind is None)

    def __str__(self) -> str:
        """Say what became of the tokens: "464 were read again, 61 ms [55 to 68], because …"."""
        if not self.is_avoidable:
            new = f"were new with this {'tenant' if self._is_other_tenants else 'request'}"
            return f"{self.tokens:,} {EXPECTED.get(self.reason, new)}"
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
        what = str(self.why.rule) if self.why else self.reason.replace("_", " ")
        place = shown(self.origin) if self.origin else self._place
        return f"{what} at {place}" if place else what


@dataclass(frozen=True, slots=True)
class Savings:
    """What the cache did for one call; None stands for "not reported", never for zero."""

    model: str | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    written_tokens: int | None = None
    """Tokens written to a cache that charges for writing."""
    output_tokens: int | None = None
    time: Times | None = None
    """Where the time went; only our server reports it."""
    cost: Cost | None = None
    unpriced: str | None = None
    """Why `cost` is None."""
    missed: Missed | None = None
    tiers: Mapping[str, SegmentUse] | None = None
    segments: Mapping[str, SegmentUse] | None = None
    notice: str | None = None
    """What the server wants known about its figures (the demo model: its text is noise)."""
    is_complete: bool = True
    """False when a stream ended before its usage came."""

    @property
    def computed_tokens(self) -> int | None:
        """Prompt tokens that did not come from the cache."""
        if self.prompt_tokens is None or self.cached_tokens is None:
            return None
        return self.prompt_tokens - self.cached_tokens

    @property
    def hit_ratio(self) -> float | None:
        """Share of the prompt's tokens that came from the cache, 0 to 1."""
        if not self.prompt_tokens or self.cached_tokens is None:
            return None
        return self.cached_tokens / self.prompt_tokens

    @property
    def prefill_ms_saved(self) -> Estimate | None:
        """Milliseconds of prefill that the cache avoided; an estimate, and may be negative."""
        return self.time.prefill_ms_saved if self.time else None

    @property
    def unestimated(self) -> str | None:
        """Why `prefill_ms_saved` is None; None where it is known."""
        if self.time is None:
            return "not reported"
        if self.time.prefill_ms_saved is not None:
            return None
        return self.time.unestimated or "prefill was not measured well enough"

    @classmethod
    def of(
        cls,
        response: object,
        *,
        rendered: Rendered | None = None,
        before: Rendered | None = None,
        recalled: Recalled | None = None,
        provider: str | None = None,
        is_complete: bool = True,
    ) -> Savings:
        """Return the savings that a response reports.

        Args:
            response: a response or the last chunk of a stream, as the client package's object
                or as parsed JSON; of OpenAI's chat, responses or legacy API or one that
                follows it, Anthropic, Bedrock Converse, or Gemini.
            rendered: the prompt as it was sent, to name the segment where it diverged.
            before: the prompt that was sent before it under the same title, to show both.
            recalled: what a memory holds of one; asked where `before` tells nothing.
            provider: who answered, as an id ("openai") or the base URL of the API; prices are
                looked up there. By default the vendor that the model's name belongs to.
            is_complete: whether the response was received to its end.
        """
        model = field_of(response, "model", "modelVersion", "model_version")
        usage = usage_of(field_of(response, "usage", "usageMetadata", "usage_metadata"))
        report = report_from_json(field_of(response, BODY_FIELD))
        name = model if isinstance(model, str) else None
        if report is not None:
            savings = _of_report(report, name, usage, rendered, is_complete)
            return _compared(savings, rendered, before, recalled)
        cost, unpriced = _priced(name, usage, provider)
        return cls(
            model=name,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            written_tokens=usage.written_tokens,
            output_tokens=usage.output_tokens,
            cost=cost,
            unpriced=unpriced,
            is_complete=is_complete,
        )

    def __str__(self) -> str:
        """Say it in one sentence."""
        if self.prompt_tokens is None:
            cause = "" if self.is_complete else ": the stream ended before its usage came"
            return f"Nothing was reported about the prompt's tokens{cause}."
        prompt = f"{self.prompt_tokens:,}"
        if self.cached_tokens is None:
            return f"The provider did not report how many of {prompt} prompt tokens were cached."
        percent = f"{100 * (self.hit_ratio or 0):.0f} %"
        saved = [text for text in (self._milliseconds(), self._money()) if text]
        sentence = (
            f"{self.cached_tokens:,} of {prompt} prompt tokens came from the cache ({percent})"
        )
        if saved:
            sentence += f", saving {' and '.join(saved)}"
        if self.computed_tokens and self.missed:
            sentence += f"; {self.missed}"
        if not self.is_complete:
            sentence += "; the stream was cut off"
        return sentence + "."

    def explain(self, *, asks_linter: bool = False) -> str:
        """Say it in a sentence; where another prompt was sent before, with both texts.

        The texts are the caller's own, and are for the caller. What another process sent is
        known without its text.

        Args:
            asks_linter: whether to run the linter on the file that built the text, once a file
                for about a second, to say whether `stemfirst fix` moves it.
        """
        found = (self.missed.difference or self.missed.parted) if self.missed else None
        told = str(self.checked() if asks_linter else self)
        return f"{told}\n\n{found}" if found else told

    def checked(self) -> Savings:
        """Return them with the linter's word, asked now, on whether `stemfirst fix` moves it."""
        missed = self.missed
        found = (missed.difference or missed.parted) if missed else None
        if not missed or not found or not (missed.origin and missed.why):
            return self
        from stemfirst.mending import is_mended

        text = found.segment.text if isinstance(found, Parted) else found.difference.after
        knows = missed.why.rule.is_fixed and is_mended(missed.origin, text)
        return replace(self, missed=replace(missed, is_mended=knows))

    def _milliseconds(self) -> str | None:
        saved = self.prefill_ms_saved
        if not self.cached_tokens or self.time is None:
            return None
        if saved is None:
            return f"an unknown time of prefill ({self.unestimated})"
        return f"about {saved.est:,.0f} ms of prefill [{saved.lo:,.0f} to {saved.hi:,.0f}]"

    def _money(self) -> str | None:
        return money(self.cost.saved) if self.cost and self.cost.saved else None


def savings_of(response: object) -> Savings:
    """Return a response's savings: those that our client attached, else what it reports itself."""
    attached = getattr(response, "savings", None)
    return attached if isinstance(attached, Savings) else Savings.of(response)


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


def field_of(response: object, *names: str) -> Any:
    """Return the first of these fields that a mapping or an object has, or None."""
    for name in names:
        value = (
            response.get(name) if isinstance(response, Mapping) else getattr(response, name, None)
        )
        if value is not None:
            return value
    return None


def _of_report(
    report: Report, model: str | None, usage: Usage, rendered: Rendered | None, is_complete: bool
) -> Savings:
    return Savings(
        model=model,
        prompt_tokens=report.prompt_tokens,
        cached_tokens=report.cached_tokens,
        written_tokens=usage.written_tokens,
        output_tokens=usage.output_tokens,
        time=report.time,
        cost=report.cost,
        unpriced=None if report.cost else report.unpriced or "the server was given no price",
        missed=_missed(report, rendered),
        tiers=report.tiers,
        segments=report.segments,
        notice=report.notice,
        is_complete=is_complete,
    )


def _missed(report: Report, rendered: Rendered | None) -> Missed | None:
    miss = report.missed
    if miss is None:
        return None
    wanted = miss.at.segment if miss.at else None
    known = (miss.tokens, miss.reason, miss.at)
    measured: dict[str, Any] = {
        "ms": miss.ms, "unestimated": miss.unestimated, "cost": miss.cost
    }  # fmt: skip
    for segment in rendered.segments if rendered and wanted else ():
        if segment.id == wanted:
            label = segment.name or f"{segment.tier.label} text"
            place = (label, segment.tier, segment.origin)
            return Missed(*known, *place, **measured)
    return Missed(*known, **measured)


def _compared(
    savings: Savings, rendered: Rendered | None, before: Rendered | None, recalled: Recalled | None
) -> Savings:
    """Return the savings with the place where the two prompts part, if the miss may lie there."""
    missed = savings.missed
    if missed is None or not missed.is_avoidable or rendered is None:
        return savings
    runs = runs_of(rendered)
    difference = diverge(runs_of(before), runs) if before is not None else None
    if difference is not None and _is_at(difference, missed.at):
        why = cause_of(difference, runs)
        return replace(savings, missed=replace(missed, difference=difference, why=why))
    # The server compared it to something that was sent earlier, or elsewhere.
    parted = recalled.parted(rendered, missed.at) if recalled is not None else None
    if parted is None:
        return savings
    return replace(savings, missed=replace(missed, parted=parted, why=parted.why))


def _is_at(found: Divergence, place: MissPlace | None) -> bool:
    """Whether two prompts part where the server says that this one left its cache."""
    if place is None or place.path is None:
        return True
    is_near = place.byte is None or abs(found.byte - place.byte) <= MOST_TOKEN_BYTES
    return found.at == place.path and is_near


def _priced(
    model: str | None, usage: Usage, provider: str | None
) -> tuple[Cost | None, str | None]:
    """Return the cost by the price table, or the reason why there is none."""
    if model is None:
        return None, "the response names no model"
    if usage.prompt_tokens is None:
        return None, "the response reports no usage"
    if usage.cached_tokens is None:
        return None, "the provider does not report cached tokens"
    from stemfirst.prices import Unpriced, cost, price

    charged = price(model, provider=provider, prompt_tokens=usage.prompt_tokens)
    if isinstance(charged, Unpriced):
        return None, charged.reason
    paid = cost(
        charged,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        write_tokens=usage.written_tokens or 0,
        write_1h_tokens=usage.written_1h_tokens or 0,
        output_tokens=usage.output_tokens or 0,
    )
    return (None, paid.reason) if isinstance(paid, Unpriced) else (paid, None)
