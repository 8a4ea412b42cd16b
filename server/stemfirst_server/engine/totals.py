"""What the engine has done so far, counted once for each request.

Knows: the counters. Does not know what is going on right now; the scheduler tells.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from stemfirst_server.engine.request import EngineStats, FinishReason, RequestReport

if TYPE_CHECKING:
    from stemfirst_server.engine.scheduler import Scheduler


class Totals:
    """Counters that only grow. A preempted request counts once, when it ends."""

    def __init__(self) -> None:
        self.steps = 0
        self._finished: Counter[str] = Counter({reason.value: 0 for reason in FinishReason})
        self._prompt_tokens = 0
        self._cached_tokens = 0
        self._computed_tokens = 0
        self._output_tokens = 0
        self._host_tokens = 0
        self._disk_tokens = 0

    def add(self, reason: FinishReason, report: RequestReport) -> None:
        """Count a finished request."""
        self._finished[reason.value] += 1
        self._prompt_tokens += report.prompt_tokens
        self._cached_tokens += report.cached_tokens
        self._computed_tokens += report.computed_tokens
        self._output_tokens += report.output_tokens
        self._host_tokens += report.host_tokens
        self._disk_tokens += report.disk_tokens

    def snapshot(self, scheduler: Scheduler) -> EngineStats:
        """Return the counters beside the scheduler's present state."""
        cache = scheduler.cache
        return EngineStats(
            running=len(scheduler.running),
            waiting=len(scheduler.waiting),
            page=cache.page,
            pages_total=cache.pages,
            pages_free=cache.free_pages,
            pages_held=cache.held_pages,
            pages_cached=cache.cached_pages,
            pages_evictable=cache.tree.evictable_pages,
            requests_finished=dict(self._finished),
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            computed_tokens=self._computed_tokens,
            output_tokens=self._output_tokens,
            preemptions=scheduler.preemptions,
            evicted_pages=cache.evicted_pages,
            evicted_age_s=cache.ages.seconds,
            steps=self.steps,
            drafted_tokens=scheduler.drafted_tokens,
            accepted_tokens=scheduler.accepted_tokens,
            host_tokens=self._host_tokens,
            disk_tokens=self._disk_tokens,
        )
