"""Audits requests one by one: sharing, expectation, divergence, cause, money.

Knows the order of these steps and what must be remembered from one request to the next; all
of it is bounded (see `docs/audit.md`). Does not know files or output.
"""

from __future__ import annotations

from dataclasses import dataclass

from stemfirst.prices import Price, Unpriced
from stemfirst.providers import Mode

from stemfirst_lint.audit.bounded import RecentMap, RecentStore
from stemfirst_lint.audit.causes import OF_SHORTFALL, Cause, cause_of, label_of
from stemfirst_lint.audit.divergence import (
    Divergence,
    diverge,
    further_differences,
    in_same_conversation,
    with_resent,
)
from stemfirst_lint.audit.money import expected_cost, price_for, prompt_cost
from stemfirst_lint.audit.provider_rules import rules_for
from stemfirst_lint.audit.records import Path, Request
from stemfirst_lint.audit.sharing import Expected, Prefixes, Shared, Shortfall, Visit
from stemfirst_lint.audit.stream import Stream, TokenCounts, stream_of
from stemfirst_lint.audit.tallies import (
    POSITION_BINS,
    Example,
    Slice,
    Sums,
    TemplateSum,
    Timeline,
    count,
)
from stemfirst_lint.audit.templates import Template, Templates

REMEMBERED_BYTES = 48 * 2**20
"""Memory for the recent requests that are kept to compare with."""

MIN_GAIN = 128
_REMEMBERED_BLOCKS = 65_536
_COMPARED_WHOLE = 32
"""Requests of a cause in which the differences behind the first one are looked for."""

_TELLING_BLOCK = 24
"""Characters from which a message tells conversations apart."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is found about one request."""

    stream: Stream
    shared: Shared
    exact_tokens: float
    expected: Expected
    best_tokens: int
    nearest: Divergence | None
    """From the request with the longest common prefix."""
    forfeiting: Divergence | None
    """From the request that shows the greatest loss by order; None where there is none."""
    forfeited_tokens: int = 0


