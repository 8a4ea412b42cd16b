"""The caller's end of a request: its events, from any thread.

Knows: the stream of one request. Does not know the engine's state.
"""

from __future__ import annotations

import queue
import time
from typing import TYPE_CHECKING

from stemfirst_server.engine.request import Completion, Event, FinishEvent, TokenEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Handle:
    """A submitted request.

    With an `on_event` of the caller's own, events go there and `events` and `result` must not be
    used. The last event is always a `FinishEvent`, and there is exactly one.
    """

    def __init__(
        self,
        request_id: str,
        abort: Callable[[str], None],
        on_event: Callable[[Event], None] | None,
    ) -> None:
        self.request_id = request_id
        self._abort = abort
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._has_queue = on_event is None
        self.on_event: Callable[[Event], None] = on_event or self._events.put

    def abort(self) -> None:
        """Ask to end the request; its `FinishEvent` follows."""
        self._abort(self.request_id)

    def events(self, *, timeout: float | None = None) -> Iterator[Event]:
        """Yield events as they come, the `FinishEvent` last; once.

        Raises:
            TimeoutError: nothing came for `timeout` seconds.
        """
        assert self._has_queue, "events go to on_event"
        while True:
            try:
                event = self._events.get(timeout=timeout)
            except queue.Empty:
                raise TimeoutError(f"{self.request_id}: no event in {timeout} s") from None
            yield event
            if isinstance(event, FinishEvent):
                return

    def result(self, *, timeout: float | None = None) -> Completion:
        """Wait for the whole answer.

        Raises:
            TimeoutError: it was not complete in `timeout` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        tokens: list[TokenEvent] = []
        stream = self.events(timeout=timeout)
        for event in stream:
            if isinstance(event, FinishEvent):
                return Completion(tuple(tokens), event)
            tokens.append(event)
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"{self.request_id}: not complete in {timeout} s")
        raise AssertionError("a stream ends with a FinishEvent")
