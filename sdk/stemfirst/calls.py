"""One call under way: from the request to its savings, filed in the ledgers around it.

Knows what a response or a stream of any of OpenAI's text endpoints carries, and how to watch
it go by without changing it. Does not send: the clients do, sync and async alike.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar, get_args, get_origin

from openai import AsyncStream, BaseModel, Stream
from typing_extensions import override

from stemfirst.ledgers import Status, open_entry
from stemfirst.prompt import Rendered
from stemfirst.savings import Savings, field_of
from stemfirst.wire import BODY_FIELD

T = TypeVar("T")

WATCHED_PATHS = frozenset({"/chat/completions", "/completions", "/responses"})
"""Endpoints that read a prompt, relative to the base URL."""


class Call:
    """Watches one request's answer, and settles its ledger entry exactly once."""

    __slots__ = ("_entry", "_holder", "_is_finished", "_last", "_provider", "_rendered")

    def __init__(self, *, provider: str, rendered: Rendered | None) -> None:
        self._provider = provider
        self._rendered = rendered
        self._entry = open_entry()
        self._last: object = None
        self._holder: object = None  # the chunk that carries the usage
        self._is_finished = False

    @property
    def savings(self) -> Savings:
        """What is known by now; complete when the answer was received to its end."""
        return self._entry.savings

    def received(self, response: object) -> None:
        """Take a whole response."""
        self._entry.close(Status.COMPLETE, self._read(response, is_complete=True))

    def saw(self, chunk: object) -> None:
        """Take one chunk of a stream.

        A consumer may leave with the last chunk in hand and never ask for the end, so the
        call is settled as soon as the model has finished and the usage is there.
        """
        # The Responses API wraps the finished response in its closing event.
        whole = field_of(chunk, "response") or chunk
        if field_of(whole, "usage", BODY_FIELD) is not None:
            self._holder = whole
        self._last = whole
        self._is_finished = self._is_finished or _says_finished(chunk)
        if self._is_finished and self._holder is not None:
            self.ended()

    def ended(self) -> None:
        """Take a stream's end, which is early where the model had not finished."""
        if not self._is_finished:
            self.cut()
            return
        self._entry.close(Status.COMPLETE, self._read(self._holder or self._last, is_complete=True))

    def cut(self) -> None:
        """Take a stream's early end: closed by its reader, or broken by the network."""
        source = self._holder or self._last
        self._entry.close(Status.CUT_OFF, self._read(source, is_complete=False))

    def failed(self) -> None:
        """Take an error instead of an answer."""
        self._entry.close(Status.FAILED)

    def _read(self, response: object, *, is_complete: bool) -> Savings:
        return Savings.of(
            response, rendered=self._rendered, provider=self._provider, is_complete=is_complete
        )


def _says_finished(chunk: object) -> bool:
    """Whether a chunk says that the model has finished, in chat, legacy or responses shape."""
    if field_of(chunk, "type") in ("response.completed", "response.incomplete"):
        return True
    choices = field_of(chunk, "choices") or ()
    return any(field_of(choice, "finish_reason") is not None for choice in choices)


def attach(response: object, savings: Savings) -> None:
    """Put `savings` on a response object, beside its fields.

    It goes into the instance's dict, as openai's own `_request_id` does: there it is found by
    attribute access and copied along, and left out when the response is dumped to JSON.
    """
    if isinstance(response, BaseModel):
        object.__setattr__(response, "savings", savings)


_rendered: ContextVar[Rendered | None] = ContextVar("stemfirst_rendered", default=None)


@contextmanager
def sending(rendered: Rendered) -> Iterator[None]:
    """Tell the client's hook, further down this call, which prompt is being sent.

    The openai package's `create()` stands between the two and passes on only what is sent.
    """
    token = _rendered.set(rendered)
    try:
        yield
    finally:
        _rendered.reset(token)


def start(path: str, base_url: str) -> Call | None:
    """Return a new call for a request to this path, or None where there is nothing to watch."""
    if path not in WATCHED_PATHS:
        return None
    return Call(provider=base_url, rendered=_rendered.get())


def parser_for(call: Call, inner: Callable[[Any], Any] | None) -> Callable[[Any], Any]:
    """Return a `post_parser` for openai's request options: watch, then parse as `inner` does.

    It runs wherever a response is parsed, also behind `with_raw_response`.
    """

    def parse(response: Any) -> Any:
        if isinstance(response, WatchedStream | AsyncWatchedStream):
            response.watched_by(call)
            return inner(response) if inner else response
        call.received(response)  # before `inner`, which raises on a cut answer
        parsed = inner(response) if inner else response
        attach(parsed, call.savings)
        return parsed

    return parse


class WatchedStream(Stream[T]):
    """A stream of the openai package that a call watches; `savings` is complete at its end."""

    _call: Call | None = None

    def watched_by(self, call: Call) -> None:
        """Report every chunk from now on to `call`."""
        self._call = call

    @property
    def savings(self) -> Savings:
        """What the cache did for this call; incomplete before the end."""
        return self._call.savings if self._call else Savings(is_complete=False)

    @override
    def __next__(self) -> T:
        with _watching(self._call) as saw:
            return saw(super().__next__())

    @override
    def __iter__(self) -> Iterator[T]:
        # No generator: leaving a loop early must not look like closing the stream.
        return self

    @override
    def close(self) -> None:
        if self._call:
            self._call.cut()
        super().close()


class AsyncWatchedStream(AsyncStream[T]):
    """As `WatchedStream`, for an event loop."""

    _call: Call | None = None

    def watched_by(self, call: Call) -> None:
        """Report every chunk from now on to `call`."""
        self._call = call

    @property
    def savings(self) -> Savings:
        """What the cache did for this call; incomplete before the end."""
        return self._call.savings if self._call else Savings(is_complete=False)

    @override
    async def __anext__(self) -> T:
        with _watching(self._call) as saw:
            return saw(await super().__anext__())

    @override
    def __aiter__(self) -> AsyncIterator[T]:
        return self

    @override
    async def close(self) -> None:
        if self._call:
            self._call.cut()
        await super().close()


@contextmanager
def _watching(call: Call | None) -> Iterator[Callable[[T], T]]:
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
    """Return the watched kind of a stream class: `Stream[X]` gives `WatchedStream[X]`."""
    origin, chunks = get_origin(stream_cls), get_args(stream_cls)
    if origin is Stream:
        return WatchedStream[chunks[0]]  # type: ignore[valid-type]
    if origin is AsyncStream:
        return AsyncWatchedStream[chunks[0]]  # type: ignore[valid-type]
    return stream_cls
