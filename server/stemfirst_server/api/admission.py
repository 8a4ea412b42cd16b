"""How many requests may be in the server at once; the next one is told when to come again.

A queue without an end answers nobody in time. Knows counts and tenants; does not know tokens,
and does not rank: what was admitted is the scheduler's.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from threading import Lock
from typing import TYPE_CHECKING

from stemfirst_server.engine.request import FinishEvent
from stemfirst_server.errors import DrainingError, InvalidRequestError, OverloadedError
from stemfirst_server.quotas import Quotas

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from stemfirst_server.api.generation import EnginePort
    from stemfirst_server.engine.request import Event, GenerationRequest
    from stemfirst_server.tenants import Tenant

LONGEST_RETRY_S = 30
"""Most seconds that a refused client is asked to wait; guesses beyond are worth nothing."""


class Admission:
    """Seats for requests, running and waiting; each choice of a request takes one.

    Invariant: `taken` is the sum of the tenants' seats, and at most `most_requests`. Safe to use
    from several threads.

    Attributes:
        is_draining: nothing new is taken.
        on_end: told whose request has ended.

    Args:
        most_requests: seats in all.
        clock: seconds, for the guess when a seat will be free.
    """

    def __init__(self, most_requests: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.most_requests = most_requests
        self.taken = 0
        self._by_tenant: Counter[str] = Counter()
        self._left_at: deque[float] = deque(maxlen=64)
        self._clock = clock
        self._lock = Lock()
        self.is_draining = False
        self.quotas = Quotas(clock=clock)
        self.on_end: Callable[[Tenant], None] | None = None

    def take(self, count: int, tenant: Tenant, *, is_stream: bool = False) -> Seats:
        """Return seats for `count` requests of a tenant, all or none.

        Args:
            count: how many.
            tenant: whose.
            is_stream: the answer is one stream.

        Raises:
            DrainingError: nothing new is taken.
            OverloadedError: the server, or the tenant's share of it, is full.
            InvalidRequestError: there will never be so many.
        """
        if self.is_draining:
            raise DrainingError("the server takes no more requests for now; try again later")
        most = min(self.most_requests, tenant.most_requests or self.most_requests)
        if count > most:
            raise InvalidRequestError(
                f"{count} answers were asked for, and {most} can be made at once here: "
                "send several requests",
                parameter="n",
            )
        with self._lock:
            if self.taken + count > self.most_requests:
                raise OverloadedError(
                    f"the server is full: {self.taken} requests run or wait; try again later",
                    reason="queue_full",
                    retry_after_s=self._retry_after(count),
                )
            if self._by_tenant[tenant.name] + count > most:
                raise OverloadedError(
                    f"your limit of {most} requests at once is reached: wait for one to end",
                    reason="tenant_limit",
                    retry_after_s=1,
                )
            self.quotas.begin(tenant, count, streams=int(is_stream))
            self.taken += count
            self._by_tenant[tenant.name] += count
        return Seats(self, tenant, count, is_stream=is_stream)

    def drain(self) -> None:
        """Take nothing new."""
        self.is_draining = True

    def resume(self) -> None:
        """Take requests again."""
        self.is_draining = False

    def check(self) -> None:
        """The class's invariant."""
        with self._lock:
            assert self.taken == sum(self._by_tenant.values())
            assert 0 <= self.taken <= self.most_requests
            assert all(count > 0 for count in self._by_tenant.values())

    def _leave(self, tenant: Tenant, count: int) -> None:
        with self._lock:
            self.taken -= count
            self._by_tenant[tenant.name] -= count
            if not self._by_tenant[tenant.name]:
                del self._by_tenant[tenant.name]
            self._left_at.extend([self._clock()] * count)

    def _retry_after(self, count: int) -> int:
        """Return whole seconds until `count` seats are free if requests end as they did lately."""
        if len(self._left_at) < 2:
            return 1
        each_s = (self._clock() - self._left_at[0]) / len(self._left_at)
        return max(1, min(LONGEST_RETRY_S, math.ceil(count * each_s)))


class Seats:
    """The seats of one HTTP request, as the engine that it submits to.

    A seat is given back when its request ends, and at the end of the `with` block if it was
    never used.
    """

    def __init__(
        self, admission: Admission, tenant: Tenant, count: int, *, is_stream: bool
    ) -> None:
        self._admission = admission
        self._tenant = tenant
        self._unused = count
        # Those that have not ended; the last one takes the stream with it.
        self._left = count
        self._is_stream = is_stream
        self._lock = Lock()
        self._engine: EnginePort | None = None

    def over(self, engine: EnginePort) -> Seats:
        """Return the seats, submitting to `engine` from now on."""
        self._engine = engine
        return self

    def submit(self, request: GenerationRequest, on_event: Callable[[Event], None]) -> object:
        """Submit a request on one of the seats."""
        assert self._engine is not None
        assert self._unused > 0, "a seat for each request"

        def receive(event: Event) -> None:
            try:
                if isinstance(event, FinishEvent):
                    self._leave(1)
                    self._admission.quotas.charge(self._tenant, event.report.output_tokens)
                    if self._admission.on_end is not None:
                        self._admission.on_end(self._tenant)
            finally:
                on_event(event)  # whatever was wrong with the sums

        handle = self._engine.submit(request, receive)
        self._unused -= 1
        self._admission.quotas.charge(self._tenant, len(request.token_ids))
        return handle

    def abort(self, request_id: str) -> None:
        """End a request early."""
        assert self._engine is not None
        self._engine.abort(request_id)

    def remember(self, request: GenerationRequest, output: Sequence[int]) -> None:
        """Remember an answer's own tokens."""
        assert self._engine is not None
        self._engine.remember(request, output)

    def __enter__(self) -> Seats:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        unused, self._unused = self._unused, 0
        if unused:
            self._leave(unused)

    def _leave(self, count: int) -> None:
        self._admission._leave(self._tenant, count)
        with self._lock:
            self._left -= count
            is_last_of_stream = self._is_stream and self._left <= 0
        if is_last_of_stream:
            self._admission.quotas.end(self._tenant, streams=1)
