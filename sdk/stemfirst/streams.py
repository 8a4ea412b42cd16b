"""Streams that a call watches as they go by, for any client package built as openai's is.

Knows how such streams are read and closed. Does not know what a chunk means.
"""

from __future__ import annotations

import types
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, get_args, get_origin

from stemfirst.savings import Savings

T = TypeVar("T")


class Watcher(Protocol):
    """What a stream tells: the part of `stemfirst.calls.Call` that streams use."""

    @property
    def savings(self) -> Savings:
        """What is known by now."""

    def saw(self, chunk: object) -> None:
        """Take one chunk."""

    def ended(self) -> None:
        """Take the stream's end."""

    def cut(self) -> None:
        """Take the stream's early end."""


class Watched:
    """What both kinds of watched streams have in common."""

    _call: Watcher | None = None

    def watched_by(self, call: Watcher) -> None:
        """Report every chunk from now on to `call`."""
        self._call = call

    @property
    def savings(self) -> Savings:
        """What the cache did for this call; incomplete before the end."""
        return self._call.savings if self._call else Savings(is_complete=False)


class SyncWatching(Watched, Generic[T]):
    """Goes before a package's `Stream` in a class's bases."""

    if not TYPE_CHECKING:

        def __next__(self):
            with _watching(self._call) as saw:
                return saw(super().__next__())

        def close(self):
            """End the request, and tell."""
            if self._call:
                self._call.cut()
            super().close()

    # No generator: leaving a loop early must not look like closing the stream.
    def __iter__(self) -> Iterator[Any]:
        return self  # type: ignore[return-value]


class AsyncWatching(Watched, Generic[T]):
    """As `SyncWatching`, for an event loop."""

    if not TYPE_CHECKING:

        async def __anext__(self):
            with _watching(self._call) as saw:
                return saw(await super().__anext__())

        async def close(self):
            """End the request, and tell."""
            if self._call:
                self._call.cut()
            await super().close()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self  # type: ignore[return-value]


@contextmanager
def _watching(call: Watcher | None) -> Iterator[Callable[[T], T]]:
    """Give a function that shows a chunk to the call; see how the stream ends around it."""

    def saw(chunk: T) -> T:
        if call:
            call.saw(chunk)
        return chunk

    try:
        yield saw
    except (StopIteration, StopAsyncIteration):
        if call:
            call.ended()
        raise
    except BaseException:  # also a cancelled task, which ends the stream
        if call:
            call.cut()
        raise


def watched(stream_cls: Any) -> Any:
    """Return the watched kind of a stream class: `Stream[X]` gives a `Stream[X]` that tells."""
    origin, chunks = get_origin(stream_cls), get_args(stream_cls)
    if origin is None or not chunks or issubclass(origin, Watched):
        return stream_cls
    return _watched_kind(origin)[chunks[0]]


@lru_cache(maxsize=16)
def _watched_kind(origin: Any) -> Any:
    """Return a generic class that is `origin` and watched."""
    kind: Any = AsyncWatching if hasattr(origin, "__anext__") else SyncWatching
    # The packages read the chunks' type off the bases, so each has to stay generic.
    return types.new_class(f"Watched{origin.__name__}", (kind[T], origin[T]))
