"""Sums that an audit keeps: per template, per cause, over time. All of fixed size.

Knows how to add and merge. Does not know how the figures are found or shown.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from stemfirst.prompt import Origin

from stemfirst_lint.audit.causes import Cause
from stemfirst_lint.audit.divergence import Window
from stemfirst_lint.audit.records import Place

MAX_CAUSES = 24
"""Causes kept apart in one template; further ones are added up as their rule alone."""

MAX_NAMES = 12
POSITION_BINS = 60
TIME_BINS = 120


@dataclass(slots=True)
class Sums:
    """Tokens and money of some requests.

    `shared_tokens` were sent before, whenever; `expected_tokens` the provider is expected to
    have read from its cache; `best_tokens` it could have with the best order. `reported_…`
    are over the `reported` requests whose responses said what was cached, and
    `expected_of_reported_tokens` is the expectation for just those. Money is in US dollars, for
    prompts only, over the `priced` requests; `reported_cost` and its `expected_cost_of_reported`
    over those that also reported.
    """

    requests: int = 0
    prompt_tokens: float = 0.0
    shared_tokens: float = 0.0
    expected_tokens: float = 0.0
    written_tokens: float = 0.0
    best_tokens: float = 0.0
    reported: int = 0
    reported_prompt_tokens: int = 0
    reported_cached_tokens: int = 0
    reported_written_tokens: int = 0
    expected_of_reported_tokens: float = 0.0
    priced: int = 0
    uncached_cost: float = 0.0
    expected_cost: float = 0.0
    best_cost: float = 0.0
    reported_priced: int = 0
    reported_cost: float = 0.0
    expected_cost_of_reported: float = 0.0

    def add(self, other: Sums) -> None:
        """Add another's sums to these."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def check(self) -> None:
        """No more is expected than could be, nor could be than was sent."""
        slack = 1e-6 + 1e-9 * self.prompt_tokens
        assert self.expected_tokens <= self.best_tokens + slack
        assert self.best_tokens <= self.prompt_tokens + slack


@dataclass(frozen=True, slots=True)
class Example:
    """One request that shows a cause: both texts where there are two, and where it was read."""

    place: Place
    earlier: Place | None
    window: Window | None
    token: int
    byte: int
    model: str
    lost_tokens: int


@dataclass(slots=True)
class CauseSum:
    """What one cause cost in one template."""

    cause: Cause
    at: str
    label: str = ""
    segment: str | None = None
    origin: Origin | None = None
    requests: int = 0
    lost_tokens: float = 0.0
    lost_money: float = 0.0
    priced: int = 0
    example: Example | None = None
    further: tuple[str, ...] = ()
    """Fixed words before what else differs behind the divergence."""


@dataclass(slots=True)
class TemplateSum:
    """Everything that is kept of one template's requests."""

    number: int
    title: str
    sums: Sums = field(default_factory=Sums)
    models: Counter[str] = field(default_factory=Counter)
    apis: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    """Reasons for misses that providers reported."""
    causes: dict[tuple[str, str, str], CauseSum] = field(default_factory=dict)
    positions: list[int] = field(default_factory=lambda: [0] * POSITION_BINS)
    """Requests by where they left every earlier one, from the prompt's start to its end."""
    lossy_positions: list[int] = field(default_factory=lambda: [0] * POSITION_BINS)
    """Those among them that forfeited tokens."""

    def cause(self, cause: Cause, at: str, label: str) -> CauseSum:
        """Return the sum of a cause, a new one where it is the first time."""
        key = (cause.name, at, label)
        if key not in self.causes and len(self.causes) >= MAX_CAUSES:
            key = (cause.name, "…", "")
        if key not in self.causes:
            self.causes[key] = CauseSum(cause, key[1], key[2])
        return self.causes[key]

    @property
    def by_loss(self) -> list[CauseSum]:
        """The causes, the costliest first."""
        return sorted(self.causes.values(), key=lambda one: (-one.lost_tokens, one.cause.code))


def count(names: Counter[str], name: str) -> None:
    """Count a name, at most so many different ones."""
    names[name if name in names or len(names) < MAX_NAMES else "others"] += 1


@dataclass(slots=True)
class Slice:
    """Sums of one stretch of time."""

    prompt_tokens: float = 0.0
    expected_tokens: float = 0.0
    best_tokens: float = 0.0
    reported_prompt_tokens: float = 0.0
    reported_cached_tokens: float = 0.0

    def add(self, other: Slice) -> None:
        """Add another's sums to these."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Timeline:
    """Sums over time in at most `TIME_BINS` slices; their width doubles when they run out.

    Positions are seconds, or numbers of requests where no times were recorded.
    """

    def __init__(self, width: float) -> None:
        self.width = width
        self._slices: dict[int, Slice] = {}

    def add(self, position: float, part: Slice) -> None:
        """Add to the slice that a position lies in."""
        self._slices.setdefault(int(position // self.width), Slice()).add(part)
        while max(self._slices) - min(self._slices) >= TIME_BINS:
            self.width *= 2
            merged: dict[int, Slice] = {}
            for index, kept in self._slices.items():
                merged.setdefault(index // 2, Slice()).add(kept)
            self._slices = merged

    def slices(self) -> list[tuple[float, Slice]]:
        """Return the slices that hold something, with the position of their middle."""
        return [((index + 0.5) * self.width, self._slices[index]) for index in sorted(self._slices)]