class Auditor:
    """Takes requests in the order of recording and sums up what is found.

    Args:
        min_gain: tokens a request must lose by one cause for the cause to be counted.
        model: folder of a tokenizer to count with; the default is `o200k_base`.
    """

    def __init__(self, *, min_gain: int = MIN_GAIN, model: str | None = None) -> None:
        self.min_gain = min_gain
        self.counts = TokenCounts(model)
        self.prefixes = Prefixes()
        self.templates: dict[int, TemplateSum] = {}
        self.by_time = Timeline(1.0)
        self.by_number = Timeline(1.0)
        self.requests = 0
        self.failed = 0
        self.timed = 0
        self.out_of_order = 0
        self.partly_recorded = 0
        self.misreported = 0
        self.scaled = 0
        self.unpriced: dict[str, int] = {}
        self._templates = Templates()
        self._recent: RecentStore[Stream] = RecentStore(REMEMBERED_BYTES)
        self._block_sent: RecentMap[int, int] = RecentMap(_REMEMBERED_BLOCKS)
        self._session_sent: RecentMap[str, int] = RecentMap(4096)
        self._template_sent: RecentMap[tuple[int, str], int] = RecentMap(1024)
        self._latest_s: float | None = None

    def add(self, request: Request) -> None:
        """Audit one more request; one that was not answered is counted, and no more."""
        if request.has_failed:
            self.failed += 1
            return
        number = self.requests
        self.requests += 1
        rules = rules_for(request.model, request.provider, request.api)
        stream = stream_of(request, rules, self.counts)
        template = self._templates.assign(request)
        shared = self.prefixes.visit(stream, number)
        verdict = self._judge(stream, shared, template)
        self._remember(stream, number, template)
        self._note_time(request)
        sums = self._sums(verdict)
        if template.number not in self.templates:
            self.templates[template.number] = TemplateSum(template.number, template.title)
        kept = self.templates[template.number]
        kept.sums.add(sums)
        count(kept.models, request.model)
        count(kept.apis, request.api.value)
        count(kept.rules, str(rules))
        if request.reported_reason is not None:
            count(kept.reasons, request.reported_reason)
        self._file_causes(verdict, template, kept)
        part = Slice(
            sums.prompt_tokens,
            sums.expected_tokens,
            sums.best_tokens,
            sums.reported_prompt_tokens,
            sums.reported_cached_tokens,
        )
        self.by_number.add(number, part)
        if request.at_s is not None:
            self.by_time.add(request.at_s, part)

    def _judge(self, stream: Stream, shared: Shared, template: Template) -> Verdict:
        found = [diverge(earlier, stream) for earlier in self._candidates(stream, shared, template)]
        nearest = max(found, key=lambda one: one.shared_tokens, default=None)
        exact = max(shared.tokens, nearest.shared_tokens if nearest else 0.0)
        expected = self.prefixes.expect(stream, shared, exact)
        live = [one for one in found if _is_live(one)]
        kept = max([shared.live_tokens, *(one.shared_tokens for one in live)])
        forfeiting, forfeited = None, 0
        if stream.prompt_tokens - kept >= self.min_gain:
            forfeiting, forfeited = self._worst(stream, template, live, kept)
        best = stream.rules.readable(kept, stream.prompt_tokens) + forfeited
        return Verdict(
            stream,
            shared,
            exact,
            expected,
            max(best, expected.cached_tokens),
            nearest,
            forfeiting,
            forfeited,
        )

    def _worst(
        self, stream: Stream, template: Template, live: list[Divergence], kept: float
    ) -> tuple[Divergence | None, int]:
        """Return the divergence that shows the greatest loss, and the tokens lost."""
        worst, most = None, 0
        for one in live:
            is_same = in_same_conversation(one.earlier, stream)
            if one.earlier.request.model != stream.request.model and not is_same:
                continue
            again = with_resent(one, template.is_stable, same_conversation=is_same)
            total = again.shared_tokens + again.resent_tokens
            lost = stream.rules.readable(total, stream.prompt_tokens)
            lost -= stream.rules.readable(kept, stream.prompt_tokens)
            if lost >= self.min_gain and lost > most:
                worst, most = again, lost
        return worst, most

    def _candidates(self, stream: Stream, shared: Shared, template: Template) -> list[Stream]:
        """Return the earlier requests, as far as they are remembered, that tell the most."""
        request = stream.request
        numbers = [shared.predecessor]
        if request.session is not None:
            numbers.append(self._session_sent.get(request.session))
        for index in range(len(stream.blocks) - 1, max(-1, len(stream.blocks) - 16), -1):
            block = stream.blocks[index]
            if block.message is not None and len(block.text) >= _TELLING_BLOCK:
                sent = self._block_sent.get(stream.digests[index])
                if sent is not None:
                    numbers.append(sent)
                    break
        numbers.append(self._template_sent.get((template.number, request.model)))
        known = [
            self._recent.get(number) for number in dict.fromkeys(numbers) if number is not None
        ]
        return [earlier for earlier in known if earlier is not None]

    def _remember(self, stream: Stream, number: int, template: Template) -> None:
        self._recent.put(number, stream, stream.memory_bytes)
        for index, block in enumerate(stream.blocks):
            if block.message is not None and len(block.text) >= _TELLING_BLOCK:
                self._block_sent.put(stream.digests[index], number)
        if stream.request.session is not None:
            self._session_sent.put(stream.request.session, number)
        self._template_sent.put((template.number, stream.request.model), number)

    def _note_time(self, request: Request) -> None:
        if request.at_s is None:
            return
        self.timed += 1
        if self._latest_s is not None and request.at_s < self._latest_s - 1:
            self.out_of_order += 1
        self._latest_s = max(request.at_s, self._latest_s or request.at_s)

    def _sums(self, verdict: Verdict) -> Sums:
        """Return one request's figures as sums of one."""
        stream, expected = verdict.stream, verdict.expected
        usage = stream.request.usage
        prompt = round(stream.prompt_tokens)
        if usage.prompt_tokens and not 0.98 <= stream.prompt_tokens / usage.prompt_tokens <= 1.02:
            self.partly_recorded += 1
        elif usage.prompt_tokens:
            self.scaled += 1
        sums = Sums(
            requests=1,
            prompt_tokens=prompt,
            shared_tokens=min(verdict.exact_tokens, prompt),
            expected_tokens=expected.cached_tokens,
            written_tokens=expected.written_tokens,
            best_tokens=verdict.best_tokens,
        )
        prompt_reported, cached = usage.prompt_tokens, usage.cached_tokens
        has_reported = prompt_reported is not None and cached is not None
        if prompt_reported is not None and cached is not None and cached > prompt_reported:
            self.misreported += 1  # no such bill was ever written
            has_reported = False
        if has_reported:
            sums.reported = 1
            sums.reported_prompt_tokens = usage.prompt_tokens or 0
            sums.reported_cached_tokens = usage.cached_tokens or 0
            sums.reported_written_tokens = usage.written_tokens or 0
            sums.expected_of_reported_tokens = expected.cached_tokens
        charged = price_for(stream.request, stream.prompt_tokens)
        if isinstance(charged, Unpriced):
            self._note_unpriced(charged.reason)
            return sums
        now = expected_cost(charged, prompt, expected)
        best = prompt_cost(charged, prompt, verdict.best_tokens, *_best_writes(verdict))
        if now is None or best is None:
            self._note_unpriced(f"the price table has no price for cache writes of {charged.model}")
            return sums
        sums.priced = 1
        sums.uncached_cost = prompt * charged.input / 1e6
        sums.expected_cost, sums.best_cost = now, min(now, best)
        if has_reported:
            paid = prompt_cost(
                charged,
                sums.reported_prompt_tokens,
                sums.reported_cached_tokens,
                sums.reported_written_tokens,
                usage.written_1h_tokens or 0,
            )
            if paid is not None:
                sums.reported_priced = 1
                sums.reported_cost = paid
                sums.expected_cost_of_reported = now
        return sums

    def _note_unpriced(self, reason: str) -> None:
        if reason in self.unpriced or len(self.unpriced) < 8:
            self.unpriced[reason] = self.unpriced.get(reason, 0) + 1

    def _file_causes(self, verdict: Verdict, template: Template, kept: TemplateSum) -> None:
        stream = verdict.stream
        if verdict.nearest is not None:
            share = verdict.exact_tokens / stream.prompt_tokens if stream.prompt_tokens else 0.0
            place = min(POSITION_BINS - 1, int(share * POSITION_BINS))
            kept.positions[place] += 1
            kept.lossy_positions[place] += verdict.forfeiting is not None
        if verdict.forfeiting is not None:
            one = verdict.forfeiting
            cause = cause_of(one, template.is_stable)
            self._file(kept, cause, one, verdict, verdict.forfeited_tokens)
        short = verdict.expected
        if short.shortfall is None or short.missed_tokens < self.min_gain:
            return
        if verdict.forfeiting is None or short.shortfall is not Shortfall.EXPIRED:
            # What expired is no loss of its own where a fresher prompt held the same text.
            self._file(kept, OF_SHORTFALL[short.shortfall], None, verdict, short.missed_tokens)

    def _file(
        self,
        kept: TemplateSum,
        cause: Cause,
        one: Divergence | None,
        verdict: Verdict,
        lost_tokens: int,
    ) -> None:
        stream = verdict.stream
        segment = one.segment if one is not None else None
        label = label_of(one, cause) if one is not None else ""
        total = kept.cause(cause, _shown_path(one.at) if one is not None else "", label)
        total.requests += 1
        total.lost_tokens += lost_tokens
        charged = price_for(stream.request, stream.prompt_tokens)
        if isinstance(charged, Price) and charged.cached is not None:
            total.priced += 1
            total.lost_money += lost_tokens * (charged.input - charged.cached) / 1e6
        if segment is not None and (total.origin is None and total.segment is None):
            tier = f"{segment.tier.label} segment" if segment.tier is not None else "segment"
            total.segment = segment.name or f"{tier} {segment.id}"
            total.origin = segment.origin
        is_text = cause.code.startswith(("SF1", "SF2", "SF3"))
        if one is not None and is_text and total.requests <= _COMPARED_WHOLE:
            total.further = max(total.further, further_differences(one), key=len)
        if total.example is None or lost_tokens > total.example.lost_tokens:
            total.example = Example(
                place=stream.request.place,
                earlier=one.earlier.request.place if one is not None else None,
                window=one.window() if one is not None else None,
                token=int(one.shared_tokens if one is not None else verdict.exact_tokens),
                byte=one.byte if one is not None else 0,
                model=stream.request.model,
                lost_tokens=lost_tokens,
            )


