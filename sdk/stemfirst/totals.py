"""Sums over calls: what a ledger adds up, and how it is shown in 80 columns.

Knows how tokens, estimates and costs add. Does not know where the calls come from.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stemfirst.savings import Savings, money
from stemfirst.wire import Cost, Estimate


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over a ledger's calls; a sum is None where no call reported its part.

    `reported` counts the calls that said how many tokens came from the cache; the token sums
    are over those. The interval of `prefill_ms_saved` adds the calls' intervals, which is
    wider than their errors' true sum; its `error` is what the newest call was told.
    """

    requests: int
    incomplete: int
    failed: int
    reported: int
    prompt_tokens: int
    cached_tokens: int
    prefill_ms_saved: Estimate | None
    timed: int
    """Calls with an estimate of the milliseconds saved."""
    cost: Cost | None
    priced: int
    """Calls with a cost."""
    timed_cached_tokens: int = 0
    """Of the cached tokens, those of the calls with an estimate: what `prefill_ms_saved` is of."""
    unestimated: Mapping[str, int] = field(default_factory=dict)
    """Calls without an estimate that our server answered, by its reason."""
    currencies: tuple[str, ...] = ()
    """Of the costs, sorted. More than one cannot be added: `cost` is None then."""

    @property
    def computed_tokens(self) -> int:
        """Prompt tokens that did not come from the cache."""
        return self.prompt_tokens - self.cached_tokens

    @property
    def hit_ratio(self) -> float | None:
        """Share of the prompts' tokens that came from the cache, 0 to 1."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else None

    def __add__(self, other: Totals) -> Totals:
        """Return the sums over both."""
        estimates = [item for item in (self.prefill_ms_saved, other.prefill_ms_saved) if item]
        costs = [item for item in (self.cost, other.cost) if item]
        currencies = tuple(sorted({*self.currencies, *other.currencies}))
        return Totals(
            requests=self.requests + other.requests,
            incomplete=self.incomplete + other.incomplete,
            failed=self.failed + other.failed,
            reported=self.reported + other.reported,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            prefill_ms_saved=_sum_of_estimates(estimates),
            timed=self.timed + other.timed,
            cost=_sum_of_costs(costs) if len(currencies) == 1 else None,
            priced=self.priced + other.priced,
            timed_cached_tokens=self.timed_cached_tokens + other.timed_cached_tokens,
            unestimated=dict(Counter(self.unestimated) + Counter(other.unestimated)),
            currencies=currencies,
        )


NOTHING = Totals(0, 0, 0, 0, 0, 0, None, 0, None, 0)


def totals_of(calls: Iterable[Savings], *, incomplete: int = 0, failed: int = 0) -> Totals:
    """Return the sums over calls, of which so many are incomplete or failed."""
    done = list(calls)
    known = [
        (saved.prompt_tokens, saved.cached_tokens)
        for saved in done
        if saved.prompt_tokens is not None and saved.cached_tokens is not None
    ]
    timed = [saved.prefill_ms_saved for saved in done if saved.prefill_ms_saved]
    paid = [saved.cost for saved in done if saved.cost]
    return Totals(
        requests=len(done),
        incomplete=incomplete,
        failed=failed,
        reported=len(known),
        prompt_tokens=sum(prompt for prompt, _ in known),
        cached_tokens=sum(cached for _, cached in known),
        prefill_ms_saved=_sum_of_estimates(timed),
        timed=len(timed),
        cost=_sum_of_costs(paid),
        priced=len(paid),
        timed_cached_tokens=sum(
            saved.cached_tokens or 0 for saved in done if saved.prefill_ms_saved
        ),
        unestimated=dict(
            Counter(saved.unestimated for saved in done if saved.time and saved.unestimated)
        ),
        currencies=tuple(sorted({item.currency for item in paid})),
    )


def totals_from_json(value: Mapping[str, Any]) -> Totals:
    """Return the sums that `dataclasses.asdict` made a value of.

    Raises:
        KeyError, TypeError: it is none.
    """
    saved, cost = value["prefill_ms_saved"], value["cost"]
    currencies = value.get("currencies") or ([cost["currency"]] if cost else [])
    return Totals(
        **{
            **value,
            "prefill_ms_saved": Estimate(**saved) if saved else None,
            "cost": Cost(**cost) if cost else None,
            "currencies": tuple(map(str, currencies)),
        }
    )


@dataclass(frozen=True, slots=True)
class ReadAgain:
    """What one cause made calls read again; sums over them, None where none reported it."""

    cause: str
    """The lint rule or the reason, with the line of source or the place in the request."""
    tokens: int
    calls: int
    ms: float | None = None
    cost: float | None = None
    because: str | None = None
    """The newest such call's own words."""

    def __add__(self, other: ReadAgain) -> ReadAgain:
        """Return the sums over both; the words are the other's."""
        return ReadAgain(
            self.cause,
            self.tokens + other.tokens,
            self.calls + other.calls,
            _sum(self.ms, other.ms),
            _sum(self.cost, other.cost),
            other.because or self.because,
        )

    def __str__(self) -> str:
        """Say it: "1,842 tokens, 61 ms, $0.0004 in 3 calls: SF101 clock-in-prefix at a.py:4"."""
        parts = [f"{self.tokens:,} tokens"]
        if self.ms is not None:
            parts.append(f"{self.ms:,.0f} ms")
        if self.cost:
            parts.append(money(self.cost))
        calls = f"{self.calls:,} call{'' if self.calls == 1 else 's'}"
        return f"{', '.join(parts)} in {calls}: {self.because or self.cause}"


