"""A ledger adds up what the cache did for the calls made inside a `with` block.

    with ledger("checkout") as L:
        client.ask(...)
    print(L)

Knows savings and how to sum and show them. Does not know how calls are made. A ledger
follows the context (`contextvars`): tasks that start inside the block count; a thread does
not inherit a context, so enter the same ledger there again (`with L:`).
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast

from stemfirst.errors import ClientError
from stemfirst.savings import Savings, money, shown
from stemfirst.wire import Cost, Estimate

P = ParamSpec("P")
R = TypeVar("R")


class Status(Enum):
    """How far a call has come."""

    OPEN = "open"
    """The answer is still streaming, or was dropped unread."""
    COMPLETE = "complete"
    CUT_OFF = "cut off"
    """The stream ended, or was closed, before its usage came."""
    FAILED = "failed"
    """The call raised."""


class Entry:
    """One call in a ledger. Written once by the call, from OPEN to one of the other states."""

    __slots__ = ("savings", "status")

    def __init__(self) -> None:
        self.status = Status.OPEN
        self.savings = Savings(is_complete=False)

    def close(self, status: Status, savings: Savings | None = None) -> None:
        """Settle the entry; a second call changes nothing."""
        if self.status is Status.OPEN:
            self.savings = savings or self.savings
            self.status = status


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over a ledger's calls; a sum is None where no call reported its part.

    `reported` counts the calls that said how many tokens came from the cache; the token sums
    are over those. The interval of `prefill_ms_saved` adds the calls' intervals, which is
    wider than their errors' true sum.
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

    @property
    def computed_tokens(self) -> int:
        """Prompt tokens that did not come from the cache."""
        return self.prompt_tokens - self.cached_tokens

    @property
    def hit_ratio(self) -> float | None:
        """Share of the prompts' tokens that came from the cache, 0 to 1."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else None


