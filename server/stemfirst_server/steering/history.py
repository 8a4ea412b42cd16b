"""What was cached once and is not any more, and why: for whoever asks why a prompt misses.

Knows hashes of tokens, causes and times. Does not know tokens: what is forgotten is not kept.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from enum import StrEnum
from threading import Lock
from typing import TYPE_CHECKING

import xxhash

from stemfirst_server.memory.node import TOKEN_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_PAGES = 2**17
"""Pages remembered: about 20 MB."""


class Cause(StrEnum):
    """Why a page is not cached any more."""

    EVICTED = "evicted"
    FLUSHED = "flushed"
    WEIGHTS_CHANGED = "weights_changed"


@dataclass(frozen=True, slots=True)
class Gone:
    """The end of a page, and of how many that stood behind it.

    Attributes:
        cause: why the first one went.
        at_s: when, seconds since 1970.
        pages: in a row, this one among them.
    """

    cause: Cause
    at_s: float
    pages: int = 1


class History:
    """Pages that went, the last ones. Safe for several threads.

    Invariant: at most `most_pages` are remembered.

    Args:
        page: tokens.
        most_pages: the oldest are forgotten.
        clock: seconds since 1970.
    """

    def __init__(
        self, page: int, *, most_pages: int = MOST_PAGES, clock: Callable[[], float] = time.time
    ) -> None:
        self._page_bytes = page * TOKEN_BYTES
        self._most_pages = most_pages
        self._clock = clock
        self._gone: OrderedDict[int, Gone] = OrderedDict()
        self._lock = Lock()

    def note(self, namespace: str, data: bytes, pages: int, cause: Cause) -> None:
        """Remember that the last `pages` pages of `data` are gone."""
        gone = Gone(cause, self._clock())
        start = len(data) // self._page_bytes - pages
        names = list(self._names(namespace, data, max(start, 0)))
        with self._lock:
            for name in names[-self._most_pages :]:
                self._gone[name] = gone
                self._gone.move_to_end(name)
            while len(self._gone) > self._most_pages:
                self._gone.popitem(last=False)

    def find(self, namespace: str, data: bytes, page: int) -> Gone | None:
        """Return the end of a page of `data`; None: it was never there, or that is forgotten."""
        if not self._gone or len(data) < (page + 1) * self._page_bytes:
            return None  # the usual case, a full hit, costs nothing however long the prompt is
        first: Gone | None = None
        pages = 0
        with self._lock:
            for name in self._names(namespace, data, page):
                gone = self._gone.get(name)
                if gone is None:
                    break
                first = first or gone
                pages += 1
        return replace(first, pages=pages) if first is not None else None

    def check(self) -> None:
        """The class's invariant."""
        assert len(self._gone) <= self._most_pages

    def _names(self, namespace: str, data: bytes, start: int) -> Iterator[int]:
        size = self._page_bytes
        hashed = xxhash.xxh3_64(namespace.encode("utf-8", "surrogatepass") + b"\0")
        hashed.update(data[: start * size])
        for page in range(start, len(data) // size):
            hashed.update(data[page * size : (page + 1) * size])
            yield hashed.intdigest()
