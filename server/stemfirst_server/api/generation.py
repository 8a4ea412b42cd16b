"""From the engine's token events to pieces of text, for all choices of one HTTP request.

Knows the engine's boundary, detokenising and stop strings; does not know JSON. The engine calls
from its own thread; everything else here runs in the event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from stemfirst_server.api.output import ANYTHING, OutputPlan
from stemfirst_server.engine.request import FinishEvent, FinishReason, TokenEvent
from stemfirst_server.errors import FormatFailedError, RequestFailedError
from stemfirst_server.tokens.stopping import StopMatcher
from stemfirst_server.tools.calls import Reading

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from stemfirst_server.engine.request import Event, GenerationRequest, RequestReport
    from stemfirst_server.tokens.detokenize import Vocabulary
    from stemfirst_server.tools.calls import ToolCall


TOOL_CALLS = "tool_calls"
"""Why an answer ended that calls tools and was not cut."""


class EnginePort(Protocol):
    """What a generation needs of an engine."""

    def submit(self, request: GenerationRequest, on_event: Callable[[Event], None]) -> object:
        """Accept a request; its events go to `on_event`, from another thread."""
        ...

    def abort(self, request_id: str) -> None:
        """End a request early; unknown and finished ones are let be."""
        ...

    def remember(self, request: GenerationRequest, output: Sequence[int]) -> None:
        """Remember an answer's own tokens for when its text comes back."""
        ...


@dataclass(frozen=True, slots=True)
class Piece:
    """What became certain of one choice.

    Attributes:
        choice: its index.
        text: to be shown; may be empty.
        calls: of tools, which stand behind the text.
        tokens: those that arrived with this piece, for logprobs.
        finish: `stop`, `length`, `tool_calls` or `abort` on the last piece of a choice, else None.
        report: the engine's account, on the last piece.
        output_tokens: tokens of this choice so far.
        stop: the stop string that ended it, on the last piece.
    """

    choice: int
    text: str
    calls: tuple[ToolCall, ...] = ()
    tokens: tuple[TokenEvent, ...] = ()
    finish: str | None = None
    report: RequestReport | None = None
    output_tokens: int = 0
    stop: str | None = None


class _Choice:
    """One engine request on its way to text."""

    def __init__(
        self,
        request: GenerationRequest,
        vocabulary: Vocabulary,
        stops: Sequence[str],
        plan: OutputPlan,
    ) -> None:
        self.request = request
        self.detokenizer = vocabulary.detokenizer(plan.shown)
        self.matcher = StopMatcher(stops)
        self.reader = plan.reader()
        self.output_tokens = 0
        self.output: list[int] = []
        self.has_called = False
        self.is_open = True

    def feed(self, text: str, *, is_last: bool = False) -> Reading:
        """Return what became certain with this text."""
        if self.reader is None:
            return Reading(text)
        reading = self.reader.feed(text)
        if is_last:
            rest = self.reader.finish()
            reading = Reading(reading.text + rest.text, reading.calls + rest.calls)
        self.has_called = self.has_called or bool(reading.calls)
        return reading

    def is_stopped(self) -> bool:
        """Whether a stop string was found."""
        return self.matcher.matched is not None


class Generation:
    """All choices of one request: started once, read once, aborted from anywhere.

    Invariant: each started choice is open until its `FinishEvent` was read.

    Args:
        engine: what computes.
        vocabulary: to read tokens with.
        requests: one for each choice.
        stops: strings that end an answer.
        plan: what the answer may be.
        is_whole: nobody reads before the end, so a choice's events are read together then, and
            nothing wakes for each token.
    """

    def __init__(
        self,
        engine: EnginePort,
        vocabulary: Vocabulary,
        requests: Sequence[GenerationRequest],
        stops: Sequence[str] = (),
        plan: OutputPlan = ANYTHING,
        *,
        is_whole: bool = False,
    ) -> None:
        self._engine = engine
        # A stop string must be found early: what follows it is computed for nothing.
        self._wakes_at_end = is_whole and not stops
        self._choices = [_Choice(request, vocabulary, stops, plan) for request in requests]
        self._arrived: deque[tuple[int, Event]] = deque()
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """Submit all choices, or none.

        Raises:
            ServerError: the engine refused one; those before it are aborted.
        """
        for index, choice in enumerate(self._choices):
            try:
                self._engine.submit(choice.request, on_event=partial(self._receive, index))
            except BaseException:
                for started in self._choices[:index]:
                    self._engine.abort(started.request.request_id)
                raise

    def abort(self) -> None:
        """End what is still running; its last pieces follow with what there is."""
        for choice in self._choices:
            if choice.is_open:
                self._engine.abort(choice.request.request_id)

    async def pieces(self) -> AsyncIterator[Piece]:
        """Yield pieces as they come, until every choice is finished.

        Raises:
            RequestFailedError: the engine could not complete a choice; the others are aborted.
        """
        try:
            while any(choice.is_open for choice in self._choices):
                await self._wake.wait()
                self._wake.clear()
                while self._arrived:
                    for piece in self._read_arrived():
                        yield piece
        finally:
            self.abort()

    def _receive(self, index: int, event: Event) -> None:
        self._arrived.append((index, event))
        if self._wakes_at_end and not isinstance(event, FinishEvent):
            return
        # A closed loop: the server ended, and nobody reads this any more.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._wake.set)

    def _read_arrived(self) -> list[Piece]:
        """Return what has arrived, joined to one piece a choice."""
        pieces = []
        batches: dict[int, list[Event]] = {}
        while self._arrived:
            index, event = self._arrived.popleft()
            batches.setdefault(index, []).append(event)
        for index, events in batches.items():
            piece = self._read(index, events)
            if piece is not None:
                pieces.append(piece)
        return pieces

    def _read(self, index: int, events: list[Event]) -> Piece | None:
        choice = self._choices[index]
        text = ""
        tokens = []
        finish = None
        for event in events:
            if isinstance(event, FinishEvent):
                choice.is_open = False
                finish = event
                continue
            if choice.is_stopped():
                continue  # computed before the engine heard of the abort
            choice.output_tokens += 1
            tokens.append(event)
            if not event.is_stop:
                choice.output.append(event.token_id)
                text += choice.matcher.feed(choice.detokenizer.feed(event.token_id))
            if choice.is_stopped():
                self._engine.abort(choice.request.request_id)
        if finish is None:
            reading = choice.feed(text)
            if not (reading.text or reading.calls or tokens):
                return None
            return Piece(index, reading.text, reading.calls, tuple(tokens))
        if finish.reason is FinishReason.ERROR:
            fault = finish.error or "the engine could not complete this request"
            # The engine tells a fault in words.
            is_format = fault.startswith(FormatFailedError.BEGINS)
            raise FormatFailedError(fault) if is_format else RequestFailedError(fault)
        text += choice.matcher.feed(choice.detokenizer.finish())
        is_stopped = choice.is_stopped()
        text += choice.matcher.finish()
        if not is_stopped and finish.reason is not FinishReason.ABORT:
            self._engine.remember(choice.request, choice.output)
        reading = choice.feed(text, is_last=True)
        reason = FinishReason.STOP.value if is_stopped else finish.reason.value
        return Piece(
            index,
            reading.text,
            reading.calls,
            tuple(tokens),
            TOOL_CALLS if choice.has_called and reason == FinishReason.STOP.value else reason,
            finish.report,
            choice.output_tokens,
            choice.matcher.matched if is_stopped else None,
        )
