"""Who wants to know of every call of this process: recorders, telemetry.

Knows what is told and when. Does not know what is done with it. An observer that fails is
logged, and the call that it watched goes on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from stemfirst.chain import ChainKey
from stemfirst.entries import Status
from stemfirst.rendered import Rendered
from stemfirst.savings import Savings

log = logging.getLogger("stemfirst")


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as it leaves."""

    path: str
    """Relative to the base URL: `/chat/completions`."""
    base_url: str
    body: Mapping[str, Any] = field(repr=False)
    at_s: float
    """Seconds since 1970."""
    rendered: Rendered | None = field(default=None, repr=False)
    session_id: str | None = None
    key: ChainKey | None = None
    """What the caller's API key gives for keyed digests; None where it is not known."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended."""

    status: Status
    savings: Savings
    response: object = field(repr=False)
    """The response or, of a stream, what carried its usage; None where it failed."""
    duration_s: float
    first_chunk_s: float | None
    """When a stream's first chunk came, from the start on."""
    error: BaseException | None = None


class Observer(Protocol):
    """Told of each call as it is sent; what it returns is told how the call ended."""

    def sent(self, sent: Sent) -> Callable[[Outcome], None] | None:
        """Take a request that leaves now, in the caller's own context."""


_observers: tuple[Observer, ...] = ()
_lock = threading.Lock()


def has_observers() -> bool:
    """Return whether anybody wants to know, so that nothing need be prepared where not."""
    return bool(_observers)


def add(observer: Observer) -> None:
    """Tell `observer` of every call of this process from now on."""
    global _observers
    with _lock:
        _observers = (*_observers, observer)


def remove(observer: Observer) -> None:
    """Tell `observer` of no further call; one that was never added is no error."""
    global _observers
    with _lock:
        _observers = tuple(item for item in _observers if item is not observer)


@contextmanager
def observing(observer: Observer) -> Iterator[None]:
    """Tell `observer` of the calls of this process until the block ends."""
    add(observer)
    try:
        yield
    finally:
        remove(observer)


def tell(sent: Sent) -> tuple[Callable[[Outcome], None], ...]:
    """Tell every observer of a request, and return whom to tell how it ended."""
    ends = []
    for observer in _observers:
        try:
            end = observer.sent(sent)
        except Exception:  # whatever it was, the caller's request goes on
            log.exception("%r failed at a request", observer)
            continue
        if end is not None:
            ends.append(end)
    return tuple(ends)


def tell_end(ends: tuple[Callable[[Outcome], None], ...], outcome: Outcome) -> None:
    """Tell how a call ended."""
    for end in ends:
        try:
            end(outcome)
        except Exception:  # as above
            log.exception("%r failed at a call's end", end)