def _sum(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else one + other


@dataclass(slots=True)
class Causes:
    """What was read again by cause; mutable."""

    by_cause: dict[str, ReadAgain]

    @classmethod
    def none(cls) -> Causes:
        """Return an empty one."""
        return cls({})

    def add(self, savings: Savings) -> None:
        """Count a call's miss, where it has one that other code could have avoided."""
        missed = savings.missed
        if missed is None or not missed.tokens or not missed.is_avoidable:
            return
        ms = missed.ms.est if missed.ms else None
        self.merge(ReadAgain(missed.cause, missed.tokens, 1, ms, missed.cost, missed.because))

    def merge(self, more: ReadAgain) -> None:
        """Add sums of one cause."""
        sofar = self.by_cause.get(more.cause)
        self.by_cause[more.cause] = sofar + more if sofar else more

    def costliest(self) -> list[ReadAgain]:
        """Return them, those with the most tokens first."""
        return sorted(self.by_cause.values(), key=lambda item: -item.tokens)

    def copy(self) -> Causes:
        """Return one that changes on its own."""
        return Causes(dict(self.by_cause))


def table(name: str, totals: Totals, misses: Sequence[ReadAgain], notices: Iterable[str]) -> str:
    """Return the sums as a table of at most 80 columns."""
    lines = [f"{name}: {requests_in_words(totals)}"]
    lines += [
        f"  {label:<18}{value:>14}  {note}".rstrip() for label, value, note in rows_of(totals)
    ]
    if misses:
        lines.append("  read again")
        for item in misses:
            lines += textwrap.wrap(
                str(item),
                80,
                initial_indent="    ",
                subsequent_indent="      ",
                break_on_hyphens=False,
            )
    lines += [f"  note: {_clipped(notice, 72)}" for notice in sorted(notices)]
    return "\n".join(lines)


def _sum_of_estimates(estimates: list[Estimate]) -> Estimate | None:
    if not estimates:
        return None
    return Estimate(
        est=sum(item.est for item in estimates),
        lo=sum(item.lo for item in estimates),
        hi=sum(item.hi for item in estimates),
        n=min(item.n for item in estimates),
        error=estimates[-1].error,
        shadows=estimates[-1].shadows,
    )


def _sum_of_costs(costs: list[Cost]) -> Cost | None:
    currencies = {item.currency for item in costs}
    if len(currencies) != 1:
        return None  # none at all, or sums that cannot be added
    return Cost(
        actual=sum(item.actual for item in costs),
        without_cache=sum(item.without_cache for item in costs),
        saved=sum(item.saved for item in costs),
        basis="; ".join(sorted({part for item in costs for part in item.basis.split("; ")})),
        currency=currencies.pop(),
    )


def requests_in_words(totals: Totals) -> str:
    """Return how many calls there were, and how many of them did not end well."""
    text = f"{totals.requests:,} request{'' if totals.requests == 1 else 's'}"
    odd = [
        f"{count:,} {what}"
        for count, what in ((totals.incomplete, "incomplete"), (totals.failed, "failed"))
        if count
    ]
    return f"{text} ({', '.join(odd)})" if odd else text


def rows_of(totals: Totals) -> list[tuple[str, str, str]]:
    """Return label, figure and note of each line."""
    if not totals.reported:
        return [("cached tokens", "not reported", "")]
    some = (
        "" if totals.reported == totals.requests else f"{_part(totals.reported, totals)} reported"
    )
    ratio = totals.hit_ratio
    rows = [
        ("prompt tokens", f"{totals.prompt_tokens:,}", some),
        ("cached tokens", f"{totals.cached_tokens:,}", f"{100 * (ratio or 0):.1f} % hit ratio"),
        ("computed tokens", f"{totals.computed_tokens:,}", ""),
    ]
    saved = totals.prefill_ms_saved
    if saved:
        interval = f"[{saved.lo:,.0f} to {saved.hi:,.0f}]"
        part = "" if totals.timed == totals.requests else f", {_part(totals.timed, totals)}"
        rows.append(("prefill saved", f"{saved.est:,.0f} ms", f"{interval} estimate{part}"))
        if saved.shadows and saved.error is not None:
            off = f"{100 * saved.error:.0f} %"
            rows.append(("  off by", off, f"median of {saved.shadows:,} runs without the cache"))
    for reason, calls in sorted(totals.unestimated.items(), key=lambda pair: -pair[1]):
        rows.append(("  not estimated", f"{calls:,} call{'' if calls == 1 else 's'}", reason))
    if totals.cost:
        part = "" if totals.priced == totals.requests else f", {_part(totals.priced, totals)}"
        whole = money(totals.cost.without_cache)
        rows.append(("money saved", money(totals.cost.saved), f"of {whole}{part}"))
    if len(totals.currencies) > 1:
        rows.append(("money saved", "not added", f"in {' and '.join(totals.currencies)}"))
    return rows


def _part(calls: int, totals: Totals) -> str:
    return f"{calls:,} of {totals.requests:,} calls"


def _clipped(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
