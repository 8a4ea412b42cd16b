"""A ledger adds up what the cache did for the calls made inside a `with` block.

    with ledger("checkout") as L:
        client.ask(...)
    print(L)

Knows savings and how to sum and show them. Does not know how calls are made. A ledger
follows the context (`contextvars`): tasks that start inside the block count; a thread does
not inherit a context, so enter the same ledger there again (`with L:`, or `pool.submit(L(work))`).
A ledger says how many calls threads without any made meanwhile.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from os import PathLike
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast

from stemfirst.entered import enter, leave, of_process
from stemfirst.entries import Entry as Entry
from stemfirst.entries import Status as Status
from stemfirst.errors import ClientError
from stemfirst.memory import Memory
from stemfirst.savings import Savings
from stemfirst.totals import (
    NOTHING,
    Causes,
    ReadAgain,
    Totals,
    requests_in_words,
    rows_of,
    table,
    totals_from_json,
    totals_of,
)
from stemfirst.wire import SegmentUse

P = ParamSpec("P")
R = TypeVar("R")


STATE_VERSION = 1

MOST_OPEN = 1_000
"""Calls under way that a ledger holds beyond its bound; of more, the oldest were dropped unread."""


class Ledger:
    """Collects the calls made while it is entered; shared freely by threads and event loops.

    Args:
        name: its title.
        most_entries: calls to hold one by one, at least 1; of older ones only the sums are kept,
            once they are over. All by default.
        memory: a folder in which processes leave each other what their prompts were (digests,
            no text), so that the first miss of a new one is explained, too.

    Raises:
        ClientError: `most_entries` is below 1.
        OSError: `memory` cannot be made.
    """

    def __init__(
        self,
        name: str = "calls",
        *,
        most_entries: int | None = None,
        memory: str | PathLike[str] | None = None,
    ) -> None:
        if most_entries is not None and most_entries < 1:
            raise ClientError(f"most_entries must be at least 1, got {most_entries}")
        self.name = name
        self.memory = Memory(memory) if memory is not None else None
        self._entries: deque[Entry] = deque()
        self._most_entries = most_entries
        self._folded = NOTHING
        self._folded_causes = Causes.none()
        self._folded_notices: set[str] = set()
        self._lock = threading.Lock()
        self._uncounted = 0

    def __enter__(self) -> Ledger:
        enter(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        leave(self)

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
            while self._most_entries is not None and len(self._entries) > self._most_entries:
                oldest = next((item for item in self._entries if item.is_closed), None)
                if oldest is None and len(self._entries) <= self._most_entries + MOST_OPEN:
                    break  # all are under way: folded now, their tokens would never be counted
                oldest = oldest or self._entries[0]
                self._entries.remove(oldest)
                self._folded += _totals([oldest])
                self._folded_causes.add(oldest.savings)
                if oldest.savings.notice:
                    self._folded_notices.add(oldest.savings.notice)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The calls so far, in the order in which they were made."""
        with self._lock:
            return tuple(self._entries)

    @property
    def totals(self) -> Totals:
        """The sums as they stand now."""
        with self._lock:
            return self._folded + _totals(self._entries)

    @property
    def requests(self) -> int:
        """Calls made, whatever became of them."""
        with self._lock:
            return self._folded.requests + len(self._entries)

    @property
    def uncounted(self) -> int:
        """Calls that other threads made, outside of any ledger, while this one was entered.

        They are not among its own: whose work they were is not known. Enter the ledger in those
        threads, too: `with book:`, or `pool.submit(book(work))`.
        """
        with self._lock:
            return self._uncounted

    def saw_elsewhere(self) -> None:
        """Take it that a thread without any ledger made a call while this one was entered."""
        with self._lock:
            self._uncounted += 1

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

    def misses(self, *, asks_linter: bool = False) -> list[ReadAgain]:
        """Return what was read again by cause, the costliest first.

        A cause is the lint rule or the reason, with the source line where the prompts diverged,
        or with the place in the request where no line is known. Text that was read for the
        first time is no miss.

        Args:
            asks_linter: whether to ask if `stemfirst fix` moves it; as `Savings.explain`.
        """
        with self._lock:
            causes, held = self._folded_causes.copy(), list(self._entries)
        for entry in held:
            causes.add(entry.savings.checked() if asks_linter else entry.savings)
        return causes.costliest()

    def by_prompt(self) -> dict[str, Totals]:
        """Return the sums by prompt: the name of its first named segment, else its place.

        Of the calls that `entries` holds.
        """
        groups: dict[str, list[Entry]] = {}
        for entry in self.entries:
            groups.setdefault(entry.prompt or "messages built by hand", []).append(entry)
        return {prompt: _totals(entries) for prompt, entries in groups.items()}

    def by_segment(self) -> dict[str, SegmentUse]:
        """Return how many of each segment's tokens came from the cache, by its name or tier.

        Of the calls that `entries` holds and whose server reported segments.
        """
        sums: dict[str, SegmentUse] = {}
        for entry in self.entries:
            for identifier, use in (entry.savings.segments or {}).items():
                label = entry.labels.get(identifier, identifier)
                sofar = sums.get(label, SegmentUse(0, 0))
                sums[label] = SegmentUse(
                    sofar.prompt_tokens + use.prompt_tokens,
                    sofar.cached_tokens + use.cached_tokens,
                )
        return sums

    @property
    def title(self) -> str:
        """Its name, and how many calls it holds."""
        return f"{self.name}: {requests_in_words(self.totals)}"

    def rows(self) -> list[tuple[str, str, str]]:
        """Return label, figure and note of each line that is shown."""
        return rows_of(self.totals)

    def notices(self) -> set[str]:
        """Return what is to be known about the figures: servers' words, and calls left out."""
        with self._lock:
            told = {entry.savings.notice for entry in self._entries if entry.savings.notice}
            missing = {_elsewhere(self._uncounted)} if self._uncounted else set()
            return told | self._folded_notices | missing

    def __str__(self) -> str:
        """Show the sums as a table of at most 80 columns."""
        return table(self.name, self.totals, self.misses()[:3], self.notices())

    def __rich__(self) -> Any:
        """Show them with colours: `rich.print(book)`."""
        from stemfirst.terminal import ledger_view

        return ledger_view(self)

    def _repr_html_(self) -> str:
        """Show the same in a notebook."""
        from stemfirst.html import ledger_html

        return ledger_html(self)

    def to_json(self) -> dict[str, Any]:
        """Return the sums and causes, for another process to add up with `Ledger.merged`.

        Holds no prompt; a cause's words hold the few characters that changed.
        """
        with self._lock:
            causes = self._folded_causes.copy()
            for entry in self._entries:
                causes.add(entry.savings)
            totals = self._folded + _totals(self._entries)
        return {
            "v": STATE_VERSION,
            "name": self.name,
            "totals": asdict(totals),
            "causes": [asdict(item) for item in causes.costliest()],
            "notices": sorted(self.notices()),
        }

    @classmethod
    def merged(cls, states: Iterable[Mapping[str, Any]], name: str = "calls") -> Ledger:
        """Return a ledger of the sums that several processes' ledgers gave by `to_json`.

        Its `entries` are empty: calls are not kept one by one.

        Raises:
            ClientError: one of them is no such state.
        """
        book = cls(name)
        for state in states:
            try:
                if state["v"] != STATE_VERSION:
                    raise ValueError(f"version {state['v']!r}")
                book._folded += totals_from_json(state["totals"])
                for item in state["causes"]:
                    book._folded_causes.merge(ReadAgain(**item))
                book._folded_notices |= set(map(str, state["notices"]))
            except (KeyError, TypeError, ValueError) as error:
                raise ClientError(
                    f"this is no ledger's state ({error}): {str(state)[:60]}; save what "
                    "to_json() returns"
                ) from None
        return book

    def __repr__(self) -> str:
        return f"<Ledger {self.name!r}: {requests_in_words(self.totals)}>"


def ledger(
    name: str = "calls",
    *,
    most_entries: int | None = None,
    memory: str | PathLike[str] | None = None,
) -> Ledger:
    """Return a new ledger, to enter with `with` or to put above a function as a decorator.

    The arguments are those of `Ledger`.
    """
    return Ledger(name, most_entries=most_entries, memory=memory)


def process_ledger() -> Ledger:
    """Return the ledger of all calls of this process, in whatever thread or context.

    It counts from the first time on that it is asked for. Of more than 10,000 calls it holds
    the newest one by one, and the sums of all.
    """
    with _process_lock:
        if not of_process:
            of_process.append(Ledger("this process", most_entries=10_000))
        return of_process[0]


_process_lock = threading.Lock()


def _elsewhere(calls: int) -> str:
    what = "call of other threads is" if calls == 1 else "calls of other threads are"
    return (
        f"{calls:,} {what} not counted: enter the ledger there, too, or give them book(function)."
    )


def _totals(entries: Iterable[Entry]) -> Totals:
    held = list(entries)
    return totals_of(
        [entry.savings for entry in held],
        incomplete=sum(entry.status in (Status.OPEN, Status.CUT_OFF) for entry in held),
        failed=sum(entry.status is Status.FAILED for entry in held),
    )