class Ledger:
    """Collects the calls made while it is entered; shared freely by threads and event loops."""

    def __init__(self, name: str = "calls") -> None:
        self.name = name
        self._entries: list[Entry] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Ledger:
        _active.set((*_active.get(), self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        active = list(_active.get())
        for index in reversed(range(len(active))):
            if active[index] is self:
                del active[index]
                break
        _active.set(tuple(active))

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Return `function` with this ledger entered around each call; sync or async.

        Raises:
            ClientError: `function` is a generator, whose body runs after the call.
        """
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ClientError(
                f"{function.__name__}() is a generator and runs after its call: "
                "enter the ledger inside it, or around the loop that reads it"
            )
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def entered(*args: P.args, **kwargs: P.kwargs) -> Any:
                with self:
                    return await function(*args, **kwargs)

            return cast("Callable[P, R]", entered)

        @functools.wraps(function)
        def inside(*args: P.args, **kwargs: P.kwargs) -> R:
            with self:
                return function(*args, **kwargs)

        return inside

    def add(self, savings: Savings) -> None:
        """Add a call that was made without our client, from what it reported."""
        entry = Entry()
        entry.close(Status.COMPLETE if savings.is_complete else Status.CUT_OFF, savings)
        self.file(entry)

    def file(self, entry: Entry) -> None:
        """Add a call that may still be under way."""
        with self._lock:
            self._entries.append(entry)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The calls so far, in the order in which they were made."""
        with self._lock:
            return tuple(self._entries)

    @property
    def totals(self) -> Totals:
        """The sums as they stand now."""
        entries = self.entries
        done = [entry.savings for entry in entries]
        known = [
            (saved.prompt_tokens, saved.cached_tokens)
            for saved in done
            if saved.prompt_tokens is not None and saved.cached_tokens is not None
        ]
        timed = [saved.prefill_ms_saved for saved in done if saved.prefill_ms_saved]
        paid = [saved.cost for saved in done if saved.cost]
        return Totals(
            requests=len(entries),
            incomplete=sum(entry.status in (Status.OPEN, Status.CUT_OFF) for entry in entries),
            failed=sum(entry.status is Status.FAILED for entry in entries),
            reported=len(known),
            prompt_tokens=sum(prompt for prompt, _ in known),
            cached_tokens=sum(cached for _, cached in known),
            prefill_ms_saved=_sum_of_estimates(timed),
            timed=len(timed),
            cost=_sum_of_costs(paid),
            priced=len(paid),
        )

    @property
    def requests(self) -> int:
        """Calls made, whatever became of them."""
        return len(self.entries)

    @property
    def prompt_tokens(self) -> int:
        """Prompt tokens of the calls that reported cached tokens."""
        return self.totals.prompt_tokens

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens that came from a cache: those saved."""
        return self.totals.cached_tokens

    @property
    def hit_ratio(self) -> float | None:
        """Share of the prompts' tokens that came from a cache; None before any was reported."""
        return self.totals.hit_ratio

    def misses(self) -> list[tuple[str, int, int]]:
        """Return `(cause, tokens read again, calls)`, the costliest cause first.

        A cause is the reason with the source line where the prompts diverged, or with the
        place in the request where no line is known. Text that was read for the first time is
        no miss.
        """
        tokens: Counter[str] = Counter()
        calls: Counter[str] = Counter()
        for entry in self.entries:
            missed = entry.savings.missed
            if missed is not None and missed.tokens and missed.is_avoidable:
                place = missed.origin and shown(missed.origin)
                if not place and missed.at and missed.at.path:
                    place = ".".join(map(str, missed.at.path))
                cause = missed.reason.replace("_", " ") + (f" at {place}" if place else "")
                tokens[cause] += missed.tokens
                calls[cause] += 1
        return [(cause, count, calls[cause]) for cause, count in tokens.most_common()]

    def __str__(self) -> str:
        """Show the sums as a table of at most 80 columns."""
        totals = self.totals
        lines = [f"{self.name}: {_requests(totals)}"]
        lines += [
            f"  {label:<18}{value:>14}  {note}".rstrip() for label, value, note in _rows(totals)
        ]
        misses = self.misses()[:3]
        if misses:
            lines.append("  read again because of")
            lines += [
                f"{count:>14,}  {_clipped(cause, 48)} ({calls}x)" for cause, count, calls in misses
            ]
        notices = {entry.savings.notice for entry in self.entries if entry.savings.notice}
        lines += [f"  note: {_clipped(notice, 72)}" for notice in sorted(notices)]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Ledger {self.name!r}: {_requests(self.totals)}>"


def ledger(name: str = "calls") -> Ledger:
    """Return a new ledger, to enter with `with` or to put above a function as a decorator."""
    return Ledger(name)


_active: ContextVar[tuple[Ledger, ...]] = ContextVar("stemfirst_ledgers", default=())


def open_entry() -> Entry:
    """File a new call in every ledger that is entered here, in each once, and return it."""
    entry = Entry()
    for book in dict.fromkeys(_active.get()):
        book.file(entry)
    return entry


@contextmanager
def unrecorded() -> Iterator[None]:
    """Keep the calls made inside out of every ledger."""
    token = _active.set(())
    try:
        yield
    finally:
        _active.reset(token)


def _sum_of_estimates(estimates: list[Estimate]) -> Estimate | None:
    if not estimates:
        return None
    return Estimate(
        est=sum(item.est for item in estimates),
        lo=sum(item.lo for item in estimates),
        hi=sum(item.hi for item in estimates),
        n=min(item.n for item in estimates),
    )


def _sum_of_costs(costs: list[Cost]) -> Cost | None:
    currencies = {item.currency for item in costs}
    if len(currencies) != 1:
        return None  # none at all, or sums that cannot be added
    return Cost(
        actual=sum(item.actual for item in costs),
        without_cache=sum(item.without_cache for item in costs),
        saved=sum(item.saved for item in costs),
        basis="; ".join(sorted({item.basis for item in costs})),
        currency=currencies.pop(),
    )


def _requests(totals: Totals) -> str:
    text = f"{totals.requests:,} request{'' if totals.requests == 1 else 's'}"
    odd = [
        f"{count:,} {what}"
        for count, what in ((totals.incomplete, "incomplete"), (totals.failed, "failed"))
        if count
    ]
    return f"{text} ({', '.join(odd)})" if odd else text


def _rows(totals: Totals) -> list[tuple[str, str, str]]:
    """Return label, figure and note of each line."""
    if not totals.reported:
        return [("cached tokens", "not reported", "")]
    some = "" if totals.reported == totals.requests else f"{totals.reported:,} calls reported"
    ratio = totals.hit_ratio
    rows = [
        ("prompt tokens", f"{totals.prompt_tokens:,}", some),
        ("cached tokens", f"{totals.cached_tokens:,}", f"{100 * (ratio or 0):.1f} % hit ratio"),
        ("computed tokens", f"{totals.computed_tokens:,}", ""),
    ]
    saved = totals.prefill_ms_saved
    if saved:
        interval = f"[{saved.lo:,.0f} to {saved.hi:,.0f}]"
        part = "" if totals.timed == totals.requests else f", {totals.timed:,} calls"
        rows.append(("prefill saved", f"{saved.est:,.0f} ms", f"{interval} estimate{part}"))
    if totals.cost:
        part = "" if totals.priced == totals.requests else f", {totals.priced:,} calls"
        whole = money(totals.cost.without_cache)
        rows.append(("money saved", money(totals.cost.saved), f"of {whole}{part}"))
    return rows


def _clipped(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
