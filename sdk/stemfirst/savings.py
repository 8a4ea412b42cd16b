"""What the cache did for one call: tokens, milliseconds, money, and where a miss began.

Knows how to read a response, our server's or any provider's, and how to say it in a sentence.
Maps the server's segment ids back to the caller's source lines, which never leave the
process. Does not know how requests are sent, or who adds the savings up.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from stemfirst.causes import HOLE
from stemfirst.divergence import Run, runs_of
from stemfirst.earlier import Parted
from stemfirst.memory import Recalled
from stemfirst.missed import THE_SERVERS_OWN, News
from stemfirst.missed import Missed as Missed
from stemfirst.missed import money as money
from stemfirst.missed import shown as shown
from stemfirst.places import placed_in
from stemfirst.rendered import Rendered
from stemfirst.shown import CHANGED, NEWS_OF, told_by
from stemfirst.usage import Usage, usage_of
from stemfirst.wire import (
    BODY_FIELD,
    Cost,
    Estimate,
    Report,
    SegmentUse,
    Times,
    report_from_json,
)


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
    """False when the call ended before its usage came: a stream was cut off, or it failed."""

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
        body: Mapping[str, Any] | None = None,
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
            body: the request that carried it, in whose terms a server that was told no segments
                says where.
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
            savings = _of_report(report, name, usage, rendered, body, is_complete)
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
            cause = "" if self.is_complete else ": the call ended before its usage came"
            return f"Nothing was reported about the prompt's tokens{cause}."
        prompt = f"{self.prompt_tokens:,}"
        if self.cached_tokens is None:
            return f"The provider did not report how many of {prompt} prompt tokens were cached."
        if self.cached_tokens > self.prompt_tokens:
            return (
                f"The provider reported {self.cached_tokens:,} cached tokens of {prompt} in the "
                "prompt, which cannot be."
            )
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
    """Return a response's savings: those that our client attached, else what it reports itself.

    Also of a stream's helper (`messages.stream(...)`) and of the message that it puts together
    from the chunks, where the stream was watched.
    """
    # A stream's helper holds the stream.
    for holder in (response, getattr(response, "_raw_stream", None)):
        attached = getattr(holder, "savings", None)
        if isinstance(attached, Savings):
            return attached
    watched = _of_streams.get(str(field_of(response, "id")))
    return watched if watched is not None else Savings.of(response)


MOST_STREAMS = 64
"""Streams that ended, of which the savings are remembered."""

_of_streams: OrderedDict[str, Savings] = OrderedDict()


def remember_stream(response_id: object, savings: Savings) -> None:
    """Keep the savings of a stream for whoever holds what a helper made of its chunks."""
    if isinstance(response_id, str) and response_id:
        _of_streams[response_id] = savings
        while len(_of_streams) > MOST_STREAMS:
            with suppress(KeyError):  # another thread was as fast
                _of_streams.popitem(last=False)


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
    report: Report,
    model: str | None,
    usage: Usage,
    rendered: Rendered | None,
    body: Mapping[str, Any] | None,
    is_complete: bool,
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
        missed=_missed(report, rendered, body),
        tiers=report.tiers,
        segments=report.segments,
        notice=report.notice,
        is_complete=is_complete,
    )


def _missed(
    report: Report, rendered: Rendered | None, body: Mapping[str, Any] | None
) -> Missed | None:
    miss = report.missed
    if miss is None:
        return None
    at = miss.at
    if at is not None and at.segment is None and rendered is not None:
        at = placed_in(rendered, at, body)
    wanted = at.segment if at else None
    known = (miss.tokens, miss.reason, at)
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
    """Return the savings with the place where the two prompts part, if the miss may lie there.

    What a server calls changed is what it does not hold. It was read again where both prompts have
    text behind the place; else it was new.
    """
    missed = savings.missed
    if missed is None or not missed.is_avoidable or missed.reason in THE_SERVERS_OWN:
        return savings
    if rendered is not None:
        runs = runs_of(rendered)
        if before is not None:
            told = told_by(missed, runs_of(before), runs)
            if told is not None:
                return replace(savings, missed=told)
        # The server compared it to something that was sent earlier, or elsewhere.
        parted = recalled.parted(rendered, missed.at) if recalled is not None else None
        if parted is not None:
            if missed.reason == CHANGED and not parted.is_lossy:
                news = NEWS_OF.get(parted.segment.tier, News.TURN)
                return replace(savings, missed=replace(missed, parted=parted, news=news))
            # Another process may have had other source: a hole is known by its name only.
            why = None if parted.why.rule is HOLE and not parted.why.hole else parted.why
            return replace(savings, missed=replace(missed, parted=parted, why=why))
    if missed.reason != CHANGED:
        return savings
    # Nothing shows that it was sent before; what it left may be the chat template's alone.
    is_first = before is None and savings.cached_tokens == 0
    news = News.PROMPT if is_first else NEWS_OF.get(missed.tier, News.TURN)
    return replace(savings, missed=replace(missed, news=news))


def told_from(savings: Savings, olds: Sequence[Sequence[Run]], runs: Sequence[Run]) -> Savings:
    """Return the savings of a call that named no prompt, with what requests before it show.

    Args:
        savings: of the call.
        olds: earlier requests, the newest first.
        runs: the call's own.
    """
    missed = savings.missed
    if missed is None or missed.reason != CHANGED:
        return savings
    if missed.at is None or missed.at.path is None:
        return savings  # in text of the chat template's own, which no body shows
    for old in olds:
        told = told_by(replace(missed, news=None), old, runs)
        if told is not None and (told.news is None or told.difference is None):
            return replace(savings, missed=told)
    return savings


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