def _is_live(one: Divergence) -> bool:
    """Whether the earlier request's prompt is expected to be cached still."""
    later = one.later
    return Visit(0, one.earlier.request.at_s).is_live(later.request.at_s, later.ttl_s)


def _best_writes(verdict: Verdict) -> tuple[int, int]:
    """Return the tokens that the best order would write, and those of an hour among them.

    What is gained need not be written. Where markers are missing, the best order has them, and
    a request that reads nothing writes its tools and system text.
    """
    stream, expected = verdict.stream, verdict.expected
    if stream.rules.mode is not Mode.PREFIX and not expected.written_tokens:
        if verdict.best_tokens:
            return 0, 0
        head = sum(stream.tokens(i) for i, b in enumerate(stream.blocks) if b.is_head)
        return stream.rules.readable(head, stream.prompt_tokens), 0
    gained = verdict.best_tokens - expected.cached_tokens
    return max(0, expected.written_tokens - gained), max(0, expected.written_1h_tokens - gained)


def _shown_path(at: Path) -> str:
    """Return a place in a body as a user would write it; messages behind the first as one."""
    shown = ""
    for index, step in enumerate(at):
        if isinstance(step, int):
            is_history = index == 1 and at[0] in ("messages", "input") and step > 0
            shown += "[n]" if is_history else f"[{step}]"
        else:
            shown += f".{step}" if shown else step
    return shown
