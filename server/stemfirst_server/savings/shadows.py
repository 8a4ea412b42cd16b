"""Runs without the cache that measure how far the estimates of what it saves are off.

Opt-in: a share of the requests that had a hit is computed once more, cold, when the device has
nothing else to do. Knows when that is, and what a comparison is worth. Its prompt is the one
that was just answered; its result is thrown away and leaves nothing in the cache.
"""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import Callable
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Protocol

from stemfirst_server.engine.request import (
    Event,
    FinishEvent,
    FinishReason,
    GenerationRequest,
    RequestReport,
    SamplingParams,
)
from stemfirst_server.errors import ServerError
from stemfirst_server.savings.costmodel import SavedTime

if TYPE_CHECKING:
    from stemfirst_server.savings.costmodel import CostModel

log = logging.getLogger("stemfirst.server")


class Runner(Protocol):
    """The part of the engine that shadow runs use."""

    def submit(self, request: GenerationRequest, on_event: Callable[[Event], None]) -> object:
        """Compute a request."""

    def abort(self, request_id: str) -> None:
        """End it early."""


class ShadowRuns:
    """Decides which requests are run again without the cache, and compares. Thread-safe.

    Invariant: at most one shadow runs, and it began when no request of a user did. A request
    that comes meanwhile ends it.

    Args:
        runner: computes.
        cost_model: is told what was measured; its `shadow_rate` is the share of the requests
            with a hit that are run again.
        draw: a number in [0, 1) for each of them.
    """

    def __init__(
        self,
        runner: Runner,
        cost_model: CostModel,
        *,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._runner = runner
        self._cost_model = cost_model
        self._rate = cost_model.shadow_rate
        self._draw = draw
        self._active = 0
        self._shadow: str | None = None
        self._lock = Lock()

    def began(self) -> None:
        """Take it that a user's request is about to be handed over."""
        with self._lock:
            self._active += 1
            running, self._shadow = self._shadow, None
        if running is not None:
            self._runner.abort(running)

    def dropped(self) -> None:
        """Take it that a request was refused instead."""
        with self._lock:
            self._active -= 1

    def ended(self, request: GenerationRequest, event: FinishEvent) -> None:
        """Take a user's finished request; run it again without the cache, now and then."""
        with self._lock:
            self._active -= 1
            is_wanted = (
                self._rate > 0
                and self._active == 0
                and self._shadow is None
                and _is_comparable(event)
                and self._draw() < self._rate
            )
            if not is_wanted:
                return
            name = f"shadow-{uuid.uuid4().hex}"
            self._shadow = name
        warm = event.report

        def receive(event: Event) -> None:
            if isinstance(event, FinishEvent):
                self._compare(name, warm, event)

        shadow = replace(
            request,
            request_id=name,
            sampling=SamplingParams(max_tokens=1),
            can_read_cache=False,
            can_write_cache=False,
            constraint=None,
        )
        try:
            self._runner.submit(shadow, receive)
        except ServerError as error:
            log.debug("no shadow run: %s", error)
            self._forget(name)

    def _compare(self, name: str, warm: RequestReport, event: FinishEvent) -> None:
        self._forget(name)
        cold = event.report
        is_whole = event.reason in (FinishReason.STOP, FinishReason.LENGTH)
        if not is_whole or cold.cached_tokens or not all(chunk.is_alone for chunk in cold.chunks):
            return
        said = self._cost_model.saved(warm.cached_tokens, warm.computed_tokens)
        if isinstance(said, SavedTime):
            self._cost_model.compare(cold.prefill_ms - warm.prefill_ms, said)

    def _forget(self, name: str) -> None:
        with self._lock:
            if self._shadow == name:
                self._shadow = None


def _is_comparable(event: FinishEvent) -> bool:
    """Whether a request had a hit and the device for itself while it read its prompt."""
    counted = event.report
    is_whole = event.reason in (FinishReason.STOP, FinishReason.LENGTH)
    return (
        is_whole
        and counted.cached_tokens > 0
        and counted.preemptions == 0
        and all(chunk.is_alone for chunk in counted.chunks)
    )
